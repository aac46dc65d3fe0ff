/* The reconciler: makes the stream's state equal to a wanted one, a step at a time. */
#include "libclient/core_private.h"

void reconciler_step(struct author *a)
{
    if (!author_ready(a) || publisher_in_flight(a->publisher) > 0)
        return;
    struct cantus_proposal proposal = {
        .buffer = a->buffer,
        .buffer_size = MACHINE_BUFFER_BYTES,
    };
    if (!a->call.difference(a->ctx, &proposal))
        return;
    char text[CLIENT_TEXT_MAX];
    if (author_propose(a, &proposal, text) == PROPOSE_REFUSED)
        core_fail(a->core, CANTUS_ERROR, "reconciler \"%s\": %s", publisher_identity(a->publisher),
                  text);
}
