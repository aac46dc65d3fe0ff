#include "cli/cli.h"

#include <inttypes.h>
#include <string.h>

#include "bench/failover.h"
#include "bench/rtt.h"

static const char help[] =
    "usage: cantus bench rtt [--rounds N] [--trips N] [--size BYTES]\n"
    "       cantus bench failover [--rounds N] [--silence MS] [--manual]\n"
    "\n"
    "Measures on this machine and prints one JSON line.\n"
    "\n"
    "  rtt           from proposing a message to applying it at sequenced; app and sequencer are two\n"
    "                spinning processes. Beside it the floor, measured in turn in the same run: two\n"
    "                bare processes that bounce a multicast datagram of 32 bytes\n"
    "  --rounds N    of floor and measured part in turn (default 20)\n"
    "  --trips N     of each in a round (default 2000)\n"
    "  --size BYTES  of the payload, 8 to 1024 (default 32)\n"
    "\n"
    "  failover      how long a stream of three stores stands still when its sequencer is killed under\n"
    "                load: from the kill to the first message of the new epoch, as a follower\n"
    "                at stable gets it; the silence is part of it\n"
    "  --rounds N    kills (default 20)\n"
    "  --silence MS  after which the standby promotes itself (default 20)\n"
    "  --manual      promote by the command instead, and count from that\n";

enum { OPTION_ROUNDS, OPTION_TRIPS, OPTION_SIZE, OPTION_SILENCE, OPTION_MANUAL, OPTION_JSON };
static const struct option options[] = {
    { "rounds", required_argument, NULL, OPTION_ROUNDS },
    { "trips", required_argument, NULL, OPTION_TRIPS },
    { "size", required_argument, NULL, OPTION_SIZE },
    { "silence", required_argument, NULL, OPTION_SILENCE },
    { "manual", no_argument, NULL, OPTION_MANUAL },
    { "json", no_argument, NULL, OPTION_JSON },
    { 0 },
};

struct bench {
    uint64_t rounds, trips, size, silence_ms;
    bool manual;
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
    case OPTION_SILENCE:
        return cli_parse_u64("--silence", value, 6, 60000, &b->silence_ms);
    case OPTION_MANUAL:
        return b->manual = true;
    default:
        return true; /* it prints JSON anyway */
    }
}

static struct cli_progress progress = { .what = "rtt" };

static void show(uint64_t done, uint64_t total)
{
    cli_progress_show(&progress, done, total);
}

static int bench_rtt(const struct bench *b)
{
    struct rtt_options rtt = { .rounds = (uint32_t)b->rounds,
                               .trips = (uint32_t)b->trips,
                               .payload_length = (uint32_t)b->size,
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
           b->size, r.p50_us, r.p99_us, r.p999_us, r.max_us, r.floor_p50_us, r.floor_p99_us,
           r.ratio, r.trips, b->rounds, r.floor_lost);
    return CLI_OK;
}

static int bench_failover(const struct bench *b)
{
    struct failover_options failover = { .rounds = (uint32_t)b->rounds,
                                         .manual = b->manual,
                                         .silence_ms = (uint32_t)b->silence_ms,
                                         .progress = show };
    struct failover_result r;
    char error[1024];
    progress.what = "failover";
    bool fine = failover_run(&failover, &r, error);
    cli_progress_end(&progress);
    if (!fine)
        return cli_fail("%s", error);
    printf("{\"bench\":\"failover\",\"case\":\"%s\",\"p50_ms\":%.2f,\"p99_ms\":%.2f,"
           "\"max_ms\":%.2f,\"silence_ms\":%" PRIu64 ",\"rounds\":%" PRIu64 ",\"messages\":%" PRIu64
           ",\"level\":\"stable\",\"stores\":3,\"sequencers\":2}\n",
           b->manual ? "manual" : "automatic", r.p50_ms, r.p99_ms, r.max_ms,
           b->manual ? 0 : b->silence_ms, r.rounds, r.messages);
    return CLI_OK;
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    struct bench b = { .rounds = 20, .trips = 2000, .size = 32, .silence_ms = 20 };
    int operand = cli_options(&verb_bench, &g, argc, argv, options, parse, &b);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    if (argc - operand == 1 && strcmp(argv[operand], "rtt") == 0)
        return bench_rtt(&b);
    if (argc - operand == 1 && strcmp(argv[operand], "failover") == 0)
        return bench_failover(&b);
    cli_fail("bench wants the name of a bench: rtt or failover");
    return CLI_USAGE;
}

const struct cli_verb verb_bench = { "bench", "measure, next to the floor", help, run };
