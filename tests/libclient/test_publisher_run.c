/* Runs: what a publisher recognises whole when it comes back. Two things are shown. Whatever is wrong with a run, it is
 * not taken and nothing happens: each byte of it is altered in turn, and its length, its count and its
 * beginning. And a publisher that takes runs does what one does that is told of each message: the same
 * pushes, losses, rejects, forks and hints, drawn at random, make both send the same bytes and conclude the
 * same numbers. */
#include "bench.h"
#include "suite_main.h"

enum { RUN_BYTES_MAX = 1 << 16 };

/* Messages as a batch has them. */
struct returned {
    uint8_t bytes[RUN_BYTES_MAX];
    size_t length;
    uint32_t count;
};

static void run_add(struct returned *r, uint32_t topic, uint64_t number, const void *payload,
                    uint32_t length)
{
    ck_assert_uint_le(r->length + MESSAGE_HEADER_SIZE + length, sizeof r->bytes);
    batch_put(r->bytes + r->length, topic, ID, number, 0, payload, length);
    r->length += MESSAGE_HEADER_SIZE + length;
    r->count++;
}

static bool take(struct bench *b, const struct returned *r)
{
    bool taken = publisher_take_run(b->p, r->bytes, r->length, r->count, b->seq + 1, b->now);
    b->seq += taken ? r->count : 0;
    return taken;
}

static struct bench *run_bench(const struct publisher_options *changes)
{
    struct publisher_options o = changes != NULL ? *changes : (struct publisher_options) { 0 };
    o.takes_runs = true;
    struct bench *b = bench_new(&o);
    bench_activate(b, 0);
    return b;
}

/* Items of 0, 1, 2 ... bytes, pushed, sent and come back. */
static void push_some(struct bench *b, struct returned *r, uint32_t count)
{
    static const char text[] =
        "all that is pushed lies in one piece, and comes back in another one";
    *r = (struct returned) { 0 };
    for (uint32_t i = 0; i < count; i++) {
        uint32_t length = i % sizeof text;
        struct publisher_item item = { .topic = TOPIC + i % 3, .payload = text, .length = length };
        uint64_t number = publisher_push(b->p, &item, bench_here(b));
        ck_assert_uint_ne(number, 0);
        run_add(r, item.topic, number, text, length);
    }
    bench_step(b);
}

START_TEST(a_run_that_comes_back_as_it_was_pushed_is_concluded_at_once)
{
    static struct returned r;
    struct bench *b = run_bench(NULL);
    push_some(b, &r, 600); /* more than are counted in an entry */
    uint64_t seq = b->seq;
    ck_assert(take(b, &r));
    ck_assert_uint_eq(b->outcome_count, 1);
    ck_assert_uint_eq(b->outcomes[0].items, 600);
    ck_assert_uint_eq(b->outcomes[0].first_number, 1);
    ck_assert_uint_eq(b->outcomes[0].number, 600);
    ck_assert_uint_eq(b->outcomes[0].seq, seq + 600);
    ck_assert_uint_eq(b->outcomes[0].rejected, 0);
    ck_assert_uint_eq(publisher_in_flight(b->p), 0);
    ck_assert_uint_eq(publisher_done_number(b->p), 600);
    ck_assert_uint_eq(b->counters[COUNTER_OUTCOMES], 600);
    ck_assert(!take(b, &r)); /* it has been */
    ck_assert_uint_gt(publisher_kept_bytes(b->p), 0);
    publisher_on_stable(b->p, b->seq - 1);
    ck_assert_uint_gt(publisher_kept_bytes(b->p), 0);
    publisher_on_stable(b->p, b->seq);
    ck_assert_uint_eq(publisher_kept_bytes(b->p), 0);
    ck_assert(publisher_is_idle(b->p));
    bench_free(b);
}
END_TEST

static void nothing_happened(const struct bench *b, uint32_t pushed)
{
    MUST(b->outcome_count == 0 && publisher_in_flight(b->p) == pushed);
    MUST(publisher_done_number(b->p) == 0 && publisher_mismatches(b->p) == 0);
}

START_TEST(whatever_is_altered_it_is_not_taken)
{
    static struct returned r;
    struct bench *b = run_bench(NULL);
    push_some(b, &r, 40);
    for (size_t i = 0; i < r.length; i++) {
        for (int bit = 0; bit < 8; bit++) {
            r.bytes[i] ^= (uint8_t)(1 << bit);
            MUST(!take(b, &r));
            nothing_happened(b, 40);
            r.bytes[i] ^= (uint8_t)(1 << bit);
        }
    }
    for (uint32_t count = 0; count < 60; count++) {
        uint32_t right = r.count;
        r.count = count;
        MUST(count == right || !take(b, &r));
        r.count = right;
    }
    for (size_t length = 0; length < r.length + 40; length++) {
        size_t right = r.length;
        r.length = length;
        MUST(length == right || !take(b, &r));
        r.length = right;
    }
    nothing_happened(b, 40);
    ck_assert(take(b, &r));
    bench_free(b);
}
END_TEST

START_TEST(only_what_comes_next_is_taken)
{
    static struct returned r;
    static struct returned later;
    struct bench *b = run_bench(NULL);
    push_some(b, &r, 40);
    push_some(b, &later, 40);
    ck_assert(!take(b, &later));
    nothing_happened(b, 80);
    ck_assert(take(b, &r));
    ck_assert(take(b, &later));
    ck_assert_uint_eq(publisher_done_number(b->p), 80);
    bench_free(b);
}
END_TEST

START_TEST(nothing_is_taken_before_its_join_or_when_superseded)
{
    static struct returned r;
    struct bench *b = run_bench(NULL);
    push_some(b, &r, 4);
    ck_assert(!publisher_take_run(b->p, r.bytes, r.length, r.count, publisher_join_seq(b->p) - 3,
                                  b->now));
    nothing_happened(b, 4);
    bench_join_record(b, 7, 2, 0);
    ck_assert(!take(b, &r));
    nothing_happened(b, 4);
    bench_free(b);
}
END_TEST

/* Which look, in the ring, as what has come back would. */
START_TEST(bytes_that_were_not_pushed_as_messages_are_none)
{
    struct returned *r = calloc(1, sizeof *r), *disguised = calloc(1, sizeof *r);
    struct bench *b = run_bench(NULL);
    run_add(disguised, TOPIC, 2, "two", 3);
    struct publisher_item item = { .topic = TOPIC,
                                   .payload = disguised->bytes,
                                   .length = (uint32_t)disguised->length,
                                   .conditional = true,
                                   .condition_topic = 21 };
    bench_push(b, "one");
    ck_assert_uint_eq(publisher_push(b->p, &item, bench_here(b)), 2);
    bench_push(b, "three");
    bench_step(b);
    run_add(r, TOPIC, 1, "one", 3);
    run_add(r, TOPIC, 2, "two", 3);
    run_add(r, TOPIC, 3, "three", 5);
    ck_assert(!take(b, r));
    nothing_happened(b, 3);
    bench_free(b);
    free(disguised);
    free(r);
}
END_TEST

START_TEST(what_a_fork_has_dropped_is_not_taken)
{
    static struct returned r;
    struct bench *b = run_bench(NULL);
    b->seq += 10;
    push_some(b, &r, 40);
    publisher_on_fork(b->p, (struct position) { .epoch = { .number = 1 }, .seq = b->seq - 1 });
    ck_assert_uint_eq(publisher_next_number(b->p), 1);
    ck_assert(!take(b, &r));
    nothing_happened(b, 0);
    bench_free(b);
}
END_TEST

/* Where the ring ends, even if nothing is left over. */
START_TEST(what_does_not_lie_in_one_piece_is_not_taken_as_one)
{
    enum { RING = 4096, ITEMS = RING / 64, FIRST = 40 };
    struct returned *r = calloc(1, sizeof *r);
    uint8_t payload[64 - MESSAGE_HEADER_SIZE] = { 1, 2, 3 };
    struct publisher_item item = { .topic = TOPIC, .payload = payload, .length = sizeof payload };
    struct bench *b = run_bench(&(struct publisher_options) { .bytes_max = RING });
    uint64_t number = 0;
    for (int i = 0; i < FIRST; i++) {
        number = publisher_push(b->p, &item, bench_here(b));
        run_add(r, TOPIC, number, payload, sizeof payload);
    }
    *r = (struct returned) { .count = 0 };
    for (uint64_t first = 1; first <= FIRST; first++)
        bench_sequenced(b, first, payload, sizeof payload);
    publisher_on_stable(b->p, b->seq - 1); /* the last one is kept, or the ring would begin anew */
    for (int i = 0; i < ITEMS - 1; i++) {
        number = publisher_push(b->p, &item, bench_here(b));
        ck_assert_uint_ne(number, 0);
        run_add(r, TOPIC, number, payload, sizeof payload);
    }
    ck_assert(!take(b, r));
    *r = (struct returned) { .count = 0 };
    for (uint64_t next = FIRST + 1; next <= ITEMS; next++)
        run_add(r, TOPIC, next, payload, sizeof payload);
    ck_assert(take(b, r));
    *r = (struct returned) { .count = 0 };
    for (uint64_t next = ITEMS + 1; next <= number; next++)
        run_add(r, TOPIC, next, payload, sizeof payload);
    ck_assert(take(b, r));
    ck_assert_uint_eq(publisher_in_flight(b->p), 0);
    bench_free(b);
    free(r);
}
END_TEST

START_TEST(a_group_is_kept_until_all_of_it_is_stable)
{
    struct bench *b = run_bench(NULL);
    char text[101];
    memset(text, 'g', 100);
    text[100] = '\0';
    struct publisher_item first = { .topic = TOPIC, .payload = text, .length = 100, .more = true };
    for (uint64_t number = 1; number <= 6; number++) {
        if (number == 3)
            ck_assert_uint_eq(publisher_push(b->p, &first, bench_here(b)), number);
        else
            ck_assert_uint_eq(bench_push(b, text), number);
    }
    for (uint64_t number = 1; number <= 6; number++)
        bench_said(b, number, text);
    publisher_on_stable(b->p, b->seq - 3);
    ck_assert_uint_ge(publisher_kept_bytes(b->p), 400);
    ck_assert_uint_lt(publisher_kept_bytes(b->p), 500);
    publisher_on_stable(b->p, b->seq - 2);
    ck_assert_uint_lt(publisher_kept_bytes(b->p), 300);
    bench_free(b);
}
END_TEST

START_TEST(what_lies_between_breaks_a_run)
{
    for (int what = 0; what < 3; what++) {
        struct returned *r = calloc(1, sizeof *r);
        struct bench *b = run_bench(NULL);
        char large[2000];
        memset(large, 'l', sizeof large);
        struct publisher_item other = { .topic = TOPIC, .payload = large, .length = 5 };
        other.conditional = what == 0;
        other.condition_topic = 21;
        other.more = what == 1;
        if (what == 2)
            other.length = sizeof large;
        bench_push(b, "one");
        ck_assert_uint_eq(publisher_push(b->p, &other, bench_here(b)), 2);
        uint64_t next = publisher_next_number(b->p);
        ck_assert_uint_eq(bench_push(b, "two"), next);
        bench_step(b);
        run_add(r, TOPIC, 1, "one", 3);
        ck_assert(take(b, r));
        *r = (struct returned) { 0 };
        run_add(r, TOPIC, 2, large, what == 2 ? 1300 : 5);
        ck_assert(!take(b, r));
        bench_sequenced(b, 2, large, other.length);
        ck_assert_uint_eq(publisher_done_number(b->p), next - 1);
        *r = (struct returned) { 0 };
        run_add(r, TOPIC, next, "two", 3);
        ck_assert_int_eq(take(b, r),
                         what != 1); /* the end of a group is a part of a run of the stream's */
        if (what == 1)
            bench_said(b, next, "two");
        ck_assert_uint_eq(publisher_mismatches(b->p), 0);
        ck_assert_uint_eq(publisher_in_flight(b->p), 0);
        publisher_on_stable(b->p, b->seq);
        ck_assert_uint_eq(publisher_kept_bytes(b->p), 0);
        bench_free(b);
        free(r);
    }
}
END_TEST

/* ---- the same as without --------------------------------------------------------------------- */

enum { TURNS = 3000, HELD_MAX = 4096 };

/* What was pushed, as the stream would have it. */
struct held {
    uint64_t number; /* of the last fragment */
    uint64_t first;
    struct position position;
    uint32_t topic, length;
    bool plain, more;
    uint8_t fill;
};

struct twins {
    struct bench *runs, *each;
    struct held held[HELD_MAX]; /* by item, from `begin` to `end` without an outcome */
    uint64_t begin, end;
    uint64_t random;
    uint64_t taken, refused, outcomes, stable;
    uint8_t payload[4096];
};

static uint32_t draw(struct twins *t, uint32_t below)
{
    t->random ^= t->random << 13;
    t->random ^= t->random >> 7;
    t->random ^= t->random << 17;
    return (uint32_t)((t->random >> 20) % below);
}

static struct held *held(struct twins *t, uint64_t i)
{
    return &t->held[i % HELD_MAX];
}

static void push_both(struct twins *t, bool open_group)
{
    struct held h = { .topic = TOPIC + draw(t, 3),
                      .length = draw(t, 60) == 0 ? 1000 + draw(t, 3000) : draw(t, 80),
                      .fill = (uint8_t)draw(t, 256) };
    memset(t->payload, h.fill, h.length);
    struct publisher_item item = {
        .topic = h.topic, .payload = t->payload, .length = h.length, .more = draw(t, 80) == 0
    };
    item.conditional = !open_group && draw(t, 40) == 0;
    item.condition_topic = 21;
    h.position = (struct position) { .epoch = { .number = 1 }, .seq = t->runs->seq - draw(t, 2) };
    if (!publisher_has_room(t->each->p, h.length)) {
        MUST(publisher_push(t->each->p, &item, h.position) == 0);
        MUST(publisher_push(t->runs->p, &item, h.position) == 0);
        return;
    }
    if (!publisher_has_room(t->runs->p, h.length))
        return; /* headers take room, too */
    h.first = publisher_push(t->runs->p, &item, h.position);
    MUST(h.first != 0 && publisher_push(t->each->p, &item, h.position) == h.first);
    h.number = publisher_next_number(t->runs->p) - 1;
    h.more = item.more;
    h.plain = h.number == h.first && !item.more && !open_group;
    *held(t, t->end++) = h;
}

static bool group_open(struct twins *t)
{
    return t->end > 0 && held(t, t->end - 1)->more;
}

/* The next items have outcomes, some of them as runs; what is one message alone can be rejected. */
static void conclude_some(struct twins *t)
{
    static struct returned r;
    uint64_t sent = publisher_done_number(t->runs->p);
    uint32_t most = 1 + draw(t, 40);
    for (uint32_t n = 0; n < most && t->begin < t->end; n++) {
        struct held *h = held(t, t->begin);
        memset(t->payload, h->fill, h->length);
        if (h->plain && draw(t, 30) == 0) {
            struct sys_reject reject = { .reason = REJECT_CONDITION, .topic = TOPIC, .count = 1 };
            uint8_t bytes[SYS_PAYLOAD_MAX];
            struct message m = {
                .topic = TOPIC_REJECT, .publisher = ID, .publisher_seq = h->number, .payload = bytes
            };
            m.length = (uint32_t)sys_reject_encode(&reject, bytes, sizeof bytes);
            m.seq = ++t->runs->seq;
            publisher_on_message(t->runs->p, &m, t->runs->now);
            m.seq = ++t->each->seq;
            publisher_on_message(t->each->p, &m, t->each->now);
            t->begin++;
            continue;
        }
        r = (struct returned) { 0 };
        uint64_t i = t->begin;
        uint32_t run_most = 1 + draw(t, 30);
        for (; i < t->end && held(t, i)->plain && r.count < run_most; i++) {
            const struct held *of = held(t, i);
            memset(t->payload, of->fill, of->length);
            run_add(&r, of->topic, of->number, t->payload, of->length);
        }
        if (r.count > 0 && take(t->runs, &r)) {
            t->taken += r.count;
        } else {
            t->refused++;
            i = t->begin + 1;
            memset(t->payload, h->fill, h->length);
            struct message m = { .seq = ++t->runs->seq,
                                 .topic = h->topic,
                                 .publisher = ID,
                                 .publisher_seq = h->first,
                                 .payload = t->payload,
                                 .length = h->length };
            publisher_on_message(t->runs->p, &m, t->runs->now);
        }
        for (; t->begin < i; t->begin++) {
            const struct held *of = held(t, t->begin);
            memset(t->payload, of->fill, of->length);
            struct message m = { .seq = ++t->each->seq,
                                 .topic = of->topic,
                                 .publisher = ID,
                                 .publisher_seq = of->first,
                                 .payload = t->payload,
                                 .length = of->length };
            publisher_on_message(t->each->p, &m, t->each->now);
        }
    }
    t->outcomes += publisher_done_number(t->runs->p) - sent;
}

/* Back by a few messages. What has lost its outcome, or was authored above, is not followed any further: all in flight is
 * concluded anew from what the publisher itself still has. */
static void fork_both(struct twins *t)
{
    uint64_t back = draw(t, 20), join_seq = publisher_join_seq(t->runs->p);
    if (t->runs->seq < join_seq + back || t->runs->seq < t->stable + back)
        return;
    struct position common = { .epoch = { .number = 1 }, .seq = t->runs->seq - back };
    uint32_t lost = publisher_on_fork(t->runs->p, common);
    MUST(publisher_on_fork(t->each->p, common) == lost);
    t->runs->seq = t->each->seq = common.seq;
    uint64_t done = publisher_done_number(t->runs->p), next = publisher_next_number(t->runs->p);
    while (t->end > 0 && held(t, t->end - 1)->number >= next)
        t->end--;
    t->begin = t->end;
    while (t->begin > 0 && t->end - t->begin < HELD_MAX && held(t, t->begin - 1)->number > done)
        t->begin--;
}

static void compare(const struct twins *t)
{
    const struct bench *a = t->runs, *b = t->each;
    MUST(a->seq == b->seq);
    MUST(publisher_done_number(a->p) == publisher_done_number(b->p));
    MUST(publisher_next_number(a->p) == publisher_next_number(b->p));
    MUST(publisher_in_flight(a->p) == publisher_in_flight(b->p));
    MUST(publisher_is_idle(a->p) == publisher_is_idle(b->p));
    MUST(publisher_mismatches(a->p) == 0 && publisher_mismatches(b->p) == 0);
    for (int i = 0; i < COUNTER_END; i++)
        MUST(a->counters[i] == b->counters[i]);
}

/* Both send the same bytes, and want to be woken at the same time. */
static void step_both(struct twins *t)
{
    struct bench *a = t->runs, *b = t->each;
    a->now.mono_ns = b->now.mono_ns += draw(t, 400000);
    MUST(bench_step(a) == bench_step(b));
    const struct leader *x = &a->rig.leader, *y = &b->rig.leader;
    MUST(x->sent_count == y->sent_count);
    for (uint32_t i = 0; i < x->sent_count; i++) {
        MUST(x->sent[i].length == y->sent[i].length);
        MUST(memcmp(x->sent[i].bytes, y->sent[i].bytes, x->sent[i].length) == 0);
    }
}

static void hint_both(struct twins *t)
{
    uint64_t from = publisher_done_number(t->runs->p) + draw(t, 8);
    struct hint h = bench_hint_of(t->runs, draw(t, 2) == 0 ? HINT_MISSING : HINT_AHEAD, from,
                                  from + 1 + draw(t, 8));
    publisher_on_hint(t->runs->p, &h, h.epoch, t->runs->now);
    publisher_on_hint(t->each->p, &h, h.epoch, t->each->now);
}

/* Outcomes are told of in their order, each item once, by either. */
static void check_outcomes(struct twins *t)
{
    const struct bench *a = t->runs, *b = t->each;
    uint32_t at = 0;
    for (uint32_t i = 0; i < a->outcome_count; i++) {
        const struct publisher_outcome *o = &a->outcomes[i];
        for (uint32_t item = 0; item < o->items; item++, at++) {
            uint32_t behind = o->items - 1 - item;
            MUST(at < b->outcome_count);
            MUST(b->outcomes[at].number == o->number - behind);
            MUST(b->outcomes[at].seq == o->seq - behind);
            MUST(b->outcomes[at].rejected == o->rejected);
            MUST(o->items > 1 || b->outcomes[at].first_number == o->first_number);
        }
    }
    MUST(at == b->outcome_count);
    t->runs->outcome_count = t->each->outcome_count = 0;
}

START_TEST(one_that_takes_runs_does_the_same_as_one_that_is_told_of_each)
{
    struct publisher_options o = { .window = 64,
                                   .windows_kept = 4,
                                   .bytes_max = 1 << 16,
                                   .run_bytes_max = 4096,
                                   .blind = _i == 1 };
    struct twins *t = calloc(1, sizeof *t);
    t->random = 0x9e3779b97f4a7c15 + (uint64_t)_i;
    t->each = bench_new(&o);
    o.takes_runs = true;
    t->runs = bench_new(&o);
    bench_activate(t->runs, 0);
    bench_activate(t->each, 0);
    for (uint32_t turn = 0; turn < TURNS; turn++) {
        for (uint32_t n = draw(t, 40); n > 0; n--)
            push_both(t, group_open(t));
        step_both(t);
        if (draw(t, 4) != 0)
            conclude_some(t);
        uint64_t behind = draw(t, 30);
        if (draw(t, 20) == 0) {
            fork_both(t);
        } else if (draw(t, 3) == 0 && t->runs->seq > t->stable + behind) {
            t->stable = t->runs->seq - behind;
            publisher_on_stable(t->runs->p, t->stable);
            publisher_on_stable(t->each->p, t->stable);
        } else if (draw(t, 40) == 0) {
            hint_both(t);
        }
        compare(t);
        check_outcomes(t);
    }
    ck_assert_uint_gt(t->taken, TURNS);
    ck_assert_uint_gt(t->refused, TURNS / 40); /* at the ring's end, and what is no plain message */
    ck_assert_uint_gt(t->outcomes, t->taken);
    bench_free(t->runs);
    bench_free(t->each);
    free(t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("publisher_run");
    TCase *t = tcase_create("publisher_run");
    tcase_add_test(t, a_run_that_comes_back_as_it_was_pushed_is_concluded_at_once);
    tcase_add_test(t, whatever_is_altered_it_is_not_taken);
    tcase_add_test(t, only_what_comes_next_is_taken);
    tcase_add_test(t, nothing_is_taken_before_its_join_or_when_superseded);
    tcase_add_test(t, bytes_that_were_not_pushed_as_messages_are_none);
    tcase_add_test(t, what_a_fork_has_dropped_is_not_taken);
    tcase_add_test(t, what_does_not_lie_in_one_piece_is_not_taken_as_one);
    tcase_add_test(t, a_group_is_kept_until_all_of_it_is_stable);
    tcase_add_test(t, what_lies_between_breaks_a_run);
    tcase_add_loop_test(t, one_that_takes_runs_does_the_same_as_one_that_is_told_of_each, 0, 2);
    suite_add_tcase(s, t);
    return suite_main(s);
}
