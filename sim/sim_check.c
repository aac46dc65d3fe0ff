/* The observer of the wire: every batch, heartbeat, acknowledgement, promise and proposal is looked
 * at as it is sent, before the network touches it. */
#include <stdio.h>
#include <string.h>

#include "proto/hash.h"
#include "proto/proposal.h"
#include "sim/sim_private.h"

void sim_violate(struct sim *s, enum sim_invariant invariant, const char *format, ...)
{
    if (s->result.violated != SIM_FINE)
        return;
    s->result.violated = invariant;
    s->result.violation_step = s->steps;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(s->result.violation, sizeof s->result.violation, format, arguments);
    va_end(arguments);
    if (sim_tracing(s))
        sim_trace_line(s, "VIOLATION %s: %s", sim_invariant_name(invariant), s->result.violation);
}

#define EPOCH_FORMAT "epoch %u"

/* ---- exactly once ---------------------------------------------------------------------------- */

static void tally_item(struct sim *s, struct sim_tally *t, const struct sim_entry *e, uint64_t seq,
                       bool inside)
{
    struct sim_item_header h;
    if (!sim_item_header(e->payload, e->length, &h))
        return;
    if (h.kind == SIM_ITEM_RACE) {
        if (h.number != t->rounds + 1)
            sim_violate(s, SIM_EXACTLY_ONCE,
                        "seq %lu: round %lu of the race is won after round %lu", seq, h.number,
                        t->rounds);
        t->rounds = h.number;
        return;
    }
    if (h.author >= SIM_PUBLISHERS_MAX)
        return;
    if (t->run_publisher != 0 && !inside) {
        t->before_run.item_publisher = h.author;
        t->before_run.items = t->items[h.author];
    }
    if (h.number != t->items[h.author] + 1)
        sim_violate(s, SIM_EXACTLY_ONCE, "seq %lu: item %lu of publisher-%u comes after item %lu",
                    seq, h.number, h.author, t->items[h.author]);
    t->items[h.author] = h.number;
}

static void tally_sys(struct sim *s, struct sim_tally *t, const struct sim_entry *e, uint64_t seq)
{
    struct sys_join join;
    if (e->topic != TOPIC_EPOCH && t->run_publisher != 0)
        sim_violate(s, SIM_ONE_ORDER, "seq %lu: a record inside a run", seq);
    if (e->topic == TOPIC_EPOCH && t->run_publisher != 0) {
        t->next[t->run_publisher] = t->before_run.next;
        t->items[t->before_run.item_publisher] = t->before_run.items;
        t->run_publisher = 0;
    } else if (e->topic == TOPIC_JOIN && sys_join_decode(e->payload, e->length, &join) &&
               join.publisher < SIM_PUBLISHERS_MAX) {
        if (join.last_publisher_seq + 1 != t->next[join.publisher])
            sim_violate(s, SIM_EXACTLY_ONCE,
                        "seq %lu: %s joins after its number %lu, but %lu is the last in the stream",
                        seq, join.identity, join.last_publisher_seq, t->next[join.publisher] - 1);
        if (join.incarnation != t->incarnation[join.publisher] + 1)
            sim_violate(s, SIM_EXACTLY_ONCE, "seq %lu: %s joins as %u after %u", seq, join.identity,
                        join.incarnation, t->incarnation[join.publisher]);
        t->incarnation[join.publisher] = join.incarnation;
    }
}

/* A group is there from its first to its last, in one run, or not at all. */
static void tally_group(struct sim *s, const struct sim_entry *e, uint64_t seq, bool inside)
{
    struct sim_group_part g;
    if (!sim_group_part(e->payload, e->length, &g))
        return;
    bool more = (e->flags & MESSAGE_MORE) != 0;
    if (e->publisher_seq != g.first + g.index || inside != (g.index > 0) ||
        more != (g.index + 1 < g.count))
        sim_violate(s, SIM_ONE_ORDER, "seq %lu: message %u of a group of %u, without the others",
                    seq, g.index + 1, g.count);
}

/* Replicas that publish the digest of their state at one position publish the same. */
static void check_said(struct sim *s, uint32_t branch, struct sim_entry *own,
                       const struct message *m)
{
    struct sys_digest d;
    if ((s->extras & SIM_EXTRA_DIGESTS) == 0 || m->topic < TOPIC_FIRST_USER ||
        m->length != SYS_DIGEST_SIZE || !sys_digest_decode(m->payload, m->length, &d) ||
        d.logic_version != sim_follower_app.logic_version)
        return;
    own->is_digest = true;
    struct sim_entry *e = sim_history_at(&s->history, branch, d.position.seq);
    if (e == NULL || !sim_history_has(&s->history, branch, d.position))
        sim_violate(s, SIM_DETERMINISM, "seq %lu: a digest of %lu of a history that never was",
                    m->seq, d.position.seq);
    else if (e->said && e->said_digest != d.digest)
        sim_violate(s, SIM_DETERMINISM, "seq %lu: two replicas publish two digests of %lu", m->seq,
                    d.position.seq);
    if (e != NULL) {
        e->said = true;
        e->said_digest = d.digest;
    }
}

/* Counts one more message of a history; whether it breaks the order of numbers or of items. */
static void tally(struct sim *s, struct sim_tally *t, const struct sim_entry *e, uint64_t seq)
{
    if (e->publisher == 0) {
        tally_sys(s, t, e, seq);
        return;
    }
    if (e->publisher >= SIM_PUBLISHERS_MAX)
        return;
    bool inside = t->run_publisher != 0;
    if (inside && t->run_publisher != e->publisher)
        sim_violate(s, SIM_ONE_ORDER, "seq %lu: a message of another publisher inside a run", seq);
    if (e->topic < TOPIC_FIRST_USER && e->topic != TOPIC_REJECT && e->topic != TOPIC_TOPIC &&
        (e->topic < TOPIC_GRANT || e->topic > TOPIC_EDGE))
        sim_violate(s, SIM_PERMISSIONS, "seq %lu: publisher id %u writes topic %u, and may not",
                    seq, e->publisher, e->topic);
    uint64_t *next = &t->next[e->publisher];
    if (e->publisher_seq != *next)
        sim_violate(s, SIM_EXACTLY_ONCE, "seq %lu: number %lu of publisher id %u %s", seq,
                    e->publisher_seq, e->publisher,
                    e->publisher_seq < *next ? "is in the stream already"
                                             : "comes before the numbers below it");
    bool more = (e->flags & MESSAGE_MORE) != 0;
    if (!inside && more) {
        t->run_publisher = e->publisher;
        t->before_run = (struct sim_tally_open) { .next = *next };
    }
    struct sys_reject reject;
    uint64_t consumed = 1;
    if (e->topic == TOPIC_REJECT && sys_reject_decode(e->payload, e->length, &reject))
        consumed = reject.count;
    *next = e->publisher_seq + consumed;
    if (!(inside && t->in_message) && e->topic >= TOPIC_FIRST_USER)
        tally_item(s, t, e, seq, inside);
    if (e->topic >= TOPIC_FIRST_USER)
        tally_group(s, e, seq, inside);
    t->in_message = (e->flags & MESSAGE_FRAGMENT) != 0;
    if (!more)
        t->run_publisher = 0;
}

/* What counts along the history that a new branch continues. */
static void tally_again(struct sim *s, uint32_t branch, uint64_t end_seq)
{
    struct sim_history *h = &s->history;
    struct sim_tally t = { 0 };
    for (uint32_t i = 0; i < SIM_PUBLISHERS_MAX; i++)
        t.next[i] = 1;
    uint32_t parent = h->branches[branch].parent;
    for (uint64_t seq = 1; seq < end_seq; seq++) {
        const struct sim_entry *e = sim_history_at(h, parent, seq);
        assert(e != NULL);
        tally(s, &t, e, seq);
        sim_check_access_tally(s, &t, parent, e, seq);
    }
    h->branches[branch].tally = t;
}

/* ---- stable ---------------------------------------------------------------------------------- */

static void declare_stable(struct sim *s, const struct sim_node *n, uint32_t branch, uint64_t seq)
{
    struct sim_history *h = &s->history;
    struct sim_branch *b = &h->branches[branch];
    if (seq <= b->stable)
        return;
    if (seq >= b->end_seq) {
        sim_violate(s, SIM_NOTHING_STABLE_LOST, "%s calls %lu stable, and has emitted up to %lu",
                    n->name, seq, b->end_seq - 1);
        return;
    }
    b->stable = seq;
    sim_history_at(h, branch, seq)->watermark = true;
    /* What an earlier leader has declared stable needs no new quorum. */
    bool inherited = seq <= h->stable_seq && sim_history_owner(h, branch, seq) ==
                                                 sim_history_owner(h, h->stable_branch, seq);
    if (seq > b->possible && !inherited) {
        sim_violate(s, SIM_NOTHING_STABLE_LOST,
                    "%s calls %lu stable in " EPOCH_FORMAT
                    ", and a quorum of its members has acknowledged %lu there",
                    n->name, seq, b->epoch.number, b->possible);
        return;
    }
    uint64_t shared = seq < h->stable_seq ? seq : h->stable_seq;
    if (h->stable_seq > 0 &&
        sim_history_owner(h, branch, shared) != sim_history_owner(h, h->stable_branch, shared))
        sim_violate(s, SIM_NOTHING_STABLE_LOST,
                    "%s calls %lu stable, but another message is stable at %lu", n->name, seq,
                    shared);
    for (uint32_t i = 0; i < h->branch_count; i++)
        if (epoch_compare(h->branches[i].epoch, b->epoch) > 0 &&
            (seq >= h->branches[i].end_seq ||
             sim_history_owner(h, i, seq) != sim_history_owner(h, branch, seq)))
            sim_violate(s, SIM_FENCED,
                        "%s calls %lu stable in " EPOCH_FORMAT ", after " EPOCH_FORMAT
                        " has begun without it",
                        n->name, seq, b->epoch.number, h->branches[i].epoch.number);
    if (seq > h->stable_seq) {
        h->stable_seq = seq;
        h->stable_branch = branch;
    }
    sim_fault_group_stable(s, branch, seq);
}

/* ---- batches --------------------------------------------------------------------------------- */

/* What the candidate was told: that some of the stores that promised, a seal quorum of the members
 * in the best tail among them, have no better tail than the one it adopts. */
static void check_sealed(struct sim *s, const struct sim_node *n, struct epoch epoch,
                         uint32_t parent, struct position adopted)
{
    struct sim_history *h = &s->history;
    const struct membership *members = sim_history_members(h, parent, adopted.seq);
    uint32_t sealed = 0;
    bool found = false;
    for (uint32_t i = 0; i < h->word_count; i++) {
        const struct sim_store_word *w = &h->words[i];
        bool counts = false;
        for (uint32_t r = 0; r < w->report_count && r < SIM_REPORTS_MAX; r++) {
            if (!epoch_equal(w->reports[r].epoch, epoch))
                continue;
            int order = position_compare(w->reports[r].tail, adopted);
            found = found || order == 0;
            counts = counts || order <= 0;
        }
        sealed += counts && membership_has(members, w->id);
    }
    if (!found || sealed < membership_seal_quorum(members))
        sim_violate(s, SIM_FENCED,
                    "%s begins " EPOCH_FORMAT " on %lu, which is the best of %u promises of %u",
                    n->name, epoch.number, adopted.seq, found ? sealed : 0,
                    membership_seal_quorum(members));
}

/* One store at a time, the change before it and some message of this epoch on a majority, and a
 * quorum that is one. */
static void check_member(struct sim *s, const struct sim_node *n, uint32_t branch,
                         const struct message *m)
{
    struct sim_history *h = &s->history;
    struct sim_branch *b = &h->branches[branch];
    const struct membership *old = &b->members;
    struct membership now;
    if (!sys_member_decode(m->payload, m->length, &now) || now.seq != m->seq) {
        sim_violate(s, SIM_ONE_ORDER, "%s emits a membership that is none at %lu", n->name, m->seq);
        return;
    }
    uint32_t common = 0;
    for (uint32_t i = 0; i < old->count; i++)
        common += membership_has(&now, old->stores[i]);
    uint64_t needed = old->seq > b->first_seq ? old->seq : b->first_seq;
    if (old->count + now.count - 2 * common != 1)
        sim_violate(s, SIM_NOTHING_STABLE_LOST, "seq %lu changes more than one member", m->seq);
    else if (b->secure < needed)
        sim_violate(s, SIM_NOTHING_STABLE_LOST,
                    "seq %lu changes the members, before a majority of them has %lu", m->seq,
                    needed);
    else if (membership_stable_quorum(old) < old->count / 2 + 1 ||
             membership_stable_quorum(&now) < now.count / 2 + 1)
        sim_violate(s, SIM_NOTHING_STABLE_LOST,
                    "seq %lu changes the members, of which %u, below a majority, make stable",
                    m->seq, membership_stable_quorum(&now));
    if (!sim_history_change(h, branch, &now))
        sim_violate(s, SIM_BOUNDED, "more than %u changes of the members", SIM_CHANGES_MAX);
    s->result.member_changes++;
}

static uint32_t begin_branch(struct sim *s, const struct sim_node *n, const struct batch_header *b,
                             const struct message *first)
{
    struct sim_history *h = &s->history;
    struct sys_epoch record;
    if (n->kind != SIM_SEQUENCER || first->topic != TOPIC_EPOCH ||
        !sys_epoch_decode(first->payload, first->length, &record)) {
        sim_violate(s, SIM_ONE_ORDER, "%s emits seq %lu of " EPOCH_FORMAT ", which has not begun",
                    n->name, b->first_seq, b->epoch.number);
        return SIM_NONE;
    }
    uint32_t parent = sim_history_branch(h, record.adopted.epoch);
    if (parent == SIM_NONE || record.adopted.seq + 1 != b->first_seq ||
        !sim_history_has(h, parent, record.adopted)) {
        sim_violate(s, SIM_ONE_ORDER, "%s begins " EPOCH_FORMAT " on a history that never was",
                    n->name, b->epoch.number);
        return SIM_NONE;
    }
    for (uint32_t i = 0; i < h->branch_count; i++)
        if (h->branches[i].epoch.number == b->epoch.number)
            sim_violate(s, SIM_FENCED, "%s begins " EPOCH_FORMAT ", which another has begun too",
                        n->name, b->epoch.number);
    if (h->stable_seq > 0 && epoch_compare(b->epoch, h->branches[h->stable_branch].epoch) > 0 &&
        (record.adopted.seq < h->stable_seq ||
         sim_history_owner(h, parent, h->stable_seq) !=
             sim_history_owner(h, h->stable_branch, h->stable_seq)))
        sim_violate(s, SIM_NOTHING_STABLE_LOST,
                    "%s begins " EPOCH_FORMAT " behind %lu, but %lu is stable", n->name,
                    b->epoch.number, record.adopted.seq, h->stable_seq);
    check_sealed(s, n, b->epoch, parent, record.adopted);
    uint32_t branch = sim_history_grow(h, b->epoch, parent, b->first_seq);
    if (branch == SIM_NONE) {
        sim_violate(s, SIM_BOUNDED, "more than %u epochs", SIM_BRANCHES_MAX);
        return SIM_NONE;
    }
    const struct sim_entry *last = sim_history_at(h, parent, record.adopted.seq);
    struct sim_branch *grown = &h->branches[branch];
    grown->digest = last->digest;
    grown->timestamp_ns = last->timestamp_ns;
    if (!last->last)
        sim_violate(s, SIM_ONE_ORDER, "%s begins " EPOCH_FORMAT " inside a batch", n->name,
                    b->epoch.number);
    tally_again(s, branch, b->first_seq);
    s->result.epochs++;
    return branch;
}

struct basis {
    const struct sim_history *history;
    uint32_t branch;
    uint32_t incarnation; /* the publisher's newest */
    uint64_t hash;
    bool bytes; /* proposed at all */
    bool older; /* by an older incarnation */
};

static bool matches(void *ctx, const struct sim_proposed *p)
{
    struct basis *b = ctx;
    if (p->hash != b->hash)
        return false;
    b->bytes = true;
    b->older = b->older || p->incarnation < b->incarnation;
    return p->incarnation == b->incarnation && sim_history_has(b->history, b->branch, p->position);
}

static uint64_t hash_of(uint32_t topic, uint8_t flags, const uint8_t *payload, uint32_t length)
{
    return hash64(payload, length, topic * UINT64_C(4) + flags);
}

static void check_basis(struct sim *s, uint32_t branch, const struct message *m)
{
    if (m->publisher == 0 || m->topic < TOPIC_FIRST_USER)
        return;
    const struct sim_tally *t = &s->history.branches[branch].tally;
    uint32_t incarnation =
        m->publisher < SIM_PUBLISHERS_MAX ? t->incarnation[m->publisher] : UINT32_MAX;
    struct basis basis = { .history = &s->history,
                           .branch = branch,
                           .incarnation = incarnation,
                           .hash = hash_of(m->topic, m->flags, m->payload, m->length) };
    if (sim_history_find_proposed(&s->history, m->publisher, m->publisher_seq, matches, &basis))
        return;
    sim_violate(s, basis.older ? SIM_EXACTLY_ONCE : SIM_ONE_ORDER,
                "seq %lu: number %lu of publisher id %u %s", m->seq, m->publisher_seq, m->publisher,
                basis.older   ? "was proposed by an incarnation that is over"
                : basis.bytes ? "was proposed on a history that does not lead here"
                              : "was never proposed so");
}

static void append_batch(struct sim *s, const struct sim_node *n, uint32_t branch,
                         const uint8_t *bytes, const struct batch_header *header)
{
    struct sim_history *h = &s->history;
    struct sim_branch *b = &h->branches[branch];
    if (!digest_equal(b->digest, header->before)) {
        sim_violate(s, SIM_ONE_ORDER, "%s emits seq %lu on another history than its own", n->name,
                    header->first_seq);
        return;
    }
    if (header->timestamp_ns < b->timestamp_ns || header->timestamp_ns < b->promised_ns)
        sim_violate(s, SIM_TIME, "%s stamps seq %lu with %lu, after %lu", n->name,
                    header->first_seq, header->timestamp_ns,
                    b->timestamp_ns > b->promised_ns ? b->timestamp_ns : b->promised_ns);
    b->timestamp_ns = header->timestamp_ns;
    struct batch_cursor cursor = batch_begin(bytes, header);
    struct message m;
    struct sim_entry *e = NULL;
    while (batch_next(&cursor, &m)) {
        check_basis(s, branch, &m);
        sim_check_permitted(s, branch, &m);
        if (s->proxy_count > 0)
            sim_check_edge_record(s, &m);
        e = sim_history_append(h, branch, &m);
        if (e == NULL) {
            sim_violate(s, SIM_BOUNDED, "out of memory");
            return;
        }
        tally(s, &b->tally, e, m.seq);
        sim_check_access_tally(s, &b->tally, branch, e, m.seq);
        check_said(s, branch, e, &m);
        if (m.topic == TOPIC_MEMBER && m.publisher == 0)
            check_member(s, n, branch, &m);
    }
    e->last = true;
    e->stable = header->stable;
    e->digest = b->digest = header->digest;
    declare_stable(s, n, branch, header->stable);
}

static void check_batch(struct sim *s, const struct sim_node *n, const uint8_t *bytes,
                        uint32_t length)
{
    struct sim_history *h = &s->history;
    struct batch_header header;
    if (batch_verify(bytes, length, s->stream, &header) != WIRE_OK) {
        /* What a store reads with a flipped bit it may pass on; receivers see that. */
        if (n->kind == SIM_SEQUENCER)
            sim_violate(s, SIM_ONE_ORDER, "%s emits a batch that is not one", n->name);
        return;
    }
    uint32_t branch = sim_history_branch(h, header.epoch);
    if (branch == SIM_NONE) {
        struct batch_cursor cursor = batch_begin(bytes, &header);
        struct message first = { 0 };
        batch_next(&cursor, &first);
        branch = begin_branch(s, n, &header, &first);
        if (branch == SIM_NONE)
            return;
    }
    struct sim_branch *b = &h->branches[branch];
    if (header.first_seq == b->end_seq && n->kind == SIM_SEQUENCER) {
        append_batch(s, n, branch, bytes, &header);
        return;
    }
    const struct sim_entry *last = sim_history_at(h, branch, batch_end_seq(&header) - 1);
    if (last == NULL || !last->last || !digest_equal(last->digest, header.digest))
        sim_violate(s, SIM_ONE_ORDER, "%s sends other bytes for seq %lu of " EPOCH_FORMAT, n->name,
                    header.first_seq, header.epoch.number);
}

static void check_heartbeat(struct sim *s, const struct sim_node *n, const uint8_t *bytes,
                            uint32_t length)
{
    struct sim_history *h = &s->history;
    struct heartbeat beat;
    if (heartbeat_decode(bytes, length, s->stream, &beat) != WIRE_OK)
        return;
    uint32_t branch = sim_history_branch(h, beat.epoch);
    if (branch == SIM_NONE) {
        sim_violate(s, SIM_FENCED, "%s: a heartbeat of " EPOCH_FORMAT ", which has not begun",
                    n->name, beat.epoch.number);
        return;
    }
    struct sim_branch *b = &h->branches[branch];
    const struct sim_entry *last = sim_history_at(h, branch, beat.next_seq - 1);
    if (last == NULL || !last->last || !digest_equal(last->digest, beat.digest))
        sim_violate(s, SIM_ONE_ORDER, "%s: a heartbeat that vouches for what is not there",
                    n->name);
    if (beat.next_seq == b->end_seq && beat.time_ns > b->promised_ns)
        b->promised_ns = beat.time_ns;
    declare_stable(s, n, branch, beat.stable);
}

/* ---- stores ---------------------------------------------------------------------------------- */

static struct sim_store_word *word_of(struct sim *s, const struct sim_node *n)
{
    struct sim_store_word *word = sim_history_word(&s->history, n->store);
    assert(word != NULL); /* wiping stops before */
    return word;
}

/* Whether what a store acknowledged may be gone: a later epoch began without it. */
static bool excused(const struct sim *s, struct position acked, struct position tail)
{
    const struct sim_history *h = &s->history;
    uint32_t branch = sim_history_branch(h, acked.epoch);
    for (uint32_t i = 0; i < h->branch_count; i++)
        if (epoch_compare(h->branches[i].epoch, acked.epoch) > 0 && !sim_history_has(h, i, acked) &&
            tail.seq >= sim_history_common(h, branch, acked.seq, i))
            return true;
    return false;
}

static void check_ack(struct sim *s, struct sim_node *n, const uint8_t *bytes, uint32_t length)
{
    struct sim_history *h = &s->history;
    struct sim_store_word *word = word_of(s, n);
    struct ack ack;
    /* What a restored store says must count for nothing. */
    if (n->kind != SIM_STORE || n->restored ||
        ack_decode(bytes, length, s->stream, &ack) != WIRE_OK)
        return;
    uint64_t durable = journal_durable(n->journal).seq;
    if (ack.tail.seq > durable)
        sim_violate(s, SIM_NOTHING_STABLE_LOST, "%s acknowledges %lu, and %lu is durable", n->name,
                    ack.tail.seq, durable);
    uint32_t branch = sim_history_branch(h, ack.tail.epoch);
    if (ack.tail.seq > 0 && (branch == SIM_NONE || !sim_history_has(h, branch, ack.tail))) {
        sim_violate(s, SIM_NOTHING_STABLE_LOST, "%s acknowledges %lu of a history that never was",
                    n->name, ack.tail.seq);
        return;
    }
    if (epoch_compare(ack.promised, word->promised) < 0)
        sim_violate(s, SIM_FENCED, "%s has forgotten that it promised " EPOCH_FORMAT, n->name,
                    word->promised.number);
    uint32_t promised = sim_history_branch(h, word->promised);
    bool old = epoch_compare(ack.tail.epoch, word->promised) < 0;
    /* Nor is what it had recorded, and said so, before anything recorded now. */
    uint32_t said = sim_history_branch(h, word->acked.epoch);
    bool reported =
        ack.tail.seq <= word->promised_tail.seq ||
        (ack.tail.seq <= word->acked.seq && said != SIM_NONE && sim_history_has(h, said, ack.tail));
    /* What it fills in on the way to a later epoch's batches is on that one's history. */
    uint32_t follows = sim_history_branch(h, ack.promised);
    if (old && !reported && (promised == SIM_NONE || !sim_history_has(h, promised, ack.tail)) &&
        (follows == SIM_NONE || !sim_history_has(h, follows, ack.tail)))
        sim_violate(s, SIM_FENCED,
                    "%s promised " EPOCH_FORMAT
                    " with a tail of %lu, and records %lu of " EPOCH_FORMAT " after that",
                    n->name, word->promised.number, word->promised_tail.seq, ack.tail.seq,
                    ack.tail.epoch.number);
    if (word->acked.seq > 0 && !sim_history_has(h, branch, word->acked) &&
        !excused(s, word->acked, ack.tail))
        sim_violate(s, SIM_NOTHING_STABLE_LOST,
                    "%s acknowledged %lu, and has cut to %lu, which no later epoch asked for",
                    n->name, word->acked.seq, ack.tail.seq);
    word->acked = ack.tail;
    if (ack.tail.seq > 0 && word->acked_in[branch] < ack.tail.seq) {
        word->acked_in[branch] = ack.tail.seq;
        sim_history_judge(h, branch);
        sim_fault_group_acked(s, n, branch, ack.tail.seq);
    }
}

static void check_promise(struct sim *s, struct sim_node *n, const uint8_t *bytes, uint32_t length)
{
    struct sim_store_word *word = word_of(s, n);
    struct promise p;
    if (n->kind != SIM_STORE || n->restored ||
        promise_decode(bytes, length, s->stream, &p) != WIRE_OK)
        return;
    if (p.probe || !epoch_equal(p.promised, p.asked))
        return;
    if (epoch_compare(journal_promised(n->journal), p.promised) < 0)
        sim_violate(s, SIM_FENCED, "%s answers for " EPOCH_FORMAT " before that is durable",
                    n->name, p.promised.number);
    if (epoch_compare(p.promised, word->promised) < 0)
        sim_violate(s, SIM_FENCED, "%s promises " EPOCH_FORMAT " after " EPOCH_FORMAT, n->name,
                    p.promised.number, word->promised.number);
    if (p.tail.seq > journal_durable(n->journal).seq)
        sim_violate(s, SIM_NOTHING_STABLE_LOST, "%s reports a tail of %lu, and %lu is durable",
                    n->name, p.tail.seq, journal_durable(n->journal).seq);
    if (epoch_compare(p.promised, word->promised) > 0)
        word->promised_tail = p.tail;
    word->promised = p.promised;
    if (p.proven)
        word->reports[word->report_count++ % SIM_REPORTS_MAX] =
            (struct sim_report) { .epoch = p.promised, .tail = p.tail };
}

void sim_check_started(struct sim *s, struct sim_node *n, const struct journal_report *report)
{
    const struct sim_history *h = &s->history;
    struct sim_store_word *word = word_of(s, n);
    uint32_t branch = sim_history_branch(h, report->tail.epoch);
    if (n->restored)
        return;
    if (n->lied)
        word->acked = (struct position) { .seq = 0 }; /* nobody can know what a liar has lost */
    n->lied = false;
    if (report->tail.seq > 0 && (branch == SIM_NONE || !sim_history_has(h, branch, report->tail)))
        sim_violate(s, SIM_NOTHING_STABLE_LOST, "%s recovers %lu of a history that never was",
                    n->name, report->tail.seq);
    else if (word->acked.seq > 0 && !sim_history_has(h, branch, word->acked) &&
             !excused(s, word->acked, report->tail))
        sim_violate(s, SIM_NOTHING_STABLE_LOST, "%s acknowledged %lu, and recovers %lu", n->name,
                    word->acked.seq, report->tail.seq);
    if (report->damaged && !n->rotten && !n->hurt)
        sim_violate(s, SIM_NOTHING_STABLE_LOST, "%s finds itself damaged at %lu, and is not",
                    n->name, report->damaged_seq);
    if (epoch_compare(report->promised, word->promised) < 0)
        sim_violate(s, SIM_FENCED, "%s has lost its promise of " EPOCH_FORMAT, n->name,
                    word->promised.number);
}

/* ---- proposals ------------------------------------------------------------------------------- */

static void check_proposal(struct sim *s, const uint8_t *bytes, uint32_t length)
{
    struct proposal_header header;
    if (proposal_decode(bytes, length, s->stream, &header) != WIRE_OK)
        return;
    struct proposal_cursor cursor = proposal_begin(bytes, &header);
    struct proposal_entry e;
    for (uint64_t number = header.first_publisher_seq; proposal_next(&cursor, &e); number++)
        sim_history_proposed(&s->history, header.publisher, header.incarnation, number,
                             header.position, hash_of(e.topic, e.flags, e.payload, e.length));
}

void sim_check_send(struct sim *s, struct sim_node *n, enum port_channel channel,
                    const uint8_t *bytes, uint32_t length)
{
    (void)channel;
    enum wire_type type;
    if (wire_peek(bytes, length, s->stream, &type) != WIRE_OK) {
        sim_violate(s, SIM_BOUNDED, "%s sends what is no datagram of this stream", n->name);
        return;
    }
    switch (type) {
    case WIRE_BATCH:
        check_batch(s, n, bytes, length);
        break;
    case WIRE_HEARTBEAT:
        check_heartbeat(s, n, bytes, length);
        break;
    case WIRE_PROPOSAL:
        check_proposal(s, bytes, length);
        break;
    case WIRE_ACK:
        check_ack(s, n, bytes, length);
        break;
    case WIRE_PROMISE:
        check_promise(s, n, bytes, length);
        break;
    case WIRE_JOIN:
    case WIRE_HINT:
    case WIRE_GAP_REQUEST:
    case WIRE_GAP_REFUSAL:
    case WIRE_SEAL:
    case WIRE_CREATE:
    case WIRE_RECALL:
    case WIRE_TYPE_END:
        break;
    }
}
