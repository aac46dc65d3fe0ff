/* Asking processes: against listeners of this test that answer rightly, in pieces, with something
 * else, never, or not at all, all asked together. The listeners are children, one for each, that
 * read the request and do what they are told.
 * Time-outs are short and only have to come, none is measured. */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "cli/ask.h"

#define SHORT_NS UINT64_C(300000000)
#define LONG_NS  UINT64_C(20000000000)
#define STREAM   UINT64_C(0x57)

enum manner { WHOLE, IN_PIECES, SILENT, HANGS_UP, HALF_THEN_HANGS_UP, OTHER_FRAME, NO_FRAME };

struct listener {
    struct port_addr at;
    int fd;
    pid_t child;
};

static struct listener listeners[CONFIG_PROCESSES_MAX];
static uint32_t listener_count;

static void set_up(void)
{
    listener_count = 0;
}

static void tear_down(void)
{
    for (uint32_t i = 0; i < listener_count; i++) {
        close(listeners[i].fd);
        if (listeners[i].child > 0) {
            kill(listeners[i].child, SIGKILL);
            waitpid(listeners[i].child, NULL, 0);
        }
    }
}

static struct listener *bound(void)
{
    struct listener *l = &listeners[listener_count++];
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof sa;
    l->child = -1;
    l->fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_ge(l->fd, 0);
    ck_assert_int_eq(bind(l->fd, (const struct sockaddr *)(const void *)&sa, sizeof sa), 0);
    ck_assert_int_eq(getsockname(l->fd, (struct sockaddr *)(void *)&sa, &length), 0);
    l->at = (struct port_addr) { INADDR_LOOPBACK, ntohs(sa.sin_port) };
    return l;
}

static void send_all(int fd, const uint8_t *bytes, size_t length, size_t piece)
{
    for (size_t at = 0; at < length; at += piece)
        if (send(fd, bytes + at, length - at < piece ? length - at : piece, MSG_NOSIGNAL) < 0)
            return;
}

static void serve(int client, enum manner manner, const uint8_t *answer, size_t length)
{
    uint8_t request[2048];
    size_t have = 0;
    enum replay_type type;
    while (replay_frame_peek(request, have, &type) == 0) {
        ssize_t n = recv(client, request + have, sizeof request - have, 0);
        if (n <= 0)
            return;
        have += (size_t)n;
    }
    switch (manner) {
    case WHOLE:
        send_all(client, answer, length, length);
        break;
    case IN_PIECES:
        send_all(client, answer, length, 1);
        break;
    case SILENT:
        pause();
        break;
    case HANGS_UP:
        break;
    case HALF_THEN_HANGS_UP:
        send_all(client, answer, length / 2, length);
        break;
    case OTHER_FRAME:
        send_all(client, (const uint8_t *)"\x01\x00\x00\x00\x04", 5, 5);
        break;
    case NO_FRAME:
        send_all(client, (const uint8_t *)"HTTP/1.1 400 Bad Request\r\n\r\n", 28, 28);
        break;
    }
    shutdown(client, SHUT_WR);
    (void)!recv(client, request, sizeof request, 0);
}

static struct port_addr listening(enum manner manner, const uint8_t *answer, size_t length)
{
    struct listener *l = bound();
    ck_assert_int_eq(listen(l->fd, 4), 0);
    l->child = fork();
    ck_assert_int_ge(l->child, 0);
    if (l->child == 0) {
        for (;;) {
            int client = accept(l->fd, NULL, NULL);
            serve(client, manner, answer, length);
            close(client);
        }
    }
    return l->at;
}

static size_t status_frame(const struct status *status, uint8_t *out, size_t capacity)
{
    uint8_t body[STATUS_SIZE_MAX];
    size_t length = status_encode(status, body, sizeof body);
    ck_assert_uint_gt(length, 0);
    return replay_frame_encode(REPLAY_STATUS, body, length, out, capacity);
}

static struct status status_of(const char *role, const char *state, uint32_t epoch, uint64_t store)
{
    struct status s = { .stream = STREAM, .epoch = { epoch, epoch }, .store = store, .tip = 9 };
    snprintf(s.role, sizeof s.role, "%s", role);
    snprintf(s.state, sizeof s.state, "%s", state);
    return s;
}

START_TEST(each_answers_in_its_own_way)
{
    static struct ask asks[8];
    static uint8_t frame[STATUS_SIZE_MAX + REPLAY_FRAME_HEADER];
    struct status status = status_of("sequencer", "leading", 3, 0), got;
    size_t length = status_frame(&status, frame, sizeof frame);
    static const char *const problems[] = { NULL,
                                            NULL,
                                            "no answer in time",
                                            "closed the connection",
                                            "closed the connection",
                                            "not Cantus",
                                            "not Cantus",
                                            "not running" };
    for (int m = WHOLE; m <= NO_FRAME; m++)
        ask_for_status(&asks[m], listening((enum manner)m, frame, length));
    ask_for_status(&asks[7], bound()->at); /* nobody listens */
    ask_run(asks, 8, LONG_NS / 20);
    for (int i = 0; i < 8; i++) {
        ck_assert_msg(asks[i].answered == (problems[i] == NULL), "%d: %s", i, asks[i].problem);
        if (problems[i] != NULL)
            ck_assert_msg(strstr(asks[i].problem, problems[i]) != NULL, "%d: %s", i,
                          asks[i].problem);
        else
            ck_assert(status_decode(asks[i].body, asks[i].length, &got) && got.epoch.number == 3);
        ck_assert_int_eq(asks[i].fd, -1);
    }
}
END_TEST

START_TEST(a_command_has_an_outcome)
{
    struct outcome outcome = { .verdict = OUTCOME_REFUSED, .text = "no: it is late" }, got;
    struct command command = { .kind = COMMAND_PROMOTE, .why = "why not" };
    uint8_t body[COMMAND_SIZE_MAX], frame[2 * COMMAND_SIZE_MAX];
    char problem[ASK_PROBLEM_MAX];
    size_t length = outcome_encode(&outcome, body, sizeof body);
    length = replay_frame_encode(REPLAY_OUTCOME, body, length, frame, sizeof frame);
    ck_assert_uint_gt(length, 0);
    ck_assert(ask_command(listening(IN_PIECES, frame, length), &command, &got, problem));
    ck_assert_int_eq(got.verdict, OUTCOME_REFUSED);
    ck_assert_str_eq(got.text, "no: it is late");
    ck_assert_str_eq(problem, "");
    /* A frame of the right type, and nonsense in it. */
    length = replay_frame_encode(REPLAY_OUTCOME, (const uint8_t *)"\xff\xff", 2, frame,
                                 sizeof frame);
    ck_assert(!ask_command(listening(WHOLE, frame, length), &command, &got, problem));
    ck_assert_str_ne(problem, "");
    ck_assert(!ask_command(bound()->at, &command, &got, problem));
    ck_assert_str_eq(problem, "not running");
    /* What can't be encoded is not sent. */
    command.kind = (enum command_kind)0;
    static struct ask ask;
    ask_for_command(&ask, bound()->at, &command);
    if (ask.request_length == 0) {
        ask_run(&ask, 1, SHORT_NS);
        ck_assert(!ask.answered);
    }
}
END_TEST

/* A deployment of three sequencers, two retransmitters and one that is of another stream. */
START_TEST(who_leads_is_found)
{
    static struct config config;
    static uint8_t frames[6][STATUS_SIZE_MAX + REPLAY_FRAME_HEADER];
    struct status answers[6] = { status_of("sequencer", "leading", 4, 0),
                                 status_of("sequencer", "leading, paused", 5, 0),
                                 status_of("sequencer", "following", 5, 0),
                                 status_of("retransmitter", "recording", 5, 0xa),
                                 status_of("retransmitter", "recording", 5, 0xb),
                                 status_of("retransmitter", "recording", 5, 0xc) };
    answers[5].stream = STREAM + 1;
    config_default_for_dir(&config, "dir", 1);
    config_resize(&config, 3, 3);
    config.stream = STREAM;
    for (uint32_t i = 0; i < 6; i++) {
        size_t length = status_frame(&answers[i], frames[i], sizeof frames[i]);
        struct port_addr at = listening(WHOLE, frames[i], length);
        if (i < 3) {
            config.sequencers[i].unicast.ip = at.ip;
            config.sequencers[i].stream_port = at.port;
        } else {
            config.retransmitters[i - 3].unicast.ip = at.ip;
            config.retransmitters[i - 3].stream_port = at.port;
        }
    }
    struct processes *p = processes_create(&config);
    ck_assert_ptr_nonnull(p);
    processes_ask(p);
    ck_assert_uint_eq(p->count, 6);
    struct process *leader = processes_leader(p);
    ck_assert_ptr_nonnull(leader); /* of two that believe it, the later */
    ck_assert_str_eq(leader->name, "s2");
    ck_assert(status_is_paused(&leader->status));
    ck_assert_ptr_eq(processes_find(p, "s2"), leader);
    ck_assert_ptr_null(processes_find(p, "s4"));
    ck_assert_str_eq(processes_store(p, 0xb)->name, "r2");
    ck_assert_ptr_null(processes_store(p, 0xc));
    ck_assert(!p->all[5].answered);
    ck_assert_ptr_nonnull(strstr(p->all[5].problem, "0000000000000058"));
    /* Without it, the other one; with neither, nobody. */
    leader->answered = false;
    ck_assert_str_eq(processes_leader(p)->name, "s1");
    processes_leader(p)->answered = false;
    ck_assert_ptr_null(processes_leader(p));
    processes_destroy(p);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cli/ask");
    TCase *all = tcase_create("all");
    tcase_add_checked_fixture(all, set_up, tear_down);
    tcase_add_test(all, each_answers_in_its_own_way);
    tcase_add_test(all, a_command_has_an_outcome);
    tcase_add_test(all, who_leads_is_found);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
