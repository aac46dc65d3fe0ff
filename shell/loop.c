#include "shell/loop.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "proto/counter.h"
#include "shell/pauses.h"

/* An arrival after a silence of so many times spin_ns is not spun after: the next one is far off,
 * too. */
enum { COMPLETIONS_MAX = DISK_REQUESTS_MAX, EVENTS_MAX = 16, SPARSE_SPINS = 200 };
static const uint64_t spin_default_ns = 50000;
/* Whoever gives its turn to somebody who computes has it back a slice later, time and again; who waits instead is
 * woken wherever there is room. So for a while after a turn that came back so late nothing is spun for. */
static const uint64_t yield_ns_max = 2000000, crowded_ns = 20000000;
/* A disk without a descriptor is looked at this often while the loop waits. */
static const uint64_t disk_poll_ns = 10000000;
/* Between two readings of the wall clock it is taken to run like the monotonic one. */
static const uint64_t wall_ns_max = 1000000;
/* Samples are taken this often even if nothing else happens. */
static const uint64_t sample_idle_ns = 1000000000;

struct slot {
    struct loop_participant p;
    uint64_t deadline_ns;
    bool disk_polled; /* has no descriptor */
    bool watched;     /* its descriptors are in the loop's epoll */
    bool silent;      /* the wait before this round told that no datagram has come */
    int transport_fd; /* where it is watched */
};

struct loop {
    struct loop_options options;
    struct slot slots[LOOP_PARTICIPANTS_MAX];
    uint32_t count;
    int epoll;
    int event;             /* wakes a wait */
    int timer;             /* makes loop_fd readable at the next deadline */
    bool outside;          /* somebody waits on loop_fd */
    uint64_t timer_set_ns; /* what the timer is set to; PORT_NEVER: off */
    atomic_bool woken;
    atomic_bool stopped;
    bool more; /* this round's arrivals were cut off: some may wait where no descriptor tells */
    bool unfinished;      /* a transport is not through what it has to hand over */
    bool no_pwait2;       /* the kernel has epoll_wait only */
    bool look_everywhere; /* the next round comes after a wait, or from outside */
    struct port_time now;
    struct port_time clock;    /* both clocks, as last read together */
    uint64_t deadline_ns;      /* the earliest of all */
    uint64_t last_arrival_ns;  /* spinning counts from here */
    uint64_t crowded_until_ns; /* somebody computes on this core: not worth spinning */
    bool waits_if_crowded;     /* somebody asks for that */
    bool yielded;              /* behind the last round */
    bool sparse;               /* the one before it was long ago: not worth spinning */
    uint64_t sampled_ns;
    bool samples; /* somebody wants to be sampled */
    struct pauses pauses;
    struct port_datagram datagrams[TRANSPORT_RECEIVE_MAX];
    struct disk_completion completions[COMPLETIONS_MAX];
};

static uint64_t ns_of(const struct timespec *t)
{
    return (uint64_t)t->tv_sec * 1000000000u + (uint64_t)t->tv_nsec;
}

struct port_time loop_clock(void)
{
    struct timespec mono, wall;
    clock_gettime(CLOCK_MONOTONIC, &mono);
    clock_gettime(CLOCK_REALTIME, &wall);
    return (struct port_time) { .mono_ns = ns_of(&mono), .wall_ns = ns_of(&wall) };
}

/* The time of a round: one clock is read. */
static void read_clock(struct loop *l)
{
    struct timespec mono;
    clock_gettime(CLOCK_MONOTONIC, &mono);
    uint64_t since = ns_of(&mono) - l->clock.mono_ns;
    if (since >= wall_ns_max) {
        l->now = l->clock = loop_clock();
        return;
    }
    l->now = (struct port_time) { .mono_ns = l->clock.mono_ns + since,
                                  .wall_ns = l->clock.wall_ns + since };
}

static bool watch(struct loop *l, int fd)
{
    struct epoll_event event = { .events = EPOLLIN, .data = { .fd = fd } };
    return epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

static void unwatch(struct loop *l, int fd)
{
    epoll_ctl(l->epoll, EPOLL_CTL_DEL, fd, NULL);
}

struct loop *loop_create(const struct loop_options *options, char *error)
{
    error[0] = '\0';
    struct loop *l = calloc(1, sizeof *l);
    if (l == NULL) {
        snprintf(error, LOOP_ERROR_MAX, "out of memory");
        return NULL;
    }
    if (options != NULL)
        l->options = *options;
    if (l->options.spin_ns == 0)
        l->options.spin_ns = spin_default_ns;
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    l->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    l->timer_set_ns = PORT_NEVER;
    l->now = l->clock = loop_clock();
    l->last_arrival_ns = l->pauses.minute_ns = l->now.mono_ns;
    if (l->epoll < 0 || l->event < 0 || l->timer < 0 || !watch(l, l->event) ||
        !watch(l, l->timer)) {
        snprintf(error, LOOP_ERROR_MAX,
                 "cannot open the event loop's descriptors: %s: raise `ulimit -n`",
                 strerror(errno));
        loop_destroy(l);
        return NULL;
    }
    return l;
}

void loop_destroy(struct loop *l)
{
    if (l == NULL)
        return;
    const int fds[] = { l->timer, l->event, l->epoll };
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    free(l);
}

static int disk_fd(const struct loop_participant *p)
{
    return p->disk != NULL ? p->disk->ops->fd(p->disk) : -1;
}

/* False when a descriptor can't be watched. */
static bool watch_slot(struct loop *l, struct slot *s)
{
    if (s->watched)
        return true;
    struct transport *t = s->p.transport;
    int transport = t != NULL ? t->ops->fd(t) : -1;
    int disk = disk_fd(&s->p);
    if ((t != NULL && transport < 0) || (transport >= 0 && !watch(l, transport)))
        return false;
    if (disk >= 0 && !watch(l, disk)) {
        if (transport >= 0)
            unwatch(l, transport);
        return false;
    }
    s->transport_fd = transport;
    return s->watched = true;
}

bool loop_add(struct loop *l, const struct loop_participant *participant)
{
    if (l->count == LOOP_PARTICIPANTS_MAX)
        return false;
    struct slot *s = &l->slots[l->count];
    *s = (struct slot) {
        .p = *participant,
        .deadline_ns = 0, /* its first step is due at once */
        .disk_polled = participant->disk != NULL && disk_fd(participant) < 0,
    };
    /* Who never waits is spared being woken by every arrival. */
    if ((l->options.idle != LOOP_IDLE_SPIN || l->outside) && !watch_slot(l, s))
        return false;
    l->count++;
    l->look_everywhere = true;
    l->deadline_ns = 0;
    l->samples = l->samples || participant->sample != NULL;
    l->waits_if_crowded = l->waits_if_crowded || participant->waits_if_crowded;
    l->sampled_ns = 0;
    return true;
}

void loop_remove(struct loop *l, const void *core)
{
    for (uint32_t i = 0; i < l->count; i++) {
        if (l->slots[i].p.core != core)
            continue;
        const struct loop_participant *p = &l->slots[i].p;
        if (l->slots[i].watched && p->transport != NULL)
            unwatch(l, p->transport->ops->fd(p->transport));
        if (l->slots[i].watched && disk_fd(p) >= 0)
            unwatch(l, disk_fd(p));
        memmove(&l->slots[i], &l->slots[i + 1], (l->count - i - 1) * sizeof l->slots[0]);
        l->count--;
        return;
    }
}

static void keep_counters(const struct loop *l, const struct loop_participant *p)
{
    if (p->counters == NULL)
        return;
    p->counters[COUNTER_LOOP_PAUSE_MAX] = l->pauses.max.duration_ns;
    if (p->transport == NULL)
        return;
    const struct transport_counters *t = &p->transport->counters;
    p->counters[COUNTER_DATAGRAMS_IN] = t->datagrams_in;
    p->counters[COUNTER_BYTES_IN] = t->bytes_in;
    p->counters[COUNTER_DATAGRAMS_OUT] = t->datagrams_out;
    p->counters[COUNTER_BYTES_OUT] = t->bytes_out;
    p->counters[COUNTER_STREAMS_REFUSED] = t->streams_refused;
}

/* What has arrived for one participant. True if anything had. Flushes after each entry point,
 * because what the core queued may point into memory that the next one changes. */
static bool deliver(struct loop *l, struct slot *s)
{
    struct loop_participant *p = &s->p;
    bool any = false;
    if (p->transport != NULL) {
        struct transport *t = p->transport;
        uint32_t n = 0;
        if (!s->silent)
            n = t->ops->receive(t, l->datagrams, TRANSPORT_RECEIVE_MAX,
                                l->look_everywhere ? 0 : l->now.mono_ns);
        s->silent = false;
        if (n > 0)
            pauses_did(&l->pauses, p->name, PAUSES_DATAGRAMS);
        if (n > 0 && p->ops->on_datagrams != NULL)
            p->ops->on_datagrams(p->core, l->datagrams, n, l->now);
        any = n > 0;
        l->more = l->more || n == TRANSPORT_RECEIVE_MAX;
        if (any)
            t->ops->flush(t);
        if (t->ops->streams(t, p->ops, p->core, l->now)) {
            pauses_did(&l->pauses, p->name, PAUSES_STREAMS);
            any = true;
        }
        l->unfinished = l->unfinished || t->more;
    }
    if (p->disk != NULL) {
        uint32_t n = p->disk->ops->complete(p->disk, l->completions, COMPLETIONS_MAX);
        assert(n <= COMPLETIONS_MAX);
        if (n > 0)
            pauses_did(&l->pauses, p->name, PAUSES_DISK);
        for (uint32_t i = 0; i < n && p->ops->on_disk != NULL; i++) {
            p->ops->on_disk(p->core, &l->completions[i], l->now);
            if (p->transport != NULL)
                p->transport->ops->flush(p->transport);
        }
        any = any || n > 0;
        l->more = l->more || n == COMPLETIONS_MAX;
    }
    return any;
}

static void drain_timer(struct loop *l)
{
    uint64_t expirations;
    if (l->timer_set_ns <= l->now.mono_ns &&
        read(l->timer, &expirations, sizeof expirations) == sizeof expirations)
        l->timer_set_ns = PORT_NEVER;
}

/* When something is due, for a participant or for what samples it. */
static uint64_t next_due(const struct loop *l)
{
    uint64_t sample_ns = l->samples ? l->sampled_ns + sample_idle_ns : PORT_NEVER;
    return sample_ns < l->deadline_ns ? sample_ns : l->deadline_ns;
}

static void sample(struct loop *l)
{
    l->sampled_ns = l->now.mono_ns;
    for (uint32_t i = 0; i < l->count; i++) {
        const struct loop_participant *p = &l->slots[i].p;
        if (p->counters != NULL)
            p->counters[COUNTER_LOOP_PAUSE_RECENT] = loop_pause_recent(l).duration_ns;
        if (p->sample != NULL)
            p->sample(p->sample_ctx, l);
    }
}

static void step(struct loop *l, struct slot *s)
{
    pauses_did(&l->pauses, s->p.name, PAUSES_STEP);
    s->deadline_ns = s->p.ops->step(s->p.core, l->now);
    if (s->p.transport != NULL)
        s->p.transport->ops->flush(s->p.transport);
    keep_counters(l, &s->p);
}

/* Its turn in a round. Steps it if something arrived or is due, or the round asks for all. True if
 * anything arrived. */
static bool serve(struct loop *l, struct slot *s, bool all)
{
    bool arrived = deliver(l, s);
    if (arrived) {
        read_clock(l);
        pauses_read(&l->pauses, l->now.mono_ns);
    }
    if (!arrived && !all && s->deadline_ns > l->now.mono_ns)
        return false;
    step(l, s);
    return arrived;
}

/* Whether nothing is lost by resting until the disk answers. */
static bool may_rest(const struct loop *l)
{
    const struct slot *s = &l->slots[0];
    return l->count == 1 && s->p.rests != NULL && l->options.yield && !l->outside && !l->more &&
           l->deadline_ns > l->now.mono_ns + LOOP_REST_NS && disk_fd(&s->p) >= 0 &&
           s->p.rests(s->p.core);
}

/* The sockets are not watched: an arrival costs its sender no wake-up, and a core that is shared
 * goes to the others. */
static void rest(struct loop *l)
{
    struct pollfd fds[] = { { .fd = disk_fd(&l->slots[0].p), .events = POLLIN },
                            { .fd = l->event, .events = POLLIN } };
    struct timespec t = { .tv_nsec = LOOP_REST_NS };
    int ignored = ppoll(fds, sizeof fds / sizeof fds[0], &t, NULL);
    (void)ignored; /* whatever ended it, a round comes */
    l->look_everywhere = true;
    pauses_rest(&l->pauses);
}

static void yield(struct loop *l)
{
    sched_yield();
    l->yielded = true;
}

/* The time of a round, and what the turn that was given away in front of it has taken. */
static void begin_round(struct loop *l)
{
    uint64_t before = l->now.mono_ns;
    read_clock(l);
    if (l->yielded && l->waits_if_crowded && l->now.mono_ns - before > yield_ns_max)
        l->crowded_until_ns = l->now.mono_ns + crowded_ns;
    l->yielded = false;
}

/* One round over all participants. True if there was work: an arrival, or a deadline that was due.
 * The first round of a poll steps all: whoever polls may have given them something to do. */
static bool round_once(struct loop *l, bool first)
{
    begin_round(l);
    pauses_round(&l->pauses, l->now);
    drain_timer(l);
    bool due = l->deadline_ns <= l->now.mono_ns;
    bool arrived = false;
    uint64_t earliest = PORT_NEVER;
    l->more = l->unfinished = false;
    for (uint32_t i = 0; first && l->options.polled && i < l->count; i++)
        step(l, &l->slots[i]);
    first = first && !l->options.polled;
    for (uint32_t i = 0; i < l->count; i++) {
        struct slot *s = &l->slots[i];
        arrived |= serve(l, s, first);
        if (s->deadline_ns < earliest)
            earliest = s->deadline_ns;
        const struct transport *t = s->p.transport;
        if (t != NULL && t->due_ns != 0 && t->due_ns < earliest)
            earliest = t->due_ns;
    }
    l->look_everywhere = false;
    l->deadline_ns = l->more ? 0 : earliest;
    if (arrived) {
        l->sparse = l->now.mono_ns - l->last_arrival_ns > SPARSE_SPINS * l->options.spin_ns;
        l->last_arrival_ns = l->now.mono_ns;
    }
    if (l->samples && l->now.mono_ns - l->sampled_ns >= LOOP_SAMPLE_NS)
        sample(l);
    return arrived || due;
}

static bool has_polled_disk(const struct loop *l)
{
    for (uint32_t i = 0; i < l->count; i++)
        if (l->slots[i].disk_polled)
            return true;
    return false;
}

/* Whether the events of a wait, if they are all there were, tell of no arrival for it. */
static bool is_silent(const struct slot *s, const struct epoll_event *events, int count)
{
    if (count < 0 || count == EVENTS_MAX || !s->watched)
        return false;
    for (int i = 0; i < count; i++)
        if (events[i].data.fd == s->transport_fd)
            return false;
    return true;
}

/* Waits for an arrival, a wake-up or mono time `until`. */
static void wait_until(struct loop *l, uint64_t until)
{
    struct epoll_event events[EVENTS_MAX];
    int n = -1;
    uint64_t now = loop_clock().mono_ns;
    uint64_t left = until <= now ? 0 : until == PORT_NEVER ? PORT_NEVER : until - now;
    if (has_polled_disk(l) && left > disk_poll_ns)
        left = disk_poll_ns;
    if (!l->no_pwait2) {
        struct timespec t = { .tv_sec = (time_t)(left / 1000000000u),
                              .tv_nsec = (long)(left % 1000000000u) };
        n = epoll_pwait2(l->epoll, events, EVENTS_MAX, left == PORT_NEVER ? NULL : &t, NULL);
        l->no_pwait2 = n < 0 && errno == ENOSYS;
    }
    if (l->no_pwait2) {
        uint64_t ms = left / 1000000u + (left % 1000000u != 0);
        n = epoll_wait(l->epoll, events, EVENTS_MAX,
                       left == PORT_NEVER ? -1
                       : ms > 3600000     ? 3600000
                                          : (int)ms);
    }
    for (uint32_t i = 0; i < l->count; i++)
        l->slots[i].silent = is_silent(&l->slots[i], events, n);
    /* A wake-up's flag may have been taken before its event was written: what counts is the event.
     */
    for (int i = 0; i < n; i++)
        if (events[i].data.fd == l->event)
            atomic_store(&l->woken, true);
}

/* Whether somebody called loop_wake or loop_stop since the last time. */
static bool take_wake(struct loop *l)
{
    if (!atomic_load_explicit(&l->woken, memory_order_relaxed) ||
        !atomic_exchange(&l->woken, false))
        return atomic_load(&l->stopped);
    uint64_t count;
    ssize_t ignored = read(l->event, &count, sizeof count);
    (void)ignored;
    return true;
}

static bool may_spin(const struct loop *l)
{
    switch (l->options.idle) {
    case LOOP_IDLE_SPIN:
        return true;
    case LOOP_IDLE_SPIN_THEN_WAIT:
        return !l->sparse && l->now.mono_ns >= l->crowded_until_ns &&
               l->now.mono_ns - l->last_arrival_ns < l->options.spin_ns;
    case LOOP_IDLE_WAIT:
        break;
    }
    return false;
}

/* The outside waiter's fd must turn readable at the next deadline, or at once if work is left. */
static void set_timer(struct loop *l)
{
    uint64_t due = next_due(l);
    if (!l->outside || l->timer_set_ns == due)
        return;
    struct itimerspec t = { 0 };
    if (due != PORT_NEVER) {
        uint64_t at = due == 0 ? 1 : due;
        t.it_value.tv_sec = (time_t)(at / 1000000000u);
        t.it_value.tv_nsec = (long)(at % 1000000000u);
    }
    if (timerfd_settime(l->timer, TFD_TIMER_ABSTIME, &t, NULL) == 0)
        l->timer_set_ns = due;
}

bool loop_poll(struct loop *l, uint64_t timeout_ns)
{
    bool polled_disk = has_polled_disk(l);
    bool waited = false;
    bool worked;
    uint64_t until = 0;
    uint32_t quiet = 0;
    pauses_did(&l->pauses, NULL, PAUSES_CALLER);
    for (;;) {
        if (may_rest(l))
            rest(l);
        worked = round_once(l, until == 0);
        if (until == 0) {
            uint64_t begin = l->now.mono_ns;
            until = timeout_ns > PORT_NEVER - begin ? PORT_NEVER : begin + timeout_ns;
        }
        if (take_wake(l) || worked || waited || l->now.mono_ns >= until)
            break;
        quiet++;
        if (l->unfinished || l->deadline_ns <= l->now.mono_ns)
            continue;
        if (may_spin(l)) {
            if (l->options.yield)
                yield(l);
            continue;
        }
        /* What a disk without a descriptor was given in this round may be done already. */
        if (polled_disk && quiet < 2)
            continue;
        uint64_t due = next_due(l);
        wait_until(l, until < due ? until : due);
        waited = until < due || due == l->deadline_ns; /* a sample is no work */
        l->look_everywhere = true;
        pauses_rest(&l->pauses);
    }
    if (!worked || l->outside)
        pauses_rest(&l->pauses); /* whoever polls may wait before the next round */
    if (l->outside)
        l->look_everywhere = true;
    set_timer(l);
    return worked;
}

void loop_run(struct loop *l)
{
    while (!loop_stopped(l))
        loop_poll(l, PORT_NEVER);
}

void loop_wake(struct loop *l)
{
    int saved = errno; /* of the code that a signal interrupted */
    atomic_store(&l->woken, true);
    uint64_t one = 1;
    ssize_t ignored = write(l->event, &one, sizeof one);
    (void)ignored; /* full means that it is readable already */
    errno = saved;
}

void loop_stop(struct loop *l)
{
    atomic_store(&l->stopped, true);
    loop_wake(l);
}

bool loop_stopped(const struct loop *l)
{
    return atomic_load(&l->stopped);
}

int loop_fd(struct loop *l)
{
    for (uint32_t i = 0; i < l->count; i++)
        if (!watch_slot(l, &l->slots[i]))
            return -1;
    l->outside = true;
    l->look_everywhere = true;
    set_timer(l);
    return l->epoll;
}

uint64_t loop_timeout_ns(const struct loop *l)
{
    uint64_t due = next_due(l);
    if (due == PORT_NEVER)
        return PORT_NEVER;
    uint64_t now = loop_clock().mono_ns;
    return due <= now ? 0 : due - now;
}

struct port_time loop_now(const struct loop *l)
{
    return l->now;
}

uint64_t loop_pause_max_ns(const struct loop *l)
{
    return l->pauses.max.duration_ns;
}

struct loop_pause loop_pause_max(const struct loop *l)
{
    return l->pauses.max;
}

struct loop_pause loop_pause_recent(const struct loop *l)
{
    return pauses_recent(&l->pauses, l->now.mono_ns);
}
