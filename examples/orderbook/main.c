/* orderbook: a real day of limit-order events through Cantus. See --help. */
#include <cantus/cantus.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../embedded.h"
#include "plot.h"
#include "quoter.h"

static const char help[] =
    "usage: orderbook --events FILE [--plot FILE.svg]\n"
    "       orderbook --source SOURCE [--key FILE] --role injector --events FILE\n"
    "       orderbook --source SOURCE [--key FILE] --role book|quoter [--until SEQ | --once]\n"
    "                 [--plot FILE.svg]\n"
    "\n"
    "Sends a day of limit-order events through Cantus and prints the book it leads to, as one JSON\n"
    "line. Without --source it starts a deployment of its own in a temporary directory, runs injector,\n"
    "book and quoter on it, and stops it.\n"
    "\n"
    "  --events FILE      the events: id,timestamp,exchange.timestamp,price,volume,action,direction;\n"
    "                     plain CSV or .xz\n"
    "  --source SOURCE    DIR: the running deployment of DIR (cantus dev --dir DIR);\n"
    "                     journal:DIR: a store's files;\n"
    "                     proxy:HOST:PORT[,HOST:PORT...]: through one of these proxies\n"
    "  --key FILE         who this is to a proxy (cantus key new FILE)\n"
    "  --role ROLE        run one part: injector, book or quoter; any number of each of the latter\n"
    "  --identity NAME    publisher identity of the injector or quoter (default: the role)\n"
    "  --until SEQ        stop after message SEQ of the stream and print the line\n"
    "  --once             stop at the end of the stream as it is now\n"
    "  --sequenced        follow at sequenced instead of stable\n"
    "  --plot FILE.svg    draw best bid, best ask and depth over the day\n"
    "Without --until or --once, book and quoter run until SIGINT or SIGTERM, then print the line.\n";

enum role { ROLE_ALL, ROLE_INJECTOR, ROLE_BOOK, ROLE_QUOTER };

struct run {
    const char *events_path, *source, *key_file, *plot_path, *identity;
    enum role role;
    uint64_t until_seq;
    bool once, sequenced;
    struct event *events;
    size_t event_count;
    uint8_t encoded[EVENT_SIZE];
    struct cantus_client *client;
    struct cantus_machine *machine; /* the book or the quoter, NULL for a bare injector */
    struct cantus_injector *injector;
    struct plot *plot;
    bool failed;
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
    fprintf(stderr, "orderbook: %s\n", r->text);
    if (r->kind == CANTUS_REPORT_QUARANTINED || r->kind == CANTUS_REPORT_SUPERSEDED)
        run->failed = true;
}

static bool next_event(void *ctx, uint64_t index, struct cantus_item *out)
{
    struct run *run = ctx;
    if (index >= run->event_count)
        return false;
    event_encode(&run->events[index], run->encoded);
    *out = (struct cantus_item) { "/md/btcusd", run->encoded, EVENT_SIZE };
    return true;
}

static void on_plotted(void *ctx, const struct cantus_message *m)
{
    plot_message(ctx, m);
}

/* ---- progress -------------------------------------------------------------------------------- */

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void show_progress(const struct run *run, uint64_t done, double began, bool last)
{
    static double shown;
    double now = now_seconds();
    if (!isatty(STDERR_FILENO) || (!last && now - shown < 0.05))
        return;
    shown = now;
    enum { BAR = 40 };
    size_t total = run->event_count ? run->event_count : 1;
    int filled = (int)(done * BAR / total);
    fprintf(stderr, "\r[%.*s%*s] %3d %%  %" PRIu64 " of %zu events  %.0f/s ", filled,
            "########################################", BAR - filled, "", (int)(done * 100 / total),
            done, run->event_count, now > began ? (double)done / (now - began) : 0);
    if (last)
        fputc('\n', stderr);
}

/* ---- the line -------------------------------------------------------------------------------- */

static const struct book *book_of(const struct run *run)
{
    const void *state = cantus_machine_state(run->machine);
    return run->role == ROLE_BOOK ? state : &((const struct quoter *)state)->book;
}

static void print_line(const struct run *run)
{
    if (run->machine == NULL) {
        printf("{\"events\":%" PRIu64 ",\"last_seq\":%" PRIu64 "}\n",
               cantus_injector_sequenced(run->injector), cantus_injector_last_seq(run->injector));
        return;
    }
    const struct book *b = book_of(run);
    printf("{\"events\":%" PRIu64 ",\"unknown\":%" PRIu64 ",\"live_orders\":%" PRIu64
           ",\"best_bid\":%" PRIu32 ",\"best_ask\":%" PRIu32 ",\"bid_levels\":%" PRIu32
           ",\"ask_levels\":%" PRIu32 ",\"bid_volume\":%" PRIu64 ",\"ask_volume\":%" PRIu64
           ",\"last_seq\":%" PRIu64 ",\"digest\":\"%016" PRIx64 "\"",
           b->events, b->unknown, b->live, book_best_bid(b), book_best_ask(b), b->sides[0].count,
           b->sides[1].count, b->sides[0].volume, b->sides[1].volume,
           cantus_client_seq(run->client), book_app.digest(b));
    if (run->role != ROLE_BOOK) {
        const struct quoter *q = cantus_machine_state(run->machine);
        printf(",\"quotes\":%" PRIu64 ",\"quoter_digest\":\"%016" PRIx64 "\"", q->quotes,
               quoter_app.digest(q));
    }
    printf("}\n");
}

/* ---- running --------------------------------------------------------------------------------- */

static bool quoter_silent(const struct run *run)
{
    uint8_t buffer[64];
    struct cantus_proposal p = { .buffer = buffer, .buffer_size = sizeof buffer };
    return !quoter_app.next(cantus_machine_state(run->machine), &p);
}

static bool is_done(const struct run *run, uint64_t once_seq)
{
    struct cantus_client *c = run->client;
    if (stop_requested || run->failed)
        return true;
    if (run->until_seq != 0)
        return cantus_client_seq(c) >= run->until_seq;
    if (run->once)
        return once_seq != 0 && cantus_client_seq(c) >= once_seq;
    if (run->role == ROLE_INJECTOR)
        return cantus_injector_sequenced(run->injector) >= run->event_count;
    if (run->role == ROLE_ALL)
        return cantus_injector_sequenced(run->injector) >= run->event_count &&
               book_of(run)->events >= run->event_count && quoter_silent(run);
    return false;
}

static bool open_parts(struct run *run, char *error)
{
    struct cantus_client_options options = { .source = run->source,
                                             .key_file = run->key_file,
                                             .level =
                                                 run->sequenced ? CANTUS_SEQUENCED : CANTUS_STABLE,
                                             .until_seq = run->until_seq,
                                             .report = on_report,
                                             .ctx = run };
    run->client = cantus_client_open(&options, error);
    if (run->client == NULL)
        return false;
    const char *identity = run->identity;
    if (run->role == ROLE_ALL || run->role == ROLE_INJECTOR) {
        run->injector = cantus_injector_open(
            run->client, identity && run->role == ROLE_INJECTOR ? identity : "injector", next_event,
            run, error);
        if (run->injector == NULL)
            return false;
    }
    if (run->role == ROLE_BOOK)
        run->machine = cantus_client_add_app(run->client, &book_app, "", NULL, error);
    else if (run->role != ROLE_INJECTOR) /* with --until or --once it only looks */
        run->machine = cantus_client_add_app(run->client, &quoter_app, "",
                                             run->until_seq || run->once ? NULL
                                             : identity != NULL          ? identity
                                                                         : "quoter",
                                             error);
    if (run->role != ROLE_INJECTOR && run->machine == NULL)
        return false;
    if (run->plot_path == NULL)
        return true;
    run->plot = plot_create();
    return run->plot != NULL &&
           cantus_client_subscribe(run->client, "/md/btcusd", on_plotted, run->plot, error);
}

static int follow(struct run *run)
{
    char error[CANTUS_ERROR_MAX] = "out of memory";
    if (!open_parts(run, error)) {
        fprintf(stderr, "orderbook: %s\n", error);
        return 1;
    }
    double began = now_seconds();
    uint64_t once_seq = 0;
    while (!is_done(run, once_seq)) {
        enum cantus_status status = cantus_client_poll(run->client, 10 * 1000 * 1000);
        if (status == CANTUS_END)
            break;
        if (status != CANTUS_OK) {
            fprintf(stderr, "orderbook: %s\n", cantus_client_error(run->client));
            return 1;
        }
        if (run->once && once_seq == 0 && cantus_client_caught_up(run->client))
            once_seq = cantus_client_seq(run->client);
        if (run->injector != NULL)
            show_progress(run, cantus_injector_sequenced(run->injector), began, false);
    }
    if (run->injector != NULL)
        show_progress(run, cantus_injector_sequenced(run->injector), began, true);
    print_line(run);
    if (run->plot != NULL && !plot_write(run->plot, run->plot_path)) {
        fprintf(stderr, "orderbook: %s: %s\n", run->plot_path, strerror(errno));
        return 1;
    }
    return run->failed;
}

static bool parse_options(int argc, char **argv, struct run *run)
{
    static const struct option options[] = {
        { "events", required_argument, NULL, 'e' },
        { "source", required_argument, NULL, 'd' },
        { "key", required_argument, NULL, 'k' },
        { "role", required_argument, NULL, 'r' },
        { "identity", required_argument, NULL, 'i' },
        { "until", required_argument, NULL, 'u' },
        { "once", no_argument, NULL, 'o' },
        { "sequenced", no_argument, NULL, 's' },
        { "plot", required_argument, NULL, 'p' },
        { "help", no_argument, NULL, 'h' },
        { 0 },
    };
    static const char *const roles[] = { "all", "injector", "book", "quoter" };
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        char *end = NULL;
        switch (c) {
        case 'e':
            run->events_path = optarg;
            break;
        case 'd':
            run->source = optarg;
            break;
        case 'k':
            run->key_file = optarg;
            break;
        case 'i':
            run->identity = optarg;
            break;
        case 'o':
            run->once = true;
            break;
        case 's':
            run->sequenced = true;
            break;
        case 'p':
            run->plot_path = optarg;
            break;
        case 'u':
            run->until_seq = strtoull(optarg, &end, 10);
            if (*optarg == 0 || *end != 0 || run->until_seq == 0) {
                fprintf(stderr, "orderbook: --until wants a seq of 1 or more, not '%s'\n", optarg);
                return false;
            }
            break;
        case 'r':
            for (run->role = ROLE_QUOTER; run->role > ROLE_ALL; run->role--)
                if (strcmp(optarg, roles[run->role]) == 0)
                    break;
            if (run->role == ROLE_ALL) {
                fprintf(stderr, "orderbook: --role is injector, book or quoter, not '%s'\n",
                        optarg);
                return false;
            }
            break;
        case 'h':
            fputs(help, stdout);
            exit(0);
        default:
            return false;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "orderbook: unexpected '%s'\n", argv[optind]);
        return false;
    }
    bool injects = run->role == ROLE_ALL || run->role == ROLE_INJECTOR;
    if (injects && run->events_path == NULL) {
        fprintf(stderr, "orderbook: --events FILE is missing\n");
        return false;
    }
    if (run->role != ROLE_ALL && run->source == NULL) {
        fprintf(stderr, "orderbook: --role wants --source SOURCE\n");
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct run run = { .role = ROLE_ALL };
    if (!parse_options(argc, argv, &run)) {
        fputs("try orderbook --help\n", stderr);
        return 2;
    }
    struct sigaction action = { .sa_handler = on_signal };
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    char error[256] = "";
    if (run.events_path != NULL) {
        run.events = events_load(run.events_path, &run.event_count, error);
        if (run.events == NULL) {
            fprintf(stderr, "orderbook: %s\n", error);
            return 1;
        }
    }
    struct embedded embedded = { .child = -1 };
    int status = 1;
    if (run.source == NULL) {
        if (embedded_start(&embedded, "orderbook", error))
            run.source = embedded.dir;
        else
            fprintf(stderr, "orderbook: %s\n", error);
    }
    if (run.source != NULL)
        status = follow(&run);
    if (run.client != NULL)
        cantus_client_close(run.client);
    embedded_stop(&embedded);
    plot_destroy(run.plot);
    free(run.events);
    return status;
}
