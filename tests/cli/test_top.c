/* What `cantus top` makes of observations: rates from counts and the time between, histories, what
 * happens to them when processes come, go, and start anew; and the lines, for each page and size. The
 * observations are the test's, so every number on the screen is known. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/top_model.h"

static const uint64_t second_ns = UINT64_C(1000000000);
static struct observation *seen;
static struct top_model *model;
static struct top_view view;
static struct top_frame frame;

static void setup(void)
{
    seen = observation_create();
    model = top_model_create(0xabc);
    seen->mono_ns = 1000 * second_ns;
    view = (struct top_view) { .columns = 120 };
}

static void teardown(void)
{
    observation_destroy(seen);
    top_model_destroy(model);
}

static struct observed *add(const char *role, const char *name, uint64_t pid)
{
    struct observed *p = &seen->all[seen->count++];
    *p = (struct observed) { .alive = true, .pid = pid };
    snprintf(p->role, sizeof p->role, "%s", role);
    snprintf(p->name, sizeof p->name, "%s", name);
    snprintf(p->state, sizeof p->state, "fine");
    return p;
}

static void take(uint64_t ns)
{
    seen->mono_ns += ns;
    top_model_take(model, seen);
}

static const char *line_with(const char *text)
{
    top_frame_make(model, &view, &frame);
    for (uint32_t i = 0; i < frame.count; i++)
        if (strstr(frame.lines[i].text, text) != NULL)
            return frame.lines[i].text;
    return NULL;
}

START_TEST(numbers_are_short)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = { { 0, "0" },          { 950, "950" },        { 999.4, "999" },
                  { 999.6, "1.00k" },  { 12345, "12.3k" },    { 1.2e6, "1.20M" },
                  { 999999, "1.00M" }, { 123456789, "123M" }, { 1.5e9, "1.50G" },
                  { 1.8e19, "18.0E" } };
    char out[16];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ck_assert_str_eq(top_number(cases[i].value, out), cases[i].text);
        ck_assert_uint_le(strlen(out), 7);
    }
    ck_assert_str_eq(top_duration(350, out), "350ns");
    ck_assert_str_eq(top_duration(12300, out), "12.3us");
    ck_assert_str_eq(top_duration(4200000, out), "4.20ms");
    ck_assert_str_eq(top_duration(90 * second_ns, out), "90.0s");
}
END_TEST

START_TEST(rates_are_of_the_time_between)
{
    struct observed *s = add("sequencer", "s1", 10), *r = add("retransmitter", "r1", 11);
    s->counters[COUNTER_TIP] = r->counters[COUNTER_DURABLE] = 1000;
    take(0);
    ck_assert(model->all[0].rates[COUNTER_PROPOSALS_IN] == 0);
    s->counters[COUNTER_PROPOSALS_IN] = 500;
    s->counters[COUNTER_TIP] = 1600;
    r->counters[COUNTER_DURABLE] = 1400;
    s->counters[COUNTER_QUEUED] = 99; /* a gauge has no rate */
    take(second_ns / 2);
    ck_assert(model->all[0].rates[COUNTER_PROPOSALS_IN] == 1000);
    ck_assert(model->all[0].rates[COUNTER_QUEUED] == 0);
    ck_assert(model->all[0].messages_rate == 1200);
    ck_assert(model->all[1].messages_rate == 800);
    s->counters[COUNTER_TIP] = 100; /* a fork */
    take(second_ns);
    ck_assert(model->all[0].messages_rate == 0);
    ck_assert_uint_eq(model->all[0].messages.count, 2);
}
END_TEST

START_TEST(processes_come_go_and_start_anew)
{
    add("sequencer", "s1", 10);
    add("app", "x", 12);
    take(0);
    for (int i = 0; i < 5; i++)
        take(second_ns);
    /* One comes in the middle: the others keep their histories. */
    seen->count = 0;
    add("sequencer", "s1", 10);
    add("retransmitter", "r1", 11);
    add("app", "x", 12);
    take(second_ns);
    ck_assert_uint_eq(model->count, 3);
    ck_assert_uint_eq(model->all[0].messages.count, 6);
    ck_assert_uint_eq(model->all[1].messages.count, 0);
    ck_assert_uint_eq(model->all[2].messages.count, 6);
    ck_assert_str_eq(model->all[1].now.name, "r1");
    /* One goes, one is another run of the same name. */
    seen->count = 0;
    add("retransmitter", "r1", 11);
    add("app", "x", 99)->counters[COUNTER_GAPS] = 7;
    take(second_ns);
    ck_assert_uint_eq(model->count, 2);
    ck_assert_uint_eq(model->all[0].messages.count, 1);
    ck_assert_uint_eq(model->all[1].messages.count, 0);
    ck_assert(model->all[1].rates[COUNTER_GAPS] == 0);
    /* A remote one that has started anew shows by counts that fell. */
    seen->count = 0;
    add("sequencer", "s2", 0)->counters[COUNTER_DATAGRAMS_IN] = 50;
    take(second_ns);
    take(second_ns);
    ck_assert_uint_eq(model->all[0].messages.count, 1);
    seen->all[0].counters[COUNTER_DATAGRAMS_IN] = 49;
    take(second_ns);
    ck_assert_uint_eq(model->all[0].messages.count, 0);
}
END_TEST

START_TEST(as_many_as_can_be_observed)
{
    for (int round = 0; round < 3; round++) {
        seen->count = 0;
        for (int i = 0; i < OBSERVED_MAX; i++) {
            char name[32];
            snprintf(name, sizeof name, "app%d", i + round * 100);
            add("app", name, (uint64_t)(i + round * 100 + 1));
        }
        take(second_ns);
        ck_assert_uint_eq(model->count, OBSERVED_MAX);
        for (int i = 0; i < OBSERVED_MAX; i++)
            ck_assert_str_eq(model->all[i].now.name, seen->all[i].name);
    }
    top_frame_make(model, &view, &frame);
    ck_assert_uint_eq(frame.count, TOP_ROWS_MAX);
}
END_TEST

START_TEST(sparklines)
{
    char out[TOP_LINE_BYTES];
    struct top_history h = { 0 };
    ck_assert_str_eq(top_sparkline(&h, 3, false, out), "   ");
    for (int i = 0; i <= 7; i++)
        h.values[h.count++] = i * 10;
    ck_assert_str_eq(top_sparkline(&h, 10, false, out), "  ▁▂▃▄▅▆▇█");
    ck_assert_str_eq(top_sparkline(&h, 2, false, out), "▇█");
    ck_assert_str_eq(top_sparkline(&h, 8, true, out), "_.-=+*#@");
    struct top_history flat = { .count = 3 };
    ck_assert_str_eq(top_sparkline(&flat, 3, false, out), "▁▁▁");
    for (int i = 0; i < 3 * TOP_HISTORY_MAX; i++)
        h.values[h.count++ % TOP_HISTORY_MAX] = i;
    ck_assert_uint_eq(strlen(top_sparkline(&h, TOP_COLUMNS_MAX, true, out)), TOP_COLUMNS_MAX);
}
END_TEST

static void deployment(void)
{
    struct observed *s = add("sequencer", "s1", 10);
    s->counters[COUNTER_LEADING] = 1;
    s->counters[COUNTER_EPOCH] = 3;
    s->counters[COUNTER_TIP] = 12345;
    s->counters[COUNTER_STABLE] = 12340;
    s->counters[COUNTER_LAG] = 5;
    s->counters[COUNTER_MEMBERS] = 3;
    s->counters[COUNTER_MEMBERS_CURRENT] = 3;
    s->counters[COUNTER_QUORUM] = 2;
    s->counters[COUNTER_GAPS] = 17;
    s->counters[COUNTER_QUEUED] = 1;
    s->counters[COUNTER_QUEUE_MAX] = 8;
    struct observed *r = add("retransmitter", "r1", 11);
    r->counters[COUNTER_LAG] = 50;
    r->counters[COUNTER_DISK_FREE] = 1;
    r->counters[COUNTER_DISK_SIZE] = 4;
    r->counters[COUNTER_LOOP_PAUSE_MAX] = 1500000;
    snprintf(r->pause_max.what, sizeof r->pause_max.what, "r1: disk");
    add("app", "orders", 12)->counters[COUNTER_IN_FLIGHT] = 77;
    take(0);
    take(second_ns);
}

START_TEST(a_frame_says_what_there_is_to_say)
{
    deployment();
    const char *title = line_with("cantus top");
    ck_assert_ptr_nonnull(strstr(title, "s1 leads epoch 3  tip 12345  stable 12340"));
    ck_assert_ptr_nonnull(strstr(title, "0000000000000abc"));
    ck_assert_ptr_nonnull(line_with("3 of 3 acknowledge, 2 make stable"));
    ck_assert_ptr_nonnull(line_with("[flow]"));
    ck_assert_ptr_nonnull(strstr(line_with("r1  "), "fine"));
    view.page = TOP_LOSS;
    ck_assert_ptr_nonnull(strstr(line_with("s1  "), " 17 "));
    view.page = TOP_QUEUES;
    ck_assert_ptr_nonnull(strstr(line_with("s1  "), "12.5%"));
    ck_assert_ptr_nonnull(strstr(line_with("r1  "), "25.0%"));
    ck_assert_ptr_nonnull(strstr(line_with("orders"), " 77 "));
    view.page = TOP_LOOP;
    ck_assert_ptr_nonnull(strstr(line_with("r1  "), "1.50ms"));
    ck_assert_ptr_nonnull(strstr(line_with("r1  "), "r1: disk"));
    view.page = TOP_COUNTERS;
    view.selected = 1;
    ck_assert_ptr_nonnull(line_with("disk_free"));
    ck_assert_ptr_null(line_with("in_flight"));
    view.scroll = 3;
    ck_assert_ptr_null(line_with("tip  "));
    view.only = "nobody";
    ck_assert_ptr_nonnull(line_with("no process nobody"));
}
END_TEST

START_TEST(what_is_wrong_is_said)
{
    deployment();
    ck_assert_ptr_null(line_with("stood still"));
    seen->all[1].silent_ns = 5 * second_ns;
    seen->all[2].alive = false;
    seen->all[0].counters[COUNTER_MEMBERS_CURRENT] = 1;
    take(second_ns);
    ck_assert_ptr_nonnull(line_with("retransmitter r1: its event loop has stood still for 5.00s"));
    ck_assert_ptr_nonnull(line_with("app orders: was killed"));
    ck_assert_ptr_nonnull(line_with("nothing becomes stable"));
    ck_assert_ptr_nonnull(line_with("STALLED"));
    seen->all[0].alive = false;
    seen->all[0].remote = true;
    snprintf(seen->all[0].state, sizeof seen->all[0].state, "refused");
    take(second_ns);
    ck_assert_ptr_nonnull(line_with("nobody leads"));
    ck_assert_ptr_nonnull(line_with("sequencer s1: refused"));
    snprintf(seen->note, sizeof seen->note, "x.counters: written by another release");
    take(second_ns);
    ck_assert_ptr_nonnull(line_with("another release"));
}
END_TEST

static int row_of(const char *name)
{
    top_frame_make(model, &view, &frame);
    for (uint32_t i = 0; i < frame.count; i++)
        if (strncmp(frame.lines[i].text, name, strlen(name)) == 0)
            return (int)i;
    ck_abort_msg("no row of %s", name);
}

START_TEST(rows_are_sorted)
{
    deployment();
    ck_assert_int_lt(row_of("s1"), row_of("r1"));
    view.sort = TOP_BY_LAG;
    ck_assert_int_gt(row_of("s1"), row_of("r1"));
    view.sort = TOP_BY_PAUSE;
    seen->all[2].counters[COUNTER_LOOP_PAUSE_RECENT] = 9;
    take(second_ns);
    ck_assert_int_lt(row_of("orders"), row_of("s1"));
    view.sort = TOP_BY_RATE;
    seen->all[1].counters[COUNTER_DURABLE] = 9;
    take(second_ns);
    ck_assert_int_lt(row_of("r1"), row_of("s1"));
}
END_TEST

START_TEST(keys)
{
    deployment();
    ck_assert(top_view_key(&view, model, TOP_KEY_LEFT));
    ck_assert_int_eq(view.page, TOP_COUNTERS);
    ck_assert(top_view_key(&view, model, TOP_KEY_UP));
    ck_assert(top_view_key(&view, model, TOP_KEY_DOWN));
    ck_assert_uint_eq(view.scroll, 1);
    for (int i = 0; i < 2 * COUNTER_END; i++)
        top_view_key(&view, model, TOP_KEY_DOWN);
    ck_assert_uint_lt(view.scroll, COUNTER_END);
    ck_assert(top_view_key(&view, model, TOP_KEY_RIGHT));
    ck_assert_int_eq(view.page, TOP_FLOW);
    ck_assert_uint_eq(view.scroll, 0);
    for (int i = 0; i < 10; i++)
        top_view_key(&view, model, TOP_KEY_DOWN);
    ck_assert_uint_eq(view.selected, 2);
    top_view_key(&view, model, TOP_KEY_UP);
    ck_assert_uint_eq(view.selected, 1);
    top_view_key(&view, model, TOP_KEY_PAUSE);
    ck_assert_ptr_nonnull(line_with("[paused]"));
    top_view_key(&view, model, TOP_KEY_HELP);
    ck_assert_ptr_nonnull(line_with("quit"));
    ck_assert_ptr_null(line_with("[flow]"));
    for (int i = 0; i < TOP_SORTS; i++)
        top_view_key(&view, model, TOP_KEY_SORT);
    ck_assert_int_eq(view.sort, TOP_BY_NAME);
    ck_assert(!top_view_key(&view, model, TOP_KEY_QUIT));
}
END_TEST

static uint32_t letters(const char *text)
{
    uint32_t n = 0;
    for (; *text != '\0'; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* Whatever the size, no line is wider than the terminal, and there are no more than it has rows. */
START_TEST(frames_fit)
{
    deployment();
    for (int i = 0; i < 300; i++)
        take(second_ns);
    for (uint32_t columns = 0; columns <= TOP_COLUMNS_MAX + 50; columns += 7)
        for (uint32_t rows = 1; rows < 30; rows += 4)
            for (int page = 0; page < TOP_PAGES; page++) {
                view = (struct top_view) { .columns = columns,
                                           .rows = rows,
                                           .page = (enum top_page)page,
                                           .help = columns % 5 == 0 };
                top_frame_make(model, &view, &frame);
                ck_assert_uint_le(frame.count, rows);
                for (uint32_t i = 0; i < frame.count; i++)
                    ck_assert_uint_le(letters(frame.lines[i].text), columns);
            }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("top");
    TCase *tcase = tcase_create("top");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, numbers_are_short);
    tcase_add_test(tcase, rates_are_of_the_time_between);
    tcase_add_test(tcase, processes_come_go_and_start_anew);
    tcase_add_test(tcase, as_many_as_can_be_observed);
    tcase_add_test(tcase, sparklines);
    tcase_add_test(tcase, a_frame_says_what_there_is_to_say);
    tcase_add_test(tcase, what_is_wrong_is_said);
    tcase_add_test(tcase, rows_are_sorted);
    tcase_add_test(tcase, keys);
    tcase_add_test(tcase, frames_fit);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
