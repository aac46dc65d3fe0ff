/* Turns to log in, records on /sys/edge. */
#include "proxy/session_private.h"

/* ---- turns to log in ------------------------------------------------------------------------- */

/* Its address may begin one login more. */
static bool may_begin(struct session *e)
{
    struct proxy *p = e->all->p;
    if (!limiter_begin_login(p->limiter, e->addr.ip, e->all->logins_per_addr))
        return false;
    uint64_t at_ns = limiter_pace_address(p->limiter, e->addr.ip, p->now.mono_ns);
    if (at_ns == 0)
        return true;
    limiter_end_login(p->limiter, e->addr.ip);
    if (at_ns < e->all->turns_ns)
        e->all->turns_ns = at_ns;
    session_retry_at(e, at_ns);
    if (!e->paced)
        proxy_count(p, COUNTER_THROTTLED);
    e->paced = true;
    return false;
}

void session_take_turn(struct session *e)
{
    struct sessions *s = e->all;
    struct proxy *p = s->p;
    if (s->logins >= p->o.logins_max || !proxy_ready(p) || !may_begin(e))
        return;
    session_list_remove(e);
    e->in_login = true;
    e->state = SESSION_HELLO;
    e->since_ns = p->now.mono_ns;
    s->logins++;
    s->more = s->more || e->unread > 0;
}

void session_end_login(struct session *e)
{
    if (!e->in_login)
        return;
    e->in_login = false;
    e->all->logins--;
    e->all->turns_refused = 0;
    limiter_end_login(e->all->p->limiter, e->addr.ip);
}

/* Whose address has too many that are logging in goes to the end. */
void sessions_give_turns(struct sessions *s)
{
    if (s->turns_ns <= s->p->now.mono_ns) {
        s->turns_ns = PORT_NEVER;
        s->turns_refused = 0;
    }
    if (!proxy_ready(s->p) || s->logins >= s->p->o.logins_max)
        return;
    for (uint32_t i = 0; i < SESSION_TURNS_MAX && s->turns_refused < s->waiting.count; i++) {
        struct session *e = session_first(s, &s->waiting);
        session_take_turn(e);
        if (e->state != SESSION_WAITING) {
            s->turns_refused = 0;
            continue;
        }
        session_list_remove(e);
        session_list_push(&s->waiting, e);
        s->turns_refused++;
    }
    s->more = s->more || s->turns_refused < s->waiting.count;
}

/* ---- records --------------------------------------------------------------------------------- */

/* False: there is no room. */
static bool write_record(struct session *e)
{
    struct sys_edge record = { .session = e->id };
    switch (e->state) {
    case SESSION_PROVEN:
        record.kind = SYS_EDGE_LOGIN;
        record.has_key = e->has_key;
        memcpy(record.key, e->key, sizeof record.key);
        memcpy(record.challenge, e->challenge, sizeof record.challenge);
        record.ip = e->addr.ip;
        record.port = e->addr.port;
        memcpy(record.agent, e->agent, sizeof record.agent);
        break;
    case SESSION_OPEN:
        record.kind = SYS_EDGE_CHANGE;
        record.change = e->changes;
        break;
    case SESSION_LEAVING:
        record.kind = SYS_EDGE_LOGOUT;
        record.reason = e->reason;
        record.has_key = e->has_key;
        memcpy(record.key, e->key, sizeof record.key);
        break;
    case SESSION_FREE:
    case SESSION_WAITING:
    case SESSION_HELLO:
    case SESSION_CHALLENGED:
    case SESSION_LOGGED:
        assert(false);
    }
    return relay_record(e->all->p->relay, e->slot, &record);
}

static bool try_record(struct session *e)
{
    if (!write_record(e))
        return false;
    session_list_remove(e);
    if (e->state == SESSION_PROVEN)
        e->state = SESSION_LOGGED;
    else if (e->state == SESSION_LEAVING)
        session_free_slot(e);
    return true;
}

void session_record(struct session *e)
{
    if (e->all->recording.count > 0 || !try_record(e))
        session_list_push(&e->all->recording, e);
}

void sessions_record_all(struct sessions *s)
{
    struct session *e;
    while ((e = session_first(s, &s->recording)) != NULL && try_record(e)) {
    }
}

void sessions_recorded(struct sessions *s, uint32_t slot, const struct sys_edge *record,
                       struct position position)
{
    struct session *e = &s->table[slot];
    if (slot >= s->high || e->id != record->session)
        return;
    if (record->kind == SYS_EDGE_LOGIN && e->state == SESSION_LOGGED)
        session_accepted(e, position);
    else if (record->kind == SYS_EDGE_LOGIN && e->state == SESSION_OPEN)
        e->recorded = position;
    else if (record->kind == SYS_EDGE_CHANGE && e->state == SESSION_OPEN && e->changing &&
             e->changes == record->change)
        session_changed(e, position);
    else if (record->kind == SYS_EDGE_CHANGE && e->subscribed && e->reader != NULL)
        reader_change_again(e->reader, position.seq + 1, record->change);
}

void sessions_principals(struct sessions *s)
{
    const struct access *access = catalog_access(s->p->catalog);
    if (s->principal_end == access_principal_end(access))
        return;
    s->principal_end = access_principal_end(access);
    for (uint32_t i = 0; i < s->high; i++)
        session_look_up_principal(&s->table[i]);
}
