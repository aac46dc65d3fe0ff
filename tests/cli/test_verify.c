/* Comparing stores: against listeners that tell digests of made-up histories. A history is batches
 * of seven messages; from a given seq on a store has another one, or is damaged. What `cantus
 * verify --json` prints is compared as text, and every place where histories can part is tried. */
#include <stdio.h>
#include <string.h>

#include "tests/cli/verb.h"

enum { STORES_MAX = 5, PER_BATCH = 7 };

struct store {
    uint64_t tip;
    uint64_t stable;
    uint64_t parts_at;   /* first seq of its own history; 0: never */
    uint64_t branch;     /* which one that is */
    uint64_t damaged_at; /* it can't tell digests from there on; 0: it can */
    bool absent;
};

/* ---- stores ---------------------------------------------------------------------------------- */

static void send_status(const struct store *s, int client)
{
    static uint8_t frame[STATUS_SIZE_MAX + REPLAY_FRAME_HEADER];
    struct status status = { .stream = VERB_STREAM,
                             .role = "retransmitter",
                             .state = "recording",
                             .store = 1 + s->branch,
                             .tip = s->tip,
                             .stable = s->stable };
    size_t length = listener_status_frame(&status, frame, sizeof frame);
    listener_send(client, frame, length, length);
}

static void send_digest(const struct store *s, int client, uint64_t seq)
{
    uint8_t body[COMMAND_SIZE_MAX], frame[2 * COMMAND_SIZE_MAX];
    uint64_t end = (seq + PER_BATCH - 1) / PER_BATCH * PER_BATCH;
    bool parted = s->parts_at != 0 && end >= s->parts_at;
    struct outcome o = { .verdict = OUTCOME_DONE,
                         .position = { { 1, 1 }, end },
                         .digest = { end, parted ? s->branch : 0 } };
    if (s->damaged_at != 0 && end >= s->damaged_at) {
        o = (struct outcome) { .verdict = OUTCOME_REFUSED };
        snprintf(o.text, sizeof o.text, "damaged at seq %d", (int)s->damaged_at);
    }
    size_t length = outcome_encode(&o, body, sizeof body);
    length = replay_frame_encode(REPLAY_OUTCOME, body, length, frame, sizeof frame);
    listener_send(client, frame, length, length);
}

static void answer(void *ctx, int client, enum replay_type type, const uint8_t *body, size_t length)
{
    struct command command;
    if (type == REPLAY_STATUS_REQUEST)
        send_status(ctx, client);
    else if (type == REPLAY_COMMAND && command_decode(body, length, &command) &&
             command.kind == COMMAND_DIGEST_AT)
        send_digest(ctx, client, command.seq);
}

/* Runs the verb on so many stores; its exit status, and what it printed. */
static int verify(const struct store *stores, uint32_t count, char *out, size_t capacity)
{
    struct config *config = verb_config(count);
    verb_json = true;
    config->sequencers[0].stream_port = listener_nobody().port;
    for (uint32_t i = 0; i < count; i++) {
        struct store copy = stores[i];
        config->retransmitters[i].stream_port =
            (copy.absent ? listener_nobody() : listener_start(answer, &copy)).port;
    }
    return verb_run(&verb_verify, out, capacity);
}

static bool differs(const char *out, const char *name)
{
    char start[32];
    snprintf(start, sizeof start, "{\"name\":\"%s\"", name);
    const char *at = strstr(out, start);
    ck_assert_msg(at != NULL, "%s in %s", name, out);
    const char *yes = strstr(at, "\"differs\":true"), *end = strchr(at, '}');
    return yes != NULL && yes < end;
}

START_TEST(equal_histories)
{
    char out[4096];
    struct store s[3] = { { .tip = 100, .stable = 90 },
                          { .tip = 95, .stable = 90 },
                          { .tip = 91 } };
    ck_assert_int_eq(verify(s, 3, out, sizeof out), CLI_OK);
    ck_assert_ptr_nonnull(
        strstr(out, "{\"through\":90,\"agree\":true,\"first_differing_seq\":null"));
    ck_assert(!differs(out, "r1") && !differs(out, "r3"));
}
END_TEST

/* What is above stable may differ: it is not history yet. */
START_TEST(tails_may_differ)
{
    char out[4096];
    struct store s[2] = { { .tip = 98, .stable = 70 },
                          { .tip = 98, .stable = 70, .parts_at = 71, .branch = 5 } };
    ck_assert_int_eq(verify(s, 2, out, sizeof out), CLI_OK);
    ck_assert_ptr_nonnull(strstr(out, "\"through\":70,\"agree\":true"));
}
END_TEST

START_TEST(the_first_difference_is_found)
{
    char out[4096], expected[64];
    uint64_t parts_at = (uint64_t)_i * PER_BATCH + 1;
    struct store s[3] = { { .tip = 110, .stable = 105 },
                          { .tip = 110, .stable = 105, .parts_at = parts_at, .branch = 5 },
                          { .tip = 200, .stable = 105 } };
    ck_assert_int_eq(verify(s, 3, out, sizeof out), CLI_FAILED);
    snprintf(expected, sizeof expected, "\"agree\":false,\"first_differing_seq\":%d",
             (int)parts_at);
    ck_assert_msg(strstr(out, expected) != NULL, "%s: %s", expected, out);
    ck_assert(!differs(out, "r1") && differs(out, "r2") && !differs(out, "r3"));
}
END_TEST

START_TEST(no_majority)
{
    char out[4096];
    struct store s[4] = { { .tip = 70, .stable = 70 },
                          { .tip = 70, .parts_at = 15, .branch = 5 },
                          { .tip = 70 },
                          { .tip = 70, .parts_at = 15, .branch = 5 } };
    ck_assert_int_eq(verify(s, 4, out, sizeof out), CLI_FAILED);
    ck_assert_ptr_nonnull(strstr(out, "\"first_differing_seq\":15"));
    ck_assert(differs(out, "r1") && differs(out, "r2") && differs(out, "r3") && differs(out, "r4"));
    /* Of five it is one. */
    struct store five[5] = { s[0], s[1], s[2], s[3], s[0] };
    ck_assert_int_eq(verify(five, 5, out, sizeof out), CLI_FAILED);
    ck_assert(!differs(out, "r1") && differs(out, "r2") && !differs(out, "r5"));
}
END_TEST

START_TEST(not_everybody_can_tell)
{
    char out[4096];
    struct store s[4] = { { .tip = 70, .stable = 70 },
                          { .tip = 70, .stable = 70 },
                          { .tip = 70, .damaged_at = 20 },
                          { .absent = true } };
    ck_assert_int_eq(verify(s, 4, out, sizeof out), CLI_FAILED);
    ck_assert_ptr_nonnull(strstr(out, "\"agree\":true"));
    ck_assert_ptr_nonnull(strstr(out, "\"problem\":\"damaged at seq 20\""));
    ck_assert_ptr_nonnull(strstr(out, "\"problem\":\"not running\""));
    /* One that has nothing yet holds nobody up. */
    struct store fresh[2] = { { .tip = 70, .stable = 70 }, { .tip = 0 } };
    ck_assert_int_eq(verify(fresh, 2, out, sizeof out), CLI_FAILED);
    ck_assert_ptr_nonnull(strstr(out, "\"through\":70"));
    ck_assert_ptr_nonnull(strstr(out, "has no history yet"));
    /* With nobody there is nothing to say. */
    struct store nobody[2] = { { .absent = true }, { .absent = true } };
    ck_assert_int_eq(verify(nobody, 2, out, sizeof out), CLI_FAILED);
    ck_assert_ptr_nonnull(strstr(out, "\"through\":0,\"agree\":false"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cli/verify");
    TCase *all = tcase_create("all");
    tcase_add_checked_fixture(all, verb_set_up, verb_tear_down);
    tcase_add_test(all, equal_histories);
    tcase_add_test(all, tails_may_differ);
    tcase_add_loop_test(all, the_first_difference_is_found, 0, 15);
    tcase_add_test(all, no_majority);
    tcase_add_test(all, not_everybody_can_tell);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
