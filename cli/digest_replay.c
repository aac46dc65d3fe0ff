#include "cli/digest_replay.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

enum { CHECK_EVERY = 1024, POLL_NS = 100 * 1000 * 1000 };

/* One reading of the stream. */
struct pass {
    struct digest_replay *r;
    struct cantus_client *client;
    struct cantus_machine *a, *b;
    uint64_t check_from; /* not compared below */
    uint64_t every;
    bool no_memory;
    struct cli_progress progress;
};

static bool equal(struct pass *p)
{
    p->r->digest_a = cantus_machine_digest(p->a);
    p->r->digest_b = cantus_machine_digest(p->b);
    return p->r->digest_a == p->r->digest_b;
}

/* The machines have applied the message when a subscription sees it. */
static void on_message(void *ctx, const struct cantus_message *m)
{
    struct pass *p = ctx;
    struct digest_replay *r = p->r;
    if (r->differ || m->seq < p->check_from)
        return;
    if (equal(p)) {
        r->equal_through = m->seq;
        p->check_from = m->seq + p->every;
        return;
    }
    r->differ = true;
    r->message = *m;
    snprintf(r->topic, sizeof r->topic, "%s", m->topic);
    snprintf(r->publisher, sizeof r->publisher, "%s", m->publisher);
    free(r->payload);
    r->payload = malloc(m->length + 1);
    p->no_memory = r->payload == NULL;
    if (r->payload != NULL && m->length > 0)
        memcpy(r->payload, m->payload, m->length);
    r->message.topic = r->topic;
    r->message.publisher = r->publisher;
    r->message.payload = r->payload;
}

static void on_report(void *ctx, const struct cantus_report *report)
{
    (void)ctx;
    fprintf(stderr, "cantus: %s\n", report->text);
}

static int follow(struct pass *p, uint64_t through)
{
    while (cli_running() && !p->r->differ) {
        enum cantus_status status = cantus_client_poll(p->client, POLL_NS);
        cli_progress_show(&p->progress, cantus_client_seq(p->client), cantus_client_tip(p->client));
        if (status == CANTUS_END ||
            (status == CANTUS_OK && through == 0 && cantus_client_caught_up(p->client)))
            break;
        if (status != CANTUS_OK) {
            cli_progress_end(&p->progress);
            return cli_fail("%s", cantus_client_error(p->client));
        }
    }
    cli_progress_end(&p->progress);
    if (p->no_memory)
        return cli_fail("out of memory");
    return cli_running() ? CLI_OK : CLI_FAILED;
}

/* Reads through `through` (0: the tip). Differences between checks at the end are seen, too: then
 * no message is known. */
static int read_stream(struct pass *p, uint64_t through)
{
    struct digest_replay *r = p->r;
    char error[CANTUS_ERROR_MAX];
    struct cantus_client_options options = { .source = r->source,
                                             .until_seq = through,
                                             .report = on_report };
    p->client = cantus_client_open(&options, error);
    if (p->client == NULL)
        return cli_fail("%s", error);
    p->a = cantus_client_add_app(p->client, r->a, r->config, NULL, error);
    p->b = p->a == NULL ? NULL : cantus_client_add_app(p->client, r->b, r->config, NULL, error);
    int status = CLI_OK;
    if (p->b == NULL || !cantus_client_subscribe(p->client, "/", on_message, p, error) ||
        !cantus_client_subscribe(p->client, "/sys", on_message, p, error))
        status = cli_fail("%s", error);
    else if (!equal(p))
        r->differ = true;
    else
        status = follow(p, through);
    if (status == CLI_OK && !r->differ) {
        uint64_t seq = cantus_client_seq(p->client);
        r->differ = !equal(p);
        if (r->differ)
            r->message.seq = seq;
        else if (seq > r->equal_through)
            r->equal_through = seq;
    }
    cantus_client_close(p->client);
    return status;
}

int digest_replay_run(struct digest_replay *r)
{
    struct pass rough = { .r = r,
                          .check_from = CHECK_EVERY,
                          .every = CHECK_EVERY,
                          .progress = { .what = "comparing, at seq" } };
    int status = read_stream(&rough, r->through);
    if (status != CLI_OK || !r->differ || r->message.seq == 0)
        return status;
    uint64_t seq = r->message.seq;
    r->differ = false;
    struct pass fine = { .r = r,
                         .check_from = r->equal_through + 1,
                         .every = 1,
                         .progress = { .what = "locating, at seq" } };
    status = read_stream(&fine, seq);
    if (status == CLI_OK && !r->differ)
        return cli_fail("the two differ after seq %" PRIu64
                        " when read once, and not when read again: one of them does not depend on "
                        "the stream alone",
                        seq);
    return status;
}

void digest_replay_close(struct digest_replay *r)
{
    free(r->payload);
    r->payload = NULL;
}
