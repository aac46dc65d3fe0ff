/* TCP streams: non-blocking sockets under one level-triggered epoll, with a fixed buffer each way.
 *
 * A slot's id is (generation << 16 | index + 1): the generation changes with every use, and slots
 * are taken in turn, so that a late use of a dead id finds nothing rather than somebody else's
 * stream. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "transport/kernel.h"

enum {
    EVENTS_MAX = 256,
    LOOK_EVERY_NS = 8000,  /* a spinning loop asks the kernel for stream events this often, */
    BUSY_NS = 100000,      /* but in each round while one came so short a time ago */
    DEAD_AFTER_MS = 10000, /* a peer that acknowledges nothing */
    CLOSE_WITHIN_S = 5     /* what was written before a close has this long to leave */
};
#define SWEEP_EVERY_NS UINT64_C(1000000000)

bool kernel_streams_init(struct kernel *k)
{
    struct kernel_streams *s = &k->streams;
    s->max = k->options.streams_max;
    s->page_bytes = (uint32_t)sysconf(_SC_PAGESIZE);
    /* Whole pages, because memory is given back by those. */
    s->buffer_bytes =
        (k->options.stream_buffer_bytes + s->page_bytes - 1) / s->page_bytes * s->page_bytes;
    s->table = calloc(s->max, sizeof *s->table);
    s->free = calloc(s->max, sizeof *s->free);
    s->dirty = calloc(s->max, sizeof *s->dirty);
    s->watched = calloc((size_t)s->max * 2, sizeof *s->watched);
    s->memory_bytes = (size_t)s->max * s->buffer_bytes * 2;
    void *memory =
        mmap(NULL, s->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    s->memory = memory == MAP_FAILED ? NULL : memory;
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (s->table == NULL || s->free == NULL || s->dirty == NULL || s->watched == NULL ||
        s->memory == NULL || s->epoll < 0 || s->reserve < 0)
        return false;
    /* Of thousands that rest, each touches the first page of its buffers only. */
    int ignored = madvise(s->memory, s->memory_bytes, MADV_NOHUGEPAGE);
    (void)ignored;
    s->free_count = s->max;
    for (uint32_t i = 0; i < s->max; i++) {
        s->free[i] = (uint16_t)i;
        s->table[i].fd = -1;
        s->table[i].in = s->memory + (size_t)i * s->buffer_bytes * 2;
        s->table[i].out = s->table[i].in + s->buffer_bytes;
    }
    return true;
}

static void set_int(int fd, int level, int option, int value)
{
    int ignored = setsockopt(fd, level, option, &value, sizeof value);
    (void)ignored;
}

/* Clients are asked for signs of life by those who serve them. */
void kernel_stream_options(const struct kernel_streams *s, int fd, bool client)
{
    set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, DEAD_AFTER_MS);
    set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, client ? 120 : 5);
    set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, client ? 10 : 2);
    set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    /* Modest, so that back-pressure is felt where the bytes are made. */
    set_int(fd, SOL_SOCKET, SO_SNDBUF, (int)s->buffer_bytes);
    set_int(fd, SOL_SOCKET, SO_RCVBUF, (int)s->buffer_bytes);
}

static uint32_t id_of(const struct kernel_streams *s, const struct kernel_stream *stream)
{
    return (uint32_t)stream->generation << 16 | ((uint32_t)(stream - s->table) + 1);
}

/* The stream of an id that the core may still use; NULL once it is dead. */
static struct kernel_stream *find(struct kernel_streams *s, uint32_t id)
{
    uint32_t index = (id & 0xffff) - 1;
    if (index >= s->max || s->table[index].generation != id >> 16)
        return NULL;
    struct kernel_stream *stream = &s->table[index];
    bool alive = stream->state == KERNEL_STREAM_OPEN || stream->state == KERNEL_STREAM_CONNECTING;
    return alive ? stream : NULL;
}

static void set_interest(struct kernel_streams *s, struct kernel_stream *stream)
{
    uint32_t wanted = 0;
    bool full = stream->in_end - stream->in_start == s->buffer_bytes;
    bool shakes = stream->shakes && stream->state == KERNEL_STREAM_OPEN;
    if (stream->state == KERNEL_STREAM_CONNECTING)
        wanted = EPOLLOUT;
    else if (stream->state == KERNEL_STREAM_DRAINING ||
             (stream->state == KERNEL_STREAM_OPEN && !full))
        wanted = EPOLLIN | EPOLLRDHUP;
    /* While somebody waits for room the socket is watched even when everything has been handed to
     * it: that it is writable is what wakes the loop to give the ROOM event. */
    if (stream->wants_write || (!shakes && (stream->out_used > 0 || stream->room_wanted > 0)))
        wanted |= EPOLLOUT;
    if (wanted == stream->interest)
        return;
    stream->interest = wanted;
    struct epoll_event event = { .events = wanted, .data = { .u32 = id_of(s, stream) } };
    int ignored = epoll_ctl(s->epoll, EPOLL_CTL_MOD, stream->fd, &event);
    (void)ignored; /* only fails for a descriptor that is not there: an invariant */
    assert(ignored == 0);
}

/* The memory of empty buffers, but for what would be taken again at once. */
static void give_back(const struct kernel_streams *s, struct kernel_stream *stream)
{
    if (!stream->spread)
        return;
    int ignored = madvise(stream->in, (size_t)s->buffer_bytes * 2, MADV_DONTNEED);
    (void)ignored;
    stream->spread = false;
}

static void release(struct kernel_streams *s, struct kernel_stream *stream)
{
    tls_end(stream->tls);
    stream->tls = NULL;
    close(stream->fd);
    stream->fd = -1;
    stream->state = KERNEL_STREAM_FREE;
    s->active--;
    give_back(s, stream);
    s->free[(s->free_first + s->free_count++) % s->max] = (uint16_t)(stream - s->table);
}

/* Epoll says nothing of what we have to come back to. */
static void watch(struct kernel_streams *s, struct kernel_stream *stream)
{
    if (stream->watched)
        return;
    stream->watched = true;
    s->watched[s->watched_count++] = (uint16_t)(stream - s->table);
}

/* The slot that is free for longest; if there is none, of a stream that only waits for the other
 * side's end. NULL: all are in use. */
static struct kernel_stream *take_free(struct kernel_streams *s)
{
    for (uint32_t i = 0; i < s->watched_count && s->free_count == 0; i++)
        if (s->table[s->watched[i]].state == KERNEL_STREAM_DRAINING)
            release(s, &s->table[s->watched[i]]);
    if (s->free_count == 0)
        return NULL;
    struct kernel_stream *stream = &s->table[s->free[s->free_first]];
    s->free_first = (s->free_first + 1) % s->max;
    s->free_count--;
    return stream;
}

/* Makes a slot of an open descriptor; the descriptor is the slot's from then on. NULL if full. */
static struct kernel_stream *take(struct kernel_streams *s, int fd, enum kernel_stream_state state,
                                  struct port_addr peer)
{
    struct kernel_stream *stream = take_free(s);
    if (stream == NULL)
        return NULL;
    *stream = (struct kernel_stream) {
        .state = state,
        .fd = fd,
        .generation = (uint16_t)(stream->generation + 1),
        .dirty = stream->dirty, /* entries of an earlier use may still be in the lists */
        .watched = stream->watched,
        .interest = state == KERNEL_STREAM_CONNECTING ? EPOLLOUT : EPOLLIN | EPOLLRDHUP,
        .peer = peer,
        .in = stream->in,
        .out = stream->out,
    };
    struct epoll_event event = { .events = stream->interest, .data = { .u32 = id_of(s, stream) } };
    if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        stream->state = KERNEL_STREAM_FREE;
        stream->fd = -1;
        s->free[(s->free_first + s->free_count++) % s->max] = (uint16_t)(stream - s->table);
        return NULL;
    }
    s->active++;
    s->look_again = true;
    return stream;
}

void kernel_streams_close(struct kernel *k)
{
    struct kernel_streams *s = &k->streams;
    for (uint32_t i = 0; s->table != NULL && i < s->max; i++)
        if (s->table[i].state != KERNEL_STREAM_FREE)
            release(s, &s->table[i]);
    for (int i = 0; i < KERNEL_LISTENERS; i++)
        if (s->listen[i] >= 0)
            close(s->listen[i]);
    if (s->epoll >= 0)
        close(s->epoll);
    if (s->reserve >= 0)
        close(s->reserve);
    if (s->memory != NULL)
        munmap(s->memory, s->memory_bytes);
    free(s->table);
    free(s->free);
    free(s->dirty);
    free(s->watched);
}

/* ---- the core's side ------------------------------------------------------------------------- */

uint32_t kernel_stream_connect(struct port *port, struct port_addr to)
{
    struct kernel *k = kernel_of(port);
    struct kernel_streams *s = &k->streams;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        k->transport.counters.streams_refused++;
        return 0;
    }
    kernel_stream_options(s, fd, false);
    struct sockaddr_in sa = kernel_sockaddr(to);
    /* Failure at once shows as EPOLLHUP on the unconnected socket, and so as CLOSED. */
    int ignored = connect(fd, (const struct sockaddr *)(const void *)&sa, sizeof sa);
    (void)ignored;
    struct kernel_stream *stream = take(s, fd, KERNEL_STREAM_CONNECTING, to);
    if (stream == NULL) {
        k->transport.counters.streams_refused++;
        close(fd);
        return 0;
    }
    const char *name =
        k->options.tls_name != NULL ? k->options.tls_name(k->options.tls_ctx, to) : NULL;
    if (name != NULL && !kernel_tls_begin(k, stream, name)) {
        k->transport.counters.streams_refused++;
        release(s, stream);
        return 0;
    }
    return id_of(s, stream);
}

size_t kernel_stream_room(struct port *port, uint32_t id, size_t want)
{
    struct kernel_streams *s = &kernel_of(port)->streams;
    struct kernel_stream *stream = find(s, id);
    if (stream == NULL)
        return 0;
    uint32_t room = s->buffer_bytes - stream->out_used;
    if (room < want) {
        stream->room_wanted = want < s->buffer_bytes ? (uint32_t)want : s->buffer_bytes;
        if (stream->state == KERNEL_STREAM_OPEN)
            set_interest(s, stream);
    }
    return room;
}

static void mark_dirty(struct kernel_streams *s, struct kernel_stream *stream)
{
    if (stream->dirty)
        return;
    stream->dirty = true;
    s->dirty[s->dirty_count++] = (uint16_t)(stream - s->table);
}

void kernel_stream_write(struct port *port, uint32_t id, const void *bytes, size_t length)
{
    struct kernel_streams *s = &kernel_of(port)->streams;
    struct kernel_stream *stream = find(s, id);
    if (stream == NULL)
        return;
    assert(length <= s->buffer_bytes - stream->out_used);
    uint32_t end = (uint32_t)(((uint64_t)stream->out_start + stream->out_used) % s->buffer_bytes);
    size_t first = s->buffer_bytes - end;
    if (first > length)
        first = length;
    memcpy(stream->out + end, bytes, first);
    memcpy(stream->out, (const uint8_t *)bytes + first, length - first);
    stream->out_used += (uint32_t)length;
    stream->spread = stream->spread || end + length > s->page_bytes;
    stream->rests = false;
    if (stream->state == KERNEL_STREAM_OPEN)
        mark_dirty(s, stream);
}

void kernel_stream_binding(struct port *port, uint32_t id, uint8_t out[PORT_BINDING_SIZE])
{
    _Static_assert((int)PORT_BINDING_SIZE == (int)TLS_BINDING_SIZE, "one size");
    struct kernel_stream *stream = find(&kernel_of(port)->streams, id);
    if (stream != NULL && stream->tls != NULL)
        tls_binding(stream->tls, out);
}

void kernel_stream_close(struct port *port, uint32_t id)
{
    struct kernel_streams *s = &kernel_of(port)->streams;
    struct kernel_stream *stream = find(s, id);
    if (stream == NULL)
        return;
    if (stream->state == KERNEL_STREAM_CONNECTING) {
        release(s, stream); /* nobody has seen it */
        return;
    }
    stream->state = KERNEL_STREAM_CLOSING;
    stream->room_wanted = 0;
    stream->wants_write = false;
    mark_dirty(s, stream);
    watch(s, stream);
}

/* ---- sending --------------------------------------------------------------------------------- */

/* Hands what is queued to the kernel. An error is left for epoll to report. */
static void send_out(struct kernel_streams *s, struct kernel_stream *stream)
{
    if (stream->shakes && stream->state == KERNEL_STREAM_OPEN)
        return; /* afterwards */
    if (stream->shakes)
        stream->out_used = 0; /* the other side can't be told */
    while (stream->out_used > 0) {
        uint32_t chunk = s->buffer_bytes - stream->out_start;
        if (chunk > stream->out_used)
            chunk = stream->out_used;
        const uint8_t *from = stream->out + stream->out_start;
        ssize_t sent = stream->tls != NULL
                           ? kernel_tls_write(stream, from, chunk)
                           : send(stream->fd, from, chunk, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && stream->tls == NULL && errno == EINTR)
            continue;
        if (sent <= 0)
            break;
        stream->out_start =
            (uint32_t)(((uint64_t)stream->out_start + (uint64_t)sent) % s->buffer_bytes);
        stream->out_used -= (uint32_t)sent;
    }
    if (stream->out_used == 0)
        stream->out_start = 0;
    if (stream->state == KERNEL_STREAM_CLOSING && stream->out_used == 0) {
        /* Closing with unread bytes in the kernel would reset the connection and might destroy what
         * was just sent: end our half, and read on until the other side ends too. */
        if (stream->tls != NULL)
            tls_say_end(stream->tls);
        shutdown(stream->fd, SHUT_WR);
        stream->state = KERNEL_STREAM_DRAINING;
        s->look_again = true;
    }
    set_interest(s, stream);
}

void kernel_streams_flush(struct kernel *k)
{
    struct kernel_streams *s = &k->streams;
    for (uint32_t i = 0; i < s->dirty_count; i++) {
        struct kernel_stream *stream = &s->table[s->dirty[i]];
        stream->dirty = false;
        if (stream->state == KERNEL_STREAM_OPEN || stream->state == KERNEL_STREAM_CLOSING)
            send_out(s, stream);
    }
    s->dirty_count = 0;
}

/* ---- events ---------------------------------------------------------------------------------- */

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
    uint32_t id = id_of(s, stream);
    bool silent = stream->state == KERNEL_STREAM_CLOSING || stream->state == KERNEL_STREAM_DRAINING;
    const struct kernel_stream was = *stream;
    stream->tls = NULL; /* it has the reason */
    release(s, stream);
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
    if (find(s, id) != stream)
        return false;
    assert(used <= length);
    stream->in_start += (uint32_t)used;
    if (stream->in_start == stream->in_end)
        stream->in_start = stream->in_end = 0;
    else
        watch(s, stream);
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
    stream->in_end += (uint32_t)got;
    stream->spread = stream->spread || stream->in_end > s->page_bytes;
    stream->rests = false;
    if (stream->more_in)
        watch(s, stream);
    if (!offer(r, stream, id))
        return false;
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
        mark_dirty(s, stream); /* written meanwhile */
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
        mark_dirty(s, stream); /* written while it was connecting */
    uint32_t id = id_of(s, stream);
    tell(r, stream, id, PORT_STREAM_CONNECTED, NULL, 0);
    if (find(s, id) == stream)
        set_interest(s, stream);
}

static void on_open(struct round *r, struct kernel_stream *stream, uint32_t id, uint32_t events)
{
    struct kernel_streams *s = &r->k->streams;
    if (stream->shakes) {
        if (shake(r, stream, id))
            set_interest(s, stream);
        return;
    }
    if ((events & EPOLLOUT) != 0) {
        send_out(s, stream);
        uint32_t room = s->buffer_bytes - stream->out_used;
        if (stream->room_wanted > 0 && room >= stream->room_wanted) {
            stream->room_wanted = 0;
            tell(r, stream, id, PORT_STREAM_ROOM, NULL, 0);
            if (find(s, id) != stream)
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
    set_interest(s, stream);
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
        on_open(r, stream, id, events);
        break;
    case KERNEL_STREAM_CLOSING:
        if ((events & (EPOLLERR | EPOLLHUP)) != 0)
            die(r, stream);
        else
            send_out(s, stream);
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
        int fd = accept4(s->listen[number], (struct sockaddr *)(void *)&sa, &length,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE)
                refuse_without_descriptor(r->k, number);
            return;
        }
        struct kernel_stream *stream = take(s, fd, KERNEL_STREAM_OPEN, kernel_addr(&sa));
        if (stream == NULL) {
            close(fd);
            r->k->transport.counters.streams_refused++;
            continue;
        }
        stream->client = number > 0;
        if (number > 0 && r->k->options.tls != NULL && !kernel_tls_begin(r->k, stream, NULL)) {
            release(s, stream);
            r->k->transport.counters.streams_refused++;
            continue;
        }
        tell(r, stream, id_of(s, stream), PORT_STREAM_ACCEPTED, NULL, 0);
    }
}

/* Whether the stream is still to be watched. */
static bool look_at(struct round *r, struct kernel_stream *stream, bool *any)
{
    struct kernel_streams *s = &r->k->streams;
    size_t left = stream->in_end - stream->in_start;
    if (stream->state == KERNEL_STREAM_OPEN && left > 0) {
        if (offer(r, stream, id_of(s, stream)) && stream->in_end - stream->in_start < left) {
            *any = true;
            set_interest(s, stream);
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
        if (read_in(r, stream, id_of(s, stream)))
            set_interest(s, stream);
    }
    return stream->state == KERNEL_STREAM_CLOSING || stream->state == KERNEL_STREAM_DRAINING ||
           (stream->state == KERNEL_STREAM_OPEN &&
            (stream->in_end > stream->in_start || stream->more_in));
}

/* What epoll does not tell: what was not consumed is offered again (the core may be able to take
 * more now, and nothing new may ever arrive behind it), and streams that we closed do not linger
 * for ever. Those that come to the list meanwhile have their turn in the next round. */
static void look_after(struct round *r)
{
    struct kernel_streams *s = &r->k->streams;
    bool any = r->any;
    uint32_t count = s->watched_count, kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct kernel_stream *stream = &s->table[s->watched[i]];
        if (look_at(r, stream, &any))
            s->watched[kept++] = s->watched[i];
        else
            stream->watched = false;
    }
    memmove(s->watched + kept, s->watched + count, (s->watched_count - count) * sizeof *s->watched);
    s->watched_count -= count - kept;
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
            give_back(s, stream);
        stream->rests = true;
    }
}

bool kernel_streams_poll(struct transport *t, const struct participant_ops *ops, void *core,
                         struct port_time now)
{
    struct kernel *k = kernel_of(&t->port);
    struct kernel_streams *s = &k->streams;
    if (s->active == 0 && s->listen[0] < 0 && s->listen[1] < 0)
        return false;
    if (!s->look_again && now.mono_ns - s->busy_ns >= BUSY_NS &&
        now.mono_ns - s->looked_ns < LOOK_EVERY_NS)
        return false;
    s->looked_ns = now.mono_ns;
    s->shakes_left = KERNEL_HANDSHAKES_MAX;
    struct round r = { .k = k, .ops = ops, .core = core, .now = now };
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(s->epoll, events, EVENTS_MAX, 0);
    for (int i = 0; i < count; i++) {
        if ((events[i].data.u32 & 0xffff) == 0)
            on_listen(&r, events[i].data.u32 >> 16);
        else
            on_event(&r, events[i].data.u32, events[i].events);
    }
    if (s->watched_count > 0)
        look_after(&r);
    if (s->active > 0 && now.mono_ns - s->swept_ns >= SWEEP_EVERY_NS)
        sweep(s, now);
    if (r.any)
        s->busy_ns = now.mono_ns;
    s->look_again = r.any;
    return r.any;
}
