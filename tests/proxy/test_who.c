/* WHO: that all clients are told of, each once, in pages of bounded size; that it takes the right to read
 * /sys/edge; that all who ask together get so many pages a second; and that whoever does not take its answers
 * gets no more of them. */
#include "proto/clients.h"
#include "rig.h"

static struct clients page;

static void ask(struct rig *r, uint32_t c, uint32_t place)
{
    const struct edge_who who = { place };
    uint8_t frame[16];
    rig_write(r, c, frame, edge_who_encode(&who, frame, sizeof frame));
}

/* Whether a page has come; it is in `page`. */
static bool answered(struct rig *r, uint32_t c)
{
    size_t length;
    struct edge_clients clients;
    const uint8_t *body = rig_next(r, c, EDGE_CLIENTS, &length);
    if (body == NULL)
        return false;
    ck_assert_uint_le(length, 4096);
    ck_assert(edge_clients_decode(body, length, &clients));
    ck_assert(clients_decode(clients.page, clients.length, &page));
    return true;
}

/* Somebody who may ask. */
static uint32_t asker(struct rig *r)
{
    struct rig_key key = rig_key(9);
    rig_grant(r, &key, ACCESS_READ, "/sys/edge");
    return rig_login(r, &key);
}

START_TEST(every_client_is_on_one_page)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    rig_grant(r, &key, ACCESS_READ | ACCESS_WRITE, "/a");
    enum { OTHERS = 40 };
    uint32_t reader = rig_login(r, &key);
    for (uint32_t i = 1; i < OTHERS; i++)
        rig_hang_up(r, rig_login(r, NULL));
    rig_run(r);
    for (uint32_t i = 1; i < OTHERS; i++)
        rig_login(r, i % 2 == 0 ? &key : NULL);
    rig_subscribe(r, reader, "/a", EDGE_FROM_TIP);
    rig_run(r);
    rig_opened(r, reader, "one", 1);
    uint32_t c = asker(r), place = 0, pages = 0, all = 0, with_key = 0, reading = 0;
    uint64_t before = 0;
    do {
        ask(r, c, place);
        rig_pass(r, 10 * 1000 * 1000);
        ck_assert(answered(r, c));
        ck_assert_uint_le(page.count, 16);
        ck_assert_uint_ge(page.tip, rig_position(r).seq);
        for (uint32_t i = 0; i < page.count; i++) {
            const struct client *found = &page.all[i];
            ck_assert_uint_ne(found->session, before);
            before = found->session;
            ck_assert_str_eq(found->agent, "rig");
            with_key += found->has_key;
            if ((found->flags & CLIENT_SUBSCRIBED) == 0)
                continue;
            reading++;
            ck_assert_uint_eq(found->subtrees, 1);
            ck_assert_uint_eq(found->publishers, 1);
            ck_assert_uint_ge(found->bytes_out, 1);
        }
        all += page.count;
        ck_assert(page.next == 0 || page.next > place);
        place = page.next;
        ck_assert_uint_lt(++pages, 10);
    } while (place != 0);
    ck_assert_uint_eq(all, OTHERS + 1);
    ck_assert_uint_eq(pages, 3);
    ck_assert_uint_eq(with_key, 1 + (OTHERS - 1) / 2 + 1);
    ck_assert_uint_eq(reading, 1);
    ask(r, c, UINT32_MAX);
    rig_pass(r, 10 * 1000 * 1000);
    ck_assert(answered(r, c));
    ck_assert_uint_eq(page.count + page.next, 0);
    rig_free(r);
}
END_TEST

START_TEST(it_takes_the_right_to_read_sys_edge)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    rig_grant(r, &key, ACCESS_READ | ACCESS_WRITE, "/");
    uint32_t c[] = { rig_login(r, &key), rig_login(r, NULL) };
    for (uint32_t i = 0; i < 2; i++) {
        ask(r, c[i], 0);
        rig_pass(r, 10 * 1000 * 1000);
        struct edge_refused no = rig_refused(r, c[i]);
        ck_assert_uint_eq(no.request, EDGE_WHO);
        ck_assert_uint_eq(no.reason, EDGE_REFUSED_RIGHT);
        ck_assert_uint_eq(no.right, ACCESS_READ);
        ck_assert_str_eq(no.subject, "/sys/edge");
        ck_assert_uint_eq(rig_counter(r, COUNTER_REFUSED_RIGHT), i + 1);
        ck_assert(!answered(r, c[i]));
    }
    rig_grant(r, &key, ACCESS_READ, "/sys/edge");
    ask(r, c[0], 0);
    rig_pass(r, 10 * 1000 * 1000);
    ck_assert(answered(r, c[0]));
    rig_revoke(r, &key, ACCESS_READ, "/sys/edge");
    ask(r, c[0], 0);
    rig_pass(r, 10 * 1000 * 1000);
    ck_assert(!answered(r, c[0]));
    rig_free(r);
}
END_TEST

START_TEST(so_many_a_second_for_all_who_ask)
{
    struct rig *r = rig_new();
    uint32_t one = asker(r);
    struct rig_key key = rig_key(9);
    uint32_t two = rig_login(r, &key), pages = 0;
    rig_pass(r, 10 * 1000 * 1000);
    for (uint32_t i = 0; i < 1000; i++) {
        ask(r, one, 0);
        ask(r, two, 0);
    }
    rig_run(r);
    ck_assert_uint_ge(rig_counter(r, COUNTER_THROTTLED), 1);
    rig_pass(r, 100 * 1000 * 1000);
    while (answered(r, one))
        pages++;
    while (answered(r, two))
        pages++;
    ck_assert_uint_le(pages, 51);
    ck_assert_uint_ge(pages, 40);
    struct rig_honest h = rig_honest_new(r);
    rig_honest_goes_on(r, &h);
    rig_free(r);
}
END_TEST

/* There is room for the answer to any other request, and not for one more page, when it stops. */
START_TEST(who_takes_no_answers_gets_no_more)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    for (uint32_t i = 0; i < 20; i++)
        rig_login(r, &key);
    uint32_t c = asker(r), pages = 0;
    struct rig_stream *s = &r->streams[c - 1];
    size_t before = s->out_length;
    ask(r, c, 0);
    rig_pass(r, 10 * 1000 * 1000);
    size_t size = s->out_length - before;
    ck_assert_uint_gt(size, 1100);
    s->deaf = true;
    s->untaken = 0;
    s->room = 3 * size + 1024 + 40;
    ck_assert_uint_gt(s->room, 4096);
    for (uint32_t i = 0; i < 99; i++)
        ask(r, c, 0);
    rig_pass(r, 1000 * 1000 * 1000);
    ck_assert_uint_le(s->untaken, s->room);
    ck_assert_uint_gt(s->in_length, 0);
    s->deaf = false;
    rig_pass(r, 1000 * 1000 * 1000);
    while (answered(r, c))
        pages++;
    ck_assert_uint_eq(pages, 100);
    rig_free(r);
}
END_TEST

START_TEST(what_is_malformed_is_the_end)
{
    struct rig *r = rig_new();
    uint32_t c = asker(r);
    rig_write(r, c, "\x04\0\0\0\x08\0\0\0", 8);
    rig_run(r);
    rig_closed(r, c, EDGE_CLOSING_PROTOCOL);
    uint32_t early = rig_connect(r, RIG_HERE);
    ask(r, early, 0);
    rig_run(r);
    rig_closed(r, early, EDGE_CLOSING_PROTOCOL);
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_who");
    TCase *tcase = tcase_create("who");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, every_client_is_on_one_page);
    tcase_add_test(tcase, it_takes_the_right_to_read_sys_edge);
    tcase_add_test(tcase, so_many_a_second_for_all_who_ask);
    tcase_add_test(tcase, who_takes_no_answers_gets_no_more);
    tcase_add_test(tcase, what_is_malformed_is_the_end);
    suite_add_tcase(suite, tcase);
    return rig_suite(suite);
}
