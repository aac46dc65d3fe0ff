#include "follow/follower_private.h"

#include "proto/signal.h"

/* splitmix64: nonces need to differ, no more. */
static uint64_t next_nonce(struct follower *f)
{
    uint64_t z = f->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return z != 0 ? z : 1;
}

/* ---- whom to ask ----------------------------------------------------------------------------- */

static void add_target(struct port_addr *list, uint32_t *count, struct port_addr addr,
                       struct port_addr self)
{
    if (addr.port == 0 || port_addr_equal(addr, self))
        return;
    for (uint32_t i = 0; i < *count; i++) {
        if (port_addr_equal(list[i], addr))
            return;
    }
    assert(*count < FOLLOWER_TARGETS_MAX);
    list[(*count)++] = addr;
}

void follower_targets(struct follower *f)
{
    struct port_addr self = f->port->self;
    struct port_addr self_stream = { .ip = self.ip, .port = f->port->stream_port };
    uint32_t count = f->options.source_count;
    uint32_t base = count > 0 ? (uint32_t)(f->options.random % count) : 0;
    f->target_count = 0;
    f->stream_count = 0;
    add_target(f->targets, &f->target_count, f->adopted_source.unicast, self);
    add_target(f->streams, &f->stream_count, f->adopted_source.stream, self_stream);
    for (uint32_t i = 0; i < count; i++) {
        const struct follower_source *s = &f->options.sources[(base + i) % count];
        add_target(f->targets, &f->target_count, s->unicast, self);
        add_target(f->streams, &f->stream_count, s->stream, self_stream);
    }
    add_target(f->targets, &f->target_count, f->leader, self); /* busy enough: asked last */
    for (uint32_t i = 0; i < f->gap_count; i++) {
        f->gaps[i].pruned = 0;
        f->gaps[i].refusals = 0;
    }
    f->replay.pruned = 0;
    f->lost_reported = 0;
}

/* ---- what is missing ------------------------------------------------------------------------- */

void follower_gaps_reset(struct follower *f)
{
    f->gap_count = 0;
    f->record_gap = (struct follower_gap) { 0 };
    f->gaps_stale = true;
}

static struct follower_gap new_gap(const struct follower *f, uint64_t first_seq, uint64_t end_seq,
                                   uint64_t due_ns)
{
    return (struct follower_gap) { .first_seq = first_seq,
                                   .end_seq = end_seq,
                                   .due_ns = due_ns,
                                   .interval_ns = f->options.retry_ns };
}

/* One hole as it is now; `before` are the holes as they were, ascending. */
static void add_gap(struct follower *f, uint64_t first_seq, uint64_t end_seq,
                    const struct follower_gap *before, uint32_t before_count, uint64_t now_ns)
{
    struct follower_gap *g = &f->gaps[f->gap_count++];
    const struct follower_gap *old = NULL;
    for (uint32_t i = 0; i < before_count && old == NULL; i++) {
        if (before[i].end_seq > first_seq && before[i].first_seq < end_seq)
            old = &before[i];
    }
    if (old == NULL) {
        *g = new_gap(f, first_seq, end_seq, now_ns + f->options.gap_delay_ns);
        follower_count(f, COUNTER_GAPS);
        return;
    }
    *g = *old;
    g->first_seq = first_seq;
    g->end_seq = end_seq;
    if (g->requests > 0 && (first_seq > old->first_seq || end_seq < old->end_seq)) {
        /* An answer is coming in; when no more of it comes, the rest is asked of the same one. */
        g->interval_ns = f->options.retry_ns;
        g->due_ns = now_ns + f->options.gap_delay_ns;
        g->requests = 0;
        g->refusals = 0;
        g->pruned = 0;
        g->oldest_seq = 0;
        g->rotate = false;
    }
}

static void scan(struct follower *f, uint64_t now_ns)
{
    struct follower_gap before[FOLLOWER_GAPS_MAX];
    uint32_t before_count = f->gap_count;
    memcpy(before, f->gaps, before_count * sizeof before[0]);
    const struct follower_pending *p = &f->pending;
    uint64_t from = f->chain_next;
    f->gap_count = 0;
    f->gaps_stale = false;
    for (uint32_t i = p->linked; i < p->count && f->gap_count < FOLLOWER_GAPS_MAX; i++) {
        const struct follower_held *held = pending_at(p, i);
        if (held->first_seq > from)
            add_gap(f, from, held->first_seq, before, before_count, now_ns);
        if (held->end_seq > from)
            from = held->end_seq;
    }
    if (f->gap_count < FOLLOWER_GAPS_MAX && from < f->goal_next)
        add_gap(f, from, f->goal_next, before, before_count, now_ns);
}

bool follower_asked_for(const struct follower *f, uint64_t seq)
{
    for (uint32_t i = 0; i < f->gap_count; i++) {
        const struct follower_gap *g = &f->gaps[i];
        if (g->nonce != 0 && g->first_seq <= seq && seq < g->end_seq)
            return true;
    }
    return false;
}

/* ---- asking ---------------------------------------------------------------------------------- */

static void ask(struct follower *f, struct follower_gap *g, uint64_t now_ns)
{
    if (g->rotate)
        g->target++;
    g->rotate = true; /* unless progress or a refusal comes first */
    g->due_ns = now_ns + g->interval_ns;
    g->interval_ns =
        g->interval_ns < f->options.retry_max_ns / 2 ? g->interval_ns * 2 : f->options.retry_max_ns;
    g->requests++;
    if (f->target_count == 0)
        return;
    g->target %= f->target_count;
    g->nonce = next_nonce(f);
    struct gap_request request = {
        .epoch = f->heard, .first_seq = g->first_seq, .end_seq = g->end_seq, .nonce = g->nonce
    };
    uint8_t *out = port_scratch(f->port, SIGNAL_SIZE_MAX);
    size_t length = gap_request_encode(&request, f->options.stream, out, SIGNAL_SIZE_MAX);
    assert(length > 0);
    port_send(f->port, PORT_UNICAST, f->targets[g->target], out, (uint32_t)length);
    follower_count(f, COUNTER_GAP_REQUESTS_OUT);
    if (g->requests > 1)
        follower_count(f, COUNTER_GAP_RETRIES);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t follower_gaps_step(struct follower *f, uint64_t now_ns)
{
    uint64_t deadline = PORT_NEVER;
    if (f->gaps_stale)
        scan(f, now_ns);
    uint64_t record = follower_record_wanted(f);
    if (record != f->record_gap.first_seq)
        f->record_gap =
            record == 0 ? (struct follower_gap) { 0 } : new_gap(f, record, record + 1, now_ns);
    if (record != 0) {
        if (f->record_gap.due_ns <= now_ns)
            ask(f, &f->record_gap, now_ns);
        deadline = f->record_gap.due_ns;
    }
    /* Asking is useless while there is no room, while a stream brings it, and while it is not known
     * whether our chain is what the answers should link to. */
    if (f->conflict || f->replay.state == REPLAY_STREAMING || f->pending.linked == f->pending.max)
        return deadline;
    uint32_t asked = 0;
    for (uint32_t i = 0; i < f->gap_count; i++) {
        struct follower_gap *g = &f->gaps[i];
        if (g->due_ns <= now_ns && asked < FOLLOWER_REQUESTS_PER_STEP) {
            ask(f, g, now_ns);
            asked++;
        }
        deadline = earlier(deadline, g->due_ns);
    }
    return deadline;
}

/* ---- refusals -------------------------------------------------------------------------------- */

bool follower_report_lost(struct follower *f, uint64_t oldest_seq)
{
    if (f->lost_reported == f->chain_next || f->callbacks.lost == NULL)
        return true;
    f->lost_reported = f->chain_next;
    uint32_t generation = f->generation;
    f->callbacks.lost(f->callbacks.ctx, f->chain_next, oldest_seq);
    return f->generation == generation;
}

static struct follower_gap *gap_of_nonce(struct follower *f, uint64_t nonce)
{
    for (uint32_t i = 0; i < f->gap_count; i++) {
        if (f->gaps[i].nonce == nonce)
            return &f->gaps[i];
    }
    return f->record_gap.end_seq != 0 && f->record_gap.nonce == nonce ? &f->record_gap : NULL;
}

bool follower_refusal(struct follower *f, const struct gap_refusal *r, uint64_t now_ns)
{
    struct follower_gap *g = r->nonce != 0 ? gap_of_nonce(f, r->nonce) : NULL;
    if (g == NULL || r->first_seq != g->first_seq || f->target_count == 0)
        return true; /* of a request that something else has answered */
    if (r->reason == GAP_PRUNED) {
        g->pruned |= UINT32_C(1) << g->target % f->target_count;
        if (g->oldest_seq == 0 || r->oldest_seq < g->oldest_seq)
            g->oldest_seq = r->oldest_seq;
    }
    g->nonce = 0;
    g->rotate = true;
    g->refusals++;
    /* The next one at once; but once all have refused, only after the pause. */
    if (r->reason != GAP_BUSY && g->refusals % f->target_count != 0) {
        g->due_ns = now_ns;
        if (g->interval_ns / 2 >= f->options.retry_ns)
            g->interval_ns /= 2; /* only the pause after a whole round grows */
    }
    bool all = g->pruned == (uint32_t)((UINT64_C(1) << f->target_count) - 1);
    if (all && g != &f->record_gap && g->first_seq == f->chain_next)
        return follower_report_lost(f, g->oldest_seq);
    return true;
}
