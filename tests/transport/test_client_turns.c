/* Turns of clients that come and go: when many come at once, or are dropped at once, so many a millisecond are
 * accepted or their ends looked at, ends first, and whoever talks is heard meanwhile as if nothing had happened. The
 * streams of our own address have no turns. Beside somebody who talks, and is no newcomer, they come and go one by one,
 * half as many a millisecond. Bare sockets connect to one transport, whose time is a number. */
#include <arpa/inet.h>
#include <check.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "transport/transport.h"

enum {
    LOOPBACK = 0x7f000001,
    CLIENTS = 200,
    AT_ONCE = 64,
    TURN_NS = 250000,
    AT_ONCE_BESIDE = 4,
    TURN_BESIDE_NS = 500000,
    WAIT_S = 60
};
#define LONG_NS UINT64_C(1000000000) /* all who wait have their turn */

static struct transport *transport;
static uint64_t now_ns;
static int clients[CLIENTS];
static struct {
    uint32_t accepted, closed;
    uint32_t closed_at_accept; /* how many had gone when the last one came */
    uint64_t bytes;
    uint64_t bytes_at_close;
} core;

static size_t on_stream(void *ctx, const struct port_stream_event *e, struct port_time now)
{
    (void)ctx;
    (void)now;
    core.accepted += e->type == PORT_STREAM_ACCEPTED;
    core.closed += e->type == PORT_STREAM_CLOSED;
    if (e->type == PORT_STREAM_ACCEPTED)
        core.closed_at_accept = core.closed;
    if (e->type == PORT_STREAM_CLOSED)
        core.bytes_at_close = core.bytes;
    core.bytes += e->type == PORT_STREAM_BYTES ? e->length : 0;
    return e->type == PORT_STREAM_BYTES ? e->length : 0;
}

static const struct participant_ops ops = { .on_stream = on_stream };

static void poll_streams(void)
{
    const struct port_time now = { .mono_ns = now_ns += 1000 };
    transport->ops->streams(transport, &ops, NULL, now);
}

/* In which time stands still otherwise: a core that is shared may keep us from what has been sent. */
static void poll_while(const uint32_t *count, uint32_t below)
{
    for (time_t end = time(NULL) + WAIT_S; *count < below && time(NULL) < end; now_ns -= 1000)
        poll_streams();
    ck_assert_uint_ge(*count, below);
}

static int connect_to(uint16_t port)
{
    const struct sockaddr_in to = { .sin_family = AF_INET,
                                    .sin_port = htons(port),
                                    .sin_addr = { htonl(LOOPBACK) } };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(fd, (const void *)&to, sizeof to), 0);
    return fd;
}

static uint16_t clients_port(void)
{
    return (uint16_t)(20000 + getpid() % 10000);
}

static void setup(void)
{
    char error[TRANSPORT_ERROR_MAX];
    const struct transport_options o = { .unicast = { LOOPBACK, 0 },
                                         .listen = true,
                                         .clients = { LOOPBACK, clients_port() },
                                         .streams_max = CLIENTS + 8,
                                         .stream_buffer_bytes = 4096 };
    memset(&core, 0, sizeof core);
    now_ns = 1000000000;
    transport = transport_open_kernel(&o, error);
    ck_assert_msg(transport != NULL, "%s", error);
    for (uint32_t i = 0; i < CLIENTS; i++)
        clients[i] = connect_to(clients_port());
}

static void teardown(void)
{
    for (uint32_t i = 0; i < CLIENTS; i++)
        if (clients[i] >= 0)
            close(clients[i]);
    transport->ops->close(transport);
}

/* From here on no more than their turns have it, and somebody is to be called again for the rest. */
static void in_their_turns(const uint32_t *count, uint32_t all)
{
    enum { LOOKS = 100 }; /* rounds in which each socket is looked at */
    uint64_t began = now_ns;
    uint32_t before = *count, idle = 0;
    for (time_t end = time(NULL) + WAIT_S; *count < all && time(NULL) < end;) {
        uint32_t had = *count;
        poll_streams();
        ck_assert_uint_le(*count - before, AT_ONCE + 1 + (now_ns - began) / TURN_NS);
        idle = *count == had ? idle + 1 : 0;
        if (idle < LOOKS || *count - before < AT_ONCE)
            continue;
        ck_assert_uint_gt(transport->due_ns, 0);
        ck_assert_uint_le(transport->due_ns, now_ns + 4 * TURN_NS);
    }
    ck_assert_uint_eq(*count, all);
    ck_assert_uint_ge(now_ns - began, (uint64_t)(all - before - AT_ONCE - 1) * TURN_NS);
}

START_TEST(who_comes_has_a_turn)
{
    in_their_turns(&core.accepted, CLIENTS);
    now_ns += LONG_NS;
    poll_streams();
    poll_streams();
    ck_assert_uint_eq(transport->due_ns, 0);
}
END_TEST

static void all_are_there(void)
{
    in_their_turns(&core.accepted, CLIENTS);
    now_ns += LONG_NS;
}

static void drop_all_but_one(void)
{
    for (uint32_t i = 1; i < CLIENTS; i++) {
        close(clients[i]);
        clients[i] = -1;
    }
}

START_TEST(who_goes_has_a_turn_and_in_front_of_who_comes)
{
    all_are_there();
    drop_all_but_one();
    poll_while(&core.closed, AT_ONCE);
    clients[1] = connect_to(clients_port());
    in_their_turns(&core.closed, CLIENTS - 1);
    now_ns += LONG_NS;
    poll_while(&core.accepted, CLIENTS + 1);
    ck_assert_uint_eq(core.closed_at_accept, CLIENTS - 1);
}
END_TEST

START_TEST(who_talks_is_heard_meanwhile)
{
    enum { ROUNDS_MAX = CLIENTS / 16 };
    all_are_there();
    drop_all_but_one();
    poll_while(&core.closed, AT_ONCE);
    for (uint32_t i = 1; i <= 20; i++) {
        ck_assert_int_eq(send(clients[0], "x", 1, MSG_NOSIGNAL), 1);
        for (uint32_t round = 0; round < ROUNDS_MAX && core.bytes < i; round++)
            poll_streams();
        ck_assert_uint_eq(core.bytes, i);
    }
    ck_assert_uint_lt(core.closed, CLIENTS - 1);
}
END_TEST

static void says_something(bool to_us)
{
    uint64_t before = core.bytes;
    if (!to_us) {
        transport->port.ops->stream_write(&transport->port, 1u << 16 | 1, "x", 1);
        transport->ops->flush(transport);
        return;
    }
    ck_assert_int_eq(send(clients[0], "x", 1, MSG_NOSIGNAL), 1);
    for (time_t end = time(NULL) + WAIT_S; core.bytes == before && time(NULL) < end;)
        poll_streams();
}

/* Of those who go there are so many turns, and no more, while client 0 says something every now and then. */
static void go_beside_who_talks(bool to_us)
{
    enum { EVERY_NS = 1000000, LASTS_NS = 20000000 };
    says_something(to_us);
    uint64_t began = now_ns, most = 0;
    uint32_t before = core.closed;
    for (uint32_t had = before; now_ns - began < LASTS_NS; had = core.closed) {
        poll_streams();
        most = core.closed - had > most ? core.closed - had : most;
        ck_assert_uint_le(core.closed - before,
                          AT_ONCE_BESIDE + 1 + (now_ns - began) / TURN_BESIDE_NS);
        if ((now_ns - began) % EVERY_NS == 0)
            says_something(to_us);
    }
    ck_assert_uint_ge(core.closed - before, LASTS_NS / TURN_BESIDE_NS / 2);
    ck_assert_uint_le(most, AT_ONCE_BESIDE);
}

START_TEST(beside_who_talks_they_have_fewer_turns)
{
    all_are_there();
    drop_all_but_one();
    poll_while(&core.closed, AT_ONCE);
    go_beside_who_talks(_i == 0);
    /* It falls silent. */
    now_ns += LONG_NS;
    poll_while(&core.closed, core.closed + AT_ONCE);
}
END_TEST

START_TEST(newcomers_may_talk)
{
    enum { SOME = AT_ONCE + 20 };
    poll_while(&core.accepted, AT_ONCE);
    uint64_t began = now_ns;
    for (uint32_t talked = 0; core.accepted < SOME;) {
        if (talked < AT_ONCE)
            ck_assert_int_eq(send(clients[talked++], "x", 1, MSG_NOSIGNAL), 1);
        poll_streams();
    }
    ck_assert_uint_gt(core.bytes, 0);
    ck_assert_uint_lt(now_ns - began, (uint64_t)(SOME - AT_ONCE + 4) * TURN_NS);
}
END_TEST

START_TEST(what_was_said_before_the_end_is_heard)
{
    all_are_there();
    drop_all_but_one();
    poll_while(&core.closed, AT_ONCE);
    ck_assert_int_eq(send(clients[0], "12345", 5, MSG_NOSIGNAL), 5);
    close(clients[0]);
    clients[0] = -1;
    in_their_turns(&core.closed, CLIENTS);
    ck_assert_uint_eq(core.bytes, 5);
    ck_assert_uint_eq(core.bytes_at_close, 5);
}
END_TEST

/* What the core does to one whose end is parked is no different from what it does to another. */
START_TEST(who_is_closed_while_it_waits)
{
    all_are_there();
    drop_all_but_one();
    poll_while(&core.closed, AT_ONCE);
    for (uint32_t slot = 1; slot <= CLIENTS; slot++) {
        uint32_t id = 1u << 16 | slot;
        if (transport->port.ops->stream_room(&transport->port, id, 1) == 0)
            continue; /* gone */
        transport->port.ops->stream_write(&transport->port, id, "bye", 3);
        transport->port.ops->stream_close(&transport->port, id);
    }
    transport->ops->flush(transport);
    for (uint32_t i = 0; i < 100; i++) {
        now_ns += 4 * TURN_NS;
        poll_streams();
    }
    uint32_t before = core.accepted;
    for (uint32_t i = 1; i < CLIENTS; i++)
        clients[i] = connect_to(clients_port());
    in_their_turns(&core.accepted, before + CLIENTS - 1);
}
END_TEST

START_TEST(stores_have_none)
{
    all_are_there();
    drop_all_but_one();
    poll_while(&core.closed, AT_ONCE);
    for (uint32_t i = 1; i <= 5; i++) {
        clients[i] = connect_to(transport->port.stream_port);
        poll_while(&core.accepted, CLIENTS + i);
    }
    ck_assert_uint_lt(core.closed, CLIENTS - 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("transport/client_turns");
    TCase *turns = tcase_create("turns");
    tcase_set_timeout(turns, 2 * WAIT_S);
    tcase_add_checked_fixture(turns, setup, teardown);
    tcase_add_test(turns, who_comes_has_a_turn);
    tcase_add_test(turns, who_goes_has_a_turn_and_in_front_of_who_comes);
    tcase_add_test(turns, who_talks_is_heard_meanwhile);
    tcase_add_loop_test(turns, beside_who_talks_they_have_fewer_turns, 0, 2);
    tcase_add_test(turns, newcomers_may_talk);
    tcase_add_test(turns, what_was_said_before_the_end_is_heard);
    tcase_add_test(turns, who_is_closed_while_it_waits);
    tcase_add_test(turns, stores_have_none);
    suite_add_tcase(suite, turns);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
