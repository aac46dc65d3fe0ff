/* A leading sequencer, fed a stream of datagrams: raw, with the checksum made right, and proposals
 * and acknowledgements put together from the input so that they get further. Whatever comes, what
 * it emits must verify and continue the chain, publishers' numbers must be in turn and time must
 * not go back.
 *
 *   input: records of u8 kind, u8 microseconds to pass, u8 length, and that many bytes */
#include "fuzz/fuzz.h"
#include "proto/proposal.h"
#include "sequencer/core.h"

#define STREAM UINT64_C(0x5eed)

struct fuzz_port {
    struct port port; /* first */
    uint8_t scratch[64][PORT_SCRATCH_MAX];
    uint32_t scratch_used;
    uint64_t next_seq;
    uint64_t timestamp_ns;
    struct digest digest;
    struct epoch epoch;
    struct ledger *ledger; /* follows what is emitted, independently of the core's */
};

static void send_op(struct port *port, enum port_channel channel, struct port_addr to,
                    const uint8_t *bytes, uint32_t length)
{
    struct fuzz_port *p = (struct fuzz_port *)port;
    struct batch_header h;
    enum wire_type type;
    (void)to;
    enum wire_verdict verdict = wire_peek(bytes, length, STREAM, &type);
    assert(verdict == WIRE_OK);
    if (type != WIRE_BATCH || channel != PORT_EGRESS_A)
        return;
    verdict = batch_verify(bytes, length, STREAM, &h);
    assert(verdict == WIRE_OK && h.first_seq == p->next_seq && digest_equal(h.before, p->digest));
    assert(h.timestamp_ns >= p->timestamp_ns);
    struct batch_cursor cursor = batch_begin(bytes, &h);
    struct message m;
    while (batch_next(&cursor, &m)) {
        bool lawful = ledger_apply(p->ledger, &m);
        assert(lawful);
    }
    p->next_seq = batch_end_seq(&h);
    p->digest = h.digest;
    p->epoch = h.epoch;
    p->timestamp_ns = h.timestamp_ns;
}

static uint8_t *scratch_op(struct port *port, uint32_t length)
{
    struct fuzz_port *p = (struct fuzz_port *)port;
    assert(length <= PORT_SCRATCH_MAX);
    return p->scratch[p->scratch_used++ % 64];
}

static uint32_t connect_op(struct port *port, struct port_addr to)
{
    (void)port;
    (void)to;
    return 0;
}

static size_t room_op(struct port *port, uint32_t stream, size_t want)
{
    (void)port;
    (void)stream;
    return want;
}

static void write_op(struct port *port, uint32_t stream, const void *bytes, size_t length)
{
    (void)port;
    (void)stream;
    (void)bytes;
    (void)length;
}

static void close_op(struct port *port, uint32_t stream)
{
    (void)port;
    (void)stream;
}

static const struct port_ops fuzz_ops = { .send = send_op,
                                          .scratch = scratch_op,
                                          .stream_connect = connect_op,
                                          .stream_room = room_op,
                                          .stream_write = write_op,
                                          .stream_close = close_op };

static struct fuzz_port port;
static struct sequencer *core;
static struct port_time now;

static void give(const uint8_t *bytes, size_t length)
{
    uint8_t *copy = malloc(length == 0 ? 1 : length); /* exactly as long */
    memcpy(copy, bytes, length);
    struct port_datagram d = { .bytes = copy, .length = (uint32_t)length };
    sequencer_participant.on_datagrams(core, &d, 1, now);
    free(copy);
}

static void begin(void)
{
    static uint8_t genesis[WIRE_DATAGRAM_DEFAULT];
    static struct ledger ledger;
    struct sys_genesis record = { .stream = STREAM,
                                  .protocol_version = WIRE_VERSION,
                                  .is_volatile = true,
                                  .members = { .seq = 1 } };
    struct sequencer_options o;
    sequencer_options_default(&o);
    o.stream = STREAM;
    o.candidate = 7;
    o.lead = true;
    o.catalog = (struct catalog_options) { .topics_max = 24, .publishers_max = 8 };
    o.ring_bytes = 1;
    o.queue_max = 16;
    o.window = 32;
    o.run_bytes_max = 300;
    o.step_batches_max = 3;
    o.tick_ns = 5000000;
    o.volatile_genesis = genesis;
    o.volatile_genesis_length = (uint32_t)genesis_batch(&record, genesis, sizeof genesis);
    o.volatile_epoch = 3;
    struct batch_header h;
    enum wire_verdict verdict = batch_verify(genesis, o.volatile_genesis_length, STREAM, &h);
    assert(verdict == WIRE_OK);
    if (ledger.next == NULL) {
        bool done = ledger_init(&ledger, &o.catalog);
        assert(done);
    }
    ledger_reset(&ledger);
    port = (struct fuzz_port) { .port = { .ops = &fuzz_ops, .datagram_max = 1472 },
                                .next_seq = 2,
                                .digest = h.digest,
                                .ledger = &ledger };
    now = (struct port_time) { .mono_ns = 1000000000, .wall_ns = UINT64_C(1700000000000000000) };
    core = sequencer_create(&o, &port.port, now);
    assert(core != NULL);
    sequencer_participant.step(core, now);
    for (uint32_t p = 0; p < 3; p++) {
        struct join j = { .nonce = p, .wanted = 1, .identity = { (char)('a' + p) } };
        uint8_t bytes[SIGNAL_SIZE_MAX];
        give(bytes, join_encode(&j, STREAM, bytes, sizeof bytes));
    }
    sequencer_participant.step(core, now);
}

/* Numbers around the next, small topics, payloads out of the input. */
static void give_proposals(const uint8_t *data, size_t size)
{
    static uint8_t bytes[WIRE_DATAGRAM_DEFAULT];
    if (size < 4)
        return;
    struct proposal_header h = { .publisher = 1 + data[0] % 4, .incarnation = 1 + data[0] / 64 };
    h.first_publisher_seq = ledger_next(port.ledger, h.publisher) + data[1] % 40;
    h.first_publisher_seq -= h.first_publisher_seq > 8 ? 8 : h.first_publisher_seq - 1;
    h.position = (struct position) { .epoch = port.epoch, .seq = port.next_seq - 1 - data[2] % 2 };
    struct proposal_builder b;
    proposal_open(&b, bytes, sizeof bytes);
    for (size_t at = 3; at + 1 < size;) {
        uint8_t flags = data[at] & 3;
        struct proposal_entry e = { .flags = flags == MESSAGE_FRAGMENT ? 3 : flags,
                                    .topic = 1 + data[at] / 4 % 26,
                                    .conditional = data[at + 1] >= 240,
                                    .condition_topic = 1 + data[at + 1] % 26,
                                    .after_seq = data[at + 1],
                                    .payload = data + at + 2,
                                    .length = data[at + 1] % 64 };
        at += 2;
        e.length = e.length > size - at ? (uint32_t)(size - at) : e.length;
        if (!proposal_fits(&b, &e))
            break;
        proposal_add(&b, &e);
        at += e.length;
    }
    if (b.count > 0)
        give(bytes, proposal_close(&b, STREAM, &h));
}

static void give_mended(const uint8_t *data, size_t size)
{
    static uint8_t room[WIRE_DATAGRAM_MAX];
    static uint8_t shaped[256];
    if (size < WIRE_FRAME_SIZE)
        return;
    memcpy(shaped, data, size);
    wire_store16(shaped, WIRE_MAGIC);
    shaped[2] = WIRE_VERSION;
    shaped[3] = (uint8_t)(1 + data[3] % (WIRE_TYPE_END - 1));
    wire_store64(shaped + 8, STREAM);
    if (fuzz_reframe(shaped, size, room, sizeof room))
        give(room, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    begin();
    while (size >= 3 && sequencer_state(core) == SEQUENCER_LEADING) {
        uint8_t kind = data[0];
        size_t length = data[2] < size - 3 ? data[2] : size - 3;
        now.mono_ns += UINT64_C(1000) << data[1] % 20;
        now.wall_ns += data[1] >= 250 ? -UINT64_C(50000000) : UINT64_C(1000) << data[1] % 20;
        if (kind % 4 == 0)
            give_mended(data + 3, length);
        else if (kind % 16 == 1)
            give(data + 3, length);
        else
            give_proposals(data + 3, length);
        if (kind >= 128)
            sequencer_participant.step(core, now);
        data += 3 + length;
        size -= 3 + length;
    }
    sequencer_participant.step(core, now);
    sequencer_destroy(core);
    return 0;
}
