/* Goal: the table keeps its order, and finds where two histories part.
 *
 * The common end is checked against a plain model as well: histories are drawn as arrays of epochs
 * by a seeded generator that lets leaders adopt any earlier prefix, and the longest common prefix
 * of two arrays is what the tables must find, or say that they can't know. */
#include "proto/epoch_table.h"
#include "tests/proto/suite.h"

static struct epoch_table mine;
static struct epoch_table other;

static struct epoch_entry entry(uint32_t number, uint64_t candidate, uint64_t first_seq)
{
    return (struct epoch_entry) { { candidate, number }, first_seq, { first_seq, number } };
}

START_TEST(order_is_kept)
{
    epoch_table_reset(&mine);
    ck_assert(!epoch_table_append(&mine, entry(0, 0, 0)));
    ck_assert(epoch_table_append(&mine, entry(0, 0, 1)));
    ck_assert(epoch_table_append(&mine, entry(1, 9, 2)));
    ck_assert(!epoch_table_append(&mine, entry(1, 10, 5)));
    ck_assert(!epoch_table_append(&mine, entry(0, 0, 5)));
    ck_assert(!epoch_table_append(&mine, entry(2, 1, 2)));
    ck_assert(epoch_table_append(&mine, entry(5, 1, 3)));
    ck_assert_uint_eq(mine.count, 3);
    while (mine.count < EPOCH_TABLE_MAX)
        ck_assert(epoch_table_append(&mine, entry(5 + mine.count, 1, 100 + mine.count)));
    ck_assert(!epoch_table_append(&mine, entry(1000000, 1, 1000000)));
}
END_TEST

START_TEST(finding)
{
    epoch_table_reset(&mine);
    ck_assert_ptr_null(epoch_table_find(&mine, 1));
    epoch_table_append(&mine, entry(0, 0, 1));
    epoch_table_append(&mine, entry(1, 9, 2));
    epoch_table_append(&mine, entry(3, 8, 10));
    ck_assert_ptr_null(epoch_table_find(&mine, 0));
    ck_assert_ptr_eq(epoch_table_find(&mine, 1), &mine.entries[0]);
    ck_assert_ptr_eq(epoch_table_find(&mine, 2), &mine.entries[1]);
    ck_assert_ptr_eq(epoch_table_find(&mine, 9), &mine.entries[1]);
    ck_assert_ptr_eq(epoch_table_find(&mine, 10), &mine.entries[2]);
    ck_assert_ptr_eq(epoch_table_find(&mine, UINT64_MAX), &mine.entries[2]);

    ck_assert(epoch_table_has(&mine, 20, (struct position) { { 7, 7 }, 0 }));
    ck_assert(epoch_table_has(&mine, 20, (struct position) { { 9, 1 }, 9 }));
    ck_assert(!epoch_table_has(&mine, 20, (struct position) { { 9, 1 }, 10 }));
    ck_assert(!epoch_table_has(&mine, 20, (struct position) { { 8, 1 }, 9 }));
    ck_assert(epoch_table_has(&mine, 20, (struct position) { { 8, 3 }, 20 }));
    ck_assert(!epoch_table_has(&mine, 20, (struct position) { { 8, 3 }, 21 }));

    epoch_table_cut(&mine, 10);
    ck_assert_uint_eq(mine.count, 3);
    epoch_table_cut(&mine, 9);
    ck_assert_uint_eq(mine.count, 2);
    epoch_table_cut(&mine, 0);
    ck_assert_uint_eq(mine.count, 0);
}
END_TEST

START_TEST(parting)
{
    const struct digest my_digest = { 77, 77 };
    const struct digest other_digest = { 88, 88 };
    epoch_table_reset(&mine);
    epoch_table_append(&mine, entry(0, 0, 1));
    epoch_table_append(&mine, entry(1, 9, 2));
    epoch_table_append(&mine, entry(2, 5, 30)); /* dropped by the other */
    other = mine;
    epoch_table_cut(&other, 20);
    epoch_table_append(&other, entry(3, 6, 21));

    struct common_end end =
        epoch_table_common_end(&mine, 40, my_digest, other.entries, other.count, 50, other_digest);
    ck_assert(end.known);
    ck_assert_uint_eq(end.seq, 20);
    ck_assert(digest_equal(end.digest, other.entries[2].before));
    /* The same from the other's side. */
    end = epoch_table_common_end(&other, 50, other_digest, mine.entries, mine.count, 40, my_digest);
    ck_assert(end.known);
    ck_assert_uint_eq(end.seq, 20);
    /* My tail is shorter than where the other left. */
    end =
        epoch_table_common_end(&mine, 10, my_digest, other.entries, other.count, 50, other_digest);
    ck_assert_uint_eq(end.seq, 10);
    ck_assert(digest_equal(end.digest, my_digest));
    /* Only its newest entry is given: it does not reach back to what is shared. */
    end = epoch_table_common_end(&mine, 40, my_digest, other.entries + 2, 1, 50, other_digest);
    ck_assert(!end.known);
    end = epoch_table_common_end(&mine, 40, my_digest, other.entries + 1, 2, 50, other_digest);
    ck_assert(end.known);
    ck_assert_uint_eq(end.seq, 20);
    /* One of the two is empty. */
    end = epoch_table_common_end(&mine, 0, my_digest, other.entries, other.count, 50, other_digest);
    ck_assert(end.known);
    ck_assert_uint_eq(end.seq, 0);
    ck_assert(digest_equal(end.digest, (struct digest) { 0, 0 }));
}
END_TEST

START_TEST(contradictions_are_unknown)
{
    const struct digest my_digest = { 77, 77 };
    const struct digest other_digest = { 88, 88 };
    epoch_table_reset(&mine);
    epoch_table_append(&mine, entry(0, 0, 1));
    epoch_table_append(&mine, entry(1, 9, 2));
    other = mine;
    struct common_end end =
        epoch_table_common_end(&mine, 40, my_digest, other.entries, other.count, 40, my_digest);
    ck_assert(end.known);
    ck_assert_uint_eq(end.seq, 40);
    end =
        epoch_table_common_end(&mine, 40, my_digest, other.entries, other.count, 40, other_digest);
    ck_assert(!end.known);
    other.entries[1].first_seq = 3;
    end =
        epoch_table_common_end(&mine, 40, my_digest, other.entries, other.count, 50, other_digest);
    ck_assert(!end.known);
    other.entries[1] = mine.entries[1];
    other.entries[1].before.low ^= 1;
    end =
        epoch_table_common_end(&mine, 40, my_digest, other.entries, other.count, 50, other_digest);
    ck_assert(!end.known);
}
END_TEST

enum { MODEL_HISTORIES = 8, MODEL_LENGTH = 60 };

struct model {
    uint32_t length;
    uint32_t epochs[MODEL_LENGTH]; /* by seq - 1 */
};

static uint64_t seed;

static uint32_t below(uint32_t end)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(seed >> 33) % end;
}

/* The digest through seq, as good as a hash of the prefix for histories made this way: the epoch of
 * the last message and its seq say which prefix it is. */
static struct digest model_digest(const struct model *m, uint32_t seq)
{
    return (struct digest) { seq, seq == 0 ? 0 : m->epochs[seq - 1] };
}

static void model_table(const struct model *m, struct epoch_table *table)
{
    epoch_table_reset(table);
    for (uint32_t i = 0; i < m->length; i++) {
        if (i == 0 || m->epochs[i] != m->epochs[i - 1]) {
            struct epoch_entry e = { { m->epochs[i], m->epochs[i] }, i + 1, model_digest(m, i) };
            ck_assert(epoch_table_append(table, e));
        }
    }
}

START_TEST(parting_agrees_with_a_model)
{
    unsigned known = 0;
    for (seed = 1; seed < 2000; seed++) {
        uint64_t drawn = seed;
        struct model histories[MODEL_HISTORIES];
        histories[0] = (struct model) { .length = 1, .epochs = { 0 } };
        for (uint32_t h = 1; h < MODEL_HISTORIES; h++) {
            /* Leader h adopts a prefix of an earlier history and appends to it. */
            histories[h] = histories[below(h)];
            uint32_t keep = 1 + below(histories[h].length);
            uint32_t more = 1 + below(6);
            for (uint32_t i = 0; i < more; i++)
                histories[h].epochs[keep + i] = h;
            histories[h].length = keep + more;
        }
        const struct model *a = &histories[below(MODEL_HISTORIES)];
        struct model b = histories[below(MODEL_HISTORIES)];
        b.length = 1 + below(b.length); /* a receiver of only some of it */
        uint32_t same = 0;
        while (same < a->length && same < b.length && a->epochs[same] == b.epochs[same])
            same++;
        model_table(a, &mine);
        model_table(&b, &other);
        uint32_t skip = below(other.count);
        struct common_end end = epoch_table_common_end(&mine, a->length, model_digest(a, a->length),
                                                       other.entries + skip, other.count - skip,
                                                       b.length, model_digest(&b, b.length));
        if (end.known) {
            ck_assert_uint_eq(end.seq, same);
            ck_assert(digest_equal(end.digest, model_digest(a, same)));
            known++;
        } else {
            ck_assert_uint_gt(skip, 0);
        }
        seed = drawn;
    }
    ck_assert_uint_gt(known, 500);
}
END_TEST

SUITE_RUN("epoch_table", order_is_kept, finding, parting, contradictions_are_unknown,
          parting_agrees_with_a_model)
