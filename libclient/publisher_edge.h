/* A publisher that sends through a proxy: frames of the client protocol instead of datagrams. Numbers, what
 * is kept until stable, and what a fork takes back are those of publisher.h, with by_proxy set; but nothing is
 * sent again while a connection lasts (the proxy does that), and all above the last number of the stream
 * when it has been lost. Pure. */
#ifndef CANTUS_LIBCLIENT_PUBLISHER_EDGE_H
#define CANTUS_LIBCLIENT_PUBLISHER_EDGE_H

#include "libclient/publisher.h"
#include "proto/edge.h"

/* What to ask for: the incarnation after its own, or on the first time the next. The name is that behind
 * "@KEY:". From here on it is joining. */
void publisher_edge_open(struct publisher *p, struct edge_open *out);
/* The answer, with the connection's limits. What has an outcome that it has not seen, and was not told to be rejected
 * in front of this, counts as sequenced; the rest is to be sent again. What a fork has taken back may be there after all: another fork has given it back, and
 * its numbers are used. False: it can't be an answer to what was asked. */
bool publisher_edge_opened(struct publisher *p, const struct edge_opened *o,
                           const struct edge_accepted *limits, uint64_t now_ns);
/* While it is joining, of a reject: whatever lies below it has an outcome, too. False: it is of none that was sent, or
 * out of turn. */
bool publisher_edge_outcome(struct publisher *p, const struct edge_outcome *o, uint64_t now_ns);
/* The number is free again: so are those behind it, which the proxy refuses as well. Ends the item as
 * rejected. False: it is none that was sent last. */
bool publisher_edge_refused(struct publisher *p, uint64_t number);
/* A later incarnation has joined at this seq, and that is never taken back: it sends nothing more. */
void publisher_edge_superseded(struct publisher *p, uint64_t join_seq);
/* Without a connection. */
void publisher_edge_lost(struct publisher *p);

/* The next item to send; false if there is none. In place until the next call. */
bool publisher_edge_next(const struct publisher *p, struct edge_publish *out);
void publisher_edge_sent(struct publisher *p, uint64_t now_ns); /* that one */
/* Of an item that has not left yet, for its outcome; not terminated. */
const char *publisher_edge_path(const struct publisher *p, uint64_t first_number, size_t *length);

#endif
