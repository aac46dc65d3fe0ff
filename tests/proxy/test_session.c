/* Sessions: from the first byte to the last, by clients that are honest, slow, confused or hostile. Each of the
 * latter must cost a bounded amount, end as is said, and leave everybody else alone: an honest client's round
 * trip is looked at beside each. */
#include "rig.h"

static struct proxy_options small(void)
{
    struct proxy_options o;
    proxy_options_default(&o);
    o.sessions_max = 512;
    o.recent_bytes = o.view_bytes = 8 << 20;
    o.relay_bytes = 32 << 20;
    o.subtrees_max = 65536;
    return o;
}

/* Somebody whose round trips have to work whatever the others do. */
struct honest {
    struct rig_key key;
    uint32_t c;
    struct edge_opened opened;
    uint64_t number;
};

static struct honest honest_new(struct rig *r)
{
    struct honest h = { .key = rig_key(99) };
    rig_grant(r, &h.key, ACCESS_READ | ACCESS_WRITE, "/honest");
    rig_topic(r, "/honest/a");
    h.c = rig_login(r, &h.key);
    h.opened = rig_opened(r, h.c, "h", 5);
    return h;
}

/* Published, and its outcome is there after a few rounds. */
static void honest_goes_on(struct rig *r, struct honest *h)
{
    rig_publish(r, h->c, h->opened.publisher, ++h->number, "/honest/a", "x");
    for (int i = 0; i < 8; i++)
        rig_round(r);
    struct edge_outcome out = rig_outcome(r, h->c);
    ck_assert_uint_eq(out.number, h->number);
    ck_assert_uint_eq(out.reason, 0);
}

/* ---- logging in ------------------------------------------------------------------------------ */

START_TEST(a_client_with_a_key_logs_in_publishes_and_gets_what_it_subscribed_to)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    size_t length;
    rig_grant(r, &key, ACCESS_READ | ACCESS_WRITE, "/a");
    uint32_t c = rig_login(r, &key);
    ck_assert_uint_eq(rig_counter(r, COUNTER_LOGINS), 1);
    rig_subscribe(r, c, "/a", EDGE_FROM_TIP);
    rig_run(r);
    ck_assert_ptr_nonnull(rig_next(r, c, EDGE_SUBSCRIBED, &length));
    struct edge_opened o = rig_opened(r, c, "one", 11);
    ck_assert_uint_eq(o.incarnation, 1);
    ck_assert_uint_eq(o.last_number, 0);
    rig_publish(r, c, o.publisher, 1, "/a/b", "hello");
    rig_run(r);
    const uint8_t *body = rig_next(r, c, EDGE_MESSAGE, &length);
    struct edge_message m;
    ck_assert(body != NULL && edge_message_decode(body, length, &m));
    ck_assert_uint_eq(m.publisher, o.publisher);
    ck_assert_mem_eq(m.payload, "hello", 5);
    struct edge_outcome out = rig_outcome(r, c);
    ck_assert_uint_eq(out.number, 1);
    ck_assert_uint_eq(out.seq, m.seq);
    ck_assert_uint_eq(out.reason, 0);
    ck_assert_uint_eq(r->leader.creates, 1);
    rig_free(r);
}
END_TEST

/* The records on /sys/edge of a kind, in the leader's log. */
static uint32_t records(const struct rig *r, enum sys_edge_kind kind, struct sys_edge *last)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < r->leader.log_count; i++) {
        struct batch_cursor cursor = batch_begin(r->leader.log[i].bytes, &r->leader.log[i].header);
        struct message m;
        struct sys_edge e;
        while (batch_next(&cursor, &m)) {
            if (m.topic != TOPIC_EDGE || !sys_edge_decode(m.payload, m.length, &e) ||
                e.kind != kind)
                continue;
            count++;
            *last = e;
        }
    }
    return count;
}

START_TEST(logins_and_logouts_are_written_down)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    struct sys_edge login, logout;
    uint32_t c = rig_login(r, &key);
    ck_assert_uint_eq(records(r, SYS_EDGE_LOGIN, &login), 1);
    ck_assert_mem_eq(login.key, key.public, sizeof login.key);
    ck_assert_uint_eq(login.ip, RIG_HERE);
    ck_assert_str_eq(login.agent, "rig");
    ck_assert_uint_eq(records(r, SYS_EDGE_LOGOUT, &logout), 0);
    struct proxy_client client;
    ck_assert(proxy_client_at(r->proxy, 0, &client));
    ck_assert_uint_eq(client.session, login.session);
    ck_assert(!proxy_client_at(r->proxy, client.at, &client));
    rig_hang_up(r, c);
    rig_run(r);
    ck_assert_uint_eq(records(r, SYS_EDGE_LOGOUT, &logout), 1);
    ck_assert_uint_eq(logout.session, login.session);
    ck_assert_uint_eq(logout.reason, 0);
    ck_assert_uint_eq(proxy_sessions(r->proxy), 0);
    rig_free(r);
}
END_TEST

START_TEST(nobody_in_particular_proves_nothing_and_has_what_anyone_has)
{
    struct rig *r = rig_new();
    rig_grant(r, NULL, ACCESS_READ, "/open");
    uint32_t c = rig_login(r, NULL);
    rig_subscribe(r, c, "/closed", EDGE_FROM_TIP);
    rig_run(r);
    struct edge_refused no = rig_refused(r, c);
    ck_assert_uint_eq(no.request, EDGE_SUBSCRIBE);
    ck_assert_uint_eq(no.reason, EDGE_REFUSED_RIGHT);
    ck_assert_uint_eq(no.right, ACCESS_READ);
    ck_assert_str_eq(no.subject, "/closed");
    ck_assert_uint_eq(rig_counter(r, COUNTER_REFUSED_RIGHT), 1);
    rig_subscribe(r, c, "/open", EDGE_FROM_TIP);
    rig_run(r);
    rig_say(r, "/open/a", "news");
    rig_run(r);
    size_t length;
    ck_assert_ptr_nonnull(rig_next(r, c, EDGE_MESSAGE, &length));
    rig_open(r, c, "me", 1, 0);
    rig_run(r);
    ck_assert_uint_eq(rig_refused(r, c).reason, EDGE_REFUSED_RIGHT);
    rig_free(r);
}
END_TEST

START_TEST(a_wrong_signature_is_the_end)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2), other = rig_key(3);
    uint32_t c = rig_connect(r, RIG_HERE);
    rig_hello(r, c, &key);
    rig_run(r);
    struct edge_welcome w = rig_welcome(r, c);
    other.public[0] = 0;
    memcpy(other.public, key.public, sizeof other.public);
    rig_prove(r, c, &other, &w);
    rig_run(r);
    rig_closed(r, c, EDGE_CLOSING_IDENTITY);
    ck_assert_uint_eq(rig_counter(r, COUNTER_LOGINS_FAILED), 1);
    ck_assert_uint_eq(rig_counter(r, COUNTER_LOGINS), 0);
    rig_free(r);
}
END_TEST

/* True: a PROVE that was captured on one connection lets somebody in on another. */
static bool replays(uint32_t sabotage)
{
    struct proxy_options o = small();
    o.sabotage = sabotage;
    struct rig *r = rig_new_with(&o, false);
    struct rig_key key = rig_key(2);
    uint32_t one = rig_connect(r, RIG_HERE), two = rig_connect(r, RIG_HERE);
    rig_hello(r, one, &key);
    rig_hello(r, two, &key);
    rig_run(r);
    struct edge_welcome w = rig_welcome(r, one);
    rig_prove(r, two, &key, &w);
    rig_run(r);
    bool in = r->streams[two - 1].open;
    rig_free(r);
    return in;
}

START_TEST(a_captured_login_is_worth_nothing_elsewhere)
{
    ck_assert(!replays(0));
    ck_assert(replays(PROXY_SAME_CHALLENGE));
}
END_TEST

START_TEST(other_versions_and_streams_are_told_so)
{
    struct rig *r = rig_new();
    uint8_t frame[256];
    struct edge_hello h = { .version = EDGE_VERSION + 1 };
    uint32_t c = rig_connect(r, RIG_HERE);
    rig_write(r, c, frame, edge_hello_encode(&h, frame, sizeof frame));
    rig_run(r);
    rig_closed(r, c, EDGE_CLOSING_PROTOCOL);
    h = (struct edge_hello) { .version = EDGE_VERSION, .stream = RIG_STREAM + 1 };
    c = rig_connect(r, RIG_HERE);
    rig_write(r, c, frame, edge_hello_encode(&h, frame, sizeof frame));
    rig_run(r);
    rig_closed(r, c, EDGE_CLOSING_STREAM);
    rig_free(r);
}
END_TEST

START_TEST(a_key_that_is_named_later_has_its_rights_at_once)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    size_t length;
    uint32_t c = rig_login(r, &key);
    rig_subscribe(r, c, "/a", EDGE_FROM_TIP);
    rig_run(r);
    ck_assert_uint_eq(rig_refused(r, c).reason, EDGE_REFUSED_RIGHT);
    rig_open(r, c, "p", 1, 0);
    rig_grant(r, &key, ACCESS_READ | ACCESS_WRITE, "/a");
    rig_run(r);
    rig_subscribe(r, c, "/a", EDGE_FROM_TIP);
    rig_run(r);
    rig_say(r, "/a/x", "for it");
    rig_run(r);
    ck_assert_ptr_nonnull(rig_next(r, c, EDGE_MESSAGE, &length));
    rig_free(r);
}
END_TEST

/* ---- subscriptions --------------------------------------------------------------------------- */

/* No tick comes here. */
START_TEST(who_wants_what_there_is_is_told_at_its_own_login_that_it_has_it)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    size_t length;
    rig_grant(r, &key, ACCESS_READ, "/");
    rig_say(r, "/a/x", "before");
    uint32_t c = rig_login(r, &key);
    uint64_t login = proxy_seq(r->proxy);
    rig_say(r, "/a/x", "since");
    rig_run(r);
    rig_subscribe(r, c, "/a", EDGE_FROM_POSITION);
    rig_run(r);
    const uint8_t *body = rig_next(r, c, EDGE_PROGRESS, &length);
    struct edge_progress p;
    ck_assert(body != NULL && edge_progress_decode(body, length, &p));
    ck_assert_uint_eq(p.through, login);
    struct edge_message m;
    body = rig_next(r, c, EDGE_MESSAGE, &length);
    ck_assert(body != NULL && edge_message_decode(body, length, &m));
    ck_assert_mem_eq(m.payload, "since", 5);
    ck_assert_uint_eq(m.previous, p.previous);
    rig_free(r);
}
END_TEST

START_TEST(a_subscription_changes_at_a_stated_seq)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    size_t length;
    rig_grant(r, &key, ACCESS_READ, "/");
    uint32_t c = rig_login(r, &key);
    rig_change(r, c, "/a", NULL);
    rig_run(r);
    ck_assert_uint_eq(rig_refused(r, c).reason, EDGE_REFUSED_ORDER);
    rig_subscribe(r, c, "/a", EDGE_FROM_TIP);
    rig_run(r);
    rig_subscribe(r, c, "/b", EDGE_FROM_TIP);
    rig_run(r);
    ck_assert_uint_eq(rig_refused(r, c).reason, EDGE_REFUSED_ORDER);
    rig_say(r, "/b/x", "no");
    rig_change(r, c, "/b", "/a");
    rig_run(r);
    const uint8_t *body = rig_next(r, c, EDGE_CHANGED, &length);
    struct edge_changed changed;
    ck_assert(body != NULL && edge_changed_decode(body, length, &changed));
    rig_say(r, "/a/x", "no more");
    uint64_t seq = rig_say(r, "/b/x", "yes");
    rig_run(r);
    struct edge_message m;
    body = rig_next(r, c, EDGE_MESSAGE, &length);
    ck_assert(body != NULL && edge_message_decode(body, length, &m));
    ck_assert_uint_eq(m.seq, seq);
    ck_assert_uint_gt(m.seq, changed.seq);
    struct proxy_client client;
    ck_assert(proxy_client_at(r->proxy, 0, &client));
    ck_assert_uint_eq(client.subtrees, 1);
    rig_free(r);
}
END_TEST

/* A SUBSCRIBE or CHANGE of `count` subtrees below /bomb. */
static void bomb(struct rig *r, uint32_t c, bool change, uint32_t from, uint32_t count)
{
    static uint8_t list[EDGE_SUBTREES_MAX * 256], frame[EDGE_SUBTREES_MAX * 256 + 64];
    struct edge_subtrees s = { .count = (uint16_t)count, .at = list };
    for (uint32_t i = 0; i < count; i++) {
        int n = snprintf((char *)list + s.length + 1, 200, "/bomb/%0150u", from + i);
        list[s.length] = (uint8_t)n;
        s.length += 1 + (size_t)n;
    }
    struct edge_subscribe q = { .level = EDGE_SEQUENCED, .from = EDGE_FROM_TIP, .subtrees = s };
    struct edge_change d = { .add = s };
    size_t length = change ? edge_change_encode(&d, frame, sizeof frame)
                           : edge_subscribe_encode(&q, frame, sizeof frame);
    ck_assert_uint_gt(length, 0);
    rig_write(r, c, frame, length);
}

/* The next message may fall, and another, of an earlier time, take its place. */
START_TEST(a_block_ends_with_the_time_of_its_own_last_message)
{
    struct rig *r = rig_new();
    rig_grant(r, NULL, ACCESS_READ, "/a");
    uint32_t c = rig_login(r, NULL);
    rig_subscribe(r, c, "/a", EDGE_FROM_TIP);
    rig_run(r);
    r->leader.hold_stable = true;
    rig_say(r, "/a", "one");
    rig_grant(r, NULL, ACCESS_READ, "/b");
    uint64_t common = rig_tip(r), time_ns = r->leader.timestamp_ns;
    for (int i = 0; i < 2; i++) {
        size_t length;
        struct edge_progress p;
        r->leader.timestamp_ns = time_ns + (i == 0 ? SECOND : MS);
        rig_say(r, "/a", "two");
        rig_run(r);
        const uint8_t *body = rig_next(r, c, EDGE_PROGRESS, &length);
        ck_assert_ptr_nonnull(body);
        ck_assert(edge_progress_decode(body, length, &p));
        ck_assert_uint_eq(p.through, common);
        ck_assert_uint_eq(p.timestamp_ns, time_ns);
        if (i == 0)
            rig_fork(r, common);
    }
    rig_free(r);
}
END_TEST

START_TEST(subscription_bombs_meet_quotas_and_memory_comes_back)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    struct honest h = honest_new(r);
    rig_grant(r, &key, ACCESS_READ, "/bomb");
    rig_run(r);
    for (int again = 0; again < 3; again++) {
        uint32_t c = rig_login(r, &key);
        uint32_t refused = 0, said = 0;
        size_t length;
        bomb(r, c, false, 0, 100);
        for (uint32_t i = 1; i < 40; i++, said++)
            bomb(r, c, true, i * 100, 100);
        rig_run(r);
        while (rig_next(r, c, EDGE_REFUSED, &length) != NULL)
            refused++;
        ck_assert_uint_gt(refused, 20);
        ck_assert_uint_lt(refused, said);
        honest_goes_on(r, &h);
        rig_hang_up(r, c);
        rig_run(r);
    }
    rig_free(r);
}
END_TEST

START_TEST(a_key_has_as_many_subscriptions_as_its_limit_says)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    struct limit_whom whom = { .who = LIMIT_KEY };
    const struct limit limit = { .subscriptions = 2 };
    size_t length;
    memcpy(whom.key, key.public, sizeof whom.key);
    rig_grant(r, &key, ACCESS_READ, "/");
    rig_limit(r, &whom, &limit);
    uint32_t c = rig_login(r, &key), d = rig_login(r, &key);
    rig_subscribe(r, c, "/a", EDGE_FROM_TIP);
    rig_subscribe(r, d, "/a", EDGE_FROM_TIP);
    rig_run(r);
    ck_assert_ptr_nonnull(rig_next(r, d, EDGE_SUBSCRIBED, &length));
    rig_change(r, c, "/b", NULL);
    rig_run(r);
    ck_assert_uint_eq(rig_refused(r, c).reason, EDGE_REFUSED_QUOTA);
    rig_hang_up(r, d);
    rig_change(r, c, "/b", NULL);
    rig_run(r);
    ck_assert_ptr_nonnull(rig_next(r, c, EDGE_CHANGED, &length));
    rig_free(r);
}
END_TEST

/* ---- hostile bytes --------------------------------------------------------------------------- */

START_TEST(dribbled_bytes_are_as_good_as_others)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    rig_grant(r, &key, ACCESS_READ | ACCESS_WRITE, "/a");
    uint32_t c = rig_connect(r, RIG_HERE), scratch = rig_connect(r, RIG_HERE);
    const struct rig_stream *from = &r->streams[scratch - 1];
    size_t done = 0;
    rig_hello(r, scratch, &key);
    for (int stage = 0; stage < 3; stage++) {
        for (; done < from->in_length; done++) {
            rig_write(r, c, from->in + done, 1);
            r->streams[scratch - 1].open = false; /* its bytes are not for the proxy */
            rig_round(r);
        }
        rig_run(r);
        if (stage == 0) {
            struct edge_welcome w = rig_welcome(r, c);
            rig_prove(r, scratch, &key, &w);
        } else if (stage == 1) {
            rig_subscribe(r, scratch, "/a", EDGE_FROM_TIP);
            rig_open(r, scratch, "slow", 1, 0);
        }
    }
    size_t length;
    ck_assert_ptr_nonnull(rig_next(r, c, EDGE_OPENED, &length));
    r->streams[scratch - 1].open = true;
    rig_free(r);
}
END_TEST

static uint64_t noise;

static uint8_t draw(void)
{
    noise = noise * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint8_t)(noise >> 40);
}

START_TEST(garbage_ends_whoever_says_it)
{
    struct rig *r = rig_new();
    struct honest h = honest_new(r);
    struct rig_key key = rig_key(2);
    for (uint32_t i = 0; i < 300; i++) {
        uint8_t bytes[600];
        uint32_t c = i % 2 == 0 ? rig_connect(r, 7) : rig_login(r, &key);
        for (size_t k = 0; k < sizeof bytes; k++)
            bytes[k] = draw();
        if (i % 3 == 0) { /* a frame that is whole, of a known type, with garbage inside */
            wire_store32(bytes, sizeof bytes - 4);
            bytes[4] = (uint8_t)(1 + i / 3 % 7);
        }
        rig_write(r, c, bytes, sizeof bytes);
        rig_run(r);
        ck_assert(!r->streams[c - 1].open || r->streams[c - 1].in_length <= sizeof bytes);
        if (r->streams[c - 1].open)
            rig_hang_up(r, c);
        if (i % 50 == 0)
            honest_goes_on(r, &h);
    }
    ck_assert_uint_gt(rig_counter(r, COUNTER_SESSIONS_MALFORMED), 250);
    rig_run(r);
    ck_assert_uint_eq(proxy_sessions(r->proxy), 1);
    rig_free(r);
}
END_TEST

START_TEST(giant_lengths_end_it_before_anything_is_kept)
{
    struct rig *r = rig_new();
    const uint8_t giant[][5] = {
        { 255, 255, 255, 255, 1 }, { 0, 0, 0, 0, 1 }, { 0, 8, 16, 0, 1 }, { 0, 0, 15, 0, 6 }
    };
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t c = rig_connect(r, RIG_HERE);
        rig_write(r, c, giant[i], sizeof giant[i]);
        rig_run(r);
        rig_closed(r, c, EDGE_CLOSING_PROTOCOL);
    }
    rig_free(r);
}
END_TEST

START_TEST(what_does_not_come_next_ends_it)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    uint32_t c = rig_connect(r, RIG_HERE);
    rig_publish(r, c, 1, 1, "/a", "x");
    rig_run(r);
    rig_closed(r, c, EDGE_CLOSING_PROTOCOL);
    c = rig_connect(r, RIG_HERE);
    rig_hello(r, c, &key);
    rig_hello(r, c, &key);
    rig_run(r);
    rig_closed(r, c, EDGE_CLOSING_PROTOCOL);
    c = rig_login(r, &key);
    rig_hello(r, c, &key);
    rig_run(r);
    rig_closed(r, c, EDGE_CLOSING_PROTOCOL);
    c = rig_login(r, &key);
    const uint8_t welcome[] = { 1, 0, 0, 0, EDGE_WELCOME }; /* a proxy's word */
    rig_write(r, c, welcome, sizeof welcome);
    rig_run(r);
    rig_closed(r, c, EDGE_CLOSING_PROTOCOL);
    rig_free(r);
}
END_TEST

START_TEST(thousands_that_say_nothing_hold_up_nobody_from_elsewhere)
{
    struct proxy_options o = small();
    o.sessions_max = 4096;
    o.logins_max = 64;
    struct rig *r = rig_new_with(&o, false);
    struct rig_key key = rig_key(2);
    for (uint32_t i = 0; i < 3000; i++)
        rig_connect(r, 66);
    rig_run(r);
    uint32_t c = rig_connect(r, 1);
    rig_hello(r, c, &key);
    uint64_t before = r->now.mono_ns;
    rig_run(r); /* its turn comes, by deadlines of now alone */
    ck_assert_uint_eq(r->now.mono_ns, before);
    struct edge_welcome w = rig_welcome(r, c);
    rig_prove(r, c, &key, &w);
    rig_run(r);
    size_t length;
    ck_assert_ptr_nonnull(rig_next(r, c, EDGE_ACCEPTED, &length));
    ck_assert_uint_eq(proxy_sessions(r->proxy), 3001);
    rig_pass(r, 3 * SECOND + o.login_ns);
    ck_assert_uint_ge(rig_counter(r, COUNTER_LOGINS_FAILED),
                      8); /* an eighth of the turns is theirs */
    rig_free(r);
}
END_TEST

START_TEST(whoever_does_not_say_who_it_is_in_time_is_cut_off)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    uint32_t silent = rig_connect(r, 1), unproven = rig_connect(r, 2),
             dribbling = rig_connect(r, 3);
    rig_hello(r, unproven, &key);
    for (int i = 0; i < 8; i++) {
        if (r->streams[dribbling - 1].open)
            rig_write(r, dribbling, i == 0 ? "\x30" : "\0", 1);
        rig_pass(r, SECOND);
    }
    rig_closed(r, silent, EDGE_CLOSING_IDENTITY);
    rig_closed(r, unproven, EDGE_CLOSING_IDENTITY);
    ck_assert(!r->streams[dribbling - 1].open);
    rig_free(r);
}
END_TEST

START_TEST(signatures_are_checked_a_few_in_a_round)
{
    struct rig *r = rig_new();
    struct honest h = honest_new(r);
    struct rig_key key = rig_key(2);
    uint32_t first = r->stream_count + 1;
    for (uint32_t i = 0; i < 60; i++) {
        uint32_t c = rig_connect(r, 10 + i);
        rig_hello(r, c, &key);
    }
    rig_run(r);
    for (uint32_t i = 0; i < 60; i++) {
        struct edge_welcome w = rig_welcome(r, first + i);
        rig_prove(r, first + i, &key, &w);
    }
    uint64_t before = rig_counter(r, COUNTER_LOGINS);
    honest_goes_on(r, &h); /* eight rounds */
    ck_assert_uint_le(rig_counter(r, COUNTER_LOGINS) - before, 16);
    rig_run(r);
    ck_assert_uint_eq(rig_counter(r, COUNTER_LOGINS) - before, 60);
    rig_free(r);
}
END_TEST

/* ---- quotas of connections ------------------------------------------------------------------- */

START_TEST(an_address_has_so_many_connections)
{
    struct proxy_options o = small();
    o.sessions_per_addr = 3;
    struct rig *r = rig_new_with(&o, false);
    uint32_t c[4];
    for (int i = 0; i < 4; i++)
        c[i] = rig_connect(r, 9);
    rig_closed(r, c[3], EDGE_CLOSING_QUOTA);
    ck_assert_uint_eq(rig_counter(r, COUNTER_SESSIONS_REFUSED), 1);
    uint32_t elsewhere = rig_connect(r, 10);
    ck_assert(r->streams[elsewhere - 1].open);
    rig_hang_up(r, c[0]);
    ck_assert(r->streams[rig_connect(r, 9) - 1].open);
    rig_free(r);
}
END_TEST

START_TEST(a_key_has_so_many_connections)
{
    struct proxy_options o = small();
    o.sessions_per_key = 2;
    struct rig *r = rig_new_with(&o, false);
    struct rig_key key = rig_key(2), other = rig_key(3);
    uint32_t one = rig_login(r, &key);
    rig_login(r, &key);
    uint32_t c = rig_connect(r, RIG_HERE);
    rig_hello(r, c, &key);
    rig_run(r);
    struct edge_welcome w = rig_welcome(r, c);
    rig_prove(r, c, &key, &w);
    rig_run(r);
    rig_closed(r, c, EDGE_CLOSING_QUOTA);
    rig_login(r, &other);
    rig_hang_up(r, one);
    rig_login(r, &key);
    rig_free(r);
}
END_TEST

START_TEST(a_full_proxy_says_so)
{
    struct proxy_options o = small();
    o.sessions_max = 4;
    struct rig *r = rig_new_with(&o, false);
    for (uint32_t i = 0; i < 4; i++)
        rig_connect(r, i);
    rig_closed(r, rig_connect(r, 9), EDGE_CLOSING_QUOTA);
    rig_hang_up(r, 1);
    ck_assert(r->streams[rig_connect(r, 9) - 1].open);
    rig_free(r);
}
END_TEST

START_TEST(those_who_have_left_leave_room_even_if_that_cannot_be_written_down)
{
    struct proxy_options o = small();
    o.sessions_max = 8;
    struct rig *r = rig_new_with(&o, false);
    r->leader.deaf = true;
    for (uint32_t i = 0; i < 3; i++) {
        rig_pass(r, 10 * MS);
        for (uint32_t k = 0; k < 8; k++) {
            uint32_t c = rig_connect(r, k);
            ck_assert(r->streams[c - 1].open);
            rig_hello(r, c, NULL);
        }
        rig_pass(r, 10 * MS);
        for (uint32_t c = 1; c <= r->stream_count; c++)
            if (r->streams[c - 1].open)
                rig_hang_up(r, c);
    }
    r->leader.deaf = false;
    rig_pass(r, SECOND);
    rig_login(r, NULL);
    rig_free(r);
}
END_TEST

START_TEST(what_a_client_calls_itself_is_fit_to_be_looked_at)
{
    struct rig *r = rig_new();
    struct edge_hello h = { .version = EDGE_VERSION, .agent = "a\x1b[2Jb\xff" };
    uint8_t frame[256];
    uint32_t c = rig_connect(r, RIG_HERE);
    rig_write(r, c, frame, edge_hello_encode(&h, frame, sizeof frame));
    rig_run(r);
    struct proxy_client client;
    ck_assert(proxy_client_at(r->proxy, 0, &client));
    ck_assert_str_eq(client.agent, "a?[2Jb?");
    rig_free(r);
}
END_TEST

START_TEST(a_proxy_that_follows_nothing_yet_waits_without_spinning)
{
    struct rig *r = rig_new();
    proxy_destroy(r->proxy);
    r->proxy = proxy_create(&r->options, &r->leader.port, r->now);
    uint32_t c = rig_connect(r, RIG_HERE);
    rig_hello(r, c, NULL);
    struct port_stream_event e = { .type = PORT_STREAM_BYTES,
                                   .stream = c,
                                   .bytes = r->streams[c - 1].in,
                                   .length = r->streams[c - 1].in_length };
    ck_assert_uint_eq(proxy_participant.on_stream(r->proxy, &e, r->now), 0);
    for (int i = 0; i < 3; i++)
        ck_assert_uint_gt(proxy_participant.step(r->proxy, r->now), r->now.mono_ns);
    r->leader.log_delivered = 0;
    rig_pass(r, SECOND);
    size_t length;
    ck_assert_ptr_nonnull(rig_next(r, c, EDGE_ACCEPTED, &length));
    rig_free(r);
}
END_TEST

/* ---- slow and idle --------------------------------------------------------------------------- */

START_TEST(whoever_takes_nothing_is_cut_off_and_others_do_not_feel_it)
{
    struct rig *r = rig_new();
    struct honest h = honest_new(r);
    struct rig_key key = rig_key(2);
    static char text[1000];
    rig_grant(r, &key, ACCESS_READ, "/");
    uint32_t deaf = rig_login(r, &key), fine = rig_login(r, &key);
    rig_subscribe(r, deaf, "/", EDGE_FROM_TIP);
    rig_subscribe(r, fine, "/", EDGE_FROM_TIP);
    rig_run(r);
    r->streams[deaf - 1].deaf = true;
    memset(text, 'x', sizeof text - 1);
    for (int i = 0; i < 400; i++)
        rig_say(r, "/much", text);
    rig_pass(r, 20 * SECOND);
    ck_assert(r->streams[deaf - 1].open);
    honest_goes_on(r, &h);
    rig_write(r, fine, "\x01\0\0\0\x07", 5); /* ALIVE */
    rig_pass(r, 15 * SECOND);
    ck_assert(!r->streams[deaf - 1].open);
    ck_assert_uint_eq(rig_counter(r, COUNTER_SESSIONS_SLOW), 1);
    honest_goes_on(r, &h);
    size_t length;
    uint32_t got = 0;
    while (rig_next(r, fine, EDGE_MESSAGE, &length) != NULL)
        got++;
    ck_assert_uint_ge(got, 400);
    rig_free(r);
}
END_TEST

START_TEST(whoever_says_nothing_for_too_long_is_cut_off_and_alive_is_enough)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    uint32_t quiet = rig_login(r, &key), alive = rig_login(r, &key);
    size_t length;
    for (int i = 0; i < 7; i++) {
        rig_write(r, alive, "\x01\0\0\0\x07", 5);
        rig_pass(r, 10 * SECOND);
        ck_assert_ptr_nonnull(rig_next(r, alive, EDGE_ALIVE, &length));
    }
    rig_closed(r, quiet, EDGE_CLOSING_IDLE);
    ck_assert(r->streams[alive - 1].open);
    rig_free(r);
}
END_TEST

START_TEST(a_flood_of_requests_that_are_not_answered_for_is_not_read)
{
    struct rig *r = rig_new();
    struct honest h = honest_new(r);
    struct rig_key key = rig_key(2);
    uint32_t c = rig_login(r, &key);
    r->streams[c - 1].deaf = true;
    for (int i = 0; i < 200000; i++)
        rig_write(r, c, "\x01\0\0\0\x07", 5);
    honest_goes_on(r, &h);
    for (int i = 0; i < 1000; i++)
        rig_round(r);
    ck_assert_uint_gt(r->streams[c - 1].in_length, 0); /* its answers have no room any more */
    ck_assert_uint_le(r->streams[c - 1].untaken, 256 * 1024);
    honest_goes_on(r, &h);
    rig_free(r);
}
END_TEST

/* ---- going elsewhere ------------------------------------------------------------------------- */

START_TEST(a_proxy_that_drains_sends_everybody_away)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    uint32_t c[200];
    for (uint32_t i = 0; i < 200; i++)
        c[i] = i < 100 ? rig_login(r, &key) : rig_connect(r, i);
    proxy_drain(r->proxy, r->now);
    ck_assert(!proxy_drained(r->proxy));
    rig_run(r);
    ck_assert(proxy_drained(r->proxy));
    for (uint32_t i = 0; i < 200; i++)
        rig_closed(r, c[i], EDGE_CLOSING_DRAIN);
    rig_closed(r, rig_connect(r, 7), EDGE_CLOSING_DRAIN);
    struct sys_edge last;
    ck_assert_uint_eq(records(r, SYS_EDGE_LOGOUT, &last), 100);
    rig_free(r);
}
END_TEST

/* ---- text ------------------------------------------------------------------------------------ */

static void said(const struct rig *r, uint32_t c, const char *what, bool expected)
{
    const struct rig_stream *s = &r->streams[c - 1];
    bool found = memmem(s->out, s->out_length, what, strlen(what)) != NULL;
    ck_assert_msg(found == expected, "\"%s\" in: %.*s", what, (int)s->out_length, (char *)s->out);
}

static uint32_t text_client(struct rig *r, const char *line)
{
    uint32_t c = rig_connect(r, RIG_HERE);
    for (; *line != '\0'; line++) {
        rig_write(r, c, line, 1);
        rig_round(r);
    }
    rig_run(r);
    return c;
}

START_TEST(a_line_of_text_reads_what_is_granted_to_anyone)
{
    struct rig *r = rig_new();
    rig_grant(r, NULL, ACCESS_READ, "/open");
    rig_run(r);
    uint32_t c = text_client(r, "cantus /open\r\n");
    said(r, c, "# subscribed behind ", true);
    uint64_t seq = rig_say(r, "/open/a", "a \\ tab\there");
    rig_say(r, "/closed/a", "secret");
    rig_say(r, "/open/b", "");
    rig_run(r);
    char line[128];
    snprintf(line, sizeof line, "\n%lu %lu /open/a other a \\x5c tab\\x09here\n", seq,
             r->leader.timestamp_ns);
    said(r, c, line, true);
    said(r, c, "/open/b other \n", true);
    said(r, c, "secret", false);
    rig_write(r, c, "whatever\n", 9);
    rig_pass(r, 100 * SECOND);
    ck_assert(r->streams[c - 1].open);
    ck_assert_uint_eq(r->streams[c - 1].in_length, 0);
    rig_free(r);
}
END_TEST

START_TEST(text_that_asks_for_too_much_or_nothing_is_told_so)
{
    struct rig *r = rig_new();
    uint32_t c = text_client(r, "cantus /closed\n");
    said(r, c, "# refused: /closed", true);
    ck_assert(!r->streams[c - 1].open);
    const char *const bad[] = { "cantus\n",      "cantus /open from\n",    "cantus /open from x\n",
                                "cantus open\n", "cantus /open rubbish\n", "canter /open\n" };
    for (uint32_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        c = text_client(r, bad[i]);
        said(r, c, "# closing: say: cantus SUBTREE [from SEQ] [stable]\n", true);
        ck_assert(!r->streams[c - 1].open);
    }
    c = rig_connect(r, RIG_HERE);
    static char endless[1000];
    memset(endless, 'c', sizeof endless);
    memcpy(endless, "cantus ", 7);
    rig_write(r, c, endless, sizeof endless);
    rig_run(r);
    ck_assert(!r->streams[c - 1].open);
    rig_free(r);
}
END_TEST

START_TEST(long_payloads_become_lines_piece_by_piece_as_there_is_room)
{
    struct rig *r = rig_new();
    static uint8_t payload[1300];
    rig_grant(r, NULL, ACCESS_READ, "/open");
    rig_run(r);
    uint32_t c = text_client(r, "cantus /open\n");
    r->streams[c - 1].room = 5000; /* one line of what does not print is longer */
    memset(payload, 7, sizeof payload);
    uint32_t topic = rig_topic(r, "/open/a"), id = rig_join(r, "x", 3);
    for (uint64_t i = 1; i <= 50; i++)
        rig_emit(r, topic, id, i, 0, payload, sizeof payload);
    rig_run(r);
    const struct rig_stream *s = &r->streams[c - 1];
    uint32_t lines = 0, escapes = 0;
    for (size_t i = 0; i < s->out_length; i++) {
        lines += s->out[i] == '\n' && i > 2 && s->out[i - 1] == '7';
        escapes += s->out[i] == '\\';
    }
    ck_assert_uint_eq(escapes, 50 * sizeof payload);
    ck_assert_uint_ge(lines, 50);
    rig_free(r);
}
END_TEST

/* ---- the proxy's own troubles ---------------------------------------------------------------- */

START_TEST(another_process_of_its_name_stops_it)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    uint32_t c = rig_login(r, &key);
    rig_join(r, "proxy.p1", 12345);
    rig_run(r);
    ck_assert(proxy_failed(r->proxy));
    ck_assert_ptr_nonnull(strstr(proxy_state(r->proxy), "name"));
    rig_closed(r, c, EDGE_CLOSING_DRAIN);
    rig_free(r);
}
END_TEST

START_TEST(a_fork_of_a_volatile_stream_sends_everybody_away_and_it_starts_over)
{
    struct proxy_options o = small();
    struct rig *r = rig_new_with(&o, true);
    struct rig_key key = rig_key(2);
    uint32_t c = rig_login(r, &key);
    uint64_t seq = rig_say(r, "/a", "one");
    rig_say(r, "/a", "two");
    rig_run(r);
    rig_fork(r, seq);
    rig_run(r);
    rig_closed(r, c, EDGE_CLOSING_DRAIN);
    rig_pass(r, SECOND);
    ck_assert_uint_eq(proxy_seq(r->proxy), 0); /* there is no store to start over from */
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_session");
    TCase *all = tcase_create("sessions");
    tcase_add_test(all, a_client_with_a_key_logs_in_publishes_and_gets_what_it_subscribed_to);
    tcase_add_test(all, logins_and_logouts_are_written_down);
    tcase_add_test(all, nobody_in_particular_proves_nothing_and_has_what_anyone_has);
    tcase_add_test(all, a_wrong_signature_is_the_end);
    tcase_add_test(all, a_captured_login_is_worth_nothing_elsewhere);
    tcase_add_test(all, other_versions_and_streams_are_told_so);
    tcase_add_test(all, a_key_that_is_named_later_has_its_rights_at_once);
    tcase_add_test(all, who_wants_what_there_is_is_told_at_its_own_login_that_it_has_it);
    tcase_add_test(all, a_subscription_changes_at_a_stated_seq);
    tcase_add_test(all, a_block_ends_with_the_time_of_its_own_last_message);
    tcase_add_test(all, subscription_bombs_meet_quotas_and_memory_comes_back);
    tcase_add_test(all, a_key_has_as_many_subscriptions_as_its_limit_says);
    tcase_add_test(all, dribbled_bytes_are_as_good_as_others);
    tcase_add_test(all, garbage_ends_whoever_says_it);
    tcase_add_test(all, giant_lengths_end_it_before_anything_is_kept);
    tcase_add_test(all, what_does_not_come_next_ends_it);
    tcase_add_test(all, thousands_that_say_nothing_hold_up_nobody_from_elsewhere);
    tcase_add_test(all, whoever_does_not_say_who_it_is_in_time_is_cut_off);
    tcase_add_test(all, signatures_are_checked_a_few_in_a_round);
    tcase_add_test(all, an_address_has_so_many_connections);
    tcase_add_test(all, a_key_has_so_many_connections);
    tcase_add_test(all, a_full_proxy_says_so);
    tcase_add_test(all, those_who_have_left_leave_room_even_if_that_cannot_be_written_down);
    tcase_add_test(all, what_a_client_calls_itself_is_fit_to_be_looked_at);
    tcase_add_test(all, a_proxy_that_follows_nothing_yet_waits_without_spinning);
    tcase_add_test(all, whoever_takes_nothing_is_cut_off_and_others_do_not_feel_it);
    tcase_add_test(all, whoever_says_nothing_for_too_long_is_cut_off_and_alive_is_enough);
    tcase_add_test(all, a_flood_of_requests_that_are_not_answered_for_is_not_read);
    tcase_add_test(all, a_proxy_that_drains_sends_everybody_away);
    tcase_add_test(all, a_line_of_text_reads_what_is_granted_to_anyone);
    tcase_add_test(all, text_that_asks_for_too_much_or_nothing_is_told_so);
    tcase_add_test(all, long_payloads_become_lines_piece_by_piece_as_there_is_room);
    tcase_add_test(all, another_process_of_its_name_stops_it);
    tcase_add_test(all, a_fork_of_a_volatile_stream_sends_everybody_away_and_it_starts_over);
    suite_add_tcase(suite, all);
    return rig_suite(suite);
}
