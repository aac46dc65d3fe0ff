/* What comes from the kernel: events of streams, one level-triggered epoll for all of them. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "transport/kernel_stream.h"

enum {
    EVENTS_MAX = 32,      /* in a round: each may take tens of microseconds */
    OFFERS_MAX = 64,      /* of what was not consumed, in a round */
    LOOK_EVERY_NS = 8000, /* a spinning loop asks the kernel for stream events this often, */
    BUSY_NS = 100000,     /* but in each round while one came so short a time ago, */
    LOOK_HOT_NS = 3000,   /* or this often, while a stream is read without asking; */
    LOOK_RARE_NS = 50000, /* where there is but that one, or none yet, this will do */
    CLOSE_WITHIN_S = 5    /* what was written before a close has this long to leave */
};
#define SWEEP_EVERY_NS UINT64_C(1000000000)

struct round {
    struct kernel *k;
    const struct participant_ops *ops;
    void *core;
    struct port_time now;
    bool any;
};

static const char *closed_by(const struct kernel_stream *stream, enum port_stream_event_type type)
{
    if (stream->tls == NULL || type != PORT_STREAM_CLOSED)
        return NULL;
    const char *reason = tls_reason(stream->tls);
    return reason[0] != '\0' ? reason : NULL;
}

static size_t tell(struct round *r, const struct kernel_stream *stream, uint32_t id,
                   enum port_stream_event_type type, const uint8_t *bytes, size_t length)
{
    const struct port_stream_event event = { .type = type,
                                             .stream = id,
                                             .client = stream->client,
                                             .peer = stream->peer,
                                             .bytes = bytes,
                                             .length = length,
                                             .reason = closed_by(stream, type) };
    r->any = true;
    if (r->ops->on_stream == NULL)
        return length;
    size_t consumed = r->ops->on_stream(r->core, &event, r->now);
    /* Queued datagrams may point into memory that the next event changes. */
    if (r->k->sender.count > 0)
        kernel_send_flush(r->k);
    return consumed;
}

static void die(struct round *r, struct kernel_stream *stream)
{
    struct kernel_streams *s = &r->k->streams;
    uint32_t id = kernel_stream_id(s, stream);
    bool silent = stream->state == KERNEL_STREAM_CLOSING || stream->state == KERNEL_STREAM_DRAINING;
    const struct kernel_stream was = *stream;
    stream->tls = NULL; /* it has the reason */
    kernel_stream_release(s, stream);
    if (!silent)
        tell(r, &was, id, PORT_STREAM_CLOSED, NULL, 0);
    tls_end(was.tls);
}

/* Offers what is not consumed. False if the stream is no longer the core's afterwards. */
static bool offer(struct round *r, struct kernel_stream *stream, uint32_t id)
{
    struct kernel_streams *s = &r->k->streams;
    size_t length = stream->in_end - stream->in_start;
    size_t used = tell(r, stream, id, PORT_STREAM_BYTES, stream->in + stream->in_start, length);
    if (kernel_stream_find(s, id) != stream)
        return false;
    assert(used <= length);
    stream->in_start += (uint32_t)used;
    if (stream->in_start == stream->in_end)
        stream->in_start = stream->in_end = 0;
    else
        kernel_stream_watch(s, stream);
    return true;
}

/* Reads once. False if the stream is no longer the core's afterwards. */
static bool read_in(struct round *r, struct kernel_stream *stream, uint32_t id)
{
    struct kernel_streams *s = &r->k->streams;
    if (s->buffer_bytes - stream->in_end < s->buffer_bytes / 4 && stream->in_start > 0) {
        memmove(stream->in, stream->in + stream->in_start, stream->in_end - stream->in_start);
        stream->in_end -= stream->in_start;
        stream->in_start = 0;
    }
    uint32_t room = s->buffer_bytes - stream->in_end;
    if (room == 0)
        return true;
    bool over = false;
    ssize_t got;
    if (stream->tls != NULL) {
        got = (ssize_t)kernel_tls_read(stream, room, &over);
        if (got == 0 && !over)
            return true;
    } else {
        got = recv(stream->fd, stream->in + stream->in_end, room, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return true;
    }
    if (got <= 0) {
        die(r, stream);
        return false;
    }
    bool refused = stream->in_end > stream->in_start;
    stream->in_end += (uint32_t)got;
    if (stream->tls == NULL) {
        s->hot = (uint32_t)(stream - s->table);
        s->hot_ns = r->now.mono_ns;
    }
    stream->spread = stream->spread || stream->in_end > s->page_bytes;
    stream->rests = false;
    kernel_stream_talks(s, stream);
    if (stream->more_in)
        kernel_stream_watch(s, stream);
    if (refused && stream->watched) { /* it waits for its turn, like those to whom nothing comes */
        s->offers_owed = s->watched_count;
        r->any = true;
    } else if (!offer(r, stream, id)) {
        return false;
    }
    if (over)
        die(r, stream); /* the socket may be fine, and epoll have nothing more to report */
    return !over;
}

/* A step of TLS's handshake, of which each round takes so many: epoll reports the others again. False if
 * the stream is no longer the core's afterwards. */
static bool shake(struct round *r, struct kernel_stream *stream, uint32_t id)
{
    struct kernel_streams *s = &r->k->streams;
    r->any = true;
    if (s->shakes_left == 0)
        return true;
    s->shakes_left--;
    if (!kernel_tls_shake(stream)) {
        die(r, stream);
        return false;
    }
    if (stream->shakes)
        return true;
    if (stream->out_used > 0)
        kernel_stream_dirty(s, stream); /* written meanwhile */
    return read_in(r, stream, id);
}

/* Throws away what still comes in on a stream that we closed. */
static void drain(struct round *r, struct kernel_stream *stream)
{
    ssize_t got =
        recv(stream->fd, stream->in, r->k->streams.buffer_bytes, MSG_DONTWAIT | MSG_TRUNC);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        die(r, stream);
}

static void on_connected(struct round *r, struct kernel_stream *stream, uint32_t events)
{
    struct kernel_streams *s = &r->k->streams;
    int error = 0;
    socklen_t length = sizeof error;
    if ((events & (EPOLLERR | EPOLLHUP)) != 0 ||
        getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error != 0) {
        die(r, stream);
        return;
    }
    stream->state = KERNEL_STREAM_OPEN;
    if (stream->out_used > 0)
        kernel_stream_dirty(s, stream); /* written while it was connecting */
    uint32_t id = kernel_stream_id(s, stream);
    tell(r, stream, id, PORT_STREAM_CONNECTED, NULL, 0);
    if (kernel_stream_find(s, id) == stream)
        kernel_stream_interest(s, stream);
}

static void on_open(struct round *r, struct kernel_stream *stream, uint32_t id, uint32_t events)
{
    struct kernel_streams *s = &r->k->streams;
    if (stream->shakes) {
        if (shake(r, stream, id))
            kernel_stream_interest(s, stream);
        return;
    }
    if ((events & EPOLLOUT) != 0) {
        kernel_stream_send(s, stream);
        uint32_t room = s->buffer_bytes - stream->out_used;
        if (stream->room_wanted > 0 && room >= stream->room_wanted) {
            stream->room_wanted = 0;
            tell(r, stream, id, PORT_STREAM_ROOM, NULL, 0);
            if (kernel_stream_find(s, id) != stream)
                return;
        }
    }
    bool reads = (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    if ((reads || stream->wants_write) && !read_in(r, stream, id))
        return;
    /* With the buffer full, nothing is read and so no end is noticed; an error still is. */
    if ((events & (EPOLLERR | EPOLLHUP)) != 0 &&
        stream->in_end - stream->in_start == s->buffer_bytes) {
        die(r, stream);
        return;
    }
    kernel_stream_interest(s, stream);
}

/* A client whose end has come is looked at in its turn. */
static bool has_turn(struct kernel_streams *s, struct kernel_stream *stream, uint32_t events)
{
    bool ends = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    if (!stream->client || !ends || stream->had_turn)
        return true;
    stream->had_turn = kernel_stream_turn(s);
    return stream->had_turn;
}

static void on_event(struct round *r, uint32_t id, uint32_t events)
{
    struct kernel_streams *s = &r->k->streams;
    struct kernel_stream *stream = &s->table[(id & 0xffff) - 1];
    if (stream->generation != id >> 16)
        return; /* closed, and used again, earlier in this round */
    switch (stream->state) {
    case KERNEL_STREAM_FREE:
        break;
    case KERNEL_STREAM_CONNECTING:
        on_connected(r, stream, events);
        break;
    case KERNEL_STREAM_OPEN:
        if (!has_turn(s, stream, events))
            kernel_stream_park(s, stream);
        else
            on_open(r, stream, id, events);
        break;
    case KERNEL_STREAM_CLOSING:
        if ((events & (EPOLLERR | EPOLLHUP)) != 0)
            die(r, stream);
        else
            kernel_stream_send(s, stream);
        break;
    case KERNEL_STREAM_DRAINING:
        drain(r, stream);
        break;
    }
}

/* Out of descriptors: without this the connection would stay in the queue and wake us for ever. */
static void refuse_without_descriptor(struct kernel *k, uint32_t number)
{
    struct kernel_streams *s = &k->streams;
    if (s->reserve >= 0)
        close(s->reserve);
    int fd = accept4(s->listen[number], NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        close(fd);
    s->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
    k->transport.counters.streams_refused++;
}

static void on_listen(struct round *r, uint32_t number)
{
    struct kernel_streams *s = &r->k->streams;
    for (int i = 0; i < KERNEL_ACCEPTS_MAX; i++) {
        struct sockaddr_in sa = { 0 };
        socklen_t length = sizeof sa;
        if (number > 0 && !kernel_stream_turn(s)) {
            kernel_stream_hold_back(s);
            return;
        }
        int fd = accept4(s->listen[number], (struct sockaddr *)(void *)&sa, &length,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            s->turns += number > 0;
            if (errno == EMFILE || errno == ENFILE)
                refuse_without_descriptor(r->k, number);
            return;
        }
        struct kernel_stream *stream =
            kernel_stream_take(s, fd, KERNEL_STREAM_OPEN, kernel_addr(&sa));
        if (stream == NULL) {
            close(fd);
            r->k->transport.counters.streams_refused++;
            continue;
        }
        stream->client = number > 0;
        stream->since_ns = r->now.mono_ns;
        if (number > 0 && r->k->options.tls != NULL && !kernel_tls_begin(r->k, stream, NULL)) {
            kernel_stream_release(s, stream);
            r->k->transport.counters.streams_refused++;
            continue;
        }
        tell(r, stream, kernel_stream_id(s, stream), PORT_STREAM_ACCEPTED, NULL, 0);
    }
}

/* Whether the stream is still to be watched. */
static bool look_at(struct round *r, struct kernel_stream *stream, bool *any)
{
    struct kernel_streams *s = &r->k->streams;
    size_t left = stream->in_end - stream->in_start;
    if (stream->state == KERNEL_STREAM_OPEN && left > 0) {
        if (offer(r, stream, kernel_stream_id(s, stream)) &&
            stream->in_end - stream->in_start < left) {
            *any = true;
            kernel_stream_interest(s, stream);
        }
    } else if (stream->state == KERNEL_STREAM_CLOSING || stream->state == KERNEL_STREAM_DRAINING) {
        if (stream->close_by_ns == 0)
            stream->close_by_ns = r->now.mono_ns + CLOSE_WITHIN_S * UINT64_C(1000000000);
        else if (r->now.mono_ns >= stream->close_by_ns)
            die(r, stream);
    }
    if (stream->state == KERNEL_STREAM_OPEN && stream->more_in &&
        stream->in_end - stream->in_start < s->buffer_bytes) {
        *any = true;
        if (read_in(r, stream, kernel_stream_id(s, stream)))
            kernel_stream_interest(s, stream);
    }
    return stream->state == KERNEL_STREAM_CLOSING || stream->state == KERNEL_STREAM_DRAINING ||
           (stream->state == KERNEL_STREAM_OPEN &&
            (stream->in_end > stream->in_start || stream->more_in));
}

/* What epoll does not tell: what was not consumed is offered again (the core may be able to take
 * more now, and nothing new may ever arrive behind it), and streams that we closed do not linger
 * for ever. Each has its turn: so many in a round, and all of them before the loop may wait after the core had a
 * chance to change its mind. */
static void look_after(struct round *r)
{
    struct kernel_streams *s = &r->k->streams;
    bool any = r->any;
    uint32_t count = s->watched_count < OFFERS_MAX ? s->watched_count : OFFERS_MAX;
    for (uint32_t i = 0; i < count; i++) {
        struct kernel_stream *stream = &s->table[s->watched[s->watched_first]];
        s->watched_first = (s->watched_first + 1) % s->max;
        s->watched_count--;
        stream->watched = false;
        if (look_at(r, stream, &any))
            kernel_stream_watch(s, stream);
    }
    s->offers_owed = s->offers_owed > count ? s->offers_owed - count : 0;
    r->any = any; /* an offer that was not taken is no reason to stay awake */
}

/* After a burst a stream would keep all of its buffers' memory for its life. */
static void sweep(struct kernel_streams *s, struct port_time now)
{
    s->swept_ns = now.mono_ns;
    for (uint32_t i = 0; i < s->max; i++) {
        struct kernel_stream *stream = &s->table[i];
        if (!stream->spread)
            continue;
        if (stream->rests && stream->out_used == 0 && stream->in_end == 0)
            kernel_stream_give_back(s, stream);
        stream->rests = true;
    }
}

/* Where bytes came last, they are read without asking whether there are any: whoever talks to us, and waits for the
 * answer, has it sooner. False: it can't be read so. */
static bool read_hot(struct round *r)
{
    struct kernel_streams *s = &r->k->streams;
    struct kernel_stream *stream = &s->table[s->hot];
    if (stream->state != KERNEL_STREAM_OPEN || stream->tls != NULL ||
        (stream->interest & EPOLLIN) == 0)
        return false;
    if (read_in(r, stream, kernel_stream_id(s, stream)))
        kernel_stream_interest(s, stream);
    return true;
}

static void look(struct round *r)
{
    struct kernel_streams *s = &r->k->streams;
    struct epoll_event events[EVENTS_MAX];
    s->looked_ns = r->now.mono_ns;
    s->look_again = false;
    int count = epoll_wait(s->epoll, events, EVENTS_MAX, 0);
    for (int i = 0; i < count; i++) {
        if ((events[i].data.u32 & 0xffff) == 0)
            on_listen(r, events[i].data.u32 >> 16);
        else
            on_event(r, events[i].data.u32, events[i].events);
    }
    s->look_again = s->look_again || count > 0;
}

static uint64_t look_every_ns(const struct kernel_streams *s, struct port_time now, bool hot)
{
    bool listens = s->listen[0] >= 0 || s->listen[1] >= 0;
    if (s->active == 0 || (hot && s->active == 1 && !listens))
        return LOOK_RARE_NS;
    return hot ? LOOK_HOT_NS : now.mono_ns - s->busy_ns < BUSY_NS ? 0 : LOOK_EVERY_NS;
}

bool kernel_streams_poll(struct transport *t, const struct participant_ops *ops, void *core,
                         struct port_time now)
{
    struct kernel *k = kernel_of(&t->port);
    struct kernel_streams *s = &k->streams;
    if (s->active == 0 && s->listen[0] < 0 && s->listen[1] < 0)
        return false;
    struct round r = { .k = k, .ops = ops, .core = core, .now = now };
    s->shakes_left = KERNEL_HANDSHAKES_MAX;
    kernel_streams_turns(s, now.mono_ns);
    bool hot = now.mono_ns - s->hot_ns < BUSY_NS && read_hot(&r);
    /* What was just read is acted upon first, in every other round at least; then is the time to look at the others. */
    bool later = r.any && !s->look_again;
    bool looks =
        !later && (s->look_again || now.mono_ns - s->looked_ns >= look_every_ns(s, now, hot));
    s->look_again = s->look_again || later;
    if (looks)
        look(&r);
    t->due_ns = kernel_streams_due_ns(s);
    if (!looks && !r.any && s->offers_owed == 0)
        return false;
    if (s->watched_count > 0)
        look_after(&r);
    t->more = s->offers_owed > 0;
    if (s->active > 0 && now.mono_ns - s->swept_ns >= SWEEP_EVERY_NS)
        sweep(s, now);
    if (r.any)
        s->busy_ns = now.mono_ns;
    return r.any;
}
