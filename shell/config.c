#include "shell/config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shell/config_reader.h"

__attribute__((format(printf, 3, 4))) void config_complain(struct config_reader *r, unsigned line,
                                                           const char *format, ...)
{
    if (r->problem_count++ >= CONFIG_PROBLEMS_MAX)
        return;
    struct config_problem *p = &r->problems[r->problem_count - 1];
    p->line = line;
    p->order = r->problem_count;
    va_list args;
    va_start(args, format);
    vsnprintf(p->reason, sizeof p->reason, format, args);
    va_end(args);
    /* What the file says ends up on a terminal. */
    for (char *c = p->reason; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
}

/* ---- sections -------------------------------------------------------------------------------- */

/* Whether one is the other with one letter changed, missing, added, or two swapped. */
static bool alike(const char *a, const char *b)
{
    size_t la = strlen(a), lb = strlen(b), head = 0, tail = 0;
    while (head < la && head < lb && a[head] == b[head])
        head++;
    while (tail < la - head && tail < lb - head && a[la - 1 - tail] == b[lb - 1 - tail])
        tail++;
    size_t da = la - head - tail, db = lb - head - tail;
    if (da <= 1 && db <= 1)
        return true;
    return da == 2 && db == 2 && a[head] == b[head + 1] && a[head + 1] == b[head];
}

static void complain_unknown(struct config_reader *r, const struct config_section *section,
                             const yaml_node_t *key, bool top)
{
    const char *text = config_text_of(key);
    const char *near = NULL;
    for (uint32_t i = 0; i < section->key_count && near == NULL; i++)
        if (alike(text, section->keys[i].name))
            near = section->keys[i].name;
    for (int s = CONFIG_NETWORK; top && s < CONFIG_SECTIONS && near == NULL; s++)
        if (alike(text, config_sections[s].name))
            near = config_sections[s].name;
    if (near != NULL)
        config_complain(r, config_line(key), "unknown key '%s': is '%s' meant?", text, near);
    else
        config_complain(r, config_line(key), "unknown key '%s' %s%s", text, top ? "" : "in ",
                        top ? "at the top level" : section->name);
}

/* The first occurrence of a key in a mapping before `pair`; NULL if there is none. */
static const yaml_node_t *earlier(struct config_reader *r, const yaml_node_t *map,
                                  const yaml_node_pair_t *pair, const char *name)
{
    for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < pair; p++) {
        const yaml_node_t *key = yaml_document_get_node(r->document, p->key);
        if (config_is_text(key) && strcmp(config_text_of(key), name) == 0)
            return key;
    }
    return NULL;
}

static void read_section(struct config_reader *r, enum config_section_id id, const yaml_node_t *map,
                         void *base, unsigned *lines);

static void read_list(struct config_reader *r, enum config_section_id id, const yaml_node_t *node)
{
    const struct config_section *section = &config_sections[id];
    uint32_t *count = (uint32_t *)(void *)((uint8_t *)r->config + section->count_offset);
    *count = 0;
    if (node->type != YAML_SEQUENCE_NODE) {
        config_complain(r, config_line(node), "%s: must be a list", section->name);
        return;
    }
    for (const yaml_node_item_t *i = node->data.sequence.items.start;
         i < node->data.sequence.items.top; i++) {
        const yaml_node_t *item = yaml_document_get_node(r->document, *i);
        if (*count == section->items_max) {
            config_complain(r, config_line(item), "%s: at most %u", section->name,
                            section->items_max);
            break;
        }
        uint8_t *base = (uint8_t *)r->config + section->offset + *count * section->item_size;
        read_section(r, id, item, base, r->item_lines[id][*count]);
        (*count)++;
    }
}

/* A key of the top level that names a section. False if it is none. */
static bool read_subsection(struct config_reader *r, const char *name, unsigned line,
                            const yaml_node_t *value)
{
    for (int s = CONFIG_NETWORK; s < CONFIG_SECTIONS; s++) {
        if (strcmp(config_sections[s].name, name) != 0)
            continue;
        r->section_lines[s] = line;
        if (config_sections[s].items_max > 0)
            read_list(r, (enum config_section_id)s, value);
        else
            read_section(r, (enum config_section_id)s, value,
                         (uint8_t *)r->config + config_sections[s].offset, r->lines[s]);
        return true;
    }
    return false;
}

static void read_pair(struct config_reader *r, enum config_section_id id, const yaml_node_t *map,
                      const yaml_node_pair_t *pair, void *base, unsigned *lines, bool *seen)
{
    const struct config_section *section = &config_sections[id];
    const yaml_node_t *key = yaml_document_get_node(r->document, pair->key);
    const yaml_node_t *value = yaml_document_get_node(r->document, pair->value);
    if (!config_is_text(key)) {
        config_complain(r, config_line(key), "a key must be a single word");
        return;
    }
    const yaml_node_t *first = earlier(r, map, pair, config_text_of(key));
    if (first != NULL) {
        config_complain(r, config_line(key), "duplicate key '%s': first on line %u",
                        config_text_of(key), config_line(first));
        return;
    }
    for (uint32_t i = 0; i < section->key_count; i++) {
        if (strcmp(section->keys[i].name, config_text_of(key)) != 0)
            continue;
        seen[i] = true;
        if (config_set_value(r, &section->keys[i], value,
                             (uint8_t *)base + section->keys[i].offset))
            lines[i] = config_line(key);
        return;
    }
    if (id != CONFIG_TOP || !read_subsection(r, config_text_of(key), config_line(key), value))
        complain_unknown(r, section, key, id == CONFIG_TOP);
}

static void read_section(struct config_reader *r, enum config_section_id id, const yaml_node_t *map,
                         void *base, unsigned *lines)
{
    const struct config_section *section = &config_sections[id];
    const char *name = section->name != NULL ? section->name : "the file";
    bool seen[CONFIG_KEYS_MAX] = { false };
    if (map->type != YAML_MAPPING_NODE) {
        config_complain(r, config_line(map), "%s: must be keys and values%s", name,
                        section->items_max > 0 ? ", each" : "");
        return;
    }
    /* So many pairs are no configuration, and looking for duplicates among them takes a while. */
    if (map->data.mapping.pairs.top - map->data.mapping.pairs.start > 4 * CONFIG_KEYS_MAX) {
        config_complain(r, config_line(map), "%s: more than %d keys", name, 4 * CONFIG_KEYS_MAX);
        return;
    }
    for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top;
         p++)
        read_pair(r, id, map, p, base, lines, seen);
    for (uint32_t i = 0; i < section->key_count; i++)
        if (section->keys[i].required && !seen[i])
            config_complain(r, config_line(map), "%s: '%s' is missing", name,
                            section->keys[i].name);
}

/* ---- whole files ----------------------------------------------------------------------------- */

static void read_root(struct config_reader *r, const yaml_node_t *root)
{
    read_section(r, CONFIG_TOP, root, r->config, r->lines[CONFIG_TOP]);
    if (root->type != YAML_MAPPING_NODE)
        return;
    for (int s = CONFIG_NETWORK; s < CONFIG_SECTIONS; s++) {
        bool required =
            config_sections[s].required && !(s == CONFIG_RETRANSMITTERS && r->config->is_volatile);
        if (required && r->section_lines[s] == 0)
            config_complain(r, config_line(root), "'%s' is missing", config_sections[s].name);
    }
    config_check(r);
}

static void complain_syntax(struct config_reader *r, const yaml_parser_t *parser)
{
    const char *what = parser->problem != NULL ? parser->problem : "not YAML";
    unsigned line = (unsigned)parser->problem_mark.line + 1;
    if (parser->error == YAML_READER_ERROR)
        config_complain(r, 0, "not text: %s at byte %zu", what, parser->problem_offset);
    else if (parser->error == YAML_MEMORY_ERROR)
        config_complain(r, 0, "out of memory");
    else if (parser->context != NULL)
        config_complain(r, line, "%s %s (begun on line %u)", what, parser->context,
                        (unsigned)parser->context_mark.line + 1);
    else
        config_complain(r, line, "%s", what);
}

static void read_text(struct config_reader *r, const char *bytes, size_t length)
{
    yaml_parser_t parser;
    yaml_document_t document;
    if (yaml_parser_initialize(&parser) == 0) {
        config_complain(r, 0, "out of memory");
        return;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)bytes, length);
    if (yaml_parser_load(&parser, &document) == 0) {
        complain_syntax(r, &parser);
        yaml_parser_delete(&parser);
        return;
    }
    r->document = &document;
    const yaml_node_t *root = yaml_document_get_root_node(&document);
    if (root == NULL)
        config_complain(r, 0, "the file is empty");
    else
        read_root(r, root);
    yaml_document_t second;
    bool had_root = root != NULL;
    if (had_root && yaml_parser_load(&parser, &second) == 0) {
        complain_syntax(r, &parser);
    } else if (had_root) {
        const yaml_node_t *more = yaml_document_get_root_node(&second);
        if (more != NULL)
            config_complain(r, config_line(more), "a second document: the file must be one");
        yaml_document_delete(&second);
    }
    yaml_document_delete(&document);
    yaml_parser_delete(&parser);
}

static int by_line(const void *a, const void *b)
{
    const struct config_problem *pa = a, *pb = b;
    if (pa->line != pb->line)
        return pa->line < pb->line ? -1 : 1;
    return pa->order < pb->order ? -1 : 1;
}

static bool finish(struct config_reader *r, const char *file, config_report *report, void *ctx)
{
    uint32_t kept = r->problem_count < CONFIG_PROBLEMS_MAX ? r->problem_count : CONFIG_PROBLEMS_MAX;
    qsort(r->problems, kept, sizeof r->problems[0], by_line);
    for (uint32_t i = 0; i < kept; i++)
        report(ctx, file, r->problems[i].line, r->problems[i].reason);
    if (r->problem_count > kept) {
        char more[64];
        snprintf(more, sizeof more, "and %u problems more", r->problem_count - kept);
        report(ctx, file, 0, more);
    }
    if (r->problem_count > 0)
        *r->config = (struct config) { 0 };
    return r->problem_count == 0;
}

static void set_directory(struct config_reader *r, const char *file)
{
    const char *slash = strrchr(file, '/');
    size_t length = slash == NULL ? 0 : slash == file ? 1 : (size_t)(slash - file);
    if (length > CONFIG_PATH_MAX) {
        config_complain(r, 0, "the path is too long: at most %d bytes", CONFIG_PATH_MAX);
        return;
    }
    memcpy(r->config->directory, length > 0 ? file : ".", length > 0 ? length : 1);
    r->config->directory[length > 0 ? length : 1] = '\0';
}

bool config_parse(const char *file, const char *bytes, size_t length, struct config *out,
                  config_report *report, void *ctx)
{
    struct config_reader *r = calloc(1, sizeof *r);
    if (r == NULL) {
        *out = (struct config) { 0 };
        report(ctx, file, 0, "out of memory");
        return false;
    }
    r->config = out;
    config_default(out);
    set_directory(r, file);
    if (length > CONFIG_BYTES_MAX)
        config_complain(r, 0, "too large: at most %d bytes", CONFIG_BYTES_MAX);
    else
        read_text(r, bytes, length);
    bool ok = finish(r, file, report, ctx);
    free(r);
    return ok;
}

bool config_load(const char *path, struct config *out, config_report *report, void *ctx)
{
    *out = (struct config) { 0 };
    FILE *f = fopen(path, "rbe");
    if (f == NULL) {
        char reason[CONFIG_REASON_MAX];
        snprintf(reason, sizeof reason, "cannot open: %s%s", strerror(errno),
                 errno == ENOENT ? ": `cantus init DIR` makes one" : "");
        report(ctx, path, 0, reason);
        return false;
    }
    char *bytes = malloc(CONFIG_BYTES_MAX + 1);
    size_t length = bytes != NULL ? fread(bytes, 1, CONFIG_BYTES_MAX + 1, f) : 0;
    bool ok = false;
    if (bytes == NULL || ferror(f) != 0)
        report(ctx, path, 0, bytes == NULL ? "out of memory" : "cannot read it");
    else
        ok = config_parse(path, bytes, length, out, report, ctx);
    free(bytes);
    fclose(f);
    return ok;
}

void config_report_stderr(void *ctx, const char *file, unsigned line, const char *reason)
{
    (void)ctx;
    if (line > 0)
        fprintf(stderr, "%s:%u: %s\n", file, line, reason);
    else
        fprintf(stderr, "%s: %s\n", file, reason);
}

void config_report_text(void *ctx, const char *file, unsigned line, const char *reason)
{
    struct config_text *t = ctx;
    char text[CONFIG_PATH_MAX + CONFIG_REASON_MAX + 32];
    int n = line > 0 ? snprintf(text, sizeof text, "%s:%u: %s\n", file, line, reason)
                     : snprintf(text, sizeof text, "%s: %s\n", file, reason);
    if (n < 0 || (size_t)n >= sizeof text || t->length + (size_t)n + 1 > t->capacity)
        return;
    memcpy(t->text + t->length, text, (size_t)n + 1);
    t->length += (size_t)n;
}

bool config_path(const struct config *config, const char *relative, char *out, size_t capacity)
{
    int n = relative[0] == '/' ? snprintf(out, capacity, "%s", relative)
                               : snprintf(out, capacity, "%s/%s", config->directory, relative);
    return n >= 0 && (size_t)n < capacity;
}

bool config_counters(const struct config *config, char *out, size_t capacity)
{
    if (config->counters[0] != '\0')
        return config_path(config, config->counters, out, capacity);
    int n = snprintf(out, capacity, "/dev/shm/cantus-%016" PRIx64, config->stream);
    return n >= 0 && (size_t)n < capacity;
}

/* ---- looking up a process -------------------------------------------------------------------- */

static const char *name_at(const struct config *c, enum config_section_id list, uint32_t index)
{
    return list == CONFIG_SEQUENCERS       ? c->sequencers[index].name
           : list == CONFIG_RETRANSMITTERS ? c->retransmitters[index].name
                                           : c->proxies[index].name;
}

static int find(const struct config *c, enum config_section_id list, uint32_t count,
                const char *kind, const char *name, char *error)
{
    bool named = name != NULL && name[0] != '\0';
    if (!named && count == 1)
        return 0;
    for (uint32_t i = 0; named && i < count; i++)
        if (strcmp(name_at(c, list, i), name) == 0)
            return (int)i;
    size_t at =
        (size_t)(named ? snprintf(error, CONFIG_ERROR_MAX, "no %s is named '%.100s'", kind, name)
                       : snprintf(error, CONFIG_ERROR_MAX, "which %s? use --name", kind));
    at += (size_t)snprintf(error + at, CONFIG_ERROR_MAX - at, "; the configuration has%s",
                           count == 0 ? " none" : "");
    for (uint32_t i = 0; i < count; i++)
        at += (size_t)snprintf(error + at, CONFIG_ERROR_MAX - at, " %s", name_at(c, list, i));
    return -1;
}

_Static_assert(CONFIG_ITEMS_MAX *(CONFIG_NAME_MAX + 1) + 200 < CONFIG_ERROR_MAX,
               "all names have room");

int config_find_sequencer(const struct config *config, const char *name, char *error)
{
    return find(config, CONFIG_SEQUENCERS, config->sequencer_count, "sequencer", name, error);
}

int config_find_retransmitter(const struct config *config, const char *name, char *error)
{
    return find(config, CONFIG_RETRANSMITTERS, config->retransmitter_count, "retransmitter", name,
                error);
}

int config_find_proxy(const struct config *config, const char *name, char *error)
{
    return find(config, CONFIG_PROXIES, config->proxy_count, "proxy", name, error);
}
