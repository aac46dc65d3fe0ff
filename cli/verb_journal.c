#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/deployment.h"
#include "journal/journal.h"
#include "proto/catalog.h"

static const char help[] =
    "usage: cantus journal verify PATH [--json]\n"
    "       cantus journal dump PATH [--from SEQ] [--count N] [--json]\n"
    "\n"
    "Reads a store's directory without changing it, also while its retransmitter runs.\n"
    "\n"
    "  verify  follows the digest chain from the first batch to the last: batches, messages, first and\n"
    "          last seq, history digest, and damage with its segment and offset. Exit status 1 if\n"
    "          there is any\n"
    "  dump    prints every message\n"
    "\n"
    "  --from SEQ  begin at this seq\n"
    "  --count N   end after N messages\n"
    "  --json      one object, or one object a line\n";

enum { OPTION_FROM, OPTION_COUNT, OPTION_JSON };
static const struct option options[] = {
    { "from", required_argument, NULL, OPTION_FROM },
    { "count", required_argument, NULL, OPTION_COUNT },
    { "json", no_argument, NULL, OPTION_JSON },
    { 0 },
};

struct walk {
    uint64_t from, count, printed;
    bool json, dump;
    struct catalog *catalog;
    struct cli_progress progress;
};

static bool parse(void *ctx, int option, const char *value)
{
    struct walk *w = ctx;
    switch (option) {
    case OPTION_FROM:
        return cli_parse_u64("--from", value, 1, UINT64_MAX, &w->from);
    case OPTION_COUNT:
        return cli_parse_u64("--count", value, 1, UINT64_MAX, &w->count);
    default:
        return w->json = true;
    }
}

static void print_payload(const struct message *m, bool json)
{
    bool text = cli_is_text(m->payload, m->length) && m->topic >= TOPIC_FIRST_USER;
    if (json && text) {
        fputs(",\"payload\":", stdout);
        cli_json_string(stdout, m->payload, m->length);
    } else if (json) {
        fputs(",\"payload_base64\":\"", stdout);
        cli_base64(stdout, m->payload, m->length);
        putchar('"');
    } else if (text && cli_is_line(m->payload, m->length))
        fwrite(m->payload, 1, m->length, stdout);
    else
        for (uint32_t i = 0; i < m->length; i++)
            printf("%02x", m->payload[i]);
}

static void print_message(const struct walk *w, const struct message *m,
                          const struct batch_header *h)
{
    size_t path_length = 0;
    const char *path = catalog_topic_path(w->catalog, m->topic, &path_length);
    const struct catalog_publisher *p = catalog_publisher(w->catalog, m->publisher);
    const char *identity = m->publisher == 0 ? "" : p == NULL ? "?" : p->identity;
    if (!w->json) {
        printf("%" PRIu64 " %" PRIu64 " epoch %" PRIu32 " %.*s %s %" PRIu64 " ", m->seq,
               m->timestamp_ns, h->epoch.number, (int)path_length, path ? path : "?",
               *identity ? identity : "-", m->publisher_seq);
        print_payload(m, false);
        putchar('\n');
        return;
    }
    printf("{\"seq\":%" PRIu64 ",\"timestamp_ns\":%" PRIu64 ",\"epoch\":%" PRIu32 ",\"topic\":",
           m->seq, m->timestamp_ns, h->epoch.number);
    cli_json_string(stdout, path ? path : "?", path ? path_length : 1);
    fputs(",\"publisher\":", stdout);
    cli_json_string(stdout, identity, strlen(identity));
    printf(",\"publisher_seq\":%" PRIu64 ",\"more\":%s,\"fragment\":%s", m->publisher_seq,
           m->flags & MESSAGE_MORE ? "true" : "false",
           m->flags & MESSAGE_FRAGMENT ? "true" : "false");
    print_payload(m, true);
    puts("}");
}

static bool on_batch(void *ctx, const uint8_t *bytes, const struct batch_header *header,
                     uint64_t segment, uint64_t offset)
{
    struct walk *w = ctx;
    (void)segment;
    (void)offset;
    if (!w->dump) {
        cli_progress_show(&w->progress, header->first_seq, 0);
        return cli_running();
    }
    struct batch_cursor c = batch_begin(bytes, header);
    for (struct message m; batch_next(&c, &m);) {
        (void)catalog_apply(w->catalog, &m, header);
        if (m.seq < w->from)
            continue;
        if (w->count != 0 && w->printed == w->count)
            return false;
        print_message(w, &m, header);
        w->printed++;
    }
    return cli_running() && !ferror(stdout);
}

static void print_result(const struct journal_walk_result *r, bool json)
{
    if (json) {
        printf("{\"stream\":\"%016" PRIx64 "\",\"store\":\"%016" PRIx64 "\",\"segments\":%" PRIu64
               ",\"batches\":%" PRIu64 ",\"messages\":%" PRIu64 ",\"first_seq\":%" PRIu64
               ",\"last_seq\":%" PRIu64 ",\"digest\":\"%016" PRIx64 "%016" PRIx64
               "\",\"torn_bytes\":%" PRIu64 ",\"damage\":",
               r->stream, r->store, r->segments, r->batches, r->messages, r->first_seq, r->last_seq,
               r->digest.high, r->digest.low, r->torn_bytes);
        if (r->damaged)
            cli_json_string(stdout, r->damage, strlen(r->damage));
        else
            fputs("null", stdout);
        puts("}");
        return;
    }
    printf("stream %016" PRIx64 "  store %016" PRIx64 "  segments %" PRIu64 "\n%" PRIu64
           " batches, %" PRIu64 " messages, seq %" PRIu64 " to %" PRIu64 "\ndigest %016" PRIx64
           "%016" PRIx64 "\n",
           r->stream, r->store, r->segments, r->batches, r->messages, r->first_seq, r->last_seq,
           r->digest.high, r->digest.low);
    if (r->torn_bytes != 0)
        printf("%" PRIu64 " bytes of an interrupted commit at the end: nothing acknowledged; "
               "the retransmitter cuts them when it starts\n",
               r->torn_bytes);
    puts(r->damaged ? r->damage : "no damage");
}

/* A deployment's directory stands for its store, if it has just one. */
static const char *store_directory(const char *path, char *out, size_t capacity)
{
    static struct config config;
    if (deployment_exists(path) && deployment_config(path, &config) &&
        config.retransmitter_count == 1 &&
        config_path(&config, config.retransmitters[0].directory, out, capacity))
        return out;
    return path;
}

static int walk_store(struct walk *w, const char *path)
{
    char directory[4096], error[JOURNAL_ERROR_MAX] = "";
    struct stat s;
    if (stat(path, &s) != 0)
        return cli_fail("%s: %s", path, strerror(errno));
    struct disk_options disk_options = { .directory =
                                             store_directory(path, directory, sizeof directory),
                                         .sync = DISK_SYNC_NONE,
                                         .read_only = true };
    struct disk *disk = disk_open_file(&disk_options, error);
    if (disk == NULL)
        return cli_fail("%s", error);
    struct journal_walk_result result;
    enum journal_error verdict = journal_walk(disk, w->dump ? 1 : 0, on_batch, w, &result, error);
    disk->ops->destroy(disk);
    cli_progress_end(&w->progress);
    if (verdict != JOURNAL_OK)
        return cli_fail("%s: %s", disk_options.directory, error);
    if (!w->dump)
        print_result(&result, w->json);
    else if (result.damaged)
        cli_fail("%s", result.damage);
    return result.damaged || ferror(stdout) || !cli_running() ? CLI_FAILED : CLI_OK;
}

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    struct walk w = { .progress = { .what = "verifying, at seq" } };
    int operand = cli_options(&verb_journal, &g, argc, argv, options, parse, &w);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    bool verify = argc - operand == 2 && strcmp(argv[operand], "verify") == 0;
    w.dump = argc - operand == 2 && strcmp(argv[operand], "dump") == 0;
    if (!verify && !w.dump) {
        cli_fail("journal wants verify PATH or dump PATH");
        return CLI_USAGE;
    }
    struct catalog_options catalog_options = { 0 };
    w.catalog = catalog_create(&catalog_options);
    if (w.catalog == NULL)
        return cli_fail("out of memory");
    cli_catch_signals();
    int status = walk_store(&w, argv[operand + 1]);
    catalog_destroy(w.catalog);
    return status;
}

const struct cli_verb verb_journal = { "journal", "verify or dump a store's files", help, run };
