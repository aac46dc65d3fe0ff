/* Goal: each proxy counts for as long as it last said and no longer, whoever else comes, goes or is too many. At
 * random places it is compared with a table that has a row for each that there could be. */
#include "proto/presence.h"
#include "tests/proto/suite.h"

START_TEST(each_counts_until_it_leaves_or_is_silent)
{
    struct presence p = { 0 };
    ck_assert(presence_set(&p, 7, 100, 200));
    ck_assert(presence_set(&p, 8, 110, 150));
    ck_assert_uint_eq(presence_count(&p, 149), 2);
    ck_assert_uint_eq(presence_count(&p, 150), 1);
    ck_assert(presence_has(&p, 8, 149) && !presence_has(&p, 8, 150));
    ck_assert(presence_set(&p, 8, 120, 300)); /* once more: it is one */
    ck_assert_uint_eq(presence_count(&p, 160), 2);
    ck_assert(presence_set(&p, 7, 160, 160));
    ck_assert_uint_eq(presence_count(&p, 160), 1);
    ck_assert(!presence_has(&p, 7, 160));
    ck_assert(presence_set(&p, 9, 170, 170)); /* it was never there */
    ck_assert_uint_eq(p.count, 1);
}
END_TEST

START_TEST(there_is_room_for_so_many_and_for_others_once_some_are_silent)
{
    struct presence p = { 0 };
    for (uint32_t i = 1; i <= PRESENCE_MAX; i++)
        ck_assert(presence_set(&p, i, 10, i == 5 ? 50 : 100));
    ck_assert(!presence_set(&p, 1000, 10, 100));
    ck_assert(!presence_has(&p, 1000, 10));
    ck_assert(presence_set(&p, 1000, 10, 10));
    ck_assert(presence_set(&p, 3, 20, 200)); /* who is there goes on */
    ck_assert(presence_set(&p, 1000, 50, 100));
    ck_assert_uint_eq(presence_count(&p, 50), PRESENCE_MAX);
    ck_assert(!presence_has(&p, 5, 50));
}
END_TEST

START_TEST(it_is_what_a_larger_table_says)
{
    enum { PUBLISHERS = 90 };
    uint64_t until[PUBLISHERS] = { 0 }, now = 0, noise = 1;
    struct presence p = { 0 };
    for (uint32_t i = 0; i < 20000; i++) {
        noise = noise * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint32_t publisher = (uint32_t)(noise >> 33) % PUBLISHERS, count = 0, others = 0;
        uint64_t lasts = noise >> 60 == 0 ? 0 : (noise >> 50) % 100;
        now += noise >> 63;
        for (uint32_t k = 0; k < PUBLISHERS; k++)
            others += k != publisher && until[k] > now;
        bool fits = presence_set(&p, publisher, now, now + lasts);
        if (fits != (lasts == 0 || others < PRESENCE_MAX))
            ck_abort_msg("publisher %u in round %u", publisher, i);
        if (fits)
            until[publisher] = now + lasts;
        for (uint32_t k = 0; k < PUBLISHERS; k++) {
            if (presence_has(&p, k, now) != (until[k] > now))
                ck_abort_msg("publisher %u in round %u", k, i);
            count += until[k] > now;
        }
        if (presence_count(&p, now) != count)
            ck_abort_msg("%u in round %u", count, i);
    }
}
END_TEST

SUITE_RUN("presence", each_counts_until_it_leaves_or_is_silent,
          there_is_room_for_so_many_and_for_others_once_some_are_silent,
          it_is_what_a_larger_table_says)
