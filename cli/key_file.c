#include "cli/key_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "shell/key_pair.h"

bool key_file_new(const char *path, uint8_t public_key[ACCESS_KEY_SIZE], char *error)
{
    uint8_t seed[crypto_sign_SEEDBYTES];
    char hex[KEY_PAIR_SEED_HEX + 2];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        snprintf(error, KEY_FILE_ERROR_MAX, "cannot make %.500s: %s", path, strerror(errno));
        return false;
    }
    char text[ACCESS_KEY_TEXT + 1];
    struct key_pair pair;
    do { /* no key that a command line would take for an option */
        randombytes_buf(seed, sizeof seed);
        key_pair_of_seed(seed, &pair);
        memcpy(public_key, pair.public_key, ACCESS_KEY_SIZE);
        access_key_write(public_key, text);
    } while (text[0] == '-');
    sodium_bin2hex(hex, sizeof hex, seed, sizeof seed);
    hex[KEY_PAIR_SEED_HEX] = '\n';
    bool fine = write(fd, hex, KEY_PAIR_SEED_HEX + 1) == KEY_PAIR_SEED_HEX + 1 && fsync(fd) == 0;
    if (!fine) {
        snprintf(error, KEY_FILE_ERROR_MAX, "cannot write %.500s: %s", path, strerror(errno));
        unlink(path);
    }
    close(fd);
    key_pair_forget(&pair);
    sodium_memzero(seed, sizeof seed);
    sodium_memzero(hex, sizeof hex);
    return fine;
}

bool key_file_read(const char *path, uint8_t public_key[ACCESS_KEY_SIZE], char *error)
{
    _Static_assert((int)KEY_PAIR_ERROR_MAX == (int)KEY_FILE_ERROR_MAX, "one text");
    struct key_pair pair;
    if (!key_pair_read(path, &pair, error))
        return false;
    memcpy(public_key, pair.public_key, ACCESS_KEY_SIZE);
    key_pair_forget(&pair);
    return true;
}

void key_file_look(const char *path)
{
    struct stat is;
    if (stat(path, &is) == 0 && S_ISREG(is.st_mode) && (is.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        cli_fail("warning: others on this host may use the key %s: chmod 600 %s", path, path);
}
