/* The simulated network, with participants that only note what they see: datagrams through every
 * kind of weather, partitions in one way and both, and byte streams in pieces, under back-pressure,
 * refused, closed and reset. The real processes of the deployment are all down. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "sim/sim_private.h"

enum { FAKES = 3, BYTES_MAX = 1 << 20 };

struct fake {
    struct sim_node *node;
    uint32_t datagrams;
    uint32_t corrupt; /* of them, not as they were sent */
    uint32_t accepted, connected, room, closed;
    uint32_t stream;
    uint8_t *bytes; /* everything that came over the stream */
    size_t length;
    size_t appetite; /* bytes that it consumes at most in a tenth of a millisecond; 0: all */
    uint64_t hungry_ns;
    uint64_t steps;
};

static struct sim *sim;
static struct fake fakes[FAKES];
static uint8_t beat[SIGNAL_SIZE_MAX];
static uint32_t beat_length;

static void on_datagrams(void *core, const struct port_datagram *d, uint32_t count,
                         struct port_time now)
{
    (void)now;
    struct fake *f = core;
    for (uint32_t i = 0; i < count; i++) {
        f->datagrams++;
        f->corrupt += d[i].length != beat_length || memcmp(d[i].bytes, beat, beat_length) != 0;
    }
}

static size_t on_stream(void *core, const struct port_stream_event *e, struct port_time now)
{
    struct fake *f = core;
    size_t taken = 0;
    switch (e->type) {
    case PORT_STREAM_ACCEPTED:
        f->accepted++;
        f->stream = e->stream;
        break;
    case PORT_STREAM_CONNECTED:
        f->connected++;
        break;
    case PORT_STREAM_ROOM:
        f->room++;
        break;
    case PORT_STREAM_CLOSED:
        f->closed++;
        break;
    case PORT_STREAM_BYTES:
        if (f->appetite != 0 && now.mono_ns < f->hungry_ns)
            break;
        f->hungry_ns = now.mono_ns + 100000;
        taken = f->appetite != 0 && f->appetite < e->length ? f->appetite : e->length;
        ck_assert_uint_le(f->length + taken, BYTES_MAX);
        memcpy(f->bytes + f->length, e->bytes, taken);
        f->length += taken;
        break;
    }
    return taken;
}

static uint64_t step(void *core, struct port_time now)
{
    struct fake *f = core;
    f->steps++;
    return now.mono_ns + 100000;
}

static const struct participant_ops fake_ops = {
    .on_datagrams = on_datagrams,
    .on_stream = on_stream,
    .step = step,
};

static void set_up(void)
{
    static const char *const names[FAKES] = { "fake-1", "fake-2", "fake-3" };
    char error[SIM_TEXT_MAX] = "";
    const struct sim_options options = { .seed = 9 };
    sim = sim_create(&options, false, error);
    ck_assert_msg(sim != NULL, "%s", error);
    for (uint32_t i = 0; i < sim->node_count; i++)
        sim_node_crash(sim, sim->nodes[i]);
    for (uint32_t i = 0; i < FAKES; i++) {
        struct sim_node *n = sim_node_add(sim, SIM_CLIENT, i + 1, names[i]);
        ck_assert_ptr_nonnull(n);
        fakes[i] = (struct fake) { .node = n, .bytes = malloc(BYTES_MAX) };
        n->ops = &fake_ops;
        n->core = &fakes[i];
        n->up = true;
        n->port.port.stream_port = i == 1 ? 7000 : 0;
        sim_clock_start(&n->clock, sim->now);
        sim_node_wake(sim, n, sim->now);
    }
    struct ack ack = { .store = 1 };
    beat_length = (uint32_t)ack_encode(&ack, sim->stream, beat, sizeof beat);
}

static void tear_down(void)
{
    for (uint32_t i = 0; i < FAKES; i++) {
        fakes[i].node->up = false;
        fakes[i].node->core = NULL;
        free(fakes[i].bytes);
    }
    sim_destroy(sim);
}

static void pass(uint64_t ns)
{
    uint64_t until = sim->now + ns;
    const struct sim_event *e;
    while ((e = sim_queue_peek(&sim->queue)) != NULL && e->at <= until)
        sim_step(sim);
    sim->now = until;
}

static void send_many(uint32_t from, enum port_channel channel, uint32_t to, uint32_t count)
{
    struct port *port = &fakes[from].node->port.port;
    for (uint32_t i = 0; i < count; i++) {
        port_send(port, channel, fakes[to].node->port.port.self, beat, beat_length);
        sim_net_flush(sim, fakes[from].node);
        pass(20 * SIM_US);
    }
    pass(100 * SIM_MS);
}

START_TEST(a_fair_network_delivers_to_whom_it_is_sent)
{
    send_many(0, PORT_UNICAST, 1, 100);
    ck_assert_uint_eq(fakes[0].datagrams, 0);
    ck_assert_uint_eq(fakes[1].datagrams, 100);
    ck_assert_uint_eq(fakes[2].datagrams, 0);
    send_many(0, PORT_EGRESS_A, 0, 10);
    ck_assert_uint_eq(fakes[0].datagrams, 10); /* a group is heard by its senders too */
    ck_assert_uint_eq(fakes[1].datagrams, 110);
    ck_assert_uint_eq(fakes[2].datagrams, 10);
    send_many(0, PORT_INGRESS, 0, 10);
    ck_assert_uint_eq(fakes[1].datagrams, 110); /* joined by sequencers only */
    ck_assert_uint_eq(fakes[1].corrupt, 0);
    ck_assert_uint_eq(sim->result.lost + sim->result.duplicated + sim->result.corrupted, 0);
}
END_TEST

START_TEST(weather_loses_doubles_delays_and_corrupts)
{
    struct sim_weather *w = &sim->network.weather;
    w->loss = w->duplicate = w->corrupt = w->reorder = w->delay = 100000;
    send_many(0, PORT_UNICAST, 1, 2000);
    const struct sim_result *r = &sim->result;
    ck_assert(r->lost > 100 && r->duplicated > 100 && r->corrupted > 100 && r->delayed > 100 &&
              r->reordered > 100);
    ck_assert_uint_eq(fakes[1].datagrams, 2000 - r->lost + r->duplicated);
    ck_assert_uint_eq(fakes[1].corrupt, r->corrupted);
}
END_TEST

START_TEST(a_partition_may_be_one_way)
{
    uint32_t a = fakes[0].node->port.node;
    uint32_t b = fakes[1].node->port.node;
    sim->network.blocked_until[a][b] = sim->now + 1000 * SIM_MS;
    send_many(0, PORT_UNICAST, 1, 10);
    send_many(1, PORT_UNICAST, 0, 10);
    ck_assert_uint_eq(fakes[1].datagrams, 0);
    ck_assert_uint_eq(fakes[0].datagrams, 10);
    pass(1000 * SIM_MS);
    send_many(0, PORT_UNICAST, 1, 10);
    ck_assert_uint_eq(fakes[1].datagrams, 10);
}
END_TEST

START_TEST(what_lingers_arrives_late)
{
    struct port *port = &fakes[0].node->port.port;
    port_send(port, PORT_UNICAST, fakes[1].node->port.port.self, beat, beat_length);
    sim_net_flush(sim, fakes[0].node);
    ck_assert_uint_eq(sim_net_linger(sim, fakes[0].node->port.node, 50 * SIM_MS, 60 * SIM_MS), 1);
    pass(40 * SIM_MS);
    ck_assert_uint_eq(fakes[1].datagrams, 0);
    pass(40 * SIM_MS);
    ck_assert_uint_eq(fakes[1].datagrams, 1);
}
END_TEST

START_TEST(a_frozen_process_reads_later_what_its_socket_holds)
{
    fakes[1].node->frozen_until = sim->now + 200 * SIM_MS;
    uint64_t steps = fakes[1].steps;
    send_many(0, PORT_UNICAST, 1, SIM_INBOX_MAX + 10);
    ck_assert_uint_eq(fakes[1].datagrams, 0);
    ck_assert_uint_eq(fakes[1].steps, steps);
    pass(200 * SIM_MS);
    ck_assert_uint_eq(fakes[1].datagrams, SIM_INBOX_MAX);
    ck_assert_uint_eq(sim->result.lost, 10);
}
END_TEST

START_TEST(bytes_that_change_before_the_flush_are_noticed)
{
    struct port *port = &fakes[0].node->port.port;
    uint8_t copy[SIGNAL_SIZE_MAX];
    sim->watches_bytes = true;
    memcpy(copy, beat, beat_length);
    port_send(port, PORT_UNICAST, fakes[1].node->port.port.self, copy, beat_length);
    copy[beat_length - 1] ^= 1;
    sim_net_flush(sim, fakes[0].node);
    ck_assert_int_eq(sim->result.violated, SIM_BOUNDED);
}
END_TEST

/* ---- streams --------------------------------------------------------------------------------- */

static uint32_t connect_to(uint32_t to)
{
    struct port *port = &fakes[0].node->port.port;
    uint32_t id = port->ops->stream_connect(port, fakes[to].node->port.port.self);
    ck_assert_uint_ne(id, 0);
    pass(SIM_MS);
    return id;
}

static size_t write_some(uint32_t id, size_t length, uint8_t first)
{
    struct port *port = &fakes[0].node->port.port;
    static uint8_t bytes[SIM_STREAM_BUFFER];
    size_t room = port->ops->stream_room(port, id, length);
    size_t now = room < length ? room : length;
    for (size_t i = 0; i < now; i++)
        bytes[i] = (uint8_t)(first + i % 251);
    port->ops->stream_write(port, id, bytes, now);
    return now;
}

START_TEST(a_stream_is_whole_and_in_order)
{
    uint32_t id = connect_to(1);
    ck_assert_uint_eq(fakes[0].connected, 1);
    ck_assert_uint_eq(fakes[1].accepted, 1);
    for (int i = 0; i < 20; i++) {
        ck_assert_uint_eq(write_some(id, 5020, (uint8_t)i), 5020);
        pass(5 * SIM_MS);
    }
    ck_assert_uint_eq(fakes[1].length, 20 * 5020);
    for (size_t i = 0; i < fakes[1].length; i++)
        ck_assert_uint_eq(fakes[1].bytes[i], (uint8_t)(i / 5020 + i % 5020 % 251));
}
END_TEST

START_TEST(a_slow_reader_holds_the_writer_back)
{
    uint32_t id = connect_to(1);
    fakes[1].appetite = 1000;
    size_t written = 0;
    while (written < 4 * SIM_STREAM_BUFFER) {
        size_t now = write_some(id, SIM_STREAM_BUFFER, 0);
        written += now;
        ck_assert_uint_le(written - fakes[1].length, SIM_STREAM_BUFFER);
        pass(SIM_MS);
    }
    pass(1000 * SIM_MS);
    ck_assert_uint_gt(fakes[0].room, 0);
    ck_assert_uint_eq(fakes[1].length, written);
}
END_TEST

START_TEST(what_was_written_before_a_close_arrives)
{
    struct port *port = &fakes[0].node->port.port;
    uint32_t id = connect_to(1);
    write_some(id, 9000, 3);
    port->ops->stream_close(port, id);
    pass(50 * SIM_MS);
    ck_assert_uint_eq(fakes[1].length, 9000);
    ck_assert_uint_eq(fakes[1].closed, 1);
    ck_assert_uint_eq(fakes[0].closed, 0);
    ck_assert_uint_eq(port->ops->stream_room(port, id, 1), 0); /* a dead id finds nothing */
}
END_TEST

START_TEST(nobody_listening_is_a_close)
{
    connect_to(2);
    pass(50 * SIM_MS);
    ck_assert_uint_eq(fakes[0].closed, 1);
    ck_assert_uint_eq(fakes[0].connected, 0);
    ck_assert_uint_eq(fakes[2].accepted, 0);
}
END_TEST

START_TEST(a_dead_end_resets_the_other)
{
    uint32_t id = connect_to(1);
    write_some(id, 100, 0);
    fakes[1].node->up = false;
    sim_stream_node_down(sim, fakes[1].node->port.node);
    pass(50 * SIM_MS);
    ck_assert_uint_eq(fakes[0].closed, 1);
    ck_assert_uint_eq(fakes[1].length, 0);
}
END_TEST

START_TEST(more_than_there_is_room_for_is_noticed)
{
    struct port *port = &fakes[0].node->port.port;
    static const uint8_t bytes[SIM_STREAM_BUFFER + 1];
    uint32_t id = connect_to(1);
    port->ops->stream_write(port, id, bytes, sizeof bytes);
    ck_assert_int_eq(sim->result.violated, SIM_BOUNDED);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_net");
    TCase *t = tcase_create("net");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, a_fair_network_delivers_to_whom_it_is_sent);
    tcase_add_test(t, weather_loses_doubles_delays_and_corrupts);
    tcase_add_test(t, a_partition_may_be_one_way);
    tcase_add_test(t, what_lingers_arrives_late);
    tcase_add_test(t, a_frozen_process_reads_later_what_its_socket_holds);
    tcase_add_test(t, bytes_that_change_before_the_flush_are_noticed);
    tcase_add_test(t, a_stream_is_whole_and_in_order);
    tcase_add_test(t, a_slow_reader_holds_the_writer_back);
    tcase_add_test(t, what_was_written_before_a_close_arrives);
    tcase_add_test(t, nobody_listening_is_a_close);
    tcase_add_test(t, a_dead_end_resets_the_other);
    tcase_add_test(t, more_than_there_is_room_for_is_noticed);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
