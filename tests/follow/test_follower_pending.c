/* The held batches against a plain sorted list: random insertions, links and removals, with windows
 * of every small size, so that the circular order wraps in every way. */
#include <check.h>
#include <stdlib.h>

#include "follow/follower_private.h"

enum { MAX = 40, STRIDE = 112 };

struct listed {
    uint64_t first_seq;
    uint32_t epoch;
};

static struct follower_held order[64];
static uint32_t free_slots[MAX];
static struct batch_header headers[MAX];
static uint8_t slots[MAX * STRIDE];
static struct follower_pending p;
static struct listed list[MAX];
static uint32_t count;
static uint32_t linked;

static void open_window(uint32_t max)
{
    uint32_t ring = 1;
    while (ring < max)
        ring *= 2;
    p = (struct follower_pending) { .order = order,
                                    .mask = ring - 1,
                                    .max = max,
                                    .stride = STRIDE,
                                    .free = free_slots,
                                    .headers = headers,
                                    .bytes = slots };
    pending_reset(&p);
    count = linked = 0;
}

/* One assertion for all: Check writes each of them down. */
static bool is_same(void)
{
    uint64_t used = 0;
    bool same = p.count == count && p.linked == linked && p.free_count == p.max - count;
    for (uint32_t i = 0; i < count && same; i++) {
        const struct follower_held *held = pending_at(&p, i);
        same = held->first_seq == list[i].first_seq &&
               pending_header(&p, i)->epoch.number == list[i].epoch &&
               pending_bytes(&p, i)[0] == (list[i].first_seq & 0xff) &&
               pending_bytes(&p, i)[1] == list[i].epoch && !(used & UINT64_C(1) << held->slot);
        used |= UINT64_C(1) << held->slot;
    }
    return same;
}

static void list_insert(uint32_t at, uint64_t first_seq, uint32_t epoch)
{
    memmove(&list[at + 1], &list[at], (count - at) * sizeof list[0]);
    list[at] = (struct listed) { first_seq, epoch };
    count++;
}

static void list_remove(uint32_t at)
{
    memmove(&list[at], &list[at + 1], (count - at - 1) * sizeof list[0]);
    count--;
    if (at < linked)
        linked--;
}

/* False if the list has no room for it either. */
static bool list_room(uint64_t first_seq)
{
    if (count < p.max)
        return true;
    if (linked == count || list[count - 1].first_seq < first_seq)
        return false;
    list_remove(count - 1);
    return true;
}

static void hold(uint64_t first_seq, uint32_t epoch)
{
    uint8_t bytes[STRIDE] = { (uint8_t)first_seq, (uint8_t)epoch };
    struct batch_header b = {
        .first_seq = first_seq, .count = 1, .length = STRIDE, .epoch = { .number = epoch }
    };
    bool overflowed = false;
    bool full = count == p.max;
    uint32_t at = linked;
    while (at < count && list[at].first_seq < first_seq)
        at++;
    bool same = at < count && list[at].first_seq == first_seq;
    enum pending_verdict verdict = pending_hold_ahead(&p, bytes, &b, &overflowed);
    if (same) {
        ck_assert_int_eq(verdict, epoch > list[at].epoch ? PENDING_REPLACED : PENDING_DUPLICATE);
        list[at].epoch = epoch > list[at].epoch ? epoch : list[at].epoch;
        ck_assert(!overflowed);
    } else if (list_room(first_seq)) {
        ck_assert_int_eq(verdict, PENDING_HELD);
        ck_assert(overflowed == full);
        list_insert(at, first_seq, epoch);
    } else {
        ck_assert_int_eq(verdict, PENDING_FULL);
        ck_assert(overflowed);
    }
}

static void link_next(void)
{
    uint64_t first_seq = linked > 0 ? list[linked - 1].first_seq + 1 : 1;
    if (linked < count && list[linked].first_seq <= first_seq)
        return;
    uint8_t bytes[STRIDE] = { (uint8_t)first_seq, 1 };
    struct batch_header b = {
        .first_seq = first_seq, .count = 1, .length = STRIDE, .epoch = { .number = 1 }
    };
    bool overflowed = false;
    bool held = pending_link(&p, bytes, &b, &overflowed);
    ck_assert(held == list_room(first_seq));
    if (held) {
        list_insert(linked, first_seq, 1);
        linked++;
        const struct batch_header *end = pending_linked_end(&p, first_seq + 1);
        ck_assert(end != NULL && end->first_seq == first_seq);
    }
    ck_assert(pending_linked_end(&p, first_seq + 2) == NULL);
}

START_TEST(follows_a_sorted_list)
{
    srand((unsigned)_i);
    for (uint32_t max = 1; max <= MAX; max++) {
        open_window(max);
        for (uint32_t i = 0; i < 150; i++) {
            switch (rand() % 5) {
            case 0:
            case 1:
                hold(60 + (uint64_t)(rand() % 60), 1 + (uint32_t)(rand() % 3));
                break;
            case 2:
            case 3:
                if (linked < 50)
                    link_next();
                break;
            default:
                if (count > 0) {
                    uint32_t at = rand() % 2 == 0 ? 0 : (uint32_t)rand() % count;
                    if (at < linked) /* in operation only the ends of the linked part go */
                        at = rand() % 2 == 0 ? 0 : linked - 1;
                    pending_remove(&p, at);
                    list_remove(at);
                }
                break;
            }
            ck_assert(is_same());
        }
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("follower_pending");
    TCase *t = tcase_create("window");
    tcase_add_loop_test(t, follows_a_sorted_list, 0, 4);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
