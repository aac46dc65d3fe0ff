#include "rig.h"

#include <stdio.h>

bool rig_inside;

/* ---- port ------------------------------------------------------------------------------------ */

static struct rig *rig_of(struct port *port)
{
    return (struct rig *)(void *)port;
}

static void fake_send(struct port *port, enum port_channel channel, struct port_addr to,
                      const uint8_t *bytes, uint32_t length)
{
    struct rig *r = rig_of(port);
    (void)to;
    (void)channel;
    if (r->sent_count == RIG_SENT_MAX || length > WIRE_DATAGRAM_DEFAULT)
        abort();
    r->datagrams++;
    r->sent[r->sent_count].length = length;
    memcpy(r->sent[r->sent_count].bytes, bytes, length);
    r->sent_count++;
}

static uint8_t *fake_scratch(struct port *port, uint32_t length)
{
    struct rig *r = rig_of(port);
    if (length > PORT_SCRATCH_MAX)
        abort();
    return r->scratch[r->scratch_used++ % 256];
}

static uint32_t fake_connect(struct port *port, struct port_addr to)
{
    (void)port;
    (void)to;
    return 0;
}

static size_t fake_room(struct port *port, uint32_t stream, size_t want)
{
    (void)port;
    (void)stream;
    (void)want;
    return 0;
}

static void fake_write(struct port *port, uint32_t stream, const void *bytes, size_t length)
{
    (void)port;
    (void)stream;
    (void)bytes;
    (void)length;
}

static void fake_close(struct port *port, uint32_t stream)
{
    (void)port;
    (void)stream;
}

static const struct port_ops fake = { fake_send,  fake_scratch, fake_connect, fake_room,
                                      fake_write, fake_close,   NULL };

void rig_port_init(struct rig *r)
{
    r->port.ops = &fake;
    r->port.datagram_max = WIRE_DATAGRAM_DEFAULT;
    r->port.self = (struct port_addr) { 0x7f000001, 4000 };
}

/* ---- the leader's history -------------------------------------------------------------------- */

uint64_t rig_tip(const struct rig *r)
{
    return r->log_count == 0 ? 0 : batch_end_seq(&r->log[r->log_count - 1].header) - 1;
}

/* The leader's own state machines follow its batch. */
static void follow_own(struct rig *r, struct rig_batch *b)
{
    struct batch_cursor cursor = batch_begin(b->bytes, &b->header);
    struct message m;
    while (batch_next(&cursor, &m)) {
        ck_assert(ledger_apply(&r->ledger, &m));
        enum catalog_verdict v = catalog_apply(r->catalog, &m, &b->header);
        ck_assert(v == CATALOG_OK || v == CATALOG_IGNORED);
    }
}

static struct rig_batch *append(struct rig *r, struct batch_builder *b, uint64_t timestamp_ns)
{
    struct rig_batch *out = &r->log[r->log_count];
    struct batch_header header = {
        .stream = RIG_STREAM,
        .before = r->digest,
        .epoch = r->epoch,
        .timestamp_ns = timestamp_ns,
        .stable = r->is_volatile ? 0 : r->stable,
    };
    batch_close(b, 0, &header);
    ck_assert_int_eq(batch_verify(out->bytes, b->length, RIG_STREAM, &out->header), WIRE_OK);
    r->log_count++;
    r->digest = out->header.digest;
    follow_own(r, out);
    if (!r->hold_stable && !r->is_volatile)
        r->stable = r->stable_max != 0 && rig_tip(r) > r->stable_max ? r->stable_max : rig_tip(r);
    return out;
}

uint64_t rig_emit(struct rig *r, uint32_t topic, uint32_t publisher, uint64_t number, uint8_t flags,
                  const void *payload, size_t length)
{
    ck_assert_uint_lt(r->log_count, RIG_LOG_MAX);
    struct batch_builder b;
    batch_open(&b, r->log[r->log_count].bytes, WIRE_DATAGRAM_DEFAULT, rig_tip(r) + 1);
    uint64_t seq = batch_add(&b, topic, publisher, number, flags, payload, (uint32_t)length);
    append(r, &b, r->timestamp_ns);
    return seq;
}

static void emit_genesis(struct rig *r)
{
    struct sys_genesis g = { .stream = RIG_STREAM,
                             .created_ns = r->timestamp_ns,
                             .protocol_version = WIRE_VERSION,
                             .is_volatile = r->is_volatile };
    g.members.seq = 1;
    if (!r->is_volatile) {
        g.members.count = 1;
        g.members.stores[0] = 77;
    }
    struct rig_batch *b = &r->log[0];
    size_t length = genesis_batch(&g, b->bytes, sizeof b->bytes);
    ck_assert_uint_gt(length, 0);
    ck_assert_int_eq(batch_verify(b->bytes, length, RIG_STREAM, &b->header), WIRE_OK);
    r->log_count = 1;
    r->digest = b->header.digest;
    follow_own(r, b);
}

static void emit_epoch(struct rig *r)
{
    const struct epoch_table *t = catalog_epochs(r->catalog);
    uint64_t tip = rig_tip(r);
    struct sys_epoch e = {
        .epoch = { .number = r->epoch.number + 1, .candidate = 1000 + r->epoch.number },
        .adopted = { .epoch = epoch_table_find(t, tip)->epoch, .seq = tip },
        .digest = r->digest,
        .how = SYS_EPOCH_STARTED,
    };
    e.entry_count = t->count < EPOCH_RECORD_ENTRIES ? t->count : EPOCH_RECORD_ENTRIES;
    memcpy(e.entries, &t->entries[t->count - e.entry_count], e.entry_count * sizeof e.entries[0]);
    uint8_t payload[SYS_PAYLOAD_MAX];
    size_t length = sys_epoch_encode(&e, payload, sizeof payload);
    ck_assert_uint_gt(length, 0);
    r->epoch = e.epoch;
    rig_emit(r, TOPIC_EPOCH, 0, 0, 0, payload, length);
}

void rig_fork(struct rig *r, uint64_t seq)
{
    uint32_t keep = 0;
    while (keep < r->log_count && batch_end_seq(&r->log[keep].header) - 1 <= seq)
        keep++;
    r->log_count = keep;
    memset(r->held, 0, RIG_PUBLISHERS_MAX * RIG_WINDOW * sizeof *r->held);
    if (r->log_delivered > keep)
        r->log_delivered = keep;
    r->digest = r->log[keep - 1].header.digest;
    catalog_reset(r->catalog);
    ledger_reset(&r->ledger);
    for (uint32_t i = 0; i < keep; i++)
        follow_own(r, &r->log[i]);
    if (r->stable > seq)
        r->stable = seq;
    emit_epoch(r);
}

uint32_t rig_topic(struct rig *r, const char *path)
{
    uint32_t id = catalog_topic_find(r->catalog, path, strlen(path));
    if (id == 0)
        rig_emit(r, TOPIC_TOPIC, 0, 0, 0, path, strlen(path));
    return id != 0 ? id : catalog_topic_find(r->catalog, path, strlen(path));
}

uint32_t rig_join(struct rig *r, const char *identity, uint64_t nonce)
{
    uint32_t id = catalog_publisher_find(r->catalog, identity);
    struct sys_join j = { .nonce = nonce, .publisher = id, .incarnation = 1 };
    if (id == 0) {
        j.publisher = catalog_publisher_end(r->catalog);
    } else {
        j.incarnation = catalog_publisher(r->catalog, id)->incarnation + 1;
        j.last_publisher_seq = ledger_next(&r->ledger, id) - 1;
    }
    snprintf(j.identity, sizeof j.identity, "%s", identity);
    ck_assert_uint_lt(j.publisher, RIG_PUBLISHERS_MAX);
    /* What an older incarnation left is void. */
    memset(&r->held[j.publisher * RIG_WINDOW], 0, RIG_WINDOW * sizeof *r->held);
    uint8_t payload[SYS_PAYLOAD_MAX];
    size_t length = sys_join_encode(&j, payload, sizeof payload);
    ck_assert_uint_gt(length, 0);
    rig_emit(r, TOPIC_JOIN, 0, 0, 0, payload, length);
    return j.publisher;
}

uint64_t rig_say(struct rig *r, const char *path, const char *text)
{
    uint32_t topic = rig_topic(r, path);
    uint32_t id = catalog_publisher_find(r->catalog, "other");
    if (id == 0)
        id = rig_join(r, "other", 1);
    return rig_emit(r, topic, id, ledger_next(&r->ledger, id), 0, text, strlen(text));
}

/* ---- what the client sent -------------------------------------------------------------------- */

static void on_join(struct rig *r, const struct rig_sent *d)
{
    struct join j;
    ck_assert_int_eq(join_decode(d->bytes, d->length, RIG_STREAM, &j), WIRE_OK);
    r->joins++;
    uint32_t id = catalog_publisher_find(r->catalog, j.identity);
    uint32_t current = id != 0 ? catalog_publisher(r->catalog, id)->incarnation : 0;
    if (j.wanted == current + 1)
        rig_join(r, j.identity, j.nonce);
}

static void on_create(struct rig *r, const struct rig_sent *d)
{
    struct create c;
    ck_assert_int_eq(create_decode(d->bytes, d->length, RIG_STREAM, &c), WIRE_OK);
    r->creates++;
    if (catalog_refuses_topic(r->catalog, 0, c.path, strlen(c.path)) == 0)
        rig_topic(r, c.path);
}

static void reject(struct rig *r, const struct proposal_entry *e, uint32_t publisher,
                   uint64_t number, uint32_t count, uint8_t reason)
{
    struct sys_reject reject = { .reason = reason, .topic = e->topic, .count = count };
    uint8_t payload[SYS_PAYLOAD_MAX];
    size_t length = sys_reject_encode(&reject, payload, sizeof payload);
    ck_assert_uint_gt(length, 0);
    rig_emit(r, TOPIC_REJECT, publisher, number, 0, payload, length);
}

static struct rig_fragment *held(struct rig *r, uint32_t publisher, uint64_t number)
{
    ck_assert_uint_lt(publisher, RIG_PUBLISHERS_MAX);
    struct rig_fragment *f = &r->held[publisher * RIG_WINDOW + number % RIG_WINDOW];
    return f->number == number ? f : NULL;
}

/* Sequences or rejects what is held from the next number on, if it is there: a run only whole. */
static bool sequence_next(struct rig *r, uint32_t publisher)
{
    uint64_t first = ledger_next(&r->ledger, publisher);
    uint64_t end = first;
    const struct rig_fragment *f;
    do {
        f = held(r, publisher, end++);
    } while (f != NULL && (f->e.flags & MESSAGE_MORE) != 0);
    if (f == NULL)
        return false;
    f = held(r, publisher, first);
    uint32_t count = (uint32_t)(end - first);
    if (r->reject_next != 0) {
        reject(r, &f->e, publisher, first, count, r->reject_next);
        r->reject_next = 0;
    } else if (f->e.conditional &&
               ledger_last_seq(&r->ledger, f->e.condition_topic) > f->e.after_seq) {
        r->conditions_failed++;
        reject(r, &f->e, publisher, first, count, REJECT_CONDITION);
    } else {
        for (; first < end; first++) {
            f = held(r, publisher, first);
            rig_emit(r, f->e.topic, publisher, first, f->e.flags, f->bytes, f->e.length);
        }
    }
    return true;
}

static void on_proposals(struct rig *r, const struct rig_sent *d)
{
    struct proposal_header h;
    ck_assert_int_eq(proposal_decode(d->bytes, d->length, RIG_STREAM, &h), WIRE_OK);
    if (!catalog_publisher(r->catalog, h.publisher) ||
        catalog_publisher(r->catalog, h.publisher)->incarnation != h.incarnation ||
        !epoch_table_has(catalog_epochs(r->catalog), rig_tip(r), h.position))
        return;
    struct proposal_cursor cursor = proposal_begin(d->bytes, &h);
    struct proposal_entry e;
    uint64_t number = h.first_publisher_seq;
    uint64_t next = ledger_next(&r->ledger, h.publisher);
    for (; proposal_next(&cursor, &e); number++) {
        r->proposals++;
        if (number < next || number >= next + RIG_WINDOW)
            continue;
        struct rig_fragment *f = &r->held[h.publisher * RIG_WINDOW + number % RIG_WINDOW];
        *f = (struct rig_fragment) { .number = number, .e = e };
        memcpy(f->bytes, e.payload, e.length);
    }
    while (sequence_next(r, h.publisher)) {
    }
}

static void feed(struct rig *r, const uint8_t *bytes, uint32_t length, enum port_channel channel)
{
    struct port_datagram d = {
        .bytes = bytes, .length = length, .from = { 0x7f000001, 5000 }, .channel = channel
    };
    rig_inside = true;
    client_participant.on_datagrams(r->core, &d, 1, r->now);
    rig_inside = false;
}

static void on_gap_request(struct rig *r, const struct rig_sent *d)
{
    struct gap_request q;
    ck_assert_int_eq(gap_request_decode(d->bytes, d->length, RIG_STREAM, &q), WIRE_OK);
    for (uint32_t i = 0; i < r->log_count; i++) {
        const struct rig_batch *b = &r->log[i];
        if (batch_end_seq(&b->header) > q.first_seq && b->header.first_seq < q.end_seq)
            feed(r, b->bytes, b->header.length, PORT_UNICAST);
    }
}

static bool is_lost(struct rig *r)
{
    r->loss_state = r->loss_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return r->lose_one_of != 0 && (r->loss_state >> 33) % r->lose_one_of == 0;
}

static void leader_hears(struct rig *r)
{
    static struct rig_sent taken[RIG_SENT_MAX];
    uint32_t count = r->sent_count;
    memcpy(taken, r->sent, count * sizeof taken[0]);
    r->sent_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct rig_sent *d = &taken[i];
        if (d->bytes[3] == WIRE_GAP_REQUEST) {
            on_gap_request(r, d);
            continue;
        }
        if (r->deaf || is_lost(r))
            continue;
        if (d->bytes[3] == WIRE_JOIN)
            on_join(r, d);
        else if (d->bytes[3] == WIRE_CREATE)
            on_create(r, d);
        else if (d->bytes[3] == WIRE_PROPOSAL)
            on_proposals(r, d);
    }
}

/* ---- driving --------------------------------------------------------------------------------- */

void rig_deliver(struct rig *r)
{
    for (; r->log_delivered < r->log_count; r->log_delivered++) {
        const struct rig_batch *b = &r->log[r->log_delivered];
        feed(r, b->bytes, b->header.length, PORT_EGRESS_A);
    }
    struct heartbeat h = { .epoch = r->epoch,
                           .next_seq = rig_tip(r) + 1,
                           .digest = r->digest,
                           .stable = r->is_volatile ? 0 : r->stable,
                           .time_ns = r->timestamp_ns };
    const struct epoch_table *t = catalog_epochs(r->catalog);
    h.epoch_first_seq = t->entries[t->count - 1].first_seq;
    uint8_t bytes[SIGNAL_SIZE_MAX];
    size_t length = heartbeat_encode(&h, RIG_STREAM, bytes, sizeof bytes);
    ck_assert_uint_gt(length, 0);
    feed(r, bytes, (uint32_t)length, PORT_EGRESS_A);
}

void rig_hint(struct rig *r, struct hint h)
{
    uint8_t bytes[SIGNAL_SIZE_MAX];
    size_t length = hint_encode(&h, RIG_STREAM, bytes, sizeof bytes);
    ck_assert_uint_gt(length, 0);
    feed(r, bytes, (uint32_t)length, PORT_UNICAST);
}

void rig_step(struct rig *r)
{
    for (int i = 0; i < 64; i++) {
        rig_inside = true;
        r->deadline = client_participant.step(r->core, r->now);
        rig_inside = false;
        if (r->deadline > r->now.mono_ns)
            return;
    }
}

void rig_run(struct rig *r)
{
    for (int i = 0; i < 4000; i++) {
        rig_deliver(r);
        rig_step(r);
        bool quiet = r->sent_count == 0 && r->log_delivered == r->log_count;
        leader_hears(r);
        if (quiet && r->log_delivered == r->log_count && r->sent_count == 0)
            return;
    }
}

bool rig_run_until(struct rig *r, bool (*done)(struct rig *r), uint64_t ns, uint32_t rounds)
{
    for (uint32_t i = 0; i < rounds; i++) {
        rig_run(r);
        if (done != NULL && done(r))
            return true;
        r->now.mono_ns += ns;
        r->now.wall_ns += ns;
    }
    return done == NULL;
}

void rig_tick(struct rig *r, uint64_t timestamp_ns)
{
    r->timestamp_ns = timestamp_ns;
    rig_emit(r, TOPIC_CLOCK, 0, 0, 0, NULL, 0);
    rig_run(r);
}

/* ---- making ---------------------------------------------------------------------------------- */

static void on_report(void *ctx, const struct cantus_report *report)
{
    struct rig *r = ctx;
    if (report->text == NULL || report->identity == NULL || report->topic == NULL)
        abort();
    if (r->report_count == RIG_REPORTS_MAX)
        return;
    struct rig_report *out = &r->reports[r->report_count++];
    out->r = *report;
    snprintf(out->identity, sizeof out->identity, "%s", report->identity);
    snprintf(out->topic, sizeof out->topic, "%s", report->topic);
    snprintf(out->text, sizeof out->text, "%s", report->text);
}

const struct rig_report *rig_reported(const struct rig *r, enum cantus_report_kind kind)
{
    for (uint32_t i = 0; i < r->report_count; i++) {
        if (r->reports[i].r.kind == kind)
            return &r->reports[i];
    }
    return NULL;
}

void rig_see(void *ctx, const struct cantus_message *m)
{
    struct rig *r = ctx;
    if (r->seen_count == RIG_SEEN_MAX)
        abort();
    struct rig_seen *s = &r->seen[r->seen_count++];
    *s = (struct rig_seen) { .seq = m->seq,
                             .timestamp_ns = m->timestamp_ns,
                             .publisher_seq = m->publisher_seq,
                             .length = m->length,
                             .hash = cantus_hash(0, m->payload, m->length) };
    snprintf(s->topic, sizeof s->topic, "%s", m->topic);
    snprintf(s->publisher, sizeof s->publisher, "%s", m->publisher);
    size_t head = m->length < sizeof s->head - 1 ? m->length : sizeof s->head - 1;
    memcpy(s->head, m->payload, head);
}

void rig_make_core(struct rig *r)
{
    r->core = client_core_create(&r->options, &r->port, r->now, r->error);
    ck_assert_msg(r->core != NULL, "%s", r->error);
}

static struct rig *make(enum follower_level level, bool is_volatile)
{
    struct rig *r = calloc(1, sizeof *r);
    ck_assert_ptr_nonnull(r);
    r->is_volatile = is_volatile;
    rig_port_init(r);
    r->now = (struct port_time) { .mono_ns = SECOND, .wall_ns = 1000 * SECOND };
    r->timestamp_ns = 1000 * SECOND;
    r->options = (struct client_core_options) {
        .follower = { .stream = RIG_STREAM, .level = level, .pending_max = 1024 },
        .catalog = { .topics_max = 1024, .publishers_max = 256 },
        .random = 42,
        .report = on_report,
        .ctx = r,
    };
    r->log = calloc(RIG_LOG_MAX, sizeof *r->log);
    r->held = calloc(RIG_PUBLISHERS_MAX * RIG_WINDOW, sizeof *r->held);
    r->catalog = catalog_create(&r->options.catalog);
    ck_assert(r->log != NULL && r->held != NULL && r->catalog != NULL);
    ck_assert(ledger_init(&r->ledger, &r->options.catalog));
    emit_genesis(r);
    emit_epoch(r);
    rig_make_core(r);
    return r;
}

struct rig *rig_new(enum follower_level level)
{
    return make(level, false);
}

struct rig *rig_new_volatile(void)
{
    return make(FOLLOWER_SEQUENCED, true);
}

void rig_restart(struct rig *r)
{
    client_core_destroy(r->core);
    r->options.random++;
    r->log_delivered = 0;
    r->sent_count = 0;
    rig_make_core(r);
}

void rig_free(struct rig *r)
{
    client_core_destroy(r->core);
    catalog_destroy(r->catalog);
    ledger_close(&r->ledger);
    free(r->log);
    free(r->held);
    free(r);
}
