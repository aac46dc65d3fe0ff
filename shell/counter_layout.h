/* The bytes of a counter file, as the writer and the reader of one host share them. */
#ifndef CANTUS_SHELL_COUNTER_LAYOUT_H
#define CANTUS_SHELL_COUNTER_LAYOUT_H

#include <stddef.h>

#include "shell/counter_file.h"

#define COUNTER_FILE_SUFFIX ".counters"
#define COUNTER_FILE_MAGIC  UINT64_C(0x73756e6f63746e63)
enum { COUNTER_FILE_VERSION = 1 };

struct layout_pause {
    uint64_t version; /* odd while it is written */
    struct loop_pause pause;
};

struct layout_state {
    uint64_t version;
    char text[COUNTER_FILE_STATE_MAX + 1];
};

struct layout_problem {
    uint64_t version; /* 0: never written */
    struct counter_problem problem;
};

struct layout {
    uint64_t magic;
    uint32_t version;
    uint32_t counter_count;
    uint64_t table_hash;
    uint64_t bytes; /* of the whole */
    uint64_t stream;
    uint64_t pid;
    uint64_t started_ns;
    char role[COUNTER_FILE_ROLE_MAX + 1];
    char name[COUNTER_FILE_NAME_MAX + 1];
    uint64_t alive_ns; /* CLOCK_MONOTONIC */
    struct layout_state state;
    struct layout_pause pause_max, pause_recent;
    uint64_t forgotten;
    _Alignas(64) uint64_t counters[COUNTER_END];
    _Alignas(64) struct layout_problem problems[LOG_ENTRIES_MAX];
};

_Static_assert(offsetof(struct layout, counters) % 64 == 0, "lines of the cache are whole");

/* Its writer lives. */
bool counter_file_is_locked(int fd);

#endif
