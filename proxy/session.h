/* Sessions: one for each connection of a client.
 *
 *   WAITING ▶ HELLO ▶ CHALLENGED ▶ PROVEN ▶ LOGGED ▶ OPEN ▶ LEAVING
 *
 * A session reads nothing while it waits: for its turn to log in, for room to answer, for a record of its own to
 * come out of the stream, for its publisher's window, for tokens of its limits, for a topic to be made. What it
 * does not read stays with the transport, whose buffer has to hold proxy_request_max bytes each. In one round
 * (from one step to the next) it reads at most a quantum of what is published, and a few other requests.
 *
 *   session.c        slots, output, time-outs, the end
 *   session_turn.c   turns to log in, records on /sys/edge
 *   session_login.c  HELLO and PROVE
 *   session_read.c   requests
 *   session_who.c    who is connected, for those who may know
 *   session_text.c   clients without the protocol */
#ifndef CANTUS_PROXY_SESSION_H
#define CANTUS_PROXY_SESSION_H

#include "proto/sys_edge.h"
#include "proxy/core.h"

struct sessions;
struct session;

size_t sessions_memory(const struct proxy_options *o);
struct sessions *sessions_create(struct proxy *p); /* NULL: no memory */
void sessions_destroy(struct sessions *s);

/* An event of a stream that was accepted. Returns the bytes consumed. */
size_t sessions_on_stream(struct sessions *s, const struct port_stream_event *e);
uint64_t sessions_step(struct sessions *s);

/* After each message, and a fork: keys that the catalog has begun to name, or does no more. */
void sessions_principals(struct sessions *s);
/* A record that was written down for the session in this slot is in the stream. */
void sessions_recorded(struct sessions *s, uint32_t slot, const struct sys_edge *record,
                       struct position position);
/* Says why, NULL for the usual words, and closes. */
void session_end(struct session *e, enum edge_closing_reason reason, const char *text);
/* All of them. */
void sessions_end_all(struct sessions *s, enum edge_closing_reason reason, const char *text);

uint32_t sessions_subtrees(const struct sessions *s); /* of all subscriptions */
uint32_t sessions_count(const struct sessions *s);    /* connected */
bool sessions_client_at(const struct sessions *s, uint32_t at, struct proxy_client *out);

#endif
