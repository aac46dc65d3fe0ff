/* Goal: the catalog follows the messages under /sys exactly, changes nothing on what is malformed,
 * and has the same digest wherever it has seen the same. */
#include "proto/catalog.h"
#include "tests/proto/suite.h"

static const struct catalog_options small = { .topics_max = 20, .publishers_max = 4 };

/* A catalog and the message that comes next. */
struct bed {
    struct catalog *c;
    struct batch_header batch;
    uint64_t next_seq;
};

static enum catalog_verdict apply_from(struct bed *bed, uint32_t publisher, uint32_t topic,
                                       const void *payload, size_t length)
{
    struct message m = { .seq = bed->next_seq,
                         .topic = topic,
                         .publisher = publisher,
                         .length = (uint32_t)length,
                         .payload = payload };
    bed->batch.first_seq = m.seq;
    bed->next_seq++;
    return catalog_apply(bed->c, &m, &bed->batch);
}

static enum catalog_verdict apply(struct bed *bed, uint32_t topic, const void *payload,
                                  size_t length)
{
    return apply_from(bed, 0, topic, payload, length);
}

static enum catalog_verdict add_topic(struct bed *bed, const char *path)
{
    return apply(bed, TOPIC_TOPIC, path, strlen(path));
}

static enum catalog_verdict add_join(struct bed *bed, uint32_t id, uint32_t incarnation,
                                     const char *identity)
{
    uint8_t payload[SYS_PAYLOAD_MAX];
    struct sys_join join = { .nonce = 1000 + incarnation,
                             .publisher = id,
                             .incarnation = incarnation };
    strcpy(join.identity, identity);
    size_t length = sys_join_encode(&join, payload, sizeof payload);
    ck_assert_uint_ne(length, 0);
    return apply(bed, TOPIC_JOIN, payload, length);
}

static enum catalog_verdict add_genesis(struct bed *bed, uint32_t version)
{
    uint8_t payload[SYS_PAYLOAD_MAX];
    struct sys_genesis g = { .stream = SUITE_STREAM,
                             .protocol_version = version,
                             .members = { .seq = 1, .count = 1, .stores = { 11 } } };
    size_t length = sys_genesis_encode(&g, payload, sizeof payload);
    ck_assert_uint_ne(length, 0);
    return apply(bed, TOPIC_GENESIS, payload, length);
}

static struct bed bed_open(const struct catalog_options *options)
{
    struct bed bed = { .c = catalog_create(options),
                       .batch = { .stream = SUITE_STREAM },
                       .next_seq = 1 };
    ck_assert_ptr_nonnull(bed.c);
    return bed;
}

static struct bed bed_begun(void)
{
    struct bed bed = bed_open(&small);
    ck_assert_int_eq(add_genesis(&bed, WIRE_VERSION), CATALOG_OK);
    return bed;
}

START_TEST(genesis_comes_first_and_once)
{
    struct bed bed = bed_open(NULL);
    ck_assert_ptr_null(catalog_genesis(bed.c));
    ck_assert_uint_eq(catalog_epochs(bed.c)->count, 0);
    bed.next_seq = 2;
    ck_assert_int_eq(add_genesis(&bed, WIRE_VERSION), CATALOG_MALFORMED);
    bed.next_seq = 1;
    bed.batch.epoch.number = 1;
    ck_assert_int_eq(add_genesis(&bed, WIRE_VERSION), CATALOG_MALFORMED);
    bed.next_seq = 1;
    bed.batch.epoch.number = 0;
    bed.batch.stream++;
    ck_assert_int_eq(add_genesis(&bed, WIRE_VERSION), CATALOG_MALFORMED);
    bed.next_seq = 1;
    bed.batch.stream--;
    ck_assert_int_eq(add_genesis(&bed, WIRE_VERSION + 1), CATALOG_OTHER_PROTOCOL);
    ck_assert_ptr_null(catalog_genesis(bed.c));
    bed.next_seq = 1;
    ck_assert_int_eq(add_genesis(&bed, WIRE_VERSION), CATALOG_OK);
    ck_assert_uint_eq(catalog_genesis(bed.c)->stream, SUITE_STREAM);
    ck_assert_uint_eq(catalog_members(bed.c)->stores[0], 11);
    ck_assert_uint_eq(catalog_epochs(bed.c)->count, 1);
    ck_assert_uint_eq(catalog_epochs(bed.c)->entries[0].first_seq, 1);
    bed.next_seq = 1;
    ck_assert_int_eq(add_genesis(&bed, WIRE_VERSION), CATALOG_MALFORMED);
    catalog_destroy(bed.c);
}
END_TEST

START_TEST(epochs_begin_with_their_record)
{
    struct bed bed = bed_begun();
    uint8_t payload[SYS_PAYLOAD_MAX];
    struct sys_epoch e = {
        .epoch = { 7, 1 }, .adopted = { { 0, 0 }, 1 }, .digest = { 5, 6 }, .how = SYS_EPOCH_STARTED
    };
    size_t length = sys_epoch_encode(&e, payload, sizeof payload);
    bed.batch.epoch = e.epoch;
    bed.batch.before = e.digest;

    bed.batch.before.low++;
    ck_assert_int_eq(apply(&bed, TOPIC_EPOCH, payload, length), CATALOG_MALFORMED);
    bed.next_seq = 2;
    bed.batch.before.low--;
    bed.batch.epoch.candidate++;
    ck_assert_int_eq(apply(&bed, TOPIC_EPOCH, payload, length), CATALOG_MALFORMED);
    bed.batch.epoch.candidate--;
    bed.next_seq = 3;
    ck_assert_int_eq(apply(&bed, TOPIC_EPOCH, payload, length), CATALOG_MALFORMED);
    struct message second = {
        .seq = 2, .topic = TOPIC_EPOCH, .length = (uint32_t)length, .payload = payload
    };
    bed.batch.first_seq = 1;
    ck_assert_int_eq(catalog_apply(bed.c, &second, &bed.batch), CATALOG_MALFORMED);
    ck_assert_uint_eq(catalog_epochs(bed.c)->count, 1);

    bed.next_seq = 2;
    ck_assert_int_eq(apply(&bed, TOPIC_EPOCH, payload, length), CATALOG_OK);
    const struct epoch_table *t = catalog_epochs(bed.c);
    ck_assert_uint_eq(t->count, 2);
    ck_assert_uint_eq(t->entries[1].first_seq, 2);
    ck_assert(epoch_equal(t->entries[1].epoch, e.epoch));
    ck_assert(digest_equal(t->entries[1].before, e.digest));
    catalog_destroy(bed.c);
}
END_TEST

START_TEST(topics_get_ids_in_order)
{
    struct bed bed = bed_begun();
    size_t length;
    ck_assert_uint_eq(catalog_topic_find(bed.c, "/sys/epoch", 10), TOPIC_EPOCH);
    ck_assert_uint_eq(catalog_topic_end(bed.c), TOPIC_FIRST_USER);
    ck_assert(!catalog_topic_exists(bed.c, 0));
    ck_assert(!catalog_topic_exists(bed.c, TOPIC_WORD + 1));
    add_join(&bed, 1, 1, "a");
    ck_assert_int_eq(add_topic(&bed, "/a"), CATALOG_OK);
    ck_assert_int_eq(apply_from(&bed, 1, TOPIC_TOPIC, "/a/b", 4), CATALOG_OK);
    ck_assert_int_eq(add_topic(&bed, "/a"), CATALOG_OK); /* exists: nothing changes */
    ck_assert_uint_eq(catalog_topic_end(bed.c), 18);
    ck_assert_uint_eq(catalog_topic_find(bed.c, "/a", 2), 16);
    ck_assert_uint_eq(catalog_topic_find(bed.c, "/a/b", 4), 17);
    ck_assert_uint_eq(catalog_topic_find(bed.c, "/b", 2), 0);
    ck_assert_uint_eq(catalog_topic_find(bed.c, "", 0), 0);
    ck_assert_mem_eq(catalog_topic_path(bed.c, 17, &length), "/a/b", 4);
    ck_assert_uint_eq(length, 4);
    ck_assert_ptr_null(catalog_topic_path(bed.c, 18, &length));
    ck_assert_int_eq(add_topic(&bed, "/a/"), CATALOG_MALFORMED);
    ck_assert_int_eq(add_topic(&bed, ""), CATALOG_MALFORMED);
    ck_assert_int_eq(add_topic(&bed, "/sys"), CATALOG_MALFORMED);
    ck_assert_int_eq(add_topic(&bed, "/sys/epoch"), CATALOG_MALFORMED);
    ck_assert_int_eq(add_topic(&bed, "/sys/new"), CATALOG_MALFORMED);
    ck_assert_int_eq(add_topic(&bed, "/system"), CATALOG_OK);
    ck_assert_int_eq(add_topic(&bed, "/d"), CATALOG_OK);
    ck_assert_int_eq(add_topic(&bed, "/e"), CATALOG_FULL);
    ck_assert_int_eq(add_topic(&bed, "/d"), CATALOG_OK);
    ck_assert_uint_eq(catalog_topic_end(bed.c), 20);
    ck_assert_int_eq((int)catalog_refuses_topic(bed.c, 1, "/e", 2), REJECT_FULL);
    ck_assert_int_eq((int)catalog_refuses_topic(bed.c, 1, "/a", 2), 0);
    ck_assert_int_eq((int)catalog_refuses_topic(bed.c, 1, "/sys/x", 6), REJECT_NOT_PERMITTED);
    ck_assert_int_eq((int)catalog_refuses_topic(bed.c, 1, "x", 1), REJECT_BAD_PATH);
    catalog_destroy(bed.c);
}
END_TEST

START_TEST(below_sys_digest_topics_are_publishers)
{
    const struct catalog_options options = { .topics_max = 18, .publishers_max = 4 };
    struct bed bed = bed_open(&options);
    ck_assert_int_eq(add_genesis(&bed, WIRE_VERSION), CATALOG_OK);
    add_join(&bed, 1, 1, "a");
    const char *const refused[] = { "/sys", "/sys/digest", "/sys/digests", "/sys/digests/a",
                                    "/sys/a/digest" };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        ck_assert_int_eq((int)catalog_refuses_topic(bed.c, 1, refused[i], strlen(refused[i])),
                         REJECT_NOT_PERMITTED);
        ck_assert_int_eq(add_topic(&bed, refused[i]), CATALOG_MALFORMED);
    }
    ck_assert_int_eq((int)catalog_refuses_topic(bed.c, 1, "/sys/digest/", 12), REJECT_BAD_PATH);
    ck_assert_int_eq((int)catalog_refuses_topic(bed.c, 1, "/sys/digest/a", 13), 0);
    ck_assert_int_eq(apply_from(&bed, 1, TOPIC_TOPIC, "/sys/digest/a", 13), CATALOG_OK);
    ck_assert_uint_eq(catalog_topic_find(bed.c, "/sys/digest/a", 13), TOPIC_FIRST_USER);
    ck_assert_int_eq((int)catalog_refuses(bed.c, 1, TOPIC_FIRST_USER), 0);
    ck_assert_int_eq(add_topic(&bed, "/sys/digest/a/b"), CATALOG_OK);
    ck_assert_int_eq((int)catalog_refuses_topic(bed.c, 1, "/sys/digest/c", 13), REJECT_FULL);
    catalog_destroy(bed.c);
}
END_TEST

START_TEST(path_memory_runs_out_before_ids_do)
{
    const struct catalog_options options = { .topics_max = 64, .publishers_max = 4 };
    struct bed bed = bed_open(&options);
    char path[TOPIC_PATH_MAX + 1];
    memset(path, 'p', sizeof path);
    path[0] = '/';
    uint32_t added = 0;
    enum catalog_verdict verdict = CATALOG_OK;
    for (int i = 0; i < 48 && verdict == CATALOG_OK; i++) {
        path[1] = (char)('0' + i);
        if (topic_path_check(path, TOPIC_PATH_MAX) != NULL)
            continue;
        verdict = apply(&bed, TOPIC_TOPIC, path, TOPIC_PATH_MAX);
        added += verdict == CATALOG_OK;
    }
    ck_assert_int_eq(verdict, CATALOG_FULL);
    ck_assert_uint_gt(added, 5);
    ck_assert_uint_eq(catalog_topic_end(bed.c), TOPIC_FIRST_USER + added);
    ck_assert_int_eq(add_topic(&bed, "/s"), CATALOG_OK); /* a short one still fits */
    catalog_destroy(bed.c);
}
END_TEST

START_TEST(joins_compare_and_set)
{
    struct bed bed = bed_begun();
    ck_assert_ptr_null(catalog_publisher(bed.c, 0));
    ck_assert_ptr_null(catalog_publisher(bed.c, 1));
    ck_assert_int_eq(add_join(&bed, 2, 1, "a"), CATALOG_MALFORMED); /* not the next id */
    ck_assert_int_eq(add_join(&bed, 1, 2, "a"), CATALOG_MALFORMED); /* not the first */
    ck_assert_int_eq(add_join(&bed, 1, 1, "a"), CATALOG_OK);
    ck_assert_int_eq(add_join(&bed, 1, 1, "a"), CATALOG_MALFORMED); /* has it */
    ck_assert_int_eq(add_join(&bed, 1, 3, "a"), CATALOG_MALFORMED);
    ck_assert_int_eq(add_join(&bed, 2, 2, "a"), CATALOG_MALFORMED); /* another id */
    ck_assert_int_eq(add_join(&bed, 1, 1, "b"), CATALOG_MALFORMED); /* taken */
    uint64_t seq = bed.next_seq;
    ck_assert_int_eq(add_join(&bed, 1, 2, "a"), CATALOG_OK);
    const struct catalog_publisher *p = catalog_publisher(bed.c, 1);
    ck_assert_uint_eq(p->incarnation, 2);
    ck_assert_uint_eq(p->nonce, 1002);
    ck_assert_uint_eq(p->join_seq, seq);
    ck_assert_str_eq(p->identity, "a");
    ck_assert_int_eq(add_join(&bed, 2, 1, "b"), CATALOG_OK);
    ck_assert_int_eq(add_join(&bed, 3, 1, "c"), CATALOG_OK);
    ck_assert_int_eq(add_join(&bed, 4, 1, "d"), CATALOG_FULL);
    ck_assert_uint_eq(catalog_publisher_end(bed.c), 4);
    ck_assert_uint_eq(catalog_publisher_find(bed.c, "c"), 3);
    ck_assert_uint_eq(catalog_publisher_find(bed.c, "d"), 0);
    catalog_destroy(bed.c);
}
END_TEST

START_TEST(permissions)
{
    struct bed bed = bed_begun();
    add_join(&bed, 1, 1, "a");
    add_topic(&bed, "/a");
    ck_assert_int_eq((int)catalog_refuses(bed.c, 1, 16), 0);
    ck_assert_int_eq((int)catalog_refuses(bed.c, 1, 17), REJECT_NO_TOPIC);
    ck_assert_int_eq((int)catalog_refuses(bed.c, 1, 0), REJECT_NO_TOPIC);
    ck_assert_int_eq((int)catalog_refuses(bed.c, 1, UINT32_MAX), REJECT_NO_TOPIC);
    ck_assert_int_eq((int)catalog_refuses(bed.c, 2, 16), REJECT_NOT_PERMITTED);
    for (uint32_t topic = TOPIC_GENESIS; topic <= TOPIC_MEMBER; topic++) {
        ck_assert_int_eq((int)catalog_refuses(bed.c, 0, topic), 0);
        ck_assert_int_eq((int)catalog_refuses(bed.c, 1, topic),
                         topic == TOPIC_TOPIC ? 0 : REJECT_NOT_PERMITTED);
    }
    catalog_destroy(bed.c);
}
END_TEST

/* The hot path's check is the other one, for every publisher and topic of users. */
static void check_writers(const struct catalog *c)
{
    for (uint32_t publisher = 0; publisher < 5; publisher++) {
        struct catalog_writer writer = catalog_writer_of(c, publisher);
        for (uint32_t topic = 0; topic < 40; topic++)
            ck_assert_int_eq(catalog_writer_may(&writer, topic),
                             topic >= TOPIC_FIRST_USER &&
                                 catalog_refuses(c, publisher, topic) == 0);
        ck_assert(!catalog_writer_may(&writer, TOPIC_ID_MAX));
        ck_assert(!catalog_writer_may(&writer, UINT32_MAX));
    }
}

START_TEST(rows_and_regions_say_the_same)
{
    struct bed bed = bed_begun();
    check_writers(bed.c);
    add_join(&bed, 1, 1, "a");
    add_topic(&bed, "/a");
    add_topic(&bed, "/a/b");
    check_writers(bed.c);
    struct bed other = bed_begun();
    add_topic(&other, "/another");
    catalog_copy(other.c, bed.c);
    check_writers(other.c);
    catalog_reset(other.c);
    check_writers(other.c);
    struct catalog_writer writer = catalog_writer_of(other.c, 0);
    ck_assert(!catalog_writer_may(&writer, TOPIC_FIRST_USER));
    catalog_destroy(bed.c);
    catalog_destroy(other.c);
}
END_TEST

static enum catalog_verdict add_session(struct bed *bed, const char *name, uint64_t protocol,
                                        uint64_t catalog)
{
    uint8_t payload[SYS_PAYLOAD_MAX];
    struct sys_session s = { .protocol_version = WIRE_VERSION,
                             .protocol_digest = protocol,
                             .catalog_digest = catalog };
    strcpy(s.name, name);
    size_t length = sys_session_encode(&s, payload, sizeof payload);
    return apply(bed, TOPIC_SESSION, payload, length);
}

START_TEST(sessions_name_protocol_and_catalog)
{
    struct bed bed = bed_begun();
    ck_assert_str_eq(catalog_session(bed.c), "");
    uint64_t digest = catalog_digest(bed.c);
    ck_assert_int_eq(add_session(&bed, "s", protocol_digest() + 1, digest), CATALOG_OTHER_PROTOCOL);
    ck_assert_int_eq(add_session(&bed, "s", protocol_digest(), digest + 1), CATALOG_DIVERGED);
    ck_assert_str_eq(catalog_session(bed.c), "");
    ck_assert_int_eq(add_session(&bed, "s", protocol_digest(), digest), CATALOG_OK);
    ck_assert_str_eq(catalog_session(bed.c), "s");
    ck_assert_uint_eq(catalog_session_seq(bed.c), bed.next_seq - 1);
    ck_assert_uint_ne(catalog_digest(bed.c), digest);
    catalog_destroy(bed.c);
}
END_TEST

START_TEST(members_change)
{
    struct bed bed = bed_begun();
    uint8_t payload[SYS_PAYLOAD_MAX];
    struct membership m = { .seq = 3, .quorum = 1, .count = 2, .stores = { 11, 12 } };
    size_t length = sys_member_encode(&m, payload, sizeof payload);
    ck_assert_int_eq(apply(&bed, TOPIC_MEMBER, payload, length), CATALOG_MALFORMED); /* seq 2 */
    ck_assert_uint_eq(catalog_members(bed.c)->count, 1);
    ck_assert_int_eq(apply(&bed, TOPIC_MEMBER, payload, length), CATALOG_OK);
    ck_assert_uint_eq(catalog_members(bed.c)->count, 2);
    ck_assert_uint_eq(catalog_members(bed.c)->seq, 3);
    catalog_destroy(bed.c);
}
END_TEST

START_TEST(what_is_malformed_changes_nothing)
{
    struct bed bed = bed_begun();
    add_join(&bed, 1, 1, "a");
    uint64_t before = catalog_digest(bed.c);
    for (uint32_t topic = TOPIC_GENESIS; topic < TOPIC_FIRST_USER; topic++) {
        bool ignored = topic == TOPIC_REJECT || topic == TOPIC_CLOCK || topic == TOPIC_EDGE ||
                       topic > TOPIC_WORD;
        ck_assert_int_eq(apply(&bed, topic, "rubbish", 7),
                         ignored ? CATALOG_IGNORED : CATALOG_MALFORMED);
    }
    ck_assert_int_eq(apply(&bed, TOPIC_FIRST_USER, "/x", 2), CATALOG_IGNORED);
    struct message in_run = { .seq = 5,
                              .topic = TOPIC_TOPIC,
                              .publisher = 1,
                              .length = 2,
                              .flags = MESSAGE_MORE,
                              .payload = (const uint8_t *)"/x" };
    ck_assert_int_eq(catalog_apply(bed.c, &in_run, &bed.batch), CATALOG_MALFORMED);
    uint8_t payload[SYS_PAYLOAD_MAX];
    struct sys_join join = { .publisher = 2, .incarnation = 1, .identity = "b" };
    size_t length = sys_join_encode(&join, payload, sizeof payload);
    ck_assert_int_eq(apply_from(&bed, 1, TOPIC_JOIN, payload, length), CATALOG_MALFORMED);
    ck_assert_uint_eq(catalog_digest(bed.c), before);
    ck_assert_int_eq(apply(&bed, TOPIC_JOIN, payload, length), CATALOG_OK);
    ck_assert_uint_ne(catalog_digest(bed.c), before);
    catalog_destroy(bed.c);
}
END_TEST

static void feed(struct bed *bed)
{
    add_genesis(bed, WIRE_VERSION);
    add_topic(bed, "/a");
    add_join(bed, 1, 1, "a");
    add_session(bed, "s", protocol_digest(), catalog_digest(bed->c));
    add_topic(bed, "/b");
}

START_TEST(digest_is_of_the_state_alone)
{
    struct bed a = bed_open(NULL);
    struct bed b = bed_open(&small);
    uint64_t empty = catalog_digest(a.c);
    ck_assert_uint_eq(catalog_digest(b.c), empty);
    feed(&a);
    feed(&b);
    uint64_t full = catalog_digest(a.c);
    ck_assert_uint_eq(catalog_digest(b.c), full);

    struct bed c = bed_open(&small);
    add_topic(&c, "/rest/of/another/history");
    catalog_copy(c.c, b.c);
    ck_assert_uint_eq(catalog_digest(c.c), full);
    ck_assert_uint_eq(catalog_topic_find(c.c, "/b", 2), 17);
    ck_assert_uint_eq(catalog_topic_find(c.c, "/rest/of/another/history", 24), 0);
    ck_assert_uint_eq(catalog_publisher_find(c.c, "a"), 1);
    c.next_seq = b.next_seq; /* and both go on alike */
    add_topic(&c, "/c");
    add_topic(&b, "/c");
    ck_assert_uint_eq(catalog_digest(c.c), catalog_digest(b.c));

    catalog_reset(a.c);
    ck_assert_uint_eq(catalog_digest(a.c), empty);
    ck_assert_uint_eq(catalog_topic_find(a.c, "/a", 2), 0);
    ck_assert_uint_eq(catalog_publisher_find(a.c, "a"), 0);
    a.next_seq = 1;
    feed(&a);
    ck_assert_uint_eq(catalog_digest(a.c), full);
    catalog_destroy(a.c);
    catalog_destroy(b.c);
    catalog_destroy(c.c);
}
END_TEST

START_TEST(options_are_brought_in_range)
{
    struct catalog_options o = catalog_options_resolve(NULL);
    ck_assert_uint_eq(o.topics_max, CATALOG_TOPICS_DEFAULT);
    o = catalog_options_resolve(&(struct catalog_options) { 1, UINT32_MAX });
    ck_assert_uint_eq(o.topics_max, TOPIC_FIRST_USER + 1);
    ck_assert_uint_eq(o.publishers_max, PUBLISHER_ID_MAX + 1);
    ck_assert_uint_gt(catalog_memory(NULL), catalog_memory(&small));
}
END_TEST

SUITE_RUN("catalog", genesis_comes_first_and_once, epochs_begin_with_their_record,
          topics_get_ids_in_order, below_sys_digest_topics_are_publishers,
          path_memory_runs_out_before_ids_do, joins_compare_and_set, permissions,
          rows_and_regions_say_the_same, sessions_name_protocol_and_catalog, members_change,
          what_is_malformed_changes_nothing, digest_is_of_the_state_alone,
          options_are_brought_in_range)
