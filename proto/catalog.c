#include "proto/catalog.h"

#include <stddef.h>
#include <stdlib.h>

#include "proto/catalog_private.h"
#include "proto/hash.h"

/* ---- memory ---------------------------------------------------------------------------------- */

static uint32_t clamp_option(uint32_t value, uint32_t otherwise, uint32_t low, uint32_t high)
{
    if (value == 0)
        return otherwise;
    if (value < low)
        return low;
    return value < high ? value : high;
}

struct catalog_options catalog_options_resolve(const struct catalog_options *options)
{
    struct catalog_options o = { 0 };
    if (options != NULL)
        o = *options;
    o.topics_max =
        clamp_option(o.topics_max, CATALOG_TOPICS_DEFAULT, TOPIC_FIRST_USER + 1, TOPIC_ID_MAX + 1);
    o.publishers_max =
        clamp_option(o.publishers_max, CATALOG_PUBLISHERS_DEFAULT, 2, PUBLISHER_ID_MAX + 1);
    return o;
}

static uint32_t slots_for(uint32_t entries)
{
    uint32_t slots = 64;
    while (slots < 2 * entries)
        slots *= 2;
    return slots;
}

static size_t align_up(size_t size)
{
    return (size + 63) & ~(size_t)63;
}

static struct layout layout_of(struct catalog_options o)
{
    struct layout l;
    l.topic_slots = slots_for(o.topics_max);
    l.publisher_slots = slots_for(o.publishers_max);
    l.path_bytes_max = o.topics_max * CATALOG_PATH_BYTES;
    l.topics = align_up(sizeof(struct catalog));
    l.regions = align_up(l.topics + o.topics_max * sizeof(struct topic_entry));
    l.topic_index = align_up(l.regions + o.topics_max * sizeof(uint16_t));
    l.publishers = align_up(l.topic_index + l.topic_slots * sizeof(uint32_t));
    l.publisher_index =
        align_up(l.publishers + o.publishers_max * sizeof(struct catalog_publisher));
    l.paths = align_up(l.publisher_index + l.publisher_slots * sizeof(uint32_t));
    l.access = align_up(l.paths + l.path_bytes_max);
    l.limits = align_up(l.access + access_memory(NULL));
    l.size = align_up(l.limits + limits_memory());
    return l;
}

static const struct topic_entry *topics_of(const struct catalog *c)
{
    return catalog_table_of(c, c->layout.topics);
}

static const uint16_t *regions_of(const struct catalog *c)
{
    return catalog_table_of(c, c->layout.regions);
}

static const struct catalog_publisher *publishers_of(const struct catalog *c)
{
    return catalog_table_of(c, c->layout.publishers);
}

static const char *paths_of(const struct catalog *c)
{
    return catalog_table_of(c, c->layout.paths);
}

size_t catalog_memory(const struct catalog_options *options)
{
    return layout_of(catalog_options_resolve(options)).size;
}

enum { FRESH_PAGES_MIN = 8 << 20 };

static void add_topic(struct catalog *c, uint32_t id, const char *path, size_t length);

/* The rest of the state as it is before the first message, over tables that are all zeros. */
static void begin_state(struct catalog *c)
{
    c->topic_end = TOPIC_FIRST_USER;
    c->publisher_end = 1;
    for (uint32_t id = 1; id < TOPIC_FIRST_USER; id++) {
        const char *path = topic_fixed_path(id);
        if (path != NULL)
            add_topic(c, id, path, strlen(path));
    }
}

struct catalog *catalog_create(const struct catalog_options *options)
{
    struct catalog_options o = catalog_options_resolve(options);
    struct layout l = layout_of(o);
    /* A large one is pages that are zero and cost nothing until they are touched; of a small one only what
     * must be zero is written. */
    bool fresh = l.size >= FRESH_PAGES_MIN;
    struct catalog *c = fresh ? calloc(1, l.size) : malloc(l.size);
    if (c == NULL)
        return NULL;
    if (!fresh) {
        memset(c, 0, offsetof(struct catalog, epochs) + offsetof(struct epoch_table, entries));
        memset(catalog_table(c, l.topics), 0, l.access - l.topics);
    }
    c->options = o;
    c->layout = l;
    (void)access_place(catalog_access_table(c), NULL);
    (void)limits_place(catalog_limits_table(c));
    begin_state(c);
    return c;
}

void catalog_destroy(struct catalog *c)
{
    free(c);
}

void catalog_reset(struct catalog *c)
{
    struct catalog_options o = c->options;
    struct layout l = c->layout;
    memset(c, 0, offsetof(struct catalog, epochs) + offsetof(struct epoch_table, entries));
    memset(catalog_table(c, l.topics), 0, o.topics_max * sizeof(struct topic_entry));
    memset(catalog_table(c, l.regions), 0, o.topics_max * sizeof(uint16_t));
    memset(catalog_table(c, l.topic_index), 0, l.topic_slots * sizeof(uint32_t));
    memset(catalog_table(c, l.publisher_index), 0, l.publisher_slots * sizeof(uint32_t));
    c->options = o;
    c->layout = l;
    static const uint8_t no_key[ACCESS_KEY_SIZE];
    access_reset(catalog_access_table(c), no_key);
    limits_reset(catalog_limits_table(c));
    begin_state(c);
}

void catalog_copy(struct catalog *to, const struct catalog *from)
{
    const struct layout *l = &from->layout;
    assert(to->options.topics_max == from->options.topics_max &&
           to->options.publishers_max == from->options.publishers_max);
    memcpy(to, from, sizeof *to);
    memcpy(catalog_table(to, l->topics), topics_of(from),
           from->topic_end * sizeof(struct topic_entry));
    memcpy(catalog_table(to, l->regions), regions_of(from), from->topic_end * sizeof(uint16_t));
    memcpy(catalog_table(to, l->topic_index), catalog_table_of(from, l->topic_index),
           l->topic_slots * sizeof(uint32_t));
    memcpy(catalog_table(to, l->publishers), publishers_of(from),
           from->publisher_end * sizeof(struct catalog_publisher));
    memcpy(catalog_table(to, l->publisher_index), catalog_table_of(from, l->publisher_index),
           l->publisher_slots * sizeof(uint32_t));
    memcpy(catalog_table(to, l->paths), paths_of(from), from->path_bytes);
    access_copy(catalog_access_table(to), catalog_access(from));
    limits_copy(catalog_limits_table(to), catalog_limits(from));
}

/* ---- topics ---------------------------------------------------------------------------------- */

/* The slot of this path: where it is, or where it would go. */
static uint32_t topic_slot(const struct catalog *c, const char *path, size_t length)
{
    const uint32_t *index = catalog_table_of(c, c->layout.topic_index);
    uint32_t mask = c->layout.topic_slots - 1;
    uint32_t slot = (uint32_t)hash64(path, length, 0) & mask;
    while (index[slot] != 0) {
        const struct topic_entry *entry = &topics_of(c)[index[slot]];
        if (entry->path_length == length && memcmp(paths_of(c) + entry->path_at, path, length) == 0)
            break;
        slot = (slot + 1) & mask;
    }
    return slot;
}

static void add_topic(struct catalog *c, uint32_t id, const char *path, size_t length)
{
    uint32_t *index = catalog_table(c, c->layout.topic_index);
    struct topic_entry *topics = catalog_table(c, c->layout.topics);
    char *paths = catalog_table(c, c->layout.paths);
    index[topic_slot(c, path, length)] = id;
    topics[id] = (struct topic_entry) { .path_at = c->path_bytes, .path_length = (uint32_t)length };
    uint16_t *regions = catalog_table(c, c->layout.regions);
    regions[id] = (uint16_t)access_region_of(catalog_access(c), path, length);
    memcpy(paths + c->path_bytes, path, length);
    paths[c->path_bytes + length] = '\0'; /* apps are handed it as a string */
    c->path_bytes += (uint32_t)length + 1;
}

uint32_t catalog_topic_end(const struct catalog *c)
{
    return c->topic_end;
}

uint32_t catalog_topic_find(const struct catalog *c, const char *path, size_t length)
{
    const uint32_t *index = catalog_table_of(c, c->layout.topic_index);
    return length == 0 ? 0 : index[topic_slot(c, path, length)];
}

bool catalog_topic_exists(const struct catalog *c, uint32_t id)
{
    return id < c->topic_end && topics_of(c)[id].path_length > 0;
}

const char *catalog_topic_path(const struct catalog *c, uint32_t id, size_t *length)
{
    if (!catalog_topic_exists(c, id))
        return NULL;
    *length = topics_of(c)[id].path_length;
    return paths_of(c) + topics_of(c)[id].path_at;
}

static enum catalog_verdict apply_topic(struct catalog *c, const struct message *m)
{
    /* The bytes of a path and those of a payload are the same bytes. */
    const char *path = (const char *)m->payload;
    enum reject_reason refusal = catalog_refuses_topic(c, m->publisher, path, m->length);
    if (refusal == REJECT_FULL)
        return CATALOG_FULL;
    if (refusal != 0)
        return CATALOG_MALFORMED;
    if (catalog_topic_find(c, path, m->length) == 0)
        add_topic(c, c->topic_end++, path, m->length);
    return CATALOG_OK;
}

/* ---- publishers ------------------------------------------------------------------------------ */

static uint32_t publisher_slot(const struct catalog *c, const char *identity)
{
    const uint32_t *index = catalog_table_of(c, c->layout.publisher_index);
    uint32_t mask = c->layout.publisher_slots - 1;
    uint32_t slot = (uint32_t)hash64(identity, strlen(identity), 0) & mask;
    while (index[slot] != 0 && strcmp(publishers_of(c)[index[slot]].identity, identity) != 0)
        slot = (slot + 1) & mask;
    return slot;
}

uint32_t catalog_publisher_end(const struct catalog *c)
{
    return c->publisher_end;
}

uint32_t catalog_publisher_find(const struct catalog *c, const char *identity)
{
    const uint32_t *index = catalog_table_of(c, c->layout.publisher_index);
    return index[publisher_slot(c, identity)];
}

const struct catalog_publisher *catalog_publisher(const struct catalog *c, uint32_t id)
{
    return id > 0 && id < c->publisher_end ? &publishers_of(c)[id] : NULL;
}

static enum catalog_verdict apply_join(struct catalog *c, const struct message *m)
{
    struct sys_join join;
    if (!sys_join_decode(m->payload, m->length, &join))
        return CATALOG_MALFORMED;
    struct catalog_publisher *publishers = catalog_table(c, c->layout.publishers);
    uint32_t *index = catalog_table(c, c->layout.publisher_index);
    uint32_t slot = publisher_slot(c, join.identity);
    uint32_t id = index[slot];
    if (id == 0) {
        if (join.publisher != c->publisher_end || join.incarnation != 1)
            return CATALOG_MALFORMED;
        if (c->publisher_end == c->options.publishers_max)
            return CATALOG_FULL;
        id = c->publisher_end++;
        index[slot] = id;
        memcpy(publishers[id].identity, join.identity, sizeof join.identity);
        catalog_set_principal(c, &publishers[id]);
    } else if (join.publisher != id || join.incarnation != publishers[id].incarnation + 1) {
        return CATALOG_MALFORMED;
    }
    publishers[id].nonce = join.nonce;
    publishers[id].join_seq = m->seq;
    publishers[id].incarnation = join.incarnation;
    return CATALOG_OK;
}

/* ---- genesis, epochs, sessions, members ------------------------------------------------------ */

static enum catalog_verdict apply_genesis(struct catalog *c, const struct message *m,
                                          const struct batch_header *batch)
{
    const struct digest zero = { 0, 0 };
    const struct epoch first = { 0, 0 };
    struct sys_genesis genesis;
    if (m->seq != 1 || c->has_genesis || !epoch_equal(batch->epoch, first) ||
        !digest_equal(batch->before, zero) ||
        !sys_genesis_decode(m->payload, m->length, &genesis) || genesis.stream != batch->stream)
        return CATALOG_MALFORMED;
    if (genesis.protocol_version != WIRE_VERSION)
        return CATALOG_OTHER_PROTOCOL;
    c->genesis = genesis;
    c->members = genesis.members;
    c->has_genesis = true;
    access_reset(catalog_access_table(c), genesis.admin_key);
    epoch_table_append(&c->epochs, (struct epoch_entry) { .epoch = first, .first_seq = 1 });
    return CATALOG_OK;
}

static enum catalog_verdict apply_epoch(struct catalog *c, const struct message *m,
                                        const struct batch_header *batch)
{
    struct sys_epoch record;
    if (m->seq != batch->first_seq || !sys_epoch_decode(m->payload, m->length, &record) ||
        !epoch_equal(record.epoch, batch->epoch) || record.adopted.seq != m->seq - 1 ||
        !digest_equal(record.digest, batch->before) ||
        !epoch_table_has(&c->epochs, m->seq - 1, record.adopted))
        return CATALOG_MALFORMED;
    if (c->epochs.count == EPOCH_TABLE_MAX)
        return CATALOG_FULL;
    struct epoch_entry entry = { .epoch = batch->epoch,
                                 .first_seq = m->seq,
                                 .before = batch->before };
    return epoch_table_append(&c->epochs, entry) ? CATALOG_OK : CATALOG_MALFORMED;
}

static enum catalog_verdict apply_session(struct catalog *c, const struct message *m)
{
    struct sys_session record;
    if (!sys_session_decode(m->payload, m->length, &record))
        return CATALOG_MALFORMED;
    if (record.protocol_version != WIRE_VERSION || record.protocol_digest != protocol_digest())
        return CATALOG_OTHER_PROTOCOL;
    if (record.catalog_digest != catalog_digest(c))
        return CATALOG_DIVERGED;
    memcpy(c->session, record.name, sizeof record.name);
    c->session_seq = m->seq;
    return CATALOG_OK;
}

static enum catalog_verdict apply_member(struct catalog *c, const struct message *m)
{
    struct membership members;
    if (!c->has_genesis || c->genesis.is_volatile ||
        !sys_member_decode(m->payload, m->length, &members) || members.seq != m->seq)
        return CATALOG_MALFORMED;
    c->members = members;
    return CATALOG_OK;
}

static enum catalog_verdict apply_words(struct catalog *c, const struct message *m)
{
    struct sys_words words;
    if (!c->has_genesis || c->genesis.is_volatile ||
        !sys_words_decode(m->payload, m->length, &words))
        return CATALOG_MALFORMED;
    c->words = words;
    return CATALOG_OK;
}

enum catalog_verdict catalog_apply_sys(struct catalog *c, const struct message *m,
                                       const struct batch_header *batch)
{
    if (m->topic == TOPIC_REJECT || m->topic == TOPIC_CLOCK)
        return CATALOG_IGNORED;
    bool of_publishers =
        m->topic == TOPIC_TOPIC || (m->topic >= TOPIC_GRANT && m->topic <= TOPIC_EDGE);
    if (m->flags != 0 || (m->publisher != 0 && !of_publishers))
        return CATALOG_MALFORMED;
    switch (m->topic) {
    case TOPIC_GENESIS:
        return apply_genesis(c, m, batch);
    case TOPIC_EPOCH:
        return apply_epoch(c, m, batch);
    case TOPIC_SESSION:
        return apply_session(c, m);
    case TOPIC_JOIN:
        return apply_join(c, m);
    case TOPIC_TOPIC:
        return apply_topic(c, m);
    case TOPIC_MEMBER:
        return apply_member(c, m);
    case TOPIC_WORD:
        return apply_words(c, m);
    case TOPIC_GRANT:
    case TOPIC_GROUP:
    case TOPIC_LIMIT:
        return catalog_apply_access(c, m);
    case TOPIC_EDGE:
        return catalog_apply_presence(c, m, batch);
    default: /* ids that later versions may give a meaning */
        return CATALOG_IGNORED;
    }
}

const struct sys_genesis *catalog_genesis(const struct catalog *c)
{
    return c->has_genesis ? &c->genesis : NULL;
}

const struct epoch_table *catalog_epochs(const struct catalog *c)
{
    return &c->epochs;
}

const struct membership *catalog_members(const struct catalog *c)
{
    return &c->members;
}

const struct sys_words *catalog_words(const struct catalog *c)
{
    return &c->words;
}

const char *catalog_session(const struct catalog *c)
{
    return c->session;
}

uint64_t catalog_session_seq(const struct catalog *c)
{
    return c->session_seq;
}

/* ---- digest ---------------------------------------------------------------------------------- */

/* Each piece is encoded by field and hashed with the digest so far as its seed: neither padding nor
 * addresses nor table sizes enter. */
static uint64_t fold(uint64_t digest, const struct wire_writer *w)
{
    assert(!w->failed);
    return hash64(w->begin, wire_written(w), digest);
}

static uint64_t digest_head(const struct catalog *c)
{
    uint8_t bytes[2 * SYS_PAYLOAD_MAX];
    struct wire_writer w = wire_writer_of(bytes, sizeof bytes);
    wire_put8(&w, c->has_genesis);
    if (c->has_genesis) {
        wire_put64(&w, c->genesis.stream);
        wire_put64(&w, c->genesis.created_ns);
        wire_put32(&w, c->genesis.protocol_version);
        wire_put8(&w, c->genesis.is_volatile);
        wire_put_bytes(&w, c->genesis.admin_key, sizeof c->genesis.admin_key);
        membership_put(&w, &c->genesis.members);
    }
    membership_put(&w, &c->members);
    wire_put8(&w, (uint8_t)c->words.count);
    for (uint32_t i = 0; i < c->words.count; i++) {
        wire_put64(&w, c->words.words[i].store);
        wire_put64(&w, c->words.words[i].run);
        word_put(&w, &c->words.words[i].word);
    }
    wire_put64(&w, c->session_seq);
    wire_put_string(&w, c->session);
    wire_put32(&w, c->epochs.count);
    wire_put32(&w, c->topic_end);
    wire_put32(&w, c->publisher_end);
    return fold(0, &w);
}

uint64_t catalog_digest(const struct catalog *c)
{
    uint8_t bytes[128];
    uint64_t digest = digest_head(c);
    for (uint32_t i = 0; i < c->epochs.count; i++) {
        const struct epoch_entry *entry = &c->epochs.entries[i];
        struct wire_writer w = wire_writer_of(bytes, sizeof bytes);
        wire_put_epoch(&w, entry->epoch);
        wire_put64(&w, entry->first_seq);
        wire_put_digest(&w, entry->before);
        digest = fold(digest, &w);
    }
    for (uint32_t id = TOPIC_FIRST_USER; id < c->topic_end; id++) {
        const struct topic_entry *entry = &topics_of(c)[id];
        digest = hash64(paths_of(c) + entry->path_at, entry->path_length, digest);
    }
    for (uint32_t id = 1; id < c->publisher_end; id++) {
        const struct catalog_publisher *p = &publishers_of(c)[id];
        struct wire_writer w = wire_writer_of(bytes, sizeof bytes);
        wire_put64(&w, p->nonce);
        wire_put64(&w, p->join_seq);
        wire_put32(&w, p->incarnation);
        wire_put_string(&w, p->identity);
        digest = fold(digest, &w);
    }
    digest = access_digest(catalog_access(c), digest);
    digest = limits_digest(catalog_limits(c), digest);
    for (uint32_t i = 0; i < c->presence.count; i++) {
        struct wire_writer w = wire_writer_of(bytes, sizeof bytes);
        wire_put32(&w, c->presence.all[i].publisher);
        wire_put64(&w, c->presence.all[i].until_ns);
        digest = fold(digest, &w);
    }
    return digest;
}
