/* Commands and outcomes survive their protobuf form; what is no command, or does not fit, is refused. */
#include "proto/command.h"
#include "tests/proto/suite.h"

START_TEST(round_trips)
{
    uint8_t bytes[COMMAND_SIZE_MAX];
    for (int kind = COMMAND_PROMOTE; kind <= COMMAND_DRAIN; kind++) {
        struct command in = {
            .kind = (enum command_kind)kind, .store = UINT64_MAX, .seq = 7, .how = SYS_EPOCH_LEASE
        };
        memset(in.why, 'w', WHY_MAX);
        memset(in.name, 'n', SESSION_NAME_MAX);
        struct command out;
        size_t length = command_encode(&in, bytes, sizeof bytes);
        ck_assert_uint_gt(length, 0);
        ck_assert(command_decode(bytes, length, &out));
        ck_assert_int_eq(out.kind, in.kind);
        ck_assert_uint_eq(out.store, in.store);
        ck_assert_uint_eq(out.seq, in.seq);
        ck_assert_uint_eq(out.how, in.how);
        ck_assert_str_eq(out.why, in.why);
        ck_assert_str_eq(out.name, in.name);
    }
    struct outcome in = {
        .verdict = OUTCOME_REFUSED, .seq = 1, .position = { { 2, 3 }, 4 }, .digest = { 5, 6 }
    };
    memset(in.text, 't', OUTCOME_TEXT_MAX);
    struct outcome out;
    size_t length = outcome_encode(&in, bytes, sizeof bytes);
    ck_assert_uint_gt(length, 0);
    ck_assert(outcome_decode(bytes, length, &out));
    ck_assert_int_eq(out.verdict, in.verdict);
    ck_assert_int_eq(position_compare(out.position, in.position), 0);
    ck_assert(digest_equal(out.digest, in.digest));
    ck_assert_str_eq(out.text, in.text);
}
END_TEST

START_TEST(refuses_what_is_none)
{
    uint8_t bytes[COMMAND_SIZE_MAX * 2] = { 0 };
    struct command command = { .kind = (enum command_kind)99 };
    struct outcome outcome = { .verdict = (enum outcome_verdict)0 };
    ck_assert_uint_eq(command_encode(&command, bytes, sizeof bytes), 0);
    ck_assert_uint_eq(outcome_encode(&outcome, bytes, sizeof bytes), 0);
    command.kind = COMMAND_PROMOTE;
    ck_assert_uint_eq(command_encode(&command, bytes, 3), 0);
    command.how = SYS_EPOCH_TIMEOUT; /* a standby's own word, and nobody's command */
    ck_assert_uint_eq(command_encode(&command, bytes, sizeof bytes), 0);
    command.how = 0;
    size_t length = command_encode(&command, bytes, sizeof bytes);
    for (size_t cut = 0; cut < length; cut++)
        ck_assert(!command_decode(bytes, cut, &command));
    ck_assert(!command_decode(bytes, sizeof bytes, &command));
    ck_assert(!outcome_decode((const uint8_t *)"", 0, &outcome));
}
END_TEST

/* What a session's record cannot hold does not get as far as the leader. */
START_TEST(session_names_are_printable)
{
    static const char *const bad[] = { "a\tb", "\x1f", "\x7f", "a\x80", "caf\xc3\xa9", "\n" };
    static const char *const good[] = { "", " ", "~", "2015-05-01 \"late\"" };
    uint8_t bytes[COMMAND_SIZE_MAX];
    struct command out;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct command in = { .kind = COMMAND_SESSION };
        strcpy(in.name, bad[i]);
        size_t length = command_encode(&in, bytes, sizeof bytes);
        ck_assert_uint_gt(length, 0);
        ck_assert(!command_decode(bytes, length, &out));
        ck_assert_str_eq(out.name, "");
    }
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct command in = { .kind = COMMAND_SESSION };
        strcpy(in.name, good[i]);
        size_t length = command_encode(&in, bytes, sizeof bytes);
        ck_assert(command_decode(bytes, length, &out));
        ck_assert_str_eq(out.name, good[i]);
    }
}
END_TEST

SUITE_RUN("command", round_trips, refuses_what_is_none, session_names_are_printable)
