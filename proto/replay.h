/* The framed byte stream (TCP) over which history is replayed and status is asked.
 *
 *   frame: u32 length of type and body, u8 type, body
 *
 * A client sends one request; the server answers with batches (verbatim) and vouches (heartbeats,
 * verbatim, for the point the replay has reached: history up to there is on that epoch's), and an
 * end. A follower delivers a replay only as far as it is vouched for. */
#ifndef CANTUS_PROTO_REPLAY_H
#define CANTUS_PROTO_REPLAY_H

#include "proto/wire.h"

enum {
    REPLAY_FRAME_HEADER = 5,
    REPLAY_FRAME_MAX = 64 * 1024, /* length field's maximum */
    REPLAY_REQUEST_SIZE = 8 + 8 + 8 + 12
};

enum replay_type {
    REPLAY_REQUEST = 1,
    REPLAY_BATCH = 2,
    REPLAY_VOUCH = 3,
    REPLAY_END = 4,
    REPLAY_STATUS_REQUEST = 5,  /* empty body */
    REPLAY_STATUS = 6,          /* protobuf: proto/control.proto */
    REPLAY_COMMAND = 7,         /* protobuf: proto/command.h */
    REPLAY_OUTCOME = 8,         /* its answer */
    REPLAY_CLIENTS_REQUEST = 9, /* of a proxy: u32, the place in its table to begin at */
    REPLAY_CLIENTS = 10         /* protobuf: proto/clients.h */
};

struct replay_request {
    uint64_t stream;
    uint64_t first_seq;
    uint64_t end_seq;   /* exclusive; 0: to the server's tip when it gets there */
    struct epoch epoch; /* newest heard; a candidate that holds a promise names its own */
};

enum replay_end_reason {
    REPLAY_DONE = 1,
    REPLAY_PRUNED = 2,  /* first_seq is below what is kept; oldest_seq names that */
    REPLAY_NOT_YET = 3, /* first_seq is above what this server has */
    REPLAY_OTHER_STREAM = 4,
    REPLAY_BUSY = 5, /* all replay slots taken */
    REPLAY_BAD_REQUEST = 6,
    REPLAY_DAMAGED = 7 /* the journal is damaged there and not yet healed */
};

struct replay_end {
    enum replay_end_reason reason;
    uint64_t oldest_seq;
    uint64_t next_seq; /* first that was not sent */
};

/* Looks for a whole frame in [bytes, bytes + available): its total length with header, 0 if more
 * bytes are needed, or SIZE_MAX if it can never be one. */
size_t replay_frame_peek(const uint8_t *bytes, size_t available, enum replay_type *type);
size_t replay_frame_encode(enum replay_type type, const void *body, size_t length, uint8_t *out,
                           size_t capacity);
size_t replay_request_encode(const struct replay_request *in, uint8_t *out, size_t capacity);
bool replay_request_decode(const uint8_t *body, size_t length, struct replay_request *out);
size_t replay_end_encode(const struct replay_end *in, uint8_t *out, size_t capacity);
bool replay_end_decode(const uint8_t *body, size_t length, struct replay_end *out);
const char *replay_end_text(enum replay_end_reason reason);

#endif
