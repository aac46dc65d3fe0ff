#include "bench.h"

#include <stdio.h>
#include <stdlib.h>

static void on_outcome(void *ctx, const struct publisher_outcome *o)
{
    struct bench *b = ctx;
    ck_assert_uint_lt(b->outcome_count, 4096);
    b->outcomes[b->outcome_count++] = *o;
}

struct bench *bench_new(const struct publisher_options *changes)
{
    struct bench *b = calloc(1, sizeof *b);
    rig_port_init(&b->rig);
    struct publisher_options o = changes != NULL ? *changes : (struct publisher_options) { 0 };
    snprintf(o.identity, sizeof o.identity, "me");
    o.stream = RIG_STREAM;
    o.nonce = 99;
    struct catalog_options limits = { .topics_max = 64, .publishers_max = 64 };
    b->catalog = catalog_create(&limits);
    b->now.mono_ns = SECOND;
    b->seq = 10;
    b->p = publisher_create(&o, &b->rig.leader.port, b->counters, on_outcome, b);
    ck_assert(b->p != NULL && b->catalog != NULL);
    return b;
}

void bench_free(struct bench *b)
{
    publisher_destroy(b->p);
    catalog_destroy(b->catalog);
    free(b);
}

uint64_t bench_step(struct bench *b)
{
    b->rig.leader.sent_count = 0;
    return publisher_step(b->p, b->catalog, true, b->now);
}

uint64_t bench_join_record(struct bench *b, uint64_t nonce, uint32_t incarnation, uint64_t last)
{
    struct sys_join j = { .nonce = nonce,
                          .publisher = ID,
                          .incarnation = incarnation,
                          .last_publisher_seq = last,
                          .identity = "me" };
    uint8_t payload[SYS_PAYLOAD_MAX];
    size_t length = sys_join_encode(&j, payload, sizeof payload);
    struct message m = {
        .seq = ++b->seq, .topic = TOPIC_JOIN, .length = (uint32_t)length, .payload = payload
    };
    publisher_on_message(b->p, &m, b->now);
    return m.seq;
}

void bench_activate(struct bench *b, uint64_t last)
{
    bench_step(b);
    publisher_on_stable(b->p, bench_join_record(b, 99, 1, last));
    bench_step(b);
    ck_assert_int_eq(publisher_state(b->p), PUBLISHER_ACTIVE);
}

struct position bench_here(const struct bench *b)
{
    return (struct position) { .epoch = { .number = 1 }, .seq = b->seq };
}

uint64_t bench_push(struct bench *b, const char *text)
{
    struct publisher_item item = { .topic = TOPIC,
                                   .payload = text,
                                   .length = (uint32_t)strlen(text) };
    return publisher_push(b->p, &item, bench_here(b));
}

uint64_t bench_sequenced(struct bench *b, uint64_t number, const void *payload, size_t length)
{
    struct message m = { .seq = ++b->seq,
                         .topic = TOPIC,
                         .publisher = ID,
                         .publisher_seq = number,
                         .payload = payload,
                         .length = (uint32_t)length };
    publisher_on_message(b->p, &m, b->now);
    return m.seq;
}

uint64_t bench_said(struct bench *b, uint64_t number, const char *text)
{
    return bench_sequenced(b, number, text, strlen(text));
}

struct hint bench_hint_of(const struct bench *b, enum hint_reason reason, uint64_t from,
                          uint64_t end)
{
    return (struct hint) { .reason = reason,
                           .publisher = ID,
                           .incarnation = 1,
                           .next_publisher_seq = from,
                           .nonce = end,
                           .epoch = bench_here(b).epoch };
}

uint32_t bench_numbers_in(const struct bench *b, uint32_t i, uint64_t *first)
{
    struct proposal_header h;
    ck_assert_uint_lt(i, b->rig.leader.sent_count);
    const struct leader_sent *d = &b->rig.leader.sent[i];
    ck_assert_int_eq(proposal_decode(d->bytes, d->length, RIG_STREAM, &h), WIRE_OK);
    ck_assert_uint_eq(h.publisher, ID);
    *first = h.first_publisher_seq;
    return h.count;
}
