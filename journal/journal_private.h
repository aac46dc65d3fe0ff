/* What the files of the journal share, and nobody else sees.
 *
 *   journal.c          open's memory, close, questions
 *   journal_format.c   checksummed blocks, the `store` file, format
 *   journal_segment.c  segment headers, indexes, open files, reading a segment piece by piece
 *   journal_chain.c    following the digest chain; the history (epochs, members) it tells
 *   journal_mark.c     slots of `mark` and `promise`
 *   journal_commit.c   append, commit, roll to the next segment
 *   journal_io.c       requests in flight, completions, retries
 *   journal_recent.c   the newest batches in memory
 *   journal_image.c    a whole segment in memory, as recovery and walk see it
 *   journal_recover.c  open
 *   journal_cut.c      cut; journal_heal.c: holes and how they are closed
 *   journal_scrub.c    reading closed segments again
 *   journal_read.c     reads; journal_walk.c: offline */
#ifndef CANTUS_JOURNAL_JOURNAL_PRIVATE_H
#define CANTUS_JOURNAL_JOURNAL_PRIVATE_H

#include <assert.h>

#include "journal/journal.h"

enum {
    JOURNAL_VERSION = 1,
    BATCH_ROOM = 65536, /* no batch is longer: its length field has 16 bits */
    EPOCH_ENTRY_BYTES = 36,
    HEADER_FIXED_BYTES = 16 + 8 + 16 + 8 + 16 + 12 + 16 + MEMBERS_MAX * 8 + 4,
    HEADER_BYTES_MAX = (HEADER_FIXED_BYTES + EPOCH_TABLE_MAX * EPOCH_ENTRY_BYTES + DISK_BLOCK - 1) /
                       DISK_BLOCK * DISK_BLOCK,
    INDEX_STRIDE = 64 * 1024,
    INDEX_ENTRY_BYTES = 24,
    SCRATCH_BYTES = 256 * 1024, /* holds a segment header, or two of the longest batches */
    SLOT_BYTES = 2 * DISK_BLOCK,
    SEGMENT_NUMBER_MAX = 99999999, /* eight digits */
    READS_MAX = 48,
    FILES_MAX = READS_MAX + 8,
    HOLES_MAX = 8,
    HINTS_MAX = 16
};

_Static_assert((int)HEADER_BYTES_MAX <= (int)SCRATCH_BYTES, "a header is decoded in the scratch");
_Static_assert((int)HEADER_BYTES_MAX <= (int)JOURNAL_SCRUB_BYTES, "and fits a scrub's piece");
_Static_assert(READS_MAX + 8 <= DISK_REQUESTS_MAX, "the journal never overruns the disk's queue");

#define SEGMENT_BYTES_MIN (UINT64_C(64) * 1024)
#define SEGMENT_BYTES_MAX (UINT64_C(256) * 1024 * 1024) /* its index fits the smallest read */
#define RETRY_MIN_NS      UINT64_C(1000000)
#define RETRY_MAX_NS      UINT64_C(1000000000)
#define RENEW_AFTER_NS    UINT64_C(5000000) /* idle this long: the mark is brought up to the tail */

#define MAGIC_STORE   UINT32_C(0x74537443) /* "CtSt" */
#define MAGIC_SEGMENT UINT32_C(0x67537443) /* "CtSg" */
#define MAGIC_INDEX   UINT32_C(0x78497443) /* "CtIx" */
#define MAGIC_MARK    UINT32_C(0x6b4d7443) /* "CtMk" */
#define MAGIC_PROMISE UINT32_C(0x72507443) /* "CtPr" */

/* The end of a batch, where the next begins. */
struct place {
    struct position last; /* of its last message; seq 0: nothing yet */
    struct digest digest;
    uint64_t offset;
    uint32_t segment;
};

/* How far a walk along the digest chain has come. */
struct chain {
    uint64_t stream;
    struct position last;
    struct digest digest;
};

/* What the messages below some point say about epochs and members. */
struct history {
    struct membership members;
    struct epoch_table epochs;
};

struct segment_header {
    uint64_t stream, store;
    uint64_t first_seq;
    struct digest before;
    struct epoch epoch_before; /* of the message before first_seq */
    uint32_t segment;
    uint32_t header_bytes; /* batches begin here */
};

struct index_entry {
    uint64_t seq, timestamp_ns, offset;
};

/* Of one segment: its first batch, then one for every INDEX_STRIDE. */
struct sparse_index {
    struct index_entry *entries;
    uint32_t count, max;
};

/* The first block of an index file. */
struct index_summary {
    uint64_t first_seq;
    struct place end;
    uint64_t first_time_ns, last_time_ns;
    uint64_t entries_checksum;
    uint32_t count;
};

struct mark_slot {
    uint64_t commit;     /* the larger is the newer */
    uint64_t generation; /* of the lineage: every cut begins another */
    struct place acknowledged;
    struct place end; /* of this commit, its partial block included */
    uint32_t partial_length;
    bool cutting;  /* a cut down to `end` is under way: recovery completes it */
    bool closed;   /* the segment takes no more: its last block is in its place, padded */
    bool unsynced; /* of the run that wrote it, as is boot */
    bool ended;    /* cleanly */
    bool valid;
    uint64_t boot;
    uint8_t partial[DISK_BLOCK];
};

/* One segment; number n is at [n - 1]. */
struct segment {
    uint64_t first_seq;
    uint64_t first_time_ns; /* 0: not known */
    struct digest before;
    uint32_t header_bytes;
};

/* A piece of acknowledged history that is not readable. */
struct hole {
    struct place at;  /* everything through here is fine: what is missing comes next */
    uint64_t end_seq; /* first that is there again */
    struct digest end_digest;
    bool recovered;  /* found by open: nothing is acknowledged until it is healed */
    bool below_tail; /* of the current segment, found while it runs: its end is as it should be */
};

struct segment_file {
    uint64_t used_at; /* for eviction */
    uint32_t segment; /* 0: free */
    uint32_t pins;
    int32_t file;
    bool doomed; /* its segment was cut: close when the last pin goes */
};

enum io_kind {
    IO_DATA,
    IO_MARK,
    IO_PROMISE,
    IO_PREPARE,
    IO_INDEX_PREPARE,
    IO_INDEX_WRITE,
    IO_KIND_END
};

enum io_state {
    IO_IDLE,
    IO_READY, /* to be submitted as soon as the queue has room */
    IO_FLYING,
    IO_REFUSED /* failed: tried again by journal_step */
};

struct io {
    struct disk_request request;
    enum io_state state;
    uint32_t failures; /* since the last success */
};

struct commit_buffer {
    uint8_t *bytes;
    uint64_t base; /* offset of bytes[0] in the segment, whole blocks */
    uint32_t used;
    uint32_t segment;
};

struct commit {
    bool running;
    bool closing;
    uint8_t slot;
    struct place end;
    uint64_t acknowledged_seq;
};

struct recent_entry {
    uint64_t first_seq;
    uint64_t at;
    uint32_t length;
    uint32_t count;
};

struct recent {
    uint8_t *bytes;
    struct recent_entry *entries; /* a ring in order of seq */
    uint64_t capacity, head;
    uint32_t entries_max, first, count;
};

enum read_stage { READ_FREE, READ_INDEX, READ_DATA };

struct read_slot {
    struct journal_read *read; /* NULL: cancelled */
    enum read_stage stage;
    bool stale; /* a cut happened since */
    uint32_t segment;
    uint32_t rounds;
    int32_t index_file;
    struct segment_file *file;
    uint64_t seq;
    uint64_t start; /* where in the segment to begin the walk: a batch boundary */
    uint8_t *buffer;
    uint32_t capacity;
    uint32_t disk_bytes; /* asked of the disk; what follows was copied from memory */
    uint32_t total;
};

/* Where the scrub is: in `segment`, behind the batches that end at `offset`. */
struct scrub {
    uint8_t *buffer;         /* JOURNAL_SCRUB_BYTES */
    struct history *history; /* at that place, if known */
    struct sparse_index index;
    struct chain chain;
    uint64_t offset;  /* 0: the header comes next */
    uint32_t segment; /* 0: between passes */
    bool history_known;
    bool flying;
    bool stale; /* a cut happened since */
    uint64_t first_time_ns;
    struct segment_file *file; /* pinned while flying */
};

struct read_hint {
    uint64_t seq, offset;
    uint32_t segment;
};

/* What a slot of `promise` holds. */
struct promise_slot {
    uint64_t number; /* the larger is the newer */
    struct epoch promised;
    struct run run;
    struct epoch settled; /* the leader of this epoch has accepted the run */
    bool restored;        /* it was found that something said is forgotten */
};

struct journal {
    struct disk *disk;
    struct journal_options options;
    uint64_t stream, store;

    struct place tail, durable;
    uint64_t marked_seq; /* acknowledged through, as the newest durable slot says */
    struct history history;
    struct history *spare; /* for walks that may fail */

    struct segment *segments;
    uint64_t segment_limit;    /* of the current one: no batch reaches beyond */
    struct sparse_index index; /* of the current segment */
    struct sparse_index spare_index;
    struct segment_file files[FILES_MAX];
    uint64_t files_clock;
    struct segment_file *current_file; /* pinned */
    struct segment_file *next_file;    /* pinned; NULL: not prepared yet */

    struct commit_buffer buffers[2];
    struct commit commit;
    struct segment_file *closing_file;

    uint64_t commit_number, generation;
    uint8_t *slot_bytes; /* SLOT_BYTES */
    struct epoch promised, promising;
    struct promise_slot promise; /* as last written */
    bool promise_stale;          /* and not all that is to be in it */
    uint8_t *promise_bytes;

    struct place cut_place;

    struct io ios[IO_KIND_END];
    char prepare_name[DISK_NAME_MAX + 1];
    char index_name[DISK_NAME_MAX + 1];
    uint8_t *index_bytes; /* of a closed segment, on its way to disk */
    uint64_t retry_at_ns, retry_delay_ns, idle_since_ns;

    struct recent recent;
    struct read_slot reads[READS_MAX];
    struct read_hint hints[HINTS_MAX];

    struct hole holes[HOLES_MAX];
    struct scrub scrub;
    uint64_t boot;          /* recorded in every mark: of this run, unless may_have_lost */
    uint32_t first_written; /* the segment this run began to write in */

    uint8_t *scratch;   /* SCRATCH_BYTES */
    uint64_t *counters; /* the owner's memory or own_counters */
    uint64_t own_counters[COUNTER_END];

    /* Small ones together. */
    uint32_t hint_next;
    uint32_t hole_count;
    uint32_t segment_count; /* the last is the current one */
    uint32_t buffer_bytes;
    uint32_t index_length;
    int32_t index_file;
    int32_t mark_file, promise_file;
    bool segment_closed;
    bool cut_pending; /* a cut failed half way: nothing else may happen before it is repeated */
    bool full;
    bool unsynced; /* as boot */
    bool ended;    /* what the marks say of the run before, until note_run */
    bool may_have_lost;
    uint8_t filling;        /* the other one is in flight, while commit.running */
    uint8_t durable_slot;   /* of `mark`: not to be overwritten by the next commit */
    uint8_t promise_writes; /* of the two slots, done */
};

static inline uint64_t block_floor(uint64_t offset)
{
    return offset & ~(uint64_t)(DISK_BLOCK - 1);
}

static inline uint64_t block_ceil(uint64_t offset)
{
    return block_floor(offset + DISK_BLOCK - 1);
}

/* ---- journal.c ------------------------------------------------------------------------------- */
/* With nothing in it. NULL: no memory. */
struct journal *journal_new(struct disk *disk, const struct journal_options *options);
const char *journal_options_check(const struct journal_options *options);
void *aligned_new(size_t size); /* zeroed, DISK_BLOCK-aligned */

/* ---- journal_format.c ------------------------------------------------------------------------ */
enum seal_verdict { SEAL_OK, SEAL_BROKEN, SEAL_OTHER_VERSION };
enum { SEAL_BYTES = 16 }; /* magic, version, zero, checksum of the rest */
uint64_t journal_checksum(const void *bytes, size_t length, uint64_t seed);
void journal_seal(uint8_t *bytes, size_t length, uint32_t magic);
enum seal_verdict journal_unseal(const uint8_t *bytes, size_t length, uint32_t magic);
struct store_identity {
    uint64_t stream, store;
};
enum journal_error store_read(struct disk *disk, uint8_t *block, struct store_identity *out,
                              char *error);
__attribute__((format(printf, 2, 3))) void journal_error_set(char *error, const char *format, ...);

/* ---- journal_segment.c ----------------------------------------------------------------------- */
void segment_name(char name[DISK_NAME_MAX + 1], uint32_t number);
void index_name(char name[DISK_NAME_MAX + 1], uint32_t number);
/* The number in "segment-00000001" (prefix "segment-"); 0 if it is not such a name. */
uint32_t name_number(const char *name, const char *prefix);
uint32_t segment_header_bytes(const struct epoch_table *epochs);
/* bytes holds header->header_bytes. */
void segment_header_encode(const struct segment_header *header, const struct history *history,
                           uint8_t *bytes);
/* history may be NULL. */
bool segment_header_decode(const uint8_t *bytes, size_t length, struct segment_header *header,
                           struct history *history);
/* Reads and decodes a header with a scratch of SCRATCH_BYTES; false: none, or not a valid one, or
 * then *error (which may be NULL) is what the disk said instead. */
bool segment_header_read(struct disk *disk, int32_t file, uint8_t *scratch,
                         struct segment_header *header, struct history *history, int *error);
void sparse_add(struct sparse_index *index, uint64_t seq, uint64_t timestamp_ns, uint64_t offset);
/* The last entry at or before seq (or stamped before time_ns); NULL: none. */
const struct index_entry *sparse_find_seq(const struct index_entry *entries, uint32_t count,
                                          uint64_t seq);
const struct index_entry *sparse_find_time(const struct index_entry *entries, uint32_t count,
                                           uint64_t time_ns);
uint32_t index_entries_max(const struct journal_options *options);
uint32_t index_file_bytes(uint32_t entries);
/* bytes holds index_file_bytes(index->count). */
void index_encode(const struct index_summary *summary, const struct sparse_index *index,
                  uint8_t *bytes);
bool index_summary_decode(const uint8_t *block, uint32_t segment, struct index_summary *out);
/* The entry to begin a walk for seq at, found in a whole index file; false if it is corrupt. */
bool index_lookup(const uint8_t *bytes, size_t length, uint32_t segment, uint64_t seq,
                  struct index_entry *out);
bool index_lookup_time(const uint8_t *bytes, size_t length, uint32_t segment, uint64_t time_ns,
                       struct index_entry *out);
/* The number of the segment that contains seq, or would if it were appended. */
uint32_t segment_of(const struct journal *j, uint64_t seq);
/* An open file of a segment, pinned; NULL: cannot be opened, or all are pinned. */
struct segment_file *segment_pin(struct journal *j, uint32_t number);
struct segment_file *segment_adopt(struct journal *j, uint32_t number, int32_t file);
void segment_unpin(struct journal *j, struct segment_file *file);
void segment_doom(struct journal *j, uint32_t number);
/* Where in a segment memory takes over from disk; UINT64_MAX: nowhere. */
uint64_t segment_memory_begin(const struct journal *j, uint32_t number);
/* Copies what memory has of [offset, offset + length) of a segment. Returns the end of it. */
uint64_t segment_memory_copy(const struct journal *j, uint32_t number, uint64_t offset,
                             uint8_t *out, uint64_t length);
/* Visits batches of a segment from a batch boundary on, through the scratch, following the chain.
 * Ends at the first thing that is not the chain's next batch, or when the visitor returns false
 * (then the batch is not taken). The chain and *offset are left at the end. False: disk error. */
typedef bool segment_visit(void *ctx, const uint8_t *bytes, const struct batch_header *header,
                           uint64_t offset);
bool segment_walk(struct journal *j, uint32_t number, uint64_t *offset, struct chain *chain,
                  segment_visit *visit, void *ctx);

/* ---- journal_chain.c ------------------------------------------------------------------------- */
/* The length of the next batch of the chain at `bytes`; 0 if that is not what is there. */
uint32_t chain_next(const struct chain *chain, const uint8_t *bytes, uint64_t available,
                    struct batch_header *header);
void chain_advance(struct chain *chain, const struct batch_header *header);
void history_reset(struct history *history);
struct history *history_new(void); /* NULL: no memory */
/* As much of the table as is used: all of it is large. */
void history_copy(struct history *to, const struct history *from);
bool history_apply(struct history *history, const uint8_t *batch,
                   const struct batch_header *header);

/* ---- journal_mark.c -------------------------------------------------------------------------- */
/* Returns the bytes to write: one block, or two if there is a partial one. bytes: SLOT_BYTES. */
uint32_t mark_encode(const struct mark_slot *slot, uint64_t stream, uint64_t store, uint8_t *bytes);
void mark_decode(const uint8_t *bytes, uint64_t stream, uint64_t store, struct mark_slot *slot);
/* Both slots; the index of the newer valid one, or -1, in *newest. 0, or the -errno of a slot that the
 * disk would not give: it may have been the newer one. */
int mark_read(struct disk *disk, int32_t file, uint64_t stream, uint64_t store, uint8_t *scratch,
              struct mark_slot slots[2], int *newest);
void promise_encode_slot(uint64_t stream, uint64_t store, const struct promise_slot *slot,
                         uint8_t *block);
/* Both slots, at recovery: the run that begins, or goes on. */
bool promise_begin_run(struct journal *j, struct position tail);
/* Writes what waits to be, once nothing is in flight. */
void promise_renew(struct journal *j);
/* Writes both slots anew, synced, with the run's flags in them, as the tail is. */
bool marks_rewrite(struct journal *j, bool ended);
bool promise_read(struct disk *disk, int32_t file, uint64_t stream, uint64_t store,
                  uint8_t *scratch, struct promise_slot *slot);
void promise_written(struct journal *j);

/* ---- journal_commit.c ------------------------------------------------------------------------ */
void commit_start(struct journal *j, bool closing);
void commit_written(struct journal *j);
void segment_prepare(struct journal *j);
void buffer_begin(struct journal *j, uint32_t segment, uint64_t base, const uint8_t *partial,
                  uint32_t length);

/* ---- journal_io.c ---------------------------------------------------------------------------- */
void io_begin(struct journal *j, enum io_kind kind, const struct disk_request *request);
bool io_busy(const struct journal *j, enum io_kind kind);
void io_forget_failures(struct journal *j);
/* Waits, where the disk can, for what is in flight. */
void io_settle(struct journal *j);
/* Whether something is in flight that a cut inside this segment cannot have happen at its side. */
bool io_in_the_way(const struct journal *j, uint32_t segment);

/* ---- journal_recent.c ------------------------------------------------------------------------ */
void recent_add(struct recent *r, const uint8_t *batch, const struct batch_header *header);
uint32_t recent_cut(struct recent *r, uint64_t seq); /* returns how many batches went */
const struct recent_entry *recent_find(const struct recent *r, uint64_t seq);
/* Copies consecutive batches beginning with the one that holds seq; 0: not there. */
uint32_t recent_copy(const struct recent *r, uint64_t seq, uint8_t *out, uint32_t capacity,
                     uint64_t *end_seq);

/* ---- journal_image.c ------------------------------------------------------------------------- */
/* A segment, with the partial blocks of the slots laid over it. */
struct image {
    uint8_t *bytes; /* of [base, read_end) */
    uint64_t capacity;
    uint64_t base, read_end;
    uint64_t file_end; /* on the disk */
    uint64_t size;     /* zeros from there on, but for what is laid over */
    struct disk *disk;
    int32_t file;
    uint32_t segment;
    const struct mark_slot *slots; /* the caller's */
    int newest;
    uint64_t patch_at[2]; /* of the blocks laid over, with what the disk had there */
    bool laid[2];
    bool patched[2]; /* and it differed */
    uint8_t (*before)[DISK_BLOCK];
    uint64_t failed_end; /* of the last block that could not be read: zeros here; 0: none */
};
/* Reads all of it. `image` is all zero, or holds another segment, whose memory is then used again. False: no
 * memory, and it is freed. */
bool image_load(struct image *image, struct disk *disk, uint32_t number,
                const struct mark_slot slots[2], int newest);
/* The same for the two calls below alone: it is read piece by piece as they come there, through a window
 * that stays in the cache. What a visitor sees is gone when it returns. */
bool image_begin(struct image *image, struct disk *disk, uint32_t number,
                 const struct mark_slot slots[2], int newest);
void image_free(struct image *image);
/* Follows the chain; index, history and recent may be NULL. Returns where it ends. */
struct image_walk {
    struct chain *chain;
    struct history *history;
    struct sparse_index *index;
    struct recent *recent;
    uint64_t first_time_ns, last_time_ns;
    uint64_t batches;
    segment_visit *visit;
    void *visit_ctx;
    bool stopped;       /* by the visitor */
    uint64_t until_seq; /* stop with this seq's batch; 0: at the end */
};
uint64_t image_follow(struct image *image, uint64_t offset, struct image_walk *walk);
/* Bytes from offset to the last that is not zero. */
uint64_t image_torn_bytes(struct image *image, uint64_t offset);

/* ---- journal_cut.c --------------------------------------------------------------------------- */
/* Makes `at` the end of the journal, on disk and in memory. history and index are those at that
 * place, in j->spare and j->spare_index. False: a disk error; cut_pending until it is repeated. */
bool cut_at(struct journal *j, const struct place *at, const uint8_t *partial);
/* Walks from the header of the segment that will hold seq + 1 to seq, filling j->spare and
 * j->spare_index, and the last partial block. */
bool cut_find(struct journal *j, uint64_t seq, struct digest digest, struct place *at,
              uint8_t partial[DISK_BLOCK]);

/* ---- journal_heal.c -------------------------------------------------------------------------- */
bool hole_add(struct journal *j, const struct hole *hole); /* false: too many */
/* A closed segment does not go on like this at this place, its chain having come so far: looks once
 * more, and makes it a hole. False: it does go on, or there are too many holes. */
bool hole_at(struct journal *j, uint32_t segment, const struct chain *chain, uint64_t offset);
bool hole_in(const struct journal *j, uint32_t segment);
void hole_found(struct journal *j, uint32_t segment); /* by a read, in a closed segment */
/* By a cut down to `seq`, of this digest: the segment is readable through `chain` only. */
void hole_in_the_way(struct journal *j, uint32_t segment, const struct chain *chain,
                     uint64_t offset, uint64_t seq, struct digest digest);
void holes_cut(struct journal *j, uint64_t seq);
void heal_finish(struct journal *j); /* what a disk error kept a heal from finishing */

/* ---- journal_read.c -------------------------------------------------------------------------- */
void read_completed(struct journal *j, uint32_t slot, int64_t result);
void reads_cut(struct journal *j);

/* ---- journal_scrub.c ------------------------------------------------------------------------- */
enum { SCRUB_COOKIE = IO_KIND_END + READS_MAX };
bool scrub_allocate(struct scrub *s, const struct journal_options *options);
void scrub_free(struct scrub *s);
void scrub_completed(struct journal *j, int64_t result);
void scrub_cut(struct journal *j);

#endif
