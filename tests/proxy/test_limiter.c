/* Goal: an account gets what its limit says and not more, over any time; who comes back finds its bucket as it
 * left it; counts never drift. The catalog's limits are set as messages. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/limiter.h"

static const uint64_t second = UINT64_C(1000000000);
static struct catalog *catalog;
static struct limiter *limiter;
static uint64_t seq;
static uint32_t admin;

static void apply(uint32_t topic, uint32_t publisher, const uint8_t *payload, size_t length)
{
    struct batch_header batch = { .stream = 5 };
    struct message m = { .seq = ++seq,
                         .topic = topic,
                         .publisher = publisher,
                         .length = (uint32_t)length,
                         .payload = payload };
    batch.first_seq = m.seq;
    ck_assert_int_eq(catalog_apply(catalog, &m, &batch), CATALOG_OK);
}

static void setup(void)
{
    uint8_t payload[SYS_PAYLOAD_MAX];
    char key[ACCESS_KEY_TEXT + 1];
    seq = 0;
    catalog = catalog_create(NULL);
    limiter = limiter_create(64, catalog, 4711);
    ck_assert(catalog != NULL && limiter != NULL);
    limiter_share(limiter, 1, 0);
    struct sys_genesis g = { .stream = 5,
                             .protocol_version = WIRE_VERSION,
                             .members = { .seq = 1, .count = 1, .stores = { 11 } } };
    memset(g.admin_key, 9, sizeof g.admin_key);
    apply(TOPIC_GENESIS, 0, payload, sys_genesis_encode(&g, payload, sizeof payload));
    struct sys_join join = { .nonce = 1, .publisher = 1, .incarnation = 1 };
    access_key_write(g.admin_key, key);
    snprintf(join.identity, sizeof join.identity, "@%s:a", key);
    apply(TOPIC_JOIN, 0, payload, sys_join_encode(&join, payload, sizeof payload));
    admin = 1;
}

static void teardown(void)
{
    limiter_destroy(limiter);
    catalog_destroy(catalog);
}

static void set(enum limit_who who, uint8_t key, const char *subtree, struct limit limit)
{
    uint8_t payload[SYS_ACCESS_SIZE_MAX];
    struct sys_limit l = { .whom = { .who = who }, .limit = limit };
    if (who == LIMIT_KEY)
        memset(l.whom.key, key, sizeof l.whom.key);
    if (who == LIMIT_SUBTREE)
        snprintf(l.whom.subtree, sizeof l.whom.subtree, "%s", subtree);
    apply(TOPIC_LIMIT, admin, payload, sys_limit_encode(&l, payload, sizeof payload));
}

static uint32_t enter(uint8_t byte)
{
    uint8_t key[ACCESS_KEY_SIZE];
    memset(key, byte, sizeof key);
    return limiter_enter(limiter, byte != 0 ? key : NULL, 3);
}

/* As much as passes from `from` on, in so long. */
static uint32_t passes(uint32_t account, const char *topic, uint32_t bytes, uint64_t from,
                       uint64_t for_ns)
{
    uint32_t count = 0;
    for (uint64_t now = from; now < from + for_ns;) {
        uint64_t at = limiter_take(limiter, account, topic, strlen(topic), bytes, now);
        ck_assert(at == 0 || at > now);
        if (at == 0)
            count++;
        else
            now = at;
        ck_assert_uint_lt(count, 100000);
    }
    return count;
}

START_TEST(without_a_limit_everything_passes)
{
    uint32_t a = enter(1);
    for (int i = 0; i < 1000; i++)
        ck_assert_uint_eq(limiter_take(limiter, a, "/a", 2, 1 << 20, second), 0);
}
END_TEST

START_TEST(rates_hold_over_time_and_a_burst_is_what_was_not_used)
{
    set(LIMIT_EVERYONE, 0, NULL, (struct limit) { .messages_per_s = 100, .burst_ms = 200 });
    uint32_t a = enter(1), b = enter(2);
    uint32_t first = passes(a, "/a", 10, second, second);
    ck_assert_uint_ge(first, 119);
    ck_assert_uint_le(first, 122);
    uint32_t then = passes(a, "/a", 10, 2 * second, second); /* no pause: no burst */
    ck_assert_uint_ge(then, 99);
    ck_assert_uint_le(then, 101);
    ck_assert_uint_ge(passes(b, "/a", 10, 2 * second, second), 119); /* its own bucket */
}
END_TEST

START_TEST(bytes_count_and_a_large_message_overdraws_once)
{
    set(LIMIT_KEY, 1, NULL, (struct limit) { .bytes_per_s = 1000, .burst_ms = 100 });
    uint32_t a = enter(1);
    ck_assert_uint_eq(limiter_take(limiter, a, "/a", 2, 5000, second), 0);
    uint64_t at = limiter_take(limiter, a, "/a", 2, 1, second);
    ck_assert_uint_eq(at, second + 5 * second - second / 10);
    ck_assert_uint_eq(limiter_take(limiter, a, "/a", 2, 1, at), 0);
    limiter_charge(limiter, a, 1000, at); /* a reject */
    ck_assert_uint_ge(limiter_take(limiter, a, "/a", 2, 1, at), at + second);
}
END_TEST

START_TEST(subtrees_are_for_all_together_and_outlive_other_limits)
{
    set(LIMIT_SUBTREE, 0, "/a", (struct limit) { .messages_per_s = 10 });
    uint32_t a = enter(1), b = enter(2);
    while (limiter_take(limiter, a, "/a/x", 4, 1, second) == 0) {
    }
    ck_assert_uint_ne(limiter_take(limiter, b, "/a/y", 4, 1, second), 0);
    ck_assert_uint_eq(limiter_take(limiter, b, "/ab", 3, 1, second), 0);
    set(LIMIT_SUBTREE, 0, "/0", (struct limit) { .messages_per_s = 1 }); /* all are taken anew */
    ck_assert_uint_ne(limiter_take(limiter, b, "/a/y", 4, 1, second), 0);
}
END_TEST

START_TEST(who_is_no_proxy_of_the_streams_lets_nothing_through_where_there_is_a_limit)
{
    set(LIMIT_SUBTREE, 0, "/a", (struct limit) { .messages_per_s = 10 });
    set(LIMIT_SUBTREE, 0, "/q", (struct limit) { .topics = 10 });
    uint32_t a = enter(1);
    limiter_share(limiter, 0, second);
    ck_assert_uint_gt(limiter_take(limiter, a, "/a/x", 4, 1, second), second);
    ck_assert_uint_eq(limiter_take(limiter, a, "/b", 2, 1, second), 0);
    ck_assert_uint_eq(limiter_take(limiter, a, "/q", 2, 1, second), 0);
    limiter_share(limiter, 2, 2 * second);
    ck_assert_uint_eq(limiter_take(limiter, a, "/a/x", 4, 1, 2 * second), 0);
    ck_assert_uint_eq(limiter_take(limiter, a, "/a/x", 4, 1, 2 * second), 2 * second + second / 5);
}
END_TEST

/* Three, of which at random times each is there or not: over any of these times together no more than one would,
 * and nearly all of it. Sabotaged: each takes itself for the only one. */
static void three(bool sabotage, uint32_t *count, uint32_t *starts)
{
    enum { MANY = 3, STEPS = 60000, STEP_NS = 1000000 };
    struct limiter *all[MANY] = { limiter };
    bool there[MANY] = { true, false, false };
    uint32_t account[MANY] = { enter(1) }, present = 1;
    uint64_t noise = 7;
    uint8_t key[ACCESS_KEY_SIZE] = { 3 };
    for (uint32_t i = 1; i < MANY; i++) {
        all[i] = limiter_create(64, catalog, i);
        account[i] = limiter_enter(all[i], key, 3);
    }
    *count = 0;
    *starts = 1;
    for (uint64_t now = second; now < second + (uint64_t)STEPS * STEP_NS; now += STEP_NS) {
        noise = noise * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint32_t which = (uint32_t)(noise >> 33) % MANY;
        if (noise >> 56 == 0 && present > (there[which] ? 1 : 0)) {
            there[which] = !there[which];
            present += there[which] ? 1 : UINT32_MAX;
            *starts += there[which];
        }
        for (uint32_t i = 0; i < MANY; i++) {
            limiter_share(all[i], !there[i] ? 0 : sabotage ? 1 : present, now);
            while (limiter_take(all[i], account[i], "/a/x", 4, 100, now) == 0)
                ++*count;
        }
    }
    for (uint32_t i = 1; i < MANY; i++)
        limiter_destroy(all[i]);
}

START_TEST(however_many_divide_it_and_come_and_go_together_it_is_one_limit)
{
    enum { SECONDS = 60, RATE = 200, BURST = 20 };
    uint32_t count, starts;
    set(LIMIT_SUBTREE, 0, "/a", (struct limit) { .messages_per_s = RATE });
    three(false, &count, &starts);
    ck_assert_uint_gt(starts, 20);
    ck_assert_uint_le(count, SECONDS * RATE + BURST + starts);
    ck_assert_uint_ge(count, SECONDS * RATE * 9 / 10);
    teardown();
    setup();
    set(LIMIT_SUBTREE, 0, "/a", (struct limit) { .messages_per_s = RATE });
    three(true, &count, &starts);
    ck_assert_uint_gt(count, SECONDS * RATE + BURST + starts);
}
END_TEST

START_TEST(a_part_of_a_small_limit_is_no_less)
{
    set(LIMIT_SUBTREE, 0, "/a", (struct limit) { .messages_per_s = 1, .bytes_per_s = 100 });
    uint32_t a = enter(1);
    limiter_share(limiter, PRESENCE_MAX, second); /* one in 64 s each */
    uint64_t at = 100 * second;
    ck_assert_uint_eq(limiter_take(limiter, a, "/a", 2, 1 << 20, at),
                      0); /* larger than all of it */
    uint64_t next = limiter_take(limiter, a, "/a", 2, 1, at);
    ck_assert_uint_eq(next, at + (UINT64_C(1) << 20) * PRESENCE_MAX * second / 100 - second / 10);
    limiter_share(limiter, 1, at); /* the debt is the same, and is paid for sooner */
    next = limiter_take(limiter, a, "/a", 2, 1, at);
    ck_assert_uint_le(next, at + (UINT64_C(1) << 20) * second / 100);
    ck_assert_uint_ge(next, at + (UINT64_C(1) << 20) * second / 100 - second);
    limiter_share(limiter, 2, at); /* of a debt of centuries nothing overflows */
    for (int i = 0; i < 20; i++)
        limiter_share(limiter, i % 2 == 0 ? PRESENCE_MAX : 1, at);
    ck_assert_uint_gt(limiter_take(limiter, a, "/a", 2, 1, at), at);
}
END_TEST

START_TEST(a_bucket_outlives_its_last_session)
{
    set(LIMIT_EVERYONE, 0, NULL, (struct limit) { .messages_per_s = 1 });
    uint32_t a = enter(1);
    ck_assert_uint_eq(limiter_take(limiter, a, "/a", 2, 1, second), 0);
    uint64_t at = limiter_take(limiter, a, "/a", 2, 1, second);
    ck_assert_uint_ne(at, 0);
    limiter_leave(limiter, a);
    a = enter(1);
    ck_assert_uint_eq(limiter_take(limiter, a, "/a", 2, 1, second), at);
}
END_TEST

START_TEST(accounts_are_found_by_key_and_the_oldest_without_a_session_goes)
{
    ck_assert_uint_eq(enter(1), enter(1));
    ck_assert_uint_ne(enter(1), enter(2));
    ck_assert_uint_eq(enter(1), LIMITER_NONE); /* three are its share */
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 5000; i++) { /* more than there are accounts */
            uint8_t key[ACCESS_KEY_SIZE] = { 77 };
            memcpy(key + 1, &i, sizeof i);
            uint32_t a = limiter_enter(limiter, key, 1);
            ck_assert_uint_ne(a, LIMITER_NONE);
            ck_assert_uint_eq(limiter_enter(limiter, key, 1), LIMITER_NONE);
            limiter_leave(limiter, a);
        }
    }
    ck_assert_uint_eq(enter(1), LIMITER_NONE); /* it was there all the time */
}
END_TEST

START_TEST(the_catalogs_limit_of_connections_goes_before_the_options)
{
    set(LIMIT_KEY, 1, NULL, (struct limit) { .connections = 1 });
    ck_assert_uint_ne(enter(1), LIMITER_NONE);
    ck_assert_uint_eq(enter(1), LIMITER_NONE);
    set(LIMIT_KEY, 1, NULL, (struct limit) { .connections = 5 });
    for (int i = 0; i < 4; i++)
        ck_assert_uint_ne(enter(1), LIMITER_NONE);
    ck_assert_uint_eq(enter(1), LIMITER_NONE);
}
END_TEST

START_TEST(quotas_are_what_the_limit_says_as_it_is_now)
{
    set(LIMIT_EVERYONE, 0, NULL, (struct limit) { .subscriptions = 10 });
    uint32_t a = enter(1);
    ck_assert(limiter_may_have(limiter, a, LIMITER_SUBSCRIPTIONS, 10, 0));
    ck_assert(!limiter_may_have(limiter, a, LIMITER_SUBSCRIPTIONS, 11, 0));
    ck_assert(limiter_may_have(limiter, a, LIMITER_SUBSCRIPTIONS, 6, 5));
    ck_assert(!limiter_may_have(limiter, a, LIMITER_SET_BYTES, 6, 5));
    limiter_add(limiter, a, LIMITER_SUBSCRIPTIONS, 10);
    ck_assert(!limiter_may_have(limiter, a, LIMITER_SUBSCRIPTIONS, 1, 0));
    set(LIMIT_KEY, 1, NULL, (struct limit) { .subscriptions = 11 });
    ck_assert(limiter_may_have(limiter, a, LIMITER_SUBSCRIPTIONS, 1, 0));
    limiter_subtract(limiter, a, LIMITER_SUBSCRIPTIONS, 10);
    ck_assert_uint_eq(limiter_has(limiter, a, LIMITER_SUBSCRIPTIONS), 0);
}
END_TEST

START_TEST(addresses_come_and_go)
{
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t ip = 0; ip < 64; ip++)
            ck_assert(limiter_connect(limiter, ip, 2));
        ck_assert(limiter_connect(limiter, 7, 2));
        ck_assert(!limiter_connect(limiter, 7, 2));
        ck_assert(limiter_begin_login(limiter, 7, 1));
        ck_assert(!limiter_begin_login(limiter, 7, 1));
        limiter_end_login(limiter, 7);
        limiter_disconnect(limiter, 7);
        for (uint32_t ip = 0; ip < 64; ip++)
            limiter_disconnect(limiter, (ip * 5) % 64);
    }
}
END_TEST

/* How many are let through from `from` on, in so long. */
static uint32_t records(uint32_t ip, uint32_t account, uint64_t from, uint64_t for_ns)
{
    uint32_t count = 0;
    for (uint64_t now = from; now < from + for_ns;) {
        uint64_t at = account == LIMITER_NONE ? limiter_pace_address(limiter, ip, now)
                                              : limiter_pace_account(limiter, account, now);
        ck_assert(at == 0 || at > now);
        count += at == 0;
        now = at == 0 ? now : at;
        ck_assert_uint_lt(count, 100000);
    }
    return count;
}

START_TEST(records_have_a_pace_that_outlives_connections)
{
    ck_assert(limiter_connect(limiter, 7, 2));
    for (int i = 0; i < 1000; i++)
        ck_assert_uint_eq(limiter_pace_address(limiter, 7, second), 0); /* none is set */
    limiter_set_paces(limiter, (struct limiter_pace) { 10, 50 }, (struct limiter_pace) { 4, 0 });
    ck_assert_uint_eq(records(7, LIMITER_NONE, second, 3 * second), 51 + 29);
    for (uint32_t ip = 1000; ip < 1060; ip++)
        ck_assert(limiter_connect(limiter, ip, 2));
    limiter_disconnect(limiter, 7);
    ck_assert(limiter_connect(limiter, 7, 2));
    ck_assert_uint_le(records(7, LIMITER_NONE, 4 * second, second), 11);
    limiter_disconnect(limiter, 7);
    /* So many others come and go that it is forgotten, and nobody who is connected is. */
    for (uint32_t ip = 2000; ip < 2000 + 64 + 4096; ip++) {
        ck_assert(limiter_connect(limiter, ip, 2));
        limiter_disconnect(limiter, ip);
    }
    ck_assert(limiter_connect(limiter, 7, 2));
    ck_assert_uint_ge(records(7, LIMITER_NONE, 5 * second, second), 51);
    for (uint32_t ip = 1000; ip < 1060; ip++)
        limiter_disconnect(limiter, ip);
    uint32_t a = enter(1);
    ck_assert_uint_eq(records(0, a, second, 2 * second), 1 + 7);
    ck_assert_uint_eq(limiter_pace_account(limiter, enter(0), second), 0);
    ck_assert_uint_eq(limiter_pace_account(limiter, enter(0), second), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_limiter");
    TCase *all = tcase_create("limiter");
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, without_a_limit_everything_passes);
    tcase_add_test(all, rates_hold_over_time_and_a_burst_is_what_was_not_used);
    tcase_add_test(all, bytes_count_and_a_large_message_overdraws_once);
    tcase_add_test(all, subtrees_are_for_all_together_and_outlive_other_limits);
    tcase_add_test(all, who_is_no_proxy_of_the_streams_lets_nothing_through_where_there_is_a_limit);
    tcase_add_test(all, however_many_divide_it_and_come_and_go_together_it_is_one_limit);
    tcase_add_test(all, a_part_of_a_small_limit_is_no_less);
    tcase_add_test(all, a_bucket_outlives_its_last_session);
    tcase_add_test(all, accounts_are_found_by_key_and_the_oldest_without_a_session_goes);
    tcase_add_test(all, the_catalogs_limit_of_connections_goes_before_the_options);
    tcase_add_test(all, quotas_are_what_the_limit_says_as_it_is_now);
    tcase_add_test(all, addresses_come_and_go);
    tcase_add_test(all, records_have_a_pace_that_outlives_connections);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
