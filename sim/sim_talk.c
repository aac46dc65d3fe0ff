/* What proxies and clients say to each other, as it is written: kept for the comparison at the end of the run
 * (sim_check_talk.c). */
#include <stdlib.h>
#include <string.h>

#include "sim/sim_talk.h"

enum { TALKS_MAX = 512, TALK_BYTES_MAX = 1 << 20, ALL_BYTES_MAX = 16 << 20, BYTES_FIRST = 4096 };

static struct sim_talk *begin(struct sim *s, struct sim_connection *c)
{
    if (s->talks == NULL)
        s->talks = calloc(TALKS_MAX, sizeof(struct sim_talk *));
    if (s->talks == NULL || s->talk_count == TALKS_MAX)
        return NULL;
    struct sim_talk *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    t->client = s->nodes[c->node[0]];
    if (t->client->kind == SIM_CLIENT) {
        t->key = t->client->client->edge->key;
        t->rights_stay = t->client->client->edge->rights_stay;
    }
    t->proxy = s->nodes[c->node[1]];
    s->talks[s->talk_count++] = t;
    c->talk = s->talk_count;
    return t;
}

bool sim_talk_rights_between(const struct sim *s, struct epoch epoch, uint64_t seq,
                             uint64_t end_seq)
{
    uint32_t branch = sim_history_branch(&s->history, epoch);
    for (; branch != SIM_NONE && seq < end_seq; seq++) {
        const struct sim_entry *e = sim_history_at(&s->history, branch, seq);
        if (e != NULL && (e->topic == TOPIC_GRANT || e->topic == TOPIC_GROUP))
            return true;
    }
    return false;
}

/* Whether the proxy has heard of rights since it wrote last. */
static void note_rights(const struct sim *s, struct sim_talk *t)
{
    const struct proxy *p = t->proxy->core;
    const struct catalog *catalog = proxy_catalog(p);
    const struct epoch_table *e = catalog_epochs(catalog);
    struct position position = { .seq = proxy_seq(p) };
    if (e->count > 0)
        position.epoch = e->entries[e->count - 1].epoch;
    uint64_t version = access_version(catalog_access(catalog));
    struct position last = t->followed;
    t->followed = position;
    if (t->mark_count > 0 && t->marks[t->mark_count - 1].version == version &&
        epoch_equal(position.epoch, last.epoch) && position.seq >= last.seq &&
        !sim_talk_rights_between(s, position.epoch, last.seq + 1, position.seq + 1))
        return;
    if (t->mark_count == SIM_TALK_MARKS_MAX) {
        t->over = true;
        return;
    }
    t->marks[t->mark_count++] =
        (struct sim_talk_mark) { .at = t->length, .version = version, .position = position };
}

static void keep(struct sim *s, struct sim_talk *t, const uint8_t *bytes, size_t length)
{
    if (t->over)
        return;
    if (t->length + length > t->capacity) {
        size_t capacity = t->capacity != 0 ? t->capacity : BYTES_FIRST;
        while (capacity < t->length + length)
            capacity *= 2;
        t->over = capacity > TALK_BYTES_MAX || s->talk_bytes + capacity > ALL_BYTES_MAX;
        uint8_t *larger = t->over ? NULL : realloc(t->bytes, capacity);
        if (larger == NULL) {
            t->over = true;
            return;
        }
        s->talk_bytes += capacity - t->capacity;
        t->bytes = larger;
        t->capacity = capacity;
    }
    memcpy(t->bytes + t->length, bytes, length);
    t->length += length;
}

/* As whom it says HELLO. */
static uint32_t key_of(const uint8_t *bytes, size_t length)
{
    enum edge_type type;
    struct edge_hello hello;
    if (edge_frame_peek(bytes, length, &type) == length && type == EDGE_HELLO &&
        edge_hello_decode(bytes + EDGE_HEADER, length - EDGE_HEADER, &hello) && hello.has_key)
        for (uint32_t key = 0; key < SIM_EDGE_KEYS; key++)
            if (memcmp(hello.key, sim_edge_key(key)->public_key, sizeof hello.key) == 0)
                return key;
    return SIM_EDGE_NOBODY;
}

void sim_talk_note(struct sim *s, struct sim_connection *c, uint32_t writer, const uint8_t *bytes,
                   size_t length)
{
    const struct sim_node *client = s->nodes[c->node[0]], *server = s->nodes[c->node[1]];
    bool reads =
        client->kind == SIM_VISITOR || (client->kind == SIM_CLIENT && client->client->edge != NULL);
    if (server->kind != SIM_PROXY || !reads)
        return;
    struct sim_talk *t = c->talk != 0 ? s->talks[c->talk - 1] : begin(s, c);
    if (t == NULL)
        return;
    if (writer == 1) {
        note_rights(s, t);
        keep(s, t, bytes, length);
        return;
    }
    if (client->kind == SIM_VISITOR && t->asked_length == 0) {
        t->key = key_of(bytes, length);
        t->rights_stay = t->key == SIM_EDGE_EVERYTHING;
    }
    if (length > sizeof t->asked - t->asked_length)
        length = sizeof t->asked - t->asked_length;
    memcpy(t->asked + t->asked_length, bytes, length);
    t->asked_length += length;
}

void sim_talks_free(struct sim *s)
{
    for (uint32_t i = 0; i < s->talk_count; i++) {
        free(s->talks[i]->bytes);
        free(s->talks[i]);
    }
    free((void *)s->talks);
}
