/* Goal: what was pushed and has not left is read back as it was, from any seq, over cuts; what has left or was
 * cut is said to be gone. Method: random messages, cuts and resets beside an array of all messages that hold;
 * questions are answered from the array. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/recent.h"

enum { MODEL_MAX = 200000, PAYLOAD_MAX = 60000 };

static uint64_t state;
static struct run_message *model; /* payload NULL: its bytes are those of payload_of */
static uint64_t *stables;
static uint32_t model_count, stretches;
static uint8_t payload[PAYLOAD_MAX];

static uint32_t draw(uint32_t below)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(state >> 33) % below;
}

static void fill(const struct run_message *m)
{
    memset(payload, (int)(m->message.seq * 31 + m->message.timestamp_ns), m->message.length);
}

/* Half of the time few topics and publishers, of which a stretch has a note. */
static uint32_t draw_name(uint64_t seq, uint32_t first, uint32_t below)
{
    return seq / 500 % 2 == 0 && draw(100) != 0 ? first + draw(3) : draw(below);
}

static void push(struct recent *r, uint64_t first_seq, uint32_t length, uint64_t time_ns)
{
    uint32_t fragments = 1 + draw(8) * (draw(10) == 0);
    struct run_message m = { .first_seq = first_seq, .fragments = fragments };
    m.message = (struct message) { .seq = first_seq + fragments - 1,
                                   .timestamp_ns = time_ns,
                                   .publisher_seq = draw(100),
                                   .topic = 1 + draw_name(first_seq, TOPIC_CLOCK - 2, 50),
                                   .publisher = draw_name(first_seq, 0, 50),
                                   .flags = (uint8_t)draw(2),
                                   .length = length };
    fill(&m);
    m.message.payload = payload;
    ck_assert_uint_lt(model_count, MODEL_MAX);
    stables[model_count] = draw(1000);
    model[model_count] = m;
    recent_push(r, &m, stables[model_count++]);
}

static void check_message(const struct run_message *got, uint64_t stable, uint32_t index)
{
    const struct run_message *m = &model[index];
    ck_assert_uint_eq(got->message.seq, m->message.seq);
    ck_assert_uint_eq(got->first_seq, m->first_seq);
    ck_assert_uint_eq(got->fragments, m->fragments);
    ck_assert_uint_eq(got->message.topic, m->message.topic);
    ck_assert_uint_eq(got->message.publisher, m->message.publisher);
    ck_assert_uint_eq(got->message.publisher_seq, m->message.publisher_seq);
    ck_assert_uint_eq(got->message.flags, m->message.flags);
    ck_assert_uint_eq(got->message.timestamp_ns, m->message.timestamp_ns);
    ck_assert_uint_eq(got->message.length, m->message.length);
    ck_assert_uint_eq(stable, stables[index]);
    fill(m);
    ck_assert_mem_eq(got->message.payload, payload, m->message.length);
}

/* The first of the model at or above seq. */
static uint32_t index_of(uint64_t seq)
{
    uint32_t low = 0, high = model_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (model[middle].message.seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_in(const uint32_t *all, uint32_t count, uint32_t what)
{
    while (count > 0 && all[count - 1] != what)
        count--;
    return count > 0;
}

/* What it says of the messages from this one on, and where it ends. */
static void check_stretch(const struct recent *r, struct recent_cursor at, uint32_t i)
{
    const struct recent_stretch *t = recent_stretch(r, &at);
    struct run_message m;
    uint64_t stable, clock_ns = 0;
    if (t == NULL)
        return;
    ck_assert_uint_lt(i, model_count);
    stretches++;
    for (; i < model_count && model[i].message.seq / RECENT_STRETCH == t->number; i++) {
        const struct message *is = &model[i].message;
        ck_assert(is_in(t->topics, t->topic_count, is->topic));
        ck_assert(is->publisher == 0 || is_in(t->publishers, t->publisher_count, is->publisher));
        ck_assert(is->topic != TOPIC_EPOCH && is->topic != TOPIC_GENESIS);
        ck_assert(is->topic != TOPIC_GRANT && is->topic != TOPIC_GROUP);
        clock_ns = is->topic == TOPIC_CLOCK ? is->timestamp_ns : clock_ns;
    }
    ck_assert_uint_ge(t->clock_ns, clock_ns);
    ck_assert_uint_eq(t->last_seq, model[i - 1].message.seq);
    ck_assert_uint_eq(t->last_ns, model[i - 1].message.timestamp_ns);
    recent_pass(&at, t);
    enum recent_result result = recent_next(r, &at, &m, &stable);
    ck_assert_int_eq(result, i < model_count ? RECENT_MESSAGE : RECENT_END);
    if (result == RECENT_MESSAGE)
        check_message(&m, stable, i);
}

static void check_from(const struct recent *r, uint64_t seq, uint32_t steps)
{
    struct recent_cursor c;
    if (seq < recent_oldest(r) || recent_oldest(r) == 0)
        return;
    ck_assert(recent_seek(r, seq, &c));
    for (uint32_t i = index_of(seq); steps > 0; i++, steps--) {
        struct run_message m;
        uint64_t stable;
        if (i % 16 == 0 || i + 3 > model_count)
            check_stretch(r, c, i);
        enum recent_result result = recent_next(r, &c, &m, &stable);
        ck_assert_int_eq(result, i < model_count ? RECENT_MESSAGE : RECENT_END);
        if (result == RECENT_END)
            return;
        check_message(&m, stable, i);
    }
}

static void check_time(const struct recent *r, uint64_t time_ns)
{
    uint64_t first_seq = 0;
    uint32_t i = 0;
    while (i < model_count && model[i].message.timestamp_ns < time_ns)
        i++;
    enum recent_result result = recent_find_time(r, time_ns, &first_seq);
    if (result == RECENT_MESSAGE)
        ck_assert_uint_eq(first_seq, model[i].first_seq);
    else if (result == RECENT_END)
        ck_assert_uint_eq(i, model_count);
    else if (i < model_count) /* it has left, or what is in front of it has */
        ck_assert_uint_le(model[i].first_seq, recent_oldest(r));
}

static void setup(void)
{
    state = 99;
    model_count = 0;
    model = calloc(MODEL_MAX, sizeof *model);
    stables = calloc(MODEL_MAX, sizeof *stables);
    ck_assert(model != NULL && stables != NULL);
}

static void teardown(void)
{
    free(model);
    free(stables);
}

START_TEST(reads_back_what_was_pushed)
{
    struct recent *r = recent_create(4 << 20);
    ck_assert_ptr_nonnull(r);
    uint64_t next = 1, time_ns = 1000, left = 0;
    state = 5 + (uint64_t)_i;
    struct recent_cursor old = { 0 };
    ck_assert(recent_seek(r, 1, &old));
    for (uint32_t step = 0; step < 60000; step++) {
        time_ns += draw(3);
        next += draw(200) == 0 ? draw(3000) : 0; /* a run that was voided */
        push(r, next, draw(400) == 0 ? draw(PAYLOAD_MAX) : draw(300), time_ns);
        next = model[model_count - 1].message.seq + 1;
        ck_assert_uint_eq(recent_end(r), next);
        if (draw(3000) == 0) {
            uint64_t back = draw(draw(2) == 0 ? 20 : 9000);
            uint64_t cut = back < next - recent_oldest(r) ? next - 1 - back : next - 1;
            recent_fork(r, cut);
            model_count = index_of(cut + 1);
            next = cut + 1;
            ck_assert_uint_le(recent_end(r), next);
            check_from(r, cut > 30 ? cut - 30 : cut, 40);
        }
        if (draw(50) == 0) {
            check_from(r, recent_oldest(r) + draw(12000), 20);
            check_from(r, recent_first(r), 3);
            check_time(r, time_ns - draw(9000));
        }
        if (recent_oldest(r) > 1) {
            struct recent_cursor c;
            ck_assert(!recent_seek(r, recent_oldest(r) - 1, &c));
            left++;
            struct run_message m;
            uint64_t stable;
            ck_assert_int_eq(recent_next(r, &old, &m, &stable), RECENT_GONE);
        }
        uint64_t first = recent_first(r);
        ck_assert(first == 1 || first % EDGE_BLOCK == 0);
        ck_assert_uint_ge(first, recent_oldest(r));
        /* No whole block is left out. */
        if (first > EDGE_BLOCK && first < recent_end(r))
            ck_assert_uint_gt(recent_oldest(r), first - EDGE_BLOCK);
    }
    ck_assert_uint_gt(left, 1000);
    check_from(r, recent_oldest(r), MODEL_MAX);
    ck_assert_uint_gt(stretches, 1000);
    recent_destroy(r);
}
END_TEST

START_TEST(may_begin_anywhere)
{
    struct recent *r = recent_create(4 << 20);
    ck_assert_uint_eq(recent_oldest(r), 0);
    ck_assert_uint_eq(recent_first(r), 0);
    push(r, 5000, 10, 1);
    ck_assert_uint_eq(recent_oldest(r), 5000);
    ck_assert_uint_eq(recent_first(r), 8192); /* no block is whole */
    push(r, 9000, 10, 2);
    ck_assert_uint_eq(recent_first(r), 8192);
    check_from(r, 5000, 10);
    recent_destroy(r);
}
END_TEST

START_TEST(a_cursor_finds_its_place_after_a_cut)
{
    struct recent *r = recent_create(4 << 20);
    struct recent_cursor c;
    struct run_message m;
    uint64_t stable;
    for (uint64_t seq = 1; seq <= 10; seq = model[model_count - 1].message.seq + 1)
        push(r, seq, 50, seq);
    ck_assert(recent_seek(r, 1, &c));
    ck_assert_int_eq(recent_next(r, &c, &m, &stable), RECENT_MESSAGE);
    recent_fork(r, m.message.seq);
    model_count = 1;
    ck_assert_int_eq(recent_next(r, &c, &m, &stable), RECENT_END);
    push(r, model[0].message.seq + 1, 3, 50);
    ck_assert_int_eq(recent_next(r, &c, &m, &stable), RECENT_MESSAGE);
    check_message(&m, stable, 1);
    recent_destroy(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_recent");
    TCase *tcase = tcase_create("recent");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, reads_back_what_was_pushed, 0, 3);
    tcase_add_test(tcase, may_begin_anywhere);
    tcase_add_test(tcase, a_cursor_finds_its_place_after_a_cut);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
