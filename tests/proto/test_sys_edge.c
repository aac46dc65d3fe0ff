/* Goal: proxies' records survive encoding; what is cut, too long, of no session, or of one kind with
 * another's fields is refused. */
#include "proto/sys_edge.h"
#include "tests/proto/suite.h"

static uint8_t payload[SYS_EDGE_SIZE_MAX];

static bool decode(const uint8_t *bytes, size_t length)
{
    struct sys_edge out;
    return sys_edge_decode(bytes, length, &out);
}

static struct sys_edge login(bool has_key)
{
    struct sys_edge e = { .kind = SYS_EDGE_LOGIN,
                          .session = 77,
                          .has_key = has_key,
                          .ip = 0x7f000001,
                          .port = 4711,
                          .agent = "cantus sub" };
    if (has_key)
        memset(e.key, 7, sizeof e.key);
    memset(e.challenge, 9, sizeof e.challenge);
    return e;
}

static struct sys_edge again(const struct sys_edge *in)
{
    struct sys_edge out;
    size_t length = sys_edge_encode(in, payload, sizeof payload);
    suite_cut(payload, length, decode);
    ck_assert(sys_edge_decode(payload, length, &out));
    ck_assert_int_eq((int)out.kind, (int)in->kind);
    ck_assert_uint_eq(out.session, in->session);
    ck_assert_uint_eq(sys_edge_encode(in, payload, length - 1), 0);
    return out;
}

START_TEST(logins)
{
    for (int has_key = 0; has_key < 2; has_key++) {
        struct sys_edge in = login(has_key == 1), out = again(&in);
        ck_assert_int_eq(out.has_key, in.has_key);
        ck_assert_mem_eq(out.key, in.key, sizeof in.key);
        ck_assert_mem_eq(out.challenge, in.challenge, sizeof in.challenge);
        ck_assert_uint_eq(out.ip, in.ip);
        ck_assert_uint_eq(out.port, in.port);
        ck_assert_str_eq(out.agent, in.agent);
    }
}
END_TEST

START_TEST(changes_and_logouts)
{
    struct sys_edge change = { .kind = SYS_EDGE_CHANGE, .session = 1, .change = 3 };
    ck_assert_uint_eq(again(&change).change, 3);
    struct sys_edge logout = { .kind = SYS_EDGE_LOGOUT,
                               .session = UINT64_MAX,
                               .reason = EDGE_CLOSING_SLOW };
    ck_assert_uint_eq(again(&logout).reason, EDGE_CLOSING_SLOW);
    logout.reason = 0;
    ck_assert_uint_eq(again(&logout).reason, 0);
    ck_assert(!again(&logout).has_key);
    logout.has_key = true;
    logout.key[3] = 7;
    ck_assert(again(&logout).has_key && again(&logout).key[3] == 7);
}
END_TEST

START_TEST(presences)
{
    struct sys_edge present = { .kind = SYS_EDGE_PRESENT, .lasts_ms = SYS_EDGE_LASTS_MAX_MS };
    ck_assert_uint_eq(again(&present).lasts_ms, SYS_EDGE_LASTS_MAX_MS);
    present.lasts_ms = 0;
    ck_assert_uint_eq(again(&present).lasts_ms, 0);
    ck_assert(sys_edge_is_presence(payload, 1) && !sys_edge_is_presence(payload, 0));
    payload[0] = SYS_EDGE_LOGIN;
    ck_assert(!sys_edge_is_presence(payload, 1));
}
END_TEST

START_TEST(the_longest_fits)
{
    struct sys_edge in = login(true);
    memset(in.agent, 'a', EDGE_AGENT_MAX);
    size_t length = sys_edge_encode(&in, payload, sizeof payload);
    ck_assert_uint_gt(length, 0);
    ck_assert_uint_le(length, SYS_EDGE_SIZE_MAX);
}
END_TEST

static void refused(struct sys_edge e)
{
    ck_assert_uint_eq(sys_edge_encode(&e, payload, sizeof payload), 0);
}

START_TEST(records_that_are_none)
{
    struct sys_edge e = login(true);
    e.session = 0;
    refused(e);
    e = login(true);
    e.change = 1;
    refused(e);
    e = login(true);
    e.kind = SYS_EDGE_CHANGE;
    e.change = 1;
    refused(e);
    refused((struct sys_edge) { .kind = SYS_EDGE_CHANGE, .session = 1 });
    refused(
        (struct sys_edge) { .kind = SYS_EDGE_LOGOUT, .session = 1, .reason = EDGE_CLOSING_END });
    refused((struct sys_edge) { .session = 1 });
    refused((struct sys_edge) { .kind = SYS_EDGE_PRESENT, .session = 1 });
    refused((struct sys_edge) { .kind = SYS_EDGE_PRESENT, .lasts_ms = SYS_EDGE_LASTS_MAX_MS + 1 });
    refused(
        (struct sys_edge) { .kind = SYS_EDGE_CHANGE, .session = 1, .change = 1, .lasts_ms = 1 });
    static const uint8_t kinds[][10] = { { 0, 1 }, { 5, 1 }, { 3, 1, 0, 0, 0, 0, 0, 0, 0, 99 } };
    for (uint32_t i = 0; i < 3; i++) {
        struct sys_edge out;
        ck_assert(!sys_edge_decode(kinds[i], sizeof kinds[i], &out));
    }
}
END_TEST

SUITE_RUN("sys_edge", logins, changes_and_logouts, presences, the_longest_fits,
          records_that_are_none)
