#include "quoter.h"

#include <stdlib.h>

static const char quote_topic[] = "/orders/quoter";
static const char *const quoter_topics[] = { quote_topic, NULL };
static const struct cantus_part quoter_parts[] = { { &book_app, offsetof(struct quoter, book) } };

enum { QUOTE_SIZE = 8 };

static void put32(uint8_t *out, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(v >> (8 * i));
}

static uint32_t get32(const uint8_t *in)
{
    return (uint32_t)in[0] | (uint32_t)in[1] << 8 | (uint32_t)in[2] << 16 | (uint32_t)in[3] << 24;
}

static bool quoter_init(void *state, const char *config, struct cantus_timers *timers)
{
    (void)state;
    (void)timers;
    return config[0] == 0;
}

static void quoter_apply(void *state, const struct cantus_message *m)
{
    struct quoter *q = state;
    if (m->length != QUOTE_SIZE)
        return;
    q->bid = get32(m->payload);
    q->ask = get32((const uint8_t *)m->payload + 4);
    q->quotes++;
    q->last_quote_seq = m->seq;
}

/* The quote is conditional on the last one seen: of redundant quoters exactly one places it. */
static bool quoter_next(const void *state, struct cantus_proposal *p)
{
    const struct quoter *q = state;
    uint32_t best_bid = book_best_bid(&q->book), best_ask = book_best_ask(&q->book);
    if (best_bid == 0 || best_ask == 0 || best_bid >= best_ask || best_bid <= QUOTE_HALF_SPREAD)
        return false;
    uint32_t middle = best_bid + (best_ask - best_bid) / 2;
    uint32_t standing = q->bid == 0 ? 0 : q->bid + QUOTE_HALF_SPREAD;
    uint32_t moved = middle > standing ? middle - standing : standing - middle;
    if (moved < QUOTE_STEP)
        return false;
    put32(p->buffer, middle - QUOTE_HALF_SPREAD);
    put32(p->buffer + 4, middle + QUOTE_HALF_SPREAD);
    p->topic = quote_topic;
    p->payload = p->buffer;
    p->length = QUOTE_SIZE;
    p->condition_topic = quote_topic;
    p->condition_after = q->last_quote_seq;
    return true;
}

static uint64_t quoter_digest(const void *state)
{
    const struct quoter *q = state;
    uint64_t fields[] = { q->bid, q->ask, q->quotes, q->last_quote_seq };
    return cantus_hash(0, fields, sizeof fields);
}

static void quoter_save(const void *state, struct cantus_writer *w)
{
    const struct quoter *q = state;
    cantus_write_u64(w, (uint64_t)q->bid << 32 | q->ask);
    cantus_write_u64(w, q->quotes);
    cantus_write_u64(w, q->last_quote_seq);
}

static bool quoter_load(void *state, struct cantus_reader *r)
{
    struct quoter *q = state;
    uint64_t quote = cantus_read_u64(r);
    q->bid = (uint32_t)(quote >> 32);
    q->ask = (uint32_t)quote;
    q->quotes = cantus_read_u64(r);
    q->last_quote_seq = cantus_read_u64(r);
    return true;
}

const struct cantus_app quoter_app = {
    .abi = CANTUS_APP_ABI,
    .logic_version = 1,
    .name = "quoter",
    .topics = quoter_topics,
    .state_size = sizeof(struct quoter),
    .parts = quoter_parts,
    .part_count = 1,
    .init = quoter_init,
    .apply = quoter_apply,
    .next = quoter_next,
    .save = quoter_save,
    .load = quoter_load,
    .digest = quoter_digest,
};
