/* Goal: huge pages are asked for, for large private memory and for nothing else, and what is in the memory stays
 * as it was. Method: memory of several kinds is mapped, written, and looked up in /proc/self/smaps, whose flag
 * `hg` says that a mapping was asked for. Whether the kernel then has a huge page to give is not a test's business. */
#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shell/pages.h"

/* The middle of it: the kernel joins neighbours, and what is not aligned to a huge page is left out. */
static bool is_asked_for(const uint8_t *memory, size_t size)
{
    uintptr_t middle = (uintptr_t)memory + size / 2, from, to;
    FILE *f = fopen("/proc/self/smaps", "r");
    ck_assert_ptr_nonnull(f);
    char line[1024];
    bool here = false, asked = false;
    while (fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "%lx-%lx %*s", &from, &to) == 2)
            here = from <= middle && middle < to;
        else if (here && strncmp(line, "VmFlags:", 8) == 0)
            asked = strstr(line, " hg") != NULL;
    }
    fclose(f);
    return asked;
}

static bool is_allowed(void)
{
    char text[64] = "";
    FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
    if (f != NULL && fgets(text, sizeof text, f) == NULL)
        text[0] = '\0';
    if (f != NULL)
        fclose(f);
    return text[0] != '\0';
}

static uint8_t *map(size_t size, int flags, int fd)
{
    uint8_t *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    ck_assert_ptr_ne(memory, MAP_FAILED);
    return memory;
}

static uint8_t value_at(size_t i)
{
    return (uint8_t)(i * 2654435761u >> 24);
}

START_TEST(large_private_memory_is_asked_for_and_keeps_what_it_holds)
{
    enum { SIZE = 4 * PAGES_LARGE };
    uint8_t *full = malloc(SIZE), *empty = calloc(1, SIZE);
    for (size_t i = 0; i < SIZE; i++)
        full[i] = value_at(i);
    uint64_t asked = pages_ask();
    if (is_allowed()) {
        ck_assert_uint_ge(asked, 2 * (SIZE - 2 * PAGES_HUGE));
        ck_assert(is_asked_for(full, SIZE));
        ck_assert(is_asked_for(empty, SIZE));
    } else {
        ck_assert_uint_eq(asked, 0);
    }
    size_t changed = 0;
    for (size_t i = 0; i < SIZE; i++)
        changed += full[i] != value_at(i) || empty[i] != 0;
    ck_assert_uint_eq(changed, 0);
    free(full);
    free(empty);
}
END_TEST

START_TEST(files_and_shared_memory_are_left_alone)
{
    enum { SIZE = 2 * PAGES_LARGE };
    char path[] = "/tmp/cantus-pages-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    unlink(path);
    ck_assert_int_eq(ftruncate(fd, SIZE), 0);
    uint8_t *file = map(SIZE, MAP_PRIVATE, fd);
    uint8_t *shared = map(SIZE, MAP_SHARED | MAP_ANONYMOUS, -1);
    file[0] = shared[0] = 1;
    (void)pages_ask();
    ck_assert(!is_asked_for(file, SIZE));
    ck_assert(!is_asked_for(shared, SIZE));
    close(fd);
}
END_TEST

START_TEST(small_and_read_only_memory_is_left_alone)
{
    uint8_t *around = map(2 * PAGES_LARGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    uint8_t *small = around + PAGES_LARGE / 2; /* between two that nobody may write */
    ck_assert_int_eq(mprotect(around, PAGES_LARGE / 2, PROT_READ), 0);
    ck_assert_int_eq(mprotect(small + PAGES_LARGE / 2, PAGES_LARGE, PROT_READ), 0);
    (void)pages_ask();
    ck_assert(!is_asked_for(small, PAGES_LARGE / 2));
    ck_assert(!is_asked_for(small + PAGES_LARGE / 2, PAGES_LARGE));
}
END_TEST

/* A daemon that rests must not take what it never touches: one page of a table brings one huge page. */
START_TEST(what_was_touched_a_little_is_not_filled_up)
{
    enum { SIZE = 8 * PAGES_LARGE };
    uint8_t *table = map(SIZE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    for (size_t at = 0; at < SIZE; at += PAGES_HUGE)
        table[at + 4096] = 1;
    (void)pages_ask();
    static unsigned char present[SIZE / 4096];
    ck_assert_int_eq(mincore(table, SIZE, present), 0);
    uint32_t count = 0;
    for (size_t i = 0; i < sizeof present; i++)
        count += present[i] & 1;
    ck_assert_uint_le(count, SIZE / PAGES_HUGE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pages");
    TCase *tcase = tcase_create("pages");
    tcase_add_test(tcase, large_private_memory_is_asked_for_and_keeps_what_it_holds);
    tcase_add_test(tcase, files_and_shared_memory_are_left_alone);
    tcase_add_test(tcase, small_and_read_only_memory_is_left_alone);
    tcase_add_test(tcase, what_was_touched_a_little_is_not_filled_up);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
