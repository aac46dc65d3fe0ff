/* Snapshots of a machine.
 *
 *   u32 magic, u32 format, u64 hash of the app's name, u32 logic version, position (20), u32 nodes,
 *   u32 timers
 *   a node: u64 hash of its name, u32 logic version, u64 length, what its app wrote
 *   a timer, the last to fire first: u64 due, u64 id, u32 node
 *   u64 XXH3-64 of all before it */
#include "libclient/machine_private.h"

#include "proto/hash.h"

enum { SNAPSHOT_MAGIC = 0x6e537443, SNAPSHOT_FORMAT = 1, CHECKSUM_SIZE = 8 };

void cantus_write(struct cantus_writer *w, const void *bytes, size_t length)
{
    if (length > 0)
        wire_put_bytes(&w->wire, bytes, length);
}

void cantus_write_u64(struct cantus_writer *w, uint64_t value)
{
    wire_put64(&w->wire, value);
}

bool cantus_read(struct cantus_reader *r, void *bytes, size_t length)
{
    if (length == 0)
        return !r->wire.failed;
    const uint8_t *from = wire_get_bytes(&r->wire, length);
    if (from == NULL) {
        memset(bytes, 0, length);
        return false;
    }
    memcpy(bytes, from, length);
    return true;
}

uint64_t cantus_read_u64(struct cantus_reader *r)
{
    return wire_get64(&r->wire);
}

static uint64_t name_hash(const struct cantus_app *app)
{
    return hash64(app->name, strlen(app->name), SNAPSHOT_FORMAT);
}

static void put_node(struct wire_writer *w, const struct machine_node *n)
{
    wire_put64(w, name_hash(n->app));
    wire_put32(w, n->app->logic_version);
    uint8_t *length_at = w->at;
    wire_put64(w, 0);
    if (w->failed)
        return;
    struct cantus_writer app_writer = { .wire = wire_writer_of(w->at, (size_t)(w->end - w->at)) };
    if (n->app->save != NULL)
        n->app->save(n->state, &app_writer);
    if (app_writer.wire.failed) {
        w->failed = true;
        return;
    }
    size_t length = (size_t)(app_writer.wire.at - app_writer.wire.begin);
    wire_store64(length_at, length);
    w->at += length;
}

/* Without save, all of an app's state must be its parts'. */
static bool can_save(const struct machine_node *n)
{
    if (n->app->save != NULL)
        return n->app->load != NULL;
    size_t parts = 0;
    for (size_t i = 0; i < n->app->part_count; i++)
        parts += n->app->parts[i].app->state_size;
    return n->app->state_size == parts;
}

size_t machine_save(const struct machine *m, struct position position, uint8_t *out,
                    size_t capacity)
{
    struct wire_writer w = wire_writer_of(out, capacity);
    wire_put32(&w, SNAPSHOT_MAGIC);
    wire_put32(&w, SNAPSHOT_FORMAT);
    wire_put64(&w, name_hash(m->app));
    wire_put32(&w, m->app->logic_version);
    wire_put_position(&w, position);
    wire_put32(&w, m->node_count);
    wire_put32(&w, m->timer_count);
    for (uint32_t i = 0; i < m->node_count; i++) {
        if (!can_save(&m->nodes[i]))
            return 0;
        put_node(&w, &m->nodes[i]);
    }
    for (uint32_t i = 0; i < m->timer_count; i++) {
        wire_put64(&w, m->timers[i].due_ns);
        wire_put64(&w, m->timers[i].id);
        wire_put32(&w, m->timers[i].node);
    }
    size_t length = wire_written(&w);
    if (length == 0)
        return 0;
    wire_put64(&w, hash64(out, length, SNAPSHOT_MAGIC));
    return wire_written(&w);
}

static bool get_node(struct wire_reader *r, const struct machine_node *n)
{
    uint64_t name = wire_get64(r);
    uint32_t version = wire_get32(r);
    uint64_t length = wire_get64(r);
    if (r->failed || name != name_hash(n->app) || version != n->app->logic_version ||
        length > (uint64_t)(r->end - r->at))
        return false;
    struct cantus_reader app_reader = { .wire = wire_reader_of(r->at, (size_t)length) };
    if (n->app->load != NULL && !n->app->load(n->state, &app_reader))
        return false;
    if (n->app->load != NULL ? !wire_reader_done(&app_reader.wire) : length != 0)
        return false;
    r->at += length;
    return true;
}

static bool get_timers(struct machine *m, struct wire_reader *r, uint32_t count)
{
    if (count > CANTUS_TIMERS_MAX)
        return false;
    m->timer_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct machine_timer t;
        t.due_ns = wire_get64(r);
        t.id = wire_get64(r);
        t.node = wire_get32(r);
        if (r->failed || t.node >= m->node_count || (i > 0 && t.due_ns > m->timers[i - 1].due_ns))
            return false;
        m->timers[m->timer_count++] = t;
    }
    return true;
}

static bool get_all(struct machine *m, struct wire_reader *r, struct position *position)
{
    uint32_t magic = wire_get32(r);
    uint32_t format = wire_get32(r);
    uint64_t name = wire_get64(r);
    uint32_t version = wire_get32(r);
    *position = wire_get_position(r);
    uint32_t nodes = wire_get32(r);
    uint32_t timers = wire_get32(r);
    if (r->failed || magic != SNAPSHOT_MAGIC || format != SNAPSHOT_FORMAT ||
        name != name_hash(m->app) || version != m->app->logic_version || nodes != m->node_count)
        return false;
    for (uint32_t i = 0; i < m->node_count; i++) {
        if (!get_node(r, &m->nodes[i]))
            return false;
    }
    return get_timers(m, r, timers) && wire_reader_done(r);
}

bool machine_load(struct machine *m, const uint8_t *bytes, size_t length, struct position *position)
{
    bool fresh = machine_reset(m);
    *position = (struct position) { .seq = 0 };
    if (!fresh || length < CHECKSUM_SIZE)
        return false;
    size_t body = length - CHECKSUM_SIZE;
    if (wire_load64(bytes + body) != hash64(bytes, body, SNAPSHOT_MAGIC))
        return false;
    struct wire_reader r = wire_reader_of(bytes, body);
    if (get_all(m, &r, position))
        return true;
    *position = (struct position) { .seq = 0 };
    machine_reset(m);
    return false;
}
