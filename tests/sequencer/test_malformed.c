/* Goal: no datagram, whatever its bytes, crashes a sequencer or gets into the stream; each is
 * counted. Every type is given valid, cut at every length, with every bit flipped, and patched so
 * that its checksum is right again, to a leader and to one that seals. suite.c gives exact-size
 * copies, so that sanitizers see any read beyond the end. */
#include "proto/hash.h"
#include "tests/sequencer/suite.h"

enum { KINDS = 12 };

struct datagram {
    uint8_t bytes[WIRE_DATAGRAM_DEFAULT];
    size_t length;
};

static void make_proposals(struct suite *t, struct datagram *d)
{
    struct offer o;
    offer_open(t, &o, 1, 1);
    offer_add(&o, TOPIC_FIRST_USER, 0, "hello", 5);
    offer_add_if(&o, TOPIC_FIRST_USER, MESSAGE_MORE, TOPIC_FIRST_USER, 3);
    offer_add(&o, TOPIC_FIRST_USER, 0, "there", 5);
    offer_add(&o, TOPIC_TOPIC, 0, "/new", 4);
    d->length = proposal_close(&o.builder, SUITE_STREAM, &o.header);
    memcpy(d->bytes, o.bytes, d->length);
}

static void make_batch(const struct suite *t, struct datagram *d)
{
    struct batch_builder b;
    struct batch_header h = { .stream = SUITE_STREAM,
                              .epoch = { .number = 1, .candidate = 7 },
                              .before = t->digest };
    batch_open(&b, d->bytes, sizeof d->bytes, t->tip + 1);
    batch_add(&b, TOPIC_FIRST_USER, 1, 1, 0, "x", 1);
    batch_close(&b, 0, &h);
    d->length = h.length;
}

static uint32_t make_all(struct suite *t, struct datagram d[KINDS])
{
    uint32_t n = 0;
    struct epoch epoch = { .number = 1, .candidate = 7 };
    make_proposals(t, &d[n++]);
    make_batch(t, &d[n++]);
#define MAKE(type, ...)                                                                            \
    do {                                                                                           \
        struct type in = { __VA_ARGS__ };                                                          \
        d[n].length = type##_encode(&in, SUITE_STREAM, d[n].bytes, sizeof d[n].bytes);             \
        ck_assert_uint_gt(d[n].length, 0);                                                         \
        n++;                                                                                       \
    } while (0)
    MAKE(heartbeat, .epoch = epoch, .next_seq = 3, .epoch_first_seq = 2);
    MAKE(gap_request, .epoch = epoch, .first_seq = 1, .end_seq = 5);
    MAKE(gap_refusal, .reason = GAP_PRUNED, .first_seq = 1, .oldest_seq = 2, .end_seq = 5);
    MAKE(ack, .store = 1, .promised = epoch, .tail = { .epoch = epoch, .seq = 2 });
    MAKE(seal, .epoch = epoch);
    MAKE(join, .wanted = 1, .identity = "mallory");
    MAKE(create, .publisher = 1, .path = "/a/b");
    MAKE(hint, .reason = HINT_AHEAD);
#undef MAKE
    struct promise p = suite_promise(t, 1);
    d[n].length = promise_encode(&p, SUITE_STREAM, d[n].bytes, sizeof d[n].bytes);
    ck_assert_uint_gt(d[n].length, 0);
    n++;
    memset(d[n].bytes, 0xa5, 100);
    d[n++].length = 100;
    return n;
}

static uint64_t dropped(const struct suite *t)
{
    uint64_t n = 0;
    for (enum counter c = COUNTER_DROPPED_SHORT; c <= COUNTER_DROPPED_MALFORMED; c++)
        n += suite_counter(t, c);
    return n;
}

static struct suite *leading(void)
{
    struct suite *t = suite_new();
    suite_volatile(t);
    suite_join(t, "alice");
    suite_topic(t, 1, "/t");
    return t;
}

static struct suite *sealing(void)
{
    struct suite *t = suite_new();
    suite_recorded(t, 3);
    suite_step(t);
    return t;
}

static void damage(struct suite *t)
{
    static struct datagram all[KINDS];
    uint32_t kinds = make_all(t, all);
    uint64_t tip = t->tip;
    enum sequencer_state state = sequencer_state(t->core);
    uint64_t given = 0;
    uint64_t before = dropped(t);
    for (uint32_t k = 0; k < kinds; k++) {
        struct datagram *d = &all[k];
        for (size_t length = 0; length < d->length; length++, given++)
            suite_give(t, d->bytes, length);
        for (size_t bit = 0; bit < d->length * 8; bit++, given++) {
            d->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            suite_give(t, d->bytes, d->length);
            d->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        suite_run(t);
    }
    ck_assert_uint_eq(t->tip, tip);
    ck_assert_int_eq(sequencer_state(t->core), state);
    /* All but a leader's look at a batch, which begins with the epoch, and hints, which nobody
     * decodes: both are ignored before they are looked at. */
    ck_assert_uint_gt(dropped(t) - before, given / 2);
    suite_free(t);
}

START_TEST(damage_to_a_leader)
{
    damage(leading());
}
END_TEST

START_TEST(damage_to_a_candidate)
{
    damage(sealing());
}
END_TEST

static void mend(struct datagram *d)
{
    uint64_t seed = hash_seed(wire_load64(d->bytes), wire_load64(d->bytes + 8));
    if (d->bytes[3] == WIRE_BATCH) {
        struct digest digest = hash128(d->bytes + 32, d->length - 32, seed);
        wire_store64(d->bytes + 16, digest.low);
        wire_store64(d->bytes + 24, digest.high);
    } else {
        wire_store64(d->bytes + 16, hash64(d->bytes + 24, d->length - 24, seed));
    }
}

/* Well-formed as far as checksums tell, nonsense otherwise: whatever is made of it must keep the
 * stream's rules, which suite.c and the core's own assertions check. */
static void nonsense(struct suite *t, uint32_t seed)
{
    static struct datagram all[KINDS];
    for (uint32_t round = 0; round < 4000; round++) {
        uint32_t kinds = make_all(t, all);
        seed = seed * 1664525 + 1013904223;
        struct datagram *d = &all[(seed >> 8) % (kinds - 1)];
        for (uint32_t i = 0; i < 1 + (seed >> 20) % 4; i++) {
            seed = seed * 1664525 + 1013904223;
            size_t at = 24 + (seed >> 8) % (d->length - 24);
            d->bytes[at] =
                (seed >> 28) % 2 == 0 ? (uint8_t)(seed >> 20) : (uint8_t)(d->bytes[at] ^ 1);
        }
        mend(d);
        suite_give(t, d->bytes, d->length);
        suite_step(t);
        t->now.mono_ns += 50000;
        t->now.wall_ns += 50000;
    }
    suite_free(t);
}

START_TEST(nonsense_to_a_leader)
{
    nonsense(leading(), (uint32_t)_i + 1);
}
END_TEST

START_TEST(nonsense_to_a_candidate)
{
    nonsense(sealing(), (uint32_t)_i + 1);
}
END_TEST

START_TEST(each_verdict_has_its_counter)
{
    struct suite *t = leading();
    struct datagram d;
    struct join j = { .wanted = 1, .identity = "x" };
    d.length = join_encode(&j, SUITE_STREAM, d.bytes, sizeof d.bytes);
    suite_give(t, d.bytes, 5);
    ck_assert_uint_eq(suite_counter(t, COUNTER_DROPPED_SHORT), 1);
    d.bytes[0] ^= 1;
    suite_give(t, d.bytes, d.length);
    ck_assert_uint_eq(suite_counter(t, COUNTER_DROPPED_FOREIGN), 1);
    d.bytes[0] ^= 1;
    d.bytes[2]++;
    suite_give(t, d.bytes, d.length);
    ck_assert_uint_eq(suite_counter(t, COUNTER_DROPPED_VERSION), 1);
    d.bytes[2]--;
    d.bytes[d.length - 1] ^= 1;
    suite_give(t, d.bytes, d.length);
    ck_assert_uint_eq(suite_counter(t, COUNTER_DROPPED_CORRUPT), 1);
    d.length = join_encode(&j, SUITE_STREAM + 1, d.bytes, sizeof d.bytes);
    suite_give(t, d.bytes, d.length);
    ck_assert_uint_eq(suite_counter(t, COUNTER_DROPPED_STREAM), 1);
    d.length = join_encode(&j, SUITE_STREAM, d.bytes, sizeof d.bytes);
    d.bytes[d.length - 1] = ' '; /* no identity has that */
    mend(&d);
    suite_give(t, d.bytes, d.length);
    ck_assert_uint_eq(suite_counter(t, COUNTER_DROPPED_MALFORMED), 1);
    ck_assert_uint_ge(suite_counter(t, COUNTER_DATAGRAMS_IN), 6);
    suite_free(t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sequencer_malformed");
    TCase *tcase = tcase_create("sequencer_malformed");
    tcase_add_test(tcase, damage_to_a_leader);
    tcase_add_test(tcase, damage_to_a_candidate);
    tcase_add_loop_test(tcase, nonsense_to_a_leader, 0, 3);
    tcase_add_loop_test(tcase, nonsense_to_a_candidate, 0, 3);
    tcase_add_test(tcase, each_verdict_has_its_counter);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
