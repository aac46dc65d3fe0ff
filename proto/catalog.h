/* The catalog: the state machine over /sys that every process embeds. Topics and their compact
 * ids, publishers and their incarnations, the session, the epochs, the members.
 *
 * A function of the stream and of nothing else. All memory is taken by create. */
#ifndef CANTUS_PROTO_CATALOG_H
#define CANTUS_PROTO_CATALOG_H

#include "proto/batch.h"
#include "proto/epoch_table.h"
#include "proto/sys.h"
#include "proto/topic.h"

struct catalog_options {
    uint32_t topics_max;     /* default 131072 */
    uint32_t publishers_max; /* default 131072 */
};

struct catalog_publisher {
    uint64_t nonce;
    uint64_t join_seq; /* of its newest join record */
    uint32_t incarnation;
    char identity[IDENTITY_MAX + 1];
};

struct catalog;

enum catalog_verdict {
    CATALOG_OK = 0,
    CATALOG_IGNORED,        /* not a message of the catalog's */
    CATALOG_MALFORMED,      /* a /sys payload that does not decode: skipped alike by everyone */
    CATALOG_FULL,           /* topic or publisher table: skipped alike by everyone */
    CATALOG_OTHER_PROTOCOL, /* a session record of a protocol this process does not speak: stop */
};

struct catalog *catalog_create(const struct catalog_options *options); /* NULL: no memory */
void catalog_destroy(struct catalog *c);
size_t catalog_memory(const struct catalog_options *options); /* bytes that create takes */
void catalog_reset(struct catalog *c);
/* Copies the whole state; both were created with equal options. */
void catalog_copy(struct catalog *to, const struct catalog *from);

/* Applies one message; cheap to call for every message of the stream. `batch` is the header of the
 * batch it came in: its epoch and digest feed the epoch table. */
enum catalog_verdict catalog_apply(struct catalog *c, const struct message *m,
                                   const struct batch_header *batch);
/* Over all of the state, the same in every process at the same position. */
uint64_t catalog_digest(const struct catalog *c);

/* ---- questions ------------------------------------------------------------------------------ */
const struct sys_genesis *catalog_genesis(const struct catalog *c); /* NULL before seq 1 */
const struct epoch_table *catalog_epochs(const struct catalog *c);
const struct membership *catalog_members(const struct catalog *c);
const char *catalog_session(const struct catalog *c); /* "" before the first session record */
uint64_t catalog_session_seq(const struct catalog *c);

uint32_t catalog_topic_end(const struct catalog *c); /* ids are below this */
uint32_t catalog_topic_find(const struct catalog *c, const char *path, size_t length); /* or 0 */
const char *catalog_topic_path(const struct catalog *c, uint32_t id, size_t *length); /* or NULL */
bool catalog_topic_exists(const struct catalog *c, uint32_t id);

uint32_t catalog_publisher_end(const struct catalog *c);
uint32_t catalog_publisher_find(const struct catalog *c, const char *identity); /* or 0 */
const struct catalog_publisher *catalog_publisher(const struct catalog *c, uint32_t id);

/* Whether this publisher may write there now; a reject_reason, or 0 if it may. Publishers write
 * user topics, and of /sys only TOPIC_TOPIC. */
enum reject_reason catalog_refuses(const struct catalog *c, uint32_t publisher, uint32_t topic);
/* What would refuse the creation of this topic; 0 if nothing. One that exists is fine. */
enum reject_reason catalog_refuses_topic(const struct catalog *c, const char *path, size_t length);

#endif
