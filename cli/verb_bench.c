#include "cli/cli.h"

#include <inttypes.h>
#include <string.h>

#include "bench/rtt.h"

static const char help[] =
    "usage: cantus bench rtt [--rounds N] [--trips N] [--size BYTES]\n"
    "\n"
    "Measures on this machine, next to the floor under it in the same run, and prints one JSON line.\n"
    "\n"
    "  rtt           from proposing a message to applying it at sequenced; app and sequencer are two\n"
    "                spinning processes. The floor: two bare processes that bounce a multicast\n"
    "                datagram of 32 bytes\n"
    "  --rounds N    of floor and measured part in turn (default 20)\n"
    "  --trips N     of each in a round (default 2000)\n"
    "  --size BYTES  of the payload, 8 to 1024 (default 32)\n";

enum { OPTION_ROUNDS, OPTION_TRIPS, OPTION_SIZE, OPTION_JSON };
static const struct option options[] = {
    { "rounds", required_argument, NULL, OPTION_ROUNDS },
    { "trips", required_argument, NULL, OPTION_TRIPS },
    { "size", required_argument, NULL, OPTION_SIZE },
    { "json", no_argument, NULL, OPTION_JSON },
    { 0 },
};

struct bench {
    uint64_t rounds, trips, size;
};

static bool parse(void *ctx, int option, const char *value)
{
    struct bench *b = ctx;
    switch (option) {
    case OPTION_ROUNDS:
        return cli_parse_u64("--rounds", value, 1, 100000, &b->rounds);
    case OPTION_TRIPS:
        return cli_parse_u64("--trips", value, 1, 1000000, &b->trips);
    case OPTION_SIZE:
        return cli_parse_u64("--size", value, 8, 1024, &b->size);
    default:
        return true; /* it prints JSON anyway */
    }
}

static struct cli_progress progress = { .what = "rtt" };

static void show(uint64_t done, uint64_t total)
{
    cli_progress_show(&progress, done, total);
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    struct bench b = { .rounds = 20, .trips = 2000, .size = 32 };
    int operand = cli_options(&verb_bench, &g, argc, argv, options, parse, &b);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    if (argc - operand != 1 || strcmp(argv[operand], "rtt") != 0) {
        cli_fail("bench wants the name of a bench: rtt");
        return CLI_USAGE;
    }
    struct rtt_options rtt = { .rounds = (uint32_t)b.rounds,
                               .trips = (uint32_t)b.trips,
                               .payload_length = (uint32_t)b.size,
                               .progress = show };
    struct rtt_result r;
    char error[1024];
    bool fine = rtt_run(&rtt, &r, error);
    cli_progress_end(&progress);
    if (!fine)
        return cli_fail("%s", error);
    printf("{\"bench\":\"rtt\",\"case\":\"sequenced\",\"payload_bytes\":%" PRIu64
           ",\"p50_us\":%.2f,\"p99_us\":%.2f,\"p999_us\":%.2f,\"max_us\":%.2f,"
           "\"floor_p50_us\":%.2f,\"floor_p99_us\":%.2f,\"ratio\":%.2f,\"trips\":%" PRIu64
           ",\"rounds\":%" PRIu64 ",\"floor_lost\":%" PRIu64
           ",\"transport\":\"kernel\",\"idle\":\"spin, yielding\",\"processes\":2}\n",
           b.size, r.p50_us, r.p99_us, r.p999_us, r.max_us, r.floor_p50_us, r.floor_p99_us,
           r.ratio, r.trips, b.rounds, r.floor_lost);
    return CLI_OK;
}

const struct cli_verb verb_bench = { "bench", "measure, next to the floor", help, run };
