/* A proxy that is sent whatever a client might send, on a stream with a sequencer (tests/proxy/rig.h). The first
 * byte of the input says whether the client has a key and has logged in; records follow: two bytes of length, of
 * which the highest bit ends the connection, and so many bytes. What somebody sends must never make the proxy fail,
 * nor keep another client from its round trip. */
#include "fuzz/fuzz.h"
#include "tests/proxy/rig.h"

enum { INPUTS_OF_ONE_RIG = 200, ROUNDS_MAX = 64, CONNECTIONS_MAX = 16 };

/* What the rig asserts with, without a test to run it in. */
void _mark_point(const char *file, int line)
{
    (void)file, (void)line;
}

void _ck_assert_failed(const char *file, int line, const char *expression, const char *message, ...)
{
    fprintf(stderr, "%s:%d: %s %s\n", file, line, expression, message != NULL ? message : "");
    abort();
}

/* The rig outlives an input on purpose; a search for leaks after each would take most of the time. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return 1;
}

static struct rig *rig;
static struct rig_key key, honest;
static uint32_t honest_client;
static struct edge_opened opened;
static uint64_t number, inputs;

static void begin(void)
{
    struct proxy_options o;
    proxy_options_default(&o);
    o.sessions_max = 64;
    o.recent_bytes = o.view_bytes = 4 << 20;
    o.relay_bytes = 8 << 20;
    o.subtrees_max = 4096;
    rig = rig_new_with(&o, false);
    key = rig_key(1);
    honest = rig_key(2);
    rig_grant(rig, &key, ACCESS_READ | ACCESS_WRITE, "/a");
    rig_grant(rig, &honest, ACCESS_READ | ACCESS_WRITE, "/h");
    rig_topic(rig, "/a/b");
    rig_topic(rig, "/h/a");
    honest_client = rig_login(rig, &honest);
    opened = rig_opened(rig, honest_client, "h", 1);
    number = opened.last_number;
}

static void round_trip(void)
{
    size_t length;
    const uint8_t *outcome = NULL;
    rig_publish(rig, honest_client, opened.publisher, ++number, "/h/a", "x");
    for (int i = 0; i < ROUNDS_MAX && outcome == NULL; i++) {
        rig_round(rig);
        outcome = rig_next(rig, honest_client, EDGE_OUTCOME, &length);
    }
    assert(outcome != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (inputs++ % INPUTS_OF_ONE_RIG == 0) {
        if (rig != NULL)
            rig_free(rig);
        begin();
    }
    bool logged_in = (data[0] & 1) != 0, has_key = (data[0] & 2) != 0;
    uint32_t connections = 1;
    uint32_t c = logged_in ? rig_login(rig, has_key ? &key : NULL) : rig_connect(rig, 0x0a000001);
    for (size_t at = 1; at + 2 <= size;) {
        size_t length = wire_load16(data + at) & 0x7fff;
        bool ends = (data[at + 1] & 0x80) != 0;
        at += 2;
        if (length > size - at)
            length = size - at;
        if (length > 0 && rig->streams[c - 1].open)
            rig_write(rig, c, data + at, length);
        at += length;
        rig_round(rig);
        if (!ends || connections++ == CONNECTIONS_MAX)
            continue;
        if (rig->streams[c - 1].open)
            rig_hang_up(rig, c);
        c = logged_in ? rig_login(rig, has_key ? &key : NULL) : rig_connect(rig, 0x0a000001);
    }
    round_trip();
    if (rig->streams[c - 1].open)
        rig_hang_up(rig, c);
    rig_run(rig);
    assert(!proxy_failed(rig->proxy));
    assert(proxy_sessions(rig->proxy) == 1);
    return 0;
}
