/* Goal: the second copy of the state machines, which the leader brings forward in whole batches and
 * with fewer checks than the tip, is the tip's as of the watermark; and the tip, after any mixture of
 * plain messages, runs, rejects, conditions, topics and joins, is what applying the stream message by
 * message makes. Both at random, compared by digest after every acknowledgement. */
#include "sequencer/core_private.h"
#include "tests/sequencer/suite.h"

enum { PUBLISHERS = 5, TOPICS = 6, TURNS = 1500 };

struct load {
    struct suite *t;
    uint64_t random;
    uint32_t publishers[PUBLISHERS];
    uint64_t next[PUBLISHERS];
    uint32_t topics[TOPICS];
};

static uint32_t below(struct load *l, uint32_t end)
{
    l->random = l->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((l->random >> 33) % end);
}

/* Applies the stream as it was emitted, message by message, through `last`. */
static void check_against_stream(const struct load *l, uint64_t last, const struct ledger *ledger,
                                 const struct catalog *catalog)
{
    struct ledger other;
    struct catalog *names = catalog_create(&l->t->options.catalog);
    ck_assert(ledger_init(&other, &l->t->options.catalog));
    ck_assert_ptr_nonnull(names);
    for (uint64_t seq = 1; seq <= last; seq++) {
        const struct seen *seen = &l->t->seen[seq - 1];
        catalog_apply(names, &seen->m, &seen->batch);
        ck_assert(ledger_apply(&other, &seen->m));
    }
    ck_assert_uint_eq(ledger_digest(&other), ledger_digest(ledger));
    ck_assert_uint_eq(catalog_digest(names), catalog_digest(catalog));
    ledger_close(&other);
    catalog_destroy(names);
}

static void check(const struct load *l)
{
    const struct sequencer *s = l->t->core;
    ck_assert(s->base.valid);
    check_against_stream(l, l->t->tip, &s->ledger, s->catalog);
    check_against_stream(l, s->base.next_seq - 1, &s->base.ledger, s->base.catalog);
}

static struct load load_of(uint64_t seed)
{
    struct load l = { .t = suite_new(), .random = seed };
    l.t->options.catalog = (struct catalog_options) { .topics_max = 256, .publishers_max = 32 };
    suite_lead(l.t, 1);
    for (uint32_t i = 0; i < PUBLISHERS; i++) {
        char name[16];
        snprintf(name, sizeof name, "p%u", i);
        l.publishers[i] = suite_join(l.t, name);
        l.next[i] = 1;
    }
    for (uint32_t i = 0; i < TOPICS; i++) {
        char path[16];
        snprintf(path, sizeof path, "/t/%u", i);
        l.topics[i] = suite_topic(l.t, l.publishers[0], path);
    }
    return l;
}

/* A run, which may be cut off by the end of the datagram: its rest is then never sent, and a later
 * turn begins anew behind it. */
static uint32_t add_run(struct load *l, struct offer *o)
{
    uint8_t payload[64] = { 1, 2, 3 };
    uint32_t count = 1 + below(l, 5);
    for (uint32_t i = 0; i < count; i++)
        offer_add(o, l->topics[below(l, TOPICS)], i + 1 < count ? MESSAGE_MORE : 0, payload,
                  below(l, 64));
    return count;
}

static uint32_t add_something(struct load *l, struct offer *o)
{
    uint8_t payload[64] = { 9 };
    char path[24];
    switch (below(l, 12)) {
    case 0:
        return add_run(l, o);
    case 1: /* not there, not permitted: both are rejected */
        offer_add(o, below(l, 2) ? 200 : TOPIC_CLOCK, 0, payload, 5);
        return 1;
    case 2:
        offer_add_if(o, l->topics[below(l, TOPICS)], 0, l->topics[below(l, TOPICS)],
                     below(l, 2) ? l->t->tip : 0);
        return 1;
    case 3:
        snprintf(path, sizeof path, "/n/%u", below(l, 40));
        offer_add(o, TOPIC_TOPIC, 0, path, (uint32_t)strlen(path));
        return 1;
    default:
        offer_add(o, l->topics[below(l, TOPICS)], 0, payload, below(l, 64));
        return 1;
    }
}

static void turn(struct load *l)
{
    static struct offer o;
    uint32_t p = below(l, PUBLISHERS);
    offer_open(l->t, &o, l->publishers[p], l->next[p]);
    for (uint32_t i = 1 + below(l, 8); i > 0; i--)
        l->next[p] += add_something(l, &o);
    offer_give(l->t, &o);
    if (below(l, 3) == 0)
        suite_run(l->t);
}

START_TEST(tip_and_base_are_functions_of_the_stream)
{
    struct load l = load_of((uint64_t)_i + 1);
    uint64_t plain = 0;
    for (uint32_t i = 0; i < TURNS; i++) {
        turn(&l);
        if (below(&l, 60) != 0)
            continue;
        suite_run(l.t);
        suite_ack(l.t, 1, l.t->tip);
        suite_run(l.t);
        check(&l);
        ck_assert_uint_eq(l.t->core->base.next_seq, l.t->tip + 1);
    }
    suite_run(l.t);
    for (uint64_t i = l.t->core->ring_head; i < l.t->core->ring_end; i++)
        plain += ring_slot_at(l.t->core, i)->plain;
    ck_assert_uint_gt(plain, 20); /* both ways were taken */
    ck_assert_uint_lt(plain, l.t->core->ring_end - l.t->core->ring_head);
    for (uint32_t i = 0; i < PUBLISHERS; i++)
        ck_assert_uint_eq(ledger_next(sequencer_ledger(l.t->core), l.publishers[i]), l.next[i]);
    check(&l);
    suite_free(l.t);
}
END_TEST

/* What is in a rejected run's rest, or in a run that is being emitted over several steps, is taken
 * one by one; a plain batch in the ring never begins inside a run. */
START_TEST(a_rollback_makes_the_tip_from_the_base)
{
    struct load l = load_of((uint64_t)_i + 100);
    for (uint32_t i = 0; i < 200; i++)
        turn(&l);
    suite_run(l.t);
    uint64_t stable = l.t->last_batch.first_seq - 1;
    suite_ack(l.t, 1, stable);
    suite_run(l.t);
    for (uint32_t i = 0; i < 200; i++)
        turn(&l);
    suite_run(l.t);
    struct sequencer *s = l.t->core;
    uint64_t middle = s->base.index + (s->ring_end - s->base.index) / 2;
    uint64_t first_seq = ring_slot_at(s, middle)->first_seq;
    ck_assert(base_rollback(s, first_seq));
    check_against_stream(&l, first_seq - 1, &s->ledger, s->catalog);
    suite_free(l.t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base");
    TCase *tcase = tcase_create("base");
    tcase_add_loop_test(tcase, tip_and_base_are_functions_of_the_stream, 0, 6);
    tcase_add_loop_test(tcase, a_rollback_makes_the_tip_from_the_base, 0, 6);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
