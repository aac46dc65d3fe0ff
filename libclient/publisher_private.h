/* Shared by publisher*.c and nobody else.
 *
 * Outcomes come in the order of the numbers, and so does what becomes stable. So everything a
 * publisher knows of its proposals is four numbers over one ring:
 *
 *     base <= done <= sent <= next
 *     [base, done) has an outcome and waits to be stable, [done, sent) is under way, [sent, next)
 * is yet to be sent for the first time.
 *
 * Payloads lie in a ring of bytes in the same order, each item in one piece; behind that of an item for
 * a proxy, the paths of its topic and its condition's. In front of an item that comes back as one plain message
 * lies that message's header, as a batch has it (of whose owner takes runs). So items that were pushed one after
 * the other lie there as they will come back, and are known again by one comparison. */
#ifndef CANTUS_LIBCLIENT_PUBLISHER_PRIVATE_H
#define CANTUS_LIBCLIENT_PUBLISHER_PRIVATE_H

#include "libclient/publisher.h"

enum {
    PUBLISHER_WINDOWS_KEPT = 8,    /* by default */
    PUBLISHER_STEP_DATAGRAMS = 64, /* sent per step at most */
    PUBLISHER_HOLES_MAX = 64,      /* told of and not yet sent again; more wait for the retry */
    PUBLISHER_SAMPLES = 16         /* moments that a measured round trip is good for */
};

/* One number: a fragment, or a whole item. A cache line. */
struct publisher_entry {
    struct position position;
    uint64_t begin; /* of its payload, in the ring's endless count */
    uint64_t outcome_seq;
    uint64_t first_sent_ns;
    uint64_t sent_ns;
    uint32_t topic;
    uint16_t length;
    /* Not 0: a whole item without flags, condition and paths, with its header in front; and as many of this kind, itself
     * included, lie one behind the other up to here, if not more. 0: what else there is to it is in its
     * publisher_rest. */
    uint8_t alike;
    uint8_t flags : 5;  /* enum message_flag */
    uint8_t begins : 1; /* an item, which ends with what is no MESSAGE_FRAGMENT */
    uint8_t resent : 1;
    uint8_t filled : 1; /* sent again because a hint asked for it, and not by itself since */
};
_Static_assert(sizeof(struct publisher_entry) == 64, "one cache line each");
enum { PUBLISHER_ALIKE_MAX = UINT8_MAX };

struct publisher_rest {
    uint64_t condition_after;
    uint32_t condition_topic;
    uint32_t item_length; /* of the item that it begins; undefined for later fragments */
    uint32_t item_entries;
    uint8_t path_length, condition_path_length;
    bool conditional;
};

struct publisher {
    struct publisher_options options;
    struct port *port;
    uint64_t *counters;
    void (*outcome)(void *ctx, const struct publisher_outcome *o);
    void *ctx;

    enum publisher_state state;
    uint32_t id;
    uint32_t incarnation;
    uint64_t join_seq;
    uint64_t superseded_seq;
    uint64_t stable;
    bool is_volatile;

    uint64_t base, done, sent, next;
    uint64_t released_seq; /* of the outcome of the number below base; 0: of none since the join */
    uint64_t taken_back_end; /* behind the last that a fork has freed since it joined */
    uint32_t entries_max;    /* a power of two */
    uint32_t items_in_flight;
    uint32_t fragment_max;
    uint32_t item_max;
    struct publisher_entry *entries;
    struct publisher_rest *rests;
    uint8_t *bytes;
    uint64_t bytes_mask;             /* of the ring: a power of two, less one */
    uint64_t bytes_head, bytes_tail; /* endless counts */
    struct {
        uint32_t numbers; /* may be pushed; 0: to be found out */
        uint8_t alike;    /* of the item before */
        uint64_t bytes;   /* in one piece */
    } open;               /* from bytes_head on, for plain items: as much, or more */
    uint64_t mismatches;
    uint8_t partial_reject; /* reason, while only some numbers of an item are rejected */

    uint64_t join_at_ns;
    uint64_t join_wait_ns;
    uint64_t round_trip_ns;     /* 0: not measured yet */
    uint64_t round_trip_new_ns; /* least of the samples since it was set */
    uint64_t measured_ns;
    uint64_t measured_sent_ns; /* when the last sample was sent */
    uint32_t measured;         /* moments of these samples */
    uint32_t retries;          /* of `done` */
    uint32_t burst;            /* datagrams of the next retry */
    uint64_t retry_at;         /* number; a retry goes on from here */
    uint64_t retry_through;    /* at least up to here */
    uint32_t retry_left;       /* datagrams, at least */
    uint64_t hinted;           /* number to send again at once; 0: none */
    uint64_t hinted_at_ns;
    struct {
        uint64_t from, end;
    } holes[PUBLISHER_HOLES_MAX]; /* numbers that the sequencer misses, to be sent again at once */
    uint32_t hole_count;
    struct publisher_outbox *outbox; /* the owner's, or own_outbox */
    struct publisher_outbox own_outbox;
    uint32_t step_left; /* datagrams that this step may still make */
};

static inline struct publisher_entry *publisher_entry(const struct publisher *p, uint64_t number)
{
    return &p->entries[number & (p->entries_max - 1)];
}

static inline struct publisher_rest *publisher_rest(const struct publisher *p, uint64_t number)
{
    return &p->rests[number & (p->entries_max - 1)];
}

static inline uint32_t publisher_item_entries(const struct publisher *p, uint64_t number)
{
    return publisher_entry(p, number)->alike != 0 ? 1 : publisher_rest(p, number)->item_entries;
}

static inline uint32_t publisher_item_length(const struct publisher *p, uint64_t number)
{
    const struct publisher_entry *e = publisher_entry(p, number);
    return e->alike != 0 ? e->length : publisher_rest(p, number)->item_length;
}

static inline uint8_t *publisher_bytes(const struct publisher *p, uint64_t begin)
{
    return p->bytes + (begin & p->bytes_mask);
}

/* Whether a hint may have this number sent again: no hint, and no crowd of them, makes more than
 * one datagram of each that is sent anyway. */
static inline bool publisher_may_fill(const struct publisher *p, uint64_t number, uint64_t now_ns)
{
    const struct publisher_entry *e = publisher_entry(p, number);
    return !e->filled && (!e->resent || now_ns - e->sent_ns >= p->options.resend_min_ns);
}

/* publisher_stream.c: nothing is under way, and `last` was the last number. */
void publisher_restart_numbers(struct publisher *p, uint64_t last);
/* The outcome of `count` numbers from `done`: whole items, unless a reject covers a part of one. */
void publisher_conclude(struct publisher *p, uint64_t count, uint64_t seq, uint8_t rejected,
                        uint64_t now_ns);
/* publisher_push.c: the longest item that the options and the fragments' length allow. */
uint32_t publisher_find_item_max(const struct publisher *p);

/* publisher_send.c: new proposals, then retries; the next deadline. */
uint64_t publisher_transmit(struct publisher *p, uint64_t now_ns);
uint64_t publisher_join(struct publisher *p, const struct catalog *catalog, uint64_t now_ns);

#endif
