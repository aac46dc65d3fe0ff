#include "libclient/publisher_edge.h"

#include <assert.h>
#include <string.h>

#include "libclient/publisher_private.h"
#include "proto/access.h"

enum { PREFIX = 1 + ACCESS_KEY_TEXT + 1 }; /* "@KEY:" */

void publisher_edge_open(struct publisher *p, struct edge_open *out)
{
    assert(p->state == PUBLISHER_WAITING && strlen(p->options.identity) > PREFIX);
    *out = (struct edge_open) { .nonce = p->options.nonce };
    out->known = UINT64_MAX; /* nothing was sent */
    if (p->incarnation != 0) {
        out->wanted = p->incarnation + 1;
        out->known = p->base - 1; /* no fork takes their outcomes back */
    }
    memcpy(out->name, p->options.identity + PREFIX, strlen(p->options.identity + PREFIX));
    p->state = PUBLISHER_JOINING;
}

/* Taken over whole on the first time; after that a window can only shrink. */
static void take_limits(struct publisher *p, const struct edge_accepted *limits)
{
    p->is_volatile = limits->is_volatile;
    p->fragment_max = limits->fragment_bytes;
    if (limits->window < p->options.window)
        p->options.window = limits->window;
    p->item_max = publisher_find_item_max(p);
    if (limits->payload_max < p->item_max)
        p->item_max = limits->payload_max;
}

bool publisher_edge_opened(struct publisher *p, const struct edge_opened *o,
                           const struct edge_accepted *limits, uint64_t now_ns)
{
    if (p->state != PUBLISHER_JOINING || o->last_number >= PUBLISHER_SEQ_MAX)
        return false;
    if (p->join_seq == 0) {
        take_limits(p, limits);
        publisher_restart_numbers(p, o->last_number);
    } else {
        uint64_t end = o->last_number + 1;
        if (o->publisher != p->id || o->incarnation <= p->incarnation || end < p->done ||
            (end > p->next && end > p->taken_back_end))
            return false;
        if (p->done == p->next)
            take_limits(p, limits);
        else if (limits->fragment_bytes != p->fragment_max || limits->window < p->options.window)
            return false;
        uint64_t known = end < p->next ? end : p->next;
        if (known > p->done)
            publisher_conclude(p, known - p->done, o->join_seq, 0, now_ns);
        p->sent = p->done;
        if (end > known) /* one fork has given back what another took: it is stable now */
            publisher_restart_numbers(p, o->last_number);
    }
    p->taken_back_end = 0;
    p->id = o->publisher;
    p->incarnation = o->incarnation;
    p->join_seq = o->join_seq;
    p->options.nonce += UINT64_C(0x9e3779b97f4a7c15); /* the next join is another one */
    p->state = PUBLISHER_ACTIVE;
    return true;
}

/* In front of OPENED come rejects alone: what lies between them was sequenced. */
static void take_reject(struct publisher *p, const struct edge_outcome *o, uint64_t now_ns)
{
    uint64_t begin = o->number > p->done ? o->number : p->done;
    uint64_t end = o->number + o->count < p->next ? o->number + o->count : p->next;
    if (begin >= end)
        return;
    if (begin > p->done)
        publisher_conclude(p, begin - p->done, o->seq, 0, now_ns);
    publisher_conclude(p, end - begin, o->seq, o->reason, now_ns);
}

bool publisher_edge_outcome(struct publisher *p, const struct edge_outcome *o, uint64_t now_ns)
{
    if (p->id != o->publisher)
        return false;
    if (p->superseded_seq != 0 && o->seq > p->superseded_seq)
        return true; /* of who has superseded it */
    uint64_t end = o->number + o->count;
    if (end <= p->done)
        return true; /* concluded by a later OPENED */
    if (p->state == PUBLISHER_JOINING && o->reason != 0) {
        take_reject(p, o, now_ns);
        return true;
    }
    uint64_t sent = p->state == PUBLISHER_ACTIVE ? p->sent : p->next;
    if (o->number != p->done || end > sent)
        return false;
    publisher_conclude(p, o->count, o->seq, o->reason, now_ns);
    return true;
}

bool publisher_edge_refused(struct publisher *p, uint64_t number)
{
    const struct publisher_entry *first = publisher_entry(p, number);
    if (p->state != PUBLISHER_ACTIVE || number < p->done || number >= p->sent || !first->begins ||
        number + publisher_item_entries(p, number) != p->next)
        return false;
    p->bytes_head = first->begin;
    p->next = p->sent = number;
    assert(p->items_in_flight > 0);
    p->items_in_flight--;
    return true;
}

void publisher_edge_superseded(struct publisher *p, uint64_t join_seq)
{
    if (p->state == PUBLISHER_SUPERSEDED)
        return;
    publisher_edge_lost(p);
    p->superseded_seq = join_seq;
    p->state = PUBLISHER_SUPERSEDED;
}

void publisher_edge_lost(struct publisher *p)
{
    if (p->state == PUBLISHER_SUPERSEDED)
        return;
    p->state = PUBLISHER_WAITING;
    p->sent = p->done;
}

bool publisher_edge_next(const struct publisher *p, struct edge_publish *out)
{
    if (p->state != PUBLISHER_ACTIVE || p->sent >= p->next)
        return false;
    const struct publisher_entry *e = publisher_entry(p, p->sent);
    assert(e->begins);
    const struct publisher_rest *rest = publisher_rest(p, p->sent);
    const struct publisher_entry *last = publisher_entry(p, p->sent + rest->item_entries - 1);
    const uint8_t *paths = publisher_bytes(p, e->begin) + rest->item_length;
    *out = (struct edge_publish) {
        .publisher = p->id,
        .number = p->sent,
        .position = e->position,
        .flags = last->flags & MESSAGE_MORE,
        .topic = (const char *)paths,
        .topic_length = rest->path_length,
        .conditional = rest->conditional,
        .condition_topic = (const char *)paths + rest->path_length,
        .condition_topic_length = rest->condition_path_length,
        .condition_after = rest->condition_after,
        .payload = publisher_bytes(p, e->begin),
        .length = rest->item_length,
    };
    return true;
}

void publisher_edge_sent(struct publisher *p, uint64_t now_ns)
{
    struct publisher_entry *e = publisher_entry(p, p->sent);
    p->counters[COUNTER_RESENT] += e->first_sent_ns != 0;
    e->first_sent_ns = e->sent_ns = now_ns;
    p->sent += publisher_item_entries(p, p->sent);
}

const char *publisher_edge_path(const struct publisher *p, uint64_t first_number, size_t *length)
{
    const struct publisher_entry *e = publisher_entry(p, first_number);
    const struct publisher_rest *rest = publisher_rest(p, first_number);
    *length = rest->path_length;
    return (const char *)publisher_bytes(p, e->begin) + rest->item_length;
}
