/* Goal: the worked examples of docs/wire.md are what the code writes.
 *
 * Each is a block that opens with ```hex NAME; its lines are hex bytes, then # and words. The test
 * reads the page itself, so neither can change without the other. */
#include <stdio.h>

#include "proto/clients.h"
#include "proto/command.h"
#include "proto/edge.h"
#include "proto/proposal.h"
#include "proto/replay.h"
#include "proto/sys.h"
#include "proto/sys_access.h"
#include "proto/sys_edge.h"
#include "proto/topic.h"
#include "tests/proto/suite.h"

static uint8_t documented[2048];
static uint8_t encoded[2048];

/* The bytes of a block; 0 if the page has none of that name. */
static size_t read_block(const char *name)
{
    FILE *page = fopen(WIRE_DOC, "r");
    ck_assert_msg(page != NULL, "can't open %s", WIRE_DOC);
    char opening[64];
    char line[256];
    size_t length = 0;
    bool inside = false;
    snprintf(opening, sizeof opening, "```hex %s\n", name);
    while (fgets(line, sizeof line, page) != NULL) {
        if (!inside) {
            inside = strcmp(line, opening) == 0;
            continue;
        }
        if (strncmp(line, "```", 3) == 0)
            break;
        line[strcspn(line, "#")] = '\0';
        unsigned byte;
        int used;
        for (const char *at = line; sscanf(at, " %2x%n", &byte, &used) == 1; at += used) {
            ck_assert_uint_lt(length, sizeof documented);
            documented[length++] = (uint8_t)byte;
        }
    }
    fclose(page);
    return length;
}

static void check(const char *name, size_t length)
{
    char hex[3 * sizeof encoded + 1];
    ck_assert_uint_gt(length, 0);
    for (size_t i = 0; i < length; i++)
        snprintf(hex + 3 * i, 4, "%02x ", encoded[i]);
    size_t found = read_block(name);
    ck_assert_msg(found == length && memcmp(documented, encoded, length) == 0,
                  "%s (the page has %zu bytes): %s", name, found, hex);
}

START_TEST(batch)
{
    struct batch_header h = { .stream = SUITE_STREAM,
                              .before = { 0x0101010101010101, 0x0202020202020202 },
                              .epoch = { 0xcafe, 2 },
                              .timestamp_ns = 1700000000000000000,
                              .stable = 41 };
    struct batch_builder b;
    batch_open(&b, encoded, WIRE_DATAGRAM_DEFAULT, 42);
    batch_add(&b, 16, 1, 7, 0, "hello", 5);
    batch_add(&b, TOPIC_CLOCK, 0, 0, 0, NULL, 0);
    batch_close(&b, 128, &h);
    check("batch", h.length);
}
END_TEST

START_TEST(proposal)
{
    const struct proposal_header h = { .position = { { 0xcafe, 2 }, 41 },
                                       .first_publisher_seq = 7,
                                       .publisher = 1,
                                       .incarnation = 3 };
    const struct proposal_entry e = { .topic = 16,
                                      .length = 5,
                                      .conditional = true,
                                      .condition_topic = 16,
                                      .after_seq = 40,
                                      .payload = (const uint8_t *)"hello" };
    struct proposal_builder b;
    proposal_open(&b, encoded, WIRE_DATAGRAM_DEFAULT);
    proposal_add(&b, &e);
    check("proposal", proposal_close(&b, SUITE_STREAM, &h));
}
END_TEST

START_TEST(signals)
{
    const struct heartbeat heartbeat = { { 0xcafe, 2 }, 44, { 1, 2 }, 41, 1700000000000000000, 30 };
    check("heartbeat", heartbeat_encode(&heartbeat, SUITE_STREAM, encoded, sizeof encoded));
    const struct join join = { .nonce = 5, .wanted = 1, .identity = "injector" };
    check("join", join_encode(&join, SUITE_STREAM, encoded, sizeof encoded));
    const struct word word = { { 0xcafe, 2 }, { { 0xcafe, 2 }, 40 } };
    const struct ack ack = { .store = 7,
                             .run = { 0x55, word },
                             .promised = { 0xcafe, 2 },
                             .tail = { { 0xcafe, 2 }, 43 },
                             .digest = { 1, 2 },
                             .clock_ns = 9,
                             .settled = true };
    check("ack", ack_encode(&ack, SUITE_STREAM, encoded, sizeof encoded));
    const struct gap_request request = { { 0xcafe, 2 }, 40, 42, 77 };
    check("gap_request", gap_request_encode(&request, SUITE_STREAM, encoded, sizeof encoded));
    const struct promise promise = { .store = 7,
                                     .run = { 0x55, word },
                                     .promised = { 0xbeef, 3 },
                                     .asked = { 0xbeef, 3 },
                                     .proven = true,
                                     .tail = { { 0xcafe, 2 }, 43 },
                                     .digest = { 1, 2 },
                                     .oldest_seq = 1,
                                     .clock_ns = 9,
                                     .leader_age_ns = UINT64_MAX,
                                     .fetch_ip = 0x7f000001,
                                     .fetch_port = 4001,
                                     .stream_port = 4002,
                                     .members = { .seq = 1, .count = 1, .stores = { 7 } } };
    check("promise", promise_encode(&promise, SUITE_STREAM, encoded, sizeof encoded));
    const struct recall recall = {
        7, 0x44, { 0xcafe, 2 }, { { 0xcafe, 2 }, { { 0xcafe, 2 }, 42 } }
    };
    check("recall", recall_encode(&recall, SUITE_STREAM, encoded, sizeof encoded));
}
END_TEST

START_TEST(payloads)
{
    const struct sys_genesis genesis = { .stream = SUITE_STREAM,
                                         .created_ns = 1700000000000000000,
                                         .protocol_version = WIRE_VERSION,
                                         .members = { .seq = 1, .count = 1, .stores = { 7 } } };
    check("genesis", sys_genesis_encode(&genesis, encoded, sizeof encoded));
    const struct sys_epoch epoch = { .epoch = { 0xcafe, 1 },
                                     .adopted = { { 0, 0 }, 1 },
                                     .digest = { 1, 2 },
                                     .how = SYS_EPOCH_STARTED,
                                     .why = "start",
                                     .entry_count = 1,
                                     .entries = { { { 0, 0 }, 1, { 0, 0 } } } };
    check("epoch", sys_epoch_encode(&epoch, encoded, sizeof encoded));
    const struct sys_join join = {
        .nonce = 5, .publisher = 1, .incarnation = 1, .identity = "injector"
    };
    check("join_record", sys_join_encode(&join, encoded, sizeof encoded));
    const struct sys_reject reject = {
        .reason = REJECT_CONDITION, .topic = 16, .count = 1, .detail = 41
    };
    check("reject", sys_reject_encode(&reject, encoded, sizeof encoded));
    const struct sys_digest digest = { .logic_version = 3,
                                       .position = { { 0xcafe, 2 }, 4096 },
                                       .digest = 0x1122334455667788 };
    check("state_digest", sys_digest_encode(&digest, encoded, sizeof encoded));
}
END_TEST

START_TEST(access)
{
    const struct sys_grant grant = { .rights = ACCESS_READ | ACCESS_WRITE,
                                     .whom = { .who = ACCESS_GROUP, .group = "traders" },
                                     .subtree = "/md" };
    check("grant", sys_grant_encode(&grant, encoded, sizeof encoded));
    struct sys_group group = { .group = "traders" };
    memset(group.key, 7, sizeof group.key);
    check("group", sys_group_encode(&group, encoded, sizeof encoded));
    const struct sys_limit limit = { .whom = { .who = LIMIT_EVERYONE },
                                     .limit = { .messages_per_s = 1000,
                                                .bytes_per_s = 1000000,
                                                .burst_ms = 100,
                                                .connections = 5 } };
    check("limit", sys_limit_encode(&limit, encoded, sizeof encoded));
    struct sys_edge login = { .kind = SYS_EDGE_LOGIN,
                              .session = 77,
                              .has_key = true,
                              .ip = 0x7f000001,
                              .port = 4711,
                              .agent = "pub" };
    memset(login.key, 7, sizeof login.key);
    memset(login.challenge, 9, sizeof login.challenge);
    check("edge", sys_edge_encode(&login, encoded, sizeof encoded));
    const struct sys_edge present = { .kind = SYS_EDGE_PRESENT, .lasts_ms = 30000 };
    check("presence", sys_edge_encode(&present, encoded, sizeof encoded));
}
END_TEST

START_TEST(replay)
{
    uint8_t body[REPLAY_REQUEST_SIZE];
    const struct replay_request request = { SUITE_STREAM, 1, 0, { 0xcafe, 2 } };
    size_t length = replay_request_encode(&request, body, sizeof body);
    check("replay_request",
          replay_frame_encode(REPLAY_REQUEST, body, length, encoded, sizeof encoded));
}
END_TEST

static void check_frame(const char *name, enum replay_type type, const uint8_t *body, size_t length)
{
    ck_assert_uint_gt(length, 0);
    check(name, replay_frame_encode(type, body, length, encoded, sizeof encoded));
}

START_TEST(control)
{
    uint8_t body[1024];
    const struct command command = { .kind = COMMAND_PROMOTE, .why = "host a fails", .how = 2 };
    check_frame("command", REPLAY_COMMAND, body, command_encode(&command, body, sizeof body));
    const struct outcome outcome = { .verdict = OUTCOME_REFUSED, .text = "leads already" };
    check_frame("outcome", REPLAY_OUTCOME, body, outcome_encode(&outcome, body, sizeof body));
    wire_store32(body, 64);
    check_frame("clients_request", REPLAY_CLIENTS_REQUEST, body, 4);
    static struct clients page = { .tip = 42, .clock_ns = 1700000000000000000, .count = 1 };
    page.all[0] = (struct client) { .session = 7,
                                    .ip = 0x0a000001,
                                    .port = 40000,
                                    .agent = "me",
                                    .since_ns = 1700000000000000000,
                                    .seq = 41,
                                    .bytes_in = 300,
                                    .bytes_out = 2,
                                    .published = 1,
                                    .subtrees = 1,
                                    .publishers = 1,
                                    .flags = CLIENT_SUBSCRIBED };
    check_frame("clients", REPLAY_CLIENTS, body, clients_encode(&page, body, sizeof body));
}
END_TEST

START_TEST(edge_login)
{
    struct edge_hello hello = { .version = EDGE_VERSION,
                                .has_key = true,
                                .agent = "example client" };
    memset(hello.key, 7, sizeof hello.key);
    check("edge_hello", edge_hello_encode(&hello, encoded, sizeof encoded));
    struct edge_welcome welcome = { .version = EDGE_VERSION,
                                    .stream = SUITE_STREAM,
                                    .proxy = "east" };
    memset(welcome.challenge, 0xaa, sizeof welcome.challenge);
    check("edge_welcome", edge_welcome_encode(&welcome, encoded, sizeof encoded));
    static const uint8_t no_binding[32];
    edge_signed(&welcome, hello.key, no_binding, encoded);
    check("edge_signed", EDGE_SIGNED_SIZE);
}
END_TEST

START_TEST(edge_reading)
{
    static const uint8_t subtree[] = "\5/team";
    const struct edge_subscribe subscribe = { .level = EDGE_SEQUENCED,
                                              .from = EDGE_FROM_POSITION,
                                              .tick_ms = EDGE_TICK_DEFAULT_MS,
                                              .subtrees = { 1, subtree, sizeof subtree - 1 } };
    check("edge_subscribe", edge_subscribe_encode(&subscribe, encoded, sizeof encoded));
    const struct edge_subscribed subscribed = { 0 };
    check("edge_subscribed", edge_subscribed_encode(&subscribed, encoded, sizeof encoded));
    const struct edge_epoch epoch = { { 0xcafe, 2 }, 2 };
    check("edge_epoch", edge_epoch_encode(&epoch, encoded, sizeof encoded));
    const struct edge_name name = { EDGE_NAME_TOPIC, 16, "/team/hello", 11 };
    check("edge_name", edge_name_encode(&name, encoded, sizeof encoded));
    const struct edge_message message = { .seq = 42,
                                          .previous = 41,
                                          .timestamp_ns = 1700000000000000000,
                                          .topic = 16,
                                          .publisher = 1,
                                          .publisher_seq = 7,
                                          .payload = (const uint8_t *)"hello",
                                          .length = 5 };
    check("edge_message", edge_message_encode(&message, encoded, sizeof encoded));
    const struct edge_progress progress = { 100, 42, 99, 1700000001000000000 };
    check("edge_progress", edge_progress_encode(&progress, encoded, sizeof encoded));
}
END_TEST

START_TEST(edge_publishing)
{
    const struct edge_open open = { .name = "pub", .nonce = 5, .known = UINT64_MAX };
    check("edge_open", edge_open_encode(&open, encoded, sizeof encoded));
    const struct edge_opened opened = { 1, 3, 6, 40, 5, 0 };
    check("edge_opened", edge_opened_encode(&opened, encoded, sizeof encoded));
    const struct edge_publish publish = { .publisher = 1,
                                          .number = 7,
                                          .position = { { 0xcafe, 2 }, 41 },
                                          .topic = "/team/hello",
                                          .topic_length = 11,
                                          .conditional = true,
                                          .condition_topic = "/team",
                                          .condition_topic_length = 5,
                                          .condition_after = 40,
                                          .payload = (const uint8_t *)"hello",
                                          .length = 5 };
    check("edge_publish", edge_publish_encode(&publish, encoded, sizeof encoded));
    const struct edge_outcome outcome = {
        .publisher = 1, .number = 7, .count = 1, .seq = 42, .stable = 41
    };
    check("edge_outcome", edge_outcome_encode(&outcome, encoded, sizeof encoded));
    const struct edge_refused refused = { .request = EDGE_SUBSCRIBE,
                                          .reason = EDGE_REFUSED_RIGHT,
                                          .right = ACCESS_READ,
                                          .subject = "/other",
                                          .text = "ask the other one" };
    check("edge_refused", edge_refused_encode(&refused, encoded, sizeof encoded));
    const struct edge_who who = { .place = 16 };
    check("edge_who", edge_who_encode(&who, encoded, sizeof encoded));
}
END_TEST

START_TEST(protocol)
{
    wire_store64(encoded, protocol_digest());
    check("protocol_digest", 8);
}
END_TEST

SUITE_RUN("wire_doc", batch, proposal, signals, payloads, access, replay, control, edge_login,
          edge_reading, edge_publishing, protocol)
