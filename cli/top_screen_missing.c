/* Of a build without ncurses. */
#include "cli/top_screen.h"

#include <stdio.h>

bool top_screen_run(struct top_screen *s, char *error)
{
    (void)s;
    snprintf(error, TOP_ERROR_MAX,
             "this build draws on no terminal (libncurses-dev was not there): use --batch");
    return false;
}
