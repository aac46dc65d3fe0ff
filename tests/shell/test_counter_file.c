/* Counter files: what a writer puts there a reader finds, without either noticing the other; and
 * whatever else lies in the directory, from files of dead processes to files of another release or
 * of somebody with bad intentions, is told apart. Processes that die are children of the test, ended
 * with SIGKILL; the rest is done with several writers and readers in one process, which the locks
 * tell apart as well. */
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shell/counter_layout.h"

static char directory[64];
static char error[COUNTER_FILE_ERROR_MAX];
static struct counter_snapshot snapshot;

static void setup(void)
{
    snprintf(directory, sizeof directory, "/tmp/cantus-counters-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
}

static void teardown(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    ck_assert_int_eq(system(command), 0);
}

static struct counter_file *create(const char *role, const char *name)
{
    struct counter_file_start start = {
        .directory = directory, .role = role, .name = name, .stream = 42
    };
    struct counter_file *f = counter_file_create(&start, error);
    ck_assert_msg(f != NULL, "%s", error);
    return f;
}

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static uint32_t files(void)
{
    uint32_t count = 0;
    DIR *d = opendir(directory);
    ck_assert_ptr_nonnull(d);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d))
        count += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return count;
}

START_TEST(what_is_written_is_read)
{
    struct counter_file *f = create("sequencer", "s1");
    uint64_t *counters = counter_file_counters(f);
    ck_assert_uint_eq((uintptr_t)counters % 64, 0);
    for (int c = 0; c < COUNTER_END; c++) {
        ck_assert_uint_eq(counters[c], 0);
        counters[c] = (uint64_t)c * 1000000007u;
    }
    struct loop *loop = loop_create(NULL, error);
    loop_poll(loop, 0);
    counter_file_sample(f, "leading", loop);
    ck_assert_msg(counter_file_read(path_of("sequencer-s1.counters"), &snapshot, error), "%s",
                  error);
    ck_assert(snapshot.alive);
    ck_assert_uint_eq(snapshot.pid, (uint64_t)getpid());
    ck_assert_uint_eq(snapshot.stream, 42);
    ck_assert_str_eq(snapshot.role, "sequencer");
    ck_assert_str_eq(snapshot.name, "s1");
    ck_assert_str_eq(snapshot.state, "leading");
    for (int c = 0; c < COUNTER_END; c++)
        ck_assert_uint_eq(snapshot.counters[c], (uint64_t)c * 1000000007u);
    loop_destroy(loop);
    counter_file_close(f);
    ck_assert_uint_eq(files(), 0);
}
END_TEST

START_TEST(names_are_shared_by_the_living_only)
{
    struct counter_file *a = create("app", "orders"), *b = create("app", "orders");
    ck_assert(counter_file_read(path_of("app-orders-2.counters"), &snapshot, error));
    ck_assert_str_eq(snapshot.name, "orders-2");
    counter_file_close(a);
    struct counter_file *c = create("app", "orders");
    ck_assert(counter_file_read(path_of("app-orders.counters"), &snapshot, error));
    ck_assert_str_eq(snapshot.name, "orders");
    ck_assert_uint_eq(files(), 2);
    counter_file_close(b);
    counter_file_close(c);
    struct counter_file *odd = create("app", "a/../b c");
    ck_assert(counter_file_read(path_of("app-a_.._b_c.counters"), &snapshot, error));
    ck_assert_str_eq(snapshot.name, "a/../b c");
    counter_file_close(odd);
}
END_TEST

/* It is read as dead, and the next of its name takes its place. */
START_TEST(a_process_that_was_killed_leaves_its_place)
{
    int ready[2];
    ck_assert_int_eq(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        counter_file_counters(create("retransmitter", "r1"))[COUNTER_GAPS] = 7;
        ck_assert_int_eq(write(ready[1], "", 1), 1);
        for (;;)
            pause();
    }
    char byte;
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    const char *path = path_of("retransmitter-r1.counters");
    ck_assert(counter_file_read(path, &snapshot, error));
    ck_assert(snapshot.alive);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    ck_assert(counter_file_read(path, &snapshot, error));
    ck_assert(!snapshot.alive);
    ck_assert_uint_eq(snapshot.counters[COUNTER_GAPS], 7);
    struct counter_file *f = create("retransmitter", "r1");
    ck_assert(counter_file_read(path, &snapshot, error));
    ck_assert(snapshot.alive);
    ck_assert_uint_eq(snapshot.counters[COUNTER_GAPS], 0);
    ck_assert_uint_eq(files(), 1);
    counter_file_close(f);
}
END_TEST

static uint64_t fake_ns = UINT64_C(5000000000);

static uint64_t fake_clock(void)
{
    return fake_ns++;
}

START_TEST(problems_are_remembered_with_their_number)
{
    static struct log log;
    log_init(&log, -1, LOG_INFO);
    log.wall_ns = fake_clock;
    struct counter_file *f = create("sequencer", "s1");
    counter_file_attach(f, &log);
    log_line(&log, LOG_INFO, "sequencer", "ready", NULL);
    for (int i = 1; i <= 9; i++)
        log_line(&log, LOG_WARN, "sequencer", "not leading yet", "why=%d", i);
    log_line(&log, LOG_ERROR, "journal", "damaged\nhere", NULL);
    ck_assert(counter_file_read(path_of("sequencer-s1.counters"), &snapshot, error));
    ck_assert_uint_eq(snapshot.problem_count, 2);
    ck_assert_str_eq(snapshot.problems[0].text, "damaged?here");
    ck_assert_int_eq(snapshot.problems[0].level, LOG_ERROR);
    const struct counter_problem *p = &snapshot.problems[1];
    ck_assert_uint_eq(p->count, 9);
    ck_assert_uint_lt(p->first_ns, p->last_ns);
    ck_assert_str_eq(p->component, "sequencer");
    ck_assert_str_eq(p->detail, "why=5"); /* further ones were not written */
    for (int i = 0; i < LOG_ENTRIES_MAX + 5; i++) {
        char text[32];
        snprintf(text, sizeof text, "problem %d", i);
        log_line(&log, LOG_WARN, "many", text, NULL);
    }
    ck_assert(counter_file_read(path_of("sequencer-s1.counters"), &snapshot, error));
    ck_assert_uint_ge(snapshot.problem_count, LOG_ENTRIES_MAX - 1);
    ck_assert_uint_ge(snapshot.forgotten, 5);
    counter_file_close(f);
    log_line(&log, LOG_WARN, "sequencer", "after the end", NULL);
}
END_TEST

static void expect_refused(const char *words)
{
    ck_assert(!counter_file_read(path_of("app-x.counters"), &snapshot, error));
    ck_assert_msg(strstr(error, words) != NULL, "%s", error);
}

static void overwrite(size_t offset, const void *bytes, size_t length)
{
    int fd = open(path_of("app-x.counters"), O_WRONLY);
    ck_assert_int_eq(pwrite(fd, bytes, length, (off_t)offset), (ssize_t)length);
    close(fd);
}

START_TEST(what_is_not_ours_is_refused)
{
    expect_refused("No such file");
    struct counter_file *f = create("app", "x");
    uint64_t other = 1;
    overwrite(offsetof(struct layout, table_hash), &other, sizeof other);
    expect_refused("another release");
    overwrite(offsetof(struct layout, magic), &other, sizeof other);
    expect_refused("not a file of counters");
    ck_assert_int_eq(truncate(path_of("app-x.counters"), 100), 0);
    expect_refused("not a file of counters");
    ck_assert_int_eq(unlink(path_of("app-x.counters")), 0);
    ck_assert_int_eq(symlink("/dev/zero", path_of("app-x.counters")), 0);
    expect_refused("symbolic");
    ck_assert_int_eq(unlink(path_of("app-x.counters")), 0);
    ck_assert_int_eq(mkfifo(path_of("app-x.counters"), 0600), 0);
    expect_refused("not a file of counters");
    counter_file_close(f);
}
END_TEST

/* Texts that don't end, levels that there are none of, versions that are odd. */
START_TEST(garbage_is_read_without_harm)
{
    struct counter_file *f = create("app", "x");
    static uint8_t garbage[sizeof(struct layout)];
    for (int seed = 1; seed <= 20; seed++) {
        srand((unsigned)seed);
        for (size_t i = 0; i < sizeof garbage; i++)
            garbage[i] = (uint8_t)(rand() >> 8 | (seed % 3 == 0 ? 0x80 : 0));
        size_t begin = offsetof(struct layout, stream);
        overwrite(begin, garbage + begin, sizeof garbage - begin);
        ck_assert_msg(counter_file_read(path_of("app-x.counters"), &snapshot, error), "%s", error);
        ck_assert_uint_le(strlen(snapshot.name), COUNTER_FILE_NAME_MAX);
        ck_assert_uint_le(snapshot.problem_count, LOG_ENTRIES_MAX);
    }
    counter_file_close(f);
}
END_TEST

/* An odd version: its writer is in the middle of it, or died there. The rest is read. */
START_TEST(what_is_being_written_is_left_out)
{
    static struct log log;
    log_init(&log, -1, LOG_INFO);
    struct counter_file *f = create("app", "x");
    struct loop *loop = loop_create(NULL, error);
    counter_file_attach(f, &log);
    log_line(&log, LOG_WARN, "app", "one", NULL);
    log_line(&log, LOG_WARN, "app", "two", NULL);
    counter_file_sample(f, "fine", loop);
    struct loop_pause pause = { .duration_ns = 5, .what = "x" };
    overwrite(offsetof(struct layout, pause_max.pause), &pause, sizeof pause);
    ck_assert(counter_file_read(path_of("app-x.counters"), &snapshot, error));
    ck_assert_uint_eq(snapshot.problem_count, 2);
    ck_assert_str_eq(snapshot.state, "fine");
    ck_assert_uint_eq(snapshot.pause_max.duration_ns, 5);
    uint64_t odd = 3;
    overwrite(offsetof(struct layout, state.version), &odd, sizeof odd);
    overwrite(offsetof(struct layout, problems[0].version), &odd, sizeof odd);
    overwrite(offsetof(struct layout, pause_max.version), &odd, sizeof odd);
    ck_assert(counter_file_read(path_of("app-x.counters"), &snapshot, error));
    ck_assert_uint_eq(snapshot.problem_count, 1);
    ck_assert_str_eq(snapshot.problems[0].text, "two");
    ck_assert_str_eq(snapshot.state, "");
    ck_assert_uint_eq(snapshot.pause_max.duration_ns, 0);
    loop_destroy(loop);
    counter_file_close(f);
}
END_TEST

struct seen {
    uint32_t read, refused, alive;
    char names[256];
};

static void see(void *ctx, const char *path, const struct counter_snapshot *s, const char *text)
{
    struct seen *seen = ctx;
    ck_assert_int_eq(strncmp(path, directory, strlen(directory)), 0);
    ck_assert(s != NULL || text[0] != '\0');
    seen->read += s != NULL;
    seen->refused += s == NULL;
    seen->alive += s != NULL && s->alive;
    if (s != NULL)
        strcat(strcat(seen->names, s->name), " ");
}

START_TEST(a_directory_is_read_in_order)
{
    struct seen seen = { 0 };
    ck_assert_uint_eq(counter_directory_read("/nonexistent", &snapshot, see, &seen), 0);
    struct counter_file *a = create("sequencer", "s1"), *b = create("retransmitter", "r2"),
                        *c = create("retransmitter", "r1");
    FILE *other = fopen(path_of("zzz.counters"), "w");
    fclose(other);
    fclose(fopen(path_of("readme"), "w"));
    ck_assert_uint_eq(counter_directory_read(directory, &snapshot, see, &seen), 4);
    ck_assert_uint_eq(seen.read, 3);
    ck_assert_uint_eq(seen.alive, 3);
    ck_assert_uint_eq(seen.refused, 1);
    ck_assert_str_eq(seen.names, "r1 r2 s1 ");
    counter_file_close(a);
    counter_file_close(b);
    counter_file_close(c);
}
END_TEST

static atomic_bool done;

static void *read_on(void *ctx)
{
    static struct counter_snapshot mine;
    char text[COUNTER_FILE_ERROR_MAX];
    uint64_t last = 0;
    uint32_t reads = 0;
    while (!atomic_load(&done) || reads < 100) {
        ck_assert(counter_file_read(ctx, &mine, text));
        ck_assert_uint_ge(mine.counters[COUNTER_TICKS], last);
        last = mine.counters[COUNTER_TICKS];
        /* Either one whole text or, caught in the middle of writing, none. */
        size_t length = strlen(mine.state);
        for (size_t i = 1; i < length; i++)
            ck_assert_int_eq(mine.state[i], mine.state[0]);
        reads++;
    }
    return NULL;
}

/* Counters only grow and texts are whole, however often they are read while they are written. */
START_TEST(reading_while_it_is_written)
{
    struct counter_file *f = create("app", "x");
    struct loop *loop = loop_create(NULL, error);
    char path[128], state[COUNTER_FILE_STATE_MAX + 1];
    snprintf(path, sizeof path, "%s", path_of("app-x.counters"));
    pthread_t reader;
    ck_assert_int_eq(pthread_create(&reader, NULL, read_on, path), 0);
    for (int i = 0; i < 200000; i++) {
        counter_file_counters(f)[COUNTER_TICKS]++;
        memset(state, 'a' + i % 26, sizeof state - 1);
        state[20 + i % 40] = '\0';
        counter_file_sample(f, state, loop);
    }
    atomic_store(&done, true);
    pthread_join(reader, NULL);
    loop_destroy(loop);
    counter_file_close(f);
}
END_TEST

START_TEST(without_a_directory_it_is_done_without)
{
    struct counter_file_start start = { .directory = "/nonexistent/below",
                                        .role = "app",
                                        .name = "x" };
    ck_assert_ptr_null(counter_file_create(&start, error));
    ck_assert_ptr_nonnull(strstr(error, "/nonexistent/below"));
    ck_assert_ptr_null(counter_file_counters(NULL));
    counter_file_sample(NULL, "", NULL);
    counter_file_close(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("counter_file");
    TCase *tcase = tcase_create("counter_file");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, what_is_written_is_read);
    tcase_add_test(tcase, names_are_shared_by_the_living_only);
    tcase_add_test(tcase, a_process_that_was_killed_leaves_its_place);
    tcase_add_test(tcase, problems_are_remembered_with_their_number);
    tcase_add_test(tcase, what_is_not_ours_is_refused);
    tcase_add_test(tcase, garbage_is_read_without_harm);
    tcase_add_test(tcase, what_is_being_written_is_left_out);
    tcase_add_test(tcase, a_directory_is_read_in_order);
    tcase_add_test(tcase, reading_while_it_is_written);
    tcase_add_test(tcase, without_a_directory_it_is_done_without);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
