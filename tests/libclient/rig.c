#include "rig.h"

#include <stdio.h>

bool rig_inside;

/* ---- port ------------------------------------------------------------------------------------ */

static uint32_t fake_connect(struct port *port, struct port_addr to)
{
    (void)port;
    (void)to;
    return 0;
}

static size_t fake_room(struct port *port, uint32_t stream, size_t want)
{
    (void)port;
    (void)stream;
    (void)want;
    return 0;
}

static void fake_write(struct port *port, uint32_t stream, const void *bytes, size_t length)
{
    (void)port;
    (void)stream;
    (void)bytes;
    (void)length;
}

static void fake_close(struct port *port, uint32_t stream)
{
    (void)port;
    (void)stream;
}

static const struct port_ops fake = { .send = leader_send,
                                      .scratch = leader_scratch,
                                      .stream_connect = fake_connect,
                                      .stream_room = fake_room,
                                      .stream_write = fake_write,
                                      .stream_close = fake_close };

void rig_port_init(struct rig *r)
{
    leader_port_init(&r->leader, &fake);
}

/* ---- driving --------------------------------------------------------------------------------- */

static void feed(struct rig *r, const uint8_t *bytes, uint32_t length, enum port_channel channel)
{
    struct port_datagram d = {
        .bytes = bytes, .length = length, .from = { RIG_HERE, 5000 }, .channel = channel
    };
    rig_inside = true;
    client_participant.on_datagrams(r->core, &d, 1, r->now);
    rig_inside = false;
}

void rig_hint(struct rig *r, struct hint h)
{
    uint8_t bytes[SIGNAL_SIZE_MAX];
    size_t length = hint_encode(&h, RIG_STREAM, bytes, sizeof bytes);
    ck_assert_uint_gt(length, 0);
    feed(r, bytes, (uint32_t)length, PORT_UNICAST);
}

void rig_step(struct rig *r)
{
    for (int i = 0; i < 64; i++) {
        rig_inside = true;
        r->deadline = client_participant.step(r->core, r->now);
        rig_inside = false;
        if (r->deadline > r->now.mono_ns)
            return;
    }
}

void rig_run(struct rig *r)
{
    for (int i = 0; i < 4000; i++) {
        leader_deliver(r);
        rig_step(r);
        bool quiet = r->leader.sent_count == 0 && r->leader.log_delivered == r->leader.log_count;
        leader_hear(r);
        if (quiet && r->leader.log_delivered == r->leader.log_count && r->leader.sent_count == 0)
            return;
    }
}

bool rig_run_until(struct rig *r, bool (*done)(struct rig *r), uint64_t ns, uint32_t rounds)
{
    for (uint32_t i = 0; i < rounds; i++) {
        rig_run(r);
        if (done != NULL && done(r))
            return true;
        r->now.mono_ns += ns;
        r->now.wall_ns += ns;
    }
    return done == NULL;
}

void rig_tick(struct rig *r, uint64_t timestamp_ns)
{
    r->leader.timestamp_ns = timestamp_ns;
    rig_emit(r, TOPIC_CLOCK, 0, 0, 0, NULL, 0);
    rig_run(r);
}

/* ---- making ---------------------------------------------------------------------------------- */

static void on_report(void *ctx, const struct cantus_report *report)
{
    struct rig *r = ctx;
    if (report->text == NULL || report->identity == NULL || report->topic == NULL)
        abort();
    if (r->report_count == RIG_REPORTS_MAX)
        return;
    struct rig_report *out = &r->reports[r->report_count++];
    out->r = *report;
    snprintf(out->identity, sizeof out->identity, "%s", report->identity);
    snprintf(out->topic, sizeof out->topic, "%s", report->topic);
    snprintf(out->text, sizeof out->text, "%s", report->text);
}

const struct rig_report *rig_reported(const struct rig *r, enum cantus_report_kind kind)
{
    for (uint32_t i = 0; i < r->report_count; i++) {
        if (r->reports[i].r.kind == kind)
            return &r->reports[i];
    }
    return NULL;
}

void rig_see(void *ctx, const struct cantus_message *m)
{
    struct rig *r = ctx;
    if (r->seen_count == RIG_SEEN_MAX)
        abort();
    struct rig_seen *s = &r->seen[r->seen_count++];
    *s = (struct rig_seen) { .seq = m->seq,
                             .timestamp_ns = m->timestamp_ns,
                             .publisher_seq = m->publisher_seq,
                             .length = m->length,
                             .hash = cantus_hash(0, m->payload, m->length) };
    snprintf(s->topic, sizeof s->topic, "%s", m->topic);
    snprintf(s->publisher, sizeof s->publisher, "%s", m->publisher);
    size_t head = m->length < sizeof s->head - 1 ? m->length : sizeof s->head - 1;
    memcpy(s->head, m->payload, head);
}

void rig_make_core(struct rig *r)
{
    r->core = client_core_create(&r->options, &r->leader.port, r->now, r->error);
    ck_assert_msg(r->core != NULL, "%s", r->error);
}

struct machine *rig_add(struct rig *r, const struct cantus_app *app, const char *config,
                        const char *identity)
{
    struct machine *m = client_core_add_app(r->core, app, config, identity, r->error);
    ck_assert_msg(m != NULL, "%s", r->error);
    return m;
}

void rig_subscribe(struct rig *r, const char *subtree)
{
    ck_assert_msg(client_core_subscribe(r->core, subtree, rig_see, r, r->error), "%s", r->error);
}

static struct rig *make(enum follower_level level, bool is_volatile)
{
    struct rig *r = calloc(1, sizeof *r);
    ck_assert_ptr_nonnull(r);
    r->leader.is_volatile = is_volatile;
    rig_port_init(r);
    r->now = (struct port_time) { .mono_ns = SECOND, .wall_ns = 1000 * SECOND };
    r->leader.timestamp_ns = 1000 * SECOND;
    r->options = (struct client_core_options) {
        .follower = { .stream = RIG_STREAM, .level = level, .pending_max = 1024 },
        .catalog = { .topics_max = 1024, .publishers_max = 256 },
        .random = 42,
        .report = on_report,
        .ctx = r,
    };
    r->leader.feed = feed;
    r->leader.fills_gaps = true;
    leader_begin(r, &r->options.catalog, NULL);
    rig_make_core(r);
    return r;
}

struct rig *rig_new(enum follower_level level)
{
    return make(level, false);
}

struct rig *rig_new_volatile(void)
{
    return make(FOLLOWER_SEQUENCED, true);
}

void rig_restart(struct rig *r)
{
    client_core_destroy(r->core);
    r->options.random++;
    r->leader.log_delivered = 0;
    r->leader.sent_count = 0;
    rig_make_core(r);
}

void rig_free(struct rig *r)
{
    client_core_destroy(r->core);
    leader_end(r);
    free(r);
}
