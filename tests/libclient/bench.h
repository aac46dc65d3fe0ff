/* A publisher alone: the test plays the stream. What it sends is decoded from the port of a rig
 * without a client; outcomes, joins, forks and hints are handed to it directly, so that each can be
 * lost, late or foreign. */
#ifndef CANTUS_TESTS_LIBCLIENT_BENCH_H
#define CANTUS_TESTS_LIBCLIENT_BENCH_H

#include "libclient/publisher.h"
#include "rig.h"

enum { ID = 5, TOPIC = 20 };

struct bench {
    struct rig rig; /* for its port */
    struct catalog *catalog;
    struct publisher *p;
    uint64_t counters[COUNTER_END];
    struct publisher_outcome outcomes[4096];
    uint32_t outcome_count;
    uint64_t seq;
    struct port_time now;
};

/* `changes`: all but identity, stream and nonce (99), which are the bench's; or NULL. */
struct bench *bench_new(const struct publisher_options *changes);
void bench_free(struct bench *b);
/* Forgets what was sent; the deadline. */
uint64_t bench_step(struct bench *b);
/* Joined under its own nonce, which is stable. */
void bench_activate(struct bench *b, uint64_t last);

/* What the stream says next, and its seq. */
uint64_t bench_join_record(struct bench *b, uint64_t nonce, uint32_t incarnation, uint64_t last);
uint64_t bench_sequenced(struct bench *b, uint64_t number, const void *payload, size_t length);
uint64_t bench_said(struct bench *b, uint64_t number, const char *text);

struct position bench_here(const struct bench *b);      /* the tip */
uint64_t bench_push(struct bench *b, const char *text); /* authored there; its number, or 0 */
/* As the sequencer of the current epoch gives it. */
struct hint bench_hint_of(const struct bench *b, enum hint_reason reason, uint64_t from,
                          uint64_t end);
/* Numbers in the i-th datagram sent in the last step: count, and the first in *first. */
uint32_t bench_numbers_in(const struct bench *b, uint32_t i, uint64_t *first);

#endif
