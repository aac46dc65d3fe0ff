/* Authors: who proposes, what, where to; and the topics that have to be made first. */
#include "libclient/core_private.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/ledger.h"

enum {
    CREATE_FIRST_WAIT_NS = 2 * 1000 * 1000,
    CREATE_LAST_WAIT_NS = 500 * 1000 * 1000,
    DIGEST_BYTES_MAX = 64 * 1024,
    MANY_WINDOW = 4096, /* what a sequencer holds ahead of a publisher, by default */
    MANY_BYTES_MAX = 8 * 1024 * 1024
};

bool author_is_blind(enum author_kind kind)
{
    return kind == AUTHOR_PIPE || kind == AUTHOR_INJECTOR || kind == AUTHOR_DIGEST;
}

/* ---- building -------------------------------------------------------------------------------- */

static void on_outcome(void *ctx, const struct publisher_outcome *o)
{
    struct author *a = ctx;
    struct client_core *c = a->core;
    a->ask = true;
    if (a->machine != NULL)
        machine_outcome(a->machine->machine, o->seq, o->rejected != 0);
    char path[TOPIC_PATH_MAX + 1];
    if (c->edge != NULL)
        core_edge_path(a, o, path);
    if (o->rejected == 0)
        return;
    a->rejected++;
    size_t length;
    const char *topic = c->edge != NULL ? path : catalog_topic_path(c->catalog, o->topic, &length);
    core_report(c, CANTUS_REPORT_REJECTED, o->seq, publisher_identity(a->publisher),
                topic != NULL ? topic : "", reject_reason_text(o->rejected));
}

bool author_init(struct client_core *c, struct author *a, enum author_kind kind,
                 const char *identity, char *error)
{
    char whole[IDENTITY_MAX + 1];
    if (c->edge != NULL) {
        if (!core_edge_identity(c, identity, whole, error))
            return false;
        identity = whole;
    }
    const char *wrong = identity_check(identity);
    if (wrong != NULL) {
        snprintf(error, CANTUS_ERROR_MAX, "publisher \"%.100s\": %s", identity, wrong);
        return false;
    }
    for (uint32_t i = 0; i < c->author_count; i++) {
        if (strcmp(publisher_identity(c->authors[i]->publisher), identity) == 0) {
            snprintf(error, CANTUS_ERROR_MAX,
                     "publisher \"%s\" is already used by this client: give each its own identity",
                     identity);
            return false;
        }
    }
    assert(c->author_count < CLIENT_AUTHORS_MAX);
    bool digest = kind == AUTHOR_DIGEST; /* small, and seldom */
    bool many = kind == AUTHOR_PIPE || kind == AUTHOR_INJECTOR;
    struct publisher_options options = {
        .window = digest ? CLIENT_DIGESTS_MAX
                  : many ? MANY_WINDOW
                         : 0,
        .bytes_max = digest ? DIGEST_BYTES_MAX
                     : many ? MANY_BYTES_MAX
                            : 0,
        .stream = c->options.follower.stream,
        .nonce = core_random(c),
        .datagram_max = c->options.follower.datagram_max,
        .run_bytes_max = c->options.run_bytes_max,
        .blind = author_is_blind(kind),
        .by_proxy = c->edge != NULL,
        .takes_runs = many && c->edge == NULL,
        .renumbers = (c->options.sabotage & CLIENT_RENUMBERS) != 0,
    };
    memcpy(options.identity, identity, strlen(identity));
    a->core = c;
    a->kind = kind;
    a->index = (uint8_t)c->author_count;
    a->by_runs = options.takes_runs;
    a->publisher = publisher_create(&options, c->port, c->counters, on_outcome, a);
    if (a->publisher == NULL) {
        snprintf(error, CANTUS_ERROR_MAX, "no memory for publisher \"%s\"", identity);
        return false;
    }
    c->authors[c->author_count++] = a;
    return true;
}

void author_close(struct author *a)
{
    publisher_destroy(a->publisher);
    free(a->buffer);
}

bool author_ready(const struct author *a)
{
    return a->core->live && publisher_state(a->publisher) == PUBLISHER_ACTIVE;
}

void author_on_message(struct author *a, const struct message *m)
{
    if (m->publisher_seq != 0) {
        a->items_seen++;
        if (!a->core->rebuilding)
            a->items++;
    }
    if (a->kind == AUTHOR_DIGEST)
        digest_on_message(a, m);
    publisher_on_message(a->publisher, m, a->core->now);
}

void author_on_run(struct author *a, uint32_t count)
{
    a->items_seen += count;
    if (!a->core->rebuilding)
        a->items += count;
}

/* ---- topics ---------------------------------------------------------------------------------- */

static void ask_for_topic(struct author *a, const char *path, uint32_t length)
{
    struct client_core *c = a->core;
    struct client_create *slot = NULL;
    for (uint32_t i = 0; i < CLIENT_CREATES_MAX; i++) {
        struct client_create *r = &c->creates[i];
        if (r->author == NULL)
            slot = slot == NULL ? r : slot;
        else if (r->length == length && memcmp(r->path, path, length) == 0)
            return;
    }
    if (slot == NULL)
        return; /* it is asked for again once there is room */
    *slot = (struct client_create) {
        .author = a,
        .nonce = core_random(c),
        .at_ns = c->now.mono_ns,
        .wait_ns = CREATE_FIRST_WAIT_NS,
        .length = length,
    };
    memcpy(slot->path, path, length);
    c->create_count++;
}

uint64_t core_step_creates(struct client_core *c)
{
    uint64_t deadline = PORT_NEVER;
    for (uint32_t i = 0; i < CLIENT_CREATES_MAX; i++) {
        struct client_create *r = &c->creates[i];
        if (r->author == NULL)
            continue;
        if (catalog_topic_find(c->catalog, r->path, r->length) != 0) {
            r->author->ask = true;
            r->author = NULL;
            c->create_count--;
            continue;
        }
        if (!author_ready(r->author))
            continue;
        if (c->now.mono_ns >= r->at_ns) {
            struct create create = { .nonce = r->nonce,
                                     .publisher = publisher_id(r->author->publisher) };
            memcpy(create.path, r->path, r->length);
            uint8_t *out = port_scratch(c->port, SIGNAL_SIZE_MAX);
            size_t length =
                create_encode(&create, c->options.follower.stream, out, SIGNAL_SIZE_MAX);
            assert(length > 0);
            port_send(c->port, PORT_INGRESS, (struct port_addr) { 0, 0 }, out, (uint32_t)length);
            r->at_ns = c->now.mono_ns + r->wait_ns;
            r->wait_ns =
                r->wait_ns * 2 < CREATE_LAST_WAIT_NS ? r->wait_ns * 2 : CREATE_LAST_WAIT_NS;
        }
        deadline = r->at_ns < deadline ? r->at_ns : deadline;
    }
    return deadline;
}

void core_on_create_refused(struct client_core *c, const struct hint *h)
{
    for (uint32_t i = 0; i < CLIENT_CREATES_MAX; i++) {
        struct client_create *r = &c->creates[i];
        if (r->author == NULL || r->nonce != h->nonce || r->reported)
            continue;
        r->reported = true;
        core_report(c, CANTUS_REPORT_HINT, 0, publisher_identity(r->author->publisher), r->path,
                    "the sequencer refuses to make this topic: not permitted, or the catalog is "
                    "full");
    }
}

/* A topic is only used by who would not forget it: a blind author's proposals outlive a fork, so
 * for them its creation must be out of a fork's reach. */
static bool may_use(const struct author *a, uint32_t topic)
{
    const struct client_core *c = a->core;
    const struct sys_genesis *genesis = catalog_genesis(c->catalog);
    return !author_is_blind(a->kind) || topic < TOPIC_FIRST_USER ||
           (genesis != NULL && genesis->is_volatile) || c->created_seq[topic] <= c->stable;
}

static enum propose_result find_topic(struct author *a, const char *path, uint32_t *topic,
                                      char text[CLIENT_TEXT_MAX])
{
    if (a->topic != TOPIC_NONE && strcmp(path, a->topic_path) == 0) {
        *topic = a->topic;
        return PROPOSE_PUSHED;
    }
    size_t length = strnlen(path, TOPIC_PATH_MAX + 1);
    const struct client_core *c = a->core;
    const char *wrong = topic_path_check(path, length);
    if (wrong != NULL) {
        snprintf(text, CLIENT_TEXT_MAX, "topic \"%.100s\": %s", path, wrong);
        return PROPOSE_REFUSED;
    }
    uint32_t found = catalog_topic_find(c->catalog, path, length);
    enum reject_reason refusal =
        found != 0 ? catalog_refuses(c->catalog, publisher_id(a->publisher), found)
                   : catalog_refuses_topic(c->catalog, publisher_id(a->publisher), path, length);
    if (refusal != 0) {
        snprintf(text, CLIENT_TEXT_MAX, "topic \"%.100s\": %s", path,
                 reject_reason_text((uint8_t)refusal));
        return PROPOSE_REFUSED;
    }
    if (found == 0) {
        ask_for_topic(a, path, (uint32_t)length);
        return PROPOSE_LATER;
    }
    if (found >= c->topics_max || !may_use(a, found))
        return PROPOSE_LATER;
    a->topic = *topic = found;
    memcpy(a->topic_path, path, length + 1);
    return PROPOSE_PUSHED;
}

/* ---- proposing ------------------------------------------------------------------------------- */

/* A condition may name any topic, /sys included: nobody writes by it. */
static enum propose_result find_condition(struct author *a, const char *path, uint32_t *topic,
                                          char text[CLIENT_TEXT_MAX])
{
    const struct client_core *c = a->core;
    size_t length = strnlen(path, TOPIC_PATH_MAX + 1);
    const char *wrong = topic_path_check(path, length);
    if (wrong != NULL) {
        snprintf(text, CLIENT_TEXT_MAX, "condition on \"%.100s\": %s", path, wrong);
        return PROPOSE_REFUSED;
    }
    *topic = catalog_topic_find(c->catalog, path, length);
    if (*topic != 0)
        return PROPOSE_PUSHED;
    enum reject_reason refusal =
        catalog_refuses_topic(c->catalog, publisher_id(a->publisher), path, length);
    if (refusal != 0) {
        snprintf(text, CLIENT_TEXT_MAX, "condition on \"%.100s\": %s", path,
                 reject_reason_text((uint8_t)refusal));
        return PROPOSE_REFUSED;
    }
    ask_for_topic(a, path, (uint32_t)length);
    return PROPOSE_LATER;
}

/* As most are: on the topic said last, and nothing else to it. False: not so, or no room. */
static inline bool push_again(struct author *a, const struct cantus_proposal *proposal)
{
    return a->by_runs && a->topic != TOPIC_NONE && proposal->topic != NULL &&
           proposal->condition_topic == NULL && proposal->length <= MESSAGE_PAYLOAD_MAX &&
           (proposal->payload != NULL || proposal->length == 0) &&
           strcmp(proposal->topic, a->topic_path) == 0 &&
           publisher_push_plain(a->publisher, a->topic, proposal->payload,
                                (uint32_t)proposal->length, &a->core->position) != 0;
}

enum propose_result author_propose(struct author *a, const struct cantus_proposal *proposal,
                                   char text[CLIENT_TEXT_MAX])
{
    if (push_again(a, proposal))
        return PROPOSE_PUSHED;
    if (proposal->topic == NULL || (proposal->payload == NULL && proposal->length > 0)) {
        snprintf(text, CLIENT_TEXT_MAX, "a proposal without a %s",
                 proposal->topic == NULL ? "topic" : "payload");
        return PROPOSE_REFUSED;
    }
    if (proposal->length > publisher_item_max(a->publisher)) {
        snprintf(text, CLIENT_TEXT_MAX, "%zu bytes are too many: a message has at most %u",
                 proposal->length, publisher_item_max(a->publisher));
        return PROPOSE_REFUSED;
    }
    if (a->core->edge != NULL)
        return core_edge_propose(a, proposal, text);
    struct publisher_item item = {
        .payload = proposal->payload,
        .length = (uint32_t)proposal->length,
        .conditional = proposal->condition_topic != NULL,
        .condition_after = proposal->condition_after,
    };
    enum propose_result result = find_topic(a, proposal->topic, &item.topic, text);
    if (result == PROPOSE_PUSHED && item.conditional)
        result = find_condition(a, proposal->condition_topic, &item.condition_topic, text);
    if (result != PROPOSE_PUSHED)
        return result;
    bool pushed = publisher_push(a->publisher, &item, a->core->position) != 0;
    return pushed ? PROPOSE_PUSHED : PROPOSE_LATER;
}

static void report_quarantine(struct author *a)
{
    struct client_core *c = a->core;
    struct client_machine *slot = a->machine;
    if (slot->quarantine_reported)
        return;
    slot->quarantine_reported = true;
    c->counters[COUNTER_QUARANTINED]++;
    core_report(c, CANTUS_REPORT_QUARANTINED, machine_repeated_seq(slot->machine),
                publisher_identity(a->publisher), machine_repeated_topic(slot->machine),
                "it keeps proposing what already has an outcome and changes nothing; it is not "
                "asked any more");
}

void app_step(struct author *a)
{
    if (!a->ask || !author_ready(a) || publisher_in_flight(a->publisher) > 0)
        return;
    struct machine *m = a->machine->machine;
    struct cantus_proposal proposal;
    switch (machine_next(m, &proposal)) {
    case MACHINE_NOTHING:
        a->ask = false;
        return;
    case MACHINE_QUARANTINED:
        a->ask = false;
        report_quarantine(a);
        return;
    case MACHINE_PROPOSES:
        break;
    }
    char text[CLIENT_TEXT_MAX];
    if (author_propose(a, &proposal, text) != PROPOSE_REFUSED)
        return;
    /* As good as a reject: asked again when something has changed, quarantined if it insists. */
    a->ask = false;
    a->rejected++;
    core_report(a->core, CANTUS_REPORT_REJECTED, a->core->position.seq,
                publisher_identity(a->publisher), proposal.topic != NULL ? proposal.topic : "",
                text);
    machine_outcome(m, a->core->position.seq, true);
}
