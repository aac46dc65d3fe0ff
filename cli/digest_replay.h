/* Two builds of an app, side by side over one stream: the first message after which their digests
 * differ. Compared after every 1024th message first, then after every message between the last of
 * these that was equal and the first that was not. */
#ifndef CANTUS_CLI_DIGEST_REPLAY_H
#define CANTUS_CLI_DIGEST_REPLAY_H

#include <cantus/cantus.h>

struct digest_replay {
    const char *source; /* as of a client */
    const struct cantus_app *a, *b;
    const char *config;
    uint64_t through; /* 0: to the stable tip as it is then */

    /* What was found. */
    bool differ;
    uint64_t equal_through;      /* the last seq after which they were seen to be equal */
    uint64_t digest_a, digest_b; /* there, or after the message if they differ */
    /* The message: seq 0 if they differ before any. The strings are its own. */
    struct cantus_message message;
    char topic[256], publisher[64];
    uint8_t *payload;
};

/* An exit status; if that is not CLI_OK, nothing was found out and it has said why. */
int digest_replay_run(struct digest_replay *r);
void digest_replay_close(struct digest_replay *r);

#endif
