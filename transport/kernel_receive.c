#include <assert.h>
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>

#include "transport/kernel.h"

bool kernel_receiver_init(struct kernel *k)
{
    struct kernel_receiver *r = &k->receiver;
    bool coalesced = k->options.segmentation;
    r->slots = coalesced ? KERNEL_COALESCED_MAX : TRANSPORT_RECEIVE_MAX;
    /* One byte more than is legal tells an oversized datagram; a multiple of a cache line keeps
     * datagrams aligned. */
    r->slot_bytes = coalesced ? KERNEL_COALESCED_BYTES : (k->options.datagram_max + 64u) & ~63u;
    r->messages = calloc(r->slots, sizeof *r->messages);
    r->vectors = calloc(r->slots, sizeof *r->vectors);
    r->addresses = calloc(r->slots, sizeof *r->addresses);
    r->controls = calloc(r->slots, sizeof *r->controls);
    r->channels = calloc(r->slots, sizeof *r->channels);
    r->buffers = aligned_alloc(64, (size_t)r->slots * r->slot_bytes);
    if (r->messages == NULL || r->vectors == NULL || r->addresses == NULL || r->controls == NULL ||
        r->channels == NULL || r->buffers == NULL)
        return false;
    for (uint32_t i = 0; i < r->slots; i++) {
        r->vectors[i].iov_base = r->buffers + (size_t)i * r->slot_bytes;
        r->vectors[i].iov_len = r->slot_bytes;
        struct msghdr *m = &r->messages[i].msg_hdr;
        m->msg_iov = &r->vectors[i];
        m->msg_iovlen = 1;
        m->msg_name = &r->addresses[i];
        m->msg_namelen = sizeof r->addresses[i];
        m->msg_control = &r->controls[i];
        m->msg_controllen = sizeof r->controls[i];
    }
    return true;
}

void kernel_receiver_close(struct kernel *k)
{
    struct kernel_receiver *r = &k->receiver;
    free(r->messages);
    free(r->vectors);
    free(r->addresses);
    free(r->controls);
    free(r->channels);
    free(r->buffers);
}

/* Segment size of a coalesced message, 0 if it is a single datagram; counts what the socket lost.
 */
static uint32_t read_control(struct kernel *k, struct msghdr *m, enum port_channel channel)
{
    uint32_t segment = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
            uint32_t dropped = 0;
            memcpy(&dropped, CMSG_DATA(c), sizeof dropped);
            k->transport.counters.receive_overflows +=
                (uint32_t)(dropped - k->receiver.dropped[channel]);
            k->receiver.dropped[channel] = dropped;
        } else if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
            int size = 0;
            memcpy(&size, CMSG_DATA(c), sizeof size);
            segment = size > 0 ? (uint32_t)size : 0;
        }
    }
    return segment;
}

/* Hands out datagrams from where the last call stopped. A slot's control data is read once, when
 * the slot is begun. */
static uint32_t hand_out(struct kernel *k, struct port_datagram *out, uint32_t max)
{
    struct kernel_receiver *r = &k->receiver;
    struct transport_counters *counters = &k->transport.counters;
    uint32_t count = 0;
    while (count < max && r->at < r->used) {
        struct mmsghdr *m = &r->messages[r->at];
        uint32_t total = m->msg_len;
        bool truncated = (m->msg_hdr.msg_flags & MSG_TRUNC) != 0;
        if (r->offset == 0)
            r->segment = read_control(k, &m->msg_hdr, r->channels[r->at]);
        uint32_t left = total - r->offset;
        uint32_t length = r->segment != 0 && r->segment < left ? r->segment : left;
        if (truncated || length > k->options.datagram_max) {
            counters->receive_oversized++;
        } else if (!transport_loses(&k->transport)) {
            out[count++] = (struct port_datagram) {
                .bytes = (const uint8_t *)r->vectors[r->at].iov_base + r->offset,
                .length = length,
                .from = kernel_addr(&r->addresses[r->at]),
                .channel = r->channels[r->at],
            };
            counters->datagrams_in++;
            counters->bytes_in += length;
        }
        r->offset += length;
        if (r->offset < total)
            continue;
        r->at++;
        r->offset = 0;
    }
    return count;
}

/* Reads one socket into the free slots: one datagram of what may be the only one, which is then acted
 * upon before anything else is looked at, and as many as there are while they keep coming. */
static bool read_socket(struct kernel *k, enum port_channel channel, uint32_t max)
{
    struct kernel_receiver *r = &k->receiver;
    uint32_t room = r->flowing ? r->slots - r->used : 1;
    if (room > max)
        room = max;
    int got;
    do
        got = recvmmsg(k->sockets[channel], r->messages + r->used, room, MSG_DONTWAIT, NULL);
    while (got < 0 && errno == EINTR);
    for (int i = 0; i < got; i++)
        r->channels[r->used++] = channel;
    return got > 0;
}

static void rearm(struct kernel_receiver *r)
{
    for (uint32_t i = 0; i < r->used; i++) {
        r->messages[i].msg_hdr.msg_namelen = sizeof r->addresses[i];
        r->messages[i].msg_hdr.msg_controllen = sizeof r->controls[i];
    }
    r->used = r->at = r->offset = 0;
}

/* All sockets in turn. */
static uint32_t receive_anywhere(struct kernel *k, struct port_datagram *out, uint32_t max)
{
    struct kernel_receiver *r = &k->receiver;
    uint32_t count = 0;
    uint32_t first = r->turn;
    bool any = false;
    r->turn = (r->turn + 1) % PORT_CHANNELS;
    for (uint32_t i = 0; i < PORT_CHANNELS && count < max && r->used < r->slots; i++) {
        enum port_channel channel = (enum port_channel)((first + i) % PORT_CHANNELS);
        if (k->sockets[channel] < 0 || !read_socket(k, channel, max - count))
            continue;
        r->hot = channel;
        any = true;
        count += hand_out(k, out + count, max - count);
    }
    r->flowing = any;
    return count;
}

uint32_t kernel_receive(struct transport *t, struct port_datagram *out, uint32_t max,
                        uint64_t now_ns)
{
    struct kernel *k = kernel_of(&t->port);
    struct kernel_receiver *r = &k->receiver;
    assert(max <= TRANSPORT_RECEIVE_MAX);
    /* What an earlier call left over of coalesced messages goes first: its bytes are in slots that
     * the sockets must not overwrite yet. */
    if (r->at < r->used)
        return hand_out(k, out, max);
    rearm(r);
    if (now_ns == 0 || now_ns - r->looked_ns >= TRANSPORT_LOOK_NS) {
        r->looked_ns = now_ns;
        r->flowing = r->flowing || now_ns == 0;
        return receive_anywhere(k, out, max);
    }
    r->flowing = read_socket(k, r->hot, max);
    return r->flowing ? hand_out(k, out, max) : 0;
}
