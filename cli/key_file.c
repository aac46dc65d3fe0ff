#include "cli/key_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SEED_HEX = 2 * crypto_sign_SEEDBYTES };
_Static_assert(crypto_sign_PUBLICKEYBYTES == ACCESS_KEY_SIZE, "Ed25519");

static void derive(const uint8_t *seed, uint8_t public_key[ACCESS_KEY_SIZE])
{
    uint8_t secret[crypto_sign_SECRETKEYBYTES];
    crypto_sign_seed_keypair(public_key, secret, seed);
    sodium_memzero(secret, sizeof secret);
}

bool key_file_new(const char *path, uint8_t public_key[ACCESS_KEY_SIZE], char *error)
{
    uint8_t seed[crypto_sign_SEEDBYTES];
    char hex[SEED_HEX + 2];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        snprintf(error, KEY_FILE_ERROR_MAX, "cannot make %.500s: %s", path, strerror(errno));
        return false;
    }
    char text[ACCESS_KEY_TEXT + 1];
    do { /* no key that a command line would take for an option */
        randombytes_buf(seed, sizeof seed);
        derive(seed, public_key);
        access_key_write(public_key, text);
    } while (text[0] == '-');
    sodium_bin2hex(hex, sizeof hex, seed, sizeof seed);
    hex[SEED_HEX] = '\n';
    bool fine = write(fd, hex, SEED_HEX + 1) == SEED_HEX + 1 && fsync(fd) == 0;
    if (!fine) {
        snprintf(error, KEY_FILE_ERROR_MAX, "cannot write %.500s: %s", path, strerror(errno));
        unlink(path);
    }
    close(fd);
    sodium_memzero(seed, sizeof seed);
    sodium_memzero(hex, sizeof hex);
    return fine;
}

bool key_file_read(const char *path, uint8_t public_key[ACCESS_KEY_SIZE], char *error)
{
    uint8_t seed[crypto_sign_SEEDBYTES];
    char hex[SEED_HEX + 2];
    size_t length = 0;
    const char *end = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t have = fd >= 0 ? read(fd, hex, sizeof hex) : -1;
    if (have < 0)
        snprintf(error, KEY_FILE_ERROR_MAX, "cannot read %.500s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    if (have < 0)
        return false;
    bool fine = have >= SEED_HEX && (have == SEED_HEX || hex[SEED_HEX] == '\n') &&
                have <= SEED_HEX + 1 &&
                sodium_hex2bin(seed, sizeof seed, hex, SEED_HEX, NULL, &length, &end) == 0 &&
                length == sizeof seed;
    if (fine)
        derive(seed, public_key);
    else
        snprintf(error, KEY_FILE_ERROR_MAX,
                 "%.500s is no key: it should be %d hex digits, as `cantus key new` writes them",
                 path, SEED_HEX);
    sodium_memzero(seed, sizeof seed);
    sodium_memzero(hex, sizeof hex);
    return fine;
}
