/* Another proxy goes on with the very same bytes. A client reads at one proxy while the stream is written, slow
 * at times, live and behind in turns; one at stable while the history forks above the watermark, one at sequenced
 * while it does not. Then another proxy, with another name, secret and clock and other limits, follows the same
 * log from its beginning, and a client that asks it for the same is sent what the first was, byte for byte. That
 * it would be found is shown with a proxy that puts its own clock into what it tells. */
#include "rig.h"

enum { ACTIONS = 3000, BYTES_MIN = 20000 };

static uint64_t state;

static uint32_t draw(uint32_t below)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(state >> 33) % below;
}

/* ---- the stream ------------------------------------------------------------------------------ */

static void say(struct rig *r)
{
    static const char *const topics[] = { "/a", "/a/x", "/a/y", "/b/x", "/b/y", "/c" };
    static char text[2000];
    memset(text, 's', sizeof text);
    text[draw(8) == 0 ? draw(1200) : draw(60)] = '\0';
    rig_say(r, topics[draw(6)], text);
}

static void say_group(struct rig *r)
{
    uint32_t topic = rig_topic(r, "/a/x"), count = 2 + draw(4);
    uint32_t id = catalog_publisher_find(r->leader.catalog, "other");
    uint64_t number = id != 0 ? ledger_next(&r->leader.ledger, id) : 0;
    for (uint32_t i = 0; id != 0 && i < count; i++)
        rig_emit(r, topic, id, number + i, i + 1 < count ? MESSAGE_MORE : 0, "part", 4);
}

/* They end a block, and change nothing for whoever reads here: rights of another key, of one that nothing names,
 * and of his own elsewhere. */
static void administer(struct rig *r)
{
    struct rig_key own = rig_key(2), other = rig_key(9), unknown = rig_key(7);
    switch (draw(4)) {
    case 0:
        rig_grant(r, &other, ACCESS_READ, "/a");
        break;
    case 1:
        rig_revoke(r, &other, ACCESS_READ, "/a");
        break;
    case 2:
        rig_revoke(r, &unknown, ACCESS_READ, "/a");
        break;
    default:
        rig_grant(r, draw(2) == 0 ? &own : NULL, ACCESS_READ, "/z");
        break;
    }
}

static void write_some(struct rig *r, bool forks)
{
    struct leader *l = &r->leader;
    switch (draw(40)) {
    case 0:
        administer(r);
        break;
    case 1:
    case 2:
        l->timestamp_ns += draw(700) * MS;
        rig_emit(r, TOPIC_CLOCK, 0, 0, 0, NULL, 0);
        break;
    case 3:
        say_group(r);
        break;
    case 4:
        if (forks && draw(4) == 0)
            rig_fork(r, l->stable + draw((uint32_t)(rig_tip(r) - l->stable) + 1));
        break;
    default:
        l->timestamp_ns += draw(3) * MS;
        say(r);
        break;
    }
    if (draw(6) == 0)
        l->stable += draw((uint32_t)(rig_tip(r) - l->stable) + 1);
}

/* ---- the client ------------------------------------------------------------------------------ */

/* From here on what it gets is compared. */
static size_t subscribe(struct rig *r, uint32_t c, enum edge_level level, struct position from)
{
    static const uint8_t subtrees[] = "\x02/a\x04/b/x";
    uint8_t frame[128];
    struct edge_subscribe s = { .level = level,
                                .from = EDGE_FROM_POSITION,
                                .position = from,
                                .tick_ms = 1000,
                                .subtrees = { 2, subtrees, sizeof subtrees - 1 } };
    size_t begin = r->streams[c - 1].out_length;
    rig_write(r, c, frame, edge_subscribe_encode(&s, frame, sizeof frame));
    return begin;
}

static void be_slow(struct rig_stream *s)
{
    s->deaf = draw(3) == 0;
    s->room = draw(2) == 0 ? 0 : 8000 + draw(20000);
}

static struct proxy_options options_of(uint32_t which)
{
    struct proxy_options o;
    proxy_options_default(&o);
    o.sessions_max = 16;
    o.recent_bytes = 8 << 20;
    o.view_bytes = which == 0 ? 4 << 20 : 8 << 20;
    o.lag_bytes_max = which == 0 ? 20000 : 1 << 20;
    o.relay_bytes = 4 << 20;
    return o;
}

/* True: they are the same. */
static bool compare(uint64_t seed, bool forks, enum edge_level level, uint32_t sabotage)
{
    struct proxy_options o = options_of(0);
    o.sabotage = sabotage;
    struct rig *r = rig_new_with(&o, false);
    struct rig_key key = rig_key(2), elsewhere = rig_key(9);
    state = seed;
    rig_grant(r, &key, ACCESS_READ, "/a");
    rig_grant(r, &key, ACCESS_READ, "/b");
    rig_grant(r, &elsewhere, ACCESS_READ, "/z");
    rig_run(r);
    uint32_t c = rig_login(r, &key);
    r->leader.hold_stable = true;
    r->leader.stable = rig_tip(r);
    struct position from = { .epoch = r->leader.epoch, .seq = rig_tip(r) };
    size_t begin = subscribe(r, c, level, from);
    for (uint32_t i = 0; i < ACTIONS; i++) {
        write_some(r, forks);
        if (draw(50) == 0)
            be_slow(&r->streams[c - 1]);
        if (draw(3) == 0)
            rig_round(r);
        if (draw(60) == 0)
            rig_pass(r, draw(200) * MS);
    }
    r->streams[c - 1].deaf = false;
    r->streams[c - 1].room = 0;
    r->leader.stable = rig_tip(r);
    rig_emit(r, TOPIC_CLOCK, 0, 0, 0, NULL, 0); /* it says so */
    rig_pass(r, SECOND);
    ck_assert(r->streams[c - 1].open);
    ck_assert_uint_eq(proxy_stable(r->proxy), rig_tip(r) - 1);
    size_t length = r->streams[c - 1].out_length - begin;
    ck_assert_uint_gt(length, BYTES_MIN);

    proxy_destroy(r->proxy);
    o = options_of(1);
    o.stream = r->options.stream;
    o.catalog = r->options.catalog;
    snprintf(o.name, sizeof o.name, "p2");
    memset(o.secret, 6, sizeof o.secret);
    r->now.mono_ns += 12345;
    r->now.wall_ns += 777 * SECOND;
    r->leader.log_delivered = 0;
    r->leader.hold_stable = false;
    r->proxy = proxy_create(&o, &r->leader.port, r->now);
    ck_assert_ptr_nonnull(r->proxy);
    r->streams[c - 1].open = false;
    rig_run(r);
    uint32_t d = rig_login(r, &key);
    size_t other = subscribe(r, d, level, from);
    rig_pass(r, SECOND);
    const uint8_t *first = r->streams[c - 1].out + begin, *second = r->streams[d - 1].out + other;
    bool same =
        r->streams[d - 1].out_length - other >= length && memcmp(first, second, length) == 0;
    rig_free(r);
    return same;
}

START_TEST(another_proxy_sends_the_same_bytes_at_stable_whatever_forks_above)
{
    ck_assert(compare((uint64_t)_i * 7919 + 1, true, EDGE_STABLE, 0));
}
END_TEST

START_TEST(another_proxy_sends_the_same_bytes_at_sequenced)
{
    ck_assert(compare((uint64_t)_i * 104729 + 1, false, EDGE_SEQUENCED, 0));
}
END_TEST

START_TEST(what_is_of_the_proxys_own_is_found)
{
    static const uint32_t sabotages[] = { PROXY_OWN_CLOCK, PROXY_SKIPS_A_MATCH };
    uint32_t sabotage = sabotages[_i];
    ck_assert(!compare(1, false, EDGE_SEQUENCED, sabotage));
    ck_assert(!compare(1, true, EDGE_STABLE, sabotage));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_same");
    TCase *all = tcase_create("same");
    const char *seeds = getenv("PROXY_SEEDS");
    int count = seeds != NULL ? atoi(seeds) : 6;
    tcase_add_loop_test(all, another_proxy_sends_the_same_bytes_at_stable_whatever_forks_above, 0,
                        count);
    tcase_add_loop_test(all, another_proxy_sends_the_same_bytes_at_sequenced, 0, count);
    tcase_add_loop_test(all, what_is_of_the_proxys_own_is_found, 0, 2);
    suite_add_tcase(suite, all);
    return rig_suite(suite);
}
