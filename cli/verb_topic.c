#include <inttypes.h>
#include <string.h>

#include "cli/administer.h"
#include "cli/cli.h"

static const char help[] =
    "usage: cantus --dir DIR topic ls [SUBTREE] [--json]\n"
    "       cantus --dir DIR topic info TOPIC [--json]\n"
    "\n"
    "ls prints the topics there are, by their ids, in a subtree (default: / and thus not /sys). info\n"
    "prints one topic's id and who has which rights there.\n"
    "\n"
    "  --json  print one object: topics, a list of id and topic; or id, topic and grants\n"
    "\n"
    "  --ca FILE   the authorities that are trusted with --proxy tls:HOST:PORT\n"
    "  --proxy HOST:PORT[,HOST:PORT...]\n"
    "              through a proxy, one of these, instead of --dir DIR\n"
    "  --key FILE  as this key, which has the right to read /sys\n";

enum { OPTION_JSON };
static const struct option options[] = { { "json", no_argument, NULL, OPTION_JSON }, { 0 } };

static bool parse(void *ctx, int option, const char *value)
{
    (void)option;
    (void)value;
    return *(bool *)ctx = true;
}

static bool within(const char *path, size_t length, const char *subtree)
{
    bool all = strcmp(subtree, "/") == 0;
    return all ? !topic_in_subtree(path, length, "/sys", 4)
               : topic_in_subtree(path, length, subtree, strlen(subtree));
}

static int list(const struct catalog *c, const char *subtree, bool json)
{
    bool first = true;
    fputs(json ? "{\"topics\":[" : "", stdout);
    for (uint32_t id = 1; id < catalog_topic_end(c); id++) {
        size_t length;
        const char *path = catalog_topic_path(c, id, &length);
        if (path == NULL || !within(path, length, subtree))
            continue;
        printf(json ? "%s{\"id\":%" PRIu32 ",\"topic\":\"%s\"}" : "%s%8" PRIu32 " %s\n",
               json && !first ? "," : "", id, path);
        first = false;
    }
    fputs(json ? "]}\n" : "", stdout);
    return CLI_OK;
}

static int info(const struct catalog *c, const char *path, bool json)
{
    uint32_t id = catalog_topic_find(c, path, strlen(path));
    if (id == 0)
        return cli_fail("there is no topic %.260s", path);
    printf(json ? "{\"id\":%" PRIu32 ",\"topic\":\"%s\",\"grants\":[" : "topic %" PRIu32 " %s\n",
           id, path);
    struct access_grant g;
    bool first = true;
    for (uint32_t i = 0; access_grant_at(catalog_access(c), i, &g); i++) {
        char whom[WHOM_TEXT_MAX], rights[RIGHTS_TEXT_MAX];
        if (!within(path, strlen(path), g.subtree))
            continue;
        administer_whom_write(&g.whom, whom);
        administer_rights_write(g.rights, rights);
        if (json)
            printf("%s{\"whom\":\"%s\",\"rights\":\"%s\",\"subtree\":\"%s\"}", first ? "" : ",",
                   whom, rights, g.subtree);
        else
            printf("grant %-43s %-16s by %s\n", whom, rights, g.subtree);
        first = false;
    }
    fputs(json ? "]}\n" : "", stdout);
    return CLI_OK;
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    bool json = false;
    int operand = cli_options(&verb_topic, &g, argc, argv, options, parse, &json);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    int count = argc - operand;
    bool lists = count > 0 && strcmp(argv[operand], "ls") == 0;
    bool informs = count > 0 && strcmp(argv[operand], "info") == 0;
    if (!((lists && count <= 2) || (informs && count == 2))) {
        cli_fail("topic wants ls [SUBTREE] or info TOPIC");
        return CLI_USAGE;
    }
    char subtree[TOPIC_PATH_MAX + 1] = "/";
    if (!cli_where(&verb_topic, &g))
        return CLI_USAGE;
    if (count == 2 && !administer_subtree(argv[operand + 1], subtree))
        return CLI_USAGE;
    struct administer *a = administer_open(&g, ADMINISTER_LOOKS);
    const struct catalog *c = a != NULL ? administer_catalog(a) : NULL;
    int status = c == NULL ? CLI_FAILED : lists ? list(c, subtree, json) : info(c, subtree, json);
    if (a != NULL)
        administer_close(a);
    return status;
}

const struct cli_verb verb_topic = { "topic", "topics, and who may use them", help, run };
