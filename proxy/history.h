/* History: old messages from a store, for readers that begin further back than `recent` reaches.
 *
 * A few replays at a time (proto/replay.h), each handed to one reader; the others wait their turn. A replay
 * is believed batch by batch: each must follow the one before by digest, and be of the epoch that the
 * stream's epoch table has there, which the follower has verified. A store that breaks off, refuses or lies
 * is followed by the next one, from where it was; a reader is given up only when every store has pruned what it
 * asks for.
 *
 * Back-pressure: a reader that does not take what there is stops its replay, and no other; while others wait, it
 * goes to their end. Pure. */
#ifndef CANTUS_PROXY_HISTORY_H
#define CANTUS_PROXY_HISTORY_H

#include "follow/follower.h"
#include "follow/run.h"

struct history;

struct history_options {
    uint64_t stream;
    uint32_t source_count;
    struct follower_source sources[FOLLOWER_SOURCES_MAX];
    uint32_t replays_max; /* at a time; default 8: each has a run's buffer */
    uint32_t waiting_max; /* default 16384 */
    uint32_t run_bytes_max;
    uint64_t random;
};

size_t history_memory(const struct history_options *o);
struct history *history_create(const struct history_options *o, struct port *port,
                               const struct epoch_table *epochs, uint64_t *counters);
void history_destroy(struct history *h);

enum { HISTORY_NONE = 0 };

/* None of them may ask or cancel. */
struct history_callbacks {
    /* A whole message at or above what was asked for. False: not now; it is kept, or read again, and offered
     * again after history_resume. `stable` is the watermark of its batch. */
    bool (*message)(void *ctx, void *reader, const struct run_message *m, uint64_t stable);
    /* Everything below `end_seq` was handed over. */
    void (*done)(void *ctx, void *reader);
    /* No store has it any more: the oldest that is left. */
    void (*failed)(void *ctx, void *reader, uint64_t oldest_seq);
    void *ctx;
};
void history_listen(struct history *h, const struct history_callbacks *callbacks);

/* Whole messages with seqs in [first_seq, end_seq), both stable. HISTORY_NONE: too many wait. After done and
 * failed the number is no longer good. */
uint32_t history_ask(struct history *h, uint64_t first_seq, uint64_t end_seq, void *reader);
void history_cancel(struct history *h, uint32_t replay);
/* What was refused is offered again; nothing, if it is to be read again first. */
void history_resume(struct history *h, uint32_t replay);

/* The first seq whose batch is stamped at or after time_ns, or if that is amid a message where that begins, found by
 * halving between [low, high]; `high`, where a message begins, if all below are earlier. Asked anew until it answers: true, with *seq. */
bool history_find_time(struct history *h, uint64_t time_ns, uint64_t low, uint64_t high,
                       uint64_t *seq);

bool history_on_stream(struct history *h, const struct port_stream_event *e, struct port_time now,
                       size_t *consumed); /* false: not one of ours */
uint64_t history_step(struct history *h, struct port_time now);

#endif
