/* Goal: the bytes that a client gets are a function of the stream and its filter, wherever it began. Method:
 * random messages that match go through one encoder; a second one begins somewhere inside of each block,
 * takes note of what it missed, and must from then on write the same bytes. A reader that knows nothing but the
 * frames follows each of the two: every name is known when it is used, and no message can be left out without
 * being noticed. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/encoder.h"

enum { TOPICS = 2000, PUBLISHERS = 300, BLOCKS = 6, OUT_MAX = 4 << 20 };

static uint64_t state;
static struct catalog *catalog;

static uint32_t draw(uint32_t below)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(state >> 33) % below;
}

static void apply(uint32_t topic, const void *payload, size_t length)
{
    static uint64_t seq;
    struct batch_header batch = { .stream = 5 };
    struct message m = {
        .seq = ++seq, .topic = topic, .length = (uint32_t)length, .payload = payload
    };
    batch.first_seq = m.seq;
    ck_assert_int_eq(catalog_apply(catalog, &m, &batch), CATALOG_OK);
}

static void setup(void)
{
    uint8_t payload[SYS_PAYLOAD_MAX];
    state = 4711;
    catalog = catalog_create(NULL);
    ck_assert_ptr_nonnull(catalog);
    struct sys_genesis g = { .stream = 5,
                             .protocol_version = WIRE_VERSION,
                             .members = { .seq = 1, .count = 1, .stores = { 11 } } };
    apply(TOPIC_GENESIS, payload, sys_genesis_encode(&g, payload, sizeof payload));
    for (uint32_t i = 0; i < TOPICS; i++) {
        char path[32];
        int length = snprintf(path, sizeof path, "/md/t%u", i);
        apply(TOPIC_TOPIC, path, (size_t)length);
    }
    for (uint32_t i = 1; i <= PUBLISHERS; i++) {
        struct sys_join join = { .nonce = i, .publisher = i, .incarnation = 1 };
        snprintf(join.identity, sizeof join.identity, "p%u", i);
        apply(TOPIC_JOIN, payload, sys_join_encode(&join, payload, sizeof payload));
    }
}

static void teardown(void)
{
    catalog_destroy(catalog);
}

/* ---- a client -------------------------------------------------------------------------------- */

struct reader {
    bool topic[TOPICS + TOPIC_FIRST_USER], publisher[PUBLISHERS + 1];
    uint64_t previous; /* in this block */
    uint64_t messages;
    bool joined; /* in the middle: what came before the first message is not known */
};

static void end_block(struct reader *r)
{
    memset(r->topic, 0, sizeof r->topic);
    memset(r->publisher, 0, sizeof r->publisher);
    r->previous = 0;
    r->joined = false;
}

static void read_name(struct reader *r, const uint8_t *body, size_t length)
{
    struct edge_name n;
    ck_assert(edge_name_decode(body, length, &n));
    size_t expected;
    const char *text = n.kind == EDGE_NAME_TOPIC ? catalog_topic_path(catalog, n.id, &expected)
                                                 : catalog_publisher(catalog, n.id)->identity;
    ck_assert_uint_eq(n.length, strlen(text));
    ck_assert_mem_eq(n.text, text, n.length);
    (n.kind == EDGE_NAME_TOPIC ? r->topic : r->publisher)[n.id] = true;
}

/* False: something is missing. */
static bool read_frames(struct reader *r, const uint8_t *bytes, size_t length)
{
    for (size_t at = 0; at < length;) {
        enum edge_type type;
        size_t whole = edge_frame_peek(bytes + at, length - at, &type);
        ck_assert(whole != 0 && whole != SIZE_MAX);
        const uint8_t *body = bytes + at + EDGE_HEADER;
        at += whole;
        whole -= EDGE_HEADER;
        struct edge_message m;
        struct edge_progress p;
        if (type == EDGE_NAME) {
            read_name(r, body, whole);
        } else if (type == EDGE_MESSAGE) {
            ck_assert(edge_message_decode(body, whole, &m));
            if (!r->topic[m.topic] || (m.publisher != 0 && !r->publisher[m.publisher]))
                return false;
            if (m.previous != r->previous && !r->joined)
                return false;
            r->joined = false;
            r->previous = m.seq;
            r->messages++;
        } else {
            ck_assert_int_eq(type, EDGE_PROGRESS);
            ck_assert(edge_progress_decode(body, whole, &p));
            if (p.previous != r->previous && !r->joined)
                return false;
            end_block(r);
        }
    }
    return true;
}

/* ---- the stream ------------------------------------------------------------------------------ */

static struct run_message message_at(uint64_t seq)
{
    static uint8_t payload[200];
    struct run_message m = { .first_seq = seq, .fragments = 1 };
    m.message = (struct message) { .seq = seq,
                                   .timestamp_ns = seq * 1000,
                                   .topic = TOPIC_FIRST_USER + draw(draw(2) == 0 ? 20 : TOPICS),
                                   .publisher = draw(10) == 0 ? 0 : 1 + draw(PUBLISHERS),
                                   .length = draw(sizeof payload),
                                   .payload = payload };
    m.message.publisher_seq = m.message.publisher == 0 ? 0 : seq;
    memset(payload, (int)seq, sizeof payload);
    return m;
}

START_TEST(whoever_begins_later_gets_the_same_bytes)
{
    struct encoder *all = calloc(2, sizeof *all), *late = all + 1;
    uint8_t *out = malloc(OUT_MAX), *one = malloc(ENCODER_OVERHEAD_MAX + 256);
    struct reader *reader = calloc(2, sizeof *reader), *second = reader + 1;
    uint32_t rare = _i == 0 ? 1 : 40; /* how seldom something matches */
    encoder_begin(all);
    for (uint64_t block = 0; block < BLOCKS; block++) {
        uint64_t from = block * EDGE_BLOCK + draw(EDGE_BLOCK);
        bool begun = false;
        encoder_begin(late);
        end_block(second);
        for (uint64_t seq = block * EDGE_BLOCK + (block == 0); seq < (block + 1) * EDGE_BLOCK;
             seq++) {
            if (seq >= from && !begun) {
                uint32_t at = 0;
                begun = second->joined = true;
                while (at < ENCODER_NAMES) {
                    size_t names = encoder_names(late, catalog, &at, out, 600);
                    ck_assert(read_frames(second, out, names));
                }
            }
            if (draw(rare) != 0)
                continue;
            struct run_message m = message_at(seq);
            size_t length = encoder_message(all, catalog, &m, false, out);
            ck_assert_uint_le(length, ENCODER_OVERHEAD_MAX + m.message.length);
            ck_assert(read_frames(reader, out, length));
            size_t other = encoder_message(late, catalog, &m, !begun, one);
            ck_assert_uint_eq(other, begun ? length : 0);
            ck_assert_mem_eq(one, out, other);
            ck_assert(read_frames(second, one, other));
        }
        uint64_t time_ns = block, through = block * EDGE_BLOCK + (EDGE_BLOCK - 1);
        size_t length = encoder_end(all, through, 7, time_ns, false, out);
        ck_assert_uint_gt(length, 0);
        ck_assert(read_frames(reader, out, length));
        size_t other = encoder_end(late, through, 7, time_ns, !begun, one);
        ck_assert_uint_eq(other, begun ? length : 0);
        ck_assert_mem_eq(one, out, other);
        ck_assert(read_frames(second, one, other));
        ck_assert_uint_eq(all->previous, 0);
    }
    ck_assert_uint_gt(reader->messages, 100);
    free(reader);
    free(one);
    free(out);
    free(all);
}
END_TEST

/* The reader above is the check: it must see a frame that is left out. */
START_TEST(what_is_left_out_is_noticed)
{
    struct encoder *e = calloc(1, sizeof *e);
    struct reader *r = calloc(1, sizeof *r);
    uint8_t *out = malloc(ENCODER_OVERHEAD_MAX + 256);
    uint32_t left_out = (uint32_t)_i;
    bool noticed = false;
    encoder_begin(e);
    for (uint32_t i = 0; i < 10; i++) {
        struct run_message m = message_at(1 + i);
        size_t length = encoder_message(e, catalog, &m, false, out);
        noticed = noticed || (i != left_out && !read_frames(r, out, length));
    }
    size_t length = encoder_end(e, EDGE_BLOCK - 1, 0, 0, false, out);
    noticed = noticed || !read_frames(r, out, length);
    ck_assert(noticed);
    free(out);
    free(r);
    free(e);
}
END_TEST

START_TEST(a_block_without_a_match_says_nothing)
{
    struct encoder *e = calloc(1, sizeof *e);
    uint8_t out[ENCODER_END_MAX];
    uint32_t at = 0;
    encoder_begin(e);
    ck_assert_uint_eq(encoder_end(e, EDGE_BLOCK - 1, 1, 1, false, out), 0);
    ck_assert_uint_eq(encoder_names(e, catalog, &at, out, sizeof out), 0);
    ck_assert_uint_eq(at, ENCODER_NAMES);
    free(e);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_encoder");
    TCase *tcase = tcase_create("encoder");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, whoever_begins_later_gets_the_same_bytes, 0, 2);
    tcase_add_loop_test(tcase, what_is_left_out_is_noticed, 0, 10);
    tcase_add_test(tcase, a_block_without_a_match_says_nothing);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
