/* What a client core reads over a connection to a proxy (script.h): order, and every way in which a proxy can be
 * wrong. */
#include <stdio.h>

#include "script.h"
#include "suite_main.h"

START_TEST(messages_come_in_order_with_their_names)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    script_begin(s);
    script_tell(s, 4, "one");
    script_tell(s, 9, "two");
    script_tell(s, 5000, "three"); /* a block later */
    script_flush_pieces(s, 1);
    ck_assert_uint_eq(s->seen_count, 3);
    script_saw(s, 0, 4, "one");
    script_saw(s, 1, 9, "two");
    script_saw(s, 2, 5000, "three");
    ck_assert_str_eq(s->seen[2].topic, "/a/b");
    ck_assert_str_eq(s->seen[2].publisher, "other");
    ck_assert_uint_eq(s->seen[2].publisher_seq, 5000);
    ck_assert_uint_eq(client_core_seq(s->core), 5000);
    ck_assert(client_core_caught_up(s->core));
    ck_assert_uint_eq(script_violations(s), 0);
    script_free(s);
}
END_TEST

START_TEST(a_frame_of_a_megabyte_arrives_in_pieces)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    script_begin(s);
    static uint8_t payload[1 << 20];
    memset(payload, 'x', sizeof payload);
    script_tell(s, 3, "before");
    SAY(s, message, .seq = 4, .previous = 3, .timestamp_ns = 4000, .topic = 17, .publisher = 3,
        .publisher_seq = 1, .payload = payload, .length = sizeof payload);
    s->last = 4;
    script_tell(s, 5, "behind");
    script_flush_pieces(s, 100 * 1000);
    ck_assert_uint_eq(s->seen_count, 3);
    ck_assert_uint_eq(s->seen[1].length, sizeof payload);
    script_saw(s, 2, 5, "behind");
    script_free(s);
}
END_TEST

START_TEST(another_connection_goes_on_behind_the_last_message)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    script_begin(s);
    script_tell(s, 4, "one");
    script_tell(s, 9, "two");
    s->said_end -= 1; /* the last byte is lost */
    script_flush(s);
    ck_assert_uint_eq(s->seen_count, 1);
    script_cut(s);
    ck_assert(!client_core_caught_up(s->core));
    script_let_in(s, 12, 12);
    struct edge_subscribe r = script_grant(s);
    ck_assert_uint_eq(r.position.seq, 4);
    ck_assert(epoch_equal(r.position.epoch, script_first_epoch));
    /* In the middle of a block: what was before is named, and known names are said. */
    script_name(s, EDGE_NAME_TOPIC, 17, "/a/b");
    script_name(s, EDGE_NAME_PUBLISHER, 3, "other");
    s->last = 4;
    script_tell(s, 9, "two");
    SAY(s, progress, .through = 20, .previous = 9, .stable = 18, .timestamp_ns = 20000);
    script_flush(s);
    ck_assert_uint_eq(s->seen_count, 2);
    script_saw(s, 1, 9, "two");
    ck_assert(client_core_caught_up(s->core));
    ck_assert_uint_eq(client_core_seq(s->core), 20);
    ck_assert_uint_eq(client_core_stable(s->core), 18);
    script_cut(s);
    script_let_in(s, 30, 30);
    ck_assert_uint_eq(script_grant(s).position.seq, 20);
    /* A progress inside of the block, and one at its end, the same match behind. */
    script_name(s, EDGE_NAME_TOPIC, 17, "/a/b");
    SAY(s, progress, .through = 25, .previous = 9, .stable = 24, .timestamp_ns = 25000);
    SAY(s, progress, .through = 4095, .previous = 9, .stable = 30, .timestamp_ns = 30000);
    s->block = 1;
    s->last = 0;
    script_tell(s, 4099, "three");
    script_flush(s);
    script_saw(s, 2, 4099, "three");
    ck_assert_uint_eq(script_violations(s), 0);
    script_free(s);
}
END_TEST

/* Each of these, behind messages 4 and 9, ends the connection, with nothing handed over. */
static void lie(struct script *s, int which)
{
    const uint8_t *x = (const uint8_t *)"x";
    switch (which) {
    case 0: /* a gap */
        SAY(s, message, .seq = 12, .previous = 11, .timestamp_ns = 12000, .topic = 17,
            .publisher = 3, .publisher_seq = 1, .payload = x, .length = 1);
        break;
    case 1: /* the same again */
        SAY(s, message, .seq = 9, .previous = 4, .timestamp_ns = 12000, .topic = 17, .publisher = 3,
            .publisher_seq = 1, .payload = x, .length = 1);
        break;
    case 2: /* as if it were the block's first, which 9 is not covered for */
        SAY(s, message, .seq = 12, .previous = 0, .timestamp_ns = 12000, .topic = 17,
            .publisher = 3, .publisher_seq = 1, .payload = x, .length = 1);
        break;
    case 3: /* back in time */
        SAY(s, message, .seq = 12, .previous = 9, .timestamp_ns = 8999, .topic = 17, .publisher = 3,
            .publisher_seq = 1, .payload = x, .length = 1);
        break;
    case 4: /* a topic that was not introduced */
        SAY(s, message, .seq = 12, .previous = 9, .timestamp_ns = 12000, .topic = 18,
            .publisher = 3, .publisher_seq = 1, .payload = x, .length = 1);
        break;
    case 5: /* a publisher */
        SAY(s, message, .seq = 12, .previous = 9, .timestamp_ns = 12000, .topic = 17,
            .publisher = 4, .publisher_seq = 1, .payload = x, .length = 1);
        break;
    case 6: /* progress with a match that did not come */
        SAY(s, progress, .through = 20, .previous = 15, .stable = 1, .timestamp_ns = 20000);
        break;
    case 7: /* progress without the one that came */
        SAY(s, progress, .through = 20, .previous = 4, .stable = 1, .timestamp_ns = 20000);
        break;
    case 8: /* progress backwards */
        SAY(s, progress, .through = 8, .previous = 4, .stable = 1, .timestamp_ns = 20000);
        break;
    case 9: /* an epoch backwards */
        SAY(s, epoch, .epoch = { .number = 1, .candidate = 77 }, .first_seq = 12);
        break;
    case 10:
        SAY(s, epoch, .epoch = script_second_epoch, .first_seq = 9);
        break;
    case 11: /* what a client says */
        s->said_end +=
            edge_open_encode(&(struct edge_open) { .name = "x" }, s->said + s->said_end, 100);
        break;
    case 12:
        SAY(s, changed, .seq = 12);
        break;
    case 13:
        SAY(s, subscribed, .position = script_at(script_first_epoch, 9));
        break;
    case 14:
        SAY(s, opened, .publisher = 1, .incarnation = 1, .join_seq = 9);
        break;
    case 15:
        SAY(s, outcome, .publisher = 1, .number = 1, .count = 1, .seq = 12);
        break;
    case 16:
        SAY(s, superseded, .publisher = 1, .incarnation = 1, .join_seq = 9);
        break;
    case 17:
        SAY(s, refused, .request = EDGE_PUBLISH, .reason = EDGE_REFUSED_NUMBER, .publisher = 1);
        break;
    case 18: /* garbage: a type that is none */
        memcpy(s->said + s->said_end, "\1\0\0\0\x63", 5);
        s->said_end += 5;
        break;
    case 19: /* a length that can't be */
        memset(s->said + s->said_end, 0xff, 5);
        s->said_end += 5;
        break;
    case 20: /* a body that is too short */
        memcpy(s->said + s->said_end, "\2\0\0\0\x16\0", 6);
        s->said_end += 6;
        break;
    case 21:
        SAY(s, welcome, .version = EDGE_VERSION, .stream = STREAM);
        break;
    case 22:
        SAY(s, accepted, .fragment_bytes = 1, .window = 1);
        break;
    default:
        break;
    }
}

START_TEST(whatever_does_not_add_up_ends_the_connection)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    script_begin(s);
    script_tell(s, 4, "one");
    script_tell(s, 9, "two");
    lie(s, _i);
    script_tell(s, 13, "never");
    script_flush(s);
    ck_assert(script_is_gone(s));
    ck_assert_uint_eq(s->seen_count, 2);
    ck_assert_uint_eq(script_violations(s), 1);
    /* And nothing is lost by it. */
    script_let_in(s, 20, 20);
    ck_assert_uint_eq(script_grant(s).position.seq, 9);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_OK);
    script_free(s);
}
END_TEST

START_TEST(epochs_that_were_announced_and_not_reached_are_forgotten)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    script_begin(s);
    script_tell(s, 4, "one");
    if (_i == 0) { /* a proxy that lies, and another one */
        SAY(s, epoch, .epoch = { .number = 4000, .candidate = 1 }, .first_seq = 5);
        script_flush(s);
        script_cut(s);
        script_begin(s);
        script_name(s, EDGE_NAME_TOPIC, 17, "/a/b");
        script_name(s, EDGE_NAME_PUBLISHER, 3, "other");
        s->last = 4;
    } else { /* a fork just behind what was sent */
        SAY(s, epoch, .epoch = { .number = 2, .candidate = 1 }, .first_seq = 5);
        SAY(s, forked, .common = script_at(script_first_epoch, 4));
    }
    SAY(s, epoch, .epoch = { .number = 3, .candidate = 1 }, .first_seq = 5);
    script_tell(s, 7, "two");
    script_flush(s);
    ck_assert(!script_is_gone(s));
    script_saw(s, 1, 7, "two");
    ck_assert_ptr_null(script_reported(s, CANTUS_REPORT_FORKED));
    ck_assert_uint_eq(script_violations(s), 0);
    script_free(s);
}
END_TEST

/* A block's end may come behind the EPOCH of the message that ended it. */
START_TEST(a_position_below_the_next_epoch_is_of_the_one_before)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct edge_subscribe r;
    script_subscribe(s, "/a");
    script_begin(s);
    script_tell(s, 4, "one");
    SAY(s, epoch, .epoch = script_second_epoch, .first_seq = 7);
    SAY(s, progress, .through = 6, .previous = 4, .timestamp_ns = 6000);
    script_flush(s);
    script_cut(s);
    script_let_in(s, 10, 0);
    HEAR(s, subscribe, EDGE_SUBSCRIBE, &r);
    ck_assert_uint_eq(r.position.seq, 6);
    ck_assert(epoch_equal(r.position.epoch, script_first_epoch));
    script_free(s);
}
END_TEST

/* A fork of what it was not sent yet does not make it forget where epochs began. */
START_TEST(a_fork_ahead_leaves_the_epochs_in_front_of_it)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    struct epoch third = { .number = 3, .candidate = 1 };
    struct edge_subscribe r;
    script_subscribe(s, "/a");
    script_begin(s);
    script_tell(s, 4, "one");
    SAY(s, epoch, .epoch = script_second_epoch, .first_seq = 20);
    SAY(s, forked, .common = script_at(script_second_epoch, 30));
    SAY(s, epoch, .epoch = script_second_epoch, .first_seq = 20);
    if (_i == 1) { /* what the newest epoch is taken from is known no more */
        SAY(s, epoch, .epoch = third, .first_seq = 31);
        SAY(s, forked, .common = script_at(script_second_epoch, 30));
        SAY(s, epoch, .epoch = script_second_epoch, .first_seq = 20);
    }
    SAY(s, progress, .through = 15, .timestamp_ns = 15000, .previous = 4);
    script_flush(s);
    ck_assert_uint_eq(script_violations(s), 0);
    script_cut(s);
    script_let_in(s, 40, 0);
    HEAR(s, subscribe, EDGE_SUBSCRIBE, &r);
    ck_assert_uint_eq(r.position.seq, _i == 0 ? 15 : 4);
    ck_assert(epoch_equal(r.position.epoch, script_first_epoch));
    script_free(s);
}
END_TEST

START_TEST(garbage_at_any_place_does_no_harm)
{
    uint64_t random = (uint64_t)_i * 977 + 1;
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    ck_assert_ptr_nonnull(client_core_add_pipe(s->core, "me", s->error));
    for (int round = 0; round < 20; round++) {
        script_begin(s);
        s->said_end = 0;
        script_tell(s, client_core_seq(s->core) + 2, "x");
        SAY(s, progress, .through = s->last + 5, .previous = s->last, .stable = 5,
            .timestamp_ns = s->last * 1000 + 1);
        for (int i = 0; i < 3; i++) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
            s->said[random % s->said_end] = (uint8_t)(random >> 40);
        }
        script_flush_pieces(s, 7);
        if (s->stream != 0)
            script_cut(s);
        if (client_core_status(s->core) != CANTUS_OK)
            break; /* a position at the end of time */
        if (client_core_seq(s->core) > UINT64_C(1) << 40)
            break;
    }
    script_free(s);
}
END_TEST

START_TEST(more_names_than_a_block_can_have_end_the_connection)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    script_begin(s);
    uint32_t id = 17;
    while (s->stream != 0 && id < 50000) {
        script_name(s, EDGE_NAME_TOPIC, id++, "/a/b");
        if (s->said_end > SAID_MAX / 2)
            script_flush(s);
        if (id % 1000 == 0)
            script_flush(s);
    }
    ck_assert_uint_gt(id, 2 * EDGE_BLOCK);
    ck_assert_uint_lt(id, 50000);
    script_begin(s);
    /* Nor do ever new words for one. */
    char text[250] = "/a/";
    memset(text + 3, 'y', 200);
    for (id = 0; s->stream != 0 && id < 50000; id++) {
        snprintf(text + 203, 20, "%u", id);
        script_name(s, EDGE_NAME_TOPIC, 17, text);
        if (id % 1000 == 0)
            script_flush(s);
    }
    ck_assert_uint_lt(id, 50000);
    script_free(s);
}
END_TEST

START_TEST(nothing_is_delivered_above_until_seq)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    client_core_destroy(s->core);
    s->until_seq = 7;
    script_make_core(s);
    script_subscribe(s, "/a");
    script_let_in(s, 10, 10);
    ck_assert_uint_eq(script_grant(s).mark_seq, 7);
    script_tell(s, 4, "one");
    script_flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_OK);
    if (_i == 0) {
        SAY(s, progress, .through = 7, .previous = 4, .timestamp_ns = 7000);
        script_flush(s);
        ck_assert_int_eq(client_core_status(s->core), CANTUS_END);
    } else { /* what is at 7 is a part of what ends at 9 */
        SAY(s, progress, .through = 6, .previous = 4, .timestamp_ns = 6000);
        script_flush(s);
        ck_assert_int_eq(client_core_status(s->core), CANTUS_OK);
    }
    script_tell(s, 9, "two");
    script_flush(s);
    ck_assert_uint_eq(s->seen_count, 1);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_END);
    ck_assert_uint_eq(client_core_seq(s->core), _i == 0 ? 7 : 6);
    SAY(s, forked, .common = script_at(script_first_epoch, 8));
    script_flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_END);
    SAY(s, forked, .common = script_at(script_first_epoch, 5));
    SAY(s, epoch, .epoch = script_second_epoch, .first_seq = 6);
    script_flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_OK);
    s->last = 4;
    script_tell(s, 7, "other two");
    script_flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_END);
    script_saw(s, 1, 7, "other two");
    script_free(s);
}
END_TEST

START_TEST(it_says_that_it_lives)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    script_begin(s);
    ck_assert(script_hears_nothing(s));
    s->now.mono_ns += 14 * SECOND;
    ck_assert(script_hears_nothing(s));
    s->now.mono_ns = s->deadline;
    size_t length;
    script_hear(s, EDGE_ALIVE, &length);
    ck_assert(script_hears_nothing(s));
    s->said_end += edge_alive_encode(s->said + s->said_end, SAID_MAX - s->said_end);
    script_flush(s);
    /* And who does not answer is given up. */
    uint32_t stream = s->stream;
    for (int i = 0; i < 3; i++) {
        s->now.mono_ns += 15 * SECOND;
        script_hear(s, EDGE_ALIVE, &length);
    }
    ck_assert_uint_eq(s->stream, stream);
    s->now.mono_ns += 15 * SECOND;
    script_step(s);
    ck_assert(script_is_gone(s));
    script_free(s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("edge_read");
    TCase *t = tcase_create("reading");
    tcase_add_test(t, messages_come_in_order_with_their_names);
    tcase_add_test(t, a_frame_of_a_megabyte_arrives_in_pieces);
    tcase_add_test(t, another_connection_goes_on_behind_the_last_message);
    tcase_add_loop_test(t, whatever_does_not_add_up_ends_the_connection, 0, 23);
    tcase_add_loop_test(t, epochs_that_were_announced_and_not_reached_are_forgotten, 0, 2);
    tcase_add_test(t, a_position_below_the_next_epoch_is_of_the_one_before);
    tcase_add_loop_test(t, a_fork_ahead_leaves_the_epochs_in_front_of_it, 0, 2);
    tcase_add_loop_test(t, garbage_at_any_place_does_no_harm, 0, 10);
    tcase_add_test(t, more_names_than_a_block_can_have_end_the_connection);
    tcase_add_loop_test(t, nothing_is_delivered_above_until_seq, 0, 2);
    tcase_add_test(t, it_says_that_it_lives);
    suite_add_tcase(s, t);
    return suite_main(s);
}
