#include "tests/cli/verb.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

bool verb_json;

static char directory[64], path[96];
static struct config config;

/* ---- what a verb needs of the command -------------------------------------------------------- */

int cli_options(const struct cli_verb *verb, struct cli_globals *globals, int argc, char **argv,
                const struct option *options,
                bool (*parse)(void *ctx, int option, const char *value), void *ctx)
{
    (void)verb;
    (void)globals;
    (void)argv;
    ck_assert_str_eq(options[0].name, "json");
    if (verb_json)
        ck_assert(parse(ctx, options[0].val, NULL));
    return argc;
}

int cli_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    return CLI_FAILED;
}

bool cli_running(void)
{
    return true;
}

void cli_catch_signals(void)
{
}

/* ---- running it ------------------------------------------------------------------------------ */

void verb_set_up(void)
{
    listeners_open();
    snprintf(directory, sizeof directory, "/tmp/cantus-verb-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/" CONFIG_FILE, directory);
}

void verb_tear_down(void)
{
    listeners_close();
    unlink(path);
    rmdir(directory);
}

struct config *verb_config(uint32_t stores)
{
    config_default_for_dir(&config, directory, 1);
    config_resize(&config, stores, 1, 0);
    config.stream = VERB_STREAM;
    return &config;
}

int verb_run(const struct cli_verb *verb, char *out, size_t capacity)
{
    char error[CONFIG_ERROR_MAX];
    ck_assert_msg(config_write(path, &config, error), "%s", error);
    fflush(stdout);
    FILE *file = tmpfile();
    int saved = dup(STDOUT_FILENO);
    ck_assert(file != NULL && saved >= 0 && dup2(fileno(file), STDOUT_FILENO) >= 0);
    char name[32];
    snprintf(name, sizeof name, "%s", verb->name);
    char *argv[] = { name, NULL };
    struct cli_globals globals = { .dir = directory };
    int status = verb->run(&globals, 1, argv);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    rewind(file);
    out[fread(out, 1, capacity - 1, file)] = '\0';
    fclose(file);
    return status;
}
