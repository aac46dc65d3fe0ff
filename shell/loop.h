/* Drives participants in one thread: gives them what has arrived, the time and their disk's
 * completions, and carries out what they queued. One loop serves a daemon, a whole deployment in
 * one process, or a client library that is polled from somebody else's loop. */
#ifndef CANTUS_SHELL_LOOP_H
#define CANTUS_SHELL_LOOP_H

#include "journal/disk.h"
#include "transport/transport.h"

enum { LOOP_PARTICIPANTS_MAX = 48, LOOP_ERROR_MAX = 256, LOOP_PAUSE_WHAT_MAX = 95 };
/* How often a participant's sample is called: at most this often, and at least every second. */
#define LOOP_SAMPLE_NS UINT64_C(100000000)
#define LOOP_REST_NS   UINT64_C(50000)

enum loop_idle {
    LOOP_IDLE_SPIN_THEN_WAIT = 0, /* the default: an idle laptop stays idle */
    LOOP_IDLE_SPIN,               /* never waits: lowest latency for a core of its own */
    LOOP_IDLE_WAIT
};

struct loop_options {
    enum loop_idle idle;
    bool yield;  /* spinning gives way to other processes: when cores are fewer than spinners */
    bool polled; /* from outside: whoever polls has just given the participants something to do, so
                    they are stepped before arrivals are looked for */
    uint64_t spin_ns; /* of LOOP_IDLE_SPIN_THEN_WAIT, since something last arrived; default 50 us */
};

struct loop;

/* A core and what it lives on. All is borrowed: it must stay until loop_remove or loop_destroy. */
struct loop_participant {
    void *core;
    const struct participant_ops *ops;
    struct transport *transport; /* or NULL */
    struct disk *disk;           /* or NULL */
    /* [COUNTER_END] or NULL: the loop keeps the transport's figures and its own longest pause there
     */
    uint64_t *counters;
    const char *name; /* in what is said of pauses; or NULL */
    /* Whether what arrives now could go on only once the disk has answered. Then a loop that yields
     * and serves nobody else rests for up to LOOP_REST_NS, or until the disk answers, and looks at
     * all that has come meanwhile at once. May be NULL: never. */
    bool (*rests)(const void *core);
    /* Serves many who come in bursts: a loop that yields does not spin for a while behind a turn that came back
     * late, from somebody who computes on its core. */
    bool waits_if_crowded;
    /* For what is not counted as it happens: gauges, signs of life. May be NULL. */
    void (*sample)(void *ctx, const struct loop *l);
    void *sample_ctx;
};

/* A time between two rounds with work in hand and no wait between them. */
struct loop_pause {
    uint64_t duration_ns;               /* 0: there was none */
    uint64_t wall_ns;                   /* when it ended */
    char what[LOOP_PAUSE_WHAT_MAX + 1]; /* what took most of it: "s1: datagrams" */
};

/* NULL on failure, with a text in error[LOOP_ERROR_MAX]. */
struct loop *loop_create(const struct loop_options *options, char *error);
void loop_destroy(struct loop *l);
/* False when there are LOOP_PARTICIPANTS_MAX already, or a descriptor can't be watched. */
bool loop_add(struct loop *l, const struct loop_participant *participant);
void loop_remove(struct loop *l, const void *core);

/* Rounds until there was work, the time-out has passed, or loop_wake or loop_stop was called; waits
 * in between at most once. True if there was work: something arrived or was due. */
bool loop_poll(struct loop *l, uint64_t timeout_ns);
/* Until loop_stop. */
void loop_run(struct loop *l);

/* Both may be called from signal handlers and other threads. */
void loop_wake(struct loop *l); /* ends a wait, so that a round comes */
void loop_stop(struct loop *l);
bool loop_stopped(const struct loop *l);

/* For waiting from outside: readable when a poll has something to do, deadlines included. -1: a
 * descriptor can't be watched. */
int loop_fd(struct loop *l);
/* How long nothing is due, from now; 0: poll at once. PORT_NEVER: only arrivals. */
uint64_t loop_timeout_ns(const struct loop *l);
/* Of the round that runs or ran last. The wall clock is read once a millisecond at most. */
struct port_time loop_now(const struct loop *l);
struct port_time loop_clock(void); /* read now */
uint64_t loop_pause_max_ns(const struct loop *l);
/* The longest since the start, and the longest of the last one to two minutes. */
struct loop_pause loop_pause_max(const struct loop *l);
struct loop_pause loop_pause_recent(const struct loop *l);

#endif
