/* The keys of cantus.yaml in one table: read, written, explained and range-checked by it. */
#ifndef CANTUS_SHELL_CONFIG_KEYS_H
#define CANTUS_SHELL_CONFIG_KEYS_H

#include "shell/config.h"

enum config_type {
    CONFIG_U32,
    CONFIG_BOOL,
    CONFIG_STREAM_ID, /* uint64_t, 16 hex digits, not 0 */
    CONFIG_NAME,      /* char[size]: letters, digits, '.', '_', '-' */
    CONFIG_SESSION,   /* char[size]: printable ASCII */
    CONFIG_PATH,      /* char[size] */
    CONFIG_IP,        /* uint32_t */
    CONFIG_ADDRESS,   /* struct port_addr, of a host */
    CONFIG_LISTEN,    /* struct port_addr, of a host or 0.0.0.0 */
    CONFIG_GROUP,     /* struct port_addr, multicast */
    CONFIG_PORT,      /* uint16_t */
    CONFIG_IDLE,      /* enum loop_idle */
    CONFIG_SYNC,      /* enum disk_sync */
    CONFIG_PROMOTION  /* enum config_promotion */
};

struct config_key {
    const char *name;
    enum config_type type;
    bool required;
    size_t offset;     /* in the section's struct */
    uint64_t min, max; /* numbers: range; texts: max is the length */
    const char *help;
};

enum config_section_id {
    CONFIG_TOP,
    CONFIG_NETWORK,
    CONFIG_IDLING,
    CONFIG_SEQUENCING,
    CONFIG_FAILOVER,
    CONFIG_SEQUENCERS,     /* one of a list */
    CONFIG_RETRANSMITTERS, /* one of a list */
    CONFIG_PROXIES,        /* one of a list */
    CONFIG_SECTIONS
};

enum { CONFIG_KEYS_MAX = 24, CONFIG_ITEMS_MAX = CONFIG_RETRANSMITTERS_MAX };

struct config_section {
    const char *name; /* NULL: the file itself */
    const char *help;
    bool required;
    size_t offset;       /* of its struct in struct config; of the first in a list */
    uint32_t items_max;  /* of a list; 0: it is none */
    size_t item_size;    /* of a list's struct */
    size_t count_offset; /* of its number of items in struct config */
    uint32_t key_count;
    const struct config_key *keys;
};

extern const struct config_section config_sections[CONFIG_SECTIONS];

/* The words of CONFIG_IDLE, CONFIG_SYNC and CONFIG_PROMOTION; NULL beyond the last. */
struct config_word {
    const char *word;
    int value;
};
const struct config_word *config_words(enum config_type type);

#endif
