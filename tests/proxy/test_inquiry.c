/* What operators ask of a proxy, over a port that keeps what was written: that each question has its answer,
 * that all clients are told of page by page and each once, that drain drains, that clients' streams are left
 * alone, and that callers who send nonsense, don't read or say nothing cost a bounded room and time. The
 * proxy is a stand-in: a table of clients and a flag. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/inquiry.h"

/* ---- a proxy that is none -------------------------------------------------------------------- */

enum { PLACES = 300 };

struct proxy {
    bool there[PLACES];
    bool drained;
    struct catalog *catalog;
    uint64_t counters[COUNTER_END];
};

static struct proxy proxy;

void proxy_drain(struct proxy *p, struct port_time now)
{
    (void)now;
    p->drained = true;
}
bool proxy_drained(const struct proxy *p)
{
    return p->drained && proxy_sessions(p) == 0;
}
uint32_t proxy_sessions(const struct proxy *p)
{
    uint32_t count = 0;
    for (int i = 0; i < PLACES; i++)
        count += p->there[i];
    return count;
}
uint64_t proxy_seq(const struct proxy *p)
{
    (void)p;
    return 77;
}
uint64_t proxy_stable(const struct proxy *p)
{
    (void)p;
    return 66;
}
const struct catalog *proxy_catalog(const struct proxy *p)
{
    return p->catalog;
}
uint64_t *proxy_counters(const struct proxy *p)
{
    return (uint64_t *)(uintptr_t)p->counters;
}
void proxy_gauges(const struct proxy *p, uint64_t gauges[COUNTER_END])
{
    gauges[COUNTER_SESSIONS] = proxy_sessions(p);
}
const char *proxy_state(const struct proxy *p)
{
    return p->drained ? "draining" : "serving";
}
bool proxy_client_at(const struct proxy *p, uint32_t at, struct proxy_client *out)
{
    while (at < PLACES && !p->there[at])
        at++;
    if (at >= PLACES)
        return false;
    *out = (struct proxy_client) { .at = at + 1, .session = 1000 + at, .has_key = at % 2 == 0 };
    memset(out->key, (int)at, sizeof out->key);
    memcpy(out->agent, "test", 5);
    out->subscribed = out->behind = true;
    return true;
}

/* ---- a port that keeps what is written ------------------------------------------------------- */

static uint8_t written[64 * 1024];
static size_t written_length, room;
static uint32_t closed;

static size_t stream_room(struct port *port, uint32_t stream, size_t want)
{
    (void)port;
    (void)stream;
    (void)want;
    return room;
}
static void stream_write(struct port *port, uint32_t stream, const void *bytes, size_t length)
{
    (void)port;
    (void)stream;
    ck_assert_uint_le(length, sizeof written - written_length);
    memcpy(written + written_length, bytes, length);
    written_length += length;
}
static void stream_close(struct port *port, uint32_t stream)
{
    (void)port;
    (void)stream;
    closed++;
}

static const struct port_ops ops = { .stream_room = stream_room,
                                     .stream_write = stream_write,
                                     .stream_close = stream_close };
static struct port port = { .ops = &ops };
static struct inquiry inquiry;
static struct port_time now = { 1000, 2000 };

static void set_up(void)
{
    memset(&proxy, 0, sizeof proxy);
    proxy.catalog = catalog_create(NULL);
    ck_assert_ptr_nonnull(proxy.catalog);
    struct inquiry_options options = { .stream = 0xa1, .memory_bytes = 5 };
    inquiry_init(&inquiry, &options, &proxy, &port, now);
    written_length = 0;
    room = sizeof written;
    closed = 0;
}

static void tear_down(void)
{
    catalog_destroy(proxy.catalog);
}

/* ---- callers --------------------------------------------------------------------------------- */

static bool event(enum port_stream_event_type type, uint32_t stream, const uint8_t *bytes,
                  size_t length, size_t *consumed)
{
    struct port_stream_event e = {
        .type = type, .stream = stream, .bytes = bytes, .length = length
    };
    return inquiry_on_stream(&inquiry, &e, now, consumed);
}

static void call(uint32_t stream)
{
    size_t consumed;
    ck_assert(event(PORT_STREAM_ACCEPTED, stream, NULL, 0, &consumed));
}

static size_t ask(uint32_t stream, enum replay_type type, const void *body, size_t length)
{
    uint8_t frame[COMMAND_SIZE_MAX];
    size_t framed = replay_frame_encode(type, body, length, frame, sizeof frame), consumed;
    ck_assert_uint_gt(framed, 0);
    written_length = 0;
    ck_assert(event(PORT_STREAM_BYTES, stream, frame, framed, &consumed));
    return consumed;
}

static const uint8_t *answer_body(enum replay_type type, size_t *length)
{
    enum replay_type got;
    size_t whole = replay_frame_peek(written, written_length, &got);
    ck_assert_uint_eq(whole, written_length);
    ck_assert_uint_gt(whole, 0);
    ck_assert_int_eq(got, type);
    *length = whole - REPLAY_FRAME_HEADER;
    return written + REPLAY_FRAME_HEADER;
}

START_TEST(the_status_is_told)
{
    static struct status status;
    size_t length;
    proxy.there[3] = true;
    proxy.counters[COUNTER_LOGINS] = 9;
    call(7);
    now.mono_ns += 500;
    ck_assert_uint_gt(ask(7, REPLAY_STATUS_REQUEST, NULL, 0), 0);
    const uint8_t *body = answer_body(REPLAY_STATUS, &length);
    ck_assert(status_decode(body, length, &status));
    ck_assert_str_eq(status.role, "proxy");
    ck_assert_str_eq(status.state, "serving");
    ck_assert_uint_eq(status.stream, 0xa1);
    ck_assert_uint_eq(status.tip, 77);
    ck_assert_uint_eq(status.stable, 66);
    ck_assert_uint_eq(status.uptime_ns, 500);
    ck_assert_uint_eq(status.memory_bytes, 5);
    ck_assert_uint_eq(status.counters[COUNTER_LOGINS], 9);
    ck_assert_uint_eq(status.counters[COUNTER_SESSIONS], 1);
}
END_TEST

START_TEST(every_client_is_on_one_page)
{
    static struct clients page;
    uint8_t at[4] = { 0 };
    bool seen[PLACES] = { false };
    uint32_t pages = 0, all = 0;
    for (int i = 0; i < PLACES; i++)
        proxy.there[i] = i % 3 != 1;
    call(7);
    do {
        size_t length;
        ck_assert_uint_gt(ask(7, REPLAY_CLIENTS_REQUEST, at, sizeof at), 0);
        const uint8_t *body = answer_body(REPLAY_CLIENTS, &length);
        ck_assert(clients_decode(body, length, &page));
        ck_assert_uint_eq(page.tip, 77);
        for (uint32_t i = 0; i < page.count; i++, all++) {
            uint64_t place = page.all[i].session - 1000;
            ck_assert(proxy.there[place] && !seen[place]);
            seen[place] = true;
            ck_assert_int_eq(page.all[i].has_key, place % 2 == 0);
            ck_assert_uint_eq(page.all[i].flags, CLIENT_SUBSCRIBED | CLIENT_BEHIND);
        }
        wire_store32(at, page.next);
        ck_assert_uint_le(++pages, PLACES);
    } while (page.next != 0);
    ck_assert_uint_eq(all, proxy_sessions(&proxy));
    ck_assert_uint_eq(pages, (all + CLIENTS_PAGE_MAX - 1) / CLIENTS_PAGE_MAX);
}
END_TEST

START_TEST(drain_drains_and_nothing_else_is_done)
{
    struct command command = { .kind = COMMAND_PROMOTE };
    struct outcome outcome;
    uint8_t bytes[COMMAND_SIZE_MAX];
    size_t length;
    proxy.there[0] = true;
    call(7);
    ask(7, REPLAY_COMMAND, bytes, command_encode(&command, bytes, sizeof bytes));
    const uint8_t *body = answer_body(REPLAY_OUTCOME, &length);
    ck_assert(outcome_decode(body, length, &outcome));
    ck_assert_int_eq(outcome.verdict, OUTCOME_REFUSED);
    ck_assert(!proxy.drained);
    command.kind = COMMAND_DRAIN;
    ask(7, REPLAY_COMMAND, bytes, command_encode(&command, bytes, sizeof bytes));
    body = answer_body(REPLAY_OUTCOME, &length);
    ck_assert(outcome_decode(body, length, &outcome));
    ck_assert_int_eq(outcome.verdict, OUTCOME_PENDING);
    ck_assert_str_eq(outcome.text, "1 clients are told to go elsewhere");
    ck_assert(proxy.drained);
    proxy.there[0] = false;
    ask(7, REPLAY_COMMAND, bytes, command_encode(&command, bytes, sizeof bytes));
    body = answer_body(REPLAY_OUTCOME, &length);
    ck_assert(outcome_decode(body, length, &outcome));
    ck_assert_int_eq(outcome.verdict, OUTCOME_DONE);
}
END_TEST

START_TEST(clients_are_not_its_business)
{
    size_t consumed;
    struct port_stream_event e = { .type = PORT_STREAM_ACCEPTED, .stream = 9, .client = true };
    ck_assert(!inquiry_on_stream(&inquiry, &e, now, &consumed));
    call(7);
    ck_assert(!event(PORT_STREAM_BYTES, 9, (const uint8_t *)"x", 1, &consumed));
    ck_assert(!event(PORT_STREAM_CLOSED, 9, NULL, 0, &consumed));
    ck_assert(event(PORT_STREAM_CLOSED, 7, NULL, 0, &consumed));
    ck_assert(!event(PORT_STREAM_BYTES, 7, (const uint8_t *)"x", 1, &consumed));
}
END_TEST

START_TEST(callers_are_bounded)
{
    size_t consumed;
    for (uint32_t i = 1; i <= INQUIRY_CALLERS_MAX; i++)
        call(i);
    call(100);
    ck_assert_uint_eq(closed, 1);
    ck_assert_uint_eq(proxy.counters[COUNTER_STREAMS_REFUSED], 1);
    /* Nonsense, a question nobody asks a proxy, and a frame that is none. */
    ck_assert(
        event(PORT_STREAM_BYTES, 1, (const uint8_t *)"GET / HTTP/1.1\r\n\r\n", 18, &consumed));
    ask(2, REPLAY_REQUEST, "?", 1);
    ask(3, REPLAY_CLIENTS_REQUEST, "abc", 3);
    ask(4, REPLAY_STATUS_REQUEST, "x", 1);
    ck_assert_uint_eq(closed, 5);
    /* One that does not read is not answered, and its question stays where it is. */
    room = STATUS_SIZE_MAX;
    ck_assert_uint_eq(ask(5, REPLAY_STATUS_REQUEST, NULL, 0), 0);
    ck_assert_uint_eq(written_length, 0);
    /* Half a frame waits for the other half, but not for ever. */
    ck_assert(event(PORT_STREAM_BYTES, 6, (const uint8_t *)"\1\0\0", 3, &consumed));
    ck_assert_uint_eq(consumed, 0);
    uint64_t due = inquiry_step(&inquiry, now);
    ck_assert_uint_gt(due, now.mono_ns);
    now.mono_ns = due;
    ck_assert_uint_eq(inquiry_step(&inquiry, now), PORT_NEVER);
    ck_assert_uint_eq(closed, 9);
    ck_assert_uint_eq(inquiry.caller_count, 0);
    call(101);
    ck_assert_uint_eq(inquiry.caller_count, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy/inquiry");
    TCase *all = tcase_create("all");
    tcase_add_checked_fixture(all, set_up, tear_down);
    tcase_add_test(all, the_status_is_told);
    tcase_add_test(all, every_client_is_on_one_page);
    tcase_add_test(all, drain_drains_and_nothing_else_is_done);
    tcase_add_test(all, clients_are_not_its_business);
    tcase_add_test(all, callers_are_bounded);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
