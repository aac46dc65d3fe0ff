/* The pipe: push items in, each is sequenced exactly once. */
#include "libclient/core_private.h"

bool cantus_pipe_ready(const struct cantus_pipe *pipe)
{
    return author_ready(&pipe->author);
}

bool cantus_pipe_push(struct cantus_pipe *pipe, const char *topic, const void *payload,
                      size_t length)
{
    struct author *a = &pipe->author;
    if (!author_ready(a))
        return false;
    struct cantus_proposal proposal = { .topic = topic, .payload = payload, .length = length };
    char text[CLIENT_TEXT_MAX];
    switch (author_propose(a, &proposal, text)) {
    case PROPOSE_PUSHED:
        return true;
    case PROPOSE_LATER:
        return false;
    case PROPOSE_REFUSED:
        break;
    }
    /* It would be false for ever: a caller that pushes until it is taken would never know. */
    core_fail(a->core, CANTUS_ERROR, "pipe \"%s\": %s", publisher_identity(a->publisher), text);
    return false;
}

bool client_core_push_part(struct cantus_pipe *pipe, const char *topic, const void *payload,
                           size_t length)
{
    assert(pipe->author.core->edge != NULL);
    pipe->author.more = true;
    bool pushed = cantus_pipe_push(pipe, topic, payload, length);
    pipe->author.more = false;
    return pushed;
}

uint64_t cantus_pipe_sequenced(const struct cantus_pipe *pipe)
{
    return pipe->author.items;
}

uint64_t cantus_pipe_rejected(const struct cantus_pipe *pipe)
{
    return pipe->author.rejected;
}

uint64_t cantus_pipe_in_flight(const struct cantus_pipe *pipe)
{
    return publisher_in_flight(pipe->author.publisher);
}

uint64_t cantus_pipe_last_seq(const struct cantus_pipe *pipe)
{
    return publisher_last_seq(pipe->author.publisher);
}
