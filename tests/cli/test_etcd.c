/* Goal: the client of etcd says what it was asked, in etcd's form, and takes no answer for another:
 * one that is cut, malformed, of the wrong type, out of range or endless is a failure, the next
 * endpoint is asked, and nothing else happens. An HTTP server in a child answers as it is told; what
 * it was asked it writes down. The real etcd is in tests/system/test_lease.py. */
#include "cli/etcd.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <arpa/inet.h>

enum { QUESTION_MAX = 4096, ANSWER_MAX = 100000 };

/* Shared with the child. */
struct server {
    char answer[ANSWER_MAX]; /* "STATUS BODY"; "": closes without one */
    char question[QUESTION_MAX];
};

static struct server *server;
static pid_t child;
static char url[64];
static char error[ETCD_ERROR_MAX];

static void answer_one(int client)
{
    char bytes[QUESTION_MAX] = "";
    size_t have = 0;
    const char *body = NULL;
    for (;;) {
        ssize_t n = recv(client, bytes + have, sizeof bytes - 1 - have, 0);
        if (n <= 0)
            return;
        have += (size_t)n;
        bytes[have] = '\0';
        body = strstr(bytes, "\r\n\r\n");
        const char *length = strcasestr(bytes, "content-length:");
        if (body != NULL && length != NULL && strlen(body + 4) >= strtoul(length + 15, NULL, 10))
            break;
    }
    char path[64] = "";
    sscanf(bytes, "POST %63s", path);
    snprintf(server->question, sizeof server->question, "%s %s", path, body + 4);
    if (server->answer[0] == '\0')
        return;
    dprintf(client, "HTTP/1.1 %.3s x\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
            server->answer, strlen(server->answer + 4), server->answer + 4);
}

static void open_server(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof at;
    server = mmap(NULL, sizeof *server, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(server, MAP_FAILED);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)(const void *)&at, sizeof at), 0);
    ck_assert_int_eq(listen(fd, 8), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)(void *)&at, &length), 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", ntohs(at.sin_port));
    child = fork();
    ck_assert_int_ge(child, 0);
    while (child == 0) {
        int client = accept(fd, NULL, NULL);
        signal(SIGPIPE, SIG_IGN);
        answer_one(client);
        close(client);
    }
    close(fd);
}

static void close_server(void)
{
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    munmap(server, sizeof *server);
}

static void will_answer(const char *answer)
{
    snprintf(server->answer, sizeof server->answer, "%s", answer);
}

static struct etcd *client(const char *endpoints)
{
    struct etcd *e = etcd_open(endpoints, "/k", "s1", 60, error);
    ck_assert_msg(e != NULL, "%s", error);
    return e;
}

START_TEST(asks_as_etcd_wants_it)
{
    struct etcd *e = client(url);
    uint64_t lease = 0;
    uint32_t ttl_s = 0;
    bool holds = false;
    char holder[ETCD_VALUE_MAX + 1];
    will_answer("200 {\"ID\":\"7587890\",\"TTL\":\"61\"}");
    ck_assert_int_eq(etcd_grant(e, &lease, &ttl_s), ETCD_OK);
    ck_assert_str_eq(server->question, "/v3/lease/grant {\"TTL\":\"60\"}");
    ck_assert_uint_eq(lease, 7587890);
    ck_assert_uint_eq(ttl_s, 61);
    will_answer("200 {\"result\":{\"ID\":\"7587890\",\"TTL\":\"60\"}}");
    ck_assert_int_eq(etcd_keep_alive(e, lease, &ttl_s), ETCD_OK);
    ck_assert_str_eq(server->question, "/v3/lease/keepalive {\"ID\":\"7587890\"}");
    will_answer("200 {\"succeeded\":true}");
    ck_assert_int_eq(etcd_campaign(e, lease, &holds, holder), ETCD_OK);
    ck_assert(holds);
    ck_assert_str_eq(holder, "s1");
    ck_assert_str_eq(server->question,
                     "/v3/kv/txn {\"compare\":[{\"key\":\"L2s=\",\"target\":\"CREATE\","
                     "\"result\":\"EQUAL\",\"create_revision\":\"0\"}],\"success\":[{"
                     "\"request_put\":{\"key\":\"L2s=\",\"value\":\"czE=\",\"lease\":\"7587890\"}}"
                     "],\"failure\":[{\"request_range\":{\"key\":\"L2s=\"}}]}");
    will_answer("200 {}");
    ck_assert_int_eq(etcd_revoke(e, lease), ETCD_OK);
    ck_assert_str_eq(server->question, "/v3/lease/revoke {\"ID\":\"7587890\"}");
    etcd_close(e);
}
END_TEST

#define FOUND(kv) "200 {\"responses\":[{\"response_range\":{\"kvs\":[" kv "]}}]}"

START_TEST(knows_who_holds_it)
{
    struct etcd *e = client(url);
    bool holds;
    char holder[ETCD_VALUE_MAX + 1];
    will_answer(FOUND("{\"value\":\"czI=\",\"lease\":\"6\"}"));
    ck_assert_int_eq(etcd_campaign(e, 5, &holds, holder), ETCD_OK);
    ck_assert(!holds);
    ck_assert_str_eq(holder, "s2");
    ck_assert_int_eq(etcd_campaign(e, 6, &holds, holder), ETCD_OK);
    ck_assert(holds); /* it had won, and the answer was lost */
    /* A key without a lease, a value that is no text, one that is too long. */
    will_answer(FOUND("{\"value\":\"AAob\"}"));
    ck_assert_int_eq(etcd_campaign(e, 6, &holds, holder), ETCD_OK);
    ck_assert(!holds);
    ck_assert_str_eq(holder, "???");
    char long_one[400] = FOUND("{\"value\":\"");
    char *at = strrchr(long_one, '"') + 1;
    memset(at, 'Y', 200);
    strcpy(at + 200, "\"}]}}]}");
    will_answer(long_one);
    ck_assert_int_eq(etcd_campaign(e, 6, &holds, holder), ETCD_OK);
    ck_assert_uint_eq(strlen(holder), ETCD_VALUE_MAX);
    etcd_close(e);
}
END_TEST

START_TEST(a_lease_that_is_gone)
{
    struct etcd *e = client(url);
    uint32_t ttl_s;
    bool holds;
    char holder[ETCD_VALUE_MAX + 1];
    will_answer("200 {\"result\":{\"ID\":\"5\"}}");
    ck_assert_int_eq(etcd_keep_alive(e, 5, &ttl_s), ETCD_GONE);
    will_answer("404 {\"error\":\"etcdserver: requested lease not found\",\"code\":5}");
    ck_assert_int_eq(etcd_campaign(e, 5, &holds, holder), ETCD_GONE);
    ck_assert_int_eq(etcd_revoke(e, 5), ETCD_GONE);
    etcd_close(e);
}
END_TEST

START_TEST(what_is_no_answer_is_a_failure)
{
    static const char *const bad[] = {
        "",
        "200 ",
        "200 {",
        "200 []",
        "200 7",
        "200 null",
        "200 {}",
        "503 {\"error\":\"etcdserver: no leader\"}",
        "404 <html>",
        "200 {\"ID\":5,\"TTL\":5}",
        "200 {\"ID\":\"5\"}",
        "200 {\"ID\":\"0\",\"TTL\":\"5\"}",
        "200 {\"ID\":\"-1\",\"TTL\":\"5\"}",
        "200 {\"ID\":\"5x\",\"TTL\":\"5\"}",
        "200 {\"ID\":\"99999999999999999999\",\"TTL\":\"5\"}",
        "200 {\"ID\":\"5\",\"TTL\":\"4294967296\"}",
        "200 {\"ID\":\"5\",\"TTL\":\"0\"}",
        "200 {\"result\":[]}",
        "200 {\"responses\":{}}",
        "200 {\"responses\":[{\"response_range\":{}}]}",
        FOUND("7"),
        FOUND("null"),
    };
    struct etcd *e = client(url);
    uint64_t lease;
    uint32_t ttl_s;
    bool holds;
    char holder[ETCD_VALUE_MAX + 1];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        will_answer(bad[i]);
        ck_assert_msg(etcd_grant(e, &lease, &ttl_s) == ETCD_FAILED, "%s", bad[i]);
        ck_assert_msg(etcd_keep_alive(e, 5, &ttl_s) == ETCD_FAILED, "%s", bad[i]);
        ck_assert_msg(etcd_campaign(e, 5, &holds, holder) == ETCD_FAILED, "%s", bad[i]);
        ck_assert(!holds);
        ck_assert_str_ne(etcd_error(e), "");
    }
    memset(server->answer, ' ', ETCD_ANSWER_MAX + 20);
    memcpy(server->answer, "200 {}", 6);
    server->answer[ETCD_ANSWER_MAX + 20] = '\0';
    ck_assert_int_eq(etcd_revoke(e, 5), ETCD_FAILED);
    etcd_close(e);
}
END_TEST

START_TEST(the_next_endpoint_is_asked)
{
    char both[128];
    snprintf(both, sizeof both, "http://127.0.0.1:1,%s///", url);
    struct etcd *e = client(both);
    will_answer("200 {}");
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(etcd_revoke(e, 5), ETCD_OK);
    etcd_close(e);
}
END_TEST

START_TEST(what_is_no_endpoint_or_key)
{
    static const char nine[] = "http://1,http://2,http://3,http://4,http://5,http://6,http://7,"
                               "http://8,http://9";
    static const char *const bad[] = { "",           ",",  "127.0.0.1:2379",
                                       "http://a,b", nine, "file:///etc/passwd" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_ptr_null(etcd_open(bad[i], "/k", "s1", 60, error));
        ck_assert_ptr_nonnull(strstr(error, "endpoints are"));
    }
    char key[ETCD_KEY_MAX + 2] = "";
    ck_assert_ptr_null(etcd_open(url, key, "s1", 60, error));
    memset(key, 'k', ETCD_KEY_MAX + 1);
    ck_assert_ptr_null(etcd_open(url, key, "s1", 60, error));
    key[ETCD_KEY_MAX] = '\0';
    struct etcd *e = etcd_open(url, key, "s1", 60, error);
    ck_assert_ptr_nonnull(e);
    will_answer("200 {\"succeeded\":true}");
    bool holds;
    char holder[ETCD_VALUE_MAX + 1];
    ck_assert_int_eq(etcd_campaign(e, 5, &holds, holder), ETCD_OK);
    ck_assert_str_eq(strrchr(server->question, '}') - 3, "}}]}");
    etcd_close(e);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("etcd");
    TCase *tests = tcase_create("etcd");
    tcase_add_checked_fixture(tests, open_server, close_server);
    tcase_add_test(tests, asks_as_etcd_wants_it);
    tcase_add_test(tests, knows_who_holds_it);
    tcase_add_test(tests, a_lease_that_is_gone);
    tcase_add_test(tests, what_is_no_answer_is_a_failure);
    tcase_add_test(tests, the_next_endpoint_is_asked);
    tcase_add_test(tests, what_is_no_endpoint_or_key);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
