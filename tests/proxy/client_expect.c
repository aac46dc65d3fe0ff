/* What an exact client must get, byte by byte, and the comparison with what it got. */
#include "client_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- bytes and their seqs -------------------------------------------------------------------- */

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

/* ---- frames ---------------------------------------------------------------------------------- */

void expect_from(struct client *c, uint64_t next)
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
        if (client_wants(c, m->message.topic))
            (void)encoder_head(&c->encoder, s->catalog, m, true, nothing);
        block_note(&c->block, &m->message);
    }
}

/* Who begins here, and the block is over, is told nothing of it. */
static void walk_to_begin(struct client *c, uint64_t next)
{
    uint64_t through;
    expect_from(c, next);
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
    if (client_wants(c, from->topic))
        c->length += encoder_message(&c->encoder, c->stream->catalog, &m->whole, false,
                                     room_for(c, ENCODER_OVERHEAD_MAX + (size_t)from->length));
    say_outcome(c, m);
    if (from->topic == TOPIC_CLOCK)
        say_tick(c, m);
    if (from->seq == c->mark.seq)
        say_progress(c, m);
    block_note(&c->block, from);
    end_segment(c, from->seq);
}

void expect_all(struct client *c)
{
    if (!c->exact || !c->started)
        return;
    while (c->next_index < c->stream->message_count)
        expect_message(c, &c->stream->messages[c->next_index++]);
}

void expect_changed(struct client *c, uint64_t seq)
{
    struct edge_changed changed = { .seq = seq };
    c->length += edge_changed_encode(&changed, room_for(c, 64), 64);
    c->sets[c->set_count - 1].segment_end = c->length;
    end_segment(c, seq - 1);
    say_names(c, seq);
    end_segment(c, seq - 1);
}

void expect_inserted(struct client *c, uint64_t seq, const uint8_t *frame, size_t length)
{
    memcpy(room_for(c, length), frame, length);
    c->length += length;
    end_segment(c, seq);
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

void expect_before_fork(struct client *c)
{
    bool beyond = false, partly = false;
    size_t begin = 0;
    for (uint32_t i = 0; i < c->segment_count; i++) {
        if (c->segments[i].seq > c->common.seq && begin < c->received) {
            beyond = true;
            partly = c->segments[i].end > c->received;
        }
        begin = c->segments[i].end;
    }
    if (partly && reader_mid_frame(c->reader))
        c->closed = true; /* it will be broken */
    else if (beyond && !c->forked)
        client_wrong(c, "had what is above %lu, and does not know it", c->common.seq);
    while (c->set_count > 1 && c->sets[c->set_count - 1].seq > c->common.seq + 1 &&
           c->sets[c->set_count - 1].segment_end > c->received) {
        assert(c->fell_count < CLIENT_FELL);
        memmove(c->fell + 1, c->fell, c->fell_count++ * sizeof c->fell[0]);
        c->fell[0] = c->sets[--c->set_count];
    }
    if (c->started)
        drop_segments(c, c->common.seq);
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

void expect_after_fork(struct client *c)
{
    if (c->forked) {
        begin_forked(c);
        return;
    }
    if (client_begins_at(c, c->common.seq + 1))
        walk_to_begin(c, c->common.seq + 1);
    else
        expect_from(c, c->common.seq + 1);
    const struct stream *s = c->stream;
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
        client_wrong(c, "no frame where the subscription begins");
        return;
    }
    const uint8_t *body = bytes + EDGE_HEADER;
    if (type == EDGE_FORKED && edge_forked_decode(body, whole - EDGE_HEADER, &forked)) {
        if (!client_on_history(c, forked.common) || forked.common.seq > c->asked.seq ||
            (client_on_history(c, c->asked) && !voided_above(c, forked.common.seq)))
            client_wrong(c, "FORKED to %lu where %lu was asked for", forked.common.seq,
                         c->asked.seq);
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
        client_wrong(c, "neither SUBSCRIBED nor FORKED, but %d", type);
        return;
    }
    struct position p = subscribed.position;
    if (!client_on_history(c, p) &&
        !c->told) { /* a fork came between, and FORKED comes behind it */
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
            client_wrong(c, "began at another time");
    } else if (p.seq != c->asked.seq || !epoch_equal(p.epoch, c->asked.epoch)) {
        client_wrong(c, "SUBSCRIBED at %lu instead of %lu", p.seq, c->asked.seq);
    }
    start_at(c, p);
}

/* ---- what came ------------------------------------------------------------------------------- */

void expect_bytes(struct client *c, const uint8_t *bytes, size_t length)
{
    while (length > 0 && !c->closed) {
        if (!c->started && c->received == c->length) {
            start_from(c, bytes, length);
            continue;
        }
        expect_all(c);
        size_t piece = c->length - c->received < length ? c->length - c->received : length;
        if (piece == 0) {
            client_wrong(c, "more than there is: type %d", bytes[4]);
            return;
        }
        if (memcmp(c->expected + c->received, bytes, piece) != 0) {
            size_t at = 0;
            while (c->expected[c->received + at] == bytes[at])
                at++;
            client_wrong(
                c,
                "%s: byte %zu of %zu at seq %lu (tip %lu) is %02x instead of %02x; type %d for %d, %lu for %lu",
                c->stable ? "stable" : "sequenced", at, piece, segment_seq(c, c->received + at),
                client_last_seq(c->stream), bytes[at], c->expected[c->received + at], bytes[4],
                c->expected[c->received + 4], (unsigned long)wire_load64(bytes + 5),
                (unsigned long)wire_load64(c->expected + c->received + 5));
            return;
        }
        if (c->stable && segment_seq(c, c->received + piece - 1) > c->stream->stable &&
            bytes[4] != EDGE_NAME)
            client_wrong(c, "%lu is not stable", segment_seq(c, c->received + piece - 1));
        c->received += piece;
        bytes += piece;
        length -= piece;
    }
}

void expect_complete(struct client *c)
{
    expect_all(c);
    size_t end = 0;
    for (uint32_t i = 0; i < c->segment_count; i++)
        if (!c->stable || c->segments[i].seq <= c->stream->stable)
            end = c->segments[i].end;
    bool waits = !c->started && (c->request.from == EDGE_FROM_TIME ||
                                 c->asked.seq > client_tip(c) || /* a group is open there */
                                 (c->stable && c->asked.seq > c->stream->stable));
    if (c->received < end || (!c->started && !waits))
        client_wrong(c, "%s: %zu bytes are missing from seq %lu on, state %d",
                     c->stable ? "stable" : "sequenced", end - c->received,
                     segment_seq(c, c->received), reader_state(c->reader));
}
