/* Goal: the catalog permits a publisher exactly what the records under /sys say at that point, whoever
 * asks, whichever way: message by message, by rows, or for what a record itself needs. And all of that
 * is in its copies and its digest.
 *
 * Method: an administrator's key from the genesis, a trader's, a stranger's, and a publisher of the
 * core; records are applied as they come from the stream. */
#include <stdio.h>

#include "proto/catalog.h"
#include "proto/sys_edge.h"
#include "tests/proto/suite.h"

enum { ADMIN = 1, TRADER = 2, STRANGER = 3, CORE = 4, MALFORMED = 5, PROXY = 6, PUBLISHERS = 7 };

struct bed {
    struct catalog *c;
    struct batch_header batch;
    uint64_t seq;
};

static const uint8_t *key_of(uint32_t publisher)
{
    static uint8_t keys[PUBLISHERS][ACCESS_KEY_SIZE];
    memset(keys[publisher], (int)(0x40 + publisher), ACCESS_KEY_SIZE);
    return keys[publisher];
}

static enum catalog_verdict apply(struct bed *bed, uint32_t publisher, uint32_t topic,
                                  const void *payload, size_t length)
{
    struct message m = { .seq = ++bed->seq,
                         .topic = topic,
                         .publisher = publisher,
                         .length = (uint32_t)length,
                         .payload = payload };
    bed->batch.first_seq = m.seq;
    enum reject_reason refused =
        topic > TOPIC_MEMBER && topic < TOPIC_FIRST_USER
            ? catalog_refuses_sys(bed->c, publisher, topic, payload, length)
            : (enum reject_reason)0;
    enum catalog_verdict verdict = catalog_apply(bed->c, &m, &bed->batch);
    /* What the sequencer asks is what everybody does. */
    if (topic == TOPIC_GRANT || topic == TOPIC_GROUP || topic == TOPIC_LIMIT)
        ck_assert_int_eq(verdict, refused == 0             ? CATALOG_OK
                                  : refused == REJECT_FULL ? CATALOG_FULL
                                                           : CATALOG_MALFORMED);
    return verdict;
}

static void join(struct bed *bed, uint32_t id)
{
    uint8_t payload[SYS_PAYLOAD_MAX];
    struct sys_join j = { .publisher = id, .incarnation = 1 };
    char key[ACCESS_KEY_TEXT + 1];
    access_key_write(key_of(id), key);
    if (id == CORE)
        strcpy(j.identity, "core");
    else if (id == PROXY)
        strcpy(j.identity, "proxy.p1");
    else if (id == MALFORMED)
        strcpy(j.identity, "@core");
    else
        snprintf(j.identity, sizeof j.identity, "@%s:app", key);
    size_t length = sys_join_encode(&j, payload, sizeof payload);
    ck_assert_int_eq(apply(bed, 0, TOPIC_JOIN, payload, length), CATALOG_OK);
}

static void begin(struct bed *bed)
{
    struct sys_genesis g = { .stream = SUITE_STREAM,
                             .protocol_version = WIRE_VERSION,
                             .members = { .seq = 1, .count = 1, .stores = { 11 } } };
    memcpy(g.admin_key, key_of(ADMIN), sizeof g.admin_key);
    uint8_t payload[SYS_PAYLOAD_MAX];
    size_t length = sys_genesis_encode(&g, payload, sizeof payload);
    bed->batch = (struct batch_header) { .stream = SUITE_STREAM };
    bed->seq = 0;
    ck_assert_int_eq(apply(bed, 0, TOPIC_GENESIS, payload, length), CATALOG_OK);
    for (uint32_t id = ADMIN; id < PUBLISHERS; id++)
        join(bed, id);
}

static struct bed bed_begun(void)
{
    static const struct catalog_options options = { .topics_max = 64, .publishers_max = 8 };
    struct bed bed = { .c = catalog_create(&options) };
    ck_assert_ptr_nonnull(bed.c);
    begin(&bed);
    return bed;
}

static uint32_t topic(struct bed *bed, const char *path)
{
    ck_assert_int_eq(apply(bed, 0, TOPIC_TOPIC, path, strlen(path)), CATALOG_OK);
    return catalog_topic_find(bed->c, path, strlen(path));
}

static struct access_whom to_key(uint32_t publisher)
{
    struct access_whom whom = { .who = ACCESS_KEY };
    memcpy(whom.key, key_of(publisher), sizeof whom.key);
    return whom;
}

static enum catalog_verdict grant(struct bed *bed, uint32_t by, struct access_whom whom,
                                  uint8_t rights, const char *subtree, bool revoke)
{
    struct sys_grant g = { .revoke = revoke, .rights = rights, .whom = whom };
    strcpy(g.subtree, subtree);
    uint8_t payload[SYS_ACCESS_SIZE_MAX];
    size_t length = sys_grant_encode(&g, payload, sizeof payload);
    return apply(bed, by, TOPIC_GRANT, payload, length);
}

static enum catalog_verdict group(struct bed *bed, uint32_t by, const char *name, uint32_t member,
                                  bool remove)
{
    struct sys_group g = { .remove = remove };
    strcpy(g.group, name);
    memcpy(g.key, key_of(member), sizeof g.key);
    uint8_t payload[SYS_ACCESS_SIZE_MAX];
    size_t length = sys_group_encode(&g, payload, sizeof payload);
    return apply(bed, by, TOPIC_GROUP, payload, length);
}

static bool may(const struct bed *bed, uint32_t publisher, uint32_t id)
{
    enum reject_reason reason = catalog_refuses(bed->c, publisher, id);
    struct catalog_writer writer = catalog_writer_of(bed->c, publisher);
    ck_assert_int_eq(catalog_writer_may(&writer, id), reason == 0);
    ck_assert(reason == 0 || reason == REJECT_NOT_PERMITTED);
    return reason == 0;
}

START_TEST(keys_write_what_is_granted)
{
    struct bed bed = bed_begun();
    uint32_t a = topic(&bed, "/a"), ab = topic(&bed, "/a/b"), d = topic(&bed, "/d");
    for (uint32_t i = 0; i < 3; i++) {
        ck_assert(may(&bed, ADMIN, a + i) && may(&bed, CORE, a + i));
        ck_assert(!may(&bed, TRADER, a + i) && !may(&bed, STRANGER, a + i));
        ck_assert(!may(&bed, MALFORMED, a + i));
    }
    ck_assert_int_eq(grant(&bed, ADMIN, to_key(TRADER), ACCESS_WRITE, "/a/b", false), CATALOG_OK);
    ck_assert(!may(&bed, TRADER, a) && may(&bed, TRADER, ab) && !may(&bed, TRADER, d));
    uint32_t abc = topic(&bed, "/a/b/c"); /* one that comes into a region */
    ck_assert(may(&bed, TRADER, abc) && !may(&bed, STRANGER, abc));
    ck_assert_int_eq(grant(&bed, ADMIN, to_key(STRANGER), ACCESS_WRITE, "/a/b/c", false),
                     CATALOG_OK); /* a region inside of a region */
    ck_assert(may(&bed, TRADER, abc) && may(&bed, STRANGER, abc) && !may(&bed, STRANGER, ab));
    ck_assert_int_eq(grant(&bed, ADMIN, to_key(TRADER), ACCESS_WRITE, "/a/b", true), CATALOG_OK);
    ck_assert(!may(&bed, TRADER, ab) && !may(&bed, TRADER, abc) && may(&bed, STRANGER, abc));
    ck_assert_int_eq(grant(&bed, ADMIN, (struct access_whom) { .who = ACCESS_ANYONE }, ACCESS_WRITE,
                           "/d", false),
                     CATALOG_OK);
    for (uint32_t id = ADMIN; id < PUBLISHERS; id++)
        ck_assert(may(&bed, id, d));
    ck_assert_int_eq(grant(&bed, ADMIN, to_key(TRADER), ACCESS_READ, "/a", false), CATALOG_OK);
    ck_assert(!may(&bed, TRADER, a));
    catalog_destroy(bed.c);
}
END_TEST

START_TEST(groups_give_to_their_members)
{
    struct bed bed = bed_begun();
    uint32_t a = topic(&bed, "/a");
    struct access_whom traders = { .who = ACCESS_GROUP, .group = "traders" };
    ck_assert_int_eq(group(&bed, ADMIN, "traders", TRADER, false), CATALOG_OK);
    ck_assert_int_eq(grant(&bed, ADMIN, traders, ACCESS_WRITE, "/a", false), CATALOG_OK);
    ck_assert(may(&bed, TRADER, a) && !may(&bed, STRANGER, a));
    ck_assert_int_eq(group(&bed, ADMIN, "traders", STRANGER, false), CATALOG_OK);
    ck_assert_int_eq(group(&bed, ADMIN, "traders", STRANGER, false), CATALOG_OK); /* again */
    ck_assert(may(&bed, STRANGER, a));
    ck_assert_int_eq(group(&bed, ADMIN, "traders", TRADER, true), CATALOG_OK);
    ck_assert(!may(&bed, TRADER, a) && may(&bed, STRANGER, a));
    catalog_destroy(bed.c);
}
END_TEST

START_TEST(who_joins_later_has_what_was_granted_before)
{
    static const struct catalog_options options = { .topics_max = 64, .publishers_max = 16 };
    struct bed bed = { .c = catalog_create(&options) };
    begin(&bed);
    uint32_t a = topic(&bed, "/a");
    ck_assert_int_eq(grant(&bed, ADMIN, to_key(TRADER), ACCESS_WRITE, "/a", false), CATALOG_OK);
    struct sys_join j = { .publisher = PUBLISHERS, .incarnation = 1 };
    char key[ACCESS_KEY_TEXT + 1];
    access_key_write(key_of(TRADER), key);
    snprintf(j.identity, sizeof j.identity, "@%s:another", key);
    uint8_t payload[SYS_PAYLOAD_MAX];
    size_t length = sys_join_encode(&j, payload, sizeof payload);
    ck_assert_int_eq(apply(&bed, 0, TOPIC_JOIN, payload, length), CATALOG_OK);
    ck_assert(may(&bed, PUBLISHERS, a));
    catalog_destroy(bed.c);
}
END_TEST

START_TEST(only_who_may_grant_grants)
{
    struct bed bed = bed_begun();
    struct access_whom stranger = to_key(STRANGER);
    ck_assert_int_eq(grant(&bed, TRADER, stranger, 1, "/a", false), CATALOG_MALFORMED);
    ck_assert_int_eq(grant(&bed, CORE, stranger, 1, "/a", false), CATALOG_MALFORMED);
    ck_assert_int_eq(grant(&bed, 0, stranger, 1, "/a", false), CATALOG_MALFORMED);
    ck_assert_int_eq(grant(&bed, ADMIN, to_key(TRADER), ACCESS_GRANT, "/a", false), CATALOG_OK);
    ck_assert_int_eq(grant(&bed, TRADER, stranger, 1, "/a/b", false), CATALOG_OK);
    ck_assert_int_eq(grant(&bed, TRADER, stranger, 1, "/", false), CATALOG_MALFORMED);
    ck_assert_int_eq(grant(&bed, TRADER, stranger, 1, "/b", true), CATALOG_MALFORMED);
    ck_assert_int_eq(group(&bed, TRADER, "g", TRADER, false), CATALOG_MALFORMED);
    ck_assert_int_eq(grant(&bed, ADMIN, to_key(TRADER), ACCESS_GRANT, "/", false), CATALOG_OK);
    ck_assert_int_eq(group(&bed, TRADER, "g", TRADER, false), CATALOG_OK);
    /* The tree does not include /sys. */
    ck_assert_int_eq(grant(&bed, TRADER, stranger, 1, "/sys/digest", false), CATALOG_MALFORMED);
    ck_assert_int_eq(grant(&bed, ADMIN, stranger, 2, "/sys/digest", false), CATALOG_OK);
    catalog_destroy(bed.c);
}
END_TEST

START_TEST(fixed_topics)
{
    struct bed bed = bed_begun();
    for (uint32_t id = TOPIC_GENESIS; id < TOPIC_FIRST_USER; id++) {
        bool there = topic_fixed_path(id) != NULL;
        bool keys = id == TOPIC_TOPIC || (id >= TOPIC_GRANT && id <= TOPIC_LIMIT);
        bool core = id == TOPIC_TOPIC || id == TOPIC_EDGE;
        enum reject_reason no = there ? REJECT_NOT_PERMITTED : REJECT_NO_TOPIC;
        ck_assert_int_eq((int)catalog_refuses(bed.c, ADMIN, id), keys ? 0 : (int)no);
        ck_assert_int_eq((int)catalog_refuses(bed.c, TRADER, id), keys ? 0 : (int)no);
        ck_assert_int_eq((int)catalog_refuses(bed.c, CORE, id), core ? 0 : (int)no);
    }
    ck_assert_int_eq(apply(&bed, CORE, TOPIC_EDGE, "anything", 8), CATALOG_IGNORED);
    catalog_destroy(bed.c);
}
END_TEST

static enum catalog_verdict present(struct bed *bed, uint32_t publisher, uint32_t lasts_ms)
{
    struct sys_edge e = { .kind = SYS_EDGE_PRESENT, .lasts_ms = lasts_ms };
    uint8_t payload[SYS_EDGE_SIZE_MAX];
    size_t length = sys_edge_encode(&e, payload, sizeof payload);
    enum reject_reason refused =
        catalog_refuses_sys(bed->c, publisher, TOPIC_EDGE, payload, length);
    enum catalog_verdict verdict = apply(bed, publisher, TOPIC_EDGE, payload, length);
    ck_assert_int_eq(refused == 0, verdict == CATALOG_OK);
    return verdict;
}

START_TEST(only_proxies_say_that_they_are_there)
{
    struct bed bed = bed_begun();
    const struct presence *p = catalog_presence(bed.c);
    uint64_t before = catalog_digest(bed.c);
    for (uint32_t id = ADMIN; id <= MALFORMED; id++)
        ck_assert_int_eq(present(&bed, id, 1000), CATALOG_MALFORMED);
    static const uint8_t cut[] = { SYS_EDGE_PRESENT, 1 };
    ck_assert_int_eq(apply(&bed, PROXY, TOPIC_EDGE, cut, sizeof cut), CATALOG_MALFORMED);
    ck_assert_int_eq((int)catalog_refuses_sys(bed.c, PROXY, TOPIC_EDGE, cut, sizeof cut),
                     REJECT_MALFORMED);
    ck_assert_uint_eq(presence_count(p, 0), 0);
    ck_assert_uint_eq(catalog_digest(bed.c), before);
    ck_assert_int_eq(present(&bed, PROXY, 1000), CATALOG_OK);
    ck_assert(presence_has(p, PROXY, UINT64_C(999999999)));
    ck_assert(!presence_has(p, PROXY, UINT64_C(1000000000)));
    ck_assert_uint_ne(catalog_digest(bed.c), before);
    struct bed copy = bed_begun();
    catalog_copy(copy.c, bed.c);
    ck_assert_uint_eq(catalog_digest(copy.c), catalog_digest(bed.c));
    ck_assert_uint_eq(presence_count(catalog_presence(copy.c), 0), 1);
    ck_assert_int_eq(present(&bed, PROXY, 0), CATALOG_OK);
    ck_assert_uint_eq(presence_count(p, 0), 0);
    ck_assert_uint_eq(catalog_digest(bed.c), before);
    catalog_reset(copy.c);
    ck_assert_uint_eq(presence_count(catalog_presence(copy.c), 0), 0);
    catalog_destroy(copy.c);
    catalog_destroy(bed.c);
}
END_TEST

START_TEST(creation_needs_the_right_to_write)
{
    struct bed bed = bed_begun();
    ck_assert_int_eq((int)catalog_refuses_topic(bed.c, CORE, "/a", 2), 0);
    ck_assert_int_eq((int)catalog_refuses_topic(bed.c, ADMIN, "/a", 2), 0);
    ck_assert_int_eq((int)catalog_refuses_topic(bed.c, TRADER, "/a", 2), REJECT_NOT_PERMITTED);
    ck_assert_int_eq(apply(&bed, TRADER, TOPIC_TOPIC, "/a", 2), CATALOG_MALFORMED);
    ck_assert_int_eq(grant(&bed, ADMIN, to_key(TRADER), ACCESS_WRITE, "/a", false), CATALOG_OK);
    ck_assert_int_eq((int)catalog_refuses_sys(bed.c, TRADER, TOPIC_TOPIC, (const uint8_t *)"/a", 2),
                     0);
    ck_assert_int_eq(apply(&bed, TRADER, TOPIC_TOPIC, "/a", 2), CATALOG_OK);
    ck_assert_int_eq(apply(&bed, TRADER, TOPIC_TOPIC, "/b", 2), CATALOG_MALFORMED);
    ck_assert_int_eq((int)catalog_refuses_topic(bed.c, TRADER, "/sys/digest/a", 13),
                     REJECT_NOT_PERMITTED);
    ck_assert_int_eq((int)catalog_refuses_topic(bed.c, PUBLISHERS, "/a", 2), REJECT_NOT_PERMITTED);
    catalog_destroy(bed.c);
}
END_TEST

START_TEST(limits_are_kept)
{
    struct bed bed = bed_begun();
    struct sys_limit l = { .whom = { .who = LIMIT_KEY }, .limit = { .messages_per_s = 5 } };
    memcpy(l.whom.key, key_of(TRADER), sizeof l.whom.key);
    uint8_t payload[SYS_ACCESS_SIZE_MAX];
    size_t length = sys_limit_encode(&l, payload, sizeof payload);
    ck_assert_int_eq(apply(&bed, TRADER, TOPIC_LIMIT, payload, length), CATALOG_MALFORMED);
    ck_assert_int_eq(apply(&bed, ADMIN, TOPIC_LIMIT, payload, length), CATALOG_OK);
    ck_assert_uint_eq(limits_of_key(catalog_limits(bed.c), key_of(TRADER)).messages_per_s, 5);
    l.whom.who = LIMIT_SUBTREE;
    for (int i = 1; i < LIMITS_MAX; i++) {
        snprintf(l.whom.subtree, sizeof l.whom.subtree, "/a/%d", i);
        length = sys_limit_encode(&l, payload, sizeof payload);
        ck_assert_int_eq(apply(&bed, ADMIN, TOPIC_LIMIT, payload, length), CATALOG_OK);
    }
    strcpy(l.whom.subtree, "/b");
    length = sys_limit_encode(&l, payload, sizeof payload);
    ck_assert_int_eq((int)catalog_refuses_sys(bed.c, ADMIN, TOPIC_LIMIT, payload, length),
                     REJECT_FULL);
    ck_assert_int_eq(apply(&bed, ADMIN, TOPIC_LIMIT, payload, length), CATALOG_FULL);
    ck_assert_int_eq((int)catalog_refuses_sys(bed.c, ADMIN, TOPIC_LIMIT, payload, length - 1),
                     REJECT_MALFORMED);
    catalog_destroy(bed.c);
}
END_TEST

START_TEST(copies_and_digests_include_it)
{
    struct bed bed = bed_begun(), other = bed_begun();
    uint32_t a = topic(&bed, "/a");
    (void)topic(&other, "/a");
    uint64_t before = catalog_digest(bed.c);
    ck_assert_uint_eq(catalog_digest(other.c), before);
    ck_assert_int_eq(grant(&bed, ADMIN, to_key(TRADER), ACCESS_WRITE, "/a", false), CATALOG_OK);
    uint64_t granted = catalog_digest(bed.c);
    ck_assert_uint_ne(granted, before);
    ck_assert_int_eq(group(&other, ADMIN, "g", STRANGER, false), CATALOG_OK);
    catalog_copy(other.c, bed.c);
    ck_assert_uint_eq(catalog_digest(other.c), granted);
    ck_assert(may(&other, TRADER, a) && !may(&other, STRANGER, a));
    /* and both go on alike */
    ck_assert_int_eq(group(&bed, ADMIN, "g", STRANGER, false), CATALOG_OK);
    ck_assert_int_eq(group(&other, ADMIN, "g", STRANGER, false), CATALOG_OK);
    ck_assert_uint_eq(catalog_digest(other.c), catalog_digest(bed.c));
    catalog_reset(other.c);
    begin(&other);
    (void)topic(&other, "/a");
    ck_assert_uint_eq(catalog_digest(other.c), before);
    ck_assert(!may(&other, TRADER, a));
    catalog_destroy(bed.c);
    catalog_destroy(other.c);
}
END_TEST

SUITE_RUN("catalog_access", keys_write_what_is_granted, groups_give_to_their_members,
          who_joins_later_has_what_was_granted_before, only_who_may_grant_grants, fixed_topics,
          only_proxies_say_that_they_are_there, creation_needs_the_right_to_write, limits_are_kept,
          copies_and_digests_include_it)
