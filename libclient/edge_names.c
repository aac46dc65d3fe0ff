/* What ids stand for, for as long as their block lasts. */
#include <stdlib.h>
#include <string.h>

#include "libclient/edge_private.h"

_Static_assert((EDGE_NAME_SLOTS & (EDGE_NAME_SLOTS - 1)) == 0 &&
                   EDGE_NAME_SLOTS > 2 * EDGE_NAMES_MAX,
               "probing ends");

bool edge_names_init(struct edge_names *n)
{
    n->slots = calloc(EDGE_NAME_SLOTS, sizeof *n->slots);
    n->bytes = malloc(EDGE_NAME_BYTES);
    n->block = 1;
    return n->slots != NULL && n->bytes != NULL;
}

void edge_names_close(struct edge_names *n)
{
    free(n->slots);
    free(n->bytes);
}

void edge_names_forget(struct edge_names *n)
{
    if (n->used == 0)
        return;
    n->used = 0;
    n->bytes_used = 0;
    if (++n->block == 0) {
        memset(n->slots, 0, EDGE_NAME_SLOTS * sizeof *n->slots);
        n->block = 1;
    }
}

/* Where it is, or would be. */
static struct edge_name_slot *slot_of(const struct edge_names *n, uint32_t word)
{
    uint32_t at = word * UINT32_C(2654435761) >> 17;
    for (;; at++) {
        struct edge_name_slot *s = &n->slots[at & (EDGE_NAME_SLOTS - 1)];
        if (s->block != n->block || s->word == word)
            return s;
    }
}

struct edge_text *edge_names_add(struct edge_names *n, const struct edge_name *name)
{
    uint32_t word = (uint32_t)name->kind << 24 | name->id;
    struct edge_name_slot *s = slot_of(n, word);
    bool known = s->block == n->block;
    if (known && s->text.length == name->length &&
        memcmp(s->text.text, name->text, name->length) == 0)
        return &s->text;
    if ((!known && n->used == EDGE_NAMES_MAX) || name->length + 1 > EDGE_NAME_BYTES - n->bytes_used)
        return NULL;
    char *text = n->bytes + n->bytes_used;
    memcpy(text, name->text, name->length);
    text[name->length] = '\0';
    n->bytes_used += (uint32_t)name->length + 1;
    n->used += !known;
    *s = (struct edge_name_slot) {
        .word = word,
        .block = n->block,
        .text = { .text = text, .length = (uint32_t)name->length },
    };
    return &s->text;
}

const struct edge_text *edge_names_find(const struct edge_names *n, enum edge_name_kind kind,
                                        uint32_t id)
{
    uint32_t word = (uint32_t)kind << 24 | id;
    const struct edge_name_slot *s = slot_of(n, word);
    return s->block == n->block ? &s->text : NULL;
}

struct edge_text *edge_names_next(struct edge_names *n, enum edge_name_kind kind, uint32_t *at)
{
    while (*at < EDGE_NAME_SLOTS) {
        struct edge_name_slot *s = &n->slots[(*at)++];
        if (s->block == n->block && s->word >> 24 == (uint32_t)kind)
            return &s->text;
    }
    return NULL;
}
