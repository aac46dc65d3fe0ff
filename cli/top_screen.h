/* `cantus top` on a terminal, by ncurses. */
#ifndef CANTUS_CLI_TOP_SCREEN_H
#define CANTUS_CLI_TOP_SCREEN_H

#include "cli/top_model.h"

enum { TOP_ERROR_MAX = 256 };
struct top_screen {
    struct top_model *model;
    struct top_view view; /* as it is to begin with; columns and rows are the terminal's */
    uint64_t interval_ns;
    void (*sample)(void *ctx);
    void *ctx;
    bool (*running)(void);
};

/* Until `q` or `running` says no. False with a text in error[TOP_ERROR_MAX]. */
bool top_screen_run(struct top_screen *s, char *error);

#endif
