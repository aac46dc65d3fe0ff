/* The leader: what it emits, and how it sequences what it is sent. */
#include "rig.h"

uint64_t rig_tip(const struct rig *r)
{
    return r->log_count == 0 ? 0 : batch_end_seq(&r->log[r->log_count - 1].header) - 1;
}

static void follow_own(struct rig *r, struct rig_batch *b)
{
    struct batch_cursor cursor = batch_begin(b->bytes, &b->header);
    struct message m;
    while (batch_next(&cursor, &m)) {
        MUST(ledger_apply(&r->ledger, &m));
        enum catalog_verdict v = catalog_apply(r->catalog, &m, &b->header);
        MUST(v == CATALOG_OK || v == CATALOG_IGNORED);
    }
}

uint64_t rig_emit(struct rig *r, uint32_t topic, uint32_t publisher, uint64_t number, uint8_t flags,
                  const void *payload, size_t length)
{
    MUST(r->log_count < RIG_LOG_MAX);
    struct rig_batch *out = &r->log[r->log_count];
    struct batch_builder b;
    batch_open(&b, out->bytes, WIRE_DATAGRAM_DEFAULT, rig_tip(r) + 1);
    uint64_t seq = batch_add(&b, topic, publisher, number, flags, payload, (uint32_t)length);
    struct batch_header header = { .stream = RIG_STREAM,
                                   .before = r->digest,
                                   .epoch = r->epoch,
                                   .timestamp_ns = r->timestamp_ns,
                                   .stable = r->is_volatile ? 0 : r->stable };
    batch_close(&b, 0, &header);
    MUST(batch_verify(out->bytes, b.length, RIG_STREAM, &out->header) == WIRE_OK);
    r->log_count++;
    r->digest = out->header.digest;
    follow_own(r, out);
    if (!r->hold_stable && !r->is_volatile)
        r->stable = rig_tip(r);
    return seq;
}

static void emit_genesis(struct rig *r)
{
    struct sys_genesis g = { .stream = RIG_STREAM,
                             .created_ns = r->timestamp_ns,
                             .protocol_version = WIRE_VERSION,
                             .is_volatile = r->is_volatile,
                             .members = { .seq = 1 } };
    memcpy(g.admin_key, r->admin.public, sizeof g.admin_key);
    if (!r->is_volatile) {
        g.members.count = 1;
        g.members.stores[0] = 77;
    }
    struct rig_batch *b = &r->log[0];
    size_t length = genesis_batch(&g, b->bytes, sizeof b->bytes);
    MUST(batch_verify(b->bytes, length, RIG_STREAM, &b->header) == WIRE_OK);
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
    MUST(length > 0);
    r->epoch = e.epoch;
    rig_emit(r, TOPIC_EPOCH, 0, 0, 0, payload, length);
}

void rig_leader_begin(struct rig *r);
void rig_leader_begin(struct rig *r)
{
    emit_genesis(r);
    emit_epoch(r);
}

void rig_fork(struct rig *r, uint64_t seq)
{
    uint32_t keep = 0;
    while (keep < r->log_count && batch_end_seq(&r->log[keep].header) - 1 <= seq)
        keep++;
    r->log_count = keep;
    for (uint32_t i = 0; i < RIG_PUBLISHERS_MAX; i++)
        r->generations[i]++;
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

/* ---- what is asked of it --------------------------------------------------------------------- */

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
    MUST(j.publisher < RIG_PUBLISHERS_MAX);
    r->generations[j.publisher]++;
    uint8_t payload[SYS_PAYLOAD_MAX];
    size_t length = sys_join_encode(&j, payload, sizeof payload);
    MUST(length > 0);
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

static void by_admin(struct rig *r, uint32_t topic, const uint8_t *payload, size_t length)
{
    char key[ACCESS_KEY_TEXT + 1], identity[IDENTITY_MAX + 1];
    access_key_write(r->admin.public, key);
    snprintf(identity, sizeof identity, "@%s:admin", key);
    uint32_t id = catalog_publisher_find(r->catalog, identity);
    if (id == 0)
        id = rig_join(r, identity, 1);
    MUST(length > 0);
    rig_emit(r, topic, id, ledger_next(&r->ledger, id), 0, payload, length);
}

static void grant(struct rig *r, const struct rig_key *key, uint8_t rights, const char *subtree,
                  bool revoke)
{
    struct sys_grant g = { .revoke = revoke,
                           .rights = rights,
                           .whom = { .who = key != NULL ? ACCESS_KEY : ACCESS_ANYONE } };
    if (key != NULL)
        memcpy(g.whom.key, key->public, sizeof g.whom.key);
    snprintf(g.subtree, sizeof g.subtree, "%s", subtree);
    uint8_t payload[SYS_ACCESS_SIZE_MAX];
    by_admin(r, TOPIC_GRANT, payload, sys_grant_encode(&g, payload, sizeof payload));
}

void rig_grant(struct rig *r, const struct rig_key *key, uint8_t rights, const char *subtree)
{
    grant(r, key, rights, subtree, false);
}

void rig_revoke(struct rig *r, const struct rig_key *key, uint8_t rights, const char *subtree)
{
    grant(r, key, rights, subtree, true);
}

void rig_limit(struct rig *r, const struct limit_whom *whom, const struct limit *limit)
{
    struct sys_limit l = { .whom = *whom, .limit = *limit };
    uint8_t payload[SYS_ACCESS_SIZE_MAX];
    by_admin(r, TOPIC_LIMIT, payload, sys_limit_encode(&l, payload, sizeof payload));
}

/* ---- what the proxy sent --------------------------------------------------------------------- */

static void on_join(struct rig *r, const struct rig_sent *d)
{
    struct join j;
    MUST(join_decode(d->bytes, d->length, RIG_STREAM, &j) == WIRE_OK);
    r->joins++;
    uint32_t id = catalog_publisher_find(r->catalog, j.identity);
    uint32_t current = id != 0 ? catalog_publisher(r->catalog, id)->incarnation : 0;
    if (j.wanted == current + 1)
        rig_join(r, j.identity, j.nonce);
}

static void on_create(struct rig *r, const struct rig_sent *d)
{
    struct create c;
    MUST(create_decode(d->bytes, d->length, RIG_STREAM, &c) == WIRE_OK);
    r->creates++;
    if (catalog_refuses_topic(r->catalog, c.publisher, c.path, strlen(c.path)) == 0)
        rig_topic(r, c.path);
}

static void reject(struct rig *r, const struct proposal_entry *e, uint32_t publisher,
                   uint64_t number, uint32_t count, uint8_t reason)
{
    struct sys_reject j = { .reason = reason, .topic = e->topic, .count = count };
    uint8_t payload[SYS_PAYLOAD_MAX];
    size_t length = sys_reject_encode(&j, payload, sizeof payload);
    MUST(length > 0);
    r->rejects++;
    rig_emit(r, TOPIC_REJECT, publisher, number, 0, payload, length);
}

static struct rig_fragment *held(struct rig *r, uint32_t publisher, uint64_t number)
{
    MUST(publisher < RIG_PUBLISHERS_MAX);
    struct rig_fragment *f = &r->held[publisher * RIG_WINDOW + number % RIG_WINDOW];
    return f->number == number && f->generation == r->generations[publisher] ? f : NULL;
}

static uint8_t refusal_of(const struct rig *r, const struct rig_fragment *f, uint32_t publisher)
{
    uint8_t reason = (uint8_t)catalog_refuses(r->catalog, publisher, f->e.topic);
    if (reason == 0 && f->e.topic < TOPIC_FIRST_USER)
        reason =
            (uint8_t)catalog_refuses_sys(r->catalog, publisher, f->e.topic, f->bytes, f->e.length);
    if (reason == 0 && f->e.conditional &&
        ledger_last_seq(&r->ledger, f->e.condition_topic) > f->e.after_seq)
        reason = REJECT_CONDITION;
    return reason;
}

static bool sequence_next(struct rig *r, uint32_t publisher)
{
    uint64_t first = ledger_next(&r->ledger, publisher), end = first;
    const struct rig_fragment *f;
    do {
        f = held(r, publisher, end++);
    } while (f != NULL && (f->e.flags & MESSAGE_MORE) != 0);
    if (f == NULL)
        return false;
    f = held(r, publisher, first);
    uint8_t reason = refusal_of(r, f, publisher);
    if (reason != 0) {
        reject(r, &f->e, publisher, first, (uint32_t)(end - first), reason);
        return true;
    }
    for (; first < end; first++) {
        f = held(r, publisher, first);
        rig_emit(r, f->e.topic, publisher, first, f->e.flags, f->bytes, f->e.length);
    }
    return true;
}

static void on_proposals(struct rig *r, const struct rig_sent *d)
{
    struct proposal_header h;
    MUST(proposal_decode(d->bytes, d->length, RIG_STREAM, &h) == WIRE_OK);
    const struct catalog_publisher *p = catalog_publisher(r->catalog, h.publisher);
    if (h.publisher >= catalog_publisher_end(r->catalog) || p->incarnation != h.incarnation ||
        !epoch_table_has(catalog_epochs(r->catalog), rig_tip(r), h.position))
        return;
    struct proposal_cursor cursor = proposal_begin(d->bytes, &h);
    struct proposal_entry e;
    uint64_t number = h.first_publisher_seq, next = ledger_next(&r->ledger, h.publisher);
    for (; proposal_next(&cursor, &e); number++) {
        r->proposals++;
        if (number < next || number >= next + RIG_WINDOW)
            continue;
        if (held(r, h.publisher, number) == NULL && r->order_count < RIG_LOG_MAX)
            r->order[r->order_count++] = h.publisher;
        struct rig_fragment *f = &r->held[h.publisher * RIG_WINDOW + number % RIG_WINDOW];
        *f = (struct rig_fragment) { .number = number,
                                     .generation = r->generations[h.publisher],
                                     .e = e };
        memcpy(f->bytes, e.payload, e.length);
    }
    while (sequence_next(r, h.publisher)) {
    }
}

void rig_leader_hears(struct rig *r);
void rig_leader_hears(struct rig *r)
{
    uint32_t count = r->sent_count;
    for (uint32_t i = 0; i < count && !r->deaf; i++) {
        const struct rig_sent *d = &r->sent[i];
        if (d->bytes[3] == WIRE_JOIN)
            on_join(r, d);
        else if (d->bytes[3] == WIRE_CREATE)
            on_create(r, d);
        else if (d->bytes[3] == WIRE_PROPOSAL)
            on_proposals(r, d);
    }
    r->sent_count = 0;
}

/* ---- to the proxy ---------------------------------------------------------------------------- */

static void feed(struct rig *r, const uint8_t *bytes, uint32_t length)
{
    struct port_datagram d = {
        .bytes = bytes, .length = length, .from = { RIG_HERE, 5000 }, .channel = PORT_EGRESS_A
    };
    proxy_participant.on_datagrams(r->proxy, &d, 1, r->now);
}

void rig_leader_delivers(struct rig *r);
void rig_leader_delivers(struct rig *r)
{
    for (; r->log_delivered < r->log_count; r->log_delivered++) {
        const struct rig_batch *b = &r->log[r->log_delivered];
        feed(r, b->bytes, b->header.length);
    }
    const struct epoch_table *t = catalog_epochs(r->catalog);
    struct heartbeat h = { .epoch = r->epoch,
                           .next_seq = rig_tip(r) + 1,
                           .digest = r->digest,
                           .stable = r->is_volatile ? 0 : r->stable,
                           .time_ns = r->timestamp_ns,
                           .epoch_first_seq = t->entries[t->count - 1].first_seq };
    uint8_t bytes[SIGNAL_SIZE_MAX];
    size_t length = heartbeat_encode(&h, RIG_STREAM, bytes, sizeof bytes);
    MUST(length > 0);
    feed(r, bytes, (uint32_t)length);
}
