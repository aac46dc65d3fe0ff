#include "tests/sequencer/suite.h"

/* ---- the port -------------------------------------------------------------------------------- */

static void see_batch(struct suite *t, const struct sent *sent)
{
    struct batch_header h;
    ck_assert_int_eq(batch_verify(sent->bytes, sent->length, SUITE_STREAM, &h), WIRE_OK);
    ck_assert_uint_eq(h.first_seq, t->tip + 1);
    ck_assert(digest_equal(h.before, t->digest));
    ck_assert_uint_le(sent->length, t->options.datagram_max);
    struct batch_cursor cursor = batch_begin(sent->bytes, &h);
    struct message m;
    while (batch_next(&cursor, &m)) {
        ck_assert_uint_le(m.seq, SEEN_MAX);
        t->seen[m.seq - 1] = (struct seen) { .m = m, .batch = h, .bytes = sent->bytes };
    }
    t->tip = batch_end_seq(&h) - 1;
    t->digest = h.digest;
    t->last_batch = h;
    t->batches++;
}

static void see(struct suite *t, struct sent *sent)
{
    enum wire_type type;
    ck_assert_int_eq(wire_peek(sent->bytes, sent->length, SUITE_STREAM, &type), WIRE_OK);
    sent->type = (int)type;
    switch (sent->type) {
    case WIRE_BATCH:
        if (sent->channel == PORT_EGRESS_A)
            see_batch(t, sent);
        else if (sent->channel == PORT_UNICAST)
            t->fills++;
        break;
    case WIRE_HEARTBEAT:
        ck_assert_int_eq(heartbeat_decode(sent->bytes, sent->length, SUITE_STREAM, &t->heartbeat),
                         WIRE_OK);
        t->heartbeats += sent->channel == PORT_EGRESS_A;
        break;
    case WIRE_RECALL:
        ck_assert_int_eq(recall_decode(sent->bytes, sent->length, SUITE_STREAM, &t->recall),
                         WIRE_OK);
        t->recalls++;
        break;
    case WIRE_HINT:
        ck_assert_int_eq(hint_decode(sent->bytes, sent->length, SUITE_STREAM, &t->hint), WIRE_OK);
        t->hints++;
        break;
    case WIRE_SEAL:
        ck_assert_int_eq(seal_decode(sent->bytes, sent->length, SUITE_STREAM, &t->seal), WIRE_OK);
        t->seals += sent->channel == PORT_EGRESS_A;
        break;
    case WIRE_GAP_REFUSAL:
        ck_assert_int_eq(gap_refusal_decode(sent->bytes, sent->length, SUITE_STREAM, &t->refusal),
                         WIRE_OK);
        t->refusals++;
        break;
    case WIRE_GAP_REQUEST:
        break;
    default:
        ck_abort_msg("a sequencer does not send type %d", sent->type);
    }
}

static void port_send_op(struct port *port, enum port_channel channel, struct port_addr to,
                         const uint8_t *bytes, uint32_t length)
{
    struct suite *t = (struct suite *)port;
    if (t->sent_count == SENT_MAX) { /* long tests look at what was seen, not at what was sent */
        for (uint32_t i = 0; i < SENT_MAX / 2; i++)
            t->sent[i] = t->sent[SENT_MAX / 2 + i];
        t->sent_count = SENT_MAX / 2;
        ck_assert_uint_ge(t->flushed, SENT_MAX / 2);
        t->flushed -= SENT_MAX / 2;
    }
    struct sent *sent = &t->sent[t->sent_count++];
    *sent = (struct sent) { .channel = channel, .to = to, .length = length, .lent = bytes };
    struct kept *kept = malloc(sizeof *kept + length);
    ck_assert_ptr_nonnull(kept);
    kept->next = t->kept;
    t->kept = kept;
    memcpy(kept->bytes, bytes, length);
    sent->bytes = kept->bytes;
    see(t, sent);
}

static uint8_t *port_scratch_op(struct port *port, uint32_t length)
{
    struct suite *t = (struct suite *)port;
    ck_assert_uint_le(length, PORT_SCRATCH_MAX);
    ck_assert_uint_lt(t->scratch_used, SCRATCH_MAX);
    return t->scratch + PORT_SCRATCH_MAX * t->scratch_used++;
}

static uint32_t port_connect_op(struct port *port, struct port_addr to)
{
    (void)port;
    (void)to;
    return 0;
}

static size_t port_room_op(struct port *port, uint32_t stream, size_t want)
{
    (void)stream;
    (void)want;
    return ((struct suite *)port)->stream_room;
}

static void port_write_op(struct port *port, uint32_t stream, const void *bytes, size_t length)
{
    struct suite *t = (struct suite *)port;
    (void)stream;
    ck_assert_uint_le(t->stream_out_length + length, STREAM_OUT_MAX);
    memcpy(t->stream_out + t->stream_out_length, bytes, length);
    t->stream_out_length += length;
}

static void port_close_op(struct port *port, uint32_t stream)
{
    (void)stream;
    ((struct suite *)port)->streams_closed++;
}

static const struct port_ops suite_ops = { .send = port_send_op,
                                           .scratch = port_scratch_op,
                                           .stream_connect = port_connect_op,
                                           .stream_room = port_room_op,
                                           .stream_write = port_write_op,
                                           .stream_close = port_close_op };

/* ---- the deployment -------------------------------------------------------------------------- */

struct suite *suite_new(void)
{
    struct suite *t = calloc(1, sizeof *t);
    ck_assert_ptr_nonnull(t);
    t->port.ops = &suite_ops;
    t->port.datagram_max = WIRE_DATAGRAM_DEFAULT;
    t->stream_room = STREAM_OUT_MAX;
    t->now = (struct port_time) { .mono_ns = SECOND, .wall_ns = WALL_START };
    struct sequencer_options *o = &t->options;
    sequencer_options_default(o);
    o->stream = SUITE_STREAM;
    o->candidate = 7;
    o->lead = true;
    o->catalog = (struct catalog_options) { .topics_max = 64, .publishers_max = 32 };
    o->ring_bytes = 1 << 20;
    o->queue_max = 4096;
    o->tick_ns = 0;
    return t;
}

void suite_free(struct suite *t)
{
    sequencer_destroy(t->core);
    while (t->kept != NULL) {
        struct kept *kept = t->kept;
        t->kept = kept->next;
        free(kept);
    }
    free(t);
}

static void make_genesis(struct suite *t, uint32_t stores)
{
    struct sys_genesis genesis = { .stream = SUITE_STREAM,
                                   .created_ns = WALL_START - SECOND,
                                   .protocol_version = WIRE_VERSION,
                                   .is_volatile = stores == 0,
                                   .members = { .seq = 1, .quorum = t->quorum, .count = stores } };
    for (uint32_t i = 0; i < stores; i++)
        genesis.members.stores[i] = i + 1;
    t->genesis_length = (uint32_t)genesis_batch(&genesis, t->genesis, sizeof t->genesis);
    ck_assert_uint_gt(t->genesis_length, 0);
    ck_assert_int_eq(batch_verify(t->genesis, t->genesis_length, SUITE_STREAM, &t->genesis_header),
                     WIRE_OK);
    struct batch_cursor cursor = batch_begin(t->genesis, &t->genesis_header);
    struct message m;
    ck_assert(batch_next(&cursor, &m));
    t->seen[0] = (struct seen) { .m = m, .batch = t->genesis_header, .bytes = t->genesis };
    t->tip = t->store_tip = 1;
    t->digest = t->genesis_header.digest;
}

void suite_start(struct suite *t)
{
    sequencer_destroy(t->core);
    t->flushed = t->sent_count;
    t->scratch_used = 0;
    t->core = sequencer_create(&t->options, &t->port, t->now);
    ck_assert_ptr_nonnull(t->core);
}

void suite_volatile(struct suite *t)
{
    make_genesis(t, 0);
    t->options.volatile_genesis = t->genesis;
    t->options.volatile_genesis_length = t->genesis_length;
    if (t->options.volatile_epoch == 0)
        t->options.volatile_epoch = 1;
    suite_start(t);
    suite_run(t);
}

void suite_recorded(struct suite *t, uint32_t stores)
{
    make_genesis(t, stores);
    suite_start(t);
}

void suite_lead(struct suite *t, uint32_t stores)
{
    suite_recorded(t, stores);
    suite_elect(t, stores);
}

void suite_elect(struct suite *t, uint32_t stores)
{
    uint32_t number = 0;
    suite_step(t);
    for (int turn = 0; turn < 300 && sequencer_state(t->core) != SEQUENCER_LEADING; turn++) {
        for (uint64_t store = 1; number != t->seal.epoch.number && store <= stores; store++) {
            struct promise p = suite_promise(t, store);
            if (store == stores)
                number = t->seal.epoch.number;
            suite_give_promise(t, &p);
        }
        suite_advance(t, MS);
        suite_serve(t);
        suite_run(t);
    }
    ck_assert_int_eq(sequencer_state(t->core), SEQUENCER_LEADING);
}

void suite_restart(struct suite *t, uint64_t seq)
{
    ck_assert_uint_eq(batch_end_seq(&t->seen[seq - 1].batch), seq + 1);
    t->tip = t->store_tip = seq;
    t->digest = t->seen[seq - 1].batch.digest;
    t->options.candidate++; /* random in every process */
    suite_start(t);
}

void suite_step(struct suite *t)
{
    t->deadline = sequencer_participant.step(t->core, t->now);
    for (; t->flushed < t->sent_count; t->flushed++) {
        const struct sent *sent = &t->sent[t->flushed];
        ck_assert_mem_eq(sent->lent, sent->bytes, sent->length);
    }
    t->scratch_used = 0;
}

void suite_run(struct suite *t)
{
    for (int steps = 0; steps < 10000; steps++) {
        suite_step(t);
        if (t->deadline > t->now.mono_ns)
            return;
    }
    ck_abort_msg("it always has more to do at once");
}

void suite_advance(struct suite *t, uint64_t ns)
{
    t->now.mono_ns += ns;
    t->now.wall_ns += ns;
    suite_run(t);
}

void suite_give_from(struct suite *t, const void *bytes, size_t length, struct port_addr from)
{
    /* At its exact length, so that a sanitizer sees a read beyond it. */
    uint8_t *copy = malloc(length == 0 ? 1 : length);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, bytes, length);
    struct port_datagram d = {
        .bytes = copy, .length = (uint32_t)length, .from = from, .channel = PORT_INGRESS
    };
    sequencer_participant.on_datagrams(t->core, &d, 1, t->now);
    free(copy);
}

void suite_give(struct suite *t, const void *bytes, size_t length)
{
    suite_give_from(t, bytes, length, (struct port_addr) { .ip = 0x7f000001, .port = 999 });
}

/* ---- stores ---------------------------------------------------------------------------------- */

struct promise suite_promise(const struct suite *t, uint64_t store)
{
    struct promise p = { .store = store,
                         .promised = t->seal.epoch,
                         .asked = t->seal.epoch,
                         .proven = true,
                         .tail = { .epoch = t->seen[t->store_tip - 1].batch.epoch,
                                   .seq = t->store_tip },
                         .digest = t->seen[t->store_tip - 1].batch.digest,
                         .oldest_seq = 1,
                         .clock_ns = t->now.wall_ns,
                         .leader_age_ns = UINT64_MAX,
                         .fetch_ip = 0x7f000001,
                         .fetch_port = (uint16_t)(1000 + store) };
    struct sys_genesis genesis;
    ck_assert(sys_genesis_decode(t->seen[0].m.payload, t->seen[0].m.length, &genesis));
    p.members = genesis.members;
    return p;
}

void suite_give_promise(struct suite *t, const struct promise *p)
{
    uint8_t bytes[SIGNAL_SIZE_MAX];
    size_t length = promise_encode(p, SUITE_STREAM, bytes, sizeof bytes);
    ck_assert_uint_gt(length, 0);
    suite_give(t, bytes, length);
    suite_step(t);
}

uint64_t suite_give_batch(struct suite *t, uint64_t seq)
{
    const struct seen *seen = &t->seen[seq - 1];
    suite_give(t, seen->bytes, seen->batch.length);
    return batch_end_seq(&seen->batch);
}

void suite_serve(struct suite *t)
{
    for (uint32_t i = 0; i < t->sent_count; i++) {
        struct gap_request r;
        if (t->sent[i].type != WIRE_GAP_REQUEST)
            continue;
        t->sent[i].type = SENT_ANSWERED;
        ck_assert_int_eq(gap_request_decode(t->sent[i].bytes, t->sent[i].length, SUITE_STREAM, &r),
                         WIRE_OK);
        for (uint64_t seq = r.first_seq; seq < r.end_seq && seq <= t->store_tip;)
            seq = suite_give_batch(t, seq);
        suite_step(t);
    }
}

struct ack suite_ack_of(const struct suite *t, uint64_t store, uint64_t seq)
{
    const struct seen *seen = &t->seen[seq - 1];
    return (struct ack) { .store = store,
                          .promised = sequencer_epoch(t->core),
                          .tail = { .epoch = seen->batch.epoch, .seq = seq },
                          .digest = seen->batch.digest,
                          .clock_ns = t->now.wall_ns };
}

void suite_give_ack(struct suite *t, const struct ack *a)
{
    uint8_t bytes[SIGNAL_SIZE_MAX];
    size_t length = ack_encode(a, SUITE_STREAM, bytes, sizeof bytes);
    ck_assert_uint_gt(length, 0);
    suite_give(t, bytes, length);
}

void suite_ack(struct suite *t, uint64_t store, uint64_t seq)
{
    struct ack a = suite_ack_of(t, store, seq);
    suite_give_ack(t, &a);
}

/* ---- another sequencer ----------------------------------------------------------------------- */

static struct sys_epoch record_of(const struct suite *t, uint64_t at, struct epoch epoch)
{
    struct sys_epoch record = { .epoch = epoch,
                                .adopted = { .epoch = t->seen[at - 1].batch.epoch, .seq = at },
                                .digest = t->seen[at - 1].batch.digest,
                                .how = SYS_EPOCH_PROMOTED };
    for (uint64_t seq = 1; seq <= at; seq++) {
        const struct batch_header *h = &t->seen[seq - 1].batch;
        if (record.entry_count > 0 &&
            epoch_equal(record.entries[record.entry_count - 1].epoch, h->epoch))
            continue;
        ck_assert_uint_lt(record.entry_count, EPOCH_RECORD_ENTRIES);
        record.entries[record.entry_count++] = (struct epoch_entry) { h->epoch, seq, h->before };
    }
    return record;
}

void suite_rival(struct suite *t, uint64_t at, struct epoch epoch)
{
    struct sys_epoch record = record_of(t, at, epoch);
    uint8_t payload[SYS_PAYLOAD_MAX];
    size_t length = sys_epoch_encode(&record, payload, sizeof payload);
    ck_assert_uint_gt(length, 0);
    struct kept *kept = malloc(sizeof *kept + WIRE_DATAGRAM_DEFAULT);
    ck_assert_ptr_nonnull(kept);
    kept->next = t->kept;
    t->kept = kept;
    struct batch_builder b;
    struct batch_header h = { .stream = SUITE_STREAM,
                              .before = record.digest,
                              .epoch = epoch,
                              .timestamp_ns = t->now.wall_ns };
    batch_open(&b, kept->bytes, WIRE_DATAGRAM_DEFAULT, at + 1);
    batch_add(&b, TOPIC_EPOCH, 0, 0, 0, payload, (uint32_t)length);
    batch_close(&b, 0, &h);
    struct batch_cursor cursor = batch_begin(kept->bytes, &h);
    struct message m;
    ck_assert(batch_next(&cursor, &m));
    t->seen[at] = (struct seen) { .m = m, .batch = h, .bytes = kept->bytes };
    t->tip = t->store_tip = at + 1;
    t->digest = h.digest;
}

void suite_give_heartbeat(struct suite *t, uint64_t next_seq, uint64_t stable)
{
    uint8_t bytes[SIGNAL_SIZE_MAX];
    struct epoch epoch = t->seen[t->tip - 1].batch.epoch;
    uint64_t first = t->tip;
    while (first > 1 && epoch_equal(t->seen[first - 2].batch.epoch, epoch))
        first--;
    struct heartbeat h = { .epoch = epoch,
                           .next_seq = next_seq,
                           .stable = stable,
                           .time_ns = t->now.wall_ns,
                           .epoch_first_seq = first };
    if (next_seq <= t->tip + 1)
        h.digest = t->seen[next_seq - 2].batch.digest;
    size_t length = heartbeat_encode(&h, SUITE_STREAM, bytes, sizeof bytes);
    ck_assert_uint_gt(length, 0);
    suite_give(t, bytes, length);
    suite_step(t);
}

void suite_standby(struct suite *t, uint64_t seq)
{
    t->options.lead = false;
    t->options.candidate++;
    suite_start(t);
    for (uint64_t next = 1; next <= seq;) {
        next = suite_give_batch(t, next);
        suite_step(t);
    }
    ck_assert_uint_eq(sequencer_tip(t->core), seq);
    t->store_tip = seq;
}

uint32_t suite_asked(const struct suite *t)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->sent_count; i++)
        n += t->sent[i].type == WIRE_GAP_REQUEST;
    return n;
}

/* ---- an operator ----------------------------------------------------------------------------- */

void suite_command(struct suite *t, uint32_t stream, const struct command *c)
{
    uint8_t body[COMMAND_SIZE_MAX];
    uint8_t frame[COMMAND_SIZE_MAX + REPLAY_FRAME_HEADER];
    size_t length = command_encode(c, body, sizeof body);
    ck_assert_uint_gt(length, 0);
    length = replay_frame_encode(REPLAY_COMMAND, body, length, frame, sizeof frame);
    struct port_stream_event e = {
        .type = PORT_STREAM_BYTES, .stream = stream, .bytes = frame, .length = length
    };
    ck_assert_uint_eq(sequencer_participant.on_stream(t->core, &e, t->now), length);
    suite_step(t);
}

struct outcome suite_outcome(struct suite *t)
{
    struct outcome outcome = { 0 };
    if (t->stream_out_length == 0)
        return outcome;
    enum replay_type type;
    ck_assert_uint_eq(replay_frame_peek(t->stream_out, t->stream_out_length, &type),
                      t->stream_out_length);
    ck_assert_int_eq(type, REPLAY_OUTCOME);
    ck_assert(outcome_decode(t->stream_out + REPLAY_FRAME_HEADER,
                             t->stream_out_length - REPLAY_FRAME_HEADER, &outcome));
    t->stream_out_length = 0;
    return outcome;
}

/* ---- publishers ------------------------------------------------------------------------------ */

void suite_give_join(struct suite *t, const char *identity, uint32_t wanted, uint64_t nonce)
{
    struct join j = { .nonce = nonce, .wanted = wanted };
    memcpy(j.identity, identity, strlen(identity) + 1);
    uint8_t bytes[SIGNAL_SIZE_MAX];
    size_t length = join_encode(&j, SUITE_STREAM, bytes, sizeof bytes);
    ck_assert_uint_gt(length, 0);
    suite_give(t, bytes, length);
    suite_run(t);
}

uint32_t suite_join(struct suite *t, const char *identity)
{
    suite_give_join(t, identity, 1, 42);
    uint32_t id = catalog_publisher_find(sequencer_catalog(t->core), identity);
    ck_assert_uint_gt(id, 0);
    return id;
}

uint32_t suite_topic(struct suite *t, uint32_t publisher, const char *path)
{
    struct create c = { .nonce = 5, .publisher = publisher };
    memcpy(c.path, path, strlen(path) + 1);
    uint8_t bytes[PORT_SCRATCH_MAX];
    size_t length = create_encode(&c, SUITE_STREAM, bytes, sizeof bytes);
    ck_assert_uint_gt(length, 0);
    suite_give(t, bytes, length);
    suite_run(t);
    uint32_t id = catalog_topic_find(sequencer_catalog(t->core), path, strlen(path));
    ck_assert_uint_gt(id, 0);
    return id;
}

void offer_open(const struct suite *t, struct offer *o, uint32_t publisher, uint64_t first)
{
    const struct catalog_publisher *p = catalog_publisher(sequencer_catalog(t->core), publisher);
    o->header = (struct proposal_header) { .publisher = publisher,
                                           .incarnation = p == NULL ? 1 : p->incarnation,
                                           .first_publisher_seq = first };
    if (t->tip > 0)
        o->header.position =
            (struct position) { .epoch = t->seen[t->tip - 1].batch.epoch, .seq = t->tip };
    proposal_open(&o->builder, o->bytes, sizeof o->bytes);
}

static void add(struct offer *o, const struct proposal_entry *e)
{
    ck_assert(proposal_fits(&o->builder, e));
    proposal_add(&o->builder, e);
}

void offer_add(struct offer *o, uint32_t topic, uint8_t flags, const void *payload, uint32_t length)
{
    static const uint8_t zeros[WIRE_DATAGRAM_DEFAULT];
    add(o, &(struct proposal_entry) { .topic = topic,
                                      .flags = flags,
                                      .payload = payload == NULL ? zeros : payload,
                                      .length = length });
}

void offer_add_if(struct offer *o, uint32_t topic, uint8_t flags, uint32_t condition_topic,
                  uint64_t after_seq)
{
    add(o, &(struct proposal_entry) { .topic = topic,
                                      .flags = flags,
                                      .conditional = true,
                                      .condition_topic = condition_topic,
                                      .after_seq = after_seq,
                                      .payload = (const uint8_t *)"if",
                                      .length = 2 });
}

void offer_give(struct suite *t, struct offer *o)
{
    uint32_t length = proposal_close(&o->builder, SUITE_STREAM, &o->header);
    ck_assert_uint_gt(length, 0);
    suite_give(t, o->bytes, length);
}

void suite_propose(struct suite *t, uint32_t publisher, uint64_t number, uint32_t topic,
                   uint32_t length)
{
    struct offer o;
    uint8_t payload[WIRE_DATAGRAM_DEFAULT] = { 0 };
    wire_store64(payload, number);
    offer_open(t, &o, publisher, number);
    offer_add(&o, topic, 0, payload, length);
    offer_give(t, &o);
}

/* ---- what came out --------------------------------------------------------------------------- */

const struct message *suite_message(const struct suite *t, uint64_t seq)
{
    ck_assert_uint_ge(seq, 1);
    ck_assert_uint_le(seq, t->tip);
    return &t->seen[seq - 1].m;
}

uint32_t suite_count(const struct suite *t, uint64_t from, uint32_t publisher)
{
    uint32_t n = 0;
    for (uint64_t seq = from; seq <= t->tip; seq++) {
        const struct message *m = suite_message(t, seq);
        n += m->publisher == publisher && m->topic >= TOPIC_FIRST_USER;
    }
    return n;
}

struct sys_reject suite_rejected(const struct suite *t, uint32_t publisher, uint64_t number)
{
    const struct message *m = suite_message(t, t->tip);
    struct sys_reject reject;
    ck_assert_uint_eq(m->topic, TOPIC_REJECT);
    ck_assert_uint_eq(m->publisher, publisher);
    ck_assert_uint_eq(m->publisher_seq, number);
    ck_assert(sys_reject_decode(m->payload, m->length, &reject));
    return reject;
}

uint64_t suite_counter(const struct suite *t, enum counter c)
{
    return sequencer_counters(t->core)[c];
}
