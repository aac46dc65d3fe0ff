#include "retransmitter/shell.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "proto/hash.h"
#include "shell/counter_file.h"

#define RECENT_BYTES   (UINT64_C(32) << 20)
#define SPACE_EVERY_NS UINT64_C(10000000000)

struct retransmitter_shell {
    const struct config *config;
    struct loop *loop;
    struct log *log;
    struct disk *disk;
    struct journal *journal;
    struct transport *transport;
    struct retransmitter *core;
    struct counter_file *counters; /* NULL: there is none */
    const char *name;
    size_t journal_memory;
    char directory[CONFIG_PATH_MAX * 2 + 2];
    bool disowned;     /* and said so */
    uint64_t space_ns; /* when the room on the disk was looked at */
};

static uint64_t random_id(void)
{
    uint64_t id = 0;
    while (id == 0) {
        if (getrandom(&id, sizeof id, 0) != (ssize_t)sizeof id)
            id = 0;
    }
    return id;
}

/* ---- the store ------------------------------------------------------------------------------- */

static bool open_disk(struct retransmitter_shell *s, uint32_t index, char *error)
{
    const struct config_retransmitter *own = &s->config->retransmitters[index];
    if (!config_path(s->config, own->directory, s->directory, sizeof s->directory)) {
        snprintf(error, RETRANSMITTER_SHELL_ERROR_MAX, "retransmitter %s: directory is too long",
                 own->name);
        return false;
    }
    struct disk_options options = { .directory = s->directory,
                                    .sync = own->sync,
                                    .direct = own->direct };
    char text[256] = "";
    s->disk = disk_open_uring(&options, text);
    if (s->disk != NULL)
        return true;
    /* Where io_uring is not to be had, plain system calls do. A directory that is locked or not
     * there fails again, with the same words. */
    char plain[256] = "";
    s->disk = disk_open_file(&options, plain);
    if (s->disk == NULL) {
        snprintf(error, RETRANSMITTER_SHELL_ERROR_MAX, "retransmitter %s: %s", own->name, plain);
        return false;
    }
    if (s->log != NULL) {
        char quoted[LOG_LINE_MAX / 2];
        log_line(s->log, LOG_WARN, "retransmitter", "io_uring is not used", "why=%s",
                 log_quote(text, quoted, sizeof quoted));
    }
    return true;
}

/* Which boot of the host this is; 0: the kernel does not say. */
static uint64_t boot_id(void)
{
    char text[64];
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t length = read(fd, text, sizeof text);
    close(fd);
    return length <= 0 ? 0 : hash64(text, (size_t)length, 0) | 1;
}

static struct journal_options journal_options_of(const struct config_retransmitter *own)
{
    return (struct journal_options) { .segment_bytes = (uint64_t)own->segment_mib << 20,
                                      .commit_bytes = 1u << 20,
                                      .recent_bytes = RECENT_BYTES,
                                      .segments_max = 65536,
                                      .unsynced = own->sync == DISK_SYNC_NONE,
                                      .boot = boot_id(),
                                      .run = random_id() };
}

static bool open_journal(struct retransmitter_shell *s, uint32_t index, char *error)
{
    const struct config_retransmitter *own = &s->config->retransmitters[index];
    struct journal_options options = journal_options_of(own);
    options.counters = counter_file_counters(s->counters);
    s->journal_memory = journal_memory(&options);
    struct journal_report report;
    enum journal_error code;
    char text[JOURNAL_ERROR_MAX] = "";
    s->journal = journal_open(s->disk, &options, s->config->stream, &report, &code, text);
    if (s->journal == NULL) {
        snprintf(error, RETRANSMITTER_SHELL_ERROR_MAX, "retransmitter %s: %s", own->name, text);
        return false;
    }
    if (report.restored) {
        snprintf(error, RETRANSMITTER_SHELL_ERROR_MAX,
                 "retransmitter %s: this store was restored from an older copy of itself and has "
                 "forgotten what it said: empty its directory, format it again (--format), and let "
                 "it take the place of store %016lx (cantus member replace %016lx %s)",
                 own->name, (unsigned long)report.store, (unsigned long)report.store, own->name);
        return false;
    }
    if (report.may_have_lost) {
        snprintf(error, RETRANSMITTER_SHELL_ERROR_MAX,
                 "retransmitter %s: the host went down while this store acknowledged before "
                 "syncing (sync: none), and what it acknowledged may be gone: empty its directory, "
                 "format it again (--format), and let it rejoin as a new member",
                 own->name);
        return false;
    }
    log_line(s->log, LOG_INFO, "retransmitter", "store opened",
             "name=%s store=%016lx tail=%lu.%lu promised=%lu segments=%lu", own->name,
             (unsigned long)report.store, (unsigned long)report.tail.epoch.number,
             (unsigned long)report.tail.seq, (unsigned long)report.promised.number,
             (unsigned long)report.segments);
    if (report.torn_bytes > 0)
        log_line(s->log, LOG_WARN, "retransmitter", "an interrupted commit was cut", "bytes=%lu",
                 (unsigned long)report.torn_bytes);
    if (report.damaged)
        log_line(s->log, LOG_ERROR, "retransmitter",
                 "the journal is damaged and does not vote until it is healed from a peer",
                 "seq=%lu segment=%lu offset=%lu", (unsigned long)report.damaged_seq,
                 (unsigned long)report.damaged_segment, (unsigned long)report.damaged_offset);
    return true;
}

bool retransmitter_shell_format(const struct config *config, uint32_t index, uint64_t *store,
                                char *error)
{
    struct retransmitter_shell s = { .config = config };
    const struct config_retransmitter *own = &config->retransmitters[index];
    char directory[CONFIG_PATH_MAX * 2 + 2];
    if (config_path(config, own->directory, directory, sizeof directory) &&
        mkdir(directory, 0777) != 0 && errno != EEXIST) {
        snprintf(error, RETRANSMITTER_SHELL_ERROR_MAX, "%.700s: cannot be created: %s", directory,
                 strerror(errno));
        return false;
    }
    if (!open_disk(&s, index, error))
        return false;
    struct journal_options options = journal_options_of(own);
    char text[JOURNAL_ERROR_MAX] = "";
    *store = random_id();
    enum journal_error code =
        journal_format(s.disk, &options, config->stream, *store, NULL, 0, text);
    if (code != JOURNAL_OK)
        snprintf(error, RETRANSMITTER_SHELL_ERROR_MAX, "retransmitter %s: %s", own->name, text);
    s.disk->ops->destroy(s.disk);
    return code == JOURNAL_OK;
}

/* ---- the core
 * ------------------------------------------------------------------------------------ */

static bool open_transport(struct retransmitter_shell *s, uint32_t index, char *error)
{
    const struct config_retransmitter *own = &s->config->retransmitters[index];
    struct transport_options options = config_transport_on(s->config, own->unicast, own->interface);
    options.join[PORT_EGRESS_A] = true;
    options.join[PORT_EGRESS_B] = s->config->egress_b.port != 0;
    options.listen = true;
    options.stream_port = own->stream_port;
    char text[TRANSPORT_ERROR_MAX] = "";
    s->transport = transport_open_kernel(&options, text);
    if (s->transport == NULL)
        snprintf(error, RETRANSMITTER_SHELL_ERROR_MAX, "retransmitter %s: %s", own->name, text);
    return s->transport != NULL;
}

static struct retransmitter_options options_of(const struct retransmitter_shell *s, uint32_t index)
{
    const struct config *c = s->config;
    const struct port *port = &s->transport->port;
    struct retransmitter_options o;
    retransmitter_options_default(&o);
    o.stream = journal_stream(s->journal);
    o.random = random_id();
    o.fetch_udp = port->self;
    o.fetch_stream_port = port->stream_port;
    o.datagram_max = c->datagram_max;
    for (uint32_t i = 0; i < c->retransmitter_count && o.peer_count < FOLLOWER_SOURCES_MAX; i++) {
        const struct config_retransmitter *peer = &c->retransmitters[i];
        if (i != index)
            o.peers[o.peer_count++] =
                (struct follower_source) { .unicast = peer->unicast,
                                           .stream = { peer->unicast.ip, peer->stream_port } };
    }
    return o;
}

/* A look at a file system is a system call: not at every sample. */
static void sample_space(struct retransmitter_shell *s, uint64_t mono_ns, uint64_t *counters)
{
    struct statvfs space;
    if (s->space_ns != 0 && mono_ns - s->space_ns < SPACE_EVERY_NS)
        return;
    s->space_ns = mono_ns;
    if (statvfs(s->directory, &space) != 0)
        return;
    counters[COUNTER_DISK_FREE] = (uint64_t)space.f_bavail * space.f_frsize;
    counters[COUNTER_DISK_SIZE] = (uint64_t)space.f_blocks * space.f_frsize;
}

static void say_restored(struct retransmitter_shell *s)
{
    struct word said = retransmitter_recalled(s->core);
    unsigned long store = (unsigned long)journal_store(s->journal);
    s->disowned = true;
    log_line(s->log, LOG_ERROR, "retransmitter",
             "this store was restored from an older copy of itself and votes no more",
             "name=%s store=%016lx said_epoch=%u said_seq=%lu began_with_epoch=%u "
             "began_with_seq=%lu todo=\"stop it, empty its directory, format it (--format), start "
             "it, then: cantus member replace %016lx %s\"",
             s->name, store, said.promised.number, (unsigned long)said.tail.seq,
             journal_run(s->journal).base.promised.number,
             (unsigned long)journal_run(s->journal).base.tail.seq, store, s->name);
}

static void sample(void *ctx, const struct loop *l)
{
    struct retransmitter_shell *s = ctx;
    uint64_t *counters = retransmitter_counters(s->core);
    char text[RETRANSMITTER_STATE_MAX + 1];
    retransmitter_gauges(s->core, counters);
    counters[COUNTER_MEMORY] += s->journal_memory;
    sample_space(s, loop_now(l).mono_ns, counters);
    if (journal_restored(s->journal) && !s->disowned)
        say_restored(s);
    counter_file_sample(s->counters, retransmitter_state(s->core, text), l);
}

static bool open_core(struct retransmitter_shell *s, uint32_t index, char *error)
{
    struct retransmitter_options o = options_of(s, index);
    s->core = retransmitter_create(&o, s->journal, &s->transport->port, loop_clock());
    if (s->core == NULL) {
        snprintf(error, RETRANSMITTER_SHELL_ERROR_MAX,
                 "retransmitter: no memory: it needs %zu MiB at start",
                 retransmitter_memory(&o) >> 20);
        return false;
    }
    struct loop_participant participant = { .core = s->core,
                                            .ops = &retransmitter_participant,
                                            .transport = s->transport,
                                            .disk = s->disk,
                                            .counters = retransmitter_counters(s->core),
                                            .name = s->name,
                                            .rests = retransmitter_rests,
                                            .sample = sample,
                                            .sample_ctx = s };
    if (!loop_add(s->loop, &participant)) {
        snprintf(error, RETRANSMITTER_SHELL_ERROR_MAX,
                 "retransmitter: the event loop takes no more: %d participants at most",
                 LOOP_PARTICIPANTS_MAX);
        retransmitter_destroy(s->core);
        s->core = NULL;
        return false;
    }
    log_line(s->log, LOG_INFO, "retransmitter", "ready",
             "name=%s udp_port=%u stream_port=%u memory_mib=%zu",
             s->config->retransmitters[index].name, s->transport->port.self.port,
             s->transport->port.stream_port, (retransmitter_memory(&o) + s->journal_memory) >> 20);
    return true;
}

struct retransmitter_shell *retransmitter_shell_open(const struct config *config, uint32_t index,
                                                     struct loop *loop, struct log *log,
                                                     char *error)
{
    struct retransmitter_shell *s = calloc(1, sizeof *s);
    if (s == NULL) {
        snprintf(error, RETRANSMITTER_SHELL_ERROR_MAX, "retransmitter: no memory");
        return NULL;
    }
    s->config = config;
    s->loop = loop;
    s->log = log;
    s->name = config->retransmitters[index].name;
    s->counters = counter_file_of(config, "retransmitter", s->name, log);
    if (open_disk(s, index, error) && open_journal(s, index, error) &&
        open_transport(s, index, error) && open_core(s, index, error))
        return s;
    retransmitter_shell_close(s);
    return NULL;
}

bool retransmitter_shell_drain(struct retransmitter_shell *s)
{
    return retransmitter_drain(s->core);
}

/* The journal before the disk, whose requests end with it, and the core's buffers after both. */
void retransmitter_shell_close(struct retransmitter_shell *s)
{
    if (s == NULL)
        return;
    if (s->core != NULL)
        loop_remove(s->loop, s->core);
    if (s->transport != NULL)
        s->transport->ops->close(s->transport);
    if (s->journal != NULL) {
        if (s->core != NULL && !journal_end(s->journal) && !journal_restored(s->journal))
            log_line(s->log, LOG_WARN, "retransmitter",
                     "the store has not ended cleanly: it is trusted until this host restarts",
                     NULL);
        journal_close(s->journal);
    }
    if (s->disk != NULL)
        s->disk->ops->destroy(s->disk);
    retransmitter_destroy(s->core);
    counter_file_close(s->counters);
    free(s);
}

struct retransmitter *retransmitter_shell_core(struct retransmitter_shell *s)
{
    return s->core;
}
