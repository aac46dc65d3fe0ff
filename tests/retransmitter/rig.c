#include "rig.h"

#include "proto/topic.h"

#include <stdlib.h>

const struct port_addr RIG_LEADER = { 0x0a000001, 700 };

static struct rig *of(struct port *port)
{
    return (struct rig *)port;
}

/* ---- port ------------------------------------------------------------------------------------ */

static void port_queue(struct port *port, enum port_channel channel, struct port_addr to,
                       const uint8_t *bytes, uint32_t length)
{
    struct rig *rig = of(port);
    ck_assert_uint_lt(rig->queued_count, RIG_SENT_MAX);
    ck_assert_uint_gt(length, 0);
    /* Borrowed until the flush. */
    rig->queued[rig->queued_count++] =
        (struct rig_sent) { channel, to, length, (uint8_t *)(uintptr_t)bytes };
}

static uint8_t *port_small(struct port *port, uint32_t length)
{
    struct rig *rig = of(port);
    ck_assert_uint_le(length, PORT_SCRATCH_MAX);
    ck_assert_uint_le(rig->scratch_used + length, sizeof rig->scratch);
    uint8_t *at = rig->scratch + rig->scratch_used;
    rig->scratch_used += length;
    return at;
}

static uint32_t port_connect(struct port *port, struct port_addr to)
{
    (void)to;
    struct rig *rig = of(port);
    if (RIG_STREAMS_MAX / 2 + rig->stream_count == RIG_STREAMS_MAX)
        return 0;
    uint32_t stream = RIG_STREAMS_MAX / 2 + rig->stream_count++;
    rig->streams[stream].room = 64 * 1024;
    return stream;
}

static size_t port_room(struct port *port, uint32_t stream, size_t want)
{
    struct rig_stream *s = &of(port)->streams[stream];
    if (s->room < want)
        s->wanted = want;
    return s->room;
}

static void port_write(struct port *port, uint32_t stream, const void *bytes, size_t length)
{
    struct rig_stream *s = &of(port)->streams[stream];
    ck_assert_uint_le(length, s->room);
    ck_assert(!s->closed);
    s->bytes = realloc(s->bytes, s->length + length);
    ck_assert_ptr_nonnull(s->bytes);
    memcpy(s->bytes + s->length, bytes, length);
    s->length += length;
    s->room -= length;
}

static void port_close(struct port *port, uint32_t stream)
{
    of(port)->streams[stream].closed = true;
}

static const struct port_ops PORT_OPS = { .send = port_queue,
                                          .scratch = port_small,
                                          .stream_connect = port_connect,
                                          .stream_room = port_room,
                                          .stream_write = port_write,
                                          .stream_close = port_close };

static void flush(struct rig *rig)
{
    for (uint32_t i = 0; i < rig->queued_count; i++) {
        struct rig_sent *s = &rig->queued[i];
        ck_assert_uint_lt(rig->sent_count, RIG_SENT_MAX);
        uint8_t *copy = malloc(s->length);
        ck_assert_ptr_nonnull(copy);
        memcpy(copy, s->bytes, s->length);
        s->bytes = copy;
        rig->sent[rig->sent_count++] = *s;
    }
    rig->queued_count = 0;
    rig->scratch_used = 0;
}

void rig_forget(struct rig *rig)
{
    for (uint32_t i = 0; i < rig->sent_count; i++)
        free(rig->sent[i].bytes);
    rig->sent_count = 0;
}

/* ---- life ------------------------------------------------------------------------------------ */

static uint32_t genesis(uint32_t members, uint8_t *out, struct batch_header *header)
{
    struct sys_genesis g = { .stream = RIG_STREAM,
                             .created_ns = RIG_SECOND,
                             .protocol_version = WIRE_VERSION,
                             .members = { .seq = 1, .count = members } };
    for (uint32_t i = 0; i < members; i++)
        g.members.stores[i] = RIG_STORE + i;
    size_t length = genesis_batch(&g, out, RIG_BATCH_MAX);
    ck_assert_uint_gt(length, 0);
    ck_assert_int_eq(batch_verify(out, length, RIG_STREAM, header), WIRE_OK);
    return (uint32_t)length;
}

static struct rig *rig_of(uint64_t store, const uint8_t *bytes, uint32_t length, uint32_t peers)
{
    struct rig *rig = calloc(1, sizeof *rig);
    ck_assert_ptr_nonnull(rig);
    memory_disk_init(&rig->disk);
    rig->port = (struct port) { .ops = &PORT_OPS,
                                .self = { 0x0a00000a, 710 },
                                .stream_port = 711,
                                .datagram_max = WIRE_DATAGRAM_DEFAULT };
    rig->now = (struct port_time) { RIG_SECOND, 5000 * RIG_SECOND };
    rig->journal_options = (struct journal_options) { .segment_bytes = 1024 * 1024,
                                                      .commit_bytes = 128 * 1024,
                                                      .recent_bytes = 256 * 1024,
                                                      .segments_max = 32 };
    rig->options = (struct retransmitter_options) { .stream = RIG_STREAM,
                                                    .random = 7,
                                                    .fetch_udp = { 0x0a00000a, 710 },
                                                    .fetch_stream_port = 711 };
    for (uint32_t i = 0; i < peers; i++) {
        struct port_addr peer = { 0x0a00000b + i, 710 };
        rig->options.peers[i] = (struct follower_source) { peer, { peer.ip, 711 } };
    }
    rig->options.peer_count = peers;
    char error[JOURNAL_ERROR_MAX];
    enum journal_error code = journal_format(&rig->disk.disk, &rig->journal_options, RIG_STREAM,
                                             store, bytes, length, error);
    ck_assert_msg(code == JOURNAL_OK, "format: %s", error);
    rig_start(rig);
    return rig;
}

struct rig *rig_new(uint32_t members)
{
    uint8_t bytes[RIG_BATCH_MAX];
    struct batch_header header;
    uint32_t length = genesis(members, bytes, &header);
    return rig_of(RIG_STORE, bytes, length, 0);
}

struct rig *rig_empty(uint32_t peers)
{
    return rig_of(RIG_STORE + 100, NULL, 0, peers);
}

void rig_start(struct rig *rig)
{
    char error[JOURNAL_ERROR_MAX] = "";
    enum journal_error code;
    rig->journal = journal_open(&rig->disk.disk, &rig->journal_options, RIG_STREAM, &rig->report,
                                &code, error);
    ck_assert_msg(rig->journal != NULL, "open: %s", error);
    rig->core = retransmitter_create(&rig->options, rig->journal, &rig->port, rig->now);
    ck_assert_ptr_nonnull(rig->core);
    rig_forget(rig);
    rig_settle(rig);
}

void rig_crash(struct rig *rig)
{
    memory_disk_crash(&rig->disk);
    rig->disk.hold = false;
    retransmitter_destroy(rig->core);
    journal_close(rig->journal);
    memory_disk_crash(&rig->disk);
    rig->core = NULL;
    rig->journal = NULL;
    rig->queued_count = 0;
    for (uint32_t i = 0; i < RIG_STREAMS_MAX; i++) {
        free(rig->streams[i].bytes);
        rig->streams[i] = (struct rig_stream) { 0 };
    }
}

void rig_free(struct rig *rig)
{
    rig_crash(rig);
    rig_forget(rig);
    memory_disk_close(&rig->disk);
    free(rig);
}

/* ---- events ---------------------------------------------------------------------------------- */

void rig_step(struct rig *rig)
{
    rig->next_ns = retransmitter_participant.step(rig->core, rig->now);
    flush(rig);
}

void rig_settle(struct rig *rig)
{
    for (int round = 0; round < 20000; round++) {
        struct disk_completion done[8];
        uint32_t n = rig->disk.disk.ops->complete(&rig->disk.disk, done, 8);
        for (uint32_t i = 0; i < n; i++)
            retransmitter_participant.on_disk(rig->core, &done[i], rig->now);
        rig_step(rig);
        bool quiet = n == 0 && (rig->disk.queued == 0 || rig->disk.hold);
        if (quiet && rig->next_ns > rig->now.mono_ns)
            return;
        /* Refused offers may ask for another try at once for ever while the disk is held. */
        if (quiet && rig->disk.hold && round > 50)
            return;
    }
    ck_abort_msg("does not settle");
}

void rig_pass(struct rig *rig, uint64_t ns)
{
    rig->now.mono_ns += ns;
    rig->now.wall_ns += ns;
    rig_settle(rig);
}

void rig_receive(struct rig *rig, enum port_channel channel, struct port_addr from,
                 const uint8_t *bytes, uint32_t length)
{
    uint8_t *copy = malloc(length > 0 ? length : 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, bytes, length);
    struct port_datagram d = { copy, length, from, channel };
    retransmitter_participant.on_datagrams(rig->core, &d, 1, rig->now);
    memset(copy, 0xdd, length); /* borrowed: gone now */
    rig_step(rig);
    free(copy);
}

size_t rig_event(struct rig *rig, enum port_stream_event_type type, uint32_t stream,
                 const void *bytes, size_t length)
{
    if (type == PORT_STREAM_ACCEPTED) {
        free(rig->streams[stream].bytes);
        rig->streams[stream] = (struct rig_stream) { .room = 256 * 1024 };
    }
    struct port_stream_event e = { .type = type,
                                   .stream = stream,
                                   .peer = { 0x0a000063, 900 },
                                   .bytes = bytes,
                                   .length = length };
    size_t used = retransmitter_participant.on_stream(rig->core, &e, rig->now);
    rig_settle(rig);
    return used;
}

/* ---- what was sent --------------------------------------------------------------------------- */

const struct rig_sent *rig_last(const struct rig *rig, enum wire_type type, uint32_t *count)
{
    const struct rig_sent *last = NULL;
    uint32_t n = 0;
    for (uint32_t i = 0; i < rig->sent_count; i++) {
        enum wire_type is;
        ck_assert_int_eq(wire_peek(rig->sent[i].bytes, rig->sent[i].length, RIG_STREAM, &is),
                         WIRE_OK);
        if (is == type) {
            last = &rig->sent[i];
            n++;
        }
    }
    if (count != NULL)
        *count = n;
    return last;
}

uint32_t rig_count(const struct rig *rig, enum wire_type type)
{
    uint32_t count;
    (void)rig_last(rig, type, &count);
    return count;
}

bool rig_last_ack(const struct rig *rig, struct ack *out)
{
    const struct rig_sent *s = rig_last(rig, WIRE_ACK, NULL);
    if (s == NULL)
        return false;
    ck_assert_int_eq(s->channel, PORT_INGRESS);
    ck_assert_int_eq(ack_decode(s->bytes, s->length, RIG_STREAM, out), WIRE_OK);
    return true;
}

bool rig_last_promise(const struct rig *rig, struct promise *out)
{
    const struct rig_sent *s = rig_last(rig, WIRE_PROMISE, NULL);
    if (s == NULL)
        return false;
    ck_assert_int_eq(s->channel, PORT_INGRESS);
    ck_assert_int_eq(promise_decode(s->bytes, s->length, RIG_STREAM, out), WIRE_OK);
    return true;
}

bool rig_last_gap_request(const struct rig *rig, struct gap_request *out, struct port_addr *to)
{
    const struct rig_sent *s = rig_last(rig, WIRE_GAP_REQUEST, NULL);
    if (s == NULL)
        return false;
    ck_assert_int_eq(gap_request_decode(s->bytes, s->length, RIG_STREAM, out), WIRE_OK);
    *to = s->to;
    return true;
}

bool rig_last_refusal(const struct rig *rig, struct gap_refusal *out)
{
    const struct rig_sent *s = rig_last(rig, WIRE_GAP_REFUSAL, NULL);
    if (s == NULL)
        return false;
    ck_assert_int_eq(s->channel, PORT_UNICAST);
    ck_assert_int_eq(gap_refusal_decode(s->bytes, s->length, RIG_STREAM, out), WIRE_OK);
    return true;
}

uint64_t rig_counter(struct rig *rig, enum counter c)
{
    return retransmitter_counters(rig->core)[c];
}

/* ---- leaders --------------------------------------------------------------------------------- */

struct leader leader_of(struct rig *rig, struct epoch epoch)
{
    struct leader l = { .epoch = epoch,
                        .epoch_first_seq = 2,
                        .next_seq = 2,
                        .digest = journal_tail_digest(rig->journal),
                        .stable = 0,
                        .time_ns = 2 * RIG_SECOND };
    ck_assert_uint_eq(journal_tail(rig->journal).seq, 1);
    epoch_table_reset(&l.epochs);
    ck_assert(epoch_table_append(&l.epochs, (struct epoch_entry) { .first_seq = 1 }));
    return l;
}

struct leader leader_after(const struct leader *old, struct epoch epoch)
{
    struct leader l = *old;
    l.epoch = epoch;
    l.epoch_first_seq = l.next_seq;
    return l;
}

static void close_batch(struct leader *l, struct batch_builder *b, struct batch_bytes *out)
{
    out->header = (struct batch_header) { .stream = RIG_STREAM,
                                          .before = l->digest,
                                          .epoch = l->epoch,
                                          .timestamp_ns = ++l->time_ns,
                                          .stable = l->stable };
    batch_close(b, 0, &out->header);
    ck_assert_int_eq(batch_verify(out->bytes, out->header.length, RIG_STREAM, &out->header),
                     WIRE_OK);
    l->next_seq = batch_end_seq(&out->header);
    l->digest = out->header.digest;
}

void leader_begin(struct leader *l, struct batch_bytes *out)
{
    const struct epoch_entry *last = &l->epochs.entries[l->epochs.count - 1];
    struct sys_epoch record = { .epoch = l->epoch,
                                .adopted = { last->epoch, l->next_seq - 1 },
                                .digest = l->digest,
                                .how = SYS_EPOCH_STARTED };
    uint32_t n = l->epochs.count < EPOCH_RECORD_ENTRIES ? l->epochs.count : EPOCH_RECORD_ENTRIES;
    record.entry_count = n;
    memcpy(record.entries, &l->epochs.entries[l->epochs.count - n], n * sizeof record.entries[0]);
    uint8_t payload[SYS_PAYLOAD_MAX];
    size_t length = sys_epoch_encode(&record, payload, sizeof payload);
    ck_assert_uint_gt(length, 0);
    ck_assert(
        epoch_table_append(&l->epochs, (struct epoch_entry) { l->epoch, l->next_seq, l->digest }));
    l->epoch_first_seq = l->next_seq;
    struct batch_builder b;
    batch_open(&b, out->bytes, RIG_BATCH_MAX, l->next_seq);
    batch_add(&b, TOPIC_EPOCH, 0, 0, 0, payload, (uint32_t)length);
    close_batch(l, &b, out);
}

void leader_batch(struct leader *l, uint32_t count, uint32_t length, struct batch_bytes *out)
{
    uint8_t payload[RIG_BATCH_MAX];
    memset(payload, (int)(l->next_seq * 31 + l->epoch.candidate), sizeof payload);
    struct batch_builder b;
    batch_open(&b, out->bytes, RIG_BATCH_MAX, l->next_seq);
    for (uint32_t i = 0; i < count; i++)
        batch_add(&b, TOPIC_FIRST_USER, 1, l->next_seq + i, 0, payload, length);
    close_batch(l, &b, out);
}

void rig_hear(struct rig *rig, const struct batch_bytes *batch)
{
    rig_receive(rig, PORT_EGRESS_A, RIG_LEADER, batch->bytes, batch->header.length);
}

void rig_heartbeat(struct rig *rig, const struct leader *l)
{
    struct heartbeat h = { .epoch = l->epoch,
                           .next_seq = l->next_seq,
                           .digest = l->digest,
                           .stable = l->stable,
                           .time_ns = l->time_ns,
                           .epoch_first_seq = l->epoch_first_seq };
    uint8_t bytes[SIGNAL_SIZE_MAX];
    size_t length = heartbeat_encode(&h, RIG_STREAM, bytes, sizeof bytes);
    rig_receive(rig, PORT_EGRESS_A, RIG_LEADER, bytes, (uint32_t)length);
}

void rig_begin(struct rig *rig, struct leader *l)
{
    struct batch_bytes batch;
    leader_begin(l, &batch);
    rig_hear(rig, &batch);
}

struct leader rig_led(struct rig *rig, struct epoch epoch)
{
    struct leader l = leader_of(rig, epoch);
    rig_begin(rig, &l);
    rig_settle(rig);
    return l;
}

void rig_answer(struct rig *rig, struct port_addr from, const struct gap_request *asked,
                const struct batch_bytes *batches, uint32_t count, uint32_t max)
{
    for (uint32_t i = 0; i < count && max > 0; i++) {
        const struct batch_header *h = &batches[i].header;
        if (batch_end_seq(h) > asked->first_seq && h->first_seq < asked->end_seq) {
            rig_receive(rig, PORT_UNICAST, from, batches[i].bytes, h->length);
            max--;
        }
    }
}

void rig_batches(struct rig *rig, struct leader *l, uint32_t batches, uint32_t count,
                 uint32_t length)
{
    struct batch_bytes batch;
    for (uint32_t i = 0; i < batches; i++) {
        leader_batch(l, count, length, &batch);
        rig_hear(rig, &batch);
        rig_settle(rig);
    }
}

void rig_seal(struct rig *rig, struct epoch epoch, bool probe)
{
    struct seal seal = { epoch, probe };
    uint8_t bytes[SIGNAL_SIZE_MAX];
    size_t length = seal_encode(&seal, RIG_STREAM, bytes, sizeof bytes);
    rig_receive(rig, PORT_EGRESS_A, (struct port_addr) { 0x0a000002, 700 }, bytes,
                (uint32_t)length);
}

void rig_ask(struct rig *rig, struct port_addr from, struct epoch epoch, uint64_t first_seq,
             uint64_t end_seq)
{
    struct gap_request g = { epoch, first_seq, end_seq, from.port };
    uint8_t bytes[SIGNAL_SIZE_MAX];
    size_t length = gap_request_encode(&g, RIG_STREAM, bytes, sizeof bytes);
    rig_receive(rig, PORT_UNICAST, from, bytes, (uint32_t)length);
}

int rig_main(const char *name, const TTest *const *tests, size_t count)
{
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create(name);
    for (size_t i = 0; i < count; i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
