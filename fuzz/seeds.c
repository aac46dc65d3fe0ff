/* Writes the corpora: fuzz_seeds DIR fills DIR/NAME/ for each target with real encodings. The files
 * are committed; run it again when a format changes. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "proto/catalog.h"
#include "proto/edge.h"
#include "proto/proposal.h"
#include "proto/replay.h"
#include "proto/clients.h"
#include "proto/status.h"

#define STREAM UINT64_C(0x1122334455667788)

static const char *root;

static void save(const char *target, const char *name, const void *bytes, size_t length)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", root, target);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/%s/%s", root, target, name);
    FILE *f = fopen(path, "wb");
    if (length == 0 || f == NULL || fwrite(bytes, 1, length, f) != length || fclose(f) != 0) {
        fprintf(stderr, "can't write %s\n", path);
        exit(1);
    }
}

static uint8_t out[64 * 1024];

static struct sys_genesis genesis(void)
{
    return (struct sys_genesis) { .stream = STREAM,
                                  .created_ns = 1000,
                                  .protocol_version = WIRE_VERSION,
                                  .members = { .seq = 1, .count = 1, .stores = { 7 } } };
}

static void batches(void)
{
    struct sys_genesis g = genesis();
    save("batch", "genesis", out, genesis_batch(&g, out, WIRE_DATAGRAM_DEFAULT));
    struct batch_header h = { .stream = STREAM, .before = { 1, 2 }, .epoch = { 3, 1 } };
    struct batch_builder b;
    batch_open(&b, out, WIRE_DATAGRAM_DEFAULT, 2);
    batch_add(&b, 16, 1, 1, 0, "one", 3);
    batch_close(&b, 0, &h);
    save("batch", "one", out, h.length);
    batch_open(&b, out, WIRE_DATAGRAM_DEFAULT, 2);
    batch_add(&b, 16, 1, 1, MESSAGE_MORE | MESSAGE_FRAGMENT, "first", 5);
    batch_add(&b, 16, 1, 2, MESSAGE_MORE, "second", 6);
    batch_add(&b, 17, 1, 3, 0, "", 0);
    batch_add(&b, TOPIC_CLOCK, 0, 0, 0, "", 0);
    batch_close(&b, 256, &h);
    save("batch", "run-padded", out, h.length);
}

static void proposals(void)
{
    struct proposal_header h = { .first_publisher_seq = 1, .publisher = 1, .incarnation = 1 };
    struct proposal_entry e = { .topic = 16, .length = 5, .payload = (const uint8_t *)"hello" };
    struct proposal_builder b;
    proposal_open(&b, out, WIRE_DATAGRAM_DEFAULT);
    proposal_add(&b, &e);
    save("proposal", "one", out, proposal_close(&b, STREAM, &h));
    proposal_open(&b, out, WIRE_DATAGRAM_DEFAULT);
    e.flags = MESSAGE_MORE | MESSAGE_FRAGMENT;
    proposal_add(&b, &e);
    e.flags = 0;
    e.conditional = true;
    e.condition_topic = 16;
    e.after_seq = 9;
    proposal_add(&b, &e);
    save("proposal", "two-conditional", out, proposal_close(&b, STREAM, &h));
}

static void signals(void)
{
    const struct heartbeat heartbeat = { { 3, 1 }, 10, { 1, 2 }, 9, 1000, 2 };
    const struct gap_request request = { { 3, 1 }, 5, 9, 77 };
    const struct gap_refusal refusal = { GAP_NOT_YET, 5, 1, 5, 77 };
    const struct word word = { { 3, 1 }, { { 3, 1 }, 9 } };
    const struct ack ack = {
        7, { 5, word }, true, { 3, 1 }, { { 3, 1 }, 9 }, { 1, 2 }, 1000, false
    };
    const struct recall recall = { 7, 5, { 3, 1 }, word };
    const struct seal seal = { { 4, 2 }, true };
    const struct promise promise = { .store = 7, .members = { .count = 2, .stores = { 7, 8 } } };
    const struct join join = { .nonce = 5, .wanted = 1, .identity = "injector" };
    const struct create create = { .nonce = 5, .publisher = 1, .path = "/md/btcusd" };
    const struct hint hint = { HINT_AHEAD, 1, 1, 8, 0, { 3, 1 } };
#define SIGNAL(type) save("signal", #type, out, type##_encode(&(type), STREAM, out, sizeof out))
    SIGNAL(heartbeat);
    save("signal", "gap_request", out, gap_request_encode(&request, STREAM, out, sizeof out));
    save("signal", "gap_refusal", out, gap_refusal_encode(&refusal, STREAM, out, sizeof out));
    SIGNAL(ack);
    SIGNAL(seal);
    SIGNAL(promise);
    SIGNAL(recall);
    SIGNAL(join);
    SIGNAL(create);
    SIGNAL(hint);
#undef SIGNAL
}

static void sys_payloads(void)
{
    const struct sys_genesis g = genesis();
    const struct sys_epoch epoch = { .epoch = { 3, 1 },
                                     .adopted = { { 0, 0 }, 1 },
                                     .how = SYS_EPOCH_STARTED,
                                     .why = "first",
                                     .entry_count = 1,
                                     .entries = { { { 0, 0 }, 1, { 0, 0 } } } };
    const struct sys_session session = { .name = "monday", .protocol_version = WIRE_VERSION };
    const struct sys_join join = { .publisher = 1, .incarnation = 1, .identity = "injector" };
    const struct sys_reject reject = { .reason = REJECT_CONDITION, .topic = 16, .count = 1 };
    const struct membership member = { .seq = 9, .count = 2, .stores = { 7, 8 } };
#define PAYLOAD(topic, name, value)                                                                \
    out[0] = topic;                                                                                \
    save("sys", #name, out, 1 + sys_##name##_encode(&(value), out + 1, SYS_PAYLOAD_MAX))
    PAYLOAD(TOPIC_GENESIS, genesis, g);
    PAYLOAD(TOPIC_EPOCH, epoch, epoch);
    PAYLOAD(TOPIC_SESSION, session, session);
    PAYLOAD(TOPIC_JOIN, join, join);
    PAYLOAD(TOPIC_REJECT, reject, reject);
    PAYLOAD(TOPIC_MEMBER, member, member);
    const struct sys_digest digest = { .logic_version = 1,
                                       .position = { { 7, 2 }, 1000 },
                                       .digest = 5 };
    PAYLOAD(TOPIC_FIRST_USER, digest, digest);
    const struct sys_grant grant = { .rights = 3, .whom = { .who = ACCESS_KEY }, .subtree = "/a" };
    const struct sys_group group = { .group = "g" };
    const struct sys_limit limit = { .whom = { .who = LIMIT_SUBTREE, .subtree = "/a" } };
    PAYLOAD(TOPIC_GRANT, grant, grant);
    PAYLOAD(TOPIC_GROUP, group, group);
    PAYLOAD(TOPIC_LIMIT, limit, limit);
#undef PAYLOAD
}

/* topic, publisher, flags, length, payload: see fuzz_catalog.c. */
static void record(struct wire_writer *w, uint8_t topic, uint8_t publisher, uint8_t flags,
                   const void *payload, uint8_t length)
{
    wire_put8(w, topic);
    wire_put8(w, publisher);
    wire_put8(w, flags);
    wire_put8(w, length);
    wire_put_bytes(w, payload, length);
}

static void histories(void)
{
    uint8_t payload[SYS_PAYLOAD_MAX];
    struct sys_genesis g = genesis();
    g.stream = 1;
    uint8_t length = (uint8_t)sys_genesis_encode(&g, payload, sizeof payload);
    struct wire_writer w = wire_writer_of(out, sizeof out);
    record(&w, TOPIC_GENESIS, 0, 0, payload, length);
    record(&w, 102, 0, 0, "", 0);
    record(&w, 101, 0, 0, "", 0);
    record(&w, 100, 0, 0, "a", 1);
    record(&w, TOPIC_TOPIC, 0, 0, "/md", 3);
    save("catalog", "begun", out, wire_written(&w));
    record(&w, 16, 1, 1, "x", 1);
    record(&w, 16, 1, 0, "y", 1);
    record(&w, 16, 1, 1, "z", 1);
    record(&w, 102, 0, 0, "", 0);
    record(&w, 100, 0, 0, "a", 1);
    const struct membership member = { .seq = 11, .count = 2, .stores = { 7, 8 } };
    length = (uint8_t)sys_member_encode(&member, payload, sizeof payload);
    record(&w, TOPIC_MEMBER, 0, 0, payload, length);
    save("catalog", "runs-epochs-members", out, wire_written(&w));
    record(&w, 100, 0, 0, "ad\0", 3); /* the administrator, then somebody */
    record(&w, 100, 0, 0, "us\1", 3);
    record(&w, 103, 2, 0, "\0\3\4\1", 4);
    record(&w, 16, 3, 0, "x", 1);
    record(&w, 104, 2, 0, "\0\0\1\0", 4);
    record(&w, 103, 2, 0, "\0\7\2\2", 4);
    record(&w, 105, 2, 0, "\0\5\2\1", 4);
    record(&w, 103, 2, 0, "\1\3\4\1", 4);
    save("catalog", "grants", out, wire_written(&w));
}

static void replays(void)
{
    const struct replay_request request = { STREAM, 1, 0, { 3, 1 } };
    const struct replay_end end = { REPLAY_DONE, 1, 10 };
    uint8_t body[WIRE_DATAGRAM_DEFAULT];
    size_t length = replay_request_encode(&request, body, sizeof body);
    save("replay", "request", out,
         replay_frame_encode(REPLAY_REQUEST, body, length, out, sizeof out));
    struct sys_genesis g = genesis();
    length = genesis_batch(&g, body, sizeof body);
    size_t used = replay_frame_encode(REPLAY_BATCH, body, length, out, sizeof out);
    length = replay_end_encode(&end, body, sizeof body);
    used += replay_frame_encode(REPLAY_END, body, length, out + used, sizeof out - used);
    save("replay", "batch-end", out, used);
    save("replay", "status-request", out,
         replay_frame_encode(REPLAY_STATUS_REQUEST, NULL, 0, out, sizeof out));
}

static void statuses(void)
{
    static struct status s = { .role = "sequencer", .state = "leading", .stream = STREAM };
    s.member_count = 2;
    s.publisher_count = 2;
    memcpy(s.publishers[0].identity, "injector", 9);
    save("status", "some", out, status_encode(&s, out, sizeof out));
    static const struct status empty;
    save("status", "empty", out, status_encode(&empty, out, sizeof out));
    static const struct clients page = {
        .next = 7,
        .tip = 9,
        .count = 2,
        .all = { { .session = 1, .has_key = true, .agent = "sub", .flags = CLIENT_SUBSCRIBED },
                 { .session = 2, .ip = 0x7f000001, .port = 4000, .flags = CLIENT_TEXT } }
    };
    save("status", "clients", out, clients_encode(&page, out, sizeof out));
}

static const struct position place = { { 7, 1 }, 9 };
static const uint8_t subtree[] = "\2/a";

/* A frame behind `used` bytes of out. */
#define FRAME(name, ...)                                                                           \
    do {                                                                                           \
        const struct edge_##name in = { __VA_ARGS__ };                                             \
        used += edge_##name##_encode(&in, out + used, sizeof out - used);                          \
    } while (0)

static void requests(void)
{
    const struct edge_subtrees one = { 1, subtree, sizeof subtree - 1 };
    size_t used = 0;
    FRAME(hello, .version = EDGE_VERSION, .has_key = true, .key = { 1 }, .agent = "seed");
    FRAME(prove, .signature = { 2 });
    FRAME(subscribe, .level = EDGE_STABLE, .from = EDGE_FROM_POSITION, .position = place,
          .tick_ms = 1, .subtrees = one);
    FRAME(change, .add = one, .remove = one);
    save("edge", "reading", out, used);
    used = 0;
    FRAME(open, .name = "pub", .nonce = 3, .wanted = 2);
    FRAME(publish, .publisher = 1, .number = 4, .position = place, .flags = MESSAGE_MORE,
          .topic = "/a/b", .topic_length = 4, .conditional = true, .condition_topic = "/a",
          .condition_topic_length = 2, .condition_after = 8, .payload = (const uint8_t *)"x",
          .length = 1);
    used += edge_alive_encode(out + used, sizeof out - used);
    save("edge", "publishing", out, used);
}

static size_t story(size_t used, uint64_t seq, uint64_t previous)
{
    FRAME(name, .kind = EDGE_NAME_TOPIC, .id = 16, .text = "/a/b", .length = 4);
    FRAME(name, .kind = EDGE_NAME_PUBLISHER, .id = 3, .text = "who", .length = 3);
    FRAME(message, .seq = seq, .previous = previous, .timestamp_ns = seq * 10, .topic = 16,
          .publisher = 3, .publisher_seq = seq, .payload = (const uint8_t *)"hello", .length = 5);
    FRAME(progress, .through = seq + 5, .previous = seq, .stable = seq, .timestamp_ns = seq * 20);
    return used;
}

static void answers(void)
{
    size_t used = 0;
    FRAME(welcome, .version = EDGE_VERSION, .stream = STREAM, .challenge = { 5 }, .proxy = "p");
    FRAME(accepted, .tip = place, .stable = 8, .fragment_bytes = 1000, .window = 64,
          .payload_max = 1 << 20, .is_volatile = true);
    FRAME(subscribed, .position = place);
    FRAME(changed, .seq = 9);
    FRAME(epoch, .epoch = { 8, 2 }, .first_seq = 10);
    used = story(used, 12, 0);
    save("edge", "stream", out, used);
    used = 0;
    FRAME(opened, .publisher = 1, .incarnation = 2, .last_number = 3, .join_seq = 9,
          .unknown_through = 2);
    FRAME(outcome, .publisher = 1, .number = 4, .count = 1, .seq = 12, .reason = REJECT_CONDITION,
          .detail = 11, .stable = 10);
    FRAME(refused, .request = EDGE_PUBLISH, .reason = EDGE_REFUSED_RIGHT, .right = ACCESS_WRITE,
          .publisher = 1, .number = 5, .subject = "/a", .text = "no");
    FRAME(forked, .common = place);
    FRAME(superseded, .publisher = 1, .incarnation = 3, .join_seq = 14);
    FRAME(closing, .reason = EDGE_CLOSING_DRAIN, .text = "bye");
    save("edge", "outcomes", out, used);
}

/* Records of fuzz_edge_client.c: two bytes of length, the connection ends with the highest bit. */
static size_t record_of(size_t from, size_t used, bool ends)
{
    wire_store16(out + from, (uint16_t)((used - from - 2) | (ends ? 0x8000u : 0)));
    return used;
}

static void connections(void)
{
    size_t used = 3, from = 1;
    out[0] = 2; /* sequenced, with an app */
    FRAME(subscribed, .position = { { 0, 0 }, 0 });
    FRAME(epoch, .epoch = { 7, 1 }, .first_seq = 2);
    used = story(used, 4, 0);
    from = record_of(from, used, false);
    used += 2;
    FRAME(opened, .publisher = 1, .incarnation = 1, .last_number = 0, .join_seq = 11);
    FRAME(opened, .publisher = 2, .incarnation = 1, .last_number = 0, .join_seq = 12);
    FRAME(outcome, .publisher = 1, .number = 1, .count = 1, .seq = 13, .stable = 12);
    from = record_of(from, used, true);
    used += 2;
    FRAME(subscribed, .position = { { 7, 1 }, 13 });
    FRAME(outcome, .publisher = 1, .number = 1, .count = 1, .seq = 14,
          .reason = REJECT_NOT_PERMITTED, .stable = 14);
    FRAME(opened, .publisher = 1, .incarnation = 2, .last_number = 1, .join_seq = 15);
    used = story(used, 17, 4);
    FRAME(forked, .common = { { 7, 1 }, 16 });
    record_of(from, used, false);
    save("edge_client", "app", out, used);
    out[0] = 4;
    save("edge_client", "pipe", out, used);
    out[0] = 6;
    save("edge_client", "both", out, used);
    out[0] = 1;
    save("edge_client", "stable", out, used);
}

/* Records of fuzz_proxy.c, which are like them. */
static void sessions(void)
{
    const struct edge_subtrees one = { 1, subtree, sizeof subtree - 1 };
    size_t used = 3, from = 1;
    out[0] = 3; /* a key that has logged in */
    FRAME(subscribe, .level = EDGE_SEQUENCED, .from = EDGE_FROM_POSITION, .subtrees = one);
    FRAME(open, .name = "pub", .nonce = 3);
    from = record_of(from, used, false);
    used += 2;
    FRAME(publish, .publisher = 3, .number = 1, .topic = "/a/b", .topic_length = 4,
          .payload = (const uint8_t *)"x", .length = 1);
    FRAME(publish, .publisher = 4, .number = 1, .topic = "/a/new", .topic_length = 6);
    FRAME(change, .remove = one);
    record_of(from, used, true);
    save("proxy", "publish", out, used);
    used = 3;
    from = 1;
    out[0] = 0;
    FRAME(hello, .version = EDGE_VERSION, .agent = "seed");
    from = record_of(from, used, true);
    used += 2;
    FRAME(hello, .version = EDGE_VERSION, .has_key = true, .key = { 1 }, .agent = "seed");
    from = record_of(from, used, false);
    used += 2;
    FRAME(prove, .signature = { 2 });
    record_of(from, used, false);
    save("proxy", "login", out, used);
    static const char line[] = "cantus /a from 1 stable\n";
    memcpy(out + 3, line, sizeof line - 1);
    record_of(1, 3 + sizeof line - 1, false);
    save("proxy", "text", out, 3 + sizeof line - 1);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: fuzz_seeds DIR\n");
        return 2;
    }
    root = argv[1];
    mkdir(root, 0777);
    batches();
    proposals();
    signals();
    sys_payloads();
    histories();
    replays();
    statuses();
    requests();
    answers();
    connections();
    sessions();
    save("topic", "deep", "/md/nasdaq/aapl", 15);
    save("topic", "dots", "/a.b/..c/~_-:9", 14);
    save("topic", "whole", "/", 1);
    return 0;
}
