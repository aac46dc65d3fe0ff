/* Requests. */
#include <stdio.h>

#include "proto/hash.h"
#include "proxy/session_private.h"

/* ---- sets of subtrees ------------------------------------------------------------------------ */

void session_set_free(struct session *e, struct session_set *set)
{
    struct sessions *s = e->all;
    if (set->memory != NULL) {
        buddy_give(s->buddy, set->memory, set->memory_bytes);
        s->subtrees -= set->subtrees.count;
        limiter_subtract(s->p->limiter, e->account, LIMITER_SUBSCRIPTIONS, set->subtrees.count);
        limiter_subtract(s->p->limiter, e->account, LIMITER_SET_BYTES,
                         buddy_size(set->memory_bytes));
    }
    *set = (struct session_set) { 0 };
}

static void names_forget(struct sessions *s)
{
    memset(s->names, 0, sizeof s->names);
}

/* Where it is, or would be, among the names noted: each with its length in front. */
static const uint8_t **find_name(struct sessions *s, const char *name, size_t length)
{
    uint64_t at = hash64(name, length, s->names_secret);
    for (;; at++) {
        const uint8_t **place = &s->names[at % SESSION_NAMES];
        if (*place == NULL || (**place == length && memcmp(*place + 1, name, length) == 0))
            return place;
    }
}

/* Those of `from` whose names are not noted, behind what is in *out; they are noted if `once`. */
static void add_others(struct sessions *s, struct edge_subtrees from, bool once,
                       struct edge_subtrees *out)
{
    const char *name;
    size_t length;
    while (edge_subtree_next(&from, &name, &length)) {
        const uint8_t **place = find_name(s, name, length);
        if (*place != NULL)
            continue;
        if (once)
            *place = (const uint8_t *)name - 1;
        memcpy(s->combined + out->length, (const uint8_t *)name - 1, 1 + length);
        out->length += 1 + length;
        out->count++;
    }
}

static void note(struct sessions *s, struct edge_subtrees from)
{
    const char *name;
    size_t length;
    while (edge_subtree_next(&from, &name, &length))
        *find_name(s, name, length) = (const uint8_t *)name - 1;
}

/* Makes `coming`: the set that it has, without what is removed, and with what is added, each once. 0, or
 * why not. */
static uint8_t combine(struct session *e, const struct edge_change *change)
{
    struct sessions *s = e->all;
    struct limiter *l = s->p->limiter;
    struct edge_subtrees all = { .at = s->combined };
    names_forget(s);
    note(s, change->remove);
    add_others(s, e->set.subtrees, false, &all);
    names_forget(s);
    note(s, all);
    add_others(s, change->add, true, &all);
    if (all.count > EDGE_SUBTREES_MAX)
        return EDGE_REFUSED_LARGE;
    size_t bytes = all.length > 0 ? all.length : 1;
    uint32_t had = e->set.subtrees.count, more = all.count > had ? all.count - had : 0;
    if (!limiter_may_have(l, e->account, LIMITER_SUBSCRIPTIONS, more, 0) ||
        !limiter_may_have(l, e->account, LIMITER_SET_BYTES, buddy_size(bytes), s->set_bytes_max))
        return EDGE_REFUSED_QUOTA;
    void *memory = buddy_take(s->buddy, bytes);
    if (memory == NULL)
        return EDGE_REFUSED_QUOTA;
    memcpy(memory, s->combined, all.length);
    all.at = memory;
    e->coming = (struct session_set) { .subtrees = all, .memory = memory, .memory_bytes = bytes };
    s->subtrees += all.count;
    limiter_add(l, e->account, LIMITER_SUBSCRIPTIONS, all.count);
    limiter_add(l, e->account, LIMITER_SET_BYTES, buddy_size(bytes));
    return 0;
}

/* ---- rights ---------------------------------------------------------------------------------- */

void session_look_up_principal(struct session *e)
{
    if (e->state != SESSION_OPEN || !e->has_key)
        return;
    uint32_t principal = access_principal_of(catalog_access(e->all->p->catalog), e->key);
    if (principal == e->principal)
        return;
    e->principal = principal;
    if (e->reader != NULL && reader_principal(e->reader, principal) != READER_OK)
        session_end(e, EDGE_CLOSING_QUOTA, "too many different rights: connect again");
}

struct reader *session_reader(struct session *e)
{
    if (e->reader == NULL)
        e->reader = reader_open(e->all->p->readers, e->principal, EDGE_SEQUENCED, e);
    return e->reader;
}

/* Later, if it may yet turn out that it may. */
static enum session_read refuse_to_read(struct session *e, const char *subtree, size_t length,
                                        uint8_t request)
{
    struct edge_refused refused = { .request = request,
                                    .reason = EDGE_REFUSED_RIGHT,
                                    .right = ACCESS_READ };
    if (!session_is_settled(e))
        return SESSION_LATER;
    memcpy(refused.subject, subtree, length);
    snprintf(refused.text, sizeof refused.text,
             "who may grant there gives it: cantus grant %s read %.180s",
             e->has_key ? "KEY" : "anyone", refused.subject);
    session_refuse(e, &refused);
    return SESSION_READ;
}

/* True: all of them; else *result is what becomes of the request. */
static bool may_read(struct session *e, struct edge_subtrees subtrees, uint8_t request,
                     enum session_read *result)
{
    const char *subtree;
    size_t length;
    while (edge_subtree_next(&subtrees, &subtree, &length)) {
        if (reader_may_read_any(e->all->p->readers, e->principal, subtree, length))
            continue;
        *result = refuse_to_read(e, subtree, length, request);
        return false;
    }
    return true;
}

/* ---- subscriptions --------------------------------------------------------------------------- */

static enum session_read refuse(struct session *e, uint8_t request, uint8_t reason,
                                const char *text)
{
    struct edge_refused refused = { .request = request, .reason = reason };
    if (text != NULL)
        snprintf(refused.text, sizeof refused.text, "%s", text);
    session_refuse(e, &refused);
    return SESSION_READ;
}

/* What its fields are like is said in docs/wire.md; of a path, the rule that it breaks, too. */
static enum session_read malformed(struct session *e, const char *request, const char *wrong_path)
{
    char text[EDGE_TEXT_MAX + 1];
    snprintf(text, sizeof text, "a malformed %s%s%s", request,
             wrong_path != NULL ? ": of a path in it: " : "", wrong_path != NULL ? wrong_path : "");
    session_end(e, EDGE_CLOSING_PROTOCOL, text);
    return SESSION_ENDED;
}

/* The rule that the first bad subtree of a list breaks, whose decoder gave up there or later. */
static const char *wrong_subtree(struct edge_subtrees list, const uint8_t *end)
{
    const char *subtree, *wrong = NULL;
    size_t length;
    if (list.at == NULL)
        return NULL;
    list.length = (size_t)(end - list.at);
    while (wrong == NULL && edge_subtree_next(&list, &subtree, &length))
        wrong = topic_subtree_check(subtree, length);
    return wrong;
}

static enum session_read too_many(struct session *e, uint8_t request)
{
    return refuse(
        e, request, EDGE_REFUSED_QUOTA,
        "too many subtrees, or bytes of them, of this key or of all clients here: name fewer, of which "
        "each has all below it, or have the key's limit or subtrees_max of the proxy raised");
}

/* `coming` is the set from here on. */
static bool subscribe(struct session *e, struct position tip)
{
    struct reader *r = session_reader(e);
    e->request.subtrees = e->coming.subtrees;
    if (r != NULL)
        reader_mark(r, e->login);
    if (r == NULL || reader_subscribe(r, &e->request, tip) != READER_OK) {
        session_set_free(e, &e->coming);
        return false;
    }
    e->set = e->coming;
    e->coming = (struct session_set) { 0 };
    e->subscribed = true;
    return true;
}

/* 0, or when to ask again. */
static uint64_t pay(struct session *e, enum session_paid what)
{
    static const char topic[] = "/sys/edge";
    struct proxy *p = e->all->p;
    uint64_t now = p->now.mono_ns, at_ns = 0;
    if ((e->paid & what) != 0)
        return 0;
    if (what == SESSION_PAID_KEY)
        at_ns = limiter_pace_account(p->limiter, e->account, now);
    else if (what == SESSION_PAID_LIMIT)
        at_ns =
            limiter_take(p->limiter, e->account, topic, sizeof topic - 1, SYS_EDGE_SIZE_MAX, now);
    else
        at_ns = limiter_pace_address(p->limiter, e->addr.ip, now);
    e->paid |= at_ns == 0 ? (uint8_t)what : 0;
    return at_ns;
}

/* What it asks for becomes a message, which counts as one of its own, and stays for ever. */
static bool may_write_down(struct session *e)
{
    uint64_t at_ns = pay(e, SESSION_PAID_KEY);
    if (at_ns == 0)
        at_ns = pay(e, SESSION_PAID_LIMIT);
    if (at_ns == 0)
        at_ns = pay(e, SESSION_PAID_ADDRESS);
    if (at_ns == 0) {
        e->paid = 0;
        return true;
    }
    if (!e->stopped)
        proxy_count(e->all->p, COUNTER_THROTTLED);
    session_retry_at(e, at_ns);
    return false;
}

static enum session_read on_subscribe(struct session *e, const uint8_t *body, size_t length)
{
    struct edge_subscribe request;
    enum session_read result;
    if (!edge_subscribe_decode(body, length, &request))
        return malformed(e, "SUBSCRIBE", wrong_subtree(request.subtrees, body + length));
    if (e->subscribed)
        return refuse(e, EDGE_SUBSCRIBE, EDGE_REFUSED_ORDER, "it is subscribed already: CHANGE");
    if (!may_read(e, request.subtrees, EDGE_SUBSCRIBE, &result))
        return result;
    const struct edge_change all = { .add = request.subtrees };
    /* Where it begins, or what it may read, is known from its record. */
    bool recorded =
        request.from == EDGE_FROM_TIP ||
        readers_rights_since(e->all->p->readers, e->principal, request.subtrees, e->login.seq);
    if (recorded && !may_write_down(e))
        return SESSION_LATER;
    if (combine(e, &all) != 0)
        return too_many(e, EDGE_SUBSCRIBE);
    e->request = request;
    if (recorded) {
        e->changing = true;
        e->changes++;
        session_record(e);
    } else if (!subscribe(e, e->all->p->position)) {
        return too_many(e, EDGE_SUBSCRIBE);
    }
    return SESSION_READ;
}

static enum session_read on_change(struct session *e, const uint8_t *body, size_t length)
{
    struct edge_change change;
    enum session_read result;
    if (!edge_change_decode(body, length, &change)) {
        const char *wrong = wrong_subtree(change.add, body + length);
        return malformed(e, "CHANGE",
                         wrong != NULL ? wrong : wrong_subtree(change.remove, body + length));
    }
    if (!e->subscribed)
        return refuse(e, EDGE_CHANGE, EDGE_REFUSED_ORDER, "there is no subscription to change");
    if (!may_read(e, change.add, EDGE_CHANGE, &result))
        return result;
    if (!may_write_down(e))
        return SESSION_LATER;
    uint8_t reason = combine(e, &change);
    if (reason == EDGE_REFUSED_LARGE)
        return refuse(e, EDGE_CHANGE, reason,
                      "a subscription has at most 1024 subtrees: name some that others are below");
    if (reason != 0)
        return too_many(e, EDGE_CHANGE);
    e->changing = true;
    e->changes++;
    session_record(e);
    return SESSION_READ;
}

void session_changed(struct session *e, struct position position)
{
    bool done;
    uint8_t request = e->subscribed ? EDGE_CHANGE : EDGE_SUBSCRIBE;
    e->changing = false;
    e->all->more = e->all->more || e->stopped;
    if (e->subscribed) {
        bool late = (e->all->p->o.sabotage & PROXY_CHANGES_LATE) != 0;
        done = reader_change(e->reader, &e->coming.subtrees, position.seq + 1 + late, e->changes) ==
               READER_OK;
        session_set_free(e, done ? &e->set : &e->coming);
        if (done)
            e->set = e->coming;
        e->coming = (struct session_set) { 0 };
    } else {
        done = subscribe(e, position);
    }
    if (!done && session_may_say(e))
        too_many(e, request);
    else if (!done)
        session_end(e, EDGE_CLOSING_SLOW, NULL);
}

/* ---- publishing ------------------------------------------------------------------------------ */

static enum session_read act_on(struct session *e, enum relay_verdict verdict, uint64_t retry_ns,
                                const struct edge_refused *refused)
{
    switch (verdict) {
    case RELAY_DONE:
        return SESSION_READ;
    case RELAY_LATER:
        session_retry_at(e, retry_ns);
        return SESSION_LATER;
    case RELAY_REFUSED:
        session_refuse(e, refused);
        return SESSION_READ;
    case RELAY_BROKEN:
        break;
    }
    session_end(e, EDGE_CLOSING_QUOTA, refused->text);
    return SESSION_ENDED;
}

static enum session_read on_open(struct session *e, const uint8_t *body, size_t length)
{
    struct edge_open open;
    struct edge_refused refused = { .request = EDGE_OPEN };
    if (!edge_open_decode(body, length, &open))
        return malformed(e, "OPEN", NULL);
    struct relay *relay = e->all->p->relay;
    bool writes = false;
    enum relay_verdict verdict = relay_may_open(relay, e, &open, &writes, &refused);
    if (verdict == RELAY_REFUSED && refused.reason == EDGE_REFUSED_RIGHT && !session_is_settled(e))
        return SESSION_LATER;
    if (verdict == RELAY_DONE && writes && !may_write_down(e)) /* a refusal costs nothing */
        return SESSION_LATER;
    if (verdict == RELAY_DONE)
        relay_open(relay, e, &open);
    return act_on(e, verdict, PORT_NEVER, &refused);
}

static const char *wrong_topic(const struct edge_publish *p)
{
    const char *wrong = NULL;
    if (p->topic_length > 0)
        wrong = topic_path_check(p->topic, p->topic_length);
    if (wrong == NULL && p->condition_topic_length > 0)
        wrong = topic_path_check(p->condition_topic, p->condition_topic_length);
    return wrong;
}

static enum session_read on_publish(struct session *e, const uint8_t *body, size_t length)
{
    struct edge_publish publish;
    struct edge_refused refused = { .request = EDGE_PUBLISH };
    uint64_t retry_ns = PORT_NEVER;
    if (!edge_publish_decode(body, length, &publish))
        return malformed(e, "PUBLISH", wrong_topic(&publish));
    e->short_of_bytes = e->deficit < length;
    if (e->short_of_bytes) {
        e->all->more = true;
        return SESSION_LATER;
    }
    refused.publisher = publish.publisher;
    refused.number = publish.number;
    enum relay_verdict verdict = relay_publish(e->all->p->relay, e, &publish, &retry_ns, &refused);
    if (verdict != RELAY_LATER)
        e->deficit -= length;
    else if (!e->stopped)
        proxy_count(e->all->p, COUNTER_THROTTLED);
    return act_on(e, verdict, retry_ns, &refused);
}

/* ---- frames ---------------------------------------------------------------------------------- */

static enum session_read on_alive(struct session *e)
{
    uint8_t frame[EDGE_HEADER];
    session_say(e, frame, edge_alive_encode(frame, sizeof frame));
    return SESSION_READ;
}

static enum session_read out_of_order(struct session *e)
{
    session_end(e, EDGE_CLOSING_PROTOCOL, "not what comes next in the protocol");
    return SESSION_ENDED;
}

static enum session_read on_request(struct session *e, enum edge_type type, const uint8_t *body,
                                    size_t length)
{
    if (!session_may_say(e) || e->changing)
        return SESSION_LATER;
    if (type != EDGE_PUBLISH && e->requests++ >= SESSION_REQUESTS_MAX) {
        e->all->more = true;
        return SESSION_LATER;
    }
    if (type == EDGE_SUBSCRIBE)
        return on_subscribe(e, body, length);
    if (type == EDGE_CHANGE)
        return on_change(e, body, length);
    if (type == EDGE_OPEN)
        return on_open(e, body, length);
    if (type == EDGE_PUBLISH)
        return on_publish(e, body, length);
    if (type == EDGE_WHO)
        return session_who(e, body, length);
    return type == EDGE_ALIVE ? on_alive(e) : out_of_order(e);
}

static enum session_read on_frame(struct session *e, enum edge_type type, const uint8_t *body,
                                  size_t length)
{
    switch (e->state) {
    case SESSION_HELLO:
        return type == EDGE_HELLO ? session_hello(e, body, length) : out_of_order(e);
    case SESSION_CHALLENGED:
        return type == EDGE_PROVE ? session_prove(e, body, length) : out_of_order(e);
    case SESSION_OPEN:
        return on_request(e, type, body, length);
    case SESSION_WAITING:
    case SESSION_PROVEN:
    case SESSION_LOGGED:
    case SESSION_FREE:
    case SESSION_LEAVING:
        break;
    }
    return SESSION_LATER;
}

/* ---- requests that come in pieces ------------------------------------------------------------ */

void session_large_free(struct session *e)
{
    struct session_large *l = &e->large;
    if (l->memory == NULL)
        return;
    buddy_give(e->all->buddy, l->memory, l->size);
    limiter_subtract(e->all->p->limiter, e->account, LIMITER_SET_BYTES, buddy_size(l->size));
    *l = (struct session_large) { 0 };
}

static bool has_subtrees(uint8_t type)
{
    return type == EDGE_SUBSCRIBE || type == EDGE_CHANGE;
}

/* Of one that is longer than others may be: memory of the account's, which it has while there is room. */
static enum session_read begin_large(struct session *e, const uint8_t *bytes)
{
    struct sessions *s = e->all;
    struct limiter *l = s->p->limiter;
    size_t size = (size_t)wire_load32(bytes) + 4;
    char text[EDGE_TEXT_MAX + 1];
    if (e->state != SESSION_OPEN || !has_subtrees(bytes[4]) || size > SESSION_LARGE_MAX) {
        snprintf(text, sizeof text,
                 "a request that is too long: one has at most %zu bytes here, a SUBSCRIBE or "
                 "CHANGE %d",
                 s->request_max, SESSION_LARGE_MAX);
        session_end(e, EDGE_CLOSING_PROTOCOL, text);
        return SESSION_ENDED;
    }
    if (limiter_may_have(l, e->account, LIMITER_SET_BYTES, buddy_size(size), s->set_bytes_max))
        e->large.memory = buddy_take(s->buddy, size);
    if (e->large.memory == NULL) {
        snprintf(text, sizeof text,
                 "no room for a request of %zu bytes: name fewer subtrees, of which each has all "
                 "below it, or let the operator raise subtrees_max of this proxy",
                 size);
        session_end(e, EDGE_CLOSING_QUOTA, text);
        return SESSION_ENDED;
    }
    limiter_add(l, e->account, LIMITER_SET_BYTES, buddy_size(size));
    e->large.size = size;
    return SESSION_READ;
}

static enum session_read read_large(struct session *e, const uint8_t *bytes, size_t length,
                                    size_t *used)
{
    struct session_large *l = &e->large;
    size_t left = l->size - l->have, take = left < length ? left : length;
    memcpy(l->memory + l->have, bytes, take);
    *used = take;
    if (take < left) {
        l->have += take;
        return SESSION_READ;
    }
    enum session_read result =
        on_frame(e, (enum edge_type)l->memory[4], l->memory + EDGE_HEADER, l->size - EDGE_HEADER);
    if (result == SESSION_READ)
        session_large_free(e);
    return result;
}

/* The first frame of these bytes. *used stays 0 if it is not whole. */
static enum session_read read_one(struct session *e, const uint8_t *bytes, size_t length,
                                  size_t *used)
{
    enum edge_type type;
    if (e->state == SESSION_HELLO && session_text_looks_so(bytes, length))
        return session_text_hello(e, bytes, length, used);
    if (e->large.memory != NULL)
        return read_large(e, bytes, length, used);
    size_t frame = edge_frame_peek(bytes, length, &type);
    if (frame == SIZE_MAX) {
        session_end(e, EDGE_CLOSING_PROTOCOL, "not a frame");
        return SESSION_ENDED;
    }
    if (length >= EDGE_HEADER && wire_load32(bytes) + 4 > e->all->request_max)
        return begin_large(e, bytes) == SESSION_READ ? read_large(e, bytes, length, used)
                                                     : SESSION_ENDED;
    if (frame == 0)
        return SESSION_READ;
    *used = frame;
    return on_frame(e, type, bytes + EDGE_HEADER, frame - EDGE_HEADER);
}

/* A quantum in each round, and what was too little for the next message. */
static void begin_round(struct session *e)
{
    struct sessions *s = e->all;
    if (e->round == s->round)
        return;
    e->round = s->round;
    e->requests = 0;
    e->deficit = s->p->o.quantum_bytes + (e->short_of_bytes ? e->deficit : 0);
    e->short_of_bytes = false;
}

size_t session_read(struct session *e, const uint8_t *bytes, size_t length)
{
    struct proxy *p = e->all->p;
    uint32_t stream = e->stream;
    if (length > e->unread) {
        e->heard_ns = p->now.mono_ns;
        e->bytes_in += length - e->unread;
        p->counters[COUNTER_CLIENT_BYTES_IN] += length - e->unread;
    }
    begin_round(e);
    size_t at = 0;
    bool stopped = e->state == SESSION_WAITING;
    while (!stopped && at < length) {
        if (e->is_text && e->state != SESSION_HELLO) {
            at = length; /* whatever it says */
            break;
        }
        size_t used = 0;
        enum session_read result = read_one(e, bytes + at, length - at, &used);
        if (result == SESSION_ENDED)
            return length;
        assert(e->stream == stream);
        if (result == SESSION_LATER)
            stopped = true;
        else if (used == 0)
            break;
        else
            at += used;
    }
    e->unread = length - at;
    session_stopped(e, stopped);
    return at;
}
