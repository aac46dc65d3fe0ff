/* Turns of byte streams: what a core did not consume is offered again, so many streams in a round however many
 * there are, each in its turn, and all of them before a loop may wait once the core has had a chance to change
 * its mind; one that talks all the time keeps none of the others from being heard. Bare sockets connect to one
 * transport; its core counts what it is offered, by stream. */
#include <arpa/inet.h>
#include <check.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "transport/transport.h"

enum { LOOPBACK = 0x7f000001, CLIENTS = 150, AT_A_TIME = 64, WAIT_S = 60, HALF_AN_HOUR_S = 1800 };

static struct transport *transport;
static int clients[CLIENTS];
static struct {
    uint32_t accepted, closed;
    bool takes;
    uint32_t offers; /* since they were last forgotten, and of each stream */
    uint32_t offered[CLIENTS + 1];
    uint64_t taken[CLIENTS + 1]; /* bytes */
} core;

static size_t on_stream(void *ctx, const struct port_stream_event *e, struct port_time now)
{
    uint32_t slot = e->stream & 0xffff;
    (void)ctx;
    (void)now;
    core.accepted += e->type == PORT_STREAM_ACCEPTED;
    core.closed += e->type == PORT_STREAM_CLOSED;
    if (e->type != PORT_STREAM_BYTES)
        return 0;
    ck_assert_uint_le(slot, CLIENTS);
    core.offers++;
    core.offered[slot]++;
    core.taken[slot] += core.takes ? e->length : 0;
    return core.takes ? e->length : 0;
}

static const struct participant_ops ops = { .on_stream = on_stream };

/* A microsecond passes in each round, however long that takes. */
static uint64_t mono_ns(void)
{
    static uint64_t now_ns = 1000000000;
    return now_ns += 1000;
}

static bool poll_streams(void)
{
    const struct port_time now = { .mono_ns = mono_ns() };
    return transport->ops->streams(transport, &ops, NULL, now);
}

static void forget_offers(void)
{
    core.offers = 0;
    memset(core.offered, 0, sizeof core.offered);
}

#define POLL_UNTIL(condition)                                                                      \
    do {                                                                                           \
        time_t end_ = time(NULL) + WAIT_S;                                                         \
        while (!(condition) && time(NULL) < end_)                                                  \
            poll_streams();                                                                        \
        ck_assert_msg((condition), "never came: %s", #condition);                                  \
    } while (0)

static void setup(void)
{
    char error[TRANSPORT_ERROR_MAX];
    const struct transport_options o = { .unicast = { LOOPBACK, 0 },
                                         .listen = true,
                                         .streams_max = CLIENTS,
                                         .stream_buffer_bytes = 4096 };
    memset(&core, 0, sizeof core);
    transport = transport_open_kernel(&o, error);
    ck_assert_msg(transport != NULL, "%s", error);
    const struct sockaddr_in to = { .sin_family = AF_INET,
                                    .sin_port = htons(transport->port.stream_port),
                                    .sin_addr = { htonl(LOOPBACK) } };
    for (uint32_t i = 0; i < CLIENTS; i++) {
        clients[i] = socket(AF_INET, SOCK_STREAM, 0);
        ck_assert_int_eq(connect(clients[i], (const void *)&to, sizeof to), 0);
        POLL_UNTIL(core.accepted == i + 1);
    }
}

static void teardown(void)
{
    for (uint32_t i = 0; i < CLIENTS; i++)
        close(clients[i]);
    transport->ops->close(transport);
}

static void say(uint32_t client)
{
    ck_assert_int_eq(send(clients[client], "x", 1, MSG_NOSIGNAL), 1);
}

/* All have said something, and nothing of it was taken. */
static void all_refused(void)
{
    for (uint32_t i = 0; i < CLIENTS; i++) {
        uint32_t before = core.offered[i + 1];
        say(i);
        POLL_UNTIL(core.offered[i + 1] > before);
    }
    while (transport->more) /* of the time when there was less */
        poll_streams();
    forget_offers();
}

/* What a loop does after the core's step. */
static void step_of_the_core(void)
{
    transport->ops->flush(transport);
}

START_TEST(a_round_offers_so_many_and_a_step_all)
{
    all_refused();
    for (uint32_t i = 0; i < 3; i++) {
        step_of_the_core();
        forget_offers();
        uint32_t rounds = 0;
        do {
            uint32_t before = core.offers;
            ck_assert(!poll_streams()); /* nothing came of it: no reason for another step */
            ck_assert_uint_le(core.offers - before, AT_A_TIME);
            rounds++;
        } while (transport->more);
        ck_assert_uint_eq(rounds, (CLIENTS + AT_A_TIME - 1) / AT_A_TIME);
        for (uint32_t slot = 1; slot <= CLIENTS; slot++)
            ck_assert_uint_ge(core.offered[slot], 1);
        ck_assert_uint_le(core.offers, rounds * AT_A_TIME);
    }
}
END_TEST

/* With a step in each round, as under load, all have their turns all the same. */
START_TEST(turns_go_round_whatever_happens_meanwhile)
{
    enum { ROUNDS = 30 };
    all_refused();
    for (uint32_t i = 0; i < ROUNDS; i++) {
        poll_streams();
        step_of_the_core();
    }
    ck_assert_uint_eq(core.offers, ROUNDS * AT_A_TIME);
    for (uint32_t slot = 1; slot <= CLIENTS; slot++) {
        ck_assert_uint_ge(core.offered[slot], ROUNDS * AT_A_TIME / CLIENTS);
        ck_assert_uint_le(core.offered[slot], ROUNDS * AT_A_TIME / CLIENTS + 1);
    }
}
END_TEST

/* More from one who was refused does not get it in front of those who wait. */
START_TEST(who_says_more_waits_like_the_others)
{
    enum { ROUNDS = 60 };
    all_refused();
    for (uint32_t i = 0; i < ROUNDS; i++) {
        say(0);
        poll_streams();
        step_of_the_core();
    }
    uint32_t most = 0;
    for (uint32_t slot = 1; slot <= CLIENTS; slot++)
        most = core.offered[slot] > most ? core.offered[slot] : most;
    ck_assert_uint_le(most, ROUNDS * AT_A_TIME / CLIENTS + 1);
    core.takes = true;
    uint64_t wanted = CLIENTS + ROUNDS, taken = 0;
    for (time_t end = time(NULL) + WAIT_S; taken < wanted && time(NULL) < end;) {
        poll_streams();
        taken = 0;
        for (uint32_t slot = 1; slot <= CLIENTS; slot++)
            taken += core.taken[slot];
    }
    ck_assert_uint_eq(taken, wanted);
}
END_TEST

/* Until what it says is taken in each of many rounds. */
static void talk(void)
{
    enum { IN_A_ROW = 20 };
    time_t end = time(NULL) + WAIT_S;
    for (uint32_t row = 0; row < IN_A_ROW && time(NULL) < end;) {
        uint64_t before = core.taken[1];
        say(0);
        poll_streams();
        row = core.taken[1] > before ? row + 1 : 0;
    }
}

/* In each round there are bytes of the same one; what the others say, and that one goes, is noticed. */
START_TEST(one_that_talks_hides_nobody)
{
    core.takes = true;
    for (uint32_t i = 1; i < CLIENTS; i++) {
        talk();
        say(i);
        for (time_t end = time(NULL) + WAIT_S; core.taken[i + 1] == 0 && time(NULL) < end;) {
            say(0);
            poll_streams();
        }
        ck_assert_uint_eq(core.taken[i + 1], 1);
    }
    talk();
    close(clients[1]);
    for (time_t end = time(NULL) + WAIT_S; core.closed == 0 && time(NULL) < end;) {
        say(0);
        poll_streams();
    }
    ck_assert_uint_eq(core.closed, 1);
    clients[1] = socket(AF_INET, SOCK_STREAM, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("transport/stream_turns");
    TCase *turns = tcase_create("turns");
    tcase_set_timeout(turns, HALF_AN_HOUR_S);
    tcase_add_checked_fixture(turns, setup, teardown);
    tcase_add_test(turns, a_round_offers_so_many_and_a_step_all);
    tcase_add_test(turns, turns_go_round_whatever_happens_meanwhile);
    tcase_add_test(turns, who_says_more_waits_like_the_others);
    tcase_add_test(turns, one_that_talks_hides_nobody);
    suite_add_tcase(suite, turns);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
