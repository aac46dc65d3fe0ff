/* The event loop, driven with cores, transports and disks of the test's own that record what was
 * called in which order, and with the kernel's transport where descriptors matter. Each idle
 * strategy must pass the same tests. Nothing asserts how long something took: a wait that should
 * end is ended by an event or a deadline, and a loop that hangs is ended by the test's time-out. */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <unistd.h>

#include "proto/counter.h"
#include "shell/loop.h"

enum { HOUR_S = 3600 };
static const uint64_t hour_ns = HOUR_S * UINT64_C(1000000000);

/* ---- fakes ----------------------------------------------------------------------------------- */

static char journal[4096]; /* one letter a call, in order */

static void note(const char *what)
{
    strncat(journal, what, sizeof journal - strlen(journal) - 1);
}

struct fake_core {
    struct loop *loop;
    uint32_t steps, datagrams, completions, stream_events;
    uint64_t deadline_ns;      /* what step answers; 0: PORT_NEVER */
    uint64_t again;            /* so many steps want to be called again at once */
    uint32_t stop_after_steps; /* 0: never */
    uint32_t stop_after_datagrams;
    struct port_time last;
    uint64_t due_since; /* first step at or after the deadline */
    bool submit;        /* step gives the disk one request */
    struct disk *disk;
};

static void fake_on_datagrams(void *core, const struct port_datagram *d, uint32_t count,
                              struct port_time now)
{
    struct fake_core *c = core;
    (void)d;
    note("d");
    c->last = now;
    c->datagrams += count;
    if (c->stop_after_datagrams > 0 && c->datagrams >= c->stop_after_datagrams)
        loop_stop(c->loop);
}

static size_t fake_on_stream(void *core, const struct port_stream_event *event,
                             struct port_time now)
{
    struct fake_core *c = core;
    (void)now;
    note("t");
    c->stream_events++;
    return event->length;
}

static void fake_on_disk(void *core, const struct disk_completion *completion, struct port_time now)
{
    struct fake_core *c = core;
    (void)completion;
    (void)now;
    note("k");
    c->completions++;
}

static uint64_t fake_step(void *core, struct port_time now)
{
    struct fake_core *c = core;
    note("s");
    c->steps++;
    ck_assert_uint_ge(now.mono_ns, c->last.mono_ns);
    c->last = now;
    if (c->submit) {
        c->submit = false;
        c->disk->ops->submit(c->disk, &(struct disk_request) { .op = DISK_WRITE });
    }
    if (c->deadline_ns != 0 && now.mono_ns >= c->deadline_ns && c->due_since == 0)
        c->due_since = now.mono_ns;
    if (c->stop_after_steps > 0 && c->steps >= c->stop_after_steps)
        loop_stop(c->loop);
    if (c->again > 0) {
        c->again--;
        return now.mono_ns;
    }
    return c->deadline_ns == 0 || c->due_since != 0 ? PORT_NEVER : c->deadline_ns;
}

static const struct participant_ops fake_ops = { .on_datagrams = fake_on_datagrams,
                                                 .on_stream = fake_on_stream,
                                                 .on_disk = fake_on_disk,
                                                 .step = fake_step };

/* Has `waiting` datagrams; its descriptor is an eventfd that is readable while there are some. */
struct fake_transport {
    struct transport transport; /* first */
    _Atomic uint32_t waiting;   /* arrivals come from other threads, too */
    uint32_t stream_events;
    int fd;
    bool endless;
    uint64_t looked_ns; /* what the last receive was told of the time; 0: to look everywhere */
};

static void arrive(struct fake_transport *t, uint32_t count)
{
    t->waiting += count;
    uint64_t one = 1;
    ck_assert_int_eq(write(t->fd, &one, sizeof one), sizeof one);
}

static uint32_t fake_receive(struct transport *transport, struct port_datagram *out, uint32_t max,
                             uint64_t now_ns)
{
    struct fake_transport *t = (struct fake_transport *)transport;
    t->looked_ns = now_ns;
    uint32_t n = t->endless || t->waiting > max ? max : t->waiting;
    if (!t->endless)
        t->waiting -= n;
    memset(out, 0, n * sizeof *out);
    uint64_t ignored;
    if (t->waiting == 0 && read(t->fd, &ignored, sizeof ignored) < 0)
        ck_assert_int_eq(errno, EAGAIN);
    return n;
}

static bool fake_streams(struct transport *transport, const struct participant_ops *ops, void *core,
                         struct port_time now)
{
    struct fake_transport *t = (struct fake_transport *)transport;
    if (transport->due_ns != 0 && now.mono_ns >= transport->due_ns) {
        transport->due_ns = 0;
        t->stream_events++;
    }
    bool any = t->stream_events > 0;
    for (; t->stream_events > 0; t->stream_events--)
        ops->on_stream(core, &(struct port_stream_event) { .type = PORT_STREAM_ROOM }, now);
    return any;
}

static void fake_flush(struct transport *transport)
{
    (void)transport;
    note("f");
}

static int fake_fd(struct transport *transport)
{
    return ((struct fake_transport *)transport)->fd;
}

static const struct transport_ops fake_transport_ops = {
    .receive = fake_receive, .streams = fake_streams, .flush = fake_flush, .fd = fake_fd
};

/* Completes at once what it is given; without a descriptor, or with one. */
struct fake_disk {
    struct disk disk; /* first */
    uint32_t done;
    int fd;
};

static bool fake_submit(struct disk *disk, const struct disk_request *request)
{
    struct fake_disk *d = (struct fake_disk *)disk;
    (void)request;
    d->done++;
    uint64_t one = 1;
    if (d->fd >= 0)
        ck_assert_int_eq(write(d->fd, &one, sizeof one), sizeof one);
    return true;
}

static uint32_t fake_complete(struct disk *disk, struct disk_completion *out, uint32_t max)
{
    struct fake_disk *d = (struct fake_disk *)disk;
    uint32_t n = d->done < max ? d->done : max;
    d->done -= n;
    memset(out, 0, n * sizeof *out);
    uint64_t ignored;
    if (d->fd >= 0 && d->done == 0 && read(d->fd, &ignored, sizeof ignored) < 0)
        ck_assert_int_eq(errno, EAGAIN);
    return n;
}

static int fake_disk_fd(const struct disk *disk)
{
    return ((const struct fake_disk *)disk)->fd;
}

static const struct disk_ops fake_disk_ops = { .submit = fake_submit,
                                               .complete = fake_complete,
                                               .fd = fake_disk_fd };

/* ---- fixture --------------------------------------------------------------------------------- */

static struct loop *loop;
static struct fake_core core;
static struct fake_transport transport;
static struct fake_disk disk;

static struct loop *create(int idle)
{
    char error[LOOP_ERROR_MAX];
    struct loop_options o = { .idle = (enum loop_idle)idle, .yield = true, .spin_ns = 1000 };
    struct loop *l = loop_create(&o, error);
    ck_assert_msg(l != NULL, "%s", error);
    return l;
}

static void setup(void)
{
    journal[0] = '\0';
    core = (struct fake_core) { 0 };
    transport = (struct fake_transport) { .transport = { .ops = &fake_transport_ops },
                                          .fd = eventfd(0, EFD_NONBLOCK) };
    disk = (struct fake_disk) { .disk = { .ops = &fake_disk_ops }, .fd = -1 };
}

static void teardown(void)
{
    loop_destroy(loop);
    loop = NULL;
    close(transport.fd);
    if (disk.fd >= 0)
        close(disk.fd);
}

static void begin(int idle, bool with_transport, bool with_disk, uint64_t *counters)
{
    loop = create(idle);
    core.loop = loop;
    core.disk = &disk.disk;
    struct loop_participant p = { .core = &core,
                                  .ops = &fake_ops,
                                  .transport = with_transport ? &transport.transport : NULL,
                                  .disk = with_disk ? &disk.disk : NULL,
                                  .counters = counters };
    ck_assert(loop_add(loop, &p));
}

/* ---- tests, each once per idle strategy in _i ------------------------------------------------ */

START_TEST(a_round_goes_in_the_documented_order)
{
    begin(_i, true, true, NULL);
    arrive(&transport, 2);
    transport.stream_events = 1;
    disk.done = 1;
    ck_assert(loop_poll(loop, 0));
    /* Flushed after every entry point that may have queued something. */
    ck_assert_str_eq(journal, "dftkfsf");
    ck_assert_uint_eq(core.datagrams, 2);
}
END_TEST

START_TEST(nothing_to_do_returns_false)
{
    begin(_i, true, false, NULL);
    loop_poll(loop, 0); /* the first step is due at once */
    ck_assert(!loop_poll(loop, 0));
    ck_assert(!loop_poll(loop, 2000000));
    ck_assert_uint_ge(core.steps, 3);
}
END_TEST

START_TEST(deadlines_are_kept)
{
    begin(_i, true, false, NULL);
    core.deadline_ns = loop_clock().mono_ns + 3000000;
    while (core.due_since == 0)
        loop_poll(loop, hour_ns);
    ck_assert_uint_ge(core.due_since, core.deadline_ns);
}
END_TEST

/* A wait knows whether anything has come: what it ended for a deadline spares the looks. */
/* No descriptor tells of what a transport has put off. */
START_TEST(what_a_transport_has_put_off_ends_a_wait)
{
    begin(_i, true, false, NULL);
    loop_poll(loop, 0);
    transport.transport.due_ns = loop_clock().mono_ns + 2000000;
    while (core.stream_events == 0)
        loop_poll(loop, hour_ns);
    ck_assert_uint_eq(core.stream_events, 1);
}
END_TEST

START_TEST(a_wait_without_arrivals_is_followed_by_no_look)
{
    if (_i == LOOP_IDLE_SPIN)
        return; /* never waits */
    begin(_i, true, false, NULL);
    loop_poll(loop, 0);
    loop_poll(loop, 0);
    core.deadline_ns = loop_clock().mono_ns + 3000000;
    while (core.due_since == 0)
        loop_poll(loop, hour_ns);
    ck_assert_uint_gt(transport.looked_ns, 0);
    ck_assert_uint_lt(transport.looked_ns, core.deadline_ns);
    arrive(&transport, 1);
    loop_poll(loop, hour_ns);
    ck_assert_uint_eq(core.datagrams, 1);
}
END_TEST

START_TEST(more_to_do_at_once_is_done_without_waiting)
{
    begin(_i, true, false, NULL);
    core.again = 50;
    core.stop_after_steps = 51;
    loop_run(loop); /* would wait for ever if it took one of them for idle */
    ck_assert_uint_eq(core.steps, 51);
}
END_TEST

START_TEST(arrivals_beyond_one_round_are_not_left_behind)
{
    begin(_i, true, false, NULL);
    arrive(&transport, 10 * TRANSPORT_RECEIVE_MAX);
    /* The descriptor tells of the first round only. */
    uint64_t ignored;
    ck_assert_int_gt(read(transport.fd, &ignored, sizeof ignored), 0);
    core.stop_after_datagrams = 10 * TRANSPORT_RECEIVE_MAX;
    loop_run(loop);
    ck_assert_uint_eq(core.datagrams, 10 * TRANSPORT_RECEIVE_MAX);
}
END_TEST

static void *arrive_later(void *arg)
{
    arrive(arg, 1);
    return NULL;
}

START_TEST(an_arrival_ends_a_wait)
{
    begin(_i, true, false, NULL);
    loop_poll(loop, 0);
    pthread_t thread;
    /* Whether it comes before or during the wait, the wait ends. */
    transport.waiting = 0;
    ck_assert_int_eq(pthread_create(&thread, NULL, arrive_later, &transport), 0);
    core.stop_after_datagrams = 1;
    loop_run(loop);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(core.datagrams, 1);
}
END_TEST

static void *stop_it(void *arg)
{
    loop_stop(arg);
    return NULL;
}

static void *wake_it(void *arg)
{
    loop_wake(arg);
    return NULL;
}

START_TEST(wake_and_stop_from_elsewhere)
{
    begin(_i, true, false, NULL);
    loop_poll(loop, 0);
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        ck_assert_int_eq(pthread_create(&thread, NULL, wake_it, loop), 0);
        ck_assert(!loop_poll(loop, hour_ns));
        pthread_join(thread, NULL);
        /* The wake-up may have been seen before its event was written; that one is taken here. */
        loop_poll(loop, 0);
    }
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, stop_it, loop), 0);
    loop_run(loop);
    pthread_join(thread, NULL);
    ck_assert(loop_stopped(loop));
}
END_TEST

static void on_signal(int number)
{
    (void)number;
    loop_stop(loop);
}

START_TEST(stop_from_a_signal)
{
    begin(_i, false, false, NULL);
    struct sigaction action = { .sa_handler = on_signal };
    struct sigaction before;
    sigaction(SIGALRM, &action, &before);
    /* Before or during the wait: both must end the run. */
    struct itimerval soon = { .it_value = { .tv_usec = 2000 } };
    setitimer(ITIMER_REAL, &soon, NULL);
    loop_run(loop);
    sigaction(SIGALRM, &before, NULL);
    ck_assert(loop_stopped(loop));
}
END_TEST

START_TEST(disks_with_and_without_a_descriptor)
{
    for (int with = 0; with < 2; with++) {
        setup();
        disk.fd = with != 0 ? eventfd(0, EFD_NONBLOCK) : -1;
        begin(_i, false, true, NULL);
        core.submit = true;
        while (core.completions == 0)
            loop_poll(loop, hour_ns);
        ck_assert_uint_eq(core.completions, 1);
        if (with == 0)
            teardown();
    }
}
END_TEST

START_TEST(a_flood_on_one_starves_no_other)
{
    begin(_i, true, false, NULL);
    struct fake_core quiet = { .loop = loop };
    struct fake_transport other = { .transport = { .ops = &fake_transport_ops },
                                    .fd = eventfd(0, EFD_NONBLOCK) };
    struct loop_participant p = { .core = &quiet, .ops = &fake_ops, .transport = &other.transport };
    ck_assert(loop_add(loop, &p));
    transport.endless = true;
    arrive(&other, 5);
    for (int i = 0; i < 10; i++)
        loop_poll(loop, 0);
    ck_assert_uint_eq(core.datagrams, 10 * TRANSPORT_RECEIVE_MAX);
    ck_assert_uint_eq(quiet.datagrams, 5);
    ck_assert_uint_eq(quiet.steps, 10);
    loop_remove(loop, &core);
    loop_poll(loop, 0);
    ck_assert_uint_eq(core.steps, 10);
    ck_assert_uint_eq(quiet.steps, 11);
    close(other.fd);
}
END_TEST

static bool readable(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    return poll(&p, 1, 0) == 1;
}

START_TEST(the_descriptor_tells_of_deadlines_and_arrivals)
{
    begin(_i, true, false, NULL);
    int fd = loop_fd(loop);
    while (loop_poll(loop, 0))
        ;
    ck_assert(!readable(fd));
    ck_assert_uint_eq(loop_timeout_ns(loop), PORT_NEVER);
    arrive(&transport, 1);
    ck_assert(readable(fd));
    ck_assert(loop_poll(loop, 0));
    ck_assert(!readable(fd));
    loop_wake(loop);
    ck_assert(readable(fd));
    loop_poll(loop, 0);
    ck_assert(!readable(fd));
    /* A deadline in an hour leaves it quiet; one that passes makes it readable, once. */
    core.deadline_ns = loop_clock().mono_ns + hour_ns;
    loop_poll(loop, 0);
    ck_assert(!readable(fd));
    ck_assert_uint_gt(loop_timeout_ns(loop), 0);
    ck_assert_uint_le(loop_timeout_ns(loop), hour_ns);
    core.deadline_ns = loop_clock().mono_ns + 1000000;
    loop_poll(loop, 0);
    struct pollfd p = { .fd = fd, .events = POLLIN };
    ck_assert_int_eq(poll(&p, 1, 20000), 1);
    while (loop_poll(loop, 0))
        ;
    ck_assert_uint_ne(core.due_since, 0);
    ck_assert(!readable(fd));
    /* Work that is left over makes it readable at once. */
    core.again = 1;
    loop_poll(loop, 0);
    ck_assert_uint_eq(loop_timeout_ns(loop), 0);
    ck_assert(readable(fd));
}
END_TEST

START_TEST(counters_are_kept)
{
    uint64_t counters[COUNTER_END] = { 0 };
    begin(_i, true, false, counters);
    transport.transport.counters = (struct transport_counters) {
        .datagrams_in = 1, .bytes_in = 2, .datagrams_out = 3, .bytes_out = 4, .streams_refused = 5
    };
    core.again = 100;
    for (int i = 0; i < 50; i++)
        loop_poll(loop, 0);
    ck_assert_uint_eq(counters[COUNTER_DATAGRAMS_IN], 1);
    ck_assert_uint_eq(counters[COUNTER_BYTES_IN], 2);
    ck_assert_uint_eq(counters[COUNTER_DATAGRAMS_OUT], 3);
    ck_assert_uint_eq(counters[COUNTER_BYTES_OUT], 4);
    ck_assert_uint_eq(counters[COUNTER_STREAMS_REFUSED], 5);
    ck_assert_uint_gt(loop_pause_max_ns(loop), 0);
    ck_assert_uint_eq(counters[COUNTER_LOOP_PAUSE_MAX], loop_pause_max_ns(loop));
}
END_TEST

static void count_sample(void *ctx, const struct loop *l)
{
    uint32_t *samples = ctx;
    (*samples)++;
    loop_wake((struct loop *)(uintptr_t)l);
}

/* A loop that has nothing else to do wakes up to be sampled, and that is no work. */
START_TEST(an_idle_participant_is_sampled)
{
    uint32_t samples = 0;
    loop = create(_i);
    struct loop_participant p = {
        .core = &core, .ops = &fake_ops, .sample = count_sample, .sample_ctx = &samples
    };
    ck_assert(loop_add(loop, &p));
    while (samples < 2)
        ck_assert(!loop_poll(loop, hour_ns) || samples < 2);
    ck_assert_uint_le(loop_timeout_ns(loop), UINT64_C(1000000000));
}
END_TEST

static bool is_resting;

static bool rests(const void *ctx)
{
    (void)ctx;
    return is_resting;
}

/* A rest shows in that the round after it looks everywhere. It ends without the disk, and whoever
 * shares the loop with others does not rest. */
START_TEST(who_waits_for_the_disk_rests)
{
    disk.fd = eventfd(0, EFD_NONBLOCK);
    loop = create(_i);
    core.loop = loop;
    struct loop_participant p = { .core = &core,
                                  .ops = &fake_ops,
                                  .transport = &transport.transport,
                                  .disk = &disk.disk,
                                  .rests = rests };
    ck_assert(loop_add(loop, &p));
    is_resting = false;
    for (int i = 0; i < 2; i++)
        loop_poll(loop, 0);
    ck_assert_uint_ne(transport.looked_ns, 0);
    is_resting = true;
    arrive(&transport, 3);
    ck_assert(loop_poll(loop, 0));
    ck_assert_uint_eq(transport.looked_ns, 0);
    ck_assert_uint_eq(core.datagrams, 3);
    struct fake_core other = { .loop = loop };
    ck_assert(loop_add(loop, &(struct loop_participant) { .core = &other, .ops = &fake_ops }));
    for (int i = 0; i < 2; i++)
        loop_poll(loop, 0);
    ck_assert_uint_ne(transport.looked_ns, 0);
}
END_TEST

START_TEST(participants_are_bounded)
{
    loop = create(_i);
    struct fake_core cores[LOOP_PARTICIPANTS_MAX + 1] = { 0 };
    for (int i = 0; i <= LOOP_PARTICIPANTS_MAX; i++) {
        struct loop_participant p = { .core = &cores[i], .ops = &fake_ops };
        ck_assert(loop_add(loop, &p) == (i < LOOP_PARTICIPANTS_MAX));
    }
    loop_remove(loop, &cores[0]);
    loop_remove(loop, &cores[0]);
    loop_poll(loop, 0);
    ck_assert_uint_eq(cores[0].steps, 0);
    ck_assert_uint_eq(cores[LOOP_PARTICIPANTS_MAX - 1].steps, 1);
}
END_TEST

/* Two cores on kernel transports, each answering the other's datagram with one more. */
struct player {
    struct port *port;
    struct port_addr other;
    struct loop *loop;
    uint32_t hits, wanted;
    bool serve;
};

static void player_on_datagrams(void *ctx, const struct port_datagram *d, uint32_t count,
                                struct port_time now)
{
    struct player *p = ctx;
    (void)now;
    p->hits += count;
    if (p->hits >= p->wanted)
        loop_stop(p->loop);
    else
        port_send(p->port, PORT_UNICAST, d[0].from, d[0].bytes, d[0].length);
}

static uint64_t player_step(void *ctx, struct port_time now)
{
    struct player *p = ctx;
    (void)now;
    if (p->serve)
        port_send(p->port, PORT_UNICAST, p->other, (const uint8_t *)"ball", 4);
    p->serve = false;
    return PORT_NEVER;
}

START_TEST(ping_pong_over_kernel_sockets)
{
    static const struct participant_ops ops = { .on_datagrams = player_on_datagrams,
                                                .step = player_step };
    loop = create(_i);
    struct player players[2];
    struct transport *transports[2];
    for (int i = 0; i < 2; i++) {
        struct transport_options o = { .segmentation = true };
        char error[TRANSPORT_ERROR_MAX];
        transports[i] = transport_open_kernel(&o, error);
        ck_assert_msg(transports[i] != NULL, "%s", error);
        players[i] = (struct player) { .port = &transports[i]->port, .loop = loop, .wanted = 200 };
        struct loop_participant p = { .core = &players[i],
                                      .ops = &ops,
                                      .transport = transports[i] };
        ck_assert(loop_add(loop, &p));
    }
    players[0].other = transports[1]->port.self;
    players[0].serve = true;
    loop_run(loop);
    ck_assert_uint_ge(players[0].hits + players[1].hits, 399);
    for (int i = 0; i < 2; i++) {
        loop_remove(loop, &players[i]);
        transports[i]->ops->close(transports[i]);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("shell/loop");
    TCase *all = tcase_create("all");
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_loop_test(all, a_round_goes_in_the_documented_order, 0, 3);
    tcase_add_loop_test(all, nothing_to_do_returns_false, 0, 3);
    tcase_add_loop_test(all, deadlines_are_kept, 0, 3);
    tcase_add_loop_test(all, what_a_transport_has_put_off_ends_a_wait, 0, 3);
    tcase_add_loop_test(all, a_wait_without_arrivals_is_followed_by_no_look, 0, 3);
    tcase_add_loop_test(all, more_to_do_at_once_is_done_without_waiting, 0, 3);
    tcase_add_loop_test(all, arrivals_beyond_one_round_are_not_left_behind, 0, 3);
    tcase_add_loop_test(all, an_arrival_ends_a_wait, 0, 3);
    tcase_add_loop_test(all, wake_and_stop_from_elsewhere, 0, 3);
    tcase_add_loop_test(all, stop_from_a_signal, 0, 3);
    tcase_add_loop_test(all, disks_with_and_without_a_descriptor, 0, 3);
    tcase_add_loop_test(all, a_flood_on_one_starves_no_other, 0, 3);
    tcase_add_loop_test(all, the_descriptor_tells_of_deadlines_and_arrivals, 0, 3);
    tcase_add_loop_test(all, counters_are_kept, 0, 3);
    tcase_add_loop_test(all, an_idle_participant_is_sampled, 0, 3);
    tcase_add_loop_test(all, who_waits_for_the_disk_rests, 0, 3);
    tcase_add_loop_test(all, participants_are_bounded, 0, 3);
    tcase_add_loop_test(all, ping_pong_over_kernel_sockets, 0, 3);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
