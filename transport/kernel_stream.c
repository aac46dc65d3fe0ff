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

#include "transport/kernel_stream.h"

enum { DEAD_AFTER_MS = 10000 }; /* a peer that acknowledges nothing */

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
    s->watched = calloc(s->max, sizeof *s->watched);
    s->parked = calloc(s->max, sizeof *s->parked);
    s->turns = kernel_streams_turns_max();
    s->memory_bytes = (size_t)s->max * s->buffer_bytes * 2;
    void *memory =
        mmap(NULL, s->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    s->memory = memory == MAP_FAILED ? NULL : memory;
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (s->table == NULL || s->free == NULL || s->dirty == NULL || s->watched == NULL ||
        s->parked == NULL || s->memory == NULL || s->epoll < 0 || s->reserve < 0)
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

uint32_t kernel_stream_id(const struct kernel_streams *s, const struct kernel_stream *stream)
{
    return (uint32_t)stream->generation << 16 | ((uint32_t)(stream - s->table) + 1);
}

struct kernel_stream *kernel_stream_find(struct kernel_streams *s, uint32_t id)
{
    uint32_t index = (id & 0xffff) - 1;
    if (index >= s->max || s->table[index].generation != id >> 16)
        return NULL;
    struct kernel_stream *stream = &s->table[index];
    bool alive = stream->state == KERNEL_STREAM_OPEN || stream->state == KERNEL_STREAM_CONNECTING;
    return alive ? stream : NULL;
}

static uint32_t wanted_of(const struct kernel_streams *s, const struct kernel_stream *stream)
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
     * it: that it is writable is what wakes the loop to give the ROOM event. What the next flush tries to send
     * need not be watched before. */
    bool stuck = stream->out_used > 0 && !stream->dirty;
    if (stream->wants_write || (!shakes && (stuck || stream->room_wanted > 0)))
        wanted |= EPOLLOUT;
    return wanted;
}

bool kernel_stream_add(struct kernel_streams *s, struct kernel_stream *stream)
{
    stream->interest = wanted_of(s, stream);
    struct epoll_event event = { .events = stream->interest,
                                 .data = { .u32 = kernel_stream_id(s, stream) } };
    s->look_again = true;
    return epoll_ctl(s->epoll, EPOLL_CTL_ADD, stream->fd, &event) == 0;
}

void kernel_stream_interest(struct kernel_streams *s, struct kernel_stream *stream)
{
    uint32_t wanted = wanted_of(s, stream);
    if (wanted == stream->interest || stream->parked)
        return;
    stream->interest = wanted;
    struct epoll_event event = { .events = wanted, .data = { .u32 = kernel_stream_id(s, stream) } };
    int ignored = epoll_ctl(s->epoll, EPOLL_CTL_MOD, stream->fd, &event);
    (void)ignored; /* only fails for a descriptor that is not there: an invariant */
    assert(ignored == 0);
}

/* The memory of empty buffers, but for what would be taken again at once. */
void kernel_stream_give_back(const struct kernel_streams *s, struct kernel_stream *stream)
{
    if (!stream->spread)
        return;
    int ignored = madvise(stream->in, (size_t)s->buffer_bytes * 2, MADV_DONTNEED);
    (void)ignored;
    stream->spread = false;
}

void kernel_stream_release(struct kernel_streams *s, struct kernel_stream *stream)
{
    tls_end(stream->tls);
    stream->tls = NULL;
    close(stream->fd);
    stream->fd = -1;
    stream->state = KERNEL_STREAM_FREE;
    stream->parked = false;
    s->active--;
    kernel_stream_give_back(s, stream);
    s->free[(s->free_first + s->free_count++) % s->max] = (uint16_t)(stream - s->table);
}

void kernel_stream_watch(struct kernel_streams *s, struct kernel_stream *stream)
{
    if (stream->watched)
        return;
    stream->watched = true;
    s->watched[(s->watched_first + s->watched_count++) % s->max] = (uint16_t)(stream - s->table);
}

/* The slot that is free for longest; if there is none, of a stream that only waits for the other
 * side's end. NULL: all are in use. */
static struct kernel_stream *take_free(struct kernel_streams *s)
{
    for (uint32_t i = 0; i < s->watched_count && s->free_count == 0; i++) {
        struct kernel_stream *stream = &s->table[s->watched[(s->watched_first + i) % s->max]];
        if (stream->state == KERNEL_STREAM_DRAINING)
            kernel_stream_release(s, stream);
    }
    if (s->free_count == 0)
        return NULL;
    struct kernel_stream *stream = &s->table[s->free[s->free_first]];
    s->free_first = (s->free_first + 1) % s->max;
    s->free_count--;
    return stream;
}

struct kernel_stream *kernel_stream_take(struct kernel_streams *s, int fd,
                                         enum kernel_stream_state state, struct port_addr peer)
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
        .in_parked = stream->in_parked,
        .peer = peer,
        .in = stream->in,
        .out = stream->out,
    };
    if (!kernel_stream_add(s, stream)) {
        stream->state = KERNEL_STREAM_FREE;
        stream->fd = -1;
        s->free[(s->free_first + s->free_count++) % s->max] = (uint16_t)(stream - s->table);
        return NULL;
    }
    s->active++;
    return stream;
}

void kernel_streams_close(struct kernel *k)
{
    struct kernel_streams *s = &k->streams;
    for (uint32_t i = 0; s->table != NULL && i < s->max; i++)
        if (s->table[i].state != KERNEL_STREAM_FREE)
            kernel_stream_release(s, &s->table[i]);
    for (int i = 0; i < KERNEL_LISTENERS; i++)
        if (s->listen[i] >= 0)
            close(s->listen[i]);
    if (s->epoll >= 0)
        close(s->epoll);
    if (s->reserve >= 0)
        close(s->reserve);
    kernel_batch_close(s->batch);
    if (s->memory != NULL)
        munmap(s->memory, s->memory_bytes);
    free(s->table);
    free(s->free);
    free(s->dirty);
    free(s->watched);
    free(s->parked);
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
    struct kernel_stream *stream = kernel_stream_take(s, fd, KERNEL_STREAM_CONNECTING, to);
    if (stream == NULL) {
        k->transport.counters.streams_refused++;
        close(fd);
        return 0;
    }
    const char *name =
        k->options.tls_name != NULL ? k->options.tls_name(k->options.tls_ctx, to) : NULL;
    if (name != NULL && !kernel_tls_begin(k, stream, name)) {
        k->transport.counters.streams_refused++;
        kernel_stream_release(s, stream);
        return 0;
    }
    return kernel_stream_id(s, stream);
}

size_t kernel_stream_room(struct port *port, uint32_t id, size_t want)
{
    struct kernel_streams *s = &kernel_of(port)->streams;
    struct kernel_stream *stream = kernel_stream_find(s, id);
    if (stream == NULL)
        return 0;
    uint32_t room = s->buffer_bytes - stream->out_used;
    if (room < want) {
        stream->room_wanted = want < s->buffer_bytes ? (uint32_t)want : s->buffer_bytes;
        if (stream->state == KERNEL_STREAM_OPEN)
            kernel_stream_interest(s, stream);
    }
    return room;
}

void kernel_stream_dirty(struct kernel_streams *s, struct kernel_stream *stream)
{
    if (stream->dirty)
        return;
    stream->dirty = true;
    s->dirty[s->dirty_count++] = (uint16_t)(stream - s->table);
}

static void keep(struct kernel_streams *s, struct kernel_stream *stream, const uint8_t *bytes,
                 size_t length)
{
    assert(length <= s->buffer_bytes - stream->out_used);
    uint32_t end = (uint32_t)(((uint64_t)stream->out_start + stream->out_used) % s->buffer_bytes);
    size_t first = s->buffer_bytes - end;
    if (first > length)
        first = length;
    memcpy(stream->out + end, bytes, first);
    memcpy(stream->out, bytes + first, length - first);
    stream->out_used += (uint32_t)length;
    stream->spread = stream->spread || end + length > s->page_bytes;
    stream->rests = false;
}

void kernel_stream_write(struct port *port, uint32_t id, const void *bytes, size_t length)
{
    struct kernel_streams *s = &kernel_of(port)->streams;
    struct kernel_stream *stream = kernel_stream_find(s, id);
    if (stream == NULL)
        return;
    kernel_stream_talks(s, stream);
    keep(s, stream, bytes, length);
    if (stream->state == KERNEL_STREAM_OPEN)
        kernel_stream_dirty(s, stream);
}

/* How much of them the kernel takes now. An error is left for epoll to report. */
static size_t send_pieces(const struct kernel_stream *stream, const struct port_piece *pieces,
                          uint32_t count)
{
    struct iovec vectors[PORT_PIECES_MAX];
    for (uint32_t i = 0; i < count; i++)
        vectors[i] = (struct iovec) { .iov_base = (void *)(uintptr_t)pieces[i].bytes,
                                      .iov_len = pieces[i].length };
    const struct msghdr message = { .msg_iov = vectors, .msg_iovlen = count };
    ssize_t sent = sendmsg(stream->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent > 0 ? (size_t)sent : 0;
}

void kernel_stream_write_pieces(struct port *port, uint32_t id, const struct port_piece *pieces,
                                uint32_t count)
{
    struct kernel_streams *s = &kernel_of(port)->streams;
    struct kernel_stream *stream = kernel_stream_find(s, id);
    size_t length = 0, sent = 0;
    assert(count <= PORT_PIECES_MAX);
    for (uint32_t i = 0; i < count; i++)
        length += pieces[i].length;
    if (stream == NULL || length == 0)
        return;
    assert(length <= s->buffer_bytes - stream->out_used);
    kernel_stream_talks(s, stream);
    /* A few bytes wait for what the rest of this round adds. */
    bool at_once = stream->state == KERNEL_STREAM_OPEN && stream->tls == NULL &&
                   stream->out_used == 0 && length >= s->page_bytes;
    if (at_once)
        sent = send_pieces(stream, pieces, count);
    if (sent == length)
        return;
    for (uint32_t i = 0; i < count; i++) {
        size_t skip = sent < pieces[i].length ? sent : pieces[i].length;
        keep(s, stream, pieces[i].bytes + skip, pieces[i].length - skip);
        sent -= skip;
    }
    if (at_once)
        kernel_stream_interest(s, stream); /* the kernel is full */
    else if (stream->state == KERNEL_STREAM_OPEN)
        kernel_stream_dirty(s, stream);
}

void kernel_stream_binding(struct port *port, uint32_t id, uint8_t out[PORT_BINDING_SIZE])
{
    _Static_assert((int)PORT_BINDING_SIZE == (int)TLS_BINDING_SIZE, "one size");
    struct kernel_stream *stream = kernel_stream_find(&kernel_of(port)->streams, id);
    if (stream != NULL && stream->tls != NULL)
        tls_binding(stream->tls, out);
}

void kernel_stream_close(struct port *port, uint32_t id)
{
    struct kernel_streams *s = &kernel_of(port)->streams;
    struct kernel_stream *stream = kernel_stream_find(s, id);
    if (stream == NULL)
        return;
    if (stream->state == KERNEL_STREAM_CONNECTING) {
        kernel_stream_release(s, stream); /* nobody has seen it */
        return;
    }
    stream->state = KERNEL_STREAM_CLOSING;
    stream->room_wanted = 0;
    stream->wants_write = false;
    kernel_stream_dirty(s, stream);
    kernel_stream_watch(s, stream);
}

/* ---- sending --------------------------------------------------------------------------------- */

void kernel_stream_sent(const struct kernel_streams *s, struct kernel_stream *stream,
                        uint32_t length)
{
    assert(length <= stream->out_used);
    stream->out_used -= length;
    stream->out_start = (uint32_t)(((uint64_t)stream->out_start + length) % s->buffer_bytes);
    if (stream->out_used == 0)
        stream->out_start = 0;
}

void kernel_stream_send(struct kernel_streams *s, struct kernel_stream *stream)
{
    if (stream->shakes && stream->state == KERNEL_STREAM_OPEN)
        return; /* afterwards */
    if (stream->shakes)
        stream->out_used = stream->out_start = 0; /* the other side can't be told */
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
        kernel_stream_sent(s, stream, (uint32_t)sent);
    }
    if (stream->state == KERNEL_STREAM_CLOSING && stream->out_used == 0) {
        /* Closing with unread bytes in the kernel would reset the connection and might destroy what
         * was just sent: end our half, and read on until the other side ends too. */
        if (stream->tls != NULL)
            tls_say_end(stream->tls);
        shutdown(stream->fd, SHUT_WR);
        stream->state = KERNEL_STREAM_DRAINING;
        s->look_again = true;
    }
    kernel_stream_interest(s, stream);
}

void kernel_streams_flush(struct kernel *k)
{
    struct kernel_streams *s = &k->streams;
    if (s->dirty_count >= KERNEL_BATCH_MIN)
        kernel_batch_send(s);
    for (uint32_t i = 0; i < s->dirty_count; i++) {
        struct kernel_stream *stream = &s->table[s->dirty[i]];
        stream->dirty = false;
        if (stream->state == KERNEL_STREAM_OPEN || stream->state == KERNEL_STREAM_CLOSING)
            kernel_stream_send(s, stream);
    }
    s->dirty_count = 0;
}
