/* What a client core does with a connection to a proxy and what it reads over it (script.h): login, order, and
 * every way in which a proxy can be wrong. */
#include <stdio.h>

#include "script.h"
#include "suite_main.h"

static struct script *let_in_and_named(uint8_t kind, const char *text)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    script_begin(s);
    const uint8_t head[] = { (uint8_t)(1 + 1 + 3 + 1 + strlen(text)),
                             0,
                             0,
                             0,
                             EDGE_NAME,
                             kind,
                             17,
                             0,
                             0,
                             (uint8_t)strlen(text) };
    memcpy(s->said, head, sizeof head); /* as no encoder would write it */
    memcpy(s->said + sizeof head, text, strlen(text));
    s->said_end = sizeof head + strlen(text);
    script_flush(s);
    return s;
}

/* People look at them in terminals. */
START_TEST(names_and_texts_of_a_proxy_are_fit_to_be_printed)
{
    static const struct {
        uint8_t kind;
        const char *text;
        bool fine;
    } names[] = {
        { EDGE_NAME_TOPIC, "/a/b", true },           { EDGE_NAME_TOPIC, "/a/\x1b[2J", false },
        { EDGE_NAME_PUBLISHER, "other", true },      { EDGE_NAME_PUBLISHER, "two words", false },
        { EDGE_NAME_PUBLISHER, "a\x1b]0;b", false }, { EDGE_NAME_PUBLISHER, "a\xc2\x9b", false }
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct script *s = let_in_and_named(names[i].kind, names[i].text);
        ck_assert_uint_eq(script_is_gone(s), !names[i].fine);
        ck_assert_uint_eq(script_stats(s).violations, !names[i].fine);
        script_free(s);
    }
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    script_let_in(s, 10, 10);
    SAY(s, closing, .reason = EDGE_CLOSING_SLOW, .text = "\x1b[2Jcome\nback\x9b");
    script_flush(s);
    ck_assert_ptr_nonnull(strstr(script_reported(s, CANTUS_REPORT_HINT)->text, "?[2Jcome?back?"));
    script_let_in(s, 10, 10);
    SAY(s, refused, .request = EDGE_SUBSCRIBE, .reason = EDGE_REFUSED_RIGHT,
        .subject = "/a\x1b[31m", .text = "no\r");
    script_flush(s);
    ck_assert_ptr_nonnull(strstr(client_core_error(s->core), "/a?[31m"));
    ck_assert_ptr_null(strpbrk(client_core_error(s->core), "\x1b\r"));
    script_free(s);
}
END_TEST

/* ---- login ----------------------------------------------------------------------------------- */

START_TEST(it_proves_its_key_and_subscribes_from_the_beginning)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    script_subscribe(s, "/a/b"); /* inside of the other: not asked for again */
    script_subscribe(s, "/sys/grant");
    script_wait_connect(s);
    struct edge_hello h;
    HEAR(s, hello, EDGE_HELLO, &h);
    ck_assert(h.has_key);
    ck_assert_uint_eq(h.stream, 0);
    struct edge_welcome w = { .version = EDGE_VERSION, .stream = STREAM, .proxy = "east" };
    memset(w.challenge, 0x77, sizeof w.challenge);
    SAY(s, welcome, .version = w.version, .stream = w.stream, .proxy = "east",
        .challenge = { 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77,
                       0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77,
                       0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77 });
    script_flush(s);
    struct edge_prove p;
    HEAR(s, prove, EDGE_PROVE, &p);
    uint8_t message[EDGE_SIGNED_SIZE], binding[32] = { 0 }, expected[EDGE_SIGNATURE_SIZE];
    edge_signed(&w, s->edge.key, binding, message);
    script_sign(NULL, message, expected);
    ck_assert_mem_eq(p.signature, expected, sizeof expected);
    ck_assert(script_hears_nothing(s));
    SAY(s, accepted, .tip = script_at(script_first_epoch, 10), .stable = 8, .fragment_bytes = 1000,
        .window = 64, .payload_max = 1 << 20);
    script_flush(s);
    struct edge_subscribe r;
    HEAR(s, subscribe, EDGE_SUBSCRIBE, &r);
    ck_assert_int_eq(r.level, EDGE_SEQUENCED);
    ck_assert_int_eq(r.from, EDGE_FROM_POSITION);
    ck_assert_uint_eq(r.position.seq, 0);
    ck_assert_uint_eq(r.tick_ms, EDGE_TICK_DEFAULT_MS);
    ck_assert_uint_eq(r.subtrees.count, 2);
    const char *text;
    size_t length;
    ck_assert(edge_subtree_next(&r.subtrees, &text, &length));
    ck_assert(length == 2 && memcmp(text, "/a", 2) == 0);
    ck_assert_uint_eq(client_core_stream(s->core), STREAM);
    ck_assert(!client_core_caught_up(s->core));
    script_free(s);
}
END_TEST

START_TEST(nobody_in_particular_proves_nothing_and_can_not_publish)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    client_core_destroy(s->core);
    s->edge.has_key = false;
    script_make_core(s);
    script_subscribe(s, "/a");
    ck_assert_ptr_null(client_core_add_pipe(s->core, "me", s->error));
    ck_assert_ptr_nonnull(strstr(s->error, "needs a key"));
    script_begin(s);
    script_tell(s, 4, "one");
    script_flush(s);
    script_saw(s, 0, 4, "one");
    script_free(s);
}
END_TEST

START_TEST(names_of_publishers_are_checked)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    ck_assert_ptr_null(client_core_add_pipe(s->core, "nineteen-bytes-long", s->error));
    ck_assert_ptr_nonnull(strstr(s->error, "1 to 18"));
    ck_assert_ptr_null(client_core_add_pipe(s->core, "", s->error));
    ck_assert_ptr_null(client_core_add_pipe(s->core, "two words", s->error));
    ck_assert_ptr_nonnull(client_core_add_pipe(s->core, "eighteen-bytes-lon", s->error));
    script_free(s);
}
END_TEST

START_TEST(who_does_not_let_us_in_is_left_for_the_next)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    script_wait_connect(s);
    struct port_addr first = s->to;
    script_cut(s); /* refused */
    script_wait_connect(s);
    ck_assert(!port_addr_equal(first, s->to));
    /* It says nothing at all. */
    s->now.mono_ns += 16 * SECOND;
    script_step(s);
    ck_assert(script_is_gone(s));
    script_wait_connect(s);
    ck_assert(port_addr_equal(first, s->to));
    SAY(s, closing, .reason = EDGE_CLOSING_QUOTA, .text = "too many of you");
    script_flush(s);
    ck_assert(script_is_gone(s));
    script_wait_connect(s);
    SAY(s, welcome, .version = 9, .stream = STREAM);
    script_flush(s);
    ck_assert(script_is_gone(s));
    script_begin(s);
    /* Another stream is not what we came for. */
    script_cut(s);
    script_wait_connect(s);
    struct edge_hello h;
    HEAR(s, hello, EDGE_HELLO, &h);
    ck_assert_uint_eq(h.stream, STREAM);
    SAY(s, welcome, .version = EDGE_VERSION, .stream = STREAM + 1);
    script_flush(s);
    ck_assert(script_is_gone(s));
    ck_assert_int_eq(client_core_status(s->core), CANTUS_OK);
    ck_assert_ptr_nonnull(script_reported(s, CANTUS_REPORT_HINT));
    script_free(s);
}
END_TEST

START_TEST(a_key_that_nobody_lets_in_ends_the_client)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(client_core_status(s->core), CANTUS_OK);
        script_wait_connect(s);
        SAY(s, closing, .reason = EDGE_CLOSING_IDENTITY, .text = "");
        script_flush(s);
    }
    ck_assert_int_eq(client_core_status(s->core), CANTUS_ERROR);
    ck_assert_ptr_nonnull(strstr(client_core_error(s->core), "key"));
    script_free(s);
}
END_TEST

START_TEST(rests_between_connections_grow_and_are_not_alike)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    uint64_t rests[24], before;
    for (int i = 0; i < 24; i++) {
        script_wait_connect(s);
        before = s->now.mono_ns;
        script_cut(s);
        rests[i] = s->deadline > before && s->stream == 0 ? s->deadline - before : 0;
    }
    ck_assert_uint_eq(rests[0], 0); /* the other proxy at once */
    ck_assert_uint_lt(rests[1], 200 * MS);
    for (int i = 20; i < 24; i++) {
        ck_assert_uint_ge(rests[i], 2500 * MS);
        ck_assert_uint_le(rests[i], 7500 * MS);
    }
    ck_assert(rests[20] != rests[21] && rests[22] != rests[23]);
    script_free(s);
}
END_TEST

/* ---- reading --------------------------------------------------------------------------------- */

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
    ck_assert_uint_eq(script_stats(s).violations, 0);
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
    ck_assert_uint_eq(script_stats(s).violations, 0);
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
    ck_assert_uint_eq(script_stats(s).violations, 1);
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
    ck_assert_uint_eq(script_stats(s).violations, 0);
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
    ck_assert_uint_eq(script_stats(s).violations, 0);
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
    script_begin(s);
    script_tell(s, 4, "one");
    script_flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_OK);
    script_tell(s, 9, "two");
    script_flush(s);
    ck_assert_uint_eq(s->seen_count, 1);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_END);
    ck_assert_uint_eq(client_core_seq(s->core), 7);
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

/* ---- refusals of what is asked for ------------------------------------------------------------ */

START_TEST(a_subscription_that_is_not_permitted_ends_the_client)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    script_let_in(s, 10, 10);
    SAY(s, refused, .request = EDGE_SUBSCRIBE, .reason = EDGE_REFUSED_RIGHT, .right = ACCESS_READ,
        .subject = "/a", .text = "ask the administrator");
    script_flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_ERROR);
    ck_assert_ptr_nonnull(strstr(client_core_error(s->core), "\"/a\": not permitted"));
    ck_assert_ptr_nonnull(strstr(client_core_error(s->core), "read"));
    ck_assert(script_is_gone(s));
    script_free(s);
}
END_TEST

START_TEST(history_that_is_gone_is_lost)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    script_let_in(s, 10, 10);
    SAY(s, refused, .request = EDGE_SUBSCRIBE, .reason = EDGE_REFUSED_HISTORY,
        .text = "the oldest is 5000");
    script_flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_LOST);
    ck_assert_ptr_nonnull(script_reported(s, CANTUS_REPORT_LOST));
    script_free(s);
}
END_TEST

START_TEST(a_quota_is_waited_for)
{
    struct script *s = script_new(FOLLOWER_SEQUENCED);
    script_subscribe(s, "/a");
    script_let_in(s, 10, 10);
    SAY(s, refused, .request = EDGE_SUBSCRIBE, .reason = EDGE_REFUSED_QUOTA, .subject = "/a");
    script_flush(s);
    ck_assert(script_is_gone(s));
    ck_assert_int_eq(client_core_status(s->core), CANTUS_OK);
    ck_assert_uint_eq(script_stats(s).violations, 0);
    script_begin(s);
    script_free(s);
}
END_TEST

START_TEST(at_stable_a_volatile_stream_is_none)
{
    struct script *s = script_new(FOLLOWER_STABLE);
    script_subscribe(s, "/a");
    script_wait_connect(s);
    SAY(s, welcome, .version = EDGE_VERSION, .stream = STREAM);
    SAY(s, accepted, .fragment_bytes = 1000, .window = 64, .is_volatile = true);
    script_flush(s);
    ck_assert_int_eq(client_core_status(s->core), CANTUS_ERROR);
    ck_assert_ptr_nonnull(strstr(client_core_error(s->core), "volatile"));
    script_free(s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("edge");
    TCase *t = tcase_create("login");
    tcase_add_test(t, names_and_texts_of_a_proxy_are_fit_to_be_printed);
    tcase_add_test(t, it_proves_its_key_and_subscribes_from_the_beginning);
    tcase_add_test(t, nobody_in_particular_proves_nothing_and_can_not_publish);
    tcase_add_test(t, names_of_publishers_are_checked);
    tcase_add_test(t, who_does_not_let_us_in_is_left_for_the_next);
    tcase_add_test(t, a_key_that_nobody_lets_in_ends_the_client);
    tcase_add_test(t, rests_between_connections_grow_and_are_not_alike);
    tcase_add_test(t, a_subscription_that_is_not_permitted_ends_the_client);
    tcase_add_test(t, history_that_is_gone_is_lost);
    tcase_add_test(t, a_quota_is_waited_for);
    tcase_add_test(t, at_stable_a_volatile_stream_is_none);
    suite_add_tcase(s, t);
    t = tcase_create("reading");
    tcase_add_test(t, messages_come_in_order_with_their_names);
    tcase_add_test(t, a_frame_of_a_megabyte_arrives_in_pieces);
    tcase_add_test(t, another_connection_goes_on_behind_the_last_message);
    tcase_add_loop_test(t, whatever_does_not_add_up_ends_the_connection, 0, 23);
    tcase_add_loop_test(t, epochs_that_were_announced_and_not_reached_are_forgotten, 0, 2);
    tcase_add_test(t, a_position_below_the_next_epoch_is_of_the_one_before);
    tcase_add_loop_test(t, a_fork_ahead_leaves_the_epochs_in_front_of_it, 0, 2);
    tcase_add_loop_test(t, garbage_at_any_place_does_no_harm, 0, 10);
    tcase_add_test(t, more_names_than_a_block_can_have_end_the_connection);
    tcase_add_test(t, nothing_is_delivered_above_until_seq);
    tcase_add_test(t, it_says_that_it_lives);
    suite_add_tcase(s, t);
    return suite_main(s);
}
