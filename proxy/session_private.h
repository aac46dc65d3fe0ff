/* Shared by session*.c, and nobody else but the relay, which hangs a session's publishers on it. */
#ifndef CANTUS_PROXY_SESSION_PRIVATE_H
#define CANTUS_PROXY_SESSION_PRIVATE_H

#include "proxy/buddy.h"
#include "proxy/core_private.h"

enum {
    SESSION_PUBLISHERS_MAX = 64,
    SESSION_REQUESTS_MAX = 64,  /* read in one round, other than what is published */
    SESSION_PROOFS_MAX = 2,     /* signatures checked in one round: tens of microseconds each */
    SESSION_ROOM_MIN = 1024,    /* for the answer to a request; none is longer, but for CLIENTS */
    SESSION_WHO_CLIENTS = 16,   /* on one page of CLIENTS, */
    SESSION_WHO_BYTES = 4096,   /* which is no longer than that */
    SESSION_WHO_LOOKED = 1024,  /* slots looked at for it */
    SESSION_FLUSH_MIN = 4096,   /* the reader's bytes go out in pieces of at least this */
    SESSION_FLUSHED_MAX = 64,   /* sessions given what there is for them in one round */
    SESSION_TURNS_MAX = 64,     /* who waits for its turn is looked at in one round */
    SESSION_CROWD = 4,          /* an address that has one of so many slots makes room for others */
    SESSION_SWEPT_MAX = 1024,   /* looked at for time-outs at a time */
    SESSION_DRAINED_MAX = 64,   /* told to go elsewhere in one round */
    SESSION_NAMES = 8192,       /* a hash table of subtrees: at most a quarter is in use */
    SESSION_SUBTREE_BYTES = 32, /* of memory, for each subtree of all sessions */
    SESSION_LARGE_MAX = 64 + 2 * EDGE_SUBTREES_MAX * (1 + TOPIC_PATH_MAX)
};
#define SESSION_NONE          UINT32_MAX
#define SESSION_WHO_NS        UINT64_C(2000000)    /* from one WHO to the next, of all sessions */
#define SESSION_SWEEP_NS      UINT64_C(1000000000) /* each is looked at so often, */
#define SESSION_SWEEP_LATE_NS UINT64_C(250000000)  /* or so much later: with the next heartbeat */

enum session_state {
    SESSION_FREE,
    SESSION_WAITING,    /* for its turn to log in; it is not read from */
    SESSION_HELLO,      /* for its HELLO, or a line of text */
    SESSION_CHALLENGED, /* for its PROVE */
    SESSION_PROVEN,     /* for room to write its login down */
    SESSION_LOGGED,     /* for that record to be in the stream */
    SESSION_OPEN,
    SESSION_LEAVING /* its connection is gone; its logout is yet to be written down */
};

enum session_paid { SESSION_PAID_KEY = 1, SESSION_PAID_LIMIT = 2, SESSION_PAID_ADDRESS = 4 };

/* A set of subtrees, as in a request, in memory of the sessions' buddy. */
struct session_set {
    struct edge_subtrees subtrees;
    void *memory; /* NULL: none */
    size_t memory_bytes;
};

/* A request with more subtrees than a transport's buffer holds, as far as it has come, in memory of the sessions'
 * buddy. Its last byte is left unread until it is done with. */
struct session_large {
    uint8_t *memory; /* NULL: none */
    size_t size, have;
};

/* What text mode is in the middle of: a frame of its reader's, whose bytes come in pieces. */
struct session_text {
    uint32_t at;   /* of the bytes at hand */
    uint32_t have; /* of `head` */
    uint32_t left; /* of a message's payload, once its head is complete */
    uint8_t head[EDGE_HEADER + 4 + 1 + TOPIC_PATH_MAX + 8];
    char subtree[TOPIC_PATH_MAX + 1];
};

struct session {
    /* What is looked at for time-outs, of each once a second, lies together. */
    enum session_state state;
    bool is_text;
    bool blocked;  /* no room to write */
    size_t unread; /* bytes that were offered and left */
    uint64_t since_ns, heard_ns, blocked_ns;

    struct sessions *all;
    uint32_t slot;
    uint32_t stream; /* of the transport */
    uint32_t chain;  /* of those whose stream has the same hash */
    struct port_addr addr;
    uint32_t account; /* LIMITER_NONE: none yet */
    uint8_t paid;     /* enum session_paid, a bit set: for the record that it asks for */
    bool paced;       /* its turn was put off, and that is counted */
    bool in_login;    /* counted among those that have not logged in */
    bool has_key;
    uint8_t key[ACCESS_KEY_SIZE];
    char agent[EDGE_AGENT_MAX + 1];
    uint8_t challenge[EDGE_CHALLENGE_SIZE];
    uint64_t id;           /* in its records */
    struct position login; /* of its login's */
    struct position
        recorded;   /* where that record is now: a fork may have taken it, and it comes again */
    uint8_t reason; /* of its logout */
    bool doomed;    /* ended in the next step, for that reason */

    /* Lists: of those who wait for their turn, or for room to write a record down. */
    uint32_t next, previous;
    struct session_list *list; /* NULL: in none */

    uint64_t since_wall_ns;
    uint64_t bytes_in, bytes_out, published;

    /* Reading. */
    bool stopped;        /* there is something whole among what is unread */
    uint64_t round;      /* the last in which it was read from */
    uint32_t requests;   /* read in that round */
    uint64_t deficit;    /* bytes of PUBLISH that it may still read */
    bool short_of_bytes; /* that is too little for the next one */

    /* Writing. */
    struct reader *reader;
    uint32_t principal; /* the reader's */

    /* The subscription. */
    bool subscribed;
    bool changing; /* a record of a change is on its way */
    uint32_t changes;
    struct edge_subscribe request; /* its subtrees are `coming` */
    struct session_set set, coming;
    struct session_large large;

    uint32_t first_publisher; /* of the relay's, a chain; SESSION_NONE */
    uint32_t publishers;
    struct session_text text;
};

struct session_list {
    uint32_t first, last, count;
};

struct sessions {
    struct proxy *p;
    struct session *table;
    uint32_t max, used, high; /* slots at or above `high` were never used */
    uint32_t free;            /* chain by `next` */
    uint32_t connected;
    uint32_t subtrees;             /* of all sets, those that are coming too */
    uint32_t logins;               /* not logged in yet */
    uint32_t turns_refused;        /* to so many of those who wait, since something changed */
    uint64_t turns_ns;             /* when one whose address has to wait may have its turn */
    struct session_list waiting;   /* for their turn */
    struct session_list recording; /* for room to write a record down */
    uint32_t *chains;              /* of streams */
    uint32_t chain_mask;
    struct buddy *buddy;
    /* While a set is made of what there is and what is asked for. */
    uint64_t names_secret;
    const uint8_t *names[SESSION_NAMES];
    uint8_t combined[2 * EDGE_SUBTREES_MAX * (1 + TOPIC_PATH_MAX)];
    uint64_t set_bytes_max; /* of one account */
    uint64_t round;
    uint32_t proofs_left;
    bool any_doomed;
    bool more;               /* somebody may read on at once */
    uint32_t stopped;        /* sessions that have left something whole unread */
    uint64_t retry_ns;       /* when one of them may go on */
    uint32_t principal_end;  /* of access, when principals were last looked up */
    uint64_t who_ns;         /* no WHO is answered sooner */
    uint32_t swept, drained; /* slots below were looked at */
    uint64_t sweep_ns;
    size_t request_max;
    uint32_t logins_per_addr;
};

/* ---- session.c ------------------------------------------------------------------------------- */
void session_list_push(struct session_list *l, struct session *e);
void session_list_remove(struct session *e);
struct session *session_first(struct sessions *s, const struct session_list *l); /* NULL: none */
void session_free_slot(struct session *e);

static inline bool session_is_connected(const struct session *e)
{
    return e->state != SESSION_FREE && e->state != SESSION_LEAVING;
}

/* Whether so much can be written now, or the answer to a request; if not, it is read on later. */
bool session_has_room(struct session *e, size_t length);
bool session_may_say(struct session *e);
void session_say(struct session *e, const uint8_t *frame, size_t length);
void session_refuse(struct session *e, const struct edge_refused *refused);
/* Ends it in the next step: for who is in the middle of something. */
void session_doom(struct session *e, enum edge_closing_reason reason);
void session_stopped(struct session *e, bool stopped);
void session_retry_at(struct session *e, uint64_t at_ns);

/* ---- session_turn.c -------------------------------------------------------------------------- */
/* It may log in now, if it has its turn. */
void session_take_turn(struct session *e);
void session_end_login(struct session *e);
void sessions_give_turns(struct sessions *s);
/* Writes a record of its own down, now or when there is room. */
void session_record(struct session *e);
void sessions_record_all(struct sessions *s);

/* What became of the request that begins what was read. */
enum session_read {
    SESSION_READ,  /* it is done with */
    SESSION_LATER, /* it stays unread */
    SESSION_ENDED  /* so has the session */
};

/* ---- session_login.c ------------------------------------------------------------------------- */
enum session_read session_hello(struct session *e, const uint8_t *body, size_t length);
enum session_read session_prove(struct session *e, const uint8_t *body, size_t length);
/* Says who it is to the stream. */
void session_let_in(struct session *e);
void session_accepted(struct session *e, struct position position);
/* It may be refused for want of a right: what it was given before it came is known here, and for good. */
bool session_is_settled(const struct session *e);

/* ---- session_read.c -------------------------------------------------------------------------- */
size_t session_read(struct session *e, const uint8_t *bytes, size_t length);
/* Its reader, made if there is none. NULL: there are too many. */
struct reader *session_reader(struct session *e);
void session_changed(struct session *e, struct position position);
void session_look_up_principal(struct session *e);
void session_set_free(struct session *e, struct session_set *set);
void session_large_free(struct session *e);

/* ---- session_who.c --------------------------------------------------------------------------- */
enum session_read session_who(struct session *e, const uint8_t *body, size_t length);

/* ---- session_text.c -------------------------------------------------------------------------- */
/* Whether what a client said first is the beginning of a line of text. */
bool session_text_looks_so(const uint8_t *bytes, size_t length);
/* The line; *used is its length. */
enum session_read session_text_hello(struct session *e, const uint8_t *bytes, size_t length,
                                     size_t *used);
void session_text_accepted(struct session *e, struct position position);
void session_text_say(struct session *e, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Lines for what its reader has, as much as there is room for; false if it has no more. */
bool session_text_flush(struct session *e, size_t room);

#endif
