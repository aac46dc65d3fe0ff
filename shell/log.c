#include "shell/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const uint64_t second_ns = 1000000000u;

static uint64_t wall_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * second_ns + (uint64_t)t.tv_nsec;
}

void log_init(struct log *log, int fd, enum log_level level)
{
    *log = (struct log) { .fd = fd, .level = level, .wall_ns = wall_ns };
}

const char *log_level_name(enum log_level level)
{
    switch (level) {
    case LOG_DEBUG:
        return "debug";
    case LOG_INFO:
        return "info";
    case LOG_WARN:
        return "warn";
    case LOG_ERROR:
        return "error";
    }
    return "?";
}

const char *log_quote(const char *value, char *out, size_t capacity)
{
    if (capacity < 3) {
        if (capacity > 0)
            out[0] = '\0';
        return out;
    }
    size_t at = 0;
    out[at++] = '"';
    for (const unsigned char *c = (const unsigned char *)value; *c != '\0'; c++) {
        char piece[8];
        if (*c == '"' || *c == '\\')
            snprintf(piece, sizeof piece, "\\%c", *c);
        else if (*c == '\n')
            snprintf(piece, sizeof piece, "\\n");
        else if (*c < 0x20 || *c == 0x7f)
            snprintf(piece, sizeof piece, "\\x%02x", *c);
        else
            snprintf(piece, sizeof piece, "%c", *c);
        size_t length = strlen(piece);
        if (at + length + 2 > capacity)
            break;
        memcpy(out + at, piece, length);
        at += length;
    }
    out[at++] = '"';
    out[at] = '\0';
    return out;
}

static struct log_entry *find(struct log *log, enum log_level level, const char *component,
                              const char *text)
{
    for (uint32_t i = 0; i < log->count; i++) {
        struct log_entry *e = &log->entries[i];
        if (e->level == level && strncmp(e->component, component, LOG_COMPONENT_MAX) == 0 &&
            strncmp(e->text, text, LOG_TEXT_MAX) == 0)
            return e;
    }
    return NULL;
}

static struct log_entry *find_or_add(struct log *log, enum log_level level, const char *component,
                                     const char *text, uint64_t now)
{
    struct log_entry *e = find(log, level, component, text);
    if (e != NULL)
        return e;
    if (log->count < LOG_ENTRIES_MAX) {
        e = &log->entries[log->count++];
    } else {
        e = &log->entries[0];
        for (uint32_t i = 1; i < log->count; i++)
            if (log->entries[i].last_ns < e->last_ns)
                e = &log->entries[i];
        log->forgotten++;
    }
    *e = (struct log_entry) { .level = level, .first_ns = now, .window_ns = now };
    snprintf(e->component, sizeof e->component, "%s", component);
    snprintf(e->text, sizeof e->text, "%s", text);
    return e;
}

static size_t begin_line(char *line, const struct log_entry *e, uint64_t now)
{
    time_t seconds = (time_t)(now / second_ns);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    char when[32];
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
    int n = snprintf(line, LOG_LINE_MAX, "%s.%06uZ %-5s %s: %s", when,
                     (unsigned)(now % second_ns / 1000), log_level_name(e->level), e->component,
                     e->text);
    return n < 0 ? 0 : n >= LOG_LINE_MAX ? LOG_LINE_MAX - 1 : (size_t)n;
}

static void write_line(const struct log *log, char *line, size_t length)
{
    /* One event is one line whatever the values hold. */
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)line[i] < 0x20)
            line[i] = ' ';
    line[length] = '\n';
    ssize_t ignored =
        write(log->fd, line, length + 1); /* a log that can't be written stops nothing */
    (void)ignored;
}

static size_t append_held_back(char *line, size_t length, struct log_entry *e)
{
    if (e->held_back == 0)
        return length;
    int n = snprintf(line + length, LOG_LINE_MAX - length, " held_back=%u", e->held_back);
    e->held_back = 0;
    length += n < 0 ? 0 : (size_t)n;
    return length >= LOG_LINE_MAX ? LOG_LINE_MAX - 1 : length;
}

static void tell_problem(const struct log *log, const struct log_entry *e, const char *detail)
{
    if (e->level >= LOG_WARN && log->on_problem != NULL)
        log->on_problem(log->problem_ctx, log, (uint32_t)(e - log->entries), detail);
}

void log_line(struct log *log, enum log_level level, const char *component, const char *text,
              const char *pairs, ...)
{
    if (level < log->level)
        return;
    uint64_t now = log->wall_ns();
    struct log_entry *e = find_or_add(log, level, component, text, now);
    e->count++;
    e->last_ns = now;
    /* The clock may have gone back: then a new second begins as well. */
    if (now < e->window_ns || now - e->window_ns >= second_ns) {
        e->window_ns = now;
        e->in_window = 0;
    }
    if (e->in_window == LOG_BURST) {
        e->held_back++;
        tell_problem(log, e, "");
        return;
    }
    e->in_window++;
    char line[LOG_LINE_MAX + 1];
    size_t length = begin_line(line, e, now), detail = length;
    if (pairs != NULL && length + 1 < LOG_LINE_MAX) {
        line[length++] = ' ';
        detail = length;
        va_list args;
        va_start(args, pairs);
        int n = vsnprintf(line + length, LOG_LINE_MAX - length, pairs, args);
        va_end(args);
        length += n < 0 ? 0 : (size_t)n;
        if (length >= LOG_LINE_MAX)
            length = LOG_LINE_MAX - 1;
    }
    line[length] = '\0';
    tell_problem(log, e, line + detail);
    write_line(log, line, append_held_back(line, length, e));
}

void log_flush(struct log *log)
{
    uint64_t now = log->wall_ns();
    for (uint32_t i = 0; i < log->count; i++) {
        struct log_entry *e = &log->entries[i];
        if (e->held_back == 0)
            continue;
        char line[LOG_LINE_MAX + 1];
        size_t length = begin_line(line, e, now);
        write_line(log, line, append_held_back(line, length, e));
    }
}

uint32_t log_recent(const struct log *log, enum log_level level, const struct log_entry **out,
                    uint32_t max)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < log->count; i++) {
        const struct log_entry *e = &log->entries[i];
        if (e->level < level)
            continue;
        uint32_t at = n < max ? n++ : max;
        while (at > 0 && out[at - 1]->last_ns < e->last_ns) {
            if (at < max)
                out[at] = out[at - 1];
            at--;
        }
        if (at < max)
            out[at] = e;
    }
    return n;
}
