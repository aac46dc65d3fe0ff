/* The send queue and its flush: consecutive datagrams of equal size to one place become one
 * UDP_SEGMENT send where that is on; everything goes out in as few sendmmsg calls as possible. */
#include <assert.h>
#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "transport/kernel.h"

enum { SEND_WAIT_NS_MAX = 1000000 };

bool kernel_sender_init(struct kernel *k)
{
    struct kernel_sender *s = &k->sender;
    s->queue = calloc(KERNEL_SEND_MAX, sizeof *s->queue);
    s->messages = calloc(KERNEL_SEND_MAX, sizeof *s->messages);
    s->vectors = calloc(KERNEL_SEND_MAX, sizeof *s->vectors);
    s->addresses = calloc(KERNEL_SEND_MAX, sizeof *s->addresses);
    s->controls = calloc(KERNEL_SEND_MAX, sizeof *s->controls);
    s->firsts = calloc(KERNEL_SEND_MAX + 1, sizeof *s->firsts);
    s->scratch = aligned_alloc(64, KERNEL_SCRATCH_BYTES);
    s->segmentation = k->options.segmentation;
    return s->queue != NULL && s->messages != NULL && s->vectors != NULL && s->addresses != NULL &&
           s->controls != NULL && s->firsts != NULL && s->scratch != NULL;
}

void kernel_sender_close(struct kernel *k)
{
    struct kernel_sender *s = &k->sender;
    free(s->queue);
    free(s->messages);
    free(s->vectors);
    free(s->addresses);
    free(s->controls);
    free(s->firsts);
    free(s->scratch);
}

void kernel_send(struct port *port, enum port_channel channel, struct port_addr to,
                 const uint8_t *bytes, uint32_t length)
{
    struct kernel *k = kernel_of(port);
    struct kernel_sender *s = &k->sender;
    assert(channel < PORT_CHANNELS);
    assert(length <= k->options.datagram_max);
    if (channel != PORT_UNICAST && k->senders[channel] < 0)
        return;
    if (s->count == KERNEL_SEND_MAX)
        kernel_send_flush(k);
    s->queue[s->count++] = (struct kernel_send) {
        .bytes = bytes,
        .length = length,
        .channel = channel,
        .to = channel == PORT_UNICAST ? to : (struct port_addr) { 0 },
    };
}

uint8_t *kernel_scratch(struct port *port, uint32_t length)
{
    struct kernel *k = kernel_of(port);
    struct kernel_sender *s = &k->sender;
    assert(length <= PORT_SCRATCH_MAX);
    uint32_t size = (length + 15u) & ~15u;
    if (s->scratch_used + size > KERNEL_SCRATCH_BYTES) {
        /* Everything queued goes out first. What was handed out last and is not queued yet lies at
         * the other end, far from where the next ones come from. */
        kernel_send_flush(k);
        s->scratch_used = 0;
    }
    uint8_t *out = s->scratch + s->scratch_used;
    s->scratch_used += size;
    return out;
}

/* How many datagrams from queue[first] make one message. */
static uint32_t segments_from(const struct kernel_sender *s, uint32_t first)
{
    const struct kernel_send *a = &s->queue[first];
    if (!s->segmentation || a->length == 0)
        return 1;
    uint32_t total = a->length;
    uint32_t count = 1;
    while (count < KERNEL_SEGMENTS_MAX && first + count < s->count) {
        const struct kernel_send *b = &s->queue[first + count];
        if (b->channel != a->channel || !port_addr_equal(b->to, a->to) || b->length > a->length ||
            b->length == 0 || total + b->length > KERNEL_SEGMENTED_MAX)
            break;
        total += b->length;
        count++;
        if (b->length < a->length)
            break; /* only the last may be shorter */
    }
    return count;
}

static void add_control(struct msghdr *m, int level, int type, const void *data, size_t size)
{
    struct cmsghdr *c = (struct cmsghdr *)(void *)((char *)m->msg_control + m->msg_controllen);
    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(c), data, size);
    m->msg_controllen += CMSG_SPACE(size);
}

static void build_message(struct kernel_sender *s, uint32_t index, uint32_t first, uint32_t count)
{
    const struct kernel_send *a = &s->queue[first];
    for (uint32_t i = first; i < first + count; i++) {
        /* struct iovec serves reading too, so it has no const; sending changes nothing. */
        memcpy(&s->vectors[i].iov_base, &s->queue[i].bytes, sizeof(void *));
        s->vectors[i].iov_len = s->queue[i].length;
    }
    s->firsts[index] = first;
    struct msghdr *m = &s->messages[index].msg_hdr;
    *m = (struct msghdr) {
        .msg_iov = &s->vectors[first],
        .msg_iovlen = count,
        .msg_control = &s->controls[index],
    };
    if (count > 1) {
        uint16_t size = (uint16_t)a->length;
        add_control(m, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size);
    }
    if (m->msg_controllen == 0)
        m->msg_control = NULL;
    if (a->channel == PORT_UNICAST) {
        s->addresses[index] = kernel_sockaddr(a->to);
        m->msg_name = &s->addresses[index];
        m->msg_namelen = sizeof s->addresses[index];
    }
}

static uint64_t mono_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Waits for room in the socket's buffer, within this flush's patience. */
static bool wait_for_room(struct kernel *k, int fd)
{
    struct kernel_sender *s = &k->sender;
    if (s->wait_left_ns == 0)
        return false;
    uint64_t begin = mono_ns();
    struct pollfd p = { .fd = fd, .events = POLLOUT };
    int ready = poll(&p, 1, 1);
    uint64_t took = mono_ns() - begin;
    /* At least something is charged for each try, so that the tries are bounded as well. */
    took += SEND_WAIT_NS_MAX / 64;
    s->wait_left_ns = took < s->wait_left_ns ? s->wait_left_ns - took : 0;
    return ready > 0;
}

static void count_sent(struct kernel *k, const struct mmsghdr *m)
{
    k->transport.counters.datagrams_out += m->msg_hdr.msg_iovlen;
    k->transport.counters.bytes_out += m->msg_len;
}

/* The device can't segment, or its MTU is below the segment size: everything from queue[first] on
 * is sent one by one, now and later. */
static void send_unsegmented(struct kernel *k, uint32_t first);

/* How many of messages[at..count) leave through the same socket. */
static uint32_t same_socket(const struct kernel_sender *s, uint32_t at, uint32_t count)
{
    enum port_channel channel = s->queue[s->firsts[at]].channel;
    uint32_t end = at + 1;
    while (end < count && s->queue[s->firsts[end]].channel == channel)
        end++;
    return end - at;
}

/* Sends messages[0..count). */
static void send_messages(struct kernel *k, uint32_t count)
{
    struct kernel_sender *s = &k->sender;
    uint32_t at = 0;
    while (at < count) {
        int fd = k->senders[s->queue[s->firsts[at]].channel];
        int sent = sendmmsg(fd, s->messages + at, same_socket(s, at, count), MSG_DONTWAIT);
        if (sent > 0) {
            for (int i = 0; i < sent; i++)
                count_sent(k, &s->messages[at++]);
            continue;
        }
        if (sent < 0 && errno == EINTR)
            continue;
        size_t datagrams = s->messages[at].msg_hdr.msg_iovlen;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            if (wait_for_room(k, fd))
                continue;
            k->transport.counters.send_errors += s->firsts[count] - s->firsts[at];
            return;
        }
        if (sent < 0 && datagrams > 1 && (errno == EINVAL || errno == EIO || errno == EMSGSIZE)) {
            send_unsegmented(k, s->firsts[at]);
            return;
        }
        k->transport.counters.send_errors += datagrams;
        at++;
    }
}

static void send_from(struct kernel *k, uint32_t first)
{
    struct kernel_sender *s = &k->sender;
    uint32_t messages = 0;
    while (first < s->count) {
        uint32_t count = segments_from(s, first);
        if (count > 1)
            kernel_receive_own_segments(k, s->queue[first].channel);
        build_message(s, messages++, first, count);
        first += count;
    }
    s->firsts[messages] = s->count;
    send_messages(k, messages);
}

static void send_unsegmented(struct kernel *k, uint32_t first)
{
    k->sender.segmentation = false; /* so this happens once in a transport's life */
    send_from(k, first);
}

/* One datagram to a group, the case that latency is made of. False if it has to go the long way. */
static bool send_single(struct kernel *k, const struct kernel_send *a)
{
    if (a->channel == PORT_UNICAST)
        return false;
    ssize_t sent = send(k->senders[a->channel], a->bytes, a->length, MSG_DONTWAIT);
    if (sent < 0)
        return false;
    k->transport.counters.datagrams_out++;
    k->transport.counters.bytes_out += a->length;
    return true;
}

void kernel_send_flush(struct kernel *k)
{
    struct kernel_sender *s = &k->sender;
    s->wait_left_ns = SEND_WAIT_NS_MAX;
    if (s->count != 1 || !send_single(k, &s->queue[0]))
        send_from(k, 0);
    s->count = 0;
}
