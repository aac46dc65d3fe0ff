/* Runs: groups, joined fragments, runs voided by an epoch record, and the limits. Messages are
 * offered one by one, each from a buffer that is overwritten afterwards, as a batch's would be. */
#include <check.h>
#include <stdlib.h>

#include "follow/run.h"
#include "proto/topic.h"

static struct run_assembler run;
static const struct run_message *out;
static uint64_t next_seq;
static uint8_t buffer[MESSAGE_PAYLOAD_MAX];

static void setup(void)
{
    ck_assert(run_init(&run, 0));
    next_seq = 100;
}

static void teardown(void)
{
    run_close(&run);
}

static uint32_t give(uint32_t publisher, uint8_t flags, const char *text)
{
    memset(buffer, 'x', sizeof buffer);
    memcpy(buffer, text, strlen(text));
    struct message m = { .seq = next_seq,
                         .timestamp_ns = 7 * next_seq,
                         .publisher_seq = next_seq - 50,
                         .topic = TOPIC_FIRST_USER,
                         .publisher = publisher,
                         .flags = flags,
                         .length = (uint32_t)strlen(text),
                         .payload = buffer };
    next_seq++;
    return run_offer(&run, &m, &out);
}

static uint32_t give_epoch(void)
{
    struct message m = { .seq = next_seq++, .topic = TOPIC_EPOCH, .length = 3, .payload = buffer };
    return run_offer(&run, &m, &out);
}

static void expect(const struct run_message *m, const char *text, uint64_t first_seq, uint64_t seq)
{
    ck_assert_uint_eq(m->message.length, strlen(text));
    ck_assert_mem_eq(m->message.payload, text, strlen(text));
    ck_assert_uint_eq(m->first_seq, first_seq);
    ck_assert_uint_eq(m->message.seq, seq);
    ck_assert_uint_eq(m->message.publisher_seq, first_seq - 50);
    ck_assert_uint_eq(m->fragments, seq - first_seq + 1);
    ck_assert_uint_eq(m->message.timestamp_ns, 7 * seq);
}

START_TEST(a_single_message_is_not_copied)
{
    ck_assert_uint_eq(give(1, 0, "one"), 1);
    expect(out, "one", 100, 100);
    ck_assert_ptr_eq(out->message.payload, buffer);
    ck_assert_uint_eq(give(2, 0, ""), 1);
    expect(out, "", 101, 101);
}
END_TEST

START_TEST(a_group_comes_whole)
{
    ck_assert_uint_eq(give(1, MESSAGE_MORE, "a"), 0);
    ck_assert_uint_eq(give(1, MESSAGE_MORE, "bb"), 0);
    ck_assert_uint_eq(give(1, MESSAGE_MORE, ""), 0);
    ck_assert_uint_eq(give(1, 0, "ccc"), 4);
    expect(&out[0], "a", 100, 100);
    expect(&out[1], "bb", 101, 101);
    expect(&out[2], "", 102, 102);
    expect(&out[3], "ccc", 103, 103);
    ck_assert_uint_eq(give(3, 0, "next"), 1);
    expect(out, "next", 104, 104);
}
END_TEST

START_TEST(fragments_are_joined)
{
    uint8_t on = MESSAGE_MORE | MESSAGE_FRAGMENT;
    ck_assert_uint_eq(give(1, on, "Can"), 0);
    ck_assert_uint_eq(give(1, on, ""), 0);
    ck_assert_uint_eq(give(1, 0, "tus"), 1);
    expect(out, "Cantus", 100, 102);
    ck_assert_uint_eq(out->message.flags, 0);
}
END_TEST

START_TEST(fragments_inside_a_group)
{
    uint8_t on = MESSAGE_MORE | MESSAGE_FRAGMENT;
    give(1, MESSAGE_MORE, "head");
    give(1, on, "bo");
    give(1, MESSAGE_MORE, "dy");
    ck_assert_uint_eq(give(1, 0, "end"), 3);
    expect(&out[0], "head", 100, 100);
    expect(&out[1], "body", 101, 102);
    ck_assert_uint_eq(out[1].message.flags, MESSAGE_MORE);
    expect(&out[2], "end", 103, 103);
}
END_TEST

START_TEST(an_epoch_record_voids_the_open_run)
{
    give(1, MESSAGE_MORE, "lost");
    ck_assert_uint_eq(give_epoch(), 1);
    ck_assert_uint_eq(out->message.topic, TOPIC_EPOCH);
    ck_assert_uint_eq(run.voided, 1);
    ck_assert_uint_eq(give(1, 0, "again"), 1);
    ck_assert_mem_eq(out->message.payload, "again", 5);
    ck_assert_uint_eq(give_epoch(), 1);
    ck_assert_uint_eq(run.voided, 1);
}
END_TEST

START_TEST(somebody_else_in_between_voids_it_too)
{
    give(1, MESSAGE_MORE, "a");
    ck_assert_uint_eq(give(2, 0, "b"), 1);
    expect(out, "b", 101, 101);
    ck_assert_uint_eq(run.voided, 1);
}
END_TEST

START_TEST(reset_forgets_without_counting)
{
    give(1, MESSAGE_MORE, "a");
    run_reset(&run);
    ck_assert_uint_eq(give(1, 0, "b"), 1);
    expect(out, "b", 101, 101);
    ck_assert_uint_eq(run.voided, 0);
}
END_TEST

START_TEST(bytes_are_limited)
{
    teardown();
    ck_assert(run_init(&run, 8));
    uint8_t on = MESSAGE_MORE | MESSAGE_FRAGMENT;
    give(1, on, "1234");
    ck_assert_uint_eq(give(1, 0, "5678"), 1);
    expect(out, "12345678", 100, 101);
    give(1, on, "1234");
    give(1, on, "56789");
    ck_assert_uint_eq(run.voided, 1);
    give(1, MESSAGE_MORE, "6");
    ck_assert_uint_eq(give(1, 0, "7"), 0);
    ck_assert_uint_eq(run.voided, 1);
    ck_assert_uint_eq(give(1, 0, "ok"), 1);
}
END_TEST

START_TEST(messages_are_limited)
{
    for (uint32_t i = 1; i < RUN_MESSAGES_MAX; i++)
        ck_assert_uint_eq(give(1, MESSAGE_MORE, "m"), 0);
    ck_assert_uint_eq(give(1, 0, "m"), RUN_MESSAGES_MAX);
    for (uint32_t i = 0; i < RUN_MESSAGES_MAX; i++)
        give(1, MESSAGE_MORE, "m");
    ck_assert_uint_eq(run.voided, 0);
    ck_assert_uint_eq(give(1, 0, "m"), 0);
    ck_assert_uint_eq(run.voided, 1);
    give(1, MESSAGE_MORE, "broken");
    ck_assert_uint_eq(give_epoch(), 1);
    ck_assert_uint_eq(run.voided, 2);
}
END_TEST

START_TEST(a_broken_run_is_counted_once)
{
    teardown();
    ck_assert(run_init(&run, 4));
    give(1, MESSAGE_MORE, "12345");
    ck_assert_uint_eq(give_epoch(), 1);
    ck_assert_uint_eq(run.voided, 1);
    ck_assert_uint_gt(run_memory(0), RUN_BYTES_DEFAULT);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("run");
    TCase *t = tcase_create("runs");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_single_message_is_not_copied);
    tcase_add_test(t, a_group_comes_whole);
    tcase_add_test(t, fragments_are_joined);
    tcase_add_test(t, fragments_inside_a_group);
    tcase_add_test(t, an_epoch_record_voids_the_open_run);
    tcase_add_test(t, somebody_else_in_between_voids_it_too);
    tcase_add_test(t, reset_forgets_without_counting);
    tcase_add_test(t, bytes_are_limited);
    tcase_add_test(t, messages_are_limited);
    tcase_add_test(t, a_broken_run_is_counted_once);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
