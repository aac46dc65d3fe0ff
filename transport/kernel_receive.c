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

/* One datagram, which is not coalesced: no control data is asked for. */
static int read_one(struct kernel *k, enum port_channel channel)
{
    struct kernel_receiver *r = &k->receiver;
    struct mmsghdr *m = &r->messages[r->used];
    socklen_t size = sizeof r->addresses[0];
    ssize_t got;
    do
        got = recvfrom(k->sockets[channel], r->vectors[r->used].iov_base, r->slot_bytes,
                       MSG_DONTWAIT | MSG_TRUNC, (struct sockaddr *)(void *)&r->addresses[r->used],
                       &size);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return 0;
    m->msg_len = (unsigned)got;
    m->msg_hdr.msg_flags = (size_t)got > r->slot_bytes ? MSG_TRUNC : 0;
    m->msg_hdr.msg_controllen = 0;
    return 1;
}

static int read_many(struct kernel *k, enum port_channel channel, uint32_t max)
{
    struct kernel_receiver *r = &k->receiver;
    uint32_t room = r->slots - r->used;
    /* Not much more than is handed out at once: while some is left no other socket is looked at. */
    if (k->receiver.flows[channel].coalesces)
        max = max / (KERNEL_SEGMENTS_MAX / 2) + 1;
    int got;
    do
        got = recvmmsg(k->sockets[channel], r->messages + r->used, room < max ? room : max,
                       MSG_DONTWAIT, NULL);
    while (got < 0 && errno == EINTR);
    return got < 0 ? 0 : got;
}

static void set_coalescing(struct kernel *k, enum port_channel channel, bool on)
{
    struct kernel_flow *flow = &k->receiver.flows[channel];
    int value = on;
    if (!k->options.segmentation ||
        setsockopt(k->sockets[channel], IPPROTO_UDP, UDP_GRO, &value, sizeof value) != 0)
        return; /* an old kernel does without */
    flow->coalesces = on;
    flow->may_be_old = !on;
}

void kernel_receive_own_segments(struct kernel *k, enum port_channel channel)
{
    struct kernel_flow *flow = &k->receiver.flows[channel];
    if (flow->stays || k->sockets[channel] < 0)
        return;
    if (!flow->coalesces)
        set_coalescing(k, channel, true);
    flow->stays = true;
}

/* Notes how a look at a socket went. One datagram at a time is no flow, however often: it is what a
 * conversation looks like to one who shares a core and comes late to every look. */
static void note_look(struct kernel *k, enum port_channel channel, bool found, bool flows)
{
    struct kernel_flow *flow = &k->receiver.flows[channel];
    flow->full = flows || (found && flow->full < KERNEL_FLOW_SUSPECTED) ? flow->full + 1 : 0;
    if (!found)
        flow->may_be_old = false;
    if (flows) {
        flow->empty = 0;
        if (flow->full >= KERNEL_FLOW_BEGINS && !flow->coalesces)
            set_coalescing(k, channel, true);
    } else if (++flow->empty == KERNEL_FLOW_ENDS && flow->coalesces && !flow->stays) {
        set_coalescing(k, channel, false);
    }
}

/* Reads one socket into the free slots. */
static bool read_socket(struct kernel *k, enum port_channel channel, uint32_t max, bool many)
{
    struct kernel_receiver *r = &k->receiver;
    const struct kernel_flow *flow = &r->flows[channel];
    many = many || flow->coalesces || flow->may_be_old || flow->full >= KERNEL_FLOW_SUSPECTED;
    int got = many ? read_many(k, channel, max) : read_one(k, channel);
    bool flows = got > 1 || (got == 1 && r->messages[r->used].msg_len > k->options.datagram_max);
    note_look(k, channel, got > 0, flows);
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

/* Something arrived there. Where it still flows elsewhere, a fill among it does not change that. */
static void warm(struct kernel_receiver *r, enum port_channel channel)
{
    if (r->flows[r->hot].full == 0)
        r->hot = channel;
}

/* The channel whose turn it is. */
static enum port_channel next_channel(struct kernel *k)
{
    uint32_t *turn = &k->receiver.turn;
    do
        *turn = (*turn + 1) % PORT_CHANNELS;
    while (k->sockets[*turn] < 0); /* unicast is always received */
    return (enum port_channel) * turn;
}

/* All sockets in turn. */
static uint32_t receive_anywhere(struct kernel *k, struct port_datagram *out, uint32_t max)
{
    struct kernel_receiver *r = &k->receiver;
    uint32_t count = 0;
    uint32_t first = next_channel(k);
    for (uint32_t i = 0; i < PORT_CHANNELS && count < max && r->used < r->slots; i++) {
        enum port_channel channel = (enum port_channel)((first + i) % PORT_CHANNELS);
        if (k->sockets[channel] < 0 || !read_socket(k, channel, max - count, true))
            continue;
        warm(r, channel);
        count += hand_out(k, out + count, max - count);
    }
    return count;
}

/* Who is in no group has been sent nothing yet, and is looked after this often. */
enum { LOOK_RARE_NS = 50000 };

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
    if (now_ns == 0)
        return receive_anywhere(k, out, max);
    if (!k->joins && now_ns - r->looked_ns < LOOK_RARE_NS)
        return 0;
    bool found = false;
    enum port_channel channel = r->hot;
    if (now_ns - r->looked_ns >= TRANSPORT_LOOK_NS) {
        r->looked_ns = now_ns;
        channel = next_channel(k);
        found = channel != r->hot && read_socket(k, channel, max, false);
    }
    /* Where rounds are long, on a core that is shared, one of the others has its turn in each. */
    if (!found) {
        channel = r->hot;
        found = read_socket(k, channel, max, false);
    }
    if (!found)
        return 0;
    warm(r, channel);
    return hand_out(k, out, max);
}
