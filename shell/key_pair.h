/* A pair of Ed25519 keys from its file: the seed in hex and a newline, as `cantus key new` writes
 * it. */
#ifndef CANTUS_SHELL_KEY_PAIR_H
#define CANTUS_SHELL_KEY_PAIR_H

#include "proto/access.h"

enum { KEY_PAIR_ERROR_MAX = 640, KEY_PAIR_SEED_HEX = 64, KEY_PAIR_SIGNATURE_SIZE = 64 };

struct key_pair {
    uint8_t public_key[ACCESS_KEY_SIZE];
    uint8_t secret[64];
};

/* False with a text in error[KEY_PAIR_ERROR_MAX]. */
bool key_pair_read(const char *path, struct key_pair *out, char *error);
void key_pair_of_seed(const uint8_t seed[32], struct key_pair *out);
void key_pair_sign(const struct key_pair *k, const void *message, size_t length,
                   uint8_t signature[KEY_PAIR_SIGNATURE_SIZE]);
void key_pair_forget(struct key_pair *k); /* overwrites it */

#endif
