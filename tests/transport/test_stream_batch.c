/* Many byte streams written to in one round leave in one system call where the system has io_uring, and one by one
 * where it has none: either way each has its own bytes, in order, once. A transport writes a pattern to bare clients, in
 * pieces of many sizes and with rings that wrap round; some clients read late, so that the kernel is full at times, some
 * have gone without a word, some are closed with bytes still to leave. The same is done with io_uring refused. */
#include <arpa/inet.h>
#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "transport/kernel.h"

enum {
    LOOPBACK = 0x7f000001,
    CLIENTS = 3 * KERNEL_BATCH_MAX + 5,
    BUFFER = 4096,
    EACH = 200000, /* bytes: more than all buffers on the way hold */
    GONE = 7,      /* every so many clients, one */
    WAIT_S = 60,
    HALF_AN_HOUR_S = 1800
};

static struct transport *transport;
static uint32_t streams[CLIENTS], accepted, closed;
static int clients[CLIENTS];
static uint64_t written[CLIENTS], received[CLIENTS];

static size_t on_stream(void *ctx, const struct port_stream_event *e, struct port_time now)
{
    (void)ctx;
    (void)now;
    if (e->type == PORT_STREAM_ACCEPTED)
        streams[accepted++] = e->stream;
    closed += e->type == PORT_STREAM_CLOSED;
    return e->length;
}

static const struct participant_ops ops = { .on_stream = on_stream };

static void drive(void)
{
    static uint64_t now_ns = 1000000000;
    const struct port_time now = { .mono_ns = now_ns += 10000 };
    transport->ops->streams(transport, &ops, NULL, now);
    transport->ops->flush(transport);
}

static uint8_t pattern(uint32_t client, uint64_t at)
{
    return (uint8_t)(client * 13 + at * 31 + (at >> 8) * 7);
}

static void open_all(bool refused)
{
    char error[TRANSPORT_ERROR_MAX];
    const struct transport_options o = { .unicast = { LOOPBACK, 0 },
                                         .listen = true,
                                         .streams_max = CLIENTS,
                                         .stream_buffer_bytes = BUFFER };
    accepted = closed = 0;
    transport = transport_open_kernel(&o, error);
    ck_assert_msg(transport != NULL, "%s", error);
    kernel_of(&transport->port)->streams.batch_refused = refused;
    const struct sockaddr_in to = { .sin_family = AF_INET,
                                    .sin_port = htons(transport->port.stream_port),
                                    .sin_addr = { htonl(LOOPBACK) } };
    for (uint32_t i = 0; i < CLIENTS; i++) {
        clients[i] = socket(AF_INET, SOCK_STREAM, 0);
        ck_assert_int_eq(connect(clients[i], (const void *)&to, sizeof to), 0);
        ck_assert_int_eq(fcntl(clients[i], F_SETFL, O_NONBLOCK), 0);
        written[i] = received[i] = 0;
        for (time_t end = time(NULL) + WAIT_S; accepted == i && time(NULL) < end;)
            drive();
        ck_assert_uint_eq(accepted, i + 1);
    }
}

static void close_all(void)
{
    for (uint32_t i = 0; i < CLIENTS; i++)
        if (clients[i] >= 0)
            close(clients[i]);
    transport->ops->close(transport);
}

static bool is_slow(uint32_t i)
{
    return i % 5 == 0;
}

/* A kernel that takes part of what it is given leaves the rest anywhere in the ring; this one takes all, or none. */
static void begin_ring_at(uint32_t i, uint32_t at)
{
    struct kernel_stream *stream =
        &kernel_of(&transport->port)->streams.table[(streams[i] & 0xffff) - 1];
    if (stream->out_used == 0)
        stream->out_start = at;
}

static void write_some(uint32_t i, size_t wanted)
{
    uint8_t bytes[BUFFER];
    size_t room = transport->port.ops->stream_room(&transport->port, streams[i], 1);
    size_t length = wanted < room ? wanted : room;
    if (length > EACH - written[i])
        length = EACH - written[i];
    for (size_t k = 0; k < length; k++)
        bytes[k] = pattern(i, written[i] + k);
    transport->port.ops->stream_write(&transport->port, streams[i], bytes, length);
    written[i] += length;
}

static void read_some(uint32_t i)
{
    uint8_t bytes[65536];
    ssize_t got = recv(clients[i], bytes, sizeof bytes, 0);
    bool right = true; /* an assertion of each byte would take a second a round */
    for (ssize_t k = 0; k < got; k++)
        right = right && bytes[k] == pattern(i, received[i]++);
    ck_assert_msg(right, "client %u has other bytes than were written to it", i);
}

static bool is_gone(uint32_t i)
{
    return i % GONE == 3;
}

static bool everybody_has(uint64_t bytes)
{
    for (uint32_t i = 0; i < CLIENTS; i++)
        if (!is_gone(i) && received[i] < bytes)
            return false;
    return true;
}

static void write_and_read(bool refused)
{
    open_all(refused);
    for (uint32_t round = 0; !everybody_has(EACH); round++) {
        static time_t end;
        end = round == 0 ? time(NULL) + WAIT_S : end;
        ck_assert_msg(time(NULL) < end, "not all of it came");
        for (uint32_t i = 0; i < CLIENTS; i++)
            write_some(i, 1 + (round * 797 + i * 131) % BUFFER);
        drive();
        for (uint32_t i = 0; i < CLIENTS; i++) {
            if (is_gone(i) && round == 20) {
                close(clients[i]);
                clients[i] = -1;
            } else if (clients[i] >= 0 && (!is_slow(i) || round % 60 == 0)) {
                read_some(i);
            }
        }
    }
    ck_assert_int_eq(kernel_of(&transport->port)->streams.batch != NULL, !refused);
    close_all();
}

/* Where the tests run there may be none. */
static bool has_io_uring(void)
{
    open_all(false);
    for (uint32_t i = 0; i < CLIENTS; i++)
        write_some(i, 10);
    drive();
    bool has = kernel_of(&transport->port)->streams.batch != NULL;
    close_all();
    return has;
}

START_TEST(each_has_its_bytes_in_order)
{
    write_and_read(!has_io_uring());
}
END_TEST

START_TEST(without_io_uring_too)
{
    write_and_read(true);
}
END_TEST

START_TEST(what_was_written_before_a_close_leaves)
{
    open_all(false);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        begin_ring_at(i, BUFFER - 500);
        write_some(i, 1000 + i);
        transport->port.ops->stream_close(&transport->port, streams[i]);
    }
    drive();
    for (uint32_t i = 0; i < CLIENTS; i++)
        for (time_t end = time(NULL) + WAIT_S; received[i] < written[i];) {
            read_some(i);
            drive();
            ck_assert_msg(time(NULL) < end, "not all of it came");
        }
    for (uint32_t i = 0; i < CLIENTS; i++)
        ck_assert_int_eq(recv(clients[i], (uint8_t[1]) { 0 }, 1, 0), 0);
    close_all();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("transport/stream_batch");
    TCase *t = tcase_create("batch");
    tcase_set_timeout(t, HALF_AN_HOUR_S);
    tcase_add_test(t, each_has_its_bytes_in_order);
    tcase_add_test(t, without_io_uring_too);
    tcase_add_test(t, what_was_written_before_a_close_leaves);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
