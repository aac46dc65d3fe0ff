#include "client.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char client_fault[256];

__attribute__((format(printf, 2, 3))) static void fault(struct client *c, const char *format, ...)
{
    va_list args;
    c->closed = true;
    if (client_fault[0] != 0)
        return;
    va_start(args, format);
    vsnprintf(client_fault, sizeof client_fault, format, args);
    va_end(args);
}

/* ---- what is expected ------------------------------------------------------------------------ */

static uint8_t *room_for(struct client *c, size_t more)
{
    while (c->length + more > c->capacity) {
        c->capacity = c->capacity == 0 ? 65536 : 2 * c->capacity;
        c->expected = realloc(c->expected, c->capacity);
        assert(c->expected != NULL);
    }
    return c->expected + c->length;
}

static void end_segment(struct client *c, uint64_t seq)
{
    size_t before = c->segment_count > 0 ? c->segments[c->segment_count - 1].end : 0;
    if (c->length == before)
        return;
    if (c->segment_count == c->segment_capacity) {
        c->segment_capacity = c->segment_capacity == 0 ? 1024 : 2 * c->segment_capacity;
        c->segments = realloc(c->segments, c->segment_capacity * sizeof c->segments[0]);
        assert(c->segments != NULL);
    }
    c->segments[c->segment_count++] = (struct segment) { .seq = seq, .end = c->length };
}

static bool wants(const struct client *c, uint32_t topic)
{
    if (c->set_count == 0)
        return false;
    const struct client_set *set = &c->sets[c->set_count - 1];
    return stream_wants(c->stream, topic, set->subtrees, set->count);
}

/* What an encoder would know that read the block from its beginning. */
static void walk(struct client *c, uint64_t next)
{
    const struct stream *s = c->stream;
    uint8_t nothing[ENCODER_OVERHEAD_MAX];
    uint64_t through;
    encoder_begin(&c->encoder);
    c->block = (struct block) { 0 };
    c->next_index = stream_index(s, block_begin(next > 1 ? next - 1 : next));
    while (c->next_index < s->message_count &&
           s->messages[c->next_index].whole.message.seq < next) {
        const struct run_message *m = &s->messages[c->next_index++].whole;
        if (block_ends(&c->block, m->message.seq, &through))
            encoder_begin(&c->encoder);
        if (wants(c, m->message.topic))
            (void)encoder_head(&c->encoder, s->catalog, m, true, nothing);
        block_note(&c->block, &m->message);
    }
}

/* Who begins here, and the block is over, is told nothing of it. */
static void walk_to_begin(struct client *c, uint64_t next)
{
    uint64_t through;
    walk(c, next);
    if (block_ends(&c->block, next, &through))
        encoder_begin(&c->encoder);
}

static void say_names(struct client *c, uint64_t next)
{
    walk_to_begin(c, next);
    for (uint32_t at = 0; at < ENCODER_NAMES;)
        c->length += encoder_names(&c->encoder, c->stream->catalog, &at, room_for(c, 4096), 4096);
}

static void say_epoch(struct client *c, uint64_t seq)
{
    const struct epoch_entry *e = epoch_table_find(catalog_epochs(c->stream->catalog), seq);
    if (e == NULL || e->first_seq <= c->epoch_said)
        return;
    struct edge_epoch epoch = { .epoch = e->epoch, .first_seq = e->first_seq };
    c->length += edge_epoch_encode(&epoch, room_for(c, 64), 64);
    c->epoch_said = e->first_seq;
}

static void say_progress(struct client *c, const struct stream_message *m)
{
    const struct message *from = &m->whole.message;
    struct edge_progress p = { .through = from->seq,
                               .previous = c->encoder.previous,
                               .stable = m->stable,
                               .timestamp_ns = from->timestamp_ns };
    c->length += edge_progress_encode(&p, room_for(c, 64), 64);
}

static void say_tick(struct client *c, const struct stream_message *m)
{
    const struct message *from = &m->whole.message;
    bool owns = false;
    for (uint32_t p = 1; p <= STREAM_PUBLISHERS; p++)
        owns = owns || c->own_from[p] != UINT64_MAX;
    uint64_t interval = from->timestamp_ns / c->tick_ns;
    if (interval <= c->tick_last || (!c->subscribed && !owns))
        return;
    say_progress(c, m);
    c->tick_last = interval;
}

static void say_outcome(struct client *c, const struct stream_message *m)
{
    const struct message *from = &m->whole.message;
    if (from->publisher == 0 || from->publisher > STREAM_PUBLISHERS || from->seq <= c->floor ||
        c->own_from[from->publisher] == UINT64_MAX || from->seq <= c->own_from[from->publisher])
        return;
    struct edge_outcome o = { .publisher = from->publisher,
                              .number = from->publisher_seq,
                              .count = m->whole.fragments,
                              .seq = from->seq,
                              .stable = m->stable };
    struct sys_reject reject;
    if (from->topic == TOPIC_REJECT && sys_reject_decode(from->payload, from->length, &reject)) {
        o.reason = reject.reason;
        o.count = reject.count;
        o.detail = reject.detail;
    }
    c->length += edge_outcome_encode(&o, room_for(c, 64), 64);
}

static void expect_message(struct client *c, const struct stream_message *m)
{
    const struct message *from = &m->whole.message;
    uint64_t through;
    if (from->topic == TOPIC_EPOCH || from->topic == TOPIC_GENESIS)
        say_epoch(c, from->seq);
    if (block_ends(&c->block, from->seq, &through))
        c->length += encoder_end(&c->encoder, through, m->stable, c->block.timestamp_ns, false,
                                 room_for(c, ENCODER_END_MAX));
    if (wants(c, from->topic))
        c->length += encoder_message(&c->encoder, c->stream->catalog, &m->whole, false,
                                     room_for(c, ENCODER_OVERHEAD_MAX + (size_t)from->length));
    say_outcome(c, m);
    if (from->topic == TOPIC_CLOCK)
        say_tick(c, m);
    if (from->seq == c->mark)
        say_progress(c, m);
    block_note(&c->block, from);
    end_segment(c, from->seq);
}

/* Everything there is. */
static void expect_all(struct client *c)
{
    if (!c->exact || !c->started)
        return;
    while (c->next_index < c->stream->message_count)
        expect_message(c, &c->stream->messages[c->next_index++]);
}

static uint64_t tip_of(const struct client *c)
{
    return c->stream->next_seq - 1 - c->stream->open_parts;
}

static uint64_t last_seq(const struct stream *s)
{
    return s->message_count > 0 ? s->messages[s->message_count - 1].whole.message.seq : 0;
}

/* ---- requests -------------------------------------------------------------------------------- */

void client_open(struct client *c, struct stream *s, struct readers *readers, uint32_t principal,
                 bool stable)
{
    *c = (struct client) { .stream = s,
                           .readers = readers,
                           .principal = principal,
                           .exact = principal == ACCESS_PRINCIPAL_ADMIN,
                           .stable = stable,
                           .started = true,
                           .tick_ns = EDGE_TICK_DEFAULT_MS * UINT64_C(1000000) };
    memset(c->own_from, 0xff, sizeof c->own_from);
    c->reader = reader_open(readers, principal, stable ? EDGE_STABLE : EDGE_SEQUENCED, c);
    assert(c->reader != NULL);
    const struct epoch_entry *e = epoch_table_find(catalog_epochs(s->catalog), last_seq(s));
    c->epoch_said = e != NULL ? e->first_seq : 0;
    walk(c, last_seq(s) + 1);
}

static size_t put_subtrees(const char *const *subtrees, uint32_t count, uint8_t *out,
                           struct edge_subtrees *to)
{
    size_t length = 0;
    for (uint32_t i = 0; i < count; i++) {
        size_t n = strlen(subtrees[i]);
        out[length++] = (uint8_t)n;
        memcpy(out + length, subtrees[i], n);
        length += n;
    }
    *to = (struct edge_subtrees) { .count = (uint16_t)count, .at = out, .length = length };
    return length;
}

static void put_set(struct client *c, uint64_t seq, const char *const *subtrees, uint32_t count)
{
    assert(c->set_count < CLIENT_SETS && count <= CLIENT_SUBTREES);
    struct client_set *set = &c->sets[c->set_count++];
    *set = (struct client_set) { .seq = seq, .number = c->changes, .count = count };
    memcpy(set->subtrees, subtrees, count * sizeof subtrees[0]);
}

static void note_rights(struct client *c)
{
    for (uint32_t t = 0; t < STREAM_TOPICS_END; t++)
        c->may[t] = stream_may_read(c->stream, c->principal, t);
}

void client_subscribe(struct client *c, const struct edge_subscribe *request,
                      const char *const *subtrees, uint32_t count)
{
    uint8_t bytes[1024];
    expect_all(c);
    c->request = *request;
    put_subtrees(subtrees, count, bytes, &c->request.subtrees);
    struct position tip = stream_position(c->stream, tip_of(c));
    c->asked = request->from == EDGE_FROM_TIP ? tip : request->position;
    c->floor = last_seq(c->stream);
    note_rights(c);
    c->subscribed = true;
    c->started = false; /* until it is told where */
    c->stable = request->level == EDGE_STABLE;
    c->tick_ns = request->tick_ms == 0 ? 1 : request->tick_ms * UINT64_C(1000000);
    put_set(c, 0, subtrees, count);
    c->joined = true;
    c->mark = last_seq(c->stream); /* as if its login were that */
    reader_mark(c->reader, c->mark);
    enum reader_refusal refusal = reader_subscribe(c->reader, &c->request, tip);
    assert(refusal == READER_OK);
}

static void say_changed(struct client *c, uint64_t seq)
{
    struct edge_changed changed = { .seq = seq };
    c->length += edge_changed_encode(&changed, room_for(c, 64), 64);
    c->sets[c->set_count - 1].segment_end = c->length;
    end_segment(c, seq - 1);
    say_names(c, seq);
    end_segment(c, seq - 1);
}

static size_t opened(uint64_t seq, uint8_t *out)
{
    struct edge_opened o = { .publisher = 3, .incarnation = 1, .last_number = 5, .join_seq = seq };
    return edge_opened_encode(&o, out, 64);
}

static void say_inserted(struct client *c, uint64_t seq)
{
    c->length += opened(seq, room_for(c, 64));
    end_segment(c, seq);
}

/* It began behind the seq in front of this one, or its set changed last from this one on. */
static bool begins_at(const struct client *c, uint64_t seq)
{
    return c->subscribed &&
           (c->tick_from + 1 == seq || (c->set_count > 0 && c->sets[c->set_count - 1].seq == seq));
}

static void change_again(struct client *c, uint64_t seq)
{
    expect_all(c);
    struct client_set *set = &c->sets[c->set_count++];
    *set = c->fell[0];
    set->seq = seq;
    memmove(c->fell, c->fell + 1, --c->fell_count * sizeof c->fell[0]);
    reader_change_again(c->reader, seq, set->number);
    say_changed(c, seq);
}

void client_change(struct client *c, const char *const *subtrees, uint32_t count)
{
    uint8_t bytes[1024];
    struct edge_subtrees now;
    if (!c->subscribed || !c->started || c->set_count == CLIENT_SETS)
        return;
    uint64_t seq = last_seq(c->stream) + 1;
    if (begins_at(c, seq))
        return; /* there is no record of it in front of that */
    if (c->fell_count > 0) {
        change_again(c, seq);
        return;
    }
    put_subtrees(subtrees, count, bytes, &now);
    if (reader_change(c->reader, &now, seq, c->changes + 1) != READER_OK)
        return;
    c->changes++;
    expect_all(c);
    put_set(c, seq, subtrees, count);
    if (!c->exact)
        return;
    say_changed(c, seq);
}

void client_own(struct client *c, uint32_t publisher)
{
    expect_all(c);
    if (c->own_from[publisher] == UINT64_MAX)
        c->own_from[publisher] = last_seq(c->stream);
    bool owned = reader_own(c->reader, publisher, last_seq(c->stream));
    assert(owned);
}

void client_insert(struct client *c)
{
    uint8_t frame[64];
    uint64_t seq = last_seq(c->stream);
    if (c->set_count > 0 && c->sets[c->set_count - 1].seq > seq)
        return; /* on either side of its CHANGED */
    if (!c->started || !reader_insert(c->reader, seq, false, frame, opened(seq, frame)))
        return;
    expect_all(c);
    if (!c->exact)
        return;
    say_inserted(c, seq);
}

/* ---- forks ----------------------------------------------------------------------------------- */

static void drop_segments(struct client *c, uint64_t seq)
{
    while (c->segment_count > 0 && c->segments[c->segment_count - 1].seq > seq)
        c->segment_count--;
    size_t end = c->segment_count > 0 ? c->segments[c->segment_count - 1].end : 0;
    c->length = end > c->received ? end : c->received;
    if (end < c->received) /* all of it was had */
        end_segment(c, seq);
}

void client_before_fork(struct client *c, struct position common)
{
    if (c->closed)
        return;
    expect_all(c);
    c->common = common;
    if (c->mark > common.seq)
        c->mark = 0;
    c->forked = !c->stable && reader_seq(c->reader) > common.seq;
    bool beyond = false, partly = false;
    size_t begin = 0;
    for (uint32_t i = 0; c->exact && i < c->segment_count; i++) {
        if (c->segments[i].seq > common.seq && begin < c->received) {
            beyond = true;
            partly = c->segments[i].end > c->received;
        }
        begin = c->segments[i].end;
    }
    if (partly && reader_mid_frame(c->reader))
        c->closed = true; /* it will be broken */
    else if (beyond && !c->forked)
        fault(c, "had what is above %lu, and does not know it", common.seq);
    while (c->exact && c->set_count > 1 && c->sets[c->set_count - 1].seq > common.seq + 1 &&
           c->sets[c->set_count - 1].segment_end > c->received) {
        assert(c->fell_count < CLIENT_FELL);
        memmove(c->fell + 1, c->fell, c->fell_count++ * sizeof c->fell[0]);
        c->fell[0] = c->sets[--c->set_count];
    }
    if (c->exact && c->started)
        drop_segments(c, common.seq);
}

static void begin_forked(struct client *c)
{
    struct edge_forked forked = { .common = c->common };
    c->tick_from = c->common.seq;
    c->forks++;
    c->tick_last = c->epoch_said = 0;
    c->length += edge_forked_encode(&forked, room_for(c, 64), 64);
    end_segment(c, c->common.seq);
    say_epoch(c, c->common.seq);
    end_segment(c, c->common.seq);
    say_names(c, c->common.seq + 1);
    end_segment(c, c->common.seq);
}

void client_after_fork(struct client *c)
{
    const struct stream *s = c->stream;
    if (c->closed) {
        if (client_fault[0] == 0 && reader_state(c->reader) < READER_BROKEN)
            fault(c, "in the middle of a frame that no longer holds, and not broken");
        return;
    }
    if (!c->exact && reader_state(c->reader) >= READER_BROKEN)
        c->closed = true; /* its frame went */
    for (uint32_t p = 1; p <= STREAM_PUBLISHERS; p++)
        if (c->own_from[p] != UINT64_MAX && c->own_from[p] > c->common.seq)
            c->own_from[p] = c->common.seq;
    if (c->floor > c->common.seq) {
        c->floor = c->common.seq;
        note_rights(c);
    }
    if (!c->exact || !c->started) {
        c->joined = true;
        return;
    }
    if (c->forked) {
        begin_forked(c);
        return;
    }
    if (begins_at(c, c->common.seq + 1))
        walk_to_begin(c, c->common.seq + 1);
    else
        walk(c, c->common.seq + 1);
    const struct epoch_entry *e = epoch_table_find(catalog_epochs(s->catalog), c->common.seq);
    if (e != NULL && c->epoch_said > e->first_seq)
        c->epoch_said = e->first_seq;
    uint64_t latest = 0;
    for (uint32_t i = c->next_index; i > 0 && latest == 0; i--)
        if (s->messages[i - 1].whole.message.seq > c->tick_from &&
            s->messages[i - 1].whole.message.topic == TOPIC_CLOCK)
            latest = s->messages[i - 1].whole.message.timestamp_ns / c->tick_ns;
    if (c->tick_last > latest)
        c->tick_last = latest;
}

/* ---- where it begins ------------------------------------------------------------------------- */

static void start_at(struct client *c, struct position p)
{
    struct edge_subscribed subscribed = { .position = p };
    c->tick_from = p.seq;
    c->started = true;
    c->tick_last = c->epoch_said = 0;
    c->length += edge_subscribed_encode(&subscribed, room_for(c, 64), 64);
    end_segment(c, p.seq);
    say_epoch(c, p.seq);
    end_segment(c, p.seq);
    say_names(c, p.seq + 1);
    end_segment(c, p.seq);
}

static bool on_history(const struct client *c, struct position p)
{
    return epoch_table_has(catalog_epochs(c->stream->catalog), c->stream->next_seq - 1, p);
}

/* Of what was asked for, nothing whole is above this: an epoch record has voided it. */
static bool voided_above(const struct client *c, uint64_t seq)
{
    uint32_t i = stream_index(c->stream, seq + 1);
    return i < c->stream->message_count && c->stream->messages[i].whole.message.seq > c->asked.seq;
}

/* The first frames of a subscription say where it begins: that is judged, and the rest follows from it. */
static void start_from(struct client *c, const uint8_t *bytes, size_t length)
{
    struct edge_forked forked;
    struct edge_subscribed subscribed;
    enum edge_type type;
    size_t whole = edge_frame_peek(bytes, length, &type);
    if (whole == 0 || whole == SIZE_MAX) {
        fault(c, "no frame where the subscription begins");
        return;
    }
    const uint8_t *body = bytes + EDGE_HEADER;
    if (type == EDGE_FORKED && edge_forked_decode(body, whole - EDGE_HEADER, &forked)) {
        if (!on_history(c, forked.common) || forked.common.seq > c->asked.seq ||
            (on_history(c, c->asked) && !voided_above(c, forked.common.seq)))
            fault(c, "FORKED to %lu where %lu was asked for", forked.common.seq, c->asked.seq);
        c->length += edge_forked_encode(&forked, room_for(c, 64), 64);
        end_segment(c, forked.common.seq);
        c->asked = forked.common;
        c->forks++;
        if (!c->told)
            return;
        c->started = true;
        c->tick_from = forked.common.seq;
        c->tick_last = c->epoch_said = 0;
        say_epoch(c, forked.common.seq);
        end_segment(c, forked.common.seq);
        say_names(c, forked.common.seq + 1);
        end_segment(c, forked.common.seq);
        return;
    }
    if (type != EDGE_SUBSCRIBED ||
        !edge_subscribed_decode(body, whole - EDGE_HEADER, &subscribed)) {
        fault(c, "neither SUBSCRIBED nor FORKED, but %d", type);
        return;
    }
    struct position p = subscribed.position;
    if (!on_history(c, p) && !c->told) { /* a fork came between, and FORKED comes behind it */
        c->told = true;
        c->asked = p;
        c->length += edge_subscribed_encode(&subscribed, room_for(c, 64), 64);
        end_segment(c, 0);
        return;
    }
    if (c->request.from == EDGE_FROM_TIME) {
        const struct stream *s = c->stream;
        uint32_t i = stream_index(s, p.seq + 1);
        if (i == s->message_count ||
            s->messages[i].whole.message.timestamp_ns < c->request.time_ns ||
            (i > 0 && s->messages[i - 1].whole.message.timestamp_ns >= c->request.time_ns))
            fault(c, "began at another time");
    } else if (p.seq != c->asked.seq || !epoch_equal(p.epoch, c->asked.epoch)) {
        fault(c, "SUBSCRIBED at %lu instead of %lu", p.seq, c->asked.seq);
    }
    start_at(c, p);
}

/* ---- those whose rights change --------------------------------------------------------------- */

/* History is judged by what held where the subscription was made, what came since by what held there. */
static bool may_read(const struct client *c, const struct stream_message *m)
{
    const struct message *from = &m->whole.message;
    return from->seq <= c->floor ? c->may[from->topic] : (m->may_read >> c->principal & 1) != 0;
}

static bool chain_holds(struct client *c, uint64_t previous)
{
    bool holds = previous == c->previous || (c->joined && previous <= c->last_seq);
    if (holds)
        c->previous = previous;
    c->joined = false;
    return holds;
}

/* Nothing that it had to get lies in (last_seq, seq). */
static void judge_gap(struct client *c, uint64_t seq)
{
    const struct stream *s = c->stream;
    for (uint32_t i = stream_index(s, c->last_seq + 1); i < s->message_count; i++) {
        const struct message *m = &s->messages[i].whole.message;
        if (m->seq >= seq)
            break;
        if (wants(c, m->topic) && may_read(c, &s->messages[i]))
            fault(c, "%lu is missing", m->seq);
    }
}

static void judge_message(struct client *c, const struct edge_message *m)
{
    const struct stream *s = c->stream;
    uint32_t i = stream_index(s, m->seq);
    c->messages++;
    if (i == s->message_count || s->messages[i].whole.message.seq != m->seq) {
        fault(c, "%lu is not a message", m->seq);
        return;
    }
    const struct stream_message *real = &s->messages[i];
    if (m->length != real->whole.message.length ||
        memcmp(m->payload, real->payload, m->length) != 0 || m->topic != real->whole.message.topic)
        fault(c, "%lu is another message", m->seq);
    if (m->seq <= c->last_seq && c->last_seq != 0)
        fault(c, "%lu came after %lu", m->seq, c->last_seq);
    if (!wants(c, m->topic))
        fault(c, "%lu was not asked for", m->seq);
    if (!may_read(c, real))
        fault(c, "%lu may not be read", m->seq);
    if (c->stable && m->seq > s->stable)
        fault(c, "%lu is not stable", m->seq);
    if (!chain_holds(c, m->previous))
        fault(c, "%lu says %lu came before it, which was %lu", m->seq, m->previous, c->previous);
    judge_gap(c, m->seq);
    c->previous = c->last_seq = m->seq;
}

static void judge_progress(struct client *c, const struct edge_progress *p)
{
    c->progresses++;
    if (!chain_holds(c, p->previous))
        fault(c, "PROGRESS %lu says %lu, which was %lu", p->through, p->previous, c->previous);
    judge_gap(c, p->through + 1);
    if (p->through > c->last_seq)
        c->last_seq = p->through;
    /* A block's end: the chain begins anew. */
    uint32_t i = stream_index(c->stream, p->through);
    bool tick =
        i < c->stream->message_count && c->stream->messages[i].whole.message.seq == p->through &&
        (c->stream->messages[i].whole.message.topic == TOPIC_CLOCK || p->through == c->mark);
    if (!tick || p->through % EDGE_BLOCK == EDGE_BLOCK - 1)
        c->previous = 0;
    uint32_t topic = tick ? c->stream->messages[i].whole.message.topic : 0;
    if (tick &&
        (p->through % EDGE_BLOCK == EDGE_BLOCK - 1 || topic == TOPIC_GRANT || topic == TOPIC_GROUP))
        c->joined = true; /* either */
}

static void judge_frame(struct client *c, enum edge_type type, const uint8_t *body, size_t length)
{
    struct edge_message m;
    struct edge_progress p;
    struct edge_forked f;
    struct edge_subscribed sub;
    if (type == EDGE_MESSAGE && edge_message_decode(body, length, &m)) {
        judge_message(c, &m);
    } else if (type == EDGE_PROGRESS && edge_progress_decode(body, length, &p)) {
        judge_progress(c, &p);
    } else if (type == EDGE_FORKED && edge_forked_decode(body, length, &f)) {
        if (!on_history(c, f.common))
            fault(c, "FORKED to what never was");
        c->last_seq = f.common.seq;
        c->joined = true;
        c->forks++;
    } else if (type == EDGE_SUBSCRIBED && edge_subscribed_decode(body, length, &sub)) {
        c->last_seq = sub.position.seq;
        c->joined = c->begun = true;
    } else if (type == EDGE_CHANGED) {
        c->joined = true;
    }
}

static void judge_bytes(struct client *c, const uint8_t *bytes, size_t length)
{
    if (c->frame == NULL)
        c->frame = malloc(EDGE_FRAME_MAX + EDGE_HEADER);
    while (length > 0 && !c->closed) {
        enum edge_type type;
        size_t whole = edge_frame_peek(c->frame, c->frame_length, &type);
        size_t want = whole != 0 ? whole : EDGE_HEADER;
        if (c->frame_length >= EDGE_HEADER)
            want = 4 + (size_t)wire_load32(c->frame);
        size_t piece = want - c->frame_length < length ? want - c->frame_length : length;
        memcpy(c->frame + c->frame_length, bytes, piece);
        c->frame_length += piece;
        bytes += piece;
        length -= piece;
        whole = edge_frame_peek(c->frame, c->frame_length, &type);
        if (whole == SIZE_MAX)
            fault(c, "not a frame");
        if (whole == 0 || whole == SIZE_MAX || whole > c->frame_length)
            continue;
        judge_frame(c, type, c->frame + EDGE_HEADER, whole - EDGE_HEADER);
        c->frame_length = 0;
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

static uint64_t segment_seq(const struct client *c, size_t offset)
{
    uint32_t low = 0, high = c->segment_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (c->segments[middle].end <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low < c->segment_count ? c->segments[low].seq : 0;
}

static void compare(struct client *c, const uint8_t *bytes, size_t length)
{
    while (length > 0 && !c->closed) {
        if (!c->started && c->received == c->length) {
            start_from(c, bytes, length);
            continue;
        }
        expect_all(c);
        size_t piece = c->length - c->received < length ? c->length - c->received : length;
        if (piece == 0) {
            fault(c, "more than there is: type %d", bytes[4]);
            return;
        }
        if (memcmp(c->expected + c->received, bytes, piece) != 0) {
            size_t at = 0;
            while (c->expected[c->received + at] == bytes[at])
                at++;
            fault(
                c,
                "%s: byte %zu of %zu at seq %lu (tip %lu) is %02x instead of %02x; type %d for %d, %lu for %lu",
                c->stable ? "stable" : "sequenced", at, piece, segment_seq(c, c->received + at),
                last_seq(c->stream), bytes[at], c->expected[c->received + at], bytes[4],
                c->expected[c->received + 4], (unsigned long)wire_load64(bytes + 5),
                (unsigned long)wire_load64(c->expected + c->received + 5));
            return;
        }
        if (c->stable && segment_seq(c, c->received + piece - 1) > c->stream->stable &&
            bytes[4] != EDGE_NAME)
            fault(c, "%lu is not stable", segment_seq(c, c->received + piece - 1));
        c->received += piece;
        bytes += piece;
        length -= piece;
    }
}

void client_read(struct client *c, size_t bytes, size_t room)
{
    const uint8_t *next;
    while (bytes > 0 && !c->closed) {
        size_t length = reader_next(c->reader, room, &next);
        if (length == 0)
            break;
        assert(length <= room);
        c->bytes += length;
        if (c->exact)
            compare(c, next, length);
        else
            judge_bytes(c, next, length);
        reader_take(c->reader);
        bytes = length < bytes ? bytes - length : 0;
    }
    if (!c->exact && reader_state(c->reader) >= READER_BROKEN)
        c->closed = true; /* what it had a piece of may not be read any more */
    if (!c->closed && reader_state(c->reader) >= READER_LOST)
        fault(c, "%s", reader_state(c->reader) == READER_LOST ? "lost" : "broken");
}

void client_complete(struct client *c)
{
    if (c->closed)
        return;
    if (!c->exact) {
        if (c->begun)
            judge_gap(c, c->stable ? c->stream->stable + 1 : UINT64_MAX);
        return;
    }
    expect_all(c);
    size_t end = 0;
    for (uint32_t i = 0; i < c->segment_count; i++)
        if (!c->stable || c->segments[i].seq <= c->stream->stable)
            end = c->segments[i].end;
    bool waits = !c->started && (c->request.from == EDGE_FROM_TIME ||
                                 c->asked.seq > tip_of(c) || /* a group is open there */
                                 (c->stable && c->asked.seq > c->stream->stable));
    if (c->received < end || (!c->started && !waits))
        fault(c, "%s: %zu bytes are missing from seq %lu on, state %d",
              c->stable ? "stable" : "sequenced", end - c->received, segment_seq(c, c->received),
              reader_state(c->reader));
}

void client_close(struct client *c)
{
    if (c->reader != NULL)
        reader_close(c->reader);
    free(c->expected);
    free(c->segments);
    free(c->frame);
    memset(c, 0, sizeof *c);
}
