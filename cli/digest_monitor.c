#include "cli/digest_monitor.h"

#include <stdio.h>

/* ---- groups ---------------------------------------------------------------------------------- */

static bool comparable(const struct digest_statement *a, const struct digest_statement *b)
{
    return a->logic_version == b->logic_version && a->skips == b->skips;
}

bool digest_same_group(const struct digest_statement *a, const struct digest_statement *b)
{
    return comparable(a, b) && a->digest == b->digest;
}

int digest_group_next(const struct digest_point *p, int after)
{
    for (int i = after + 1; i < (int)p->count; i++) {
        int earlier = 0;
        while (earlier < i && !digest_same_group(&p->statements[earlier], &p->statements[i]))
            earlier++;
        if (earlier == i)
            return i;
    }
    return -1;
}

uint32_t digest_group_size(const struct digest_point *p, int group)
{
    uint32_t size = 0;
    for (uint32_t i = 0; i < p->count; i++)
        size += digest_same_group(&p->statements[i], &p->statements[group]);
    return size;
}

bool digest_group_is_majority(const struct digest_point *p, int group)
{
    for (int g = digest_group_next(p, -1); g >= 0; g = digest_group_next(p, g)) {
        if (g != group && comparable(&p->statements[g], &p->statements[group]) &&
            digest_group_size(p, g) >= digest_group_size(p, group))
            return false;
    }
    return true;
}

/* ---- points ---------------------------------------------------------------------------------- */

bool digest_point_differs(const struct digest_point *p)
{
    for (uint32_t i = 0; i < p->count; i++) {
        for (uint32_t k = 0; k < i; k++) {
            if (comparable(&p->statements[i], &p->statements[k]) &&
                p->statements[i].digest != p->statements[k].digest)
                return true;
        }
    }
    return false;
}

static bool has_spoken(const struct digest_point *p, uint32_t replica)
{
    for (uint32_t i = 0; i < p->count; i++) {
        if (p->statements[i].replica == replica)
            return true;
    }
    return false;
}

bool digest_point_complete(const struct digest_monitor *m, const struct digest_point *p)
{
    for (uint32_t i = 0; i < m->replica_count; i++) {
        if (!has_spoken(p, i))
            return false;
    }
    return true;
}

const struct digest_point *digest_monitor_mismatch(const struct digest_monitor *m)
{
    if (m->differs)
        return &m->mismatch;
    for (uint32_t i = 0; i < m->point_count; i++) {
        if (digest_point_differs(&m->points[i]))
            return &m->points[i];
    }
    return NULL;
}

static void show(struct digest_monitor *m, struct digest_point *p)
{
    if (p->shown)
        return;
    p->shown = true;
    m->show(m->ctx, m, p);
}

static void forget_oldest(struct digest_monitor *m)
{
    struct digest_point *oldest = &m->points[0];
    show(m, oldest);
    if (!m->differs && digest_point_differs(oldest)) {
        m->differs = true;
        m->mismatch = *oldest;
    }
    m->point_count--;
    memmove(&m->points[0], &m->points[1], m->point_count * sizeof m->points[0]);
}

/* NULL: it is older than all that is kept. */
static struct digest_point *find_point(struct digest_monitor *m, struct position position)
{
    uint32_t at = m->point_count;
    for (; at > 0 && m->points[at - 1].position.seq >= position.seq; at--) {
        struct digest_point *p = &m->points[at - 1];
        if (p->position.seq == position.seq && epoch_equal(p->position.epoch, position.epoch))
            return p;
    }
    if (m->point_count == DIGEST_POINTS_MAX) {
        if (at == 0)
            return NULL;
        forget_oldest(m);
        at--;
    }
    memmove(&m->points[at + 1], &m->points[at], (m->point_count - at) * sizeof m->points[0]);
    m->point_count++;
    m->points[at] = (struct digest_point) { .position = position };
    return &m->points[at];
}

/* ---- what is said ---------------------------------------------------------------------------- */

static uint32_t find_replica(struct digest_monitor *m, const char *publisher)
{
    uint32_t i = 0;
    while (i < m->replica_count && strcmp(m->replicas[i], publisher) != 0)
        i++;
    if (i == m->replica_count && i < DIGEST_REPLICAS_MAX) {
        snprintf(m->replicas[i], sizeof m->replicas[i], "%s", publisher);
        m->replica_count++;
    }
    return i;
}

static void show_what_is_due(struct digest_monitor *m)
{
    for (uint32_t i = 0; i < m->point_count; i++) {
        struct digest_point *p = &m->points[i];
        if (!p->shown && (i + DIGEST_BEHIND_MAX < m->point_count || digest_point_complete(m, p)))
            show(m, p);
    }
}

void digest_monitor_add(struct digest_monitor *m, const char *publisher,
                        const struct sys_digest *said)
{
    uint32_t replica = find_replica(m, publisher);
    struct digest_point *p = replica < DIGEST_REPLICAS_MAX ? find_point(m, said->position) : NULL;
    struct digest_statement s = { .replica = replica,
                                  .logic_version = said->logic_version,
                                  .digest = said->digest,
                                  .skips = said->skips };
    bool compared = false;
    for (uint32_t i = 0; p != NULL && i < p->count; i++) {
        if (p->statements[i].replica == replica && digest_same_group(&p->statements[i], &s))
            return;
        compared = compared || comparable(&p->statements[i], &s);
    }
    if (p == NULL || p->count == DIGEST_STATEMENTS_MAX) {
        m->overflow++;
        return;
    }
    p->statements[p->count++] = s;
    p->shown = false;
    m->compared += compared && !p->compared;
    p->compared = p->compared || compared;
    show_what_is_due(m);
}

void digest_monitor_end(struct digest_monitor *m)
{
    for (uint32_t i = 0; i < m->point_count; i++)
        show(m, &m->points[i]);
}
