#include "follow/follower_private.h"

void follower_replay_reset(struct follower *f)
{
    follower_replay_close(f);
    f->replay =
        (struct follower_replay) { .initial = true, .interval_ns = f->options.retry_max_ns };
}

void follower_replay_close(struct follower *f)
{
    if (f->replay.state != REPLAY_IDLE)
        f->port->ops->stream_close(f->port, f->replay.stream);
    f->replay.state = REPLAY_IDLE;
    f->replay.blocked = false;
    f->gaps_stale = true;
}

/* This stream is over. Without any progress the next attempt waits, and goes to the next source. */
static void leave(struct follower *f, bool closed, uint64_t now_ns)
{
    struct follower_replay *r = &f->replay;
    if (closed)
        r->state = REPLAY_IDLE;
    follower_replay_close(f);
    r->target++;
    if (f->chain_next > r->begun_seq) {
        r->fruitless = 0;
        r->pruned = 0;
        r->oldest_seq = 0;
        r->interval_ns = f->options.retry_max_ns;
        r->due_ns = now_ns;
        return;
    }
    r->fruitless++;
    r->due_ns = now_ns;
    if (f->stream_count == 0 || r->fruitless % f->stream_count == 0) {
        r->due_ns = now_ns + r->interval_ns;
        r->interval_ns = r->interval_ns < FOLLOWER_REPLAY_PAUSE_MAX / 2 ? r->interval_ns * 2
                                                                        : FOLLOWER_REPLAY_PAUSE_MAX;
        r->initial = false; /* nobody has anything for us: it is for live data to tell more */
    }
}

/* ---- frames ---------------------------------------------------------------------------------- */

static bool on_end(struct follower *f, const uint8_t *body, size_t length, uint64_t now_ns)
{
    struct follower_replay *r = &f->replay;
    struct replay_end end;
    if (!replay_end_decode(body, length, &end)) {
        follower_count(f, COUNTER_DROPPED_MALFORMED);
        leave(f, false, now_ns);
        return true;
    }
    if (end.reason == REPLAY_DONE)
        r->initial = false;
    if (end.reason == REPLAY_PRUNED && f->stream_count > 0) {
        r->pruned |= UINT32_C(1) << r->target % f->stream_count;
        if (r->oldest_seq == 0 || end.oldest_seq < r->oldest_seq)
            r->oldest_seq = end.oldest_seq;
    }
    bool all = f->stream_count > 0 && r->pruned == (uint32_t)((UINT64_C(1) << f->stream_count) - 1);
    uint64_t oldest_seq = r->oldest_seq;
    leave(f, false, now_ns);
    return !all || follower_report_lost(f, oldest_seq);
}

/* One frame; false if the follower was restarted by a callback. */
static bool on_frame(struct follower *f, enum replay_type type, const uint8_t *body, size_t length,
                     const struct follower_arrival *a)
{
    switch (type) {
    case REPLAY_BATCH: {
        struct batch_header b;
        enum wire_verdict verdict = batch_verify(body, length, f->options.stream, &b);
        if (verdict == WIRE_OK && b.length <= f->pending.stride)
            return follower_place(f, body, &b, a);
        if (verdict == WIRE_OK)
            follower_count(f, COUNTER_OVERSIZED_IN);
        else
            follower_count_dropped(f, verdict);
        leave(f, false, a->now_ns);
        return true;
    }
    case REPLAY_VOUCH: {
        struct heartbeat hb;
        enum wire_verdict verdict = heartbeat_decode(body, length, f->options.stream, &hb);
        if (verdict == WIRE_OK)
            return follower_heartbeat(f, &hb, a);
        follower_count_dropped(f, verdict);
        leave(f, false, a->now_ns);
        return true;
    }
    case REPLAY_END:
        return on_end(f, body, length, a->now_ns);
    case REPLAY_REQUEST:
    case REPLAY_STATUS_REQUEST:
    case REPLAY_STATUS:
    case REPLAY_COMMAND:
    case REPLAY_OUTCOME:
    case REPLAY_CLIENTS_REQUEST:
    case REPLAY_CLIENTS:
        break;
    }
    follower_count(f, COUNTER_DROPPED_MALFORMED);
    leave(f, false, a->now_ns);
    return true;
}

static bool no_room(const struct follower *f)
{
    return f->refused || f->pending.linked == f->pending.max;
}

static bool on_bytes(struct follower *f, const struct port_stream_event *e, uint64_t now_ns,
                     size_t *consumed)
{
    struct follower_replay *r = &f->replay;
    struct follower_arrival a = { .now_ns = now_ns,
                                  .from = e->peer,
                                  .adopted = f->adopted &&
                                             port_addr_equal(e->peer, f->adopted_source.stream) };
    size_t at = 0;
    if (e->length != r->unread)
        r->progress_ns = now_ns; /* the rest of a frame may be long in coming */
    r->blocked = false;
    r->state = REPLAY_STREAMING;
    while (at < e->length) {
        enum replay_type type;
        size_t length = replay_frame_peek(e->bytes + at, e->length - at, &type);
        if (length == 0)
            break;
        if (length == SIZE_MAX) {
            follower_count(f, COUNTER_DROPPED_MALFORMED);
            leave(f, false, now_ns);
            break;
        }
        if (type == REPLAY_BATCH && no_room(f)) {
            r->blocked = true;
            break;
        }
        const uint8_t *body = e->bytes + at + REPLAY_FRAME_HEADER;
        at += length;
        r->progress_ns = now_ns;
        *consumed = at;
        if (!on_frame(f, type, body, length - REPLAY_FRAME_HEADER, &a)) {
            *consumed = e->length;
            return false;
        }
        if (r->state != REPLAY_STREAMING)
            break;
    }
    if (r->state != REPLAY_STREAMING)
        *consumed = e->length; /* closed meanwhile */
    r->unread = e->length - *consumed;
    if (r->state != REPLAY_STREAMING)
        return true;
    if (f->conflict || (f->live && f->chain_next >= f->goal_next))
        leave(f, false, now_ns); /* off our history, or no longer behind the live stream */
    return true;
}

/* ---- the stream ------------------------------------------------------------------------------ */

static void send_request(struct follower *f, uint64_t now_ns)
{
    struct follower_replay *r = &f->replay;
    struct replay_request request = { .stream = f->options.stream,
                                      .first_seq = f->chain_next,
                                      .epoch = f->heard };
    uint8_t body[REPLAY_REQUEST_SIZE];
    uint8_t frame[REPLAY_FRAME_HEADER + REPLAY_REQUEST_SIZE];
    size_t length = replay_request_encode(&request, body, sizeof body);
    assert(length == sizeof body);
    length = replay_frame_encode(REPLAY_REQUEST, body, length, frame, sizeof frame);
    assert(length == sizeof frame);
    if (f->port->ops->stream_room(f->port, r->stream, length) < length)
        return; /* ROOM comes */
    f->port->ops->stream_write(f->port, r->stream, frame, length);
    r->state = REPLAY_ASKED;
    r->begun_seq = f->chain_next;
    r->progress_ns = now_ns;
    follower_count(f, COUNTER_REPLAYS_IN);
}

bool follower_replay_event(struct follower *f, const struct port_stream_event *e, uint64_t now_ns,
                           size_t *consumed)
{
    struct follower_replay *r = &f->replay;
    *consumed = 0;
    if (r->state == REPLAY_IDLE || e->stream != r->stream)
        return false;
    switch (e->type) {
    case PORT_STREAM_CONNECTED:
    case PORT_STREAM_ROOM:
        if (r->state == REPLAY_CONNECTING)
            send_request(f, now_ns);
        break;
    case PORT_STREAM_BYTES:
        on_bytes(f, e, now_ns, consumed);
        break;
    case PORT_STREAM_CLOSED:
        leave(f, true, now_ns);
        break;
    case PORT_STREAM_ACCEPTED:
        break;
    }
    return true;
}

static bool wanted(const struct follower *f)
{
    if (f->stream_count == 0 || f->conflict)
        return false;
    if (follower_starved(f))
        return true;
    if (f->pending.linked == f->pending.max)
        return false;
    if (f->replay.initial && !f->live)
        return true;
    if (f->gap_count == 0 || f->gaps[0].first_seq != f->chain_next)
        return false;
    const struct follower_gap *g = &f->gaps[0];
    return g->end_seq - g->first_seq > f->options.bulk_messages ||
           g->requests > FOLLOWER_BULK_AFTER_RETRIES;
}

static void begin(struct follower *f, uint64_t now_ns)
{
    struct follower_replay *r = &f->replay;
    if (follower_starved(f))
        follower_rewind(f); /* read again, with vouches in between */
    r->begun_seq = f->chain_next;
    r->unread = 0;
    r->progress_ns = now_ns;
    r->stream = f->port->ops->stream_connect(f->port, f->streams[r->target % f->stream_count]);
    if (r->stream == 0) {
        leave(f, true, now_ns);
        return;
    }
    r->state = REPLAY_CONNECTING;
}

uint64_t follower_replay_step(struct follower *f, uint64_t now_ns)
{
    struct follower_replay *r = &f->replay;
    if (f->live)
        r->initial = false;
    if (r->state != REPLAY_IDLE) {
        if (r->blocked) {
            r->progress_ns = now_ns; /* our own fault */
            return PORT_NEVER;       /* follower_step comes back for it */
        }
        if (now_ns - r->progress_ns >= FOLLOWER_STREAM_STALL_NS)
            leave(f, false, now_ns);
        else
            return r->progress_ns + FOLLOWER_STREAM_STALL_NS;
    }
    if (!wanted(f))
        return PORT_NEVER;
    if (r->due_ns > now_ns)
        return r->due_ns;
    begin(f, now_ns);
    return r->state != REPLAY_IDLE ? now_ns + FOLLOWER_STREAM_STALL_NS : r->due_ns;
}
