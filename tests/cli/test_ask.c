/* Asking processes: against listeners that answer rightly, in pieces, with something else, never,
 * or not at all, all asked together. Time-outs are short and only have to come, none is measured. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/cli/listener.h"

#define SHORT_NS UINT64_C(1000000000)
#define STREAM   UINT64_C(0x57)

enum manner { WHOLE, IN_PIECES, SILENT, HANGS_UP, HALF_THEN_HANGS_UP, OTHER_FRAME, NO_FRAME };

struct answer {
    enum manner manner;
    const uint8_t *bytes;
    size_t length;
};

static void answer(void *ctx, int client, enum replay_type type, const uint8_t *body, size_t length)
{
    const struct answer *a = ctx;
    (void)type;
    (void)body;
    (void)length;
    switch (a->manner) {
    case WHOLE:
        listener_send(client, a->bytes, a->length, a->length);
        break;
    case IN_PIECES:
        listener_send(client, a->bytes, a->length, 1);
        break;
    case SILENT:
        pause();
        break;
    case HANGS_UP:
        break;
    case HALF_THEN_HANGS_UP:
        listener_send(client, a->bytes, a->length / 2, a->length);
        break;
    case OTHER_FRAME:
        listener_send(client, (const uint8_t *)"\x01\x00\x00\x00\x04", 5, 5);
        break;
    case NO_FRAME:
        listener_send(client, (const uint8_t *)"HTTP/1.1 400 Bad Request\r\n\r\n", 28, 28);
        break;
    }
}

static struct port_addr listening(enum manner manner, const uint8_t *bytes, size_t length)
{
    struct answer a = { manner, bytes, length };
    return listener_start(answer, &a); /* the child has a copy */
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
    size_t length = listener_status_frame(&status, frame, sizeof frame);
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
    ask_for_status(&asks[7], listener_nobody()); /* nobody listens */
    ask_run(asks, 8, SHORT_NS);
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
    length =
        replay_frame_encode(REPLAY_OUTCOME, (const uint8_t *)"\xff\xff", 2, frame, sizeof frame);
    ck_assert(!ask_command(listening(WHOLE, frame, length), &command, &got, problem));
    ck_assert_str_ne(problem, "");
    ck_assert(!ask_command(listener_nobody(), &command, &got, problem));
    ck_assert_str_eq(problem, "not running");
    /* What can't be encoded is not sent. */
    command.kind = (enum command_kind)0;
    static struct ask ask;
    ask_for_command(&ask, listener_nobody(), &command);
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
    config_resize(&config, 3, 3, 0);
    config.stream = STREAM;
    for (uint32_t i = 0; i < 6; i++) {
        size_t length = listener_status_frame(&answers[i], frames[i], sizeof frames[i]);
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
    tcase_add_checked_fixture(all, listeners_open, listeners_close);
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
