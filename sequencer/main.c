/* cantus-sequencer: gives the messages of one configuration's stream their order. */
#include <getopt.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sequencer/shell.h"
#include "shell/log.h"

#define POLL_NS     UINT64_C(1000000000)
#define PATIENCE_NS UINT64_C(2000000000) /* with not leading, before it is said why */

static struct loop *running;
static atomic_bool stopping;

static void on_signal(int number)
{
    (void)number;
    atomic_store(&stopping, true);
    if (running != NULL)
        loop_wake(running);
}

static void catch_signals(void)
{
    struct sigaction action = { .sa_handler = on_signal };
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
}

static void usage(FILE *out)
{
    fputs(
        "usage: cantus-sequencer --config FILE [--session NAME] [--why TEXT] [--check]\n"
        "\n"
        "Puts what is proposed on the stream that FILE describes into one order. It starts as it\n"
        "would fail over: a quorum of the stores promises it an epoch, it adopts their history,\n"
        "and begins. Ends cleanly on SIGTERM.\n"
        "\n"
        "  --config FILE   the deployment's cantus.yaml\n"
        "  --session NAME  begin another session of the stream\n"
        "  --why TEXT      recorded in the stream with the epoch\n"
        "  --check         reports every problem of FILE with its line, and does nothing else\n"
        "  --help          this text\n",
        out);
}

static void report(void *ctx, const char *file, unsigned line, const char *reason)
{
    (void)ctx;
    if (line > 0)
        fprintf(stderr, "%s:%u: %s\n", file, line, reason);
    else
        fprintf(stderr, "%s: %s\n", file, reason);
}

/* ---- running ------------------------------------------------------------------------------------
 */

struct watch {
    enum sequencer_state state;
    uint64_t since_ns; /* in this state */
    char said[256];
};

/* Says what became of it: leading, fenced, or what it waits for. */
static void watch_state(struct watch *w, struct sequencer *core, struct log *log)
{
    enum sequencer_state state = sequencer_state(core);
    uint64_t now = loop_clock().mono_ns;
    if (state != w->state) {
        if (state == SEQUENCER_LEADING)
            log_line(log, LOG_INFO, "sequencer", "ready", "epoch=%u tip=%lu",
                     sequencer_epoch(core).number, (unsigned long)sequencer_tip(core));
        else if (w->state == SEQUENCER_LEADING)
            log_line(log, LOG_WARN, "sequencer",
                     "fenced: another sequencer has begun a later epoch; following it", NULL);
        w->state = state;
        w->since_ns = now;
        w->said[0] = '\0';
    }
    const char *reason = sequencer_waiting_for(core);
    if (state == SEQUENCER_LEADING || now - w->since_ns < PATIENCE_NS ||
        strcmp(reason, w->said) == 0)
        return;
    char quoted[LOG_LINE_MAX / 2];
    snprintf(w->said, sizeof w->said, "%s", reason);
    log_line(log, LOG_WARN, "sequencer", "not leading yet", "why=%s",
             log_quote(reason, quoted, sizeof quoted));
}

static int run(const struct config *config, const struct sequencer_start *start)
{
    static struct log log;
    static struct sequencer_shell shell;
    char error[CONFIG_ERROR_MAX] = "";
    log_init(&log, STDERR_FILENO, LOG_INFO);
    struct loop_options options = config_loop(config);
    struct loop *loop = loop_create(&options, error);
    if (loop == NULL || !sequencer_shell_open(&shell, config, start, error)) {
        fprintf(stderr, "cantus-sequencer: %s\n", error);
        if (loop != NULL)
            loop_destroy(loop);
        return EXIT_FAILURE;
    }
    running = loop;
    struct loop_participant participant = sequencer_shell_participant(&shell);
    bool added = loop_add(loop, &participant);
    struct watch watch = { .state = SEQUENCER_FOLLOWING, .since_ns = loop_clock().mono_ns };
    while (added && !atomic_load(&stopping)) {
        loop_poll(loop, watch.state == SEQUENCER_LEADING ? POLL_NS : POLL_NS / 10);
        watch_state(&watch, shell.core, &log);
    }
    log_line(&log, LOG_INFO, "sequencer", "stopped", "tip=%lu",
             (unsigned long)sequencer_tip(shell.core));
    log_flush(&log);
    running = NULL;
    loop_destroy(loop);
    sequencer_shell_close(&shell);
    return added ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    static const struct option OPTIONS[] = {
        { "config", required_argument, NULL, 'c' }, { "session", required_argument, NULL, 's' },
        { "why", required_argument, NULL, 'w' },    { "check", no_argument, NULL, 'k' },
        { "help", no_argument, NULL, 'h' },         { 0 }
    };
    const char *file = NULL;
    bool check = false;
    struct sequencer_start start = { .lead = true, .how = SYS_EPOCH_STARTED };
    for (int option; (option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;) {
        if (option == 'h') {
            usage(stdout);
            return EXIT_SUCCESS;
        }
        if (option == '?') {
            usage(stderr);
            return EXIT_FAILURE;
        }
        file = option == 'c' ? optarg : file;
        start.session = option == 's' ? optarg : start.session;
        start.why = option == 'w' ? optarg : start.why;
        check = check || option == 'k';
    }
    if (file == NULL || optind < argc) {
        usage(stderr);
        return EXIT_FAILURE;
    }
    static struct config config;
    if (!config_load(file, &config, report, NULL))
        return EXIT_FAILURE;
    if (check) {
        printf("%s: no problems\n", file);
        return EXIT_SUCCESS;
    }
    catch_signals();
    return run(&config, &start);
}
