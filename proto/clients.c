#include "proto/clients.h"

#include <string.h>

#include "control.pb-c.h"
#include "proto/arena.h"

enum { FLAGS_ALL = CLIENT_TEXT | CLIENT_SUBSCRIBED | CLIENT_STABLE | CLIENT_BEHIND };

/* protobuf-c's structs want writable strings and arrays of pointers. */
struct packing {
    Cantus__Clients page;
    Cantus__Client clients[CLIENTS_PAGE_MAX];
    Cantus__Client *list[CLIENTS_PAGE_MAX];
    struct clients copy;
};

static void pack(Cantus__Client *out, struct client *in)
{
    cantus__client__init(out);
    out->session = in->session;
    out->ip = in->ip;
    out->port = in->port;
    out->key.data = in->key;
    out->key.len = in->has_key ? sizeof in->key : 0;
    out->agent = in->agent;
    out->since_ns = in->since_ns;
    out->seq = in->seq;
    out->bytes_in = in->bytes_in;
    out->bytes_out = in->bytes_out;
    out->published = in->published;
    out->subtrees = in->subtrees;
    out->publishers = in->publishers;
    out->flags = in->flags;
}

size_t clients_encode(const struct clients *in, uint8_t *out, size_t capacity)
{
    struct packing p;
    if (in->count > CLIENTS_PAGE_MAX)
        return 0;
    p.copy = *in;
    cantus__clients__init(&p.page);
    p.page.next = in->next;
    p.page.tip = in->tip;
    p.page.clock_ns = in->clock_ns;
    for (uint32_t i = 0; i < in->count; i++) {
        if (memchr(in->all[i].agent, 0, sizeof in->all[i].agent) == NULL ||
            (in->all[i].flags & ~(uint32_t)FLAGS_ALL) != 0)
            return 0;
        pack(&p.clients[i], &p.copy.all[i]);
        p.list[i] = &p.clients[i];
    }
    p.page.n_clients = in->count;
    p.page.clients = p.list;
    size_t size = cantus__clients__get_packed_size(&p.page);
    return size > capacity || size > CLIENTS_SIZE_MAX ? 0 : cantus__clients__pack(&p.page, out);
}

static bool unpack(const Cantus__Client *in, struct client *out)
{
    size_t agent = strlen(in->agent);
    if ((in->key.len != 0 && in->key.len != sizeof out->key) || in->port > 65535 ||
        agent >= sizeof out->agent || (in->flags & ~(uint32_t)FLAGS_ALL) != 0)
        return false;
    out->has_key = in->key.len != 0;
    if (out->has_key)
        memcpy(out->key, in->key.data, sizeof out->key);
    memcpy(out->agent, in->agent, agent + 1);
    out->session = in->session;
    out->ip = in->ip;
    out->port = (uint16_t)in->port;
    out->since_ns = in->since_ns;
    out->seq = in->seq;
    out->bytes_in = in->bytes_in;
    out->bytes_out = in->bytes_out;
    out->published = in->published;
    out->subtrees = in->subtrees;
    out->publishers = in->publishers;
    out->flags = in->flags;
    return true;
}

bool clients_decode(const uint8_t *bytes, size_t length, struct clients *out)
{
    memset(out, 0, sizeof *out);
    if (length > CLIENTS_SIZE_MAX)
        return false;
    struct arena arena;
    ProtobufCAllocator allocator = arena_allocator(&arena);
    Cantus__Clients *in = cantus__clients__unpack(&allocator, length, bytes);
    bool good = in != NULL && in->n_clients <= CLIENTS_PAGE_MAX;
    for (size_t i = 0; good && i < in->n_clients; i++)
        good = unpack(in->clients[i], &out->all[i]);
    if (!good) {
        memset(out, 0, sizeof *out);
        return false;
    }
    out->next = in->next;
    out->tip = in->tip;
    out->clock_ns = in->clock_ns;
    out->count = (uint32_t)in->n_clients;
    return true;
}
