/* `cantus bench edge`: clients through a proxy, over TCP.
 *
 * Round trips and fan-out stand next to nats-server, too, if it is installed: a peer that does the same for
 * clients over TCP, without one order and without a record of it. Its clients here are as bare as the floor's. */
#ifndef CANTUS_BENCH_EDGE_H
#define CANTUS_BENCH_EDGE_H

#include "bench/bench.h"

/* Client, proxy, sequencer: three processes. The client is the library's. */
bool edge_rtt(const struct bench_knobs *k, struct bench_result *result, char *error);
bool edge_rtt_nats(const struct bench_knobs *k, struct bench_result *result, char *error);
bool edge_rtt_nats_idle(const struct bench_knobs *k, struct bench_result *result, char *error);
/* Delivered messages. The publisher is on the core; with nats-server it is a client like the others. A process of
 * its own has all subscribers: see edge_crowd.h. */
bool edge_fanout_1(const struct bench_knobs *k, struct bench_result *result, char *error);
bool edge_fanout_10(const struct bench_knobs *k, struct bench_result *result, char *error);
bool edge_fanout_100(const struct bench_knobs *k, struct bench_result *result, char *error);
bool edge_fanout_1000(const struct bench_knobs *k, struct bench_result *result, char *error);
/* The floor is a receiver on the core. One message in a hundred is wanted by one session; the subscriptions beside it
 * are of subtrees on which nothing ever is. */
bool edge_filter_1(const struct bench_knobs *k, struct bench_result *result, char *error);
bool edge_filter_100(const struct bench_knobs *k, struct bench_result *result, char *error);
bool edge_filter_10000(const struct bench_knobs *k, struct bench_result *result, char *error);
/* With progress at the default interval; memory, too. */
bool edge_idle(const struct bench_knobs *k, struct bench_result *result, char *error);
/* All connect and say what they want before anything is answered; live messages, one a millisecond, go through the
 * same proxy. */
bool edge_storm(const struct bench_knobs *k, struct bench_result *r, char *error);
bool edge_storm_live(const struct bench_knobs *k, struct bench_result *r, char *error);
/* Counted in messages, not in time: those of one greedy publisher that are sequenced between the arrival of a
 * polite one's proposal at the proxy and its own place in the order. Wanted are two quanta of the proxy's at most. */
bool edge_fairness(const struct bench_knobs *k, struct bench_result *r, char *error);

#endif
