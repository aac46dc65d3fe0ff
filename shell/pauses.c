#include "shell/pauses.h"

#include <stdio.h>
#include <string.h>

static const uint64_t minute_ns = UINT64_C(60000000000);

static void describe(const struct pauses_span *span, char out[LOOP_PAUSE_WHAT_MAX + 1])
{
    static const struct {
        uint32_t did;
        const char *word;
    } words[] = { { PAUSES_DATAGRAMS, "datagrams" },
                  { PAUSES_STREAMS, "connections" },
                  { PAUSES_DISK, "disk" },
                  { PAUSES_STEP, "step" },
                  { PAUSES_CALLER, "caller" } };
    const char *first = span->first != NULL ? span->first : "";
    const char *last = span->last != NULL ? span->last : "";
    bool several = strcmp(first, last) != 0;
    int n = snprintf(out, LOOP_PAUSE_WHAT_MAX + 1, "%.24s%s%.24s", first, several ? " to " : "",
                     several ? last : "");
    const char *separator = n > 0 ? ": " : "";
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if ((span->did & words[i].did) == 0 || n < 0 || n >= LOOP_PAUSE_WHAT_MAX)
            continue;
        n += snprintf(out + n, (size_t)(LOOP_PAUSE_WHAT_MAX + 1 - n), "%s%s", separator,
                      words[i].word);
        separator = ", ";
    }
}

static void turn_minutes(struct pauses *p, uint64_t mono_ns)
{
    uint64_t passed = mono_ns - p->minute_ns;
    if (passed < minute_ns)
        return;
    p->minutes[1] = passed < 2 * minute_ns ? p->minutes[0] : (struct loop_pause) { 0 };
    p->minutes[0] = (struct loop_pause) { 0 };
    p->minute_ns = mono_ns;
}

static void record(struct pauses *p, uint64_t duration_ns, struct port_time now)
{
    struct loop_pause pause = { .duration_ns = duration_ns, .wall_ns = now.wall_ns };
    describe(&p->longest, pause.what);
    p->minutes[0] = pause;
    if (duration_ns > p->max.duration_ns)
        p->max = pause;
}

void pauses_round(struct pauses *p, struct port_time now)
{
    turn_minutes(p, now.mono_ns);
    if (p->round_ns != 0) {
        pauses_read(p, now.mono_ns);
        uint64_t duration_ns = now.mono_ns - p->round_ns;
        if (duration_ns > p->minutes[0].duration_ns)
            record(p, duration_ns, now);
    }
    p->round_ns = p->read_ns = now.mono_ns;
    p->span = p->longest = (struct pauses_span) { 0 };
}

struct loop_pause pauses_recent(const struct pauses *p, uint64_t mono_ns)
{
    uint64_t passed = mono_ns - p->minute_ns;
    if (passed >= 2 * minute_ns)
        return (struct loop_pause) { 0 };
    bool before = passed < minute_ns && p->minutes[1].duration_ns > p->minutes[0].duration_ns;
    return p->minutes[before ? 1 : 0];
}
