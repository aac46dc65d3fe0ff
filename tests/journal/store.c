#include "tests/journal/store.h"

void store_begin(struct store *s, const struct journal_options *options)
{
    *s = (struct store) { .options = *options, .now_ns = 1 };
    s->fake = fake_disk_new(1);
    s->disk = fake_disk_of(s->fake);
    s->buffer = aligned_alloc(DISK_BLOCK, STORE_BUFFER_BYTES);
    maker_init(&s->maker);
    maker_genesis(&s->maker, STORE);
    const struct made *genesis = &s->maker.made[0];
    ck_assert_int_eq(journal_format(s->disk, &s->options, MADE_STREAM, STORE, genesis->bytes,
                                    genesis->header.length, s->error),
                     JOURNAL_OK);
    store_open(s);
}

void store_end(struct store *s)
{
    store_crash(s);
    maker_free(&s->maker);
    fake_disk_free(s->fake);
    free(s->buffer);
}

enum journal_error store_try_open(struct store *s, uint64_t stream)
{
    enum journal_error code;
    s->journal = journal_open(s->disk, &s->options, stream, &s->report, &code, s->error);
    ck_assert((s->journal == NULL) == (code != JOURNAL_OK));
    return code;
}

void store_open(struct store *s)
{
    ck_assert_msg(store_try_open(s, MADE_STREAM) == JOURNAL_OK, "%s", s->error);
}

void store_crash(struct store *s)
{
    fake_disk_crash(s->fake);
    journal_close(s->journal);
    s->journal = NULL;
}

void store_complete_all(struct store *s)
{
    struct disk_completion done[8];
    uint32_t count;
    do {
        fake_disk_work(s->fake, 8);
        count = s->disk->ops->complete(s->disk, done, 8);
        for (uint32_t i = 0; i < count; i++)
            journal_on_disk(s->journal, &done[i]);
    } while (count > 0);
}

void store_settle(struct store *s)
{
    for (uint32_t i = 0; i < 1000 && !journal_idle(s->journal); i++) {
        journal_commit(s->journal);
        store_complete_all(s);
        (void)journal_step(s->journal, s->now_ns += 100000000);
    }
    ck_assert(journal_idle(s->journal));
}

void store_append_all(struct store *s)
{
    for (uint32_t tries = 0; journal_tail(s->journal).seq < maker_tail(&s->maker); tries++) {
        ck_assert_uint_lt(tries, 100000);
        const struct made *next = maker_find(&s->maker, journal_tail(s->journal).seq + 1);
        if (journal_append(s->journal, next->bytes, &next->header))
            continue;
        journal_commit(s->journal);
        store_complete_all(s);
        (void)journal_step(s->journal, ++s->now_ns);
    }
    store_settle(s);
}

void store_fill(struct store *s, uint32_t segments)
{
    for (uint32_t i = 0; i < segments * 110; i++) {
        if (i == 50) {
            s->maker.epoch = (struct epoch) { .number = 1, .candidate = 5 };
            maker_members(&s->maker, 3);
        }
        maker_batch(&s->maker, 1, 1050, (uint8_t)(i + 1));
    }
    store_append_all(s);
    (void)journal_step(s->journal, s->now_ns += 1000000000); /* idle: the mark comes to the tail */
    (void)journal_step(s->journal, s->now_ns += 1000000000);
    store_complete_all(s);
}

void store_check_reads(struct store *s)
{
    for (uint64_t seq = 1; seq <= maker_tail(&s->maker);) {
        struct journal_read read = { .first_seq = seq,
                                     .buffer = s->buffer,
                                     .capacity = STORE_BUFFER_BYTES };
        ck_assert(journal_read_begin(s->journal, &read));
        store_complete_all(s);
        ck_assert(read.done);
        ck_assert_msg(read.error == 0, "seq %lu: %d", seq, read.error);
        ck_assert_uint_gt(read.length, 0);
        for (const uint8_t *at = read.batches; at < read.batches + read.length;) {
            const struct made *made = maker_find(&s->maker, seq);
            ck_assert_mem_eq(at, made->bytes, made->header.length);
            at += journal_aligned(made->header.length);
            seq = batch_end_seq(&made->header);
        }
    }
}
