/* ledger: a day of payments through Cantus. See --help. */
#include <cantus/cantus.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../embedded.h"
#include "day.h"
#include "instruction.h"
#include "picture.h"

static const char help[] =
    "usage: ledger [--payments N] [--seconds S] [--plot FILE.svg]\n"
    "       ledger --source SOURCE [--key FILE] --role till [--payments N] [--seconds S]\n"
    "       ledger --source SOURCE [--key FILE] --role ledger [--until SEQ | --once]\n"
    "              [--plot FILE.svg]\n"
    "       ledger --print [--payments N]\n"
    "\n"
    "Gives a day's payment instructions to a ledger on Cantus, and prints what it leads to, a JSON line\n"
    "for each replica. Without --source it starts a deployment of its own in a temporary directory, runs\n"
    "the till and three replicas on it, and stops it.\n"
    "\n"
    "  --source SOURCE    DIR: the running deployment of DIR (cantus dev --dir DIR);\n"
    "                     journal:DIR: a store's files;\n"
    "                     proxy:HOST:PORT[,HOST:PORT...]: through one of these proxies\n"
    "  --key FILE         who this is to a proxy (cantus key new FILE)\n"
    "  --role ROLE        till: gives the instructions; ledger: keeps the accounts and announces the\n"
    "                     settlements, any number of them; with --until or --once it only looks\n"
    "  --identity NAME    publisher identity (default: the role)\n"
    "  --payments N       of the day (default 20000)\n"
    "  --seed N           another seed is another day (default 1)\n"
    "  --seconds S        that the day is to take (default 0: as fast as it goes)\n"
    "  --until SEQ        stop after message SEQ of the stream and print the line\n"
    "  --once             stop at the end of the stream as it is now\n"
    "  --sequenced        follow at sequenced instead of stable\n"
    "  --print            print the day's instructions, and do nothing with them\n"
    "  --plot FILE.svg    draw what became of the instructions, and the money on hold\n"
    "Without --until or --once, a ledger runs until SIGINT or SIGTERM, then prints the line.\n";

enum role { ROLE_ALL, ROLE_TILL, ROLE_LEDGER };

enum { REPLICAS_MAX = 3 };

struct run {
    const char *source, *key_file, *plot_path, *identity;
    enum role role;
    uint64_t until_seq, seconds;
    bool print, once, sequenced, failed;
    struct day day;
    uint64_t began_ns; /* when instruction 0 was due */
    char text[INSTRUCTION_MAX];
    struct replica {
        struct cantus_client *client;
        struct cantus_machine *ledger, *picture; /* NULL: none */
        struct cantus_injector *till;
    } replicas[REPLICAS_MAX];
    int replica_count;
};

static volatile sig_atomic_t stop_requested;

static void on_signal(int number)
{
    (void)number;
    stop_requested = 1;
}

static void on_report(void *ctx, const struct cantus_report *r)
{
    struct run *run = ctx;
    /* Of redundant ledgers all but one are refused: the precondition is there for that. */
    if (r->kind != CANTUS_REPORT_REJECTED)
        fprintf(stderr, "ledger: %s\n", r->text);
    if (r->kind == CANTUS_REPORT_QUARANTINED || r->kind == CANTUS_REPORT_SUPERSEDED)
        run->failed = true;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* The next instruction, once its time of the day has come. Wherever the stream says that the day stands,
 * it goes on from there. */
static bool next_instruction(void *ctx, uint64_t index, struct cantus_item *out)
{
    struct run *run = ctx;
    if (index >= day_count(&run->day))
        return false;
    if (run->seconds > 0) {
        uint64_t passed_ns = (uint64_t)(day_time(&run->day, index) * (double)run->seconds * 1e9);
        if (run->began_ns == 0)
            run->began_ns = now_ns() - passed_ns;
        if (now_ns() < run->began_ns + passed_ns)
            return false;
    }
    size_t length = day_instruction(&run->day, index, run->text);
    *out = (struct cantus_item) { LEDGER_INSTRUCTIONS, run->text, length };
    return true;
}

/* ---- the line -------------------------------------------------------------------------------- */

static void print_line(const struct replica *r)
{
    if (r->ledger == NULL) {
        printf("{\"instructions\":%" PRIu64 ",\"last_seq\":%" PRIu64 "}\n",
               cantus_injector_sequenced(r->till), cantus_injector_last_seq(r->till));
        return;
    }
    const struct ledger *l = cantus_machine_state(r->ledger);
    printf("{\"accounts\":%" PRIu32 ",\"payments\":%" PRIu64 ",\"volume\":%" PRIu64
           ",\"sum\":%" PRId64 ",\"held\":%" PRId64 ",\"outcomes\":{",
           l->account_count, l->payments, l->volume, ledger_sum(l), l->held);
    for (int o = 0; o < LEDGER_OUTCOME_END; o++)
        printf("%s\"%s\":%" PRIu64, o > 0 ? "," : "", ledger_outcome_text((enum ledger_outcome)o),
               l->counts[o]);
    printf("},\"refused\":%" PRIu64 ",\"settlements\":%" PRIu64 ",\"disputed\":%" PRIu64
           ",\"last_seq\":%" PRIu64 ",\"digest\":\"%016" PRIx64 "\"}\n",
           ledger_refused(l), l->announced, l->disputed, cantus_client_seq(r->client),
           ledger_app.digest(l));
}

/* ---- running --------------------------------------------------------------------------------- */

/* The day is closed, its last settlement announced, and no hold is open. */
static bool day_over(const struct replica *r)
{
    const struct ledger *l = cantus_machine_state(r->ledger);
    return l->closed && l->hold_count == 0 && l->announced == l->due;
}

static bool is_done(const struct run *run, uint64_t once_seq)
{
    const struct replica *r = &run->replicas[0];
    if (stop_requested || run->failed)
        return true;
    if (run->until_seq != 0)
        return cantus_client_seq(r->client) >= run->until_seq;
    if (run->once)
        return once_seq != 0 && cantus_client_seq(r->client) >= once_seq;
    if (run->role == ROLE_TILL)
        return cantus_injector_sequenced(r->till) == day_count(&run->day);
    bool over = run->role == ROLE_ALL;
    for (int i = 0; over && i < run->replica_count; i++)
        over = day_over(&run->replicas[i]);
    return over;
}

static bool open_client(struct run *run, enum cantus_level level, char *error)
{
    struct cantus_client_options options = { .source = run->source,
                                             .key_file = run->key_file,
                                             .level = level,
                                             .until_seq = run->until_seq,
                                             .report = on_report,
                                             .ctx = run };
    struct replica *r = &run->replicas[run->replica_count];
    r->client = cantus_client_open(&options, error);
    run->replica_count += r->client != NULL;
    return r->client != NULL;
}

static bool add_ledger(struct replica *r, const char *identity, char *error)
{
    r->ledger = cantus_client_add_app(r->client, &ledger_app, "", identity, error);
    return r->ledger != NULL;
}

static bool add_till(struct run *run, struct replica *r, const char *identity, char *error)
{
    r->till = cantus_injector_open(r->client, identity, next_instruction, run, error);
    return r->till != NULL;
}

static bool add_picture(struct run *run, struct replica *r, char *error)
{
    if (run->plot_path != NULL)
        r->picture = cantus_client_add_app(r->client, &picture_app, "", NULL, error);
    return run->plot_path == NULL || r->picture != NULL;
}

/* Two redundant ledgers that announce, one at each level, and one that only follows. */
static bool open_all(struct run *run, char *error)
{
    struct replica *r = run->replicas;
    return open_client(run, CANTUS_STABLE, error) && add_ledger(&r[0], "ledger-1", error) &&
           add_till(run, &r[0], "till", error) && add_picture(run, &r[0], error) &&
           open_client(run, CANTUS_SEQUENCED, error) && add_ledger(&r[1], "ledger-2", error) &&
           open_client(run, CANTUS_STABLE, error) && add_ledger(&r[2], NULL, error);
}

static bool open_role(struct run *run, char *error)
{
    struct replica *r = &run->replicas[0];
    if (!open_client(run, run->sequenced ? CANTUS_SEQUENCED : CANTUS_STABLE, error))
        return false;
    if (run->role == ROLE_TILL)
        return add_till(run, r, run->identity != NULL ? run->identity : "till", error);
    bool looks = run->until_seq != 0 || run->once;
    const char *identity = run->identity != NULL ? run->identity : "ledger";
    return add_ledger(r, looks ? NULL : identity, error) && add_picture(run, r, error);
}

static bool poll_all(struct run *run, bool *ended)
{
    for (int i = 0; i < run->replica_count; i++) {
        struct cantus_client *c = run->replicas[i].client;
        bool last = i + 1 == run->replica_count; /* the last one waits for all */
        enum cantus_status status = cantus_client_poll(c, last ? 1000 * 1000 : 0);
        *ended = *ended || status == CANTUS_END;
        if (status != CANTUS_OK && status != CANTUS_END) {
            fprintf(stderr, "ledger: %s\n", cantus_client_error(c));
            return false;
        }
    }
    return true;
}

/* All replicas are in the same state, if they are at the end of the day. */
static bool agree(const struct run *run)
{
    uint64_t first = ledger_app.digest(cantus_machine_state(run->replicas[0].ledger));
    for (int i = 1; i < run->replica_count; i++)
        if (ledger_app.digest(cantus_machine_state(run->replicas[i].ledger)) != first)
            return false;
    return true;
}

static int follow(struct run *run)
{
    char error[CANTUS_ERROR_MAX] = "out of memory";
    if (!(run->role == ROLE_ALL ? open_all(run, error) : open_role(run, error))) {
        fprintf(stderr, "ledger: %s\n", error);
        return 1;
    }
    uint64_t once_seq = 0;
    for (bool ended = false; !ended && !is_done(run, once_seq);) {
        if (!poll_all(run, &ended))
            return 1;
        if (run->once && once_seq == 0 && cantus_client_caught_up(run->replicas[0].client))
            once_seq = cantus_client_seq(run->replicas[0].client);
    }
    for (int i = 0; i < run->replica_count; i++)
        print_line(&run->replicas[i]);
    if (run->role == ROLE_ALL && !stop_requested && !agree(run)) {
        fprintf(stderr, "ledger: the replicas differ\n");
        return 1;
    }
    struct cantus_machine *picture = run->replicas[0].picture;
    if (picture != NULL && !picture_write(cantus_machine_state(picture), run->plot_path)) {
        fprintf(stderr, "ledger: %s: %s\n", run->plot_path, strerror(errno));
        return 1;
    }
    return run->failed;
}

/* ---- options --------------------------------------------------------------------------------- */

static bool parse_number(const char *option, const char *text, uint64_t min, uint64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    bool fine = text[0] >= '0' && text[0] <= '9' && *end == 0 && errno == 0 && *out >= min;
    if (!fine)
        fprintf(stderr, "ledger: %s wants a number of %" PRIu64 " or more, not '%s'\n", option, min,
                text);
    return fine;
}

static bool parse_option(struct run *run, int option, const char *value)
{
    switch (option) {
    case 'S':
        run->source = value;
        return true;
    case 'k':
        run->key_file = value;
        return true;
    case 'i':
        run->identity = value;
        return true;
    case 'p':
        run->plot_path = value;
        return true;
    case 'P':
        return run->print = true;
    case 'o':
        return run->once = true;
    case 's':
        return run->sequenced = true;
    case 'n':
        return parse_number("--payments", value, 1, &run->day.payments);
    case 'e':
        return parse_number("--seed", value, 0, &run->day.seed);
    case 't':
        return parse_number("--seconds", value, 0, &run->seconds);
    case 'u':
        return parse_number("--until", value, 1, &run->until_seq);
    case 'r':
        run->role = strcmp(value, "till") == 0     ? ROLE_TILL
                    : strcmp(value, "ledger") == 0 ? ROLE_LEDGER
                                                   : ROLE_ALL;
        if (run->role == ROLE_ALL)
            fprintf(stderr, "ledger: --role is till or ledger, not '%s'\n", value);
        return run->role != ROLE_ALL;
    case 'h':
        fputs(help, stdout);
        exit(0);
    default:
        return false;
    }
}

static bool parse_options(int argc, char **argv, struct run *run)
{
    static const struct option options[] = {
        { "source", required_argument, NULL, 'S' },   { "role", required_argument, NULL, 'r' },
        { "key", required_argument, NULL, 'k' },      { "identity", required_argument, NULL, 'i' },
        { "payments", required_argument, NULL, 'n' }, { "seed", required_argument, NULL, 'e' },
        { "seconds", required_argument, NULL, 't' },  { "until", required_argument, NULL, 'u' },
        { "once", no_argument, NULL, 'o' },           { "sequenced", no_argument, NULL, 's' },
        { "plot", required_argument, NULL, 'p' },     { "print", no_argument, NULL, 'P' },
        { "help", no_argument, NULL, 'h' },           { 0 },
    };
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;)
        if (!parse_option(run, c, optarg))
            return false;
    if (optind < argc) {
        fprintf(stderr, "ledger: unexpected '%s'\n", argv[optind]);
        return false;
    }
    if ((run->role == ROLE_ALL) != (run->source == NULL)) {
        fprintf(stderr, "ledger: --source and --role go together\n");
        return false;
    }
    /* The whole day takes 24 of them; where nobody waits for its hours, they are short. */
    run->day.hour_ms = run->seconds > 0 ? run->seconds * 1000 / 24 : 20;
    return true;
}

static int print_day(const struct day *d)
{
    for (uint64_t i = 0; i < day_count(d); i++) {
        char text[INSTRUCTION_MAX];
        printf("%.*s\n", (int)day_instruction(d, i, text), text);
    }
    return fflush(stdout) != 0;
}

int main(int argc, char **argv)
{
    static struct run run = { .day = { .seed = 1, .payments = 20000 } };
    if (!parse_options(argc, argv, &run)) {
        fputs("try ledger --help\n", stderr);
        return 2;
    }
    if (run.print)
        return print_day(&run.day);
    struct sigaction action = { .sa_handler = on_signal };
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    char error[256] = "";
    struct embedded embedded = { .child = -1 };
    int status = 1;
    if (run.source == NULL) {
        if (embedded_start(&embedded, "ledger", error))
            run.source = embedded.dir;
        else
            fprintf(stderr, "ledger: %s\n", error);
    }
    if (run.source != NULL)
        status = follow(&run);
    for (int i = 0; i < run.replica_count; i++)
        cantus_client_close(run.replicas[i].client);
    embedded_stop(&embedded);
    return status;
}
