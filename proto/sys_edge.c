#include "proto/sys_edge.h"

#include <string.h>

static bool says_no_key(const struct sys_edge *e)
{
    static const struct sys_edge zero;
    return memcmp(e->key, zero.key, sizeof e->key) == 0 && !e->has_key;
}

static bool says_nothing_of_a_login(const struct sys_edge *e)
{
    static const struct sys_edge zero;
    return memcmp(e->challenge, zero.challenge, sizeof e->challenge) == 0 && e->ip == 0 &&
           e->port == 0 && e->agent[0] == '\0';
}

static bool valid(const struct sys_edge *e)
{
    bool has_session = e->kind != SYS_EDGE_PRESENT;
    if ((e->session != 0) != has_session || (has_session && e->lasts_ms != 0))
        return false;
    switch (e->kind) {
    case SYS_EDGE_LOGIN:
        return e->change == 0 && e->reason == 0;
    case SYS_EDGE_CHANGE:
        return e->change != 0 && e->reason == 0 && says_no_key(e) && says_nothing_of_a_login(e);
    case SYS_EDGE_LOGOUT:
        return e->change == 0 && e->reason < EDGE_CLOSING_END && says_nothing_of_a_login(e);
    case SYS_EDGE_PRESENT:
        return e->change == 0 && e->reason == 0 && e->lasts_ms <= SYS_EDGE_LASTS_MAX_MS &&
               says_no_key(e) && says_nothing_of_a_login(e);
    }
    return false;
}

static void put_key(struct wire_writer *w, const struct sys_edge *e)
{
    wire_put8(w, e->has_key);
    if (e->has_key)
        wire_put_bytes(w, e->key, sizeof e->key);
}

size_t sys_edge_encode(const struct sys_edge *in, uint8_t *out, size_t capacity)
{
    if (!valid(in))
        return 0;
    struct wire_writer w = wire_writer_of(out, capacity);
    wire_put8(&w, (uint8_t)in->kind);
    if (in->kind != SYS_EDGE_PRESENT)
        wire_put64(&w, in->session);
    switch (in->kind) {
    case SYS_EDGE_LOGIN:
        put_key(&w, in);
        wire_put_bytes(&w, in->challenge, sizeof in->challenge);
        wire_put32(&w, in->ip);
        wire_put16(&w, in->port);
        wire_put_string(&w, in->agent);
        break;
    case SYS_EDGE_CHANGE:
        wire_put32(&w, in->change);
        break;
    case SYS_EDGE_LOGOUT:
        wire_put8(&w, in->reason);
        put_key(&w, in);
        break;
    case SYS_EDGE_PRESENT:
        wire_put32(&w, in->lasts_ms);
        break;
    }
    return wire_written(&w);
}

static void get_bytes(struct wire_reader *r, uint8_t *out, size_t length)
{
    const uint8_t *bytes = wire_get_bytes(r, length);
    if (bytes != NULL)
        memcpy(out, bytes, length);
}

static void get_key(struct wire_reader *r, struct sys_edge *e)
{
    e->has_key = wire_get_bool(r);
    if (e->has_key)
        get_bytes(r, e->key, sizeof e->key);
}

bool sys_edge_decode(const uint8_t *payload, size_t length, struct sys_edge *out)
{
    struct wire_reader r = wire_reader_of(payload, length);
    memset(out, 0, sizeof *out);
    uint8_t kind = wire_get8(&r);
    if (kind < SYS_EDGE_LOGIN || kind > SYS_EDGE_PRESENT)
        return false;
    out->kind = (enum sys_edge_kind)kind;
    if (out->kind != SYS_EDGE_PRESENT)
        out->session = wire_get64(&r);
    switch (out->kind) {
    case SYS_EDGE_LOGIN:
        get_key(&r, out);
        get_bytes(&r, out->challenge, sizeof out->challenge);
        out->ip = wire_get32(&r);
        out->port = wire_get16(&r);
        wire_get_string(&r, out->agent, sizeof out->agent);
        break;
    case SYS_EDGE_CHANGE:
        out->change = wire_get32(&r);
        break;
    case SYS_EDGE_LOGOUT:
        out->reason = wire_get8(&r);
        get_key(&r, out);
        break;
    case SYS_EDGE_PRESENT:
        out->lasts_ms = wire_get32(&r);
        break;
    }
    return wire_reader_done(&r) && valid(out);
}

bool sys_edge_is_presence(const uint8_t *payload, size_t length)
{
    return length > 0 && payload[0] == SYS_EDGE_PRESENT;
}
