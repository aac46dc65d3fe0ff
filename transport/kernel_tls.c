/* Where a stream's bytes go through TLS on their way between its buffers and the kernel. */
#include <sys/socket.h>

#include "transport/kernel.h"

bool kernel_tls_begin(struct kernel *k, struct kernel_stream *stream, const char *server_name)
{
    stream->tls = tls_begin(k->options.tls, stream->fd, server_name);
    stream->shakes = true;
    stream->wants_write = server_name != NULL; /* who connects speaks first */
    return stream->tls != NULL;
}

bool kernel_tls_shake(struct kernel_stream *stream)
{
    enum tls_result result = tls_handshake(stream->tls);
    stream->shakes = result == TLS_WANT_READ || result == TLS_WANT_WRITE;
    stream->wants_write = result == TLS_WANT_WRITE;
    return stream->shakes || result == TLS_DONE;
}

/* As much as there is, because epoll does not know of what TLS has taken from the kernel. */
size_t kernel_tls_read(struct kernel_stream *stream, size_t room, bool *over)
{
    enum tls_result result = TLS_DONE;
    size_t total = 0;
    while (total < room && result == TLS_DONE) {
        size_t got;
        result = tls_read(stream->tls, stream->in + stream->in_end + total, room - total, &got);
        total += got;
    }
    stream->more_in = result == TLS_DONE;
    stream->wants_write = result == TLS_WANT_WRITE;
    *over = result == TLS_ENDED || result == TLS_BROKEN;
    return total;
}

ssize_t kernel_tls_write(struct kernel_stream *stream, const uint8_t *bytes, size_t length)
{
    size_t written;
    enum tls_result result = tls_write(stream->tls, bytes, length, &written);
    if (result == TLS_BROKEN || result == TLS_ENDED) {
        /* The socket itself may be fine, and epoll have nothing to report. */
        int ignored = shutdown(stream->fd, SHUT_RDWR);
        (void)ignored;
    }
    return result == TLS_DONE ? (ssize_t)written : -1;
}
