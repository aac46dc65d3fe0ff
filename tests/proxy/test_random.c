/* Clients that do anything, in any order, while rights, limits and the watermark change and the history forks:
 * nothing asserts, what the leader sequences is lawful, the proxy's catalog is the leader's at every rest, and when
 * all have gone nothing of theirs is left. Each seed is a run of its own. */
#include "rig.h"

enum { KEYS = 4, CLIENTS = 12, ACTIONS = 1500 };

static uint64_t state;

static uint32_t draw(uint32_t below)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(state >> 33) % below;
}

struct actor {
    uint32_t c; /* 0: not connected */
    const struct rig_key *key;
    uint32_t publisher; /* the last that was opened */
    uint64_t number;    /* the next that it should take */
};

static struct rig_key keys[KEYS];
static struct actor actors[CLIENTS];

static const char *topic(void)
{
    static const char *const topics[] = { "/a/x",       "/a/y",       "/b/x",    "/c",
                                          "/sys/grant", "/sys/topic", "/a/new1", "/a/new2" };
    return topics[draw(8)];
}

static const char *subtree(void)
{
    static const char *const subtrees[] = { "/", "/a", "/b", "/a/x", "/sys", "/nowhere" };
    return subtrees[draw(6)];
}

static void connect_one(struct rig *r, struct actor *a)
{
    const struct rig_key *key = draw(5) == 0 ? NULL : &keys[draw(KEYS)];
    *a = (struct actor) { .c = rig_connect(r, draw(3)), .key = key };
    rig_hello(r, a->c, key);
    rig_run(r);
    if (key == NULL || !r->streams[a->c - 1].open)
        return;
    struct edge_welcome w = rig_welcome(r, a->c);
    if (draw(10) == 0)
        w.challenge[0] ^= 1;
    rig_prove(r, a->c, key, &w);
}

static struct position place(const struct rig *r)
{
    struct position p = { .epoch = r->leader.epoch, .seq = rig_tip(r) };
    if (draw(3) == 0)
        return (struct position) { 0 };
    if (draw(4) == 0)
        p.seq -= draw(5) < p.seq ? draw(5) : 0;
    if (draw(8) == 0)
        p.epoch.number -= p.epoch.number > 1;
    return p;
}

/* What the leader waits for: as good a guess as any. */
static uint64_t next_of(const struct rig *r, uint32_t publisher)
{
    return ledger_next(&r->leader.ledger, publisher);
}

static void publish(struct rig *r, struct actor *a)
{
    static uint8_t payload[6000];
    const char *to = topic();
    struct edge_publish p = { .publisher = a->publisher != 0 ? a->publisher : 1 + draw(9),
                              .number = draw(6) == 0 ? 1 + draw(5) : a->number,
                              .position = place(r),
                              .flags = draw(12) == 0 ? MESSAGE_MORE : 0,
                              .topic = to,
                              .topic_length = strlen(to),
                              .conditional = draw(6) == 0,
                              .condition_topic = "/a/x",
                              .condition_topic_length = 4,
                              .condition_after = draw(200),
                              .payload = payload,
                              .length = draw(8) == 0 ? draw(6000) : draw(30) };
    p.number += p.number == 0;
    p.number = a->publisher != 0 && draw(3) != 0 ? next_of(r, a->publisher) : p.number;
    rig_publish_at(r, a->c, &p);
    a->number = p.number + 1 + p.length / 1400;
}

/* What its client hears of its publisher. */
static void listen(struct rig *r, struct actor *a)
{
    size_t length, from = r->streams[a->c - 1].read;
    const uint8_t *body = rig_next(r, a->c, EDGE_OPENED, &length);
    struct edge_opened o;
    if (body == NULL) {
        r->streams[a->c - 1].read = from;
        return;
    }
    ck_assert(edge_opened_decode(body, length, &o));
    a->publisher = o.publisher;
    a->number = o.last_number + 1;
}

static void act(struct rig *r, struct actor *a)
{
    char name[8];
    struct rig_stream *s = &r->streams[a->c - 1];
    switch (draw(16)) {
    case 0:
        if (draw(4) != 0)
            break;
        rig_hang_up(r, a->c);
        a->c = 0;
        break;
    case 1:
    case 2:
        rig_subscribe(r, a->c, subtree(), draw(2) == 0 ? EDGE_FROM_TIP : EDGE_FROM_POSITION);
        break;
    case 3:
        rig_change(r, a->c, draw(2) == 0 ? subtree() : NULL, draw(2) == 0 ? subtree() : NULL);
        break;
    case 4:
    case 5:
        snprintf(name, sizeof name, "p%u", draw(2));
        rig_open(r, a->c, name, 1 + draw(3), draw(3));
        break;
    case 6:
        s->deaf = draw(4) == 0;
        s->room = draw(2) == 0 ? 0 : 5000;
        break;
    case 7:
        rig_write(r, a->c, "\x01\0\0\0\x07", 5);
        break;
    case 8:
        if (draw(20) == 0)
            rig_write(r, a->c, "garbage", 7);
        break;
    default:
        publish(r, a);
        break;
    }
}

static void administer(struct rig *r)
{
    struct limit_whom whom = { .who = LIMIT_EVERYONE };
    const struct limit limit = { .messages_per_s = draw(2) * 50,
                                 .inflight_bytes = draw(2) * 5000,
                                 .subscriptions = draw(2) * 3,
                                 .burst_ms = draw(300) };
    const struct rig_key *key = draw(4) == 0 ? NULL : &keys[draw(KEYS)];
    switch (draw(6)) {
    case 0:
    case 1:
        rig_grant(r, key, (uint8_t)(1 + draw(3)), subtree());
        break;
    case 2:
        rig_revoke(r, key, (uint8_t)(1 + draw(3)), subtree());
        break;
    case 3:
        rig_limit(r, &whom, &limit);
        break;
    case 4:
        r->leader.stable += draw((uint32_t)(rig_tip(r) - r->leader.stable) + 1);
        break;
    default:
        rig_fork(r, r->leader.stable + draw((uint32_t)(rig_tip(r) - r->leader.stable) + 1));
        break;
    }
}

static void all_leave(struct rig *r)
{
    uint64_t gauges[COUNTER_END] = { 0 };
    for (uint32_t c = 1; c <= r->stream_count; c++)
        if (r->streams[c - 1].open)
            rig_hang_up(r, c);
    r->leader.hold_stable = false;
    r->leader.stable = rig_tip(r);
    r->leader.timestamp_ns += SECOND;
    rig_pass(r, 2 * SECOND);
    proxy_gauges(r->proxy, gauges);
    ck_assert_uint_eq(gauges[COUNTER_SESSIONS], 0);
    ck_assert_uint_eq(gauges[COUNTER_SUBTREES], 0);
    ck_assert_uint_eq(gauges[COUNTER_RELAYS], 0);
    ck_assert_uint_eq(gauges[COUNTER_RELAY_USED], 0);
    ck_assert_uint_eq(gauges[COUNTER_VIEWS], 0);
}

START_TEST(whatever_clients_do)
{
    struct rig *r = rig_new();
    state = (uint64_t)_i * 7919 + 1;
    memset(actors, 0, sizeof actors);
    for (uint32_t i = 0; i < KEYS; i++) {
        keys[i] = rig_key((uint8_t)(2 + i));
        rig_grant(r, &keys[i], ACCESS_READ | ACCESS_WRITE, i % 2 == 0 ? "/a" : "/");
    }
    rig_topic(r, "/a/x");
    rig_run(r);
    r->leader.hold_stable = true;
    for (uint32_t i = 0; i < ACTIONS; i++) {
        struct actor *a = &actors[draw(CLIENTS)];
        if (a->c != 0 && !r->streams[a->c - 1].open)
            a->c = 0;
        if (draw(25) == 0)
            administer(r);
        else if (a->c == 0)
            connect_one(r, a);
        else
            act(r, a);
        if (draw(3) == 0)
            r->leader.stable += draw((uint32_t)(rig_tip(r) - r->leader.stable) + 1);
        if (draw(3) == 0)
            rig_round(r);
        if (draw(40) == 0)
            rig_pass(r, draw(5) == 0 ? draw(8000) * MS : draw(100) * MS);
        if (draw(10) == 0) {
            rig_run(r);
            ck_assert_uint_eq(catalog_digest(proxy_catalog(r->proxy)),
                              catalog_digest(r->leader.catalog));
            ck_assert_msg(!proxy_failed(r->proxy), "%s", proxy_state(r->proxy));
        }
        if (a->c != 0)
            listen(r, a);
    }
    ck_assert_uint_gt(rig_counter(r, COUNTER_RELAYED), 10);
    all_leave(r);
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_random");
    TCase *all = tcase_create("random");
    const char *seeds = getenv("PROXY_SEEDS");
    tcase_add_loop_test(all, whatever_clients_do, 0, seeds != NULL ? atoi(seeds) : 6);
    suite_add_tcase(suite, all);
    return rig_suite(suite);
}
