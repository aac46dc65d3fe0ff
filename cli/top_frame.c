/* The lines of `cantus top`. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/top_model.h"

enum { CELL_BYTES = 128, NAME_WIDTH = 16, TITLE_WIDTH = 12 };

/* ---- lines ----------------------------------------------------------------------------------- */

struct frame_writer {
    const struct top_model *model;
    const struct top_view *view;
    struct top_frame *frame;
};

static bool begins_letter(char c)
{
    return ((unsigned char)c & 0xc0) != 0x80;
}

static uint32_t width_of(const char *text)
{
    uint32_t width = 0;
    for (; *text != '\0'; text++)
        width += begins_letter(*text) ? 1 : 0;
    return width;
}

/* Cuts at a number of columns, not within a letter. */
static void cut(char *text, uint32_t columns)
{
    for (; *text != '\0'; text++) {
        if (!begins_letter(*text))
            continue;
        if (columns == 0)
            break;
        columns--;
    }
    *text = '\0';
}

static struct top_line *add(struct frame_writer *w, enum top_style style)
{
    uint32_t max =
        w->view->rows == 0 || w->view->rows > TOP_ROWS_MAX ? TOP_ROWS_MAX : w->view->rows;
    static struct top_line nowhere; /* beyond the last row */
    struct top_line *line = w->frame->count < max ? &w->frame->lines[w->frame->count++] : &nowhere;
    line->style = style;
    line->text[0] = '\0';
    return line;
}

static uint32_t columns_of(const struct frame_writer *w)
{
    return w->view->columns < TOP_COLUMNS_MAX ? w->view->columns : TOP_COLUMNS_MAX;
}

__attribute__((format(printf, 3, 4))) static void say(struct frame_writer *w, enum top_style style,
                                                      const char *format, ...)
{
    struct top_line *line = add(w, style);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line->text, sizeof line->text, format, arguments);
    va_end(arguments);
    cut(line->text, columns_of(w));
}

/* ---- cells ----------------------------------------------------------------------------------- */

typedef void cell(const struct top_process *p, const struct top_view *v, uint32_t width, char *out);

struct column {
    const char *title;
    uint32_t width; /* 0: what is left of the line */
    bool left;      /* aligned */
    cell *print;    /* or, if NULL, by the counter: */
    enum counter counter;
};

static void print_state(const struct top_process *p, const struct top_view *v, uint32_t width,
                        char *out)
{
    const struct observed *o = &p->now;
    (void)v;
    (void)width;
    bool stalled = o->alive && o->silent_ns >= OBSERVE_STALLED_NS;
    snprintf(out, CELL_BYTES, "%s",
             stalled                   ? "STALLED"
             : !o->alive && !o->remote ? "ended"
                                       : o->state);
}

static void print_rate(const struct top_process *p, const struct top_view *v, uint32_t width,
                       char *out)
{
    (void)v;
    (void)width;
    top_number(p->messages_rate, out);
}

static void print_history(const struct top_process *p, const struct top_view *v, uint32_t width,
                          char *out)
{
    top_sparkline(&p->messages, width < TOP_HISTORY_MAX ? width : TOP_HISTORY_MAX, v->ascii, out);
}

static void print_share(uint64_t part, uint64_t whole, char *out)
{
    if (whole == 0)
        snprintf(out, CELL_BYTES, "-");
    else
        snprintf(out, CELL_BYTES, "%.1f%%", 100.0 * (double)part / (double)whole);
}

static void print_queue(const struct top_process *p, const struct top_view *v, uint32_t width,
                        char *out)
{
    (void)v;
    (void)width;
    print_share(p->now.counters[COUNTER_QUEUED], p->now.counters[COUNTER_QUEUE_MAX], out);
}

static void print_ring(const struct top_process *p, const struct top_view *v, uint32_t width,
                       char *out)
{
    (void)v;
    (void)width;
    print_share(p->now.counters[COUNTER_RING_UNSTABLE], p->now.counters[COUNTER_RING_SIZE], out);
}

static void print_disk(const struct top_process *p, const struct top_view *v, uint32_t width,
                       char *out)
{
    (void)v;
    (void)width;
    print_share(p->now.counters[COUNTER_DISK_FREE], p->now.counters[COUNTER_DISK_SIZE], out);
}

static void print_silent(const struct top_process *p, const struct top_view *v, uint32_t width,
                         char *out)
{
    (void)v;
    (void)width;
    if (p->now.remote)
        snprintf(out, CELL_BYTES, "-");
    else
        top_duration(p->now.silent_ns, out);
}

static void print_problems(const struct top_process *p, const struct top_view *v, uint32_t width,
                           char *out)
{
    (void)v;
    (void)width;
    if (p->now.remote)
        snprintf(out, CELL_BYTES, "-");
    else
        snprintf(out, CELL_BYTES, "%" PRIu32, p->now.problem_count);
}

static void print_cause(const struct top_process *p, const struct top_view *v, uint32_t width,
                        char *out)
{
    (void)v;
    (void)width;
    snprintf(out, CELL_BYTES, "%s", p->now.pause_max.what);
}

/* Counts with what they grow by per second, where they do. */
static void print_counter(const struct top_process *p, enum counter c, char *out)
{
    char total[16], rate[16];
    uint64_t value = p->now.counters[c];
    if (!p->now.alive || !observe_keeps(p->now.role, c))
        snprintf(out, CELL_BYTES, "-");
    else if (strcmp(counter_unit(c), "ns") == 0)
        top_duration(value, out);
    else if (strcmp(counter_unit(c), "seq") == 0 || strcmp(counter_unit(c), "number") == 0)
        snprintf(out, CELL_BYTES, "%" PRIu64, value);
    else if (p->rates[c] > 0)
        snprintf(out, CELL_BYTES, "%s+%s", top_number((double)value, total),
                 top_number(p->rates[c], rate));
    else
        top_number((double)value, out);
}

static void print_byte_rate(const struct top_process *p, enum counter c, char *out)
{
    top_number(p->rates[c], out);
}

static void print_in(const struct top_process *p, const struct top_view *v, uint32_t width,
                     char *out)
{
    (void)v;
    (void)width;
    print_byte_rate(p, COUNTER_BYTES_IN, out);
}

static void print_out(const struct top_process *p, const struct top_view *v, uint32_t width,
                      char *out)
{
    (void)v;
    (void)width;
    print_byte_rate(p, COUNTER_BYTES_OUT, out);
}

#define COUNTED(title, width, name)                                                                \
    {                                                                                              \
        title, width, false, NULL, COUNTER_##name                                                  \
    }
#define PRINTED(title, width, left, print)                                                         \
    {                                                                                              \
        title, width, left, print, COUNTER_END                                                     \
    }

enum { COLUMNS_EACH = 10 };
static const struct column pages[TOP_COUNTERS][COLUMNS_EACH] = {
    [TOP_FLOW] = { PRINTED("state", 20, true, print_state), COUNTED("epoch", 6, EPOCH),
                   COUNTED("tip", 12, TIP), COUNTED("lag", 8, LAG),
                   PRINTED("msg/s", 8, false, print_rate), PRINTED("in B/s", 8, false, print_in),
                   PRINTED("out B/s", 8, false, print_out),
                   PRINTED("history of msg/s", 0, true, print_history) },
    [TOP_LOSS] = { COUNTED("gaps", 12, GAPS), COUNTED("asked", 12, GAP_REQUESTS_OUT),
                   COUNTED("was asked", 12, GAP_REQUESTS_IN), COUNTED("fills in", 12, FILLS_IN),
                   COUNTED("fills out", 12, FILLS_OUT), COUNTED("twice", 12, DUPLICATES_IN),
                   COUNTED("early", 12, REORDERED_IN), COUNTED("rejects", 12, PROPOSALS_REJECTED),
                   COUNTED("forks", 7, FORKS), COUNTED("corrupt", 8, DROPPED_CORRUPT) },
    [TOP_QUEUES] = { COUNTED("publishers", 11, PUBLISHERS), COUNTED("topics", 8, TOPICS),
                     COUNTED("queued", 8, QUEUED), PRINTED("queue", 7, false, print_queue),
                     PRINTED("ring", 7, false, print_ring), COUNTED("paced", 12, PACED),
                     COUNTED("in flight", 10, IN_FLIGHT), COUNTED("resent", 12, RESENT),
                     COUNTED("commits", 13, JOURNAL_COMMITS),
                     PRINTED("disk free", 10, false, print_disk) },
    [TOP_LOOP] = { PRINTED("silent", 8, false, print_silent), COUNTED("pause", 9, LOOP_PAUSE_MAX),
                   COUNTED("recent", 9, LOOP_PAUSE_RECENT),
                   PRINTED("problems", 9, false, print_problems), COUNTED("memory", 8, MEMORY),
                   PRINTED("  longest pause in", 0, true, print_cause) },
    [TOP_CLIENTS] = { COUNTED("clients", 8, SESSIONS), COUNTED("behind", 7, SESSIONS_BEHIND),
                      COUNTED("logins", 11, LOGINS), COUNTED("no right", 11, REFUSED_RIGHT),
                      COUNTED("throttled", 11, THROTTLED), COUNTED("too slow", 9, SESSIONS_SLOW),
                      COUNTED("relayed", 13, RELAYED), COUNTED("sent", 13, CLIENT_MESSAGES_OUT),
                      COUNTED("views", 6, VIEWS), COUNTED("trees", 7, SUBTREES) },
};

/* Appends a cell of a width, or of what is left of the line. */
static void append(struct top_line *line, const char *text, uint32_t width, bool left)
{
    char copy[TOP_LINE_BYTES];
    size_t at = strlen(line->text);
    snprintf(copy, sizeof copy, "%s", text);
    cut(copy, width);
    int blanks = (int)(width - width_of(copy));
    snprintf(line->text + at, sizeof line->text - at, "%*s%s%*s", left ? 0 : blanks, "", copy,
             left ? blanks : 0, "");
}

static void append_columns(struct frame_writer *w, struct top_line *line,
                           const struct top_process *p)
{
    uint32_t used = columns_of(w) < NAME_WIDTH ? columns_of(w) : NAME_WIDTH;
    append(line, p == NULL ? "name" : p->now.name, used, true);
    for (int i = 0; i < COLUMNS_EACH && pages[w->view->page][i].title != NULL; i++) {
        const struct column *c = &pages[w->view->page][i];
        char text[TOP_LINE_BYTES] = "";
        uint32_t left = columns_of(w) > used + 1 ? columns_of(w) - used - 1 : 0;
        uint32_t width = c->width == 0 || c->width > left ? left : c->width;
        if (p == NULL)
            snprintf(text, sizeof text, "%s", c->title);
        else if (c->print != NULL)
            c->print(p, w->view, width, text);
        else
            print_counter(p, c->counter, text);
        append(line, " ", left > 0 ? 1 : 0, true);
        append(line, text, width, c->left);
        used += width + 1;
    }
}

/* ---- the parts of a frame -------------------------------------------------------------------- */

static void put_title(struct frame_writer *w, const struct top_process *leader)
{
    time_t seconds = (time_t)(w->model->wall_ns / 1000000000);
    char when[16] = "";
    struct tm tm;
    gmtime_r(&seconds, &tm);
    strftime(when, sizeof when, "%H:%M:%S", &tm);
    if (leader == NULL)
        say(w, TOP_TITLE, "cantus top  %s  stream %016" PRIx64 "  nobody leads%s", when,
            w->model->stream, w->view->paused ? "  [paused]" : "");
    else
        say(w, TOP_TITLE,
            "cantus top  %s  stream %016" PRIx64 "  %s leads epoch %" PRIu64 "  tip %" PRIu64
            "  stable %" PRIu64 "%s",
            when, w->model->stream, leader->now.name, leader->now.counters[COUNTER_EPOCH],
            leader->now.counters[COUNTER_TIP], leader->now.counters[COUNTER_STABLE],
            w->view->paused ? "  [paused]" : "");
}

static void put_history(struct frame_writer *w, const char *title, double value, const char *unit,
                        const struct top_history *h)
{
    char number[16], bars[TOP_LINE_BYTES];
    uint32_t used = TITLE_WIDTH + 8 + 4 + 1;
    uint32_t width = columns_of(w) > used ? columns_of(w) - used : 0;
    if (width > TOP_HISTORY_MAX)
        width = TOP_HISTORY_MAX;
    say(w, TOP_PLAIN, "%-*s%8s%-4s %s", TITLE_WIDTH, title, top_number(value, number), unit,
        top_sparkline(h, width, w->view->ascii, bars));
}

static void put_leader(struct frame_writer *w, const struct top_process *p)
{
    const uint64_t *c = p->now.counters;
    put_history(w, "sequenced", p->messages_rate, "/s", &p->messages);
    put_history(w, "not stable", (double)c[COUNTER_LAG], "", &p->lag);
    say(w, TOP_PLAIN,
        "members     %" PRIu64 " of %" PRIu64 " acknowledge, %" PRIu64
        " make stable   publishers %" PRIu64 "   topics %" PRIu64 "   queue %" PRIu64
        " of %" PRIu64,
        c[COUNTER_MEMBERS_CURRENT], c[COUNTER_MEMBERS], c[COUNTER_QUORUM], c[COUNTER_PUBLISHERS],
        c[COUNTER_TOPICS], c[COUNTER_QUEUED], c[COUNTER_QUEUE_MAX]);
}

static bool is_bad(const struct top_process *p)
{
    const struct observed *o = &p->now;
    return !o->alive || o->silent_ns >= OBSERVE_STALLED_NS || o->counters[COUNTER_PAUSED] != 0 ||
           strcmp(o->state, "damaged") == 0 || strcmp(o->state, STATUS_RESTORED) == 0 ||
           strcmp(o->state, "full") == 0;
}

static void put_alarms(struct frame_writer *w, const struct top_process *leader)
{
    uint32_t alarms = 0;
    char silent[16];
    if (leader == NULL && ++alarms)
        say(w, TOP_BAD, "no sequencer leads: nothing is put in order");
    if (leader != NULL && leader->now.counters[COUNTER_MEMBERS] > 0 &&
        leader->now.counters[COUNTER_MEMBERS_CURRENT] < leader->now.counters[COUNTER_QUORUM] &&
        ++alarms)
        say(w, TOP_BAD, "too few stores acknowledge: nothing becomes stable");
    for (uint32_t i = 0; i < w->model->count && alarms < TOP_ALARMS_MAX; i++) {
        const struct observed *o = &w->model->all[i].now;
        if (!is_bad(&w->model->all[i]))
            continue;
        alarms++;
        if (!o->alive)
            say(w, TOP_BAD, "%s %s: %s", o->role, o->name,
                o->remote ? o->state : "was killed, and has not been started again");
        else if (o->silent_ns >= OBSERVE_STALLED_NS)
            say(w, TOP_BAD, "%s %s: its event loop has stood still for %s", o->role, o->name,
                top_duration(o->silent_ns, silent));
        else
            say(w, TOP_BAD, "%s %s: %s", o->role, o->name, o->state);
    }
    if (w->model->note[0] != '\0')
        say(w, TOP_BAD, "%s", w->model->note);
}

static void put_tabs(struct frame_writer *w)
{
    static const char *const names[] = { "flow", "loss", "queues", "loop", "clients", "counters" };
    static const char *const sorts[] = { "name", "rate", "lag", "pause" };
    struct top_line *line = add(w, TOP_DIM);
    for (int i = 0; i < TOP_PAGES; i++) {
        size_t at = strlen(line->text);
        bool here = i == (int)w->view->page;
        snprintf(line->text + at, sizeof line->text - at, "%s%s%s ", here ? "[" : " ", names[i],
                 here ? "]" : " ");
    }
    size_t at = strlen(line->text);
    snprintf(line->text + at, sizeof line->text - at, "  by %s   h help  q quit",
             sorts[w->view->sort]);
    cut(line->text, columns_of(w));
}

/* ---- the processes --------------------------------------------------------------------------- */

static bool comes_before(const struct top_process *a, const struct top_process *b,
                         enum top_sort sort)
{
    switch (sort) {
    case TOP_BY_NAME:
        return a < b;
    case TOP_BY_RATE:
        return a->messages_rate > b->messages_rate;
    case TOP_BY_LAG:
        return a->now.counters[COUNTER_LAG] > b->now.counters[COUNTER_LAG];
    case TOP_BY_PAUSE:
        return a->now.counters[COUNTER_LOOP_PAUSE_RECENT] >
               b->now.counters[COUNTER_LOOP_PAUSE_RECENT];
    case TOP_SORTS:
        break;
    }
    return false;
}

static uint32_t order(const struct frame_writer *w, const struct top_process *out[OBSERVED_MAX])
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < w->model->count; i++) {
        const struct top_process *p = &w->model->all[i];
        if (w->view->only != NULL && strcmp(w->view->only, p->now.name) != 0)
            continue;
        uint32_t at = count++;
        for (; at > 0 && comes_before(p, out[at - 1], w->view->sort); at--)
            out[at] = out[at - 1];
        out[at] = p;
    }
    return count;
}

static void put_processes(struct frame_writer *w, const struct top_process **list, uint32_t count)
{
    struct top_line *head = add(w, TOP_HEAD);
    append_columns(w, head, NULL);
    for (uint32_t i = 0; i < count; i++) {
        bool selected = i == w->view->selected && w->view->rows > 0;
        struct top_line *line = add(w, selected          ? TOP_SELECTED
                                       : is_bad(list[i]) ? TOP_BAD
                                                         : TOP_PLAIN);
        append_columns(w, line, list[i]);
    }
}

static void put_counters(struct frame_writer *w, const struct top_process *p)
{
    uint32_t skip = w->view->scroll;
    say(w, TOP_HEAD, "%-24s %20s %10s  of %s %s", "counter", "now", "per second", p->now.role,
        p->now.name);
    for (int i = 0; i < COUNTER_END; i++) {
        enum counter c = (enum counter)i;
        char rate[16] = "";
        if (!observe_keeps(p->now.role, c) ||
            (p->now.counters[c] == 0 && counter_kind(c) == COUNTER_KIND_COUNT))
            continue;
        if (skip > 0) {
            skip--;
            continue;
        }
        if (counter_kind(c) == COUNTER_KIND_COUNT)
            top_number(p->rates[c], rate);
        say(w, TOP_PLAIN, "%-24s %20" PRIu64 " %10s  %s %s", counter_name(c), p->now.counters[c],
            rate, counter_unit(c), counter_help(c));
    }
}

static void put_help(struct frame_writer *w)
{
    static const char *const lines[] = {
        "",
        "left, right, tab   another page: flow, loss, queues, loop, clients, all counters of one",
        "up, down           select a process; on the page of counters, scroll",
        "s                  sort by name, rate, lag, or the longest pause of the last minutes",
        "p                  pause, and go on",
        "h                  this help, and back",
        "q                  quit",
        "",
        "lag: messages that exist and are not stable (who leads), not durable (stores), not",
        "delivered (apps). ring: how much of it waits for the quorum; at 100 % the stream pauses.",
        "12k+3: 12,000 in all, 3 more per second. A name that was killed stays until it is",
        "started again. What caused pauses, and what was logged: cantus errors.",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        say(w, TOP_PLAIN, "%s", lines[i]);
}

void top_frame_make(const struct top_model *m, const struct top_view *v, struct top_frame *out)
{
    struct frame_writer w = { .model = m, .view = v, .frame = out };
    const struct top_process *list[OBSERVED_MAX], *leader = top_model_leader(m);
    out->count = 0;
    put_title(&w, leader);
    if (v->help) {
        put_help(&w);
        return;
    }
    if (leader != NULL)
        put_leader(&w, leader);
    put_alarms(&w, leader);
    put_tabs(&w);
    uint32_t count = order(&w, list);
    if (count == 0)
        say(&w, TOP_BAD, "no process%s%s on this host or answering", v->only != NULL ? " " : "",
            v->only != NULL ? v->only : "");
    else if (v->page == TOP_COUNTERS)
        put_counters(&w, list[v->selected < count ? v->selected : count - 1]);
    else
        put_processes(&w, list, count);
}
