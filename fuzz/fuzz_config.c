/* The configuration file. What is accepted can be written, and what was written is read as the
 * same; what is refused names at least one problem. */
#include "fuzz/fuzz.h"
#include "shell/config.h"

static uint32_t problems;

static void count(void *ctx, const char *file, unsigned line, const char *reason)
{
    (void)ctx;
    (void)file;
    (void)line;
    assert(reason[0] != '\0');
    problems++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char first[CONFIG_TEXT_MAX], second[CONFIG_TEXT_MAX];
    struct config config, again;
    problems = 0;
    bool ok = config_parse("dir/f.yaml", (const char *)data, size, &config, count, NULL);
    assert(ok == (problems == 0));
    if (!ok)
        return 0;
    size_t length = config_format(&config, first, sizeof first);
    assert(length > 0);
    assert(config_parse("dir/f.yaml", first, length, &again, count, NULL));
    assert(config_format(&again, second, sizeof second) == length);
    assert(memcmp(first, second, length) == 0);
    return 0;
}
