#include "cli/app_library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

const struct cantus_app *app_library_load(const char *option, const char *path)
{
    char here[4096];
    /* Without a slash the loader would look in the system's folders. */
    snprintf(here, sizeof here, "%s%s", strchr(path, '/') == NULL ? "./" : "", path);
    void *library = dlopen(here, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        cli_fail("%s: %s", option, dlerror());
        return NULL;
    }
    const struct cantus_app *app = dlsym(library, "cantus_app_v1");
    if (app == NULL)
        cli_fail("%s: %s exports no `const struct cantus_app cantus_app_v1`", option, path);
    else if (app->abi != CANTUS_APP_ABI) {
        cli_fail("%s: %s was built for app ABI %u, this cantus speaks %d: rebuild it", option, path,
                 app->abi, CANTUS_APP_ABI);
        app = NULL;
    }
    return app;
}
