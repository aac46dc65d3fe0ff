#include <inttypes.h>
#include <string.h>

#include "cli/administer.h"
#include "cli/cli.h"

static const char help[] =
    "usage: cantus --dir DIR grants [--json]\n"
    "\n"
    "Prints who may do what: the grants, the groups' keys, and the limits, as the stream says now.\n"
    "The administrator's key has every right without being listed.\n"
    "\n"
    "  --json  print one object: administrator, grants, groups, limits\n"
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

static void print_grants(const struct access *a, bool json)
{
    struct access_grant g;
    for (uint32_t i = 0; access_grant_at(a, i, &g); i++) {
        char whom[WHOM_TEXT_MAX], rights[RIGHTS_TEXT_MAX];
        administer_whom_write(&g.whom, whom);
        administer_rights_write(g.rights, rights);
        if (json)
            printf("%s{\"whom\":\"%s\",\"rights\":\"%s\",\"subtree\":\"%s\"}", i > 0 ? "," : "",
                   whom, rights, g.subtree);
        else
            printf("grant  %-43s %-16s %s\n", whom, rights, g.subtree);
    }
}

static void print_members(const struct access *a, bool json)
{
    const char *group;
    const uint8_t *key;
    for (uint32_t i = 0; access_member_at(a, i, &group, &key); i++) {
        char text[ACCESS_KEY_TEXT + 1];
        access_key_write(key, text);
        printf(json ? "%s{\"group\":\"%s\",\"key\":\"%s\"}" : "%sgroup  %s %s\n",
               json && i > 0 ? "," : "", group, text);
    }
}

static void print_number(const char *name, uint64_t value, bool json)
{
    if (json)
        printf(",\"%s\":%" PRIu64, name, value);
    else if (value != 0)
        printf(" %s %" PRIu64, name, value);
}

static void print_limits(const struct limits *limits, bool json)
{
    struct limit_whom whom;
    struct limit l;
    for (uint32_t i = 0; limits_entry(limits, i, &whom, &l); i++) {
        char key[ACCESS_KEY_TEXT + 1];
        access_key_write(whom.key, key);
        const char *name = whom.who == LIMIT_EVERYONE ? "everyone"
                           : whom.who == LIMIT_KEY    ? key
                                                      : whom.subtree;
        printf(json ? "%s{\"whom\":\"%s\"" : "%slimit  %s", json && i > 0 ? "," : "", name);
        print_number("messages_per_s", l.messages_per_s, json);
        print_number("bytes_per_s", l.bytes_per_s, json);
        print_number("burst_ms", l.burst_ms, json);
        print_number("topics", l.topics, json);
        print_number("subscriptions", l.subscriptions, json);
        print_number("connections", l.connections, json);
        print_number("inflight_bytes", l.inflight_bytes, json);
        fputs(json ? "}" : "\n", stdout);
    }
}

static void print(const struct catalog *c, bool json)
{
    char key[ACCESS_KEY_TEXT + 1] = "";
    if (catalog_genesis(c) != NULL)
        access_key_write(catalog_genesis(c)->admin_key, key);
    printf(json ? "{\"administrator\":\"%s\",\"grants\":[" : "admin  %s\n", key);
    print_grants(catalog_access(c), json);
    fputs(json ? "],\"groups\":[" : "", stdout);
    print_members(catalog_access(c), json);
    fputs(json ? "],\"limits\":[" : "", stdout);
    print_limits(catalog_limits(c), json);
    fputs(json ? "]}\n" : "", stdout);
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    bool json = false;
    int operand = cli_options(&verb_grants, &g, argc, argv, options, parse, &json);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    if (argc != operand) {
        cli_fail("grants wants nothing else");
        return CLI_USAGE;
    }
    if (!cli_where(&verb_grants, &g))
        return CLI_USAGE;
    struct administer *a = administer_open(&g, ADMINISTER_LOOKS);
    const struct catalog *c = a != NULL ? administer_catalog(a) : NULL;
    if (c != NULL)
        print(c, json);
    if (a != NULL)
        administer_close(a);
    return c != NULL ? CLI_OK : CLI_FAILED;
}

const struct cli_verb verb_grants = { "grants", "who may do what, and how much of it", help, run };
