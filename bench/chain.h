/* The bare programs under `throughput`, and `cantus bench chain`, which measures them by
 * themselves.
 *
 * The floor is two processes, of which one sends what the other receives, without segmentation
 * offload. The chain is as many processes as Cantus has: a publisher, a relay, a receiver and,
 * where there is a store, a recorder. They move the same datagrams through the same kind of sockets
 * by the same system calls and wait in the same way; the publisher reads back what it sent, as a
 * publisher does, and keeps the same distances. The relay copies each datagram once, the recorder
 * writes what has come and acknowledges it. There is nothing else in them: no format, no digest, no
 * number. So the chain is what this machine allows to so many processes, and its ratio to the floor
 * what they cost.
 *
 * `gso-hashed` also computes the five digests of a datagram, as XXH3 does them: of the proposal
 * where it is made and where it is checked, of the batch where it is made and at both who receive
 * it. */
#ifndef CANTUS_BENCH_CHAIN_H
#define CANTUS_BENCH_CHAIN_H

#include "bench/bench.h"
#include "bench/floor.h"
#include "bench/stage.h"

struct chain_options {
    uint32_t proposal_bytes; /* of a datagram from the publisher */
    uint32_t batch_bytes;    /* of the relay's for it */
    uint32_t window;         /* datagrams that the publisher has not read back, at most */
    uint32_t ahead_max;      /* that the receiver, and the disk, do not have yet */
    bool segmentation;       /* UDP_SEGMENT and UDP_GRO; else many datagrams a call */
    bool recorded;
    bool hashed;
    bool alone; /* no daemon runs in these processes in turn with them */
};

struct chain {
    struct chain_options options;
    bool open;
    struct floor_socket publisher, relay, receiver, recorder;
    struct floor_socket from, to; /* of the floor */
    uint64_t sent, back;          /* the publisher's */
    uint64_t received_lost, recorded_lost;
};

/* How full proposals and batches of such messages are on the wire; the limits that Cantus has. */
struct chain_options chain_options_of(uint32_t payload_bytes, bool segmentation, bool recorded);
/* Sockets beside those of the stage's deployment. False with a text in error[BENCH_ERROR_MAX];
 * close it all the same: one that is all zero can be closed. */
bool chain_open(struct chain *c, const struct chain_options *options, const struct stage *stage,
                char *error);
void chain_close(struct chain *c);

/* The other processes' parts, for as long as the phase is not STAGE_CANTUS. */
void chain_relay(struct chain *c, struct stage *s);
void chain_receive(struct chain *c, struct stage *s);
/* Roles; the context is the chain. The recorder is `stage_recorder`, too, unless it is alone; the
 * others are alone. */
int chain_recorder(void *chain, struct stage *s);
int chain_relay_alone(void *chain, struct stage *s);
int chain_receiver_alone(void *chain, struct stage *s);

/* The publisher's part: sets the phase, publishes for `ms`, sets it back to STAGE_CANTUS. Datagrams
 * a second that the receiver got. */
double chain_floor(struct chain *c, struct stage *s, uint32_t ms);
double chain_publish(struct chain *c, struct stage *s, uint32_t ms);

bool chain_gso(const struct bench_knobs *knobs, struct bench_result *result, char *error);
bool chain_gso_hashed(const struct bench_knobs *knobs, struct bench_result *result, char *error);
bool chain_no_gso(const struct bench_knobs *knobs, struct bench_result *result, char *error);
bool chain_recorded(const struct bench_knobs *knobs, struct bench_result *result, char *error);
bool chain_recorded_no_gso(const struct bench_knobs *knobs, struct bench_result *result,
                           char *error);

#endif
