/* Goal: every frame of the client protocol is read as it was written, and nothing else is read. Method: one
 * example of each type goes there and back, is cut at every length, has a byte too many, and has every
 * byte changed to every value: what still decodes must encode to the very bytes that were read, so that each
 * value has one encoding. */
#include <stdio.h>

#include "proto/edge.h"
#include "tests/proto/suite.h"

enum { FRAME_MAX = 4096 };
static uint8_t frame[FRAME_MAX], again[FRAME_MAX];

static const struct position here = { .epoch = { .number = 7, .candidate = 99 }, .seq = 4711 };

static struct edge_subtrees subtrees_of(const char *const *names, uint16_t count, uint8_t *bytes)
{
    struct edge_subtrees s = { .count = count, .at = bytes };
    for (uint16_t i = 0; i < count; i++) {
        bytes[s.length++] = (uint8_t)strlen(names[i]);
        memcpy(bytes + s.length, names[i], strlen(names[i]));
        s.length += strlen(names[i]);
    }
    return s;
}

/* ---- one example of each --------------------------------------------------------------------- */

static size_t hello(void)
{
    struct edge_hello h = {
        .version = EDGE_VERSION, .stream = 5, .has_key = true, .agent = "test"
    };
    memset(h.key, 3, sizeof h.key);
    return edge_hello_encode(&h, frame, sizeof frame);
}

static size_t prove(void)
{
    struct edge_prove p;
    memset(p.signature, 0x55, sizeof p.signature);
    return edge_prove_encode(&p, frame, sizeof frame);
}

static size_t subscribe(void)
{
    static const char *const names[] = { "/md", "/orders/eu", "/" };
    uint8_t bytes[64];
    struct edge_subscribe s = { .level = EDGE_STABLE,
                                .from = EDGE_FROM_POSITION,
                                .position = here,
                                .tick_ms = EDGE_TICK_DEFAULT_MS,
                                .subtrees = subtrees_of(names, 3, bytes) };
    return edge_subscribe_encode(&s, frame, sizeof frame);
}

static size_t change(void)
{
    static const char *const names[] = { "/md/nasdaq", "/x" };
    uint8_t bytes[64];
    struct edge_change c = { .add = subtrees_of(names, 1, bytes),
                             .remove = subtrees_of(names + 1, 1, bytes + 32) };
    return edge_change_encode(&c, frame, sizeof frame);
}

static size_t open_frame(void)
{
    struct edge_open o = { .name = "book", .nonce = 77, .wanted = 2, .known = 33 };
    return edge_open_encode(&o, frame, sizeof frame);
}

static size_t publish(void)
{
    struct edge_publish p = { .publisher = 12,
                              .number = 400,
                              .position = here,
                              .flags = MESSAGE_MORE,
                              .topic = "/orders/eu/1",
                              .topic_length = 12,
                              .conditional = true,
                              .condition_topic = "/race",
                              .condition_topic_length = 5,
                              .condition_after = 9,
                              .payload = (const uint8_t *)"payload",
                              .length = 7 };
    return edge_publish_encode(&p, frame, sizeof frame);
}

static size_t welcome(void)
{
    struct edge_welcome w = { .version = EDGE_VERSION, .stream = 5, .proxy = "p1" };
    memset(w.challenge, 0xaa, sizeof w.challenge);
    return edge_welcome_encode(&w, frame, sizeof frame);
}

static size_t accepted(void)
{
    struct edge_accepted a = { here, 4700, 1300, 1024, 1 << 20, true };
    return edge_accepted_encode(&a, frame, sizeof frame);
}

static size_t subscribed(void)
{
    struct edge_subscribed s = { here };
    return edge_subscribed_encode(&s, frame, sizeof frame);
}

static size_t changed(void)
{
    struct edge_changed c = { 800 };
    return edge_changed_encode(&c, frame, sizeof frame);
}

static size_t epoch(void)
{
    struct edge_epoch e = { here.epoch, 4000 };
    return edge_epoch_encode(&e, frame, sizeof frame);
}

static size_t name(void)
{
    struct edge_name n = { EDGE_NAME_TOPIC, 17, "/md/a", 5 };
    return edge_name_encode(&n, frame, sizeof frame);
}

static size_t message(void)
{
    struct edge_message m = { .seq = 900,
                              .previous = 890,
                              .timestamp_ns = 123456789,
                              .topic = 17,
                              .publisher = 3,
                              .publisher_seq = 44,
                              .flags = 0,
                              .payload = (const uint8_t *)"hello",
                              .length = 5 };
    return edge_message_encode(&m, frame, sizeof frame);
}

static size_t progress(void)
{
    struct edge_progress p = { 1000, 900, 990, 123456789 };
    return edge_progress_encode(&p, frame, sizeof frame);
}

static size_t opened(void)
{
    struct edge_opened o = { 12, 2, 399, 850, 390, 60 };
    return edge_opened_encode(&o, frame, sizeof frame);
}

static size_t outcome(void)
{
    struct edge_outcome o = { 12, 400, 1, 901, REJECT_NOT_PERMITTED, 0, 880 };
    return edge_outcome_encode(&o, frame, sizeof frame);
}

static size_t refused(void)
{
    struct edge_refused r = { .request = EDGE_PUBLISH,
                              .reason = EDGE_REFUSED_RIGHT,
                              .right = ACCESS_WRITE,
                              .publisher = 12,
                              .number = 401,
                              .subject = "/orders/us",
                              .text = "ask for a grant" };
    return edge_refused_encode(&r, frame, sizeof frame);
}

static size_t forked(void)
{
    struct edge_forked f = { here };
    return edge_forked_encode(&f, frame, sizeof frame);
}

static size_t superseded(void)
{
    struct edge_superseded s = { 12, 3, 950 };
    return edge_superseded_encode(&s, frame, sizeof frame);
}

static size_t closing(void)
{
    struct edge_closing c = { EDGE_CLOSING_DRAIN, "bye" };
    return edge_closing_encode(&c, frame, sizeof frame);
}

static size_t who(void)
{
    struct edge_who w = { 640 };
    return edge_who_encode(&w, frame, sizeof frame);
}

static size_t clients(void)
{
    struct edge_clients c = { (const uint8_t *)"a page", 6 };
    return edge_clients_encode(&c, frame, sizeof frame);
}

/* ---- there and back -------------------------------------------------------------------------- */

/* Decodes a body and encodes what came out; 0 if it was refused. */
#define RECODE(name, type)                                                                         \
    static size_t recode_##name(const uint8_t *body, size_t length)                                \
    {                                                                                              \
        struct edge_##name out;                                                                    \
        memset(&out, 0, sizeof out);                                                               \
        if (!edge_##name##_decode(body, length, &out))                                             \
            return 0;                                                                              \
        size_t size = edge_##name##_encode(&out, again, sizeof again);                             \
        ck_assert_msg(size > 0, #name ": decoded, and then can't be encoded");                     \
        return size;                                                                               \
    }
EDGE_TYPES(RECODE)
#undef RECODE

struct example {
    const char *name;
    enum edge_type type;
    size_t (*make)(void);
    size_t (*recode)(const uint8_t *body, size_t length);
    bool open_ended; /* whatever follows is payload */
};

#define OPEN_ENDED(t)     ((t) == EDGE_MESSAGE || (t) == EDGE_PUBLISH || (t) == EDGE_CLIENTS)
#define EXAMPLE(n, t)     { #n, t, n, recode_##n, OPEN_ENDED(t) },
#define open              open_frame
#define recode_open_frame recode_open
static const struct example examples[] = { EDGE_TYPES(EXAMPLE) };
#undef open
#undef EXAMPLE
#undef OPEN_ENDED

static void check_recode(const struct example *e, const uint8_t *body, size_t length)
{
    uint8_t *exact = suite_exact(body, length);
    size_t size = e->recode(exact, length);
    free(exact);
    if (size == 0)
        return;
    ck_assert_msg(size == EDGE_HEADER + length && memcmp(again + EDGE_HEADER, body, length) == 0,
                  "%s: two encodings of one value", e->name);
}

START_TEST(every_frame_is_read_as_it_was_written)
{
    const struct example *e = &examples[_i];
    size_t size = e->make(), length = size - EDGE_HEADER;
    ck_assert_msg(size > EDGE_HEADER, "%s", e->name);
    enum edge_type type;
    ck_assert_uint_eq(edge_frame_peek(frame, size, &type), size);
    ck_assert_int_eq(type, e->type);
    ck_assert_uint_eq(e->recode(frame + EDGE_HEADER, length), size);
    ck_assert_mem_eq(frame, again, size);
    for (size_t shorter = 0; shorter < length; shorter++) {
        uint8_t *cut = suite_exact(frame + EDGE_HEADER, shorter);
        ck_assert_msg(e->open_ended || e->recode(cut, shorter) == 0, "%s cut to %zu", e->name,
                      shorter);
        check_recode(e, frame + EDGE_HEADER, shorter);
        free(cut);
        ck_assert_uint_eq(edge_frame_peek(frame, EDGE_HEADER + shorter, &type), 0);
    }
    frame[size] = 0;
    ck_assert(e->open_ended || e->recode(frame + EDGE_HEADER, length + 1) == 0);
    for (size_t at = 0; at < length; at++) {
        uint8_t was = frame[EDGE_HEADER + at];
        for (uint32_t value = 0; value < 256; value++) {
            frame[EDGE_HEADER + at] = (uint8_t)value;
            check_recode(e, frame + EDGE_HEADER, length);
        }
        frame[EDGE_HEADER + at] = was;
    }
}
END_TEST

START_TEST(what_can_never_be_a_frame_is_known_at_once)
{
    enum edge_type type;
    static const struct {
        uint8_t bytes[5];
        size_t result;
    } heads[] = {
        { { 0, 0, 0, 0, EDGE_HELLO }, SIZE_MAX },            /* no type */
        { { 1, 0, 0, 0, EDGE_ALIVE }, 5 },                   /* the shortest */
        { { 1, 0, 0, 0, 0 }, SIZE_MAX },                     /* no such type */
        { { 1, 0, 0, 0, EDGE_WHO + 1 }, SIZE_MAX },          /* nor this */
        { { 1, 0, 0, 0, EDGE_CLIENTS + 1 }, SIZE_MAX },      /* nor this */
        { { 0xff, 0xff, 0xff, 0, EDGE_PUBLISH }, SIZE_MAX }, /* too long */
        { { 'G', 'E', 'T', ' ', '/' }, SIZE_MAX },           /* somebody else's */
    };
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
        ck_assert_uint_eq(edge_frame_peek(heads[i].bytes, 5, &type), heads[i].result);
    for (size_t i = 0; i < 4; i++)
        ck_assert_uint_eq(edge_frame_peek(heads[1].bytes, i, &type), 0);
    ck_assert_uint_eq(edge_alive_encode(frame, sizeof frame), 5);
    ck_assert_mem_eq(frame, heads[1].bytes, 5);
}
END_TEST

START_TEST(subtrees_are_read_in_their_order)
{
    struct edge_subscribe s;
    size_t size = subscribe(), length;
    const char *text;
    ck_assert(edge_subscribe_decode(frame + EDGE_HEADER, size - EDGE_HEADER, &s));
    static const char *const expected[] = { "/md", "/orders/eu", "/" };
    for (uint32_t i = 0; i < 3; i++) {
        ck_assert(edge_subtree_next(&s.subtrees, &text, &length));
        ck_assert_uint_eq(length, strlen(expected[i]));
        ck_assert_mem_eq(text, expected[i], length);
    }
    ck_assert(!edge_subtree_next(&s.subtrees, &text, &length));
}
END_TEST

/* What is signed names the stream, the challenge, the key, the connection and the proxy: a signature is of no
 * use anywhere else. */
START_TEST(a_signature_is_for_one_login_only)
{
    struct edge_welcome w = { .version = 1, .stream = 5, .proxy = "p1" };
    uint8_t key[ACCESS_KEY_SIZE] = { 1 }, binding[32] = { 0 };
    uint8_t first[EDGE_SIGNED_SIZE], other[EDGE_SIGNED_SIZE];
    edge_signed(&w, key, binding, first);
    for (uint32_t what = 0; what < 5; what++) {
        struct edge_welcome v = w;
        uint8_t k[ACCESS_KEY_SIZE] = { 1 }, b[32] = { 0 };
        v.stream += what == 0;
        v.challenge[31] = what == 1;
        v.proxy[1] = what == 2 ? '2' : '1';
        k[31] = what == 3;
        b[31] = what == 4;
        edge_signed(&v, k, b, other);
        ck_assert(memcmp(first, other, sizeof first) != 0);
    }
    edge_signed(&w, key, binding, other);
    ck_assert_mem_eq(first, other, sizeof first);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("edge");
    TCase *tcase = tcase_create("edge");
    tcase_add_loop_test(tcase, every_frame_is_read_as_it_was_written, 0,
                        (int)(sizeof examples / sizeof examples[0]));
    tcase_add_test(tcase, what_can_never_be_a_frame_is_known_at_once);
    tcase_add_test(tcase, subtrees_are_read_in_their_order);
    tcase_add_test(tcase, a_signature_is_for_one_login_only);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
