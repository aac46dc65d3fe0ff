/* Reading cantus.yaml: shared by config*.c and nobody else. */
#ifndef CANTUS_SHELL_CONFIG_READER_H
#define CANTUS_SHELL_CONFIG_READER_H

#include <string.h>
#include <yaml.h>

#include "shell/config_keys.h"

enum { CONFIG_REASON_MAX = 240 };

struct config_problem {
    unsigned line;
    uint32_t order;
    char reason[CONFIG_REASON_MAX];
};

struct config_reader {
    yaml_document_t *document;
    struct config *config;
    uint32_t problem_count; /* in all; the first CONFIG_PROBLEMS_MAX are kept */
    struct config_problem problems[CONFIG_PROBLEMS_MAX];
    /* Where each key was found, for problems between keys; 0: it was not, or was wrong already. */
    unsigned lines[CONFIG_SECTIONS][CONFIG_KEYS_MAX];
    unsigned item_lines[CONFIG_SECTIONS][CONFIG_ITEMS_MAX][CONFIG_KEYS_MAX];
    unsigned section_lines[CONFIG_SECTIONS]; /* 0: it is not there */
};

__attribute__((format(printf, 3, 4))) void config_complain(struct config_reader *r, unsigned line,
                                                           const char *format, ...);
/* Sets a field from a node, if that is legal for the key; else complains and returns false. */
bool config_set_value(struct config_reader *r, const struct config_key *key,
                      const yaml_node_t *node, void *field);
/* Complains of what contradicts itself between keys. */
void config_check(struct config_reader *r);

static inline unsigned config_line(const yaml_node_t *node)
{
    return (unsigned)node->start_mark.line + 1;
}

static inline const char *config_text_of(const yaml_node_t *node)
{
    return (const char *)node->data.scalar.value;
}

/* A scalar's text, if it has no zero byte inside. */
static inline bool config_is_text(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE &&
           strlen(config_text_of(node)) == node->data.scalar.length;
}

#endif
