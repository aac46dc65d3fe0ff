#include "sim/sim_history.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 256 * 1024, PROPOSED_HEADS = 4096 };

bool sim_history_init(struct sim_history *h)
{
    h->branches = malloc(SIM_BRANCHES_MAX * sizeof *h->branches);
    h->branch_count = 0;
    h->entries = NULL;
    h->entry_count = h->entry_capacity = 0;
    h->chunks = NULL;
    h->chunk_count = h->chunk_capacity = 0;
    h->chunk_used = CHUNK_BYTES;
    h->stable_branch = SIM_NONE;
    h->stable_seq = 0;
    h->proposed = NULL;
    h->proposed_count = h->proposed_capacity = 0;
    h->proposed_index = malloc(PROPOSED_HEADS * sizeof *h->proposed_index);
    h->words = malloc(SIM_WORDS_MAX * sizeof *h->words);
    h->word_count = h->change_count = 0;
    if (h->branches == NULL || h->proposed_index == NULL || h->words == NULL)
        return false;
    for (uint32_t i = 0; i < PROPOSED_HEADS; i++)
        h->proposed_index[i] = SIM_NONE;
    return true;
}

void sim_history_close(struct sim_history *h)
{
    for (uint32_t i = 0; i < h->branch_count; i++)
        free(h->branches[i].entries);
    for (uint32_t i = 0; i < h->chunk_count; i++)
        free(h->chunks[i]);
    free(h->branches);
    free(h->chunks);
    free(h->entries);
    free(h->proposed);
    free(h->proposed_index);
    free(h->words);
}

/* Room for one more of an array that doubles. */
static void *grow(void *array, uint32_t count, uint32_t *capacity, size_t size, uint32_t first)
{
    if (count < *capacity)
        return array;
    uint32_t wanted = *capacity == 0 ? first : *capacity * 2;
    void *larger = realloc(array, wanted * size);
    if (larger != NULL)
        *capacity = wanted;
    return larger;
}

uint32_t sim_history_branch(const struct sim_history *h, struct epoch epoch)
{
    for (uint32_t i = h->branch_count; i-- > 0;)
        if (epoch_equal(h->branches[i].epoch, epoch))
            return i;
    return SIM_NONE;
}

uint32_t sim_history_grow(struct sim_history *h, struct epoch epoch, uint32_t parent,
                          uint64_t first_seq)
{
    if (h->branch_count == SIM_BRANCHES_MAX)
        return SIM_NONE;
    struct sim_branch *b = &h->branches[h->branch_count];
    memset(b, 0, sizeof *b);
    b->epoch = epoch;
    b->first_seq = b->end_seq = first_seq;
    b->parent = parent;
    const struct membership *members = sim_history_members(h, parent, first_seq - 1);
    if (members != NULL)
        b->members = *members;
    return h->branch_count++;
}

static const uint8_t *keep(struct sim_history *h, const uint8_t *bytes, uint32_t length)
{
    if (h->chunk_used + length > CHUNK_BYTES) {
        void *chunks = grow(h->chunks, h->chunk_count, &h->chunk_capacity, sizeof *h->chunks, 16);
        if (chunks == NULL)
            return NULL;
        h->chunks = chunks;
        h->chunks[h->chunk_count] = malloc(CHUNK_BYTES);
        if (h->chunks[h->chunk_count] == NULL)
            return NULL;
        h->chunk_count++;
        h->chunk_used = 0;
    }
    uint8_t *copy = h->chunks[h->chunk_count - 1] + h->chunk_used;
    if (length > 0)
        memcpy(copy, bytes, length);
    h->chunk_used += length;
    return copy;
}

struct sim_entry *sim_history_append(struct sim_history *h, uint32_t branch,
                                     const struct message *m)
{
    struct sim_branch *b = &h->branches[branch];
    void *entries = grow(h->entries, h->entry_count, &h->entry_capacity, sizeof *h->entries, 2048);
    if (entries == NULL)
        return NULL;
    h->entries = entries;
    uint32_t index = (uint32_t)(b->end_seq - b->first_seq);
    void *mine = grow(b->entries, index, &b->capacity, sizeof *b->entries, 256);
    if (mine == NULL)
        return NULL;
    b->entries = mine;
    const uint8_t *payload = keep(h, m->payload, m->length);
    if (payload == NULL)
        return NULL;
    b->entries[index] = h->entry_count;
    b->end_seq++;
    struct sim_entry *e = &h->entries[h->entry_count++];
    *e = (struct sim_entry) {
        .payload = payload,
        .timestamp_ns = m->timestamp_ns,
        .publisher_seq = m->publisher_seq,
        .topic = m->topic,
        .publisher = m->publisher,
        .length = m->length,
        .flags = m->flags,
    };
    return e;
}

uint32_t sim_history_owner(const struct sim_history *h, uint32_t branch, uint64_t seq)
{
    while (branch != SIM_NONE && seq < h->branches[branch].first_seq)
        branch = h->branches[branch].parent;
    return branch;
}

struct sim_entry *sim_history_at(const struct sim_history *h, uint32_t branch, uint64_t seq)
{
    branch = sim_history_owner(h, branch, seq);
    if (branch == SIM_NONE || seq == 0)
        return NULL;
    const struct sim_branch *b = &h->branches[branch];
    return seq < b->end_seq ? &h->entries[b->entries[seq - b->first_seq]] : NULL;
}

bool sim_history_has(const struct sim_history *h, uint32_t branch, struct position position)
{
    if (position.seq == 0)
        return true;
    uint32_t owner = sim_history_owner(h, branch, position.seq);
    return owner != SIM_NONE && position.seq < h->branches[owner].end_seq &&
           epoch_equal(h->branches[owner].epoch, position.epoch);
}

uint64_t sim_history_common(const struct sim_history *h, uint32_t a, uint64_t a_seq, uint32_t b)
{
    uint64_t b_seq = h->branches[b].end_seq - 1;
    while (a != b && a != SIM_NONE && b != SIM_NONE) {
        /* A branch is made after the one it leaves, so the newer index goes down first. */
        if (a > b) {
            if (a_seq >= h->branches[a].first_seq)
                a_seq = h->branches[a].first_seq - 1;
            a = h->branches[a].parent;
        } else {
            if (b_seq >= h->branches[b].first_seq)
                b_seq = h->branches[b].first_seq - 1;
            b = h->branches[b].parent;
        }
    }
    return a_seq < b_seq ? a_seq : b_seq;
}

/* ---- members --------------------------------------------------------------------------------- */

const struct membership *sim_history_members(const struct sim_history *h, uint32_t branch,
                                             uint64_t seq)
{
    for (branch = sim_history_owner(h, branch, seq); branch != SIM_NONE;
         branch = h->branches[branch].parent) {
        for (uint32_t i = h->change_count; i-- > 0;)
            if (h->changes[i].branch == branch && h->changes[i].members.seq <= seq)
                return &h->changes[i].members;
        seq = h->branches[branch].first_seq - 1;
    }
    return NULL;
}

bool sim_history_change(struct sim_history *h, uint32_t branch, const struct membership *members)
{
    if (h->change_count == SIM_CHANGES_MAX)
        return false;
    h->changes[h->change_count++] = (struct sim_change) { .branch = branch, .members = *members };
    h->branches[branch].members = *members;
    sim_history_judge(h, branch);
    return true;
}

struct sim_store_word *sim_history_word(struct sim_history *h, uint64_t id)
{
    for (uint32_t i = 0; i < h->word_count; i++)
        if (h->words[i].id == id)
            return &h->words[i];
    if (h->word_count == SIM_WORDS_MAX)
        return NULL;
    struct sim_store_word *word = &h->words[h->word_count++];
    memset(word, 0, sizeof *word);
    word->id = id;
    return word;
}

void sim_history_judge(struct sim_history *h, uint32_t branch)
{
    struct sim_branch *b = &h->branches[branch];
    const struct membership *m = &b->members;
    uint64_t held[MEMBERS_MAX];
    uint32_t n = 0;
    for (uint32_t i = 0; i < h->word_count; i++) {
        if (!membership_has(m, h->words[i].id))
            continue;
        assert(n < MEMBERS_MAX);
        uint32_t at = n++;
        for (; at > 0 && held[at - 1] < h->words[i].acked_in[branch]; at--)
            held[at] = held[at - 1];
        held[at] = h->words[i].acked_in[branch];
    }
    uint32_t quorum = membership_stable_quorum(m), majority = m->count / 2 + 1;
    if (quorum > 0 && n >= quorum && held[quorum - 1] > b->possible)
        b->possible = held[quorum - 1];
    if (m->count > 0 && n >= majority && held[majority - 1] > b->secure)
        b->secure = held[majority - 1];
}

static uint32_t head_of(uint32_t publisher, uint64_t publisher_seq)
{
    uint64_t mixed = (publisher_seq * 64 + publisher) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(mixed >> 40) % PROPOSED_HEADS;
}

void sim_history_proposed(struct sim_history *h, uint32_t publisher, uint32_t incarnation,
                          uint64_t publisher_seq, struct position position, uint64_t hash)
{
    uint32_t head = head_of(publisher, publisher_seq);
    for (uint32_t i = h->proposed_index[head]; i != SIM_NONE; i = h->proposed[i].next) {
        const struct sim_proposed *p = &h->proposed[i];
        if (p->publisher == publisher && p->publisher_seq == publisher_seq && p->hash == hash &&
            p->incarnation == incarnation && p->position.seq == position.seq &&
            epoch_equal(p->position.epoch, position.epoch))
            return;
    }
    void *larger =
        grow(h->proposed, h->proposed_count, &h->proposed_capacity, sizeof *h->proposed, 2048);
    if (larger == NULL)
        return;
    h->proposed = larger;
    h->proposed[h->proposed_count] = (struct sim_proposed) {
        .publisher_seq = publisher_seq,
        .position = position,
        .hash = hash,
        .publisher = publisher,
        .incarnation = incarnation,
        .next = h->proposed_index[head],
    };
    h->proposed_index[head] = h->proposed_count++;
}

bool sim_history_find_proposed(const struct sim_history *h, uint32_t publisher,
                               uint64_t publisher_seq,
                               bool (*match)(void *ctx, const struct sim_proposed *p), void *ctx)
{
    uint32_t i = h->proposed_index[head_of(publisher, publisher_seq)];
    for (; i != SIM_NONE; i = h->proposed[i].next) {
        const struct sim_proposed *p = &h->proposed[i];
        if (p->publisher == publisher && p->publisher_seq == publisher_seq && match(ctx, p))
            return true;
    }
    return false;
}
