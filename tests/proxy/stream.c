#include "stream.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCHES_MAX = 100000, MESSAGES_MAX = 400000, LARGE = 40000, FEW_FOR = 300 };

uint32_t stream_draw(struct stream *s, uint32_t below)
{
    s->random = s->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(s->random >> 33) % below;
}

/* ---- a batch --------------------------------------------------------------------------------- */

struct draft {
    struct batch_builder builder;
    uint8_t bytes[STREAM_BATCH_MAX];
};

static void begin(struct stream *s, struct draft *d)
{
    batch_open(&d->builder, d->bytes, sizeof d->bytes, s->next_seq);
}

static uint32_t rights_of(const struct stream *s, uint32_t topic)
{
    uint32_t may = 0;
    for (uint32_t p = 0; p < STREAM_PRINCIPALS; p++)
        if (p < access_principal_end(catalog_access(s->catalog)) && stream_may_read(s, p, topic))
            may |= 1u << p;
    return may;
}

static void keep_message(struct stream *s, const struct run_message *m, uint64_t stable)
{
    assert(s->message_count < MESSAGES_MAX);
    struct stream_message *to = &s->messages[s->message_count++];
    *to = (struct stream_message) { .whole = *m, .stable = stable, .epoch = s->epoch };
    to->payload = malloc(m->message.length + 1);
    assert(to->payload != NULL);
    if (m->message.length > 0)
        memcpy(to->payload, m->message.payload, m->message.length);
    to->whole.message.payload = to->payload;
    to->may_read = rights_of(s, m->message.topic);
}

static void end(struct stream *s, struct draft *d, uint32_t *first)
{
    assert(d->builder.count > 0 && s->batch_count < BATCHES_MAX);
    struct batch_header header = { .stream = STREAM_ID,
                                   .before = s->digest,
                                   .epoch = s->epoch,
                                   .timestamp_ns = s->time_ns,
                                   .stable = s->stable };
    batch_close(&d->builder, 0, &header);
    struct stream_batch *b = &s->batches[s->batch_count++];
    b->header = header;
    b->bytes = malloc(header.length);
    assert(b->bytes != NULL);
    memcpy(b->bytes, d->bytes, header.length);
    s->next_seq = batch_end_seq(&header);
    s->digest = header.digest;
    *first = s->message_count;
    struct batch_cursor c = batch_begin(b->bytes, &header);
    struct message m;
    while (batch_next(&c, &m)) {
        const struct run_message *whole;
        enum catalog_verdict verdict = catalog_apply(s->catalog, &m, &header);
        assert(verdict == CATALOG_OK || verdict == CATALOG_IGNORED);
        uint32_t count = run_offer(&s->assembler, &m, &whole);
        for (uint32_t i = 0; i < count; i++)
            keep_message(s, &whole[i], header.stable);
    }
    s->open_parts = s->assembler.parts;
}

/* ---- what there is --------------------------------------------------------------------------- */

void stream_write_one(struct stream *s, uint32_t topic, uint32_t publisher, const void *payload,
                      uint32_t length, uint32_t *first)
{
    struct draft d;
    s->time_ns += 1000;
    begin(s, &d);
    uint64_t number = publisher != 0 ? ++s->publisher_seqs[publisher] : 0;
    batch_add(&d.builder, topic, publisher, number, 0, payload, length);
    end(s, &d, first);
}

static void write_epoch(struct stream *s, uint32_t *first)
{
    const struct epoch_table *t = catalog_epochs(s->catalog);
    uint32_t number = s->epoch.number + 1;
    if (s->dead.count > 0 && s->dead.entries[s->dead.count - 1].epoch.number >= number)
        number = s->dead.entries[s->dead.count - 1].epoch.number + 1;
    struct sys_epoch e = { .epoch = { .number = number, .candidate = 100 + number },
                           .adopted = { .epoch = s->epoch, .seq = s->next_seq - 1 },
                           .digest = s->digest,
                           .how = SYS_EPOCH_STARTED };
    e.entry_count = t->count < EPOCH_RECORD_ENTRIES ? t->count : EPOCH_RECORD_ENTRIES;
    memcpy(e.entries, &t->entries[t->count - e.entry_count], e.entry_count * sizeof e.entries[0]);
    uint8_t payload[SYS_PAYLOAD_MAX];
    size_t length = sys_epoch_encode(&e, payload, sizeof payload);
    assert(length > 0);
    s->epoch = e.epoch;
    stream_write_one(s, TOPIC_EPOCH, 0, payload, (uint32_t)length, first);
}

static void write_grant(struct stream *s, uint32_t *first)
{
    static const char *const subtrees[] = { "/a", "/b", "/b/x", "/c", "/", "/sys" };
    struct sys_grant g = { .rights = ACCESS_READ, .revoke = stream_draw(s, 2) == 0 };
    uint32_t who = stream_draw(s, 3);
    g.whom.who = who == 0 ? ACCESS_ANYONE : ACCESS_KEY;
    if (who > 0)
        memcpy(g.whom.key, s->keys[who - 1], ACCESS_KEY_SIZE);
    snprintf(g.subtree, sizeof g.subtree, "%s", subtrees[stream_draw(s, 6)]);
    if (who == 0 && g.subtree[1] == 0)
        g.subtree[1] = 'c', g.subtree[2] = 0;
    uint8_t payload[SYS_ACCESS_SIZE_MAX];
    size_t length = sys_grant_encode(&g, payload, sizeof payload);
    assert(length > 0);
    stream_write_one(s, TOPIC_GRANT, 1, payload, (uint32_t)length, first);
}

static void write_reject(struct stream *s, uint32_t *first)
{
    uint32_t publisher = 1 + stream_draw(s, STREAM_PUBLISHERS);
    struct sys_reject reject = { .reason = REJECT_NOT_PERMITTED,
                                 .topic = TOPIC_FIRST_USER,
                                 .count = 1 + stream_draw(s, 3) };
    uint8_t payload[64];
    size_t length = sys_reject_encode(&reject, payload, sizeof payload);
    assert(length > 0);
    stream_write_one(s, TOPIC_REJECT, publisher, payload, (uint32_t)length, first);
    s->publisher_seqs[publisher] += reject.count - 1;
}

static uint32_t user_topic(struct stream *s)
{
    if (s->few)
        return TOPIC_FIRST_USER +
               (uint32_t)(s->next_seq / FEW_FOR + stream_draw(s, 2)) % STREAM_TOPICS;
    uint32_t below = stream_draw(s, 3) == 0 ? 4 : STREAM_TOPICS;
    return TOPIC_FIRST_USER + stream_draw(s, below);
}

static uint32_t user(struct stream *s)
{
    uint32_t first = s->few ? (uint32_t)(s->next_seq / FEW_FOR) : stream_draw(s, STREAM_PUBLISHERS);
    return 1 + first % STREAM_PUBLISHERS;
}

/* A run that may take several batches; only this publisher's messages come until it ends. */
static void write_users(struct stream *s, uint32_t *first)
{
    static uint8_t payload[MESSAGE_PAYLOAD_MAX];
    struct draft d;
    uint32_t count = 1 + stream_draw(s, s->busy);
    uint32_t open = s->open_parts > 0 ? s->assembler.publisher : 0;
    bool joining = open != 0 && s->assembler.joining;
    uint32_t topic = joining ? s->assembler.messages[s->assembler.count - 1].message.topic : 0;
    begin(s, &d);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t publisher = open != 0 ? open : user(s);
        uint32_t length = stream_draw(s, s->large) == 0 ? stream_draw(s, 1200) : stream_draw(s, 60);
        if (!batch_fits(&d.builder, length))
            break;
        bool more = stream_draw(s, open != 0 ? 4 : 12) != 0 ? open != 0 : open == 0;
        if (s->assembler.parts + i > 200 || s->assembler.length > LARGE)
            more = false;
        uint8_t flags = more ? MESSAGE_MORE : 0;
        bool fragment = more && (joining ? stream_draw(s, 20) != 0 : stream_draw(s, 2) == 0);
        if (fragment)
            flags |= MESSAGE_FRAGMENT;
        if (!joining)
            topic = user_topic(s);
        memset(payload, (int)(s->next_seq + i), length);
        batch_add(&d.builder, topic, publisher, ++s->publisher_seqs[publisher], flags, payload,
                  length);
        open = more ? publisher : 0;
        joining = fragment;
    }
    if (d.builder.count > 0)
        end(s, &d, first);
    else
        *first = s->message_count;
}

void stream_write(struct stream *s, uint32_t *first)
{
    s->time_ns += stream_draw(s, 2000000);
    if (s->epoch_due) {
        s->epoch_due = false;
        write_epoch(s, first);
        return;
    }
    if (s->open_parts > 0) {
        if (stream_draw(s, 200) == 0)
            write_epoch(s, first); /* voids it */
        else
            write_users(s, first);
        return;
    }
    uint32_t what = stream_draw(s, 1000);
    if (what < 60)
        stream_write_one(s, TOPIC_CLOCK, 0, NULL, 0, first);
    else if (what < 70)
        write_reject(s, first);
    else if (what < 78 && !s->quiet_rights)
        write_grant(s, first);
    else if (what == 78)
        write_epoch(s, first);
    else
        write_users(s, first);
}

/* ---- beginning ------------------------------------------------------------------------------- */

static void write_names(struct stream *s)
{
    static const char *const roots[] = { "/a", "/b", "/b/x", "/b/xy", "/c/d" };
    uint32_t first;
    uint8_t payload[SYS_PAYLOAD_MAX];
    char admin[ACCESS_KEY_TEXT + 1];
    access_key_write(s->admin, admin);
    for (uint32_t i = 1; i <= STREAM_PUBLISHERS; i++) {
        struct sys_join join = { .nonce = i, .publisher = i, .incarnation = 1 };
        if (i == 1)
            snprintf(join.identity, sizeof join.identity, "@%s:cantus", admin);
        else
            snprintf(join.identity, sizeof join.identity, "p%u", i);
        size_t length = sys_join_encode(&join, payload, sizeof payload);
        stream_write_one(s, TOPIC_JOIN, 0, payload, (uint32_t)length, &first);
    }
    for (uint32_t i = 0; i < STREAM_TOPICS; i++) {
        char path[64];
        int length = snprintf(path, sizeof path, "%s/t%u", roots[i % 5], i);
        if (i == 7)
            length = snprintf(path, sizeof path, "/sys/digest/app");
        stream_write_one(s, TOPIC_TOPIC, 2, path, (uint32_t)length, &first);
    }
    for (uint32_t k = 0; k < 2; k++) { /* so that they are principals 2 and 3 on every history */
        struct sys_grant g = { .rights = ACCESS_READ,
                               .whom = { .who = ACCESS_KEY },
                               .subtree = "/a" };
        memcpy(g.whom.key, s->keys[k], ACCESS_KEY_SIZE);
        size_t length = sys_grant_encode(&g, payload, sizeof payload);
        stream_write_one(s, TOPIC_GRANT, 1, payload, (uint32_t)length, &first);
    }
}

struct stream *stream_new(uint64_t seed)
{
    struct stream *s = calloc(1, sizeof *s);
    assert(s != NULL);
    struct catalog_options options = { .topics_max = 1024, .publishers_max = 1024 };
    s->catalog = catalog_create(&options);
    s->saved = catalog_create(&options);
    s->batches = calloc(BATCHES_MAX, sizeof s->batches[0]);
    s->messages = calloc(MESSAGES_MAX, sizeof s->messages[0]);
    assert(s->catalog != NULL && s->saved != NULL && s->batches != NULL && s->messages != NULL &&
           run_init(&s->assembler, 0));
    s->random = seed;
    s->next_seq = 1;
    s->time_ns = 1000000000;
    s->busy = 20;
    s->large = 30;
    memset(s->admin, 7, sizeof s->admin);
    memset(s->keys[0], 8, sizeof s->keys[0]);
    memset(s->keys[1], 9, sizeof s->keys[1]);
    uint32_t first;
    uint8_t payload[SYS_PAYLOAD_MAX];
    struct sys_genesis g = { .stream = STREAM_ID,
                             .protocol_version = WIRE_VERSION,
                             .members = { .seq = 1, .count = 1, .stores = { 11 } } };
    memcpy(g.admin_key, s->admin, sizeof g.admin_key);
    size_t length = sys_genesis_encode(&g, payload, sizeof payload);
    stream_write_one(s, TOPIC_GENESIS, 0, payload, (uint32_t)length, &first);
    write_epoch(s, &first);
    write_names(s);
    return s;
}

void stream_free(struct stream *s)
{
    for (uint32_t i = 0; i < s->batch_count; i++)
        free(s->batches[i].bytes);
    for (uint32_t i = 0; i < s->message_count; i++)
        free(s->messages[i].payload);
    free(s->batches);
    free(s->messages);
    run_close(&s->assembler);
    catalog_destroy(s->catalog);
    catalog_destroy(s->saved);
    free(s);
}

/* ---- going back ------------------------------------------------------------------------------ */

bool stream_save(struct stream *s)
{
    if (s->open_parts > 0)
        return false;
    catalog_copy(s->saved, s->catalog);
    s->saved_seq = s->next_seq - 1;
    s->saved_time_ns = s->time_ns;
    memcpy(s->saved_publisher_seqs, s->publisher_seqs, sizeof s->publisher_seqs);
    s->saved_digest = s->digest;
    s->saved_epoch = s->epoch;
    s->saved_batches = s->batch_count;
    s->saved_messages = s->message_count;
    return true;
}

struct position stream_fork(struct stream *s)
{
    const struct epoch_table *t = catalog_epochs(s->catalog);
    for (uint32_t i = 0; i < t->count; i++)
        if (t->entries[i].first_seq > s->saved_seq)
            (void)epoch_table_append(&s->dead, t->entries[i]);
    while (s->batch_count > s->saved_batches)
        free(s->batches[--s->batch_count].bytes);
    while (s->message_count > s->saved_messages)
        free(s->messages[--s->message_count].payload);
    catalog_copy(s->catalog, s->saved);
    s->next_seq = s->saved_seq + 1;
    s->time_ns = s->saved_time_ns + 1000;
    memcpy(s->publisher_seqs, s->saved_publisher_seqs, sizeof s->publisher_seqs);
    s->digest = s->saved_digest;
    s->epoch = s->saved_epoch;
    s->open_parts = 0;
    run_reset(&s->assembler);
    struct position common = { .epoch = s->saved_epoch, .seq = s->saved_seq };
    s->saved_seq = 0;
    s->epoch_due = true;
    return common;
}

void stream_settle(struct stream *s)
{
    uint64_t limit = s->saved_seq != 0 ? s->saved_seq : s->next_seq - 1;
    if (limit > s->stable)
        s->stable += 1 + stream_draw(s, (uint32_t)(limit - s->stable));
}

/* ---- questions ------------------------------------------------------------------------------- */

bool stream_wants(const struct stream *s, uint32_t topic, const char *const *subtrees,
                  uint32_t count)
{
    size_t length;
    const char *path = catalog_topic_path(s->catalog, topic, &length);
    bool sys = path != NULL && topic_in_subtree(path, length, "/sys", 4);
    for (uint32_t i = 0; path != NULL && i < count; i++) {
        if (topic_in_subtree(path, length, subtrees[i], strlen(subtrees[i])) &&
            !(sys && subtrees[i][1] == 0))
            return true;
    }
    return false;
}

bool stream_may_read(const struct stream *s, uint32_t principal, uint32_t topic)
{
    size_t length;
    const char *path = catalog_topic_path(s->catalog, topic, &length);
    return path != NULL &&
           access_may_subtree(catalog_access(s->catalog), principal, ACCESS_READ, path, length);
}

uint32_t stream_index(const struct stream *s, uint64_t seq)
{
    uint32_t low = 0, high = s->message_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (s->messages[middle].whole.message.seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct position stream_position(const struct stream *s, uint64_t seq)
{
    const struct epoch_entry *e = epoch_table_find(catalog_epochs(s->catalog), seq);
    struct position p = { .seq = seq };
    if (e != NULL)
        p.epoch = e->epoch;
    return p;
}
