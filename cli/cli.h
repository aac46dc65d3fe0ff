/* The `cantus` command: one program, many verbs. */
#ifndef CANTUS_CLI_CLI_H
#define CANTUS_CLI_CLI_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

/* What stands before the verb. */
struct cli_globals {
    const char *dir;      /* --dir; NULL if it was not given */
    const char *proxy;    /* --proxy: [tls:]HOST:PORT[,HOST:PORT ...]; NULL */
    const char *ca_file;  /* --ca; NULL */
    const char *key_file; /* --key; NULL */
};

struct cli_verb {
    const char *name;
    const char *summary;
    const char *help; /* whole text of --help */
    /* argv[0] is the verb. Returns an exit status. */
    int (*run)(const struct cli_globals *globals, int argc, char **argv);
};

/* For the help of those. */
#define CLI_PROXY_HELP                                                                             \
    "\n"                                                                                           \
    "  --proxy HOST:PORT[,HOST:PORT...]\n"                                                         \
    "                  through a proxy, one of these, instead of --dir DIR; tls:HOST:PORT over\n"  \
    "                  TLS\n"                                                                      \
    "  --ca FILE       the authorities that are trusted with tls:; default: the system's\n"        \
    "  --key FILE      as this key; without it as nobody in particular\n"

extern const struct cli_verb verb_init, verb_dev, verb_pub, verb_sub, verb_status, verb_journal,
    verb_sim, verb_bench, verb_promote, verb_member, verb_session, verb_history, verb_verify,
    verb_digest, verb_lease, verb_metrics, verb_errors, verb_top, verb_doctor, verb_why, verb_key,
    verb_grant, verb_revoke, verb_grants, verb_group, verb_limit, verb_topic, verb_who, verb_proxy;

/* Parses the options of a verb; handles --help and --dir, which every verb has, and --proxy and
 * --key. `parse` is called for each other option, false if its value is bad (and it has said why).
 * Returns the index of the first operand, or -1 after an error, or -2 after help was printed. */
int cli_options(const struct cli_verb *verb, struct cli_globals *globals, int argc, char **argv,
                const struct option *options,
                bool (*parse)(void *ctx, int option, const char *value), void *ctx);

/* Either --dir or --proxy was given. False: said on standard error. */
bool cli_where(const struct cli_verb *verb, const struct cli_globals *globals);
/* What a client of the library is to be opened with: DIR, "proxy:HOST:PORT...", or "proxys:". */
enum { CLI_SOURCE_MAX = 1024 };
const char *cli_source(const struct cli_globals *globals, char out[CLI_SOURCE_MAX]);

/* Says on standard error, prefixed with the command's name. Returns CLI_FAILED. */
int cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* What a client of the library reports, on standard error: once, however often it says it again. */
void cli_say(const char *text);
bool cli_parse_u64(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *out);
/* Says what is wrong with it, if it is no session's name. */
bool cli_session_name(const char *what, const char *text);
bool cli_parse_u32(const char *what, const char *text, uint32_t min, uint32_t max, uint32_t *out);

/* True until SIGINT or SIGTERM arrives. */
bool cli_running(void);
void cli_catch_signals(void);

/* ---- output ---------------------------------------------------------------------------------- */
/* A JSON string with its quotes; `text` must be UTF-8 (cli_is_text). */
void cli_json_string(FILE *f, const void *text, size_t length);
/* UTF-8 without control characters (C1, too) other than tab, newline and carriage return. */
bool cli_is_text(const void *bytes, size_t length);
/* Text that can't be taken for more than one line. */
bool cli_is_line(const void *bytes, size_t length);
/* In place, for text that others have sent: what is no UTF-8, or a control character, becomes question marks. */
void cli_clean(char *text);
/* The same, but for newlines and tabs: for text of several lines. */
void cli_clean_lines(char *text);
void cli_base64(FILE *f, const void *bytes, size_t length);

/* A progress line on standard error, if that is a terminal; drawn at most 20 times a second. */
struct cli_progress {
    const char *what;
    uint64_t shown_ns;
    bool drawn;
};
void cli_progress_show(struct cli_progress *p, uint64_t done, uint64_t total);
void cli_progress_end(struct cli_progress *p);
uint64_t cli_mono_ns(void);

#endif
