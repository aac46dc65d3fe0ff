#include "event.h"

#include <errno.h>
#include <lzma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(uint8_t *out, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        out[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get(const uint8_t *in, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)in[i] << (8 * i);
    return value;
}

void event_encode(const struct event *e, uint8_t out[EVENT_SIZE])
{
    put(out, e->order_id, 8);
    put(out + 8, e->time_ms, 8);
    put(out + 16, e->volume, 8);
    put(out + 24, e->price, 4);
    out[28] = e->action;
    out[29] = e->side;
}

bool event_decode(const void *payload, size_t length, struct event *out)
{
    const uint8_t *in = payload;
    if (length != EVENT_SIZE)
        return false;
    *out = (struct event) { .order_id = get(in, 8),
                            .time_ms = get(in + 8, 8),
                            .volume = get(in + 16, 8),
                            .price = (uint32_t)get(in + 24, 4),
                            .action = in[28],
                            .side = in[29] };
    return out->action >= EVENT_CREATED && out->action <= EVENT_DELETED &&
           (out->side == EVENT_BID || out->side == EVENT_ASK);
}

/* ---- the file -------------------------------------------------------------------------------- */

static char *file_read(const char *path, size_t *length, char *error)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        snprintf(error, 256, "%s: %s", path, strerror(errno));
        return NULL;
    }
    char *bytes = NULL;
    size_t have = 0, room = 0;
    for (;;) {
        if (have == room) {
            room = room ? room * 2 : 1 << 16;
            char *more = realloc(bytes, room + 1);
            if (more == NULL) {
                snprintf(error, 256, "%s: out of memory", path);
                free(bytes);
                fclose(f);
                return NULL;
            }
            bytes = more;
        }
        size_t n = fread(bytes + have, 1, room - have, f);
        if (n == 0)
            break;
        have += n;
    }
    bool failed = ferror(f) != 0;
    fclose(f);
    if (failed) {
        snprintf(error, 256, "%s: reading failed", path);
        free(bytes);
        return NULL;
    }
    bytes[have] = 0;
    *length = have;
    return bytes;
}

static char *unpack_xz(const char *path, char *packed, size_t packed_length, size_t *length,
                       char *error)
{
    size_t room = 64 << 20, in = 0, out = 0;
    uint64_t memory = 256 << 20;
    char *bytes = malloc(room + 1);
    lzma_ret verdict =
        bytes == NULL ? LZMA_MEM_ERROR
                      : lzma_stream_buffer_decode(&memory, 0, NULL, (const uint8_t *)packed, &in,
                                                  packed_length, (uint8_t *)bytes, &out, room);
    free(packed);
    if (verdict != LZMA_OK) {
        snprintf(error, 256, "%s: not a whole .xz file of at most 64 MiB (lzma code %d)", path,
                 (int)verdict);
        free(bytes);
        return NULL;
    }
    bytes[out] = 0;
    *length = out;
    return bytes;
}

/* Prices are exact decimals: kept as integers of cents, never as floating point. */
static bool parse_cents(const char *text, uint32_t *cents)
{
    char *end;
    errno = 0;
    unsigned long long whole = strtoull(text, &end, 10);
    if (end == text || errno != 0 || whole > 40000000)
        return false;
    uint32_t value = (uint32_t)whole * 100;
    if (*end == '.') {
        uint32_t scale = 10;
        for (end++; *end >= '0' && *end <= '9'; end++, scale /= 10) {
            if (scale == 0)
                return false;
            value += (uint32_t)(*end - '0') * scale;
        }
    }
    *cents = value;
    return *end == 0;
}

static bool parse_u64(const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return end != text && *end == 0 && errno == 0 && text[0] != '-';
}

enum { COLUMNS = 7 };

static const char *parse_line(char *line, struct event *e)
{
    char *column[COLUMNS];
    for (int i = 0; i < COLUMNS; i++) {
        column[i] = line;
        line = i + 1 < COLUMNS ? strchr(line, ',') : NULL;
        if (i + 1 < COLUMNS) {
            if (line == NULL)
                return "fewer than 7 columns";
            *line++ = 0;
        }
    }
    static const char *actions[] = { "", "created", "changed", "deleted" };
    *e = (struct event) { 0 };
    for (uint8_t a = EVENT_CREATED; a <= EVENT_DELETED; a++)
        if (strcmp(column[5], actions[a]) == 0)
            e->action = a;
    if (strcmp(column[6], "bid") == 0)
        e->side = EVENT_BID;
    else if (strcmp(column[6], "ask") == 0)
        e->side = EVENT_ASK;
    if (!parse_u64(column[0], &e->order_id))
        return "id is not a number";
    if (!parse_u64(column[1], &e->time_ms))
        return "timestamp is not a number";
    if (!parse_cents(column[3], &e->price))
        return "price is not a decimal with at most two places";
    if (!parse_u64(column[4], &e->volume))
        return "volume is not a number";
    if (e->action == 0)
        return "action is none of created, changed, deleted";
    if (e->side == 0)
        return "direction is neither bid nor ask";
    return NULL;
}

struct event *events_load(const char *path, size_t *count, char *error)
{
    size_t length = 0;
    char *text = file_read(path, &length, error);
    if (text != NULL && length >= 6 &&
        memcmp(text,
               "\xfd"
               "7zXZ",
               6) == 0)
        text = unpack_xz(path, text, length, &length, error);
    if (text == NULL)
        return NULL;

    size_t lines = 0;
    for (size_t i = 0; i < length; i++)
        lines += text[i] == '\n';
    struct event *events = calloc(lines + 1, sizeof *events);
    const char *problem = events == NULL ? "out of memory" : NULL;
    size_t n = 0, number = 0;
    for (char *line = text, *end; problem == NULL && line < text + length; line = end + 1) {
        end = strchr(line, '\n');
        if (end == NULL)
            end = text + length;
        *end = 0;
        if (end > line && end[-1] == '\r')
            end[-1] = 0;
        number++;
        if (*line == 0 || (number == 1 && strncmp(line, "id,", 3) == 0))
            continue;
        problem = parse_line(line, &events[n]);
        if (problem == NULL)
            n++;
    }
    free(text);
    if (problem != NULL) {
        snprintf(error, 256, "%s:%zu: %s", path, number, problem);
        free(events);
        return NULL;
    }
    *count = n;
    return events;
}
