/* Goal: what a message costs does not depend on how many subscriptions there are, but on how many want it; views
 * that want the same are one; a view of which everybody has everything holds no memory. Method: 100,000 topics and
 * 10,000 views, and the views' own counts of what they looked at; no time is measured. That the right bytes come
 * out is test_reader's matter. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/view.h"

enum { TOPICS = 100000, VIEWS = 10000, STREAM = 5 };

static struct catalog *catalog;
static struct recent *recent;
static struct views *views;
static uint64_t seq;

static void apply(uint32_t topic, const void *payload, size_t length)
{
    struct batch_header batch = { .stream = STREAM };
    struct message m = {
        .seq = ++seq, .topic = topic, .length = (uint32_t)length, .payload = payload
    };
    batch.first_seq = m.seq;
    ck_assert_int_eq(catalog_apply(catalog, &m, &batch), CATALOG_OK);
}

static void never_losing(void *ctx, struct view_reader *r)
{
    (void)ctx, (void)r;
    ck_abort_msg("nobody is slow here");
}

static void never_moved(void *ctx, struct view_reader *r)
{
    (void)ctx, (void)r;
    ck_abort_msg("nobody's rights change here");
}

static void setup(void)
{
    uint8_t payload[SYS_PAYLOAD_MAX];
    struct catalog_options options = { .topics_max = 131072, .publishers_max = 1024 };
    seq = 0;
    catalog = catalog_create(&options);
    recent = recent_create(4 << 20);
    struct sys_genesis g = { .stream = STREAM,
                             .protocol_version = WIRE_VERSION,
                             .members = { .seq = 1, .count = 1, .stores = { 11 } } };
    apply(TOPIC_GENESIS, payload, sys_genesis_encode(&g, payload, sizeof payload));
    for (uint32_t i = 0; i < TOPICS; i++) {
        char path[40];
        int length = snprintf(path, sizeof path, "/md/v%u/t%u", i % VIEWS, i);
        apply(TOPIC_TOPIC, path, (size_t)length);
    }
    struct views_options o = { .views_max = VIEWS + 16,
                               .subtrees_max = 4 * VIEWS,
                               .topics_max = 131072,
                               .bytes_max = UINT64_C(256) << 20,
                               .lag_bytes_max = 4 << 20 };
    views = views_create(&o, catalog, recent, never_losing, never_moved, NULL);
    ck_assert(catalog != NULL && recent != NULL && views != NULL);
}

static void teardown(void)
{
    views_destroy(views);
    recent_destroy(recent);
    catalog_destroy(catalog);
}

static uint32_t open_view(const char *a, const char *b)
{
    uint8_t bytes[600];
    struct edge_subtrees s = { .count = b != NULL ? 2 : 1, .at = bytes };
    const char *both[] = { a, b };
    for (uint32_t i = 0; i < s.count; i++) {
        size_t length = strlen(both[i]);
        bytes[s.length++] = (uint8_t)length;
        memcpy(bytes + s.length, both[i], length);
        s.length += length;
    }
    return views_open(views, ACCESS_PRINCIPAL_ADMIN, &s);
}

static void offer(uint32_t topic)
{
    static const uint8_t payload[32];
    struct run_message m = { .first_seq = ++seq, .fragments = 1 };
    m.message = (struct message) { .seq = seq,
                                   .timestamp_ns = seq,
                                   .topic = topic,
                                   .length = sizeof payload,
                                   .payload = payload };
    views_message(views, &m, 0);
    recent_push(recent, &m, 0);
}

START_TEST(cost_follows_from_matches)
{
    static uint32_t ids[VIEWS];
    static struct view_reader readers[VIEWS];
    for (uint32_t i = 0; i < VIEWS; i++) {
        char path[40];
        snprintf(path, sizeof path, "/md/v%u", i);
        ids[i] = open_view(path, NULL);
        ck_assert_uint_ne(ids[i], VIEW_NONE);
        view_join(views, ids[i], &readers[i], 0);
    }
    for (uint32_t i = 0; i < TOPICS; i++)
        offer(TOPIC_FIRST_USER + i);
    struct views_counts first = views_counts(views);
    ck_assert_uint_eq(first.lookups, TOPICS);
    ck_assert_uint_eq(first.matches, TOPICS); /* one view each */
    ck_assert_uint_eq(first.computed, VIEWS); /* its ten topics share an interest */
    ck_assert_uint_eq(first.visited, VIEWS);
    ck_assert_uint_eq(first.flushed, 0);
    for (uint32_t i = 0; i < TOPICS; i++)
        offer(TOPIC_FIRST_USER + i);
    struct views_counts second = views_counts(views);
    ck_assert_uint_eq(second.matches, 2 * TOPICS);
    ck_assert_uint_eq(second.computed, first.computed); /* a look-up, nothing else */
    ck_assert_uint_eq(second.visited, first.visited);
    for (uint32_t i = 0; i < VIEWS; i++) {
        const uint8_t *bytes;
        size_t length;
        while ((length = view_read(views, &readers[i], false, &bytes)) > 0)
            view_advance(views, &readers[i], length);
    }
    ck_assert_uint_eq(views_counts(views).chunks, 0);
    for (uint32_t i = 0; i < VIEWS; i++) {
        view_leave(views, &readers[i]);
        views_close(views, ids[i]);
    }
    ck_assert_uint_eq(views_counts(views).views, 0);
}
END_TEST

START_TEST(what_is_equal_is_one)
{
    uint32_t a = open_view("/md", NULL);
    ck_assert_uint_eq(open_view("/md", "/md/v7"), a); /* which lies in it */
    ck_assert_uint_eq(open_view("/md/v7/t7", "/md"), a);
    uint32_t all = open_view("/", NULL);
    ck_assert_uint_ne(all, a);
    ck_assert_uint_eq(open_view("/", "/md"), all);
    uint32_t both = open_view("/", "/sys"); /* which / leaves out */
    ck_assert_uint_ne(both, all);
    ck_assert_uint_eq(open_view("/sys", "/"), both);
    ck_assert_uint_eq(views_counts(views).views, 3);
    ck_assert(view_wants(views, all, TOPIC_FIRST_USER));
    ck_assert(!view_wants(views, all, TOPIC_CLOCK));
    ck_assert(view_wants(views, both, TOPIC_CLOCK));
    ck_assert(!view_wants(views, a, TOPIC_CLOCK));
}
END_TEST

START_TEST(a_message_larger_than_a_chunk_is_whole)
{
    uint32_t id = open_view("/", NULL);
    struct view_reader r;
    uint8_t *payload = malloc(1 << 20), *got = malloc(2 << 20);
    size_t length, total = 0;
    const uint8_t *bytes;
    view_join(views, id, &r, 0);
    for (uint32_t i = 0; i < 1 << 20; i++)
        payload[i] = (uint8_t)(i * 7 + i / 251);
    struct run_message m = { .first_seq = seq + 1, .fragments = 100 };
    m.message = (struct message) { .seq = seq += 100,
                                   .timestamp_ns = 5,
                                   .topic = TOPIC_FIRST_USER,
                                   .length = 1 << 20,
                                   .payload = payload };
    views_message(views, &m, 0);
    while ((length = view_read(views, &r, false, &bytes)) > 0) {
        memcpy(got + total, bytes, length);
        total += length;
        view_advance(views, &r, length);
    }
    struct encoder_unit u = encoder_unit_at(got, total);
    ck_assert_uint_eq(u.length, total);
    ck_assert_uint_eq(u.seq, seq);
    ck_assert_mem_eq(got + total - (1 << 20), payload, 1 << 20);
    ck_assert_uint_eq(views_counts(views).chunks, 0);
    free(payload);
    free(got);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_view");
    TCase *tcase = tcase_create("view");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, cost_follows_from_matches);
    tcase_add_test(tcase, what_is_equal_is_one);
    tcase_add_test(tcase, a_message_larger_than_a_chunk_is_whole);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
