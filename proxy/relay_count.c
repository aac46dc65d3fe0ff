/* How many messages the numbers of a publisher are, of all publishers in the stream: a large message has a number for
 * each fragment, and a reject record one for each that it refuses. */
#include "proto/sys.h"
#include "proxy/relay_private.h"

static struct relay_extra *at(const struct relay *r, uint64_t count)
{
    return &r->extras[count & (RELAY_EXTRAS_MAX - 1)];
}

bool relay_has_room(const struct relay *r, const struct batch_header *batch)
{
    return r->extra_end - r->extra_begin + batch->count <= RELAY_EXTRAS_MAX &&
           relay_rejects_have_room(r, batch);
}

void relay_count_extra(struct relay *r, const struct run_message *m)
{
    struct relay_extra extra = { .seq = m->message.seq,
                                 .publisher = m->message.publisher,
                                 .numbers = m->fragments - 1 };
    struct sys_reject reject;
    if (m->message.topic == TOPIC_REJECT &&
        sys_reject_decode(m->message.payload, m->message.length, &reject))
        extra.numbers = reject.count - 1;
    if (extra.numbers == 0)
        return;
    r->extra_numbers[extra.publisher] += extra.numbers;
    if (!proxy_is_volatile(r->p)) /* where forks begin anew */
        *at(r, r->extra_end++) = extra;
}

void relay_settle_extras(struct relay *r, uint64_t stable)
{
    while (r->extra_begin < r->extra_end && at(r, r->extra_begin)->seq <= stable)
        r->extra_begin++;
}

void relay_fork_extras(struct relay *r, uint64_t common_seq)
{
    if (common_seq == 0) {
        memset(r->extra_numbers, 0, r->p->o.catalog.publishers_max * sizeof *r->extra_numbers);
        r->extra_begin = r->extra_end;
    }
    for (; r->extra_begin < r->extra_end && at(r, r->extra_end - 1)->seq > common_seq;
         r->extra_end--) {
        const struct relay_extra *last = at(r, r->extra_end - 1);
        r->extra_numbers[last->publisher] -= last->numbers;
    }
}
