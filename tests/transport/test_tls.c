/* TLS on streams: two transports over the loopback interface, one that accepts and one that connects, and
 * where a test needs a peer that does not keep to the rules, a bare socket. Both sides write a pattern and
 * check it, with bytes held back so that TLS keeps some inside. What must fail is shown to fail for the
 * reason that is said: an authority that is not known, a name that is not the certificate's, a side that
 * speaks no TLS. What a connection leaves behind is measured by what the allocator has given out. */
#include <arpa/inet.h>
#include <check.h>
#include <malloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "transport/transport.h"

enum { LOOPBACK = 0x7f000001, WAIT_S = 60, BUFFER = 64 * 1024, LONG = 3 << 20 };

static char directory[] = "/tmp/cantus-tls-XXXXXX";

static const char *in_directory(const char *name)
{
    static char paths[4][64];
    static int turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    return path;
}

static bool make_certificate(const char *name, const char *names)
{
    char command[512];
    snprintf(command, sizeof command,
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
             "-keyout %s/%s.key -out %s/%s.pem -subj /CN=%s -addext subjectAltName=%s "
             ">/dev/null 2>&1",
             directory, name, directory, name, name, names);
    return system(command) == 0;
}

struct side {
    struct transport *transport;
    struct tls *tls;
    uint32_t accepted, connected, closed, stream;
    uint64_t bytes, sent;
    bool hold, wrong;
    char reason[TLS_ERROR_MAX];
};

static struct side server, client;
static const char *wanted_name;

static const char *name_of(void *ctx, struct port_addr to)
{
    (void)ctx;
    (void)to;
    return wanted_name;
}

static uint8_t pattern(uint64_t at)
{
    return (uint8_t)(at * 31 + (at >> 8) * 7);
}

static size_t on_stream(void *core, const struct port_stream_event *e, struct port_time now)
{
    (void)now;
    struct side *s = core;
    switch (e->type) {
    case PORT_STREAM_ACCEPTED:
        s->accepted++;
        s->stream = e->stream;
        return 0;
    case PORT_STREAM_CONNECTED:
        s->connected++;
        return 0;
    case PORT_STREAM_BYTES:
        for (size_t i = 0; !s->hold && i < e->length; i++)
            s->wrong = s->wrong || e->bytes[i] != pattern(s->bytes + i);
        s->bytes += s->hold ? 0 : e->length;
        return s->hold ? 0 : e->length;
    case PORT_STREAM_ROOM:
        return 0;
    case PORT_STREAM_CLOSED:
        s->closed++;
        snprintf(s->reason, sizeof s->reason, "%s", e->reason != NULL ? e->reason : "");
        return 0;
    }
    return 0;
}

static const struct participant_ops ops = { .on_stream = on_stream };

static void drive(struct side *s)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    struct port_time now = { .mono_ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec };
    s->transport->ops->streams(s->transport, &ops, s, now);
    s->transport->ops->flush(s->transport);
}

#define DRIVE_UNTIL(condition)                                                                     \
    do {                                                                                           \
        time_t end_ = time(NULL) + WAIT_S;                                                         \
        while (!(condition) && time(NULL) < end_) {                                                \
            drive(&server);                                                                        \
            drive(&client);                                                                        \
            sched_yield();                                                                         \
        }                                                                                          \
        ck_assert_msg((condition), "never came: %s", #condition);                                  \
    } while (0)

static uint16_t port_of_clients;

static void open_transport(struct side *s, bool accepts)
{
    char error[TRANSPORT_ERROR_MAX];
    struct transport_options o = { .unicast = { LOOPBACK, 0 },
                                   .streams_max = 8,
                                   .stream_buffer_bytes = BUFFER,
                                   .tls = s->tls,
                                   .tls_name = accepts || s->tls == NULL ? NULL : name_of };
    for (int tries = 0; tries < 100; tries++) { /* a port that nobody has */
        port_of_clients =
            (uint16_t)(accepts ? 20000 + (getpid() * 7 + tries * 131) % 12000 : port_of_clients);
        if (accepts)
            o.clients = (struct port_addr) { LOOPBACK, port_of_clients };
        s->transport = transport_open_kernel(&o, error);
        if (s->transport != NULL)
            return;
    }
    ck_abort_msg("%s", error);
}

static struct tls *trusting(const char *ca)
{
    char error[TLS_ERROR_MAX] = "";
    struct tls *t = tls_client(in_directory(ca), error);
    ck_assert_msg(t != NULL, "%s", error);
    return t;
}

static void open_sides(bool server_speaks, const char *ca)
{
    char error[TLS_ERROR_MAX] = "";
    server = client = (struct side) { 0 };
    if (server_speaks) {
        server.tls = tls_server(in_directory("a.pem"), in_directory("a.key"), error);
        ck_assert_msg(server.tls != NULL, "%s", error);
    }
    if (ca != NULL)
        client.tls = trusting(ca);
    wanted_name = "localhost";
    open_transport(&server, true);
    open_transport(&client, false);
}

static void close_sides(void)
{
    server.transport->ops->close(server.transport);
    client.transport->ops->close(client.transport);
    tls_free(server.tls);
    tls_free(client.tls);
}

static struct port *port(struct side *s)
{
    return &s->transport->port;
}

static uint32_t connect_client(void)
{
    uint32_t id = port(&client)->ops->stream_connect(
        port(&client), (struct port_addr) { LOOPBACK, port_of_clients });
    ck_assert_uint_ne(id, 0);
    client.stream = id;
    return id;
}

static void write_some(struct side *s, uint64_t end)
{
    static uint8_t bytes[BUFFER];
    size_t want = end - s->sent < BUFFER ? (size_t)(end - s->sent) : BUFFER;
    size_t room = port(s)->ops->stream_room(port(s), s->stream, want);
    want = want < room ? want : room;
    for (size_t i = 0; i < want; i++)
        bytes[i] = pattern(s->sent + i);
    port(s)->ops->stream_write(port(s), s->stream, bytes, want);
    s->sent += want;
}

static bool both_sent(void)
{
    write_some(&client, LONG);
    if (server.accepted > 0)
        write_some(&server, LONG);
    return client.bytes == LONG && server.bytes == LONG;
}

START_TEST(bytes_go_both_ways)
{
    open_sides(true, "a.pem");
    connect_client();
    DRIVE_UNTIL(both_sent());
    ck_assert(!client.wrong && !server.wrong);
    close_sides();
}
END_TEST

static bool server_wrote_all(void)
{
    if (server.accepted > 0)
        write_some(&server, BUFFER * 2 - 100);
    return server.sent == BUFFER * 2 - 100;
}

/* The buffer is full, TLS has more inside, and nothing comes behind it. */
START_TEST(what_was_held_back_comes)
{
    open_sides(true, "a.pem");
    connect_client();
    client.hold = true;
    DRIVE_UNTIL(server_wrote_all());
    for (int i = 0; i < 1000; i++) {
        drive(&server);
        drive(&client);
    }
    ck_assert_uint_eq(client.bytes, 0);
    client.hold = false;
    DRIVE_UNTIL(client.bytes == BUFFER * 2 - 100);
    ck_assert(!client.wrong);
    close_sides();
}
END_TEST

START_TEST(what_was_written_before_a_close_arrives)
{
    open_sides(true, "a.pem");
    connect_client();
    DRIVE_UNTIL(server.accepted == 1 && (write_some(&client, 1), server.bytes == 1));
    write_some(&server, 50000);
    port(&server)->ops->stream_close(port(&server), server.stream);
    DRIVE_UNTIL(client.closed == 1);
    ck_assert_uint_eq(client.bytes, 50000);
    ck_assert_str_eq(client.reason, "");
    close_sides();
}
END_TEST

START_TEST(bindings_are_of_a_connection)
{
    static const uint8_t zeros[PORT_BINDING_SIZE];
    uint8_t of[4][PORT_BINDING_SIZE], first[PORT_BINDING_SIZE];
    open_sides(true, "a.pem");
    for (int i = 0; i < 2; i++) {
        uint64_t before = server.bytes;
        connect_client();
        client.sent = server.bytes;
        DRIVE_UNTIL(server.accepted == (uint32_t)i + 1);
        write_some(&client, client.sent + 10);
        port_stream_binding(port(&client), client.stream, of[0]);
        ck_assert_mem_eq(of[0], zeros, sizeof zeros); /* not yet */
        DRIVE_UNTIL(server.bytes == before + 10);
        port_stream_binding(port(&client), client.stream, of[2 * i]);
        port_stream_binding(port(&server), server.stream, of[2 * i + 1]);
        ck_assert_mem_eq(of[2 * i], of[2 * i + 1], PORT_BINDING_SIZE);
        ck_assert_mem_ne(of[2 * i], zeros, PORT_BINDING_SIZE);
        if (i == 0)
            memcpy(first, of[0], sizeof first);
    }
    ck_assert_mem_ne(of[2], first, PORT_BINDING_SIZE);
    close_sides();
    open_sides(false, NULL);
    connect_client();
    DRIVE_UNTIL(server.accepted == 1 && client.connected == 1);
    port_stream_binding(port(&client), client.stream, of[0]);
    ck_assert_mem_eq(of[0], zeros, sizeof zeros);
    close_sides();
}
END_TEST

static void refused(const char *reason)
{
    connect_client();
    DRIVE_UNTIL(client.closed == 1);
    ck_assert_msg(strstr(client.reason, reason) != NULL, "%s", client.reason);
    ck_assert_uint_eq(server.bytes, 0);
    close_sides();
}

START_TEST(another_authority_is_refused)
{
    open_sides(true, "b.pem");
    refused("its certificate is not accepted: self-signed certificate");
}
END_TEST

START_TEST(another_name_is_refused)
{
    open_sides(true, "a.pem");
    wanted_name = "somewhere.example";
    refused("its certificate is not accepted: hostname mismatch");
    open_sides(true, "a.pem");
    wanted_name = "127.0.0.2";
    refused("its certificate is not accepted: IP address mismatch");
    open_sides(true, "a.pem");
    wanted_name = "127.0.0.1";
    connect_client();
    DRIVE_UNTIL((write_some(&client, 10), server.bytes == 10));
    close_sides();
}
END_TEST

static bool client_wrote(void)
{
    if (client.connected > 0 && client.closed == 0)
        write_some(&client, 1000);
    return client.closed > 0 && (server.tls == NULL || server.closed > 0);
}

static bool server_answered(void)
{
    if (server.accepted > 0 && server.closed == 0)
        write_some(&server, 1000);
    return client.closed > 0;
}

START_TEST(both_or_neither_speak_it)
{
    open_sides(true, NULL);
    connect_client();
    DRIVE_UNTIL(client_wrote());
    ck_assert_uint_eq(server.bytes, 0);
    ck_assert_str_eq(server.reason, "TLS: the other side does not speak it");
    close_sides();
    open_sides(false, "a.pem");
    connect_client();
    DRIVE_UNTIL(server_answered());
    ck_assert_str_eq(client.reason, "TLS: the other side does not speak it");
    close_sides();
}
END_TEST

static int bare_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons(port_of_clients),
                              .sin_addr = { .s_addr = htonl(LOOPBACK) } };
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)(const void *)&to, sizeof to), 0);
    return fd;
}

/* Records of a handshake message that says it has 16 MiB, for as long as the other side listens. */
static void pour_garbage(int round)
{
    static uint8_t bytes[5 + 16384];
    uint32_t seed = (uint32_t)round;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)((seed = seed * 1664525 + 1013904223) >> 24);
    memcpy(bytes, (uint8_t[]) { 22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff }, 9);
    int fd = bare_socket();
    uint32_t accepted = server.accepted, closed = server.closed;
    DRIVE_UNTIL(server.accepted > accepted);
    for (int i = 0; i < 1000 && server.closed == closed; i++) {
        /* A single byte first, or half of it all: whatever is a beginning. */
        size_t length = round % 3 == 0 ? 1 : round % 3 == 1 ? 100 : sizeof bytes;
        ssize_t ignored = send(fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void)ignored;
        drive(&server);
        if (round % 3 == 0)
            break; /* and goes */
    }
    close(fd);
    DRIVE_UNTIL(server.closed > closed);
}

START_TEST(garbage_leaves_nothing_behind)
{
    open_sides(true, "a.pem");
    for (int i = 0; i < 6; i++)
        pour_garbage(i);
    size_t before = mallinfo2().uordblks;
    for (int i = 0; i < 60; i++)
        pour_garbage(i);
    size_t after = mallinfo2().uordblks;
    ck_assert_msg(after <= before + 16384, "%zu bytes before, %zu after", before, after);
    ck_assert_uint_eq(server.bytes, 0);
    connect_client(); /* and the next one gets in */
    DRIVE_UNTIL((write_some(&client, 10), server.bytes == 10));
    close_sides();
}
END_TEST

START_TEST(a_handshake_that_rests_holds_nobody_up)
{
    open_sides(true, "a.pem");
    int rests[4];
    for (int i = 0; i < 4; i++) {
        rests[i] = bare_socket();
        DRIVE_UNTIL(server.accepted == (uint32_t)i + 1);
    }
    connect_client();
    DRIVE_UNTIL((write_some(&client, 10), server.bytes == 10));
    ck_assert_uint_eq(server.closed, 0);
    for (int i = 0; i < 4; i++)
        close(rests[i]);
    DRIVE_UNTIL(server.closed == 4);
    close_sides();
}
END_TEST

START_TEST(files_that_will_not_do_are_named)
{
    char error[TLS_ERROR_MAX];
    ck_assert_ptr_null(tls_server(in_directory("none.pem"), in_directory("a.key"), error));
    ck_assert_msg(strstr(error, "none.pem: No such file") != NULL, "%s", error);
    ck_assert_ptr_null(tls_server(in_directory("a.pem"), in_directory("a.pem"), error));
    ck_assert_msg(strstr(error, "key ") != NULL && strstr(error, "a.pem") != NULL, "%s", error);
    ck_assert_ptr_null(tls_server(in_directory("a.pem"), in_directory("b.key"), error));
    ck_assert_msg(strstr(error, "b.key") != NULL, "%s", error);
    ck_assert_ptr_null(tls_client(in_directory("a.key"), error));
    ck_assert_msg(strstr(error, "a.key") != NULL, "%s", error);
}
END_TEST

static bool have_tls(void)
{
    char error[TLS_ERROR_MAX];
    struct tls *t = tls_client(NULL, error);
    tls_free(t);
    if (t == NULL)
        printf("skipped: %s\n", error);
    return t != NULL;
}

int main(void)
{
    if (!have_tls())
        return EXIT_SUCCESS;
    if (mkdtemp(directory) == NULL || !make_certificate("a", "DNS:localhost,IP:127.0.0.1") ||
        !make_certificate("b", "DNS:localhost,IP:127.0.0.1")) {
        fprintf(stderr, "no certificates in %s: is there an openssl command?\n", directory);
        return EXIT_FAILURE;
    }
    Suite *suite = suite_create("tls");
    TCase *tc = tcase_create("tls");
    tcase_add_test(tc, bytes_go_both_ways);
    tcase_add_test(tc, what_was_held_back_comes);
    tcase_add_test(tc, what_was_written_before_a_close_arrives);
    tcase_add_test(tc, bindings_are_of_a_connection);
    tcase_add_test(tc, another_authority_is_refused);
    tcase_add_test(tc, another_name_is_refused);
    tcase_add_test(tc, both_or_neither_speak_it);
    tcase_add_test(tc, garbage_leaves_nothing_behind);
    tcase_add_test(tc, a_handshake_that_rests_holds_nobody_up);
    tcase_add_test(tc, files_that_will_not_do_are_named);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    for (const char *name = "ab"; *name != '\0'; name++) {
        char file[16];
        snprintf(file, sizeof file, "%c.pem", *name);
        unlink(in_directory(file));
        snprintf(file, sizeof file, "%c.key", *name);
        unlink(in_directory(file));
    }
    rmdir(directory);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
