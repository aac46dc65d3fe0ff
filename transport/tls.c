#include "transport/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct tls {
    SSL_CTX *context;
    BIO_METHOD *method;
};

struct tls_link {
    SSL *ssl;
    int fd;
    int error;  /* of the last system call that failed */
    bool ended; /* by the other side */
    bool client;
    char reason[TLS_ERROR_MAX];
};

/* ---- the descriptor: OpenSSL's own write would raise SIGPIPE in a program that uses the library ---- */

static int bio_read(BIO *bio, char *bytes, int length)
{
    struct tls_link *l = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t got = recv(l->fd, bytes, (size_t)length, MSG_DONTWAIT);
    l->ended = l->ended || got == 0;
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_read(bio);
    else if (got < 0)
        l->error = errno;
    return (int)got;
}

static int bio_write(BIO *bio, const char *bytes, int length)
{
    struct tls_link *l = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t sent = send(l->fd, bytes, (size_t)length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_write(bio);
    else if (sent < 0)
        l->error = errno;
    return (int)sent;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *method_new(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "cantus stream");
    if (m == NULL)
        return NULL;
    BIO_meth_set_read(m, bio_read);
    BIO_meth_set_write(m, bio_write);
    BIO_meth_set_ctrl(m, bio_ctrl);
    return m;
}

/* ---- contexts -------------------------------------------------------------------------------- */

/* What OpenSSL says of the first error of a call, the cause of the others; forgets them. */
static const char *cause(void)
{
    unsigned long code = ERR_peek_error();
    const char *text = ERR_reason_error_string(code);
    if (text == NULL && ERR_SYSTEM_ERROR(code))
        text = strerror(ERR_GET_REASON(code));
    ERR_clear_error();
    return text != NULL ? text : "no reason is known";
}

static const unsigned char protocols[] = { sizeof TLS_PROTOCOL - 1, 'c', 'a', 'n', 't', 'u', 's' };
_Static_assert(sizeof protocols == sizeof TLS_PROTOCOL, "length, and the name");

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_length,
                           const unsigned char *in, unsigned int in_length, void *ctx)
{
    (void)ssl;
    (void)ctx;
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, out_length, protocols, sizeof protocols, in, in_length) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* Programs that use the library have their own way with signals and threads: nothing is installed. */
static struct tls *context_new(const SSL_METHOD *role, char *error)
{
    struct tls *t = calloc(1, sizeof *t);
    if (t == NULL)
        goto fail;
    t->context = SSL_CTX_new(role);
    t->method = method_new();
    if (t->context == NULL || t->method == NULL ||
        SSL_CTX_set_min_proto_version(t->context, TLS1_3_VERSION) != 1)
        goto fail;
    SSL_CTX_set_options(t->context,
                        SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET);
    SSL_CTX_set_mode(t->context, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                     SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                     SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(t->context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(t->context, 0);
    SSL_CTX_set_max_early_data(t->context, 0);
    SSL_CTX_set_read_ahead(t->context, 1); /* a record is a system call, not two */
    return t;
fail:
    snprintf(error, TLS_ERROR_MAX, "TLS: OpenSSL cannot be used: %s", cause());
    tls_free(t);
    return NULL;
}

static int no_passphrase(char *out, int capacity, int writing, void *ctx)
{
    (void)writing;
    (void)ctx;
    if (capacity > 0)
        out[0] = '\0';
    return 0; /* a daemon has nobody to ask */
}

struct tls *tls_server(const char *certificate_file, const char *key_file, char *error)
{
    struct tls *t = context_new(TLS_server_method(), error);
    if (t == NULL)
        return NULL;
    SSL_CTX_set_alpn_select_cb(t->context, choose_protocol, NULL);
    SSL_CTX_set_default_passwd_cb(t->context, no_passphrase);
    if (SSL_CTX_use_certificate_chain_file(t->context, certificate_file) != 1)
        snprintf(error, TLS_ERROR_MAX, "TLS: certificate %.150s: %s", certificate_file, cause());
    else if (SSL_CTX_use_PrivateKey_file(t->context, key_file, SSL_FILETYPE_PEM) != 1)
        snprintf(error, TLS_ERROR_MAX, "TLS: key %.150s: %s", key_file, cause());
    else if (SSL_CTX_check_private_key(t->context) != 1)
        snprintf(error, TLS_ERROR_MAX, "TLS: key %.80s is not that of certificate %.80s: %s",
                 key_file, certificate_file, cause());
    else
        return t;
    tls_free(t);
    return NULL;
}

struct tls *tls_client(const char *ca_file, char *error)
{
    struct tls *t = context_new(TLS_client_method(), error);
    if (t == NULL)
        return NULL;
    SSL_CTX_set_verify(t->context, SSL_VERIFY_PEER, NULL);
    bool fine = SSL_CTX_set_alpn_protos(t->context, protocols, sizeof protocols) == 0;
    if (ca_file != NULL)
        fine = fine && SSL_CTX_load_verify_file(t->context, ca_file) == 1;
    else
        fine = fine && SSL_CTX_set_default_verify_paths(t->context) == 1;
    if (fine)
        return t;
    snprintf(error, TLS_ERROR_MAX, "TLS: authorities %.150s: %s",
             ca_file != NULL ? ca_file : "of the system", cause());
    tls_free(t);
    return NULL;
}

void tls_free(struct tls *t)
{
    if (t == NULL)
        return;
    SSL_CTX_free(t->context);
    BIO_meth_free(t->method);
    free(t);
}

/* ---- connections ----------------------------------------------------------------------------- */

static bool want_name(SSL *ssl, const char *name)
{
    struct in_addr numeric;
    if (inet_pton(AF_INET, name, &numeric) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    char sent[TLSEXT_MAXLEN_host_name + 1]; /* the macro takes no constant */
    int length = snprintf(sent, sizeof sent, "%s", name);
    return length > 0 && (size_t)length < sizeof sent && SSL_set1_host(ssl, name) == 1 &&
           SSL_set_tlsext_host_name(ssl, sent) == 1;
}

struct tls_link *tls_begin(struct tls *t, int fd, const char *server_name)
{
    struct tls_link *l = calloc(1, sizeof *l);
    if (l == NULL)
        return NULL;
    l->fd = fd;
    l->client = server_name != NULL;
    l->ssl = SSL_new(t->context);
    BIO *bio = l->ssl != NULL ? BIO_new(t->method) : NULL;
    if (bio == NULL)
        goto fail;
    BIO_set_data(bio, l);
    BIO_set_init(bio, 1);
    SSL_set_bio(l->ssl, bio, bio);
    if (l->client && !want_name(l->ssl, server_name))
        goto fail;
    if (l->client)
        SSL_set_connect_state(l->ssl);
    else
        SSL_set_accept_state(l->ssl);
    return l;
fail:
    ERR_clear_error();
    tls_end(l);
    return NULL;
}

void tls_end(struct tls_link *l)
{
    if (l == NULL)
        return;
    SSL_free(l->ssl);
    free(l);
}

static bool is_plain(void)
{
    int reason = ERR_GET_REASON(ERR_peek_error());
    return reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST ||
           reason == SSL_R_HTTPS_PROXY_REQUEST;
}

/* OpenSSL ends without a word when what comes first is no TLS. A client of ours knows this one. */
static void say_alert(const struct tls_link *l)
{
    static const uint8_t alert[] = { 21, 3, 3, 0, 2, 2, 70 }; /* fatal, protocol_version */
    ssize_t ignored = send(l->fd, alert, sizeof alert, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)ignored;
}

static void give_reason(struct tls_link *l)
{
    long verdict = SSL_get_verify_result(l->ssl);
    if (l->client && verdict != X509_V_OK)
        snprintf(l->reason, sizeof l->reason, "TLS: its certificate is not accepted: %s",
                 X509_verify_cert_error_string(verdict));
    else if (is_plain())
        snprintf(l->reason, sizeof l->reason, "TLS: the other side does not speak it");
    else if (l->error != 0)
        snprintf(l->reason, sizeof l->reason, "TLS: %s", strerror(l->error));
    else
        snprintf(l->reason, sizeof l->reason, "TLS: %s", cause());
}

/* Of a call that has returned `returned`. An end that is not announced is an end, too: what the client
 * protocol sends last says whether it is complete. */
static enum tls_result result_of(struct tls_link *l, int returned)
{
    int kind = SSL_get_error(l->ssl, returned);
    enum tls_result result = TLS_BROKEN;
    if (kind == SSL_ERROR_NONE)
        result = TLS_DONE;
    else if (kind == SSL_ERROR_WANT_READ)
        result = TLS_WANT_READ;
    else if (kind == SSL_ERROR_WANT_WRITE)
        result = TLS_WANT_WRITE;
    else if (kind == SSL_ERROR_ZERO_RETURN || l->ended)
        result = TLS_ENDED;
    if (result == TLS_BROKEN && l->reason[0] == '\0') {
        if (!l->client && is_plain())
            say_alert(l);
        give_reason(l);
    }
    ERR_clear_error();
    return result;
}

enum tls_result tls_handshake(struct tls_link *l)
{
    ERR_clear_error(); /* of others in this thread: the queue is shared */
    return result_of(l, SSL_do_handshake(l->ssl));
}

enum tls_result tls_read(struct tls_link *l, void *bytes, size_t capacity, size_t *length)
{
    ERR_clear_error();
    *length = 0;
    return result_of(l, SSL_read_ex(l->ssl, bytes, capacity, length));
}

enum tls_result tls_write(struct tls_link *l, const void *bytes, size_t length, size_t *written)
{
    ERR_clear_error();
    *written = 0;
    return result_of(l, SSL_write_ex(l->ssl, bytes, length, written));
}

void tls_say_end(struct tls_link *l)
{
    ERR_clear_error();
    if (SSL_is_init_finished(l->ssl) && l->reason[0] == '\0') {
        int ignored = SSL_shutdown(l->ssl);
        (void)ignored;
    }
    ERR_clear_error();
}

bool tls_binding(struct tls_link *l, uint8_t binding[TLS_BINDING_SIZE])
{
    static const char label[] = "EXPORTER-Channel-Binding";
    memset(binding, 0, TLS_BINDING_SIZE);
    bool done = SSL_is_init_finished(l->ssl) &&
                SSL_export_keying_material(l->ssl, binding, TLS_BINDING_SIZE, label,
                                           sizeof label - 1, (const unsigned char *)"", 0, 1) == 1;
    ERR_clear_error();
    return done;
}

const char *tls_reason(const struct tls_link *l)
{
    return l->reason;
}
