/* What the stores have said, and whether they still know it. A store that was restored from an older
 * copy of its directory looks like one that was down since: only those who have heard it in between
 * can tell. So every word of a store names its run and what that run began with, and is held against
 * the most that it is known to have said in any other: as heard here, and as the newest record in the
 * stream says, which every store has in its journal. Who began with less is not counted, and is told,
 * so that it never votes again under this id.
 *
 * A datagram that is late, from an earlier run, looks the same. It is not counted either, and the
 * store, which knows its own run, takes no notice of what it is told then. */
#include "sequencer/core_private.h"

#include <stdio.h>

/* In the stream, of this store; NULL: nothing. */
static const struct store_word *recorded(const struct sequencer *s, uint64_t id)
{
    const struct sys_words *words = catalog_words(s->catalog);
    for (uint32_t i = 0; i < words->count; i++) {
        if (words->words[i].store == id)
            return &words->words[i];
    }
    return NULL;
}

static bool forgets(const struct store_word *known, const struct run *run, const struct word *now)
{
    return word_forgets(&known->word, known->run == run->id ? now : &run->base);
}

/* What speaks against it; NULL: nothing that is known. */
static const struct store_word *against(const struct sequencer *s, const struct store *store,
                                        const struct run *run, const struct word *now)
{
    if (sabotaged(s, SEQUENCER_RESTORED_VOTES))
        return NULL;
    if (store->said.store != 0 && forgets(&store->said, run, now))
        return &store->said;
    const struct store_word *known = recorded(s, store->id);
    return known != NULL && forgets(known, run, now) ? known : NULL;
}

static void recall(struct sequencer *s, struct store *store, const struct store_word *known)
{
    if (s->now.mono_ns < store->recalled_ns + RECALL_INTERVAL_NS && store->recalled_ns != 0)
        return;
    store->recalled_ns = s->now.mono_ns;
    struct recall r = { .store = store->id, .run = known->run, .said = known->word };
    if (s->state == SEQUENCER_LEADING)
        r.epoch = s->epoch;
    uint8_t *out = port_scratch(s->port, SIGNAL_SIZE_MAX);
    size_t length = recall_encode(&r, s->o.stream, out, SIGNAL_SIZE_MAX);
    assert(length > 0);
    sequencer_send(s, PORT_UNICAST, store->from, out, (uint32_t)length);
}

static void refuse(struct sequencer *s, struct store *store, const struct store_word *known,
                   uint64_t run)
{
    count(s, COUNTER_WORDS_REFUSED, 1);
    recall(s, store, known);
    if (known->run == run)
        return;
    s->promise_fell = s->promise_fell || store->promised;
    store->current = store->promised = store->probed = false;
    store->restored = true;
    snprintf(s->restored, sizeof s->restored,
             "store %016llx says less than it has said (epoch %u, seq %llu): it is not counted. "
             "Unless that was a late datagram, it was restored from an older copy, and must be "
             "replaced",
             (unsigned long long)store->id, known->word.promised.number,
             (unsigned long long)known->word.tail.seq);
}

bool word_heard(struct sequencer *s, struct store *store, const struct run *run,
                const struct word *now, struct port_addr from)
{
    const struct store_word *known = against(s, store, run, now);
    store->from = from;
    if (known != NULL) {
        refuse(s, store, known, run->id);
        return false;
    }
    store->restored = false;
    store->base = run->base;
    store->said = (struct store_word) { .store = store->id, .run = run->id, .word = *now };
    return true;
}

void word_accept(struct sequencer *s, struct store *store)
{
    recall(s, store, &store->said);
}

bool word_promises_stand(struct sequencer *s)
{
    bool stand = !s->promise_fell;
    s->promise_fell = false;
    for (uint32_t i = 0; i < STORES_MAX; i++) {
        struct store *store = &s->stores[i];
        if (store->id == 0 || !store->promised)
            continue;
        const struct promise *p = &store->promise;
        const struct word now = { .promised = p->promised, .tail = p->tail };
        const struct store_word *known = against(s, store, &p->run, &now);
        if (known == NULL || known->run == p->run.id)
            continue;
        refuse(s, store, known, p->run.id);
        stand = false;
    }
    return stand;
}

/* ---- in the stream --------------------------------------------------------------------------- */

static const struct store *heard_of(const struct sequencer *s, uint64_t id)
{
    for (uint32_t i = 0; i < STORES_MAX; i++) {
        if (s->stores[i].id == id && s->stores[i].said.store == id)
            return &s->stores[i];
    }
    return NULL;
}

/* The most that each member is known to have said. */
static void collect(const struct sequencer *s, struct sys_words *out)
{
    const struct membership *members = catalog_members(s->catalog);
    out->count = 0;
    for (uint32_t i = 0; i < members->count; i++) {
        const struct store_word *known = recorded(s, members->stores[i]);
        const struct store *store = heard_of(s, members->stores[i]);
        if (store != NULL) {
            const struct run run = { .id = store->said.run, .base = store->base };
            if (known == NULL || !forgets(known, &run, &store->said.word))
                known = &store->said;
        }
        if (known != NULL)
            out->words[out->count++] = *known;
    }
}

void emit_words(struct sequencer *s)
{
    if (s->is_volatile || s->o.words_ns == 0 || s->now.mono_ns < s->words_at_ns ||
        s->next_seq == s->words_next || s->run.left > 0)
        return;
    struct sys_words words;
    uint8_t payload[SYS_PAYLOAD_MAX];
    collect(s, &words);
    size_t length = sys_words_encode(&words, payload, sizeof payload);
    if (length > 0 && !emit_record(s, TOPIC_WORD, 0, 0, payload, (uint32_t)length, ROOM_ORDINARY))
        return;
    s->words_at_ns = s->now.mono_ns + s->o.words_ns;
    s->words_next = s->next_seq;
}
