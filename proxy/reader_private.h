/* The inside of readers.
 *
 *   reader.c         memory, requests, questions
 *   reader_begin.c   where it begins
 *   reader_stream.c  ticks, publishers, the stream
 *   reader_queue.c   what is inserted, and the bytes that a session takes
 *   reader_catch.c   places, the way from behind to live, and the line of those who are behind
 *   reader_slot.c    what one of these is encoded with
 *   reader_rights.c  changes of what may be read
 *   reader_pass.c    what that need not read
 *
 * A reader's bytes are those of an encoder, counted from its beginning (`at`): its own, while it is behind, then
 * its view's. What is inserted has its place between them. So what lies in front of a reader, live or behind, is
 * the same, and whoever has to leave a view, or gives up its turn, goes on from the first unit not taken. */
#ifndef CANTUS_PROXY_READER_PRIVATE_H
#define CANTUS_PROXY_READER_PRIVATE_H

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/hash.h"
#include "proxy/core.h"
#include "proxy/reader.h"

enum {
    NONE = 0, /* of every index: tables begin at 1 */
    CHANGES_MAX = 4,
    ITEMS_MAX = 512,      /* of one reader, but for what its session inserts */
    STEP_MESSAGES = 2048, /* one catch-up's share of a step */
    RIGHTS_KEPT = 64      /* changes of rights; older ones concern everybody */
};

#define CHANGE_FELL UINT64_MAX

enum item_kind {
    ITEM_OUTCOME,
    ITEM_TICK,
    ITEM_EPOCH,
    ITEM_SESSION, /* reader_insert */
    ITEM_SUBSCRIBED,
    ITEM_CHANGED,
    ITEM_FORKED
};

struct item {
    uint64_t at; /* behind so many bytes */
    uint64_t seq;
    uint64_t tag; /* of a tick: its interval; of an epoch: its first seq */
    uint32_t next;
    uint8_t kind;
    uint8_t length;
    bool settled; /* not before `seq` is stable */
    uint8_t bytes[READER_FRAME_MAX];
};

struct queue {
    uint32_t first, last, count;
};

/* Where a reader goes on that has no encoder. */
struct place {
    uint64_t next;     /* first seq of which it has nothing */
    uint64_t previous; /* the last match that it was told of in its block */
    size_t skip;       /* bytes of that message's unit that it has; fresh: of the names */
    bool end;   /* the end of the block below `next`, if it has one there, is still to be said */
    bool fresh; /* the names that are known there are still to be said */
};

enum waits_for { WAITS_NOT, WAITS_POSITION, WAITS_TIME };

enum given { GIVEN_NOTHING, GIVEN_ITEM, GIVEN_OWN, GIVEN_VIEW };

struct change {
    uint64_t seq; /* CHANGE_FELL: of its record, which will come again, it is not known */
    uint32_t view;
    uint32_t number;
};

struct reader {
    struct readers *s;
    void *ctx;
    uint32_t principal;
    bool open, stable, subscribed, broken, lost, outdated;
    bool joined;   /* live */
    uint32_t view; /* of what was taken */
    struct change changes[CHANGES_MAX];
    uint32_t change_count, changes_applied; /* applied to what is encoded */
    struct view_reader in_view;
    uint32_t slot; /* its own encoder, or what is left of its bytes */
    struct place place;

    uint64_t at; /* bytes taken */
    struct queue items, pending;
    uint32_t inserted_bytes;
    uint64_t unit_taken, unit_length, unit_seq, unit_previous; /* a piece of a unit was taken */
    enum given given;
    size_t given_length;

    uint64_t tick_ns, tick_said, tick_taken; /* intervals */
    uint64_t epoch_said, epoch_taken;        /* first seqs */
    struct position mark;                    /* reader_mark; 0: none */
    uint64_t asked_seq;                      /* its request's mark_seq; 0: none */
    uint64_t rights_from;                    /* it is judged by what held there, or later */
    uint64_t rights_seq, rights_version;     /* when that changed last, as of this version */
    uint64_t floor;      /* outcomes at and below this were said before the subscription */
    bool lacks_outcomes; /* and of its publishers' there may be more above, not said */
    uint32_t owned;      /* first of its publishers */
    struct position position;
    uint64_t time_ns;
    enum waits_for waits_for;
    uint64_t oldest;

    bool drained, is_ready, is_later, is_held, in_line;
    struct reader *next_free, *next_ready, *next_later, *next_held;
    struct reader *next_in_line, *previous_in_line;
    struct reader *next_parked;
    struct reader **wait_list, *next_waiting, *previous_waiting;
    struct reader *next_in_group, *previous_in_group;
    uint32_t group;
};

struct owner {
    uint64_t from_seq, through_seq;
    struct reader *reader;
    uint32_t publisher;
    uint32_t next; /* in its slot of the index, or free */
    uint32_t next_of_reader;
};

struct group {
    uint64_t tick_ns;
    uint64_t index; /* of the last tick's interval */
    bool fresh;     /* somebody came since */
    struct reader *members;
};

enum source { SOURCE_NONE, SOURCE_RECENT, SOURCE_HISTORY };

/* What somebody who is behind is encoded with. */
struct slot {
    struct reader *reader;
    enum source source;
    uint32_t replay;
    uint32_t place; /* in slot_order, while it is in use */
    struct recent_cursor cursor;
    struct block block;
    uint64_t next; /* first seq that was not offered; 0: the block's beginning is to be found */
    bool unmuted;
    bool end_muted;     /* the first block's end was said */
    bool change_due;    /* the set of subtrees changes here */
    bool waits;         /* everything that is to be had was offered, and it could not join */
    bool blocked;       /* history has a message that there was no room for: */
    size_t wants;       /* so much of it, unless nothing is left to be taken */
    uint64_t asked_end; /* of history */
    size_t names_skip;
    uint32_t names_at;
    uint64_t names_begin, names_end; /* in the reader's bytes; end UINT64_MAX: not all are said */
    uint64_t streaming;              /* seq of a unit that is being written; 0: none */
    uint64_t streaming_previous;     /* that it says */
    size_t unit_from, unit_done;
    uint32_t head_length;
    uint32_t begin, end; /* of the bytes not taken */
    bool moved;          /* something was taken since the last look */
    uint64_t moved_ns;
    uint8_t head[ENCODER_OVERHEAD_MAX];
    struct encoder encoder;
};

struct line {
    struct reader *first, *last;
};

/* A message on /sys/grant or /sys/group that may have changed what somebody may read. */
struct rights_change {
    uint64_t seq;
    uint32_t principal; /* whose, if not everyone's */
    bool everyone;
    uint8_t length;
    char subtree[TOPIC_PATH_MAX + 1];
};

struct readers {
    struct readers_options o;
    const struct catalog *catalog;
    struct recent *recent;
    struct views *views;
    struct history *history;
    struct reader *readers;
    struct reader *free_readers;
    uint32_t reader_end;
    uint32_t reader_count;

    struct item *items;
    uint32_t item_free, item_end, item_max, items_used;
    struct owner *owners;
    uint32_t *owner_index;
    uint32_t owner_free, owner_end, owner_max, owner_mask;
    struct group *groups;
    uint32_t group_end;
    struct slot *slots;
    uint8_t *slot_bytes;
    uint32_t *slot_order; /* [catch_ups_max]: free_slot_count that are free, then those in use */
    uint32_t free_slot_count;
    struct reader **waiting;        /* by edition: at sequenced, who has everything */
    struct reader **waiting_stable; /* and at stable */
    uint32_t *unstable;             /* circular: editions whose readers at stable wait */
    uint64_t *unstable_seq;
    bool *is_unstable;
    uint32_t unstable_mask, unstable_head, unstable_count;

    struct line line; /* for a slot */
    struct line ready, later, held;
    uint32_t ready_turn;
    uint32_t ticks_left; /* of those in `later`, since then: */
    uint64_t ticks_ns;
    struct reader *parked;
    uint64_t parked_seq, parked_time_ns; /* the smallest that somebody waits for */

    struct position through;
    uint64_t last_seq, last_time_ns; /* of the last message */
    uint64_t watermark;
    uint64_t stable; /* the last message at or below it with which no group goes on */
    struct recent_cursor stable_at;           /* behind that */
    struct rights_change rights[RIGHTS_KEPT]; /* circular, by rights_end */
    uint64_t rights_begin, rights_end, rights_version;
    uint64_t rights_forgotten; /* seq of the last that is not kept */
    uint64_t due_seq;          /* the smallest of what is inserted or changed above last_seq */
    uint64_t asked_due;        /* the smallest asked_seq, or seq of a mark, above last_seq */
    uint64_t touch_seq;        /* of the first message whose touched views were not looked at */
    uint64_t stable_before[EPOCH_TABLE_MAX]; /* watermark in front of each epoch */
    uint64_t whole_before[EPOCH_TABLE_MAX]; /* what is above that, and below the epoch, it voided */
    uint64_t message_stable;
    uint64_t now_ns;
    uint32_t slot_turn;
    uint64_t written, evicted; /* by views, as far as counted */
    struct readers_counts counts;
    uint8_t no_subtrees[1];
};

static inline struct reader *reader_in(struct view_reader *in_view)
{
    return (struct reader *)(void *)((uint8_t *)in_view - offsetof(struct reader, in_view));
}

static inline bool reader_sabotaged(const struct reader *r, uint32_t what)
{
    return (r->s->o.sabotage & what) != 0;
}

/* ---- reader_begin.c -------------------------------------------------------------------------- */

void reader_say_position(struct reader *r, enum item_kind kind, struct position p);
/* Begins behind its position, with FORKED in front if that is off the history; one that is not there yet is waited
 * for. */
void reader_resolve_position(struct reader *r);
void reader_resolve_time(struct reader *r);
void reader_unpark(struct reader *r); /* it waits no longer */
/* Those that wait, for whom the stream has come far enough; or all of them. */
void readers_serve_parked(struct readers *s, bool all);

/* ---- reader_stream.c ------------------------------------------------------------------------- */

/* Those with the same interval between ticks are looked at together. */
void reader_join_group(struct reader *r, uint32_t tick_ms);
void reader_leave_group(struct reader *r);
/* Readers at stable whose edition got something that is not. */
void readers_note_unstable(struct readers *s, uint32_t edition, uint64_t seq);
void reader_drop_changes(struct reader *r);
/* What it has asked for may be the next that somebody has. */
void reader_look_for_asked(const struct reader *r);

/* ---- reader_queue.c -------------------------------------------------------------------------- */

/* Behind the bytes that there are. False: no room. */
bool queue_put(struct reader *r, enum item_kind kind, uint64_t seq, uint64_t tag,
               const uint8_t *frame, size_t length);
bool queue_has_room(const struct reader *r, uint32_t count);
/* Those behind the reader's place go: what can be made again, is; what can't waits. */
void queue_cut(struct reader *r);
/* Those above `seq` go for good. */
void queue_fork(struct reader *r, uint64_t seq);
void queue_clear(struct readers *s, struct queue *q);
/* Everything that is told behind this message; `previous` is the last match in the block. */
void reader_behind(struct reader *r, const struct run_message *m, uint64_t stable,
                   uint64_t previous);
/* In front of the message at `seq`: what it has asked for lies between that and the one before, which was `last`. */
struct reader_last {
    uint64_t seq, timestamp_ns;
};
void reader_in_front(struct reader *r, struct reader_last last, uint64_t seq, uint64_t stable,
                     uint64_t previous);
/* Behind the message: it has asked for that, or its mark is there. */
void reader_say_asked(struct reader *r, const struct run_message *m, uint64_t stable,
                      uint64_t previous);
void reader_say_epoch(struct reader *r, uint64_t seq);
void reader_say_pending(struct reader *r, uint64_t through);
void reader_wake(struct reader *r);
void reader_wake_list(struct reader **list);
void reader_unwait(struct reader *r);
void reader_moved(void *ctx, struct view_reader *in_view);
uint64_t reader_end(const struct reader *r);

/* ---- reader_rights.c ------------------------------------------------------------------------- */

/* A message on /sys/grant or /sys/group. */
void readers_note_rights(struct readers *s, const struct message *m);
void readers_fork_rights(struct readers *s, uint64_t seq);
/* When what it may read changed last, since it has begun; 0: it has not. */
uint64_t reader_rights_seq(struct reader *r);
/* Whether a fork to there takes back rights by which all was judged that it was told of what is left. */
bool reader_rights_fall(const struct reader *r, uint64_t common_seq);

/* ---- reader_catch.c -------------------------------------------------------------------------- */

uint32_t reader_effective_view(const struct reader *r);
/* Goes on from its place: at once if the view is there, else in line for a slot. */
void reader_begin(struct reader *r);
/* Leaves view and slot; its place is behind what was taken. */
void reader_leave(struct reader *r);
/* Lives from here on: what there is was written for it. */
void reader_join(struct reader *r, uint32_t view);
/* Nothing that it lacks was offered to its view's encoder yet. */
bool reader_at_tip(const struct reader *r, const struct encoder *e);
/* The next change counts from here on. False: no room to say so. */
bool reader_say_changed(struct reader *r);
/* The first seq of which not everything was taken. */
uint64_t reader_next_seq(const struct reader *r);
void reader_break(struct reader *r);
/* It has to begin anew, by other rights. */
void reader_outdate(struct reader *r);
void reader_losing(void *ctx, struct view_reader *in_view);
void line_append(struct reader *r);
void line_remove(struct reader *r);
/* All of them, in turn. True: there is more to do at once. */
bool slots_step(struct readers *s);

static inline const struct change *reader_next_change(const struct reader *r)
{
    return r->changes_applied < r->change_count ? &r->changes[r->changes_applied] : NULL;
}

/* ---- reader_slot.c --------------------------------------------------------------------------- */

static inline struct slot *slot_of(const struct reader *r)
{
    return r->slot != NONE ? &r->s->slots[r->slot] : NULL;
}

/* There is a free one. */
void slot_start(struct reader *r);
void slot_release(struct reader *r);
/* Its share of a step. True: there is more. */
bool slot_run(struct slot *slot);
uint8_t *slot_bytes(const struct reader *r);
/* The next bytes are names that were known where it began. */
bool slot_in_names(const struct reader *r);
bool slot_history_message(void *ctx, void *reader, const struct run_message *m, uint64_t stable);
void slot_history_done(void *ctx, void *reader);
void slot_history_failed(void *ctx, void *reader, uint64_t oldest_seq);

/* ---- reader_pass.c --------------------------------------------------------------------------- */

/* Goes behind the stretch of `recent` that comes next, if its reader is sent nothing of it. */
bool slot_pass(struct slot *slot);

#endif
