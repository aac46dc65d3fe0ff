/* The injector: keeps the stream up to date with a list that only grows. How many of its items are
 * in the stream is counted from the stream, so any restart goes on at the right one. */
#include "libclient/core_private.h"

void injector_step(struct author *a)
{
    for (uint32_t i = 0; i < CLIENT_STEP_ITEMS_MAX; i++) {
        if (!author_ready(a) || !publisher_has_room(a->publisher, 0))
            return;
        struct cantus_item item = { 0 };
        uint64_t index = a->items + publisher_in_flight(a->publisher);
        if (!a->call.item(a->ctx, index, &item))
            return;
        struct cantus_proposal proposal = { .topic = item.topic,
                                            .payload = item.payload,
                                            .length = item.length };
        char text[CLIENT_TEXT_MAX];
        switch (author_propose(a, &proposal, text)) {
        case PROPOSE_PUSHED:
            break;
        case PROPOSE_LATER:
            return;
        case PROPOSE_REFUSED:
            core_fail(a->core, CANTUS_ERROR, "injector \"%s\", item %llu: %s",
                      publisher_identity(a->publisher), (unsigned long long)index, text);
            return;
        }
    }
}

uint64_t cantus_injector_sequenced(const struct cantus_injector *injector)
{
    return injector->author.items;
}

uint64_t cantus_injector_last_seq(const struct cantus_injector *injector)
{
    return publisher_last_seq(injector->author.publisher);
}
