/* TCP streams: shared by kernel_stream*.c, and nobody else. kernel_stream.c has the slots, and what a core asks
 * for; kernel_stream_events.c what comes from the kernel. */
#ifndef CANTUS_TRANSPORT_KERNEL_STREAM_H
#define CANTUS_TRANSPORT_KERNEL_STREAM_H

#include "transport/kernel.h"

uint32_t kernel_stream_id(const struct kernel_streams *s, const struct kernel_stream *stream);
/* The stream of an id that the core may still use; NULL once it is dead. */
struct kernel_stream *kernel_stream_find(struct kernel_streams *s, uint32_t id);
/* Makes a slot of an open descriptor; the descriptor is the slot's from then on. NULL if full. */
struct kernel_stream *kernel_stream_take(struct kernel_streams *s, int fd,
                                         enum kernel_stream_state state, struct port_addr peer);
void kernel_stream_release(struct kernel_streams *s, struct kernel_stream *stream);
/* Tells epoll what the stream waits for now. */
void kernel_stream_interest(struct kernel_streams *s, struct kernel_stream *stream);
/* It is sent at the next flush. */
void kernel_stream_dirty(struct kernel_streams *s, struct kernel_stream *stream);
/* Epoll says nothing of what we have to come back to. */
void kernel_stream_watch(struct kernel_streams *s, struct kernel_stream *stream);
/* Hands what is queued to the kernel. An error is left for epoll to report. */
void kernel_stream_send(struct kernel_streams *s, struct kernel_stream *stream);
/* So much of what is queued was taken by the kernel. */
void kernel_stream_sent(const struct kernel_streams *s, struct kernel_stream *stream,
                        uint32_t length);
/* Has epoll watch a stream that it does not. False: it can't. */
bool kernel_stream_add(struct kernel_streams *s, struct kernel_stream *stream);

/* ---- kernel_stream_turns.c ------------------------------------------------------------------- */

/* So many turns there are at first. */
uint32_t kernel_streams_turns_max(void);
/* Something was read from the stream, or is written to it. */
void kernel_stream_talks(struct kernel_streams *s, const struct kernel_stream *stream);
/* Whether a client may come or go now, which takes its turn. */
bool kernel_stream_turn(struct kernel_streams *s);
/* The end of this client's stream is looked at when it has its turn. */
void kernel_stream_park(struct kernel_streams *s, struct kernel_stream *stream);
/* No client is accepted before the next turn. */
void kernel_stream_hold_back(struct kernel_streams *s);
/* Gives turns to those who wait. */
void kernel_streams_turns(struct kernel_streams *s, uint64_t now_ns);
/* When to do so again; 0: nobody waits. */
uint64_t kernel_streams_due_ns(const struct kernel_streams *s);

/* ---- kernel_stream_batch.c ------------------------------------------------------------------- */

/* Sends what it can of what is dirty; the rest of each is left to kernel_stream_send. */
void kernel_batch_send(struct kernel_streams *s);
void kernel_batch_close(struct kernel_batch *b);

/* ---- kernel_stream.c ------------------------------------------------------------------------- */

/* Gives the memory of a stream's empty buffers back. */
void kernel_stream_give_back(const struct kernel_streams *s, struct kernel_stream *stream);

#endif
