/* Goal: the payloads under /sys come back, their limits hold on both sides, and W and the seal
 * quorum always meet. */
#include "proto/batch.h"
#include "proto/sys.h"
#include "proto/topic.h"
#include "tests/proto/suite.h"

#define DECODER(type, name)                                                                        \
    static bool name##_any(const uint8_t *payload, size_t length)                                  \
    {                                                                                              \
        struct type out;                                                                           \
        return name##_decode(payload, length, &out);                                               \
    }
DECODER(sys_genesis, sys_genesis)
DECODER(sys_epoch, sys_epoch)
DECODER(sys_session, sys_session)
DECODER(sys_join, sys_join)
DECODER(sys_reject, sys_reject)
DECODER(membership, sys_member)
DECODER(sys_digest, sys_digest)

static uint8_t bytes[SYS_PAYLOAD_MAX];

/* Structs are compared whole: both sides were zeroed before they were filled. */
#define ROUND_TRIP(name, in, out, size)                                                            \
    do {                                                                                           \
        size_t length = name##_encode(&(in), bytes, sizeof bytes);                                 \
        ck_assert_uint_eq(length, size);                                                           \
        for (size_t room = 0; room < length; room++)                                               \
            ck_assert_uint_eq(name##_encode(&(in), bytes, room), 0);                               \
        ck_assert_uint_eq(name##_encode(&(in), bytes, length), length);                            \
        ck_assert(name##_decode(bytes, length, &(out)));                                           \
        ck_assert_mem_eq(&(in), &(out), sizeof(in));                                               \
        suite_cut(bytes, length, name##_any);                                                      \
    } while (0)

#define REFUSED(name, in) ck_assert_uint_eq(name##_encode(&(in), bytes, sizeof bytes), 0)

static void fill_genesis(struct sys_genesis *g)
{
    memset(g, 0, sizeof *g);
    g->stream = SUITE_STREAM;
    g->created_ns = 5;
    g->protocol_version = WIRE_VERSION;
    g->members.seq = 1;
    g->members.quorum = 2;
    g->members.count = 2;
    g->members.stores[0] = 11;
    g->members.stores[1] = 12;
    memset(g->admin_key, 0xaa, sizeof g->admin_key);
}

START_TEST(genesis)
{
    struct sys_genesis in;
    struct sys_genesis out;
    fill_genesis(&in);
    ROUND_TRIP(sys_genesis, in, out, 21 + 32 + 13 + 16);
    in.is_volatile = true; /* with stores */
    REFUSED(sys_genesis, in);
    memset(&in.members, 0, sizeof in.members);
    in.members.seq = 1;
    ROUND_TRIP(sys_genesis, in, out, 21 + 32 + 13);
    in.is_volatile = false; /* without stores */
    REFUSED(sys_genesis, in);
    fill_genesis(&in);
    in.members.seq = 2;
    REFUSED(sys_genesis, in);
    in.members.seq = 1;
    in.stream = 0;
    REFUSED(sys_genesis, in);
}
END_TEST

START_TEST(the_genesis_batch)
{
    struct sys_genesis in;
    struct sys_genesis out;
    struct batch_header h;
    struct message m;
    uint8_t batch[WIRE_DATAGRAM_DEFAULT];
    fill_genesis(&in);
    size_t length = genesis_batch(&in, batch, sizeof batch);
    ck_assert_uint_eq(length, BATCH_HEADER_SIZE + MESSAGE_HEADER_SIZE + 82);
    ck_assert_uint_eq(genesis_batch(&in, batch, length - 1), 0);
    ck_assert_uint_eq(genesis_batch(&in, batch, length), length);
    ck_assert_int_eq(batch_verify(batch, length, SUITE_STREAM, &h), WIRE_OK);
    ck_assert(h.first_seq == 1 && h.count == 1 && h.stable == 0 && h.timestamp_ns == 5);
    ck_assert(h.epoch.number == 0 && h.epoch.candidate == 0);
    ck_assert(digest_equal(h.before, (struct digest) { 0, 0 }));
    struct batch_cursor c = batch_begin(batch, &h);
    ck_assert(batch_next(&c, &m));
    ck_assert(m.topic == TOPIC_GENESIS && m.publisher == 0 && m.publisher_seq == 0);
    ck_assert(sys_genesis_decode(m.payload, m.length, &out));
    ck_assert_mem_eq(&in, &out, sizeof in);
    in.members.count = 0;
    ck_assert_uint_eq(genesis_batch(&in, batch, sizeof batch), 0);
}
END_TEST

static void fill_epoch(struct sys_epoch *e, uint32_t entries)
{
    memset(e, 0, sizeof *e);
    e->epoch = (struct epoch) { 9, 100 };
    e->adopted = (struct position) { { entries == 0 ? 3 : 50 + entries, 50 + entries }, 1000 };
    e->digest = (struct digest) { 1, 2 };
    e->how = SYS_EPOCH_PROMOTED;
    strcpy(e->why, "maintenance");
    e->entry_count = entries;
    for (uint32_t i = 0; i < entries; i++) {
        e->entries[i].epoch = (struct epoch) { 51 + i, 51 + i };
        e->entries[i].first_seq = 10 + i;
        e->entries[i].before = (struct digest) { i, i + 1 };
    }
}

/* Positions have padding, so these are compared field by field. */
static void epoch_round_trip(const struct sys_epoch *in, size_t size)
{
    struct sys_epoch out;
    for (size_t room = 0; room < size; room++)
        ck_assert_uint_eq(sys_epoch_encode(in, bytes, room), 0);
    ck_assert_uint_eq(sys_epoch_encode(in, bytes, size), size);
    suite_cut(bytes, size, sys_epoch_any);
    ck_assert(sys_epoch_decode(bytes, size, &out));
    ck_assert(epoch_equal(in->epoch, out.epoch) && digest_equal(in->digest, out.digest));
    ck_assert_int_eq(position_compare(in->adopted, out.adopted), 0);
    ck_assert_uint_eq(in->how, out.how);
    ck_assert_str_eq(in->why, out.why);
    ck_assert_uint_eq(in->entry_count, out.entry_count);
    for (uint32_t i = 0; i < in->entry_count; i++) {
        ck_assert(epoch_equal(in->entries[i].epoch, out.entries[i].epoch));
        ck_assert_uint_eq(in->entries[i].first_seq, out.entries[i].first_seq);
        ck_assert(digest_equal(in->entries[i].before, out.entries[i].before));
    }
}

START_TEST(epoch_records)
{
    struct sys_epoch in;
    struct sys_epoch out;
    fill_epoch(&in, 0);
    epoch_round_trip(&in, 12 + 20 + 16 + 1 + 12 + 1);
    fill_epoch(&in, EPOCH_RECORD_ENTRIES);
    memset(in.why, 'w', WHY_MAX);
    epoch_round_trip(&in, 12 + 20 + 16 + 1 + 1 + WHY_MAX + 1 + 36 * EPOCH_RECORD_ENTRIES);
    in.entry_count++;
    REFUSED(sys_epoch, in);

#define BAD(statement)                                                                             \
    do {                                                                                           \
        fill_epoch(&in, 3);                                                                        \
        ck_assert_uint_ne(sys_epoch_encode(&in, bytes, sizeof bytes), 0);                          \
        statement;                                                                                 \
        ck_assert_msg(sys_epoch_encode(&in, bytes, sizeof bytes) == 0, "%s", #statement);          \
    } while (0)
    BAD(in.how = 0);
    BAD(in.how = SYS_EPOCH_LEASE + 1);
    BAD(in.adopted.seq = 0);
    BAD(in.adopted.seq = 11);           /* below the last entry's first seq */
    BAD(in.adopted.epoch.number = 100); /* not below the new epoch */
    BAD(in.adopted.epoch.candidate++);  /* not the last entry's */
    BAD(in.entries[0].first_seq = 0);
    BAD(in.entries[1].first_seq = 10);
    BAD(in.entries[1].epoch.number = 51);
#undef BAD
    fill_epoch(&in, 3);
    size_t length = sys_epoch_encode(&in, bytes, sizeof bytes);
    bytes[61] = EPOCH_RECORD_ENTRIES + 1;
    ck_assert(!sys_epoch_decode(bytes, length, &out));
}
END_TEST

START_TEST(sessions)
{
    struct sys_session in = { .protocol_version = 1, .protocol_digest = 2, .catalog_digest = 3 };
    struct sys_session out;
    REFUSED(sys_session, in);
    strcpy(in.name, "monday morning");
    ROUND_TRIP(sys_session, in, out, 1 + 14 + 20);
    memset(in.name, 'n', SESSION_NAME_MAX);
    ROUND_TRIP(sys_session, in, out, 1 + SESSION_NAME_MAX + 20);
    in.name[3] = '\n';
    REFUSED(sys_session, in);
}
END_TEST

START_TEST(join_records)
{
    struct sys_join in;
    struct sys_join out;
    memset(&in, 0, sizeof in);
    in.nonce = 1;
    in.last_publisher_seq = PUBLISHER_SEQ_MAX;
    in.publisher = PUBLISHER_ID_MAX;
    in.incarnation = 4;
    strcpy(in.identity, "p");
    ROUND_TRIP(sys_join, in, out, 24 + 2);
    in.last_publisher_seq++;
    REFUSED(sys_join, in);
    in.last_publisher_seq = 0;
    in.publisher++;
    REFUSED(sys_join, in);
    in.publisher = 0;
    REFUSED(sys_join, in);
    in.publisher = 1;
    in.incarnation = 0;
    REFUSED(sys_join, in);
    in.incarnation = 1;
    ck_assert_uint_ne(sys_join_encode(&in, bytes, sizeof bytes), 0);
    in.identity[0] = '\0';
    REFUSED(sys_join, in);
}
END_TEST

START_TEST(rejects)
{
    struct sys_reject in;
    struct sys_reject out;
    memset(&in, 0, sizeof in);
    in.topic = TOPIC_ID_MAX;
    in.count = 1;
    in.detail = 3;
    for (uint8_t reason = 1; reason < REJECT_END; reason++) {
        in.reason = reason;
        ROUND_TRIP(sys_reject, in, out, 17);
        ck_assert_str_ne(reject_reason_text(reason), "unknown reason");
    }
    in.reason = REJECT_END;
    REFUSED(sys_reject, in);
    in.reason = 0;
    REFUSED(sys_reject, in);
    in.reason = 1;
    in.count = 0;
    REFUSED(sys_reject, in);
    in.count = 1;
    in.topic++;
    REFUSED(sys_reject, in);
    ck_assert_str_eq(reject_reason_text(0), "unknown reason");
    ck_assert_str_eq(reject_reason_text(255), "unknown reason");
}
END_TEST

START_TEST(members)
{
    struct membership in;
    struct membership out;
    memset(&in, 0, sizeof in);
    in.seq = 9;
    REFUSED(sys_member, in);
    in.count = 3;
    for (uint32_t i = 0; i < 3; i++)
        in.stores[i] = i + 1;
    ROUND_TRIP(sys_member, in, out, 13 + 24);
    ck_assert(membership_has(&in, 3));
    ck_assert(!membership_has(&in, 4));
    ck_assert(!membership_has(&in, 0));
}
END_TEST

START_TEST(state_digests)
{
    struct sys_digest in = { .logic_version = UINT32_MAX,
                             .position = { { UINT64_MAX, 3 }, 1 },
                             .digest = UINT64_MAX - 1,
                             .skips = 5 };
    struct sys_digest out;
    for (size_t room = 0; room < SYS_DIGEST_SIZE; room++)
        ck_assert_uint_eq(sys_digest_encode(&in, bytes, room), 0);
    ck_assert_uint_eq(sys_digest_encode(&in, bytes, sizeof bytes), SYS_DIGEST_SIZE);
    ck_assert(sys_digest_decode(bytes, SYS_DIGEST_SIZE, &out));
    suite_cut(bytes, SYS_DIGEST_SIZE, sys_digest_any);
    ck_assert_uint_eq(out.logic_version, in.logic_version);
    ck_assert(epoch_equal(out.position.epoch, in.position.epoch));
    ck_assert_uint_eq(out.position.seq, 1);
    ck_assert_uint_eq(out.digest, in.digest);
    ck_assert_uint_eq(out.skips, 5);
    in.position.seq = 0;
    REFUSED(sys_digest, in);
}
END_TEST

START_TEST(quorums_meet)
{
    struct membership m = { .count = 0, .quorum = 3 };
    ck_assert_uint_eq(membership_stable_quorum(&m), 0);
    ck_assert_uint_eq(membership_seal_quorum(&m), 0);
    for (m.count = 1; m.count <= MEMBERS_MAX; m.count++) {
        for (m.quorum = 0; m.quorum <= MEMBERS_MAX; m.quorum++) {
            uint32_t stable = membership_stable_quorum(&m);
            uint32_t seal = membership_seal_quorum(&m);
            ck_assert_uint_ge(stable, 1);
            ck_assert_uint_le(stable, m.count);
            ck_assert_uint_le(seal, m.count);
            ck_assert_uint_gt(stable + seal, m.count); /* every seal meets every stable set */
            ck_assert_uint_gt(2 * seal, m.count);      /* and every other seal */
            if (m.quorum == 0)
                ck_assert_uint_eq(stable, m.count / 2 + 1);
            else if (m.quorum <= m.count)
                ck_assert_uint_eq(stable, m.quorum);
        }
    }
    m = (struct membership) { .count = 5, .quorum = 1 };
    ck_assert_uint_eq(membership_seal_quorum(&m), 5);
    m.quorum = 5;
    ck_assert_uint_eq(membership_seal_quorum(&m), 3);
}
END_TEST

SUITE_RUN("sys", genesis, the_genesis_batch, epoch_records, sessions, join_records, rejects,
          members, state_digests, quorums_meet)
