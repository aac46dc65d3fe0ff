/* Without OpenSSL: no context, and so no link either. */
#include <stdio.h>
#include <string.h>

#include "transport/tls.h"

static struct tls *missing(char *error)
{
    snprintf(error, TLS_ERROR_MAX, "TLS: not in this build: it was made without OpenSSL");
    return NULL;
}

struct tls *tls_server(const char *certificate_file, const char *key_file, char *error)
{
    (void)certificate_file;
    (void)key_file;
    return missing(error);
}

struct tls *tls_client(const char *ca_file, char *error)
{
    (void)ca_file;
    return missing(error);
}

void tls_free(struct tls *t)
{
    (void)t;
}

struct tls_link *tls_begin(struct tls *t, int fd, const char *server_name)
{
    (void)t;
    (void)fd;
    (void)server_name;
    return NULL;
}

void tls_end(struct tls_link *l)
{
    (void)l;
}

enum tls_result tls_handshake(struct tls_link *l)
{
    (void)l;
    return TLS_BROKEN;
}

enum tls_result tls_read(struct tls_link *l, void *bytes, size_t capacity, size_t *length)
{
    (void)l;
    (void)bytes;
    (void)capacity;
    *length = 0;
    return TLS_BROKEN;
}

enum tls_result tls_write(struct tls_link *l, const void *bytes, size_t length, size_t *written)
{
    (void)l;
    (void)bytes;
    (void)length;
    *written = 0;
    return TLS_BROKEN;
}

void tls_say_end(struct tls_link *l)
{
    (void)l;
}

bool tls_binding(struct tls_link *l, uint8_t binding[TLS_BINDING_SIZE])
{
    (void)l;
    memset(binding, 0, TLS_BINDING_SIZE);
    return false;
}

const char *tls_reason(const struct tls_link *l)
{
    (void)l;
    return "";
}
