/* cantus-proxy: lets clients in to the stream of one configuration. */
#include <getopt.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/shell.h"
#include "shell/notify.h"

#define DRAIN_NS    UINT64_C(5000000000) /* then it goes: who is left is cut off */
#define POLL_NS     UINT64_C(1000000000)
#define PATIENCE_NS UINT64_C(2000000000) /* with not being ready, before it is said why */

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
        "usage: cantus-proxy --config FILE [--name NAME] [--check]\n"
        "\n"
        "Lets clients in to the stream that FILE describes, over TCP: checks who they are, relays\n"
        "what they may publish, and sends them what they may read of what they subscribe to. It\n"
        "keeps nothing: any number of them run side by side. On SIGTERM it tells its clients to go\n"
        "elsewhere, and ends.\n"
        "\n"
        "  --config FILE  the deployment's cantus.yaml\n"
        "  --name NAME    which of its proxies; needed when there are several\n"
        "  --check        reports every problem of FILE with its line, and does nothing else\n"
        "  --help         this text\n",
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

/* ---- running --------------------------------------------------------------------------------- */

struct watch {
    const char *name;
    bool ready;   /* was said */
    bool delayed; /* so was why not */
    uint64_t since_ns;
    struct notify notify;
};

static void look(struct watch *w, const struct proxy *core, struct log *log, uint64_t now_ns)
{
    char quoted[LOG_LINE_MAX / 2];
    if (!w->ready && proxy_ready(core)) {
        w->ready = true;
        notify_status(&w->notify, "letting clients in");
        log_line(log, LOG_INFO, "proxy", "ready", "name=%s seq=%lu", w->name,
                 (unsigned long)proxy_seq(core));
    } else if (!w->ready && !w->delayed && now_ns - w->since_ns > PATIENCE_NS) {
        w->delayed = true;
        notify_status(&w->notify, proxy_state(core));
        log_line(log, LOG_WARN, "proxy", "not ready yet", "name=%s state=%s", w->name,
                 log_quote(proxy_state(core), quoted, sizeof quoted));
    }
}

static int serve(struct loop *loop, struct proxy_shell *shell, const char *name, struct log *log)
{
    struct watch w = { .name = name, .since_ns = loop_clock().mono_ns };
    const struct proxy *core = proxy_shell_core(shell);
    char quoted[LOG_LINE_MAX / 2];
    notify_open(&w.notify);
    /* That nobody leads yet must not hold up the start of a host. */
    notify_ready(&w.notify, "following the stream");
    while (!atomic_load(&stopping) && !proxy_failed(core)) {
        loop_poll(loop, notify_wait_ns(&w.notify, POLL_NS));
        uint64_t now_ns = loop_now(loop).mono_ns;
        notify_alive(&w.notify, now_ns);
        look(&w, core, log, now_ns);
    }
    notify_stopping(&w.notify);
    if (proxy_failed(core)) {
        log_line(log, LOG_ERROR, "proxy", "cannot go on", "name=%s why=%s", name,
                 log_quote(proxy_state(core), quoted, sizeof quoted));
        notify_close(&w.notify);
        return EXIT_FAILURE;
    }
    uint32_t sessions = proxy_sessions(core);
    uint64_t until = loop_clock().mono_ns + DRAIN_NS;
    while (!proxy_shell_drain(shell) && loop_clock().mono_ns < until)
        loop_poll(loop, POLL_NS / 100);
    log_line(log, LOG_INFO, "proxy", "stopped", "name=%s clients=%u left=%u", name, sessions,
             proxy_sessions(core));
    notify_close(&w.notify);
    return EXIT_SUCCESS;
}

static int run(const struct config *config, uint32_t index)
{
    static struct log log;
    char error[PROXY_SHELL_ERROR_MAX] = "";
    log_init(&log, STDERR_FILENO, LOG_INFO);
    struct loop_options options = config_loop(config);
    struct loop *loop = loop_create(&options, error);
    if (loop == NULL) {
        fprintf(stderr, "cantus-proxy: %s\n", error);
        return EXIT_FAILURE;
    }
    running = loop;
    int status = EXIT_FAILURE;
    struct proxy_shell *shell = proxy_shell_open(config, index, loop, &log, error);
    if (shell == NULL)
        fprintf(stderr, "cantus-proxy: %s\n", error);
    else
        status = serve(loop, shell, config->proxies[index].name, &log);
    log_flush(&log);
    running = NULL;
    proxy_shell_close(shell);
    loop_destroy(loop);
    return status;
}

int main(int argc, char **argv)
{
    static const struct option OPTIONS[] = { { "config", required_argument, NULL, 'c' },
                                             { "name", required_argument, NULL, 'n' },
                                             { "check", no_argument, NULL, 'k' },
                                             { "help", no_argument, NULL, 'h' },
                                             { 0 } };
    const char *file = NULL, *name = NULL;
    bool check = false;
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
    }
    if (file == NULL || optind < argc) {
        usage(stderr);
        return EXIT_FAILURE;
    }
    static struct config config;
    char error[PROXY_SHELL_ERROR_MAX] = "";
    if (!config_load(file, &config, report, NULL))
        return EXIT_FAILURE;
    int index = check && name == NULL ? 0 : config_find_proxy(&config, name, error);
    if (index < 0) {
        fprintf(stderr, "%s: %s\n", file, error);
        return EXIT_FAILURE;
    }
    if (check) {
        printf("%s: no problems\n", file);
        return EXIT_SUCCESS;
    }
    catch_signals();
    return run(&config, (uint32_t)index);
}
