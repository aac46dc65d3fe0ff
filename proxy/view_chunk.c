#include "proxy/view_private.h"

enum { COPIED_MAX = 256 };

static uint8_t *bytes_of(const struct views *v, uint32_t chunk)
{
    return v->chunk_bytes + (size_t)chunk * VIEW_CHUNK_BYTES;
}

/* ---- readers of a chunk ---------------------------------------------------------------------- */

static struct view_reader **list_of(struct views *v, uint32_t edition, uint32_t chunk)
{
    return chunk != NONE ? &v->chunks[chunk].readers : &v->editions[edition].idle;
}

static void link_reader(struct views *v, struct view_reader *r, uint32_t chunk)
{
    struct view_reader **list = list_of(v, r->edition, chunk);
    r->chunk = chunk;
    r->previous = NULL;
    r->next = *list;
    if (*list != NULL)
        (*list)->previous = r;
    *list = r;
}

static void unlink_reader(struct views *v, struct view_reader *r)
{
    if (r->previous != NULL)
        r->previous->next = r->next;
    else
        *list_of(v, r->edition, r->chunk) = r->next;
    if (r->next != NULL)
        r->next->previous = r->previous;
}

/* All of them, to another chunk of their edition, or to none. */
static void move_readers(struct views *v, struct edition *e, uint32_t from, uint32_t to)
{
    uint32_t edition = (uint32_t)(e - v->editions);
    struct view_reader *r;
    while ((r = *list_of(v, edition, from)) != NULL) {
        unlink_reader(v, r);
        link_reader(v, r, to);
    }
}

/* ---- chunks ---------------------------------------------------------------------------------- */

static void release_first(struct views *v, struct edition *e)
{
    uint32_t c = e->first_chunk;
    struct chunk *chunk = &v->chunks[c];
    assert(chunk->readers == NULL);
    e->first_chunk = chunk->next;
    if (e->first_chunk == NONE)
        e->last_chunk = NONE;
    *(chunk->older != NONE ? &v->chunks[chunk->older].newer : &v->oldest) = chunk->newer;
    *(chunk->newer != NONE ? &v->chunks[chunk->newer].older : &v->newest) = chunk->older;
    chunk->next = v->chunk_free;
    v->chunk_free = c;
    v->chunks_free++;
    v->counts.chunks--;
}

static void release_chunks(struct views *v, struct edition *e)
{
    while (e->first_chunk != NONE)
        release_first(v, e);
}

/* What nobody needs any more. */
static void trim(struct views *v, struct edition *e)
{
    if (e->at_end == e->joined) {
        if (e->last_chunk != NONE)
            move_readers(v, e, e->last_chunk, NONE);
        release_chunks(v, e);
        return;
    }
    while (e->first_chunk != e->last_chunk && v->chunks[e->first_chunk].readers == NULL)
        release_first(v, e);
}

static void lose(struct views *v, struct view_reader *r)
{
    v->losing(v->ctx, r);
    v->counts.lost++;
    struct edition *e = &v->editions[r->edition];
    e->at_end -= r->at == e->end;
    e->joined--;
    unlink_reader(v, r);
    r->view = VIEW_NONE;
}

/* The edition's first chunk goes, whoever is in it. */
static void take_away(struct views *v, struct edition *e)
{
    struct chunk *chunk = &v->chunks[e->first_chunk];
    struct view_reader *r;
    uint64_t lost = v->counts.lost;
    while ((r = chunk->readers) != NULL) {
        if (r->at == chunk->start + chunk->used && chunk->next != NONE) {
            unlink_reader(v, r);
            link_reader(v, r, chunk->next);
            continue;
        }
        lose(v, r);
    }
    v->counts.evicted += v->counts.lost > lost;
    release_first(v, e);
    trim(v, e);
}

static void reserve(struct views *v, uint32_t count)
{
    assert(count <= v->chunk_max / 2);
    while (v->chunks_free < count)
        take_away(v, &v->editions[v->chunks[v->oldest].edition]);
}

static struct chunk *append_chunk(struct views *v, struct edition *e, bool goes_on)
{
    uint32_t c = v->chunk_free;
    if (c != NONE)
        v->chunk_free = v->chunks[c].next;
    else
        c = v->chunk_end++;
    v->chunks_free--;
    v->counts.chunks++;
    v->chunks[c] = (struct chunk) { .start = e->end,
                                    .goes_on = goes_on,
                                    .edition = (uint32_t)(e - v->editions),
                                    .older = v->newest };
    *(v->newest != NONE ? &v->chunks[v->newest].newer : &v->oldest) = c;
    v->newest = c;
    if (e->last_chunk != NONE) {
        v->chunks[e->last_chunk].next = c;
    } else {
        e->first_chunk = c;
        move_readers(v, e, NONE, c);
    }
    e->last_chunk = c;
    return &v->chunks[c];
}

/* ---- writing --------------------------------------------------------------------------------- */

static uint32_t room_of(const struct views *v, const struct edition *e)
{
    if (e->last_chunk == NONE)
        return 0;
    const struct chunk *c = &v->chunks[e->last_chunk];
    return c->goes_on ? 0 : VIEW_CHUNK_BYTES - c->used;
}

static void wrote(struct views *v, struct edition *e, size_t length, uint64_t seq)
{
    struct chunk *c = &v->chunks[e->last_chunk];
    c->used += (uint32_t)length;
    c->last_seq = seq;
    e->end += length;
    e->at_end = 0;
}

/* Into as many chunks as it takes. */
static void put_piece(struct views *v, struct edition *e, const uint8_t *bytes, size_t length,
                      uint64_t seq)
{
    while (length > 0) {
        uint32_t room = VIEW_CHUNK_BYTES - v->chunks[e->last_chunk].used;
        if (room == 0) {
            append_chunk(v, e, true);
            room = VIEW_CHUNK_BYTES;
        }
        size_t piece = length < room ? length : room;
        memcpy(bytes_of(v, e->last_chunk) + v->chunks[e->last_chunk].used, bytes, piece);
        wrote(v, e, piece, seq);
        bytes += piece;
        length -= piece;
    }
}

void edition_touch(struct views *v, uint32_t edition)
{
    struct edition *e = &v->editions[edition];
    if (e->touched)
        return;
    e->touched = true;
    e->next_touched = v->touched;
    v->touched = edition;
}

static void after_write(struct views *v, struct edition *e)
{
    while (e->first_chunk != e->last_chunk &&
           e->end - v->chunks[e->first_chunk].start > v->o.lag_bytes_max)
        take_away(v, e);
    if (e->joined > 0)
        edition_touch(v, (uint32_t)(e - v->editions));
}

/* A unit begins in the last chunk if it fits there whole, else in a new one. */
static void put_unit(struct views *v, struct edition *e, const uint8_t *head, size_t head_length,
                     const uint8_t *payload, size_t length, uint64_t seq)
{
    if (room_of(v, e) < head_length + length)
        append_chunk(v, e, false);
    put_piece(v, e, head, head_length, seq);
    put_piece(v, e, payload, length, seq);
}

void edition_write_message(struct views *v, uint32_t edition, const struct run_message *m)
{
    struct edition *e = &v->editions[edition];
    uint32_t length = m->message.length;
    uint8_t head[ENCODER_OVERHEAD_MAX];
    bool fits = room_of(v, e) >= length + ENCODER_OVERHEAD_MAX;
    if (e->joined > 0 && !fits)
        reserve(v, (length + ENCODER_OVERHEAD_MAX) / VIEW_CHUNK_BYTES + 2);
    if (e->joined == 0) { /* maybe since just now */
        (void)encoder_head(&e->encoder, v->catalog, m, true, head);
        return;
    }
    if (room_of(v, e) >= length + ENCODER_OVERHEAD_MAX) {
        uint8_t *to = bytes_of(v, e->last_chunk) + v->chunks[e->last_chunk].used;
        wrote(v, e, encoder_message(&e->encoder, v->catalog, m, false, to), m->message.seq);
    } else {
        size_t head_length = encoder_head(&e->encoder, v->catalog, m, false, head);
        put_unit(v, e, head, head_length, m->message.payload, length, m->message.seq);
    }
    v->counts.written += e->joined;
    after_write(v, e);
}

void edition_write_end(struct views *v, uint32_t edition, uint64_t through, uint64_t stable,
                       uint64_t time_ns)
{
    struct edition *e = &v->editions[edition];
    uint8_t frame[ENCODER_END_MAX];
    if (e->joined > 0 && room_of(v, e) < ENCODER_END_MAX)
        reserve(v, 1);
    bool muted = e->joined == 0;
    size_t length = encoder_end(&e->encoder, through, stable, time_ns, muted, frame);
    if (length == 0)
        return;
    put_unit(v, e, frame, length, frame, 0, through + 1);
    after_write(v, e);
}

/* ---- reading --------------------------------------------------------------------------------- */

void view_join(struct views *v, uint32_t view, struct view_reader *r, uint64_t end)
{
    uint32_t edition = v->views[view].edition;
    struct edition *e = &v->editions[edition];
    *r = (struct view_reader) {
        .view = view, .edition = edition, .at = e->end, .shift = end - e->end
    };
    e->joined++;
    e->at_end++;
    link_reader(v, r, e->last_chunk);
}

uint64_t view_end(const struct views *v, const struct view_reader *r)
{
    return v->editions[r->edition].end + r->shift;
}

uint64_t view_unread(const struct views *v, const struct view_reader *r)
{
    return v->editions[r->edition].end - r->at;
}

uint64_t view_previous(const struct views *v, const struct view_reader *r)
{
    return v->editions[r->edition].encoder.previous;
}

/* Others of its rights were waiting for that. */
static void trimmed(struct views *v, uint32_t edition)
{
    if (v->editions[edition].twin)
        edition_merge(v, edition);
}

void view_leave(struct views *v, struct view_reader *r)
{
    struct edition *e = &v->editions[r->edition];
    unlink_reader(v, r);
    e->at_end -= r->at == e->end;
    e->joined--;
    r->view = VIEW_NONE;
    trim(v, e);
    trimmed(v, r->edition);
}

/* How many of its bytes are of units that are stable. */
static uint32_t stable_used(const struct views *v, uint32_t index)
{
    struct chunk *c = &v->chunks[index];
    if (c->last_seq <= v->stable)
        return c->used;
    if (c->goes_on)
        return 0;
    while (c->stable_used < c->used) {
        struct encoder_unit u =
            encoder_unit_at(bytes_of(v, index) + c->stable_used, c->used - c->stable_used);
        if (encoder_unit_seq(&u) > v->stable)
            break;
        c->stable_used += (uint32_t)u.length;
    }
    return c->stable_used;
}

size_t view_read(struct views *v, const struct view_reader *r, bool stable, const uint8_t **bytes)
{
    uint32_t c = r->chunk;
    if (c != NONE && r->at == v->chunks[c].start + v->chunks[c].used)
        c = v->chunks[c].next;
    if (c == NONE)
        return 0;
    uint32_t offset = (uint32_t)(r->at - v->chunks[c].start);
    uint32_t limit = stable ? stable_used(v, c) : v->chunks[c].used;
    *bytes = bytes_of(v, c) + offset;
    return limit > offset ? limit - offset : 0;
}

void view_advance(struct views *v, struct view_reader *r, size_t taken)
{
    struct edition *e = &v->editions[r->edition];
    assert(taken <= e->end - r->at);
    if (taken == 0)
        return;
    r->at += taken;
    uint32_t c = r->chunk;
    while (r->at >= v->chunks[c].start + v->chunks[c].used && v->chunks[c].next != NONE)
        c = v->chunks[c].next;
    if (c != r->chunk) {
        unlink_reader(v, r);
        link_reader(v, r, c);
    }
    e->at_end += r->at == e->end;
    if (r->at == e->end || c != e->first_chunk)
        trim(v, e);
    if (r->at == e->end)
        trimmed(v, r->edition);
}

/* ---- from one edition to another ------------------------------------------------------------- */

static bool at_end_of(const struct chunk *c, const struct view_reader *r)
{
    return r->at == c->start + c->used;
}

/* Into its last chunk; its place there may be another. */
static void move_reader(struct views *v, struct view_reader *r, uint32_t to, uint64_t at)
{
    struct edition *from = &v->editions[r->edition], *e = &v->editions[to];
    unlink_reader(v, r);
    from->joined--;
    from->at_end -= r->at == from->end;
    r->shift += r->at - at;
    r->at = at;
    r->edition = to;
    e->joined++;
    e->at_end += r->at == e->end;
    link_reader(v, r, e->last_chunk);
    v->moved(v->ctx, r);
}

uint32_t chunks_to_copy(const struct views *v)
{
    uint32_t kept = v->chunk_max / 4;
    uint32_t free = v->chunks_free > kept ? v->chunks_free - kept : 0;
    return free < COPIED_MAX ? free : COPIED_MAX;
}

static void copy_chunk(struct views *v, uint32_t from, uint32_t part)
{
    const struct chunk *c = &v->chunks[from];
    struct edition *e = &v->editions[part];
    struct chunk *to = append_chunk(v, e, c->goes_on);
    to->start = c->start;
    to->last_seq = c->last_seq;
    to->used = c->used;
    to->stable_used = c->stable_used;
    memcpy(bytes_of(v, e->last_chunk), bytes_of(v, from), c->used);
    v->counts.copied++;
}

/* Of the readers in this chunk, of which there are `left` with those behind it. */
static void part_chunk(struct views *v, uint32_t c, uint32_t left, uint32_t parts, uint32_t *budget)
{
    struct chunk *chunk = &v->chunks[c];
    struct view_reader *next;
    for (struct view_reader *r = chunk->readers; r != NULL; r = next) {
        next = r->next;
        struct edition *e = &v->editions[v->views[r->view].edition];
        bool needs = !at_end_of(chunk, r);
        if (e->part_of == NONE || e->copies || (!needs && chunk->next == NONE))
            continue;
        if (!needs) {
            unlink_reader(v, r);
            link_reader(v, r, chunk->next);
        } else if (left > *budget) {
            lose(v, r);
        } else {
            *budget -= left;
            e->copies = true;
        }
    }
    for (uint32_t p = parts; p != NONE; p = v->editions[p].next_part)
        if (v->editions[p].copies)
            copy_chunk(v, c, p);
    for (struct view_reader *r = chunk->readers; r != NULL; r = next) {
        next = r->next;
        uint32_t to = v->views[r->view].edition;
        if (to != r->edition)
            move_reader(v, r, to, r->at);
    }
}

void edition_part(struct views *v, uint32_t edition, uint32_t parts, uint32_t *budget)
{
    struct edition *e = &v->editions[edition];
    struct view_reader *next;
    uint32_t left = 0;
    if (parts == NONE || e->joined == 0)
        return;
    for (uint32_t c = e->first_chunk; c != NONE; c = v->chunks[c].next)
        left++;
    for (uint32_t c = e->first_chunk; c != NONE; c = v->chunks[c].next)
        part_chunk(v, c, left--, parts, budget);
    for (struct view_reader *r = e->idle; r != NULL; r = next) {
        next = r->next;
        uint32_t to = v->views[r->view].edition;
        if (to != edition)
            move_reader(v, r, to, r->at);
    }
    trim(v, e);
}

void edition_move_all(struct views *v, uint32_t from, uint32_t to)
{
    const struct edition *e = &v->editions[from];
    assert(e->first_chunk == NONE && e->at_end == e->joined);
    while (e->idle != NULL)
        move_reader(v, e->idle, to, v->editions[to].end);
}
