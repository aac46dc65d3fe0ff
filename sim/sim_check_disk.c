/* What is durable, read off the disks themselves: nobody's word counts. Whatever is stable must be in
 * the way of every candidate, whichever stores answer it. */
#include <stdio.h>
#include <string.h>

#include "sim/sim_private.h"

struct tail {
    struct position last;
    struct digest digest;
};

static bool note_tail(void *ctx, const uint8_t *bytes, const struct batch_header *header,
                      uint64_t segment, uint64_t offset)
{
    struct tail *tail = ctx;
    (void)bytes;
    (void)segment;
    (void)offset;
    tail->last = (struct position) { header->epoch, batch_end_seq(header) - 1 };
    tail->digest = header->digest;
    return true;
}

/* What a candidate that gets the promises of just these would do. */
static bool could_seal(const struct sim *s, const struct sim_node *const *stores,
                       const struct tail *tails, uint32_t set)
{
    const struct sim_history *h = &s->history;
    const struct tail *best = NULL;
    for (uint32_t i = 0; set >> i != 0; i++)
        if ((set >> i & 1) != 0 &&
            (best == NULL || position_compare(tails[i].last, best->last) > 0))
            best = &tails[i];
    if (best == NULL || best->last.seq == 0)
        return false;
    const struct membership *m =
        sim_history_members(h, sim_history_branch(h, best->last.epoch), best->last.seq);
    uint32_t members = 0;
    for (uint32_t i = 0; set >> i != 0; i++)
        members += (set >> i & 1) != 0 && membership_has(m, stores[i]->store);
    return members >= membership_seal_quorum(m);
}

void sim_check_disks(struct sim *s)
{
    struct sim_history *h = &s->history;
    const struct sim_node *stores[SIM_STORES_MAX];
    struct tail tails[SIM_STORES_MAX];
    uint32_t count = 0;
    if (h->stable_seq == 0)
        return;
    uint32_t owner = sim_history_owner(h, h->stable_branch, h->stable_seq);
    struct position stable = { h->branches[owner].epoch, h->stable_seq };
    for (uint32_t i = 0; i < s->node_count; i++) {
        struct sim_node *n = s->nodes[i];
        /* One that may have lost what it had not synced says so when it starts, and comes back as new. */
        if (n->kind != SIM_STORE || n->rotten || n->host_lost || n->restored || !n->formatted)
            continue;
        char error[JOURNAL_ERROR_MAX] = "";
        struct journal_walk_result walked;
        struct tail *tail = &tails[count];
        *tail = (struct tail) { 0 };
        enum journal_error code = journal_walk(&n->disk->disk, 1, note_tail, tail, &walked, error);
        if (n->hurt && (code != JOURNAL_OK || walked.damaged))
            continue; /* until it is healed it does not vote */
        if (code != JOURNAL_OK || walked.damaged) {
            sim_violate(s, SIM_NOTHING_STABLE_LOST, "the disk of %s: %.200s%.200s", n->name, error,
                        walked.damaged ? walked.damage : "");
            return;
        }
        uint32_t branch = sim_history_branch(h, tail->last.epoch);
        const struct sim_entry *last =
            branch != SIM_NONE ? sim_history_at(h, branch, tail->last.seq) : NULL;
        if (tail->last.seq > 0 &&
            (last == NULL || !last->last || !digest_equal(last->digest, tail->digest))) {
            sim_violate(s, SIM_NOTHING_STABLE_LOST, "the disk of %s ends with %lu, which never was",
                        n->name, tail->last.seq);
            return;
        }
        if (tail->last.seq < stable.seq || !sim_history_has(h, branch, stable))
            stores[count++] = n;
    }
    for (uint32_t set = 1; set >> count == 0; set++)
        if (could_seal(s, stores, tails, set)) {
            sim_violate(s, SIM_NOTHING_STABLE_LOST,
                        "%lu is stable, and %u stores whose disks lack it, %s among them, could "
                        "seal without the others",
                        stable.seq, (unsigned)__builtin_popcount(set),
                        stores[__builtin_ctz(set)]->name);
            return;
        }
}
