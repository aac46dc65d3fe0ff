/* TLS 1.3 on a stream's descriptor, which stays the caller's, and non-blocking. RFC 8446.
 *
 * No older version, no renegotiation, no early data, no session tickets, no compression; the
 * application protocol is TLS_PROTOCOL (RFC 7301) where the other side names any. Whoever connects
 * checks the certificate and that it is the server's name; whoever accepts asks for none.
 *
 * Built without OpenSSL there is no context to be had, and the text says so. What a connection needs is
 * OpenSSL's to allocate: some 30 KiB, and no handshake message above 128 KiB is taken. */
#ifndef CANTUS_TRANSPORT_TLS_H
#define CANTUS_TRANSPORT_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TLS_ERROR_MAX = 256, TLS_BINDING_SIZE = 32 };
#define TLS_PROTOCOL "cantus"

struct tls;      /* what many connections have in common */
struct tls_link; /* one of them */

/* Who accepts: PEM files of the certificate, with those between it and its authority behind it, and of
 * its key. Who connects: a PEM file of authorities; NULL: the system's. NULL with a text in
 * error[TLS_ERROR_MAX] that names the file. */
struct tls *tls_server(const char *certificate_file, const char *key_file, char *error);
struct tls *tls_client(const char *ca_file, char *error);
void tls_free(struct tls *t); /* after all links; NULL: nothing */

/* server_name: whom a client wants, a name of the DNS or an IPv4 address in dots. NULL: no memory. */
struct tls_link *tls_begin(struct tls *t, int fd, const char *server_name);
void tls_end(struct tls_link *l); /* without a word to the other side; NULL: nothing */

enum tls_result {
    TLS_DONE,
    TLS_WANT_READ,  /* go on when the descriptor is readable */
    TLS_WANT_WRITE, /* writable */
    TLS_ENDED,      /* by the other side */
    TLS_BROKEN      /* tls_reason says why */
};

enum tls_result tls_handshake(struct tls_link *l);
/* What was read may have brought more that is kept inside: go on until it is not TLS_DONE. */
enum tls_result tls_read(struct tls_link *l, void *bytes, size_t capacity, size_t *length);
/* After a TLS_WANT the same bytes come again, perhaps with more behind them. */
enum tls_result tls_write(struct tls_link *l, const void *bytes, size_t length, size_t *written);
void tls_say_end(struct tls_link *l); /* if there is room for it */

/* The tls-exporter channel binding, RFC 9266: the same on both sides and of this connection alone.
 * False: before the handshake is done. */
bool tls_binding(struct tls_link *l, uint8_t binding[TLS_BINDING_SIZE]);
const char *tls_reason(const struct tls_link *l); /* "" before TLS_BROKEN */

#endif
