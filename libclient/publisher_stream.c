/* What the stream tells a publisher: its join, outcomes, what is stable, forks. */
#include "libclient/publisher_private.h"

/* ---- what is kept ---------------------------------------------------------------------------- */

/* Where its bytes begin in the ring, a header included. */
static uint64_t begin_of(const struct publisher_entry *e)
{
    return e->alike != 0 ? e->begin - MESSAGE_HEADER_SIZE : e->begin;
}

/* The last number of the run that this one is of, as far as there are numbers. */
static uint64_t run_last(const struct publisher *p, uint64_t number)
{
    while (number + 1 < p->next && (publisher_entry(p, number)->flags & MESSAGE_MORE) != 0)
        number++;
    return number;
}

/* Nothing is kept: the ring is used from its beginning again, so that the longest item fits. */
static void forget_bytes(struct publisher *p)
{
    p->bytes_head = (p->bytes_head + p->bytes_mask) & ~p->bytes_mask;
    p->bytes_tail = p->bytes_head;
    p->open.numbers = 0;
}

/* Of numbers from `base` on that lie alike, how many may go: outcomes come in their order, so the last of them tells
 * of all. */
static uint64_t releasable_alike(const struct publisher *p)
{
    uint64_t some = p->done - p->base;
    some = some < PUBLISHER_ALIKE_MAX ? some : PUBLISHER_ALIKE_MAX;
    for (; some > 0; some /= 2) {
        const struct publisher_entry *last = publisher_entry(p, p->base + some - 1);
        if (last->alike >= some && (p->is_volatile || last->outcome_seq <= p->stable))
            break;
    }
    return some;
}

/* A run is stable when all of it is: an epoch that cuts it off voids what was stable of it, too. */
static void release(struct publisher *p)
{
    const uint64_t began = p->base;
    while (p->base < p->done) {
        const struct publisher_entry *e = publisher_entry(p, p->base);
        if (!p->is_volatile && e->outcome_seq > p->stable)
            break;
        if (e->alike != 0) {
            p->base += releasable_alike(p);
            continue;
        }
        uint64_t last = p->options.releases_parts ? p->base : run_last(p, p->base);
        if (last >= p->done ||
            (!p->is_volatile && publisher_entry(p, last)->outcome_seq > p->stable))
            break;
        p->base = last + 1;
    }
    if (p->base != began)
        p->released_seq = publisher_entry(p, p->base - 1)->outcome_seq;
    if (p->base == p->next)
        forget_bytes(p);
    else
        p->bytes_tail = begin_of(publisher_entry(p, p->base));
}

void publisher_restart_numbers(struct publisher *p, uint64_t last)
{
    p->base = p->done = p->sent = p->next = last + 1;
    p->taken_back_end = 0;
    p->released_seq = 0;
    forget_bytes(p);
    p->items_in_flight = 0;
    p->retries = 0;
    p->burst = 1;
    p->hinted = 0;
    p->retry_left = 0;
    p->retry_through = 0;
    p->hole_count = 0;
    p->partial_reject = 0;
}

/* ---- its join and outcomes ------------------------------------------------------------------- */

static void on_join(struct publisher *p, const struct message *m)
{
    struct sys_join j;
    if (!sys_join_decode(m->payload, m->length, &j) ||
        strcmp(j.identity, p->options.identity) != 0 || p->state == PUBLISHER_SUPERSEDED)
        return;
    if (p->join_seq == 0) {
        if (j.nonce != p->options.nonce || j.incarnation < p->options.wanted)
            return;
        p->id = j.publisher;
        p->incarnation = j.incarnation;
        p->join_seq = m->seq;
        publisher_restart_numbers(p, j.last_publisher_seq);
    } else if (j.incarnation > p->incarnation && p->superseded_seq == 0) {
        p->superseded_seq = m->seq;
    }
}

/* The round trip is the least of what was seen lately. Every sample is too long rather than too
 * short: what was lost counts from its first sending, and what waited behind it waits with it. */
static void measure(struct publisher *p, const struct publisher_entry *e, uint64_t now_ns)
{
    if (e->first_sent_ns == 0 || now_ns < e->first_sent_ns)
        return;
    uint64_t sample = now_ns - e->first_sent_ns;
    if (sample < p->round_trip_new_ns)
        p->round_trip_new_ns = sample;
    if (p->round_trip_ns == 0 || sample < p->round_trip_ns)
        p->round_trip_ns = sample;
    if (now_ns == p->measured_ns)
        return;
    p->measured_ns = now_ns;
    if (++p->measured < PUBLISHER_SAMPLES)
        return;
    p->round_trip_ns = p->round_trip_new_ns;
    p->round_trip_new_ns = UINT64_MAX;
    p->measured = 0;
}

void publisher_conclude(struct publisher *p, uint64_t count, uint64_t seq, uint8_t rejected,
                        uint64_t now_ns)
{
    measure(p, publisher_entry(p, p->done), now_ns);
    if (!publisher_entry(p, p->done)->resent)
        p->burst = 1;
    p->retries = 0;
    for (uint64_t i = 0; i < count && p->done < p->next; i++) {
        struct publisher_entry *e = publisher_entry(p, p->done);
        e->outcome_seq = seq;
        p->counters[COUNTER_OUTCOMES]++;
        uint64_t number = p->done++;
        if (rejected != 0)
            p->partial_reject = rejected;
        if ((e->flags & MESSAGE_FRAGMENT) != 0)
            continue;
        struct publisher_outcome o = {
            .items = 1,
            .first_number = number + 1 - publisher_item_entries(p, number),
            .number = number,
            .seq = seq,
            .rejected = p->partial_reject,
            .topic = e->topic,
        };
        p->partial_reject = 0;
        assert(p->items_in_flight > 0);
        p->items_in_flight--;
        p->outcome(p->ctx, &o);
    }
    if (p->sent < p->done)
        p->sent = p->done;
    release(p);
}

/* Neighbours were sent together and come back together: only the first of them is a sample of the round
 * trip. */
static inline void sample(struct publisher *p, const struct publisher_entry *e, uint64_t now_ns)
{
    if (now_ns == p->measured_ns && e->first_sent_ns == p->measured_sent_ns)
        return;
    p->measured_sent_ns = e->first_sent_ns;
    measure(p, e, now_ns);
}

/* The same of one whole item in one message, which nearly all are. */
static void conclude_one(struct publisher *p, struct publisher_entry *e, uint64_t seq,
                         uint64_t now_ns)
{
    sample(p, e, now_ns);
    if (!e->resent)
        p->burst = 1;
    p->retries = 0;
    e->outcome_seq = seq;
    p->counters[COUNTER_OUTCOMES]++;
    struct publisher_outcome o = {
        .items = 1, .first_number = p->done, .number = p->done, .seq = seq, .topic = e->topic
    };
    p->done++;
    assert(p->items_in_flight > 0);
    p->items_in_flight--;
    p->outcome(p->ctx, &o);
    if (p->sent < p->done)
        p->sent = p->done;
    release(p);
}

static bool is_ours(const struct publisher *p, const struct message *m)
{
    const struct publisher_entry *e = publisher_entry(p, p->done);
    return e->begins && e->topic == m->topic && publisher_item_length(p, p->done) == m->length &&
           (m->length == 0 || memcmp(publisher_bytes(p, e->begin), m->payload, m->length) == 0);
}

/* Taken back by one fork, and given back by the next, whose history goes on with it: its numbers are used, and its
 * author, who has been told that it was lost, is told nothing. It is kept as if authored where it is: a fork that takes
 * it again drops it. */
static void give_back(struct publisher *p, const struct message *m)
{
    struct sys_reject r;
    uint32_t count =
        m->length <= p->fragment_max ? 1 : (m->length + p->fragment_max - 1) / p->fragment_max;
    if (m->topic == TOPIC_REJECT && sys_reject_decode(m->payload, m->length, &r))
        count = r.count;
    if (p->next - p->base + count > p->entries_max || p->next + count > PUBLISHER_SEQ_MAX) {
        p->mismatches++;
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        *publisher_entry(p, p->next) = (struct publisher_entry) { .position = { .seq = m->seq },
                                                                  .begin = p->bytes_head,
                                                                  .outcome_seq = m->seq,
                                                                  .topic = m->topic,
                                                                  .flags = m->flags & MESSAGE_MORE,
                                                                  .begins = true };
        *publisher_rest(p, p->next++) = (struct publisher_rest) { .item_entries = 1 };
    }
    p->done = p->sent = p->next;
    p->open.numbers = 0;
    release(p);
}

void publisher_on_message(struct publisher *p, const struct message *m, struct port_time now)
{
    if (m->topic == TOPIC_JOIN && m->publisher == 0) {
        on_join(p, m);
        return;
    }
    if (p->join_seq == 0 || m->publisher != p->id || m->seq <= p->join_seq ||
        p->state == PUBLISHER_SUPERSEDED || p->superseded_seq != 0 || m->publisher_seq < p->done)
        return;
    if (m->publisher_seq == p->done && p->done == p->next && m->publisher_seq < p->taken_back_end) {
        give_back(p, m);
        return;
    }
    if (m->publisher_seq != p->done || p->done == p->next) {
        p->mismatches++; /* this incarnation never gave it out: a broken stream */
        return;
    }
    if (m->topic == TOPIC_REJECT) {
        struct sys_reject r;
        if (sys_reject_decode(m->payload, m->length, &r))
            publisher_conclude(p, r.count, m->seq, r.reason, now.mono_ns);
        return;
    }
    if (!is_ours(p, m))
        p->mismatches++;
    uint32_t count = publisher_item_entries(p, p->done);
    if (count == 1 && p->partial_reject == 0)
        conclude_one(p, publisher_entry(p, p->done), m->seq, now.mono_ns);
    else
        publisher_conclude(p, count, m->seq, 0, now.mono_ns);
}

/* Whether `count` numbers from `done` lie in the ring as messages, one behind the other, and are so many bytes. */
static bool lie_alike(const struct publisher *p, size_t length, uint32_t count)
{
    for (uint32_t left = count; left > 0;) {
        uint32_t some = left < PUBLISHER_ALIKE_MAX ? left : PUBLISHER_ALIKE_MAX;
        if (publisher_entry(p, p->done + left - 1)->alike < some)
            return false;
        left -= some;
    }
    const struct publisher_entry *last = publisher_entry(p, p->done + count - 1);
    return last->begin + last->length - begin_of(publisher_entry(p, p->done)) == length;
}

/* The same as conclude_one of each, but for the one call that tells of all. */
static void conclude_run(struct publisher *p, uint32_t count, uint64_t first_seq, uint64_t now_ns)
{
    const uint64_t first = p->done;
    bool all_resent = true;
    for (uint32_t i = 0; i < count; i++) {
        struct publisher_entry *e = publisher_entry(p, first + i);
        sample(p, e, now_ns);
        e->outcome_seq = first_seq + i;
        all_resent = all_resent && e->resent;
    }
    if (!all_resent)
        p->burst = 1;
    p->retries = 0;
    p->counters[COUNTER_OUTCOMES] += count;
    p->done += count;
    if (p->sent < p->done)
        p->sent = p->done;
    assert(p->items_in_flight >= count);
    p->items_in_flight -= count;
    struct publisher_outcome o = { .items = count,
                                   .first_number = first,
                                   .number = p->done - 1,
                                   .seq = first_seq + count - 1,
                                   .topic = publisher_entry(p, p->done - 1)->topic };
    p->outcome(p->ctx, &o);
    release(p);
}

bool publisher_take_run(struct publisher *p, const uint8_t *bytes, size_t length, uint32_t count,
                        uint64_t first_seq, struct port_time now)
{
    if (p->join_seq == 0 || first_seq <= p->join_seq || p->state == PUBLISHER_SUPERSEDED ||
        p->superseded_seq != 0 || p->partial_reject != 0 || count == 0 ||
        count > p->next - p->done || !lie_alike(p, length, count))
        return false;
    const uint8_t *kept = publisher_bytes(p, begin_of(publisher_entry(p, p->done)));
    assert(kept + length <= p->bytes + p->bytes_mask + 1);
    if (memcmp(bytes, kept, length) != 0)
        return false;
    conclude_run(p, count, first_seq, now.mono_ns);
    return true;
}

void publisher_on_stable(struct publisher *p, uint64_t stable_seq)
{
    if (stable_seq > p->stable)
        p->stable = stable_seq;
    release(p);
}

uint64_t publisher_holds_through(struct publisher *p, uint64_t stable_seq)
{
    publisher_on_stable(p, stable_seq);
    const struct publisher_entry *first = publisher_entry(p, p->base);
    if (p->base == p->done || first->outcome_seq > stable_seq)
        return stable_seq;
    return first->outcome_seq > p->join_seq ? first->outcome_seq - 1 : p->join_seq;
}

/* ---- forks ----------------------------------------------------------------------------------- */

/* What was authored above `common`, on a position that is no more: of a group, all. */
static void take_back_fallen(struct publisher *p, struct position common)
{
    uint64_t fallen = p->done;
    while (fallen < p->next && publisher_entry(p, fallen)->position.seq <= common.seq)
        fallen++;
    while (!p->options.blind && fallen < p->next && fallen > p->done &&
           (publisher_entry(p, fallen - 1)->flags & MESSAGE_MORE) != 0)
        fallen--;
    if (p->options.blind) {
        for (; fallen < p->next; fallen++)
            if (publisher_entry(p, fallen)->position.seq > common.seq)
                publisher_entry(p, fallen)->position = common;
        return;
    }
    if (p->next > fallen && p->next > p->taken_back_end)
        p->taken_back_end = p->next;
    while (p->next > fallen) {
        const struct publisher_entry *e = publisher_entry(p, --p->next);
        if ((e->flags & MESSAGE_FRAGMENT) == 0)
            p->items_in_flight--;
        p->bytes_head = begin_of(e);
    }
}

uint32_t publisher_on_fork(struct publisher *p, struct position common)
{
    if (p->superseded_seq > common.seq && p->state != PUBLISHER_SUPERSEDED)
        p->superseded_seq = 0;
    uint32_t lost = 0;
    uint64_t lost_seq = 0;
    while (p->done > p->base && publisher_entry(p, p->done - 1)->outcome_seq > common.seq) {
        p->done--;
        struct publisher_entry *e = publisher_entry(p, p->done);
        lost += e->outcome_seq != lost_seq;
        lost_seq = e->outcome_seq;
        e->outcome_seq = 0;
        p->items_in_flight += (e->flags & MESSAGE_FRAGMENT) == 0;
    }
    if (p->join_seq > common.seq) {
        /* Only in a volatile stream: else the join was stable before anything was said. */
        p->join_seq = 0;
        p->id = 0;
        p->incarnation = 0;
        if (p->state != PUBLISHER_SUPERSEDED)
            p->state = PUBLISHER_WAITING;
        publisher_restart_numbers(p, 0);
        return lost;
    }
    take_back_fallen(p, common);
    p->partial_reject = 0;
    p->retry_left = 0;
    p->retry_through = 0;
    if (!p->options.by_proxy)
        p->sent = p->done; /* all is sent again; a proxy sees to what it has */
    else if (p->sent > p->next)
        p->sent = p->next;
    p->retries = 0;
    p->hinted = 0;
    p->hole_count = 0;
    p->open.numbers = 0;
    release(p);
    return lost;
}
