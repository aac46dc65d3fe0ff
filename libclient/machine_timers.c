/* Timers, by the stream's clock. One sorted array for the machine: setting one costs a search and a
 * move, firing one is a pop, and equal states have equal arrays, which digest and snapshot rely on.
 */
#include "libclient/machine_private.h"

static void remove_at(struct machine *m, uint32_t at)
{
    m->timer_count--;
    memmove(&m->timers[at], &m->timers[at + 1], (m->timer_count - at) * sizeof m->timers[0]);
}

bool cantus_timer_set(struct cantus_timers *timers, uint64_t id, uint64_t due_ns)
{
    struct machine *m = timers->machine;
    cantus_timer_cancel(timers, id);
    if (m->timer_count == CANTUS_TIMERS_MAX)
        return false;
    /* Before all that are due earlier or, registered earlier, at the same time. */
    uint32_t at = 0;
    uint32_t end = m->timer_count;
    while (at < end) {
        uint32_t middle = (at + end) / 2;
        if (m->timers[middle].due_ns > due_ns)
            at = middle + 1;
        else
            end = middle;
    }
    memmove(&m->timers[at + 1], &m->timers[at], (m->timer_count - at) * sizeof m->timers[0]);
    m->timers[at] = (struct machine_timer) { .due_ns = due_ns, .id = id, .node = timers->node };
    m->timer_count++;
    return true;
}

void cantus_timer_cancel(struct cantus_timers *timers, uint64_t id)
{
    struct machine *m = timers->machine;
    for (uint32_t i = 0; i < m->timer_count; i++) {
        if (m->timers[i].id == id && m->timers[i].node == timers->node) {
            remove_at(m, i);
            return;
        }
    }
}

uint64_t machine_next_timer_ns(const struct machine *m)
{
    return m->timer_count > 0 ? m->timers[m->timer_count - 1].due_ns : UINT64_MAX;
}

void machine_advance(struct machine *m, uint64_t timestamp_ns)
{
    for (uint32_t fired = 0; fired < MACHINE_TIMERS_FIRED_MAX; fired++) {
        if (m->timer_count == 0 || m->timers[m->timer_count - 1].due_ns > timestamp_ns)
            return;
        struct machine_timer t = m->timers[--m->timer_count];
        const struct machine_node *n = &m->nodes[t.node];
        if (n->app->timer != NULL)
            n->app->timer(n->state, t.id, t.due_ns);
    }
}
