/* The processes of a measurement: a deployment of its own in a temporary directory, its sequencer,
 * its store if it has one, and whatever else a case runs, each forked, and all doing the same phase
 * at a time. */
#ifndef CANTUS_BENCH_STAGE_H
#define CANTUS_BENCH_STAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "shell/config.h"
#include "shell/loop.h"

enum { STAGE_CHILDREN_MAX = 4, STAGE_SHARE_PPM = 1000000 };

enum stage_phase {
    STAGE_CANTUS = 0, /* the measured part */
    STAGE_FLOOR,      /* bare programs; who has no part in them sleeps */
    STAGE_CHAIN,      /* others of them, see chain.h */
    STAGE_END
};

/* In memory that all processes share. Each writes what is its own. */
struct stage_shared {
    _Atomic int phase;
    _Atomic uint32_t ingress_loss_ppm; /* of what arrives at the sequencer */
    _Atomic uint32_t egress_loss_ppm;  /* of what arrives at the receivers */
    _Atomic uint64_t delivered;        /* messages, at the receiver */
    _Atomic uint64_t batches;          /* emitted by the sequencer */
    _Atomic uint64_t tip;              /* the same: the last seq, or one a round before it */
    _Atomic uint64_t lost;             /* datagrams, on purpose */
    _Atomic uint64_t overflows; /* datagrams that a full socket buffer lost at the receiver */
    _Atomic uint64_t floor;     /* datagrams received */
    _Atomic uint64_t chain_received, chain_recorded;
    _Atomic bool failed; /* a process gave up; it has said why on stderr */
};

struct stage {
    char dir[64];
    struct config config;
    bool spin;
    uint64_t poll_ns;
    struct stage_shared *shared;
    pid_t children[STAGE_CHILDREN_MAX];
    uint32_t child_count;
};

struct stage_options {
    bool store;           /* one retransmitter; else the stream is volatile */
    uint32_t stores;      /* that many, with `store`; 0: one */
    bool no_segmentation; /* without UDP_SEGMENT and UDP_GRO */
    bool spin; /* with sched_yield; else they spin for 50 us and then wait, the default */
    uint64_t
        poll_ns; /* how soon a process notices another phase; 0: 100 us. Daemons are not woken for that */
};

/* The deployment. False with a text in error[BENCH_ERROR_MAX]; close it all the same. */
bool stage_open(struct stage *s, const struct stage_options *options, char *error);
/* Runs role(ctx, s) in a process of its own, on the given core if there are so many (-1: on
 * any). */
bool stage_fork(struct stage *s, int (*role)(void *ctx, struct stage *s), void *ctx, int core,
                char *error);
/* Ends the processes and leaves nothing behind. */
void stage_close(struct stage *s);

/* Roles. `bare` is what the sequencer does while bare programs are measured: it returns when the
 * phase is another, or sooner. NULL: it sleeps. */
int stage_sequencer(struct stage *s, void (*bare)(void *ctx, struct stage *s), void *ctx);
int stage_recorder(void *ctx, struct stage *s);
/* The store of that index, which has a part in them, too; NULL: it sleeps. */
int stage_record(struct stage *s, uint32_t index, void (*bare)(void *ctx, struct stage *s),
                 void *ctx);

enum stage_phase stage_phase_now(const struct stage *s);
void stage_set_phase(struct stage *s, enum stage_phase phase);
/* Keeps the calling process on the nth of the cores it may use; where there are fewer, on any. */
void stage_stay_on_core(int n);
uint64_t stage_mono_ns(void);
void stage_sleep_ms(uint32_t ms);
/* Of a process of one thread: its CPU time so far, and the memory that it has touched; 0: can't be read. */
uint64_t stage_cpu_ns(pid_t process);
uint64_t stage_memory_bytes(pid_t process);

#endif
