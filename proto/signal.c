#include "proto/signal.h"

/* Opens the frame of a signal; these use no count, so that field is zero. */
static enum wire_verdict open_frame(const uint8_t *bytes, size_t length, uint64_t stream,
                                    enum wire_type type, struct wire_reader *body)
{
    uint16_t count;
    enum wire_verdict verdict = wire_frame_open(bytes, length, stream, type, &count, body);
    if (verdict != WIRE_OK)
        return verdict;
    return count == 0 ? WIRE_OK : WIRE_MALFORMED;
}

const char *identity_check(const char *identity)
{
    return identity_check_bytes(identity, strnlen(identity, IDENTITY_MAX + 1));
}

const char *identity_check_bytes(const char *bytes, size_t length)
{
    if (length == 0)
        return "it is empty";
    if (length > IDENTITY_MAX)
        return "it is longer than 63 bytes";
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] <= ' ' || bytes[i] > '~')
            return "only printable ASCII without spaces is allowed";
    }
    return NULL;
}

/* ---- membership ------------------------------------------------------------------------------ */

static bool membership_valid(const struct membership *m)
{
    if (m->count > MEMBERS_MAX || m->quorum > MEMBERS_MAX)
        return false;
    for (uint32_t i = 0; i < m->count; i++) {
        if (m->stores[i] == 0)
            return false;
        for (uint32_t j = 0; j < i; j++) {
            if (m->stores[j] == m->stores[i])
                return false;
        }
    }
    return true;
}

void membership_put(struct wire_writer *w, const struct membership *in)
{
    if (!membership_valid(in)) {
        w->failed = true;
        return;
    }
    wire_put64(w, in->seq);
    wire_put32(w, in->quorum);
    wire_put8(w, (uint8_t)in->count);
    for (uint32_t i = 0; i < in->count; i++)
        wire_put64(w, in->stores[i]);
}

void membership_get(struct wire_reader *r, struct membership *out)
{
    memset(out, 0, sizeof *out);
    out->seq = wire_get64(r);
    out->quorum = wire_get32(r);
    out->count = wire_get8(r);
    if (out->count > MEMBERS_MAX) {
        out->count = 0;
        r->failed = true;
        return;
    }
    for (uint32_t i = 0; i < out->count; i++)
        out->stores[i] = wire_get64(r);
    if (!membership_valid(out))
        r->failed = true;
}

/* ---- heartbeat ------------------------------------------------------------------------------- */

static bool heartbeat_valid(const struct heartbeat *h)
{
    /* One that vouches for a replay of older history ends below its epoch's first seq. */
    return h->next_seq > 0 && h->epoch_first_seq > 0;
}

size_t heartbeat_encode(const struct heartbeat *in, uint64_t stream, uint8_t *out, size_t capacity)
{
    if (!heartbeat_valid(in))
        return 0;
    struct wire_writer w = wire_frame_begin(out, capacity, WIRE_HEARTBEAT, 0, stream);
    wire_put_epoch(&w, in->epoch);
    wire_put64(&w, in->next_seq);
    wire_put_digest(&w, in->digest);
    wire_put64(&w, in->stable);
    wire_put64(&w, in->time_ns);
    wire_put64(&w, in->epoch_first_seq);
    return wire_frame_end(&w);
}

enum wire_verdict heartbeat_decode(const uint8_t *bytes, size_t length, uint64_t stream,
                                   struct heartbeat *out)
{
    struct wire_reader r;
    enum wire_verdict verdict = open_frame(bytes, length, stream, WIRE_HEARTBEAT, &r);
    if (verdict != WIRE_OK)
        return verdict;
    out->epoch = wire_get_epoch(&r);
    out->next_seq = wire_get64(&r);
    out->digest = wire_get_digest(&r);
    out->stable = wire_get64(&r);
    out->time_ns = wire_get64(&r);
    out->epoch_first_seq = wire_get64(&r);
    return wire_reader_done(&r) && heartbeat_valid(out) ? WIRE_OK : WIRE_MALFORMED;
}

/* ---- gap request and refusal ----------------------------------------------------------------- */

static bool gap_request_valid(const struct gap_request *g)
{
    return g->first_seq > 0 && g->first_seq < g->end_seq;
}

size_t gap_request_encode(const struct gap_request *in, uint64_t stream, uint8_t *out,
                          size_t capacity)
{
    if (!gap_request_valid(in))
        return 0;
    struct wire_writer w = wire_frame_begin(out, capacity, WIRE_GAP_REQUEST, 0, stream);
    wire_put_epoch(&w, in->epoch);
    wire_put64(&w, in->first_seq);
    wire_put64(&w, in->end_seq);
    wire_put64(&w, in->nonce);
    return wire_frame_end(&w);
}

enum wire_verdict gap_request_decode(const uint8_t *bytes, size_t length, uint64_t stream,
                                     struct gap_request *out)
{
    struct wire_reader r;
    enum wire_verdict verdict = open_frame(bytes, length, stream, WIRE_GAP_REQUEST, &r);
    if (verdict != WIRE_OK)
        return verdict;
    out->epoch = wire_get_epoch(&r);
    out->first_seq = wire_get64(&r);
    out->end_seq = wire_get64(&r);
    out->nonce = wire_get64(&r);
    return wire_reader_done(&r) && gap_request_valid(out) ? WIRE_OK : WIRE_MALFORMED;
}

size_t gap_refusal_encode(const struct gap_refusal *in, uint64_t stream, uint8_t *out,
                          size_t capacity)
{
    if (in->reason < GAP_PRUNED || in->reason > GAP_BUSY)
        return 0;
    struct wire_writer w = wire_frame_begin(out, capacity, WIRE_GAP_REFUSAL, 0, stream);
    wire_put8(&w, (uint8_t)in->reason);
    wire_put64(&w, in->first_seq);
    wire_put64(&w, in->oldest_seq);
    wire_put64(&w, in->end_seq);
    wire_put64(&w, in->nonce);
    return wire_frame_end(&w);
}

enum wire_verdict gap_refusal_decode(const uint8_t *bytes, size_t length, uint64_t stream,
                                     struct gap_refusal *out)
{
    struct wire_reader r;
    enum wire_verdict verdict = open_frame(bytes, length, stream, WIRE_GAP_REFUSAL, &r);
    if (verdict != WIRE_OK)
        return verdict;
    uint8_t reason = wire_get8(&r);
    out->reason = (enum gap_refusal_reason)reason;
    out->first_seq = wire_get64(&r);
    out->oldest_seq = wire_get64(&r);
    out->end_seq = wire_get64(&r);
    out->nonce = wire_get64(&r);
    bool known = reason >= GAP_PRUNED && reason <= GAP_BUSY;
    return wire_reader_done(&r) && known ? WIRE_OK : WIRE_MALFORMED;
}

/* ---- a store's word -------------------------------------------------------------------------- */

bool word_forgets(const struct word *said, const struct word *now)
{
    if (now->promised.number != said->promised.number)
        return now->promised.number < said->promised.number;
    if (!epoch_equal(now->promised, said->promised))
        return true;
    return epoch_equal(said->tail.epoch, said->promised) &&
           position_compare(now->tail, said->tail) < 0;
}

void word_put(struct wire_writer *w, const struct word *in)
{
    wire_put_epoch(w, in->promised);
    wire_put_position(w, in->tail);
}

struct word word_get(struct wire_reader *r)
{
    struct word word;
    word.promised = wire_get_epoch(r);
    word.tail = wire_get_position(r);
    return word;
}

static void run_put(struct wire_writer *w, const struct run *in)
{
    wire_put64(w, in->id);
    word_put(w, &in->base);
}

static struct run run_get(struct wire_reader *r)
{
    struct run run;
    run.id = wire_get64(r);
    run.base = word_get(r);
    return run;
}

size_t recall_encode(const struct recall *in, uint64_t stream, uint8_t *out, size_t capacity)
{
    if (in->store == 0)
        return 0;
    struct wire_writer w = wire_frame_begin(out, capacity, WIRE_RECALL, 0, stream);
    wire_put64(&w, in->store);
    wire_put64(&w, in->run);
    wire_put_epoch(&w, in->epoch);
    word_put(&w, &in->said);
    return wire_frame_end(&w);
}

enum wire_verdict recall_decode(const uint8_t *bytes, size_t length, uint64_t stream,
                                struct recall *out)
{
    struct wire_reader r;
    enum wire_verdict verdict = open_frame(bytes, length, stream, WIRE_RECALL, &r);
    if (verdict != WIRE_OK)
        return verdict;
    out->store = wire_get64(&r);
    out->run = wire_get64(&r);
    out->epoch = wire_get_epoch(&r);
    out->said = word_get(&r);
    return wire_reader_done(&r) && out->store != 0 ? WIRE_OK : WIRE_MALFORMED;
}

/* ---- acknowledgement ------------------------------------------------------------------------- */

size_t ack_encode(const struct ack *in, uint64_t stream, uint8_t *out, size_t capacity)
{
    if (in->store == 0)
        return 0;
    struct wire_writer w = wire_frame_begin(out, capacity, WIRE_ACK, 0, stream);
    wire_put64(&w, in->store);
    run_put(&w, &in->run);
    wire_put_epoch(&w, in->promised);
    wire_put_position(&w, in->tail);
    wire_put_digest(&w, in->digest);
    wire_put64(&w, in->clock_ns);
    wire_put8(&w, in->full);
    wire_put8(&w, in->settled);
    return wire_frame_end(&w);
}

enum wire_verdict ack_decode(const uint8_t *bytes, size_t length, uint64_t stream, struct ack *out)
{
    struct wire_reader r;
    enum wire_verdict verdict = open_frame(bytes, length, stream, WIRE_ACK, &r);
    if (verdict != WIRE_OK)
        return verdict;
    out->store = wire_get64(&r);
    out->run = run_get(&r);
    out->promised = wire_get_epoch(&r);
    out->tail = wire_get_position(&r);
    out->digest = wire_get_digest(&r);
    out->clock_ns = wire_get64(&r);
    out->full = wire_get_bool(&r);
    out->settled = wire_get_bool(&r);
    return wire_reader_done(&r) && out->store != 0 ? WIRE_OK : WIRE_MALFORMED;
}

/* ---- seal and promise ------------------------------------------------------------------------ */

size_t seal_encode(const struct seal *in, uint64_t stream, uint8_t *out, size_t capacity)
{
    struct wire_writer w = wire_frame_begin(out, capacity, WIRE_SEAL, 0, stream);
    wire_put_epoch(&w, in->epoch);
    wire_put8(&w, in->probe);
    return wire_frame_end(&w);
}

enum wire_verdict seal_decode(const uint8_t *bytes, size_t length, uint64_t stream,
                              struct seal *out)
{
    struct wire_reader r;
    enum wire_verdict verdict = open_frame(bytes, length, stream, WIRE_SEAL, &r);
    if (verdict != WIRE_OK)
        return verdict;
    out->epoch = wire_get_epoch(&r);
    out->probe = wire_get_bool(&r);
    return wire_reader_done(&r) ? WIRE_OK : WIRE_MALFORMED;
}

size_t promise_encode(const struct promise *in, uint64_t stream, uint8_t *out, size_t capacity)
{
    if (in->store == 0)
        return 0;
    struct wire_writer w = wire_frame_begin(out, capacity, WIRE_PROMISE, 0, stream);
    wire_put64(&w, in->store);
    run_put(&w, &in->run);
    wire_put_epoch(&w, in->promised);
    wire_put_epoch(&w, in->asked);
    wire_put8(&w, in->probe);
    wire_put8(&w, in->proven);
    wire_put_position(&w, in->tail);
    wire_put_digest(&w, in->digest);
    wire_put64(&w, in->oldest_seq);
    wire_put64(&w, in->clock_ns);
    wire_put64(&w, in->leader_age_ns);
    wire_put32(&w, in->fetch_ip);
    wire_put16(&w, in->fetch_port);
    wire_put16(&w, in->stream_port);
    membership_put(&w, &in->members);
    return wire_frame_end(&w);
}

enum wire_verdict promise_decode(const uint8_t *bytes, size_t length, uint64_t stream,
                                 struct promise *out)
{
    struct wire_reader r;
    enum wire_verdict verdict = open_frame(bytes, length, stream, WIRE_PROMISE, &r);
    if (verdict != WIRE_OK)
        return verdict;
    out->store = wire_get64(&r);
    out->run = run_get(&r);
    out->promised = wire_get_epoch(&r);
    out->asked = wire_get_epoch(&r);
    out->probe = wire_get_bool(&r);
    out->proven = wire_get_bool(&r);
    out->tail = wire_get_position(&r);
    out->digest = wire_get_digest(&r);
    out->oldest_seq = wire_get64(&r);
    out->clock_ns = wire_get64(&r);
    out->leader_age_ns = wire_get64(&r);
    out->fetch_ip = wire_get32(&r);
    out->fetch_port = wire_get16(&r);
    out->stream_port = wire_get16(&r);
    membership_get(&r, &out->members);
    return wire_reader_done(&r) && out->store != 0 ? WIRE_OK : WIRE_MALFORMED;
}

/* ---- join and hint --------------------------------------------------------------------------- */

static bool join_valid(const struct join *j)
{
    return j->wanted > 0 && identity_check(j->identity) == NULL;
}

size_t join_encode(const struct join *in, uint64_t stream, uint8_t *out, size_t capacity)
{
    if (!join_valid(in))
        return 0;
    struct wire_writer w = wire_frame_begin(out, capacity, WIRE_JOIN, 0, stream);
    wire_put64(&w, in->nonce);
    wire_put32(&w, in->wanted);
    wire_put_string(&w, in->identity);
    return wire_frame_end(&w);
}

enum wire_verdict join_decode(const uint8_t *bytes, size_t length, uint64_t stream,
                              struct join *out)
{
    struct wire_reader r;
    enum wire_verdict verdict = open_frame(bytes, length, stream, WIRE_JOIN, &r);
    if (verdict != WIRE_OK)
        return verdict;
    out->nonce = wire_get64(&r);
    out->wanted = wire_get32(&r);
    wire_get_string(&r, out->identity, sizeof out->identity);
    return wire_reader_done(&r) && join_valid(out) ? WIRE_OK : WIRE_MALFORMED;
}

size_t create_encode(const struct create *in, uint64_t stream, uint8_t *out, size_t capacity)
{
    if (in->path[0] == '\0')
        return 0;
    struct wire_writer w = wire_frame_begin(out, capacity, WIRE_CREATE, 0, stream);
    wire_put64(&w, in->nonce);
    wire_put32(&w, in->publisher);
    wire_put_string(&w, in->path);
    return wire_frame_end(&w);
}

enum wire_verdict create_decode(const uint8_t *bytes, size_t length, uint64_t stream,
                                struct create *out)
{
    struct wire_reader r;
    enum wire_verdict verdict = open_frame(bytes, length, stream, WIRE_CREATE, &r);
    if (verdict != WIRE_OK)
        return verdict;
    out->nonce = wire_get64(&r);
    out->publisher = wire_get32(&r);
    wire_get_string(&r, out->path, sizeof out->path);
    return wire_reader_done(&r) && out->path[0] != '\0' ? WIRE_OK : WIRE_MALFORMED;
}

size_t hint_encode(const struct hint *in, uint64_t stream, uint8_t *out, size_t capacity)
{
    if (in->reason < HINT_UNKNOWN_PUBLISHER || in->reason > HINT_MISSING)
        return 0;
    struct wire_writer w = wire_frame_begin(out, capacity, WIRE_HINT, 0, stream);
    wire_put8(&w, (uint8_t)in->reason);
    wire_put32(&w, in->publisher);
    wire_put32(&w, in->incarnation);
    wire_put64(&w, in->next_publisher_seq);
    wire_put64(&w, in->nonce);
    wire_put_epoch(&w, in->epoch);
    return wire_frame_end(&w);
}

enum wire_verdict hint_decode(const uint8_t *bytes, size_t length, uint64_t stream,
                              struct hint *out)
{
    struct wire_reader r;
    enum wire_verdict verdict = open_frame(bytes, length, stream, WIRE_HINT, &r);
    if (verdict != WIRE_OK)
        return verdict;
    uint8_t reason = wire_get8(&r);
    out->reason = (enum hint_reason)reason;
    out->publisher = wire_get32(&r);
    out->incarnation = wire_get32(&r);
    out->next_publisher_seq = wire_get64(&r);
    out->nonce = wire_get64(&r);
    out->epoch = wire_get_epoch(&r);
    bool known = reason >= HINT_UNKNOWN_PUBLISHER && reason <= HINT_MISSING;
    return wire_reader_done(&r) && known ? WIRE_OK : WIRE_MALFORMED;
}
