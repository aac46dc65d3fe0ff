#include "cli/top_screen.h"

#include <curses.h>
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

enum { COLOR_BAD = 1, COLOR_TITLE };

static enum top_key key_of(int c)
{
    switch (c) {
    case 'q':
    case 'Q':
        return TOP_KEY_QUIT;
    case 'p':
    case ' ':
        return TOP_KEY_PAUSE;
    case 'h':
    case '?':
        return TOP_KEY_HELP;
    case 's':
        return TOP_KEY_SORT;
    case KEY_UP:
    case 'k':
        return TOP_KEY_UP;
    case KEY_DOWN:
    case 'j':
        return TOP_KEY_DOWN;
    case KEY_LEFT:
    case KEY_BTAB:
        return TOP_KEY_LEFT;
    case KEY_RIGHT:
    case '\t':
        return TOP_KEY_RIGHT;
    default:
        return TOP_KEY_OTHER;
    }
}

static attr_t attributes_of(enum top_style style)
{
    switch (style) {
    case TOP_PLAIN:
        break;
    case TOP_TITLE:
        return A_BOLD | (attr_t)COLOR_PAIR(COLOR_TITLE);
    case TOP_HEAD:
    case TOP_SELECTED:
        return A_REVERSE;
    case TOP_BAD:
        return A_BOLD | (attr_t)COLOR_PAIR(COLOR_BAD);
    case TOP_DIM:
        return A_DIM;
    }
    return A_NORMAL;
}

static void draw(struct top_screen *s, struct top_frame *frame)
{
    int rows, columns;
    getmaxyx(stdscr, rows, columns);
    s->view.rows = (uint32_t)rows;
    s->view.columns = (uint32_t)columns;
    top_frame_make(s->model, &s->view, frame);
    erase();
    for (uint32_t i = 0; i < frame->count; i++) {
        attrset((int)attributes_of(frame->lines[i].style));
        mvaddstr((int)i, 0, frame->lines[i].text);
    }
    attrset(A_NORMAL);
    refresh();
}

static void begin_colors(void)
{
    if (!has_colors())
        return;
    start_color();
    use_default_colors();
    init_pair(COLOR_BAD, COLOR_RED, -1);
    init_pair(COLOR_TITLE, COLOR_CYAN, -1);
}

static void interact(struct top_screen *s, struct top_frame *frame)
{
    uint64_t due_ns = 0;
    while (s->running()) {
        uint64_t now = cli_mono_ns();
        if (now >= due_ns && !s->view.paused)
            s->sample(s->ctx);
        if (now >= due_ns)
            due_ns = cli_mono_ns() + s->interval_ns;
        draw(s, frame);
        now = cli_mono_ns();
        timeout(now >= due_ns ? 0 : (int)((due_ns - now + 999999) / 1000000));
        int c = getch();
        if (c != ERR && !top_view_key(&s->view, s->model, key_of(c)))
            break;
    }
}

bool top_screen_run(struct top_screen *s, char *error)
{
    setlocale(LC_CTYPE, "");
    s->view.ascii = strcmp(nl_langinfo(CODESET), "UTF-8") != 0;
    struct top_frame *frame = calloc(1, sizeof *frame);
    SCREEN *screen = frame != NULL ? newterm(NULL, stdout, stdin) : NULL;
    if (screen == NULL) {
        const char *term = getenv("TERM");
        snprintf(error, TOP_ERROR_MAX, "cannot draw on a terminal of type '%.60s': use --batch",
                 term != NULL ? term : "");
        free(frame);
        return false;
    }
    cbreak();
    noecho();
    curs_set(0);
    keypad(stdscr, TRUE);
    begin_colors();
    interact(s, frame);
    endwin();
    delscreen(screen);
    free(frame);
    return true;
}
