/* The trace: one line an event, in terms of names and numbers. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/proposal.h"
#include "sim/sim_private.h"

enum { TRACE_MAX = 64 << 20 };

static void keep(struct sim *s, const char *line, size_t length)
{
    if (s->trace_length + length + 2 > s->trace_capacity) {
        size_t capacity = s->trace_capacity == 0 ? 64 * 1024 : s->trace_capacity * 2;
        char *larger = capacity <= TRACE_MAX ? realloc(s->trace, capacity) : NULL;
        if (larger == NULL)
            return;
        s->trace = larger;
        s->trace_capacity = capacity;
    }
    memcpy(s->trace + s->trace_length, line, length);
    s->trace_length += length;
    s->trace[s->trace_length++] = '\n';
    s->trace[s->trace_length] = '\0';
}

void sim_trace_line(struct sim *s, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length < 0)
        return;
    size_t used = (size_t)length < sizeof line ? (size_t)length : sizeof line - 1;
    if (s->by_hand)
        keep(s, line, used);
    if (s->options.trace && s->options.trace_to != NULL) {
        char timed[560];
        snprintf(timed, sizeof timed, "%" PRIu64 " %9" PRIu64 " %s", s->steps, s->now / SIM_US,
                 line);
        s->options.trace_to(s->options.ctx, timed);
    }
}

/* ---- what a datagram says -------------------------------------------------------------------- */

static int batch_text(const uint8_t *bytes, uint32_t length, char *out, size_t capacity)
{
    struct batch_header h;
    if (batch_verify(bytes, length, 0, &h) != WIRE_OK)
        return snprintf(out, capacity, "BATCH damaged");
    return snprintf(out, capacity, "BATCH %" PRIu64 "..%" PRIu64 " epoch %u stable %" PRIu64,
                    h.first_seq, batch_end_seq(&h) - 1, h.epoch.number, h.stable);
}

static int proposal_text(const uint8_t *bytes, uint32_t length, char *out, size_t capacity)
{
    struct proposal_header h;
    if (proposal_decode(bytes, length, 0, &h) != WIRE_OK)
        return snprintf(out, capacity, "PROPOSAL damaged");
    return snprintf(out, capacity, "PROPOSAL %" PRIu64 "..%" PRIu64 " of %u at %" PRIu64,
                    h.first_publisher_seq, h.first_publisher_seq + h.count - 1, h.publisher,
                    h.position.seq);
}

static int store_text(enum wire_type type, const uint8_t *bytes, uint32_t length, char *out,
                      size_t capacity)
{
    struct ack ack;
    struct promise promise;
    struct seal seal;
    struct recall recall;
    if (type == WIRE_RECALL && recall_decode(bytes, length, 0, &recall) == WIRE_OK)
        return snprintf(out, capacity,
                        "RECALL %016" PRIx64 " run %016" PRIx64 " promised %u tail %" PRIu64
                        " epoch %u",
                        recall.store, recall.run, recall.said.promised.number, recall.said.tail.seq,
                        recall.said.tail.epoch.number);
    if (type == WIRE_ACK && ack_decode(bytes, length, 0, &ack) == WIRE_OK)
        return snprintf(out, capacity, "ACK %" PRIu64 " epoch %u promised %u%s", ack.tail.seq,
                        ack.tail.epoch.number, ack.promised.number, ack.full ? " full" : "");
    if (type == WIRE_PROMISE && promise_decode(bytes, length, 0, &promise) == WIRE_OK)
        return snprintf(out, capacity, "PROMISE %u asked %u tail %" PRIu64 " epoch %u",
                        promise.promised.number, promise.asked.number, promise.tail.seq,
                        promise.tail.epoch.number);
    if (type == WIRE_SEAL && seal_decode(bytes, length, 0, &seal) == WIRE_OK)
        return snprintf(out, capacity, "SEAL %u%s", seal.epoch.number, seal.probe ? " probe" : "");
    return snprintf(out, capacity, "store's word damaged");
}

static int gap_text(enum wire_type type, const uint8_t *bytes, uint32_t length, char *out,
                    size_t capacity)
{
    struct gap_request request;
    struct gap_refusal refusal;
    if (type == WIRE_GAP_REQUEST && gap_request_decode(bytes, length, 0, &request) == WIRE_OK)
        return snprintf(out, capacity, "GAP %" PRIu64 "..%" PRIu64, request.first_seq,
                        request.end_seq - 1);
    if (type == WIRE_GAP_REFUSAL && gap_refusal_decode(bytes, length, 0, &refusal) == WIRE_OK)
        return snprintf(out, capacity, "REFUSAL %d of %" PRIu64, (int)refusal.reason,
                        refusal.first_seq);
    return snprintf(out, capacity, "gap damaged");
}

static int publisher_text(enum wire_type type, const uint8_t *bytes, uint32_t length, char *out,
                          size_t capacity)
{
    struct join join;
    struct create create;
    struct hint hint;
    if (type == WIRE_JOIN && join_decode(bytes, length, 0, &join) == WIRE_OK)
        return snprintf(out, capacity, "JOIN %s as %u", join.identity, join.wanted);
    if (type == WIRE_CREATE && create_decode(bytes, length, 0, &create) == WIRE_OK)
        return snprintf(out, capacity, "CREATE %s", create.path);
    if (type == WIRE_HINT && hint_decode(bytes, length, 0, &hint) == WIRE_OK)
        return snprintf(out, capacity, "HINT %d to %u", (int)hint.reason, hint.publisher);
    return snprintf(out, capacity, "publisher's word damaged");
}

static int heartbeat_text(const uint8_t *bytes, uint32_t length, char *out, size_t capacity)
{
    struct heartbeat h;
    if (heartbeat_decode(bytes, length, 0, &h) != WIRE_OK)
        return snprintf(out, capacity, "HEARTBEAT damaged");
    return snprintf(out, capacity, "HEARTBEAT next %" PRIu64 " epoch %u stable %" PRIu64,
                    h.next_seq, h.epoch.number, h.stable);
}

size_t sim_datagram_text(const uint8_t *bytes, uint32_t length, char *out, size_t capacity)
{
    enum wire_type type;
    int used = 0;
    if (wire_peek(bytes, length, 0, &type) != WIRE_OK)
        type = WIRE_TYPE_END;
    switch (type) {
    case WIRE_BATCH:
        used = batch_text(bytes, length, out, capacity);
        break;
    case WIRE_HEARTBEAT:
        used = heartbeat_text(bytes, length, out, capacity);
        break;
    case WIRE_PROPOSAL:
        used = proposal_text(bytes, length, out, capacity);
        break;
    case WIRE_ACK:
    case WIRE_SEAL:
    case WIRE_PROMISE:
    case WIRE_RECALL:
        used = store_text(type, bytes, length, out, capacity);
        break;
    case WIRE_GAP_REQUEST:
    case WIRE_GAP_REFUSAL:
        used = gap_text(type, bytes, length, out, capacity);
        break;
    case WIRE_JOIN:
    case WIRE_CREATE:
    case WIRE_HINT:
        used = publisher_text(type, bytes, length, out, capacity);
        break;
    case WIRE_TYPE_END:
        used = snprintf(out, capacity, "bytes that say nothing");
        break;
    }
    return used > 0 ? (size_t)used : 0;
}
