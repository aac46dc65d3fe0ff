/* Subscriptions. Those made before the first step count from where the options say, later ones from a seq on that
 * is told: on the core network that of the next batch, through a proxy what its CHANGED or SUBSCRIBED says. Until
 * then nothing is handed over to them. */
#include <stdio.h>

#include "libclient/core_private.h"

static struct client_subscription *take_slot(struct client_core *c, char *error)
{
    for (uint32_t i = 0; i < c->subscription_count; i++) {
        if (c->subscriptions[i].subtree[0] == '\0')
            return &c->subscriptions[i];
    }
    if (c->subscription_count < CLIENT_SUBSCRIPTIONS_MAX)
        return &c->subscriptions[c->subscription_count++];
    snprintf(error, CANTUS_ERROR_MAX, "a client takes at most %d subscriptions",
             CLIENT_SUBSCRIPTIONS_MAX);
    return NULL;
}

static void changed(struct client_core *c)
{
    c->change++;
    c->resubscribe = c->started;
}

bool client_core_subscribe(struct client_core *c, const char *subtree,
                           void (*message)(void *ctx, const struct cantus_message *m), void *ctx,
                           char *error)
{
    const char *wrong = topic_subtree_check(subtree, strlen(subtree));
    if (wrong != NULL) {
        snprintf(error, CANTUS_ERROR_MAX, "subtree \"%.200s\": %s", subtree, wrong);
        return false;
    }
    struct client_subscription *s = take_slot(c, error);
    if (s == NULL)
        return false;
    changed(c);
    enum cantus_from from = c->started ? CANTUS_FROM_BEGINNING : c->options.from;
    bool waits = c->started || from == CANTUS_FROM_TIP;
    *s =
        (struct client_subscription) { .message = message,
                                       .ctx = ctx,
                                       .next_seq = waits ? UINT64_MAX : 0,
                                       .from_ns = from == CANTUS_FROM_TIME ? c->options.from_ns : 0,
                                       .change = c->change,
                                       .waits = c->started,
                                       .from_tip = from == CANTUS_FROM_TIP };
    memcpy(s->subtree, subtree, strlen(subtree));
    return true;
}

/* Routes name its slot until they are made anew: nothing is handed over to it. */
static void drop(struct client_subscription *s)
{
    *s = (struct client_subscription) { .next_seq = UINT64_MAX };
}

bool client_core_unsubscribe(struct client_core *c, const char *subtree,
                             void (*message)(void *ctx, const struct cantus_message *m), void *ctx)
{
    for (uint32_t i = 0; i < c->subscription_count; i++) {
        struct client_subscription *s = &c->subscriptions[i];
        if (s->message != message || s->ctx != ctx || strcmp(s->subtree, subtree) != 0)
            continue;
        drop(s);
        changed(c);
        return true;
    }
    return false;
}

static void count_from(struct client_core *c, struct client_subscription *s, uint64_t seq)
{
    s->waits = s->from_tip = false;
    s->next_seq = seq;
    core_report(c, CANTUS_REPORT_SUBSCRIBED, seq, "", s->subtree,
                "subscribed: messages come from this seq on");
}

void core_begin_at_tip(struct client_core *c, uint64_t seq)
{
    for (uint32_t i = 0; i < c->subscription_count; i++) {
        if (c->subscriptions[i].from_tip)
            count_from(c, &c->subscriptions[i], seq);
    }
}

void core_subscribed_from(struct client_core *c, uint64_t seq, uint32_t change)
{
    if (seq < c->held_next)
        seq = c->held_next; /* what is below was handed over, and is only applied again */
    for (uint32_t i = 0; i < c->subscription_count; i++) {
        struct client_subscription *s = &c->subscriptions[i];
        if (s->waits && (int32_t)(change - s->change) >= 0)
            count_from(c, s, seq);
    }
}

void core_resubscribe(struct client_core *c, uint64_t seq)
{
    c->resubscribe = false;
    core_reroute(c);
    core_subscribed_from(c, seq, c->change);
}

bool core_drop_subscriptions(struct client_core *c, const char *subtree, const char *text)
{
    bool any = false, one = subtree[0] != '\0';
    for (uint32_t i = 0; i < c->subscription_count; i++) {
        struct client_subscription *s = &c->subscriptions[i];
        if (!s->waits || (one && strcmp(s->subtree, subtree) != 0))
            continue;
        char path[TOPIC_PATH_MAX + 1];
        memcpy(path, s->subtree, sizeof path);
        drop(s);
        changed(c);
        any = true;
        core_report(c, CANTUS_REPORT_REFUSED, c->position.seq, "", path, text);
    }
    return any;
}
