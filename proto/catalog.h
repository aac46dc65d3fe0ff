/* The catalog: the state machine over /sys that every process embeds. Topics and their compact
 * ids, publishers and their incarnations, the session, the epochs, the members, who may do what,
 * limits, and which proxies are there.
 *
 * A function of the stream and of nothing else. All memory is taken by create, as one block without
 * pointers into itself.
 *
 * Messages under /sys are never part of a run: the sequencer rejects them there, the catalog takes
 * one with flags for malformed. So an epoch record, which voids an open run, has nothing to undo
 * here. */
#ifndef CANTUS_PROTO_CATALOG_H
#define CANTUS_PROTO_CATALOG_H

#include "proto/batch.h"
#include "proto/epoch_table.h"
#include "proto/presence.h"
#include "proto/sys.h"
#include "proto/sys_access.h"
#include "proto/topic.h"

enum {
    CATALOG_TOPICS_DEFAULT = 131072,
    CATALOG_PUBLISHERS_DEFAULT = 131072,
    CATALOG_PATH_BYTES = 32 /* of path memory for each topic; whichever runs out first is FULL */
};

/* Ids are below these: the fixed topics count as topics, the sequencer as publisher 0. 0 means the
 * default; values out of range mean the nearest in range. */
struct catalog_options {
    uint32_t topics_max;
    uint32_t publishers_max;
};

/* The options as they are understood. NULL: all default. */
struct catalog_options catalog_options_resolve(const struct catalog_options *options);

struct catalog_publisher {
    uint64_t nonce;
    uint64_t join_seq; /* of its newest join record */
    uint32_t incarnation;
    bool trusted;       /* of the core network: its identity has no "@" in front */
    uint32_t principal; /* of its key, if it is not trusted; may change with every /sys message */
    char identity[IDENTITY_MAX + 1];
};

struct catalog;

enum catalog_verdict {
    CATALOG_OK = 0,
    CATALOG_IGNORED,        /* not a message of the catalog's */
    CATALOG_MALFORMED,      /* does not decode, or was not permitted: skipped alike by everyone */
    CATALOG_FULL,           /* a table: skipped alike by everyone */
    CATALOG_OTHER_PROTOCOL, /* a session record of a protocol this process does not speak: stop */
    CATALOG_DIVERGED        /* a session record whose catalog digest is not ours: stop */
};

struct catalog *catalog_create(const struct catalog_options *options); /* NULL: no memory */
void catalog_destroy(struct catalog *c);
size_t catalog_memory(const struct catalog_options *options); /* bytes that create takes */
void catalog_reset(struct catalog *c);
/* Copies the whole state; both were created with equal options. */
void catalog_copy(struct catalog *to, const struct catalog *from);

/* Of a message whose topic is below TOPIC_FIRST_USER; catalog_apply's slow path. */
enum catalog_verdict catalog_apply_sys(struct catalog *c, const struct message *m,
                                       const struct batch_header *batch);

/* Applies one message; cheap to call for every message of the stream. `batch` is the header of the
 * batch it came in: its epoch and digest feed the epoch table. What each record must satisfy
 * is in docs/wire.md; one that does not changes nothing. */
static inline enum catalog_verdict catalog_apply(struct catalog *c, const struct message *m,
                                                 const struct batch_header *batch)
{
    if (m->topic >= TOPIC_FIRST_USER)
        return CATALOG_IGNORED;
    return catalog_apply_sys(c, m, batch);
}

/* Over all of the state, the same in every process at the same position, whatever its options.
 * Reads all of it: for session records, snapshots and checks, not for every message. */
uint64_t catalog_digest(const struct catalog *c);

/* ---- questions ------------------------------------------------------------------------------- */
const struct sys_genesis *catalog_genesis(const struct catalog *c); /* NULL before seq 1 */
const struct epoch_table *catalog_epochs(const struct catalog *c);
const struct membership *catalog_members(const struct catalog *c);
/* The newest record of what the stores have said; count 0: there is none yet. */
const struct sys_words *catalog_words(const struct catalog *c);
const char *catalog_session(const struct catalog *c); /* "" before the first session record */
uint64_t catalog_session_seq(const struct catalog *c);

uint32_t catalog_topic_end(const struct catalog *c); /* ids are below this */
uint32_t catalog_topic_find(const struct catalog *c, const char *path, size_t length); /* or 0 */
/* NUL-terminated; NULL if there is no such topic. */
const char *catalog_topic_path(const struct catalog *c, uint32_t id, size_t *length);
bool catalog_topic_exists(const struct catalog *c, uint32_t id);

uint32_t catalog_publisher_end(const struct catalog *c);
uint32_t catalog_publisher_find(const struct catalog *c, const char *identity); /* or 0 */
const struct catalog_publisher *catalog_publisher(const struct catalog *c, uint32_t id);

const struct access *catalog_access(const struct catalog *c);
const struct limits *catalog_limits(const struct catalog *c);
const struct presence *catalog_presence(const struct catalog *c);
/* Of access; of users' topics only, and of those that exist. */
uint32_t catalog_topic_region(const struct catalog *c, uint32_t id);

/* Whether this publisher may write there now; a reject_reason, or 0 if it may.
 *
 * Identities that begin with "@" write what is granted to their key. The others are the core's own:
 * they write all users' topics, those below /sys/digest among them, and TOPIC_EDGE: that a proxy is there only
 * those do whose identity begins with SYS_EDGE_PROXY. Both create topics
 * with TOPIC_TOPIC; only keys write TOPIC_GRANT, TOPIC_GROUP and TOPIC_LIMIT. What of these a publisher
 * may say is asked with catalog_refuses_sys. Nothing on a fixed topic is part of a run. */
enum reject_reason catalog_refuses(const struct catalog *c, uint32_t publisher, uint32_t topic);

/* What stands against this payload on a fixed topic, besides: the right on what it is about, its form,
 * or that the catalog is full. The only messages whose payload a sequencer reads. */
enum reject_reason catalog_refuses_sys(const struct catalog *c, uint32_t publisher, uint32_t topic,
                                       const uint8_t *payload, size_t length);

/* Of users' topics, the same question as catalog_refuses for many messages of one publisher, without the
 * reason: two loads and a bit. Each topic lies in a region of access, a publisher has a row of bits.
 * Good until the catalog changes. */
struct catalog_writer {
    const uint16_t *regions; /* by topic id */
    const uint64_t *row;
    uint32_t topic_count; /* of users */
};
struct catalog_writer catalog_writer_of(const struct catalog *c, uint32_t publisher);
static inline bool catalog_writer_may(const struct catalog_writer *w, uint32_t topic)
{
    if (topic - TOPIC_FIRST_USER >= w->topic_count)
        return false;
    uint16_t region = w->regions[topic];
    return (w->row[region / 64] >> region % 64 & 1) != 0;
}
/* What would refuse the creation of this topic by this publisher (0: by the sequencer, which may);
 * 0 if nothing. A key needs ACCESS_WRITE there. One that exists is fine, unless it is /sys or below:
 * those are the stream's own, except what is below /sys/digest. */
enum reject_reason catalog_refuses_topic(const struct catalog *c, uint32_t publisher,
                                         const char *path, size_t length);

#endif
