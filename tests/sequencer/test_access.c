/* Goal: what is in the stream was permitted at its seq, and what was permitted then is not refused: a
 * grant or a revocation holds from the next message on, within a datagram and a batch too, for single
 * messages, runs, creations and records alike. On a stream without stores. */
#include "proto/sys_access.h"
#include "tests/sequencer/suite.h"

/* The suite's genesis has a key of zeros. */
static const uint8_t keys[3][ACCESS_KEY_SIZE] = { { 0 }, { 7 }, { 8 } };
enum { ADMIN = 0, TRADER = 1, STRANGER = 2 };

struct fixture {
    struct suite *t;
    uint32_t admin, trader, core;
    uint32_t topic;
    uint64_t next[32]; /* by publisher */
    struct offer o;
};

static uint32_t join(struct suite *t, uint32_t key)
{
    char identity[IDENTITY_MAX + 1] = "@";
    access_key_write(keys[key], identity + 1);
    strcat(identity, ":test");
    return suite_join(t, identity);
}

static struct fixture *fixture_new(void)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->t = suite_new();
    suite_volatile(f->t);
    f->admin = join(f->t, ADMIN);
    f->trader = join(f->t, TRADER);
    f->core = suite_join(f->t, "core");
    f->topic = suite_topic(f->t, f->core, "/a");
    for (uint32_t i = 0; i < 32; i++)
        f->next[i] = 1;
    return f;
}

static void fixture_free(struct fixture *f)
{
    suite_free(f->t);
    free(f);
}

static void open(struct fixture *f, uint32_t publisher)
{
    offer_open(f->t, &f->o, publisher, f->next[publisher]);
}

static void add(struct fixture *f, uint32_t topic, uint8_t flags, const void *payload,
                size_t length)
{
    offer_add(&f->o, topic, flags, payload, (uint32_t)length);
}

static void add_grant(struct fixture *f, uint8_t rights, const char *subtree, bool revoke)
{
    struct sys_grant g = { .revoke = revoke, .rights = rights, .whom = { .who = ACCESS_KEY } };
    memcpy(g.whom.key, keys[TRADER], sizeof g.whom.key);
    strcpy(g.subtree, subtree);
    uint8_t payload[SYS_ACCESS_SIZE_MAX];
    add(f, TOPIC_GRANT, 0, payload, sys_grant_encode(&g, payload, sizeof payload));
}

static void give(struct fixture *f)
{
    f->next[f->o.header.publisher] += f->o.builder.count;
    offer_give(f->t, &f->o);
    suite_run(f->t);
}

/* From seq on there are these: a topic, or of a reject its reason below zero. */
static void check(const struct fixture *f, uint64_t seq, uint32_t count, const int *expected)
{
    ck_assert_uint_eq(f->t->tip, seq + count - 1);
    for (uint32_t i = 0; i < count; i++) {
        const struct message *m = suite_message(f->t, seq + i);
        struct sys_reject reject;
        int found = (int)m->topic;
        if (m->topic == TOPIC_REJECT) {
            ck_assert(sys_reject_decode(m->payload, m->length, &reject));
            found = -(int)reject.reason;
        }
        ck_assert_msg(found == expected[i], "seq %u: %d, not %d", i, found, expected[i]);
    }
}

START_TEST(from_the_next_message_on)
{
    struct fixture *f = fixture_new();
    uint64_t tip = f->t->tip;
    open(f, f->admin);
    add_grant(f, ACCESS_WRITE | ACCESS_GRANT, "/a", false);
    give(f);
    uint32_t batches = f->t->batches;
    open(f, f->trader);
    add(f, f->topic, 0, "1", 1);
    add(f, f->topic, 0, "2", 1);
    add_grant(f, ACCESS_WRITE, "/a", true);
    add(f, f->topic, 0, "3", 1);
    add(f, f->topic, 0, "4", 1);
    add_grant(f, ACCESS_WRITE, "/a", false);
    add(f, f->topic, 0, "5", 1);
    add(f, f->topic, 0, "6", 1);
    give(f);
    ck_assert_uint_eq(f->t->batches, batches + 1);
    const int a = (int)f->topic;
    check(f, tip + 1, 9,
          (const int[]) { TOPIC_GRANT, a, a, TOPIC_GRANT, -REJECT_NOT_PERMITTED,
                          -REJECT_NOT_PERMITTED, TOPIC_GRANT, a, a });
    fixture_free(f);
}
END_TEST

START_TEST(a_run_is_refused_as_a_whole)
{
    struct fixture *f = fixture_new();
    uint64_t tip = f->t->tip;
    uint32_t other = suite_topic(f->t, f->core, "/b");
    open(f, f->admin);
    add_grant(f, ACCESS_WRITE, "/a", false);
    give(f);
    open(f, f->trader);
    add(f, f->topic, MESSAGE_MORE, "1", 1);
    add(f, other, 0, "2", 1);
    add(f, f->topic, MESSAGE_MORE, "3", 1);
    add(f, f->topic, 0, "4", 1);
    give(f);
    check(f, tip + 2, 4,
          (const int[]) { TOPIC_GRANT, -REJECT_NOT_PERMITTED, (int)f->topic, (int)f->topic });
    fixture_free(f);
}
END_TEST

START_TEST(creation_needs_the_right_to_write_there)
{
    struct fixture *f = fixture_new();
    uint64_t tip = f->t->tip;
    struct create c = { .nonce = 6, .publisher = f->trader, .path = "/b/c" };
    uint8_t bytes[PORT_SCRATCH_MAX];
    size_t length = create_encode(&c, SUITE_STREAM, bytes, sizeof bytes);
    suite_give(f->t, bytes, length);
    suite_run(f->t);
    ck_assert_int_eq(f->t->hint.reason, HINT_TOPIC_REFUSED);
    ck_assert_uint_eq(f->t->tip, tip);
    open(f, f->trader);
    add(f, TOPIC_TOPIC, 0, "/b/c", 4);
    give(f);
    open(f, f->admin);
    add_grant(f, ACCESS_WRITE, "/b", false);
    give(f);
    suite_give(f->t, bytes, length);
    suite_run(f->t);
    open(f, f->trader);
    add(f, TOPIC_TOPIC, 0, "/b/d", 4);
    give(f);
    check(f, tip + 1, 4,
          (const int[]) { -REJECT_NOT_PERMITTED, TOPIC_GRANT, TOPIC_TOPIC, TOPIC_TOPIC });
    fixture_free(f);
}
END_TEST

START_TEST(records_are_judged_by_what_they_say)
{
    struct fixture *f = fixture_new();
    uint64_t tip = f->t->tip;
    open(f, f->core);
    add_grant(f, ACCESS_WRITE, "/a", false);
    add(f, TOPIC_EDGE, 0, "anything", 8);
    give(f);
    open(f, f->trader);
    add_grant(f, ACCESS_WRITE, "/a", false);
    add(f, TOPIC_EDGE, 0, "anything", 8);
    give(f);
    open(f, f->admin);
    add(f, TOPIC_GRANT, 0, "rubbish", 7);
    add(f, TOPIC_GROUP, 0, "rubbish", 7);
    add(f, TOPIC_LIMIT, 0, "rubbish", 7);
    give(f);
    check(f, tip + 1, 7,
          (const int[]) { -REJECT_NOT_PERMITTED, TOPIC_EDGE, -REJECT_NOT_PERMITTED,
                          -REJECT_NOT_PERMITTED, -REJECT_MALFORMED, -REJECT_MALFORMED,
                          -REJECT_MALFORMED });
    struct sys_limit l = { .whom = { .who = LIMIT_SUBTREE } };
    uint8_t payload[SYS_ACCESS_SIZE_MAX];
    for (int i = 0; i <= LIMITS_MAX; i++) {
        snprintf(l.whom.subtree, sizeof l.whom.subtree, "/a/%d", i);
        open(f, f->admin);
        add(f, TOPIC_LIMIT, 0, payload, sys_limit_encode(&l, payload, sizeof payload));
        give(f);
    }
    ck_assert_uint_eq(suite_rejected(f->t, f->admin, f->next[f->admin] - 1).reason, REJECT_FULL);
    fixture_free(f);
}
END_TEST

SUITE_MAIN("sequencer_access", from_the_next_message_on, a_run_is_refused_as_a_whole,
           creation_needs_the_right_to_write_there, records_are_judged_by_what_they_say)
