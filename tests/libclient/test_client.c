/* The public API as a user has it: over a store's files, and over real sockets on loopback with a
 * real sequencer core in the same thread, polled in turn. Sources that can't be opened say what to
 * do. */
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cantus/cantus.h"
#include "journal/journal.h"
#include "rig.h"
#include "sequencer/core.h"
#include "shell/config.h"
#include "suite_main.h"

static char directory[] = "/tmp/cantus-test-client-XXXXXX";
static char error[CANTUS_ERROR_MAX];

static const char *path_in(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static void write_file(const char *name, const char *text)
{
    FILE *f = fopen(path_in(name), "w");
    ck_assert(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void refused(const char *source, enum cantus_level level, const char *says)
{
    struct cantus_client_options o = { .source = source, .level = level };
    ck_assert_ptr_null(cantus_client_open(&o, error));
    ck_assert_msg(strstr(error, says) != NULL, "\"%s\" does not say \"%s\"", error, says);
}

/* ---- an app ---------------------------------------------------------------------------------- */

struct sum {
    uint64_t count, bytes;
};

static void sum_apply(void *state, const struct cantus_message *m)
{
    struct sum *s = state;
    s->count++;
    s->bytes += m->length;
}

static uint64_t sum_digest(const void *state)
{
    return cantus_hash(0, state, sizeof(struct sum));
}

static const char *const sum_topics[] = { "/feed", NULL };
static const struct cantus_app sum_app = { .abi = CANTUS_APP_ABI,
                                           .name = "sum",
                                           .topics = sum_topics,
                                           .state_size = sizeof(struct sum),
                                           .apply = sum_apply,
                                           .digest = sum_digest };

/* ---- journal --------------------------------------------------------------------------------- */

/* A store with what the rig's leader has emitted. */
static void write_store(const struct rig *r)
{
    char text[JOURNAL_ERROR_MAX];
    struct disk_options d = { .directory = directory, .sync = DISK_SYNC_NONE };
    struct disk *disk = disk_open_file(&d, text);
    ck_assert_msg(disk != NULL, "%s", text);
    struct journal_options o = { .segment_bytes = 256 * 1024,
                                 .commit_bytes = 64 * 1024,
                                 .recent_bytes = 256 * 1024,
                                 .segments_max = 64 };
    enum journal_error formatted = journal_format(disk, &o, RIG_STREAM, 5, r->leader.log[0].bytes,
                                                  r->leader.log[0].header.length, text);
    ck_assert_msg(formatted == JOURNAL_OK, "%s", text);
    struct journal_report report;
    enum journal_error code;
    struct journal *j = journal_open(disk, &o, RIG_STREAM, &report, &code, text);
    ck_assert_msg(j != NULL, "%s", text);
    uint32_t next = 1;
    for (uint32_t i = 0; i < 100000 && !(next == r->leader.log_count && journal_idle(j)); i++) {
        while (next < r->leader.log_count &&
               journal_append(j, r->leader.log[next].bytes, &r->leader.log[next].header))
            next++;
        journal_commit(j);
        struct disk_completion done[16];
        uint32_t n = disk->ops->complete(disk, done, 16);
        for (uint32_t k = 0; k < n; k++)
            journal_on_disk(j, &done[k]);
        journal_step(j, i * MS);
    }
    ck_assert_uint_eq(next, r->leader.log_count);
    journal_close(j);
    disk->ops->destroy(disk);
}

START_TEST(a_journal_is_replayed_to_its_end)
{
    struct rig *r = rig_new(FOLLOWER_SEQUENCED);
    struct machine *live = client_core_add_app(r->core, &sum_app, "", NULL, r->error);
    for (int i = 0; i < 3000; i++)
        rig_say(r, "/feed", "some text that makes it longer than a block of the disk");
    rig_run(r);
    write_store(r);
    char source[300];
    snprintf(source, sizeof source, "journal:%s", directory);
    struct cantus_client_options o = { .source = source };
    struct cantus_client *c = cantus_client_open(&o, error);
    ck_assert_msg(c != NULL, "%s", error);
    struct cantus_machine *m = cantus_client_add_app(c, &sum_app, "", NULL, error);
    ck_assert_ptr_nonnull(m);
    ck_assert_int_ge(cantus_client_fd(c), 0);
    enum cantus_status status = CANTUS_OK;
    for (int i = 0; i < 100 && status == CANTUS_OK; i++)
        status = cantus_client_poll(c, 0);
    ck_assert_msg(status == CANTUS_END, "%d: %s", status, cantus_client_error(c));
    ck_assert_uint_eq(cantus_client_seq(c), rig_tip(r));
    ck_assert_uint_eq(cantus_client_tip(c), rig_tip(r));
    ck_assert_uint_eq(cantus_client_stream(c), RIG_STREAM);
    ck_assert(cantus_client_caught_up(c));
    ck_assert_uint_eq(((const struct sum *)cantus_machine_state(m))->count, 3000);
    ck_assert_uint_eq(cantus_machine_digest(m), machine_digest(live));
    cantus_client_close(c);
    /* Time travel. */
    o.until_seq = 1000;
    c = cantus_client_open(&o, error);
    ck_assert_msg(c != NULL, "%s", error);
    while (cantus_client_poll(c, 0) == CANTUS_OK) {
    }
    ck_assert_uint_eq(cantus_client_seq(c), 1000);
    cantus_client_close(c);
    /* Damage in the middle ends it with the place. */
    FILE *f = fopen(path_in("segment-00000001"), "r+b");
    ck_assert(f != NULL && fseek(f, 100000, SEEK_SET) == 0 && fputs("damage", f) >= 0);
    fclose(f);
    o.until_seq = 0;
    c = cantus_client_open(&o, error);
    ck_assert_msg(c != NULL, "%s", error);
    for (int i = 0; i < 100 && (status = cantus_client_poll(c, 0)) == CANTUS_OK; i++) {
    }
    ck_assert_int_eq(status, CANTUS_ERROR);
    ck_assert_ptr_nonnull(strstr(cantus_client_error(c), "segment 1"));
    ck_assert_uint_lt(cantus_client_seq(c), rig_tip(r));
    ck_assert_uint_gt(cantus_client_seq(c), 500);
    cantus_client_close(c);
    rig_free(r);
}
END_TEST

/* ---- through a proxy that is not there -------------------------------------------------------- */

static uint32_t hints;

static void count_hints(void *ctx, const struct cantus_report *r)
{
    (void)ctx;
    hints += r->kind == CANTUS_REPORT_HINT && strstr(r->text, "127.0.0.1:1: no connection") != NULL;
}

START_TEST(a_proxy_that_is_not_there_is_waited_for_and_told)
{
    char hex[66];
    memset(hex, '7', 64);
    memcpy(hex + 64, "\n", 2);
    write_file("team.key", hex);
    struct cantus_client_options o = { .source = "proxy:127.0.0.1:1",
                                       .report = count_hints,
                                       .key_file = path_in("team.key") };
    struct cantus_client *c = cantus_client_open(&o, error);
    ck_assert_msg(c != NULL, "%s", error);
    ck_assert_ptr_nonnull(cantus_pipe_open(c, "me", error));
    for (int i = 0; i < 1000 && hints == 0; i++)
        ck_assert_int_eq(cantus_client_poll(c, 10 * MS), CANTUS_OK);
    ck_assert_uint_ge(hints, 1);
    ck_assert(!cantus_client_caught_up(c));
    ck_assert_uint_eq(cantus_client_stream(c), 0);
    cantus_client_close(c);
    o.key_file = path_in("no.key");
    ck_assert_ptr_null(cantus_client_open(&o, error));
    ck_assert_ptr_nonnull(strstr(error, "no.key"));
    write_file("bad.key", "not hex at all\n");
    o.key_file = path_in("bad.key");
    ck_assert_ptr_null(cantus_client_open(&o, error));
    ck_assert_ptr_nonnull(strstr(error, "cantus key new"));
}
END_TEST

/* ---- what can't be opened -------------------------------------------------------------------- */

START_TEST(sources_that_can_not_be_opened_say_what_to_do)
{
    refused("", CANTUS_STABLE, "no source");
    refused("/nonexistent/place", CANTUS_STABLE, "/nonexistent/place/cantus.yaml");
    refused("journal:/nonexistent/place", CANTUS_STABLE, "/nonexistent/place");
    refused("proxy:", CANTUS_STABLE, "HOST:PORT");
    refused("proxy:somewhere", CANTUS_STABLE, "HOST:PORT");
    refused("proxy:127.0.0.1:0", CANTUS_STABLE, "HOST:PORT");
    refused("proxy:127.0.0.1:70000", CANTUS_STABLE, "HOST:PORT");
    refused("proxy:127.0.0.1:7000,", CANTUS_STABLE, "HOST:PORT");
    refused("proxy:no.such.host.invalid:7000", CANTUS_STABLE, "no.such.host.invalid");
    write_file(CONFIG_FILE, "stream: nonsense\nspurious: 1\n");
    refused(directory, CANTUS_STABLE, "cantus.yaml:1");
    char text[400];
    ck_assert_msg(strstr(error, "cantus.yaml:2") != NULL, "%s", error); /* all of them at once */
    struct config config;
    config_default_for_dir(&config, directory, 12345);
    config.is_volatile = true;
    config.retransmitter_count = 0;
    ck_assert_msg(config_write(path_in(CONFIG_FILE), &config, text), "%s", text);
    refused(directory, CANTUS_STABLE, "volatile");
    char source[300];
    snprintf(source, sizeof source, "journal:%s", directory);
    struct cantus_client_options o = { .source = source };
    struct cantus_client *c = cantus_client_open(&o, error);
    if (c != NULL) { /* a directory, but no store in it */
        ck_assert_int_eq(cantus_client_poll(c, 0), CANTUS_ERROR);
        ck_assert_str_ne(cantus_client_error(c), "");
        cantus_client_close(c);
    }
}
END_TEST

/* ---- sockets --------------------------------------------------------------------------------- */

struct live {
    struct config config;
    struct transport *transport;
    struct loop *loop;
    struct sequencer *core;
};

static void live_open(struct live *l)
{
    char text[CONFIG_ERROR_MAX];
    config_default_for_dir(&l->config, directory, (uint64_t)getpid());
    l->config.is_volatile = true;
    l->config.retransmitter_count = 0;
    ck_assert_msg(config_write(path_in(CONFIG_FILE), &l->config, text), "%s", text);
    struct transport_options t =
        config_transport(&l->config, (struct port_addr) { .ip = l->config.interface });
    t.join[PORT_INGRESS] = true;
    l->transport = transport_open_kernel(&t, text);
    ck_assert_msg(l->transport != NULL, "%s", text);
    struct loop_options lo = { .idle = LOOP_IDLE_WAIT };
    l->loop = loop_create(&lo, text);
    ck_assert_msg(l->loop != NULL, "%s", text);
    static uint8_t genesis[WIRE_DATAGRAM_DEFAULT];
    struct sys_genesis g = { .stream = l->config.stream,
                             .created_ns = loop_clock().wall_ns,
                             .protocol_version = WIRE_VERSION,
                             .is_volatile = true };
    g.members.seq = 1;
    struct sequencer_options o;
    memset(&o, 0, sizeof o);
    sequencer_options_default(&o);
    o.stream = l->config.stream;
    o.candidate = 7;
    o.lead = true;
    o.how = SYS_EPOCH_STARTED;
    o.why = "";
    o.session = NULL;
    o.volatile_genesis = genesis;
    o.volatile_genesis_length = (uint32_t)genesis_batch(&g, genesis, sizeof genesis);
    o.volatile_epoch = 1;
    o.catalog.topics_max = l->config.sequencer.topics_max;
    o.catalog.publishers_max = l->config.sequencer.publishers_max;
    l->core = sequencer_create(&o, &l->transport->port, loop_clock());
    ck_assert_ptr_nonnull(l->core);
    struct loop_participant p = { .core = l->core,
                                  .ops = &sequencer_participant,
                                  .transport = l->transport };
    ck_assert(loop_add(l->loop, &p));
}

static void live_close(struct live *l)
{
    loop_destroy(l->loop);
    sequencer_destroy(l->core);
    l->transport->ops->close(l->transport);
}

static uint64_t watched_count;
static void watch(void *ctx, const struct cantus_message *m)
{
    (void)ctx;
    ck_assert_str_eq(m->publisher, "feed");
    watched_count++;
}

START_TEST(a_client_follows_and_feeds_over_sockets)
{
    struct live l;
    live_open(&l);
    struct cantus_client_options o = { .source = directory, .level = CANTUS_SEQUENCED };
    struct cantus_client *c = cantus_client_open(&o, error);
    ck_assert_msg(c != NULL, "%s", error);
    struct cantus_machine *m = cantus_client_add_app(c, &sum_app, "", NULL, error);
    struct cantus_pipe *p = cantus_pipe_open(c, "feed", error);
    ck_assert(m != NULL && p != NULL && cantus_client_subscribe(c, "/", watch, NULL, error));
    static const char text[5000];
    uint32_t pushed = 0;
    uint64_t end = loop_clock().mono_ns + 60 * SECOND;
    while (cantus_pipe_sequenced(p) < 2000 && loop_clock().mono_ns < end) {
        while (pushed < 2000 &&
               cantus_pipe_push(p, "/feed", text, pushed % 100 == 0 ? sizeof text : 10))
            pushed++;
        ck_assert_int_eq(cantus_client_poll(c, 0), CANTUS_OK);
        loop_poll(l.loop, 0);
    }
    ck_assert_uint_eq(cantus_pipe_sequenced(p), 2000);
    ck_assert_uint_eq(watched_count, 2000);
    const struct sum *s = cantus_machine_state(m);
    ck_assert_uint_eq(s->count, 2000);
    ck_assert_uint_eq(s->bytes, 20 * sizeof text + 1980 * 10);
    ck_assert(!cantus_machine_quarantined(m));
    ck_assert_uint_eq(cantus_client_stream(c), l.config.stream);
    ck_assert_uint_eq(cantus_client_stable(c), 0);
    ck_assert_int_ge(cantus_client_fd(c), 0);
    ck_assert_uint_eq(cantus_client_seq(c), sequencer_tip(l.core));
    cantus_client_close(c);
    live_close(&l);
}
END_TEST

static void remove_all(void)
{
    char command[300];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    if (system(command) != 0)
        perror(directory);
}

static void make_directory(void)
{
    strcpy(directory + strlen(directory) - 6, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
}

int main(void)
{
    Suite *s = suite_create("client");
    TCase *t = tcase_create("client");
    tcase_add_checked_fixture(t, make_directory, remove_all);
    tcase_add_test(t, a_journal_is_replayed_to_its_end);
    tcase_add_test(t, a_proxy_that_is_not_there_is_waited_for_and_told);
    tcase_add_test(t, sources_that_can_not_be_opened_say_what_to_do);
    tcase_add_test(t, a_client_follows_and_feeds_over_sockets);
    suite_add_tcase(s, t);
    return suite_main(s);
}
