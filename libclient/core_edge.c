/* The client core through a proxy: from frames to the apps, and from authors to frames. */
#include <stdio.h>
#include <stdlib.h>

#include "libclient/core_private.h"
#include "libclient/publisher_edge.h"
#include "proto/access.h"

enum { EDGE_NAME_LENGTH_MAX = IDENTITY_MAX - ACCESS_KEY_TEXT - 2 };
#define TROUBLE_EVERY_NS UINT64_C(1000000000)

static bool stopped(const struct client_core *c)
{
    return c->status < 0 && c->status != CANTUS_SUPERSEDED;
}

static struct author *author_of(const struct client_core *c, uint32_t publisher)
{
    for (uint32_t i = 0; i < c->author_count; i++) {
        if (publisher != 0 && publisher_id(c->authors[i]->publisher) == publisher)
            return c->authors[i];
    }
    return NULL;
}

/* ---- a fork that is found while the history is read anew -------------------------------------- */

/* Where the history that was handed over and the one that comes now part, as far as they are known. */
static uint64_t parting_of(const struct epoch_table *was, const struct epoch_table *is)
{
    uint32_t i = 0;
    while (i < was->count && i < is->count &&
           was->entries[i].first_seq == is->entries[i].first_seq &&
           epoch_equal(was->entries[i].epoch, is->entries[i].epoch))
        i++;
    uint64_t a = i < was->count ? was->entries[i].first_seq : UINT64_MAX;
    uint64_t b = i < is->count ? is->entries[i].first_seq : UINT64_MAX;
    return a < b ? a : b;
}

static struct position common_below(const struct client_core *c, uint64_t first_seq)
{
    struct position common = { .seq = first_seq - 1 };
    const struct epoch_entry *entry = epoch_table_find(c->epochs, common.seq);
    if (entry != NULL)
        common.epoch = entry->epoch;
    return common;
}

/* Something through `seq` is to be handed over. */
static void check_held(struct client_core *c, uint64_t seq)
{
    if (c->next >= c->held_next)
        return;
    uint64_t first_seq = parting_of(c->held, c->epochs);
    if (first_seq > seq || first_seq >= c->held_next)
        return;
    core_report_fork(c, c->epochs, first_seq);
    core_take_back(c, common_below(c, first_seq));
}

/* What is stable is so on the proxy's history. Publishers keep what has an outcome until it is known that this
 * one leads there: an outcome on a history that is off is taken back. */
static void tell_stable(struct client_core *c)
{
    uint64_t seq = c->stable < c->position.seq ? c->stable : c->position.seq;
    if (seq <= c->stable_told)
        return;
    c->stable_told = seq;
    for (uint32_t i = 0; i < c->author_count; i++)
        publisher_on_stable(c->authors[i]->publisher, seq);
}

static void go_on_at(struct client_core *c, uint64_t next)
{
    if (next > c->next)
        c->next = next;
    if (c->next > c->held_next)
        c->held_next = c->next;
}

static void stand_here(struct client_core *c)
{
    c->position = edge_position(c->edge);
    go_on_at(c, c->position.seq + 1);
    tell_stable(c);
}

/* ---- the stream ------------------------------------------------------------------------------ */

static uint64_t until(const struct client_core *c)
{
    return c->options.until_seq != 0 ? c->options.until_seq : UINT64_MAX;
}

/* Everything through `seq` was handed over, as far as until_seq allows: what lies in front of that, the proxy has told
 * (edge_set_mark). */
static void handed_over(struct client_core *c, uint64_t seq)
{
    uint64_t end = until(c);
    check_held(c, seq < end ? seq : end);
    if (seq <= end)
        stand_here(c);
    if (seq < end || c->ended)
        return;
    go_on_at(c, end + 1);
    c->ended = true;
    if (c->status == CANTUS_OK)
        c->status = CANTUS_END;
}

static bool on_accepted(void *ctx, const struct edge_accepted *a)
{
    struct client_core *c = ctx;
    if (!a->is_volatile || c->options.follower.level == FOLLOWER_SEQUENCED)
        return true;
    core_fail(
        c, CANTUS_ERROR,
        "the stream is volatile: nothing in it is ever stable; follow it at CANTUS_SEQUENCED");
    edge_give_up(c->edge, "its stream is volatile");
    return false;
}

static void on_subscribed(void *ctx)
{
    struct client_core *c = ctx;
    if (stopped(c))
        return;
    uint64_t seq = edge_position(c->edge).seq;
    epoch_table_cut(c->epochs, seq > 1 ? seq : 1);
    if (seq > until(c))
        handed_over(c, seq); /* it begins behind its end */
    else if (!c->ended)
        stand_here(c);
    core_begin_at_tip(c, seq + 1);
}

static void on_changed(void *ctx, uint64_t seq, uint32_t change)
{
    struct client_core *c = ctx;
    if (!stopped(c))
        core_subscribed_from(c, seq, change);
}

static void on_epoch(void *ctx, struct epoch epoch, uint64_t first_seq)
{
    struct client_core *c = ctx;
    struct epoch_entry entry = { .epoch = epoch, .first_seq = first_seq };
    /* What was announced and never reached: by a fork, or by a proxy that lied. */
    epoch_table_cut(c->epochs, first_seq - 1);
    if (!epoch_table_append(c->epochs, entry))
        edge_give_up(c->edge, "it names epoch %u out of turn", epoch.number);
}

static uint16_t on_topic(void *ctx, const char *path, size_t length)
{
    return core_find_route(ctx, path, length);
}

static void on_message(void *ctx, const struct edge_message *m, const struct edge_text *topic,
                       const char *publisher)
{
    struct client_core *c = ctx;
    if (stopped(c) || c->ended)
        return;
    if (m->seq > until(c)) {
        handed_over(c, m->seq);
        return;
    }
    check_held(c, m->seq);
    uint64_t timestamp_ns = m->timestamp_ns;
    if ((c->options.sabotage & CLIENT_TIMER_BY_ARRIVAL) != 0)
        timestamp_ns = c->now.wall_ns;
    if (timestamp_ns >= c->timer_due_ns)
        core_fire_timers(c, timestamp_ns);
    if (topic->route != 0) {
        const struct cantus_message message = {
            .seq = m->seq,
            .timestamp_ns = m->timestamp_ns,
            .topic = topic->text,
            .publisher = publisher,
            .publisher_seq = m->publisher_seq,
            .payload = m->payload,
            .length = m->length,
        };
        core_hand_over(c, core_route_of(c, topic->route), &message);
        c->counters[COUNTER_MESSAGES_DELIVERED]++;
    }
    handed_over(c, m->seq);
}

static void on_progress(void *ctx, uint64_t through, uint64_t timestamp_ns)
{
    struct client_core *c = ctx;
    if (stopped(c) || c->ended)
        return;
    check_held(c, through);
    if (through <= until(c) && timestamp_ns >= c->timer_due_ns)
        core_fire_timers(c, timestamp_ns);
    handed_over(c, through);
}

static void on_stable(void *ctx, uint64_t stable)
{
    struct client_core *c = ctx;
    c->stable = stable;
    tell_stable(c);
}

/* Apps are rebuilt from the beginning, over a new connection. */
static void on_forked(void *ctx, struct position common)
{
    struct client_core *c = ctx;
    uint64_t held_seq = common.seq > 1 ? common.seq : 1; /* the genesis is on every history */
    if (stopped(c) || common.seq + 1 >= c->next) {
        epoch_table_cut(c->epochs, held_seq);
        return;
    }
    if (c->options.follower.level == FOLLOWER_STABLE) {
        core_fail(c, CANTUS_ERROR,
                  "message %llu was stable and is no longer in the stream: stores have lost what "
                  "they promised; restart from a store that is whole",
                  (unsigned long long)common.seq + 1);
        return;
    }
    core_report_fork(c, c->epochs, common.seq + 1);
    if (c->machine_count > 0) {
        core_rewind(c, common);
        epoch_table_cut(c->epochs, 1);
        edge_restart(c->edge);
        return;
    }
    epoch_table_cut(c->epochs, held_seq);
    c->rebuilding = true;
    c->live = false;
    c->ended = false;
    if (c->status == CANTUS_END)
        c->status = CANTUS_OK;
    c->position = common;
    c->next = common.seq + 1;
    uint64_t kept = common.seq > c->stable ? common.seq : c->stable;
    bool joined = false;
    for (uint32_t i = 0; i < c->author_count; i++)
        joined = joined || publisher_join_seq(c->authors[i]->publisher) > kept;
    core_take_back(c, common);
    if (joined) /* a volatile stream: the joins are gone, too */
        edge_give_up(c->edge, "a fork has taken back a join");
}

/* ---- publishers ------------------------------------------------------------------------------ */

static bool on_opened(void *ctx, const struct edge_opened *o)
{
    struct client_core *c = ctx;
    struct author *a = c->opening;
    if (a == NULL || (author_of(c, o->publisher) != NULL && author_of(c, o->publisher) != a))
        return false;
    c->opening = NULL;
    if (!publisher_edge_opened(a->publisher, o, edge_accepted(c->edge), c->now.mono_ns))
        return false;
    if (o->unknown_through > c->opening_done)
        core_report(
            c, CANTUS_REPORT_HINT, o->join_seq, publisher_identity(a->publisher), "",
            "of what it proposed while no proxy could be reached, some was rejected so long ago "
            "that the proxy does not say what; it counts as sequenced: look in the stream");
    a->items = (c->options.sabotage & CLIENT_BEGINS_ANEW) != 0 ? 0 : o->items;
    a->ask = true;
    return true;
}

static bool on_outcome(void *ctx, const struct edge_outcome *o)
{
    struct client_core *c = ctx;
    struct author *a = author_of(c, o->publisher);
    if (a == NULL)
        return false;
    if (o->seq > until(c))
        return true;
    uint64_t done = publisher_done_number(a->publisher);
    if (!publisher_edge_outcome(a->publisher, o, c->now.mono_ns))
        return false;
    a->items += publisher_done_number(a->publisher) != done;
    return true;
}

static bool on_superseded(void *ctx, const struct edge_superseded *s)
{
    struct client_core *c = ctx;
    struct author *a = author_of(c, s->publisher);
    if (a == NULL && c->opening != NULL && publisher_join_seq(c->opening->publisher) == 0)
        a = c->opening; /* before it was told its number */
    if (a == NULL)
        return false;
    if (c->opening == a)
        c->opening = NULL;
    publisher_edge_superseded(a->publisher, s->join_seq);
    return true;
}

/* Room for all that a proxy says: what helps stands at the end. */
enum { REFUSAL_TEXT_MAX = 512 };

static void refusal_text(const struct edge_refused *r, char text[REFUSAL_TEXT_MAX])
{
    const char *right = r->right == ACCESS_READ    ? " (right to read)"
                        : r->right == ACCESS_WRITE ? " (right to write)"
                        : r->right == ACCESS_GRANT ? " (right to grant)"
                                                   : "";
    const char *quote = r->subject[0] != '\0' ? "\"" : "", *reason = edge_refusal_text(r->reason);
    bool more = r->text[0] != '\0' && strcmp(r->text, reason) != 0;
    snprintf(text, REFUSAL_TEXT_MAX, "%s%.120s%s%s%s%s%s%s", quote, r->subject, quote,
             r->subject[0] != '\0' ? ": " : "", reason, right, more ? ": " : "",
             more ? r->text : "");
}

static void refused_subscription(struct client_core *c, const struct edge_refused *r,
                                 const char *text)
{
    if (r->reason == EDGE_REFUSED_RIGHT && core_drop_subscriptions(c, r->subject, text)) {
        edge_reconnect(c->edge); /* without it */
        return;
    }
    if (r->reason != EDGE_REFUSED_HISTORY) {
        core_fail(c, CANTUS_ERROR, "the proxy refuses to subscribe to %s", text);
        return;
    }
    if (c->status < 0)
        return;
    core_fail(c, CANTUS_LOST, "the stream's beginning is gone from every store: %s", text);
    core_report(c, CANTUS_REPORT_LOST, r->number, "", "", c->error);
}

/* An app is told, and asked again when something has changed. Of others it is as on the core: what can
 * never be sequenced ends the client. */
static bool refused_item(struct client_core *c, const struct edge_refused *r, const char *text)
{
    struct author *a = author_of(c, r->publisher);
    if (a == NULL)
        return false;
    if (a->kind != AUTHOR_APP) {
        core_fail(c, CANTUS_ERROR, "publisher \"%s\": topic %s", publisher_identity(a->publisher),
                  text);
        return true;
    }
    if (!publisher_edge_refused(a->publisher, r->number))
        return false;
    a->ask = false;
    a->rejected++;
    core_report(c, CANTUS_REPORT_REJECTED, c->position.seq, publisher_identity(a->publisher),
                r->subject, text);
    machine_outcome(a->machine->machine, c->position.seq, true);
    return true;
}

static bool on_refused(void *ctx, const struct edge_refused *r)
{
    struct client_core *c = ctx;
    char text[REFUSAL_TEXT_MAX];
    if (stopped(c))
        return true; /* what was sent behind an item that was refused is refused, too */
    refusal_text(r, text);
    if (r->request == EDGE_CHANGE) {
        if (!core_drop_subscriptions(c, r->subject, text))
            (void)core_drop_subscriptions(c, "", text);
        edge_reconnect(c->edge); /* with what is left */
        return true;
    }
    /* Of a message it is about the topic that would have to be made for it: that stays so. */
    if (r->reason == EDGE_REFUSED_QUOTA && r->request != EDGE_PUBLISH) {
        edge_give_up(c->edge, "%s; it is tried again, elsewhere or later", text);
        return true;
    }
    bool lasting = r->reason == EDGE_REFUSED_RIGHT || r->reason == EDGE_REFUSED_NAME ||
                   r->reason == EDGE_REFUSED_LARGE || r->reason == EDGE_REFUSED_HISTORY ||
                   r->reason == EDGE_REFUSED_QUOTA;
    if (!lasting)
        return false;
    switch (r->request) {
    case EDGE_SUBSCRIBE:
        refused_subscription(c, r, text);
        return true;
    case EDGE_OPEN:
        if (c->opening == NULL)
            return false;
        core_fail(c, CANTUS_ERROR, "the proxy refuses publisher %s", text);
        return true;
    case EDGE_PUBLISH:
        return refused_item(c, r, text);
    default:
        return false;
    }
}

static void on_lost(void *ctx)
{
    struct client_core *c = ctx;
    c->live = false;
    c->opening = NULL;
    for (uint32_t i = 0; i < c->author_count; i++)
        publisher_edge_lost(c->authors[i]->publisher);
}

static void on_trouble(void *ctx, const char *text)
{
    struct client_core *c = ctx;
    if (c->hint_reported_ns != 0 && c->now.mono_ns - c->hint_reported_ns < TROUBLE_EVERY_NS)
        return;
    c->hint_reported_ns = c->now.mono_ns;
    core_report(c, CANTUS_REPORT_HINT, 0, "", "", text);
}

static void on_failed(void *ctx, const char *text)
{
    core_fail(ctx, CANTUS_ERROR, "%s", text);
}

/* ---- proposing ------------------------------------------------------------------------------- */

bool core_edge_identity(const struct client_core *c, const char *name, char out[IDENTITY_MAX + 1],
                        char *error)
{
    const struct edge_options *o = c->options.edge;
    if (!o->has_key) {
        snprintf(error, CANTUS_ERROR_MAX,
                 "publisher \"%.63s\": who publishes through a proxy needs a key: set key_file "
                 "(`cantus key new FILE` makes one)",
                 name);
        return false;
    }
    char key[ACCESS_KEY_TEXT + 1];
    access_key_write(o->key, key);
    int length = snprintf(out, IDENTITY_MAX + 1, "@%s:%s", key, name);
    if (name[0] != '\0' && length <= IDENTITY_MAX)
        return true;
    snprintf(error, CANTUS_ERROR_MAX,
             "publisher \"%.63s\": through a proxy a name has 1 to %d bytes, for it comes behind "
             "its key",
             name, EDGE_NAME_LENGTH_MAX);
    return false;
}

static bool path_fits(const char *what, const char *path, size_t *length,
                      char text[CLIENT_TEXT_MAX])
{
    *length = strnlen(path, TOPIC_PATH_MAX + 1);
    const char *wrong = topic_path_check(path, *length);
    if (wrong == NULL && *length < 2)
        wrong = "it is no topic";
    if (wrong != NULL)
        snprintf(text, CLIENT_TEXT_MAX, "%s \"%.100s\": %s", what, path, wrong);
    return wrong == NULL;
}

enum propose_result core_edge_propose(struct author *a, const struct cantus_proposal *proposal,
                                      char text[CLIENT_TEXT_MAX])
{
    struct publisher_item item = {
        .topic = TOPIC_FIRST_USER, /* a proxy is told its path */
        .payload = proposal->payload,
        .length = (uint32_t)proposal->length,
        .more = a->more,
        .path = proposal->topic,
        .conditional = proposal->condition_topic != NULL,
        .condition_path = proposal->condition_topic,
        .condition_after = proposal->condition_after,
    };
    size_t length;
    if (!path_fits("topic", item.path, &length, text))
        return PROPOSE_REFUSED;
    item.path_length = (uint8_t)length;
    if (item.conditional) {
        if (!path_fits("condition on", item.condition_path, &length, text))
            return PROPOSE_REFUSED;
        item.condition_path_length = (uint8_t)length;
    }
    struct position position = { .seq = 0 };
    if (!author_is_blind(a->kind))
        position = a->core->position;
    return publisher_push(a->publisher, &item, position) != 0 ? PROPOSE_PUSHED : PROPOSE_LATER;
}

void core_edge_path(const struct author *a, const struct publisher_outcome *o,
                    char path[TOPIC_PATH_MAX + 1])
{
    size_t length;
    const char *at = publisher_edge_path(a->publisher, o->first_number, &length);
    memcpy(path, at, length);
    path[length] = '\0';
}

/* ---- driving --------------------------------------------------------------------------------- */

bool core_edge_create(struct client_core *c)
{
    const struct edge_callbacks callbacks = {
        .accepted = on_accepted,
        .subscribed = on_subscribed,
        .changed = on_changed,
        .epoch = on_epoch,
        .topic = on_topic,
        .message = on_message,
        .progress = on_progress,
        .stable = on_stable,
        .opened = on_opened,
        .outcome = on_outcome,
        .refused = on_refused,
        .superseded = on_superseded,
        .forked = on_forked,
        .lost = on_lost,
        .trouble = on_trouble,
        .failed = on_failed,
        .ctx = c,
    };
    c->edge = edge_create(c->options.edge, &callbacks, c->port);
    c->held = malloc(sizeof *c->held);
    c->epochs = malloc(sizeof *c->epochs);
    if (c->edge == NULL || c->held == NULL || c->epochs == NULL)
        return false;
    epoch_table_reset(c->held);
    epoch_table_reset(c->epochs);
    return epoch_table_append(c->epochs, (struct epoch_entry) { .first_seq = 1 });
}

static bool at_the_tip(const struct client_core *c)
{
    if (!edge_is_subscribed(c->edge)) /* of a time that is ahead there is nothing yet */
        return edge_awaits_time(c->edge) && c->options.from_ns > c->now.wall_ns;
    const struct edge_accepted *a = edge_accepted(c->edge);
    uint64_t goal = c->options.follower.level == FOLLOWER_STABLE ? a->stable : a->tip.seq;
    return edge_position(c->edge).seq >= goal;
}

static void open_next(struct client_core *c)
{
    for (uint32_t i = 0; i < c->author_count && c->opening == NULL; i++) {
        struct author *a = c->authors[i];
        if (publisher_state(a->publisher) != PUBLISHER_WAITING)
            continue;
        struct edge_open o;
        publisher_edge_open(a->publisher, &o);
        c->opening_done = publisher_in_flight(a->publisher) > 0
                              ? publisher_done_number(a->publisher)
                              : UINT64_MAX;
        if (edge_open_publisher(c->edge, &o))
            c->opening = a;
        else
            publisher_edge_lost(a->publisher); /* no room now */
        return;
    }
}

/* An item of each in turn, as long as there is room. */
static void send_items(struct client_core *c)
{
    bool sent = true;
    while (sent) {
        sent = false;
        for (uint32_t i = 0; i < c->author_count; i++) {
            struct publisher *p = c->authors[i]->publisher;
            struct edge_publish item;
            if (!publisher_edge_next(p, &item))
                continue;
            if (!edge_publish(c->edge, &item))
                return;
            publisher_edge_sent(p, c->now.mono_ns);
            sent = true;
        }
    }
}

uint64_t core_edge_step(struct client_core *c)
{
    if (stopped(c)) {
        edge_stop(c->edge);
        return PORT_NEVER;
    }
    if (c->resubscribe)
        core_edge_resubscribe(c);
    if (!c->live && !c->ended && at_the_tip(c))
        core_go_live(c);
    if (c->live)
        core_step_authors(c);
    if (edge_is_subscribed(c->edge) && !c->ended) {
        open_next(c);
        send_items(c);
    }
    for (uint32_t i = 0; i < c->author_count; i++) {
        struct author *a = c->authors[i];
        core_check_superseded(c, a);
    }
    return edge_step(c->edge, c->now);
}
