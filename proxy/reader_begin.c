/* Where a reader begins: behind a position, which may be off the history or not be there yet, or at a time. */
#include "proxy/reader_private.h"

static struct position position_at(const struct readers *s, uint64_t seq)
{
    const struct epoch_entry *e = epoch_table_find(catalog_epochs(s->catalog), seq);
    struct position p = { .seq = seq };
    if (e != NULL)
        p.epoch = e->epoch;
    return p;
}

static uint64_t tail_of(const struct readers *s)
{
    return s->through.seq > s->last_seq ? s->through.seq : s->last_seq;
}

void reader_say_position(struct reader *r, enum item_kind kind, struct position p)
{
    uint8_t frame[READER_FRAME_MAX];
    struct edge_subscribed subscribed = { .position = p };
    struct edge_forked forked = { .common = p };
    size_t length = kind == ITEM_FORKED ? edge_forked_encode(&forked, frame, sizeof frame)
                                        : edge_subscribed_encode(&subscribed, frame, sizeof frame);
    if (!queue_put(r, kind, p.seq, 0, frame, length))
        reader_break(r);
}

static void begin_behind(struct reader *r, struct position p)
{
    r->waits_for = WAITS_NOT;
    if (r->lacks_outcomes && p.seq > r->floor)
        reader_break(r); /* it was behind already, and would never hear of what lies between */
    reader_say_position(r, ITEM_SUBSCRIBED, p);
    r->tick_said = r->tick_taken = 0;
    r->epoch_said = r->epoch_taken = 0;
    reader_say_epoch(r, p.seq);
    r->place = (struct place) { .next = p.seq + 1, .end = true, .fresh = true };
    reader_begin(r);
}

/* The last seq that a position off the history surely shares with ours. What became stable before an epoch
 * began is part of each later one's history. */
static uint64_t common_with(const struct readers *s, struct position p)
{
    const struct epoch_table *t = catalog_epochs(s->catalog);
    for (uint32_t i = 0; i < t->count; i++) {
        if (epoch_equal(t->entries[i].epoch, p.epoch) && p.seq >= t->entries[i].first_seq)
            return i + 1 < t->count ? t->entries[i + 1].first_seq - 1 : tail_of(s);
        if (epoch_compare(t->entries[i].epoch, p.epoch) >= 0)
            return s->stable_before[i] < p.seq ? s->stable_before[i] : p.seq - 1;
    }
    return s->watermark < p.seq ? s->watermark : p.seq - 1;
}

static void park(struct reader *r, enum waits_for what)
{
    struct readers *s = r->s;
    if (r->waits_for == WAITS_NOT) {
        r->next_parked = s->parked;
        s->parked = r;
    }
    r->waits_for = what;
    if (what == WAITS_TIME && r->time_ns < s->parked_time_ns)
        s->parked_time_ns = r->time_ns;
    if (what == WAITS_POSITION && r->position.seq < s->parked_seq)
        s->parked_seq = r->position.seq;
}

void reader_unpark(struct reader *r)
{
    struct reader **at = &r->s->parked;
    if (r->waits_for == WAITS_NOT)
        return;
    while (*at != r)
        at = &(*at)->next_parked;
    *at = r->next_parked;
    r->waits_for = WAITS_NOT;
}

/* What an epoch record has voided is nobody's history, though its seqs are. */
static uint64_t not_voided(const struct readers *s, uint64_t seq)
{
    const struct epoch_table *t = catalog_epochs(s->catalog);
    uint32_t i = t->count;
    while (i > 0 && t->entries[i - 1].first_seq > seq)
        i--;
    return i < t->count && s->whole_before[i] < seq ? s->whole_before[i] : seq;
}

bool readers_has(const struct readers *s, struct position p)
{
    return epoch_table_has(catalog_epochs(s->catalog), tail_of(s), p) &&
           not_voided(s, p.seq) == p.seq;
}

/* Whether the stream has come so far that it is known what this position is. */
static bool position_known(const struct readers *s, struct position p)
{
    const struct epoch_table *t = catalog_epochs(s->catalog);
    if (p.seq == 0)
        return true;
    if (t->count == 0)
        return false;
    struct epoch newest = t->entries[t->count - 1].epoch;
    return p.epoch.number < newest.number ||
           (epoch_equal(p.epoch, newest) && p.seq <= tail_of(s)) ||
           (p.epoch.number == newest.number && !epoch_equal(p.epoch, newest));
}

void reader_resolve_position(struct reader *r)
{
    struct readers *s = r->s;
    struct position p = r->position;
    if (!position_known(s, p)) {
        park(r, WAITS_POSITION);
        return;
    }
    reader_unpark(r);
    if (p.seq == 0)
        p = (struct position) { 0 };
    bool has = epoch_table_has(catalog_epochs(s->catalog), tail_of(s), p);
    uint64_t seq = not_voided(s, has ? p.seq : common_with(s, p));
    if (!has || seq < p.seq) {
        p = position_at(s, seq);
        s->counts.forked++;
        reader_say_position(r, ITEM_FORKED, p);
    }
    begin_behind(r, p);
}

void reader_resolve_time(struct reader *r)
{
    struct readers *s = r->s;
    uint64_t seq = 0;
    enum recent_result result = recent_find_time(s->recent, r->time_ns, &seq);
    uint64_t oldest = recent_oldest(s->recent);
    if (result == RECENT_GONE && oldest > 1) {
        bool stored = oldest <= s->watermark + 1; /* else it may lie in what no store has yet */
        if (!stored || !history_find_time(s->history, r->time_ns, 1, oldest, &seq)) {
            park(r, WAITS_TIME);
            s->parked_time_ns = 0; /* asked anew with each step */
            return;
        }
    } else if (result != RECENT_MESSAGE) {
        park(r, WAITS_TIME);
        return;
    }
    reader_unpark(r);
    begin_behind(r, position_at(s, not_voided(s, seq - 1)));
}

void readers_serve_parked(struct readers *s, bool all)
{
    if (!all && tail_of(s) < s->parked_seq && s->last_time_ns < s->parked_time_ns)
        return;
    s->parked_seq = s->parked_time_ns = UINT64_MAX;
    struct reader *next;
    for (struct reader *r = s->parked; r != NULL; r = next) {
        next = r->next_parked;
        if (r->waits_for == WAITS_POSITION)
            reader_resolve_position(r);
        else
            reader_resolve_time(r);
    }
}
