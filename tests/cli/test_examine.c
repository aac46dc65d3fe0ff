/* Every verdict of `cantus doctor`. A machine is made of files in a temporary directory, which stand for
 * /proc and /sys, and of functions that say what a test wants; it is fit for Cantus, and each test makes
 * one thing of it worse and looks at what is said of that. The machine itself is tried at the end: as
 * it is, all that has to come out is that it can be examined. */
#include <check.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/examine.h"

enum { HERE = 0x0a000001, THERE = 0x0a000002, SECOND = 0x0a000003 };

static char root[PATH_MAX];
static struct machine machine;
static struct config config;
static struct findings found;
static bool heard;
static struct machine_disk disk;

static bool fake_interface_of(uint32_t ip, char name[MACHINE_NAME_MAX + 1])
{
    strcpy(name, ip == SECOND ? "eth1" : "eth0");
    return ip == HERE || ip == SECOND || ip == 0x7f000001;
}

static bool fake_multicast(uint32_t group, uint32_t interface, char *problem)
{
    ck_assert_uint_ne(group, 0);
    ck_assert_uint_ne(interface, 0);
    strcpy(problem, "sent, but not received");
    return heard;
}

static bool fake_disk(const char *directory, bool measure, struct machine_disk *out)
{
    ck_assert_str_eq(directory, "/d/r1");
    *out = disk;
    if (!measure)
        out->append_ns = 0;
    return disk.total_bytes != 0;
}

__attribute__((format(printf, 2, 3))) static void say(const char *path, const char *format, ...)
{
    char whole[PATH_MAX + 256];
    snprintf(whole, sizeof whole, "%s%s", root, path);
    for (char *slash = strchr(whole + strlen(root) + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(whole, 0700);
        *slash = '/';
    }
    FILE *f = fopen(whole, "w");
    ck_assert_ptr_nonnull(f);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(f, format, arguments);
    va_end(arguments);
    fputc('\n', f);
    ck_assert_int_eq(fclose(f), 0);
}

static void silence(const char *path)
{
    char whole[PATH_MAX + 256];
    snprintf(whole, sizeof whole, "%s%s", root, path);
    ck_assert_int_eq(unlink(whole), 0);
}

static void limits(const char *files, const char *locked)
{
    say("/proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max open files            %-20s 1048576              files     \n"
        "Max locked memory         %-20s unlimited            bytes     ",
        files, locked);
}

static void route(const char *lines)
{
    say("/proc/net/route",
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n%s",
        lines);
}

static void setup(void)
{
    strcpy(root, "/tmp/cantus-examine-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
    machine = (struct machine) { .root = root,
                                 .interface_of = fake_interface_of,
                                 .multicast = fake_multicast,
                                 .disk = fake_disk };
    heard = true;
    disk = (struct machine_disk) { .free_bytes = UINT64_C(50) << 30,
                                   .total_bytes = UINT64_C(100) << 30,
                                   .append_ns = 100000 };
    say("/proc/sys/net/core/rmem_max", "%d", 8 << 20);
    say("/proc/sys/net/core/wmem_max", "%d", 4 << 20);
    say("/proc/sys/fs/file-max", "9223372036854775807");
    say("/proc/sys/net/ipv4/conf/all/rp_filter", "0");
    say("/proc/sys/net/ipv4/conf/eth0/rp_filter", "0");
    say("/sys/class/net/eth0/flags", "0x1003");
    say("/sys/class/net/eth0/mtu", "1500");
    say("/sys/class/net/eth1/flags", "0x1003");
    say("/sys/class/net/eth1/mtu", "1500");
    say("/proc/sys/kernel/sched_autogroup_enabled", "0");
    say("/sys/devices/system/cpu/online", "0-1,4");
    say("/sys/devices/system/cpu/smt/active", "0");
    say("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance");
    say("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc");
    say("/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never");
    route("eth0\t00000000\t0102000A\t0003\t0\t0\t0\t00000000\t0\t0\t0");
    limits("1048576", "unlimited");
    config_default(&config);
    config.interface = HERE;
    config.ingress = (struct port_addr) { 0xefc00001, 20000 };
    config.egress_a = (struct port_addr) { 0xefc00002, 20000 };
    strcpy(config.directory, "/d");
    config.sequencer_count = 1;
    config.sequencers[0].unicast = (struct port_addr) { HERE, 20001 };
    strcpy(config.sequencers[0].name, "s1");
    config.retransmitter_count = 2;
    for (int i = 0; i < 2; i++) {
        config.retransmitters[i].unicast = (struct port_addr) { i == 0 ? HERE : THERE, 20008 };
        snprintf(config.retransmitters[i].name, sizeof config.retransmitters[i].name, "r%d", i + 1);
        snprintf(config.retransmitters[i].directory, sizeof config.retransmitters[i].directory,
                 "r%d", i + 1);
    }
}

static void teardown(void)
{
    char command[PATH_MAX + 16];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    ck_assert_int_eq(system(command), 0);
}

static void look(void)
{
    struct examine what = { .machine = &machine, .config = &config };
    examine(&what, &found);
    ck_assert_uint_eq(found.dropped, 0);
}

static const struct finding *finding(const char *check)
{
    const struct finding *f = NULL;
    for (uint32_t i = 0; i < found.count; i++)
        if (strcmp(found.all[i].check, check) == 0 &&
            (f == NULL || found.all[i].verdict > f->verdict))
            f = &found.all[i];
    ck_assert_msg(f != NULL, "nothing was said of %s", check);
    return f;
}

/* Of this check, and of nothing else, it says so, and what would mend it. */
static void expect(const char *check, enum examine_verdict verdict, const char *text,
                   const char *mend)
{
    look();
    const struct finding *f = finding(check);
    ck_assert_msg(f->verdict == verdict, "%s: %s: %s", check, examine_verdict_name(f->verdict),
                  f->found);
    ck_assert_msg(strstr(f->found, text) != NULL, "%s: %s", check, f->found);
    ck_assert_msg(strstr(f->mend, mend) != NULL, "%s: %s", check, f->mend);
    ck_assert_uint_gt(strlen(f->why), 10);
    ck_assert_int_eq(f->mend[0] == '\0', verdict == EXAMINE_OK);
    for (uint32_t i = 0; i < found.count; i++)
        if (strcmp(found.all[i].check, check) != 0)
            ck_assert_msg(found.all[i].verdict == EXAMINE_OK, "%s: %s", found.all[i].check,
                          found.all[i].found);
    ck_assert_int_eq(examine_worst(&found), verdict);
}

START_TEST(test_a_fit_machine)
{
    look();
    static const char *const checks[] = { "receive_buffer",
                                          "send_buffer",
                                          "interface",
                                          "mtu",
                                          "igmp_snooping",
                                          "rp_filter",
                                          "multicast_route",
                                          "multicast_received",
                                          "clock_source",
                                          "cores",
                                          "smt",
                                          "autogroup",
                                          "governor",
                                          "huge_pages",
                                          "open_files",
                                          "host_files",
                                          "memory_lock",
                                          "disk_space",
                                          "disk_sync" };
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++)
        ck_assert_msg(finding(checks[i])->verdict == EXAMINE_OK, "%s: %s", checks[i],
                      finding(checks[i])->found);
    ck_assert_uint_eq(found.count, sizeof checks / sizeof checks[0]);
}
END_TEST

START_TEST(test_socket_buffers)
{
    say("/proc/sys/net/core/rmem_max", "212992");
    expect("receive_buffer", EXAMINE_WARN, "212992", "sysctl -w net.core.rmem_max=8388608");
    say("/proc/sys/net/core/rmem_max", "65536");
    expect("receive_buffer", EXAMINE_BAD, "65536", "sysctl");
    silence("/proc/sys/net/core/rmem_max");
    expect("receive_buffer", EXAMINE_WARN, "can't be read", "mount");
    say("/proc/sys/net/core/rmem_max", "16777216");
    say("/proc/sys/net/core/wmem_max", "212992");
    expect("send_buffer", EXAMINE_WARN, "212992", "sysctl -w net.core.wmem_max=4194304");
    config.datagram_max = 4000; /* a burst is longer */
    say("/sys/class/net/eth0/mtu", "9000");
    expect("send_buffer", EXAMINE_BAD, "256000", "sysctl");
}
END_TEST

START_TEST(test_interface_and_mtu)
{
    say("/sys/class/net/eth0/flags", "0x1002");
    expect("interface", EXAMINE_BAD, "eth0 is down", "ip link set eth0 up");
    say("/sys/class/net/eth0/flags", "0x3");
    expect("interface", EXAMINE_BAD, "not able to multicast", "multicast on");
    say("/sys/class/net/eth0/flags", "0x9"); /* lo: needs no flag */
    expect("interface", EXAMINE_OK, "able", "");
    config.datagram_max = 1473;
    expect("mtu", EXAMINE_BAD, "1500", "ip link set eth0 mtu 1501");
    config.datagram_max = 1472;
    config.sequencers[0].interface = THERE;
    expect("interface", EXAMINE_BAD, "no interface has 10.0.0.2", "ip -br address");
}
END_TEST

START_TEST(test_multicast)
{
    heard = false;
    expect("multicast_received", EXAMINE_BAD, "not received", "nft list ruleset");
    heard = true;
    route("eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0");
    expect("multicast_route", EXAMINE_WARN, "or anywhere", "ip route add 224.0.0.0/4 dev eth0");
    route("eth1\t000000E0\t00000000\t0001\t0\t0\t0\t000000F0\t0\t0\t0");
    expect("multicast_route", EXAMINE_OK, "another interface", "");
    route("eth0\t000000E0\t00000000\t0001\t0\t0\t0\t000000F0\t0\t0\t0");
    expect("multicast_route", EXAMINE_OK, "routed to eth0", "");
}
END_TEST

START_TEST(test_bridges)
{
    say("/sys/class/net/eth0/bridge/multicast_snooping", "1");
    say("/sys/class/net/eth0/bridge/multicast_querier", "0");
    expect("igmp_snooping", EXAMINE_WARN, "no querier", "mcast_querier 1");
    say("/sys/class/net/eth0/bridge/multicast_querier", "1");
    expect("igmp_snooping", EXAMINE_OK, "asks itself", "");
    say("/sys/class/net/eth0/bridge/multicast_snooping", "0");
    expect("igmp_snooping", EXAMINE_OK, "does not snoop", "");
    silence("/sys/class/net/eth0/bridge/multicast_snooping");
    say("/sys/class/net/eth0/brport/bridge/bridge/multicast_snooping", "1");
    expect("igmp_snooping", EXAMINE_WARN, "no querier", "mcast_querier 1");
}
END_TEST

START_TEST(test_two_lines)
{
    say("/proc/sys/net/ipv4/conf/eth0/rp_filter", "1");
    expect("rp_filter", EXAMINE_OK, "strict", "");
    config.interface_b = SECOND;
    config.egress_b = (struct port_addr) { 0xefc00003, 20000 };
    say("/proc/net/route", "h\neth0\t0\t0\t3\t0\t0\t0\t0");
    expect("rp_filter", EXAMINE_WARN, "eth0: strict", "rp_filter=2");
    say("/proc/sys/net/ipv4/conf/all/rp_filter", "2");
    expect("rp_filter", EXAMINE_OK, "loose", "");
    say("/sys/class/net/eth1/mtu", "1400");
    expect("mtu", EXAMINE_BAD, "eth1: 1400", "datagram_max: 1372");
}
END_TEST

START_TEST(test_clocks)
{
    say("/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet");
    expect("clock_source", EXAMINE_BAD, "hpet", "echo tsc");
    say("/sys/devices/system/clocksource/clocksource0/current_clocksource", "kvm-clock");
    expect("clock_source", EXAMINE_OK, "kvm-clock", "");
    static const struct {
        int64_t skew_ns;
        uint64_t uncertain_ns;
        enum examine_verdict verdict;
        const char *text;
    } cases[] = { { 400000000, 0, EXAMINE_OK, "400.0 ms ahead of" },
                  { -2000000000, 0, EXAMINE_WARN, "2000.0 ms behind" },
                  { 2000000000, 1500000000, EXAMINE_OK, "2000.0 ms ahead of" },
                  { 11000000000, 0, EXAMINE_BAD, "11000.0 ms ahead of" },
                  { -11000000000, 0, EXAMINE_BAD, "11000.0 ms behind" } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct examine_skew skew = { .name = "r2",
                                     .skew_ns = cases[i].skew_ns,
                                     .uncertain_ns = cases[i].uncertain_ns };
        struct examine what = {
            .machine = &machine, .config = &config, .skews = &skew, .skew_count = 1
        };
        examine(&what, &found);
        const struct finding *f = finding("clock_skew");
        ck_assert_int_eq(f->verdict, cases[i].verdict);
        ck_assert_msg(strstr(f->found, cases[i].text) != NULL, "%s", f->found);
        ck_assert_int_eq(strstr(f->mend, "chronyc") != NULL, f->verdict != EXAMINE_OK);
    }
}
END_TEST

START_TEST(test_restored)
{
    struct examine_skew skew = { .name = "r2", .restored = 0xabc };
    struct examine what = {
        .machine = &machine, .config = &config, .skews = &skew, .skew_count = 1
    };
    examine(&what, &found);
    const struct finding *f = finding("store_restored");
    ck_assert_int_eq(f->verdict, EXAMINE_BAD);
    ck_assert_ptr_nonnull(strstr(f->found, "0000000000000abc was restored from an older copy"));
    ck_assert_ptr_nonnull(strstr(f->mend, "cantus member replace 0000000000000abc r2"));
}
END_TEST

START_TEST(test_cores)
{
    expect("cores", EXAMINE_OK, "2 processes of this deployment here, on 3 cores", "");
    say("/sys/devices/system/cpu/online", "0");
    expect("cores", EXAMINE_OK, "on 1 cores; they spin, then wait, and yield", "");
    config.yield = false;
    expect("cores", EXAMINE_WARN, "spin, then wait", "yield: true");
    config.idle = LOOP_IDLE_SPIN;
    expect("cores", EXAMINE_BAD, "they spin", "yield: true");
    config.yield = true;
    expect("cores", EXAMINE_WARN, "they spin, and yield", "more cores");
    config.idle = LOOP_IDLE_WAIT;
    config.yield = false;
    expect("cores", EXAMINE_OK, "they wait", "");
    say("/sys/devices/system/cpu/online", "0-7");
    config.idle = LOOP_IDLE_SPIN;
    expect("cores", EXAMINE_OK, "on 8 cores", "");
    say("/sys/devices/system/cpu/smt/active", "1");
    expect("smt", EXAMINE_WARN, "two or more", "smt/control");
    config.idle = LOOP_IDLE_WAIT;
    expect("smt", EXAMINE_OK, "two or more", "");
}
END_TEST

START_TEST(test_sessions_that_are_scheduled_as_groups)
{
    config.idle = LOOP_IDLE_SPIN;
    expect("autogroup", EXAMINE_OK, "not scheduled as groups", "");
    say("/proc/sys/kernel/sched_autogroup_enabled", "1");
    expect("autogroup", EXAMINE_WARN, "processes here spin", "CPUWeight=1000");
    config.idle = LOOP_IDLE_SPIN_THEN_WAIT;
    expect("autogroup", EXAMINE_OK, "are scheduled as groups", "");
}
END_TEST

START_TEST(test_power_and_pages)
{
    say("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave");
    expect("governor", EXAMINE_WARN, "powersave", "cpupower");
    silence("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    expect("governor", EXAMINE_OK, "not shown", "");
    say("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]");
    expect("huge_pages", EXAMINE_WARN, "[never]; sequencers and stores get none", "echo madvise");
    say("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never");
    expect("huge_pages", EXAMINE_OK, "sequencers and stores ask for them", "");
    config.huge_pages = false;
    expect("huge_pages", EXAMINE_OK, "huge_pages: false", "");
}
END_TEST

START_TEST(test_limits)
{
    limits("512", "unlimited");
    expect("open_files", EXAMINE_WARN, "512", "ulimit -n");
    limits("128", "unlimited");
    expect("open_files", EXAMINE_BAD, "128", "LimitNOFILE");
    limits("unlimited", "65536");
    expect("memory_lock", EXAMINE_WARN, "64 KiB", "LimitMEMLOCK");
    limits("4096", "8388608");
    say("/proc/sys/fs/file-max", "1000");
    expect("host_files", EXAMINE_WARN, "1000", "fs.file-max");
}
END_TEST

START_TEST(test_clients_are_files)
{
    config.proxy_count = 2;
    for (int i = 0; i < 2; i++) {
        config.proxies[i].unicast = (struct port_addr) { i == 0 ? HERE : THERE, 20010 };
        snprintf(config.proxies[i].name, sizeof config.proxies[i].name, "p%d", i + 1);
        config.proxies[i].sessions_max = i == 0 ? 10000 : 60000;
    }
    expect("client_files", EXAMINE_OK, "p1 lets 10000 clients in, and may open 1048576", "");
    say("/proc/self/limits", "Max open files            1024                 10095                "
                             "files     ");
    expect("client_files", EXAMINE_BAD, "may open 10095", "LimitNOFILE=10096");
    config.proxies[0].sessions_max = 9999;
    expect("client_files", EXAMINE_OK, "p1", "");
}
END_TEST

START_TEST(test_disks)
{
    disk.append_ns = 3000000;
    expect("disk_sync", EXAMINE_WARN, "r1: 3.000 ms", "iostat");
    disk.append_ns = 30000000;
    expect("disk_sync", EXAMINE_BAD, "30.000 ms", "iostat");
    disk.append_ns = 5000;
    expect("disk_sync", EXAMINE_WARN, "faster than any disk", "hdparm");
    disk.append_ns = 0;
    strcpy(disk.problem, "can't write there");
    expect("disk_sync", EXAMINE_WARN, "not measured: can't write there", "user of the store");
    disk.append_ns = 100000;
    disk.in_memory = true;
    expect("disk_sync", EXAMINE_BAD, "in memory", "move r1");
    config.retransmitters[0].sync = DISK_SYNC_NONE;
    expect("disk_sync", EXAMINE_WARN, "in memory", "move r1");
    disk.in_memory = false;
    expect("disk_sync", EXAMINE_WARN, "before it syncs", "sync: every");
    config.retransmitters[0].sync = DISK_SYNC_EVERY;
    disk.free_bytes = UINT64_C(4) << 30;
    expect("disk_space", EXAMINE_WARN, "4096 MiB free", "df -h");
    disk.free_bytes = UINT64_C(40) << 20;
    expect("disk_space", EXAMINE_BAD, "40 MiB free", "df -h");
}
END_TEST

START_TEST(test_no_directory_and_volatile)
{
    disk.total_bytes = 0;
    expect("disk_space", EXAMINE_BAD, "no such directory: /d/r1", "mkdir -p");
    config.retransmitter_count = 0;
    config.is_volatile = true;
    expect("disk_sync", EXAMINE_WARN, "volatile", "without --volatile");
}
END_TEST

/* Without a deployment, and where it runs elsewhere. */
START_TEST(test_whose_processes)
{
    struct examine what = { .machine = &machine };
    examine(&what, &found);
    ck_assert_int_eq(examine_worst(&found), EXAMINE_OK);
    ck_assert_uint_gt(found.count, 12);
    for (uint32_t i = 0; i < found.count; i++)
        ck_assert_str_ne(found.all[i].check, "disk_sync");
    what.config = &config;
    what.host = THERE; /* which this machine does not have */
    strcpy(config.retransmitters[1].directory, "r1");
    examine(&what, &found);
    ck_assert_int_eq(finding("interface")->verdict, EXAMINE_OK);
    ck_assert_ptr_nonnull(strstr(finding("cores")->found, "1 processes"));
    ck_assert_ptr_nonnull(strstr(finding("disk_space")->found, "r2"));
}
END_TEST

START_TEST(test_this_machine)
{
    struct machine real = machine_real();
    char name[MACHINE_NAME_MAX + 1], text[MACHINE_TEXT_MAX];
    struct machine_disk d;
    uint64_t files;
    ck_assert(real.interface_of(0x7f000001, name));
    ck_assert(machine_read(&real, text, "/sys/class/net/%s/mtu", name));
    ck_assert(machine_limit(&real, "Max open files", &files));
    ck_assert_uint_gt(files, 0);
    ck_assert(!machine_limit(&real, "Max of nothing", &files));
    char below[PATH_MAX + 16];
    snprintf(below, sizeof below, "%s/not/yet", root);
    ck_assert(real.disk(below, false, &d));
    ck_assert_uint_gt(d.total_bytes, 0);
    ck_assert(real.disk(root, true, &d));
    ck_assert_msg(d.append_ns > 0, "%s", d.problem);
    ck_assert_int_eq(rmdir(root) == -1, 1); /* setup's files; the measured one is gone */
    ck_assert(!machine_read(&machine, text, "/.cantus-doctor"));
    ck_assert(real.disk("/proc", true, &d));
    ck_assert_uint_eq(d.append_ns, 0);
    ck_assert_uint_gt(strlen(d.problem), 5);
    ck_assert_uint_eq(machine_list_count("0-3,8,10-11"), 7);
    ck_assert_uint_eq(machine_list_count(""), 0);
    machine = real;
    config_default(&config);
    look();
    ck_assert_uint_gt(found.count, 8);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("examine");
    TCase *cases = tcase_create("examine");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, test_a_fit_machine);
    tcase_add_test(cases, test_socket_buffers);
    tcase_add_test(cases, test_interface_and_mtu);
    tcase_add_test(cases, test_multicast);
    tcase_add_test(cases, test_bridges);
    tcase_add_test(cases, test_two_lines);
    tcase_add_test(cases, test_clocks);
    tcase_add_test(cases, test_restored);
    tcase_add_test(cases, test_cores);
    tcase_add_test(cases, test_sessions_that_are_scheduled_as_groups);
    tcase_add_test(cases, test_power_and_pages);
    tcase_add_test(cases, test_limits);
    tcase_add_test(cases, test_clients_are_files);
    tcase_add_test(cases, test_disks);
    tcase_add_test(cases, test_no_directory_and_volatile);
    tcase_add_test(cases, test_whose_processes);
    tcase_add_test(cases, test_this_machine);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
