#include "proxy/recent.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES_MIN = 65536, BLOCK_BYTES_MIN = 2048 };

/* In front of each payload. Of `size` bytes, payload and padding included; no seq: the rest of the ring is
 * unused, and the next one is at its beginning. */
struct record {
    uint64_t seq;
    uint64_t first_seq;
    uint64_t timestamp_ns;
    uint64_t publisher_seq;
    uint64_t stable;
    uint32_t size;
    uint32_t length;
    uint32_t topic;
    uint32_t publisher;
    uint32_t fragments;
    uint32_t flags;
};

/* The first message of a block that is whole. */
struct block_entry {
    uint64_t block;
    uint64_t place;
    uint64_t timestamp_ns;
};

/* Places only grow, but for a cut; where one is in the ring is what its low bits say. */
struct recent {
    uint8_t *bytes;
    struct block_entry *blocks; /* circular */
    uint64_t mask;
    uint64_t begin, end; /* places */
    uint64_t left_seq;   /* messages at and below have left, or never were there */
    uint64_t last_seq;   /* of the last message; 0: none is kept */
    uint64_t cuts;
    uint32_t block_mask, block_head, block_count;
    struct recent_stretch *stretches; /* by number */
    uint64_t stretch_mask;
};

static uint64_t size_of(uint64_t bytes)
{
    uint64_t size = BYTES_MIN;
    while (size < bytes)
        size *= 2;
    return size;
}

/* Seqs are not all whole messages: what was noted of the oldest may be gone before they are. */
static uint64_t stretches_of(uint64_t size)
{
    return size / (RECENT_STRETCH * sizeof(struct record));
}

size_t recent_memory(uint64_t bytes)
{
    uint64_t size = size_of(bytes);
    return sizeof(struct recent) + size + sizeof(struct record) +
           size / BLOCK_BYTES_MIN * sizeof(struct block_entry) +
           stretches_of(size) * sizeof(struct recent_stretch);
}

struct recent *recent_create(uint64_t bytes)
{
    uint64_t size = size_of(bytes);
    struct recent *r = malloc(sizeof *r);
    if (r == NULL)
        return NULL;
    *r = (struct recent) { .mask = size - 1,
                           .block_mask = (uint32_t)(size / BLOCK_BYTES_MIN - 1),
                           .stretch_mask = stretches_of(size) - 1 };
    /* What marks the unused rest of the ring may be longer than that. */
    r->bytes = malloc(size + sizeof(struct record));
    r->blocks = malloc((r->block_mask + 1) * sizeof r->blocks[0]);
    r->stretches = calloc(r->stretch_mask + 1, sizeof r->stretches[0]);
    if (r->bytes != NULL && r->blocks != NULL && r->stretches != NULL)
        return r;
    recent_destroy(r);
    return NULL;
}

void recent_destroy(struct recent *r)
{
    if (r == NULL)
        return;
    free(r->bytes);
    free(r->blocks);
    free(r->stretches);
    free(r);
}

static struct recent_stretch *stretch_of(const struct recent *r, uint64_t seq)
{
    return &r->stretches[seq / RECENT_STRETCH & r->stretch_mask];
}

static struct record *record_at(const struct recent *r, uint64_t place)
{
    return (struct record *)(void *)(r->bytes + (place & r->mask));
}

static struct block_entry *entry_at(const struct recent *r, uint32_t index)
{
    return &r->blocks[(r->block_head + index) & r->block_mask];
}

/* The place of the record at or behind this one: what is unused is passed. */
static uint64_t used_place(const struct recent *r, uint64_t place)
{
    if (place < r->end && record_at(r, place)->seq == 0)
        place += record_at(r, place)->size;
    return place;
}

/* The oldest message leaves; a block that lacks it is whole no longer. */
static void drop_oldest(struct recent *r)
{
    const struct record *oldest = record_at(r, r->begin);
    if (r->block_count > 0 && entry_at(r, 0)->place == r->begin) {
        r->block_head++;
        r->block_count--;
    }
    if (oldest->seq != 0)
        r->left_seq = oldest->seq;
    r->begin += oldest->size;
}

static void make_room(struct recent *r, uint32_t size)
{
    uint64_t capacity = r->mask + 1;
    uint64_t at = r->end & r->mask;
    uint64_t unused = capacity - at < size ? capacity - at : 0;
    while (r->begin < r->end && r->end + unused + size - r->begin > capacity)
        drop_oldest(r);
    if (unused == 0)
        return;
    struct record *rest = record_at(r, r->end);
    rest->seq = 0;
    rest->size = (uint32_t)unused;
    r->end += unused;
    if (r->begin + unused == r->end)
        r->begin = r->end; /* nothing else is there */
}

static void begin_block(struct recent *r, uint64_t block, uint64_t timestamp_ns)
{
    if (r->left_seq + 1 > (block == 0 ? 1 : block * EDGE_BLOCK))
        return; /* its beginning is not there */
    if (r->block_count == r->block_mask + 1) {
        r->block_head++; /* it is kept, but not found as a whole one */
        r->block_count--;
    }
    *entry_at(r, r->block_count++) =
        (struct block_entry) { .block = block, .place = r->end, .timestamp_ns = timestamp_ns };
}

/* False: no room for one more. */
static bool note_in(uint32_t *all, uint8_t *count, uint32_t max, uint32_t what)
{
    for (uint32_t i = *count; i > 0; i--)
        if (all[i - 1] == what)
            return true;
    if (*count == max)
        return false;
    all[(*count)++] = what;
    return true;
}

static bool is_for_all(uint32_t topic)
{
    return topic == TOPIC_EPOCH || topic == TOPIC_GENESIS || topic == TOPIC_GRANT ||
           topic == TOPIC_GROUP;
}

/* Behind the message that was pushed last, `before` that of the one in front of it. */
static void note_stretch(struct recent *r, const struct message *m, uint64_t before)
{
    struct recent_stretch *t = stretch_of(r, m->seq);
    uint64_t number = m->seq / RECENT_STRETCH;
    if (before == 0 || before / RECENT_STRETCH != number)
        *t = (struct recent_stretch) { .number = number };
    else if (t->number != number)
        return; /* a fork has cut it */
    t->last_seq = m->seq;
    t->last_ns = m->timestamp_ns;
    t->end = r->end;
    if (m->topic == TOPIC_CLOCK)
        t->clock_ns = m->timestamp_ns;
    t->unknown = t->unknown || is_for_all(m->topic) ||
                 !note_in(t->topics, &t->topic_count, RECENT_STRETCH_TOPICS, m->topic) ||
                 (m->publisher != 0 && !note_in(t->publishers, &t->publisher_count,
                                                RECENT_STRETCH_PUBLISHERS, m->publisher));
}

void recent_push(struct recent *r, const struct run_message *m, uint64_t stable)
{
    const struct message *from = &m->message;
    uint32_t size = (uint32_t)(sizeof(struct record) + from->length + 7) & ~UINT32_C(7);
    assert(size <= r->mask / 2 && from->seq > r->last_seq);
    if (r->last_seq == 0 && r->left_seq == 0)
        r->left_seq = m->first_seq - 1;
    make_room(r, size);
    if (r->last_seq == 0 || from->seq / EDGE_BLOCK != r->last_seq / EDGE_BLOCK)
        begin_block(r, from->seq / EDGE_BLOCK, from->timestamp_ns);
    struct record *to = record_at(r, r->end);
    *to = (struct record) { .seq = from->seq,
                            .first_seq = m->first_seq,
                            .timestamp_ns = from->timestamp_ns,
                            .publisher_seq = from->publisher_seq,
                            .stable = stable,
                            .size = size,
                            .length = from->length,
                            .topic = from->topic,
                            .publisher = from->publisher,
                            .fragments = m->fragments,
                            .flags = from->flags };
    if (from->length > 0)
        batch_copy((uint8_t *)(to + 1), from->payload, from->length);
    r->end += size;
    uint64_t before = r->last_seq;
    r->last_seq = from->seq;
    note_stretch(r, from, before);
}

uint64_t recent_oldest(const struct recent *r)
{
    return r->last_seq != 0 ? r->left_seq + 1 : 0;
}

uint64_t recent_first(const struct recent *r)
{
    if (r->last_seq == 0)
        return 0;
    if (r->block_count == 0)
        return (r->last_seq / EDGE_BLOCK + 1) * EDGE_BLOCK;
    uint64_t first = entry_at(r, 0)->block * EDGE_BLOCK;
    return first != 0 ? first : 1;
}

uint64_t recent_end(const struct recent *r)
{
    return (r->last_seq != 0 ? r->last_seq : r->left_seq) + 1;
}

/* The newest indexed place at which, or behind which, the wanted is. */
static uint64_t indexed_place(const struct recent *r, uint64_t key, bool by_time)
{
    uint32_t low = 0, high = r->block_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct block_entry *e = entry_at(r, middle);
        if (by_time ? e->timestamp_ns < key : e->block <= key / EDGE_BLOCK)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? entry_at(r, low - 1)->place : r->begin;
}

bool recent_seek(const struct recent *r, uint64_t seq, struct recent_cursor *out)
{
    if (seq <= r->left_seq)
        return false;
    uint64_t place = r->end;
    if (r->last_seq >= seq) {
        place = used_place(r, indexed_place(r, seq, false));
        while (record_at(r, place)->seq < seq)
            place = used_place(r, place + record_at(r, place)->size);
    }
    *out = (struct recent_cursor) { .seq = seq, .place = place, .cuts = r->cuts };
    return true;
}

enum recent_result recent_next(const struct recent *r, struct recent_cursor *c,
                               struct run_message *out, uint64_t *stable)
{
    if ((c->cuts != r->cuts || c->place < r->begin) && !recent_seek(r, c->seq, c))
        return RECENT_GONE;
    uint64_t place = used_place(r, c->place);
    if (place >= r->end)
        return RECENT_END;
    const struct record *from = record_at(r, place);
    *out = (struct run_message) { .message = { .seq = from->seq,
                                               .timestamp_ns = from->timestamp_ns,
                                               .publisher_seq = from->publisher_seq,
                                               .topic = from->topic,
                                               .publisher = from->publisher,
                                               .flags = (uint8_t)from->flags,
                                               .length = from->length,
                                               .payload = (const uint8_t *)(from + 1) },
                                  .first_seq = from->first_seq,
                                  .fragments = from->fragments };
    *stable = from->stable;
    c->place = place + from->size;
    c->seq = from->seq + 1;
    return RECENT_MESSAGE;
}

const struct recent_stretch *recent_stretch(const struct recent *r, const struct recent_cursor *c)
{
    if (c->cuts != r->cuts || c->place < r->begin)
        return NULL;
    uint64_t place = used_place(r, c->place);
    if (place >= r->end)
        return NULL;
    uint64_t seq = record_at(r, place)->seq;
    const struct recent_stretch *t = stretch_of(r, seq);
    return t->number == seq / RECENT_STRETCH && !t->unknown ? t : NULL;
}

enum recent_result recent_find_time(const struct recent *r, uint64_t time_ns, uint64_t *first_seq)
{
    if (r->last_seq == 0)
        return RECENT_GONE;
    uint64_t oldest = used_place(r, r->begin);
    uint64_t place = used_place(r, indexed_place(r, time_ns, true));
    while (place < r->end && record_at(r, place)->timestamp_ns < time_ns)
        place = used_place(r, place + record_at(r, place)->size);
    if (place == r->end)
        return RECENT_END;
    if (place == oldest && r->left_seq != 0)
        return RECENT_GONE;
    *first_seq = record_at(r, place)->first_seq;
    return RECENT_MESSAGE;
}

void recent_fork(struct recent *r, uint64_t seq)
{
    r->cuts++;
    if (r->left_seq > seq)
        r->left_seq = seq;
    if (r->last_seq <= seq)
        return;
    stretch_of(r, seq)->number = UINT64_MAX; /* what it says of the rest is not known */
    while (r->block_count > 0 && record_at(r, entry_at(r, r->block_count - 1)->place)->seq > seq)
        r->block_count--;
    uint64_t place = r->block_count > 0 ? entry_at(r, r->block_count - 1)->place : r->begin;
    uint64_t end = place;
    r->last_seq = 0;
    for (place = used_place(r, place); place < r->end && record_at(r, place)->seq <= seq;
         place = used_place(r, end)) {
        r->last_seq = record_at(r, place)->seq;
        end = place + record_at(r, place)->size;
    }
    r->end = end;
}
