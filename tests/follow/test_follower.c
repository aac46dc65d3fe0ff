/* The follower on a line that loses nothing for good: order, duplicates, levels, back-pressure, and
 * what it does with bytes that are none of its business. A leader's history is built beforehand and
 * fed batch by batch in the order that a test wants; what comes out is compared with it. */
#include <check.h>
#include <stdlib.h>

#include "rig.h"

static struct history *h;
static struct rig *r;

static void setup_level(enum follower_level level)
{
    struct follower_options o = rig_options(level, 2, false);
    r = rig_new(&o);
    h = history_new();
    history_begin(h, 1);
    for (uint32_t i = 0; i < 20; i++)
        history_write(h, 1 + i % 4);
}

static void setup(void)
{
    setup_level(FOLLOWER_SEQUENCED);
}

static void teardown(void)
{
    rig_free(r);
    free(h);
}

START_TEST(delivers_in_order_at_once)
{
    for (uint32_t i = 0; i < h->count; i++) {
        rig_batch(r, h, i);
        ck_assert(rig_has(r, h, i + 1));
    }
    ck_assert_uint_eq(follower_next(r->follower), h->next_seq);
    ck_assert(follower_caught_up(r->follower) && follower_settled(r->follower));
    struct position tail = follower_tail(r->follower);
    ck_assert(tail.seq == h->next_seq - 1 && epoch_equal(tail.epoch, h->epoch));
    ck_assert_uint_eq(follower_epochs(r->follower)->count, 2);
    ck_assert(port_addr_equal(follower_leader(r->follower), RIG_LEADER));
    ck_assert_uint_eq(follower_leader_heard_ns(r->follower), r->now.mono_ns);
    ck_assert_uint_eq(follower_step(r->follower, r->now), PORT_NEVER);
    ck_assert_uint_eq(r->port.sent_count, 0);
}
END_TEST

START_TEST(reorders)
{
    rig_batch(r, h, 0);
    for (uint32_t i = h->count - 1; i > 0; i--) {
        ck_assert_uint_eq(r->delivered_count, 1);
        rig_batch(r, h, i);
    }
    ck_assert(rig_has(r, h, h->count));
    ck_assert_uint_eq(r->counters[COUNTER_REORDERED_IN], h->count - 2);
}
END_TEST

START_TEST(lines_a_and_b_deliver_once)
{
    for (uint32_t i = 0; i < h->count; i++) {
        const struct history_batch *b = &h->batches[i];
        rig_batch(r, h, i);
        rig_datagram(r, b->bytes, b->header.length, PORT_EGRESS_B, (struct port_addr) { 98, 1 });
    }
    ck_assert(rig_has(r, h, h->count));
    ck_assert_uint_eq(r->counters[COUNTER_DUPLICATES_IN], h->count);
    ck_assert(port_addr_equal(follower_leader(r->follower), RIG_LEADER));
}
END_TEST

START_TEST(duplicate_ahead_is_held_once)
{
    rig_batch(r, h, 0);
    rig_batch(r, h, 3);
    rig_batch(r, h, 3);
    ck_assert_uint_eq(r->counters[COUNTER_DUPLICATES_IN], 1);
    ck_assert_uint_eq(r->counters[COUNTER_REORDERED_IN], 1);
}
END_TEST

/* Every byte of a batch, flipped: never delivered, always counted or not ours at all. */
START_TEST(damage_is_dropped)
{
    rig_batch(r, h, 0);
    const struct history_batch *b = &h->batches[1];
    uint8_t bytes[HISTORY_BATCH_MAX];
    uint32_t ignored = 0;
    for (uint32_t i = 0; i < b->header.length; i++) {
        memcpy(bytes, b->bytes, b->header.length);
        bytes[i] ^= 0x11;
        struct port_datagram d = {
            .bytes = bytes, .length = b->header.length, .from = RIG_LEADER, .channel = PORT_EGRESS_A
        };
        ignored += !follower_on_datagram(r->follower, &d, r->now);
    }
    ck_assert(rig_has(r, h, 1));
    ck_assert_uint_eq(
        r->counters[COUNTER_DROPPED_SHORT] + r->counters[COUNTER_DROPPED_FOREIGN] +
            r->counters[COUNTER_DROPPED_VERSION] + r->counters[COUNTER_DROPPED_STREAM] +
            r->counters[COUNTER_DROPPED_CORRUPT] + r->counters[COUNTER_DROPPED_MALFORMED] + ignored,
        b->header.length);
    rig_batch(r, h, 1);
    ck_assert(rig_has(r, h, 2));
}
END_TEST

/* The leader writes larger batches than we have room for: counted as what it is. */
START_TEST(oversized_batches_are_counted_as_such)
{
    struct follower_options o = rig_options(FOLLOWER_SEQUENCED, 2, false);
    o.datagram_max = 512;
    struct rig *small = rig_new(&o);
    rig_batch(small, h, 0);
    rig_batch(small, h, 1);
    ck_assert(rig_has(small, h, 2));
    history_cut(h, 2);
    history_write(h, 40);
    ck_assert_uint_gt(h->batches[2].header.length, 512);
    rig_batch(small, h, 2);
    rig_fill(small, h, 2);
    ck_assert(rig_has(small, h, 2));
    ck_assert_uint_eq(small->counters[COUNTER_OVERSIZED_IN], 2);
    ck_assert_uint_eq(small->counters[COUNTER_DROPPED_MALFORMED], 0);
    rig_free(small);
}
END_TEST

static uint64_t leader_age_ns(void)
{
    return r->now.mono_ns - follower_leader_heard_ns(r->follower);
}

/* A peer's fill for many comes on the leader's groups, but is no sign of its life. */
START_TEST(only_the_leader_refreshes_its_age)
{
    const struct port_addr peer = { 50, 5 }, leader_b = { 98, 1 };
    rig_batches(r, h, 0, 3);
    ck_assert_uint_eq(leader_age_ns(), 0); /* no heartbeat yet: what is new is taken for its own */
    rig_heartbeat(r, h, 3);
    r->now.mono_ns += 50;
    const struct history_batch *b = &h->batches[3];
    rig_datagram(r, b->bytes, b->header.length, PORT_EGRESS_A, peer);
    ck_assert(rig_has(r, h, 4));
    ck_assert_uint_eq(leader_age_ns(), 50);
    ck_assert(port_addr_equal(follower_leader(r->follower), RIG_LEADER));
    rig_batch(r, h, 4);
    ck_assert_uint_eq(leader_age_ns(), 0);

    r->now.mono_ns += 50;
    b = &h->batches[5];
    rig_datagram(r, b->bytes, b->header.length, PORT_EGRESS_B, leader_b); /* its other address */
    ck_assert_uint_eq(leader_age_ns(), 0);

    r->now.mono_ns += 50;
    rig_heartbeat(r, h, 6);
    ck_assert_uint_eq(leader_age_ns(), 0);

    /* Another epoch, another leader. */
    history_begin(h, 2);
    r->now.mono_ns += 50;
    b = &h->batches[h->count - 1];
    rig_datagram(r, b->bytes, b->header.length, PORT_EGRESS_A, peer);
    ck_assert_uint_eq(leader_age_ns(), 0);
    ck_assert(port_addr_equal(follower_leader(r->follower), peer));
}
END_TEST

START_TEST(truncation_is_dropped)
{
    rig_batch(r, h, 0);
    const struct history_batch *b = &h->batches[1];
    for (uint32_t length = 0; length < b->header.length; length++)
        rig_datagram(r, b->bytes, length, PORT_EGRESS_A, RIG_LEADER);
    ck_assert(rig_has(r, h, 1));
}
END_TEST

START_TEST(another_stream_is_dropped)
{
    uint8_t bytes[HISTORY_BATCH_MAX];
    struct batch_builder builder;
    struct batch_header header = { .stream = HISTORY_STREAM + 1 };
    batch_open(&builder, bytes, sizeof bytes, 1);
    batch_add(&builder, 16, 1, 1, 0, "x", 1);
    batch_close(&builder, 0, &header);
    rig_datagram(r, bytes, header.length, PORT_EGRESS_A, RIG_LEADER);
    ck_assert_uint_eq(r->counters[COUNTER_DROPPED_STREAM], 1);
    ck_assert_uint_eq(follower_next(r->follower), 1);
}
END_TEST

START_TEST(other_types_are_ignored)
{
    struct ack ack = { .store = 1 };
    uint8_t bytes[SIGNAL_SIZE_MAX];
    size_t length = ack_encode(&ack, HISTORY_STREAM, bytes, sizeof bytes);
    struct port_datagram d = { .bytes = bytes, .length = (uint32_t)length };
    ck_assert(!follower_on_datagram(r->follower, &d, r->now));
    d.length = 0;
    ck_assert(!follower_on_datagram(r->follower, &d, r->now));
}
END_TEST

START_TEST(stable_waits_for_the_watermark)
{
    teardown();
    setup_level(FOLLOWER_STABLE);
    rig_batches(r, h, 0, h->count);
    ck_assert_uint_eq(r->delivered_count, 0);
    ck_assert_uint_eq(follower_vouched_next(r->follower), h->next_seq);
    h->stable = h->batches[7].header.first_seq; /* in the middle of nothing, or in a batch */
    rig_heartbeat(r, h, h->count);
    uint32_t whole = history_find(h, h->stable + 1);
    ck_assert(rig_has(r, h, whole));
    ck_assert_uint_eq(r->stable_seq, h->stable);
    h->stable = h->next_seq - 1;
    rig_heartbeat(r, h, h->count);
    ck_assert(rig_has(r, h, h->count));
    uint32_t stables = r->stables;
    rig_heartbeat(r, h, h->count);
    ck_assert_uint_eq(r->stables, stables);
}
END_TEST

START_TEST(watermark_is_believed_only_over_vouched_history)
{
    teardown();
    setup_level(FOLLOWER_STABLE);
    rig_batches(r, h, 0, 5);
    h->stable = h->next_seq - 1;
    rig_heartbeat(r, h, h->count); /* far ahead of what we have */
    ck_assert(rig_has(r, h, 5));
    ck_assert_uint_eq(r->stable_seq,
                      h->batches[4].header.first_seq + h->batches[4].header.count - 1);
    ck_assert_uint_eq(follower_stable(r->follower), r->stable_seq);
}
END_TEST

START_TEST(refused_batches_are_offered_again)
{
    rig_batches(r, h, 0, 4);
    r->refuse = true;
    rig_batches(r, h, 4, 10);
    ck_assert(rig_has(r, h, 4));
    uint64_t deadline = follower_step(r->follower, r->now);
    ck_assert_uint_ne(deadline, PORT_NEVER);
    ck_assert_uint_gt(deadline, r->now.mono_ns);
    r->refuse = false;
    ck_assert(rig_has(r, h, 4));
    ck_assert_uint_eq(follower_step(r->follower, r->now), PORT_NEVER);
    ck_assert(rig_has(r, h, 10));
    rig_batches(r, h, 10, h->count);
    ck_assert(rig_has(r, h, h->count));
}
END_TEST

START_TEST(overflow_keeps_the_nearest_and_comes_back)
{
    teardown();
    struct follower_options o = rig_options(FOLLOWER_SEQUENCED, 1, false);
    o.pending_max = 5;
    r = rig_new(&o);
    h = history_new();
    history_begin(h, 1);
    for (uint32_t i = 0; i < 20; i++)
        history_write(h, 2);
    rig_batch(r, h, 0);
    for (uint32_t i = h->count - 1; i > 1; i--)
        rig_batch(r, h, i);
    ck_assert_uint_eq(r->counters[COUNTER_PENDING_OVERFLOW], h->count - 2 - 5);
    rig_batch(r, h, 1);
    ck_assert(rig_has(r, h, 7));
    ck_assert(rig_heal(r, h));
    ck_assert(rig_has(r, h, h->count));
}
END_TEST

START_TEST(refusal_with_a_full_window_loses_nothing)
{
    teardown();
    struct follower_options o = rig_options(FOLLOWER_SEQUENCED, 1, false);
    o.pending_max = 3;
    r = rig_new(&o);
    h = history_new();
    history_begin(h, 1);
    for (uint32_t i = 0; i < 20; i++)
        history_write(h, 2);
    r->refuse = true;
    rig_batches(r, h, 0, h->count);
    rig_pass(r, RIG_MILLISECOND);
    ck_assert_uint_eq(r->delivered_count, 0);
    ck_assert_uint_eq(r->port.sent_count, 0); /* no use in asking without room */
    r->refuse = false;
    ck_assert(rig_heal(r, h));
    ck_assert(rig_has(r, h, h->count));
}
END_TEST

START_TEST(starts_behind_a_tail)
{
    uint64_t next = h->batches[10].header.first_seq;
    follower_start(r->follower, (struct position) { h->epoch, next - 1 }, history_before(h, next),
                   &h->epochs, h->epoch);
    r->expected_seq = next;
    ck_assert_uint_eq(follower_next(r->follower), next);
    ck_assert(!follower_caught_up(r->follower));
    rig_batches(r, h, 5, h->count);
    ck_assert_uint_eq(r->delivered_count, h->count - 10);
    ck_assert_uint_eq(r->forks, 0);
}
END_TEST

START_TEST(restart_in_deliver_abandons_all)
{
    rig_batch(r, h, 0);
    rig_batch(r, h, 3);
    rig_batch(r, h, 2);
    r->restart_in_deliver = true;
    rig_batch(r, h, 1);
    ck_assert_uint_eq(follower_next(r->follower), 1);
    ck_assert_uint_eq(r->delivered_count, 0);
    rig_batches(r, h, 0, h->count);
    ck_assert(rig_has(r, h, h->count));
}
END_TEST

START_TEST(restart_in_deliver_of_held_ones)
{
    rig_batch(r, h, 0);
    rig_batches(r, h, 2, 6);
    r->refuse = true;
    rig_batch(r, h, 1);
    r->refuse = false;
    r->restart_in_deliver = true;
    follower_step(r->follower, r->now);
    ck_assert_uint_eq(follower_next(r->follower), 1);
    rig_batches(r, h, 0, h->count);
    ck_assert(rig_has(r, h, h->count));
}
END_TEST

START_TEST(memory_is_stated)
{
    struct follower_options o = { .stream = 1, .level = FOLLOWER_STABLE };
    size_t by_default = follower_memory(&o);
    ck_assert_uint_gt(by_default, 4096u * 1472u);
    ck_assert_uint_lt(by_default, 10u << 20);
    o.pending_max = 1;
    ck_assert_uint_lt(follower_memory(&o), 1u << 20);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("follower");
    TCase *t = tcase_create("order");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, delivers_in_order_at_once);
    tcase_add_test(t, reorders);
    tcase_add_test(t, lines_a_and_b_deliver_once);
    tcase_add_test(t, duplicate_ahead_is_held_once);
    tcase_add_test(t, damage_is_dropped);
    tcase_add_test(t, oversized_batches_are_counted_as_such);
    tcase_add_test(t, only_the_leader_refreshes_its_age);
    tcase_add_test(t, truncation_is_dropped);
    tcase_add_test(t, another_stream_is_dropped);
    tcase_add_test(t, other_types_are_ignored);
    tcase_add_test(t, stable_waits_for_the_watermark);
    tcase_add_test(t, watermark_is_believed_only_over_vouched_history);
    tcase_add_test(t, refused_batches_are_offered_again);
    tcase_add_test(t, overflow_keeps_the_nearest_and_comes_back);
    tcase_add_test(t, refusal_with_a_full_window_loses_nothing);
    tcase_add_test(t, starts_behind_a_tail);
    tcase_add_test(t, restart_in_deliver_abandons_all);
    tcase_add_test(t, restart_in_deliver_of_held_ones);
    tcase_add_test(t, memory_is_stated);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
