/* A store's files as a source: offline replay. */
#include "libclient/client_private.h"

#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void port_takes_nothing(struct port *port, enum port_channel channel, struct port_addr to,
                               const uint8_t *bytes, uint32_t length)
{
    (void)port;
    (void)channel;
    (void)to;
    (void)bytes;
    (void)length;
}

static uint8_t *port_no_scratch(struct port *port, uint32_t length)
{
    static uint8_t scratch[PORT_SCRATCH_MAX];
    (void)port;
    (void)length;
    return scratch;
}

static uint32_t port_no_connect(struct port *port, struct port_addr to)
{
    (void)port;
    (void)to;
    return 0;
}

static size_t port_no_room(struct port *port, uint32_t stream, size_t want)
{
    (void)port;
    (void)stream;
    (void)want;
    return 0;
}

static void port_no_write(struct port *port, uint32_t stream, const void *bytes, size_t length)
{
    (void)port;
    (void)stream;
    (void)bytes;
    (void)length;
}

static void port_no_close(struct port *port, uint32_t stream)
{
    (void)port;
    (void)stream;
}

static const struct port_ops nowhere = {
    .send = port_takes_nothing,
    .scratch = port_no_scratch,
    .stream_connect = port_no_connect,
    .stream_room = port_no_room,
    .stream_write = port_no_write,
    .stream_close = port_no_close,
};

bool client_open_journal(struct cantus_client *c, const char *directory, char *error)
{
    char text[256] = "";
    struct disk_options d = { .directory = directory, .read_only = true };
    c->disk = disk_open_file(&d, text);
    if (c->disk == NULL) {
        snprintf(error, CANTUS_ERROR_MAX, "%s", text);
        return false;
    }
    c->readable = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->readable < 0) {
        snprintf(error, CANTUS_ERROR_MAX, "no descriptor left: raise `ulimit -n`");
        return false;
    }
    c->port = (struct port) { .ops = &nowhere, .datagram_max = WIRE_DATAGRAM_DEFAULT };
    struct client_core_options o = client_core_options_of(c);
    c->core = client_core_create(&o, &c->port, loop_clock(), error);
    return c->core != NULL;
}

void client_close_journal(struct cantus_client *c)
{
    journal_walk_end(c->walk);
    if (c->disk != NULL)
        c->disk->ops->destroy(c->disk);
    if (c->readable >= 0)
        close(c->readable);
}

static bool on_batch(void *ctx, const uint8_t *bytes, const struct batch_header *header,
                     uint64_t segment, uint64_t offset)
{
    struct cantus_client *c = ctx;
    if (!client_core_apply_batch(c->core, bytes, header)) {
        snprintf(c->error, sizeof c->error,
                 "the batch of seq %llu, in segment %llu at byte %llu, does not follow what comes "
                 "before it: `cantus journal verify` tells more",
                 (unsigned long long)header->first_seq, (unsigned long long)segment,
                 (unsigned long long)offset);
        c->broken = true;
        return false;
    }
    c->tip = batch_end_seq(header) - 1;
    return client_core_status(c->core) == CANTUS_OK;
}

/* One segment. */
enum cantus_status client_poll_journal(struct cantus_client *c)
{
    if (c->status != CANTUS_OK)
        return c->status;
    char text[JOURNAL_ERROR_MAX] = "not enough memory";
    enum journal_error e = JOURNAL_OK;
    bool more = false;
    if (c->walk == NULL)
        c->walk = journal_walk_begin(c->disk, 1, on_batch, c, &c->walked, &e, text);
    if (c->walk != NULL)
        e = journal_walk_next(c->walk, &more);
    enum cantus_status status = client_core_status(c->core);
    if (c->walked.damaged && (c->broken || status == CANTUS_OK)) {
        snprintf(c->error, sizeof c->error, "%s", c->walked.damage);
        c->status = CANTUS_ERROR;
    } else if (c->broken) {
        c->status = CANTUS_ERROR;
    } else if (status != CANTUS_OK) {
        c->status = status;
    } else if (e != JOURNAL_OK) {
        snprintf(c->error, sizeof c->error, "%s", text);
        c->status = CANTUS_ERROR;
    } else if (!more) {
        c->status = CANTUS_END;
    }
    return c->status;
}
