#include "retransmitter/core_private.h"

/* Streams: a client sends a request and reads batches, vouches and an end; or asks for the status.
 *
 * One that does not read holds its connection and its slot, nothing else, and not for long. What is
 * written is bounded per step, so that recording never waits for replays. */

enum {
    VOUCH_ROOM = REPLAY_FRAME_HEADER + SIGNAL_SIZE_MAX,
    END_ROOM = 64,
    REQUEST_FRAME_MAX = REPLAY_FRAME_HEADER + REPLAY_REQUEST_SIZE,
    COMMAND_FRAME_MAX = REPLAY_FRAME_HEADER + COMMAND_SIZE_MAX
};

static struct client *client_of(struct retransmitter *r, uint32_t stream)
{
    for (uint32_t i = 0; i < r->client_count; i++) {
        if (r->clients[i].stream == stream)
            return &r->clients[i];
    }
    return NULL;
}

/* Its completion is still to come. */
static bool in_flight(const struct replay_slot *slot)
{
    bool flies = false;
    for (uint32_t i = 0; i < 2; i++)
        flies = flies || (slot->pieces[i].reading && !slot->pieces[i].read.done);
    return flies;
}

static void replay_end(struct client *c)
{
    if (c->replay == NULL)
        return;
    c->replay->state = in_flight(c->replay) ? REPLAY_SLOT_DYING : REPLAY_SLOT_FREE;
    c->replay = NULL;
}

static void forget(struct retransmitter *r, struct client *c)
{
    replay_end(c);
    command_forget(r, c->stream);
    *c = (struct client) { 0 };
    r->clients_open--;
}

static void hang_up(struct retransmitter *r, struct client *c)
{
    r->port->ops->stream_close(r->port, c->stream);
    forget(r, c);
}

/* Whether `want` bytes can be written now; else ROOM will tell. */
static bool has_room(struct retransmitter *r, struct client *c, size_t want)
{
    if (c->waits_room)
        return false;
    c->waits_room = r->port->ops->stream_room(r->port, c->stream, want) < want;
    return !c->waits_room;
}

static void write_frame(struct retransmitter *r, struct client *c, enum replay_type type,
                        const void *body, uint32_t length)
{
    uint8_t head[REPLAY_FRAME_HEADER];
    wire_store32(head, length + 1);
    head[4] = (uint8_t)type;
    r->port->ops->stream_write(r->port, c->stream, head, sizeof head);
    r->port->ops->stream_write(r->port, c->stream, body, length);
    r->counters[COUNTER_REPLAY_BYTES_OUT] += length + sizeof head;
    c->progress_ns = r->now.mono_ns;
}

/* There is room for it. */
static void write_end(struct retransmitter *r, struct client *c, enum replay_end_reason reason,
                      uint64_t next_seq)
{
    struct replay_end end = { .reason = reason,
                              .oldest_seq = journal_oldest_seq(r->journal),
                              .next_seq = next_seq };
    uint8_t body[END_ROOM];
    size_t length = replay_end_encode(&end, body, sizeof body);
    write_frame(r, c, REPLAY_END, body, (uint32_t)length);
    r->counters[COUNTER_REPLAYS_REFUSED] += reason != REPLAY_DONE;
}

/* ---- requests -----------------------------------------------------------------------------------
 */

/* An answer that is an end already. One whose buffer is full before it has asked anything is no
 * client of ours. */
static void refuse(struct retransmitter *r, struct client *c, enum replay_end_reason reason,
                   uint64_t next_seq)
{
    if (!has_room(r, c, REPLAY_FRAME_HEADER + END_ROOM)) {
        hang_up(r, c);
        return;
    }
    write_end(r, c, reason, next_seq);
    if (reason == REPLAY_BAD_REQUEST || reason == REPLAY_OTHER_STREAM)
        hang_up(r, c);
}

static struct replay_slot *free_slot(struct retransmitter *r)
{
    for (uint32_t i = 0; i < r->o.replays_max; i++) {
        if (r->replays[i].state == REPLAY_SLOT_FREE)
            return &r->replays[i];
    }
    return NULL;
}

static void begin(struct retransmitter *r, struct client *c, const uint8_t *body, size_t length)
{
    struct replay_request q;
    if (!replay_request_decode(body, length, &q)) {
        refuse(r, c, REPLAY_BAD_REQUEST, 0);
        return;
    }
    if (q.stream != r->o.stream) {
        refuse(r, c, REPLAY_OTHER_STREAM, q.first_seq);
        return;
    }
    uint64_t tail = journal_tail(r->journal).seq;
    if (q.first_seq > tail + 1 || tail == 0) {
        refuse(r, c, REPLAY_NOT_YET, q.first_seq);
        return;
    }
    if (q.first_seq < journal_oldest_seq(r->journal)) {
        refuse(r, c, REPLAY_PRUNED, q.first_seq);
        return;
    }
    struct replay_slot *slot = r->draining ? NULL : free_slot(r);
    if (slot == NULL) {
        refuse(r, c, REPLAY_BUSY, q.first_seq);
        return;
    }
    uint8_t *buffers[2] = { slot->pieces[0].buffer, slot->pieces[1].buffer };
    *slot = (struct replay_slot) { .state = REPLAY_SLOT_RUNNING,
                                   .pieces = { { .buffer = buffers[0] }, { .buffer = buffers[1] } },
                                   .next_seq = q.first_seq,
                                   .end_seq = q.end_seq,
                                   .epoch = q.epoch };
    if (q.first_seq == tail + 1) { /* nothing but a vouch for what it has */
        slot->digest = journal_tail_digest(r->journal);
        slot->linked = true;
        slot->unvouched = 1;
    }
    c->replay = slot;
    r->counters[COUNTER_REPLAYS_OUT]++;
    r->again = true;
}

/* False: it is none, or one too many. */
static bool take_command(struct retransmitter *r, struct client *c, const uint8_t *body,
                         size_t length)
{
    if (c->command_due || !command_decode(body, length, &c->command))
        return false;
    c->command_due = true;
    c->progress_ns = r->now.mono_ns;
    r->again = true;
    return true;
}

static size_t frame_max(uint8_t type)
{
    return type == REPLAY_COMMAND ? COMMAND_FRAME_MAX : REQUEST_FRAME_MAX;
}

/* Whether what is not yet whole can become a request. */
static bool may_become_one(const uint8_t *bytes, size_t length)
{
    return length < REPLAY_FRAME_HEADER || wire_load32(bytes) + 4 <= frame_max(bytes[4]);
}

/* Takes whole requests, one replay at a time. Returns what it consumed. */
static size_t requests(struct retransmitter *r, struct client *c, const uint8_t *bytes,
                       size_t length)
{
    size_t used = 0;
    while (c->stream != 0 && used < length) {
        enum replay_type type;
        size_t whole = replay_frame_peek(bytes + used, length - used, &type);
        if (whole == 0 && may_become_one(bytes + used, length - used))
            break;
        bool known = whole != 0 && whole != SIZE_MAX && whole <= frame_max(bytes[used + 4]);
        if (known && type == REPLAY_STATUS_REQUEST && whole == REPLAY_FRAME_HEADER &&
            c->status_due < STATUS_REQUESTS_MAX) {
            c->status_due++;
            c->progress_ns = r->now.mono_ns;
        } else if (known && type == REPLAY_REQUEST && c->replay == NULL) {
            begin(r, c, bytes + used + REPLAY_FRAME_HEADER, whole - REPLAY_FRAME_HEADER);
        } else if (!known || type != REPLAY_COMMAND ||
                   !take_command(r, c, bytes + used + REPLAY_FRAME_HEADER,
                                 whole - REPLAY_FRAME_HEADER)) {
            replay_end(c);
            refuse(r, c, REPLAY_BAD_REQUEST, 0);
            return length;
        }
        used += whole;
    }
    return c->stream == 0 ? length : used;
}

static void accept(struct retransmitter *r, uint32_t stream)
{
    struct client *c = client_of(r, 0);
    if (c == NULL) {
        r->counters[COUNTER_STREAMS_REFUSED]++;
        r->port->ops->stream_close(r->port, stream);
        return;
    }
    *c = (struct client) { .stream = stream, .progress_ns = r->now.mono_ns };
    r->clients_open++;
}

size_t replay_on_stream(struct retransmitter *r, const struct port_stream_event *event)
{
    struct client *c = event->stream == 0 ? NULL : client_of(r, event->stream);
    switch (event->type) {
    case PORT_STREAM_ACCEPTED:
        if (c == NULL)
            accept(r, event->stream);
        break;
    case PORT_STREAM_CONNECTED:
        break;
    case PORT_STREAM_BYTES:
        return c == NULL ? event->length : requests(r, c, event->bytes, event->length);
    case PORT_STREAM_ROOM:
        if (c != NULL)
            c->waits_room = false;
        break;
    case PORT_STREAM_CLOSED:
        if (c != NULL)
            forget(r, c);
        break;
    }
    return 0;
}

/* ---- replays ------------------------------------------------------------------------------------
 */

/* What was sent so far is on the history of our tail's epoch, whose leader vouched for the tail. */
static void write_vouch(struct retransmitter *r, struct client *c)
{
    struct replay_slot *slot = c->replay;
    const struct epoch_table *epochs = journal_epochs(r->journal);
    if (!slot->linked || slot->unvouched == 0 || epochs->count == 0)
        return;
    struct heartbeat vouch = { .epoch = journal_tail(r->journal).epoch,
                               .next_seq = slot->next_seq,
                               .digest = slot->digest,
                               .stable = earlier(retransmitter_stable(r), slot->next_seq - 1),
                               .epoch_first_seq = epochs->entries[epochs->count - 1].first_seq };
    uint8_t body[SIGNAL_SIZE_MAX];
    size_t length = heartbeat_encode(&vouch, r->o.stream, body, sizeof body);
    write_frame(r, c, REPLAY_VOUCH, body, (uint32_t)length);
    slot->unvouched = 0;
}

/* There is room for a vouch and an end. */
static void finish(struct retransmitter *r, struct client *c, enum replay_end_reason reason)
{
    write_vouch(r, c);
    write_end(r, c, reason, c->replay->next_seq);
    replay_end(c);
}

/* What is buffered may be of the piece that was cut. So may what was sent: that client asks again.
 */
void replay_cut(struct retransmitter *r)
{
    for (uint32_t i = 0; i < r->o.replays_max; i++) {
        struct replay_slot *slot = &r->replays[i];
        slot->left = 0;
        for (uint32_t k = 0; k < 2; k++)
            slot->pieces[k].dropped = slot->pieces[k].reading;
        slot->dead = slot->dead || slot->next_seq > r->cut_seq + 1;
    }
}

static void read_piece(struct retransmitter *r, struct replay_piece *piece, uint64_t first_seq)
{
    piece->read = (struct journal_read) { .first_seq = first_seq,
                                          .buffer = piece->buffer,
                                          .capacity = REPLAY_BUFFER_BYTES };
    piece->dropped = piece->ahead = false;
    piece->reading = journal_read_begin(r->journal, &piece->read);
}

/* The piece behind the one that is about to be sent, if there is one. */
static void read_ahead(struct retransmitter *r, struct replay_slot *slot, uint64_t first_seq)
{
    struct replay_piece *next = &slot->pieces[1 - slot->now];
    bool wanted = first_seq <= journal_tail(r->journal).seq &&
                  first_seq < core_served_end(r, slot->epoch) &&
                  (slot->end_seq == 0 || first_seq < slot->end_seq);
    if (!wanted || (next->reading && !next->read.done))
        return;
    read_piece(r, next, first_seq);
    next->ahead = true;
}

/* Goes on to the next piece, or ends the replay. */
static void replay_more(struct retransmitter *r, struct client *c)
{
    struct replay_slot *slot = c->replay;
    uint64_t tail_end = journal_tail(r->journal).seq + 1;
    if (slot->next_seq >= tail_end || (slot->end_seq != 0 && slot->next_seq >= slot->end_seq)) {
        finish(r, c, REPLAY_DONE);
        return;
    }
    if (slot->next_seq >= core_served_end(r, slot->epoch)) {
        finish(r, c, REPLAY_NOT_YET);
        return;
    }
    if (slot->next_seq < journal_oldest_seq(r->journal)) {
        finish(r, c, REPLAY_PRUNED);
        return;
    }
    const struct replay_piece *next = &slot->pieces[1 - slot->now];
    if (next->reading && next->read.first_seq == slot->next_seq)
        slot->now = 1 - slot->now;
    else
        read_piece(r, &slot->pieces[slot->now], slot->next_seq);
}

/* Takes a piece that is back. False if the replay has ended by it. */
static bool replay_read_done(struct retransmitter *r, struct client *c)
{
    struct replay_slot *slot = c->replay;
    struct replay_piece *piece = &slot->pieces[slot->now];
    bool failed = piece->read.error != 0 || piece->read.length == 0;
    piece->reading = false;
    if (piece->dropped || (failed && piece->ahead))
        return true; /* read again, by what holds now */
    if (failed) {
        finish(r, c,
               slot->next_seq < journal_oldest_seq(r->journal) ? REPLAY_PRUNED : REPLAY_DAMAGED);
        return false;
    }
    slot->at = piece->read.batches;
    slot->left = piece->read.length;
    read_ahead(r, slot, piece->read.end_seq);
    return true;
}

/* Sends one batch of the buffer; the bytes it took, 0 if the buffer is used up or is not what
 * follows. */
static uint32_t replay_batch(struct retransmitter *r, struct client *c)
{
    struct replay_slot *slot = c->replay;
    size_t length = batch_length_at(slot->at, slot->left);
    struct batch_header header;
    bool good = length != 0 && batch_decode(slot->at, length, r->o.stream, &header) == WIRE_OK &&
                (!slot->linked || digest_equal(header.before, slot->digest)) &&
                header.first_seq <= slot->next_seq && batch_end_seq(&header) > slot->next_seq;
    if (!good) {
        finish(r, c, REPLAY_DAMAGED);
        return 0;
    }
    if (slot->next_seq >= core_served_end(r, slot->epoch) ||
        (slot->end_seq != 0 && slot->next_seq >= slot->end_seq)) {
        slot->left = 0;
        return 0;
    }
    write_frame(r, c, REPLAY_BATCH, slot->at, (uint32_t)length);
    slot->next_seq = batch_end_seq(&header);
    slot->digest = header.digest;
    slot->linked = true;
    if (++slot->unvouched >= REPLAY_VOUCH_BATCHES)
        write_vouch(r, c);
    uint32_t whole = journal_aligned((uint32_t)length);
    slot->at += whole;
    slot->left = slot->left > whole ? slot->left - whole : 0;
    return whole;
}

/* For the next batch, a vouch and an end. What is recorded may be from a time of a larger
 * datagram_max. */
static size_t room_for(const struct retransmitter *r, const struct replay_slot *slot)
{
    size_t batch = slot->left > 0 ? batch_length_at(slot->at, slot->left) : 0;
    if (batch < r->o.datagram_max)
        batch = r->o.datagram_max;
    return REPLAY_FRAME_HEADER + batch + VOUCH_ROOM + REPLAY_FRAME_HEADER + END_ROOM;
}

/* One replay's share of a step. */
static void replay_run(struct retransmitter *r, struct client *c)
{
    uint32_t sent = 0;
    while (c->replay != NULL && sent < REPLAY_STEP_BYTES) {
        struct replay_slot *slot = c->replay;
        const struct replay_piece *piece = &slot->pieces[slot->now];
        if (piece->reading && !piece->read.done)
            return; /* its completion brings us back */
        if (!has_room(r, c, room_for(r, slot)))
            return;
        if (slot->dead) {
            hang_up(r, c);
            return;
        }
        if (piece->reading) {
            if (!replay_read_done(r, c))
                return;
            continue;
        }
        if (slot->left > 0) {
            sent += replay_batch(r, c);
            continue;
        }
        replay_more(r, c);
        if (c->replay != NULL && !slot->pieces[slot->now].reading)
            return; /* no read to be had just now */
    }
    r->again = r->again || c->replay != NULL;
}

static void write_status(struct retransmitter *r, struct client *c)
{
    if (!has_room(r, c, REPLAY_FRAME_HEADER + STATUS_SIZE_MAX))
        return;
    retransmitter_status(r, r->now, &r->status);
    size_t length = status_encode(&r->status, r->frame, STATUS_SIZE_MAX);
    assert(length > 0);
    write_frame(r, c, REPLAY_STATUS, r->frame, (uint32_t)length);
    c->status_due--;
    r->again = r->again || c->status_due > 0;
}

/* Who has no room for the answer does not keep others from the read. */
static void write_outcome(struct retransmitter *r, struct client *c)
{
    if (!has_room(r, c, REPLAY_FRAME_HEADER + STATUS_SIZE_MAX)) {
        command_forget(r, c->stream);
        return;
    }
    size_t length = command_answer(r, c, r->frame, STATUS_SIZE_MAX);
    if (length == 0)
        return;
    write_frame(r, c, REPLAY_OUTCOME, r->frame, (uint32_t)length);
    c->command_due = false;
    r->again = true; /* others may wait for the read */
}

uint64_t replay_step(struct retransmitter *r)
{
    uint64_t next = PORT_NEVER;
    for (uint32_t i = 0; i < r->o.replays_max; i++) {
        struct replay_slot *slot = &r->replays[i];
        if (slot->state == REPLAY_SLOT_DYING && !in_flight(slot))
            slot->state = REPLAY_SLOT_FREE;
    }
    if (r->clients_open == 0)
        return next;
    r->replay_first = (r->replay_first + 1) % r->client_count;
    for (uint32_t i = 0; i < r->client_count; i++) {
        struct client *c = &r->clients[(r->replay_first + i) % r->client_count];
        if (c->stream == 0)
            continue;
        if (c->command_due)
            write_outcome(r, c);
        if (c->replay != NULL)
            replay_run(r, c);
        else if (c->status_due > 0)
            write_status(r, c);
        if (c->stream == 0)
            continue;
        if (r->now.mono_ns >= c->progress_ns + STREAM_IDLE_NS) {
            hang_up(r, c);
            continue;
        }
        next = earlier(next, c->progress_ns + STREAM_IDLE_NS);
        bool reads = c->replay != NULL ? c->replay->pieces[c->replay->now].reading
                                       : !c->command_due || command_reading(r);
        if (!reads && !c->waits_room)
            next = earlier(next, r->now.mono_ns + READ_RETRY_NS);
    }
    return next;
}

bool replay_reading(const struct retransmitter *r)
{
    for (uint32_t i = 0; i < r->o.replays_max; i++) {
        const struct replay_slot *slot = &r->replays[i];
        if (slot->state != REPLAY_SLOT_FREE && in_flight(slot))
            return true;
    }
    return false;
}
