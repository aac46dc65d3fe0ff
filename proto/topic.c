#include "proto/topic.h"

#include <string.h>

static bool segment_byte(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-' || c == '~' || c == ':';
}

const char *topic_path_check(const char *path, size_t length)
{
    if (length == 0)
        return "it is empty";
    if (length > TOPIC_PATH_MAX)
        return "it is longer than 255 bytes";
    if (path[0] != '/')
        return "it does not begin with '/'";
    if (length == 1)
        return "'/' is the whole tree, not a topic";
    if (path[length - 1] == '/')
        return "it ends in '/'";
    size_t at = 0;
    unsigned depth = 0;
    while (at < length) {
        size_t begin = ++at;
        while (at < length && path[at] != '/') {
            if (!segment_byte(path[at]))
                return "only A-Z a-z 0-9 . _ - ~ : may stand between slashes";
            at++;
        }
        size_t size = at - begin;
        if (size == 0)
            return "it has an empty segment";
        if (path[begin] == '.' && (size == 1 || (size == 2 && path[begin + 1] == '.')))
            return "'.' and '..' are not segments";
        if (++depth > TOPIC_DEPTH_MAX)
            return "it has more than 16 segments";
    }
    return NULL;
}

const char *topic_subtree_check(const char *subtree, size_t length)
{
    if (length == 1 && subtree[0] == '/')
        return NULL;
    return topic_path_check(subtree, length);
}

bool topic_in_subtree(const char *path, size_t path_length, const char *subtree,
                      size_t subtree_length)
{
    if (subtree_length == 1)
        return true;
    if (path_length < subtree_length || memcmp(path, subtree, subtree_length) != 0)
        return false;
    return path_length == subtree_length || path[subtree_length] == '/';
}

const char *topic_fixed_path(uint32_t id)
{
    static const char *const paths[TOPIC_FIRST_USER] = {
        [TOPIC_GENESIS] = "/sys/genesis", [TOPIC_EPOCH] = "/sys/epoch",
        [TOPIC_SESSION] = "/sys/session", [TOPIC_JOIN] = "/sys/join",
        [TOPIC_REJECT] = "/sys/reject",   [TOPIC_TOPIC] = "/sys/topic",
        [TOPIC_CLOCK] = "/sys/clock",     [TOPIC_MEMBER] = "/sys/member",
        [TOPIC_GRANT] = "/sys/grant",     [TOPIC_GROUP] = "/sys/group",
        [TOPIC_LIMIT] = "/sys/limit",     [TOPIC_EDGE] = "/sys/edge",
        [TOPIC_WORD] = "/sys/word",
    };
    return id < TOPIC_FIRST_USER ? paths[id] : NULL;
}
