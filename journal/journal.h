/* The journal of one store: every batch of the history, verbatim, on disk.
 *
 * Files of a store's directory:
 *   store         stream id, store id, format version; written once by format
 *   segment-%08u  a header block, then batches back to back (each aligned to 8 bytes)
 *   index-%08u    of a closed segment: every 64 KiB (seq, time, offset); rebuilt when missing
 *   mark          two slots, written in turn: the durable mark and the partial last block
 *   promise       two slots, written in turn: the epoch that this store promised, and the run
 *
 * Group commit. Batches are appended to memory; a commit writes the blocks that are now complete to
 * their place in the segment, once and for all, and the incomplete last block into the next slot of
 * `mark`, both at the same time. So no block that holds acknowledged bytes is ever written again,
 * an idle stream's ticks cost bytes and not blocks, and every commit renews the mark: "acknowledged
 * through (seq, digest)", which names the commit *before*, the last one known durable; when nothing
 * follows for some milliseconds it is written once more, and then names the tail. Recovery
 * reads the last segment, lays the slots' partial blocks over it in order of commit, follows the
 * digest chain, and so tells a torn tail (beyond the mark: cut) from damage (below it: reported,
 * healed from a peer; not proven, so no vote, until it is).
 *
 * Pure: it calls nothing but the `struct disk` it is given. No allocation after open. */
#ifndef CANTUS_JOURNAL_JOURNAL_H
#define CANTUS_JOURNAL_JOURNAL_H

#include "journal/disk.h"
#include "proto/batch.h"
#include "proto/counter.h"
#include "proto/epoch_table.h"
#include "proto/sys.h"

enum { JOURNAL_ERROR_MAX = 320 };

struct journal_options {
    uint64_t segment_bytes; /* default 32 MiB; a multiple of DISK_BLOCK */
    uint32_t commit_bytes;  /* of one group commit; two buffers of it; default 1 MiB */
    uint64_t recent_bytes;  /* newest batches kept in memory for fills; default 32 MiB */
    uint32_t segments_max;  /* default 65536 */
    /* Whether the disk acknowledges before it syncs (DISK_SYNC_NONE), and which boot of the host
     * this is (0: not known). Both are recorded in the marks. A host that crashed under such a run
     * may have taken back what was acknowledged: open says so, see may_have_lost. */
    bool unsynced;
    uint64_t boot;
    uint64_t run; /* random, of this opening: the id of its run. 0: it has none */
    /* [COUNTER_END], zeroed by the owner, who may read them from anywhere at any time; NULL: its
     * own memory. */
    uint64_t *counters;
};

/* Fills in the defaults named above where a field is zero. */
void journal_options_default(struct journal_options *o);

enum journal_error {
    JOURNAL_OK = 0,
    JOURNAL_NO_STORE,      /* the directory holds no store: format it, or the path is wrong */
    JOURNAL_FOREIGN,       /* a store, but of another stream */
    JOURNAL_OTHER_VERSION, /* written by another format version */
    JOURNAL_IO,            /* the disk said no */
    JOURNAL_MEMORY,
    JOURNAL_NOT_EMPTY /* format: there is something already */
};

/* What open found. Everything below `tail` is readable unless damaged says otherwise. */
struct journal_report {
    struct position tail;
    struct digest digest;
    struct position mark; /* acknowledged through, at least */
    uint64_t oldest_seq;
    uint64_t segments;
    uint64_t batches_checked;
    uint64_t torn_bytes;  /* cut */
    bool damaged;         /* below the mark: the store is not proven */
    uint64_t damaged_seq; /* first seq that is not readable */
    uint64_t damaged_segment;
    uint64_t damaged_offset;
    /* The host went down under a run that acknowledged before syncing: what was acknowledged may be
     * gone, and nothing here can tell. The store never votes or acknowledges again, however often
     * it is opened: format a new one and let it rejoin as a new member. */
    bool may_have_lost;
    bool restored; /* the same, for journal_disown was called in an earlier run */
    struct epoch promised;
    uint64_t store;
    uint64_t stream;
};

struct journal;

/* Formats an empty directory as a store whose history begins with the given genesis batch; with
 * genesis_length 0 an empty store that will copy its history from peers. */
enum journal_error journal_format(struct disk *disk, const struct journal_options *options,
                                  uint64_t stream, uint64_t store, const uint8_t *genesis,
                                  uint32_t genesis_length, char *error);

/* Recovers. `stream` 0 accepts any. On failure NULL, *code, and a text for humans. */
struct journal *journal_open(struct disk *disk, const struct journal_options *options,
                             uint64_t stream, struct journal_report *report,
                             enum journal_error *code, char *error);
/* The disk stays the caller's, and is still there: what is in flight is waited for where the disk
 * can (see drain in disk.h). */
void journal_close(struct journal *j);
size_t journal_memory(const struct journal_options *options);

/* ---- writing --------------------------------------------------------------------------------- */

/* Appends a batch whose `before` is the tail's digest and whose first_seq follows it (asserted).
 * False: no room now (commits in flight, disk full, segment not ready), a hole in the last segment
 * not healed yet, a cut to be repeated, or the epoch table is full: offer it again later. */
bool journal_append(struct journal *j, const uint8_t *batch, const struct batch_header *header);
/* Starts a group commit of what was appended, if none is in flight. Call after each round. */
void journal_commit(struct journal *j);
/* Durably promises an epoch; journal_promised changes when it completes. One at a time: false while
 * another is in flight, or if it is not above the promise that stands. */
bool journal_promise(struct journal *j, struct epoch epoch);
/* The leader of this epoch has accepted the run: the next opening may begin another. False while a promise
 * is being written, or if that has been noted. */
bool journal_settle(struct journal *j, struct epoch epoch);
/* What this store once said is not in it: it was restored from an older copy. From now on, and for
 * every later open, it may have lost. */
void journal_disown(struct journal *j);
/* Cuts everything above seq, a batch boundary with this digest; durable when it returns. Blocks: it
 * happens once per failover. False: a disk error, no such boundary in what is readable, or commits
 * in flight that the disk cannot wait for, or seq is not durable yet. The questions then answer as
 * before; commit, and try again. Once a cut has failed on the disk nothing is appended until one
 * succeeds, and then at the lower of the two ends: look at journal_tail. */
bool journal_cut(struct journal *j, uint64_t seq, struct digest digest);
/* Puts back a batch of the damaged piece, fetched from a peer: the one that begins at
 * journal_damaged_seq, which moves on past it and past what follows it undamaged. True when it was
 * taken. When all is whole again journal_proven turns true. With several pieces damaged, the batch
 * may be the next of any of them. */
bool journal_heal(struct journal *j, const uint8_t *batch, const struct batch_header *header);
void journal_on_disk(struct journal *j, const struct disk_completion *completion);
/* Before close, after a run with options.unsynced: syncs what this run wrote and records that it
 * ended cleanly. Blocks. False: something is still in flight, or the disk said no; then the end
 * counts as a crash. Nothing may be written afterwards. Without `unsynced`: nothing to do, true. */
bool journal_end(struct journal *j);
/* Retries what a full or failing disk refused; call at the returned mono_ns or later. */
uint64_t journal_step(struct journal *j, uint64_t mono_ns);

/* ---- questions ------------------------------------------------------------------------------- */
uint64_t journal_store(const struct journal *j);
uint64_t journal_stream(const struct journal *j);
struct position journal_tail(const struct journal *j); /* appended; seq 0: empty */
struct digest journal_tail_digest(const struct journal *j);
struct position journal_durable(const struct journal *j);
struct digest journal_durable_digest(const struct journal *j);
struct epoch journal_promised(const struct journal *j); /* durable */
/* The run, and where it began. A run that no leader has accepted since its epoch began is gone on with by
 * the next opening, so that what a restored store says at first stays what it is judged by. */
struct run journal_run(const struct journal *j);
bool journal_settled(const struct journal *j);
struct word journal_word(const struct journal *j); /* what is durable now */
uint64_t journal_oldest_seq(const struct journal *j);
/* All of it is readable, as far as is known, and nothing was lost: it may be a candidate's source,
 * and its promise counts. */
bool journal_proven(const struct journal *j);
/* What is durable here may be acknowledged: proven through the mark since recovery. It stays so
 * when a closed segment is found to have rotted since (journal_proven does not). */
bool journal_tail_proven(const struct journal *j);
bool journal_may_have_lost(const struct journal *j);       /* see the report */
bool journal_restored(const struct journal *j);            /* and why */
uint64_t journal_damaged_seq(const struct journal *j);     /* first missing; 0: none */
uint64_t journal_damaged_end_seq(const struct journal *j); /* first that is there again */
/* The damaged pieces, in no order; the one in the current segment, which stops appending, is the
 * first. [*first_seq, *end_seq) is not readable, or not known to be. */
uint32_t journal_damage_count(const struct journal *j);
void journal_damage(const struct journal *j, uint32_t index, uint64_t *first_seq,
                    uint64_t *end_seq);
/* The disk refused a write or the next segment; it is tried again. What is durable stays so and may
 * be acknowledged. When only the next segment is refused, half of the current one is left: the
 * reserve for the records that lead out of this. */
bool journal_full(const struct journal *j);
bool journal_idle(const struct journal *j); /* nothing in flight, nothing left to commit */
const struct epoch_table *journal_epochs(const struct journal *j); /* of the appended history */
const struct membership *journal_members(const struct journal *j); /* newest in the tail */
/* [COUNTER_END]: the owner's, if open was given them. Whoever drives the journal counts in them,
 * too. */
uint64_t *journal_counters(struct journal *j);

/* ---- reading --------------------------------------------------------------------------------- */

/* The batch that contains seq, from memory; NULL if it is no longer there. Good until the next
 * append. */
const uint8_t *journal_recent(const struct journal *j, uint64_t seq, uint32_t *length);

/* A read of consecutive batches from disk (or memory) into the caller's buffer. The caller keeps
 * the struct until it is done; several may run at once. */
struct journal_read {
    uint64_t first_seq; /* in: the batch that contains it is the first */
    uint8_t *buffer;    /* in: DISK_BLOCK-aligned */
    uint32_t capacity;  /* in: a multiple of DISK_BLOCK, >= 128 KiB */
    /* out, when `done` */
    bool done;
    int32_t error;          /* 0, -ENOENT (not in the journal), -EIO, -EILSEQ (damaged there) */
    const uint8_t *batches; /* in buffer: whole batches, each aligned to 8 bytes */
    uint32_t length;
    uint64_t end_seq; /* behind the last of them */
    /* the journal's own */
    uint64_t private_[4];
};
/* Begins; completes inside or in a later journal_on_disk. False if too many are running. */
bool journal_read_begin(struct journal *j, struct journal_read *read);
/* Forgets a running read; its buffer must stay until it would have completed. */
void journal_read_cancel(struct journal *j, struct journal_read *read);
/* The first seq stamped at or after time_ns; tail + 1 if none. */
uint64_t journal_seq_at_time(struct journal *j, uint64_t time_ns);

/* ---- scrub ----------------------------------------------------------------------------------- */

enum { JOURNAL_SCRUB_BYTES = 256 * 1024 };
enum journal_scrub {
    JOURNAL_SCRUB_READING, /* a piece is being read */
    JOURNAL_SCRUB_LATER,   /* not just now */
    JOURNAL_SCRUB_END      /* nothing is left of this pass, or there is no closed segment */
};
/* Begins to read the next piece, of at most JOURNAL_SCRUB_BYTES, of the closed segments: from the
 * disk, never from memory. When it completes, every batch's digest and the chain are verified, and
 * where it breaks there is a hole, to be healed like any other; headers and indexes that have
 * decayed are written anew. One piece is in flight at a time. */
enum journal_scrub journal_scrub(struct journal *j);
bool journal_scrubbing(const struct journal *j); /* a piece is in flight */

static inline uint32_t journal_aligned(uint32_t length)
{
    return (length + 7u) & ~7u;
}

/* ---- offline --------------------------------------------------------------------------------- */

/* Walks a store's directory without recovering or changing it: `cantus journal verify` and `dump`,
 * offline replay. Calls back for each batch in order; stops when it returns false. */
struct journal_walk_result {
    uint64_t stream, store;
    uint64_t segments, batches, messages;
    uint64_t first_seq, last_seq;
    struct digest digest;
    bool damaged; /* with where: */
    char damage[JOURNAL_ERROR_MAX];
    uint64_t torn_bytes; /* beyond the mark: an interrupted commit, not damage */
};
enum journal_error journal_walk(struct disk *disk, uint64_t first_seq,
                                bool (*batch)(void *ctx, const uint8_t *bytes,
                                              const struct batch_header *header, uint64_t segment,
                                              uint64_t offset),
                                void *ctx, struct journal_walk_result *result, char *error);

/* The same, a segment at a time. Begin returns NULL, and *code, when there is no store to walk; disk,
 * ctx and result are borrowed until the end. Next walks one segment; JOURNAL_MEMORY or OK. */
struct journal_walk;
struct journal_walk *journal_walk_begin(struct disk *disk, uint64_t first_seq,
                                        bool (*batch)(void *ctx, const uint8_t *bytes,
                                                      const struct batch_header *header,
                                                      uint64_t segment, uint64_t offset),
                                        void *ctx, struct journal_walk_result *result,
                                        enum journal_error *code, char *error);
enum journal_error journal_walk_next(struct journal_walk *w, bool *more);
void journal_walk_end(struct journal_walk *w); /* NULL is fine */

#endif
