/* The payloads under /sys: the first byte is the topic, 16 for those below /sys/digest. Whatever decodes is encoded to the same
 * bytes. */
#include "fuzz/fuzz.h"
#include "proto/sys.h"
#include "proto/sys_access.h"
#include "proto/sys_edge.h"
#include "proto/topic.h"

#define TRY(type, name)                                                                            \
    do {                                                                                           \
        struct type out;                                                                           \
        if (name##_decode(payload, length, &out)) {                                                \
            assert(name##_encode(&out, again, sizeof again) == length);                            \
            assert(length == 0 || memcmp(again, payload, length) == 0);                            \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t again[SYS_PAYLOAD_MAX];
    if (size == 0)
        return 0;
    const uint8_t *payload = data + 1;
    size_t length = size - 1;
    switch (data[0]) {
    case TOPIC_GENESIS:
        TRY(sys_genesis, sys_genesis);
        break;
    case TOPIC_EPOCH:
        TRY(sys_epoch, sys_epoch);
        break;
    case TOPIC_SESSION:
        TRY(sys_session, sys_session);
        break;
    case TOPIC_JOIN:
        TRY(sys_join, sys_join);
        break;
    case TOPIC_REJECT:
        TRY(sys_reject, sys_reject);
        break;
    case TOPIC_MEMBER:
        TRY(membership, sys_member);
        break;
    case TOPIC_WORD:
        TRY(sys_words, sys_words);
        break;
    case TOPIC_GRANT:
        TRY(sys_grant, sys_grant);
        break;
    case TOPIC_GROUP:
        TRY(sys_group, sys_group);
        break;
    case TOPIC_LIMIT:
        TRY(sys_limit, sys_limit);
        break;
    case TOPIC_EDGE:
        TRY(sys_edge, sys_edge);
        break;
    case TOPIC_FIRST_USER:
        TRY(sys_digest, sys_digest);
        break;
    default:
        break;
    }
    return 0;
}
