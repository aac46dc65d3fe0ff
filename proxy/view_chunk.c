#include "proxy/view_private.h"

static uint8_t *bytes_of(const struct views *v, uint32_t chunk)
{
    return v->chunk_bytes + (size_t)chunk * VIEW_CHUNK_BYTES;
}

/* ---- readers of a chunk ---------------------------------------------------------------------- */

static struct view_reader **list_of(struct views *v, uint32_t view, uint32_t chunk)
{
    return chunk != NONE ? &v->chunks[chunk].readers : &v->views[view].idle;
}

static void link_reader(struct views *v, struct view_reader *r, uint32_t chunk)
{
    struct view_reader **list = list_of(v, r->view, chunk);
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
        *list_of(v, r->view, r->chunk) = r->next;
    if (r->next != NULL)
        r->next->previous = r->previous;
}

/* All of them, to another chunk of their view, or to none. */
static void move_readers(struct views *v, struct view *w, uint32_t from, uint32_t to)
{
    uint32_t view = (uint32_t)(w - v->views);
    struct view_reader *r;
    while ((r = *list_of(v, view, from)) != NULL) {
        unlink_reader(v, r);
        link_reader(v, r, to);
    }
}

/* ---- chunks ---------------------------------------------------------------------------------- */

static void release_first(struct views *v, struct view *w)
{
    uint32_t c = w->first_chunk;
    struct chunk *chunk = &v->chunks[c];
    assert(chunk->readers == NULL);
    w->first_chunk = chunk->next;
    if (w->first_chunk == NONE)
        w->last_chunk = NONE;
    *(chunk->older != NONE ? &v->chunks[chunk->older].newer : &v->oldest) = chunk->newer;
    *(chunk->newer != NONE ? &v->chunks[chunk->newer].older : &v->newest) = chunk->older;
    chunk->next = v->chunk_free;
    v->chunk_free = c;
    v->chunks_free++;
    v->counts.chunks--;
}

void view_release_chunks(struct views *v, struct view *w)
{
    while (w->first_chunk != NONE)
        release_first(v, w);
}

/* What nobody needs any more. */
static void trim(struct views *v, struct view *w)
{
    if (w->at_end == w->joined) {
        if (w->last_chunk != NONE)
            move_readers(v, w, w->last_chunk, NONE);
        view_release_chunks(v, w);
        return;
    }
    while (w->first_chunk != w->last_chunk && v->chunks[w->first_chunk].readers == NULL)
        release_first(v, w);
}

/* The view's first chunk goes, whoever is in it. */
static void take_away(struct views *v, struct view *w)
{
    struct chunk *chunk = &v->chunks[w->first_chunk];
    struct view_reader *r;
    uint64_t lost = v->counts.lost;
    while ((r = chunk->readers) != NULL) {
        if (r->at == chunk->start + chunk->used && chunk->next != NONE) {
            unlink_reader(v, r);
            link_reader(v, r, chunk->next);
            continue;
        }
        v->losing(v->losing_ctx, r);
        v->counts.lost++;
        w->at_end -= r->at == w->end;
        w->joined--;
        unlink_reader(v, r);
        r->view = VIEW_NONE;
    }
    v->counts.evicted += v->counts.lost > lost;
    release_first(v, w);
    trim(v, w);
}

static void reserve(struct views *v, uint32_t count)
{
    assert(count <= v->chunk_max / 2);
    while (v->chunks_free < count)
        take_away(v, &v->views[v->chunks[v->oldest].view]);
}

static struct chunk *append_chunk(struct views *v, struct view *w, bool goes_on)
{
    uint32_t c = v->chunk_free;
    if (c != NONE)
        v->chunk_free = v->chunks[c].next;
    else
        c = v->chunk_end++;
    v->chunks_free--;
    v->counts.chunks++;
    v->chunks[c] = (struct chunk) {
        .start = w->end, .goes_on = goes_on, .view = (uint32_t)(w - v->views), .older = v->newest
    };
    *(v->newest != NONE ? &v->chunks[v->newest].newer : &v->oldest) = c;
    v->newest = c;
    if (w->last_chunk != NONE) {
        v->chunks[w->last_chunk].next = c;
    } else {
        w->first_chunk = c;
        move_readers(v, w, NONE, c);
    }
    w->last_chunk = c;
    return &v->chunks[c];
}

/* ---- writing --------------------------------------------------------------------------------- */

static uint32_t room_of(const struct views *v, const struct view *w)
{
    if (w->last_chunk == NONE)
        return 0;
    const struct chunk *c = &v->chunks[w->last_chunk];
    return c->goes_on ? 0 : VIEW_CHUNK_BYTES - c->used;
}

static void wrote(struct views *v, struct view *w, size_t length, uint64_t seq)
{
    struct chunk *c = &v->chunks[w->last_chunk];
    c->used += (uint32_t)length;
    c->last_seq = seq;
    w->end += length;
    w->at_end = 0;
}

/* Into as many chunks as it takes. */
static void put_piece(struct views *v, struct view *w, const uint8_t *bytes, size_t length,
                      uint64_t seq)
{
    while (length > 0) {
        uint32_t room = VIEW_CHUNK_BYTES - v->chunks[w->last_chunk].used;
        if (room == 0) {
            append_chunk(v, w, true);
            room = VIEW_CHUNK_BYTES;
        }
        size_t piece = length < room ? length : room;
        memcpy(bytes_of(v, w->last_chunk) + v->chunks[w->last_chunk].used, bytes, piece);
        wrote(v, w, piece, seq);
        bytes += piece;
        length -= piece;
    }
}

static void after_write(struct views *v, struct view *w)
{
    while (w->first_chunk != w->last_chunk &&
           w->end - v->chunks[w->first_chunk].start > v->o.lag_bytes_max)
        take_away(v, w);
    if (w->touched || w->joined == 0)
        return;
    w->touched = true;
    w->next_touched = v->touched;
    v->touched = (uint32_t)(w - v->views);
}

/* A unit begins in the last chunk if it fits there whole, else in a new one. */
static void put_unit(struct views *v, struct view *w, const uint8_t *head, size_t head_length,
                     const uint8_t *payload, size_t length, uint64_t seq)
{
    if (room_of(v, w) < head_length + length)
        append_chunk(v, w, false);
    put_piece(v, w, head, head_length, seq);
    put_piece(v, w, payload, length, seq);
}

void view_write_message(struct views *v, uint32_t view, const struct run_message *m)
{
    struct view *w = &v->views[view];
    uint32_t length = m->message.length;
    uint8_t head[ENCODER_OVERHEAD_MAX];
    bool fits = room_of(v, w) >= length + ENCODER_OVERHEAD_MAX;
    if (w->joined > 0 && !fits)
        reserve(v, (length + ENCODER_OVERHEAD_MAX) / VIEW_CHUNK_BYTES + 2);
    if (w->joined == 0) { /* maybe since just now */
        (void)encoder_head(&w->encoder, v->catalog, m, true, head);
        return;
    }
    if (room_of(v, w) >= length + ENCODER_OVERHEAD_MAX) {
        uint8_t *to = bytes_of(v, w->last_chunk) + v->chunks[w->last_chunk].used;
        wrote(v, w, encoder_message(&w->encoder, v->catalog, m, false, to), m->message.seq);
    } else {
        size_t head_length = encoder_head(&w->encoder, v->catalog, m, false, head);
        put_unit(v, w, head, head_length, m->message.payload, length, m->message.seq);
    }
    v->counts.written += w->joined;
    after_write(v, w);
}

void view_write_end(struct views *v, uint32_t view, uint64_t through, uint64_t stable,
                    uint64_t time_ns)
{
    struct view *w = &v->views[view];
    uint8_t frame[ENCODER_END_MAX];
    if (w->joined > 0 && room_of(v, w) < ENCODER_END_MAX)
        reserve(v, 1);
    bool muted = w->joined == 0;
    size_t length = encoder_end(&w->encoder, through, stable, time_ns, muted, frame);
    if (length == 0)
        return;
    put_unit(v, w, frame, length, frame, 0, through + 1);
    after_write(v, w);
}

/* ---- reading --------------------------------------------------------------------------------- */

void view_join(struct views *v, uint32_t view, struct view_reader *r)
{
    struct view *w = &v->views[view];
    *r = (struct view_reader) { .view = view, .at = w->end };
    w->joined++;
    w->at_end++;
    link_reader(v, r, w->last_chunk);
}

void view_leave(struct views *v, struct view_reader *r)
{
    struct view *w = &v->views[r->view];
    unlink_reader(v, r);
    w->at_end -= r->at == w->end;
    w->joined--;
    r->view = VIEW_NONE;
    trim(v, w);
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
    struct view *w = &v->views[r->view];
    assert(taken <= w->end - r->at);
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
    w->at_end += r->at == w->end;
    if (r->at == w->end || c != w->first_chunk)
        trim(v, w);
}
