/* Sessions of text, for whoever has no client of the protocol: a line asks for a subtree, lines
 * answer, and nothing that is not granted to anyone is among them. */
#include "rig.h"

static void said(const struct rig *r, uint32_t c, const char *what, bool expected)
{
    const struct rig_stream *s = &r->streams[c - 1];
    bool found = memmem(s->out, s->out_length, what, strlen(what)) != NULL;
    ck_assert_msg(found == expected, "\"%s\" in: %.*s", what, (int)s->out_length, (char *)s->out);
}

static uint32_t text_client(struct rig *r, const char *line)
{
    uint32_t c = rig_connect(r, RIG_HERE);
    for (; *line != '\0'; line++) {
        rig_write(r, c, line, 1);
        rig_round(r);
    }
    rig_run(r);
    return c;
}

START_TEST(a_line_of_text_reads_what_is_granted_to_anyone)
{
    struct rig *r = rig_new();
    rig_grant(r, NULL, ACCESS_READ, "/open");
    rig_run(r);
    uint32_t c = text_client(r, "cantus /open\r\n");
    said(r, c, "# subscribed behind ", true);
    uint64_t seq = rig_say(r, "/open/a", "a \\ tab\there");
    rig_say(r, "/closed/a", "secret");
    rig_say(r, "/open/b", "");
    rig_run(r);
    char line[128];
    snprintf(line, sizeof line, "\n%lu %lu /open/a other a \\x5c tab\\x09here\n", seq,
             r->leader.timestamp_ns);
    said(r, c, line, true);
    said(r, c, "/open/b other \n", true);
    said(r, c, "secret", false);
    rig_write(r, c, "whatever\n", 9);
    rig_pass(r, 100 * SECOND);
    ck_assert(r->streams[c - 1].open);
    ck_assert_uint_eq(r->streams[c - 1].in_length, 0);
    rig_free(r);
}
END_TEST

START_TEST(text_that_asks_for_too_much_or_nothing_is_told_so)
{
    struct rig *r = rig_new();
    uint32_t c = text_client(r, "cantus /closed\n");
    said(r, c, "# refused: /closed", true);
    said(r, c, "cantus grant anyone read /closed", true);
    ck_assert(!r->streams[c - 1].open);
    const char *const bad[] = { "cantus\n",
                                "cantus /open from\n",
                                "cantus /open from x\n",
                                "cantus open\n",
                                "cantus /open rubbish\n",
                                "canter /open\n",
                                "GET / HTTP/1.1\r\n",
                                "help\n" };
    for (uint32_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        c = text_client(r, bad[i]);
        said(r, c, "# closing: say: cantus SUBTREE [from SEQ] [stable]\n", true);
        ck_assert(!r->streams[c - 1].open);
    }
    c = rig_connect(r, RIG_HERE);
    static char endless[1000];
    memset(endless, 'c', sizeof endless);
    memcpy(endless, "cantus ", 7);
    rig_write(r, c, endless, sizeof endless);
    rig_run(r);
    ck_assert(!r->streams[c - 1].open);
    rig_free(r);
}
END_TEST

START_TEST(long_payloads_become_lines_piece_by_piece_as_there_is_room)
{
    struct rig *r = rig_new();
    static uint8_t payload[1300];
    rig_grant(r, NULL, ACCESS_READ, "/open");
    rig_run(r);
    uint32_t c = text_client(r, "cantus /open\n");
    r->streams[c - 1].room = 5000; /* one line of what does not print is longer */
    memset(payload, 7, sizeof payload);
    uint32_t topic = rig_topic(r, "/open/a"), id = rig_join(r, "x", 3);
    for (uint64_t i = 1; i <= 50; i++)
        rig_emit(r, topic, id, i, 0, payload, sizeof payload);
    rig_run(r);
    const struct rig_stream *s = &r->streams[c - 1];
    uint32_t lines = 0, escapes = 0;
    for (size_t i = 0; i < s->out_length; i++) {
        lines += s->out[i] == '\n' && i > 2 && s->out[i - 1] == '7';
        escapes += s->out[i] == '\\';
    }
    ck_assert_uint_eq(escapes, 50 * sizeof payload);
    ck_assert_uint_ge(lines, 50);
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_session_text");
    TCase *all = tcase_create("text");
    tcase_add_test(all, a_line_of_text_reads_what_is_granted_to_anyone);
    tcase_add_test(all, text_that_asks_for_too_much_or_nothing_is_told_so);
    tcase_add_test(all, long_payloads_become_lines_piece_by_piece_as_there_is_room);
    suite_add_tcase(suite, all);
    return rig_suite(suite);
}
