#include "cli/cli.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>

#include "cli/ask.h"
#include "cli/deployment.h"
#include "cli/etcd.h"
#include "cli/leader.h"
#include "cli/lease.h"
#include "shell/log.h"
#include "shell/notify.h"

static const char help[] =
    "usage: cantus --dir DIR lease --etcd URL[,URL...] [--name NAME] [--key KEY] [--ttl SECONDS]\n"
    "\n"
    "Runs beside a sequencer and promotes it when it gets the lease that all of them campaign for\n"
    "in etcd. Start one for each sequencer, on its host, with the same key. While a sequencer leads\n"
    "well the others leave it alone: a promotion asks the stores first, and is refused while a\n"
    "majority of them hears the leader. Losing the lease, or etcd, ends nobody's lead.\n"
    "\n"
    "Safety does not rest on the lease but on the stores, which a new leader seals: two that both\n"
    "believe that they hold it do no harm. Keep `promotion: manual` in cantus.yaml, so that the\n"
    "lease alone decides. Runs until SIGTERM, and gives the lease up then.\n"
    "\n"
    "  --etcd URL,...   etcd's client endpoints: http://HOST:2379\n"
    "  --name NAME      which sequencer; needed when there are several\n"
    "  --key KEY        default /cantus/STREAM/leader, STREAM being the stream's id\n"
    "  --ttl SECONDS    after which the lease of one that is gone ends (2 to 3600, default 5). Etcd\n"
    "                   may grant more\n";

enum { OPTION_ETCD, OPTION_NAME, OPTION_KEY, OPTION_TTL };
static const struct option options[] = {
    { "etcd", required_argument, NULL, OPTION_ETCD },
    { "name", required_argument, NULL, OPTION_NAME },
    { "key", required_argument, NULL, OPTION_KEY },
    { "ttl", required_argument, NULL, OPTION_TTL },
    { 0 },
};

#define NS_PER_S      UINT64_C(1000000000)
#define ASK_MAX_NS    (NS_PER_S / 2)
#define ETCD_PAUSE_NS (NS_PER_S / 2) /* after it did not answer */
#define SILENT_MIN_NS (NS_PER_S / 2) /* stores repeat themselves every 100 ms */

_Static_assert((int)ETCD_ERROR_MAX <= (int)CONFIG_ERROR_MAX, "both are written into one buffer");

struct lease_arguments {
    const char *etcd, *name, *key;
    uint32_t ttl_s;
};

struct leaser {
    struct lease lease;
    struct etcd *etcd;
    struct processes *processes;
    struct process *own;
    struct log log;
    struct notify notify;
    const char *key;
    uint64_t id;       /* of the lease that etcd granted; 0: none */
    bool held;         /* the key, when etcd was asked last */
    uint64_t ends_ns;  /* of the lease, by our own clock, at the earliest */
    uint64_t renew_ns; /* when to ask etcd again */
    bool silent;       /* etcd, when it was asked last */
    char holder[ETCD_VALUE_MAX + 1];
};

static bool parse(void *ctx, int option, const char *value)
{
    struct lease_arguments *a = ctx;
    switch (option) {
    case OPTION_ETCD:
        a->etcd = value;
        return true;
    case OPTION_NAME:
        a->name = value;
        return true;
    case OPTION_KEY:
        a->key = value;
        return true;
    default:
        return cli_parse_u32("--ttl", value, 2, 3600, &a->ttl_s);
    }
}

/* ---- the sequencers -------------------------------------------------------------------------- */

/* A leader that the stores it needs don't hear makes nothing stable. */
static bool hears_quorum(const struct leaser *l, const struct status *s)
{
    uint64_t patience_ns = lease_patience_ns(&l->lease);
    uint64_t silent_ns = patience_ns < SILENT_MIN_NS ? SILENT_MIN_NS : patience_ns;
    uint32_t heard = 0;
    for (uint32_t i = 0; i < s->member_count; i++)
        heard += s->members[i].age_ns < silent_ns;
    return heard >= s->quorum;
}

static uint64_t random_number(void)
{
    uint64_t number = 0;
    (void)!getrandom(&number, sizeof number, GRND_NONBLOCK);
    return number;
}

static struct lease_view look(struct leaser *l)
{
    uint64_t wait_ns = l->lease.ttl_ns / 6;
    processes_ask_sequencers(l->processes, wait_ns < ASK_MAX_NS ? wait_ns : ASK_MAX_NS);
    const struct process *leader = processes_leader(l->processes);
    bool well = leader != NULL && hears_quorum(l, &leader->status);
    return (struct lease_view) { .now_ns = cli_mono_ns(),
                                 .random = random_number(),
                                 .answers = l->own->answered,
                                 .follows = l->own->answered &&
                                            strncmp(l->own->status.state, "following", 9) == 0,
                                 .leads = well && leader == l->own,
                                 .other_leads = well && leader != l->own };
}

/* ---- the lease ------------------------------------------------------------------------------- */

static void say_etcd(struct leaser *l, enum etcd_result result)
{
    char quoted[LOG_LINE_MAX / 2];
    bool silent = result == ETCD_FAILED;
    if (silent)
        l->renew_ns = cli_mono_ns() + ETCD_PAUSE_NS;
    if (silent == l->silent)
        return;
    l->silent = silent;
    if (silent)
        log_line(&l->log, LOG_WARN, "lease", "etcd does not answer; whoever leads goes on leading",
                 "why=%s", log_quote(etcd_error(l->etcd), quoted, sizeof quoted));
    else
        log_line(&l->log, LOG_INFO, "lease", "etcd answers again", NULL);
}

/* Nothing is done to a sequencer that leads: whoever is promoted next fences it. */
static void lose(struct leaser *l, const char *why)
{
    char quoted[LOG_LINE_MAX / 2];
    if (l->held) {
        log_line(&l->log, LOG_WARN, "lease", "lost the lease", "lease=%" PRIx64 " why=%s", l->id,
                 log_quote(why, quoted, sizeof quoted));
        notify_status(&l->notify, "lost the lease");
    }
    l->id = 0;
    l->held = false;
    l->renew_ns = 0;
    l->holder[0] = '\0';
}

static void give_up(struct leaser *l, const char *why)
{
    char quoted[LOG_LINE_MAX / 2];
    if (l->held)
        log_line(&l->log, LOG_INFO, "lease", "gives the lease up", "lease=%" PRIx64 " why=%s",
                 l->id, log_quote(why, quoted, sizeof quoted));
    if (l->id != 0)
        say_etcd(l, etcd_revoke(l->etcd, l->id));
    notify_status(&l->notify, "waiting");
    l->held = false;
    lose(l, why);
}

/* The time counts from before it was asked for, so that we believe in it no longer than etcd does,
 * as far as the two clocks run alike. */
static bool renew(struct leaser *l, uint64_t now_ns)
{
    uint32_t ttl_s = 0;
    enum etcd_result result =
        l->id == 0 ? etcd_grant(l->etcd, &l->id, &ttl_s) : etcd_keep_alive(l->etcd, l->id, &ttl_s);
    say_etcd(l, result);
    if (result == ETCD_GONE)
        lose(l, "etcd knows of it no more");
    if (result != ETCD_OK) {
        if (!l->held)
            l->id = 0;
        return false;
    }
    l->ends_ns = now_ns + ttl_s * NS_PER_S;
    return true;
}

static void say_holder(struct leaser *l, bool holds, const char *holder)
{
    char quoted[ETCD_VALUE_MAX * 4 + 3];
    if (holds && !l->held) {
        log_line(&l->log, LOG_INFO, "lease", "holds the lease", "name=%s lease=%" PRIx64 " key=%s",
                 l->own->name, l->id, l->key);
        notify_status(&l->notify, "holds the lease");
    } else if (!holds && strcmp(holder, l->holder) != 0) {
        log_line(&l->log, LOG_INFO, "lease", "waits for the lease", "held_by=%s",
                 log_quote(holder, quoted, sizeof quoted));
        notify_status(&l->notify, "waiting");
    }
    snprintf(l->holder, sizeof l->holder, "%s", holder);
}

/* Gets it, or keeps it. One that waits for it asks in every round, who holds it thrice in its
 * time. */
static void campaign(struct leaser *l)
{
    uint64_t now_ns = cli_mono_ns();
    char holder[ETCD_VALUE_MAX + 1];
    bool holds = false;
    uint64_t patience_ns = lease_patience_ns(&l->lease);
    if (now_ns < l->renew_ns)
        return;
    bool fresh = l->id != 0 && !l->held && l->ends_ns > now_ns + 2 * patience_ns;
    if (!fresh && !renew(l, now_ns))
        return;
    enum etcd_result result = etcd_campaign(l->etcd, l->id, &holds, holder);
    say_etcd(l, result);
    if (result == ETCD_GONE)
        lose(l, "etcd knows of it no more");
    if (result != ETCD_OK)
        return;
    say_holder(l, holds, holder);
    if (l->held && !holds) {
        lose(l, "the key has another's lease");
        return;
    }
    l->held = holds;
    l->renew_ns = holds ? now_ns + patience_ns : 0;
}

/* ---- rounds ---------------------------------------------------------------------------------- */

static void promote(struct leaser *l, const struct lease_view *view)
{
    struct command command = { .kind = COMMAND_PROMOTE, .how = SYS_EPOCH_LEASE };
    struct outcome outcome;
    char problem[ASK_PROBLEM_MAX];
    char quoted[LOG_LINE_MAX / 2];
    snprintf(command.why, sizeof command.why, "%s holds lease %" PRIx64 " on %.60s", l->own->name,
             l->id, l->key);
    bool answered = ask_command(l->own->address, &command, &outcome, problem);
    uint64_t now_ns = cli_mono_ns();
    if (answered && outcome.verdict != OUTCOME_REFUSED) {
        log_line(&l->log, LOG_INFO, "lease", "promotes its sequencer", "name=%s lease=%" PRIx64,
                 l->own->name, l->id);
        lease_promotion_taken(&l->lease, now_ns);
        return;
    }
    lease_promotion_refused(&l->lease, now_ns, view->random);
    log_line(&l->log, LOG_WARN, "lease", "its sequencer was not promoted", "name=%s why=%s",
             l->own->name, log_quote(answered ? outcome.text : problem, quoted, sizeof quoted));
    give_up(l, "its sequencer was not promoted");
}

static void go_round(struct leaser *l)
{
    struct lease_view view = look(l);
    if (l->id != 0 && view.now_ns >= l->ends_ns)
        lose(l, "it was not renewed in time");
    view.holds = l->held;
    switch (lease_decide(&l->lease, &view)) {
    case LEASE_WAIT:
        if (l->id != 0)
            give_up(l, "not campaigning");
        break;
    case LEASE_CAMPAIGN:
        campaign(l);
        break;
    case LEASE_PROMOTE:
        promote(l, &view);
        break;
    case LEASE_GIVE_UP:
        give_up(l, l->lease.why);
        break;
    }
}

static int serve(struct leaser *l)
{
    log_init(&l->log, STDERR_FILENO, LOG_INFO);
    lease_init(&l->lease, l->lease.ttl_ns, cli_mono_ns());
    notify_open(&l->notify);
    log_line(&l->log, LOG_INFO, "lease", "ready", "name=%s key=%s", l->own->name, l->key);
    notify_ready(&l->notify, "waiting");
    if (l->processes->config->promotion == CONFIG_PROMOTION_AUTOMATIC)
        log_line(&l->log, LOG_WARN, "lease",
                 "standbys promote themselves, too: say promotion: manual in cantus.yaml", NULL);
    do {
        go_round(l);
        notify_alive(&l->notify, cli_mono_ns());
    } while (leader_pause(lease_round_ns(&l->lease)));
    notify_stopping(&l->notify);
    if (l->id != 0)
        give_up(l, "asked to stop");
    log_line(&l->log, LOG_INFO, "lease", "stopped", NULL);
    log_flush(&l->log);
    notify_close(&l->notify);
    return CLI_OK;
}

static int lease(const struct config *config, const struct lease_arguments *a)
{
    static struct leaser l;
    char error[CONFIG_ERROR_MAX];
    char key[ETCD_KEY_MAX + 1];
    int index = config_find_sequencer(config, a->name, error);
    if (index < 0)
        return cli_fail("%s", error);
    if (config->is_volatile)
        return cli_fail("a volatile stream has one sequencer: there is nothing to take over");
    snprintf(key, sizeof key, "/cantus/%016" PRIx64 "/leader", config->stream);
    l.key = a->key != NULL ? a->key : key;
    l.lease.ttl_ns = a->ttl_s * NS_PER_S;
    l.etcd = etcd_open(a->etcd, l.key, config->sequencers[index].name, a->ttl_s, error);
    if (l.etcd == NULL)
        return cli_fail("%s", error);
    l.processes = processes_create(config);
    if (l.processes != NULL)
        l.own = &l.processes->all[index];
    int status = l.processes != NULL ? serve(&l) : cli_fail("out of memory");
    processes_destroy(l.processes);
    etcd_close(l.etcd);
    return status;
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    struct lease_arguments a = { .ttl_s = 5 };
    int operand = cli_options(&verb_lease, &g, argc, argv, options, parse, &a);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    if (g.dir == NULL || a.etcd == NULL || operand < argc) {
        cli_fail("lease wants --dir DIR and --etcd URL, and no operand");
        return CLI_USAGE;
    }
    static struct config config;
    if (!deployment_config(g.dir, &config))
        return CLI_FAILED;
    cli_catch_signals();
    struct sigaction ignore = { .sa_handler = SIG_IGN };
    sigaction(SIGPIPE, &ignore, NULL);
    return lease(&config, &a);
}

const struct cli_verb verb_lease = { "lease", "promote a sequencer while it holds a lease of etcd",
                                     help, run };
