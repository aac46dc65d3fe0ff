/* Byte streams over the loopback interface. Two transports are driven in turn by one thread, each
 * with a core that records its events and consumes as the test tells it; a test drives them until a
 * condition holds or a generous deadline has passed. Faults: a refused connect, a full table, a
 * peer that vanishes, ids used after their stream's death, a core that does not consume. */
#include <arpa/inet.h>
#include <check.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "transport/kernel.h"

enum { LOOPBACK = 0x7f000001, WAIT_S = 60, BUFFER = 64 * 1024 };

struct side {
    struct transport *transport;
    uint32_t accepted, connected, closed, room; /* events */
    uint32_t stream;                            /* of the last ACCEPTED or CONNECTED */
    uint32_t closed_stream;
    struct port_addr peer;
    bool echo;
    bool hold;          /* consume nothing */
    size_t consume_max; /* of one event; 0: all */
    uint64_t bytes;     /* consumed */
    bool wrong;         /* bytes were not the pattern */
    size_t offered;     /* of the last BYTES event */
    bool close_on_bytes;
    bool accept_close;
    bool client; /* of the last ACCEPTED */
};

static uint64_t ahead_ns; /* of the clock: what is told of the time */

static uint8_t pattern(uint64_t at)
{
    return (uint8_t)(at * 31 + (at >> 8) * 7);
}

static size_t on_bytes(struct side *s, const struct port_stream_event *e)
{
    struct port *port = &s->transport->port;
    s->offered = e->length;
    if (s->close_on_bytes) {
        port->ops->stream_close(port, e->stream);
        return e->length;
    }
    size_t take = s->hold ? 0 : e->length;
    if (s->consume_max > 0 && take > s->consume_max)
        take = s->consume_max;
    if (s->echo) {
        size_t room = port->ops->stream_room(port, e->stream, take);
        if (take > room)
            take = room;
        port->ops->stream_write(port, e->stream, e->bytes, take);
    }
    for (size_t i = 0; i < take; i++)
        if (e->bytes[i] != pattern(s->bytes + i))
            s->wrong = true;
    s->bytes += take;
    return take;
}

static size_t on_stream(void *core, const struct port_stream_event *e, struct port_time now)
{
    (void)now;
    struct side *s = core;
    switch (e->type) {
    case PORT_STREAM_ACCEPTED:
        s->accepted++;
        s->client = e->client;
        s->stream = e->stream;
        s->peer = e->peer;
        if (s->accept_close)
            s->transport->port.ops->stream_close(&s->transport->port, e->stream);
        break;
    case PORT_STREAM_CONNECTED:
        s->connected++;
        s->stream = e->stream;
        s->peer = e->peer;
        break;
    case PORT_STREAM_BYTES:
        return on_bytes(s, e);
    case PORT_STREAM_ROOM:
        s->room++;
        break;
    case PORT_STREAM_CLOSED:
        s->closed++;
        s->closed_stream = e->stream;
        break;
    }
    return 0;
}

static const struct participant_ops ops = { .on_stream = on_stream };

static void drive(struct side *s)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    struct port_time now = { .mono_ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec +
                                        ahead_ns };
    s->transport->ops->streams(s->transport, &ops, s, now);
    s->transport->ops->flush(s->transport);
}

#define DRIVE_UNTIL(a, b, condition)                                                               \
    do {                                                                                           \
        time_t end_ = time(NULL) + WAIT_S;                                                         \
        while (!(condition) && time(NULL) < end_) {                                                \
            drive(a);                                                                              \
            drive(b);                                                                              \
            sched_yield();                                                                         \
        }                                                                                          \
        ck_assert_msg((condition), "never came: %s", #condition);                                  \
    } while (0)

static void open_side(struct side *s, bool listen, uint32_t streams_max)
{
    *s = (struct side) { 0 };
    ahead_ns = 0;
    struct transport_options o = { .unicast = { LOOPBACK, 0 },
                                   .listen = listen,
                                   .streams_max = streams_max,
                                   .stream_buffer_bytes = BUFFER };
    char error[TRANSPORT_ERROR_MAX];
    s->transport = transport_open_kernel(&o, error);
    ck_assert_msg(s->transport != NULL, "%s", error);
}

static struct side server, client;

static void setup(void)
{
    open_side(&server, true, 4);
    open_side(&client, false, 8);
}

static void teardown(void)
{
    server.transport->ops->close(server.transport);
    client.transport->ops->close(client.transport);
}

static struct port_addr server_at(void)
{
    return (struct port_addr) { LOOPBACK, server.transport->port.stream_port };
}

static uint32_t stream_connect(struct port_addr to)
{
    struct port *p = &client.transport->port;
    return p->ops->stream_connect(p, to);
}

static size_t stream_room(struct side *s, uint32_t stream, size_t want)
{
    return s->transport->port.ops->stream_room(&s->transport->port, stream, want);
}

static void stream_write(struct side *s, uint32_t stream, const void *bytes, size_t length)
{
    s->transport->port.ops->stream_write(&s->transport->port, stream, bytes, length);
}

static void stream_close(struct side *s, uint32_t stream)
{
    s->transport->port.ops->stream_close(&s->transport->port, stream);
}

static uint32_t connected_stream(void)
{
    uint32_t accepted = server.accepted, connected = client.connected;
    uint32_t id = stream_connect(server_at());
    ck_assert_uint_ne(id, 0);
    DRIVE_UNTIL(&server, &client,
                server.accepted == accepted + 1 && client.connected == connected + 1);
    ck_assert_uint_eq(client.stream, id);
    return id;
}

/* Writes pattern bytes from *at up to `end`, as room allows. */
static void write_pattern(struct side *s, uint32_t stream, uint64_t *at, uint64_t end)
{
    static uint8_t bytes[BUFFER];
    size_t want = end - *at < BUFFER ? (size_t)(end - *at) : BUFFER;
    size_t room = stream_room(s, stream, want);
    if (want > room)
        want = room;
    for (size_t i = 0; i < want; i++)
        bytes[i] = pattern(*at + i);
    stream_write(s, stream, bytes, want);
    *at += want;
}

/* A core that leaves bytes is offered them again with what arrives next, so the writer sends a tail
 * beyond the bytes that count until those are through. */
START_TEST(echo_through_small_bites)
{
    enum { TOTAL = 3 * 1000 * 1000 };
    uint32_t id = connected_stream();
    ck_assert(port_addr_equal(client.peer, server_at()));
    server.echo = true;
    server.consume_max = 5003;
    client.consume_max = 20011;
    uint64_t written = 0;
    DRIVE_UNTIL(&client, &server,
                (write_pattern(&client, id, &written, written + 4001), client.bytes >= TOTAL));
    ck_assert(!server.wrong);
    ck_assert(!client.wrong);
    ck_assert_uint_le(client.bytes, server.bytes);
    ck_assert_uint_le(server.bytes, written);
}
END_TEST

START_TEST(back_pressure_and_room)
{
    uint32_t id = connected_stream();
    server.hold = true;
    uint64_t written = 0;
    /* Until everything between the two is full: our buffer, the kernel's two, the server's. The
     * last is known to be full when its core is offered all of it. */
    DRIVE_UNTIL(&client, &server,
                (write_pattern(&client, id, &written, UINT64_MAX),
                 server.offered == BUFFER && stream_room(&client, id, BUFFER) == 0));
    ck_assert_uint_eq(client.room, 0);
    ck_assert_uint_eq(server.bytes, 0);
    uint64_t held = written;
    server.hold = false;
    DRIVE_UNTIL(&client, &server, client.room == 1);
    ck_assert_uint_eq(stream_room(&client, id, BUFFER), BUFFER);
    DRIVE_UNTIL(&client, &server, server.bytes == held);
    ck_assert(!server.wrong);
    ck_assert_uint_eq(client.room, 1); /* asked for once, told once */
}
END_TEST

/* In several pieces, one of them empty, and every third time as one write, so that the two ways meet. */
static void write_pieces(struct side *s, uint32_t stream, uint64_t *at, uint32_t turn)
{
    static uint8_t bytes[BUFFER];
    enum { PIECES = 7 };
    struct port_piece pieces[PIECES];
    size_t length = 1 + (size_t)turn * 7919 % BUFFER, taken = 0;
    if (stream_room(s, stream, length) < length)
        return;
    for (size_t i = 0; i < length; i++)
        bytes[i] = pattern(*at + i);
    for (uint32_t i = 0; i < PIECES; i++) {
        size_t end = i + 1 == PIECES ? length : i == 3 ? taken : length * (i + 1) / PIECES;
        pieces[i] = (struct port_piece) { bytes + taken, end - taken };
        taken = end;
    }
    if (turn % 3 == 0)
        stream_write(s, stream, bytes, length);
    else
        port_stream_write_pieces(&s->transport->port, stream, pieces, PIECES);
    *at += length;
}

START_TEST(pieces_arrive_in_order)
{
    enum { TOTAL = 20 * 1000 * 1000 };
    uint32_t id = connected_stream(), turn = 0;
    uint64_t written = 0;
    server.consume_max = 5003; /* slower than the writer: the kernel takes a part */
    DRIVE_UNTIL(&client, &server,
                (write_pieces(&client, id, &written, turn++), server.bytes >= TOTAL));
    server.consume_max = 0;
    DRIVE_UNTIL(&client, &server, server.bytes == written);
    ck_assert(!server.wrong);
}
END_TEST

START_TEST(room_is_told_even_if_the_flush_made_it)
{
    uint32_t id = connected_stream();
    static uint8_t bytes[BUFFER];
    for (size_t i = 0; i < BUFFER; i++)
        bytes[i] = pattern(i);
    ck_assert_uint_eq(stream_room(&client, id, BUFFER), BUFFER);
    stream_write(&client, id, bytes, BUFFER);
    ck_assert_uint_eq(stream_room(&client, id, 1), 0);
    DRIVE_UNTIL(&client, &server, client.room == 1);
    ck_assert_uint_ge(stream_room(&client, id, 1), 1);
}
END_TEST

START_TEST(refused_connect_is_closed)
{
    /* A port that was listened on a moment ago and is no more. */
    struct side gone;
    open_side(&gone, true, 1);
    struct port_addr at = { LOOPBACK, gone.transport->port.stream_port };
    gone.transport->ops->close(gone.transport);
    uint32_t id = stream_connect(at);
    ck_assert_uint_ne(id, 0);
    DRIVE_UNTIL(&client, &server, client.closed == 1);
    ck_assert_uint_eq(client.closed_stream, id);
    ck_assert_uint_eq(client.connected, 0);
    /* A multicast address: refused by connect() itself. */
    id = stream_connect((struct port_addr) { 0xe0000001, 1 });
    ck_assert_uint_ne(id, 0);
    DRIVE_UNTIL(&client, &server, client.closed == 2);
    ck_assert_uint_eq(client.closed_stream, id);
}
END_TEST

START_TEST(written_before_connected_is_sent)
{
    uint32_t id = stream_connect(server_at());
    uint64_t at = 0;
    write_pattern(&client, id, &at, 1000);
    DRIVE_UNTIL(&client, &server, server.bytes == 1000);
    ck_assert(!server.wrong);
}
END_TEST

START_TEST(close_sends_what_was_written)
{
    enum { TOTAL = BUFFER };
    uint32_t id = connected_stream();
    uint64_t at = 0;
    write_pattern(&client, id, &at, TOTAL);
    /* Bytes of the server's that the client never reads must not turn the end into a reset. */
    write_pattern(&server, server.stream, &(uint64_t) { 0 }, 5000);
    drive(&server);
    stream_close(&client, id);
    DRIVE_UNTIL(&client, &server, server.closed == 1);
    ck_assert_uint_eq(server.bytes, TOTAL);
    ck_assert(!server.wrong);
    ck_assert_uint_eq(client.closed, 0); /* no event for one's own close */
    ck_assert_uint_eq(client.bytes, 0);
}
END_TEST

START_TEST(closing_inside_events)
{
    uint32_t id = connected_stream();
    server.close_on_bytes = true;
    stream_write(&client, id, "x", 1);
    DRIVE_UNTIL(&client, &server, client.closed == 1);
    ck_assert_uint_eq(server.closed, 0);
    server.accept_close = true;
    stream_connect(server_at());
    DRIVE_UNTIL(&client, &server, client.closed == 2);
    ck_assert_uint_eq(server.closed, 0);
}
END_TEST

START_TEST(a_dead_id_is_harmless_and_not_used_again)
{
    uint32_t last = 0;
    for (int i = 0; i < 40; i++) {
        uint32_t id = connected_stream();
        ck_assert_uint_ne(id, last);
        stream_close(&client, id);
        uint32_t closed = server.closed;
        DRIVE_UNTIL(&client, &server, server.closed == closed + 1);
        if (last != 0) {
            ck_assert_uint_eq(stream_room(&client, last, 10), 0);
            stream_write(&client, last, "x", 1);
            stream_close(&client, last);
        }
        last = id;
    }
    ck_assert_uint_eq(stream_room(&client, 0, 10), 0);
    ck_assert_uint_eq(stream_room(&client, 0xffffffff, 10), 0);
}
END_TEST

START_TEST(too_many_are_refused_and_counted)
{
    /* The server takes 4, the client has 8. */
    for (int i = 0; i < 4; i++)
        connected_stream();
    uint32_t fifth = stream_connect(server_at());
    ck_assert_uint_ne(fifth, 0);
    DRIVE_UNTIL(&client, &server, client.closed == 1);
    ck_assert_uint_eq(client.closed_stream, fifth);
    ck_assert_uint_eq(server.accepted, 4);
    ck_assert_uint_eq(server.transport->counters.streams_refused, 1);
    uint32_t ids[4];
    for (int i = 0; i < 4; i++)
        ck_assert_uint_ne(ids[i] = stream_connect(server_at()), 0);
    ck_assert_uint_eq(stream_connect(server_at()), 0);
    ck_assert_uint_eq(client.transport->counters.streams_refused, 1);
    /* The four that stand are unharmed: one of them carries bytes. */
    uint64_t at = 0;
    write_pattern(&server, server.stream, &at, 777);
    DRIVE_UNTIL(&client, &server, client.bytes == 777);
}
END_TEST

START_TEST(a_peer_that_vanishes)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons(server_at().port),
                              .sin_addr = { htonl(LOOPBACK) } };
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    DRIVE_UNTIL(&client, &server, server.accepted == 1);
    struct linger reset = { .l_onoff = 1 };
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
    DRIVE_UNTIL(&client, &server, server.closed == 1);
    ck_assert_uint_eq(server.closed_stream, server.stream);
}
END_TEST

/* The end of a stream is told only after all that came before it, even when the core is slow. */
START_TEST(end_comes_after_the_bytes)
{
    uint32_t id = connected_stream();
    server.hold = true;
    uint64_t at = 0;
    DRIVE_UNTIL(&client, &server,
                (write_pattern(&client, id, &at, BUFFER + 50000), at == BUFFER + 50000));
    stream_close(&client, id);
    DRIVE_UNTIL(&client, &server, server.offered == BUFFER);
    ck_assert_uint_eq(server.closed, 0);
    server.hold = false;
    DRIVE_UNTIL(&client, &server, server.closed == 1);
    ck_assert_uint_eq(server.bytes, BUFFER + 50000);
    ck_assert(!server.wrong);
}
END_TEST

/* A port that nobody has just now. */
static uint16_t free_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr = { htonl(LOOPBACK) } };
    socklen_t length = sizeof sa;
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &length), 0);
    close(fd);
    return ntohs(sa.sin_port);
}

START_TEST(clients_have_a_door_of_their_own)
{
    char error[TRANSPORT_ERROR_MAX];
    struct transport_options o = { .unicast = { LOOPBACK, 0 }, .listen = true, .streams_max = 4 };
    struct side both = { 0 };
    for (int tries = 0; both.transport == NULL && tries < 20; tries++) {
        o.clients = (struct port_addr) { 0, free_port() };
        both.transport = transport_open_kernel(&o, error);
    }
    ck_assert_msg(both.transport != NULL, "%s", error);
    ck_assert_ptr_null(transport_open_kernel(&o, error));
    ck_assert_msg(strncmp(error, "clients: port ", 14) == 0, "%s", error);
    ck_assert_uint_ne(stream_connect((struct port_addr) { LOOPBACK, o.clients.port }), 0);
    DRIVE_UNTIL(&client, &both, both.accepted == 1);
    ck_assert(both.client);
    ck_assert_uint_ne(
        stream_connect((struct port_addr) { LOOPBACK, both.transport->port.stream_port }), 0);
    DRIVE_UNTIL(&client, &both, both.accepted == 2);
    ck_assert(!both.client);
    both.transport->ops->close(both.transport);
}
END_TEST

/* Pages of the server's buffers that have memory. */
static uint32_t pages_in_use(void)
{
    static unsigned char present[4 * 2 * BUFFER / 4096];
    const struct kernel_streams *s = &kernel_of(&server.transport->port)->streams;
    size_t pages = s->memory_bytes / s->page_bytes;
    uint32_t count = 0;
    ck_assert_uint_le(pages, sizeof present);
    ck_assert_int_eq(mincore(s->memory, s->memory_bytes, present), 0);
    for (size_t i = 0; i < pages; i++)
        count += present[i] & 1;
    return count;
}

START_TEST(memory_is_given_back_after_a_burst)
{
    uint32_t id = connected_stream();
    uint64_t at = 0;
    write_pattern(&client, id, &at, 10);
    DRIVE_UNTIL(&client, &server, server.bytes == 10);
    ck_assert_uint_eq(pages_in_use(), 1); /* one that says little costs a page */
    server.hold = true;
    DRIVE_UNTIL(&client, &server, (write_pattern(&client, id, &at, BUFFER), at == BUFFER));
    DRIVE_UNTIL(&client, &server, server.offered == BUFFER - 10);
    ck_assert_uint_gt(pages_in_use(), 8);
    /* Not while there is something in them, however long that is. */
    for (int i = 0; i < 3; i++) {
        ahead_ns += UINT64_C(2000000000);
        drive(&server);
    }
    server.hold = false;
    DRIVE_UNTIL(&client, &server, server.bytes == BUFFER);
    ck_assert(!server.wrong);
    for (int i = 0; i < 3; i++) {
        ahead_ns += UINT64_C(2000000000);
        drive(&server);
    }
    ck_assert_uint_eq(pages_in_use(), 0);
    write_pattern(&client, id, &at, BUFFER + 1000);
    DRIVE_UNTIL(&client, &server, server.bytes == BUFFER + 1000);
    ck_assert(!server.wrong);
    DRIVE_UNTIL(&client, &server, (write_pattern(&client, id, &at, 3 * BUFFER), at == 3 * BUFFER));
    stream_close(&client, id);
    DRIVE_UNTIL(&client, &server, server.closed == 1);
    ck_assert_uint_eq(pages_in_use(), 0); /* nor does one leave any behind */
}
END_TEST

/* Streams come and go; each that is closed by us stays for a while until the other side has ended, and
 * gives way to a new one where there is no other room. */
START_TEST(slots_go_round)
{
    for (int i = 0; i < 200; i++) {
        uint32_t id = connected_stream();
        if (i % 3 == 0)
            stream_close(&server, server.stream);
        stream_close(&client, id);
        if (i % 3 != 0) {
            uint32_t closed = server.closed;
            DRIVE_UNTIL(&client, &server, server.closed == closed + 1);
        }
    }
    ck_assert_uint_eq(server.transport->counters.streams_refused, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("transport/kernel_stream");
    TCase *streams = tcase_create("streams");
    tcase_add_checked_fixture(streams, setup, teardown);
    tcase_add_test(streams, echo_through_small_bites);
    tcase_add_test(streams, back_pressure_and_room);
    tcase_add_test(streams, pieces_arrive_in_order);
    tcase_add_test(streams, room_is_told_even_if_the_flush_made_it);
    tcase_add_test(streams, refused_connect_is_closed);
    tcase_add_test(streams, written_before_connected_is_sent);
    tcase_add_test(streams, close_sends_what_was_written);
    tcase_add_test(streams, closing_inside_events);
    tcase_add_test(streams, a_dead_id_is_harmless_and_not_used_again);
    tcase_add_test(streams, too_many_are_refused_and_counted);
    tcase_add_test(streams, a_peer_that_vanishes);
    tcase_add_test(streams, end_comes_after_the_bytes);
    tcase_add_test(streams, clients_have_a_door_of_their_own);
    tcase_add_test(streams, memory_is_given_back_after_a_burst);
    tcase_add_test(streams, slots_go_round);
    suite_add_tcase(suite, streams);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
