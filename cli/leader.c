#include "cli/leader.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"

#define LOOK_NS UINT64_C(20000000)

bool leader_pause(uint64_t ns)
{
    struct timespec t = { .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000) };
    nanosleep(&t, NULL);
    return cli_running();
}

struct process *leader_find(struct processes *p)
{
    processes_ask(p);
    struct process *leader = processes_leader(p);
    if (leader != NULL)
        return leader;
    cli_fail("no sequencer leads; see cantus status, and cantus promote --help");
    for (uint32_t i = 0; i < p->count; i++)
        if (p->all[i].kind == PROCESS_SEQUENCER)
            fprintf(stderr, "  %s: %s\n", p->all[i].name,
                    p->all[i].answered ? p->all[i].status.state : p->all[i].problem);
    return NULL;
}

bool leader_command(const struct process *leader, const struct command *command,
                    struct change *change)
{
    struct outcome outcome;
    char problem[ASK_PROBLEM_MAX];
    if (!ask_command(leader->address, command, &outcome, problem)) {
        cli_fail("%s: %s; it may have been carried out, or not: see cantus status", leader->name,
                 problem);
        return false;
    }
    if (outcome.verdict == OUTCOME_REFUSED) {
        cli_fail("%s refuses: %s", leader->name, outcome.text);
        return false;
    }
    change->seq = outcome.seq;
    change->epoch = leader->status.epoch;
    return true;
}

enum verdict { NOT_YET, HOLDS, UNDONE };

/* The record of a change is known by its seq only in the epoch that was told; in a later one the
 * membership itself has to show it, and all of that epoch's history up to now to be stable. */
static enum verdict judge(const struct status *s, struct change *c)
{
    bool same = epoch_equal(s->epoch, c->epoch);
    bool shows = c->store != 0 && status_has_member(s, c->store) == c->member;
    if (!same) {
        if (!shows)
            return UNDONE;
        c->epoch = s->epoch;
        c->seq = s->tip;
    }
    if (c->store != 0 && !shows)
        return NOT_YET;
    if (c->seq == 0)
        c->seq = s->tip;
    return s->stable >= c->seq ? HOLDS : NOT_YET;
}

bool leader_wait(struct processes *p, const struct change *change, uint64_t timeout_ns)
{
    struct change c = *change;
    for (uint64_t until = cli_mono_ns() + timeout_ns; cli_mono_ns() < until;) {
        processes_ask(p);
        const struct process *leader = processes_leader(p);
        enum verdict verdict = leader != NULL ? judge(&leader->status, &c) : NOT_YET;
        if (verdict == HOLDS)
            return true;
        if (verdict == UNDONE) {
            cli_fail("%s has begun to lead meanwhile, and can't tell whether it holds; look at "
                     "cantus status, and if it doesn't, ask again",
                     leader->name);
            return false;
        }
        if (!leader_pause(LOOK_NS)) {
            cli_fail("interrupted; it was asked for, and may still come: see cantus status");
            return false;
        }
    }
    cli_fail("it was asked for, but is not stable after %" PRIu64 " s: see cantus status for the "
             "stores that are missing",
             timeout_ns / 1000000000);
    return false;
}
