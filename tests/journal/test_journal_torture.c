/* Random lives of a store on a disk that tears and refuses.
 *
 * Each life opens the store, checks it against the history that was offered to it, then appends,
 * commits, promises, cuts, reads and lets time pass in random order, and ends in a power loss at a
 * random moment, inside a cut or a recovery too. Of what was in flight any subset of 512-byte
 * sectors arrives. What must hold: all that was reported durable is there with the same digest;
 * what is there is a prefix of what was offered; promises survive; nothing is called damage; reads
 * give the offered bytes; epochs and members are those of the tail; the journal, continued, accepts
 * the next batch; no block of a segment is written twice. A failure names its seed.
 *
 * In the second kind of life bits of closed segments flip too, at any time; the scrub runs, and
 * pieces found damaged are put back, or not, before the next power loss, which may fall into the
 * putting back. Then reads may say that they are damaged, never give other bytes; and at the end,
 * when the scrub has passed and all is healed, every byte is as it was offered. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/journal/fake_disk.h"
#include "tests/journal/history_maker.h"

#define STORE UINT64_C(77)

struct life {
    struct fake_disk *fake;
    struct disk *disk;
    struct journal_options options;
    struct journal *j;
    struct history_maker maker;
    uint64_t durable_seq;
    struct epoch promised;
    struct epoch asked; /* not answered yet: may or may not have arrived */
    uint64_t now_ns;
    uint64_t seed;
    uint64_t cut_floor; /* an interrupted cut may have happened down to here */
    uint8_t *buffer;
    bool rot;
    uint64_t flipped;
};

static uint64_t roll(struct life *l, uint64_t sides)
{
    return fake_disk_random(l->fake) % sides;
}

static void offer(struct life *l)
{
    struct history_maker *m = &l->maker;
    const struct made *next = maker_find(m, journal_tail(l->j).seq + 1);
    if (next == NULL) {
        uint64_t kind = roll(l, 40);
        if (kind == 0)
            m->epoch = (struct epoch) { .number = m->epoch.number + 1, .candidate = l->seed };
        uint32_t payload = kind < 4 ? (uint32_t)roll(l, 8000) : (uint32_t)roll(l, 300);
        if (kind == 39)
            maker_members(m, 1 + (uint32_t)roll(l, 5));
        else
            maker_batch(m, (uint16_t)(1 + roll(l, 4)), payload, (uint8_t)roll(l, 256));
        next = &m->made[m->count - 1];
    }
    (void)journal_append(l->j, next->bytes, &next->header);
}

static void complete(struct life *l)
{
    struct disk_completion done[8];
    uint32_t count;
    while ((count = l->disk->ops->complete(l->disk, done, 8)) > 0)
        for (uint32_t i = 0; i < count; i++)
            journal_on_disk(l->j, &done[i]);
    l->durable_seq = journal_durable(l->j).seq;
    if (epoch_equal(journal_promised(l->j), l->asked))
        l->promised = l->asked;
}

static void check_bytes(struct life *l, const uint8_t *bytes, uint32_t length, uint64_t seq)
{
    const uint8_t *end = bytes + length;
    while (bytes < end) {
        const struct made *made = maker_find(&l->maker, seq);
        ck_assert_msg(made != NULL, "seed %lu: seq %lu was never offered", l->seed, seq);
        ck_assert_msg(memcmp(bytes, made->bytes, made->header.length) == 0,
                      "seed %lu: seq %lu differs", l->seed, seq);
        seq = batch_end_seq(&made->header);
        bytes += journal_aligned(made->header.length);
    }
}

static void read_somewhere(struct life *l)
{
    uint64_t tail = journal_tail(l->j).seq;
    if (tail == 0)
        return;
    struct journal_read read = { .first_seq = 1 + roll(l, tail),
                                 .buffer = l->buffer,
                                 .capacity = 128 * 1024 };
    ck_assert(journal_read_begin(l->j, &read));
    for (uint32_t i = 0; !read.done && i < 10000; i++) {
        fake_disk_work(l->fake, 1);
        complete(l);
    }
    if (l->rot && read.done && read.error == -EILSEQ)
        return;
    ck_assert_msg(read.done && read.error == 0, "seed %lu: read of %lu (tail %lu): %d", l->seed,
                  read.first_seq, tail, read.error);
    const struct made *first = maker_find(&l->maker, read.first_seq);
    check_bytes(l, read.batches, read.length, first->header.first_seq);
}

static void cut_somewhere(struct life *l, bool die)
{
    if (l->durable_seq < 3)
        return;
    uint64_t span = roll(l, 4) == 0 ? l->durable_seq - 1 : (l->durable_seq - 1) % 40;
    const struct made *made = maker_find(&l->maker, l->durable_seq - roll(l, span + 1));
    uint64_t seq = batch_end_seq(&made->header) - 1;
    if (seq > l->durable_seq)
        return;
    if (die)
        fake_disk_die_after(l->fake, (uint32_t)roll(l, 5));
    bool cut = journal_cut(l->j, seq, made->header.digest);
    if (!cut) {
        if (die)
            l->cut_floor = seq;
        return;
    }
    ck_assert_uint_eq(journal_tail(l->j).seq, seq);
    maker_cut(&l->maker, seq);
    l->durable_seq = seq;
    l->maker.epoch = made->header.epoch;
    l->maker.epoch.number += 1;
    l->maker.epoch.candidate = l->seed;
}

static void check_history(struct life *l)
{
    struct journal *j = l->j;
    uint64_t tail = journal_tail(j).seq;
    const struct epoch_table *table = journal_epochs(j);
    uint32_t entry = 0;
    uint64_t members_seq = 0;
    for (uint32_t i = 0; i < l->maker.count; i++) {
        const struct batch_header *h = &l->maker.made[i].header;
        if (h->first_seq > tail)
            break;
        if (i == 0 || !epoch_equal(h->epoch, l->maker.made[i - 1].header.epoch)) {
            ck_assert_msg(entry < table->count, "seed %lu: epochs missing", l->seed);
            ck_assert(epoch_equal(table->entries[entry].epoch, h->epoch));
            ck_assert_uint_eq(table->entries[entry].first_seq, h->first_seq);
            entry++;
        }
        struct batch_cursor c = batch_begin(l->maker.made[i].bytes, h);
        struct message message;
        while (batch_next(&c, &message))
            if (message.topic == TOPIC_MEMBER || message.topic == TOPIC_GENESIS)
                members_seq = message.seq;
    }
    ck_assert_msg(entry == table->count, "seed %lu: epochs too many", l->seed);
    ck_assert_msg(journal_members(j)->seq == members_seq, "seed %lu: members", l->seed);
}

static bool reopen(struct life *l, bool may_die)
{
    struct journal_report report;
    enum journal_error code;
    char error[JOURNAL_ERROR_MAX];
    if (may_die)
        fake_disk_die_after(l->fake, (uint32_t)roll(l, 4));
    l->j = journal_open(l->disk, &l->options, MADE_STREAM, &report, &code, error);
    if (l->j == NULL) {
        ck_assert_msg(may_die && code == JOURNAL_IO, "seed %lu: %s", l->seed, error);
        fake_disk_crash(l->fake);
        return false;
    }
    fake_disk_die_after(l->fake, UINT32_MAX);
    uint64_t tail = report.tail.seq;
    uint64_t least =
        l->cut_floor != 0 && l->cut_floor < l->durable_seq ? l->cut_floor : l->durable_seq;
    ck_assert_msg(!report.damaged || l->rot, "seed %lu: damage reported at %lu of %lu", l->seed,
                  report.damaged_seq, tail);
    ck_assert_msg(tail >= least, "seed %lu: %lu was durable, %lu is there", l->seed, least, tail);
    ck_assert(journal_proven(l->j) == !report.damaged);
    if (tail > 0) {
        const struct made *made = maker_find(&l->maker, tail);
        ck_assert_msg(made != NULL && batch_end_seq(&made->header) - 1 == tail &&
                          digest_equal(made->header.digest, report.digest),
                      "seed %lu: tail %lu is not what was offered", l->seed, tail);
    }
    if (tail < l->durable_seq) {
        maker_cut(&l->maker, tail); /* the interrupted cut happened */
        l->maker.epoch.number += 1;
    }
    l->cut_floor = 0;
    l->durable_seq = tail;
    ck_assert_msg(epoch_equal(report.promised, l->promised) ||
                      epoch_equal(report.promised, l->asked),
                  "seed %lu: promise lost", l->seed);
    l->promised = l->asked = report.promised;
    check_history(l);
    return true;
}

/* A bit of a batch in a segment that is closed for certain: there are two behind it. */
static void flip_somewhere(struct life *l)
{
    char name[DISK_NAME_MAX + 1];
    uint32_t segments = 0;
    do
        snprintf(name, sizeof name, "segment-%08u", ++segments);
    while (fake_disk_has(l->fake, name));
    if (segments < 4)
        return;
    snprintf(name, sizeof name, "segment-%08u", 1 + (uint32_t)roll(l, segments - 3));
    uint64_t from = UINT64_C(8) * DISK_BLOCK, size = fake_disk_size(l->fake, name);
    fake_disk_bytes(l->fake, name)[from + roll(l, size - from)] ^= (uint8_t)(1 << roll(l, 8));
    l->flipped++;
}

/* Puts back one batch of each piece. */
static void heal_some(struct life *l)
{
    for (uint32_t i = 0; i < journal_damage_count(l->j); i++) {
        uint64_t first_seq, end_seq;
        journal_damage(l->j, i, &first_seq, &end_seq);
        const struct made *made = maker_find(&l->maker, first_seq);
        ck_assert_msg(made != NULL, "seed %lu: damage at %lu", l->seed, first_seq);
        (void)journal_heal(l->j, made->bytes, &made->header);
    }
}

static void rot_and_heal(struct life *l)
{
    uint64_t what = roll(l, 10);
    if (what == 0 && roll(l, 3) == 0)
        flip_somewhere(l);
    else if (what < 6)
        (void)journal_scrub(l->j);
    else if (roll(l, 2) == 0)
        heal_some(l);
}

/* Everything is found, healed, and read again. */
static void check_whole(struct life *l)
{
    for (uint32_t passes = 0; passes < 40; passes++) {
        uint64_t found = journal_counters(l->j)[COUNTER_SCRUB_FOUND];
        for (uint32_t i = 0; i < 100000 && journal_scrub(l->j) != JOURNAL_SCRUB_END; i++) {
            fake_disk_work(l->fake, 1);
            complete(l);
        }
        bool whole = journal_proven(l->j);
        for (uint32_t i = 0; i < 100000 && !journal_proven(l->j); i++) {
            heal_some(l);
            (void)journal_step(l->j, l->now_ns += 1000000);
            fake_disk_work(l->fake, 1);
            complete(l);
        }
        ck_assert_msg(journal_proven(l->j), "seed %lu: does not heal", l->seed);
        if (whole && found == journal_counters(l->j)[COUNTER_SCRUB_FOUND])
            break;
    }
    uint64_t tail = journal_tail(l->j).seq;
    for (uint64_t seq = 1; seq <= tail;) {
        struct journal_read read = { .first_seq = seq,
                                     .buffer = l->buffer,
                                     .capacity = 128 * 1024 };
        ck_assert(journal_read_begin(l->j, &read));
        for (uint32_t i = 0; !read.done && i < 10000; i++) {
            fake_disk_work(l->fake, 1);
            complete(l);
        }
        ck_assert_msg(read.done && read.error == 0, "seed %lu: %lu is not readable: %d", l->seed,
                      seq, read.error);
        check_bytes(l, read.batches, read.length, seq);
        for (const uint8_t *at = read.batches; at < read.batches + read.length;) {
            const struct made *made = maker_find(&l->maker, seq);
            seq = batch_end_seq(&made->header);
            at += journal_aligned(made->header.length);
        }
    }
}

static void live(struct life *l)
{
    uint64_t steps = roll(l, 600);
    for (uint64_t i = 0; i < steps; i++) {
        uint64_t what = roll(l, 100);
        if (what < 45) {
            offer(l);
        } else if (what < 60) {
            journal_commit(l->j);
        } else if (what < 80) {
            fake_disk_work(l->fake, 1 + (uint32_t)roll(l, 3));
            complete(l);
        } else if (what < 90) {
            l->now_ns += roll(l, 3) * 1000000;
            (void)journal_step(l->j, l->now_ns);
        } else if (what < 93) {
            read_somewhere(l);
        } else if (what < 94) {
            struct epoch epoch = { .number = l->promised.number + 1 + (uint32_t)roll(l, 3),
                                   .candidate = l->seed };
            if (journal_promise(l->j, epoch))
                l->asked = epoch;
        } else if (what < 96) {
            fake_disk_refuse(l->fake, roll(l, 2) == 0 ? ENOSPC : EIO, false);
            if (roll(l, 2) == 0)
                fake_disk_refuse(l->fake, 0, false);
        } else if (what < 98) {
            fake_disk_refuse(l->fake, 0, false);
        } else if (what == 98 && roll(l, 6) == 0) {
            cut_somewhere(l, false);
        }
        if (l->rot && what % 4 == 0)
            rot_and_heal(l);
    }
    if (roll(l, 6) == 0) {
        cut_somewhere(l, true);
    } else if (l->rot && roll(l, 3) == 0) {
        fake_disk_die_after(l->fake, (uint32_t)roll(l, 3));
        heal_some(l);
    }
}

static void torture(uint64_t seed, uint32_t lives, bool rot)
{
    struct life l = { .fake = fake_disk_new(seed), .seed = seed, .rot = rot };
    l.disk = fake_disk_of(l.fake);
    l.options = (struct journal_options) { .segment_bytes = 65536 + roll(&l, 4) * 65536,
                                           .commit_bytes = 65536,
                                           .recent_bytes = 65536 + roll(&l, 3) * 100000,
                                           .segments_max = 400 };
    l.buffer = aligned_alloc(DISK_BLOCK, 128 * 1024);
    ck_assert_ptr_nonnull(l.buffer);
    maker_init(&l.maker);
    maker_genesis(&l.maker, STORE);
    char error[JOURNAL_ERROR_MAX];
    bool empty = roll(&l, 3) == 0;
    ck_assert_int_eq(journal_format(l.disk, &l.options, MADE_STREAM, STORE, l.maker.made[0].bytes,
                                    empty ? 0 : l.maker.made[0].header.length, error),
                     JOURNAL_OK);
    l.durable_seq = empty ? 0 : 1;
    for (uint32_t i = 0; i < lives; i++) {
        bool may_die = roll(&l, 5) == 0;
        if (!reopen(&l, may_die))
            continue;
        if (l.maker.count < MADE_MAX - 1000)
            live(&l);
        fake_disk_crash(l.fake);
        journal_close(l.j);
    }
    fake_disk_refuse(l.fake, 0, false);
    if (rot && reopen(&l, false)) {
        check_whole(&l);
        ck_assert_uint_gt(l.flipped, 0);
        fake_disk_crash(l.fake);
        journal_close(l.j);
    }
    ck_assert_msg(fake_disk_rewrites(l.fake) == 0, "seed %lu: %lu blocks written again", seed,
                  fake_disk_rewrites(l.fake));
    ck_assert_uint_gt(fake_disk_segment_writes(l.fake), 0);
    maker_free(&l.maker);
    free(l.buffer);
    fake_disk_free(l.fake);
}

static void tortures(uint64_t first, bool rot)
{
    const char *one = getenv("JOURNAL_TORTURE_SEED");
    if (one != NULL) {
        torture(strtoull(one, NULL, 10), 30, rot);
        return;
    }
    const char *runs = getenv("JOURNAL_TORTURE_RUNS");
    uint64_t count = runs == NULL ? 10 : strtoull(runs, NULL, 10);
    for (uint64_t i = 0; i < count; i++)
        torture(first * 100000 + i, 30, rot);
}

START_TEST(crashes)
{
    tortures((uint64_t)_i, false);
}
END_TEST

START_TEST(crashes_and_rot)
{
    tortures((uint64_t)_i, true);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("journal_torture");
    TCase *tcase = tcase_create("crashes");
    tcase_add_loop_test(tcase, crashes, 1, 13);
    tcase_add_loop_test(tcase, crashes_and_rot, 1, 5);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
