/* What a proxy says when it says no: whoever writes a client, or runs one, has nothing but these words. Each names
 * what is wrong, and the rule or the command that helps. */
#include "proto/edge_field.h"
#include "proto/sys_access.h"
#include "rig.h"

/* What closes a connection for a path says which rule it breaks: its author will look at that text alone. */
START_TEST(a_path_that_is_none_is_told_its_rule)
{
    static const struct {
        const char *topic, *condition, *subtree, *words;
    } bad[] = {
        { "/a/b c", NULL, NULL, "a malformed PUBLISH: of a path in it: only A-Z" },
        { "a", NULL, NULL, "a malformed PUBLISH: of a path in it: it does not begin with '/'" },
        { "/a", "/a/", NULL, "a malformed PUBLISH: of a path in it: it ends in '/'" },
        { NULL, NULL, "/a//b", "a malformed SUBSCRIBE: of a path in it: it has an empty segment" },
    };
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint8_t frame[256];
        const bool publishes = bad[i].topic != NULL;
        struct wire_writer w =
            edge_begin(publishes ? EDGE_PUBLISH : EDGE_SUBSCRIBE, frame, sizeof frame);
        if (publishes) {
            wire_put32(&w, 1);
            wire_put64(&w, 1);
        } else {
            wire_put8(&w, EDGE_SEQUENCED);
            wire_put8(&w, EDGE_FROM_TIP);
        }
        wire_put_position(&w, (struct position) { .seq = 0 });
        if (publishes) {
            wire_put8(&w, 0);
            wire_put_string(&w, bad[i].topic);
            wire_put8(&w, bad[i].condition != NULL);
            if (bad[i].condition != NULL) {
                wire_put_string(&w, bad[i].condition);
                wire_put64(&w, 0);
            }
        } else {
            wire_put64(&w, 0);
            wire_put32(&w, 0);
            wire_put64(&w, 0);
            wire_put16(&w, 1);
            wire_put_string(&w, bad[i].subtree);
        }
        size_t length = edge_end(&w);
        ck_assert_uint_gt(length, 0);
        uint32_t c = rig_login(r, &key);
        rig_write(r, c, frame, length);
        rig_run(r);
        struct edge_closing closing;
        const uint8_t *body = rig_next(r, c, EDGE_CLOSING, &length);
        ck_assert(body != NULL && edge_closing_decode(body, length, &closing));
        ck_assert_msg(strstr(closing.text, bad[i].words) == closing.text, "%s", closing.text);
    }
    rig_free(r);
}
END_TEST

/* Every refusal is followed by what to do, with the subtree at hand. */
START_TEST(a_refusal_names_the_command_that_helps)
{
    struct rig *r = rig_new();
    struct rig_key key = rig_key(2), other = rig_key(3);
    rig_grant(r, &key, ACCESS_WRITE, "/a");
    uint32_t c = rig_login(r, &key), nobody = rig_login(r, NULL), stranger = rig_login(r, &other);
    rig_subscribe(r, c, "/b", EDGE_FROM_TIP);
    rig_subscribe(r, nobody, "/b", EDGE_FROM_TIP);
    rig_open(r, stranger, "p", 7, 0);
    rig_run(r);
    ck_assert_str_eq(rig_refused(r, c).text,
                     "who may grant there gives it: cantus grant KEY read /b");
    ck_assert_str_eq(rig_refused(r, nobody).text,
                     "who may grant there gives it: cantus grant anyone read /b");
    ck_assert_ptr_nonnull(strstr(rig_refused(r, stranger).text, "cantus grant KEY write SUBTREE"));
    struct edge_opened o = rig_opened(r, c, "p", 7);
    static const char *const topics[] = { "/b/c", "/sys/grant", "/sys/grant" };
    uint8_t grant[128];
    const struct sys_grant asked = { .rights = ACCESS_READ,
                                     .whom = { .who = ACCESS_ANYONE },
                                     .subtree = "/b" };
    size_t length = sys_grant_encode(&asked, grant, sizeof grant);
    static const char *const words[] = { "cantus grant KEY write /b/c",
                                         "the right to grant on the subtree",
                                         "its payload is none of this topic" };
    static const uint8_t rights[] = { ACCESS_WRITE, ACCESS_GRANT, ACCESS_GRANT };
    for (uint32_t i = 0; i < 3; i++) {
        struct edge_publish p = { .publisher = o.publisher,
                                  .number = 1,
                                  .topic = topics[i],
                                  .topic_length = strlen(topics[i]),
                                  .payload = grant,
                                  .length = i == 1 ? (uint32_t)length : 1 };
        rig_publish_at(r, c, &p);
        rig_run(r);
        struct edge_refused no = rig_refused(r, c);
        ck_assert_str_eq(no.subject, topics[i]);
        ck_assert_msg(strstr(no.text, words[i]) != NULL, "%s", no.text);
        ck_assert_uint_eq(no.right, rights[i]);
    }
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_session_words");
    TCase *all = tcase_create("words");
    tcase_add_test(all, a_path_that_is_none_is_told_its_rule);
    tcase_add_test(all, a_refusal_names_the_command_that_helps);
    suite_add_tcase(suite, all);
    return rig_suite(suite);
}
