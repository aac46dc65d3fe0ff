/* cantus-retransmitter: records the stream of one configuration in one store. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "retransmitter/shell.h"
#include "shell/daemon.h"

#define DRAIN_NS                                                                                   \
    UINT64_C(10000000000) /* then it goes without: what is not durable is not acknowledged */
#define POLL_NS UINT64_C(1000000000)

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

static bool is_drained(void *shell)
{
    return retransmitter_shell_drain(shell);
}

static void serve(struct daemon *d, struct retransmitter_shell *shell)
{
    daemon_ready(d, "retransmitter", "recording");
    while (daemon_round(d, POLL_NS)) {
    }
    notify_stopping(&d->notify);
    bool drained = daemon_drain(d, DRAIN_NS, is_drained, shell);
    log_line(&d->log, drained ? LOG_INFO : LOG_WARN, "retransmitter",
             drained ? "stopped" : "stopped before everything was durable", NULL);
}

static int run(const struct config *config, uint32_t index)
{
    static struct daemon d;
    char error[RETRANSMITTER_SHELL_ERROR_MAX] = "";
    if (!daemon_open(&d, config, error)) {
        fprintf(stderr, "cantus-retransmitter: %s\n", error);
        return EXIT_FAILURE;
    }
    struct retransmitter_shell *shell =
        retransmitter_shell_open(config, index, d.loop, &d.log, error);
    if (shell == NULL)
        fprintf(stderr, "cantus-retransmitter: %s\n", error);
    else
        serve(&d, shell);
    retransmitter_shell_close(shell);
    daemon_close(&d);
    return shell == NULL ? EXIT_FAILURE : EXIT_SUCCESS;
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
    if (!config_load(file, &config, config_report_stderr, NULL))
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
    return run(&config, (uint32_t)index);
}
