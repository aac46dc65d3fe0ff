/* A sequencer's core on a port that remembers. Everything it emits goes through batch_verify and
 * must continue the digest chain and the seqs, whatever the test is about; what it emitted is then
 * looked up here, by seq. Time is a number that tests move. */
#ifndef CANTUS_TESTS_SEQUENCER_SUITE_H
#define CANTUS_TESTS_SEQUENCER_SUITE_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/command.h"
#include "proto/proposal.h"
#include "sequencer/core.h"

#define SUITE_STREAM UINT64_C(0x5eed5eed)
#define MS           UINT64_C(1000000)
#define SECOND       UINT64_C(1000000000)
#define WALL_START   (UINT64_C(1700000000) * SECOND)

enum {
    SENT_MAX = 32768,
    SCRATCH_MAX = 8192,
    SEEN_MAX = 65536,
    STREAM_OUT_MAX = 128 * 1024,
    SENT_ANSWERED = -1
};

struct sent {
    enum port_channel channel;
    struct port_addr to;
    uint32_t length;
    uint8_t *bytes;      /* a copy */
    const uint8_t *lent; /* what was handed over; must stay as it is until the flush */
    int type;            /* enum wire_type; SENT_ANSWERED */
};

struct seen { /* a message emitted */
    struct message m;
    struct batch_header batch;
    uint8_t *bytes; /* of its batch */
};

struct kept {
    struct kept *next;
    uint8_t bytes[];
};

struct suite {
    struct port port;  /* first */
    struct kept *kept; /* every datagram sent, until suite_free */
    struct sequencer *core;
    struct sequencer_options options;
    struct port_time now;
    uint64_t deadline; /* as the last step said */
    struct sent sent[SENT_MAX];
    uint32_t sent_count;
    uint32_t flushed;           /* of them */
    struct seen seen[SEEN_MAX]; /* by seq - 1; the genesis record is there from the beginning */
    uint64_t tip;
    uint64_t store_tip; /* what stores say they have */
    struct digest digest;
    uint32_t batches;
    struct batch_header last_batch;
    struct heartbeat heartbeat; /* the last one */
    uint32_t heartbeats;
    struct hint hint;
    uint32_t hints;
    struct recall recall;
    uint32_t recalls;
    struct seal seal;
    uint32_t seals;
    struct gap_refusal refusal;
    uint32_t refusals;
    uint32_t fills;
    uint8_t genesis[WIRE_DATAGRAM_DEFAULT];
    uint32_t genesis_length;
    uint32_t quorum; /* W of the genesis record */
    struct batch_header genesis_header;
    uint8_t scratch[SCRATCH_MAX * PORT_SCRATCH_MAX];
    uint32_t scratch_used;
    uint8_t stream_out[STREAM_OUT_MAX];
    size_t stream_out_length;
    uint32_t streams_closed;
    size_t stream_room;
};

/* options are the defaults, scaled down; a test changes them before suite_volatile or
 * suite_recorded begins. */
struct suite *suite_new(void);
void suite_free(struct suite *t);
/* A stream without stores: leads after the first step, epoch record and session record emitted. */
void suite_volatile(struct suite *t);
/* A stream with `stores` founding stores, ids 1.. ; does not step. */
void suite_recorded(struct suite *t, uint32_t stores);
/* The same, and it leads: stores promise, the genesis record is fetched. */
void suite_lead(struct suite *t, uint32_t stores);
/* Makes the core anew, as a process that is started again. */
void suite_start(struct suite *t);

/* A step and the flush after it. */
void suite_step(struct suite *t);
/* Steps until it has nothing more to do at once. */
void suite_run(struct suite *t);
void suite_advance(struct suite *t, uint64_t ns); /* both clocks, then suite_run */
void suite_give(struct suite *t, const void *bytes, size_t length);
void suite_give_from(struct suite *t, const void *bytes, size_t length, struct port_addr from);

struct promise suite_promise(const struct suite *t, uint64_t store);
void suite_give_promise(struct suite *t, const struct promise *p);
/* Answers what was asked of stores since, out of the history through store_tip. */
void suite_serve(struct suite *t);
/* Promises by all stores, and serves, until it leads. */
void suite_elect(struct suite *t, uint32_t stores);
/* As if the stores had recorded through `seq`, the end of a batch, and the sequencer were started
 * again; it does not step. */
void suite_restart(struct suite *t, uint64_t seq);
/* Gives the batch that ends at or holds seq, as it was on the egress group; returns the next seq.
 */
uint64_t suite_give_batch(struct suite *t, uint64_t seq);
void suite_ack(struct suite *t, uint64_t store, uint64_t seq);
struct ack suite_ack_of(const struct suite *t, uint64_t store, uint64_t seq);
void suite_give_ack(struct suite *t, const struct ack *a);

/* Another sequencer begins `epoch` behind message `at`, of which everything above is forgotten: its
 * record becomes the history's tip, and is not given to the core. */
void suite_rival(struct suite *t, uint64_t at, struct epoch epoch);
/* The newest epoch's leader says where it stands. */
void suite_give_heartbeat(struct suite *t, uint64_t next_seq, uint64_t stable);
/* The core becomes another sequencer, which has followed the history through `seq` so far and stands
 * by. */
void suite_standby(struct suite *t, uint64_t seq);
/* How often it asked for history. */
uint32_t suite_asked(const struct suite *t);

/* An operator. */
void suite_command(struct suite *t, uint32_t stream, const struct command *c);
/* The answer that came since the last call; its verdict is 0 if none did. */
struct outcome suite_outcome(struct suite *t);

/* Publishers. */
uint32_t suite_join(struct suite *t, const char *identity); /* incarnation 1; its id */
void suite_give_join(struct suite *t, const char *identity, uint32_t wanted, uint64_t nonce);
uint32_t suite_topic(struct suite *t, uint32_t publisher, const char *path);

struct offer {
    struct proposal_header header;
    struct proposal_builder builder;
    uint8_t bytes[WIRE_DATAGRAM_DEFAULT];
};
void offer_open(const struct suite *t, struct offer *o, uint32_t publisher, uint64_t first);
void offer_add(struct offer *o, uint32_t topic, uint8_t flags, const void *payload,
               uint32_t length);
void offer_add_if(struct offer *o, uint32_t topic, uint8_t flags, uint32_t condition_topic,
                  uint64_t after_seq);
void offer_give(struct suite *t, struct offer *o);
/* One message of `length` bytes of its own number. */
void suite_propose(struct suite *t, uint32_t publisher, uint64_t number, uint32_t topic,
                   uint32_t length);

const struct message *suite_message(const struct suite *t, uint64_t seq);
/* Messages of this publisher from seq on, /sys excluded. */
uint32_t suite_count(const struct suite *t, uint64_t from, uint32_t publisher);
/* The last message must be a reject of this; its fields. */
struct sys_reject suite_rejected(const struct suite *t, uint32_t publisher, uint64_t number);
/* main of a test program. */
#define SUITE_MAIN(name, ...)                                                                      \
    int main(void)                                                                                 \
    {                                                                                              \
        const TTest *const tests[] = { __VA_ARGS__ };                                              \
        Suite *suite = suite_create(name);                                                         \
        TCase *tcase = tcase_create(name);                                                         \
        for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)                                \
            tcase_add_test(tcase, tests[i]);                                                       \
        suite_add_tcase(suite, tcase);                                                             \
        SRunner *runner = srunner_create(suite);                                                   \
        srunner_run_all(runner, CK_NORMAL);                                                        \
        int failed = srunner_ntests_failed(runner);                                                \
        srunner_free(runner);                                                                      \
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;                                          \
    }

uint64_t suite_counter(const struct suite *t, enum counter c);

#endif
