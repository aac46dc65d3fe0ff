#include "cli/lease.h"

#define PAUSE_NS     UINT64_C(250000000) /* after the first refusal, doubling */
#define ROUND_MIN_NS UINT64_C(20000000)
#define ROUND_MAX_NS UINT64_C(500000000)
enum { PAUSE_DOUBLINGS_MAX = 3 };

void lease_init(struct lease *l, uint64_t ttl_ns, uint64_t now_ns)
{
    *l = (struct lease) { .ttl_ns = ttl_ns, .well_ns = now_ns };
}

uint64_t lease_patience_ns(const struct lease *l)
{
    return l->ttl_ns / 3;
}

uint64_t lease_round_ns(const struct lease *l)
{
    uint64_t round_ns = l->ttl_ns / 40;
    return round_ns < ROUND_MIN_NS   ? ROUND_MIN_NS
           : round_ns > ROUND_MAX_NS ? ROUND_MAX_NS
                                     : round_ns;
}

static enum lease_action give_up(struct lease *l, const char *why)
{
    l->asked_ns = 0;
    l->why = why;
    return LEASE_GIVE_UP;
}

/* Until its seal, or until it is plain that it comes to nothing. */
static enum lease_action await_promotion(struct lease *l, const struct lease_view *view)
{
    if (view->now_ns - l->asked_ns <= l->ttl_ns)
        return LEASE_CAMPAIGN;
    lease_promotion_refused(l, view->now_ns, view->random);
    return give_up(l, "its sequencer was promoted, and does not come to lead");
}

static enum lease_action decide_as_holder(struct lease *l, const struct lease_view *view)
{
    if (view->leads) {
        l->asked_ns = 0;
        l->refusals = 0;
        return LEASE_CAMPAIGN;
    }
    if (view->other_leads)
        return give_up(l, "another sequencer leads");
    if (view->now_ns - l->well_ns > lease_patience_ns(l))
        return give_up(l, view->answers ? "its sequencer does not hear the stores it needs"
                                        : "its sequencer does not answer");
    if (view->answers && l->asked_ns != 0 && view->follows &&
        view->now_ns - l->asked_ns > lease_patience_ns(l))
        l->asked_ns = 0; /* it stands by again: it met another */
    if (l->asked_ns != 0)
        return await_promotion(l, view);
    if (!view->answers || !view->follows)
        return LEASE_CAMPAIGN;
    return view->now_ns < l->pause_until_ns ? LEASE_CAMPAIGN : LEASE_PROMOTE;
}

enum lease_action lease_decide(struct lease *l, const struct lease_view *view)
{
    /* One that leads, by its own word, without the stores it needs is not well. */
    if (view->leads || (view->answers && (view->follows || l->asked_ns != 0)))
        l->well_ns = view->now_ns;
    if (view->holds)
        return decide_as_holder(l, view);
    l->asked_ns = 0;
    if (view->leads)
        return LEASE_CAMPAIGN;
    if (!view->answers || !view->follows || view->other_leads || view->now_ns < l->pause_until_ns)
        return LEASE_WAIT;
    return LEASE_CAMPAIGN;
}

void lease_promotion_taken(struct lease *l, uint64_t now_ns)
{
    l->asked_ns = now_ns;
    l->refusals = 0;
}

void lease_promotion_refused(struct lease *l, uint64_t now_ns, uint64_t random)
{
    uint64_t pause_ns =
        PAUSE_NS << (l->refusals < PAUSE_DOUBLINGS_MAX ? l->refusals : PAUSE_DOUBLINGS_MAX);
    l->refusals++;
    l->asked_ns = 0;
    l->pause_until_ns = now_ns + pause_ns + random % (pause_ns + 1);
}
