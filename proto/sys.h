/* Payloads of the messages under /sys: encoded by field, read by the catalog of every process.
 *
 * Encoders return the length, 0 if it does not fit or is nothing that the decoder would take;
 * decoders false if the payload is malformed. */
#ifndef CANTUS_PROTO_SYS_H
#define CANTUS_PROTO_SYS_H

#include "proto/epoch_table.h"
#include "proto/signal.h"

enum {
    SYS_PAYLOAD_MAX = 1200,
    SESSION_NAME_MAX = 63,
    WHY_MAX = 120,
    ADMIN_KEY_SIZE = 32 /* Ed25519 public key */
};

/* /sys/genesis: seq 1, epoch {0, 0}, written by `cantus init` into every founding store. */
struct sys_genesis {
    uint64_t stream;
    uint64_t created_ns;
    uint32_t protocol_version;
    bool is_volatile; /* exactly if there are no founders: nothing is ever stable */
    uint8_t admin_key[ADMIN_KEY_SIZE];
    struct membership members; /* founders; members.seq is 1 */
};

/* /sys/epoch: the first message of every later epoch. */
struct sys_epoch {
    struct epoch epoch;
    struct position adopted; /* the history that is continued, up to here */
    struct digest digest;    /* through adopted.seq */
    uint8_t how;             /* enum sys_epoch_how */
    char why[WHY_MAX + 1];   /* an operator's words, or the time-out's */
    uint32_t entry_count;    /* newest entries of the epoch table below this epoch, ascending; the
                                last is adopted.epoch's */
    struct epoch_entry entries[EPOCH_RECORD_ENTRIES];
};

enum sys_epoch_how {
    SYS_EPOCH_STARTED = 1,
    SYS_EPOCH_PROMOTED = 2, /* an operator */
    SYS_EPOCH_TIMEOUT = 3,
    SYS_EPOCH_LEASE = 4
};

/* /sys/session */
struct sys_session {
    char name[SESSION_NAME_MAX + 1]; /* printable ASCII, not empty */
    uint32_t protocol_version;
    uint64_t protocol_digest; /* of this protocol's description: processes that differ stop */
    uint64_t catalog_digest;  /* of the catalog before this record */
};

/* /sys/join */
struct sys_join {
    uint64_t nonce;
    uint64_t last_publisher_seq; /* the incarnation goes on from here */
    uint32_t publisher;
    uint32_t incarnation;
    char identity[IDENTITY_MAX + 1];
};

enum reject_reason {
    REJECT_NOT_PERMITTED = 1,
    REJECT_CONDITION = 2, /* the precondition's topic has something later */
    REJECT_NO_TOPIC = 3,  /* no such topic id */
    REJECT_TOO_LARGE = 4, /* a run above the limit */
    REJECT_BAD_PATH = 5,  /* topic creation: the path is not well-formed */
    REJECT_FULL = 6,      /* topic creation: the catalog is full */
    REJECT_MALFORMED = 7, /* a run whose parts contradict each other */
    REJECT_END
};

/* /sys/reject: publisher and publisher_seq in the message header name the (first) number. */
struct sys_reject {
    uint8_t reason;  /* enum reject_reason */
    uint32_t topic;  /* that it was proposed for */
    uint32_t count;  /* numbers consumed: 1, or those of a run; never 0 */
    uint64_t detail; /* REJECT_CONDITION: the topic's last seq; REJECT_TOO_LARGE: 1 if the run goes
                        on, and what follows of it is rejected too */
};

/* /sys/word: the most that each member has said, as the leader knows; the newest record counts. A
 * store that knows less of itself was restored from an older copy. */
struct sys_words {
    uint32_t count;
    struct store_word {
        uint64_t store; /* distinct, none is 0 */
        uint64_t run;
        struct word word;
    } words[MEMBERS_MAX];
};

/* Below /sys/digest, on a topic that ends in the app's name: what a replica says of its state.
 * Written by publishers; the catalog does not read it. */
#define SYS_DIGEST_ROOT "/sys/digest"
struct sys_digest {
    uint32_t logic_version;   /* the app's */
    struct position position; /* applied through; seq is not 0 */
    uint64_t digest;          /* of the state there */
    uint64_t skips;           /* hash of the skip records heeded; 0: none */
};
enum { SYS_DIGEST_SIZE = 40 };

size_t sys_genesis_encode(const struct sys_genesis *in, uint8_t *out, size_t capacity);
bool sys_genesis_decode(const uint8_t *payload, size_t length, struct sys_genesis *out);
size_t sys_epoch_encode(const struct sys_epoch *in, uint8_t *out, size_t capacity);
bool sys_epoch_decode(const uint8_t *payload, size_t length, struct sys_epoch *out);
/* 1 to SESSION_NAME_MAX bytes of printable ASCII: what sys_session_encode takes. */
bool session_name_valid(const char *name);
size_t sys_session_encode(const struct sys_session *in, uint8_t *out, size_t capacity);
bool sys_session_decode(const uint8_t *payload, size_t length, struct sys_session *out);
size_t sys_join_encode(const struct sys_join *in, uint8_t *out, size_t capacity);
bool sys_join_decode(const uint8_t *payload, size_t length, struct sys_join *out);
size_t sys_reject_encode(const struct sys_reject *in, uint8_t *out, size_t capacity);
bool sys_reject_decode(const uint8_t *payload, size_t length, struct sys_reject *out);
/* /sys/member: a membership, of which seq is the record's own. Never empty. */
size_t sys_member_encode(const struct membership *in, uint8_t *out, size_t capacity);
bool sys_member_decode(const uint8_t *payload, size_t length, struct membership *out);
size_t sys_words_encode(const struct sys_words *in, uint8_t *out, size_t capacity);
bool sys_words_decode(const uint8_t *payload, size_t length, struct sys_words *out);
size_t sys_digest_encode(const struct sys_digest *in, uint8_t *out, size_t capacity);
bool sys_digest_decode(const uint8_t *payload, size_t length, struct sys_digest *out);

const char *reject_reason_text(uint8_t reason);
/* Of the wire formats as docs/wire.md specifies them; changes whenever they do. */
uint64_t protocol_digest(void);

/* The whole genesis batch, the first of every history. Returns its length. */
size_t genesis_batch(const struct sys_genesis *genesis, uint8_t *out, size_t capacity);

/* W, and the seal quorum that meets it (design section 3, "Membership"). */
uint32_t membership_stable_quorum(const struct membership *m);
uint32_t membership_seal_quorum(const struct membership *m);
bool membership_has(const struct membership *m, uint64_t store);

#endif
