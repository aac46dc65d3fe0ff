#include <inttypes.h>
#include <string.h>

#include "cli/administer.h"
#include "cli/cli.h"

static const char help[] =
    "usage: cantus --dir DIR limit everyone|KEY|SUBTREE [--messages-per-s N] [--bytes-per-s N]\n"
    "                   [--burst-ms N] [--topics N] [--subscriptions N] [--connections N]\n"
    "                   [--inflight-bytes N] [--key FILE] [--json]\n"
    "       cantus --dir DIR limit everyone|KEY|SUBTREE --remove [--key FILE] [--json]\n"
    "\n"
    "Sets what each key may use (everyone), or one key, or all together that write on a subtree. It\n"
    "takes the place of what was set before for the same one; a key's own limit that of everyone.\n"
    "What is not named has no limit. Proxies see to it. Waits until it is stable, and prints its seq.\n"
    "\n"
    "  --messages-per-s N  messages a second\n"
    "  --bytes-per-s N     bytes of payload a second\n"
    "  --burst-ms N        what was not used for so long may be used at once\n"
    "  --topics N          topics made, ever\n"
    "  --subscriptions N   subtrees subscribed to, at a time\n"
    "  --connections N     at a time\n"
    "  --inflight-bytes N  bytes on their way to the stream, at a time\n"
    "  --remove            no limit of its own any more\n"
    "  --key FILE          act for this key, which has the right to grant on / (default:\n"
    "                      DIR/admin.key)\n"
    "  --ca FILE           the authorities that are trusted with --proxy tls:HOST:PORT\n"
    "  --proxy HOST:PORT[,HOST:PORT...]\n"
    "                      through a proxy, one of these, instead of --dir DIR\n"
    "  --json              print one object: seq\n";

enum {
    OPTION_MESSAGES,
    OPTION_BYTES,
    OPTION_BURST,
    OPTION_TOPICS,
    OPTION_SUBSCRIPTIONS,
    OPTION_CONNECTIONS,
    OPTION_INFLIGHT,
    OPTION_REMOVE,
    OPTION_JSON
};
static const struct option options[] = {
    { "messages-per-s", required_argument, NULL, OPTION_MESSAGES },
    { "bytes-per-s", required_argument, NULL, OPTION_BYTES },
    { "burst-ms", required_argument, NULL, OPTION_BURST },
    { "topics", required_argument, NULL, OPTION_TOPICS },
    { "subscriptions", required_argument, NULL, OPTION_SUBSCRIPTIONS },
    { "connections", required_argument, NULL, OPTION_CONNECTIONS },
    { "inflight-bytes", required_argument, NULL, OPTION_INFLIGHT },
    { "remove", no_argument, NULL, OPTION_REMOVE },
    { "json", no_argument, NULL, OPTION_JSON },
    { 0 },
};

struct how {
    struct sys_limit record;
    bool json, limits;
};

static bool parse(void *ctx, int option, const char *value)
{
    struct how *h = ctx;
    struct limit *l = &h->record.limit;
    h->limits = h->limits || option < OPTION_REMOVE;
    switch (option) {
    case OPTION_MESSAGES:
        return cli_parse_u64("--messages-per-s", value, 1, UINT64_MAX, &l->messages_per_s);
    case OPTION_BYTES:
        return cli_parse_u64("--bytes-per-s", value, 1, UINT64_MAX, &l->bytes_per_s);
    case OPTION_BURST:
        return cli_parse_u32("--burst-ms", value, 1, UINT32_MAX, &l->burst_ms);
    case OPTION_TOPICS:
        return cli_parse_u32("--topics", value, 1, UINT32_MAX, &l->topics);
    case OPTION_SUBSCRIPTIONS:
        return cli_parse_u32("--subscriptions", value, 1, UINT32_MAX, &l->subscriptions);
    case OPTION_CONNECTIONS:
        return cli_parse_u32("--connections", value, 1, UINT32_MAX, &l->connections);
    case OPTION_INFLIGHT:
        return cli_parse_u64("--inflight-bytes", value, 1, UINT64_MAX, &l->inflight_bytes);
    case OPTION_REMOVE:
        return h->record.remove = true;
    default:
        return h->json = true;
    }
}

static bool parse_whom(const char *text, struct limit_whom *out)
{
    out->who = LIMIT_EVERYONE;
    if (strcmp(text, "everyone") == 0)
        return true;
    out->who = text[0] == '/' ? LIMIT_SUBTREE : LIMIT_KEY;
    return text[0] == '/' ? administer_subtree(text, out->subtree) : administer_key(text, out->key);
}

static int set(const struct cli_globals *g, const struct how *how, const char *whom)
{
    char what[TOPIC_PATH_MAX + 32];
    struct administer *a = administer_open(g, ADMINISTER_ACTS);
    if (a == NULL)
        return CLI_FAILED;
    uint8_t payload[SYS_ACCESS_SIZE_MAX];
    size_t length = sys_limit_encode(&how->record, payload, sizeof payload);
    snprintf(what, sizeof what, "limit of %s", whom);
    uint64_t seq =
        administer_publish(a, TOPIC_LIMIT, payload, length, what, "the right to grant on /");
    administer_close(a);
    if (seq != 0)
        printf(how->json ? "{\"seq\":%" PRIu64 "}\n" : "%" PRIu64 "\n", seq);
    return seq != 0 ? CLI_OK : CLI_FAILED;
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    struct how how = { 0 };
    int operand = cli_options(&verb_limit, &g, argc, argv, options, parse, &how);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    if (argc - operand != 1 || how.limits == how.record.remove) {
        cli_fail("limit wants one of everyone, KEY and SUBTREE, and limits or --remove");
        return CLI_USAGE;
    }
    if (!cli_where(&verb_limit, &g) || !parse_whom(argv[operand], &how.record.whom))
        return CLI_USAGE;
    return set(&g, &how, argv[operand]);
}

const struct cli_verb verb_limit = { "limit", "rates and quotas of keys and subtrees", help, run };
