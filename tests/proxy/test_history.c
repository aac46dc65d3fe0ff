/* Goal: what a store has comes whole, in order and once, whatever the stores do; what is not of the stream's
 * history never comes; what all have pruned is said to be lost. Method: a generated stream behind two stores that
 * break off, refuse, prune and lie; readers that refuse at random; each is compared with the stream. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/history.h"
#include "store.h"

enum { READERS = 6 };

struct reader {
    uint64_t next_seq, end_seq;
    uint32_t replay;
    bool done, refuses;
    bool stuck; /* refuses all */
    uint64_t failed;
    uint64_t refused;
};

struct rig {
    struct stream *stream;
    struct store store;
    struct history *history;
    struct port_time now;
    uint64_t counters[COUNTER_END];
    struct reader readers[READERS];
};

static bool on_message(void *ctx, void *reader, const struct run_message *m, uint64_t stable)
{
    struct rig *g = ctx;
    struct reader *r = reader;
    uint32_t i = stream_index(g->stream, r->next_seq);
    if (r->stuck || (r->refuses && stream_draw(g->stream, 20) == 0)) {
        r->refused++;
        return false;
    }
    ck_assert_uint_lt(i, g->stream->message_count);
    const struct stream_message *real = &g->stream->messages[i];
    ck_assert_uint_eq(m->message.seq, real->whole.message.seq);
    ck_assert_uint_eq(m->first_seq, real->whole.first_seq);
    ck_assert_uint_eq(m->message.length, real->whole.message.length);
    ck_assert_mem_eq(m->message.payload, real->payload, m->message.length);
    ck_assert_uint_eq(stable, real->stable);
    r->next_seq = m->message.seq + 1;
    return true;
}

static void on_done(void *ctx, void *reader)
{
    struct rig *g = ctx;
    struct reader *r = reader;
    r->done = true;
    uint32_t i = stream_index(g->stream, r->next_seq); /* nothing is left */
    ck_assert_msg(i == g->stream->message_count ||
                      g->stream->messages[i].whole.message.seq >= r->end_seq,
                  "done with %lu left of %lu, refused %lu", r->next_seq, r->end_seq, r->refused);
}

static void on_failed(void *ctx, void *reader, uint64_t oldest_seq)
{
    (void)ctx;
    ((struct reader *)reader)->failed = oldest_seq;
}

static bool on_event(void *ctx, const struct port_stream_event *e, size_t *consumed)
{
    struct rig *g = ctx;
    return history_on_stream(g->history, e, g->now, consumed);
}

static void rig_init(struct rig *g, uint64_t seed)
{
    memset(g, 0, sizeof *g);
    uint32_t first;
    g->stream = stream_new(seed);
    while (g->stream->next_seq < 12000)
        stream_write(g->stream, &first);
    store_init(&g->store, g->stream);
    struct history_options o = { .stream = STREAM_ID,
                                 .source_count = 2,
                                 .sources = { { .stream = { .ip = 1, .port = 1 } },
                                              { .stream = { .ip = 1, .port = 2 } } },
                                 .replays_max = 2,
                                 .waiting_max = 16 };
    g->history =
        history_create(&o, &g->store.port, catalog_epochs(g->stream->catalog), g->counters);
    struct history_callbacks callbacks = { on_message, on_done, on_failed, g };
    history_listen(g->history, &callbacks);
    g->now.mono_ns = 1000;
}

static void rig_close(struct rig *g)
{
    history_destroy(g->history);
    store_close(&g->store);
    stream_free(g->stream);
}

static void ask(struct rig *g, struct reader *r, uint64_t first_seq, uint64_t end_seq)
{
    *r = (struct reader) { .next_seq = first_seq, .end_seq = end_seq };
    r->replay = history_ask(g->history, first_seq, end_seq, r);
    ck_assert_uint_ne(r->replay, HISTORY_NONE);
}

static void turn(struct rig *g)
{
    g->now.mono_ns += 5000000;
    (void)history_step(g->history, g->now);
    store_pump(&g->store, on_event, g);
    for (uint32_t i = 0; i < READERS; i++)
        if (g->readers[i].replay != HISTORY_NONE && !g->readers[i].done &&
            g->readers[i].failed == 0 && stream_draw(g->stream, 3) == 0)
            history_resume(g->history, g->readers[i].replay);
}

START_TEST(everything_comes_whatever_stores_do)
{
    static struct rig rig;
    struct rig *g = &rig;
    rig_init(g, 77 + (uint64_t)_i);
    g->store.breaks = _i == 1 ? 20 : 0;
    g->store.lies = _i == 2 ? 100 : 0;
    g->store.refuses = _i == 3 ? 2 : 0;
    g->store.oldest_seq_of_second = _i == 4 ? 9000 : 0;
    for (uint32_t i = 0; i < READERS; i++) {
        uint64_t first = 1 + stream_draw(g->stream, 9000);
        ask(g, &g->readers[i], first, first + 1 + stream_draw(g->stream, 2900));
        g->readers[i].refuses = i % 2 == 0;
    }
    uint32_t turns = 0;
    for (uint32_t done = 0; done < READERS && turns < 100000; turns++) {
        turn(g);
        done = 0;
        for (uint32_t i = 0; i < READERS; i++)
            done += g->readers[i].done;
    }
    for (uint32_t i = 0; i < READERS; i++) {
        ck_assert(g->readers[i].done);
        ck_assert_uint_eq(g->readers[i].failed, 0);
    }
    rig_close(g);
}
END_TEST

START_TEST(what_nobody_has_is_lost)
{
    static struct rig rig;
    struct rig *g = &rig;
    rig_init(g, 5);
    g->store.oldest_seq = 6000;
    g->store.oldest_seq_of_second = 5000;
    ask(g, &g->readers[0], 100, 7000);
    for (uint32_t i = 0; i < 1000 && g->readers[0].failed == 0; i++)
        turn(g);
    ck_assert_uint_eq(g->readers[0].failed, 5000);
    ask(g, &g->readers[0], 10000, 11000);
    for (uint32_t i = 0; i < 1000 && !g->readers[0].done; i++)
        turn(g);
    ck_assert(g->readers[0].done);
    rig_close(g);
}
END_TEST

START_TEST(a_cancelled_one_is_heard_of_no_more)
{
    static struct rig rig;
    struct rig *g = &rig;
    rig_init(g, 6);
    for (uint32_t i = 0; i < READERS; i++)
        ask(g, &g->readers[i], 1, 11000);
    turn(g);
    turn(g);
    for (uint32_t i = 0; i < READERS; i++) {
        history_cancel(g->history, g->readers[i].replay);
        g->readers[i].replay = HISTORY_NONE;
    }
    uint64_t next = g->readers[0].next_seq;
    for (uint32_t i = 0; i < 100; i++)
        turn(g);
    ck_assert_uint_eq(g->readers[0].next_seq, next);
    rig_close(g);
}
END_TEST

/* What was refused is gone with its stream: who has room again then waits for the next store like all. */
START_TEST(who_goes_on_while_nothing_is_there_waits)
{
    static struct rig rig;
    struct rig *g = &rig;
    rig_init(g, 8);
    ask(g, &g->readers[0], 1, 11000);
    g->readers[0].stuck = true;
    g->store.breaks = 1;
    for (uint32_t i = 0; i < 100 && g->readers[0].refused == 0; i++) {
        (void)history_step(g->history, g->now);
        store_pump(&g->store, on_event, g);
    }
    ck_assert_uint_eq(g->readers[0].refused, 1);
    ck_assert_uint_eq(g->store.broke, 1);
    (void)history_step(g->history, g->now); /* connects anew */
    history_resume(g->history, g->readers[0].replay);
    ck_assert_uint_gt(history_step(g->history, g->now), g->now.mono_ns);
    g->store.breaks = 0;
    store_pump(&g->store, on_event, g);
    ck_assert_uint_eq(g->readers[0].refused, 2);
    history_resume(g->history, g->readers[0].replay);
    ck_assert_uint_le(history_step(g->history, g->now), g->now.mono_ns); /* its bytes are there */
    g->readers[0].stuck = false;
    for (uint32_t i = 0; i < 1000 && !g->readers[0].done; i++)
        turn(g);
    ck_assert(g->readers[0].done);
    rig_close(g);
}
END_TEST

START_TEST(a_time_is_found)
{
    static struct rig rig;
    struct rig *g = &rig;
    rig_init(g, 7 + (uint64_t)_i);
    g->store.breaks = _i == 1 ? 10 : 0;
    for (uint32_t k = 0; k < 20; k++) {
        uint32_t at = stream_draw(g->stream, g->stream->batch_count - 1);
        uint64_t time_ns = g->stream->batches[at].header.timestamp_ns - stream_draw(g->stream, 2);
        uint32_t expected = 0;
        while (g->stream->batches[expected].header.timestamp_ns < time_ns)
            expected++;
        uint64_t seq = 0;
        uint32_t turns = 0;
        while (!history_find_time(g->history, time_ns, 1, g->stream->next_seq, &seq) &&
               turns++ < 10000)
            turn(g);
        /* Where a message begins, though its first fragments may be stamped earlier. */
        uint64_t begin = g->stream->batches[expected].header.first_seq;
        uint32_t whole = stream_index(g->stream, begin);
        if (whole < g->stream->message_count && g->stream->messages[whole].whole.first_seq < begin)
            begin = g->stream->messages[whole].whole.first_seq;
        ck_assert_uint_eq(seq, begin);
    }
    rig_close(g);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_history");
    TCase *tcase = tcase_create("history");
    tcase_add_loop_test(tcase, everything_comes_whatever_stores_do, 0, 5);
    tcase_add_test(tcase, what_nobody_has_is_lost);
    tcase_add_test(tcase, a_cancelled_one_is_heard_of_no_more);
    tcase_add_test(tcase, who_goes_on_while_nothing_is_there_waits);
    tcase_add_loop_test(tcase, a_time_is_found, 0, 2);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
