/* Topic paths. What is well-formed is in itself, in the whole tree and in each of its ancestors,
 * and these are well-formed too. */
#include "fuzz/fuzz.h"
#include "proto/topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = (const char *)data;
    bool whole = size == 1 && path[0] == '/';
    bool good = topic_path_check(path, size) == NULL;
    assert((topic_subtree_check(path, size) == NULL) == (good || whole));
    if (!good)
        return 0;
    assert(size >= 2 && size <= TOPIC_PATH_MAX && memchr(path, '\0', size) == NULL);
    assert(topic_in_subtree(path, size, "/", 1));
    for (size_t i = 1; i <= size; i++) {
        bool boundary = i == size || path[i] == '/';
        assert(i == 1 || topic_in_subtree(path, size, path, i) == boundary);
        if (boundary)
            assert(topic_path_check(path, i) == NULL);
    }
    return 0;
}
