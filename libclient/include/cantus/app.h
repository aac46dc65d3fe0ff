/* Cantus: how an application is written.
 *
 * An app is a deterministic state machine under inverted control. It never sends: it applies the
 * messages of the stream in their one order, and when it is asked, says what it would propose next.
 * No clock, no randomness, no I/O inside: time is the message's timestamp, timers are asked of the
 * library. So every replica that has applied the stream through N is in the same state, wherever
 * and whenever it runs; and the simulator can run the very same code.
 *
 * A library that exports `const struct cantus_app cantus_app_v1` is loaded by `cantus sim --app`.
 */
#ifndef CANTUS_APP_H
#define CANTUS_APP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CANTUS_APP_ABI 1
#define CANTUS_API     __attribute__((visibility("default")))

/* A sequenced message. All of it is borrowed until the callback returns. */
struct cantus_message {
    uint64_t seq;
    uint64_t timestamp_ns;  /* Unix time, never goes back */
    const char *topic;      /* "/md/btcusd", NUL-terminated */
    const char *publisher;  /* its identity; "" for the sequencer */
    uint64_t publisher_seq; /* its number; 0 for the sequencer's */
    const void *payload;
    size_t length;
};

/* What an app would say next. The strings and the payload are the app's own memory, or lie in
 * `buffer`, and are copied when `next` returns. */
struct cantus_proposal {
    const char *topic;
    const void *payload;
    size_t length;
    /* Only if condition_topic has nothing after seq condition_after (NULL: no condition). Lets a
     * fleet of redundant apps try the same thing while exactly one succeeds. */
    const char *condition_topic;
    uint64_t condition_after;
    uint8_t *buffer; /* the library's, to build a payload in */
    size_t buffer_size;
};

/* Timers are part of the state: they fire at their due time in the stream, before the first message
 * stamped then or later, alike in every replica and in every replay. */
struct cantus_timers;
/* (Re)sets timer `id` to fire at due_ns. False when the machine has CANTUS_TIMERS_MAX pending. */
CANTUS_API bool cantus_timer_set(struct cantus_timers *timers, uint64_t id, uint64_t due_ns);
CANTUS_API void cantus_timer_cancel(struct cantus_timers *timers, uint64_t id);
#define CANTUS_TIMERS_MAX 1024

/* Snapshots are streams of bytes. */
struct cantus_writer;
struct cantus_reader;
CANTUS_API void cantus_write(struct cantus_writer *w, const void *bytes, size_t length);
CANTUS_API void cantus_write_u64(struct cantus_writer *w, uint64_t value);
/* False, and zeros, when the snapshot ends too early. */
CANTUS_API bool cantus_read(struct cantus_reader *r, void *bytes, size_t length);
CANTUS_API uint64_t cantus_read_u64(struct cantus_reader *r);

/* A good 64-bit hash, the same everywhere: for digests. Chain by passing the last as seed. */
CANTUS_API uint64_t cantus_hash(uint64_t seed, const void *bytes, size_t length);

struct cantus_app;

/* A smaller state machine inside a larger one, at this offset of its state. */
struct cantus_part {
    const struct cantus_app *app;
    size_t offset;
};

struct cantus_app {
    uint32_t abi;           /* CANTUS_APP_ABI */
    uint32_t logic_version; /* yours; counts up when the same stream leads to another state */
    const char *name;
    /* Subtrees it applies, NULL-terminated; NULL: none of its own. "/" leaves out /sys. */
    const char *const *topics;
    size_t state_size; /* the library gives that much zeroed memory, 64-byte aligned */
    const struct cantus_part *parts; /* applied first, in this order, each by its own topics */
    size_t part_count;

    /* Sets up the empty state, the parts' before the whole's. `config` is the user's text, "" if
     * none. False: it can't run so. */
    bool (*init)(void *state, const char *config, struct cantus_timers *timers);
    /* May be NULL where there is nothing to do: */
    void (*apply)(void *state, const struct cantus_message *message);
    void (*timer)(void *state, uint64_t id, uint64_t now_ns);
    /* What it would propose in this state; false: nothing. Must not change the state. Asked again
     * once its last proposal has been sequenced or rejected. */
    bool (*next)(const void *state, struct cantus_proposal *proposal);
    void (*save)(const void *state, struct cantus_writer *writer);
    bool (*load)(void *state, struct cantus_reader *reader);
    /* Equal states have equal digests. Without one, whether anything has changed is judged by the
     * bytes of the state alone. */
    uint64_t (*digest)(const void *state);
    void (*close)(void *state); /* frees what init or apply took */
};

#ifdef __cplusplus
}
#endif
#endif
