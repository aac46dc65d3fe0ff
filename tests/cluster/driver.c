/* The clients that the torture kills: a publisher and a follower, which write down all that the library tells
 * them, one line each, as soon as it is told.
 *
 *   cluster_driver publish SOURCE KEY NAME RATE LOG     until SIGTERM; then waits until everything pushed is stable
 *   cluster_driver follow SOURCE KEY SUBTREE stable|sequenced LOG
 *
 * KEY is a file, or "-" on the core network, where nobody needs one.
 *
 * A publisher's item n has a topic, a length and content that follow from its name and n alone, so that a
 * checker knows what must be in the stream. It goes on from what the library says is in the stream already.
 *
 *   J n          joined; n items are in the stream
 *   O n seq      items through n have an outcome; that of item n is at seq
 *   D seq publisher publisher_seq item length hash timestamp_ns
 *   F seq        forked: what was delivered from here on no longer holds
 *   R seq        rebuilt
 *   X text       anything else that was reported, and why it ended
 *   E n          ended as asked
 */
#include <cantus/cantus.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ITEM_MAX = 20000, LARGE_EVERY = 101, PUBLISH_NS = 10000000 };
#define POLL_NS UINT64_C(20000000)

struct driver {
    const char *name;    /* of a publisher */
    const char *subtree; /* of a follower */
    const char *source, *key;
    FILE *log;
    struct cantus_client *client;
    struct cantus_pipe *pipe;
    uint64_t pushed, logged, rate;
};

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
}

static uint64_t mono_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void on_report(void *ctx, const struct cantus_report *r)
{
    struct driver *d = ctx;
    if (r->kind == CANTUS_REPORT_FORKED)
        fprintf(d->log, "F %" PRIu64 "\n", r->seq);
    else if (r->kind == CANTUS_REPORT_REBUILT)
        fprintf(d->log, "R %" PRIu64 "\n", r->seq);
    else if (r->kind != CANTUS_REPORT_HINT)
        fprintf(d->log, "X report %d at %" PRIu64 ": %s\n", (int)r->kind, r->seq, r->text);
}

/* ---- publish --------------------------------------------------------------------------------- */

/* "NAME n " and filling; every so many one that travels in fragments, but through a proxy, where a pipe would
 * count each of them. */
static size_t item_of(const struct driver *d, uint64_t n, char *out)
{
    bool large = d->key == NULL && n % LARGE_EVERY == 0;
    size_t head = (size_t)snprintf(out, ITEM_MAX, "%s %" PRIu64 " ", d->name, n);
    size_t filling = n * 2654435761u % (large ? 12000 : 300);
    for (size_t i = 0; i < filling; i++)
        out[head + i] = (char)('a' + (n + i) % 26);
    return head + filling;
}

static void log_outcomes(struct driver *d)
{
    uint64_t sequenced = cantus_pipe_sequenced(d->pipe);
    if (sequenced <= d->logged)
        return;
    d->logged = sequenced;
    fprintf(d->log, "O %" PRIu64 " %" PRIu64 "\n", sequenced, cantus_pipe_last_seq(d->pipe));
    fflush(d->log);
}

static void push_due(struct driver *d, uint64_t due)
{
    static char item[ITEM_MAX];
    char topic[64];
    for (; d->pushed < due; d->pushed++) {
        uint64_t n = d->pushed + 1;
        snprintf(topic, sizeof topic, "/torture/%.32s/%" PRIu64, d->name, n % 3);
        if (!cantus_pipe_push(d->pipe, topic, item, item_of(d, n, item)))
            return;
    }
}

static enum cantus_status publish(struct driver *d)
{
    enum cantus_status status = CANTUS_OK;
    while (status == CANTUS_OK && !stopping && !cantus_pipe_ready(d->pipe))
        status = cantus_client_poll(d->client, POLL_NS);
    if (!cantus_pipe_ready(d->pipe))
        return status;
    uint64_t first = cantus_pipe_sequenced(d->pipe), began = mono_ns();
    d->pushed = d->logged = first;
    fprintf(d->log, "J %" PRIu64 "\n", first);
    fflush(d->log);
    while (status == CANTUS_OK && (!stopping || d->logged < d->pushed)) {
        if (!stopping && cantus_pipe_ready(d->pipe))
            push_due(d, first + (mono_ns() - began) / 1000 * d->rate / 1000000);
        status = cantus_client_poll(d->client, PUBLISH_NS);
        log_outcomes(d);
    }
    return status;
}

/* ---- follow ---------------------------------------------------------------------------------- */

static uint64_t item_number(const struct cantus_message *m)
{
    char head[80];
    size_t length = m->length < sizeof head - 1 ? m->length : sizeof head - 1;
    memcpy(head, m->payload, length);
    head[length] = '\0';
    const char *blank = strchr(head, ' ');
    return blank != NULL ? strtoull(blank, NULL, 10) : 0;
}

static void on_message(void *ctx, const struct cantus_message *m)
{
    struct driver *d = ctx;
    fprintf(d->log, "D %" PRIu64 " %s %" PRIu64 " %" PRIu64 " %zu %016" PRIx64 " %" PRIu64 "\n",
            m->seq, m->publisher, m->publisher_seq, item_number(m), m->length,
            cantus_hash(cantus_hash(0, m->topic, strlen(m->topic)), m->payload, m->length),
            m->timestamp_ns);
}

static enum cantus_status follow(struct driver *d)
{
    enum cantus_status status = CANTUS_OK;
    while (status == CANTUS_OK && !stopping) {
        status = cantus_client_poll(d->client, POLL_NS);
        fflush(d->log);
    }
    return status;
}

/* ---- both ------------------------------------------------------------------------------------ */

static int run(struct driver *d, enum cantus_level level)
{
    char error[CANTUS_ERROR_MAX];
    struct cantus_client_options options = {
        .source = d->source, .key_file = d->key, .level = level, .report = on_report, .ctx = d
    };
    d->client = cantus_client_open(&options, error);
    bool open = d->client != NULL;
    if (open && d->name != NULL)
        open = (d->pipe = cantus_pipe_open(d->client, d->name, error)) != NULL;
    else if (open)
        open = cantus_client_subscribe(d->client, d->subtree, on_message, d, error);
    enum cantus_status status = CANTUS_ERROR;
    if (!open)
        fprintf(d->log, "X can't begin: %s\n", error);
    else if ((status = d->name != NULL ? publish(d) : follow(d)) != CANTUS_OK)
        fprintf(d->log, "X status %d: %s\n", (int)status, cantus_client_error(d->client));
    else
        fprintf(d->log, "E %" PRIu64 "\n",
                d->name != NULL ? d->logged : cantus_client_seq(d->client));
    fclose(d->log);
    cantus_client_close(d->client);
    return status == CANTUS_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    bool publishes = argc == 7 && strcmp(argv[1], "publish") == 0;
    if (!publishes && !(argc == 7 && strcmp(argv[1], "follow") == 0)) {
        fputs("usage: cluster_driver publish SOURCE KEY NAME RATE LOG\n"
              "       cluster_driver follow SOURCE KEY SUBTREE stable|sequenced LOG\n",
              stderr);
        return 2;
    }
    struct sigaction action = { .sa_handler = on_signal };
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    struct driver d = { .source = argv[2], .key = strcmp(argv[3], "-") == 0 ? NULL : argv[3] };
    *(publishes ? &d.name : &d.subtree) = argv[4];
    d.rate = publishes ? strtoull(argv[5], NULL, 10) : 0;
    d.log = fopen(argv[argc - 1], "a");
    if (d.log == NULL) {
        perror(argv[argc - 1]);
        return EXIT_FAILURE;
    }
    bool sequenced = !publishes && strcmp(argv[5], "sequenced") == 0;
    return run(&d, sequenced ? CANTUS_SEQUENCED : CANTUS_STABLE);
}
