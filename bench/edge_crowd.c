#include "bench/edge_crowd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/nats.h"
#include "proto/edge.h"
#include "proto/wire.h"

enum { READ_BYTES = 256 * 1024, CARRY_MAX = 2048, EVENTS_MAX = 256, DESCRIPTORS_SPARE = 64 };

struct crowd_end {
    int fd;
    uint32_t carried; /* the beginning of what is not all there */
    uint8_t carry[CARRY_MAX];
};

bool crowd_raise_descriptors(uint32_t count)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)count + DESCRIPTORS_SPARE;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return true;
    limit.rlim_cur = wanted;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

bool crowd_open(struct crowd *c, enum crowd_protocol protocol, uint32_t max, uint32_t payload_bytes)
{
    *c = (struct crowd) { .protocol = protocol, .max = max, .payload_bytes = payload_bytes };
    c->ends = calloc(max, sizeof *c->ends);
    c->seen = calloc(max, sizeof *c->seen);
    c->seqs = calloc(max, sizeof *c->seqs);
    c->bytes = malloc(READ_BYTES);
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    c->head = (uint32_t)nats_msg_head(c->text, payload_bytes);
    return c->ends != NULL && c->seen != NULL && c->seqs != NULL && c->bytes != NULL &&
           c->epoll >= 0;
}

void crowd_close(struct crowd *c)
{
    for (uint32_t i = 0; i < c->count; i++)
        close(c->ends[i].fd);
    if (c->epoll > 0)
        close(c->epoll);
    free(c->ends);
    free(c->seen);
    free(c->seqs);
    free(c->bytes);
    *c = (struct crowd) { 0 };
}

void crowd_drop(struct crowd *c)
{
    for (uint32_t i = 0; i < c->count; i++)
        shutdown(c->ends[i].fd, SHUT_RDWR);
}

void crowd_close_some(struct crowd *c, uint32_t max)
{
    for (uint32_t i = 0; i < max && c->count > 0; i++)
        close(c->ends[--c->count].fd);
}

bool crowd_add(struct crowd *c, int fd)
{
    struct epoll_event event = { .events = EPOLLIN, .data.u32 = c->count };
    assert(c->count < c->max);
    c->ends[c->count++].fd = fd;
    return fcntl(fd, F_SETFL, O_NONBLOCK) == 0 &&
           epoll_ctl(c->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

static size_t fail(struct crowd *c, uint32_t end, const char *why)
{
    if (!c->failed && (c->stage == NULL || stage_phase_now(c->stage) != STAGE_END))
        fprintf(stderr, "cantus: subscriber %u, behind message %llu: %s\n", end,
                (unsigned long long)c->seen[end], why);
    c->failed = true;
    return SIZE_MAX;
}

static bool is_next(struct crowd *c, uint32_t end, const uint8_t *payload)
{
    if (wire_load64(payload) != c->seen[end] + 1)
        return fail(c, end, "a message is missing, or came twice") == 0;
    c->seen[end]++;
    c->total++;
    return true;
}

/* A whole frame, or line and payload, at `at`: its length; 0: not all there; SIZE_MAX: wrong. */
static size_t take_frame(struct crowd *c, uint32_t end, const uint8_t *at, size_t left)
{
    enum { SEQ_AT = EDGE_HEADER, PREVIOUS_AT = EDGE_HEADER + 8 };
    if (left < EDGE_HEADER)
        return 0;
    size_t length = 4 + (size_t)wire_load32(at);
    if (length > left)
        return length > CARRY_MAX ? fail(c, end, "a frame that is no frame") : 0;
    if (at[4] == EDGE_CLOSING || at[4] == EDGE_REFUSED || at[4] == EDGE_FORKED)
        return fail(c, end, "the proxy closes, refuses, or has forked");
    c->subscribed += at[4] == EDGE_SUBSCRIBED &&
                     edge_subscribed_decode(at + EDGE_HEADER, length - EDGE_HEADER, &c->last);
    if (at[4] != EDGE_MESSAGE)
        return length;
    uint64_t previous = wire_load64(at + PREVIOUS_AT);
    if (previous != 0 && previous != c->seqs[end] && c->seqs[end] != 0)
        return fail(c, end, "what a message names as the one before it is another");
    c->seqs[end] = wire_load64(at + SEQ_AT);
    return is_next(c, end, at + EDGE_HEADER + EDGE_MESSAGE_HEADER) ? length : SIZE_MAX;
}

static size_t take_line(struct crowd *c, uint32_t end, const uint8_t *at, size_t left)
{
    static const char ping[] = "PING\r\n", pong[] = "PONG\r\n";
    size_t length = c->head + c->payload_bytes + 2;
    if (at[0] == 'M') {
        if (left < length)
            return 0;
        if (memcmp(at, c->text, c->head) != 0)
            return fail(c, end, "a message of another kind");
        return is_next(c, end, at + c->head) ? length : SIZE_MAX;
    }
    const uint8_t *newline = memchr(at, '\n', left);
    if (newline == NULL)
        return left > CARRY_MAX ? fail(c, end, "a line that does not end") : 0;
    if (left >= sizeof ping - 1 && memcmp(at, ping, sizeof ping - 1) == 0)
        (void)!send(c->ends[end].fd, pong, sizeof pong - 1, MSG_NOSIGNAL);
    else if (at[0] == '-')
        return fail(c, end, "nats-server closes");
    return (size_t)(newline - at) + 1;
}

/* False: nothing came, or it is over. */
static bool read_end(struct crowd *c, uint32_t index)
{
    struct crowd_end *end = &c->ends[index];
    memcpy(c->bytes, end->carry, end->carried);
    ssize_t got = recv(end->fd, c->bytes + end->carried, READ_BYTES - end->carried, 0);
    if (got < 0 && errno == EAGAIN)
        return false;
    if (got <= 0)
        return fail(c, index, "the connection has ended") == 0;
    size_t length = end->carried + (size_t)got, at = 0, frame = 0;
    while (at < length) {
        frame = c->protocol == CROWD_EDGE ? take_frame(c, index, c->bytes + at, length - at)
                                          : take_line(c, index, c->bytes + at, length - at);
        if (frame == 0 || frame == SIZE_MAX)
            break;
        at += frame;
    }
    if (frame == SIZE_MAX)
        return false;
    end->carried = (uint32_t)(length - at);
    memcpy(end->carry, c->bytes + at, end->carried);
    return true;
}

bool crowd_poll(struct crowd *c, int timeout_ms)
{
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(c->epoll, events, EVENTS_MAX, timeout_ms);
    for (int i = 0; i < count && !c->failed; i++)
        (void)read_end(c, events[i].data.u32);
    return count > 0;
}

uint64_t crowd_least(const struct crowd *c)
{
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < c->count; i++)
        least = c->seen[i] < least ? c->seen[i] : least;
    return least;
}
