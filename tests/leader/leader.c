#include "tests/leader/leader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/signal.h"
#include "proto/sys.h"

static struct leader *of(struct rig *r)
{
    return (struct leader *)(void *)r;
}

/* ---- port ------------------------------------------------------------------------------------ */

void leader_port_init(struct leader *l, const struct port_ops *ops)
{
    l->port.ops = ops;
    l->port.datagram_max = WIRE_DATAGRAM_DEFAULT;
    l->port.self = (struct port_addr) { RIG_HERE, 4000 };
}

void leader_send(struct port *port, enum port_channel channel, struct port_addr to,
                 const uint8_t *bytes, uint32_t length)
{
    struct leader *l = (struct leader *)(void *)port;
    (void)to;
    (void)channel;
    if (l->sent_count == RIG_SENT_MAX || length > WIRE_DATAGRAM_DEFAULT)
        abort();
    l->datagrams++;
    l->sent[l->sent_count].length = length;
    memcpy(l->sent[l->sent_count].bytes, bytes, length);
    l->sent_count++;
}

uint8_t *leader_scratch(struct port *port, uint32_t length)
{
    struct leader *l = (struct leader *)(void *)port;
    if (length > PORT_SCRATCH_MAX)
        abort();
    return l->scratch[l->scratch_used++ % 256];
}

/* ---- its history ----------------------------------------------------------------------------- */

static uint64_t tip_of(const struct leader *l)
{
    return l->log_count == 0 ? 0 : batch_end_seq(&l->log[l->log_count - 1].header) - 1;
}

uint64_t rig_tip(const struct rig *r)
{
    return tip_of((const struct leader *)(const void *)r);
}

/* Its own state machines follow its batch. */
static void follow_own(struct leader *l, const struct leader_batch *b)
{
    struct batch_cursor cursor = batch_begin(b->bytes, &b->header);
    struct message m;
    while (batch_next(&cursor, &m)) {
        MUST(ledger_apply(&l->ledger, &m));
        enum catalog_verdict v = catalog_apply(l->catalog, &m, &b->header);
        MUST(v == CATALOG_OK || v == CATALOG_IGNORED);
    }
}

static void advance_stable(struct leader *l)
{
    uint64_t tip = tip_of(l);
    if (!l->hold_stable && !l->is_volatile)
        l->stable = l->stable_max != 0 && tip > l->stable_max ? l->stable_max : tip;
}

uint64_t rig_emit(struct rig *r, uint32_t topic, uint32_t publisher, uint64_t number, uint8_t flags,
                  const void *payload, size_t length)
{
    struct leader *l = of(r);
    MUST(l->log_count < RIG_LOG_MAX);
    struct leader_batch *out = &l->log[l->log_count];
    struct batch_builder b;
    batch_open(&b, out->bytes, WIRE_DATAGRAM_DEFAULT, tip_of(l) + 1);
    uint64_t seq = batch_add(&b, topic, publisher, number, flags, payload, (uint32_t)length);
    struct batch_header header = { .stream = RIG_STREAM,
                                   .before = l->digest,
                                   .epoch = l->epoch,
                                   .timestamp_ns = l->timestamp_ns,
                                   .stable = l->is_volatile ? 0 : l->stable };
    batch_close(&b, 0, &header);
    MUST(batch_verify(out->bytes, b.length, RIG_STREAM, &out->header) == WIRE_OK);
    l->log_count++;
    l->digest = out->header.digest;
    follow_own(l, out);
    advance_stable(l);
    return seq;
}

static void emit_genesis(struct leader *l, const uint8_t *admin_key)
{
    struct sys_genesis g = { .stream = RIG_STREAM,
                             .created_ns = l->timestamp_ns,
                             .protocol_version = WIRE_VERSION,
                             .is_volatile = l->is_volatile,
                             .members = { .seq = 1 } };
    if (admin_key != NULL)
        memcpy(g.admin_key, admin_key, sizeof g.admin_key);
    if (!l->is_volatile) {
        g.members.count = 1;
        g.members.stores[0] = 77;
    }
    struct leader_batch *b = &l->log[0];
    size_t length = genesis_batch(&g, b->bytes, sizeof b->bytes);
    MUST(length > 0);
    MUST(batch_verify(b->bytes, length, RIG_STREAM, &b->header) == WIRE_OK);
    l->log_count = 1;
    l->digest = b->header.digest;
    follow_own(l, b);
}

static void emit_epoch(struct rig *r)
{
    struct leader *l = of(r);
    const struct epoch_table *t = catalog_epochs(l->catalog);
    uint64_t tip = tip_of(l);
    struct sys_epoch e = {
        .epoch = { .number = l->epoch.number + 1, .candidate = 1000 + l->epoch.number },
        .adopted = { .epoch = epoch_table_find(t, tip)->epoch, .seq = tip },
        .digest = l->digest,
        .how = SYS_EPOCH_STARTED,
    };
    e.entry_count = t->count < EPOCH_RECORD_ENTRIES ? t->count : EPOCH_RECORD_ENTRIES;
    memcpy(e.entries, &t->entries[t->count - e.entry_count], e.entry_count * sizeof e.entries[0]);
    uint8_t payload[SYS_PAYLOAD_MAX];
    size_t length = sys_epoch_encode(&e, payload, sizeof payload);
    MUST(length > 0);
    l->epoch = e.epoch;
    rig_emit(r, TOPIC_EPOCH, 0, 0, 0, payload, length);
}

void rig_fork(struct rig *r, uint64_t seq)
{
    rig_fork_to(r, seq, NULL, 0);
}

void rig_fork_to(struct rig *r, uint64_t seq, const struct leader_batch *left, uint32_t count)
{
    struct leader *l = of(r);
    uint32_t keep = 0;
    while (keep < l->log_count && batch_end_seq(&l->log[keep].header) - 1 <= seq)
        keep++;
    l->log_count = keep;
    for (uint32_t i = 0; i < RIG_PUBLISHERS_MAX; i++)
        l->generations[i]++;
    if (l->log_delivered > keep)
        l->log_delivered = keep;
    for (uint32_t i = 0; i < count; i++)
        l->log[keep++] = left[i];
    l->log_count = keep;
    l->digest = l->log[keep - 1].header.digest;
    catalog_reset(l->catalog);
    ledger_reset(&l->ledger);
    for (uint32_t i = 0; i < keep; i++)
        follow_own(l, &l->log[i]);
    if (l->stable > seq)
        l->stable = seq;
    emit_epoch(r);
}

void leader_begin(struct rig *r, const struct catalog_options *catalog, const uint8_t *admin_key)
{
    struct leader *l = of(r);
    l->log = calloc(RIG_LOG_MAX, sizeof *l->log);
    l->held = calloc(RIG_PUBLISHERS_MAX * RIG_WINDOW, sizeof *l->held);
    l->catalog = catalog_create(catalog);
    MUST(l->log != NULL && l->held != NULL && l->catalog != NULL);
    MUST(ledger_init(&l->ledger, catalog));
    emit_genesis(l, admin_key);
    emit_epoch(r);
}

void leader_end(struct rig *r)
{
    struct leader *l = of(r);
    catalog_destroy(l->catalog);
    ledger_close(&l->ledger);
    free(l->log);
    free(l->held);
}

/* ---- what tests have it emit ----------------------------------------------------------------- */

uint32_t rig_topic(struct rig *r, const char *path)
{
    const struct catalog *catalog = of(r)->catalog;
    uint32_t id = catalog_topic_find(catalog, path, strlen(path));
    if (id == 0)
        rig_emit(r, TOPIC_TOPIC, 0, 0, 0, path, strlen(path));
    return id != 0 ? id : catalog_topic_find(catalog, path, strlen(path));
}

uint32_t rig_join(struct rig *r, const char *identity, uint64_t nonce)
{
    struct leader *l = of(r);
    uint32_t id = catalog_publisher_find(l->catalog, identity);
    struct sys_join j = { .nonce = nonce, .publisher = id, .incarnation = 1 };
    if (id == 0) {
        j.publisher = catalog_publisher_end(l->catalog);
    } else {
        j.incarnation = catalog_publisher(l->catalog, id)->incarnation + 1;
        j.last_publisher_seq = ledger_next(&l->ledger, id) - 1;
    }
    snprintf(j.identity, sizeof j.identity, "%s", identity);
    MUST(j.publisher < RIG_PUBLISHERS_MAX);
    l->generations[j.publisher]++; /* what an older incarnation left is void */
    uint8_t payload[SYS_PAYLOAD_MAX];
    size_t length = sys_join_encode(&j, payload, sizeof payload);
    MUST(length > 0);
    rig_emit(r, TOPIC_JOIN, 0, 0, 0, payload, length);
    return j.publisher;
}

uint64_t rig_say(struct rig *r, const char *path, const char *text)
{
    struct leader *l = of(r);
    uint32_t topic = rig_topic(r, path);
    uint32_t id = catalog_publisher_find(l->catalog, "other");
    if (id == 0)
        id = rig_join(r, "other", 1);
    return rig_emit(r, topic, id, ledger_next(&l->ledger, id), 0, text, strlen(text));
}

/* ---- what it is sent ------------------------------------------------------------------------- */

static void on_join(struct rig *r, const struct leader_sent *d)
{
    struct leader *l = of(r);
    struct join j;
    MUST(join_decode(d->bytes, d->length, RIG_STREAM, &j) == WIRE_OK);
    l->joins++;
    uint32_t id = catalog_publisher_find(l->catalog, j.identity);
    uint32_t current = id != 0 ? catalog_publisher(l->catalog, id)->incarnation : 0;
    if (j.wanted == current + 1)
        rig_join(r, j.identity, j.nonce);
}

static void on_create(struct rig *r, const struct leader_sent *d)
{
    struct leader *l = of(r);
    struct create c;
    MUST(create_decode(d->bytes, d->length, RIG_STREAM, &c) == WIRE_OK);
    l->creates++;
    if (catalog_refuses_topic(l->catalog, c.publisher, c.path, strlen(c.path)) == 0)
        rig_topic(r, c.path);
}

static void reject(struct rig *r, const struct proposal_entry *e, uint32_t publisher,
                   uint64_t number, uint32_t count, uint8_t reason)
{
    struct sys_reject j = { .reason = reason, .topic = e->topic, .count = count };
    uint8_t payload[SYS_PAYLOAD_MAX];
    size_t length = sys_reject_encode(&j, payload, sizeof payload);
    MUST(length > 0);
    of(r)->rejects++;
    rig_emit(r, TOPIC_REJECT, publisher, number, 0, payload, length);
}

static struct leader_fragment *slot_of(struct leader *l, uint32_t publisher, uint64_t number)
{
    MUST(publisher < RIG_PUBLISHERS_MAX);
    return &l->held[publisher * RIG_WINDOW + number % RIG_WINDOW];
}

static struct leader_fragment *held(struct leader *l, uint32_t publisher, uint64_t number)
{
    struct leader_fragment *f = slot_of(l, publisher, number);
    return f->number == number && f->generation == l->generations[publisher] ? f : NULL;
}

static uint8_t refusal_of(struct leader *l, const struct leader_fragment *f, uint32_t publisher)
{
    uint8_t reason = l->reject_next;
    l->reject_next = 0;
    if (reason == 0)
        reason = (uint8_t)catalog_refuses(l->catalog, publisher, f->e.topic);
    if (reason == 0 && f->e.topic < TOPIC_FIRST_USER)
        reason =
            (uint8_t)catalog_refuses_sys(l->catalog, publisher, f->e.topic, f->bytes, f->e.length);
    if (reason == 0 && f->e.conditional &&
        ledger_last_seq(&l->ledger, f->e.condition_topic) > f->e.after_seq) {
        l->conditions_failed++;
        reason = REJECT_CONDITION;
    }
    return reason;
}

/* Sequences or rejects what is held from the next number on, if it is there: a run only whole. */
static bool sequence_next(struct rig *r, uint32_t publisher)
{
    struct leader *l = of(r);
    uint64_t first = ledger_next(&l->ledger, publisher), end = first;
    const struct leader_fragment *f;
    do {
        f = held(l, publisher, end++);
    } while (f != NULL && (f->e.flags & MESSAGE_MORE) != 0);
    if (f == NULL)
        return false;
    f = held(l, publisher, first);
    uint8_t reason = refusal_of(l, f, publisher);
    if (reason != 0) {
        reject(r, &f->e, publisher, first, (uint32_t)(end - first), reason);
        return true;
    }
    for (; first < end; first++) {
        f = held(l, publisher, first);
        rig_emit(r, f->e.topic, publisher, first, f->e.flags, f->bytes, f->e.length);
    }
    return true;
}

static void on_proposals(struct rig *r, const struct leader_sent *d)
{
    struct leader *l = of(r);
    struct proposal_header h;
    MUST(proposal_decode(d->bytes, d->length, RIG_STREAM, &h) == WIRE_OK);
    if (h.publisher >= catalog_publisher_end(l->catalog) ||
        catalog_publisher(l->catalog, h.publisher)->incarnation != h.incarnation ||
        !epoch_table_has(catalog_epochs(l->catalog), tip_of(l), h.position))
        return;
    struct proposal_cursor cursor = proposal_begin(d->bytes, &h);
    struct proposal_entry e;
    uint64_t number = h.first_publisher_seq, next = ledger_next(&l->ledger, h.publisher);
    for (; proposal_next(&cursor, &e); number++) {
        l->proposals++;
        if (number < next || number >= next + RIG_WINDOW)
            continue;
        if (held(l, h.publisher, number) == NULL && l->order_count < RIG_LOG_MAX)
            l->order[l->order_count++] = h.publisher;
        struct leader_fragment *f = slot_of(l, h.publisher, number);
        *f = (struct leader_fragment) { .number = number,
                                        .generation = l->generations[h.publisher],
                                        .e = e };
        memcpy(f->bytes, e.payload, e.length);
    }
    while (sequence_next(r, h.publisher)) {
    }
}

static void on_gap_request(struct rig *r, const struct leader_sent *d)
{
    struct leader *l = of(r);
    struct gap_request q;
    MUST(gap_request_decode(d->bytes, d->length, RIG_STREAM, &q) == WIRE_OK);
    for (uint32_t i = 0; i < l->log_count; i++) {
        const struct leader_batch *b = &l->log[i];
        if (batch_end_seq(&b->header) > q.first_seq && b->header.first_seq < q.end_seq)
            l->feed(r, b->bytes, b->header.length, PORT_UNICAST);
    }
}

static bool is_lost(struct leader *l)
{
    l->loss_state = l->loss_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return l->lose_one_of != 0 && (l->loss_state >> 33) % l->lose_one_of == 0;
}

/* What is sent because a gap is filled waits for the next time. */
void leader_hear(struct rig *r)
{
    struct leader *l = of(r);
    uint32_t count = l->sent_count;
    for (uint32_t i = 0; i < count; i++) {
        const struct leader_sent *d = &l->sent[i];
        if (d->bytes[3] == WIRE_GAP_REQUEST) {
            if (l->fills_gaps)
                on_gap_request(r, d);
            continue;
        }
        if (l->deaf || is_lost(l))
            continue;
        if (d->bytes[3] == WIRE_JOIN)
            on_join(r, d);
        else if (d->bytes[3] == WIRE_CREATE)
            on_create(r, d);
        else if (d->bytes[3] == WIRE_PROPOSAL)
            on_proposals(r, d);
    }
    l->sent_count -= count;
    memmove(l->sent, l->sent + count, l->sent_count * sizeof l->sent[0]);
}

/* ---- what it sends --------------------------------------------------------------------------- */

void leader_deliver(struct rig *r)
{
    struct leader *l = of(r);
    for (; l->log_delivered < l->log_count; l->log_delivered++) {
        const struct leader_batch *b = &l->log[l->log_delivered];
        l->feed(r, b->bytes, b->header.length, PORT_EGRESS_A);
    }
    const struct epoch_table *t = catalog_epochs(l->catalog);
    struct heartbeat h = { .epoch = l->epoch,
                           .next_seq = tip_of(l) + 1,
                           .digest = l->digest,
                           .stable = l->is_volatile ? 0 : l->stable,
                           .time_ns = l->timestamp_ns,
                           .epoch_first_seq = t->entries[t->count - 1].first_seq };
    uint8_t bytes[SIGNAL_SIZE_MAX];
    size_t length = heartbeat_encode(&h, RIG_STREAM, bytes, sizeof bytes);
    MUST(length > 0);
    l->feed(r, bytes, (uint32_t)length, PORT_EGRESS_A);
}
