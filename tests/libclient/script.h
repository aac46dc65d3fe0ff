/* A client core through a proxy that is a script, over a port that only remembers: a test takes the client's
 * frames one by one, judges them, and says what a proxy might, in order or not, whole or in pieces, until the
 * connection ends; then it sees with what the next one begins. */
#ifndef CANTUS_TESTS_LIBCLIENT_SCRIPT_H
#define CANTUS_TESTS_LIBCLIENT_SCRIPT_H

#include "rig.h"

#define STREAM UINT64_C(0xabcdef)

enum { HEARD_MAX = 4 << 20, SAID_MAX = 4 << 20, PROXIES = 2 };

struct script {
    struct port port; /* first */
    struct port_time now;
    struct client_core *core;
    struct edge_options edge;
    enum follower_level level;
    uint64_t until_seq;
    enum cantus_from from; /* for script_make_core */
    uint64_t from_ns;
    bool is_volatile; /* the stream */
    char error[CANTUS_ERROR_MAX];

    uint32_t stream, streams; /* the open one, or 0; ever */
    struct port_addr to;
    bool connected;
    size_t room; /* of the stream; what the client writes is taken away at once */
    uint8_t *heard;
    size_t heard_at, heard_end;
    uint8_t *said;
    size_t said_end;
    uint64_t deadline;
    uint64_t last; /* match in the block, as the proxy goes */
    uint64_t block;

    struct rig_seen seen[256];
    uint32_t seen_count;
    struct rig_report reports[64];
    uint32_t report_count;
};

extern const struct epoch script_first_epoch, script_second_epoch;

struct position script_at(struct epoch epoch, uint64_t seq);
void script_begin(struct script *s);
void script_cut(struct script *s);
void script_event(struct script *s, enum port_stream_event_type type, const uint8_t *bytes,
                  size_t length);
void script_flush(struct script *s);
void script_flush_pieces(struct script *s, size_t piece);
void script_free(struct script *s);
struct edge_subscribe script_grant(struct script *s);
const uint8_t *script_hear(struct script *s, enum edge_type type, size_t *length);
bool script_hears_nothing(struct script *s);
bool script_is_gone(const struct script *s);
void script_let_in(struct script *s, uint64_t tip, uint64_t stable);
void script_make_core(struct script *s);
void script_name(struct script *s, enum edge_name_kind kind, uint32_t id, const char *text);
struct script *script_new(enum follower_level level);
const struct rig_report *script_reported(const struct script *s, enum cantus_report_kind kind);
void script_saw(const struct script *s, uint32_t index, uint64_t seq, const char *text);
uint64_t script_violations(const struct script *s);
void script_step(struct script *s);
void script_subscribe(struct script *s, const char *subtree);
void script_tell(struct script *s, uint64_t seq, const char *text);
void script_wait_connect(struct script *s);
void script_sign(void *ctx, const uint8_t message[EDGE_SIGNED_SIZE],
                 uint8_t signature[EDGE_SIGNATURE_SIZE]);

/* Of publisher 12, whose items are on "/a/b". The OPEN that is answered with these, each number an item: */
struct edge_open script_opened(struct script *s, uint64_t last, uint64_t join_seq);
struct edge_open script_opened_items(struct script *s, uint64_t last, uint64_t join_seq,
                                     uint64_t items);
void script_push(struct script *s, struct cantus_pipe *pipe, const char *text);
void script_heard_item(struct script *s, uint64_t number, const char *payload);
void script_outcome(struct script *s, uint64_t number, uint32_t count, uint64_t seq,
                    uint8_t reason);

/* The next frame of the client, which has to be of this type. */
#define HEAR(s, name, TYPE, out)                                                                   \
    do {                                                                                           \
        size_t hear_length;                                                                        \
        const uint8_t *hear_body = script_hear(s, TYPE, &hear_length);                             \
        ck_assert(edge_##name##_decode(hear_body, hear_length, out));                              \
    } while (0)

/* Waits to be flushed. */
#define SAY(s, name, ...)                                                                          \
    do {                                                                                           \
        const struct edge_##name say_it = { __VA_ARGS__ };                                         \
        size_t say_length =                                                                        \
            edge_##name##_encode(&say_it, (s)->said + (s)->said_end, SAID_MAX - (s)->said_end);    \
        ck_assert_uint_gt(say_length, 0);                                                          \
        (s)->said_end += say_length;                                                               \
    } while (0)

#endif
