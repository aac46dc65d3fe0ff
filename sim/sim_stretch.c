#include "sim/sim_stretch.h"

#include <string.h>

/* ---- frames ---------------------------------------------------------------------------------- */

bool sim_frame_at(const uint8_t *bytes, size_t available, struct sim_frame *f)
{
    f->length = edge_frame_peek(bytes, available, &f->type);
    f->body = bytes + EDGE_HEADER;
    return f->length != 0 && f->length <= available;
}

static bool was_open(const struct sim_stretch *t, const struct edge_superseded *s)
{
    for (uint32_t i = 0; i < t->owned_count; i++)
        if (t->owned[i].publisher == s->publisher && t->owned[i].superseded_seq == s->join_seq)
            return true;
    return false;
}

uint64_t sim_stretch_seq(const struct sim_stretches *all, const struct sim_stretch *t,
                         const struct sim_frame *f)
{
    size_t length = f->length - EDGE_HEADER;
    struct edge_message m;
    struct edge_progress p;
    struct edge_outcome o;
    struct edge_epoch e;
    struct edge_opened opened;
    struct edge_superseded superseded;
    struct edge_changed changed;
    if (f->type == EDGE_CHANGED && edge_changed_decode(f->body, length, &changed))
        return changed.seq - 1;
    if (f->type == EDGE_OPENED && edge_opened_decode(f->body, length, &opened))
        return opened.join_seq;
    if (f->type == EDGE_SUPERSEDED && edge_superseded_decode(f->body, length, &superseded))
        return was_open(t, &superseded) ? superseded.join_seq : 0;
    if (f->type == EDGE_MESSAGE && edge_message_decode(f->body, length, &m))
        return m.seq;
    if (f->type == EDGE_OUTCOME && edge_outcome_decode(f->body, length, &o))
        return o.seq;
    if (f->type == EDGE_EPOCH && edge_epoch_decode(f->body, length, &e))
        return e.first_seq;
    if (f->type != EDGE_PROGRESS || !edge_progress_decode(f->body, length, &p))
        return 0;
    const struct sim_entry *entry = sim_history_at(&all->s->history, all->branch, p.through);
    bool tick = p.through == t->mark_seq || (entry != NULL && entry->topic == TOPIC_CLOCK);
    return p.through + !tick; /* the end of a block is told in front of the next message */
}

/* ---- what was asked for ---------------------------------------------------------------------- */

/* The next frame of this type that the client has sent. */
static bool next_asked(struct sim_stretch *t, enum edge_type type, struct sim_frame *f)
{
    const struct sim_talk *talk = t->talk;
    while (sim_frame_at(talk->asked + t->asked, talk->asked_length - t->asked, f)) {
        t->asked += f->length;
        if (f->type == type)
            return true;
    }
    return false;
}

static bool is_in(struct edge_subtrees set, const char *subtree, size_t length)
{
    const char *other;
    size_t other_length;
    while (edge_subtree_next(&set, &other, &other_length))
        if (other_length == length && memcmp(other, subtree, length) == 0)
            return true;
    return false;
}

struct edge_subtrees sim_stretch_subtrees(const struct sim_stretch_set *set)
{
    struct edge_subtrees subtrees = set->subtrees;
    subtrees.at = set->bytes;
    return subtrees;
}

/* Those of `more` that are not in `without`. False: too many. */
static bool add(struct sim_stretch_set *set, struct edge_subtrees more,
                struct edge_subtrees without)
{
    const char *subtree;
    size_t length;
    while (edge_subtree_next(&more, &subtree, &length)) {
        size_t used = set->subtrees.length;
        if (is_in(without, subtree, length))
            continue;
        if (used + 1 + length > SIM_STRETCH_SET_BYTES)
            return false;
        set->bytes[used] = (uint8_t)length;
        memcpy(set->bytes + used + 1, subtree, length);
        set->subtrees.length += 1 + length;
        set->subtrees.count++;
    }
    return true;
}

static bool find_request(struct sim_stretch *t)
{
    struct sim_frame f;
    const struct edge_subtrees none = { 0 };
    return next_asked(t, EDGE_SUBSCRIBE, &f) &&
           edge_subscribe_decode(f.body, f.length - EDGE_HEADER, &t->request) &&
           add(&t->set, t->request.subtrees, none);
}

/* ---- what was said --------------------------------------------------------------------------- */

/* The next CHANGE counts from here on. False: it is not kept, or there are too many. */
static bool note_changed(struct sim_stretch *t, uint64_t seq, size_t at)
{
    struct sim_frame f;
    struct edge_change change;
    if (t->changed_count == SIM_STRETCH_CHANGES_MAX || !next_asked(t, EDGE_CHANGE, &f) ||
        !edge_change_decode(f.body, f.length - EDGE_HEADER, &change))
        return false;
    struct sim_stretch_change *c = &t->changed[t->changed_count];
    const struct sim_stretch_set *before = t->changed_count > 0 ? &c[-1].set : &t->set;
    *c = (struct sim_stretch_change) { .seq = seq, .at = at };
    t->changed_count++;
    return add(&c->set, sim_stretch_subtrees(before), change.remove) &&
           add(&c->set, change.add, sim_stretch_subtrees(&c->set));
}

/* Where the record of the login is, if that lasted. */
static void note_accepted(const struct sim_stretches *all, struct sim_stretch *t, struct position p)
{
    t->login_seq = sim_history_has(&all->s->history, all->branch, p) ? p.seq : 0;
}

static void note_opened(struct sim_stretch *t, const struct edge_opened *o, size_t rejects_at,
                        size_t at)
{
    if (t->owned_count < SIM_STRETCH_OWNED_MAX)
        t->owned[t->owned_count++] = (struct sim_stretch_owned) {
            .publisher = o->publisher, .join_seq = o->join_seq, .rejects_at = rejects_at, .at = at
        };
}

static void note_superseded(struct sim_stretch *t, const struct edge_superseded *s, size_t at)
{
    for (uint32_t i = 0; i < t->owned_count; i++) {
        struct sim_stretch_owned *o = &t->owned[i];
        if (o->publisher != s->publisher || o->superseded_seq != 0)
            continue;
        o->superseded_seq = s->join_seq;
        o->superseded_at = at;
    }
}

/* An OUTCOME of who is not open is in front of its OPENED: of what may be long ago. */
static bool is_early(const struct sim_stretch *t, const struct sim_frame *f)
{
    struct edge_outcome o;
    if (f->type != EDGE_OUTCOME || !edge_outcome_decode(f->body, f->length - EDGE_HEADER, &o))
        return false;
    for (uint32_t i = 0; i < t->owned_count; i++)
        if (t->owned[i].publisher == o.publisher && t->owned[i].superseded_seq == 0)
            return false;
    return true;
}

/* What the proxy knew of rights when it wrote this byte. */
static const struct sim_talk_mark *mark_at(const struct sim_talk *t, size_t at)
{
    uint32_t i = 0;
    while (i + 1 < t->mark_count && t->marks[i + 1].at <= at)
        i++;
    return &t->marks[i];
}

/* The stretch behind `p`, which was told in front of `at`, by a proxy that knew the rights as of `known`. False: there
 * is nothing to be compared. */
static bool begin_stretch(struct sim_stretches *all, struct sim_stretch *t, size_t at,
                          struct position p, struct position known, uint64_t mark_seq)
{
    const struct sim_talk *talk = t->talk;
    t->begin = t->end = at;
    if (t->changed_count > 0)
        t->set = t->changed[t->changed_count - 1].set;
    t->changed_count = 0;
    t->mark_seq = mark_seq;
    t->request.from = EDGE_FROM_POSITION;
    t->request.position = p;
    t->begin_seq = p.seq;
    if (!sim_history_has(&all->s->history, all->branch, p))
        return false;
    if (talk->rights_stay)
        known = all->s->edge_opened;
    if (t->begin_seq < known.seq)
        t->begin_seq = known.seq;
    if (t->begin_seq < mark_seq)
        t->begin_seq = mark_seq;
    return sim_history_has(&all->s->history, all->branch, known);
}

static void end_stretch(struct sim_stretches *all, const struct sim_stretch *t)
{
    if (t->end == t->begin || all->count == SIM_STRETCHES_MAX)
        return;
    struct sim_stretch *kept = &all->all[all->count++];
    *kept = *t;
    while (kept->changed_count > 0 && kept->changed[kept->changed_count - 1].at >= kept->end)
        kept->changed_count--;
}

/* Whether this message of that epoch is on the final history, and not of a group that an epoch has cut off there. */
static bool lasts(const struct sim_stretches *all, struct epoch epoch, uint64_t seq)
{
    const struct sim_history *h = &all->s->history;
    const struct sim_entry *e = sim_history_at(h, all->branch, seq);
    struct position p = { .epoch = epoch, .seq = seq };
    return seq == 0 || (e != NULL && sim_history_has(h, all->branch, p) &&
                        (e->topic == TOPIC_EPOCH || sim_check_run_end(h, all->branch, seq) != 0));
}

/* A visitor's SUBSCRIBED may have waited, for a time or to be stable. By which rights it has begun is known unless they
 * have changed meanwhile. */
static bool knows_rights(const struct sim_stretches *all, const struct sim_stretch *t,
                         struct position p, struct position known)
{
    uint64_t seq = p.seq > t->login_seq ? p.seq : t->login_seq;
    return t->talk->client->kind != SIM_VISITOR || t->talk->rights_stay ||
           !sim_talk_rights_between(all->s, known.epoch, seq + 1, known.seq + 1);
}

/* Finds the stretches of a connection, and where each is cut. */
void sim_stretches_add(struct sim_stretches *all, const struct sim_talk *talk)
{
    struct sim_stretch t = { .talk = talk };
    struct sim_frame f;
    struct edge_accepted accepted;
    struct epoch epoch = { 0, 0 };
    bool compares = false, knows = true; /* its set */
    size_t rejects_at = SIZE_MAX;
    if (!find_request(&t))
        return;
    for (size_t at = 0; sim_frame_at(talk->bytes + at, talk->length - at, &f); at += f.length) {
        size_t length = f.length - EDGE_HEADER, next = at + f.length;
        struct edge_subscribed subscribed;
        struct edge_forked forked;
        struct edge_opened opened;
        struct edge_superseded superseded;
        struct edge_epoch e;
        struct edge_changed changed;
        if (f.type == EDGE_ACCEPTED && edge_accepted_decode(f.body, length, &accepted))
            note_accepted(all, &t, accepted.tip);
        else if (f.type == EDGE_OPENED && edge_opened_decode(f.body, length, &opened))
            note_opened(&t, &opened, rejects_at < at ? rejects_at : at, at);
        else if (f.type == EDGE_SUPERSEDED && edge_superseded_decode(f.body, length, &superseded))
            note_superseded(&t, &superseded, at);
        else if (f.type == EDGE_EPOCH && edge_epoch_decode(f.body, length, &e))
            epoch = e.epoch;
        else if (f.type == EDGE_CHANGED && edge_changed_decode(f.body, length, &changed)) {
            knows = knows && note_changed(&t, changed.seq, at);
            compares = compares && knows;
        }
        if (f.type == EDGE_SUBSCRIBED && edge_subscribed_decode(f.body, length, &subscribed)) {
            struct position known = mark_at(talk, next)->position;
            epoch = subscribed.position.epoch;
            compares = knows_rights(all, &t, subscribed.position, known) &&
                       begin_stretch(all, &t, next, subscribed.position, known, t.login_seq);
            continue;
        }
        if (f.type == EDGE_FORKED && edge_forked_decode(f.body, length, &forked)) {
            end_stretch(all, &t);
            epoch = forked.common.epoch;
            /* Who is live goes on with the fork, by the rights at its end, though it takes that later. */
            compares = begin_stretch(all, &t, next, forked.common, forked.common, 0) && knows;
            continue;
        }
        if (is_early(&t, &f)) {
            rejects_at = rejects_at < at ? rejects_at : at;
            continue;
        }
        if (f.type == EDGE_OPENED)
            rejects_at = SIZE_MAX;
        uint64_t seq = sim_stretch_seq(all, &t, &f);
        compares = compares && lasts(all, epoch, seq);
        if (compares && seq != 0)
            t.end = next;
    }
    end_stretch(all, &t);
}
