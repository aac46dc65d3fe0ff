#include "journal/journal_private.h"
#include "proto/topic.h"

uint32_t chain_next(const struct chain *chain, const uint8_t *bytes, uint64_t available,
                    struct batch_header *header)
{
    size_t length = batch_length_at(bytes, available);
    if (length == 0 || batch_verify(bytes, length, chain->stream, header) != WIRE_OK)
        return 0;
    if (header->first_seq != chain->last.seq + 1 || !digest_equal(header->before, chain->digest))
        return 0;
    if (epoch_compare(header->epoch, chain->last.epoch) < 0)
        return 0;
    return (uint32_t)length;
}

void chain_advance(struct chain *chain, const struct batch_header *header)
{
    chain->last = (struct position) { .epoch = header->epoch, .seq = batch_end_seq(header) - 1 };
    chain->digest = header->digest;
}

void history_reset(struct history *history)
{
    epoch_table_reset(&history->epochs);
    memset(&history->members, 0, sizeof history->members);
}

void history_copy(struct history *to, const struct history *from)
{
    to->members = from->members;
    to->epochs.count = from->epochs.count;
    memcpy(to->epochs.entries, from->epochs.entries,
           from->epochs.count * sizeof from->epochs.entries[0]);
}

/* A batch never mixes epochs and an epoch begins with a batch: its header alone tells the table. */
static bool apply_epoch(struct epoch_table *table, const struct batch_header *header)
{
    if (table->count > 0) {
        int order = epoch_compare(header->epoch, table->entries[table->count - 1].epoch);
        if (order <= 0)
            return order == 0;
    }
    return epoch_table_append(table, (struct epoch_entry) { .epoch = header->epoch,
                                                            .first_seq = header->first_seq,
                                                            .before = header->before });
}

bool history_apply(struct history *history, const uint8_t *batch, const struct batch_header *header)
{
    if (!apply_epoch(&history->epochs, header))
        return false;
    struct batch_cursor cursor = batch_begin(batch, header);
    struct message message;
    while (batch_next(&cursor, &message)) {
        if (message.topic == TOPIC_MEMBER) {
            struct membership members;
            if (sys_member_decode(message.payload, message.length, &members)) {
                history->members = members;
                history->members.seq = message.seq;
            }
        } else if (message.topic == TOPIC_GENESIS && message.seq == 1) {
            struct sys_genesis genesis;
            if (sys_genesis_decode(message.payload, message.length, &genesis)) {
                history->members = genesis.members;
                history->members.seq = 1;
            }
        }
    }
    return true;
}
