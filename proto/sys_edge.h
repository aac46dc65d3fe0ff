/* Payloads of /sys/edge: what proxies write down, so that what they say to their clients is a function of the
 * stream, and for whoever audits; and which proxies there are, which the catalog keeps (proto/presence.h). Written by
 * the proxies' own publishers, whose identities begin with SYS_EDGE_PROXY.
 *
 * Encoders return the length, 0 if it does not fit or is nothing that the decoder would take; decoders
 * false if the payload is malformed. */
#ifndef CANTUS_PROTO_SYS_EDGE_H
#define CANTUS_PROTO_SYS_EDGE_H

#include "proto/edge.h"

enum sys_edge_kind {
    SYS_EDGE_LOGIN = 1, /* a session has begun: what it says from here on follows from the stream */
    SYS_EDGE_CHANGE = 2, /* its subscription begins at the tip, or changes, here */
    SYS_EDGE_LOGOUT = 3,
    SYS_EDGE_PRESENT = 4 /* the proxy is there; of no session */
};

struct sys_edge {
    enum sys_edge_kind kind;
    uint64_t session; /* drawn by the proxy; never 0, but where there is none */
    /* Of a login and a logout; else zeros. */
    bool has_key;
    uint8_t key[ACCESS_KEY_SIZE];
    /* Of a login; else zeros. */
    uint8_t challenge[EDGE_CHALLENGE_SIZE];
    uint32_t ip;
    uint16_t port;
    char agent[EDGE_AGENT_MAX + 1];
    /* Of a change: its number in the session, from 1. */
    uint32_t change;
    /* Of a logout: enum edge_closing_reason; 0: the client left. */
    uint8_t reason;
    /* Of a presence: it counts for so long of the stream's time; 0: the proxy leaves. */
    uint32_t lasts_ms;
};

#define SYS_EDGE_PROXY "proxy."
enum { SYS_EDGE_SIZE_MAX = 256, SYS_EDGE_LASTS_MAX_MS = 3600 * 1000 };

size_t sys_edge_encode(const struct sys_edge *in, uint8_t *out, size_t capacity);
bool sys_edge_decode(const uint8_t *payload, size_t length, struct sys_edge *out);
/* Whether this can only be a presence: the kind that the catalog reads. */
bool sys_edge_is_presence(const uint8_t *payload, size_t length);

#endif
