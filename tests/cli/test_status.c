/* Goal: status warns that a stream's epochs run out, above three quarters of them and not before, and
 * says how many are used: against a listener that answers as a sequencer would. */
#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "tests/cli/listener.h"

#define STREAM UINT64_C(0x57)

static char directory[64], path[96];
static bool json;

/* ---- what the verb needs of the command ------------------------------------------------------ */

int cli_options(const struct cli_verb *verb, struct cli_globals *globals, int argc, char **argv,
                const struct option *options,
                bool (*parse)(void *ctx, int option, const char *value), void *ctx)
{
    (void)verb;
    (void)globals;
    (void)argv;
    ck_assert_str_eq(options[0].name, "json");
    if (json)
        ck_assert(parse(ctx, options[0].val, NULL));
    return argc;
}

int cli_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    return CLI_FAILED;
}

/* ---- a sequencer ----------------------------------------------------------------------------- */

static void answer(void *ctx, int client, enum replay_type type, const uint8_t *body, size_t length)
{
    static uint8_t frame[STATUS_SIZE_MAX + REPLAY_FRAME_HEADER];
    struct status status = { .stream = STREAM,
                             .role = "sequencer",
                             .state = "leading",
                             .epochs_used = *(const uint32_t *)ctx };
    (void)body;
    (void)length;
    ck_assert_int_eq(type, REPLAY_STATUS_REQUEST);
    size_t framed = listener_status_frame(&status, frame, sizeof frame);
    listener_send(client, frame, framed, framed);
}

static void set_up(void)
{
    listeners_open();
    snprintf(directory, sizeof directory, "/tmp/cantus-status-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/" CONFIG_FILE, directory);
}

static void tear_down(void)
{
    listeners_close();
    unlink(path);
    rmdir(directory);
}

static void say(uint32_t epochs_used, char *out, size_t capacity)
{
    static struct config config;
    char error[CONFIG_ERROR_MAX];
    config_default_for_dir(&config, directory, 1);
    config.stream = STREAM;
    config_resize(&config, 1, 1, 0);
    config.sequencers[0].stream_port = listener_start(answer, &epochs_used).port;
    config.retransmitters[0].stream_port = listener_nobody().port;
    ck_assert_msg(config_write(path, &config, error), "%s", error);
    fflush(stdout);
    FILE *file = tmpfile();
    int saved = dup(STDOUT_FILENO);
    ck_assert(file != NULL && dup2(fileno(file), STDOUT_FILENO) >= 0);
    char name[] = "status";
    char *argv[] = { name, NULL };
    struct cli_globals globals = { .dir = directory };
    int status = verb_status.run(&globals, 1, argv);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    rewind(file);
    out[fread(out, 1, capacity - 1, file)] = '\0';
    fclose(file);
    ck_assert_int_eq(status, CLI_OK);
}

/* In a process of its own each time, as the command is. */
START_TEST(epochs_that_run_out)
{
    char out[16384];
    bool many = _i % 2 == 1;
    json = _i / 2 == 1;
    say(many ? 3073 : 3072, out, sizeof out);
    const char *used = json   ? many ? "\"epochs_used\":3073,\"epochs_max\":4096"
                                     : "\"epochs_used\":3072,\"epochs_max\":4096"
                       : many ? "3073 of 4096 epochs used"
                              : "3072 of 4096 epochs used";
    ck_assert_ptr_nonnull(strstr(out, used));
    ck_assert_int_eq(strstr(out, "3073 of the 4096 epochs that a stream can have") != NULL, many);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("status");
    TCase *tests = tcase_create("status");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_loop_test(tests, epochs_that_run_out, 0, 4);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
