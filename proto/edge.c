#include "proto/edge_field.h"

#include <assert.h>

/* ---- frames ---------------------------------------------------------------------------------- */

static bool type_known(uint8_t type)
{
    return (type >= EDGE_HELLO && type <= EDGE_WHO) ||
           (type >= EDGE_WELCOME && type <= EDGE_CLIENTS);
}

size_t edge_frame_peek(const uint8_t *bytes, size_t available, enum edge_type *type)
{
    if (available < 4)
        return 0;
    uint32_t length = wire_load32(bytes);
    if (length == 0 || length > EDGE_FRAME_MAX)
        return SIZE_MAX;
    if (available < EDGE_HEADER)
        return 0;
    if (!type_known(bytes[4]))
        return SIZE_MAX;
    *type = (enum edge_type)bytes[4];
    return available < 4 + (size_t)length ? 0 : 4 + (size_t)length;
}

size_t edge_alive_encode(uint8_t *out, size_t capacity)
{
    struct wire_writer w = edge_begin(EDGE_ALIVE, out, capacity);
    return edge_end(&w);
}

/* ---- login ----------------------------------------------------------------------------------- */

size_t edge_hello_encode(const struct edge_hello *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = edge_begin(EDGE_HELLO, out, capacity);
    wire_put16(&w, in->version);
    wire_put64(&w, in->stream);
    wire_put8(&w, in->has_key);
    if (in->has_key)
        wire_put_bytes(&w, in->key, sizeof in->key);
    wire_put_string(&w, in->agent);
    return edge_end(&w);
}

bool edge_hello_decode(const uint8_t *body, size_t length, struct edge_hello *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    memset(out, 0, sizeof *out);
    out->version = wire_get16(&r);
    out->stream = wire_get64(&r);
    out->has_key = wire_get_bool(&r);
    if (out->has_key)
        get_key(&r, out->key, sizeof out->key);
    wire_get_string(&r, out->agent, sizeof out->agent);
    return wire_reader_done(&r);
}

size_t edge_welcome_encode(const struct edge_welcome *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = edge_begin(EDGE_WELCOME, out, capacity);
    require(&w, in->stream != 0);
    wire_put16(&w, in->version);
    wire_put64(&w, in->stream);
    wire_put_bytes(&w, in->challenge, sizeof in->challenge);
    wire_put_string(&w, in->proxy);
    return edge_end(&w);
}

bool edge_welcome_decode(const uint8_t *body, size_t length, struct edge_welcome *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    memset(out, 0, sizeof *out);
    out->version = wire_get16(&r);
    out->stream = wire_get64(&r);
    get_key(&r, out->challenge, sizeof out->challenge);
    wire_get_string(&r, out->proxy, sizeof out->proxy);
    refuse_unless(&r, out->stream != 0);
    return wire_reader_done(&r);
}

size_t edge_prove_encode(const struct edge_prove *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = edge_begin(EDGE_PROVE, out, capacity);
    wire_put_bytes(&w, in->signature, sizeof in->signature);
    return edge_end(&w);
}

bool edge_prove_decode(const uint8_t *body, size_t length, struct edge_prove *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    get_key(&r, out->signature, sizeof out->signature);
    return wire_reader_done(&r);
}

size_t edge_accepted_encode(const struct edge_accepted *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = edge_begin(EDGE_ACCEPTED, out, capacity);
    require(&w, in->fragment_bytes >= 1 && in->window >= 1);
    wire_put_position(&w, in->tip);
    wire_put64(&w, in->stable);
    wire_put32(&w, in->fragment_bytes);
    wire_put32(&w, in->window);
    wire_put32(&w, in->payload_max);
    wire_put8(&w, in->is_volatile);
    return edge_end(&w);
}

bool edge_accepted_decode(const uint8_t *body, size_t length, struct edge_accepted *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    out->tip = wire_get_position(&r);
    out->stable = wire_get64(&r);
    out->fragment_bytes = wire_get32(&r);
    out->window = wire_get32(&r);
    out->payload_max = wire_get32(&r);
    uint8_t is_volatile = wire_get8(&r);
    refuse_unless(&r, is_volatile <= 1);
    out->is_volatile = is_volatile == 1;
    refuse_unless(&r, out->fragment_bytes >= 1 && out->window >= 1);
    return wire_reader_done(&r);
}

void edge_signed(const struct edge_welcome *w, const uint8_t key[ACCESS_KEY_SIZE],
                 const uint8_t binding[32], uint8_t out[EDGE_SIGNED_SIZE])
{
    static const char title[16] = "cantus login 1"; /* and two zeros */
    uint8_t name[EDGE_AGENT_MAX + 1] = { 0 };
    memcpy(name, w->proxy, strnlen(w->proxy, EDGE_AGENT_MAX));
    struct wire_writer to = wire_writer_of(out, EDGE_SIGNED_SIZE);
    wire_put_bytes(&to, title, sizeof title);
    wire_put64(&to, w->stream);
    wire_put_bytes(&to, w->challenge, sizeof w->challenge);
    wire_put_bytes(&to, key, ACCESS_KEY_SIZE);
    wire_put_bytes(&to, binding, 32);
    wire_put_bytes(&to, name, sizeof name);
    assert(wire_written(&to) == EDGE_SIGNED_SIZE);
}

/* ---- saying no ------------------------------------------------------------------------------- */

size_t edge_refused_encode(const struct edge_refused *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = edge_begin(EDGE_REFUSED, out, capacity);
    require(&w, in->reason >= 1 && in->reason < EDGE_REFUSED_END);
    wire_put8(&w, in->request);
    wire_put8(&w, in->reason);
    wire_put8(&w, in->right);
    wire_put32(&w, in->publisher);
    wire_put64(&w, in->number);
    wire_put_string(&w, in->subject);
    wire_put_string(&w, in->text);
    return edge_end(&w);
}

bool edge_refused_decode(const uint8_t *body, size_t length, struct edge_refused *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    memset(out, 0, sizeof *out);
    out->request = wire_get8(&r);
    out->reason = wire_get8(&r);
    out->right = wire_get8(&r);
    out->publisher = wire_get32(&r);
    out->number = wire_get64(&r);
    wire_get_string(&r, out->subject, sizeof out->subject);
    wire_get_string(&r, out->text, sizeof out->text);
    refuse_unless(&r, out->reason >= 1 && out->reason < EDGE_REFUSED_END);
    return wire_reader_done(&r);
}

size_t edge_closing_encode(const struct edge_closing *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = edge_begin(EDGE_CLOSING, out, capacity);
    require(&w, in->reason >= 1 && in->reason < EDGE_CLOSING_END);
    wire_put8(&w, in->reason);
    wire_put_string(&w, in->text);
    return edge_end(&w);
}

bool edge_closing_decode(const uint8_t *body, size_t length, struct edge_closing *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    memset(out, 0, sizeof *out);
    out->reason = wire_get8(&r);
    wire_get_string(&r, out->text, sizeof out->text);
    refuse_unless(&r, out->reason >= 1 && out->reason < EDGE_CLOSING_END);
    return wire_reader_done(&r);
}

/* ---- who is there ---------------------------------------------------------------------------- */

size_t edge_who_encode(const struct edge_who *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = edge_begin(EDGE_WHO, out, capacity);
    wire_put32(&w, in->place);
    return edge_end(&w);
}

bool edge_who_decode(const uint8_t *body, size_t length, struct edge_who *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    out->place = wire_get32(&r);
    return wire_reader_done(&r);
}

size_t edge_clients_encode(const struct edge_clients *in, uint8_t *out, size_t capacity)
{
    struct wire_writer w = edge_begin(EDGE_CLIENTS, out, capacity);
    wire_put_bytes(&w, in->page, in->length);
    return edge_end(&w);
}

bool edge_clients_decode(const uint8_t *body, size_t length, struct edge_clients *out)
{
    struct wire_reader r = wire_reader_of(body, length);
    out->page = get_rest(&r, &out->length);
    return wire_reader_done(&r);
}

/* ---- words ----------------------------------------------------------------------------------- */

const char *edge_refusal_text(uint8_t reason)
{
    static const char *const texts[EDGE_REFUSED_END] = {
        [EDGE_REFUSED_RIGHT] = "not permitted",
        [EDGE_REFUSED_NAME] = "not a well-formed name",
        [EDGE_REFUSED_NUMBER] = "not the next number",
        [EDGE_REFUSED_QUOTA] = "over a quota",
        [EDGE_REFUSED_LARGE] = "too large",
        [EDGE_REFUSED_ORDER] = "not now",
        [EDGE_REFUSED_HISTORY] = "history is not kept so far back",
    };
    return reason < EDGE_REFUSED_END && texts[reason] != NULL ? texts[reason] : "unknown reason";
}

const char *edge_closing_text(uint8_t reason)
{
    static const char *const texts[EDGE_CLOSING_END] = {
        [EDGE_CLOSING_PROTOCOL] = "the protocol was broken",
        [EDGE_CLOSING_IDENTITY] = "the identity was not proven",
        [EDGE_CLOSING_STREAM] = "another stream runs here",
        [EDGE_CLOSING_SLOW] = "too slow",
        [EDGE_CLOSING_QUOTA] = "over a quota",
        [EDGE_CLOSING_DRAIN] = "this proxy stops: go to another",
        [EDGE_CLOSING_IDLE] = "nothing was heard for too long",
        [EDGE_CLOSING_HISTORY] = "history is not kept so far back",
        [EDGE_CLOSING_RIGHTS] = "what may be read has changed: connect again",
    };
    return reason < EDGE_CLOSING_END && texts[reason] != NULL ? texts[reason] : "unknown reason";
}
