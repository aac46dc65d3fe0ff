#include "cli/deployment.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proto/access.h"

static bool path_in(const char *dir, const char *name, char *out, size_t capacity)
{
    int n = snprintf(out, capacity, "%s/%s", dir, name);
    return n > 0 && (size_t)n < capacity;
}

bool deployment_exists(const char *dir)
{
    char path[CONFIG_PATH_MAX + 32];
    return path_in(dir, CONFIG_FILE, path, sizeof path) && access(path, F_OK) == 0;
}

bool deployment_config(const char *dir, struct config *out)
{
    char path[CONFIG_PATH_MAX + 32];
    if (!path_in(dir, CONFIG_FILE, path, sizeof path)) {
        fprintf(stderr, "cantus: the path %s is too long\n", dir);
        return false;
    }
    return config_load(path, out, config_report_stderr, NULL);
}

/* ---- init ------------------------------------------------------------------------------------ */

static bool write_file(const char *dir, const char *name, mode_t mode, const void *bytes,
                       size_t length, char *error)
{
    char path[CONFIG_PATH_MAX + 32];
    if (!path_in(dir, name, path, sizeof path)) {
        snprintf(error, DEPLOYMENT_ERROR_MAX, "the path %.300s is too long", dir);
        return false;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    bool fine = fd >= 0 && write(fd, bytes, length) == (ssize_t)length && fsync(fd) == 0;
    if (!fine)
        snprintf(error, DEPLOYMENT_ERROR_MAX, "cannot write %.500s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return fine;
}

static bool make_directory(const char *path, char *error)
{
    if (mkdir(path, 0777) == 0 || errno == EEXIST)
        return true;
    snprintf(error, DEPLOYMENT_ERROR_MAX,
             "cannot make %.500s: %s; choose a directory that you may write", path,
             strerror(errno));
    return false;
}

/* The seed of the key pair, in hex: what `cantus` needs to sign as administrator. */
static bool make_admin_key(const char *dir, uint8_t public_key[ADMIN_KEY_SIZE], char *error)
{
    uint8_t secret[crypto_sign_SECRETKEYBYTES], seed[crypto_sign_SEEDBYTES];
    char hex[sizeof seed * 2 + 2];
    _Static_assert(crypto_sign_PUBLICKEYBYTES == ADMIN_KEY_SIZE, "Ed25519");
    char text[ACCESS_KEY_TEXT + 1];
    do { /* no key that a command line would take for an option */
        randombytes_buf(seed, sizeof seed);
        crypto_sign_seed_keypair(public_key, secret, seed);
        access_key_write(public_key, text);
    } while (text[0] == '-');
    sodium_bin2hex(hex, sizeof hex, seed, sizeof seed);
    hex[sizeof seed * 2] = '\n';
    bool fine = write_file(dir, "admin.key", 0600, hex, sizeof seed * 2 + 1, error);
    sodium_memzero(secret, sizeof secret);
    sodium_memzero(seed, sizeof seed);
    sodium_memzero(hex, sizeof hex);
    return fine;
}

static bool format_store(const struct config *config, const struct config_retransmitter *store,
                         uint64_t store_id, const uint8_t *genesis, size_t genesis_length,
                         char *error)
{
    char path[CONFIG_PATH_MAX + 1];
    if (!config_path(config, store->directory, path, sizeof path)) {
        snprintf(error, DEPLOYMENT_ERROR_MAX, "the path of store %s is too long", store->name);
        return false;
    }
    if (!make_directory(path, error))
        return false;
    struct disk_options disk_options = { .directory = path,
                                         .sync = store->sync,
                                         .direct = store->direct };
    struct disk *disk = disk_open_file(&disk_options, error);
    if (disk == NULL)
        return false;
    struct journal_options options = { .segment_bytes = (uint64_t)store->segment_mib << 20 };
    char reason[JOURNAL_ERROR_MAX] = "";
    journal_options_default(&options);
    bool fine = journal_format(disk, &options, config->stream, store_id, genesis,
                               (uint32_t)genesis_length, reason) == JOURNAL_OK;
    if (!fine)
        snprintf(error, DEPLOYMENT_ERROR_MAX, "%s", reason);
    disk->ops->destroy(disk);
    return fine;
}

static uint64_t random64(void)
{
    uint64_t value = 0;
    while (value == 0)
        randombytes_buf(&value, sizeof value);
    return value;
}

static bool make_stream(struct config *config, uint32_t quorum, const char *dir, char *error)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct sys_genesis genesis = {
        .stream = config->stream,
        .created_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec,
        .protocol_version = WIRE_VERSION,
        .is_volatile = config->is_volatile,
        .members = { .seq = 1, .quorum = quorum, .count = config->retransmitter_count },
    };
    for (uint32_t i = 0; i < genesis.members.count; i++)
        genesis.members.stores[i] = random64();
    uint8_t batch[WIRE_DATAGRAM_DEFAULT];
    if (!make_admin_key(dir, genesis.admin_key, error))
        return false;
    size_t length = genesis_batch(&genesis, batch, sizeof batch);
    if (!write_file(dir, "genesis", 0644, batch, length, error))
        return false;
    for (uint32_t i = 0; i < config->retransmitter_count; i++)
        if (!format_store(config, &config->retransmitters[i], genesis.members.stores[i], batch,
                          length, error))
            return false;
    char path[CONFIG_PATH_MAX + 32];
    return path_in(dir, CONFIG_FILE, path, sizeof path) && config_write(path, config, error);
}

static uint32_t stores_of(const struct deployment_init *what)
{
    return what->is_volatile ? 0 : what->stores == 0 ? 1 : what->stores;
}

static uint32_t sequencers_of(const struct deployment_init *what)
{
    return what->sequencers == 0 ? 1 : what->sequencers;
}

static bool check_numbers(const struct deployment_init *what, char *error)
{
    if (what->is_volatile && (what->stores > 0 || what->quorum > 0 || sequencers_of(what) > 1))
        snprintf(error, DEPLOYMENT_ERROR_MAX,
                 "a volatile stream has no stores, so no quorum, and nothing that a second "
                 "sequencer could take over from");
    else if (stores_of(what) > CONFIG_RETRANSMITTERS_MAX ||
             sequencers_of(what) > CONFIG_SEQUENCERS_MAX)
        snprintf(error, DEPLOYMENT_ERROR_MAX, "at most %d stores and %d sequencers",
                 CONFIG_RETRANSMITTERS_MAX, CONFIG_SEQUENCERS_MAX);
    else if (what->quorum > stores_of(what))
        snprintf(error, DEPLOYMENT_ERROR_MAX,
                 "a quorum of %u of %u stores: nothing would ever be stable", what->quorum,
                 stores_of(what));
    else
        return true;
    return false;
}

void deployment_print_notes(const struct deployment_init *what)
{
    struct membership m = { .seq = 1, .quorum = what->quorum, .count = stores_of(what) };
    uint32_t stable = membership_stable_quorum(&m), seal = membership_seal_quorum(&m);
    if (m.count < 2)
        return;
    if (stable < m.count / 2 + 1) {
        fprintf(stderr,
                "cantus: note: W = %u of %u is below a majority: it fixes the membership (no store "
                "can be added, removed or replaced)\n",
                stable, m.count);
        if (seal == m.count)
            fprintf(stderr,
                    "cantus: note: W = %u of %u means one lost store blocks failover: whoever is "
                    "to lead needs the promise of all %u\n",
                    stable, m.count, seal);
        else
            fprintf(stderr,
                    "cantus: note: W = %u of %u means that failover needs the promises of %u "
                    "stores\n",
                    stable, m.count, seal);
    }
    if (stable == m.count)
        fprintf(stderr, "cantus: note: W = %u of %u means that one lost store pauses the stream\n",
                stable, m.count);
}

bool deployment_init(const struct deployment_init *what, uint64_t *stream, char *error)
{
    if (deployment_exists(what->dir)) {
        snprintf(error, DEPLOYMENT_ERROR_MAX,
                 "%.400s holds a stream already; run it with: cantus dev --dir %.200s", what->dir,
                 what->dir);
        return false;
    }
    if (!check_numbers(what, error))
        return false;
    if (sodium_init() < 0) {
        snprintf(error, DEPLOYMENT_ERROR_MAX, "libsodium found no source of randomness");
        return false;
    }
    if (!make_directory(what->dir, error))
        return false;
    struct config config;
    config_default_for_dir(&config, what->dir, random64());
    config.stream = random64();
    config.is_volatile = what->is_volatile;
    config_resize(&config, stores_of(what), sequencers_of(what),
                  what->proxies == 0 ? 1 : what->proxies);
    if (what->session != NULL)
        snprintf(config.session, sizeof config.session, "%s", what->session);
    *stream = config.stream;
    uint32_t majority = config.retransmitter_count / 2 + 1;
    return make_stream(&config, what->quorum == majority ? 0 : what->quorum, what->dir, error);
}

/* ---- one process ----------------------------------------------------------------------------- */

static bool add_stores(struct deployment *d, char *error)
{
    for (uint32_t i = 0; i < d->config.retransmitter_count; i++) {
        d->stores[i] = retransmitter_shell_open(&d->config, i, d->loop, &d->log, error);
        if (d->stores[i] == NULL)
            return false;
        d->store_count++;
    }
    return true;
}

static bool add_sequencer(struct deployment *d, uint32_t index, const char *session, char *error)
{
    struct sequencer_start start = { .index = index,
                                     .lead = index == 0,
                                     .how = SYS_EPOCH_STARTED,
                                     .session = index == 0 ? session : NULL,
                                     .log = &d->log };
    struct sequencer_shell *s = calloc(1, sizeof *s);
    if (s == NULL) {
        snprintf(error, DEPLOYMENT_ERROR_MAX, "out of memory");
        return false;
    }
    if (!sequencer_shell_open(s, &d->config, &start, error)) {
        free(s);
        return false;
    }
    d->sequencers[d->sequencer_count++] = s;
    struct loop_participant p = sequencer_shell_participant(s);
    if (!loop_add(d->loop, &p)) {
        snprintf(error, DEPLOYMENT_ERROR_MAX, "the event loop takes no more participants");
        return false;
    }
    return true;
}

static bool add_proxies(struct deployment *d, char *error)
{
    for (uint32_t i = 0; i < d->config.proxy_count; i++) {
        d->proxies[i] = proxy_shell_open(&d->config, i, d->loop, &d->log, error);
        if (d->proxies[i] == NULL)
            return false;
        d->proxy_count++;
    }
    return true;
}

bool deployment_open(struct deployment *d, const char *dir, const char *session, char *error)
{
    *d = (struct deployment) { 0 };
    if (!deployment_config(dir, &d->config)) {
        snprintf(error, DEPLOYMENT_ERROR_MAX, "mend %.400s/%s first", dir, CONFIG_FILE);
        return false;
    }
    log_init(&d->log, STDERR_FILENO, LOG_INFO);
    struct loop_options options = config_loop(&d->config);
    d->loop = loop_create(&options, error);
    bool fine = d->loop != NULL && add_stores(d, error);
    for (uint32_t i = 0; fine && i < d->config.sequencer_count; i++)
        fine = add_sequencer(d, i, session, error);
    fine = fine && add_proxies(d, error);
    if (!fine)
        deployment_close(d);
    return fine;
}

int deployment_leader(const struct deployment *d)
{
    int leader = -1;
    uint32_t newest = 0;
    for (uint32_t i = 0; i < d->sequencer_count; i++) {
        const struct sequencer *core = d->sequencers[i]->core;
        uint32_t number = sequencer_epoch(core).number;
        if (sequencer_state(core) == SEQUENCER_LEADING && (leader < 0 || number > newest)) {
            leader = (int)i;
            newest = number;
        }
    }
    return leader;
}

bool deployment_lets_in(const struct deployment *d)
{
    bool all = true;
    for (uint32_t i = 0; i < d->proxy_count; i++)
        all = all && proxy_ready(proxy_shell_core(d->proxies[i]));
    return all;
}

static bool clients_gone(struct deployment *d)
{
    bool all = true;
    for (uint32_t i = 0; i < d->proxy_count; i++)
        all = proxy_shell_drain(d->proxies[i]) && all;
    return all;
}

static bool drained(struct deployment *d)
{
    bool all = true;
    for (uint32_t i = 0; i < d->store_count; i++)
        all = retransmitter_shell_drain(d->stores[i]) && all;
    return all;
}

void deployment_close(struct deployment *d)
{
    const uint64_t patience_ns = UINT64_C(2000000000);
    for (uint64_t began = loop_clock().mono_ns;
         !clients_gone(d) && loop_clock().mono_ns - began < patience_ns;)
        loop_poll(d->loop, 10 * 1000 * 1000);
    for (uint32_t i = 0; i < d->proxy_count; i++)
        proxy_shell_close(d->proxies[i]);
    for (uint32_t i = 0; i < d->sequencer_count; i++) {
        loop_remove(d->loop, d->sequencers[i]->core);
        sequencer_shell_close(d->sequencers[i]);
        free(d->sequencers[i]);
    }
    for (uint64_t began = loop_clock().mono_ns;
         !drained(d) && loop_clock().mono_ns - began < patience_ns;)
        loop_poll(d->loop, 10 * 1000 * 1000);
    for (uint32_t i = 0; i < d->store_count; i++)
        retransmitter_shell_close(d->stores[i]);
    if (d->loop != NULL)
        loop_destroy(d->loop);
    log_flush(&d->log);
    *d = (struct deployment) { 0 };
}
