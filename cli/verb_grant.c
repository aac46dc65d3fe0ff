#include <inttypes.h>
#include <string.h>

#include "cli/administer.h"
#include "cli/cli.h"

#define WORDS                                                                                      \
    "  WHOM     a key (`cantus key show`), group:NAME, or anyone\n"                                \
    "  RIGHTS   read, write, grant (who may grant and revoke there), with commas between them\n"   \
    "  SUBTREE  a topic and all below it; / is everything but /sys, which is granted by itself\n"  \
    "\n"                                                                                           \
    "  --key FILE  act for this key (default: DIR/admin.key)\n"                                    \
    "  --ca FILE   the authorities that are trusted with --proxy tls:HOST:PORT\n"                  \
    "  --proxy HOST:PORT[,HOST:PORT...]\n"                                                         \
    "              through a proxy, one of these, instead of --dir DIR\n"                          \
    "  --json      print one object: seq\n"

static const char help_grant[] =
    "usage: cantus --dir DIR grant WHOM RIGHTS SUBTREE [--key FILE] [--json]\n"
    "\n"
    "Gives rights on a subtree. A message of the stream: in force from the next one on, for\n"
    "everyone. Waits until it is stable, and prints its seq.\n"
    "\n" WORDS;
static const char help_revoke[] =
    "usage: cantus --dir DIR revoke WHOM RIGHTS SUBTREE [--key FILE] [--json]\n"
    "\n"
    "Takes back what was granted to WHOM on this very SUBTREE; what is granted on one around it is\n"
    "not touched. In force from the next message on, for everyone. Waits until it is stable, and\n"
    "prints its seq.\n"
    "\n" WORDS;

enum { OPTION_JSON };
static const struct option options[] = { { "json", no_argument, NULL, OPTION_JSON }, { 0 } };

static bool parse(void *ctx, int option, const char *value)
{
    (void)option;
    (void)value;
    return *(bool *)ctx = true;
}

static int publish(const struct cli_globals *g, bool json, const struct sys_grant *grant,
                   const char *verb)
{
    char what[TOPIC_PATH_MAX + 32], needed[TOPIC_PATH_MAX + 64];
    struct administer *a = administer_open(g, ADMINISTER_ACTS);
    if (a == NULL)
        return CLI_FAILED;
    uint8_t payload[SYS_ACCESS_SIZE_MAX];
    size_t length = sys_grant_encode(grant, payload, sizeof payload);
    snprintf(what, sizeof what, "%s on %s", verb, grant->subtree);
    snprintf(needed, sizeof needed, "the right to grant on %s", grant->subtree);
    uint64_t seq = administer_publish(a, TOPIC_GRANT, payload, length, what, needed);
    administer_close(a);
    if (seq != 0)
        printf(json ? "{\"seq\":%" PRIu64 "}\n" : "%" PRIu64 "\n", seq);
    return seq != 0 ? CLI_OK : CLI_FAILED;
}

static int grant_or_revoke(const struct cli_verb *verb, bool revoke,
                           const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    bool json = false;
    int operand = cli_options(verb, &g, argc, argv, options, parse, &json);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    if (argc - operand != 3) {
        cli_fail("%s wants WHOM RIGHTS SUBTREE", verb->name);
        return CLI_USAGE;
    }
    if (!cli_where(verb, &g))
        return CLI_USAGE;
    struct sys_grant grant = { .revoke = revoke };
    if (!administer_whom(argv[operand], &grant.whom) ||
        !administer_rights(argv[operand + 1], &grant.rights) ||
        !administer_subtree(argv[operand + 2], grant.subtree))
        return CLI_USAGE;
    return publish(&g, json, &grant, verb->name);
}

static int run_grant(const struct cli_globals *globals, int argc, char **argv)
{
    return grant_or_revoke(&verb_grant, false, globals, argc, argv);
}

static int run_revoke(const struct cli_globals *globals, int argc, char **argv)
{
    return grant_or_revoke(&verb_revoke, true, globals, argc, argv);
}

const struct cli_verb verb_grant = { "grant", "give rights on a subtree", help_grant, run_grant };
const struct cli_verb verb_revoke = { "revoke", "take rights on a subtree back", help_revoke,
                                      run_revoke };
