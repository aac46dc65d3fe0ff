/* Who was away while its items were rejected is told so when it opens its publisher again, by any proxy alike.
 * First with a leader and clients; then what the relay keeps is compared, over random rejects and forks, with
 * what one keeps that has read the same history from its beginning, and with the history itself. */
#include "proxy/relay_private.h"
#include "rig.h"

/* ---- with clients ---------------------------------------------------------------------------- */

static struct rig_key key;

/* Rejects each of so many that a client publishes, and is gone. Its publisher. */
static struct edge_opened leave(struct rig *r, const uint8_t *reasons, uint32_t count)
{
    uint32_t c = rig_login(r, &key);
    struct edge_opened o = rig_opened(r, c, "p", 7);
    for (uint32_t i = 0; i < count; i++) {
        if (i + 1 == count) /* outcomes of those before it are heard by nobody, either */
            rig_round(r);
        r->leader.reject_next = reasons[i];
        rig_publish(r, c, o.publisher, i + 1, "/a/x", "item");
        rig_run(r);
    }
    rig_hang_up(r, c);
    rig_run(r);
    return o;
}

static void next_is(struct rig *r, uint32_t c, uint64_t number, uint32_t count, uint8_t reason)
{
    struct edge_outcome o = rig_outcome(r, c);
    ck_assert_uint_eq(o.number, number);
    ck_assert_uint_eq(o.count, count);
    ck_assert_uint_eq(o.reason, reason);
    ck_assert_uint_gt(o.seq, 0);
    ck_assert_uint_eq(o.stable, o.seq);
}

START_TEST(what_was_rejected_meanwhile_is_told_in_front_of_opened_by_any_proxy)
{
    static const uint8_t reasons[] = { REJECT_CONDITION, 0, REJECT_NOT_PERMITTED,
                                       REJECT_NOT_PERMITTED, 0 };
    key = rig_key(2);
    struct rig *r = rig_new_for(&key, "/a", "/a/x");
    struct edge_opened o = leave(r, reasons, 5);
    if (_i == 1)
        rig_add_other(r);
    uint32_t c = rig_login(r, &key);
    rig_open_above(r, c, "p", 7, o.incarnation + 1, 0);
    rig_run(r);
    next_is(r, c, 1, 1, REJECT_CONDITION);
    next_is(r, c, 3, 2, REJECT_NOT_PERMITTED);
    struct edge_opened again = rig_next_opened(r, c);
    ck_assert_uint_eq(again.last_number, 5);
    ck_assert_uint_eq(again.items, 5);
    ck_assert_uint_eq(again.unknown_through, 0);
    rig_publish(r, c, o.publisher, 6, "/a/x", "six");
    rig_run(r);
    ck_assert_uint_eq(rig_outcome(r, c).number, 6);
    uint32_t d = rig_login(r, &key);
    rig_open_above(r, d, "p", 8, 0, 1); /* it knows of the first */
    rig_run(r);
    next_is(r, d, 3, 2, REJECT_NOT_PERMITTED);
    ck_assert_uint_eq(rig_next_opened(r, d).last_number, 6);
    rig_free(r);
}
END_TEST

START_TEST(a_reject_that_fell_with_a_fork_is_not_told)
{
    key = rig_key(2);
    struct rig *r = rig_new_for(&key, "/a", "/a/x");
    uint32_t c = rig_login(r, &key);
    struct edge_opened o = rig_opened(r, c, "p", 7);
    r->leader.hold_stable = true;
    uint64_t before = rig_tip(r);
    r->leader.reject_next = REJECT_CONDITION;
    rig_publish(r, c, o.publisher, 1, "/a/x", "item");
    rig_run(r);
    ck_assert_uint_eq(rig_outcome(r, c).reason, REJECT_CONDITION);
    rig_hang_up(r, c);
    rig_run(r);
    rig_fork(r, before);
    r->leader.hold_stable = false;
    rig_pass(r, 1000000000);
    uint32_t d = rig_login(r, &key);
    rig_open_above(r, d, "p", 7, o.incarnation + 1, 0);
    rig_run(r);
    size_t length;
    const uint8_t *outcome = rig_next(r, d, EDGE_OUTCOME, &length);
    ck_assert_ptr_null(outcome);
    rig_free(r);
}
END_TEST

/* ---- what is kept ---------------------------------------------------------------------------- */

enum { PUBLISHERS = 8, RECORDS_MAX = 200000 };

/* A history: record i has seq i + 1. */
struct record {
    uint32_t publisher, count;
    uint64_t number;
    uint8_t reason;
};
static struct record records[RECORDS_MAX];
static struct proxy proxy;
static uint32_t limits; /* times that something was unknown */

static struct relay *kept(void)
{
    struct relay *r = calloc(1, sizeof *r);
    r->p = &proxy;
    proxy.o.catalog.publishers_max = PUBLISHERS;
    if (proxy.catalog == NULL)
        proxy.catalog = catalog_create(&proxy.o.catalog);
    r->rejected = calloc(PUBLISHERS, sizeof *r->rejected);
    r->rejects = calloc(RELAY_REJECTS_MAX, sizeof *r->rejects);
    return r;
}

static void drop(struct relay *r)
{
    free(r->rejected);
    free(r->rejects);
    free(r);
}

static void note(struct relay *r, uint32_t i)
{
    uint8_t payload[64];
    struct sys_reject reject = { .reason = records[i].reason,
                                 .topic = TOPIC_FIRST_USER,
                                 .count = records[i].count };
    struct message m = { .seq = i + 1,
                         .topic = TOPIC_REJECT,
                         .publisher = records[i].publisher,
                         .publisher_seq = records[i].number,
                         .payload = payload };
    m.length = (uint32_t)sys_reject_encode(&reject, payload, sizeof payload);
    MUST(m.length > 0);
    relay_note_reject(r, &m);
}

static uint32_t draw(uint64_t *seed, uint32_t below)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*seed >> 33) % below;
}

/* Each record of the publisher above `known` is told, with its reason, or is said to be unknown, which takes a limit. */
static void is_true(uint32_t count, uint32_t publisher, uint64_t known,
                    const struct edge_outcome *told, uint32_t told_count, uint64_t unknown_through)
{
    uint32_t at = 0, seen = 0, first = count;
    for (uint32_t i = 0; i < count; i++) {
        const struct record *d = &records[i];
        uint64_t last = d->number + d->count - 1;
        if (d->publisher != publisher || last <= known)
            continue;
        first = seen++ == 0 ? i : first;
        MUST(last <= unknown_through || i + RELAY_REJECTS_KEPT >= count);
        if (last <= unknown_through) {
            MUST(told_count == 0 || last < told[0].number);
            continue;
        }
        while (at < told_count && told[at].number + told[at].count <= d->number)
            at++;
        if (at == told_count || told[at].number > d->number ||
            told[at].number + told[at].count < last || told[at].reason != d->reason ||
            told[at].seq < i + 1)
            ck_abort_msg("record %u is told wrongly", i);
    }
    limits += unknown_through != 0;
    MUST(unknown_through == 0 || told_count == RELAY_REJECTS_TOLD || seen > RELAY_REJECTS_SEEN ||
         first + RELAY_REJECTS_KEPT < count);
}

static void ask_both(const struct relay *a, const struct relay *b, uint32_t count,
                     uint32_t publisher, uint64_t known)
{
    static struct edge_outcome told[2][RELAY_REJECTS_TOLD];
    uint64_t unknown[2];
    memset(told, 0, sizeof told);
    uint32_t n = relay_rejects_of(a, publisher, known, told[0], &unknown[0]);
    ck_assert_uint_eq(relay_rejects_of(b, publisher, known, told[1], &unknown[1]), n);
    ck_assert_uint_eq(unknown[0], unknown[1]);
    ck_assert_mem_eq(told[0], told[1], n * sizeof told[0][0]);
    is_true(count, publisher, known, told[0], n, unknown[0]);
}

START_TEST(whatever_forks_there_were_what_is_told_is_a_function_of_the_history)
{
    uint64_t seed = (uint64_t)_i + 1, next[PUBLISHERS] = { 0 }, base[PUBLISHERS] = { 0 };
    uint32_t count = 0, stable = 0;
    struct relay *a = kept();
    struct batch_header most = { .count = 2000 };
    for (uint32_t round = 0; round < 200; round++) {
        uint32_t more = draw(&seed, 2000);
        for (uint32_t i = 0; i < more && count < RECORDS_MAX; i++, count++) {
            /* One of them speaks seldom: what is known of it grows old. */
            uint32_t p = draw(&seed, 5000) == 0 ? 1 : 2 + draw(&seed, PUBLISHERS - 2);
            next[p] += 1 + (draw(&seed, 50) == 0 ? draw(&seed, 5) : 0);
            records[count] =
                (struct record) { .publisher = p,
                                  .number = next[p],
                                  .count = 1 + draw(&seed, 3),
                                  .reason = draw(&seed, 40) == 0 ? REJECT_CONDITION : REJECT_FULL };
            next[p] += records[count].count - 1;
            note(a, count);
        }
        if (draw(&seed, 2) == 0 || !relay_rejects_have_room(a, &most)) {
            stable += draw(&seed, count - stable + 1);
            if (!relay_rejects_have_room(a, &most))
                stable = count;
            relay_settle_rejects(a, stable);
        }
        if (draw(&seed, 3) == 0) {
            count = stable + draw(&seed, count - stable + 1);
            relay_fork_rejects(a, count > 0 ? count : 1);
            if (count == 0)
                count = a->reject_end == 0 ? 0 : 1;
            memcpy(next, base, sizeof next);
            for (uint32_t i = 0; i < count; i++)
                next[records[i].publisher] = records[i].number + records[i].count - 1;
        }
        if (round % 20 != 19)
            continue;
        struct relay *b = kept();
        for (uint32_t i = 0; i < count; i++) {
            note(b, i);
            relay_settle_rejects(b, i + 1);
        }
        for (uint32_t p = 1; p < PUBLISHERS; p++)
            for (uint32_t i = 0; i < 4; i++)
                ask_both(a, b, count, p,
                         i == 0   ? 0
                         : i == 1 ? UINT64_MAX
                                  : next[p] - draw(&seed, (uint32_t)(next[p] < 3000 ? next[p] + 1
                                                                                    : 3000)));
        drop(b);
    }
    ck_assert_uint_gt(limits, 0);
    ck_assert_uint_gt(count, RELAY_REJECTS_KEPT);
    drop(a);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_relay_reject");
    TCase *all = tcase_create("rejects");
    tcase_set_timeout(all, 120);
    tcase_add_loop_test(all, what_was_rejected_meanwhile_is_told_in_front_of_opened_by_any_proxy, 0,
                        2);
    tcase_add_test(all, a_reject_that_fell_with_a_fork_is_not_told);
    tcase_add_loop_test(all, whatever_forks_there_were_what_is_told_is_a_function_of_the_history, 0,
                        4);
    suite_add_tcase(suite, all);
    return rig_suite(suite);
}
