/* The catalog and the ledger, fed a history built from the input: records of a topic byte, a
 * publisher byte, a flags byte, a length byte and that much payload. Joins, session and epoch
 * records that fit the state, grants, groups and limits are made on request (topic bytes from 100 on),
 * so that the input gets deep.
 *
 * Two catalogs that see the same stay equal, and only what is OK changes a digest. What is refused
 * beforehand is what is passed over; and a row says of every topic what the catalog says. */
#include "fuzz/fuzz.h"
#include "proto/catalog.h"
#include "proto/ledger.h"

enum {
    MADE_JOIN = 100,
    MADE_SESSION = 101,
    MADE_EPOCH = 102,
    MADE_GRANT = 103,
    MADE_GROUP = 104,
    MADE_LIMIT = 105
};

static struct catalog *catalog;
static struct catalog *copy;
static struct ledger ledger;
static const struct catalog_options options = { .topics_max = 24, .publishers_max = 4 };

static size_t make_join(const uint8_t *name, size_t length, uint8_t *out)
{
    struct sys_join join = { .nonce = 1 };
    size_t at = 0;
    if (length > 2) { /* of a key; that of zeros is the administrator's in the seeds */
        uint8_t key[ACCESS_KEY_SIZE] = { name[2] % 3 };
        join.identity[at++] = '@';
        access_key_write(key, join.identity + at);
        at += ACCESS_KEY_TEXT;
        join.identity[at++] = ':';
    }
    for (size_t i = 0; i < length && i < 2; i++)
        join.identity[at++] = (char)('a' + name[i] % 4);
    join.publisher = catalog_publisher_find(catalog, join.identity);
    join.incarnation = 1;
    if (join.publisher == 0)
        join.publisher = catalog_publisher_end(catalog);
    else
        join.incarnation = catalog_publisher(catalog, join.publisher)->incarnation + 1;
    return sys_join_encode(&join, out, SYS_PAYLOAD_MAX);
}

static size_t make_session(uint8_t *out)
{
    struct sys_session session = { .name = "s",
                                   .protocol_version = WIRE_VERSION,
                                   .protocol_digest = protocol_digest(),
                                   .catalog_digest = catalog_digest(catalog) };
    return sys_session_encode(&session, out, SYS_PAYLOAD_MAX);
}

static size_t make_epoch(struct batch_header *batch, uint64_t seq, uint8_t *out)
{
    const struct epoch_entry *last = epoch_table_find(catalog_epochs(catalog), seq);
    if (last == NULL)
        return 0;
    struct sys_epoch record = { .epoch = { seq, last->epoch.number + 1 },
                                .adopted = { last->epoch, seq - 1 },
                                .digest = batch->before,
                                .how = SYS_EPOCH_STARTED };
    batch->epoch = record.epoch;
    return sys_epoch_encode(&record, out, SYS_PAYLOAD_MAX);
}

static const char *const subtrees[] = { "/", "/a", "/a/b", "/b", "/sys", "/sys/digest" };

/* What a few bytes of the input stand for. */
static size_t make_access(uint32_t made, const uint8_t *bytes, size_t length, uint8_t *out)
{
    if (length < 4)
        return 0;
    const char *subtree = subtrees[bytes[3] % (sizeof subtrees / sizeof subtrees[0])];
    struct sys_group group = { .remove = bytes[0] & 1, .group = "g", .key = { bytes[2] % 3 } };
    if (made == MADE_GROUP)
        return sys_group_encode(&group, out, SYS_PAYLOAD_MAX);
    if (made == MADE_GRANT) {
        struct sys_grant grant = { .revoke = bytes[0] & 1,
                                   .rights = bytes[1] & ACCESS_RIGHTS,
                                   .whom = { .who = (enum access_who)(1 + bytes[2] % 3) } };
        memcpy(grant.whom.group, "g", 2);
        grant.whom.key[0] = bytes[2] / 3 % 3;
        memcpy(grant.subtree, subtree, strlen(subtree) + 1);
        return sys_grant_encode(&grant, out, SYS_PAYLOAD_MAX);
    }
    struct sys_limit limit = { .whom = { .who = (enum limit_who)(1 + bytes[2] % 3) },
                               .remove = bytes[0] & 1 };
    memcpy(limit.whom.subtree, subtree, strlen(subtree) + 1);
    limit.limit.topics = limit.remove ? 0 : bytes[1];
    return sys_limit_encode(&limit, out, SYS_PAYLOAD_MAX);
}

static void check_rows(void)
{
    for (uint32_t publisher = 0; publisher < 5; publisher++) {
        struct catalog_writer writer = catalog_writer_of(catalog, publisher);
        for (uint32_t topic = TOPIC_FIRST_USER; topic < 26; topic++)
            assert(catalog_writer_may(&writer, topic) ==
                   (catalog_refuses(catalog, publisher, topic) == 0));
    }
}

static void apply(struct message *m, struct batch_header *batch)
{
    uint64_t before = catalog_digest(catalog);
    bool access = m->topic >= TOPIC_GRANT && m->topic <= TOPIC_LIMIT && m->flags == 0;
    enum reject_reason reason =
        access ? catalog_refuses_sys(catalog, m->publisher, m->topic, m->payload, m->length)
               : (enum reject_reason)0;
    enum reject_reason edge =
        catalog_refuses_sys(catalog, m->publisher, TOPIC_EDGE, m->payload, m->length);
    enum catalog_verdict verdict = catalog_apply(catalog, m, batch);
    assert(catalog_apply(copy, m, batch) == verdict);
    if (verdict != CATALOG_OK)
        assert(catalog_digest(catalog) == before);
    assert(catalog_digest(copy) == catalog_digest(catalog));
    assert(!access || (reason == 0) == (verdict == CATALOG_OK));
    assert(m->topic != TOPIC_EDGE || m->flags != 0 ||
           (edge == 0) == (verdict != CATALOG_MALFORMED));
    check_rows();
    assert(catalog_topic_end(catalog) <= options.topics_max);
    assert(catalog_publisher_end(catalog) <= options.publishers_max);

    uint64_t ledger_before = ledger_digest(&ledger);
    if (!ledger_apply(&ledger, m))
        assert(ledger_digest(&ledger) == ledger_before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (catalog == NULL) {
        catalog = catalog_create(&options);
        copy = catalog_create(&options);
        if (catalog == NULL || copy == NULL || !ledger_init(&ledger, &options))
            abort();
    }
    catalog_reset(catalog);
    catalog_reset(copy);
    ledger_reset(&ledger);
    struct batch_header batch = { .stream = 1 };
    struct wire_reader r = wire_reader_of(data, size);
    for (uint64_t seq = 1; r.at < r.end; seq++) {
        uint8_t made[SYS_PAYLOAD_MAX];
        struct message m = { .seq = seq };
        m.topic = wire_get8(&r);
        m.publisher = wire_get8(&r) % 5;
        m.flags = wire_get8(&r) & 3;
        m.length = wire_get8(&r);
        m.payload = wire_get_bytes(&r, m.length);
        if (m.payload == NULL)
            break;
        m.publisher_seq =
            m.publisher == 0 || m.publisher == 4 ? 0 : ledger_next(&ledger, m.publisher);
        if (m.topic >= MADE_JOIN && m.topic <= MADE_EPOCH) {
            if (m.topic == MADE_JOIN)
                m.length = (uint32_t)make_join(m.payload, m.length, made);
            else if (m.topic == MADE_SESSION)
                m.length = (uint32_t)make_session(made);
            else
                m.length = (uint32_t)make_epoch(&batch, seq, made);
            m.topic = m.topic == MADE_JOIN      ? TOPIC_JOIN
                      : m.topic == MADE_SESSION ? TOPIC_SESSION
                                                : TOPIC_EPOCH;
            m.publisher = 0;
            m.publisher_seq = 0;
            m.flags = 0;
            m.payload = made;
        } else if (m.topic >= MADE_GRANT && m.topic <= MADE_LIMIT) {
            m.length = (uint32_t)make_access(m.topic, m.payload, m.length, made);
            m.topic = TOPIC_GRANT + (m.topic - MADE_GRANT);
            m.payload = made;
        }
        batch.first_seq = seq;
        batch.count = 1;
        apply(&m, &batch);
        if (seq > 1)
            batch.before = (struct digest) { seq, seq };
    }
    return 0;
}
