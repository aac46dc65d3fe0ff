/* One line an event, on stderr: time, level, component, text, key=value pairs. Lines that repeat
 * are held back and counted, and every distinct problem is remembered with its count and when it
 * was first and last seen, for the status of a process that has run for weeks. One thread. */
#ifndef CANTUS_SHELL_LOG_H
#define CANTUS_SHELL_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

enum {
    LOG_TEXT_MAX = 127,
    LOG_COMPONENT_MAX = 31,
    LOG_LINE_MAX = 1024,
    LOG_ENTRIES_MAX =
        64,       /* distinct ones told apart; beyond it the one longest unseen is forgotten */
    LOG_BURST = 5 /* lines of one text within a second; the rest is counted */
};

struct log_entry {
    enum log_level level;
    char component[LOG_COMPONENT_MAX + 1];
    char text[LOG_TEXT_MAX + 1];
    uint64_t count;
    uint64_t first_ns, last_ns; /* Unix time */
    uint64_t window_ns;         /* begin of the second that is counted */
    uint32_t in_window;
    uint32_t held_back; /* since the last line that was written */
};

struct log {
    int fd;
    enum log_level level; /* below it nothing is written or remembered */
    uint64_t (*wall_ns)(void);
    uint32_t count;
    uint64_t forgotten;
    struct log_entry entries[LOG_ENTRIES_MAX];
    /* Called for every warning and error, after entries[index] was brought up to date; `detail` is
     * its key=value pairs, "" where the line is held back. May be NULL. */
    void (*on_problem)(void *ctx, const struct log *log, uint32_t index, const char *detail);
    void *problem_ctx;
};

void log_init(struct log *log, int fd, enum log_level level);
/* The text is constant and says what; `pairs` is a printf format of key=value pairs, or NULL.
 * Values with blanks, quotes or control bytes should go through log_quote. */
__attribute__((format(printf, 5, 6))) void log_line(struct log *log, enum log_level level,
                                                    const char *component, const char *text,
                                                    const char *pairs, ...);
/* Writes lines for what is still held back, at the end of a process. */
void log_flush(struct log *log);
/* Into out[capacity]: in quotes, with \" \\ \n and \xNN. Cut to fit; returns out. */
const char *log_quote(const char *value, char *out, size_t capacity);
/* The remembered entries of at least this level, newest first; returns how many were filled in. */
uint32_t log_recent(const struct log *log, enum log_level level, const struct log_entry **out,
                    uint32_t max);
const char *log_level_name(enum log_level level);

#endif
