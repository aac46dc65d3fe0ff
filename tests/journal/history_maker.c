#include "tests/journal/history_maker.h"

#include <stdlib.h>

void maker_init(struct history_maker *m)
{
    memset(m, 0, sizeof *m);
    m->made = calloc(MADE_MAX, sizeof *m->made);
    if (m->made == NULL)
        abort();
    m->time_ns = 1000;
}

void maker_free(struct history_maker *m)
{
    for (uint32_t i = 0; i < m->count; i++)
        free(m->made[i].bytes);
    free(m->made);
}

uint64_t maker_tail(const struct history_maker *m)
{
    return m->count == 0 ? 0 : batch_end_seq(&m->made[m->count - 1].header) - 1;
}

struct digest maker_digest(const struct history_maker *m)
{
    return m->count == 0 ? (struct digest) { 0, 0 } : m->made[m->count - 1].header.digest;
}

static struct made *next(struct history_maker *m, size_t capacity)
{
    if (m->count == MADE_MAX)
        abort();
    struct made *made = &m->made[m->count];
    made->bytes = calloc(1, capacity + 8);
    if (made->bytes == NULL)
        abort();
    return made;
}

static void close_batch(struct history_maker *m, struct made *made, struct batch_builder *b)
{
    m->time_ns += 10;
    made->header = (struct batch_header) { .stream = MADE_STREAM,
                                           .before = maker_digest(m),
                                           .epoch = m->epoch,
                                           .timestamp_ns = m->time_ns };
    batch_close(b, 0, &made->header);
    m->count++;
}

void maker_genesis(struct history_maker *m, uint64_t store)
{
    struct sys_genesis genesis = { .stream = MADE_STREAM,
                                   .created_ns = m->time_ns,
                                   .protocol_version = 1,
                                   .members = { .seq = 1, .count = 1, .stores = { store } } };
    struct made *made = next(m, 4096);
    size_t length = genesis_batch(&genesis, made->bytes, 4096);
    if (batch_verify(made->bytes, length, MADE_STREAM, &made->header) != WIRE_OK)
        abort();
    m->count++;
}

void maker_batch(struct history_maker *m, uint16_t count, uint32_t payload, uint8_t fill)
{
    uint32_t capacity = WIRE_DATAGRAM_MAX;
    struct made *made = next(m, capacity);
    struct batch_builder b;
    batch_open(&b, made->bytes, capacity, maker_tail(m) + 1);
    uint8_t bytes[MESSAGE_PAYLOAD_MAX];
    memset(bytes, fill, sizeof bytes);
    for (uint16_t i = 0; i < count && batch_fits(&b, payload); i++)
        (void)batch_add(&b, TOPIC_FIRST_USER, 1, maker_tail(m) + 1 + i, 0, bytes, payload);
    close_batch(m, made, &b);
}

void maker_members(struct history_maker *m, uint32_t stores)
{
    struct membership members = { .count = stores };
    for (uint32_t i = 0; i < stores; i++)
        members.stores[i] = i + 1;
    uint8_t payload[SYS_PAYLOAD_MAX];
    size_t length = sys_member_encode(&members, payload, sizeof payload);
    struct made *made = next(m, 2048);
    struct batch_builder b;
    batch_open(&b, made->bytes, 2048, maker_tail(m) + 1);
    (void)batch_add(&b, TOPIC_FIRST_USER, 1, 1, 0, "x", 1);
    (void)batch_add(&b, TOPIC_MEMBER, 0, 0, 0, payload, (uint32_t)length);
    close_batch(m, made, &b);
}

void maker_cut(struct history_maker *m, uint64_t seq)
{
    while (maker_tail(m) > seq)
        free(m->made[--m->count].bytes);
}

const struct made *maker_find(const struct history_maker *m, uint64_t seq)
{
    uint32_t low = 0, high = m->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (batch_end_seq(&m->made[middle].header) <= seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low == m->count ? NULL : &m->made[low];
}
