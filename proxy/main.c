/* cantus-proxy: lets clients in to the stream of one configuration. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/shell.h"
#include "shell/daemon.h"

#define DRAIN_NS    UINT64_C(5000000000) /* then it goes: who is left is cut off */
#define POLL_NS     UINT64_C(1000000000)
#define PATIENCE_NS UINT64_C(2000000000) /* with not being ready, before it is said why */

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

/* ---- running --------------------------------------------------------------------------------- */

struct watch {
    const char *name;
    bool ready;   /* was said */
    bool delayed; /* so was why not */
    uint64_t since_ns;
    struct daemon *daemon;
};

static void look(struct watch *w, const struct proxy *core)
{
    struct log *log = &w->daemon->log;
    char quoted[LOG_LINE_MAX / 2];
    if (!w->ready && proxy_ready(core)) {
        w->ready = true;
        notify_status(&w->daemon->notify, "letting clients in");
        log_line(log, LOG_INFO, "proxy", "ready", "name=%s seq=%lu", w->name,
                 (unsigned long)proxy_seq(core));
    } else if (!w->ready && !w->delayed &&
               loop_now(w->daemon->loop).mono_ns - w->since_ns > PATIENCE_NS) {
        w->delayed = true;
        notify_status(&w->daemon->notify, proxy_state(core));
        log_line(log, LOG_WARN, "proxy", "not ready yet", "name=%s state=%s", w->name,
                 log_quote(proxy_state(core), quoted, sizeof quoted));
    }
}

static bool is_drained(void *shell)
{
    return proxy_shell_drain(shell);
}

static int serve(struct daemon *d, struct proxy_shell *shell, const char *name)
{
    struct watch w = { .name = name, .since_ns = loop_clock().mono_ns, .daemon = d };
    const struct proxy *core = proxy_shell_core(shell);
    char quoted[LOG_LINE_MAX / 2];
    /* That nobody leads yet must not hold up the start of a host. */
    d->huge_pages = false; /* its memory follows its clients, page by page, and each has a bound */
    daemon_ready(d, "proxy", "following the stream");
    while (!proxy_failed(core) && daemon_round(d, POLL_NS))
        look(&w, core);
    notify_stopping(&d->notify);
    if (proxy_failed(core)) {
        log_line(&d->log, LOG_ERROR, "proxy", "cannot go on", "name=%s why=%s", name,
                 log_quote(proxy_state(core), quoted, sizeof quoted));
        return EXIT_FAILURE;
    }
    uint32_t sessions = proxy_sessions(core);
    daemon_drain(d, DRAIN_NS, is_drained, shell);
    log_line(&d->log, LOG_INFO, "proxy", "stopped", "name=%s clients=%u left=%u", name, sessions,
             proxy_sessions(core));
    return EXIT_SUCCESS;
}

static int run(const struct config *config, uint32_t index)
{
    static struct daemon d;
    char error[PROXY_SHELL_ERROR_MAX] = "";
    if (!daemon_open(&d, config, error)) {
        fprintf(stderr, "cantus-proxy: %s\n", error);
        return EXIT_FAILURE;
    }
    int status = EXIT_FAILURE;
    struct proxy_shell *shell = proxy_shell_open(config, index, d.loop, &d.log, error);
    if (shell == NULL)
        fprintf(stderr, "cantus-proxy: %s\n", error);
    else
        status = serve(&d, shell, config->proxies[index].name);
    proxy_shell_close(shell);
    daemon_close(&d);
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
    if (!config_load(file, &config, config_report_stderr, NULL))
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
    return run(&config, (uint32_t)index);
}
