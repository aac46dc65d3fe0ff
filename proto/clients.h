/* Who is connected to a proxy, as it tells operators' tools: page by page, plain structs and their protobuf
 * form. */
#ifndef CANTUS_PROTO_CLIENTS_H
#define CANTUS_PROTO_CLIENTS_H

#include "proto/access.h"
#include "proto/edge.h"

enum { CLIENTS_PAGE_MAX = 64, CLIENTS_SIZE_MAX = 32 * 1024 };

enum client_flag { /* a bit set */
                   CLIENT_TEXT = 1,
                   CLIENT_SUBSCRIBED = 2,
                   CLIENT_STABLE = 4, /* at the stable watermark; at the tip otherwise */
                   CLIENT_BEHIND = 8  /* catching up */
};

struct client {
    uint64_t session;
    uint32_t ip;
    uint16_t port;
    bool has_key;
    uint8_t key[ACCESS_KEY_SIZE];
    char agent[EDGE_AGENT_MAX + 1];
    uint64_t since_ns; /* Unix time */
    uint64_t seq;      /* sent through */
    uint64_t bytes_in, bytes_out;
    uint64_t published;
    uint32_t subtrees, publishers;
    uint32_t flags;
};

struct clients {
    uint32_t next; /* where the next page begins; 0: this is the last one */
    uint64_t tip;  /* followed through */
    uint64_t clock_ns;
    uint32_t count;
    struct client all[CLIENTS_PAGE_MAX];
};

/* Packs without allocating; returns the length, 0 if it does not fit. */
size_t clients_encode(const struct clients *in, uint8_t *out, size_t capacity);
bool clients_decode(const uint8_t *bytes, size_t length, struct clients *out);

#endif
