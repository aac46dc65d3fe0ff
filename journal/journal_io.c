#include <errno.h>

#include "journal/journal_private.h"

/* Requests in flight: one of each kind, and the reads. A refused write changes nothing but time:
 * its bytes stay where they are, and journal_step tries it again until the disk takes it. */

static void submit(struct journal *j, enum io_kind kind)
{
    struct io *io = &j->ios[kind];
    io->request.cookie = kind;
    bool taken = kind == IO_PROMISE ? j->disk->ops->submit_synced(j->disk, &io->request)
                                    : j->disk->ops->submit(j->disk, &io->request);
    io->state = taken ? IO_FLYING : IO_READY;
}

void io_begin(struct journal *j, enum io_kind kind, const struct disk_request *request)
{
    struct io *io = &j->ios[kind];
    assert(io->state == IO_IDLE);
    io->request = *request;
    submit(j, kind);
}

bool io_busy(const struct journal *j, enum io_kind kind)
{
    return j->ios[kind].state != IO_IDLE;
}

static bool io_flying(const struct journal *j)
{
    for (uint32_t i = 0; i < IO_KIND_END; i++)
        if (j->ios[i].state == IO_FLYING)
            return true;
    for (uint32_t i = 0; i < READS_MAX; i++)
        if (j->reads[i].stage != READ_FREE)
            return true;
    return j->scrub.flying;
}

static void judge_full(struct journal *j)
{
    bool full = false;
    for (uint32_t i = 0; i < IO_KIND_END; i++)
        full = full || j->ios[i].failures > 0;
    if (full && !j->full)
        j->counters[COUNTER_JOURNAL_FULL]++;
    j->full = full;
    if (!full) {
        j->retry_at_ns = 0;
        j->retry_delay_ns = RETRY_MIN_NS;
    }
}

void io_forget_failures(struct journal *j)
{
    for (uint32_t i = 0; i < IO_KIND_END; i++) {
        if (j->ios[i].state == IO_FLYING || i == IO_PROMISE)
            continue;
        j->ios[i].state = IO_IDLE;
        j->ios[i].failures = 0;
    }
    judge_full(j);
}

void io_settle(struct journal *j)
{
    if (j->disk->ops->drain == NULL)
        return;
    struct disk_completion done[16];
    /* What completes may begin something (a promise is two writes): a few rounds. */
    for (uint32_t rounds = 0; rounds < 2 * DISK_REQUESTS_MAX && io_flying(j); rounds++) {
        j->disk->ops->drain(j->disk);
        uint32_t count = j->disk->ops->complete(j->disk, done, 16);
        for (uint32_t i = 0; i < count; i++)
            journal_on_disk(j, &done[i]);
    }
}

bool io_in_the_way(const struct journal *j, uint32_t segment)
{
    if (j->ios[IO_DATA].state == IO_FLYING || j->ios[IO_MARK].state == IO_FLYING)
        return true;
    /* Files of later segments are about to be removed: they must not come into being meanwhile. */
    return segment < j->segment_count &&
           (j->ios[IO_PREPARE].state == IO_FLYING || j->ios[IO_INDEX_PREPARE].state == IO_FLYING ||
            j->ios[IO_INDEX_WRITE].state == IO_FLYING);
}

/* The index of a closed segment is a convenience: whatever goes wrong, open rebuilds it. */
static void index_completed(struct journal *j, enum io_kind kind, int64_t result)
{
    if (kind == IO_INDEX_PREPARE && result >= 0) {
        j->index_file = (int32_t)result;
        struct disk_request request = { .op = DISK_WRITE,
                                        .file = j->index_file,
                                        .length = j->index_length,
                                        .bytes = j->index_bytes };
        io_begin(j, IO_INDEX_WRITE, &request);
        return;
    }
    if (result < 0)
        j->counters[COUNTER_JOURNAL_WRITE_ERRORS]++;
    if (kind == IO_INDEX_WRITE)
        j->disk->ops->close_file(j->disk, j->index_file);
}

static void succeeded(struct journal *j, enum io_kind kind, int64_t result)
{
    switch (kind) {
    case IO_DATA:
    case IO_MARK:
        if (j->ios[IO_DATA].state == IO_IDLE && j->ios[IO_MARK].state == IO_IDLE)
            commit_written(j);
        break;
    case IO_PROMISE:
        promise_written(j);
        break;
    case IO_PREPARE:
        j->next_file = segment_adopt(j, j->segment_count + 1, (int32_t)result);
        break;
    case IO_INDEX_PREPARE:
    case IO_INDEX_WRITE:
        index_completed(j, kind, result);
        break;
    case IO_KIND_END:
        break;
    }
}

static void io_completed(struct journal *j, enum io_kind kind, int64_t result)
{
    struct io *io = &j->ios[kind];
    if (io->state != IO_FLYING)
        return;
    bool ok = io->request.op == DISK_PREPARE ? result >= 0 : result == (int64_t)io->request.length;
    if (ok) {
        io->state = IO_IDLE;
        io->failures = 0;
        succeeded(j, kind, result);
    } else if (kind == IO_INDEX_PREPARE || kind == IO_INDEX_WRITE) {
        io->state = IO_IDLE;
        index_completed(j, kind, result < 0 ? result : -ENOSPC);
    } else {
        io->state = IO_REFUSED;
        io->failures++;
        j->counters[COUNTER_JOURNAL_WRITE_ERRORS]++;
    }
    judge_full(j);
}

void journal_on_disk(struct journal *j, const struct disk_completion *completion)
{
    if (completion->cookie == SCRUB_COOKIE)
        scrub_completed(j, completion->result);
    else if (completion->cookie >= IO_KIND_END)
        read_completed(j, (uint32_t)(completion->cookie - IO_KIND_END), completion->result);
    else
        io_completed(j, (enum io_kind)completion->cookie, completion->result);
}

static uint64_t retry_refused(struct journal *j, uint64_t mono_ns)
{
    bool refused = false;
    for (uint32_t i = 0; i < IO_KIND_END; i++)
        refused = refused || j->ios[i].state == IO_REFUSED;
    if (!refused)
        return UINT64_MAX;
    if (j->retry_at_ns == 0)
        j->retry_at_ns = mono_ns + j->retry_delay_ns;
    if (mono_ns < j->retry_at_ns)
        return j->retry_at_ns;
    j->retry_at_ns = 0;
    j->retry_delay_ns = j->retry_delay_ns * 2 < RETRY_MAX_NS ? j->retry_delay_ns * 2 : RETRY_MAX_NS;
    for (uint32_t i = 0; i < IO_KIND_END; i++)
        if (j->ios[i].state == IO_REFUSED)
            submit(j, (enum io_kind)i);
    return mono_ns + j->retry_delay_ns;
}

/* The mark names the commit before the last. When nothing follows for a while, it is written once
 * more as it is: then the mark covers everything, and both slots hold the last block. */
static uint64_t renew_mark(struct journal *j, uint64_t mono_ns)
{
    if (j->commit.running || j->cut_pending || j->marked_seq >= j->durable.last.seq ||
        j->tail.last.seq != j->durable.last.seq || hole_in(j, j->segment_count)) {
        j->idle_since_ns = 0;
        return UINT64_MAX;
    }
    if (j->idle_since_ns == 0)
        j->idle_since_ns = mono_ns;
    if (mono_ns < j->idle_since_ns + RENEW_AFTER_NS)
        return j->idle_since_ns + RENEW_AFTER_NS;
    j->idle_since_ns = 0;
    commit_start(j, j->segment_closed);
    return UINT64_MAX;
}

uint64_t journal_step(struct journal *j, uint64_t mono_ns)
{
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < IO_KIND_END; i++) {
        if (j->ios[i].state == IO_READY)
            submit(j, (enum io_kind)i);
        if (j->ios[i].state == IO_READY)
            next = mono_ns + RETRY_MIN_NS;
    }
    if (!j->cut_pending)
        segment_prepare(j);
    heal_finish(j);
    uint64_t retry = retry_refused(j, mono_ns);
    uint64_t renew = renew_mark(j, mono_ns);
    next = retry < next ? retry : next;
    return renew < next ? renew : next;
}
