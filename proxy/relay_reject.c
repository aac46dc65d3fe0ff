/* What was rejected lately, of all publishers in the stream: whoever opens one is told what it may not know of. A
 * function of the log: the last RELAY_REJECTS_KEPT below a join, wherever the proxy has been through forks. */
#include "proto/sys.h"
#include "proxy/relay_private.h"

static struct relay_reject *at(const struct relay *r, uint64_t count)
{
    return &r->rejects[count & (RELAY_REJECTS_MAX - 1)];
}

/* So that as many are left when a fork takes back all that are not stable. */
bool relay_rejects_have_room(const struct relay *r, const struct batch_header *batch)
{
    return r->reject_end - r->reject_stable + batch->count <=
           RELAY_REJECTS_MAX - RELAY_REJECTS_KEPT;
}

void relay_note_reject(struct relay *r, const struct message *m)
{
    struct sys_reject reject;
    if (!sys_reject_decode(m->payload, m->length, &reject))
        return;
    struct relay_rejected *of = &r->rejected[m->publisher];
    *at(r, r->reject_end++) = (struct relay_reject) { .seq = m->seq,
                                                      .number = m->publisher_seq,
                                                      .detail = reject.detail,
                                                      .previous = of->end,
                                                      .previous_last = of->last,
                                                      .publisher = m->publisher,
                                                      .count = reject.count,
                                                      .reason = reject.reason };
    *of = (struct relay_rejected) { .end = r->reject_end,
                                    .last = m->publisher_seq + reject.count - 1 };
    if (proxy_is_volatile(r->p)) /* where forks begin anew */
        r->reject_stable = r->reject_end;
}

void relay_settle_rejects(struct relay *r, uint64_t stable)
{
    while (r->reject_stable < r->reject_end && at(r, r->reject_stable)->seq <= stable)
        r->reject_stable++;
}

void relay_fork_rejects(struct relay *r, uint64_t common_seq)
{
    if (common_seq == 0) {
        memset(r->rejected, 0, r->p->o.catalog.publishers_max * sizeof *r->rejected);
        r->reject_stable = r->reject_end = 0;
    }
    for (; r->reject_end > r->reject_stable && at(r, r->reject_end - 1)->seq > common_seq;
         r->reject_end--) {
        const struct relay_reject *last = at(r, r->reject_end - 1);
        r->rejected[last->publisher] =
            (struct relay_rejected) { .end = last->previous, .last = last->previous_last };
    }
}

/* Neighbours that were rejected alike are one OUTCOME, of the last of them. */
static bool goes_on(const struct relay_reject *e, const struct edge_outcome *next)
{
    return e->number + e->count == next->number && e->reason == next->reason &&
           e->detail == next->detail && e->count <= UINT32_MAX - next->count;
}

uint32_t relay_rejects_of(const struct relay *r, uint32_t publisher, uint64_t known,
                          struct edge_outcome told[RELAY_REJECTS_TOLD], uint64_t *unknown_through)
{
    const uint64_t oldest =
        r->reject_end > RELAY_REJECTS_KEPT ? r->reject_end - RELAY_REJECTS_KEPT : 0;
    uint64_t end = r->rejected[publisher].end, last = r->rejected[publisher].last;
    uint32_t first = RELAY_REJECTS_TOLD, seen = 0;
    *unknown_through = 0;
    while (last > known) {
        const struct relay_reject *e =
            end > oldest && seen++ < RELAY_REJECTS_SEEN ? at(r, end - 1) : NULL;
        if (e != NULL && first < RELAY_REJECTS_TOLD && goes_on(e, &told[first])) {
            told[first].number = e->number;
            told[first].count += e->count;
        } else if (e != NULL && first > 0) {
            /* Said behind the join, which is stable: so is what lies below it. */
            told[--first] =
                (struct edge_outcome) { .publisher = publisher,
                                        .number = e->number,
                                        .count = e->count,
                                        .seq = e->seq,
                                        .reason = e->reason,
                                        .detail = e->detail,
                                        .stable = proxy_is_volatile(r->p) ? 0 : e->seq };
        } else {
            *unknown_through = last;
            break;
        }
        end = e->previous;
        last = e->previous_last;
    }
    memmove(told, told + first, (RELAY_REJECTS_TOLD - first) * sizeof *told);
    return RELAY_REJECTS_TOLD - first;
}
