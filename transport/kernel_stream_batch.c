/* Many streams in one system call (io_uring). When thousands of clients are told of one tick, entering the kernel for
 * each of them is a sixth of the cost: whoever they wake takes the core in between. The sends don't wait, so that all
 * have completed when the call returns. Where the system has no io_uring, or permits none, each is sent by itself. */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>

#include "transport/kernel_stream.h"

struct kernel_batch {
    struct io_uring ring;
};

/* Not before there is something to send: by then the process is the one that stays. */
static struct kernel_batch *batch_open(void)
{
    /* Kernels without these flags are too old to be sure that a send that would wait ends at once. */
    struct io_uring_params params = { .flags =
                                          IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN };
    struct kernel_batch *b = calloc(1, sizeof *b);
    if (b == NULL || io_uring_queue_init_params(KERNEL_BATCH_MAX, &b->ring, &params) == 0)
        return b;
    free(b);
    return NULL;
}

void kernel_batch_close(struct kernel_batch *b)
{
    if (b == NULL)
        return;
    io_uring_queue_exit(&b->ring);
    free(b);
}

static bool has_to_send(const struct kernel_stream *stream)
{
    bool alive = stream->state == KERNEL_STREAM_OPEN || stream->state == KERNEL_STREAM_CLOSING;
    return alive && stream->tls == NULL && stream->out_used > 0;
}

/* How many of the entries were taken up. */
static uint32_t queue(const struct kernel_streams *s, struct kernel_batch *b, uint32_t *at)
{
    uint32_t count = 0;
    for (; *at < s->dirty_count && count < KERNEL_BATCH_MAX; ++*at) {
        const struct kernel_stream *stream = &s->table[s->dirty[*at]];
        struct io_uring_sqe *entry;
        if (!has_to_send(stream) || (entry = io_uring_get_sqe(&b->ring)) == NULL)
            continue;
        uint32_t chunk = s->buffer_bytes - stream->out_start;
        io_uring_prep_send(entry, stream->fd, stream->out + stream->out_start,
                           chunk < stream->out_used ? chunk : stream->out_used,
                           MSG_NOSIGNAL | MSG_DONTWAIT);
        entry->user_data = s->dirty[*at];
        count++;
    }
    return count;
}

/* What was not sent, and why, shows when it is sent by itself. */
static bool take_results(struct kernel_streams *s, struct kernel_batch *b, uint32_t count)
{
    for (; count > 0; count--) {
        struct io_uring_cqe *result;
        int failed = io_uring_wait_cqe(&b->ring, &result);
        while (failed == -EINTR)
            failed = io_uring_wait_cqe(&b->ring, &result);
        if (failed != 0)
            return false;
        if (result->res > 0)
            kernel_stream_sent(s, &s->table[result->user_data], (uint32_t)result->res);
        io_uring_cqe_seen(&b->ring, result);
    }
    return true;
}

void kernel_batch_send(struct kernel_streams *s)
{
    if (s->batch == NULL && !s->batch_refused)
        s->batch_refused = (s->batch = batch_open()) == NULL;
    for (uint32_t at = 0; s->batch != NULL && at < s->dirty_count;) {
        uint32_t count = queue(s, s->batch, &at);
        int taken = count == 0 ? 0 : io_uring_submit_and_wait(&s->batch->ring, count);
        if (taken == (int)count && take_results(s, s->batch, count))
            continue;
        /* Entries that the kernel did not take go with the ring. */
        if (taken > 0)
            (void)take_results(s, s->batch, (uint32_t)taken);
        kernel_batch_close(s->batch);
        s->batch = NULL;
        s->batch_refused = true;
    }
}
