/* DIR/cantus.yaml: what every process of a deployment needs to know. One file serves all of them.
 *
 * Every problem of a file is reported, with its line, before anything is refused: unknown and
 * duplicate keys, wrong types, values out of range, addresses that are none, what is missing, and
 * what contradicts itself. */
#ifndef CANTUS_SHELL_CONFIG_H
#define CANTUS_SHELL_CONFIG_H

#include "journal/disk.h"
#include "proto/sys.h"
#include "shell/loop.h"

#define CONFIG_FILE "cantus.yaml"

enum {
    CONFIG_SEQUENCERS_MAX = 7,
    CONFIG_RETRANSMITTERS_MAX = 15,
    CONFIG_PROXIES_MAX = 15,
    CONFIG_PROCESSES_MAX = CONFIG_SEQUENCERS_MAX + CONFIG_RETRANSMITTERS_MAX + CONFIG_PROXIES_MAX,
    CONFIG_NAME_MAX = 31,
    CONFIG_SESSIONS_MAX = 60000, /* of a proxy */
    CONFIG_PATH_MAX = 511,
    CONFIG_ERROR_MAX = 768,
    CONFIG_PROBLEMS_MAX = 64,       /* reported one by one; of more only the number */
    CONFIG_BYTES_MAX = 1024 * 1024, /* of a file */
    CONFIG_TEXT_MAX = 64 * 1024     /* of what config_format writes */
};

/* What all sequencers of a deployment have in common. */
struct config_sequencing {
    uint32_t ring_mib;
    uint32_t queue_max;
    uint32_t window;
    uint32_t run_bytes_max;
    uint32_t topics_max;
    uint32_t publishers_max;
    uint32_t tick_ms; /* 0: none */
    uint32_t heartbeat_min_us;
    uint32_t heartbeat_idle_ms;
    uint32_t pace_mib; /* 0: half the ring */
    uint32_t pace_us;
    uint32_t clock_ahead_max_ms;
};

enum config_promotion { CONFIG_PROMOTION_MANUAL, CONFIG_PROMOTION_AUTOMATIC };

struct config_sequencer {
    char name[CONFIG_NAME_MAX + 1];
    struct port_addr unicast;
    uint16_t stream_port;
    uint32_t interface; /* ip; 0: the deployment's */
};

struct config_retransmitter {
    char name[CONFIG_NAME_MAX + 1];
    struct port_addr unicast;
    uint16_t stream_port;
    uint32_t interface;                  /* ip; 0: the deployment's */
    char directory[CONFIG_PATH_MAX + 1]; /* as written: see config_path */
    enum disk_sync sync;
    bool direct;
    uint32_t segment_mib;
};

struct config_proxy {
    char name[CONFIG_NAME_MAX + 1];
    struct port_addr unicast;
    uint16_t stream_port;
    struct port_addr listen; /* where clients connect; ip 0: on every interface */
    uint32_t interface;      /* ip; 0: the deployment's */
    uint32_t sessions_max, sessions_per_addr, sessions_per_key;
    uint32_t logins_max;
    uint32_t subtrees_max;
    uint32_t records_per_addr_s, records_per_addr_burst; /* 0 a second: any */
    uint32_t records_per_key_s, records_per_key_burst;
    uint32_t recent_mib;
    uint32_t view_mib;
    uint32_t relay_mib;
    uint32_t publisher_kib;
    uint32_t slow_s;
    uint32_t idle_s; /* 0: for ever */
    uint32_t login_s;
    char tls_certificate[CONFIG_PATH_MAX +
                         1]; /* as written: see config_path; "": clients come plain */
    char tls_key[CONFIG_PATH_MAX + 1];
};

struct config {
    uint64_t stream;
    bool is_volatile;
    char session[SESSION_NAME_MAX + 1];
    char counters[CONFIG_PATH_MAX + 1]; /* directory, as written; "": see config_counters */
    bool huge_pages;

    uint32_t interface;   /* ip */
    uint32_t interface_b; /* ip; 0: as interface */
    struct port_addr ingress;
    struct port_addr egress_a;
    struct port_addr egress_b; /* port 0: no line B */
    uint32_t datagram_max;
    uint32_t ttl;
    bool segmentation;

    enum loop_idle idle;
    uint32_t spin_us;
    bool yield;

    struct config_sequencing sequencer;
    enum config_promotion promotion;
    uint32_t silence_ms;
    uint32_t sequencer_count;
    struct config_sequencer sequencers[CONFIG_SEQUENCERS_MAX];
    uint32_t retransmitter_count;
    struct config_retransmitter retransmitters[CONFIG_RETRANSMITTERS_MAX];
    uint32_t proxy_count;
    struct config_proxy proxies[CONFIG_PROXIES_MAX];

    char directory[CONFIG_PATH_MAX + 1]; /* of the file: relative paths start here */
};

/* Called once a problem, in the order of lines. Line 0: of the file as a whole. */
typedef void config_report(void *ctx, const char *file, unsigned line, const char *reason);

/* True if there was no problem; else *out is all zero. */
bool config_load(const char *path, struct config *out, config_report *report, void *ctx);
/* The same for text in memory; `file` names it in reports. */
bool config_parse(const char *file, const char *bytes, size_t length, struct config *out,
                  config_report *report, void *ctx);

/* A config_report on stderr, a line each; ctx is not looked at. */
void config_report_stderr(void *ctx, const char *file, unsigned line, const char *reason);
/* A config_report into a buffer: "file:line: reason\n" each; what does not fit is left out. */
struct config_text {
    char *text;
    size_t capacity;
    size_t length;
};
void config_report_text(void *ctx, const char *file, unsigned line, const char *reason);

/* What every key is when the file leaves it out. */
void config_default(struct config *out);
/* Fit for a first start in dir: one sequencer, one retransmitter, one proxy, groups and ports that
 * collide with no other deployment on this host, as far as can be told (they are drawn from dir and
 * seed, and taken ports are passed over), a stream id drawn from the seed. */
void config_default_for_dir(struct config *out, const char *dir, uint64_t seed);
/* Gives what config_default_for_dir made so many of each, all on this host: s1, s2, ... r1, r2, ...
 * and p1, p2, ... with ports of its block. At most the _MAX of each. */
void config_resize(struct config *config, uint32_t retransmitters, uint32_t sequencers,
                   uint32_t proxies);

/* The file's text, every key with its explanation. Returns its length; 0 if it does not fit. */
size_t config_format(const struct config *config, char *out, size_t capacity);
/* Writes it, replacing the file in one step. False with a text in error[CONFIG_ERROR_MAX]. */
bool config_write(const char *path, const struct config *config, char *error);

/* The path of something the file names, relative to the file. False if it does not fit. */
bool config_path(const struct config *config, const char *relative, char *out, size_t capacity);

/* Where the processes of this deployment on this host have their files of counters (see
 * counter_file.h): /dev/shm/cantus-STREAM unless the file names another. False if it does not
 * fit. */
bool config_counters(const struct config *config, char *out, size_t capacity);

/* The index of the sequencer of this name; NULL or "": of the only one. -1 if there is none such,
 * or it is not said which, with a text in error[CONFIG_ERROR_MAX]. */
int config_find_sequencer(const struct config *config, const char *name, char *error);
int config_find_retransmitter(const struct config *config, const char *name, char *error);
int config_find_proxy(const struct config *config, const char *name, char *error);

/* What the transports of this deployment have in common; the caller adds what it joins and where
 * it listens. */
struct transport_options config_transport(const struct config *config, struct port_addr unicast);
/* The same for a process with an interface of its own (0: the deployment's). Line B stays on
 * interface_b. */
struct transport_options config_transport_on(const struct config *config, struct port_addr unicast,
                                             uint32_t interface);
struct loop_options config_loop(const struct config *config);

#endif
