#include "proto/ledger.h"

#include <assert.h>
#include <stdlib.h>

#include "proto/hash.h"

bool ledger_init(struct ledger *l, const struct catalog_options *options)
{
    struct catalog_options o = catalog_options_resolve(options);
    memset(l, 0, sizeof *l);
    l->publishers_max = o.publishers_max;
    l->topics_max = o.topics_max;
    l->next = calloc(o.publishers_max, sizeof *l->next);
    l->last_seq = calloc(o.topics_max, sizeof *l->last_seq);
    if (l->next == NULL || l->last_seq == NULL) {
        ledger_close(l);
        return false;
    }
    ledger_reset(l);
    return true;
}

void ledger_close(struct ledger *l)
{
    free(l->next);
    free(l->last_seq);
    l->next = NULL;
    l->last_seq = NULL;
}

size_t ledger_memory(const struct catalog_options *options)
{
    struct catalog_options o = catalog_options_resolve(options);
    return ((size_t)o.publishers_max + o.topics_max) * sizeof(uint64_t);
}

void ledger_reset(struct ledger *l)
{
    for (uint32_t p = 0; p < l->publishers_max; p++)
        l->next[p] = 1;
    memset(l->last_seq, 0, l->topics_max * sizeof *l->last_seq);
    l->run_count = 0;
}

void ledger_copy(struct ledger *to, const struct ledger *from)
{
    assert(to->publishers_max == from->publishers_max && to->topics_max == from->topics_max);
    memcpy(to->next, from->next, from->publishers_max * sizeof *from->next);
    memcpy(to->last_seq, from->last_seq, from->topics_max * sizeof *from->last_seq);
    to->run_count = from->run_count;
    to->run_publisher = from->run_publisher;
    to->run_first_number = from->run_first_number;
    to->run_first_seq = from->run_first_seq;
    memcpy(to->run_topics, from->run_topics, from->run_count * sizeof from->run_topics[0]);
}

static bool apply_own(struct ledger *l, const struct message *m)
{
    if (m->publisher_seq != 0 || m->flags != 0 || m->topic == TOPIC_REJECT)
        return false;
    if (l->run_count != 0) {
        if (m->topic != TOPIC_EPOCH)
            return false;
        l->run_count = 0;
    }
    l->last_seq[m->topic] = m->seq;
    return true;
}

static bool apply_reject(struct ledger *l, const struct message *m)
{
    struct sys_reject reject;
    if (l->run_count != 0 || m->flags != 0 || m->publisher_seq != l->next[m->publisher] ||
        !sys_reject_decode(m->payload, m->length, &reject) ||
        m->publisher_seq > PUBLISHER_SEQ_MAX - reject.count + 1)
        return false;
    l->next[m->publisher] = m->publisher_seq + reject.count;
    l->last_seq[TOPIC_REJECT] = m->seq;
    return true;
}

/* Whether publishers may write there at all. */
static bool of_publishers(uint32_t topic)
{
    return topic >= TOPIC_FIRST_USER || topic == TOPIC_TOPIC ||
           (topic >= TOPIC_GRANT && topic <= TOPIC_EDGE);
}

/* A message with MORE, or one that such a message came before. */
static bool apply_run(struct ledger *l, const struct message *m)
{
    if (l->run_count == 0) {
        l->run_publisher = m->publisher;
        l->run_first_number = l->next[m->publisher];
        l->run_first_seq = m->seq;
    }
    if (l->run_count == RUN_MESSAGES_MAX || m->topic < TOPIC_FIRST_USER ||
        m->publisher != l->run_publisher ||
        m->publisher_seq != l->run_first_number + l->run_count ||
        m->seq != l->run_first_seq + l->run_count)
        return false;
    l->run_topics[l->run_count++] = m->topic;
    if (m->flags & MESSAGE_MORE)
        return true;
    for (uint32_t i = 0; i < l->run_count; i++)
        l->last_seq[l->run_topics[i]] = l->run_first_seq + i;
    l->next[m->publisher] = l->run_first_number + l->run_count;
    l->run_count = 0;
    return true;
}

bool ledger_apply(struct ledger *l, const struct message *m)
{
    if (m->topic == TOPIC_NONE || m->topic >= l->topics_max || m->publisher >= l->publishers_max)
        return false;
    if (m->publisher == 0)
        return apply_own(l, m);
    if (m->topic == TOPIC_REJECT)
        return apply_reject(l, m);
    if (l->run_count != 0 || m->flags != 0)
        return apply_run(l, m);
    if (m->publisher_seq != l->next[m->publisher] || !of_publishers(m->topic))
        return false;
    l->next[m->publisher]++;
    l->last_seq[m->topic] = m->seq;
    return true;
}

/* Over the part of each table that has been written to, so that table sizes do not enter. */
uint64_t ledger_digest(const struct ledger *l)
{
    uint32_t publishers = l->publishers_max;
    while (publishers > 0 && l->next[publishers - 1] == 1)
        publishers--;
    uint32_t topics = l->topics_max;
    while (topics > 0 && l->last_seq[topics - 1] == 0)
        topics--;

    uint8_t head[28];
    struct wire_writer w = wire_writer_of(head, sizeof head);
    wire_put32(&w, publishers);
    wire_put32(&w, topics);
    wire_put32(&w, l->run_count);
    wire_put32(&w, l->run_count == 0 ? 0 : l->run_publisher);
    wire_put64(&w, l->run_count == 0 ? 0 : l->run_first_seq);
    uint64_t digest = hash64(head, wire_written(&w), 0);
    digest = hash64(l->next, publishers * sizeof *l->next, digest);
    digest = hash64(l->last_seq, topics * sizeof *l->last_seq, digest);
    return hash64(l->run_topics, l->run_count * sizeof l->run_topics[0], digest);
}
