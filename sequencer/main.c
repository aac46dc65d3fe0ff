/* cantus-sequencer: gives the messages of one configuration's stream their order. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sequencer/shell.h"
#include "shell/daemon.h"

#define POLL_NS     UINT64_C(1000000000)
#define PATIENCE_NS UINT64_C(2000000000) /* with not leading, before it is said why */

static void usage(FILE *out)
{
    fputs(
        "usage: cantus-sequencer --config FILE [--name NAME] [--standby] [--session NAME]\n"
        "                        [--why TEXT] [--check]\n"
        "\n"
        "Puts what is proposed on the stream that FILE describes into one order. It starts as it\n"
        "would fail over: a quorum of the stores promises it an epoch, it adopts their history,\n"
        "and begins; whoever led before is fenced by that. Ends cleanly on SIGTERM.\n"
        "\n"
        "  --config FILE   the deployment's cantus.yaml\n"
        "  --name NAME     which of its sequencers; needed when there are several\n"
        "  --standby       follows, and leads when `cantus promote` says so, or, if FILE says\n"
        "                  `promotion: automatic`, when the leader has been silent for "
        "silence_ms.\n"
        "                  What a service manager should start again after a crash, where there\n"
        "                  are several: without it, the one that is started leads\n"
        "  --session NAME  begin another session of the stream\n"
        "  --why TEXT      recorded in the stream with the epoch\n"
        "  --check         reports every problem of FILE with its line, and does nothing else\n"
        "  --help          this text\n",
        out);
}

/* ---- running --------------------------------------------------------------------------------- */

struct watch {
    const char *name;
    enum sequencer_state state;
    uint64_t since_ns; /* in this state */
    struct epoch led;  /* by another, as was said last */
    char said[256];
    char trouble[256]; /* as was said last */
    char restored[256];
    struct notify *notify;
};

static void notify_state(struct watch *w, enum sequencer_state state, struct epoch epoch)
{
    char status[NOTIFY_STATUS_MAX];
    snprintf(status, sizeof status, "%s, epoch %u",
             state == SEQUENCER_LEADING     ? "leading"
             : state == SEQUENCER_FOLLOWING ? "standing by"
                                            : "promoting",
             epoch.number);
    notify_status(w->notify, status);
}

static void say_state(struct watch *w, struct sequencer *core, enum sequencer_state state,
                      struct log *log)
{
    struct epoch epoch = sequencer_epoch(core);
    notify_state(w, state, epoch);
    if (state == SEQUENCER_LEADING)
        log_line(log, LOG_INFO, "sequencer", "ready", "name=%s epoch=%u tip=%lu", w->name,
                 epoch.number, (unsigned long)sequencer_tip(core));
    else if (w->state == SEQUENCER_LEADING)
        log_line(log, LOG_WARN, "sequencer", sequencer_leads_no_more(core), "name=%s", w->name);
    else if (state == SEQUENCER_SEALING && w->state == SEQUENCER_FOLLOWING)
        log_line(log, LOG_INFO, "sequencer", "promoting", "name=%s", w->name);
}

/* A standby follows whoever leads, and says when that is another one than before. */
static void say_followed(struct watch *w, struct sequencer *core, struct log *log)
{
    struct epoch epoch = sequencer_epoch(core);
    if (epoch.number == 0 || epoch_equal(epoch, w->led))
        return;
    w->led = epoch;
    notify_state(w, SEQUENCER_FOLLOWING, epoch);
    log_line(log, LOG_INFO, "sequencer", "standing by", "name=%s epoch=%u tip=%lu", w->name,
             epoch.number, (unsigned long)sequencer_tip(core));
}

/* Once each: deaf for a moment, or with a store that heals, is not worth a second line. */
static void say_trouble(struct watch *w, struct sequencer *core, struct log *log)
{
    const char *trouble = sequencer_trouble(core);
    if (trouble[0] == '\0' || strcmp(trouble, w->trouble) == 0)
        return;
    char quoted[LOG_LINE_MAX / 2];
    snprintf(w->trouble, sizeof w->trouble, "%s", trouble);
    log_line(log, LOG_WARN, "sequencer", "cannot take over as it should", "name=%s why=%s", w->name,
             log_quote(trouble, quoted, sizeof quoted));
}

static void say_restored(struct watch *w, struct sequencer *core, struct log *log)
{
    const char *restored = sequencer_restored(core);
    if (strcmp(restored, w->restored) == 0)
        return;
    char quoted[LOG_LINE_MAX / 2];
    snprintf(w->restored, sizeof w->restored, "%s", restored);
    log_line(log, LOG_WARN, "sequencer", "a store is not counted", "name=%s why=%s", w->name,
             log_quote(restored, quoted, sizeof quoted));
}

/* Says what became of it: leading, fenced, standing by, or what it waits for. */
static void watch_state(struct watch *w, struct sequencer *core, struct log *log)
{
    enum sequencer_state state = sequencer_state(core);
    uint64_t now = loop_clock().mono_ns;
    if (state != w->state) {
        say_state(w, core, state, log);
        w->state = state;
        w->since_ns = now;
        w->said[0] = '\0';
    }
    say_restored(w, core, log);
    if (state == SEQUENCER_FOLLOWING) {
        say_followed(w, core, log);
        say_trouble(w, core, log);
        return;
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

static int serve(struct daemon *d, struct sequencer_shell *shell, const char *name)
{
    struct loop_participant participant = sequencer_shell_participant(shell);
    if (!loop_add(d->loop, &participant)) {
        fprintf(stderr, "cantus-sequencer: its sockets can't be waited for: %s\n", strerror(errno));
        return EXIT_FAILURE;
    }
    struct watch watch = { .name = name,
                           .state = SEQUENCER_FOLLOWING,
                           .since_ns = loop_clock().mono_ns,
                           .notify = &d->notify };
    /* Ready as soon as it takes part: when it leads is for a quorum of stores to say. */
    daemon_ready(d, "sequencer", "standing by");
    while (daemon_round(d, watch.state == SEQUENCER_LEADING ? POLL_NS : POLL_NS / 10))
        watch_state(&watch, shell->core, &d->log);
    notify_stopping(&d->notify);
    log_line(&d->log, LOG_INFO, "sequencer", "stopped", "tip=%lu",
             (unsigned long)sequencer_tip(shell->core));
    return EXIT_SUCCESS;
}

static int run(const struct config *config, struct sequencer_start *start)
{
    static struct daemon d;
    static struct sequencer_shell shell;
    char error[CONFIG_ERROR_MAX] = "";
    if (!daemon_open(&d, config, error)) {
        fprintf(stderr, "cantus-sequencer: %s\n", error);
        return EXIT_FAILURE;
    }
    int status = EXIT_FAILURE;
    start->log = &d.log;
    if (sequencer_shell_open(&shell, config, start, error))
        status = serve(&d, &shell, config->sequencers[start->index].name);
    else
        fprintf(stderr, "cantus-sequencer: %s\n", error);
    daemon_close(&d);
    sequencer_shell_close(&shell);
    return status;
}

struct arguments {
    const char *file, *name;
    bool check, help, wrong;
    struct sequencer_start start;
};

static struct arguments parse(int argc, char **argv)
{
    static const struct option OPTIONS[] = {
        { "config", required_argument, NULL, 'c' }, { "name", required_argument, NULL, 'n' },
        { "standby", no_argument, NULL, 'b' },      { "session", required_argument, NULL, 's' },
        { "why", required_argument, NULL, 'w' },    { "check", no_argument, NULL, 'k' },
        { "help", no_argument, NULL, 'h' },         { 0 }
    };
    struct arguments a = { .start = { .lead = true, .how = SYS_EPOCH_STARTED } };
    for (int option; (option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;) {
        a.help = a.help || option == 'h';
        a.wrong = a.wrong || option == '?';
        a.check = a.check || option == 'k';
        a.file = option == 'c' ? optarg : a.file;
        a.name = option == 'n' ? optarg : a.name;
        a.start.lead = a.start.lead && option != 'b';
        a.start.session = option == 's' ? optarg : a.start.session;
        a.start.why = option == 'w' ? optarg : a.start.why;
    }
    a.wrong = a.wrong || a.file == NULL || optind < argc;
    return a;
}

int main(int argc, char **argv)
{
    struct arguments a = parse(argc, argv);
    if (a.help || a.wrong) {
        usage(a.help ? stdout : stderr);
        return a.help ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    static struct config config;
    char error[CONFIG_ERROR_MAX];
    if (!config_load(a.file, &config, config_report_stderr, NULL))
        return EXIT_FAILURE;
    int index = a.check && a.name == NULL ? 0 : config_find_sequencer(&config, a.name, error);
    if (index < 0) {
        fprintf(stderr, "%s: %s\n", a.file, error);
        return EXIT_FAILURE;
    }
    if (a.start.why != NULL && strlen(a.start.why) > WHY_MAX) {
        fprintf(stderr, "cantus-sequencer: --why: at most %d bytes\n", WHY_MAX);
        return EXIT_FAILURE;
    }
    if (a.start.session != NULL && !session_name_valid(a.start.session)) {
        fprintf(stderr, "cantus-sequencer: --session: 1 to %d bytes of printable ASCII\n",
                SESSION_NAME_MAX);
        return EXIT_FAILURE;
    }
    if (!a.start.lead && config.is_volatile) {
        fprintf(stderr, "cantus-sequencer: --standby: a volatile stream has no stores, so there is "
                        "nothing to take over\n");
        return EXIT_FAILURE;
    }
    if (a.check) {
        printf("%s: no problems\n", a.file);
        return EXIT_SUCCESS;
    }
    a.start.index = (uint32_t)index;
    return run(&config, &a.start);
}
