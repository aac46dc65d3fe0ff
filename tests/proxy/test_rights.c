/* Goal: views whose principals may read the same are encoded once, and nobody notices, whatever is granted and
 * revoked. Method: views of several keys in one table, as in a proxy, next to a table for each key alone, where
 * nothing can be shared; the same messages are offered to all. First by hand: what is shared, split and merged,
 * while its readers have everything and while they lag. Then at random, with keys, groups, regions, forks and
 * readers that are slow or lose their place: each byte that a reader is given must be the one that its key's own
 * table gives, and what is encoded must be as many editions as there are different rights. With a table that does
 * not split what it shares, that must be noticed. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/sys_access.h"
#include "proxy/core.h"
#include "proxy/view.h"

enum {
    STREAM = 5,
    KEYS = 6,
    TOPICS = 9,
    FILTERS = 5,
    READERS = 24,
    BYTES = 8 << 20,
    ROUNDS = 8000,
    LAG = 1 << 20,
    BEGIN = 1000 /* where a reader begins to count */
};

static const char *const paths[TOPICS] = { "/a/t",   "/a/x/t", "/a/x/y/t", "/a/z/t", "/b/t",
                                           "/b/x/t", "/c/t",   "/c/d/t",   "/e" };
static const char *const granted[] = { "/",    "/a", "/a/x", "/a/x/y", "/a/z",       "/b", "/b/x",
                                       "/c/d", "/e", "/sys", "/f",     "/sys/grant", "/c" };
static const char *const filters[FILTERS] = { "/", "/a", "/a/x", "/b", "/sys" };

static struct catalog *catalog, *saved;
static struct recent *recent;
static struct views *shared, *alone[KEYS];
static uint64_t seq, saved_seq, state;
static const char *fault;                   /* what was wrong; NULL: nothing */
static uint8_t keys[KEYS][ACCESS_KEY_SIZE]; /* the first is the administrator's */

/* In the shared table, and the same in that of its key. */
struct reader {
    struct view_reader place, own;
    uint32_t view, own_view;
    uint32_t key, filter;
    bool open, joined, lost, slow;
    uint8_t *expected;
    size_t length, taken;
};
static struct reader readers[READERS];

static uint32_t draw(uint32_t below)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(state >> 33) % below;
}

/* ---- the stream ------------------------------------------------------------------------------ */

static struct run_message apply(uint32_t topic, uint32_t publisher, const void *payload,
                                size_t length)
{
    struct run_message m = { .first_seq = ++seq, .fragments = 1 };
    m.message = (struct message) { .seq = seq,
                                   .timestamp_ns = seq * 1000,
                                   .topic = topic,
                                   .publisher = publisher,
                                   .publisher_seq = publisher != 0 ? seq : 0,
                                   .length = (uint32_t)length,
                                   .payload = payload };
    struct batch_header batch = { .stream = STREAM, .first_seq = seq };
    enum catalog_verdict verdict = catalog_apply(catalog, &m.message, &batch);
    ck_assert(verdict == CATALOG_OK || verdict == CATALOG_IGNORED);
    return m;
}

/* Before there are views. */
static void begin_with(uint32_t topic, const void *payload, size_t length)
{
    struct run_message m = apply(topic, 0, payload, length);
    recent_push(recent, &m, 0);
}

static void say(uint32_t topic, uint32_t publisher, const void *payload, size_t length)
{
    struct run_message m = apply(topic, publisher, payload, length);
    views_message(shared, &m, 0);
    for (uint32_t k = 0; k < KEYS; k++)
        views_message(alone[k], &m, 0);
    recent_push(recent, &m, 0);
}

static void say_on(uint32_t topic, size_t length)
{
    static uint8_t payload[MESSAGE_PAYLOAD_MAX];
    memset(payload, (int)seq, length);
    say(TOPIC_FIRST_USER + topic, 0, payload, length);
}

static void grant(uint32_t who, const char *subtree, bool revoke)
{
    uint8_t payload[SYS_ACCESS_SIZE_MAX];
    struct sys_grant g = { .rights = ACCESS_READ, .revoke = revoke };
    snprintf(g.subtree, sizeof g.subtree, "%s", subtree);
    g.whom.who = who == 0 ? ACCESS_ANYONE : who < KEYS ? ACCESS_KEY : ACCESS_GROUP;
    if (g.whom.who == ACCESS_KEY)
        memcpy(g.whom.key, keys[who], ACCESS_KEY_SIZE);
    if (g.whom.who == ACCESS_GROUP)
        snprintf(g.whom.group, sizeof g.whom.group, "team%u", who - KEYS);
    say(TOPIC_GRANT, 1, payload, sys_grant_encode(&g, payload, sizeof payload));
}

static void member(uint32_t group, uint32_t key, bool remove)
{
    uint8_t payload[SYS_ACCESS_SIZE_MAX];
    struct sys_group g = { .remove = remove };
    snprintf(g.group, sizeof g.group, "team%u", group);
    memcpy(g.key, keys[key], ACCESS_KEY_SIZE);
    say(TOPIC_GROUP, 1, payload, sys_group_encode(&g, payload, sizeof payload));
}

static uint32_t principal_of(uint32_t key)
{
    return access_principal_of(catalog_access(catalog), keys[key]);
}

/* ---- set-up ---------------------------------------------------------------------------------- */

static struct reader *reader_of(struct view_reader *place)
{
    return (struct reader *)(void *)((uint8_t *)place - offsetof(struct reader, place));
}

static void losing(void *ctx, struct view_reader *place)
{
    ck_assert_ptr_null(ctx); /* the shared table */
    reader_of(place)->lost = true;
}

static void moved(void *ctx, struct view_reader *place)
{
    if (ctx == NULL) /* nothing of it is different to whoever is in it */
        ck_assert_uint_eq(view_end(shared, place), view_end(shared, place));
}

static struct views *table(uint32_t sabotage, void *ctx)
{
    struct views_options o = { .views_max = 64,
                               .subtrees_max = 128,
                               .topics_max = 1024,
                               .bytes_max = 16 << 20,
                               .lag_bytes_max = LAG,
                               .sabotage = sabotage };
    struct views *v = views_create(&o, catalog, recent, losing, moved, ctx);
    ck_assert_ptr_nonnull(v);
    return v;
}

static void begin(uint32_t sabotage)
{
    uint8_t payload[SYS_PAYLOAD_MAX];
    struct catalog_options options = { .topics_max = 1024, .publishers_max = 16 };
    catalog = catalog_create(&options);
    saved = catalog_create(&options);
    recent = recent_create(8 << 20);
    seq = saved_seq = 0;
    fault = NULL;
    memset(readers, 0, sizeof readers);
    for (uint32_t k = 0; k < KEYS; k++)
        memset(keys[k], (int)(20 + k), ACCESS_KEY_SIZE);
    struct sys_genesis g = { .stream = STREAM,
                             .protocol_version = WIRE_VERSION,
                             .members = { .seq = 1, .count = 1, .stores = { 11 } } };
    memcpy(g.admin_key, keys[0], sizeof g.admin_key);
    begin_with(TOPIC_GENESIS, payload, sys_genesis_encode(&g, payload, sizeof payload));
    struct sys_join join = { .nonce = 1, .publisher = 1, .incarnation = 1 };
    char admin[ACCESS_KEY_TEXT + 1];
    access_key_write(keys[0], admin);
    snprintf(join.identity, sizeof join.identity, "@%s:cantus", admin);
    begin_with(TOPIC_JOIN, payload, sys_join_encode(&join, payload, sizeof payload));
    for (uint32_t i = 0; i < TOPICS; i++)
        begin_with(TOPIC_TOPIC, paths[i], strlen(paths[i]));
    shared = table(sabotage, NULL);
    for (uint32_t k = 0; k < KEYS; k++)
        alone[k] = table(0, alone);
    for (uint32_t k = 1; k < KEYS; k++) { /* principals of the same numbers on every history */
        member(0, k, false);
        ck_assert_uint_eq(principal_of(k), ACCESS_PRINCIPAL_FIRST + k - 1);
    }
}

static void setup(void)
{
    begin(0);
}

static void teardown(void)
{
    for (uint32_t i = 0; i < READERS; i++)
        free(readers[i].expected);
    views_destroy(shared);
    for (uint32_t k = 0; k < KEYS; k++)
        views_destroy(alone[k]);
    recent_destroy(recent);
    catalog_destroy(catalog);
    catalog_destroy(saved);
}

/* ---- readers --------------------------------------------------------------------------------- */

static uint32_t open_in(struct views *v, uint32_t key, uint32_t filter)
{
    uint8_t bytes[64];
    size_t length = strlen(filters[filter]);
    struct edge_subtrees s = { .count = 1, .at = bytes, .length = length + 1 };
    bytes[0] = (uint8_t)length;
    memcpy(bytes + 1, filters[filter], length);
    uint32_t view = views_open(v, principal_of(key), &s);
    ck_assert_uint_ne(view, VIEW_NONE);
    return view;
}

static void join(struct reader *r)
{
    const struct encoder *a = view_encoder(shared, r->view);
    const struct encoder *b = view_encoder(alone[r->key], r->own_view);
    if (views_block(shared).ended || a == NULL || b == NULL)
        return; /* as readers do: with the next block */
    if (!encoder_equal(a, b))
        fault = "they begin with different names";
    view_join(shared, r->view, &r->place, BEGIN);
    view_join(alone[r->key], r->own_view, &r->own, 0);
    r->length = r->taken = 0;
    r->joined = true;
    r->lost = false;
}

static struct reader *open_reader(uint32_t i, uint32_t key, uint32_t filter)
{
    struct reader *r = &readers[i];
    uint8_t *expected = r->expected != NULL ? r->expected : malloc(BYTES);
    *r = (struct reader) { .key = key, .filter = filter, .open = true, .expected = expected };
    ck_assert_ptr_nonnull(expected);
    r->view = open_in(shared, key, filter);
    r->own_view = open_in(alone[key], key, filter);
    join(r);
    return r;
}

static void leave(struct reader *r)
{
    if (r->joined && !r->lost)
        view_leave(shared, &r->place);
    if (r->joined)
        view_leave(alone[r->key], &r->own);
    r->joined = false;
}

static void close_reader(struct reader *r)
{
    leave(r);
    views_close(shared, r->view);
    views_close(alone[r->key], r->own_view);
    r->open = false;
}

/* What its key's own table has for it. */
static void expect(struct reader *r)
{
    const uint8_t *bytes;
    size_t length;
    while (r->joined && (length = view_read(alone[r->key], &r->own, false, &bytes)) > 0) {
        ck_assert_uint_le(r->length + length, BYTES);
        memcpy(r->expected + r->length, bytes, length);
        r->length += length;
        view_advance(alone[r->key], &r->own, length);
    }
}

/* At most so many bytes of the shared one. */
static void take(struct reader *r, size_t most)
{
    const uint8_t *bytes;
    size_t length;
    expect(r);
    while (most > 0 && fault == NULL && r->joined && !r->lost &&
           (length = view_read(shared, &r->place, false, &bytes)) > 0) {
        length = length < most ? length : most;
        if (r->taken + length > r->length || memcmp(r->expected + r->taken, bytes, length) != 0)
            fault = "other bytes";
        r->taken += length;
        most -= length;
        view_advance(shared, &r->place, length);
    }
}

static void take_all(struct reader *r)
{
    take(r, SIZE_MAX);
    if (r->joined && !r->lost && r->taken != r->length)
        fault = "not all of the bytes";
    if (r->joined && !r->lost && view_end(shared, &r->place) != BEGIN + r->taken)
        fault = "another end";
}

static struct views_counts counts(void)
{
    return views_counts(shared);
}

/* ---- by hand --------------------------------------------------------------------------------- */

START_TEST(those_of_equal_rights_share)
{
    grant(KEYS, "/a", false);
    say_on(0, 30);
    struct reader *r[5];
    for (uint32_t k = 1; k < KEYS; k++)
        r[k - 1] = open_reader(k, k, 1);
    ck_assert_uint_eq(counts().views, 5);
    ck_assert_uint_eq(counts().editions, 1);
    struct views_counts before = counts();
    for (uint32_t i = 0; i < 100; i++)
        say_on(i % TOPICS, 30);
    ck_assert_uint_eq(counts().matches - before.matches, 45); /* of its four topics in nine */
    ck_assert_uint_eq(counts().written - before.written, 5 * 45u);
    for (uint32_t k = 0; k < 5; k++)
        take_all(r[k]);
    /* What they may do elsewhere does not matter here. */
    for (uint32_t k = 1; k < KEYS; k++)
        grant(k, granted[4 + k], false);
    say_on(0, 30);
    ck_assert_uint_eq(counts().editions, 1);
    ck_assert_uint_eq(counts().split, 0);
    /* The administrator's is its own. */
    open_reader(0, 0, 1);
    ck_assert_uint_eq(counts().editions, 2);
    ck_assert_uint_eq(counts().views, 6);
    for (uint32_t k = 0; k < KEYS; k++)
        close_reader(&readers[k]);
    ck_assert_uint_eq(counts().editions, 0);
    ck_assert_uint_eq(counts().views, 0);
}
END_TEST

/* One is revoked and granted again; _i: its readers lag meanwhile. */
START_TEST(who_is_revoked_is_split_off_and_comes_back)
{
    grant(KEYS, "/a", false);
    grant(5, "/a", false);
    member(0, 5, true);
    say_on(0, 30);
    for (uint32_t k = 1; k < KEYS; k++)
        open_reader(k, k, 1);
    struct reader *r = &readers[5];
    for (uint32_t i = 0; i < 300; i++)
        say_on(i % TOPICS, 1000);
    for (uint32_t k = 1; k < KEYS && _i == 0; k++)
        take_all(&readers[k]);
    if (_i == 1)
        take(r, 50000); /* the others have nothing yet */
    grant(5, "/a", true);
    ck_assert_uint_eq(counts().editions, 2);
    ck_assert_uint_eq(counts().split, 1);
    ck_assert_uint_eq(counts().copied > 0, _i == 1);
    uint64_t end = view_end(shared, &r->place);
    for (uint32_t i = 0; i < 100; i++)
        say_on(i % TOPICS, 1000);
    ck_assert_uint_lt(view_end(shared, &r->place), end + 100); /* the end of the block */
    grant(5, "/a", false);
    say_on(0, 30);
    for (uint32_t i = 0; i < 100; i++)
        say_on(i % TOPICS, 1000);
    for (uint32_t k = 1; k < KEYS; k++)
        take_all(&readers[k]);
    for (uint32_t i = 0; i < 100; i++)
        say_on(i % TOPICS, 1000);
    ck_assert_uint_eq(counts().editions, 1);
    ck_assert_uint_eq(counts().merged, 1);
    for (uint32_t k = 1; k < KEYS; k++)
        take_all(&readers[k]);
    ck_assert_uint_eq(counts().lost, 0);
    ck_assert_uint_eq(counts().chunks, 0);
}
END_TEST

START_TEST(a_group_that_gets_more_moves_as_one)
{
    grant(KEYS, "/a", false);
    say_on(0, 30);
    for (uint32_t k = 1; k < KEYS; k++)
        open_reader(k, k, 0);
    for (uint32_t i = 0; i < 50; i++)
        say_on(i % TOPICS, 1000);
    grant(KEYS, "/b", false); /* to all of them: it is still one */
    ck_assert_uint_eq(counts().editions, 1);
    ck_assert_uint_eq(counts().copied, 0);
    member(0, 3, true);
    member(0, 4, true);
    ck_assert_uint_eq(counts().editions, 3); /* not before the next block */
    for (uint32_t k = 1; k < KEYS; k++)
        take_all(&readers[k]);
    say_on(0, 30);
    ck_assert_uint_eq(counts().editions, 2);
    grant(0, "/", false);
    say_on(0, 30);
    for (uint32_t k = 1; k < KEYS; k++)
        take_all(&readers[k]);
    ck_assert_uint_eq(counts().editions, 1); /* everybody may read everything */
    for (uint32_t i = 0; i < 50; i++)
        say_on(i % TOPICS, 1000);
    for (uint32_t k = 1; k < KEYS; k++)
        take_all(&readers[k]);
}
END_TEST

/* Who would have too much copied loses its place, and nobody else does. */
START_TEST(copies_are_bounded)
{
    grant(KEYS, "/a", false);
    say_on(0, 30);
    for (uint32_t k = 1; k < KEYS; k++)
        open_reader(k, k, 1);
    for (uint32_t i = 0; i < 1000; i++)
        say_on(0, 1000);
    for (uint32_t k = 1; k < KEYS; k++) /* each to rights of its own */
        grant(k, granted[k], false);
    for (uint32_t i = 0; i < 20; i++)
        grant(1 + (uint32_t)i % 5, granted[(i + 1) % 5], i % 3 == 0);
    say_on(0, 30);
    ck_assert_uint_le((uint64_t)counts().chunks * VIEW_CHUNK_BYTES, 16 << 20);
    for (uint32_t k = 1; k < KEYS; k++)
        take_all(&readers[k]);
    ck_assert_uint_eq(counts().evicted, 0);
    ck_assert_uint_eq(counts().chunks, 0);
}
END_TEST

/* ---- at random ------------------------------------------------------------------------------- */

static void fork_back(void)
{
    for (uint32_t i = 0; i < READERS; i++)
        leave(&readers[i]);
    catalog_copy(catalog, saved);
    recent_fork(recent, saved_seq);
    seq = saved_seq;
    saved_seq = 0;
    views_fork(shared, seq);
    for (uint32_t k = 0; k < KEYS; k++)
        views_fork(alone[k], seq);
}

static void administer(void)
{
    if (draw(3) == 0)
        member(draw(2), 1 + draw(KEYS - 1), draw(2) == 0);
    else
        grant(draw(KEYS + 2), granted[draw(sizeof granted / sizeof granted[0])], draw(2) == 0);
}

static void turn(struct reader *r, uint32_t i)
{
    if (!r->open)
        open_reader(i, draw(KEYS), draw(FILTERS));
    else if (draw(12) == 0)
        close_reader(r);
    else if (r->lost || draw(8) == 0)
        leave(r);
    else if (!r->joined)
        join(r);
    r->slow = draw(2) == 0;
}

/* The same rights in the regions of the same filter: the same letters. */
static size_t rights_text(uint32_t key, uint32_t filter, char *out)
{
    const struct access *a = catalog_access(catalog);
    const char *subtree = filters[filter];
    size_t length, count = 0, subtree_length = strlen(subtree);
    uint32_t principal = principal_of(key);
    for (uint32_t r = 0; r < access_region_end(a); r++) {
        const char *path = access_region_path(a, r, &length);
        bool sys = topic_in_subtree(path, length, "/sys", 4);
        bool inside = topic_in_subtree(path, length, subtree, subtree_length) &&
                      !(subtree_length == 1 && sys);
        if (!inside && r != access_region_of(a, subtree, subtree_length))
            continue;
        out[count++] = (access_rights(a, principal, r) & ACCESS_READ) != 0 ? 'r' : '-';
    }
    out[count++] = key == 0 ? 'A' : 'k';
    out[count] = '\0';
    return count;
}

static uint32_t different_rights(void)
{
    char texts[READERS][80];
    uint32_t of[READERS], count = 0;
    for (uint32_t i = 0; i < READERS; i++) {
        if (!readers[i].open)
            continue;
        rights_text(readers[i].key, readers[i].filter, texts[count]);
        of[count] = readers[i].filter;
        uint32_t k = 0;
        while (k < count && (of[k] != of[count] || strcmp(texts[k], texts[count]) != 0))
            k++;
        count += k == count;
    }
    return count;
}

static void run(uint64_t seed)
{
    state = seed;
    uint32_t admin = 6 + draw(40);
    for (uint32_t round = 0; round < ROUNDS && fault == NULL; round++) {
        if (draw(admin) == 0)
            administer();
        else
            say_on(draw(TOPICS), draw(5) == 0 ? draw(1400) : draw(80));
        if (draw(4) == 0) {
            uint32_t i = draw(READERS);
            turn(&readers[i], i);
        }
        struct reader *r = &readers[draw(READERS)];
        take(r, draw(r->slow ? 200 : 100000));
        if (draw(300) == 0 && saved_seq == 0) {
            catalog_copy(saved, catalog);
            saved_seq = seq;
        } else if (draw(100) == 0 && saved_seq != 0) {
            fork_back();
        }
        if (draw(200) != 0)
            continue;
        say_on(0, 10);
        for (uint32_t i = 0; i < READERS; i++)
            take_all(&readers[i]);
        if (different_rights() != counts().editions)
            fault = "not one edition for each of the different rights";
    }
    for (uint32_t i = 0; i < READERS; i++)
        take_all(&readers[i]);
}

START_TEST(nobody_notices_that_it_shares)
{
    const char *given = getenv("CANTUS_SEED");
    run(given != NULL ? strtoull(given, NULL, 10) : 1 + (uint64_t)_i);
    ck_assert_ptr_null(fault);
    ck_assert_uint_gt(counts().split, 10); /* it all did happen */
    ck_assert_uint_gt(counts().merged, 5);
    ck_assert_uint_gt(counts().copied, 0);
    ck_assert_uint_eq(counts().flushed, 0);
}
END_TEST

START_TEST(it_is_noticed_if_nothing_is_split)
{
    begin(PROXY_SHARES_REVOKED);
    run(1);
    ck_assert_ptr_nonnull(fault);
    teardown();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_rights");
    TCase *tcase = tcase_create("rights");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, those_of_equal_rights_share);
    tcase_add_loop_test(tcase, who_is_revoked_is_split_off_and_comes_back, 0, 2);
    tcase_add_test(tcase, a_group_that_gets_more_moves_as_one);
    tcase_add_test(tcase, copies_are_bounded);
    tcase_add_loop_test(tcase, nobody_notices_that_it_shares, 0,
                        getenv("CANTUS_SEED") != NULL ? 1 : 20);
    suite_add_tcase(suite, tcase);
    tcase = tcase_create("sabotage");
    tcase_add_test(tcase, it_is_noticed_if_nothing_is_split);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
