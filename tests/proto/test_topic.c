/* Goal: exactly the well-formed paths are accepted, at every boundary, and subtrees end at slashes.
 */
#include "proto/topic.h"
#include "tests/proto/suite.h"

static bool good(const char *path)
{
    uint8_t *exact = suite_exact((const uint8_t *)path, strlen(path));
    const char *why = topic_path_check((const char *)exact, strlen(path));
    free(exact);
    return why == NULL;
}

START_TEST(paths)
{
    ck_assert(good("/a"));
    ck_assert(good("/md/nasdaq/aapl"));
    ck_assert(good("/A-Z.a~z_0:9"));
    ck_assert(good("/..."));
    ck_assert(good("/.a"));
    ck_assert(good("/..a/a.."));
    ck_assert(!good(""));
    ck_assert(!good("/"));
    ck_assert(!good("a"));
    ck_assert(!good("a/b"));
    ck_assert(!good("/a/"));
    ck_assert(!good("//a"));
    ck_assert(!good("/a//b"));
    ck_assert(!good("/."));
    ck_assert(!good("/.."));
    ck_assert(!good("/a/./b"));
    ck_assert(!good("/a/../b"));
    ck_assert(!good("/a b"));
    ck_assert(!good("/a\xc3\xa4"));
    ck_assert_ptr_nonnull(topic_path_check("/a\0b", 4));
    for (int c = 1; c < 256; c++) {
        char path[4] = { '/', 'x', (char)c, '\0' };
        bool allowed = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                       strchr("._-~:", c) != NULL;
        ck_assert_msg(good(path) == allowed, "byte %d", c);
    }
}
END_TEST

START_TEST(lengths_and_depths)
{
    char path[TOPIC_PATH_MAX + 2];
    memset(path, 'a', sizeof path);
    path[0] = '/';
    ck_assert_ptr_null(topic_path_check(path, TOPIC_PATH_MAX));
    ck_assert_ptr_nonnull(topic_path_check(path, TOPIC_PATH_MAX + 1));
    for (size_t i = 0; i < sizeof path; i += 2)
        path[i] = '/';
    ck_assert_ptr_null(topic_path_check(path, 2 * (size_t)TOPIC_DEPTH_MAX));
    ck_assert_ptr_nonnull(topic_path_check(path, 2 * ((size_t)TOPIC_DEPTH_MAX + 1)));
}
END_TEST

static bool inside(const char *path, const char *subtree)
{
    return topic_in_subtree(path, strlen(path), subtree, strlen(subtree));
}

START_TEST(subtrees)
{
    ck_assert_ptr_null(topic_subtree_check("/", 1));
    ck_assert_ptr_null(topic_subtree_check("/md", 3));
    ck_assert_ptr_nonnull(topic_subtree_check("", 0));
    ck_assert_ptr_nonnull(topic_subtree_check("/md/", 4));
    ck_assert(inside("/md/x", "/"));
    ck_assert(inside("/md", "/md"));
    ck_assert(inside("/md/x", "/md"));
    ck_assert(!inside("/mdx", "/md"));
    ck_assert(!inside("/m", "/md"));
    ck_assert(!inside("/MD/x", "/md"));
}
END_TEST

START_TEST(fixed_topics)
{
    ck_assert_ptr_null(topic_fixed_path(TOPIC_NONE));
    ck_assert_ptr_null(topic_fixed_path(TOPIC_WORD + 1));
    ck_assert_ptr_null(topic_fixed_path(TOPIC_FIRST_USER));
    ck_assert_ptr_null(topic_fixed_path(UINT32_MAX));
    for (uint32_t id = TOPIC_GENESIS; id <= TOPIC_WORD; id++) {
        ck_assert(good(topic_fixed_path(id)));
        ck_assert(inside(topic_fixed_path(id), "/sys"));
    }
    ck_assert_str_eq(topic_fixed_path(TOPIC_EPOCH), "/sys/epoch");
}
END_TEST

SUITE_RUN("topic", paths, lengths_and_depths, subtrees, fixed_topics)
