/* The inside of the catalog: what its sources share. */
#ifndef CANTUS_PROTO_CATALOG_PRIVATE_H
#define CANTUS_PROTO_CATALOG_PRIVATE_H

#include "proto/catalog.h"

struct topic_entry {
    uint32_t path_at; /* in the path memory */
    uint32_t path_length;
};

/* Where the tables lie, as offsets from the catalog's own address: a copy of the block is whole. */
struct layout {
    size_t topics;
    size_t regions;     /* u16 by topic id: of access, for users' topics */
    size_t topic_index; /* open addressing over u32 ids, 0 empty, at most half full */
    size_t publishers;
    size_t publisher_index;
    size_t paths;
    size_t access;
    size_t limits;
    size_t size;
    uint32_t topic_slots; /* powers of two */
    uint32_t publisher_slots;
    uint32_t path_bytes_max;
};

/* The tables follow in the same block. What is here says how much of each is used, so that a copy
 * touches no more than that. */
struct catalog {
    struct catalog_options options;
    struct layout layout;
    uint32_t topic_end;
    uint32_t publisher_end;
    uint32_t path_bytes;
    bool has_genesis;
    uint64_t session_seq;
    char session[SESSION_NAME_MAX + 1];
    struct sys_genesis genesis;
    struct membership members;
    struct sys_words words;
    struct presence presence;
    struct epoch_table epochs; /* last: its entries are not zeroed */
};

static inline void *catalog_table(struct catalog *c, size_t offset)
{
    return (uint8_t *)c + offset;
}

static inline const void *catalog_table_of(const struct catalog *c, size_t offset)
{
    return (const uint8_t *)c + offset;
}

static inline struct access *catalog_access_table(struct catalog *c)
{
    return catalog_table(c, c->layout.access);
}

static inline struct limits *catalog_limits_table(struct catalog *c)
{
    return catalog_table(c, c->layout.limits);
}

/* catalog_access.c */
/* Who this publisher is to access; of a publisher that is new, or anew when keys became principals. */
void catalog_set_principal(struct catalog *c, struct catalog_publisher *p);
enum catalog_verdict catalog_apply_access(struct catalog *c, const struct message *m);
enum catalog_verdict catalog_apply_presence(struct catalog *c, const struct message *m,
                                            const struct batch_header *batch);

#endif
