/* A store that replays what a stream has, as a port of which only streams work; it breaks off, refuses and lies
 * as often as it is told to. */
#ifndef CANTUS_TESTS_PROXY_STORE_H
#define CANTUS_TESTS_PROXY_STORE_H

#include "stream.h"
#include "transport/port.h"

enum { STORE_STREAMS = 64, STORE_OUT = 200000 };

struct store_stream {
    bool open, told, asked, close_due;
    uint16_t port;
    uint64_t next_seq, end_seq;
    uint8_t *out;
    size_t length;
};

struct store {
    struct port port;
    struct stream *stream;
    struct store_stream streams[STORE_STREAMS];
    uint32_t breaks;               /* one in so many frames; 0: never */
    uint32_t lies;                 /* one in so many batches has a wrong digest before it */
    uint32_t refuses;              /* one in so many requests */
    uint64_t oldest_seq;           /* what is below was pruned */
    uint64_t oldest_seq_of_second; /* at port 2; 0: the same */
    uint64_t requests, frames;
    uint64_t searches, broke, lied, refused; /* of them: for one seq; and how often it did that */
};

/* What takes its events: history_on_stream or whoever calls it. */
typedef bool store_receiver(void *ctx, const struct port_stream_event *e, size_t *consumed);

void store_init(struct store *s, struct stream *stream);
void store_close(struct store *s);
/* Tells what there is to tell, a few frames of each stream. */
void store_pump(struct store *s, store_receiver *receiver, void *ctx);

#endif
