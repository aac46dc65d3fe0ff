#include "shell/key_pair.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

_Static_assert(crypto_sign_PUBLICKEYBYTES == ACCESS_KEY_SIZE, "Ed25519");
_Static_assert(crypto_sign_SECRETKEYBYTES == sizeof((struct key_pair *)0)->secret, "Ed25519");
_Static_assert(crypto_sign_BYTES == KEY_PAIR_SIGNATURE_SIZE, "Ed25519");
_Static_assert(2 * crypto_sign_SEEDBYTES == KEY_PAIR_SEED_HEX, "Ed25519");

void key_pair_of_seed(const uint8_t seed[32], struct key_pair *out)
{
    crypto_sign_seed_keypair(out->public_key, out->secret, seed);
}

void key_pair_sign(const struct key_pair *k, const void *message, size_t length,
                   uint8_t signature[KEY_PAIR_SIGNATURE_SIZE])
{
    crypto_sign_detached(signature, NULL, message, length, k->secret);
}

void key_pair_forget(struct key_pair *k)
{
    sodium_memzero(k, sizeof *k);
}

bool key_pair_read(const char *path, struct key_pair *out, char *error)
{
    uint8_t seed[crypto_sign_SEEDBYTES];
    char hex[KEY_PAIR_SEED_HEX + 2];
    size_t length = 0;
    const char *end = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t have = fd >= 0 ? read(fd, hex, sizeof hex) : -1;
    if (have < 0)
        snprintf(error, KEY_PAIR_ERROR_MAX, "cannot read %.500s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    if (have < 0)
        return false;
    bool fine =
        have >= KEY_PAIR_SEED_HEX &&
        (have == KEY_PAIR_SEED_HEX || hex[KEY_PAIR_SEED_HEX] == '\n') &&
        have <= KEY_PAIR_SEED_HEX + 1 &&
        sodium_hex2bin(seed, sizeof seed, hex, KEY_PAIR_SEED_HEX, NULL, &length, &end) == 0 &&
        length == sizeof seed;
    if (fine)
        key_pair_of_seed(seed, out);
    else
        snprintf(error, KEY_PAIR_ERROR_MAX,
                 "%.500s is no key: it should be %d hex digits, as `cantus key new` writes them",
                 path, KEY_PAIR_SEED_HEX);
    sodium_memzero(seed, sizeof seed);
    sodium_memzero(hex, sizeof hex);
    return fine;
}
