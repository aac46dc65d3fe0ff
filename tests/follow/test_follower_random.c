/* Seeded random walks over diverging histories, after class Follower of the failover model. Leaders
 * come one after the other, each adopting some of what an earlier one wrote but never less than
 * what is stable; old ones go on writing. What they send is received at any later step, any number
 * of times, or never; gap requests are answered in part, from any history, dead ones included, or
 * refused. One follower takes part as a candidate now and then, and is restarted at its tail.
 *
 * After every step: what a settled follower has delivered is a prefix of the heard leader's
 * history, and what was delivered at stable is stable and was never taken back (the rig checks that
 * what is delivered chains and begins where the last delivery ended). At the end of each walk the
 * newest leader is heard again, somebody answers, and both followers must have everything. */
#include <check.h>
#include <stdlib.h>

#include "rig.h"

enum { LEADERS_MAX = 5, STEPS = 400, SENT_MAX = 512, WALKS_PER_LOOP = 10, LOOPS = 40 };

struct sent {
    uint32_t leader;
    uint32_t count; /* of batches */
    bool heartbeat;
    uint64_t stable;
};

static uint64_t state;
static struct history *leaders[LEADERS_MAX];
static uint32_t leader_count;
static uint32_t stable_count; /* batches that are stable, of the newest leader's history */
static struct sent sent[SENT_MAX];
static uint32_t sent_count;
static struct rig *rigs[2]; /* at sequenced, at stable */

static uint32_t any(uint32_t below)
{
    uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z ^ z >> 31) >> 32) % below;
}

static struct history *newest(void)
{
    return leaders[leader_count - 1];
}

static void send_one(uint32_t leader, uint32_t count, bool heartbeat)
{
    struct sent *s = &sent[sent_count < SENT_MAX ? sent_count++ : any(SENT_MAX)];
    *s = (struct sent) { leader, count, heartbeat, leaders[leader]->stable };
}

static void begin(void)
{
    if (leader_count == LEADERS_MAX)
        return;
    uint32_t number = leader_count + 1;
    if (leader_count == 0) {
        leaders[0] = history_new();
    } else {
        struct history *h = history_copy(leaders[any(leader_count)]);
        if (h->count < stable_count ||
            !digest_equal(h->batches[stable_count - 1].header.digest,
                          newest()->batches[stable_count - 1].header.digest)) {
            free(h); /* not adopted by anybody: it lacks something stable */
            h = history_copy(newest());
        }
        history_cut(h, stable_count + any(h->count - stable_count + 1));
        leaders[leader_count] = h;
        if (any(3) == 0) {
            struct epoch candidate = { .number = number, .candidate = 100 + number };
            struct follower_source source = { .unicast = rig_source_udp(7) };
            follower_adopt(rigs[0]->follower, candidate,
                           (struct position) { h->epoch, h->next_seq - 1 }, h->digest, source);
        }
    }
    uint64_t stable =
        stable_count > 0
            ? batch_end_seq(&leaders[leader_count]->batches[stable_count - 1].header) - 1
            : 0;
    history_begin(leaders[leader_count], number);
    leaders[leader_count]->stable = stable;
    leader_count++;
    if (stable_count == 0)
        stable_count = 1;
    send_one(leader_count - 1, newest()->count, false);
}

/* Only the newest leader can make anything stable, and only together with its own record. */
static void settle(void)
{
    struct history *h = newest();
    uint32_t record = history_find(h, h->epochs.entries[h->epochs.count - 1].first_seq) + 1;
    uint32_t from = stable_count > record ? stable_count : record;
    stable_count = from + any(h->count - from + 1);
    h->stable = batch_end_seq(&h->batches[stable_count - 1].header) - 1;
}

static void receive(struct rig *r)
{
    if (sent_count == 0)
        return;
    uint32_t back = any(4) > 0 ? any(6) : any(sent_count);
    struct sent s = sent[sent_count - 1 - (back < sent_count ? back : 0)];
    if (!s.heartbeat) {
        rig_batch(r, leaders[s.leader], s.count - 1);
        return;
    }
    uint64_t now = leaders[s.leader]->stable;
    leaders[s.leader]->stable = s.stable;
    rig_heartbeat(r, leaders[s.leader], s.count);
    leaders[s.leader]->stable = now;
}

static void answer(struct rig *r)
{
    if (r->port.sent_count == 0)
        return;
    struct gap_request q = rig_request(r, any(r->port.sent_count));
    struct port_addr to = r->port.sent[0].to;
    rig_forget_sent(r);
    struct history *h = leaders[any(leader_count)];
    uint32_t index = history_find(h, q.first_seq);
    uint32_t most = any(8);
    if (most == 0 || index == h->count)
        rig_refuse(r, &q, any(2) == 0 ? GAP_NOT_YET : GAP_BUSY, 1, to);
    for (; most > 0 && index < h->count && h->batches[index].header.first_seq < q.end_seq; most--)
        rig_fill(r, h, index++);
}

static void restart(struct rig *r)
{
    struct follower *f = r->follower;
    r->stables = 0;
    follower_start(f, follower_tail(f), follower_tail_digest(f), follower_epochs(f),
                   follower_heard(f));
}

static void check(const struct rig *r, uint64_t seed)
{
    uint32_t number = follower_heard(r->follower).number;
    if (number > 0 && number <= leader_count && follower_settled(r->follower)) {
        const struct history *h = leaders[number - 1];
        ck_assert_msg(r->delivered_count <= h->count && rig_has(r, h, r->delivered_count),
                      "seed %llu: off the history of leader %u", (unsigned long long)seed, number);
    }
    if (r == rigs[0])
        return;
    ck_assert_msg(r->forks == 0, "seed %llu: forked at stable", (unsigned long long)seed);
    ck_assert_msg(r->delivered_count <= stable_count && rig_has(r, newest(), r->delivered_count),
                  "seed %llu: delivered at stable what is not", (unsigned long long)seed);
}

static void step(struct rig *r)
{
    uint32_t dice = any(100);
    uint32_t leader = any(3) > 0 ? leader_count - 1 : any(leader_count);
    if (dice < 12) {
        if (leaders[leader]->count < HISTORY_BATCHES_MAX / 2) {
            history_write(leaders[leader], 1 + any(4));
            send_one(leader, leaders[leader]->count, false);
        }
    } else if (dice < 13) {
        begin();
    } else if (dice < 18) {
        send_one(leader, leaders[leader]->count, true);
    } else if (dice < 21) {
        settle();
    } else if (dice < 23) {
        r->refuse = !r->refuse;
    } else if (dice < 24 && r == rigs[0]) {
        restart(r);
    } else if (dice < 70) {
        receive(r);
    } else if (dice < 85) {
        answer(r);
    } else {
        r->now.mono_ns += (uint64_t)any(100) * RIG_MICROSECOND;
        if (r->port.sent_count > FAKE_SENT_MAX / 2)
            rig_forget_sent(r);
        follower_step(r->follower, r->now);
    }
}

static void heal(struct rig *r, uint64_t seed)
{
    struct history *h = newest();
    stable_count = h->count;
    h->stable = h->next_seq - 1;
    r->refuse = false;
    for (uint32_t i = 0; i < 30 && !rig_has(r, h, h->count); i++) {
        rig_heartbeat(r, h, h->count);
        rig_heal(r, h);
    }
    ck_assert_msg(rig_has(r, h, h->count), "seed %llu: healed, but stays at %llu of %llu",
                  (unsigned long long)seed, (unsigned long long)follower_next(r->follower),
                  (unsigned long long)h->next_seq);
    ck_assert_msg(follower_settled(r->follower) && follower_caught_up(r->follower),
                  "seed %llu: healed, but is not caught up", (unsigned long long)seed);
}

static void walk(uint64_t seed)
{
    state = seed;
    leader_count = sent_count = stable_count = 0;
    for (uint32_t i = 0; i < 2; i++) {
        struct follower_options o =
            rig_options(i == 0 ? FOLLOWER_SEQUENCED : FOLLOWER_STABLE, any(4), false);
        o.pending_max = 1 + any(40);
        o.random = seed;
        rigs[i] = rig_new(&o);
    }
    begin();
    for (uint32_t i = 0; i < STEPS; i++) {
        struct rig *r = rigs[any(2)];
        step(r);
        check(r, seed);
    }
    for (uint32_t i = 0; i < 2; i++) {
        heal(rigs[i], seed);
        check(rigs[i], seed);
        rig_free(rigs[i]);
    }
    for (uint32_t i = 0; i < leader_count; i++)
        free(leaders[i]);
}

START_TEST(random_walks)
{
    for (uint32_t i = 0; i < WALKS_PER_LOOP; i++)
        walk((uint64_t)_i * WALKS_PER_LOOP + i);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("follower_random");
    TCase *t = tcase_create("walks");
    tcase_add_loop_test(t, random_walks, 0, LOOPS);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
