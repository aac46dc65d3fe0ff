/* What is printed of text that others have sent: nothing in it is a command to a terminal, or another line. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static const struct {
    const char *text, *cleaned, *lines;
} cases[] = {
    { "", "", "" },
    { "plain ~", "plain ~", "plain ~" },
    { "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },
    { "\x1b[2Jgone", "?[2Jgone", "?[2Jgone" },
    { "a\nb\tc\rd", "a?b?c?d", "a\nb\tc?d" },
    { "del\x7f", "del?", "del?" },
    { "c1\xc2\x9b"
      "31m",
      "c1??31m", "c1??31m" }, /* as UTF-8, and bare */
    { "bare\x9b"
      "31m",
      "bare?31m", "bare?31m" },
    { "cut\xc3", "cut?", "cut?" },
    { "overlong\xc0\xaf", "overlong??", "overlong??" },
};

START_TEST(what_is_no_character_of_a_line_is_a_question_mark)
{
    char text[64];
    strcpy(text, cases[_i].text);
    cli_clean(text);
    ck_assert_str_eq(text, cases[_i].cleaned);
    strcpy(text, cases[_i].text);
    cli_clean_lines(text);
    ck_assert_str_eq(text, cases[_i].lines);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cli_output");
    TCase *all = tcase_create("output");
    tcase_add_loop_test(all, what_is_no_character_of_a_line_is_a_question_mark, 0,
                        sizeof cases / sizeof cases[0]);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
