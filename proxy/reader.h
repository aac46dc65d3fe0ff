/* Readers: what one session is sent of the stream, in order, without gap or duplicate.
 *
 *   views ─────live──────▶ reader ──▶ session
 *   recent ─catching up─────▲
 *   history ─further back───┘
 *
 * A reader's bytes are a function of the stream, its request, and what it was told since at stated seqs
 * (its own publishers, a changed set of subtrees): SUBSCRIBED; the messages of its filter with the
 * names they need; OUTCOMEs of its own publishers, each directly behind the message with which it became
 * known; PROGRESS at block ends where something matched, behind its mark, where its request asks for it, and at the
 * first tick of the stream in each interval of its own; CHANGED; FORKED. It makes no difference to them whether it was live or behind.
 *
 * Somebody who is behind is encoded for alone, from `recent` or from a store, from the beginning of the block
 * on (muted up to its place), and goes live where the view is: from the same stream with the same rights,
 * both encoders are in the same state there. A reader at EDGE_STABLE is held back at the watermark.
 *
 * What may be read of messages up to a change of rights is judged by what held before. Views do so by themselves.
 * Who is behind when rights change that concern it is encoded for no more: it is outdated, and has to begin
 * anew; for whoever has begun since, all of history is judged by what holds now. So is who was told of what a fork
 * leaves by rights that the fork takes back, and is not told of the fork.
 *
 * A live reader that is more than lag_bytes_max behind its view is left behind: it catches up. Whoever is cut
 * off for taking nothing is the session's decision. Pure; all memory is taken by create. */
#ifndef CANTUS_PROXY_READER_H
#define CANTUS_PROXY_READER_H

#include "proxy/history.h"
#include "proxy/view.h"

struct reader;
struct readers;

struct readers_counts {
    uint64_t left_behind; /* times that somebody live fell behind, its request apart */
    uint64_t joined;      /* went live from behind */
    uint64_t joined_at_once;
    uint64_t not_yet;      /* would have joined, but for rights that changed in this block */
    uint64_t preempted;    /* gave up its turn, since it took nothing and others waited */
    uint64_t from_history; /* messages */
    uint64_t from_recent;
    uint64_t passed; /* stretches of it that were not read */
    uint64_t forked;
    uint64_t broken;
    uint64_t items_full;   /* times that there was no room for what is to be inserted */
    uint32_t live, behind; /* now */
};

enum {
    READER_FRAME_MAX = 64,
    READER_INSERTED_MAX = 65536,
    READER_TICKS_AT_ONCE = 16,
    READER_TICKS_APART_NS = 250000
};

struct readers_options {
    struct views_options views; /* its lag_bytes_max: further behind its view nobody is live */
    struct history_options history;
    uint64_t recent_bytes; /* raised to two of the largest messages (history.run_bytes_max) */
    uint32_t readers_max;
    uint32_t catch_ups_max;  /* at a time: others wait their turn; default 1024 */
    uint32_t catch_up_bytes; /* encoded ahead for one that is behind; default 64 KiB */
    uint64_t *counters;
    uint32_t sabotage; /* enum proxy_sabotage */
};

size_t readers_memory(const struct readers_options *o);
/* `catalog` follows at sequenced; whoever owns it tells of everything below, after applying it. */
struct readers *readers_create(const struct readers_options *o, struct port *port,
                               const struct catalog *catalog);
void readers_destroy(struct readers *s);

/* ---- the stream ------------------------------------------------------------------------------ */
/* A whole message, applied to the catalog; rejects and all of /sys too. `stable` is the watermark of the batch
 * that completed it. What its readers are to be told behind it (reader_own, reader_insert, reader_change) is
 * said before the next one. */
void readers_message(struct readers *s, const struct run_message *m, uint64_t stable);
/* The end of a batch: everything through this was offered: its last message, or what is below an open run. */
void readers_through(struct readers *s, struct position through);
void readers_stable(struct readers *s, uint64_t stable);
/* Whether somebody who has everything through this position has nothing that no longer holds. */
bool readers_has(const struct readers *s, struct position p);
/* What is above `common` no longer holds; the catalog has gone back. No group is open there: what comes next is the
 * first message behind it. */
void readers_fork(struct readers *s, struct position common);
bool readers_on_stream(struct readers *s, const struct port_stream_event *e, struct port_time now,
                       size_t *consumed);
uint64_t readers_step(struct readers *s, struct port_time now);

/* ---- one reader ------------------------------------------------------------------------------ */
/* A session without a subscription yet: from here on it gets OUTCOMEs, FORKED, and PROGRESS at ticks if it
 * has publishers. NULL: there are too many. `ctx` is told by readers_ready. */
struct reader *reader_open(struct readers *s, uint32_t principal, enum edge_level level, void *ctx);
void reader_close(struct reader *r);

enum reader_refusal {
    READER_OK = 0,
    READER_TOO_MANY /* views or subtrees */
};
/* Begins behind request->position (EDGE_FROM_TIP: behind `tip`; EDGE_FROM_TIME: where the stream has that
 * time). A position off the history is answered in the bytes, with FORKED, and begins behind the common end.
 * One beyond the tip waits for it. Once per reader. */
enum reader_refusal reader_subscribe(struct reader *r, const struct edge_subscribe *request,
                                     struct position tip);
/* PROGRESS is said behind the message at this position, too, if it begins in front of it: who wants what there is need
 * not wait for a tick. It may be off the history, and come again. Before it subscribes. */
void reader_mark(struct reader *r, struct position p);
/* From `seq` on the set is this one: behind the record with this number, which lies behind where the reader began
 * and behind the record of any change before. */
enum reader_refusal reader_change(struct reader *r, const struct edge_subtrees *now, uint64_t seq,
                                  uint32_t number);
/* The record with this number fell with a fork, and has come again: the change that it was the record of, if that
 * was not told, counts from `seq` on. */
void reader_change_again(struct reader *r, uint64_t seq, uint32_t number);
/* Whether its subtrees may be read at all: of whose nothing is, the first, for a clear refusal. */
bool reader_may_read_any(const struct readers *s, uint32_t principal, const char *subtree,
                         size_t length);
/* Whether what this principal may read of these subtrees may have changed above this seq. */
bool readers_rights_since(const struct readers *s, uint32_t principal,
                          struct edge_subtrees subtrees, uint64_t seq);
/* Its key is this principal from the next message on: because something named the key for the first time, or
 * a fork went back behind that. */
enum reader_refusal reader_principal(struct reader *r, uint32_t principal);
/* OUTCOMEs of this publisher, of messages above `from_seq`; asked again: as it was. False: too many. */
bool reader_own(struct reader *r, uint32_t publisher, uint64_t from_seq);
/* Those above `seq` are another's, unless a fork goes back in front of it. */
void reader_own_through(struct reader *r, uint32_t publisher, uint64_t seq);
void reader_disown(struct reader *r, uint32_t publisher);
/* A frame of the session's that belongs behind everything of `seq` and below (OPENED, SUPERSEDED): in the
 * order of calls for equal seqs, but on either side of a CHANGED that counts from seq + 1 on; at most
 * READER_FRAME_MAX bytes. `settled`: it, and what comes behind it, waits until `seq` is stable, at sequenced, too.
 * False: more than READER_INSERTED_MAX wait; the session ends. */
bool reader_insert(struct reader *r, uint64_t seq, bool settled, const uint8_t *frame,
                   size_t length);

/* The next bytes, in place, taken or not, until an entry point above is called: whole frames, except that a
 * message that is larger than `room`, or than what is encoded ahead, comes in pieces. 0: nothing now. At most
 * `room`. */
size_t reader_next(struct reader *r, size_t room, const uint8_t **bytes);
/* They were taken, all of them; until then reader_next gives the same again. */
void reader_take(struct reader *r);
/* A piece was taken: no other frame may come between. */
bool reader_mid_frame(const struct reader *r);
/* Everything of this seq and below was taken, what is inserted there, too. */
bool reader_has_told(const struct reader *r, uint64_t seq);

enum reader_state {
    READER_LIVE,
    READER_BEHIND,  /* catching up */
    READER_LOST,    /* what it asks for is gone: reader_oldest is the oldest that is left */
    READER_BROKEN,  /* forked in the middle of a frame, or more to insert than it keeps: close it */
    READER_OUTDATED /* what it may read has changed above what was encoded for it: close it */
};
enum reader_state reader_state(const struct reader *r);
uint64_t reader_oldest(const struct reader *r);
uint64_t reader_seq(const struct reader *r); /* everything through this was taken */
uint32_t reader_subtrees(const struct reader *r);
struct readers_counts readers_counts(const struct readers *s);
struct views *readers_views(const struct readers *s);

/* Those for whom there is something to read, after reader_next had nothing for them, or whose state has changed;
 * each once, and those for whom there is only a tick behind the others, READER_TICKS_AT_ONCE of them every
 * READER_TICKS_APART_NS: a tick comes to all at once, and whoever talks is not to wait behind that. Asked after the
 * entry points above; not necessarily for all of them. NULL: no more. */
void *readers_ready(struct readers *s);
/* When it has more of those for whom there is only a tick; PORT_NEVER: there are none. */
uint64_t readers_ready_ns(const struct readers *s);

#endif
