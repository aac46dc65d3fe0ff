/* Datagrams over the loopback interface, between transports in one process: that what is queued
 * arrives whole, in order and with the right sender on every transport that joined, with
 * segmentation on and off; that what is not legal is counted; and that every way in which opening
 * fails says what to do. Each wait is for a condition, with a deadline far beyond what it can take.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "transport/transport.h"

enum { LOOPBACK = 0x7f000001, WAIT_S = 20 };

static struct port_addr group(int which)
{
    /* Private to this run: other tests on this host must not be heard. */
    uint32_t pid = (uint32_t)getpid();
    return (struct port_addr) { 0xefc00000u | ((pid << 4 | (uint32_t)which) & 0x3ffff),
                                (uint16_t)(21000 + pid % 8000) };
}

static struct transport_options plain(void)
{
    struct transport_options o = { .unicast = { LOOPBACK, 0 } };
    o.groups[PORT_INGRESS] = group(1);
    o.groups[PORT_EGRESS_A] = group(2);
    o.groups[PORT_EGRESS_B] = group(3);
    return o;
}

static struct transport *open_or_fail(const struct transport_options *o)
{
    char error[TRANSPORT_ERROR_MAX];
    struct transport *t = transport_open_kernel(o, error);
    ck_assert_msg(t != NULL, "%s", error);
    return t;
}

static time_t deadline(void)
{
    return time(NULL) + WAIT_S;
}

/* Receives into out until `want` have come or time is up; copies bytes, which are borrowed. */
struct got {
    uint32_t length;
    struct port_addr from;
    enum port_channel channel;
    uint64_t number;
    uint8_t first, last;
};

static uint32_t receive_some(struct transport *t, struct got *out, uint32_t max)
{
    struct port_datagram d[TRANSPORT_RECEIVE_MAX];
    uint32_t n =
        t->ops->receive(t, d, max < TRANSPORT_RECEIVE_MAX ? max : TRANSPORT_RECEIVE_MAX, 0);
    for (uint32_t i = 0; i < n; i++) {
        out[i] = (struct got) { .length = d[i].length, .from = d[i].from, .channel = d[i].channel };
        if (d[i].length >= sizeof out[i].number)
            memcpy(&out[i].number, d[i].bytes, sizeof out[i].number);
        if (d[i].length > 0) {
            out[i].first = d[i].bytes[0];
            out[i].last = d[i].bytes[d[i].length - 1];
        }
    }
    return n;
}

static uint32_t receive_until(struct transport *t, struct got *out, uint32_t want)
{
    uint32_t n = 0;
    for (time_t end = deadline(); n < want && time(NULL) < end;) {
        uint32_t some = receive_some(t, out + n, want - n);
        n += some;
        if (some == 0)
            sched_yield();
    }
    return n;
}

START_TEST(multicast_reaches_every_joined_receiver)
{
    struct transport_options o = plain();
    struct transport *sender = open_or_fail(&o);
    o.join[PORT_EGRESS_A] = true;
    struct transport *receivers[3];
    for (int i = 0; i < 3; i++)
        receivers[i] = open_or_fail(&o);
    struct transport_options other = plain();
    other.join[PORT_INGRESS] = true;
    struct transport *outsider = open_or_fail(&other);

    static const uint8_t bytes[] = "to all who joined";
    port_send(&sender->port, PORT_EGRESS_A, (struct port_addr) { 0 }, bytes, sizeof bytes);
    port_send(&sender->port, PORT_INGRESS, (struct port_addr) { 0 }, bytes, 5);
    sender->ops->flush(sender);
    struct got got[4];
    for (int i = 0; i < 3; i++) {
        ck_assert_uint_eq(receive_until(receivers[i], got, 1), 1);
        ck_assert_uint_eq(got[0].length, sizeof bytes);
        ck_assert_int_eq(got[0].channel, PORT_EGRESS_A);
        ck_assert(port_addr_equal(got[0].from, sender->port.self));
        ck_assert_uint_eq(receive_some(receivers[i], got, 4), 0);
    }
    /* The same port, another group: hears its own group only. */
    ck_assert_uint_eq(receive_until(outsider, got, 1), 1);
    ck_assert_int_eq(got[0].channel, PORT_INGRESS);
    ck_assert_uint_eq(got[0].length, 5);
    ck_assert_uint_eq(receive_some(outsider, got, 4), 0);
    for (int i = 0; i < 3; i++)
        receivers[i]->ops->close(receivers[i]);
    outsider->ops->close(outsider);
    sender->ops->close(sender);
}
END_TEST

START_TEST(answers_come_back_to_the_sender_of_a_multicast)
{
    struct transport_options o = plain();
    struct transport *a = open_or_fail(&o);
    o.join[PORT_INGRESS] = true;
    struct transport *b = open_or_fail(&o);
    uint8_t *bytes = port_scratch(&a->port, 4);
    memcpy(bytes, "ask", 4);
    port_send(&a->port, PORT_INGRESS, (struct port_addr) { 0 }, bytes, 4);
    a->ops->flush(a);
    struct got got[1];
    ck_assert_uint_eq(receive_until(b, got, 1), 1);
    port_send(&b->port, PORT_UNICAST, got[0].from, (const uint8_t *)"tell", 4);
    b->ops->flush(b);
    ck_assert_uint_eq(receive_until(a, got, 1), 1);
    ck_assert_int_eq(got[0].channel, PORT_UNICAST);
    ck_assert(port_addr_equal(got[0].from, b->port.self));
    ck_assert_uint_eq(a->counters.datagrams_out, 1);
    ck_assert_uint_eq(a->counters.bytes_out, 4);
    ck_assert_uint_eq(a->counters.datagrams_in, 1);
    a->ops->close(a);
    b->ops->close(b);
}
END_TEST

/* Runs of equal and of changing sizes, to two places in turn: whatever is joined into one segmented
 * send must come apart again exactly. Sends a piece only when the one before has arrived, so
 * nothing depends on the size of socket buffers. */
static void many(bool sender_segments, bool receiver_segments)
{
    enum { PIECES = 200, PIECE = 100, SIZE = 1400 };
    static uint8_t bytes[PIECE][SIZE];
    struct transport_options o = plain();
    o.segmentation = sender_segments;
    struct transport *sender = open_or_fail(&o);
    o = plain();
    o.segmentation = receiver_segments;
    o.join[PORT_EGRESS_A] = true;
    struct transport *receiver = open_or_fail(&o);
    uint64_t total = 0;
    for (uint64_t piece = 0; piece < PIECES; piece++) {
        uint32_t multicast = 0, unicast = 0, lengths[2][PIECE];
        uint64_t numbers[2][PIECE];
        for (uint32_t i = 0; i < PIECE; i++) {
            uint64_t number = piece * PIECE + i;
            uint32_t length = piece % 3 == 0   ? SIZE
                              : piece % 3 == 1 ? (uint32_t)(64 + number * 7 % 600)
                                               : (i % 40 == 39 ? 100 : 900);
            bool to_one = piece % 2 == 1 && i / 10 % 2 == 1;
            memset(bytes[i], (int)(number & 0xff), length);
            memcpy(bytes[i], &number, sizeof number);
            port_send(&sender->port, to_one ? PORT_UNICAST : PORT_EGRESS_A, receiver->port.self,
                      bytes[i], length);
            uint32_t *count = to_one ? &unicast : &multicast;
            lengths[to_one][*count] = length;
            numbers[to_one][(*count)++] = number;
            total += length;
        }
        sender->ops->flush(sender);
        struct got got[PIECE];
        ck_assert_uint_eq(receive_until(receiver, got, PIECE), PIECE);
        uint32_t seen[2] = { 0, 0 };
        for (uint32_t i = 0; i < PIECE; i++) {
            bool to_one = got[i].channel == PORT_UNICAST;
            uint32_t at = seen[to_one]++;
            ck_assert_uint_eq(got[i].length, lengths[to_one][at]);
            ck_assert_uint_eq(got[i].number, numbers[to_one][at]);
            ck_assert_uint_eq(got[i].last, numbers[to_one][at] & 0xff);
        }
    }
    ck_assert_uint_eq(sender->counters.datagrams_out, PIECES * PIECE);
    ck_assert_uint_eq(sender->counters.bytes_out, total);
    ck_assert_uint_eq(sender->counters.send_errors, 0);
    ck_assert_uint_eq(receiver->counters.datagrams_in, PIECES * PIECE);
    ck_assert_uint_eq(receiver->counters.bytes_in, total);
    ck_assert_uint_eq(receiver->counters.receive_overflows, 0);
    sender->ops->close(sender);
    receiver->ops->close(receiver);
}

START_TEST(many_arrive_whole_and_in_order)
{
    many((_i & 1) != 0, (_i & 2) != 0);
}
END_TEST

/* More than the queue holds in one go, spread over receivers so that each has room for its part
 * even where an ordinary user's socket buffers are small. */
enum { RECEIVERS = 10, EACH = 300 };

static void open_receivers(struct transport **receivers, bool segmentation)
{
    struct transport_options o = plain();
    o.segmentation = segmentation;
    for (int i = 0; i < RECEIVERS; i++)
        receivers[i] = open_or_fail(&o);
}

static void close_receivers(struct transport **receivers)
{
    for (int i = 0; i < RECEIVERS; i++)
        receivers[i]->ops->close(receivers[i]);
}

/* Asks for few at a time: coalesced messages then wait half read. */
static void receive_in_bites(struct transport *t, uint64_t next)
{
    uint64_t end_number = next + EACH;
    for (time_t end = deadline(); next < end_number && time(NULL) < end;) {
        struct got got[7];
        uint32_t n = receive_some(t, got, 7);
        for (uint32_t i = 0; i < n; i++)
            ck_assert_uint_eq(got[i].number, next++);
    }
    ck_assert_uint_eq(next, end_number);
}

START_TEST(queue_and_receive_in_small_bites)
{
    static uint8_t bytes[RECEIVERS * EACH][128];
    struct transport *receivers[RECEIVERS];
    open_receivers(receivers, _i != 0);
    struct transport_options o = plain();
    o.segmentation = _i != 0;
    struct transport *a = open_or_fail(&o);
    for (uint64_t i = 0; i < RECEIVERS * EACH; i++) {
        memcpy(bytes[i], &i, sizeof i);
        port_send(&a->port, PORT_UNICAST, receivers[i / EACH]->port.self, bytes[i],
                  sizeof bytes[i]);
    }
    a->ops->flush(a);
    for (uint64_t r = 0; r < RECEIVERS; r++)
        receive_in_bites(receivers[r], r * EACH);
    close_receivers(receivers);
    a->ops->close(a);
}
END_TEST

START_TEST(scratch_outlives_the_queue_being_full)
{
    struct transport *receivers[RECEIVERS];
    open_receivers(receivers, false);
    struct transport_options o = plain();
    struct transport *a = open_or_fail(&o);
    for (uint64_t i = 0; i < RECEIVERS * EACH; i++) {
        uint8_t *bytes = port_scratch(&a->port, PORT_SCRATCH_MAX);
        ck_assert_ptr_nonnull(bytes);
        memcpy(bytes, &i, sizeof i);
        port_send(&a->port, PORT_UNICAST, receivers[i / EACH]->port.self, bytes, 64);
    }
    a->ops->flush(a);
    for (uint64_t r = 0; r < RECEIVERS; r++)
        receive_in_bites(receivers[r], r * EACH);
    close_receivers(receivers);
    a->ops->close(a);
}
END_TEST

/* What a stranger may send: nothing at all, more than is legal, and something legal after it. */
START_TEST(empty_and_oversized_datagrams)
{
    struct transport_options o = plain();
    o.segmentation = _i != 0;
    o.datagram_max = 1000;
    struct transport *t = open_or_fail(&o);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons(t->port.self.port),
                              .sin_addr = { htonl(LOOPBACK) } };
    static uint8_t bytes[60000];
    static const uint32_t sizes[] = { 0, 1001, 1000, 60000, 1 };
    for (uint32_t i = 0; i < 5; i++)
        ck_assert_int_eq(sendto(fd, bytes, sizes[i], 0, (struct sockaddr *)&to, sizeof to),
                         sizes[i]);
    struct got got[3];
    ck_assert_uint_eq(receive_until(t, got, 3), 3);
    ck_assert_uint_eq(got[0].length, 0);
    ck_assert_uint_eq(got[1].length, 1000);
    ck_assert_uint_eq(got[2].length, 1);
    ck_assert_uint_eq(t->counters.receive_oversized, 2);
    ck_assert_uint_eq(t->counters.datagrams_in, 3);
    close(fd);
    t->ops->close(t);
}
END_TEST

START_TEST(overflow_is_counted)
{
    struct transport_options o = plain();
    o.receive_buffer_bytes = 8192;
    struct transport *a = open_or_fail(&o);
    struct transport *b = open_or_fail(&o);
    static const uint8_t bytes[1000];
    for (int i = 0; i < 200; i++)
        port_send(&a->port, PORT_UNICAST, b->port.self, bytes, sizeof bytes);
    a->ops->flush(a);
    ck_assert_uint_eq(a->counters.datagrams_out, 200);
    struct got got[200];
    uint32_t n = receive_some(b, got, 200);
    ck_assert_uint_lt(n, 200);
    /* The count comes with the next datagram that is let in. */
    port_send(&a->port, PORT_UNICAST, b->port.self, bytes, sizeof bytes);
    a->ops->flush(a);
    ck_assert_uint_eq(receive_until(b, got, 1), 1);
    ck_assert_uint_eq(b->counters.receive_overflows + n, 200);
    a->ops->close(a);
    b->ops->close(b);
}
END_TEST

START_TEST(refused_sends_are_counted_and_the_rest_goes)
{
    struct transport_options o = plain();
    o.segmentation = _i != 0;
    struct transport *a = open_or_fail(&o);
    struct transport *b = open_or_fail(&o);
    static const uint8_t bytes[16];
    /* From a loopback address nothing leaves the host: EINVAL or ENETUNREACH. */
    port_send(&a->port, PORT_UNICAST, (struct port_addr) { 0x08080808, 53 }, bytes, 16);
    port_send(&a->port, PORT_UNICAST, b->port.self, bytes, 16);
    a->ops->flush(a);
    struct got got[1];
    ck_assert_uint_eq(receive_until(b, got, 1), 1);
    ck_assert_uint_eq(a->counters.send_errors, 1);
    ck_assert_uint_eq(a->counters.datagrams_out, 1);
    a->ops->close(a);
    b->ops->close(b);
}
END_TEST

START_TEST(a_group_not_configured_takes_nothing)
{
    struct transport_options o = plain();
    o.groups[PORT_EGRESS_B] = (struct port_addr) { 0 };
    struct transport *t = open_or_fail(&o);
    port_send(&t->port, PORT_EGRESS_B, (struct port_addr) { 0 }, (const uint8_t *)"x", 1);
    t->ops->flush(t);
    ck_assert_uint_eq(t->counters.datagrams_out + t->counters.send_errors, 0);
    t->ops->close(t);
}
END_TEST

START_TEST(another_interface_has_the_same_source_address)
{
    /* 127.0.0.2 is lo as well, but not the unicast address, so the sends take that path. */
    struct transport_options o = plain();
    o.interfaces[PORT_EGRESS_B] = LOOPBACK + 1;
    o.segmentation = true;
    struct transport *sender = open_or_fail(&o);
    o.join[PORT_EGRESS_B] = true;
    struct transport *t = open_or_fail(&o);
    for (int i = 0; i < 3; i++)
        port_send(&sender->port, PORT_EGRESS_B, (struct port_addr) { 0 }, (const uint8_t *)"line B",
                  6);
    sender->ops->flush(sender);
    struct got got[3];
    ck_assert_uint_eq(receive_until(t, got, 3), 3);
    ck_assert_int_eq(got[2].channel, PORT_EGRESS_B);
    ck_assert(port_addr_equal(got[2].from, sender->port.self));
    sender->ops->close(sender);
    t->ops->close(t);
}
END_TEST

/* A leader joins the group that it sends to, to hear of a rival. */
START_TEST(what_it_sent_does_not_come_back)
{
    struct transport_options o = plain();
    o.segmentation = _i != 0;
    o.join[PORT_EGRESS_A] = true;
    struct transport *a = open_or_fail(&o);
    struct transport *b = open_or_fail(&o);
    static const uint64_t numbers[] = { 1, 2, 3 };
    for (int i = 0; i < 2; i++)
        port_send(&a->port, PORT_EGRESS_A, (struct port_addr) { 0 }, (const void *)&numbers[i], 8);
    a->ops->flush(a);
    port_send(&b->port, PORT_EGRESS_A, (struct port_addr) { 0 }, (const void *)&numbers[2], 8);
    b->ops->flush(b);
    struct got got[2];
    ck_assert_uint_eq(receive_until(a, got, 1), 1);
    ck_assert_uint_eq(got[0].number, 3);
    ck_assert_uint_eq(receive_until(b, got, 2), 2);
    ck_assert_uint_eq(got[1].number, 2);
    a->ops->close(a);
    b->ops->close(b);
}
END_TEST

/* Wherever something arrives, it is found before every channel has had its turn twice. */
START_TEST(every_channel_is_looked_at_within_the_bound)
{
    struct transport_options o = plain();
    struct transport *sender = open_or_fail(&o);
    o.join[PORT_INGRESS] = o.join[PORT_EGRESS_A] = true;
    struct transport *t = open_or_fail(&o);
    static const enum port_channel channels[] = { PORT_EGRESS_A, PORT_UNICAST, PORT_INGRESS };
    struct port_datagram d[1];
    uint64_t now = 1000000;
    for (int i = 0; i < 30; i++) {
        enum port_channel channel = channels[i % 3];
        port_send(&sender->port, channel, t->port.self, (const uint8_t *)"x", 1);
        sender->ops->flush(sender);
        uint32_t n = 0;
        for (uint64_t end = now + 2 * PORT_CHANNELS * TRANSPORT_LOOK_NS; n == 0 && now <= end;
             now += 100)
            n = t->ops->receive(t, d, 1, now); /* on loopback it is there when send returns */
        ck_assert_uint_eq(n, 1);
        ck_assert_int_eq(d[0].channel, channel);
    }
    sender->ops->close(sender);
    t->ops->close(t);
}
END_TEST

/* Each datagram by itself: of what was coalesced some are lost and some are not. */
START_TEST(a_share_is_lost_on_purpose)
{
    enum { COUNT = 2000, LEAST = COUNT / 20, MOST = COUNT / 5 };
    struct transport_options o = plain();
    o.segmentation = _i != 0;
    struct transport *a = open_or_fail(&o);
    struct transport *b = open_or_fail(&o);
    transport_lose(b, .1, 7);
    static const uint8_t bytes[100];
    struct got got[TRANSPORT_RECEIVE_MAX];
    uint32_t n = 0;
    for (int i = 0; i < COUNT / 100; i++) {
        for (int j = 0; j < 100; j++)
            port_send(&a->port, PORT_UNICAST, b->port.self, bytes, sizeof bytes);
        a->ops->flush(a);
        for (time_t end = deadline();
             n + b->counters.lost_on_purpose < (uint64_t)(i + 1) * 100 && time(NULL) < end;)
            n += receive_some(b, got, TRANSPORT_RECEIVE_MAX);
    }
    ck_assert_uint_eq(n + b->counters.lost_on_purpose, COUNT);
    ck_assert_uint_ge(b->counters.lost_on_purpose, LEAST);
    ck_assert_uint_le(b->counters.lost_on_purpose, MOST);
    a->ops->close(a);
    b->ops->close(b);
}
END_TEST

static void expect_error(const struct transport_options *o, const char *what, const char *do_this)
{
    char error[TRANSPORT_ERROR_MAX];
    struct transport *t = transport_open_kernel(o, error);
    ck_assert_ptr_null(t);
    ck_assert_msg(strstr(error, what) != NULL, "'%s' lacks '%s'", error, what);
    ck_assert_msg(strstr(error, do_this) != NULL, "'%s' lacks '%s'", error, do_this);
}

START_TEST(errors_say_what_to_do)
{
    struct transport_options o = plain();
    struct transport *first = open_or_fail(&o);
    char port[32];
    snprintf(port, sizeof port, "port %u", first->port.self.port);
    o.unicast = first->port.self;
    expect_error(&o, port, "in use by another process");
    expect_error(&o, "127.0.0.1", "ss -ulpn");

    struct transport_options l = plain();
    l.listen = true;
    struct transport *listener = open_or_fail(&l);
    ck_assert_uint_ne(listener->port.stream_port, 0);
    l.stream_port = listener->port.stream_port;
    expect_error(&l, "streams", "ss -tlpn");
    listener->ops->close(listener);
    first->ops->close(first);

    o = plain();
    o.unicast.ip = 0xc0000263; /* 192.0.2.99, for documentation */
    expect_error(&o, "192.0.2.99", "ip -br address");
    o = plain();
    o.interfaces[PORT_EGRESS_A] = 0xc0000263;
    expect_error(&o, "egress A", "ip -br address");
    o = plain();
    o.groups[PORT_INGRESS].ip = 0x0a000001;
    expect_error(&o, "10.0.0.1 is not a multicast group", "239.");
    o = plain();
    o.groups[PORT_EGRESS_B] = o.groups[PORT_EGRESS_A];
    expect_error(&o, "the same group", "egress A");
    o = plain();
    o.groups[PORT_INGRESS].port = 0;
    o.join[PORT_INGRESS] = true;
    expect_error(&o, "ingress", "no group is configured");
    o = plain();
    o.datagram_max = 70000;
    expect_error(&o, "datagram_max 70000", "64 to 65507");
    o = plain();
    o.stream_buffer_bytes = 1;
    expect_error(&o, "streams of 1 bytes", "4 KiB");
}
END_TEST

/* In a network namespace of its own, where lo has an address only once it is up. */
START_TEST(an_interface_that_is_down)
{
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0 && unshare(CLONE_NEWNET) != 0)
            _exit(77);
        struct transport_options o = plain();
        char error[TRANSPORT_ERROR_MAX];
        bool refused = transport_open_kernel(&o, error) == NULL;
        _exit(refused && strstr(error, "no network interface that is up") != NULL ? 0 : 1);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    /* 77: namespaces are not permitted here, so there is nothing to be seen. */
    ck_assert(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("transport/kernel");
    TCase *datagrams = tcase_create("datagrams");
    tcase_add_test(datagrams, multicast_reaches_every_joined_receiver);
    tcase_add_test(datagrams, answers_come_back_to_the_sender_of_a_multicast);
    tcase_add_loop_test(datagrams, many_arrive_whole_and_in_order, 0, 4);
    tcase_add_loop_test(datagrams, queue_and_receive_in_small_bites, 0, 2);
    tcase_add_test(datagrams, scratch_outlives_the_queue_being_full);
    tcase_add_loop_test(datagrams, empty_and_oversized_datagrams, 0, 2);
    tcase_add_test(datagrams, overflow_is_counted);
    tcase_add_loop_test(datagrams, refused_sends_are_counted_and_the_rest_goes, 0, 2);
    tcase_add_test(datagrams, a_group_not_configured_takes_nothing);
    tcase_add_test(datagrams, another_interface_has_the_same_source_address);
    tcase_add_loop_test(datagrams, what_it_sent_does_not_come_back, 0, 2);
    tcase_add_test(datagrams, every_channel_is_looked_at_within_the_bound);
    tcase_add_loop_test(datagrams, a_share_is_lost_on_purpose, 0, 2);
    suite_add_tcase(suite, datagrams);
    TCase *errors = tcase_create("errors");
    tcase_add_test(errors, errors_say_what_to_do);
    tcase_add_test(errors, an_interface_that_is_down);
    suite_add_tcase(suite, errors);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
