/* Goal: the ledger follows numbers and last seqs, holds a run back until its last message, and says
 * of every broken rule that it is broken. */
#include "proto/ledger.h"
#include "tests/proto/suite.h"

static const struct catalog_options small = { .topics_max = 32, .publishers_max = 4 };

struct bed {
    struct ledger l;
    uint64_t seq;
};

static bool apply(struct bed *bed, uint32_t publisher, uint64_t number, uint32_t topic,
                  uint8_t flags)
{
    struct message m = { .seq = bed->seq + 1,
                         .publisher = publisher,
                         .publisher_seq = number,
                         .topic = topic,
                         .flags = flags };
    if (!ledger_apply(&bed->l, &m))
        return false;
    bed->seq++;
    return true;
}

static bool reject(struct bed *bed, uint32_t publisher, uint64_t number, uint32_t count)
{
    uint8_t payload[SYS_PAYLOAD_MAX];
    struct sys_reject r = { .reason = REJECT_CONDITION, .topic = 16, .count = count };
    size_t length = sys_reject_encode(&r, payload, sizeof payload);
    struct message m = { .seq = bed->seq + 1,
                         .publisher = publisher,
                         .publisher_seq = number,
                         .topic = TOPIC_REJECT,
                         .length = (uint32_t)length,
                         .payload = payload };
    if (!ledger_apply(&bed->l, &m))
        return false;
    bed->seq++;
    return true;
}

static struct bed *bed_open(void)
{
    static struct bed bed;
    bed.seq = 100;
    ck_assert(ledger_init(&bed.l, &small));
    return &bed;
}

START_TEST(numbers_and_last_seqs)
{
    struct bed *bed = bed_open();
    ck_assert_uint_eq(ledger_next(&bed->l, 1), 1);
    ck_assert_uint_eq(ledger_last_seq(&bed->l, 16), 0);
    ck_assert(!apply(bed, 1, 2, 16, 0)); /* ahead */
    ck_assert(!apply(bed, 1, 0, 16, 0));
    ck_assert(apply(bed, 1, 1, 16, 0));
    ck_assert(!apply(bed, 1, 1, 16, 0)); /* twice */
    ck_assert(apply(bed, 1, 2, 17, 0));
    ck_assert(apply(bed, 3, 1, 16, 0));
    ck_assert_uint_eq(ledger_next(&bed->l, 1), 3);
    ck_assert_uint_eq(ledger_next(&bed->l, 2), 1);
    ck_assert_uint_eq(ledger_last_seq(&bed->l, 16), 103);
    ck_assert_uint_eq(ledger_last_seq(&bed->l, 17), 102);
    ck_assert(apply(bed, 1, 3, TOPIC_TOPIC, 0));
    ck_assert(apply(bed, 0, 0, TOPIC_CLOCK, 0));
    ck_assert_uint_eq(ledger_last_seq(&bed->l, TOPIC_CLOCK), 105);
    ck_assert(apply(bed, 0, 0, 16, 0));
    ledger_close(&bed->l);
}
END_TEST

START_TEST(what_the_stream_may_not_hold)
{
    struct bed *bed = bed_open();
    ck_assert(!apply(bed, 1, 1, 0, 0));                      /* no topic */
    ck_assert(!apply(bed, 1, 1, 32, 0));                     /* topic out of range */
    ck_assert(!apply(bed, 4, 1, 16, 0));                     /* publisher out of range */
    ck_assert(!apply(bed, 0, 1, TOPIC_CLOCK, 0));            /* the sequencer has no numbers */
    ck_assert(!apply(bed, 0, 0, 16, MESSAGE_MORE));          /* and no runs */
    ck_assert(!apply(bed, 0, 0, TOPIC_REJECT, 0));           /* and is not rejected */
    ck_assert(!apply(bed, 1, 1, TOPIC_EPOCH, 0));            /* not a publisher's to write */
    ck_assert(!apply(bed, 1, 1, TOPIC_TOPIC, MESSAGE_MORE)); /* never in a run */
    ck_assert(!apply(bed, 1, 1, TOPIC_REJECT, 0));           /* a reject without its payload */
    ck_assert_uint_eq(ledger_next(&bed->l, 1), 1);
    ck_assert(apply(bed, 1, 1, 16, 0));
    ledger_close(&bed->l);
}
END_TEST

START_TEST(rejects_consume_numbers)
{
    struct bed *bed = bed_open();
    ck_assert(!reject(bed, 1, 2, 1));
    ck_assert(!reject(bed, 0, 0, 1));
    ck_assert(reject(bed, 1, 1, 1));
    ck_assert_uint_eq(ledger_next(&bed->l, 1), 2);
    ck_assert_uint_eq(ledger_last_seq(&bed->l, TOPIC_REJECT), 101);
    ck_assert_uint_eq(ledger_last_seq(&bed->l, 16), 0);
    ck_assert(reject(bed, 1, 2, 5));
    ck_assert_uint_eq(ledger_next(&bed->l, 1), 7);
    bed->l.next[2] = PUBLISHER_SEQ_MAX;
    ck_assert(!reject(bed, 2, PUBLISHER_SEQ_MAX, 2));
    ck_assert(reject(bed, 2, PUBLISHER_SEQ_MAX, 1));
    ledger_close(&bed->l);
}
END_TEST

START_TEST(a_run_counts_when_it_ends)
{
    struct bed *bed = bed_open();
    ck_assert(apply(bed, 1, 1, 16, MESSAGE_MORE | MESSAGE_FRAGMENT));
    ck_assert(apply(bed, 1, 2, 16, MESSAGE_MORE));
    ck_assert_uint_eq(ledger_next(&bed->l, 1), 1);
    ck_assert_uint_eq(ledger_last_seq(&bed->l, 16), 0);
    ck_assert(!apply(bed, 1, 2, 17, 0));          /* out of turn */
    ck_assert(!apply(bed, 2, 1, 17, 0));          /* another's */
    ck_assert(!apply(bed, 0, 0, TOPIC_CLOCK, 0)); /* ticks fall between runs */
    ck_assert(!reject(bed, 1, 3, 1));
    ck_assert(!reject(bed, 2, 1, 1));
    ck_assert(!apply(bed, 1, 3, TOPIC_TOPIC, 0));
    bed->seq++; /* a message is missing */
    ck_assert(!apply(bed, 1, 3, 17, 0));
    bed->seq--;
    ck_assert(apply(bed, 1, 3, 17, 0));
    ck_assert_uint_eq(ledger_next(&bed->l, 1), 4);
    ck_assert_uint_eq(ledger_last_seq(&bed->l, 16), 102);
    ck_assert_uint_eq(ledger_last_seq(&bed->l, 17), 103);
    ck_assert(apply(bed, 2, 1, 16, 0));
    ledger_close(&bed->l);
}
END_TEST

START_TEST(an_epoch_record_voids_a_run)
{
    struct bed *bed = bed_open();
    ck_assert(apply(bed, 1, 1, 16, MESSAGE_MORE));
    ck_assert(apply(bed, 1, 2, 16, MESSAGE_MORE));
    ck_assert(apply(bed, 0, 0, TOPIC_EPOCH, 0));
    ck_assert_uint_eq(ledger_next(&bed->l, 1), 1);
    ck_assert_uint_eq(ledger_last_seq(&bed->l, 16), 0);
    ck_assert_uint_eq(ledger_last_seq(&bed->l, TOPIC_EPOCH), 103);
    ck_assert(!apply(bed, 1, 3, 16, 0));
    ck_assert(apply(bed, 1, 1, 16, 0)); /* its numbers are free again */
    ledger_close(&bed->l);
}
END_TEST

START_TEST(a_run_has_a_longest)
{
    struct bed *bed = bed_open();
    for (uint64_t number = 1; number < RUN_MESSAGES_MAX; number++)
        ck_assert(apply(bed, 1, number, 16, MESSAGE_MORE));
    ck_assert(apply(bed, 1, RUN_MESSAGES_MAX, 16, 0));
    for (uint64_t number = 1; number <= RUN_MESSAGES_MAX; number++)
        ck_assert(apply(bed, 2, number, 16, MESSAGE_MORE));
    ck_assert(!apply(bed, 2, RUN_MESSAGES_MAX + 1, 16, 0));
    ledger_close(&bed->l);
}
END_TEST

START_TEST(digest_is_of_the_state_alone)
{
    struct bed *bed = bed_open();
    struct ledger *big = malloc(sizeof *big);
    ck_assert_ptr_nonnull(big);
    ck_assert(ledger_init(big, NULL));
    ck_assert_uint_eq(ledger_digest(big), ledger_digest(&bed->l));
    struct message m = {
        .seq = 101, .publisher = 1, .publisher_seq = 1, .topic = 16, .flags = MESSAGE_MORE
    };
    uint64_t empty = ledger_digest(big);
    ck_assert(ledger_apply(big, &m));
    ck_assert_uint_ne(ledger_digest(big), empty); /* an open run is part of the state */
    ck_assert(ledger_apply(&bed->l, &m));
    ck_assert_uint_eq(ledger_digest(big), ledger_digest(&bed->l));

    struct ledger *copy = malloc(sizeof *copy);
    ck_assert_ptr_nonnull(copy);
    ck_assert(ledger_init(copy, &small));
    ledger_copy(copy, &bed->l);
    ck_assert_uint_eq(ledger_digest(copy), ledger_digest(&bed->l));
    m.seq = 102;
    m.publisher_seq = 2;
    m.flags = 0;
    ck_assert(ledger_apply(copy, &m));
    ck_assert(ledger_apply(big, &m));
    ck_assert_uint_eq(ledger_digest(copy), ledger_digest(big));
    ledger_reset(big);
    ck_assert_uint_eq(ledger_digest(big), empty);
    ledger_close(copy);
    ledger_close(big);
    ledger_close(&bed->l);
    free(copy);
    free(big);
}
END_TEST

SUITE_RUN("ledger", numbers_and_last_seqs, what_the_stream_may_not_hold, rejects_consume_numbers,
          a_run_counts_when_it_ends, an_epoch_record_voids_a_run, a_run_has_a_longest,
          digest_is_of_the_state_alone)
