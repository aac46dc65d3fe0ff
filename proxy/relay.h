/* The relay: publishers of sessions, each a libclient publisher (libclient/publisher.h), and the proxy's own.
 *
 * A publisher lives as long as its session: it numbers as its client does, keeps what was published until it is
 * stable and sends it again; outcomes reach the client through its reader, out of the stream. When its session
 * ends it is gone: its client finds out from the stream what became of it, wherever it connects next.
 *
 * The proxy's own publisher, "proxy.NAME", writes down what sessions do, and that the proxy is there
 * (proto/sys_edge.h).
 *
 *   relay.c        publishers, the stream, forks
 *   relay_count.c  how many messages the numbers of a publisher are
 *   relay_reject.c  what was rejected, for clients that were away
 *   relay_read.c   what a client asks: OPEN, PUBLISH
 *   relay_topic.c  topics that have to be made first
 *   relay_own.c    the proxy's own */
#ifndef CANTUS_PROXY_RELAY_H
#define CANTUS_PROXY_RELAY_H

#include "follow/run.h"
#include "proxy/session.h"

struct relay;

size_t relay_memory(const struct proxy_options *o, const struct port *port);
struct relay *relay_create(struct proxy *p); /* NULL: no memory */
void relay_destroy(struct relay *r);

/* ---- the stream: after the catalog and before the readers -------------------------------------- */
/* Whether a whole batch more may come; if not, wait for relay_stable. */
bool relay_has_room(const struct relay *r, const struct batch_header *batch);
void relay_message(struct relay *r, const struct run_message *m);
void relay_stable(struct relay *r, uint64_t stable);
void relay_fork(struct relay *r, struct position common);
void relay_hint(struct relay *r, const struct hint *h);
uint64_t relay_step(struct relay *r);

/* ---- requests ---------------------------------------------------------------------------------- */
enum relay_verdict {
    RELAY_DONE,
    RELAY_LATER,   /* leave it unread; *retry_ns is when to ask again at the latest */
    RELAY_REFUSED, /* *refused says why; its request, publisher and number are set */
    RELAY_BROKEN   /* the session ends; refused->text says why */
};
/* RELAY_DONE or RELAY_REFUSED; opens nothing. *writes: to open it puts a join into the stream, else it is only told
 * that it comes too late. */
enum relay_verdict relay_may_open(struct relay *r, struct session *s, const struct edge_open *open,
                                  bool *writes, struct edge_refused *refused);
/* Directly behind relay_may_open that said RELAY_DONE. */
void relay_open(struct relay *r, struct session *s, const struct edge_open *open);
enum relay_verdict relay_publish(struct relay *r, struct session *s,
                                 const struct edge_publish *publish, uint64_t *retry_ns,
                                 struct edge_refused *refused);
void relay_close(struct relay *r, struct session *s);

/* What ACCEPTED says. */
void relay_limits(const struct relay *r, struct edge_accepted *out);

/* ---- the proxy's own --------------------------------------------------------------------------- */
/* False: there is no room now. sessions_recorded is told when it is in the stream. */
bool relay_record(struct relay *r, uint32_t slot, const struct sys_edge *record);
bool relay_ready(const struct relay *r);      /* it has joined */
bool relay_superseded(const struct relay *r); /* another process uses the proxy's name */
uint32_t relay_own(const struct relay *r);    /* its publisher's id; 0 before it has joined */
/* Nothing in the stream says that it is there; or it can't say so now. */
bool relay_has_left(const struct relay *r);

uint32_t relay_publishers(const struct relay *r);
uint64_t relay_kept_bytes(const struct relay *r);

#endif
