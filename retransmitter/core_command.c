#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "retransmitter/core_private.h"

/* Commands. A store takes one: the history digest after the batch that holds a seq, by which two
 * stores are compared. It comes from memory, or from a read that finds the batch by the sparse
 * index; there is one buffer for it, and who comes second waits. */

#define REFUSE(out, ...)                                                                           \
    do {                                                                                           \
        (out)->verdict = OUTCOME_REFUSED;                                                          \
        snprintf((out)->text, sizeof(out)->text, __VA_ARGS__);                                     \
    } while (0)

static bool take_digest(const struct retransmitter *r, const uint8_t *batch, uint32_t available,
                        uint64_t seq, struct outcome *out)
{
    struct batch_header header;
    size_t length = batch_length_at(batch, available);
    if (length == 0 || batch_decode(batch, length, r->o.stream, &header) != WIRE_OK ||
        header.first_seq > seq || batch_end_seq(&header) <= seq)
        return false;
    out->verdict = OUTCOME_DONE;
    out->seq = seq;
    out->position = (struct position) { .epoch = header.epoch, .seq = batch_end_seq(&header) - 1 };
    out->digest = header.digest;
    return true;
}

static void refuse_damaged(uint64_t seq, struct outcome *out)
{
    REFUSE(out,
           "seq %" PRIu64 " is damaged here: it is being fetched from a peer; ask again, or look "
           "at the status of this store",
           seq);
}

/* What needs no disk. False: a read is needed. */
static bool answer_at_once(struct retransmitter *r, uint64_t seq, struct outcome *out)
{
    const struct journal *j = r->journal;
    uint64_t tail = journal_tail(j).seq;
    if (seq == 0 || seq > tail) {
        REFUSE(out,
               "this store has seq 1 to %" PRIu64 ": seq %" PRIu64 " is beyond its tail, ask for a "
               "lower one",
               tail, seq);
        return true;
    }
    if (seq < journal_oldest_seq(j)) {
        REFUSE(out, "seq %" PRIu64 " has been pruned here: the oldest that is kept is %" PRIu64,
               seq, journal_oldest_seq(j));
        return true;
    }
    uint32_t length;
    const uint8_t *batch = journal_recent(j, seq, &length);
    return batch != NULL && take_digest(r, batch, length, seq, out);
}

static bool answer_read(struct retransmitter *r, uint64_t seq, struct outcome *out)
{
    const struct journal_read *read = &r->command_read;
    if (read->error == -ENOENT)
        return false; /* cut or pruned meanwhile: what is there now tells */
    if (read->error != 0 || !take_digest(r, read->batches, read->length, seq, out))
        refuse_damaged(seq, out);
    return true;
}

/* False: not yet. */
static bool digest_at(struct retransmitter *r, const struct client *c, struct outcome *out)
{
    uint64_t seq = c->command.seq;
    if (r->command_reading) {
        if (!r->command_read.done)
            return false;
        bool mine = r->command_stream == c->stream && r->command_read.first_seq == seq;
        if (!mine && r->command_stream != 0)
            return false; /* its client comes to it in this step */
        r->command_reading = false;
        if (mine && !r->command_dropped && answer_read(r, seq, out))
            return true;
    }
    if (answer_at_once(r, seq, out))
        return true;
    r->command_read = (struct journal_read) { .first_seq = seq,
                                              .buffer = r->command_buffer,
                                              .capacity = COMMAND_BUFFER_BYTES };
    r->command_reading = journal_read_begin(r->journal, &r->command_read);
    r->command_stream = c->stream;
    r->command_dropped = false;
    r->again = r->again || (r->command_reading && r->command_read.done);
    return false;
}

size_t command_answer(struct retransmitter *r, const struct client *c, uint8_t *out,
                      size_t capacity)
{
    struct outcome outcome = { 0 };
    if (c->command.kind != COMMAND_DIGEST_AT)
        REFUSE(&outcome, "a retransmitter takes only the command digest-at: give this one to the "
                         "sequencer that leads, or a promotion to the standby");
    else if (!digest_at(r, c, &outcome))
        return 0;
    return outcome_encode(&outcome, out, capacity);
}

void command_forget(struct retransmitter *r, uint32_t stream)
{
    if (r->command_stream == stream)
        r->command_stream = 0;
}

void command_cut(struct retransmitter *r)
{
    r->command_dropped = true;
}

bool command_reading(const struct retransmitter *r)
{
    return r->command_reading && !r->command_read.done;
}
