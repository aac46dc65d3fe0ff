/* cantus-retransmitter: records the stream of one configuration in one store. */
#include <getopt.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "retransmitter/shell.h"
#include "shell/notify.h"

#define DRAIN_NS                                                                                   \
    UINT64_C(10000000000) /* then it goes without: what is not durable is not acknowledged */
#define POLL_NS UINT64_C(1000000000)

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
    fputs("usage: cantus-retransmitter --config FILE [--name NAME] [--check | --format]\n"
          "\n"
          "Records every batch of the stream that FILE describes, acknowledges what is durable,\n"
          "fills gaps and serves replays. Ends cleanly on SIGTERM.\n"
          "\n"
          "  --config FILE  the deployment's cantus.yaml\n"
          "  --name NAME    which of its retransmitters; needed when there are several\n"
          "  --check        reports every problem of FILE with its line, and does nothing else\n"
          "  --format       makes a new store without history in the retransmitter's directory,\n"
          "                 prints its id, and ends; it copies the history from its peers when it\n"
          "                 runs, and does not count until it is added as a member\n"
          "  --help         this text\n",
          out);
}

static void report(void *ctx, const char *file, unsigned line, const char *reason)
{
    unsigned *problems = ctx;
    (*problems)++;
    if (line > 0)
        fprintf(stderr, "%s:%u: %s\n", file, line, reason);
    else
        fprintf(stderr, "%s: %s\n", file, reason);
}

static int run(const struct config *config, uint32_t index)
{
    static struct log log;
    char error[RETRANSMITTER_SHELL_ERROR_MAX] = "";
    log_init(&log, STDERR_FILENO, LOG_INFO);
    struct loop_options options = config_loop(config);
    struct loop *loop = loop_create(&options, error);
    if (loop == NULL) {
        fprintf(stderr, "cantus-retransmitter: %s\n", error);
        return EXIT_FAILURE;
    }
    running = loop;
    struct retransmitter_shell *shell = retransmitter_shell_open(config, index, loop, &log, error);
    if (shell == NULL) {
        fprintf(stderr, "cantus-retransmitter: %s\n", error);
        running = NULL;
        loop_destroy(loop);
        return EXIT_FAILURE;
    }
    struct notify notify;
    notify_open(&notify);
    notify_ready(&notify, "recording");
    while (!atomic_load(&stopping)) {
        loop_poll(loop, notify_wait_ns(&notify, POLL_NS));
        notify_alive(&notify, loop_now(loop).mono_ns);
    }
    notify_stopping(&notify);
    uint64_t until = loop_clock().mono_ns + DRAIN_NS;
    bool drained = retransmitter_shell_drain(shell);
    while (!drained && loop_clock().mono_ns < until) {
        loop_poll(loop, POLL_NS / 100);
        drained = retransmitter_shell_drain(shell);
    }
    log_line(&log, drained ? LOG_INFO : LOG_WARN, "retransmitter",
             drained ? "stopped" : "stopped before everything was durable", NULL);
    log_flush(&log);
    running = NULL;
    notify_close(&notify);
    retransmitter_shell_close(shell);
    loop_destroy(loop);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    static const struct option OPTIONS[] = {
        { "config", required_argument, NULL, 'c' }, { "name", required_argument, NULL, 'n' },
        { "check", no_argument, NULL, 'k' },        { "format", no_argument, NULL, 'f' },
        { "help", no_argument, NULL, 'h' },         { 0 }
    };
    const char *file = NULL, *name = NULL;
    bool check = false, format = false;
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
        name = option == 'n' ? optarg : name;
        check = check || option == 'k';
        format = format || option == 'f';
    }
    if (file == NULL || optind < argc || (check && format)) {
        usage(stderr);
        return EXIT_FAILURE;
    }
    static struct config config;
    char error[RETRANSMITTER_SHELL_ERROR_MAX] = "";
    unsigned problems = 0;
    if (!config_load(file, &config, report, &problems))
        return EXIT_FAILURE;
    int index = check && name == NULL ? 0 : config_find_retransmitter(&config, name, error);
    if (index < 0) {
        fprintf(stderr, "%s: %s\n", file, error);
        return EXIT_FAILURE;
    }
    if (check) {
        printf("%s: no problems\n", file);
        return EXIT_SUCCESS;
    }
    if (format) {
        uint64_t store;
        if (!retransmitter_shell_format(&config, (uint32_t)index, &store, error)) {
            fprintf(stderr, "cantus-retransmitter: %s\n", error);
            return EXIT_FAILURE;
        }
        printf("%016lx\n", (unsigned long)store);
        return EXIT_SUCCESS;
    }
    catch_signals();
    return run(&config, (uint32_t)index);
}
