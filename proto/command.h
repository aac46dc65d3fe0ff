/* What an operator's tools ask a process to do, and its answer: plain structs, and their protobuf form.
 * They travel on the framed stream (proto/replay.h) as REPLAY_COMMAND and REPLAY_OUTCOME. */
#ifndef CANTUS_PROTO_COMMAND_H
#define CANTUS_PROTO_COMMAND_H

#include "proto/signal.h"
#include "proto/sys.h"

enum { OUTCOME_TEXT_MAX = 400, COMMAND_SIZE_MAX = 1024 };

enum command_kind {
    COMMAND_PROMOTE = 1,       /* a standby: begin to lead; `why` and `how` are recorded */
    COMMAND_MEMBER_ADD = 2,    /* the leader: add this store */
    COMMAND_MEMBER_REMOVE = 3, /* the leader: remove this store */
    COMMAND_DIGEST_AT = 4,     /* a store: the history digest through the batch that holds `seq` */
    COMMAND_SESSION = 5,       /* the leader: begin the session named `name` */
    COMMAND_WHY = 6,  /* the leader: what the publisher `name` waits for; changes nothing */
    COMMAND_DRAIN = 7 /* a proxy: tell all clients to go elsewhere, and let no more in */
};

struct command {
    enum command_kind kind;
    uint64_t store;
    uint64_t seq;
    char why[WHY_MAX + 1];
    char name[SESSION_NAME_MAX + 1];
    /* COMMAND_PROMOTE: SYS_EPOCH_PROMOTED, which is an operator's word and is carried out, or
     * SYS_EPOCH_LEASE, which is refused while a majority of the stores hears the leader. 0 is read
     * as SYS_EPOCH_PROMOTED. */
    uint8_t how;
};

enum outcome_verdict {
    OUTCOME_DONE = 1,    /* `seq` is that of the record, where there is one; of COMMAND_WHY, the
                            publisher's next number */
    OUTCOME_PENDING = 2, /* begun; ask for the status to see it through */
    OUTCOME_REFUSED = 3  /* `text` says why, and what to do */
};

struct outcome {
    enum outcome_verdict verdict;
    uint64_t seq;
    struct position position; /* COMMAND_DIGEST_AT: the end of that batch, and */
    struct digest digest;     /* the digest there */
    char text[OUTCOME_TEXT_MAX + 1];
};

/* Lengths, 0 if it does not fit; false if it is not one. Neither allocates from the heap. */
size_t command_encode(const struct command *in, uint8_t *out, size_t capacity);
bool command_decode(const uint8_t *bytes, size_t length, struct command *out);
size_t outcome_encode(const struct outcome *in, uint8_t *out, size_t capacity);
bool outcome_decode(const uint8_t *bytes, size_t length, struct outcome *out);

#endif
