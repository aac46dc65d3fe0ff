/* A follower on a fake port, with a log of what it did. */
#ifndef CANTUS_TESTS_FOLLOW_RIG_H
#define CANTUS_TESTS_FOLLOW_RIG_H

#include "fake_port.h"
#include "follow/follower.h"
#include "history.h"

enum { RIG_DELIVERED_MAX = 4096, RIG_MICROSECOND = 1000, RIG_MILLISECOND = 1000000 };

/* Addresses: the leader, and sources 0.. */
#define RIG_LEADER ((struct port_addr) { 99, 9900 })
static inline struct port_addr rig_source_udp(uint32_t i)
{
    return (struct port_addr) { 10 + i, 1000 };
}
static inline struct port_addr rig_source_tcp(uint32_t i)
{
    return (struct port_addr) { 10 + i, 2000 };
}

struct rig {
    struct fake_port port;
    struct follower *follower;
    uint64_t counters[COUNTER_END];
    struct port_time now;

    uint32_t delivered_count; /* what holds now: cut by forks */
    struct batch_header delivered[RIG_DELIVERED_MAX];
    uint64_t expected_seq; /* of the next delivery */
    bool refuse;
    bool restart_in_forked;
    bool restart_in_deliver;
    uint32_t forks;
    uint64_t forked_seq;
    struct epoch forked_by;
    uint64_t stable_seq;
    uint32_t stables;
    uint32_t losts;
    uint64_t lost_first, lost_oldest;
};

struct follower_options rig_options(enum follower_level level, uint32_t sources, bool streams);
struct rig *rig_new(const struct follower_options *options);
void rig_free(struct rig *r);

/* As from the leader on line A. */
void rig_batch(struct rig *r, const struct history *h, uint32_t index);
void rig_batches(struct rig *r, const struct history *h, uint32_t from, uint32_t to);
void rig_heartbeat(struct rig *r, const struct history *h, uint32_t count);
/* A unicast answer of source 0. */
void rig_fill(struct rig *r, const struct history *h, uint32_t index);
void rig_datagram(struct rig *r, const uint8_t *bytes, uint32_t length, enum port_channel channel,
                  struct port_addr from);
/* Lets time pass to the follower's own deadline, or by ns. */
uint64_t rig_step(struct rig *r);
uint64_t rig_pass(struct rig *r, uint64_t ns);

/* The gap requests sent since the last look; answered from this history, if it is not NULL. */
uint32_t rig_serve(struct rig *r, const struct history *h);
struct gap_request rig_request(const struct rig *r, uint32_t index);
void rig_forget_sent(struct rig *r);
void rig_refuse(struct rig *r, const struct gap_request *q, enum gap_refusal_reason reason,
                uint64_t oldest_seq, struct port_addr from);
/* Steps and serves until nothing more is asked for. False if that does not end. */
bool rig_heal(struct rig *r, const struct history *h);

/* Whether exactly the first `count` batches of h are delivered. */
bool rig_has(const struct rig *r, const struct history *h, uint32_t count);

#endif
