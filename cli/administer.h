/* Administering a stream, over the core network or through a proxy: what /sys says now, and one
 * record by the publisher of a key, of which the outcome is read from the stream. */
#ifndef CANTUS_CLI_ADMINISTER_H
#define CANTUS_CLI_ADMINISTER_H

#include "cli/cli.h"
#include "proto/catalog.h"

struct administer;

enum administer_what { ADMINISTER_LOOKS, ADMINISTER_ACTS };

/* Follows the stream. Who acts does so as "@KEY:cantus", for the key of globals->key_file, or where
 * that is NULL for the administrator's, DIR/admin.key. NULL after an error, which it has said on
 * stderr. */
struct administer *administer_open(const struct cli_globals *globals, enum administer_what what);
void administer_close(struct administer *a);
/* What is stable, or on a volatile stream sequenced, by now; of the epochs and sessions it knows
 * nothing. NULL after an error, said on stderr. */
const struct catalog *administer_catalog(struct administer *a);
/* The seq; 0 after an error or a rejection, said on stderr. `what` was wanted and `needed` for it:
 * for humans. */
uint64_t administer_publish(struct administer *a, uint32_t topic, const uint8_t *payload,
                            size_t length, const char *what, const char *needed);

/* DIR/admin.key. */
bool administer_key_path(const char *dir, char *out, size_t capacity);

/* ---- words ----------------------------------------------------------------------------------- */
/* "anyone", "group:NAME", or a key. False: said on stderr. */
bool administer_whom(const char *text, struct access_whom *out);
bool administer_key(const char *text, uint8_t out[ACCESS_KEY_SIZE]);
/* "read,write,grant", each also by its first letter. */
bool administer_rights(const char *text, uint8_t *out);
bool administer_subtree(const char *text, char out[TOPIC_PATH_MAX + 1]);
enum { WHOM_TEXT_MAX = 64, RIGHTS_TEXT_MAX = 32 };
void administer_whom_write(const struct access_whom *whom, char out[WHOM_TEXT_MAX]);
void administer_rights_write(uint8_t rights, char out[RIGHTS_TEXT_MAX]);

#endif
