/* Files of Ed25519 keys: the seed of the pair in hex and a newline, readable by their owner only.
 * admin.key of a deployment is one. */
#ifndef CANTUS_CLI_KEY_FILE_H
#define CANTUS_CLI_KEY_FILE_H

#include "proto/access.h"

enum { KEY_FILE_ERROR_MAX = 640 };

/* Makes a key pair. Never overwrites a file. */
bool key_file_new(const char *path, uint8_t public_key[ACCESS_KEY_SIZE], char *error);
bool key_file_read(const char *path, uint8_t public_key[ACCESS_KEY_SIZE], char *error);
/* Says on standard error if others than its owner may read or change it. */
void key_file_look(const char *path);

#endif
