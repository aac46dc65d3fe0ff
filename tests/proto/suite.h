/* What the tests of proto/ share: a runner, and the two attacks that no decoder may fall for. */
#ifndef CANTUS_TESTS_PROTO_SUITE_H
#define CANTUS_TESTS_PROTO_SUITE_H

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "proto/wire.h"

#define SUITE_STREAM UINT64_C(0x1122334455667788)

static inline int suite_run(const char *name, const TTest *const *tests, size_t count)
{
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create(name);
    for (size_t i = 0; i < count; i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#define SUITE_RUN(name, ...)                                                                       \
    int main(void)                                                                                 \
    {                                                                                              \
        const TTest *const tests[] = { __VA_ARGS__ };                                              \
        return suite_run(name, tests, sizeof tests / sizeof tests[0]);                             \
    }

/* A copy of exactly `length` bytes on the heap, so that the sanitizers see a read past its end. */
static inline uint8_t *suite_exact(const uint8_t *bytes, size_t length)
{
    uint8_t *copy = malloc(length > 0 ? length : 1);
    ck_assert_ptr_nonnull(copy);
    if (length > 0)
        memcpy(copy, bytes, length);
    return copy;
}

typedef enum wire_verdict suite_decode(const uint8_t *bytes, size_t length);

/* A datagram that decodes is refused at every shorter length, and with any one bit flipped. */
static inline void suite_attack(const uint8_t *bytes, size_t length, suite_decode *decode)
{
    ck_assert_int_eq(decode(bytes, length), WIRE_OK);
    for (size_t shorter = 0; shorter < length; shorter++) {
        uint8_t *cut = suite_exact(bytes, shorter);
        ck_assert_int_ne(decode(cut, shorter), WIRE_OK);
        free(cut);
    }
    uint8_t *copy = suite_exact(bytes, length);
    for (size_t bit = 0; bit < 8 * length; bit++) {
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
        ck_assert_msg(decode(copy, length) != WIRE_OK, "bit %zu flipped and not noticed", bit);
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    free(copy);
}

typedef bool suite_decode_payload(const uint8_t *payload, size_t length);

/* A payload that decodes is refused at every shorter length and with a byte too many. */
static inline void suite_cut(const uint8_t *payload, size_t length, suite_decode_payload *decode)
{
    ck_assert(decode(payload, length));
    for (size_t shorter = 0; shorter < length; shorter++) {
        uint8_t *cut = suite_exact(payload, shorter);
        ck_assert_msg(!decode(cut, shorter), "cut to %zu bytes and not noticed", shorter);
        free(cut);
    }
    uint8_t *longer = malloc(length + 1);
    ck_assert_ptr_nonnull(longer);
    memcpy(longer, payload, length);
    longer[length] = 0;
    ck_assert(!decode(longer, length + 1));
    free(longer);
}

#endif
