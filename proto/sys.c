#include "proto/sys.h"

#include "proto/batch.h"
#include "proto/hash.h"
#include "proto/topic.h"

/* ---- genesis --------------------------------------------------------------------------------- */

static bool genesis_valid(const struct sys_genesis *g)
{
    return g->stream != 0 && g->members.seq == 1 && g->is_volatile == (g->members.count == 0);
}

size_t sys_genesis_encode(const struct sys_genesis *in, uint8_t *out, size_t capacity)
{
    if (!genesis_valid(in))
        return 0;
    struct wire_writer w = wire_writer_of(out, capacity);
    wire_put64(&w, in->stream);
    wire_put64(&w, in->created_ns);
    wire_put32(&w, in->protocol_version);
    wire_put8(&w, in->is_volatile);
    wire_put_bytes(&w, in->admin_key, sizeof in->admin_key);
    membership_put(&w, &in->members);
    return wire_written(&w);
}

bool sys_genesis_decode(const uint8_t *payload, size_t length, struct sys_genesis *out)
{
    struct wire_reader r = wire_reader_of(payload, length);
    memset(out, 0, sizeof *out);
    out->stream = wire_get64(&r);
    out->created_ns = wire_get64(&r);
    out->protocol_version = wire_get32(&r);
    out->is_volatile = wire_get_bool(&r);
    const uint8_t *key = wire_get_bytes(&r, sizeof out->admin_key);
    if (key != NULL)
        memcpy(out->admin_key, key, sizeof out->admin_key);
    membership_get(&r, &out->members);
    return wire_reader_done(&r) && genesis_valid(out);
}

/* ---- epoch record ---------------------------------------------------------------------------- */

static bool epoch_valid(const struct sys_epoch *e)
{
    if (e->entry_count > EPOCH_RECORD_ENTRIES || e->how < SYS_EPOCH_STARTED ||
        e->how > SYS_EPOCH_LEASE || e->adopted.seq == 0 ||
        e->adopted.epoch.number >= e->epoch.number)
        return false;
    for (uint32_t i = 0; i < e->entry_count; i++) {
        const struct epoch_entry *entry = &e->entries[i];
        if (entry->first_seq == 0 || entry->first_seq > e->adopted.seq)
            return false;
        if (i > 0 && (entry->first_seq <= entry[-1].first_seq ||
                      entry->epoch.number <= entry[-1].epoch.number))
            return false;
    }
    return e->entry_count == 0 ||
           epoch_equal(e->entries[e->entry_count - 1].epoch, e->adopted.epoch);
}

size_t sys_epoch_encode(const struct sys_epoch *in, uint8_t *out, size_t capacity)
{
    if (!epoch_valid(in) || strlen(in->why) > WHY_MAX)
        return 0;
    struct wire_writer w = wire_writer_of(out, capacity);
    wire_put_epoch(&w, in->epoch);
    wire_put_position(&w, in->adopted);
    wire_put_digest(&w, in->digest);
    wire_put8(&w, in->how);
    wire_put_string(&w, in->why);
    wire_put8(&w, (uint8_t)in->entry_count);
    for (uint32_t i = 0; i < in->entry_count; i++) {
        wire_put_epoch(&w, in->entries[i].epoch);
        wire_put64(&w, in->entries[i].first_seq);
        wire_put_digest(&w, in->entries[i].before);
    }
    return wire_written(&w);
}

bool sys_epoch_decode(const uint8_t *payload, size_t length, struct sys_epoch *out)
{
    struct wire_reader r = wire_reader_of(payload, length);
    memset(out, 0, sizeof *out);
    out->epoch = wire_get_epoch(&r);
    out->adopted = wire_get_position(&r);
    out->digest = wire_get_digest(&r);
    out->how = wire_get8(&r);
    wire_get_string(&r, out->why, sizeof out->why);
    out->entry_count = wire_get8(&r);
    if (out->entry_count > EPOCH_RECORD_ENTRIES) {
        out->entry_count = 0;
        return false;
    }
    for (uint32_t i = 0; i < out->entry_count; i++) {
        out->entries[i].epoch = wire_get_epoch(&r);
        out->entries[i].first_seq = wire_get64(&r);
        out->entries[i].before = wire_get_digest(&r);
    }
    return wire_reader_done(&r) && epoch_valid(out);
}

/* ---- session, join, reject, member ----------------------------------------------------------- */

bool session_name_valid(const char *name)
{
    size_t length = strnlen(name, SESSION_NAME_MAX + 1);
    if (length == 0 || length > SESSION_NAME_MAX)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (name[i] < ' ' || name[i] > '~')
            return false;
    }
    return true;
}

size_t sys_session_encode(const struct sys_session *in, uint8_t *out, size_t capacity)
{
    if (!session_name_valid(in->name))
        return 0;
    struct wire_writer w = wire_writer_of(out, capacity);
    wire_put_string(&w, in->name);
    wire_put32(&w, in->protocol_version);
    wire_put64(&w, in->protocol_digest);
    wire_put64(&w, in->catalog_digest);
    return wire_written(&w);
}

bool sys_session_decode(const uint8_t *payload, size_t length, struct sys_session *out)
{
    struct wire_reader r = wire_reader_of(payload, length);
    memset(out, 0, sizeof *out);
    wire_get_string(&r, out->name, sizeof out->name);
    out->protocol_version = wire_get32(&r);
    out->protocol_digest = wire_get64(&r);
    out->catalog_digest = wire_get64(&r);
    return wire_reader_done(&r) && session_name_valid(out->name);
}

static bool sys_join_valid(const struct sys_join *j)
{
    return j->publisher > 0 && j->publisher <= PUBLISHER_ID_MAX && j->incarnation > 0 &&
           j->last_publisher_seq <= PUBLISHER_SEQ_MAX && identity_check(j->identity) == NULL;
}

size_t sys_join_encode(const struct sys_join *in, uint8_t *out, size_t capacity)
{
    if (!sys_join_valid(in))
        return 0;
    struct wire_writer w = wire_writer_of(out, capacity);
    wire_put64(&w, in->nonce);
    wire_put64(&w, in->last_publisher_seq);
    wire_put32(&w, in->publisher);
    wire_put32(&w, in->incarnation);
    wire_put_string(&w, in->identity);
    return wire_written(&w);
}

bool sys_join_decode(const uint8_t *payload, size_t length, struct sys_join *out)
{
    struct wire_reader r = wire_reader_of(payload, length);
    memset(out, 0, sizeof *out);
    out->nonce = wire_get64(&r);
    out->last_publisher_seq = wire_get64(&r);
    out->publisher = wire_get32(&r);
    out->incarnation = wire_get32(&r);
    wire_get_string(&r, out->identity, sizeof out->identity);
    return wire_reader_done(&r) && sys_join_valid(out);
}

static bool sys_reject_valid(const struct sys_reject *j)
{
    return j->reason > 0 && j->reason < REJECT_END && j->topic <= TOPIC_ID_MAX && j->count > 0;
}

size_t sys_reject_encode(const struct sys_reject *in, uint8_t *out, size_t capacity)
{
    if (!sys_reject_valid(in))
        return 0;
    struct wire_writer w = wire_writer_of(out, capacity);
    wire_put8(&w, in->reason);
    wire_put32(&w, in->topic);
    wire_put32(&w, in->count);
    wire_put64(&w, in->detail);
    return wire_written(&w);
}

bool sys_reject_decode(const uint8_t *payload, size_t length, struct sys_reject *out)
{
    struct wire_reader r = wire_reader_of(payload, length);
    memset(out, 0, sizeof *out);
    out->reason = wire_get8(&r);
    out->topic = wire_get32(&r);
    out->count = wire_get32(&r);
    out->detail = wire_get64(&r);
    return wire_reader_done(&r) && sys_reject_valid(out);
}

size_t sys_member_encode(const struct membership *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = wire_writer_of(out, capacity);
    membership_put(&w, in);
    return in->count == 0 ? 0 : wire_written(&w);
}

bool sys_member_decode(const uint8_t *payload, size_t length, struct membership *out)
{
    struct wire_reader r = wire_reader_of(payload, length);
    membership_get(&r, out);
    return wire_reader_done(&r) && out->count > 0;
}

static bool sys_words_valid(const struct sys_words *words)
{
    if (words->count == 0 || words->count > MEMBERS_MAX)
        return false;
    for (uint32_t i = 0; i < words->count; i++) {
        if (words->words[i].store == 0)
            return false;
        for (uint32_t j = 0; j < i; j++) {
            if (words->words[j].store == words->words[i].store)
                return false;
        }
    }
    return true;
}

size_t sys_words_encode(const struct sys_words *in, uint8_t *out, size_t capacity)
{
    if (!sys_words_valid(in))
        return 0;
    struct wire_writer w = wire_writer_of(out, capacity);
    wire_put8(&w, (uint8_t)in->count);
    for (uint32_t i = 0; i < in->count; i++) {
        wire_put64(&w, in->words[i].store);
        wire_put64(&w, in->words[i].run);
        word_put(&w, &in->words[i].word);
    }
    return wire_written(&w);
}

bool sys_words_decode(const uint8_t *payload, size_t length, struct sys_words *out)
{
    struct wire_reader r = wire_reader_of(payload, length);
    memset(out, 0, sizeof *out);
    out->count = wire_get8(&r);
    if (out->count > MEMBERS_MAX)
        return false;
    for (uint32_t i = 0; i < out->count; i++) {
        out->words[i].store = wire_get64(&r);
        out->words[i].run = wire_get64(&r);
        out->words[i].word = word_get(&r);
    }
    return wire_reader_done(&r) && sys_words_valid(out);
}

size_t sys_digest_encode(const struct sys_digest *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = wire_writer_of(out, capacity);
    wire_put32(&w, in->logic_version);
    wire_put_position(&w, in->position);
    wire_put64(&w, in->digest);
    wire_put64(&w, in->skips);
    return in->position.seq == 0 ? 0 : wire_written(&w);
}

bool sys_digest_decode(const uint8_t *payload, size_t length, struct sys_digest *out)
{
    struct wire_reader r = wire_reader_of(payload, length);
    out->logic_version = wire_get32(&r);
    out->position = wire_get_position(&r);
    out->digest = wire_get64(&r);
    out->skips = wire_get64(&r);
    return wire_reader_done(&r) && out->position.seq > 0;
}

const char *reject_reason_text(uint8_t reason)
{
    static const char *const texts[REJECT_END] = {
        [REJECT_NOT_PERMITTED] = "not permitted",
        [REJECT_CONDITION] = "precondition failed: the topic has something later",
        [REJECT_NO_TOPIC] = "no such topic",
        [REJECT_TOO_LARGE] = "too large",
        [REJECT_BAD_PATH] = "the topic's path is not well-formed",
        [REJECT_FULL] = "the catalog is full",
        [REJECT_MALFORMED] = "malformed: the parts of the run contradict each other",
    };
    return reason > 0 && reason < REJECT_END ? texts[reason] : "unknown reason";
}

/* ---- protocol -------------------------------------------------------------------------------- */

/* Every format in one line each, in the words of docs/wire.md. Whoever changes a format changes its
 * line, so that processes of different formats refuse each other at the session record. */
static const char protocol_description[] =
    "cantus 1 little-endian xxh3\n"
    "start: magic16=7443 version8 type8 length16 count16 stream64\n"
    "seed: first64 ^ second64*9e3779b97f4a7c15 of the start\n"
    "frame: start checksum64=xxh3_64(rest,seed) body\n"
    "epoch: number32 candidate64; position: epoch seq64; digest: low64 high64\n"
    "membership: seq64 quorum32 count8 store64*; string: length8 bytes\n"
    "batch 1: start digest=xxh3_128(rest,seed) before first_seq64 timestamp64 stable64 "
    "candidate64 number32 zero32 message* zeros\n"
    "message: length14 more1 fragment1 topic24 publisher24 number48 payload\n"
    "heartbeat 2: epoch next_seq64 digest stable64 time64 epoch_first_seq64\n"
    "proposal 3: publisher32 incarnation32 number64 position zero32 entry*\n"
    "entry: length14 more1 fragment1 topic24 condition8 [topic32 after64] payload\n"
    "join 4: nonce64 wanted32 identity\n"
    "hint 5: reason8 publisher32 incarnation32 next64 nonce64 epoch\n"
    "gap request 6: epoch first64 end64 nonce64\n"
    "gap refusal 7: reason8 first64 oldest64 end64 nonce64\n"
    "word: promised tail; run: id64 word\n"
    "ack 8: store64 run promised tail digest clock64 full8 settled8\n"
    "seal 9: epoch probe8\n"
    "promise 10: store64 run promised asked probe8 proven8 tail digest oldest64 clock64 leader_age64 "
    "ip32 port16 port16 membership\n"
    "create 11: nonce64 publisher32 path\n"
    "recall 12: store64 run64 epoch word\n"
    "genesis 1: stream64 created64 version32 volatile8 key32 membership\n"
    "epoch record 2: epoch adopted digest how8 why count8 (epoch first64 before)*\n"
    "session 3: name version32 protocol64 catalog64\n"
    "join record 4: nonce64 last64 publisher32 incarnation32 identity\n"
    "reject 5: reason8 topic32 count32 detail64\n"
    "topic 6: path; clock 7: empty; member 8: membership\n"
    "grant 9: revoke8 rights8 who8 (key32 | group)? subtree; group 10: remove8 group key32\n"
    "limit 11: remove8 who8 (key32 | subtree)? messages64 bytes64 burst32 topics32 "
    "subscriptions32 connections32 inflight64; edge 12: proxies', of which kind8=4 lasts32\n"
    "words 13: count8 (store64 run64 word)*\n"
    "below /sys/digest, publishers': logic_version32 position digest64 skips64\n"
    "replay: length32 type8 body; request 1: stream64 first64 end64 epoch; batch 2; vouch 3; "
    "end 4: reason8 oldest64 next64; status request 5; status 6\n";

uint64_t protocol_digest(void)
{
    return hash64(protocol_description, sizeof protocol_description - 1, WIRE_VERSION);
}

size_t genesis_batch(const struct sys_genesis *genesis, uint8_t *out, size_t capacity)
{
    uint8_t payload[SYS_PAYLOAD_MAX];
    size_t length = sys_genesis_encode(genesis, payload, sizeof payload);
    if (length == 0 || capacity < BATCH_HEADER_SIZE + MESSAGE_HEADER_SIZE + length)
        return 0;
    struct batch_header header = { .stream = genesis->stream, .timestamp_ns = genesis->created_ns };
    struct batch_builder b;
    batch_open(&b, out, (uint32_t)(capacity < WIRE_DATAGRAM_MAX ? capacity : WIRE_DATAGRAM_MAX), 1);
    batch_add(&b, TOPIC_GENESIS, 0, 0, 0, payload, (uint32_t)length);
    batch_close(&b, 0, &header);
    return header.length;
}

/* ---- quorums --------------------------------------------------------------------------------- */

static uint32_t majority(uint32_t count)
{
    return count / 2 + 1;
}

uint32_t membership_stable_quorum(const struct membership *m)
{
    if (m->count == 0)
        return 0;
    uint32_t w = m->quorum == 0 ? majority(m->count) : m->quorum;
    return w < m->count ? w : m->count;
}

uint32_t membership_seal_quorum(const struct membership *m)
{
    if (m->count == 0)
        return 0;
    uint32_t meets = m->count - membership_stable_quorum(m) + 1;
    return meets > majority(m->count) ? meets : majority(m->count);
}

bool membership_has(const struct membership *m, uint64_t store)
{
    for (uint32_t i = 0; i < m->count; i++) {
        if (m->stores[i] == store)
            return true;
    }
    return false;
}
