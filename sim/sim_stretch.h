/* The stretches of what proxies sent (sim_talk.h) that are compared: each is behind a SUBSCRIBED or a FORKED whose
 * position is on the final history, up to where the connection ended, or was sent what no longer holds. */
#ifndef CANTUS_SIM_SIM_STRETCH_H
#define CANTUS_SIM_SIM_STRETCH_H

#include "sim/sim_talk.h"

enum {
    SIM_STRETCHES_MAX = 1024,
    SIM_STRETCH_OWNED_MAX = 4,
    SIM_STRETCH_CHANGES_MAX = 16,
    SIM_STRETCH_SET_BYTES = 64
};

/* A publisher of the connection, as OPENED and SUPERSEDED tell. */
struct sim_stretch_owned {
    uint32_t publisher;
    uint64_t join_seq;
    uint64_t superseded_seq; /* 0: it is not */
    size_t rejects_at;       /* of the OUTCOMEs in front of its OPENED */
    size_t at;               /* of that */
    size_t superseded_at;    /* of its SUPERSEDED */
    bool done;
};

struct sim_stretch_set {
    struct edge_subtrees subtrees; /* but for where they are */
    uint8_t bytes[SIM_STRETCH_SET_BYTES];
};

/* Of the set, as CHANGED tells. */
struct sim_stretch_change {
    uint64_t seq;
    size_t at; /* of its frame */
    struct sim_stretch_set set;
};

struct sim_stretch {
    const struct sim_talk *talk;
    struct sim_stretch_set set; /* that it begins with */
    size_t asked;               /* behind the last CHANGE that was answered */
    struct sim_stretch_change changed[SIM_STRETCH_CHANGES_MAX];
    uint32_t changed_count, changed_done;
    struct edge_subscribe request;
    uint64_t begin_seq; /* of the stream, from which on the fresh proxy reads */
    uint64_t login_seq, mark_seq;
    size_t begin, end; /* of the talk's bytes */
    struct sim_stretch_owned owned[SIM_STRETCH_OWNED_MAX];
    uint32_t owned_count;
    /* Of the fresh proxy. */
    struct reader *reader;
    uint64_t floor_seq; /* where it began */
    uint32_t principal;
    uint8_t *bytes; /* that it writes */
    size_t length, capacity;
};

struct sim_stretches {
    const struct sim *s;
    uint32_t branch; /* the final history */
    uint32_t count;
    struct sim_stretch all[SIM_STRETCHES_MAX];
};

struct sim_frame {
    enum edge_type type;
    const uint8_t *body;
    size_t length; /* of the whole */
};

/* False: there is no whole one. */
bool sim_frame_at(const uint8_t *bytes, size_t available, struct sim_frame *f);

/* Adds those of a connection; those beyond SIM_STRETCHES_MAX are not compared. */
void sim_stretches_add(struct sim_stretches *all, const struct sim_talk *talk);
/* The seq of the message that a frame follows from; 0: of none, or it comes when it is asked for. */
uint64_t sim_stretch_seq(const struct sim_stretches *all, const struct sim_stretch *t,
                         const struct sim_frame *f);
struct edge_subtrees sim_stretch_subtrees(const struct sim_stretch_set *set);

#endif
