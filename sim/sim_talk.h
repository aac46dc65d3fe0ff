/* What a proxy sent to a client over one connection. Kept by sim_talk.c, compared by sim_check_talk.c. */
#ifndef CANTUS_SIM_SIM_TALK_H
#define CANTUS_SIM_SIM_TALK_H

#include "sim/sim_private.h"

enum { SIM_TALK_MARKS_MAX = 192, SIM_TALK_ASKED_MAX = 1024 };

/* Before it wrote this byte the proxy, which had followed the stream through `position`, heard of rights, or that
 * some of the stream no longer holds; and has this version of them. */
struct sim_talk_mark {
    size_t at;
    uint64_t version;
    struct position position;
};

struct sim_talk {
    struct sim_node *client, *proxy;
    uint32_t key;                      /* that the client has */
    bool rights_stay;                  /* what it may read is the same throughout */
    uint8_t asked[SIM_TALK_ASKED_MAX]; /* by the client: the beginning, where its SUBSCRIBE is */
    size_t asked_length;
    uint8_t *bytes; /* that the proxy wrote */
    size_t length, capacity;
    bool over; /* nothing more is kept: too much, or no room */
    struct sim_talk_mark marks[SIM_TALK_MARKS_MAX];
    uint32_t mark_count;
    struct position followed; /* by the proxy when it last wrote */
};

/* Whether there is a record of rights from seq on, below end_seq. */
bool sim_talk_rights_between(const struct sim *s, struct epoch epoch, uint64_t seq,
                             uint64_t end_seq);

#endif
