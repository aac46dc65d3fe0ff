#include "bench/chain.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "bench/bare_disk.h"
#include "proto/batch.h"
#include "proto/hash.h"
#include "proto/proposal.h"

enum {
    WINDOW_MESSAGES = 4096, /* a pipe's */
    AHEAD_BYTES_MAX = 4 << 20,
    ACK_BYTES = 64,
    SLOT_BYTES = 64 * 1024,
    SLOTS_COALESCED = 8,
    SEGMENTS_MAX = 64,
    SEGMENTED_BYTES_MAX = 65507,
    TRUESIZE_BYTES = 2304, /* of a socket's buffer that the kernel counts for a full datagram */
    OUT_BYTES = SLOTS_COALESCED * SLOT_BYTES * 2,
    SPIN_NS = 20000, /* then they wait, like the daemons */
    WAIT_MS = 1,
    STALL_NS = 50 * 1000 * 1000 /* without an arrival: what is missing was lost */
};

/* Each process has its own. */
static uint8_t slots[SLOTS_COALESCED * SLOT_BYTES];
static uint8_t out[OUT_BYTES];
static struct mmsghdr messages[FLOOR_AT_ONCE];
static struct iovec vectors[FLOOR_AT_ONCE];

/* ---- sending and receiving ------------------------------------------------------------------- */

/* Hands `count` datagrams that lie one after the other to the kernel, as many a call as there
 * are. */
static void send_all(const struct chain *c, int fd, uint32_t count, uint32_t bytes)
{
    uint32_t segments = 1;
    if (c->options.segmentation)
        segments =
            SEGMENTED_BYTES_MAX / bytes < SEGMENTS_MAX ? SEGMENTED_BYTES_MAX / bytes : SEGMENTS_MAX;
    for (uint32_t at = 0; at < count;) {
        uint32_t n = 0;
        for (; n < FLOOR_AT_ONCE && at < count; n++) {
            uint32_t some = count - at < segments ? count - at : segments;
            vectors[n] = (struct iovec) { out + (size_t)at * bytes, (size_t)some * bytes };
            messages[n].msg_hdr = (struct msghdr) { .msg_iov = &vectors[n], .msg_iovlen = 1 };
            at += some;
        }
        for (uint32_t done = 0; done < n;) {
            int sent = sendmmsg(fd, messages + done, n - done, 0);
            done += sent > 0 ? (uint32_t)sent : 1; /* what is refused is lost */
        }
    }
}

/* Reads what has come into the slots; vectors[] says where it lies. The number of messages, of
 * which each may be several datagrams. */
static uint32_t receive_some(const struct chain *c, int fd)
{
    bool coalesced = c->options.segmentation;
    uint32_t count = coalesced ? SLOTS_COALESCED : FLOOR_AT_ONCE;
    uint32_t room = coalesced ? SLOT_BYTES : (FLOOR_DATAGRAM_BYTES + 64) & ~63u;
    for (uint32_t i = 0; i < count; i++) {
        vectors[i] = (struct iovec) { slots + (size_t)i * room, room };
        messages[i].msg_hdr = (struct msghdr) { .msg_iov = &vectors[i], .msg_iovlen = 1 };
    }
    int got = recvmmsg(fd, messages, count, MSG_DONTWAIT, NULL);
    return got < 0 ? 0 : (uint32_t)got;
}

/* Datagrams of that size among them. */
static uint32_t count_datagrams(uint32_t got, uint32_t bytes)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < got; i++)
        count += messages[i].msg_len / bytes;
    return count;
}

/* Of each of the datagrams that lie one after the other. The sum keeps the work from being left
 * out. */
static void hash_all(const struct chain *c, const uint8_t *at, size_t length, uint32_t bytes)
{
    static uint64_t sum;
    for (; c->options.hashed && length >= bytes; length -= bytes, at += bytes)
        sum += hash128(at, bytes, sum).low;
}

static void hash_received(const struct chain *c, uint32_t got, uint32_t bytes)
{
    for (uint32_t i = 0; i < got; i++)
        hash_all(c, vectors[i].iov_base, messages[i].msg_len, bytes);
}

/* As the daemons do by default. */
static void idle(int fd, int other, uint64_t since_ns)
{
    struct pollfd p[] = { { .fd = fd, .events = POLLIN }, { .fd = other, .events = POLLIN } };
    if (stage_mono_ns() - since_ns < SPIN_NS)
        sched_yield();
    else
        (void)poll(p, 2, WAIT_MS);
}

/* ---- the other processes --------------------------------------------------------------------- */

/* Copies what has come behind what is to go out. */
static uint32_t copy_proposals(const struct chain *c, uint32_t got)
{
    const uint32_t from = c->options.proposal_bytes, to = c->options.batch_bytes;
    uint32_t count = 0;
    for (uint32_t i = 0; i < got; i++) {
        const uint8_t *bytes = vectors[i].iov_base;
        /* What is shorter acknowledges. */
        for (uint32_t left = messages[i].msg_len; left >= from; left -= from, bytes += from)
            memcpy(out + (size_t)count++ * to, bytes, from < to ? from : to);
    }
    return count;
}

void chain_relay(struct chain *c, struct stage *s)
{
    uint64_t last = stage_mono_ns();
    for (enum stage_phase phase; (phase = stage_phase_now(s)) != STAGE_CANTUS;) {
        if (phase != STAGE_CHAIN) {
            stage_sleep_ms(1);
            return;
        }
        uint32_t got = receive_some(c, c->relay.receive);
        hash_received(c, got, c->options.proposal_bytes);
        uint32_t count = copy_proposals(c, got), bytes = c->options.batch_bytes;
        hash_all(c, out, (size_t)count * bytes, bytes);
        if (count > 0)
            send_all(c, c->relay.send, count, bytes);
        if (got > 0)
            last = stage_mono_ns();
        else
            idle(c->relay.receive, -1, last);
    }
}

void chain_receive(struct chain *c, struct stage *s)
{
    uint64_t last = stage_mono_ns();
    for (enum stage_phase phase;
         (phase = stage_phase_now(s)) == STAGE_CHAIN || phase == STAGE_FLOOR;) {
        if (phase == STAGE_FLOOR) {
            atomic_fetch_add_explicit(&s->shared->floor, floor_drain(&c->to), memory_order_relaxed);
            continue;
        }
        uint32_t got = receive_some(c, c->receiver.receive);
        hash_received(c, got, c->options.batch_bytes);
        atomic_fetch_add_explicit(&s->shared->chain_received,
                                  count_datagrams(got, c->options.batch_bytes),
                                  memory_order_relaxed);
        if (got > 0)
            last = stage_mono_ns();
        else
            idle(c->receiver.receive, -1, last);
    }
}

/* What the recorder has: one piece is being written, one is filled. */
struct recorder {
    struct chain *chain;
    struct bare_disk disk;
    uint8_t *fill;
    uint32_t filled, filled_datagrams;
    uint32_t writing_datagrams; /* 0: nothing is being written */
};

static bool record_some(struct recorder *r)
{
    const struct chain *c = r->chain;
    if (r->filled + SLOTS_COALESCED * SLOT_BYTES > BARE_DISK_APPEND_MAX)
        return false;
    uint32_t got = receive_some(c, c->recorder.receive);
    for (uint32_t i = 0; i < got; i++) {
        memcpy(r->fill + r->filled, vectors[i].iov_base, messages[i].msg_len);
        r->filled += messages[i].msg_len;
    }
    r->filled_datagrams += count_datagrams(got, c->options.batch_bytes);
    return got > 0;
}

/* Hands the disk what has come when it has done what it had. False: the disk failed. */
static bool write_some(struct recorder *r, struct stage *s)
{
    bool failed = false;
    if (r->writing_datagrams > 0 && bare_disk_done(&r->disk, &failed)) {
        atomic_fetch_add_explicit(&s->shared->chain_recorded, r->writing_datagrams,
                                  memory_order_relaxed);
        r->writing_datagrams = 0;
        (void)!send(r->chain->recorder.send, slots, ACK_BYTES, 0);
    }
    if (failed || r->writing_datagrams > 0 || r->filled_datagrams == 0)
        return !failed;
    uint8_t *full = r->fill;
    uint32_t blocks = (r->filled + BARE_DISK_BLOCK - 1) / BARE_DISK_BLOCK;
    r->fill = r->disk.bytes;
    r->disk.bytes = full;
    r->writing_datagrams = r->filled_datagrams;
    r->filled = r->filled_datagrams = 0;
    return bare_disk_submit(&r->disk, blocks * BARE_DISK_BLOCK);
}

static void record_phase(void *ctx, struct stage *s)
{
    struct recorder *r = ctx;
    uint64_t last = stage_mono_ns();
    for (enum stage_phase phase; (phase = stage_phase_now(s)) != STAGE_CANTUS;) {
        if (phase != STAGE_CHAIN) {
            stage_sleep_ms(1);
            return;
        }
        bool some = record_some(r);
        if (!write_some(r, s)) {
            fprintf(stderr, "cantus: the chain's disk: a write failed\n");
            atomic_store(&s->shared->failed, true);
            return;
        }
        if (some)
            last = stage_mono_ns();
        else
            idle(r->chain->recorder.receive, r->disk.ring.ring_fd, last);
    }
}

static int alone(void (*part)(void *ctx, struct stage *s), void *ctx, struct stage *s)
{
    for (enum stage_phase phase; (phase = stage_phase_now(s)) != STAGE_END;) {
        if (phase == STAGE_CANTUS)
            stage_sleep_ms(1);
        else
            part(ctx, s);
    }
    return 0;
}

int chain_recorder(void *chain, struct stage *s)
{
    char error[BENCH_ERROR_MAX] = "out of memory";
    struct recorder r = { .chain = chain };
    bool fine = bare_disk_open(&r.disk, s->dir, "chain", error);
    r.fill = aligned_alloc(BARE_DISK_BLOCK, BARE_DISK_APPEND_MAX);
    if (!fine || r.fill == NULL) {
        fprintf(stderr, "cantus: %s\n", error);
        return 1;
    }
    memset(r.fill, 0, BARE_DISK_APPEND_MAX);
    if (!r.chain->options.alone)
        return stage_record(s, 0, record_phase, &r);
    return alone(record_phase, &r, s);
}

static void relay_phase(void *chain, struct stage *s)
{
    chain_relay(chain, s);
}

static void receive_phase(void *chain, struct stage *s)
{
    chain_receive(chain, s);
}

int chain_relay_alone(void *chain, struct stage *s)
{
    return alone(relay_phase, chain, s);
}

int chain_receiver_alone(void *chain, struct stage *s)
{
    return alone(receive_phase, chain, s);
}

/* ---- the publisher, which is this process ---------------------------------------------------- */

static uint64_t received(const struct stage *s)
{
    return atomic_load_explicit(&s->shared->chain_received, memory_order_relaxed);
}

static uint64_t recorded(const struct stage *s)
{
    return atomic_load_explicit(&s->shared->chain_recorded, memory_order_relaxed);
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* How many datagrams may go. */
static uint64_t room(const struct chain *c, const struct stage *s)
{
    const struct chain_options *o = &c->options;
    uint64_t there = received(s) + c->received_lost;
    if (o->recorded)
        there = least(there, recorded(s) + c->recorded_lost);
    return least(o->window - (c->sent - c->back), o->ahead_max - (c->sent - there));
}

/* Whether everybody has everything. */
static bool is_there(const struct chain *c, const struct stage *s)
{
    return room(c, s) == least(c->options.window, c->options.ahead_max);
}

/* What nobody waits for any more. */
static void give_up_lost(struct chain *c, const struct stage *s)
{
    c->back = c->sent;
    c->received_lost = c->sent - received(s);
    c->recorded_lost = c->sent - recorded(s);
}

/* Sends what may go once it is worth a call, and reads back. Returns whether it did either. */
static bool publish_once(struct chain *c, const struct stage *s, bool more)
{
    const struct chain_options *o = &c->options;
    const uint64_t most = OUT_BYTES / 2 / o->proposal_bytes;
    uint64_t some = more ? least(room(c, s), most) : 0;
    bool sends = some > 0 && some >= least(FLOOR_AT_ONCE, least(o->window, o->ahead_max) / 2);
    if (sends) {
        hash_all(c, out, (size_t)some * o->proposal_bytes, o->proposal_bytes);
        send_all(c, c->publisher.send, (uint32_t)some, o->proposal_bytes);
        c->sent += some;
    }
    uint32_t got = receive_some(c, c->publisher.receive);
    hash_received(c, got, o->batch_bytes);
    c->back += least(count_datagrams(got, o->batch_bytes), c->sent - c->back);
    return sends || got > 0;
}

double chain_publish(struct chain *c, struct stage *s, uint32_t ms)
{
    stage_set_phase(s, STAGE_CHAIN);
    stage_sleep_ms(2); /* until the others have noticed */
    uint64_t first = received(s), began = stage_mono_ns(), now = began, last = began, seen = first;
    for (;;) {
        bool more = now - began < (uint64_t)ms * 1000000;
        if (!more && is_there(c, s))
            break;
        bool did = publish_once(c, s, more);
        now = stage_mono_ns();
        if (did || received(s) != seen)
            last = now;
        else if (now - last < STALL_NS)
            idle(c->publisher.receive, -1, last);
        else
            give_up_lost(c, s);
        seen = received(s);
    }
    stage_set_phase(s, STAGE_CANTUS);
    return (double)(received(s) - first) * 1e9 / (double)(now - began);
}

double chain_floor(struct chain *c, struct stage *s, uint32_t ms)
{
    stage_set_phase(s, STAGE_FLOOR);
    stage_sleep_ms(2);
    uint64_t first = atomic_load(&s->shared->floor), began = stage_mono_ns();
    while (stage_mono_ns() - began < (uint64_t)ms * 1000000)
        floor_blast(&c->from);
    uint64_t took = stage_mono_ns() - began;
    double rate = (double)(atomic_load(&s->shared->floor) - first) * 1e9 / (double)took;
    stage_sleep_ms(2);
    stage_set_phase(s, STAGE_CANTUS);
    return rate;
}

/* ---- set-up ---------------------------------------------------------------------------------- */

struct chain_options chain_options_of(uint32_t payload_bytes, bool segmentation, bool is_recorded)
{
    const uint32_t full = WIRE_DATAGRAM_DEFAULT;
    uint32_t count = (full - BATCH_HEADER_SIZE) / (MESSAGE_HEADER_SIZE + payload_bytes);
    uint32_t batch = BATCH_HEADER_SIZE + count * (MESSAGE_HEADER_SIZE + payload_bytes);
    uint32_t proposal = PROPOSAL_HEADER_SIZE + count * (PROPOSAL_ENTRY_SIZE + payload_bytes);
    return (struct chain_options) {
        .proposal_bytes = proposal < full ? proposal : full,
        .batch_bytes = segmentation ? full : batch, /* padded for it */
        .window = WINDOW_MESSAGES / count,
        .ahead_max = AHEAD_BYTES_MAX / full,
        .segmentation = segmentation,
        .recorded = is_recorded,
    };
}

/* The groups of the deployment, on ports of their own. */
static struct port_addr beside(struct port_addr a, uint16_t by)
{
    a.port = (uint16_t)(a.port + by);
    return a;
}

/* As far as the system has them: without they would do as well as they can. */
static void set_offload(const struct floor_socket *s, uint32_t bytes)
{
    int size = (int)bytes, one = 1;
    (void)!setsockopt(s->send, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size);
    (void)!setsockopt(s->receive, IPPROTO_UDP, UDP_GRO, &one, sizeof one);
}

/* Nobody may be so far behind that a socket's buffer loses something. */
static void fit_buffers(struct chain *c)
{
    int bytes = 0;
    socklen_t size = sizeof bytes;
    if (getsockopt(c->receiver.receive, SOL_SOCKET, SO_RCVBUF, &bytes, &size) != 0)
        return;
    uint32_t most = (uint32_t)bytes / TRUESIZE_BYTES;
    most = most > 2 ? most : 2;
    c->options.window = c->options.window < most ? c->options.window : most;
    c->options.ahead_max = c->options.ahead_max < most ? c->options.ahead_max : most;
}

bool chain_open(struct chain *c, const struct chain_options *options, const struct stage *stage,
                char *error)
{
    const uint32_t interface = stage->config.interface;
    const struct port_addr ingress = beside(stage->config.ingress, 10000);
    const struct port_addr egress = beside(stage->config.egress_a, 10000);
    const struct port_addr floor = beside(stage->config.egress_a, 11000);
    const struct port_addr unused = beside(stage->config.ingress, 11000);
    struct floor_socket *all[] = { &c->publisher, &c->relay, &c->receiver,
                                   &c->recorder,  &c->from,  &c->to };
    c->options = *options;
    c->open = true;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        *all[i] = (struct floor_socket) { .receive = -1, .send = -1 };
    if (!floor_open(&c->publisher, egress, ingress, interface) ||
        !floor_open(&c->relay, ingress, egress, interface) ||
        !floor_open(&c->receiver, egress, unused, interface) ||
        (options->recorded && !floor_open(&c->recorder, egress, ingress, interface)) ||
        !floor_open(&c->from, unused, floor, interface) ||
        !floor_open(&c->to, floor, unused, interface)) {
        snprintf(error, BENCH_ERROR_MAX, "sockets of the bare programs: %s", strerror(errno));
        return false;
    }
    if (options->segmentation) {
        set_offload(&c->publisher, options->proposal_bytes);
        set_offload(&c->relay, options->batch_bytes);
        set_offload(&c->receiver, options->batch_bytes);
        set_offload(&c->recorder, ACK_BYTES);
    }
    fit_buffers(c);
    return true;
}

void chain_close(struct chain *c)
{
    if (!c->open)
        return;
    floor_close(&c->publisher);
    floor_close(&c->relay);
    floor_close(&c->receiver);
    floor_close(&c->recorder);
    floor_close(&c->from);
    floor_close(&c->to);
}
