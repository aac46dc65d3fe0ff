/* Goal: a page of a proxy's clients comes back through its protobuf form, fits its maximum at its fullest, and
 * neither cut nor damaged ones pass for it. */
#include "proto/clients.h"
#include "tests/proto/suite.h"

static struct clients in, out;
static uint8_t bytes[CLIENTS_SIZE_MAX];

static void fill(void)
{
    memset(&in, 0, sizeof in);
    in.next = UINT32_MAX;
    in.tip = in.clock_ns = UINT64_MAX;
    in.count = CLIENTS_PAGE_MAX;
    for (uint32_t i = 0; i < in.count; i++) {
        struct client *c = &in.all[i];
        c->session = UINT64_MAX - i;
        c->ip = UINT32_MAX;
        c->port = UINT16_MAX;
        c->has_key = i % 2 == 0;
        memset(c->key, c->has_key ? 0xab : 0, sizeof c->key);
        memset(c->agent, 'a', EDGE_AGENT_MAX);
        c->since_ns = c->seq = c->bytes_in = c->bytes_out = c->published = UINT64_MAX - i;
        c->subtrees = c->publishers = UINT32_MAX;
        c->flags = i % 16;
    }
}

START_TEST(the_fullest_comes_back)
{
    fill();
    size_t length = clients_encode(&in, bytes, sizeof bytes);
    ck_assert_uint_gt(length, 0);
    ck_assert(clients_decode(bytes, length, &out));
    ck_assert_mem_eq(&in, &out, sizeof in);
    ck_assert_uint_eq(clients_encode(&in, bytes, length - 1), 0);
}
END_TEST

START_TEST(the_emptiest_comes_back)
{
    memset(&in, 0, sizeof in);
    size_t length = clients_encode(&in, bytes, sizeof bytes);
    ck_assert_uint_gt(length, 0);
    ck_assert(clients_decode(bytes, length, &out));
    ck_assert_mem_eq(&in, &out, sizeof in);
}
END_TEST

START_TEST(what_is_none_is_refused)
{
    fill();
    in.count = CLIENTS_PAGE_MAX + 1;
    ck_assert_uint_eq(clients_encode(&in, bytes, sizeof bytes), 0);
    fill();
    in.all[3].flags = 16;
    ck_assert_uint_eq(clients_encode(&in, bytes, sizeof bytes), 0);
    fill();
    memset(in.all[0].agent, 'a', sizeof in.all[0].agent);
    ck_assert_uint_eq(clients_encode(&in, bytes, sizeof bytes), 0);
    fill();
    in.count = 3;
    size_t length = clients_encode(&in, bytes, sizeof bytes);
    /* Cut short it is another page at most: never more clients, and never half of one. */
    for (size_t cut = 0; cut < length; cut++)
        if (clients_decode(bytes, cut, &out)) {
            ck_assert_uint_lt(out.count, 3);
            ck_assert_mem_eq(out.all, in.all, out.count * sizeof in.all[0]);
        } else
            ck_assert_uint_eq(out.count, 0);
    for (size_t at = 0; at < length; at++)
        for (int bit = 0; bit < 8; bit++) {
            bytes[at] ^= (uint8_t)(1 << bit);
            if (clients_decode(bytes, length, &out))
                ck_assert_uint_le(out.count, CLIENTS_PAGE_MAX);
            bytes[at] ^= (uint8_t)(1 << bit);
        }
}
END_TEST

SUITE_RUN("clients", the_fullest_comes_back, the_emptiest_comes_back, what_is_none_is_refused)
