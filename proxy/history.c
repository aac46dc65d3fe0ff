#include "proxy/history.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { REPLAYS_DEFAULT = 8, WAITING_DEFAULT = 16384, ANSWERS = 8, NONE = 0 };

#define STALL_NS     UINT64_C(2000000000)
#define PAUSE_NS     UINT64_C(50000000)
#define PAUSE_MAX_NS UINT64_C(1000000000)
#define GIVE_WAY_NS  UINT64_C(200000000) /* refused for so long while others wait */

struct job {
    uint64_t first_seq, end_seq; /* what is still to be handed over */
    void *reader;
    uint32_t lane; /* NONE: it waits, or is free */
    uint32_t next, previous;
};

/* Where in time something was. */
struct search {
    uint64_t time_ns, low, high;
    bool amid; /* what begins at `high` may be the middle of a message */
    bool active;
    bool again; /* the next request is to be sent */
};

struct answer {
    uint64_t time_ns, seq;
};

enum lane_state { LANE_FREE, LANE_PAUSED, LANE_CONNECTING, LANE_ASKED };

struct lane {
    enum lane_state state;
    uint32_t stream;
    uint32_t job; /* NONE: it searches */
    uint32_t source;
    uint32_t fruitless; /* attempts in a row that brought nothing */
    uint32_t pruned;    /* mask of sources */
    uint64_t oldest_seq;
    uint64_t due_ns, interval_ns, progress_ns, refused_ns;
    uint64_t next_seq; /* of the chain */
    struct digest digest;
    bool linked;      /* digest is that before next_seq */
    bool between;     /* what comes begins no run's middle */
    bool progressed;  /* since it connected */
    bool doubted;     /* a batch came that does not follow it */
    bool refused;     /* by the reader */
    bool resumed;     /* bytes that were left are to be looked at */
    uint32_t offered; /* messages of the batch in front that the assembler has */
    uint32_t run_count, run_done;
    const struct run_message *run; /* collected, and not all handed over */
    struct run_assembler assembler;
};

struct history {
    struct history_options o;
    struct history_callbacks callbacks;
    struct port *port;
    const struct epoch_table *epochs;
    uint64_t *counters;
    struct job *jobs; /* from 1 */
    uint32_t job_free, job_end;
    uint32_t first_waiting, last_waiting;
    struct lane *lanes;
    struct search search;
    struct answer answers[ANSWERS];
    uint32_t answer_count;
    uint64_t now_ns;
};

/* ---- memory ---------------------------------------------------------------------------------- */

static struct history_options resolve(const struct history_options *in)
{
    struct history_options o = *in;
    if (o.replays_max == 0)
        o.replays_max = REPLAYS_DEFAULT;
    if (o.waiting_max == 0)
        o.waiting_max = WAITING_DEFAULT;
    return o;
}

size_t history_memory(const struct history_options *in)
{
    struct history_options o = resolve(in);
    return sizeof(struct history) + (o.waiting_max + (size_t)1) * sizeof(struct job) +
           o.replays_max * (sizeof(struct lane) + run_memory(o.run_bytes_max));
}

struct history *history_create(const struct history_options *in, struct port *port,
                               const struct epoch_table *epochs, uint64_t *counters)
{
    struct history *h = calloc(1, sizeof *h);
    if (h == NULL)
        return NULL;
    h->o = resolve(in);
    h->port = port;
    h->epochs = epochs;
    h->counters = counters;
    h->job_end = 1;
    h->jobs = calloc(h->o.waiting_max + 1, sizeof h->jobs[0]);
    h->lanes = calloc(h->o.replays_max, sizeof h->lanes[0]);
    bool good = h->jobs != NULL && h->lanes != NULL;
    for (uint32_t i = 0; good && i < h->o.replays_max; i++)
        good = run_init(&h->lanes[i].assembler, h->o.run_bytes_max);
    if (good)
        return h;
    history_destroy(h);
    return NULL;
}

void history_destroy(struct history *h)
{
    if (h == NULL)
        return;
    for (uint32_t i = 0; h->lanes != NULL && i < h->o.replays_max; i++)
        run_close(&h->lanes[i].assembler);
    free(h->lanes);
    free(h->jobs);
    free(h);
}

void history_listen(struct history *h, const struct history_callbacks *callbacks)
{
    h->callbacks = *callbacks;
}

/* ---- jobs ------------------------------------------------------------------------------------ */

static void queue_job(struct history *h, uint32_t j)
{
    struct job *job = &h->jobs[j];
    job->lane = NONE;
    job->next = NONE;
    job->previous = h->last_waiting;
    *(h->last_waiting != NONE ? &h->jobs[h->last_waiting].next : &h->first_waiting) = j;
    h->last_waiting = j;
}

static void unqueue_job(struct history *h, uint32_t j)
{
    struct job *job = &h->jobs[j];
    *(job->previous != NONE ? &h->jobs[job->previous].next : &h->first_waiting) = job->next;
    *(job->next != NONE ? &h->jobs[job->next].previous : &h->last_waiting) = job->previous;
}

static void free_job(struct history *h, uint32_t j)
{
    h->jobs[j].reader = NULL;
    h->jobs[j].next = h->job_free;
    h->job_free = j;
}

uint32_t history_ask(struct history *h, uint64_t first_seq, uint64_t end_seq, void *reader)
{
    uint32_t j = h->job_free;
    assert(first_seq > 0 && first_seq < end_seq);
    if (j != NONE)
        h->job_free = h->jobs[j].next;
    else if (h->job_end <= h->o.waiting_max)
        j = h->job_end++;
    else
        return HISTORY_NONE;
    h->jobs[j] = (struct job) { .first_seq = first_seq, .end_seq = end_seq, .reader = reader };
    queue_job(h, j);
    return j;
}

/* ---- lanes ----------------------------------------------------------------------------------- */

static void hang_up(struct history *h, struct lane *l)
{
    if (l->state == LANE_CONNECTING || l->state == LANE_ASKED)
        h->port->ops->stream_close(h->port, l->stream);
    l->state = LANE_PAUSED;
    l->resumed = l->refused = false; /* the batch in front comes again, and goes on where it was */
}

static void free_lane(struct history *h, struct lane *l)
{
    hang_up(h, l);
    l->state = LANE_FREE;
}

static void begin_lane(struct history *h, struct lane *l, uint32_t job, uint64_t next_seq)
{
    struct run_assembler assembler = l->assembler;
    uint32_t source = l->source;
    *l = (struct lane) { .state = LANE_PAUSED,
                         .job = job,
                         .source = source,
                         .due_ns = h->now_ns,
                         .interval_ns = PAUSE_NS,
                         .next_seq = next_seq,
                         .between = true,
                         .assembler = assembler };
    run_reset(&l->assembler);
}

/* So far below that a run which is open where it is asked for is whole. */
static uint64_t chain_begin(uint64_t first_seq)
{
    return first_seq > RUN_MESSAGES_MAX ? first_seq - RUN_MESSAGES_MAX : 1;
}

static void begin_job(struct history *h, struct lane *l, uint32_t j)
{
    begin_lane(h, l, j, chain_begin(h->jobs[j].first_seq));
    h->jobs[j].lane = (uint32_t)(l - h->lanes) + 1;
}

/* Nobody checks a chain's first batch: if no store goes on from what it led to, it was a lie. */
static void begin_chain_anew(const struct history *h, struct lane *l)
{
    l->next_seq = chain_begin(h->jobs[l->job].first_seq);
    l->linked = l->doubted = false;
    l->between = true;
    l->offered = l->run_count = 0;
    run_reset(&l->assembler);
}

void history_cancel(struct history *h, uint32_t replay)
{
    struct job *job = &h->jobs[replay];
    if (job->lane != NONE)
        free_lane(h, &h->lanes[job->lane - 1]);
    else
        unqueue_job(h, replay);
    free_job(h, replay);
}

void history_resume(struct history *h, uint32_t replay)
{
    struct job *job = &h->jobs[replay];
    struct lane *l = job->lane != NONE ? &h->lanes[job->lane - 1] : NULL;
    if (l == NULL || !l->refused) /* the stream that had it left is gone: no bytes come for it */
        return;
    l->refused = false;
    l->resumed = true;
}

/* This attempt is over; the next one goes to the next store, at once if this one brought anything. */
static void give_up(struct history *h, struct lane *l, bool closed)
{
    if (closed)
        l->state = LANE_PAUSED;
    hang_up(h, l);
    l->due_ns = h->now_ns;
    l->source++;
    if (l->progressed) {
        l->fruitless = 0;
        l->pruned = 0;
        l->oldest_seq = 0;
        l->interval_ns = PAUSE_NS;
        return;
    }
    if (++l->fruitless % (h->o.source_count > 0 ? h->o.source_count : 1) != 0)
        return;
    if (l->doubted && l->job != NONE)
        begin_chain_anew(h, l);
    l->due_ns = h->now_ns + l->interval_ns;
    l->interval_ns = l->interval_ns < PAUSE_MAX_NS / 2 ? l->interval_ns * 2 : PAUSE_MAX_NS;
}

static void fail(struct history *h, struct lane *l, uint64_t oldest_seq)
{
    void *reader = h->jobs[l->job].reader;
    free_job(h, l->job);
    free_lane(h, l);
    h->callbacks.failed(h->callbacks.ctx, reader, oldest_seq);
}

static void finish(struct history *h, struct lane *l)
{
    void *reader = h->jobs[l->job].reader;
    free_job(h, l->job);
    free_lane(h, l);
    h->callbacks.done(h->callbacks.ctx, reader);
}

static void pruned(struct history *h, struct lane *l, uint64_t oldest_seq)
{
    const struct job *job = &h->jobs[l->job];
    if (l->job != NONE && oldest_seq <= job->first_seq && oldest_seq > l->next_seq) {
        /* What was asked for is there, only a run that is open there might not be. */
        hang_up(h, l);
        l->due_ns = h->now_ns;
        l->next_seq = oldest_seq;
        l->linked = l->between = false;
        l->offered = l->run_count = 0;
        run_reset(&l->assembler);
        return;
    }
    if (h->o.source_count > 0)
        l->pruned |= UINT32_C(1) << l->source % h->o.source_count;
    if (l->oldest_seq == 0 || oldest_seq < l->oldest_seq)
        l->oldest_seq = oldest_seq;
    bool all =
        h->o.source_count > 0 && l->pruned == (uint32_t)((UINT64_C(1) << h->o.source_count) - 1);
    uint64_t oldest = l->oldest_seq;
    give_up(h, l, false);
    if (!all)
        return;
    if (l->job != NONE) {
        fail(h, l, oldest);
    } else { /* nothing below is left: what is left begins there */
        h->search.low = oldest > h->search.low ? oldest : h->search.low + 1;
        h->search.amid = h->search.amid && oldest < h->search.high;
        l->pruned = 0;
        l->due_ns = h->now_ns;
    }
}

/* ---- batches --------------------------------------------------------------------------------- */

static bool on_history(const struct history *h, const struct batch_header *b)
{
    const struct epoch_entry *first = epoch_table_find(h->epochs, b->first_seq);
    const struct epoch_entry *last = epoch_table_find(h->epochs, batch_end_seq(b) - 1);
    return first != NULL && first == last && epoch_equal(first->epoch, b->epoch) &&
           (b->first_seq != first->first_seq || b->first_seq == 1 ||
            digest_equal(b->before, first->before));
}

static bool follows(const struct lane *l, const struct batch_header *b)
{
    if (l->linked)
        return b->first_seq == l->next_seq && digest_equal(b->before, l->digest);
    return b->first_seq <= l->next_seq && batch_end_seq(b) > l->next_seq;
}

/* What the assembler has collected. False: refused. */
static bool hand_over(struct history *h, struct lane *l, uint64_t stable)
{
    for (; l->run_done < l->run_count; l->run_done++) {
        const struct run_message *m = &l->run[l->run_done];
        struct job *job = &h->jobs[l->job];
        if (m->message.seq < job->first_seq || m->message.seq >= job->end_seq)
            continue;
        if (!h->callbacks.message(h->callbacks.ctx, job->reader, m, stable))
            return false;
        job->first_seq = m->message.seq + 1;
        l->progressed = true;
    }
    return true;
}

enum taken { TAKEN_ALL, TAKEN_REFUSED, TAKEN_LOST };

static enum taken take_messages(struct history *h, struct lane *l, const uint8_t *bytes,
                                const struct batch_header *b)
{
    struct batch_cursor c = batch_begin(bytes, b);
    struct message m;
    for (uint32_t i = 0; batch_next(&c, &m); i++) {
        if (i < l->offered) {
            if (i + 1 == l->offered && !hand_over(h, l, b->stable))
                return TAKEN_REFUSED;
            continue;
        }
        if (!l->between) { /* it may be the middle of a run */
            l->between = (m.flags & MESSAGE_MORE) == 0;
            if (m.seq >= h->jobs[l->job].first_seq)
                return TAKEN_LOST;
            l->offered++;
            continue;
        }
        l->run_count = run_offer(&l->assembler, &m, &l->run);
        l->run_done = 0;
        bool single = l->run_count == 1 && l->run == &l->assembler.single;
        if (single && !hand_over(h, l, b->stable)) {
            l->run_count = 0; /* its payload is in the batch: it is offered anew */
            return TAKEN_REFUSED;
        }
        l->offered++;
        if (!single && !hand_over(h, l, b->stable))
            return TAKEN_REFUSED;
    }
    l->run_count = 0;
    return TAKEN_ALL;
}

/* What a search asks for: what is in the middle, and in the end what is in front of what it has found. */
static uint64_t wanted_seq(const struct search *s)
{
    return s->low < s->high ? s->low + (s->high - s->low) / 2 : s->high - 1;
}

static bool is_found(const struct search *s)
{
    return s->low >= s->high && (!s->amid || s->high <= 1);
}

/* Goes back to where the message begins that is open at the end of this batch, if one is. */
static void go_to_beginning(struct search *s, const uint8_t *bytes, const struct batch_header *b)
{
    struct batch_cursor cursor = batch_begin(bytes, b);
    struct message m;
    s->high = b->first_seq;
    s->amid = true;
    while (batch_next(&cursor, &m))
        if ((m.flags & MESSAGE_FRAGMENT) == 0) {
            s->high = m.seq + 1;
            s->amid = false;
        }
}

/* One batch of a search: on which side of it the time is. */
static void halve(struct history *h, struct lane *l, const uint8_t *bytes,
                  const struct batch_header *b)
{
    struct search *s = &h->search;
    l->progressed = true;
    if (s->low >= s->high) {
        go_to_beginning(s, bytes, b);
    } else if (b->timestamp_ns < s->time_ns) {
        s->low = batch_end_seq(b);
    } else if (b->first_seq < s->high) {
        s->high = b->first_seq;
        s->amid = true;
    }
}

/* Whether a batch tells a search anything. */
static bool tells(const struct search *s, const struct batch_header *b)
{
    return s->low < s->high ? batch_end_seq(b) > s->low : batch_end_seq(b) == s->high;
}

/* False: it stays where it is. */
static bool on_batch(struct history *h, struct lane *l, const uint8_t *bytes, size_t length)
{
    struct batch_header b;
    enum wire_verdict verdict = batch_verify(bytes, length, h->o.stream, &b);
    if (verdict != WIRE_OK || !on_history(h, &b) ||
        (l->job != NONE ? !follows(l, &b) : !tells(&h->search, &b))) {
        h->counters[verdict != WIRE_OK ? COUNTER_DROPPED_CORRUPT : COUNTER_STALE_IN]++;
        l->doubted = l->doubted || verdict == WIRE_OK;
        give_up(h, l, false);
        return true;
    }
    if (l->job == NONE) {
        halve(h, l, bytes, &b);
        return true;
    }
    switch (take_messages(h, l, bytes, &b)) {
    case TAKEN_REFUSED:
        if (!l->refused)
            l->refused_ns = h->now_ns;
        l->refused = true;
        return false;
    case TAKEN_LOST:
        fail(h, l, batch_end_seq(&b));
        return true;
    case TAKEN_ALL:
        break;
    }
    l->offered = 0;
    l->next_seq = batch_end_seq(&b);
    l->digest = b.digest;
    l->linked = l->progressed = true;
    l->doubted = false;
    /* A group that is open there has messages below the end. */
    if (l->next_seq - l->assembler.parts >= h->jobs[l->job].end_seq)
        finish(h, l);
    return true;
}

static void on_end(struct history *h, struct lane *l, const uint8_t *body, size_t length)
{
    struct replay_end end;
    if (!replay_end_decode(body, length, &end)) {
        h->counters[COUNTER_DROPPED_MALFORMED]++;
        give_up(h, l, false);
    } else if (end.reason == REPLAY_PRUNED) {
        pruned(h, l, end.oldest_seq);
    } else if (end.reason == REPLAY_DONE && l->job == NONE && l->progressed) {
        h->search.again = true;
    } else {
        give_up(h, l, false);
    }
}

/* False: it stays. */
static bool on_frame(struct history *h, struct lane *l, enum replay_type type, const uint8_t *body,
                     size_t length)
{
    switch (type) {
    case REPLAY_BATCH:
        return on_batch(h, l, body, length);
    case REPLAY_VOUCH: /* what is asked for is stable: nobody needs to vouch for it */
        return true;
    case REPLAY_END:
        on_end(h, l, body, length);
        return true;
    case REPLAY_REQUEST:
    case REPLAY_STATUS_REQUEST:
    case REPLAY_STATUS:
    case REPLAY_COMMAND:
    case REPLAY_OUTCOME:
    case REPLAY_CLIENTS_REQUEST:
    case REPLAY_CLIENTS:
        break;
    }
    h->counters[COUNTER_DROPPED_MALFORMED]++;
    give_up(h, l, false);
    return true;
}

/* ---- streams --------------------------------------------------------------------------------- */

static void send_request(struct history *h, struct lane *l)
{
    const struct search *s = &h->search;
    struct replay_request request = { .stream = h->o.stream, .first_seq = l->next_seq };
    if (l->job != NONE) {
        request.end_seq = h->jobs[l->job].end_seq + RUN_MESSAGES_MAX;
    } else {
        request.first_seq = wanted_seq(s);
        request.end_seq = request.first_seq + 1;
    }
    if (h->epochs->count > 0)
        request.epoch = h->epochs->entries[h->epochs->count - 1].epoch;
    uint8_t body[REPLAY_REQUEST_SIZE], frame[REPLAY_FRAME_HEADER + REPLAY_REQUEST_SIZE];
    size_t length = replay_request_encode(&request, body, sizeof body);
    assert(length == sizeof body);
    length = replay_frame_encode(REPLAY_REQUEST, body, length, frame, sizeof frame);
    if (h->port->ops->stream_room(h->port, l->stream, length) < length)
        return; /* ROOM comes */
    h->port->ops->stream_write(h->port, l->stream, frame, length);
    h->search.again = h->search.again && l->job != NONE;
    l->state = LANE_ASKED;
    l->progress_ns = h->now_ns;
    h->counters[COUNTER_REPLAYS_IN]++;
}

static size_t on_bytes(struct history *h, struct lane *l, const struct port_stream_event *e)
{
    size_t at = 0;
    l->resumed = false;
    while (at < e->length && l->state == LANE_ASKED && l->stream == e->stream && !l->refused) {
        enum replay_type type;
        size_t length = replay_frame_peek(e->bytes + at, e->length - at, &type);
        if (length == 0)
            break;
        if (length == SIZE_MAX) {
            h->counters[COUNTER_DROPPED_MALFORMED]++;
            give_up(h, l, false);
            break;
        }
        l->progress_ns = h->now_ns;
        const uint8_t *body = e->bytes + at + REPLAY_FRAME_HEADER;
        if (!on_frame(h, l, type, body, length - REPLAY_FRAME_HEADER))
            break;
        at += length;
    }
    return l->state == LANE_ASKED && l->stream == e->stream ? at : e->length;
}

bool history_on_stream(struct history *h, const struct port_stream_event *e, struct port_time now,
                       size_t *consumed)
{
    h->now_ns = now.mono_ns;
    *consumed = 0;
    for (uint32_t i = 0; i < h->o.replays_max; i++) {
        struct lane *l = &h->lanes[i];
        if ((l->state != LANE_CONNECTING && l->state != LANE_ASKED) || l->stream != e->stream)
            continue;
        switch (e->type) {
        case PORT_STREAM_CONNECTED:
        case PORT_STREAM_ROOM:
            if (l->state == LANE_CONNECTING)
                send_request(h, l);
            break;
        case PORT_STREAM_BYTES:
            *consumed = on_bytes(h, l, e);
            break;
        case PORT_STREAM_CLOSED:
            give_up(h, l, true);
            break;
        case PORT_STREAM_ACCEPTED:
            break;
        }
        return true;
    }
    return false;
}

static void connect_lane(struct history *h, struct lane *l)
{
    l->progressed = false;
    l->progress_ns = h->now_ns;
    struct follower_source none = { 0 };
    const struct follower_source *source =
        h->o.source_count > 0 ? &h->o.sources[l->source % h->o.source_count] : &none;
    l->stream =
        source->stream.port != 0 ? h->port->ops->stream_connect(h->port, source->stream) : 0;
    if (l->stream != 0)
        l->state = LANE_CONNECTING;
    else
        give_up(h, l, true);
}

/* ---- searches -------------------------------------------------------------------------------- */

static void answer_search(struct history *h)
{
    h->answers[h->answer_count++ % ANSWERS] =
        (struct answer) { .time_ns = h->search.time_ns, .seq = h->search.high };
    h->search.active = false;
}

bool history_find_time(struct history *h, uint64_t time_ns, uint64_t low, uint64_t high,
                       uint64_t *seq)
{
    uint32_t count = h->answer_count < ANSWERS ? h->answer_count : ANSWERS;
    for (uint32_t i = 0; i < count; i++) {
        if (h->answers[i].time_ns != time_ns)
            continue;
        *seq = h->answers[i].seq;
        return true;
    }
    if (!h->search.active)
        h->search =
            (struct search) { .time_ns = time_ns, .low = low, .high = high, .active = true };
    return false;
}

/* ---- time ------------------------------------------------------------------------------------ */

static bool searching(const struct history *h)
{
    for (uint32_t i = 0; i < h->o.replays_max; i++)
        if (h->lanes[i].state != LANE_FREE && h->lanes[i].job == NONE)
            return true;
    return false;
}

static void fill_lane(struct history *h, struct lane *l)
{
    if (h->search.active && !searching(h)) {
        begin_lane(h, l, NONE, 0);
    } else if (h->first_waiting != NONE) {
        uint32_t j = h->first_waiting;
        unqueue_job(h, j);
        begin_job(h, l, j);
    }
}

static void make_way(struct history *h, struct lane *l)
{
    uint32_t j = l->job;
    if (!l->refused || h->first_waiting == NONE || h->now_ns - l->refused_ns < GIVE_WAY_NS)
        return;
    free_lane(h, l);
    queue_job(h, j);
}

static uint64_t step_lane(struct history *h, struct lane *l)
{
    if (l->state == LANE_FREE)
        fill_lane(h, l);
    if (l->state != LANE_FREE && l->job == NONE && is_found(&h->search)) {
        if (h->search.active)
            answer_search(h);
        free_lane(h, l);
        return h->now_ns;
    }
    if (l->job != NONE)
        make_way(h, l);
    switch (l->state) {
    case LANE_FREE:
        return h->first_waiting != NONE || h->search.active ? h->now_ns + PAUSE_NS : PORT_NEVER;
    case LANE_PAUSED:
        if (h->now_ns >= l->due_ns)
            connect_lane(h, l);
        return l->state == LANE_PAUSED ? l->due_ns : l->progress_ns + STALL_NS;
    case LANE_CONNECTING:
    case LANE_ASKED:
        break;
    }
    if (l->job == NONE && h->search.again && l->state == LANE_ASKED)
        send_request(h, l);
    if (l->resumed)
        return h->now_ns;
    if (l->refused) {
        l->progress_ns = h->now_ns; /* our own fault */
        return h->now_ns + GIVE_WAY_NS;
    }
    if (h->now_ns - l->progress_ns >= STALL_NS) {
        give_up(h, l, false);
        return l->due_ns;
    }
    return l->progress_ns + STALL_NS;
}

uint64_t history_step(struct history *h, struct port_time now)
{
    uint64_t deadline = PORT_NEVER;
    h->now_ns = now.mono_ns;
    for (uint32_t i = 0; i < h->o.replays_max; i++) {
        uint64_t at = step_lane(h, &h->lanes[i]);
        deadline = at < deadline ? at : deadline;
    }
    return deadline;
}
