/* The configuration file: that what is written is read back the same, that every mistake of a file
 * is reported at once, each on its line, and that no text whatever makes the reader do anything but
 * refuse. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shell/config.h"

enum { REPORTS_MAX = 100 };

struct report {
    unsigned line;
    char reason[256];
};

static struct report reports[REPORTS_MAX];
static uint32_t report_count;

static void collect(void *ctx, const char *file, unsigned line, const char *reason)
{
    (void)ctx;
    ck_assert_str_eq(file, "dir/test.yaml");
    ck_assert_uint_lt(report_count, REPORTS_MAX);
    reports[report_count].line = line;
    snprintf(reports[report_count++].reason, sizeof reports[0].reason, "%s", reason);
}

static bool parse_bytes(const char *text, size_t length, struct config *out)
{
    report_count = 0;
    return config_parse("dir/test.yaml", text, length, out, collect, NULL);
}

static bool parse(const char *text, struct config *out)
{
    return parse_bytes(text, strlen(text), out);
}

static const char *const minimal = "stream: \"00000000000000a1\"\n"
                                   "network:\n"
                                   "  ingress: 239.1.2.3:20000\n"
                                   "  egress_a: 239.1.2.4:20000\n"
                                   "sequencers:\n"
                                   "  - name: s1\n"
                                   "    unicast: 127.0.0.1:20001\n"
                                   "    stream_port: 20001\n"
                                   "retransmitters:\n"
                                   "  - name: r1\n"
                                   "    unicast: 127.0.0.1:20002\n"
                                   "    stream_port: 20002\n"
                                   "    directory: r1\n";

START_TEST(minimal_file_has_defaults)
{
    struct config c, d;
    ck_assert_msg(parse(minimal, &c), "%s", reports[0].reason);
    config_default(&d);
    ck_assert_uint_eq(c.stream, 0xa1);
    ck_assert_uint_eq(c.ingress.ip, 0xef010203);
    ck_assert_uint_eq(c.ingress.port, 20000);
    ck_assert_uint_eq(c.egress_b.port, 0);
    ck_assert_uint_eq(c.datagram_max, d.datagram_max);
    ck_assert_uint_eq(c.sequencer.tick_ms, 1000);
    ck_assert_uint_eq(c.sequencer.heartbeat_idle_ms, 100);
    ck_assert_uint_eq(c.sequencer_count, 1);
    ck_assert_str_eq(c.sequencers[0].name, "s1");
    ck_assert_uint_eq(c.sequencers[0].interface, 0);
    ck_assert_int_eq(c.promotion, CONFIG_PROMOTION_MANUAL);
    ck_assert_uint_eq(c.silence_ms, 500);
    ck_assert_uint_eq(c.retransmitter_count, 1);
    ck_assert_str_eq(c.retransmitters[0].name, "r1");
    ck_assert_int_eq(c.retransmitters[0].sync, DISK_SYNC_EVERY);
    ck_assert(c.retransmitters[0].direct);
    ck_assert_int_eq(c.idle, LOOP_IDLE_SPIN_THEN_WAIT);
    ck_assert(c.huge_pages);
    char path[64];
    ck_assert(config_path(&c, "r1", path, sizeof path));
    ck_assert_str_eq(path, "dir/r1");
    ck_assert(config_path(&c, "/srv/r1", path, sizeof path));
    ck_assert_str_eq(path, "/srv/r1");
    ck_assert(!config_path(&c, "r1", path, 6));
}
END_TEST

START_TEST(everything_survives_the_file)
{
    static char text[CONFIG_TEXT_MAX];
    struct config c, again;
    config_default_for_dir(&c, "dir", 7);
    c.is_volatile = false;
    strcpy(c.session, "~ 2015-05-01 \"\\");
    c.huge_pages = false;
    c.interface_b = 0xc0000201;
    c.egress_b = (struct port_addr) { 0xefaabbcc, 3 };
    c.datagram_max = 8972;
    c.ttl = 9;
    c.segmentation = false;
    c.idle = LOOP_IDLE_WAIT;
    c.spin_us = 77;
    c.yield = false;
    c.sequencer.ring_mib = 3;
    c.sequencer.queue_max = 1000;
    c.sequencer.window = 17;
    c.sequencer.run_bytes_max = 123456;
    c.sequencer.topics_max = 1234;
    c.sequencer.publishers_max = 567;
    c.sequencer.tick_ms = 0;
    c.sequencer.heartbeat_min_us = 21;
    c.sequencer.heartbeat_idle_ms = 210;
    c.sequencer.pace_mib = 5;
    c.sequencer.pace_us = 51;
    c.sequencer.clock_ahead_max_ms = 999;
    c.promotion = CONFIG_PROMOTION_AUTOMATIC;
    c.silence_ms = 640;
    config_resize(&c, 3, 2, 2);
    strcpy(c.sequencers[1].name, "second");
    c.sequencers[1].unicast.ip = 0x0a000009;
    c.sequencers[1].interface = 0x0a000009;
    c.retransmitters[0].interface = 0x0a000001;
    for (uint32_t i = 0; i < 3; i++) {
        struct config_retransmitter *r = &c.retransmitters[i];
        snprintf(r->name, sizeof r->name, "store-%u", i);
        snprintf(r->directory, sizeof r->directory, "a \"b\" \\%u: #", i);
        r->unicast = (struct port_addr) { 0x0a000001 + i, 9 };
        r->stream_port = (uint16_t)(10 + i);
        r->sync = i == 1 ? DISK_SYNC_NONE : DISK_SYNC_EVERY;
        r->direct = i == 2;
        r->segment_mib = 8 + i;
    }
    c.proxies[0].interface = 0x0a000001;
    strcpy(c.proxies[1].name, "the-edge");
    c.proxies[1].unicast = (struct port_addr) { 0x0a000004, 11 };
    c.proxies[1].stream_port = 12;
    c.proxies[1].listen = (struct port_addr) { 0, 13 };
    c.proxies[1].sessions_max = 14;
    c.proxies[1].sessions_per_addr = 22;
    c.proxies[1].sessions_per_key = 23;
    c.proxies[1].logins_max = 24;
    c.proxies[1].subtrees_max = 2500;
    c.proxies[1].records_per_addr_s = 26;
    c.proxies[1].records_per_addr_burst = 27;
    c.proxies[1].records_per_key_s = 0;
    c.proxies[1].records_per_key_burst = 29;
    c.proxies[1].recent_mib = 15;
    c.proxies[1].view_mib = 16;
    c.proxies[1].relay_mib = 17;
    c.proxies[1].publisher_kib = 18;
    c.proxies[1].slow_s = 19;
    c.proxies[1].idle_s = 0;
    c.proxies[1].login_s = 21;
    size_t length = config_format(&c, text, sizeof text);
    ck_assert_uint_gt(length, 0);
    ck_assert_msg(parse_bytes(text, length, &again), "line %u: %s", reports[0].line,
                  reports[0].reason);
    /* No padding bytes are compared: both texts of the same values are. */
    static char second[CONFIG_TEXT_MAX];
    ck_assert_uint_eq(config_format(&again, second, sizeof second), length);
    ck_assert_mem_eq(text, second, length);
    ck_assert_str_eq(again.retransmitters[2].directory, "a \"b\" \\2: #");
    ck_assert_int_eq(again.retransmitters[1].sync, DISK_SYNC_NONE);
    ck_assert_uint_eq(again.retransmitters[2].segment_mib, 10);
    ck_assert_uint_eq(again.sequencer.clock_ahead_max_ms, 999);
    ck_assert_uint_eq(again.egress_b.port, 3);
    ck_assert_uint_eq(again.sequencer_count, 2);
    ck_assert_str_eq(again.sequencers[1].name, "second");
    ck_assert_uint_eq(again.sequencers[0].interface, 0);
    ck_assert_uint_eq(again.sequencers[1].interface, 0x0a000009);
    ck_assert_uint_eq(again.retransmitters[0].interface, 0x0a000001);
    ck_assert_uint_eq(again.retransmitters[1].interface, 0);
    ck_assert_int_eq(again.promotion, CONFIG_PROMOTION_AUTOMATIC);
    ck_assert_uint_eq(again.silence_ms, 640);
    ck_assert_uint_eq(again.proxy_count, 2);
    ck_assert_uint_eq(again.proxies[0].interface, 0x0a000001);
    ck_assert_str_eq(again.proxies[1].name, "the-edge");
    ck_assert_uint_eq(again.proxies[1].listen.ip, 0);
    ck_assert_uint_eq(again.proxies[1].listen.port, 13);
    ck_assert_uint_eq(again.proxies[1].login_s, 21);
    ck_assert_uint_eq(again.proxies[1].sessions_per_addr, 22);
    ck_assert_uint_eq(again.proxies[1].records_per_key_burst, 29);
    /* People read it: every line but a few is about a hundred columns at most, and explained. */
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
        ck_assert_uint_le(strlen(line), 100);
    ck_assert_uint_eq(config_format(&c, text, 300), 0);
}
END_TEST

START_TEST(every_mistake_gives_its_line)
{
    static const char text[] = "stream: \"12\"\n"               /* 1 */
                               "volatle: true\n"                /* 2: unknown, near one */
                               "network:\n"                     /* 3 */
                               "  interface: 300.0.0.1\n"       /* 4 */
                               "  ingress: 10.0.0.1:20000\n"    /* 5: not multicast */
                               "  egress_a: 239.1.2.4\n"        /* 6: no port */
                               "  datagram_max: 100000\n"       /* 7: out of range */
                               "sequencer:\n"                   /* 8 */
                               "  window: many\n"               /* 9 */
                               "  window: 5\n"                  /* 10: duplicate */
                               "sequencers:\n"                  /* 11 */
                               "  - unicast: 127.0.0.1:20001\n" /* 12: stream_port missing */
                               "    name: r1\n"                 /* 13 */
                               "retransmitters:\n"              /* 14 */
                               "  - name: r1\n"                 /* 15: taken on line 13 */
                               "    unicast: 127.0.0.1:20001\n" /* 16: taken on line 12 */
                               "    stream_port: 20002\n"       /* 17 */
                               "    directory: [a, b]\n"        /* 18: not a single value */
                               "    sync: sometimes\n"          /* 19 */
                               "failover:\n"                    /* 20 */
                               "  promotion: perhaps\n"         /* 21 */
                               "  silence_ms: 4\n";             /* 22 */
    static const struct {
        unsigned line;
        const char *word;
    } expected[] = {
        { 1, "16 hex digits" },
        { 2, "is 'volatile' meant" },
        { 4, "interface" },
        { 5, "not multicast" },
        { 6, "239.1.2.3:20000" },
        { 7, "512 to 8972" },
        { 9, "not a whole number" },
        { 10, "first on line 9" },
        { 12, "'stream_port' is missing" },
        { 15, "'r1' is taken on line 13" },
        { 16, "line 12" },
        { 18, "single value" },
        { 19, "every, none" },
        { 21, "manual, automatic" },
        { 22, "5 to 60000" },
    };
    struct config c;
    ck_assert(!parse(text, &c));
    for (uint32_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        ck_assert_uint_lt(i, report_count);
        ck_assert_msg(reports[i].line == expected[i].line, "expected line %u, got %u: %s",
                      expected[i].line, reports[i].line, reports[i].reason);
        ck_assert_msg(strstr(reports[i].reason, expected[i].word) != NULL, "%s", reports[i].reason);
    }
    ck_assert_uint_eq(report_count, sizeof expected / sizeof expected[0]);
    static const struct config zero;
    ck_assert_mem_eq(&c, &zero, sizeof c);
}
END_TEST

/* One change to the minimal file each, and what it must be told. */
static const struct {
    const char *old, *new;
    unsigned line;
    const char *word;
} single[] = {
    { "00000000000000a1", "0000000000000000", 1, "not a stream id" },
    { "stream: \"00000000000000a1\"\n", "", 1, "'stream' is missing" },
    { "239.1.2.4:20000", "239.1.2.3:20000", 4, "same group and port as ingress on line 3" },
    { "239.1.2.4:20000", "239.1.2.4:0", 4, "not an address" },
    { "239.1.2.4:20000", "239.1.2.4:65536", 4, "not an address" },
    { "239.1.2.4:20000", "239.1.2.4:20000\n  interface_b: 127.0.0.1", 5, "egress_b" },
    { "unicast: 127.0.0.1:20001", "unicast: 239.0.0.1:20001", 7, "not the address of a host" },
    { "unicast: 127.0.0.1:20001", "unicast: 0.0.0.0:20001", 7, "not the address of a host" },
    { "sequencers:\n", "sequencer:\n  unicast: 127.0.0.1:20001\nsequencers:\n", 6,
      "unknown key 'unicast' in sequencer" },
    { "  - name: s1\n    unicast: 127.0.0.1:20001\n    stream_port: 20001\n", "  []\n", 5,
      "list one" },
    { "sequencers:\n", "sequencers:\n  - name: s1\n    unicast: 127.0.0.2:1\n    stream_port: 1\n",
      9, "'s1' is taken on line 6" },
    { "sequencers:\n",
      "sequencers:\n  - name: s0\n    unicast: 127.0.0.1:1\n    stream_port: 20001\n", 11,
      "same as on line 8" },
    { "sequencers:\n",
      "sequencers:\n  - name: s0\n    unicast: 127.0.0.1:20001\n    stream_port: 1\n", 10,
      "same address and port as on line 7" },
    { "stream_port: 20001\n", "stream_port: 20001\n    interface: 239.0.0.1\n", 9,
      "not an IPv4 address of an interface" },
    { "name: s1", "name: r1", 10, "'r1' is taken on line 6" },
    { "network:\n", "failover: {promotion: automatic, silence_ms: 299}\nnetwork:\n", 2,
      "three times heartbeat_idle_ms" },
    { "network:\n",
      "failover: {promotion: automatic}\nsequencer: {heartbeat_idle_ms: 167}\nnetwork:\n", 3,
      "500 is too short for heartbeats that can be 167 ms apart" },
    { "stream_port: 20002", "stream_port: 20001", 12, "same as on line 8" },
    { "stream_port: 20002", "stream_port: 0", 12, "1 to 65535" },
    { "stream_port: 20002", "stream_port: -1", 12, "not a whole number" },
    { "stream_port: 20002", "stream_port: 99999999999999999999999", 12, "not a whole number" },
    { "name: r1", "name: \"r 1\"", 10, "not allowed" },
    { "00000000000000a1\"\n", "00000000000000a1\"\nsession: \"caf\xc3\xa9\"\n", 2,
      "printable ASCII" },
    { "00000000000000a1\"\n", "00000000000000a1\"\nsession: \"a\tb\"\n", 2, "printable ASCII" },
    { "00000000000000a1\"\n", "00000000000000a1\"\nsession: \"\"\n", 2, "1 to 63 bytes" },
    { "name: r1", "name: \"\"", 10, "must have 1 to 31 bytes" },
    { "directory: r1", "directory: r1\n    direct: yes", 14, "neither true nor false" },
    { "directory: r1", "directory: \"a\\0b\"", 13, "single value" },
    { "directory: r1", "directory: \"a\\eb\"", 13, "not allowed" },
    { "directory: r1\n",
      "directory: r1\n  - name: r1\n    unicast: 127.0.0.1:20003\n    stream_port: 20003\n"
      "    directory: r2\n",
      14, "'r1' is taken on line 10" },
    { "directory: r1\n",
      "directory: r1\n  - name: r2\n    unicast: 127.0.0.1:20003\n    stream_port: 20003\n"
      "    directory: r1\n",
      17, "'r1' is taken on line 13" },
    { "stream: \"0", "volatile: true\nstream: \"0", 10, "a volatile stream (line 1) has none" },
    { "sequencers:\n",
      "volatile: true\nsequencers:\n  - name: s0\n    unicast: 127.0.0.1:1\n"
      "    stream_port: 1\n",
      6, "a volatile stream (line 5) has one" },
    { "network:\n", "idle: {strategy: sleep}\nnetwork:\n", 2, "spin-then-wait, spin, wait" },
    { "network:\n", "idle: 5\nnetwork:\n", 2, "idle: must be keys and values" },
    { "network:\n", "netwrok:\n", 2, "is 'network' meant" },
    { "  ingress", "  zebra: 1\n  ingress", 3, "unknown key 'zebra' in network" },
    { "  ingress", "  [a]: 1\n  ingress", 3, "single word" },
    { "  ingress", "\tingress", 3, "" },
    { "  ingress: 239.1.2.3:20000", "  ingress: \"239", 14, "begun on line 3" },
    { "    directory: r1\n", "    directory: r1\n---\nmore: 1\n", 15, "second document" },
};

START_TEST(single_mistakes)
{
    char text[2048];
    const char *at = strstr(minimal, single[_i].old);
    ck_assert_ptr_nonnull(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - minimal), minimal, single[_i].new,
             at + strlen(single[_i].old));
    struct config c;
    ck_assert_msg(!parse(text, &c), "accepted: %s", single[_i].new);
    bool found = false;
    for (uint32_t i = 0; i < report_count; i++)
        if (reports[i].line == single[_i].line &&
            strstr(reports[i].reason, single[_i].word) != NULL)
            found = true;
    ck_assert_msg(found, "%s: got line %u: %s", single[_i].new, reports[0].line, reports[0].reason);
}
END_TEST

#define A_PROXY "proxies:\n  - name: p1\n    unicast: 127.0.0.1:20003\n    stream_port: 20003\n"

/* The same, appended: what proxies have wrong begins on line 14. */
static const struct {
    const char *more;
    unsigned line;
    const char *word;
} proxies[] = {
    { A_PROXY, 15, "'listen' is missing" },
    { A_PROXY "    listen: 127.0.0.1\n", 18, "not an address" },
    { A_PROXY "    listen: 239.0.0.1:20004\n", 18, "not the address of a host" },
    { A_PROXY "    listen: 127.0.0.1:20003\n", 18, "its port is the stream_port on line 17" },
    { A_PROXY "    listen: 127.0.0.1:20002\n", 18, "its port is the stream_port on line 12" },
    { A_PROXY "    listen: 0.0.0.0:20001\n", 18, "its port is the stream_port on line 8" },
    { A_PROXY "    listen: 127.0.0.1:20004\n    sessions_max: 60001\n", 19, "1 to 60000" },
    { A_PROXY "    listen: 127.0.0.1:20004\n    login_s: 0\n", 19, "1 to 3600" },
    { A_PROXY "    listen: 127.0.0.1:20004\n    relay_mib: 1\n    publisher_kib: 1025\n", 20,
      "relay_mib is 1" },
    { A_PROXY "    listen: 127.0.0.1:20004\n"
              "  - {name: p1, unicast: \"127.0.0.1:20005\", stream_port: 20005, "
              "listen: \"127.0.0.1:20006\"}\n",
      19, "'p1' is taken on line 15" },
    { A_PROXY "    listen: 127.0.0.1:20004\n"
              "  - {name: p2, unicast: \"127.0.0.1:20005\", stream_port: 20005, "
              "listen: \"0.0.0.0:20004\"}\n",
      19, "same address and port as on line 18" },
    { A_PROXY "    listen: 127.0.0.1:20004\n"
              "  - {name: p2, unicast: \"127.0.0.1:20005\", stream_port: 20004, "
              "listen: \"0.0.0.0:20006\"}\n",
      18, "stream_port on line 19" },
};

START_TEST(mistakes_of_proxies)
{
    char text[2048];
    snprintf(text, sizeof text, "%s%s", minimal, proxies[_i].more);
    struct config c;
    ck_assert_msg(!parse(text, &c), "accepted: %s", proxies[_i].more);
    ck_assert_msg(report_count == 1 && reports[0].line == proxies[_i].line &&
                      strstr(reports[0].reason, proxies[_i].word) != NULL,
                  "%s: got line %u: %s", proxies[_i].more, reports[0].line, reports[0].reason);
}
END_TEST

START_TEST(proxies_on_two_hosts_share_a_port)
{
    char text[2048];
    snprintf(text, sizeof text, "%s%s", minimal,
             A_PROXY "    listen: 0.0.0.0:20004\n"
                     "  - {name: p2, unicast: \"127.0.0.2:20003\", stream_port: 20003, "
                     "listen: \"0.0.0.0:20004\"}\n");
    struct config c;
    ck_assert_msg(parse(text, &c), "%s", reports[0].reason);
    ck_assert_uint_eq(c.proxy_count, 2);
    ck_assert_uint_eq(c.proxies[0].listen.port, 20004);
    ck_assert_uint_eq(c.proxies[0].sessions_max, 16384);
}
END_TEST

START_TEST(whole_files_that_are_none)
{
    struct config c;
    static const char *const texts[] = {
        "",  "# nothing\n",   "just text\n",  "- a\n- b\n",  "{}",
        "[", "a: *nowhere\n", "\xff\xfe\xff", "&a [*a, *a]", "retransmitters: {}\n"
    };
    for (uint32_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        ck_assert_msg(!parse(texts[i], &c), "%s", texts[i]);
        ck_assert_uint_gt(report_count, 0);
    }
    ck_assert(!parse_bytes("a\0b: 1", 6, &c));
    ck_assert(!config_load("/nonexistent/cantus.yaml", &c, config_report_text,
                           &(struct config_text) { (char[256]) { 0 }, 256, 0 }));
}
END_TEST

START_TEST(lists_end_at_their_maximum)
{
    static char text[1u << 14];
    size_t length = (size_t)sprintf(text, "sequencers:\n");
    for (int i = 0; i <= CONFIG_SEQUENCERS_MAX; i++)
        length += (size_t)sprintf(text + length,
                                  "  - {name: s%d, unicast: \"127.0.0.1:%d\", stream_port: %d}\n",
                                  i, 100 + i, 100 + i);
    struct config c;
    ck_assert(!parse_bytes(text, length, &c));
    bool found = false;
    for (uint32_t i = 0; i < report_count; i++)
        if (strcmp(reports[i].reason, "sequencers: at most 7") == 0)
            found = reports[i].line == 9;
    ck_assert(found);
}
END_TEST

START_TEST(problems_without_end_are_cut_off)
{
    char *text = malloc(1u << 16);
    size_t length = 0;
    for (int i = 0; i < 15; i++)
        length += (size_t)sprintf(text + length, "%s  - {a: 1, b: 2, c: 3, d: 4}\n",
                                  i == 0 ? "retransmitters:\n" : "");
    struct config c;
    ck_assert(!parse_bytes(text, length, &c));
    ck_assert_uint_eq(report_count, CONFIG_PROBLEMS_MAX + 1);
    ck_assert_ptr_nonnull(strstr(reports[CONFIG_PROBLEMS_MAX].reason, "problems more"));
    free(text);
    static char large[CONFIG_BYTES_MAX + 1];
    memset(large, '#', sizeof large);
    ck_assert(!parse_bytes(large, sizeof large, &c));
    ck_assert_ptr_nonnull(strstr(reports[0].reason, "too large"));
}
END_TEST

START_TEST(written_files_load)
{
    char dir[] = "/tmp/cantus-test-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(dir));
    char path[64], error[CONFIG_ERROR_MAX], text[1024] = "";
    snprintf(path, sizeof path, "%s/" CONFIG_FILE, dir);
    struct config c, again;
    config_default_for_dir(&c, dir, 1);
    ck_assert_msg(config_write(path, &c, error), "%s", error);
    ck_assert_msg(config_write(path, &c, error), "%s", error); /* again: replaces */
    struct config_text t = { text, sizeof text, 0 };
    ck_assert_msg(config_load(path, &again, config_report_text, &t), "%s", text);
    ck_assert_str_eq(again.directory, dir);
    ck_assert_uint_eq(again.stream, c.stream);
    FILE *f = fopen(path, "a");
    fputs("wrong: 1\n", f);
    fclose(f);
    ck_assert(!config_load(path, &again, config_report_text, &t));
    ck_assert_ptr_nonnull(strstr(text, CONFIG_FILE ":"));
    ck_assert_ptr_nonnull(strstr(text, "unknown key 'wrong' at the top level\n"));
    unlink(path);
    rmdir(dir);
    ck_assert(!config_write(path, &c, error));
    ck_assert_ptr_nonnull(strstr(error, path));
}
END_TEST

START_TEST(deployments_differ)
{
    struct config a, b, c;
    config_default_for_dir(&a, "/tmp/a", 1);
    config_default_for_dir(&b, "/tmp/b", 1);
    config_default_for_dir(&c, "/tmp/a", 2);
    ck_assert_uint_ne(a.stream, b.stream);
    ck_assert_uint_ne(a.stream, c.stream);
    ck_assert(a.ingress.ip >> 2 != b.ingress.ip >> 2);
    ck_assert(a.ingress.ip >> 2 != c.ingress.ip >> 2);
    ck_assert_uint_eq(a.ingress.ip >> 18, 0xefc00000u >> 18);
    ck_assert_uint_lt(a.ingress.port, 32768);
    struct transport_options o = config_transport(&a, a.sequencers[0].unicast);
    char error[TRANSPORT_ERROR_MAX];
    o.join[PORT_INGRESS] = true;
    struct transport *t = transport_open_kernel(&o, error);
    ck_assert_msg(t != NULL, "%s", error);
    /* What is taken now is passed over next time. */
    config_default_for_dir(&b, "/tmp/a", 1);
    ck_assert_uint_ne(b.sequencers[0].unicast.port, a.sequencers[0].unicast.port);
    t->ops->close(t);
}
END_TEST

START_TEST(a_deployment_grows_within_its_ports)
{
    static char text[CONFIG_TEXT_MAX];
    struct config c, again;
    config_default_for_dir(&c, "dir", 3);
    uint16_t sequencer = c.sequencers[0].unicast.port, store = c.retransmitters[0].unicast.port;
    strcpy(c.retransmitters[0].directory, "elsewhere");
    config_resize(&c, 1000, 1000, 1000);
    ck_assert_uint_eq(c.sequencer_count, CONFIG_SEQUENCERS_MAX);
    ck_assert_uint_eq(c.retransmitter_count, CONFIG_RETRANSMITTERS_MAX);
    ck_assert_uint_eq(c.sequencers[0].unicast.port, sequencer);
    ck_assert_uint_eq(c.retransmitters[0].unicast.port, store);
    ck_assert_str_eq(c.retransmitters[0].directory, "elsewhere"); /* what was there stays */
    ck_assert_str_eq(c.sequencers[6].name, "s7");
    ck_assert_str_eq(c.retransmitters[14].directory, "r15");
    ck_assert_str_eq(c.proxies[14].name, "p15");
    ck_assert_uint_lt(c.proxies[14].listen.port, c.ingress.port + 64);
    /* The checks find nothing that is there twice. */
    size_t length = config_format(&c, text, sizeof text);
    ck_assert_uint_gt(length, 0);
    ck_assert_msg(parse_bytes(text, length, &again), "line %u: %s", reports[0].line,
                  reports[0].reason);
    ck_assert_uint_eq(again.sequencer_count, CONFIG_SEQUENCERS_MAX);
    ck_assert_uint_eq(again.retransmitter_count, CONFIG_RETRANSMITTERS_MAX);
    ck_assert_uint_eq(again.proxy_count, CONFIG_PROXIES_MAX);
    config_resize(&c, 1, 2, 0);
    ck_assert_uint_eq(c.proxy_count, 0);
    ck_assert_uint_eq(c.sequencer_count, 2);
    ck_assert_uint_eq(c.retransmitter_count, 1);
}
END_TEST

START_TEST(a_process_has_its_own_interface)
{
    struct config c;
    config_default_for_dir(&c, "dir", 3);
    struct port_addr at = { 0x0a000002, 7 };
    struct transport_options o = config_transport_on(&c, at, 0);
    ck_assert_uint_eq(o.interfaces[PORT_UNICAST], at.ip);
    ck_assert_uint_eq(o.interfaces[PORT_INGRESS], c.interface);
    ck_assert_uint_eq(o.interfaces[PORT_EGRESS_B], c.interface);
    c.interface_b = 0x0b000001;
    o = config_transport_on(&c, at, 0x0a000002);
    ck_assert_uint_eq(o.interfaces[PORT_INGRESS], 0x0a000002);
    ck_assert_uint_eq(o.interfaces[PORT_EGRESS_A], 0x0a000002);
    ck_assert_uint_eq(o.interfaces[PORT_EGRESS_B], c.interface_b);
}
END_TEST

START_TEST(processes_are_found_by_name)
{
    struct config c;
    char error[CONFIG_ERROR_MAX] = "";
    config_default_for_dir(&c, "dir", 3);
    ck_assert_int_eq(config_find_sequencer(&c, NULL, error), 0);
    ck_assert_int_eq(config_find_retransmitter(&c, "", error), 0);
    ck_assert_int_eq(config_find_proxy(&c, NULL, error), 0);
    config_resize(&c, 3, 2, 2);
    ck_assert_int_eq(config_find_proxy(&c, "p2", error), 1);
    ck_assert_int_eq(config_find_proxy(&c, "r1", error), -1);
    ck_assert_str_eq(error, "no proxy is named 'r1'; the configuration has p1 p2");
    ck_assert_int_eq(config_find_sequencer(&c, "s2", error), 1);
    ck_assert_int_eq(config_find_retransmitter(&c, "r3", error), 2);
    ck_assert_int_eq(config_find_sequencer(&c, NULL, error), -1);
    ck_assert_str_eq(error, "which sequencer? use --name; the configuration has s1 s2");
    ck_assert_int_eq(config_find_retransmitter(&c, "s1", error), -1);
    ck_assert_str_eq(error, "no retransmitter is named 's1'; the configuration has r1 r2 r3");
    c.retransmitter_count = 0;
    ck_assert_int_eq(config_find_retransmitter(&c, NULL, error), -1);
    ck_assert_ptr_nonnull(strstr(error, "has none"));
    /* The longest names there can be have room. */
    config_resize(&c, CONFIG_RETRANSMITTERS_MAX, 1, 1);
    for (uint32_t i = 0; i < CONFIG_RETRANSMITTERS_MAX; i++)
        memset(c.retransmitters[i].name, 'n', CONFIG_NAME_MAX);
    char name[200] = "";
    memset(name, 'x', sizeof name - 1);
    ck_assert_int_eq(config_find_retransmitter(&c, name, error), -1);
    ck_assert_uint_lt(strlen(error), CONFIG_ERROR_MAX);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("shell/config");
    TCase *all = tcase_create("all");
    tcase_add_test(all, minimal_file_has_defaults);
    tcase_add_test(all, everything_survives_the_file);
    tcase_add_test(all, every_mistake_gives_its_line);
    tcase_add_loop_test(all, single_mistakes, 0, (int)(sizeof single / sizeof single[0]));
    tcase_add_loop_test(all, mistakes_of_proxies, 0, (int)(sizeof proxies / sizeof proxies[0]));
    tcase_add_test(all, proxies_on_two_hosts_share_a_port);
    tcase_add_test(all, whole_files_that_are_none);
    tcase_add_test(all, problems_without_end_are_cut_off);
    tcase_add_test(all, lists_end_at_their_maximum);
    tcase_add_test(all, a_deployment_grows_within_its_ports);
    tcase_add_test(all, a_process_has_its_own_interface);
    tcase_add_test(all, processes_are_found_by_name);
    tcase_add_test(all, written_files_load);
    tcase_add_test(all, deployments_differ);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
