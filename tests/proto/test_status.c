/* Goal: a status comes back through its protobuf form, fits its maximum at its fullest, and neither
 * cut, damaged nor oversized ones pass for it. */
#include "proto/status.h"
#include "tests/proto/suite.h"

static struct status in;
static struct status out;
static uint8_t bytes[STATUS_SIZE_MAX];

static void fill(void)
{
    memset(&in, 0, sizeof in);
    memset(in.role, 'r', sizeof in.role - 1);
    memset(in.state, 's', sizeof in.state - 1);
    memset(in.session, 'n', SESSION_NAME_MAX);
    in.stream = UINT64_MAX;
    in.epoch.candidate = UINT64_MAX; /* by field: the structs are compared whole */
    in.epoch.number = UINT32_MAX;
    in.epoch_first_seq = in.tip = in.stable = UINT64_MAX;
    in.is_volatile = true;
    in.quorum = UINT32_MAX;
    in.member_count = MEMBERS_MAX;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        in.members[i].store = UINT64_MAX - i;
        in.members[i].durable_seq = UINT64_MAX;
        in.members[i].age_ns = UINT64_MAX;
        in.members[i].current = true;
        in.members[i].full = i % 2 == 0;
    }
    in.publisher_count = STATUS_PUBLISHERS_MAX;
    for (uint32_t i = 0; i < STATUS_PUBLISHERS_MAX; i++) {
        in.publishers[i].id = UINT32_MAX - i;
        in.publishers[i].incarnation = UINT32_MAX;
        in.publishers[i].next_number = UINT64_MAX;
        memset(in.publishers[i].identity, 'i', IDENTITY_MAX);
    }
    in.topic_count = in.epochs_used = UINT32_MAX;
    in.clock_ns = UINT64_MAX;
    for (uint32_t i = 0; i < COUNTER_END; i++)
        in.counters[i] = UINT64_MAX - i;
    in.uptime_ns = in.memory_bytes = in.store = UINT64_MAX;
}

START_TEST(the_fullest_comes_back)
{
    fill();
    size_t length = status_encode(&in, bytes, sizeof bytes);
    ck_assert_uint_gt(length, 0);
    ck_assert(status_decode(bytes, length, &out));
    ck_assert_mem_eq(&in, &out, sizeof in);
    ck_assert_uint_eq(status_encode(&in, bytes, length - 1), 0);
    ck_assert_uint_eq(status_encode(&in, bytes, length), length);
}
END_TEST

START_TEST(the_emptiest_comes_back)
{
    memset(&in, 0, sizeof in);
    size_t length = status_encode(&in, bytes, sizeof bytes);
    ck_assert_uint_gt(length, 0);
    ck_assert(status_decode(bytes, length, &out));
    ck_assert_mem_eq(&in, &out, sizeof in);
}
END_TEST

START_TEST(more_publishers_than_are_listed)
{
    fill();
    in.publisher_count = 100000;
    size_t length = status_encode(&in, bytes, sizeof bytes);
    ck_assert(status_decode(bytes, length, &out));
    ck_assert_mem_eq(&in, &out, sizeof in);
}
END_TEST

START_TEST(what_is_out_of_bounds_is_not_encoded)
{
    fill();
    in.member_count = MEMBERS_MAX + 1;
    ck_assert_uint_eq(status_encode(&in, bytes, sizeof bytes), 0);
    fill();
    in.role[sizeof in.role - 1] = 'r';
    ck_assert_uint_eq(status_encode(&in, bytes, sizeof bytes), 0);
    fill();
    in.publishers[63].identity[IDENTITY_MAX] = 'i';
    ck_assert_uint_eq(status_encode(&in, bytes, sizeof bytes), 0);
}
END_TEST

START_TEST(cuts_and_damage_do_no_harm)
{
    fill();
    in.member_count = 2;
    in.publisher_count = 2;
    size_t length = status_encode(&in, bytes, sizeof bytes);
    ck_assert(status_decode(bytes, length, &out));
    for (size_t shorter = 0; shorter < length; shorter++) {
        uint8_t *cut = suite_exact(bytes, shorter);
        ck_assert(!status_decode(cut, shorter, &out));
        ck_assert_uint_eq(out.stream, 0); /* outputs are reset */
        free(cut);
    }
    for (size_t at = 0; at < length; at++) {
        bytes[at] ^= 0xff; /* protobuf has no checksum: it may decode, within bounds */
        if (status_decode(bytes, length, &out))
            ck_assert_uint_le(out.member_count, MEMBERS_MAX);
        bytes[at] ^= 0xff;
    }
}
END_TEST

START_TEST(lists_that_are_too_long_are_refused)
{
    memset(&in, 0, sizeof in);
    size_t length = status_encode(&in, bytes, sizeof bytes);
    const uint8_t member[] = { 10 << 3 | 2, 17,     1 << 3 | 1, 1,      0, 0,      0, 0,      0, 0,
                               0,           2 << 3, 0,          3 << 3, 0, 4 << 3, 0, 5 << 3, 0 };
    for (int count = 1; length + sizeof member <= sizeof bytes; count++) {
        memcpy(bytes + length, member, sizeof member);
        length += sizeof member;
        ck_assert_int_eq(status_decode(bytes, length, &out), count <= MEMBERS_MAX);
        if (count == 100)
            break;
    }
    static const uint8_t large[STATUS_SIZE_MAX + 1];
    ck_assert(!status_decode(large, sizeof large, &out));
}
END_TEST

SUITE_RUN("status", the_fullest_comes_back, the_emptiest_comes_back,
          more_publishers_than_are_listed, what_is_out_of_bounds_is_not_encoded,
          cuts_and_damage_do_no_harm, lists_that_are_too_long_are_refused)
