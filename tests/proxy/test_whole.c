/* What readers are sent is whole: a frame that is sent in pieces is not interrupted by what its session inserts, and
 * of a group, which an epoch may void, nothing is stable before all of it is, and nothing is left behind a fork
 * inside of it. A stream from the rig is continued by hand, message by message. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "proto/counter.h"
#include "proxy/reader.h"
#include "store.h"
#include "stream.h"

enum { LARGE_BYTES = 40000, OUT_BYTES = 1 << 20, ROOM = 4096 };

struct rig {
    struct stream *stream;
    struct store store;
    struct readers *readers;
    struct reader *reader;
    struct port_time now;
    uint64_t counters[COUNTER_END];
    uint64_t seq; /* of the last message */
    uint32_t topic;
    uint8_t *out; /* what the reader was sent */
    size_t length;
};

static uint8_t large[LARGE_BYTES];

static struct rig *rig_new(void)
{
    struct rig *g = calloc(1, sizeof *g);
    g->stream = stream_new(5);
    store_init(&g->store, g->stream);
    const struct readers_options o = {
        .views = { .views_max = 16,
                   .subtrees_max = 64,
                   .topics_max = 1024,
                   .bytes_max = 4 << 20,
                   .lag_bytes_max = 2 * LARGE_BYTES },
        .history = { .stream = STREAM_ID, .source_count = 1, .run_bytes_max = LARGE_BYTES },
        .recent_bytes = 1 << 20,
        .readers_max = 4,
        .catch_ups_max = 2,
        .catch_up_bytes = 8192,
        .counters = g->counters,
    };
    g->readers = readers_create(&o, &g->store.port, g->stream->catalog);
    ck_assert_ptr_nonnull(g->readers);
    g->now = (struct port_time) { .mono_ns = 1000000000 };
    g->out = malloc(OUT_BYTES);
    uint32_t first;
    while (g->topic == 0) {
        const struct stream *s = g->stream;
        for (uint32_t i = 0; i < s->message_count; i++)
            if (s->messages[i].whole.message.topic >= TOPIC_FIRST_USER)
                g->topic = s->messages[i].whole.message.topic;
        if (g->topic == 0 || s->open_parts > 0)
            stream_write(g->stream, &first);
    }
    while (g->stream->open_parts > 0)
        stream_write(g->stream, &first);
    for (uint32_t i = 0; i < g->stream->message_count; i++)
        readers_message(g->readers, &g->stream->messages[i].whole, 0);
    g->seq = g->stream->next_seq - 1;
    readers_through(g->readers, stream_position(g->stream, g->seq));
    return g;
}

static void rig_free(struct rig *g)
{
    readers_destroy(g->readers);
    store_close(&g->store);
    stream_free(g->stream);
    free(g->out);
    free(g);
}

static void subscribe(struct rig *g, enum edge_level level, struct position position)
{
    static const uint8_t all[] = { 1, '/' };
    struct edge_subscribe request = { .level = level,
                                      .from = EDGE_FROM_POSITION,
                                      .position = position,
                                      .tick_ms = 1000,
                                      .subtrees = { 1, all, sizeof all } };
    g->reader = reader_open(g->readers, ACCESS_PRINCIPAL_ADMIN, level, g);
    ck_assert_ptr_nonnull(g->reader);
    ck_assert_int_eq(reader_subscribe(g->reader, &request, position), READER_OK);
    g->length = 0;
}

static void say(struct rig *g, const void *payload, uint32_t length, uint8_t flags)
{
    const struct run_message m = { .message = { .seq = ++g->seq,
                                                .timestamp_ns = g->stream->time_ns,
                                                .topic = g->topic,
                                                .flags = flags,
                                                .payload = payload,
                                                .length = length },
                                   .first_seq = g->seq,
                                   .fragments = 1 };
    readers_message(g->readers, &m, 0);
    readers_through(g->readers, stream_position(g->stream, g->seq));
}

static bool take(struct rig *g)
{
    const uint8_t *bytes;
    size_t length = reader_next(g->reader, ROOM, &bytes);
    ck_assert_uint_le(g->length + length, OUT_BYTES);
    if (length > 0)
        memcpy(g->out + g->length, bytes, length);
    g->length += length;
    reader_take(g->reader);
    return length > 0;
}

static void take_all(struct rig *g)
{
    for (uint32_t idle = 0; idle < 100; idle++) {
        g->now.mono_ns += 1000000;
        (void)readers_step(g->readers, g->now);
        while (readers_ready(g->readers) != NULL)
            ;
        while (take(g))
            idle = 0;
    }
    ck_assert(!reader_mid_frame(g->reader));
}

/* How many frames of this type it was sent; the last one's body. */
static uint32_t count_frames(const struct rig *g, enum edge_type type, const uint8_t **body,
                             size_t *body_length)
{
    uint32_t count = 0;
    enum edge_type is;
    for (size_t at = 0, frame; at < g->length; at += frame) {
        frame = edge_frame_peek(g->out + at, g->length - at, &is);
        ck_assert_uint_gt(frame, 0);
        ck_assert_uint_le(frame, g->length - at);
        count += is == type;
        if (is == type && body != NULL) {
            *body = g->out + at + EDGE_HEADER;
            *body_length = frame - EDGE_HEADER;
        }
    }
    return count;
}

static uint64_t forked_to(const struct rig *g)
{
    const uint8_t *body = NULL;
    size_t length = 0;
    struct edge_forked forked;
    ck_assert_uint_eq(count_frames(g, EDGE_FORKED, &body, &length), 1);
    ck_assert(edge_forked_decode(body, length, &forked));
    return forked.common.seq;
}

/* It has a piece of a large message when it is left behind; what is inserted then, or was before, of an earlier
 * seq, waits for the rest. */
START_TEST(nothing_is_inserted_into_a_frame)
{
    struct rig *g = rig_new();
    subscribe(g, EDGE_SEQUENCED, stream_position(g->stream, g->seq));
    while (reader_state(g->reader) != READER_LIVE) {
        say(g, "a", 1, 0);
        take_all(g);
    }
    uint64_t before = g->seq;
    ck_assert_uint_gt(g->length, 0);
    g->length = 0;
    say(g, large, sizeof large, 0);
    while (!reader_mid_frame(g->reader))
        ck_assert(take(g));
    const struct edge_opened opened = {
        .publisher = 3, .incarnation = 1, .last_number = 5, .join_seq = before
    };
    uint8_t frame[64];
    size_t length = edge_opened_encode(&opened, frame, sizeof frame);
    if (_i == 0)
        ck_assert(reader_insert(g->reader, before, false, frame, length));
    while (reader_state(g->reader) == READER_LIVE)
        say(g, large, sizeof large, 0);
    if (_i == 1)
        ck_assert(reader_insert(g->reader, before, false, frame, length));
    take_all(g);
    ck_assert_uint_eq(count_frames(g, EDGE_OPENED, NULL, NULL), 1);
    ck_assert_uint_eq(count_frames(g, EDGE_MESSAGE, NULL, NULL), g->seq - before);
    rig_free(g);
}
END_TEST

START_TEST(a_group_is_stable_once_all_of_it_is)
{
    struct rig *g = rig_new();
    readers_stable(g->readers, g->seq);
    subscribe(g, EDGE_STABLE, stream_position(g->stream, g->seq));
    take_all(g);
    uint64_t before = g->seq;
    say(g, "a", 1, MESSAGE_MORE);
    say(g, "b", 1, MESSAGE_MORE);
    say(g, "c", 1, 0);
    say(g, "d", 1, 0);
    readers_stable(g->readers, before + 2);
    take_all(g);
    ck_assert_uint_eq(count_frames(g, EDGE_MESSAGE, NULL, NULL), 0);
    readers_stable(g->readers, before + 3);
    take_all(g);
    ck_assert_uint_eq(count_frames(g, EDGE_MESSAGE, NULL, NULL), 3);
    rig_free(g);
}
END_TEST

/* The epoch that takes back a group's end voids the beginning, for who has it from here and from elsewhere. */
START_TEST(a_fork_inside_of_a_group_takes_all_of_it_back)
{
    struct rig *g = rig_new();
    struct position whole = stream_position(g->stream, g->seq);
    readers_stable(g->readers, g->seq - 1);
    subscribe(g, EDGE_SEQUENCED, whole);
    say(g, "a", 1, MESSAGE_MORE);
    say(g, "b", 1, MESSAGE_MORE);
    say(g, "c", 1, 0);
    take_all(g);
    ck_assert_uint_eq(count_frames(g, EDGE_MESSAGE, NULL, NULL), 3);
    struct position inside = { .epoch = whole.epoch, .seq = whole.seq + 2 };
    readers_fork(g->readers, whole);
    take_all(g);
    ck_assert_uint_eq(forked_to(g), whole.seq);
    reader_close(g->reader);

    uint32_t first;
    g->stream->next_seq = inside.seq + 1;
    g->stream->epoch_due = true;
    stream_write(g->stream, &first);
    const struct run_message *epoch = &g->stream->messages[first].whole;
    ck_assert_uint_eq(epoch->message.topic, TOPIC_EPOCH);
    g->seq = epoch->message.seq;
    readers_message(g->readers, epoch, 0);
    readers_through(g->readers, stream_position(g->stream, g->seq));
    ck_assert(readers_has(g->readers, whole));
    ck_assert(!readers_has(g->readers, inside));
    ck_assert(readers_has(g->readers, stream_position(g->stream, g->seq)));
    subscribe(g, EDGE_SEQUENCED, inside);
    take_all(g);
    ck_assert_uint_eq(forked_to(g), whole.seq);
    rig_free(g);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_whole");
    TCase *tcase = tcase_create("whole");
    tcase_add_loop_test(tcase, nothing_is_inserted_into_a_frame, 0, 2);
    tcase_add_test(tcase, a_group_is_stable_once_all_of_it_is);
    tcase_add_test(tcase, a_fork_inside_of_a_group_takes_all_of_it_back);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
