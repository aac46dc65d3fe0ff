/* How groups, keys and identities are written. */
#include <assert.h>
#include <string.h>

#include "proto/access.h"

bool access_group_valid(const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length > ACCESS_GROUP_MAX)
        return false;
    char path[ACCESS_GROUP_MAX + 2] = "/";
    memcpy(path + 1, name, length + 1);
    return memchr(name, '/', length) == NULL && topic_path_check(path, length + 1) == NULL;
}

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void access_key_write(const uint8_t key[ACCESS_KEY_SIZE], char out[ACCESS_KEY_TEXT + 1])
{
    uint32_t bits = 0, held = 0, at = 0;
    for (uint32_t i = 0; i < ACCESS_KEY_SIZE; i++) {
        bits = bits << 8 | key[i];
        for (held += 8; held >= 6; held -= 6)
            out[at++] = alphabet[bits >> (held - 6) & 63];
    }
    out[at++] = alphabet[bits << (6 - held) & 63];
    assert(at == ACCESS_KEY_TEXT);
    out[at] = 0;
}

bool access_key_read(const char *text, size_t length, uint8_t key[ACCESS_KEY_SIZE])
{
    uint32_t bits = 0, held = 0, at = 0;
    if (length != ACCESS_KEY_TEXT)
        return false;
    for (size_t i = 0; i < length; i++) {
        const char *c = text[i] == 0 ? NULL : strchr(alphabet, text[i]);
        if (c == NULL)
            return false;
        bits = bits << 6 | (uint32_t)(c - alphabet);
        held += 6;
        if (held >= 8) {
            held -= 8;
            key[at++] = (uint8_t)(bits >> held);
        }
    }
    return (bits & ((1u << held) - 1)) == 0; /* each key is written in one way */
}

bool access_identity_key(const char *identity, uint8_t key[ACCESS_KEY_SIZE])
{
    size_t length = strlen(identity);
    return length > 1 + ACCESS_KEY_TEXT + 1 && identity[0] == '@' &&
           identity[1 + ACCESS_KEY_TEXT] == ':' &&
           access_key_read(identity + 1, ACCESS_KEY_TEXT, key);
}
