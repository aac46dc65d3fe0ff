/* Goal: status warns that a stream's epochs run out, above three quarters of them and not before, and
 * says how many are used: against a listener that answers as a sequencer would. */
#include <stdio.h>
#include <string.h>

#include "tests/cli/verb.h"

/* ---- a sequencer ----------------------------------------------------------------------------- */

static void answer(void *ctx, int client, enum replay_type type, const uint8_t *body, size_t length)
{
    static uint8_t frame[STATUS_SIZE_MAX + REPLAY_FRAME_HEADER];
    struct status status = { .stream = VERB_STREAM,
                             .role = "sequencer",
                             .state = "leading",
                             .epochs_used = *(const uint32_t *)ctx };
    (void)body;
    (void)length;
    ck_assert_int_eq(type, REPLAY_STATUS_REQUEST);
    size_t framed = listener_status_frame(&status, frame, sizeof frame);
    listener_send(client, frame, framed, framed);
}

static void say(uint32_t epochs_used, char *out, size_t capacity)
{
    struct config *config = verb_config(1);
    config->sequencers[0].stream_port = listener_start(answer, &epochs_used).port;
    config->retransmitters[0].stream_port = listener_nobody().port;
    ck_assert_int_eq(verb_run(&verb_status, out, capacity), CLI_OK);
}

/* In a process of its own each time, as the command is. */
START_TEST(epochs_that_run_out)
{
    char out[16384];
    bool many = _i % 2 == 1;
    verb_json = _i / 2 == 1;
    say(many ? 3073 : 3072, out, sizeof out);
    const char *used = verb_json ? many ? "\"epochs_used\":3073,\"epochs_max\":4096"
                                        : "\"epochs_used\":3072,\"epochs_max\":4096"
                       : many    ? "3073 of 4096 epochs used"
                                 : "3072 of 4096 epochs used";
    ck_assert_ptr_nonnull(strstr(out, used));
    ck_assert_int_eq(strstr(out, "3073 of the 4096 epochs that a stream can have") != NULL, many);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("status");
    TCase *tests = tcase_create("status");
    tcase_add_checked_fixture(tests, verb_set_up, verb_tear_down);
    tcase_add_loop_test(tests, epochs_that_run_out, 0, 4);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
