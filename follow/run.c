#include "follow/run.h"

#include <stdlib.h>

#include "proto/topic.h"

static uint32_t resolve(uint32_t bytes_max)
{
    return bytes_max != 0 ? bytes_max : RUN_BYTES_DEFAULT;
}

size_t run_memory(uint32_t bytes_max)
{
    return resolve(bytes_max) + RUN_MESSAGES_MAX * sizeof(struct run_message);
}

bool run_init(struct run_assembler *r, uint32_t bytes_max)
{
    *r = (struct run_assembler) { .bytes_max = resolve(bytes_max) };
    r->bytes = malloc(r->bytes_max);
    r->messages = malloc(RUN_MESSAGES_MAX * sizeof r->messages[0]);
    if (r->bytes != NULL && r->messages != NULL)
        return true;
    run_close(r);
    return false;
}

void run_close(struct run_assembler *r)
{
    free(r->bytes);
    free(r->messages);
    *r = (struct run_assembler) { 0 };
}

void run_reset(struct run_assembler *r)
{
    r->length = 0;
    r->parts = 0;
    r->count = 0;
    r->joining = false;
    r->broken = false;
}

static void collect(struct run_assembler *r, const struct message *m)
{
    if (r->parts > RUN_MESSAGES_MAX || m->length > r->bytes_max - r->length) {
        r->broken = true;
        r->voided++;
        return;
    }
    uint8_t *at = r->bytes + r->length;
    if (m->length > 0)
        memcpy(at, m->payload, m->length);
    r->length += m->length;
    if (!r->joining) {
        struct run_message *fresh = &r->messages[r->count++];
        *fresh = (struct run_message) { .message = *m, .first_seq = m->seq, .fragments = 1 };
        fresh->message.payload = at;
    } else {
        struct run_message *whole = &r->messages[r->count - 1];
        whole->message.seq = m->seq;
        whole->message.timestamp_ns = m->timestamp_ns;
        whole->message.flags = m->flags;
        whole->message.length += m->length;
        whole->fragments++;
    }
    r->joining = (m->flags & MESSAGE_FRAGMENT) != 0;
}

uint32_t run_offer(struct run_assembler *r, const struct message *m, const struct run_message **out)
{
    /* An epoch record voids the run that it falls into: its leader is gone. Nothing else may come
     * between the messages of a run; a stream that has it anyway is taken alike by everyone. */
    if (r->parts > 0 && (m->topic == TOPIC_EPOCH || m->publisher != r->publisher)) {
        if (!r->broken)
            r->voided++;
        run_reset(r);
    }
    bool goes_on = (m->flags & MESSAGE_MORE) != 0;
    if (r->parts == 0 && !goes_on) {
        r->single = (struct run_message) { .message = *m, .first_seq = m->seq, .fragments = 1 };
        *out = &r->single;
        return 1;
    }
    if (r->parts++ == 0)
        r->first_seq = m->seq;
    r->publisher = m->publisher;
    if (!r->broken)
        collect(r, m);
    *out = r->messages;
    if (goes_on)
        return 0;
    uint32_t count = r->broken ? 0 : r->count;
    run_reset(r);
    return count;
}
