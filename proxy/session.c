/* Slots, output, time-outs, the end. */
#include <stdio.h>
#include <stdlib.h>

#include "proxy/session_private.h"

/* ---- memory ---------------------------------------------------------------------------------- */

static uint32_t chains_for(uint32_t sessions_max)
{
    uint32_t chains = 64;
    while (chains < sessions_max)
        chains *= 2;
    return chains;
}

size_t sessions_memory(const struct proxy_options *o)
{
    return sizeof(struct sessions) + o->sessions_max * sizeof(struct session) +
           chains_for(o->sessions_max) * sizeof(uint32_t) +
           buddy_memory((size_t)o->subtrees_max * SESSION_SUBTREE_BYTES);
}

struct sessions *sessions_create(struct proxy *p)
{
    struct sessions *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->p = p;
    s->max = p->o.sessions_max;
    s->free = SESSION_NONE;
    s->waiting = s->recording =
        (struct session_list) { .first = SESSION_NONE, .last = SESSION_NONE };
    s->chain_mask = chains_for(s->max) - 1;
    s->retry_ns = s->turns_ns = PORT_NEVER;
    s->proofs_left = SESSION_PROOFS_MAX;
    s->round = 1;
    s->request_max = proxy_request_max(&p->o);
    s->logins_per_addr = p->o.logins_max / 8 > 0 ? p->o.logins_max / 8 : 1;
    s->table = calloc(s->max, sizeof *s->table);
    s->chains = malloc((s->chain_mask + 1) * sizeof *s->chains);
    size_t set_bytes = (size_t)p->o.subtrees_max * SESSION_SUBTREE_BYTES;
    s->buddy = buddy_create(set_bytes);
    s->set_bytes_max = set_bytes / 8;
    s->names_secret = proxy_draw64(p, "names");
    if (s->table == NULL || s->chains == NULL || s->buddy == NULL) {
        sessions_destroy(s);
        return NULL;
    }
    memset(s->chains, 0xff, (s->chain_mask + 1) * sizeof *s->chains);
    return s;
}

void sessions_destroy(struct sessions *s)
{
    if (s == NULL)
        return;
    for (uint32_t i = 0; s->table != NULL && i < s->high; i++)
        if (s->table[i].reader != NULL)
            reader_close(s->table[i].reader);
    free(s->table);
    free(s->chains);
    buddy_destroy(s->buddy);
    free(s);
}

/* ---- lists ----------------------------------------------------------------------------------- */

void session_list_push(struct session_list *l, struct session *e)
{
    struct session *table = e->all->table;
    assert(e->list == NULL);
    e->list = l;
    e->next = SESSION_NONE;
    e->previous = l->last;
    *(l->last == SESSION_NONE ? &l->first : &table[l->last].next) = e->slot;
    l->last = e->slot;
    l->count++;
}

void session_list_remove(struct session *e)
{
    struct session_list *l = e->list;
    struct session *table = e->all->table;
    if (l == NULL)
        return;
    *(e->previous == SESSION_NONE ? &l->first : &table[e->previous].next) = e->next;
    *(e->next == SESSION_NONE ? &l->last : &table[e->next].previous) = e->previous;
    l->count--;
    e->list = NULL;
}

struct session *session_first(struct sessions *s, const struct session_list *l)
{
    return l->first == SESSION_NONE ? NULL : &s->table[l->first];
}

/* ---- slots ----------------------------------------------------------------------------------- */

static uint32_t *chain_of(struct sessions *s, uint32_t stream)
{
    uint32_t hash = stream * UINT32_C(2654435761);
    return &s->chains[(hash ^ hash >> 16) & s->chain_mask];
}

static uint32_t *link_of(struct sessions *s, uint32_t stream)
{
    uint32_t *link = chain_of(s, stream);
    while (*link != SESSION_NONE && s->table[*link].stream != stream)
        link = &s->table[*link].chain;
    return link;
}

static struct session *take_slot(struct sessions *s)
{
    uint32_t slot = s->free;
    if (slot != SESSION_NONE)
        s->free = s->table[slot].next;
    else if (s->high < s->max)
        slot = s->high++;
    else
        return NULL;
    s->used++;
    struct session *e = &s->table[slot];
    *e = (struct session) {
        .all = s, .slot = slot, .account = LIMITER_NONE, .first_publisher = SESSION_NONE
    };
    return e;
}

void session_free_slot(struct session *e)
{
    struct sessions *s = e->all;
    session_list_remove(e);
    e->state = SESSION_FREE;
    e->next = s->free;
    s->free = e->slot;
    s->used--;
}

/* ---- saying ---------------------------------------------------------------------------------- */

static size_t room_of(const struct session *e, size_t want)
{
    struct port *port = e->all->p->port;
    return port->ops->stream_room(port, e->stream, want);
}

static void write_out(struct session *e, const void *bytes, size_t length)
{
    struct proxy *p = e->all->p;
    p->port->ops->stream_write(p->port, e->stream, bytes, length);
    e->bytes_out += length;
    p->counters[COUNTER_CLIENT_BYTES_OUT] += length;
}

bool session_has_room(struct session *e, size_t length)
{
    if (e->blocked || (e->reader != NULL && reader_mid_frame(e->reader)))
        return false;
    return room_of(e, length) >= length;
}

bool session_may_say(struct session *e)
{
    return session_has_room(e, SESSION_ROOM_MIN);
}

void session_say(struct session *e, const uint8_t *frame, size_t length)
{
    assert(length > 0 && length <= SESSION_WHO_BYTES);
    write_out(e, frame, length);
}

_Static_assert(COUNTER_REFUSED_HISTORY - COUNTER_REFUSED_RIGHT ==
                   EDGE_REFUSED_HISTORY - EDGE_REFUSED_RIGHT,
               "a counter for each reason, in their order");

void session_refuse(struct session *e, const struct edge_refused *refused)
{
    uint8_t frame[SESSION_ROOM_MIN];
    struct edge_refused out = *refused;
    if (out.text[0] == '\0')
        snprintf(out.text, sizeof out.text, "%s", edge_refusal_text(out.reason));
    e->all->p->counters[COUNTER_REFUSED_RIGHT + out.reason - EDGE_REFUSED_RIGHT]++;
    if (e->is_text)
        session_text_say(e, "# refused: %s%s%s\n", out.subject, out.subject[0] != '\0' ? ": " : "",
                         out.text);
    else
        session_say(e, frame, edge_refused_encode(&out, frame, sizeof frame));
}

static void cut_for_its_reader(struct session *e, enum reader_state state)
{
    struct edge_refused refused = { .request = EDGE_SUBSCRIBE, .reason = EDGE_REFUSED_HISTORY };
    if (state == READER_OUTDATED) {
        session_end(e, EDGE_CLOSING_RIGHTS, NULL);
        return;
    }
    if (state == READER_BROKEN) {
        session_end(e, EDGE_CLOSING_SLOW, "too far behind to be told what came: connect again");
        return;
    }
    refused.number = reader_oldest(e->reader);
    snprintf(refused.text, sizeof refused.text,
             "history is not kept so far back: the oldest message that is left is %llu",
             (unsigned long long)refused.number);
    if (!reader_mid_frame(e->reader))
        session_refuse(e, &refused);
    session_end(e, EDGE_CLOSING_HISTORY, refused.text);
}

/* As much as goes in one write, from where the reader has it. False: there is no more. */
static bool flush_once(struct session *e, size_t room)
{
    struct proxy *p = e->all->p;
    struct port_piece pieces[PORT_PIECES_MAX];
    uint32_t count = 0;
    size_t total = 0;
    while (count < PORT_PIECES_MAX && (total == 0 || room - total >= VIEW_CHUNK_BYTES)) {
        size_t length = reader_next(e->reader, room - total, &pieces[count].bytes);
        if (length == 0)
            break;
        reader_take(e->reader);
        pieces[count++].length = length;
        total += length;
    }
    port_stream_write_pieces(p->port, e->stream, pieces, count);
    e->bytes_out += total;
    p->counters[COUNTER_CLIENT_BYTES_OUT] += total;
    return count > 0;
}

/* What its reader has, as far as there is room. */
static void flush(struct session *e)
{
    if (e->reader == NULL)
        return;
    for (;;) {
        enum reader_state state = reader_state(e->reader);
        if (state == READER_BROKEN || state == READER_OUTDATED ||
            (state == READER_LOST && reader_mid_frame(e->reader))) {
            cut_for_its_reader(e, state);
            return;
        }
        size_t room = room_of(e, SESSION_FLUSH_MIN);
        if (room < SESSION_FLUSH_MIN)
            break;
        if (state == READER_LOST) {
            cut_for_its_reader(e, state);
            return;
        }
        e->blocked = false;
        if (e->is_text) {
            if (session_text_flush(e, room))
                continue;
            return;
        }
        if (!flush_once(e, room))
            return;
    }
    if (!e->blocked)
        e->blocked_ns = e->all->p->now.mono_ns;
    e->blocked = true;
}

/* ---- the end --------------------------------------------------------------------------------- */

static void release(struct session *e)
{
    struct sessions *s = e->all;
    struct proxy *p = s->p;
    session_stopped(e, false);
    session_list_remove(e);
    relay_close(p->relay, e);
    if (e->reader != NULL)
        reader_close(e->reader);
    e->reader = NULL;
    session_set_free(e, &e->set);
    session_set_free(e, &e->coming);
    session_large_free(e);
    session_end_login(e);
    if (e->account != LIMITER_NONE)
        limiter_leave(p->limiter, e->account);
    limiter_disconnect(p->limiter, e->addr.ip);
    uint32_t *link = link_of(s, e->stream);
    assert(*link == e->slot);
    *link = e->chain;
    s->connected--;
}

/* Its stream is dead, or has been closed. */
static void leave(struct session *e, uint8_t reason)
{
    bool logged_in = e->state == SESSION_LOGGED || e->state == SESSION_OPEN;
    release(e);
    e->reason = reason;
    if (!logged_in) {
        session_free_slot(e);
        return;
    }
    e->state = SESSION_LEAVING;
    session_record(e);
}

static enum counter counter_of(enum edge_closing_reason reason)
{
    switch (reason) {
    case EDGE_CLOSING_PROTOCOL:
        return COUNTER_SESSIONS_MALFORMED;
    case EDGE_CLOSING_SLOW:
        return COUNTER_SESSIONS_SLOW;
    case EDGE_CLOSING_QUOTA:
        return COUNTER_SESSIONS_REFUSED;
    case EDGE_CLOSING_DRAIN:
        return COUNTER_SESSIONS_DRAINED;
    case EDGE_CLOSING_IDLE:
        return COUNTER_SESSIONS_IDLE;
    case EDGE_CLOSING_HISTORY:
        return COUNTER_SESSIONS_REFUSED;
    case EDGE_CLOSING_RIGHTS:
        return COUNTER_SESSIONS_OUTDATED;
    case EDGE_CLOSING_IDENTITY:
    case EDGE_CLOSING_STREAM:
    case EDGE_CLOSING_END:
        break;
    }
    return COUNTER_LOGINS_FAILED;
}

/* The last frame on a stream. */
static void say_closing(struct session *e, enum edge_closing_reason reason, const char *text)
{
    uint8_t frame[SESSION_ROOM_MIN];
    struct edge_closing closing = { .reason = (uint8_t)reason };
    snprintf(closing.text, sizeof closing.text, "%s",
             text != NULL ? text : edge_closing_text((uint8_t)reason));
    size_t length = edge_closing_encode(&closing, frame, sizeof frame);
    if (e->is_text)
        session_text_say(e, "# closing: %s\n", closing.text);
    else if (!(e->reader != NULL && reader_mid_frame(e->reader)) && room_of(e, length) >= length)
        write_out(e, frame, length);
}

void session_end(struct session *e, enum edge_closing_reason reason, const char *text)
{
    struct proxy *p = e->all->p;
    proxy_count(p, counter_of(reason));
    say_closing(e, reason, text);
    p->port->ops->stream_close(p->port, e->stream);
    leave(e, (uint8_t)reason);
}

void session_doom(struct session *e, enum edge_closing_reason reason)
{
    e->doomed = true;
    e->reason = (uint8_t)reason;
    e->all->any_doomed = true;
}

static void end_doomed(struct sessions *s)
{
    s->any_doomed = false;
    for (uint32_t i = 0; i < s->high; i++)
        if (s->table[i].doomed && session_is_connected(&s->table[i]))
            session_end(&s->table[i], (enum edge_closing_reason)s->table[i].reason, NULL);
}

void sessions_end_all(struct sessions *s, enum edge_closing_reason reason, const char *text)
{
    for (uint32_t i = 0; i < s->high; i++)
        if (session_is_connected(&s->table[i]))
            session_end(&s->table[i], reason, text);
}

/* ---- events ---------------------------------------------------------------------------------- */

static void refuse_connection(struct sessions *s, const struct port_stream_event *e,
                              enum edge_closing_reason reason, const char *text)
{
    struct session unborn = { .all = s, .stream = e->stream };
    proxy_count(s->p, counter_of(reason));
    say_closing(&unborn, reason, text);
    s->p->port->ops->stream_close(s->p->port, e->stream);
}

/* Nothing can be written down, and everybody that has left waits for that: room for those who come is worth
 * more. */
static bool give_up_a_logout(struct sessions *s)
{
    for (uint32_t slot = s->recording.first; slot != SESSION_NONE; slot = s->table[slot].next) {
        if (s->table[slot].state != SESSION_LEAVING)
            continue;
        session_free_slot(&s->table[slot]);
        return true;
    }
    return false;
}

/* A connection that waits for its turn, of an address that has very many, for one of an address that has not.
 * Its own is counted already. */
static bool turn_one_away(struct sessions *s, uint32_t ip)
{
    struct limiter *l = s->p->limiter;
    uint32_t many = s->max / SESSION_CROWD;
    if (limiter_connections(l, ip) > many)
        return false;
    uint32_t slot = s->waiting.first;
    for (uint32_t i = 0; i < SESSION_TURNS_MAX && slot != SESSION_NONE; i++) {
        struct session *e = &s->table[slot];
        if (limiter_connections(l, e->addr.ip) > many) {
            session_end(e, EDGE_CLOSING_QUOTA, "this proxy is full");
            return true;
        }
        slot = e->next;
    }
    return false;
}

static void accept(struct sessions *s, const struct port_stream_event *event)
{
    struct proxy *p = s->p;
    if (p->draining || proxy_failed(p)) {
        refuse_connection(s, event, EDGE_CLOSING_DRAIN, NULL);
        return;
    }
    if (!limiter_connect(p->limiter, event->peer.ip, p->o.sessions_per_addr)) {
        refuse_connection(s, event, EDGE_CLOSING_QUOTA, "too many connections of this address");
        return;
    }
    struct session *e = take_slot(s);
    if (e == NULL && (give_up_a_logout(s) || turn_one_away(s, event->peer.ip)))
        e = take_slot(s);
    if (e == NULL) {
        limiter_disconnect(p->limiter, event->peer.ip);
        refuse_connection(s, event, EDGE_CLOSING_QUOTA, "this proxy is full");
        return;
    }
    e->state = SESSION_WAITING;
    e->stream = event->stream;
    e->addr = event->peer;
    e->since_wall_ns = p->now.wall_ns;
    e->heard_ns = p->now.mono_ns;
    uint32_t *chain = chain_of(s, e->stream);
    e->chain = *chain;
    *chain = e->slot;
    s->connected++;
    session_list_push(&s->waiting, e);
    s->turns_refused = 0;
    if (s->waiting.count == 1)
        session_take_turn(e);
}

size_t sessions_on_stream(struct sessions *s, const struct port_stream_event *event)
{
    if (event->type == PORT_STREAM_ACCEPTED) {
        accept(s, event);
        return 0;
    }
    uint32_t slot = *link_of(s, event->stream);
    if (slot == SESSION_NONE)
        return event->type == PORT_STREAM_BYTES ? event->length : 0;
    struct session *e = &s->table[slot];
    switch (event->type) {
    case PORT_STREAM_BYTES:
        return session_read(e, event->bytes, event->length);
    case PORT_STREAM_ROOM:
        s->more = s->more || e->stopped;
        flush(e);
        break;
    case PORT_STREAM_CLOSED:
        leave(e, 0);
        break;
    case PORT_STREAM_ACCEPTED:
    case PORT_STREAM_CONNECTED:
        break;
    }
    return 0;
}

void session_stopped(struct session *e, bool stopped)
{
    uint64_t now = e->all->p->now.mono_ns;
    if (stopped && !e->stopped) {
        e->all->stopped++;
    } else if (!stopped && e->stopped) {
        e->all->stopped--;
        e->heard_ns = now; /* while it was not read from, nothing of it could be heard */
    }
    e->stopped = stopped;
}

void session_retry_at(struct session *e, uint64_t at_ns)
{
    if (at_ns < e->all->retry_ns)
        e->all->retry_ns = at_ns;
}

/* ---- time ------------------------------------------------------------------------------------ */

static void sweep_one(struct session *e)
{
    const struct proxy_options *o = &e->all->p->o;
    uint64_t now = e->all->p->now.mono_ns;
    bool logs_in = e->state == SESSION_HELLO || e->state == SESSION_CHALLENGED;
    if (logs_in && now - e->since_ns >= o->login_ns)
        session_end(e, EDGE_CLOSING_IDENTITY, "it has not said who it is in time");
    else if (session_is_connected(e) && e->blocked && now - e->blocked_ns >= o->slow_ns)
        session_end(e, EDGE_CLOSING_SLOW, NULL);
    else if (e->state == SESSION_OPEN && !e->is_text && o->idle_ns != 0 && !e->stopped &&
             now - e->heard_ns >= o->idle_ns)
        session_end(e, EDGE_CLOSING_IDLE, NULL);
}

/* Looks at each once in SESSION_SWEEP_NS, some at a time, when something else has woken the proxy if that is not too
 * long after. */
static uint64_t sweep(struct sessions *s)
{
    uint64_t now = s->p->now.mono_ns;
    if (s->connected == 0)
        return PORT_NEVER;
    if (now < s->sweep_ns)
        return s->sweep_ns + SESSION_SWEEP_LATE_NS;
    uint32_t parts = s->high / SESSION_SWEPT_MAX + 1;
    for (uint32_t i = 0; i < SESSION_SWEPT_MAX && s->swept < s->high; i++)
        sweep_one(&s->table[s->swept++]);
    if (s->swept >= s->high)
        s->swept = 0;
    s->sweep_ns = now + SESSION_SWEEP_NS / parts;
    return s->sweep_ns + SESSION_SWEEP_LATE_NS;
}

static void drain(struct sessions *s)
{
    for (uint32_t i = 0; i < SESSION_DRAINED_MAX && s->drained < s->high; s->drained++) {
        if (!session_is_connected(&s->table[s->drained]))
            continue;
        session_end(&s->table[s->drained], EDGE_CLOSING_DRAIN, NULL);
        i++;
    }
    s->more = s->more || s->drained < s->high;
}

uint64_t sessions_step(struct sessions *s)
{
    struct proxy *p = s->p;
    struct session *e;
    if (s->any_doomed)
        end_doomed(s);
    if (p->draining)
        drain(s);
    sessions_record_all(s);
    sessions_give_turns(s);
    uint32_t flushed = 0;
    while (flushed < SESSION_FLUSHED_MAX && (e = readers_ready(p->readers)) != NULL) {
        flush(e);
        flushed++;
    }
    s->more = s->more || flushed == SESSION_FLUSHED_MAX;
    uint64_t deadline = sweep(s);
    if (s->retry_ns <= p->now.mono_ns) {
        s->retry_ns = PORT_NEVER;
        s->more = true;
    }
    if (s->retry_ns < deadline)
        deadline = s->retry_ns;
    if (readers_ready_ns(p->readers) < deadline)
        deadline = readers_ready_ns(p->readers);
    if (s->more || (p->look_again && s->stopped > 0))
        deadline = p->now.mono_ns;
    s->more = p->look_again = false;
    s->proofs_left = SESSION_PROOFS_MAX;
    s->round++;
    return deadline;
}

/* ---- questions ------------------------------------------------------------------------------- */

uint32_t sessions_subtrees(const struct sessions *s)
{
    return s->subtrees;
}

uint32_t sessions_count(const struct sessions *s)
{
    return s->connected;
}

bool sessions_client_at(const struct sessions *s, uint32_t at, struct proxy_client *out)
{
    while (at < s->high && !session_is_connected(&s->table[at]))
        at++;
    if (at >= s->high)
        return false;
    const struct session *e = &s->table[at];
    *out = (struct proxy_client) {
        .at = at + 1,
        .session = e->id,
        .addr = e->addr,
        .has_key = e->has_key,
        .is_text = e->is_text,
        .subscribed = e->subscribed,
        .stable = e->subscribed && e->request.level == EDGE_STABLE,
        .behind = e->reader != NULL && reader_state(e->reader) == READER_BEHIND,
        .since_wall_ns = e->since_wall_ns,
        .seq = e->reader != NULL ? reader_seq(e->reader) : 0,
        .bytes_in = e->bytes_in,
        .bytes_out = e->bytes_out,
        .published = e->published,
        .subtrees = e->reader != NULL ? reader_subtrees(e->reader) : 0,
        .publishers = e->publishers,
    };
    memcpy(out->key, e->key, sizeof out->key);
    memcpy(out->agent, e->agent, sizeof out->agent);
    return true;
}
