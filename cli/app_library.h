/* Apps in shared libraries. */
#ifndef CANTUS_CLI_APP_LIBRARY_H
#define CANTUS_CLI_APP_LIBRARY_H

#include <cantus/app.h>

/* The `cantus_app_v1` of the library at this path, which stays loaded. NULL on failure, and it has
 * said why; `option` is what the user gave it for. */
const struct cantus_app *app_library_load(const char *option, const char *path);

#endif
