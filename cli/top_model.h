/* What `cantus top` shows: from one observation after the other to rates and histories, and from
 * those to lines of text. Pure: who draws the lines, on a screen or a pipe, is another matter. */
#ifndef CANTUS_CLI_TOP_MODEL_H
#define CANTUS_CLI_TOP_MODEL_H

#include "cli/observe.h"

enum {
    TOP_HISTORY_MAX = 256, /* samples */
    TOP_COLUMNS_MAX = 300,
    TOP_ROWS_MAX = 200,
    TOP_LINE_BYTES = 4 * TOP_COLUMNS_MAX + 1,
    TOP_ALARMS_MAX = 3 /* lines */
};

/* The newest is at (count - 1) % TOP_HISTORY_MAX. */
struct top_history {
    uint64_t count;
    double values[TOP_HISTORY_MAX];
};

struct top_process {
    struct observed now;
    uint64_t mono_ns;          /* of that */
    double rates[COUNTER_END]; /* of counts, per second; 0 at first */
    double messages_rate;      /* by which its place in the stream moved on, per second */
    struct top_history messages, lag;
};

struct top_model {
    uint64_t stream;
    uint64_t wall_ns;
    char note[OBSERVE_NOTE_MAX];
    uint32_t count;
    struct top_process all[OBSERVED_MAX]; /* in the order of the observation */
};

/* NULL: no memory. */
struct top_model *top_model_create(uint64_t stream);
void top_model_destroy(struct top_model *m);
/* A process that is not observed any more is forgotten; one that was started anew begins anew. */
void top_model_take(struct top_model *m, const struct observation *o);
/* The sequencer that leads, by the latest epoch; NULL if none does. */
const struct top_process *top_model_leader(const struct top_model *m);

/* ---- looking at it --------------------------------------------------------------------------- */

enum top_page { TOP_FLOW, TOP_LOSS, TOP_QUEUES, TOP_LOOP, TOP_CLIENTS, TOP_COUNTERS, TOP_PAGES };
enum top_sort { TOP_BY_NAME, TOP_BY_RATE, TOP_BY_LAG, TOP_BY_PAUSE, TOP_SORTS };
enum top_key {
    TOP_KEY_OTHER,
    TOP_KEY_QUIT,
    TOP_KEY_PAUSE,
    TOP_KEY_HELP,
    TOP_KEY_SORT,
    TOP_KEY_UP,
    TOP_KEY_DOWN,
    TOP_KEY_LEFT,
    TOP_KEY_RIGHT
};

struct top_view {
    uint32_t columns, rows; /* of the terminal; rows 0: as many as there are lines */
    enum top_page page;
    enum top_sort sort;
    uint32_t selected; /* row, of which the counters' page shows all */
    uint32_t scroll;   /* of the counters' page */
    bool paused, help;
    bool ascii;       /* no block characters */
    const char *only; /* the name of a process; NULL: all */
};

enum top_style { TOP_PLAIN, TOP_TITLE, TOP_HEAD, TOP_SELECTED, TOP_BAD, TOP_DIM };

struct top_line {
    enum top_style style;
    char text[TOP_LINE_BYTES]; /* UTF-8, at most `columns` wide */
};

struct top_frame {
    uint32_t count;
    struct top_line lines[TOP_ROWS_MAX];
};

/* False: quit. */
bool top_view_key(struct top_view *v, const struct top_model *m, enum top_key key);
void top_frame_make(const struct top_model *m, const struct top_view *v, struct top_frame *out);

/* ---- its parts ------------------------------------------------------------------------------- */
/* 7 columns at most: "950", "12.3k", "1.20M". Into out[16]. */
const char *top_number(double value, char *out);
const char *top_duration(uint64_t ns, char *out); /* "350ns", "12.3us", "4.20ms", "1.50s" */
/* The newest `width` values as bars between 0 and their largest; what is not there yet is blank. */
const char *top_sparkline(const struct top_history *h, uint32_t width, bool ascii,
                          char out[TOP_LINE_BYTES]);

#endif
