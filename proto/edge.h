/* The client protocol: what a client and a proxy say to each other over TCP. docs/wire.md, section 10.
 *
 *   frame: u32 length of type and body (1 to EDGE_FRAME_MAX), u8 type, body
 *
 *   client                            proxy
 *     HELLO (key or nobody)  ------->
 *                            <-------  WELCOME (challenge)
 *     PROVE (signature)      ------->                        only with a key
 *                            <-------  ACCEPTED (tip, limits)
 *     SUBSCRIBE              ------->
 *                            <-------  SUBSCRIBED, then EPOCH, NAME, MESSAGE, PROGRESS ...
 *     OPEN (publisher)       ------->
 *                            <-------  OUTCOME ... of rejects that it may not know of, OPENED (its last number)
 *     PUBLISH ...            ------->
 *                            <-------  OUTCOME ... in the order of the stream
 *     WHO                    ------->                        operators' tools
 *                            <-------  CLIENTS
 *
 * A subscription is one set of subtrees; its messages come in the one order of the stream.
 *
 * Whoever loses its connection subscribes behind the last position that it applied, and opens its publishers
 * with the incarnation after its own; if a later one is there, it is superseded.
 *
 * Text. A client whose first bytes are the line "cantus SUBTREE [from SEQ] [stable]" instead of a HELLO is
 * nobody in particular, and gets lines: "SEQ TIME_NS TOPIC PUBLISHER PAYLOAD", what does not print as \xHH,
 * and lines that begin with "#" for everything else.
 *
 * Blocks. The seqs with the same seq / EDGE_BLOCK are a block; one ends, besides, at each message on /sys/grant
 * and /sys/group. Within a block each message names the one before it that matched, and a PROGRESS ends each
 * block in which something did, so that nothing can be missing unnoticed. Messages name topic and publisher by
 * the stream's ids; before the first message of a block that uses an id comes its NAME, and at the block's end
 * all names are forgotten. Whoever begins inside of a block first gets the names that are known there; who begins
 * where one ends gets nothing of it. So the bytes are a function of the stream and of the set of subtrees,
 * wherever a client began: clients that want the same get the same, and another proxy could go on in the
 * middle. */
#ifndef CANTUS_PROTO_EDGE_H
#define CANTUS_PROTO_EDGE_H

#include "proto/access.h"
#include "proto/batch.h"
#include "proto/signal.h"
#include "proto/sys.h"

enum {
    EDGE_VERSION = 1,
    EDGE_HEADER = 5,
    EDGE_FRAME_MAX = (1 << 20) + 2048, /* a whole message of 1 MiB, and what is around it */
    EDGE_CHALLENGE_SIZE = 32,
    EDGE_SIGNATURE_SIZE = 64, /* Ed25519 */
    EDGE_AGENT_MAX = 63,
    EDGE_TEXT_MAX = 255,
    EDGE_SUBTREES_MAX = 1024, /* of one subscription */
    EDGE_BLOCK = 4096,
    EDGE_MESSAGE_HEADER = 8 + 8 + 8 + 3 + 3 + 6 + 1,
    EDGE_TICK_DEFAULT_MS = 5000
};

enum edge_type {
    EDGE_HELLO = 1,
    EDGE_PROVE = 2,
    EDGE_SUBSCRIBE = 3,
    EDGE_CHANGE = 4, /* subtrees added to and removed from the subscription */
    EDGE_OPEN = 5,
    EDGE_PUBLISH = 6,
    EDGE_ALIVE = 7, /* either way, empty: the other side lives */
    EDGE_WHO = 8,   /* one page of who is connected to this proxy */

    EDGE_WELCOME = 16,
    EDGE_ACCEPTED = 17,
    EDGE_SUBSCRIBED = 18,
    EDGE_CHANGED = 19, /* in force from a stated seq */
    EDGE_EPOCH = 20,
    EDGE_NAME = 21,
    EDGE_MESSAGE = 22,
    EDGE_PROGRESS = 23,
    EDGE_OPENED = 24,
    EDGE_OUTCOME = 25,
    EDGE_REFUSED = 26, /* one request, the connection goes on */
    EDGE_FORKED = 27,
    EDGE_SUPERSEDED = 28, /* a publisher of this connection: a later incarnation has joined */
    EDGE_CLOSING = 29,    /* and why; nothing comes after it */
    EDGE_CLIENTS = 30     /* that page */
};

struct edge_hello {
    uint16_t version;
    uint64_t stream; /* 0: whichever it is */
    bool has_key;    /* nobody in particular otherwise: what is granted to anyone */
    uint8_t key[ACCESS_KEY_SIZE];
    char agent[EDGE_AGENT_MAX + 1]; /* what connects, for `cantus who` */
};

struct edge_welcome {
    uint16_t version;
    uint64_t stream;
    uint8_t challenge[EDGE_CHALLENGE_SIZE];
    char proxy[EDGE_AGENT_MAX + 1];
};

struct edge_prove {
    uint8_t signature[EDGE_SIGNATURE_SIZE]; /* of edge_signed */
};

struct edge_accepted {
    struct position tip; /* of the record of this login */
    uint64_t stable;
    uint32_t fragment_bytes; /* a longer payload takes a number for each so many bytes of it */
    uint32_t window;         /* numbers in flight at most, of each publisher */
    uint32_t payload_max;
    bool is_volatile; /* nothing in this stream is ever stable */
};

enum edge_level { EDGE_SEQUENCED = 1, EDGE_STABLE = 2 };
enum edge_from { EDGE_FROM_TIP = 1, EDGE_FROM_POSITION = 2, EDGE_FROM_TIME = 3 };

/* Subtrees follow: u16 count, strings. Read in place. */
struct edge_subtrees {
    uint16_t count;
    const uint8_t *at;
    size_t length;
};

struct edge_subscribe {
    enum edge_level level;
    enum edge_from from;
    struct position
        position;      /* EDGE_FROM_POSITION: behind this one; {0, 0}, 0: from the beginning */
    uint64_t time_ns;  /* EDGE_FROM_TIME: at or after this */
    uint32_t tick_ms;  /* between PROGRESS frames; rounded up to ticks of the stream */
    uint64_t mark_seq; /* PROGRESS is said of the last whole message at or below this, too; 0: no */
    struct edge_subtrees subtrees;
};

struct edge_change {
    struct edge_subtrees add, remove;
};

struct edge_subscribed {
    struct position position; /* everything behind this one */
};

struct edge_changed {
    uint64_t seq; /* the first for which the new set counts */
};

/* Positions from first_seq on are of this epoch. */
struct edge_epoch {
    struct epoch epoch;
    uint64_t first_seq;
};

enum edge_name_kind { EDGE_NAME_TOPIC = 1, EDGE_NAME_PUBLISHER = 2 };

struct edge_name {
    enum edge_name_kind kind;
    uint32_t id;
    const char *text; /* a path or an identity; decoded in place: not terminated */
    size_t length;
};

struct edge_message {
    uint64_t seq;      /* of its last fragment */
    uint64_t previous; /* the match before it in this block; 0: it is the first there */
    uint64_t timestamp_ns;
    uint32_t topic;
    uint32_t publisher;
    uint64_t publisher_seq; /* of its first fragment */
    uint8_t flags;          /* MESSAGE_MORE: the group goes on */
    const uint8_t *payload;
    uint32_t length;
};

/* Everything that matches through this seq has been sent. Comes at ticks, and at the end of each block in
 * which something matched. */
struct edge_progress {
    uint64_t through;
    uint64_t previous; /* the last match in this block; 0: none */
    uint64_t stable;
    uint64_t timestamp_ns;
};

struct edge_open {
    char name[IDENTITY_MAX + 1]; /* what follows "@KEY:" in the identity */
    uint64_t nonce;  /* of this process: asked again with the same, the join is the same */
    uint32_t wanted; /* incarnation; 0: the next */
    uint64_t known;  /* number: in front of OPENED come the OUTCOMEs of rejects above it */
};

struct edge_opened {
    uint32_t publisher;
    uint32_t incarnation;
    uint64_t last_number; /* sequenced or rejected: the next to publish is one more */
    uint64_t join_seq;
    uint64_t items;           /* that those numbers are: whole messages and reject records */
    uint64_t unknown_through; /* of numbers above OPEN.known, rejects through this are not told */
};

struct edge_publish {
    uint32_t publisher;
    uint64_t number;          /* of its first fragment */
    struct position position; /* applied by its author; {0, 0}, 0: it depends on nothing */
    uint8_t flags;            /* MESSAGE_MORE: a group goes on with the next PUBLISH */
    const char *topic;        /* decoded in place: not terminated */
    size_t topic_length;
    bool conditional;
    const char *condition_topic;
    size_t condition_topic_length;
    uint64_t condition_after;
    const uint8_t *payload;
    uint32_t length;
};

struct edge_outcome {
    uint32_t publisher;
    uint64_t number; /* the first of `count` */
    uint32_t count;
    uint64_t seq;   /* of the message, or of the reject record */
    uint8_t reason; /* enum reject_reason; 0: sequenced */
    uint64_t detail;
    uint64_t stable; /* the watermark when it was sequenced: what is kept until stable may go */
};

enum edge_refusal {
    EDGE_REFUSED_RIGHT = 1,  /* the right named is missing on the subtree named */
    EDGE_REFUSED_NAME = 2,   /* not a subtree, a topic or a publisher's name */
    EDGE_REFUSED_NUMBER = 3, /* not the next one */
    EDGE_REFUSED_QUOTA = 4,  /* of this connection, key or address */
    EDGE_REFUSED_LARGE = 5,
    EDGE_REFUSED_ORDER = 6,   /* not now: before OPENED, a second SUBSCRIBE */
    EDGE_REFUSED_HISTORY = 7, /* not kept so far back */
    EDGE_REFUSED_END
};

struct edge_refused {
    uint8_t request; /* enum edge_type of what is refused */
    uint8_t reason;
    uint8_t right;      /* enum access_right */
    uint32_t publisher; /* of a PUBLISH: this number is unused */
    uint64_t number;    /* of a SUBSCRIBE, for want of history: the oldest seq that is left */
    char subject[TOPIC_PATH_MAX + 1]; /* topic, subtree or name */
    char text[EDGE_TEXT_MAX + 1];     /* for humans */
};

struct edge_forked {
    struct position common; /* what was sent behind this one no longer holds; it comes anew */
};

struct edge_superseded {
    uint32_t publisher;
    uint32_t incarnation; /* the later one */
    uint64_t join_seq;
};

enum edge_closing_reason {
    EDGE_CLOSING_PROTOCOL = 1,
    EDGE_CLOSING_IDENTITY = 2, /* the signature, or none in time */
    EDGE_CLOSING_STREAM = 3,   /* another stream runs here */
    EDGE_CLOSING_SLOW = 4,
    EDGE_CLOSING_QUOTA = 5,
    EDGE_CLOSING_DRAIN = 6, /* the proxy will stop: go elsewhere */
    EDGE_CLOSING_IDLE = 7,
    EDGE_CLOSING_HISTORY = 8, /* what it asked for is not kept any more */
    EDGE_CLOSING_RIGHTS = 9,  /* what it may read has changed ahead of what it has: come again */
    EDGE_CLOSING_END
};

struct edge_closing {
    uint8_t reason;
    char text[EDGE_TEXT_MAX + 1];
};

/* Who has the right to read /sys/edge may ask. */
struct edge_who {
    uint32_t place; /* in the proxy's table; 0: from its beginning */
};

struct edge_clients {
    const uint8_t *page; /* proto/clients.h; decoded in place, and not looked into */
    uint32_t length;
};

/* Looks for a frame in [bytes, bytes + available): its whole length, 0 if more bytes are needed, SIZE_MAX
 * if it can never be one. */
size_t edge_frame_peek(const uint8_t *bytes, size_t available, enum edge_type *type);

/* One encoder and one decoder for each type: the encoder writes the whole frame and returns its length, 0
 * if it does not fit or is nothing that the decoder would take; the decoder reads a body, false if it is
 * malformed. What is decoded in place lives as long as the body. */
#define EDGE_TYPES(X)                                                                              \
    X(hello, EDGE_HELLO)                                                                           \
    X(prove, EDGE_PROVE)                                                                           \
    X(subscribe, EDGE_SUBSCRIBE)                                                                   \
    X(change, EDGE_CHANGE)                                                                         \
    X(open, EDGE_OPEN)                                                                             \
    X(publish, EDGE_PUBLISH)                                                                       \
    X(welcome, EDGE_WELCOME)                                                                       \
    X(accepted, EDGE_ACCEPTED)                                                                     \
    X(subscribed, EDGE_SUBSCRIBED)                                                                 \
    X(changed, EDGE_CHANGED)                                                                       \
    X(epoch, EDGE_EPOCH)                                                                           \
    X(name, EDGE_NAME)                                                                             \
    X(message, EDGE_MESSAGE)                                                                       \
    X(progress, EDGE_PROGRESS)                                                                     \
    X(opened, EDGE_OPENED)                                                                         \
    X(outcome, EDGE_OUTCOME)                                                                       \
    X(refused, EDGE_REFUSED)                                                                       \
    X(forked, EDGE_FORKED)                                                                         \
    X(superseded, EDGE_SUPERSEDED)                                                                 \
    X(closing, EDGE_CLOSING)                                                                       \
    X(who, EDGE_WHO)                                                                               \
    X(clients, EDGE_CLIENTS)

#define EDGE_DECLARE(name, type)                                                                   \
    size_t edge_##name##_encode(const struct edge_##name *in, uint8_t *out, size_t capacity);      \
    bool edge_##name##_decode(const uint8_t *body, size_t length, struct edge_##name *out);
EDGE_TYPES(EDGE_DECLARE)
#undef EDGE_DECLARE

/* An ALIVE frame. */
size_t edge_alive_encode(uint8_t *out, size_t capacity);

/* The next of a decoded list; false at its end. */
bool edge_subtree_next(struct edge_subtrees *s, const char **subtree, size_t *length);

/* What a PROVE signs, so that it is good for this connection, this proxy and this stream only. `binding`
 * is the TLS exporter's value of the connection (RFC 9266), zeros without TLS. */
enum { EDGE_SIGNED_SIZE = 16 + 8 + 32 + 32 + 32 + 64 };
void edge_signed(const struct edge_welcome *w, const uint8_t key[ACCESS_KEY_SIZE],
                 const uint8_t binding[32], uint8_t out[EDGE_SIGNED_SIZE]);

const char *edge_refusal_text(uint8_t reason);
const char *edge_closing_text(uint8_t reason);

#endif
