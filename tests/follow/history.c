#include "history.h"

#include <assert.h>
#include <stdlib.h>

#include "proto/topic.h"

static uint64_t unique = 1;

static struct batch_builder open_next(struct history *h)
{
    assert(h->count < HISTORY_BATCHES_MAX);
    struct batch_builder b;
    batch_open(&b, h->batches[h->count].bytes, HISTORY_BATCH_MAX, h->next_seq);
    return b;
}

static void close_next(struct history *h, struct batch_builder *b)
{
    struct batch_header *header = &h->batches[h->count].header;
    *header = (struct batch_header) { .stream = HISTORY_STREAM,
                                      .before = h->digest,
                                      .epoch = h->epoch,
                                      .timestamp_ns = 1000 * h->next_seq,
                                      .stable = h->stable };
    batch_close(b, 0, header);
    h->count++;
    h->next_seq = batch_end_seq(header);
    h->digest = header->digest;
}

struct history *history_new(void)
{
    struct history *h = calloc(1, sizeof *h);
    assert(h != NULL);
    h->next_seq = 1;
    epoch_table_append(&h->epochs, (struct epoch_entry) { .first_seq = 1 });
    struct batch_builder b = open_next(h);
    batch_add(&b, TOPIC_GENESIS, 0, 0, 0, "genesis", 7);
    close_next(h, &b);
    return h;
}

struct history *history_copy(const struct history *from)
{
    struct history *h = malloc(sizeof *h);
    assert(h != NULL);
    *h = *from;
    return h;
}

void history_cut(struct history *h, uint32_t count)
{
    assert(count > 0 && count <= h->count);
    const struct batch_header *last = &h->batches[count - 1].header;
    h->count = count;
    h->next_seq = batch_end_seq(last);
    h->digest = last->digest;
    h->epoch = last->epoch;
    h->stable = last->stable;
    epoch_table_cut(&h->epochs, h->next_seq - 1);
}

void history_begin_short(struct history *h, uint32_t number, uint32_t entries)
{
    struct sys_epoch e = { .epoch = { .number = number, .candidate = 100 + number },
                           .adopted = { .epoch = h->epoch, .seq = h->next_seq - 1 },
                           .digest = h->digest,
                           .how = SYS_EPOCH_STARTED };
    e.entry_count = h->epochs.count < entries ? h->epochs.count : entries;
    memcpy(e.entries, &h->epochs.entries[h->epochs.count - e.entry_count],
           e.entry_count * sizeof e.entries[0]);
    h->epoch = e.epoch;
    h->stable = 0;
    epoch_table_append(
        &h->epochs,
        (struct epoch_entry) { .epoch = e.epoch, .first_seq = h->next_seq, .before = h->digest });
    uint8_t payload[SYS_PAYLOAD_MAX];
    size_t length = sys_epoch_encode(&e, payload, sizeof payload);
    assert(length > 0);
    struct batch_builder b = open_next(h);
    batch_add(&b, TOPIC_EPOCH, 0, 0, 0, payload, (uint32_t)length);
    close_next(h, &b);
}

void history_begin(struct history *h, uint32_t number)
{
    history_begin_short(h, number, EPOCH_RECORD_ENTRIES);
}

void history_write(struct history *h, uint32_t messages)
{
    struct batch_builder b = open_next(h);
    for (uint32_t i = 0; i < messages; i++) {
        unique++;
        batch_add(&b, TOPIC_FIRST_USER, 1, unique, 0, &unique, sizeof unique);
    }
    close_next(h, &b);
}

struct heartbeat history_heartbeat(const struct history *h, uint32_t count)
{
    const struct batch_header *last = &h->batches[count - 1].header;
    return (struct heartbeat) { .epoch = h->epoch,
                                .next_seq = batch_end_seq(last),
                                .digest = last->digest,
                                .stable = h->stable,
                                .time_ns = last->timestamp_ns,
                                .epoch_first_seq =
                                    h->epochs.entries[h->epochs.count - 1].first_seq };
}

uint32_t history_find(const struct history *h, uint64_t seq)
{
    uint32_t i = 0;
    while (i < h->count && batch_end_seq(&h->batches[i].header) <= seq)
        i++;
    return i;
}

struct digest history_before(const struct history *h, uint64_t seq)
{
    uint32_t i = history_find(h, seq);
    if (i == h->count)
        return h->digest;
    assert(h->batches[i].header.first_seq == seq);
    return h->batches[i].header.before;
}
