/* Where proxies are: what is a list and what is none, the addresses that names lead to (this file's getaddrinfo
 * stands in for the system's, with the answers of the test), and whose certificate is wanted at each. */
#include <arpa/inet.h>
#include <check.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shell/proxy_list.h"

static struct proxy_list list;
static char error[PROXY_LIST_ERROR_MAX];

/* ---- the name server ------------------------------------------------------------------------- */

enum { ANSWERS_MAX = 40 };

static uint32_t asked;
static uint32_t farm_first, farm_count; /* what "farm" leads to; none: it is not found */

int getaddrinfo(const char *restrict name, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict out)
{
    static struct addrinfo all[ANSWERS_MAX];
    static struct sockaddr_in at[ANSWERS_MAX];
    (void)service;
    ck_assert_int_eq(hints->ai_family, AF_INET);
    asked++;
    if (strcmp(name, "farm") != 0 || farm_count == 0)
        return EAI_NONAME;
    for (uint32_t i = 0; i < farm_count; i++) {
        at[i] = (struct sockaddr_in) { .sin_family = AF_INET,
                                       .sin_addr.s_addr = htonl(farm_first + i) };
        all[i] = (struct addrinfo) { .ai_addr = (struct sockaddr *)(void *)&at[i],
                                     .ai_next = i + 1 < farm_count ? &all[i + 1] : NULL };
    }
    *out = all;
    return 0;
}

void freeaddrinfo(struct addrinfo *all)
{
    (void)all;
}

static void farm_is(const char *first, uint32_t count)
{
    struct in_addr a;
    ck_assert_int_eq(inet_pton(AF_INET, first, &a), 1);
    farm_first = ntohl(a.s_addr);
    farm_count = count;
}

static void setup(void)
{
    asked = farm_count = 0;
    memset(error, 0, sizeof error);
}

static void parse(const char *text)
{
    ck_assert_msg(proxy_list_parse(&list, text, error), "%s", error);
}

static void resolve(void)
{
    ck_assert_msg(proxy_list_resolve(&list, error), "%s", error);
}

/* An address of the list, and its host's name. */
static void at_is(uint32_t index, const char *expected, const char *name)
{
    char text[PORT_ADDR_TEXT];
    ck_assert_uint_lt(index, list.count);
    ck_assert_str_eq(port_addr_write(list.at[index], text), expected);
    ck_assert_str_eq(proxy_list_name(&list, list.at[index]), name);
}

/* ---- lists ----------------------------------------------------------------------------------- */

START_TEST(numbers_need_no_name_server)
{
    parse("127.0.0.1:7000,10.255.0.9:65535,127.0.0.1:1");
    ck_assert_uint_eq(list.count, 0);
    resolve();
    ck_assert_uint_eq(list.count, 3);
    at_is(0, "127.0.0.1:7000", "127.0.0.1");
    at_is(1, "10.255.0.9:65535", "10.255.0.9");
    at_is(2, "127.0.0.1:1", "127.0.0.1");
    ck_assert_uint_eq(asked, 0);
}
END_TEST

START_TEST(what_is_no_list_is_refused)
{
    static const char *const bad[] = { "",           ":",          ":7000",
                                       "farm",       "farm:",      "farm:0",
                                       "farm:65536", "farm:x",     "farm:7x",
                                       "farm: 7",    "farm:-1",    "farm:000007",
                                       "farm:7000,", ",farm:7000", "farm:7000,,farm:7001" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        error[0] = '\0';
        ck_assert_msg(!proxy_list_parse(&list, bad[i], error), "\"%s\"", bad[i]);
        ck_assert_ptr_nonnull(strstr(error, "HOST:PORT"));
        ck_assert_ptr_nonnull(strstr(error, bad[i]));
    }
}
END_TEST

START_TEST(names_and_lists_are_bounded)
{
    char text[PROXY_LIST_MAX * 16 + PROXY_HOST_MAX];
    memset(text, 'a', sizeof text);
    strcpy(text + PROXY_HOST_MAX, ":7");
    parse(text);
    ck_assert_uint_eq(strlen(list.hosts[0].name), PROXY_HOST_MAX);
    text[PROXY_HOST_MAX] = 'a';
    strcpy(text + PROXY_HOST_MAX + 1, ":7");
    ck_assert(!proxy_list_parse(&list, text, error));
    size_t used = 0;
    for (int i = 0; i < PROXY_LIST_MAX; i++)
        used += (size_t)sprintf(text + used, "%s10.0.0.%d:7", i > 0 ? "," : "", i);
    parse(text);
    resolve();
    ck_assert_uint_eq(list.count, PROXY_LIST_MAX);
    strcpy(text + used, ",10.0.0.99:7");
    ck_assert(!proxy_list_parse(&list, text, error));
    ck_assert_ptr_nonnull(strstr(error, "more than 32"));
}
END_TEST

/* ---- names ----------------------------------------------------------------------------------- */

START_TEST(a_name_leads_to_all_its_addresses_each_once)
{
    farm_is("10.0.0.1", 3);
    parse("10.0.0.2:7000,farm:7000,farm:7001");
    resolve();
    ck_assert_uint_eq(list.count, 6);
    at_is(0, "10.0.0.2:7000", "10.0.0.2"); /* whose it was first */
    at_is(1, "10.0.0.1:7000", "farm");
    at_is(2, "10.0.0.3:7000", "farm");
    at_is(3, "10.0.0.1:7001", "farm");
    at_is(4, "10.0.0.2:7001", "farm");
    at_is(5, "10.0.0.3:7001", "farm");
    farm_is("10.0.0.1", ANSWERS_MAX);
    resolve();
    ck_assert_uint_eq(list.count, PROXY_LIST_MAX);
}
END_TEST

START_TEST(they_may_move)
{
    farm_is("10.0.0.1", 1);
    parse("farm:7000");
    resolve();
    farm_is("10.1.0.1", 2);
    resolve();
    ck_assert_uint_eq(list.count, 2);
    at_is(0, "10.1.0.1:7000", "farm");
    farm_count = 0; /* no name server, say: where they were */
    ck_assert(!proxy_list_resolve(&list, error));
    ck_assert_uint_eq(list.count, 2);
    at_is(1, "10.1.0.2:7000", "farm");
}
END_TEST

START_TEST(a_name_that_is_not_found_is_said)
{
    parse("nowhere:7000");
    ck_assert(!proxy_list_resolve(&list, error));
    ck_assert_uint_eq(list.count, 0);
    ck_assert_ptr_nonnull(strstr(error, "proxy host \"nowhere\": "));
    parse("nowhere:7000,10.0.0.1:7000");
    ck_assert(!proxy_list_resolve(&list, error));
    ck_assert_uint_eq(list.count, 1); /* which is known all the same */
    at_is(0, "10.0.0.1:7000", "10.0.0.1");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("shell/proxy_list");
    TCase *t = tcase_create("proxy_list");
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_test(t, numbers_need_no_name_server);
    tcase_add_test(t, what_is_no_list_is_refused);
    tcase_add_test(t, names_and_lists_are_bounded);
    tcase_add_test(t, a_name_leads_to_all_its_addresses_each_once);
    tcase_add_test(t, they_may_move);
    tcase_add_test(t, a_name_that_is_not_found_is_said);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
