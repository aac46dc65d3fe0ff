#include <inttypes.h>
#include <string.h>

#include "cli/administer.h"
#include "cli/cli.h"

static const char help[] =
    "usage: cantus --dir DIR group add NAME KEY [--key FILE] [--json]\n"
    "       cantus --dir DIR group remove NAME KEY [--key FILE] [--json]\n"
    "       cantus --dir DIR group list [NAME] [--json]\n"
    "\n"
    "Puts a key into a group, or takes it out: it has what is granted to the group from the next\n"
    "message on, or no longer. Waits until that is stable, and prints its seq. list prints the groups\n"
    "and their keys.\n"
    "\n"
    "  --key FILE  act for this key, which has the right to grant on / (default: DIR/admin.key)\n"
    "  --ca FILE   the authorities that are trusted with --proxy tls:HOST:PORT\n"
    "  --proxy HOST:PORT[,HOST:PORT...]\n"
    "              through a proxy, one of these, instead of --dir DIR; list needs the right to read\n"
    "              /sys there\n"
    "  --json      print one object: seq; or groups, a list of group and key\n";

enum { OPTION_JSON };
static const struct option options[] = { { "json", no_argument, NULL, OPTION_JSON }, { 0 } };

static bool parse(void *ctx, int option, const char *value)
{
    (void)option;
    (void)value;
    return *(bool *)ctx = true;
}

static int change(const struct cli_globals *g, bool json, const struct sys_group *group)
{
    char what[64];
    struct administer *a = administer_open(g, ADMINISTER_ACTS);
    if (a == NULL)
        return CLI_FAILED;
    uint8_t payload[SYS_ACCESS_SIZE_MAX];
    size_t length = sys_group_encode(group, payload, sizeof payload);
    snprintf(what, sizeof what, "group %s", group->group);
    uint64_t seq =
        administer_publish(a, TOPIC_GROUP, payload, length, what, "the right to grant on /");
    administer_close(a);
    if (seq != 0)
        printf(json ? "{\"seq\":%" PRIu64 "}\n" : "%" PRIu64 "\n", seq);
    return seq != 0 ? CLI_OK : CLI_FAILED;
}

static int list(const struct cli_globals *g, bool json, const char *name)
{
    struct administer *a = administer_open(g, ADMINISTER_LOOKS);
    const struct catalog *c = a != NULL ? administer_catalog(a) : NULL;
    const char *group;
    const uint8_t *key;
    bool first = true;
    if (c != NULL && json)
        fputs("{\"groups\":[", stdout);
    for (uint32_t i = 0; c != NULL && access_member_at(catalog_access(c), i, &group, &key); i++) {
        char text[ACCESS_KEY_TEXT + 1];
        if (name != NULL && strcmp(name, group) != 0)
            continue;
        access_key_write(key, text);
        printf(json ? "%s{\"group\":\"%s\",\"key\":\"%s\"}" : "%s%-31s %s\n",
               json && !first ? "," : "", group, text);
        first = false;
    }
    if (c != NULL && json)
        puts("]}");
    if (a != NULL)
        administer_close(a);
    return c != NULL ? CLI_OK : CLI_FAILED;
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    bool json = false;
    int operand = cli_options(&verb_group, &g, argc, argv, options, parse, &json);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    int count = argc - operand;
    const char *action = count > 0 ? argv[operand] : "";
    if (!cli_where(&verb_group, &g))
        return CLI_USAGE;
    if (strcmp(action, "list") == 0 && count <= 2)
        return list(&g, json, count == 2 ? argv[operand + 1] : NULL);
    struct sys_group group = { .remove = strcmp(action, "remove") == 0 };
    if ((!group.remove && strcmp(action, "add") != 0) || count != 3) {
        cli_fail("group wants add NAME KEY, remove NAME KEY, or list");
        return CLI_USAGE;
    }
    if (!access_group_valid(argv[operand + 1])) {
        cli_fail("'%s': a group's name is 1 to %d of A-Z a-z 0-9 . _ - ~ :", argv[operand + 1],
                 ACCESS_GROUP_MAX);
        return CLI_USAGE;
    }
    memcpy(group.group, argv[operand + 1], strlen(argv[operand + 1]) + 1);
    if (!administer_key(argv[operand + 2], group.key))
        return CLI_USAGE;
    return change(&g, json, &group);
}

const struct cli_verb verb_group = { "group", "keys that have rights together", help, run };
