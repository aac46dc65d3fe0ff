#include "proto/status.h"

#include <string.h>

#include "control.pb-c.h"
#include "proto/arena.h"

/* protobuf-c's structs want writable strings and arrays of pointers. All of them live in one of
 * these on the stack. */
struct packing {
    Cantus__Status status;
    Cantus__Epoch epoch;
    Cantus__Member members[MEMBERS_MAX];
    Cantus__Member *member_list[MEMBERS_MAX];
    Cantus__Publisher publishers[STATUS_PUBLISHERS_MAX];
    Cantus__Publisher *publisher_list[STATUS_PUBLISHERS_MAX];
    Cantus__Counter counters[COUNTER_END];
    Cantus__Counter *counter_list[COUNTER_END];
    char counter_names[COUNTER_END][32];
    struct status copy;
};

static bool terminated(const char *text, size_t capacity)
{
    return memchr(text, '\0', capacity) != NULL;
}

static bool status_valid(const struct status *s)
{
    if (s->member_count > MEMBERS_MAX || !terminated(s->role, sizeof s->role) ||
        !terminated(s->state, sizeof s->state) || !terminated(s->session, sizeof s->session))
        return false;
    uint32_t listed =
        s->publisher_count < STATUS_PUBLISHERS_MAX ? s->publisher_count : STATUS_PUBLISHERS_MAX;
    for (uint32_t i = 0; i < listed; i++) {
        if (!terminated(s->publishers[i].identity, sizeof s->publishers[i].identity))
            return false;
    }
    return true;
}

static void pack_members(struct packing *p)
{
    const struct status *s = &p->copy;
    for (uint32_t i = 0; i < s->member_count; i++) {
        Cantus__Member *m = &p->members[i];
        cantus__member__init(m);
        m->store = s->members[i].store;
        m->durable_seq = s->members[i].durable_seq;
        m->current = s->members[i].current;
        m->full = s->members[i].full;
        m->age_ns = s->members[i].age_ns;
        p->member_list[i] = m;
    }
    p->status.n_members = s->member_count;
    p->status.members = p->member_list;
}

static void pack_publishers(struct packing *p)
{
    struct status *s = &p->copy;
    uint32_t listed =
        s->publisher_count < STATUS_PUBLISHERS_MAX ? s->publisher_count : STATUS_PUBLISHERS_MAX;
    for (uint32_t i = 0; i < listed; i++) {
        Cantus__Publisher *out = &p->publishers[i];
        cantus__publisher__init(out);
        out->id = s->publishers[i].id;
        out->identity = s->publishers[i].identity;
        out->incarnation = s->publishers[i].incarnation;
        out->next_number = s->publishers[i].next_number;
        p->publisher_list[i] = out;
    }
    p->status.n_publishers = listed;
    p->status.publishers = p->publisher_list;
}

static void pack_counters(struct packing *p)
{
    for (uint32_t i = 0; i < COUNTER_END; i++) {
        Cantus__Counter *out = &p->counters[i];
        cantus__counter__init(out);
        const char *name = counter_name((enum counter)i);
        memcpy(p->counter_names[i], name, strnlen(name, sizeof p->counter_names[i] - 1) + 1);
        out->name = p->counter_names[i];
        out->value = p->copy.counters[i];
        p->counter_list[i] = out;
    }
    p->status.n_counters = COUNTER_END;
    p->status.counters = p->counter_list;
}

size_t status_encode(const struct status *in, uint8_t *out, size_t capacity)
{
    if (!status_valid(in))
        return 0;
    struct packing p;
    p.copy = *in;
    struct status *s = &p.copy;
    cantus__status__init(&p.status);
    cantus__epoch__init(&p.epoch);
    p.epoch.number = s->epoch.number;
    p.epoch.candidate = s->epoch.candidate;
    p.epoch.first_seq = s->epoch_first_seq;
    p.status.role = s->role;
    p.status.state = s->state;
    p.status.stream = s->stream;
    p.status.session = s->session;
    p.status.epoch = &p.epoch;
    p.status.tip = s->tip;
    p.status.stable = s->stable;
    p.status.is_volatile = s->is_volatile;
    p.status.quorum = s->quorum;
    p.status.publisher_count = s->publisher_count;
    p.status.topic_count = s->topic_count;
    p.status.uptime_ns = s->uptime_ns;
    p.status.memory_bytes = s->memory_bytes;
    p.status.store = s->store;
    p.status.epochs_used = s->epochs_used;
    p.status.clock_ns = s->clock_ns;
    pack_members(&p);
    pack_publishers(&p);
    pack_counters(&p);
    size_t size = cantus__status__get_packed_size(&p.status);
    if (size > capacity || size > STATUS_SIZE_MAX)
        return 0;
    return cantus__status__pack(&p.status, out);
}

/* ---- decoding -------------------------------------------------------------------------------- */

static bool copy_text(char *out, size_t capacity, const char *text)
{
    size_t length = strlen(text);
    if (length >= capacity)
        return false;
    memcpy(out, text, length + 1);
    return true;
}

static bool read_lists(const Cantus__Status *in, struct status *out)
{
    if (in->n_members > MEMBERS_MAX || in->n_publishers > STATUS_PUBLISHERS_MAX)
        return false;
    out->member_count = (uint32_t)in->n_members;
    for (size_t i = 0; i < in->n_members; i++) {
        const Cantus__Member *m = in->members[i];
        out->members[i].store = m->store;
        out->members[i].durable_seq = m->durable_seq;
        out->members[i].age_ns = m->age_ns;
        out->members[i].current = m->current;
        out->members[i].full = m->full;
    }
    out->publisher_count = in->publisher_count;
    uint32_t listed =
        in->publisher_count < STATUS_PUBLISHERS_MAX ? in->publisher_count : STATUS_PUBLISHERS_MAX;
    if (in->n_publishers != listed)
        return false;
    for (size_t i = 0; i < in->n_publishers; i++) {
        const Cantus__Publisher *p = in->publishers[i];
        out->publishers[i].id = p->id;
        out->publishers[i].incarnation = p->incarnation;
        out->publishers[i].next_number = p->next_number;
        if (!copy_text(out->publishers[i].identity, sizeof out->publishers[i].identity,
                       p->identity))
            return false;
    }
    /* By name: a peer of another release may have counters that we don't, and the reverse. */
    for (size_t i = 0; i < in->n_counters; i++) {
        for (uint32_t c = 0; c < COUNTER_END; c++) {
            if (strcmp(in->counters[i]->name, counter_name((enum counter)c)) == 0)
                out->counters[c] = in->counters[i]->value;
        }
    }
    return true;
}

static bool read_status(const Cantus__Status *in, struct status *out)
{
    out->stream = in->stream;
    out->epoch.number = in->epoch->number;
    out->epoch.candidate = in->epoch->candidate;
    out->epoch_first_seq = in->epoch->first_seq;
    out->tip = in->tip;
    out->stable = in->stable;
    out->is_volatile = in->is_volatile;
    out->quorum = in->quorum;
    out->topic_count = in->topic_count;
    out->uptime_ns = in->uptime_ns;
    out->memory_bytes = in->memory_bytes;
    out->store = in->store;
    out->epochs_used = in->epochs_used;
    out->clock_ns = in->clock_ns;
    return copy_text(out->role, sizeof out->role, in->role) &&
           copy_text(out->state, sizeof out->state, in->state) &&
           copy_text(out->session, sizeof out->session, in->session) && read_lists(in, out);
}

bool status_decode(const uint8_t *bytes, size_t length, struct status *out)
{
    memset(out, 0, sizeof *out);
    if (length > STATUS_SIZE_MAX)
        return false;
    struct arena arena;
    ProtobufCAllocator allocator = arena_allocator(&arena);
    Cantus__Status *in = cantus__status__unpack(&allocator, length, bytes);
    if (in == NULL)
        return false;
    bool good = read_status(in, out);
    if (!good)
        memset(out, 0, sizeof *out);
    return good;
}
