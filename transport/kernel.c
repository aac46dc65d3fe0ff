#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "transport/kernel.h"

struct sockaddr_in kernel_sockaddr(struct port_addr a)
{
    struct sockaddr_in out = { .sin_family = AF_INET,
                               .sin_port = htons(a.port),
                               .sin_addr = { .s_addr = htonl(a.ip) } };
    return out;
}

struct port_addr kernel_addr(const struct sockaddr_in *a)
{
    return (struct port_addr) { .ip = ntohl(a->sin_addr.s_addr), .port = ntohs(a->sin_port) };
}

static void kernel_flush(struct transport *t)
{
    struct kernel *k = kernel_of(&t->port);
    if (k->sender.count > 0)
        kernel_send_flush(k);
    k->sender.scratch_used = 0;
    if (k->streams.dirty_count > 0)
        kernel_streams_flush(k);
    /* The core has had a turn, and may take now what it did not. */
    k->streams.offers_owed = k->streams.watched_count;
}

static void kernel_close(struct transport *t)
{
    struct kernel *k = kernel_of(&t->port);
    kernel_streams_close(k);
    for (int c = 0; c < PORT_CHANNELS; c++) {
        if (k->sockets[c] >= 0)
            close(k->sockets[c]);
        if (c != PORT_UNICAST && k->senders[c] >= 0)
            close(k->senders[c]);
    }
    if (k->epoll >= 0)
        close(k->epoll);
    kernel_receiver_close(k);
    kernel_sender_close(k);
    free(k);
}

static bool watch(int epoll, int fd)
{
    struct epoll_event event = { .events = EPOLLIN };
    return fd < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

static int kernel_fd(struct transport *t)
{
    struct kernel *k = kernel_of(&t->port);
    if (k->epoll >= 0)
        return k->epoll;
    k->epoll = epoll_create1(EPOLL_CLOEXEC);
    bool fine = k->epoll >= 0 && watch(k->epoll, k->streams.epoll);
    for (int c = 0; c < PORT_CHANNELS; c++)
        fine = fine && watch(k->epoll, k->sockets[c]);
    if (!fine && k->epoll >= 0) {
        close(k->epoll);
        k->epoll = -1;
    }
    return k->epoll;
}

static const struct port_ops port_ops = {
    .send = kernel_send,
    .scratch = kernel_scratch,
    .stream_connect = kernel_stream_connect,
    .stream_room = kernel_stream_room,
    .stream_write = kernel_stream_write,
    .stream_write_pieces = kernel_stream_write_pieces,
    .stream_close = kernel_stream_close,
    .stream_binding = kernel_stream_binding,
};

static const struct transport_ops transport_ops = {
    .receive = kernel_receive,
    .streams = kernel_streams_poll,
    .flush = kernel_flush,
    .fd = kernel_fd,
    .close = kernel_close,
};

static bool check(const struct transport_options *o, char *error)
{
    if (o->datagram_max < 64 || o->datagram_max > KERNEL_SEGMENTED_MAX) {
        snprintf(error, TRANSPORT_ERROR_MAX, "datagram_max %u: must be 64 to %d", o->datagram_max,
                 KERNEL_SEGMENTED_MAX);
        return false;
    }
    if (o->streams_max > KERNEL_STREAMS_LIMIT || o->stream_buffer_bytes < 4096 ||
        o->stream_buffer_bytes > 1u << 30) {
        snprintf(error, TRANSPORT_ERROR_MAX,
                 "%u streams of %u bytes: at most %d streams, of 4 KiB to 1 GiB each way",
                 o->streams_max, o->stream_buffer_bytes, KERNEL_STREAMS_LIMIT);
        return false;
    }
    return true;
}

struct transport *transport_open_kernel(const struct transport_options *options, char *error)
{
    error[0] = '\0';
    struct kernel *k = calloc(1, sizeof *k);
    if (k == NULL) {
        snprintf(error, TRANSPORT_ERROR_MAX, "out of memory");
        return NULL;
    }
    k->options = *options;
    transport_options_default(&k->options);
    for (int c = 0; c < PORT_CHANNELS; c++)
        k->sockets[c] = k->senders[c] = -1;
    for (int c = 0; c < PORT_CHANNELS; c++)
        k->joins = k->joins || k->options.join[c];
    k->epoll = k->streams.epoll = k->streams.reserve = -1;
    for (int i = 0; i < KERNEL_LISTENERS; i++)
        k->streams.listen[i] = -1;
    k->transport.ops = &transport_ops;
    k->transport.port.ops = &port_ops;
    k->transport.port.datagram_max = k->options.datagram_max;
    if (!check(&k->options, error) || !kernel_setup_sockets(k, error))
        goto fail;
    if (!kernel_sender_init(k) || !kernel_receiver_init(k) || !kernel_streams_init(k)) {
        snprintf(error, TRANSPORT_ERROR_MAX,
                 "out of memory or descriptors for %u streams of %u bytes each way: lower them",
                 k->options.streams_max, k->options.stream_buffer_bytes);
        goto fail;
    }
    if (!kernel_setup_listen(k, error))
        goto fail;
    return &k->transport;
fail:
    kernel_close(&k->transport);
    return NULL;
}
