#include "cli/examine.h"

#include <inttypes.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    RECEIVE_WANTED = 8 << 20, /* as the transport asks for */
    SEND_WANTED = 4 << 20,
    BURST = 64, /* datagrams of one send with segmentation offload */
    IP_UDP_HEADERS = 28,
    FILES_WANTED = 1024,
    FILES_LEAST = 256,
    FILES_BESIDE_CLIENTS = 96, /* of a proxy: as its shell asks for */
    FILES_OF_HOST = 65536,
    LOCK_WANTED = 8 << 20,
    LOOPBACK = 0x7f000001,
    PERCENT_FREE = 5
};
#define GROUP_TRIED      0xefffcaf1u /* 239.255.202.241 */
#define SYNC_TOO_FAST_NS UINT64_C(15000)
#define SYNC_SLOW_NS     UINT64_C(2000000)
#define SYNC_BAD_NS      UINT64_C(20000000)

struct checkup {
    const struct examine *what;
    const struct machine *m;
    const struct config *c; /* what is asked for, or the defaults */
    struct findings *out;
};

__attribute__((format(printf, 6, 7))) static void add(struct checkup *u, const char *check,
                                                      enum examine_verdict verdict, const char *why,
                                                      const char *mend, const char *format, ...)
{
    if (u->out->count == FINDINGS_MAX) {
        u->out->dropped++;
        return;
    }
    struct finding *f = &u->out->all[u->out->count++];
    *f = (struct finding) { .check = check, .verdict = verdict, .why = why };
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(f->found, sizeof f->found, format, arguments);
    va_end(arguments);
    if (verdict != EXAMINE_OK)
        snprintf(f->mend, sizeof f->mend, "%s", mend);
}

/* ---- sockets and files ----------------------------------------------------------------------- */

static void check_buffer(struct checkup *u, const char *check, const char *file, const char *key,
                         uint64_t wanted, const char *why)
{
    uint64_t is, least = (uint64_t)BURST * u->c->datagram_max;
    char mend[160];
    if (!machine_read_u64(u->m, &is, file)) {
        add(u, check, EXAMINE_WARN, why, "mount -t proc proc /proc", "%s can't be read", key);
        return;
    }
    snprintf(mend, sizeof mend, "sysctl -w %s=%" PRIu64, key, wanted);
    add(u, check,
        is >= wanted  ? EXAMINE_OK
        : is >= least ? EXAMINE_WARN
                      : EXAMINE_BAD,
        why, mend,
        "%s is %" PRIu64 " bytes; %" PRIu64 " are asked for, a burst of %d datagrams is %" PRIu64,
        key, is, wanted, BURST, least);
}

static const char *amount(char text[40], uint64_t value, uint64_t unit, const char *name)
{
    if (value == UINT64_MAX)
        return "as much as it wants";
    snprintf(text, 40, "%" PRIu64 "%s", value / unit, name);
    return text;
}

static void check_limits(struct checkup *u)
{
    char text[40];
    static const char why_files[] =
        "every connection to a store or sequencer is an open file, every segment read too";
    uint64_t is;
    if (machine_limit(u->m, "Max open files", &is))
        add(u, "open_files",
            is >= FILES_WANTED  ? EXAMINE_OK
            : is >= FILES_LEAST ? EXAMINE_WARN
                                : EXAMINE_BAD,
            why_files, "ulimit -n 4096; in a unit of systemd: LimitNOFILE=4096",
            "a process may open %s", amount(text, is, 1, " files"));
    else
        add(u, "open_files", EXAMINE_WARN, why_files, "mount -t proc proc /proc",
            "/proc/self/limits can't be read");
    if (machine_read_u64(u->m, &is, "/proc/sys/fs/file-max"))
        add(u, "host_files", is >= FILES_OF_HOST ? EXAMINE_OK : EXAMINE_WARN,
            "all processes of the host share this number", "sysctl -w fs.file-max=1048576",
            "the host may open %" PRIu64 " files", is);
    if (machine_limit(u->m, "Max locked memory", &is))
        add(u, "memory_lock", is >= LOCK_WANTED ? EXAMINE_OK : EXAMINE_WARN,
            "what io_uring shares with the kernel counts as locked memory before Linux 5.12",
            "ulimit -l unlimited; in a unit of systemd: LimitMEMLOCK=infinity",
            "a process may lock %s", amount(text, is, 1024, " KiB"));
}

/* ---- interfaces ------------------------------------------------------------------------------ */

static void check_bridge(struct checkup *u, const char *name)
{
    static const char why[] = "a bridge that snoops forgets who listens if nobody asks; then the "
                              "multicast stops after some minutes";
    char text[MACHINE_TEXT_MAX], mend[160];
    char base[2 * MACHINE_NAME_MAX + 64];
    snprintf(base, sizeof base, "/sys/class/net/%s/bridge", name);
    if (!machine_read(u->m, text, "%s/multicast_snooping", base)) {
        snprintf(base, sizeof base, "/sys/class/net/%s/brport/bridge/bridge", name);
        if (!machine_read(u->m, text, "%s/multicast_snooping", base)) {
            add(u, "igmp_snooping", EXAMINE_OK, why, "", "%s is on no bridge of this host", name);
            return;
        }
    }
    bool snoops = strcmp(text, "0") != 0;
    bool asks = machine_read(u->m, text, "%s/multicast_querier", base) && strcmp(text, "0") != 0;
    snprintf(mend, sizeof mend,
             "ip link set dev BRIDGE type bridge mcast_querier 1   # the bridge of %s", name);
    add(u, "igmp_snooping", snoops && !asks ? EXAMINE_WARN : EXAMINE_OK, why, mend,
        "the bridge of %s %s%s", name, snoops ? "snoops" : "does not snoop",
        !snoops ? ""
        : asks  ? ", and asks itself"
                : ", and has no querier of its own");
}

static void check_rp_filter(struct checkup *u, const char *name)
{
    char text[MACHINE_TEXT_MAX], mend[160];
    int all = machine_read(u->m, text, "/proc/sys/net/ipv4/conf/all/rp_filter") ? atoi(text) : 0;
    int own =
        machine_read(u->m, text, "/proc/sys/net/ipv4/conf/%s/rp_filter", name) ? atoi(text) : 0;
    bool two =
        u->c->egress_b.port != 0 && u->c->interface_b != 0 && u->c->interface_b != u->c->interface;
    int strictest = all > own ? all : own; /* 2, loose, wins over 1 */
    snprintf(mend, sizeof mend, "sysctl -w net.ipv4.conf.%s.rp_filter=2", name);
    add(u, "rp_filter", strictest == 1 && two ? EXAMINE_WARN : EXAMINE_OK,
        "strict filtering drops what comes in by another interface than the route back, as line B "
        "does",
        mend, "%s: %s", name,
        strictest == 0   ? "off"
        : strictest == 1 ? "strict"
                         : "loose");
}

/* A line of /proc/net/route: the interface, then destination, gateway, flags, three numbers,
 * mask. */
static bool route_covers(const char *line, uint32_t group, char name[MACHINE_NAME_MAX + 1])
{
    unsigned destination, mask;
    if (sscanf(line, "%31s %8x %*8x %*4x %*d %*d %*d %8x", name, &destination, &mask) != 3)
        return false;
    uint32_t order = __builtin_bswap32(group);
    return (order & mask) == destination;
}

static void check_route(struct checkup *u, const char *name, uint32_t group)
{
    static const char why[] =
        "Cantus names its interface, tools that do not send to the group by the route";
    char text[MACHINE_TEXT_MAX], at[MACHINE_NAME_MAX + 1] = "", one[MACHINE_NAME_MAX + 1];
    char mend[160];
    bool here = false;
    machine_read(u->m, text, "/proc/net/route");
    for (const char *line = strchr(text, '\n'); line != NULL; line = strchr(line + 1, '\n')) {
        if (!route_covers(line + 1, group, one))
            continue;
        here = here || strcmp(one, name) == 0;
        snprintf(at, sizeof at, "%s", one);
    }
    snprintf(mend, sizeof mend, "ip route add 224.0.0.0/4 dev %s", name);
    add(u, "multicast_route", here || at[0] != '\0' ? EXAMINE_OK : EXAMINE_WARN, why, mend,
        here            ? "multicast is routed to %s"
        : at[0] != '\0' ? "no route of multicast to %s, but one to another interface"
                        : "no route of multicast to %s or anywhere",
        name);
}

static void check_interface(struct checkup *u, uint32_t ip)
{
    char name[MACHINE_NAME_MAX + 1], text[MACHINE_TEXT_MAX], mend[160];
    char problem[MACHINE_PROBLEM_MAX] = "";
    if (!u->m->interface_of(ip, name)) {
        add(u, "interface", EXAMINE_BAD, "the processes here join their groups on this address",
            "ip -br address   # and name one of these in cantus.yaml",
            "no interface has %u.%u.%u.%u", ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255);
        return;
    }
    if (machine_read(u->m, text, "/sys/class/net/%s/flags", name)) {
        unsigned long flags = strtoul(text, NULL, 16);
        bool up = (flags & IFF_UP) != 0;
        bool multicast = (flags & (IFF_MULTICAST | IFF_LOOPBACK)) != 0;
        snprintf(mend, sizeof mend, "ip link set %s up multicast on", name);
        add(u, "interface", up && multicast ? EXAMINE_OK : EXAMINE_BAD,
            "batches are multicast: an interface without it hears none", mend, "%s is %s, %s", name,
            up ? "up" : "down", multicast ? "able to multicast" : "not able to multicast");
    }
    if (machine_read(u->m, text, "/sys/class/net/%s/mtu", name)) {
        unsigned long mtu = strtoul(text, NULL, 10), needed = u->c->datagram_max + IP_UDP_HEADERS;
        snprintf(mend, sizeof mend,
                 "ip link set %s mtu %lu   # or datagram_max: %lu in cantus.yaml, everywhere", name,
                 needed, mtu > IP_UDP_HEADERS ? mtu - IP_UDP_HEADERS : 0);
        add(u, "mtu", mtu >= needed ? EXAMINE_OK : EXAMINE_BAD,
            "a longer datagram travels in fragments, and is lost if one of them is", mend,
            "%s: %lu; datagrams of %" PRIu32 " need %lu", name, mtu, u->c->datagram_max, needed);
    }
    check_bridge(u, name);
    check_rp_filter(u, name);
    check_route(u, name, u->c->egress_a.ip != 0 ? u->c->egress_a.ip : GROUP_TRIED);
    bool heard = u->m->multicast(GROUP_TRIED, ip, problem);
    snprintf(mend, sizeof mend, "nft list ruleset; ip -d link show %s; ip maddress show dev %s",
             name, name);
    add(u, "multicast_received", heard ? EXAMINE_OK : EXAMINE_BAD,
        "a datagram sent to a group has to come back on this host", mend, "%s: %s", name,
        heard ? "one was sent and received" : problem);
}

/* ---- processors and clocks ------------------------------------------------------------------- */

static bool is_here(const struct checkup *u, uint32_t ip)
{
    char name[MACHINE_NAME_MAX + 1];
    return u->what->host != 0 ? ip == u->what->host : u->m->interface_of(ip, name);
}

static uint32_t processes_here(const struct checkup *u)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < u->c->sequencer_count; i++)
        count += is_here(u, u->c->sequencers[i].unicast.ip);
    for (uint32_t i = 0; i < u->c->retransmitter_count; i++)
        count += is_here(u, u->c->retransmitters[i].unicast.ip);
    for (uint32_t i = 0; i < u->c->proxy_count; i++)
        count += is_here(u, u->c->proxies[i].unicast.ip);
    return count;
}

/* A proxy raises its own limit as far as it may, and does not start where that is too little. */
static void check_proxies(struct checkup *u)
{
    uint64_t is;
    char mend[FINDING_TEXT_MAX];
    if (!machine_limit_hard(u->m, "Max open files", &is))
        return;
    for (uint32_t i = 0; i < u->c->proxy_count; i++) {
        const struct config_proxy *p = &u->c->proxies[i];
        uint64_t wanted = (uint64_t)p->sessions_max + FILES_BESIDE_CLIENTS;
        if (!is_here(u, p->unicast.ip))
            continue;
        snprintf(mend, sizeof mend,
                 "LimitNOFILE=%" PRIu64 " in its unit; or a lower sessions_max in cantus.yaml",
                 wanted);
        add(u, "client_files", is >= wanted ? EXAMINE_OK : EXAMINE_BAD,
            "every client of a proxy is an open file", mend,
            "%s lets %" PRIu32 " clients in, and may open %" PRIu64 " files", p->name,
            p->sessions_max, is);
    }
}

static void check_cores(struct checkup *u)
{
    static const char why[] = "a process that spins without yielding keeps its neighbours on the "
                              "core waiting for milliseconds";
    char text[MACHINE_TEXT_MAX];
    uint32_t cores = 0, processes = processes_here(u);
    if (machine_read(u->m, text, "/sys/devices/system/cpu/online"))
        cores = machine_list_count(text);
    bool spins = u->c->idle == LOOP_IDLE_SPIN;
    if (cores == 0 || u->what->config == NULL) {
        add(u, "cores", EXAMINE_OK, why, "", "%" PRIu32 " cores", cores);
    } else {
        bool crowded = processes > cores && u->c->idle != LOOP_IDLE_WAIT;
        add(u, "cores",
            !crowded                ? EXAMINE_OK
            : spins && !u->c->yield ? EXAMINE_BAD
            : spins || !u->c->yield ? EXAMINE_WARN
                                    : EXAMINE_OK,
            why, "set yield: true, or idle: spin-then-wait, in cantus.yaml; or more cores",
            "%" PRIu32 " processes of this deployment here, on %" PRIu32 " cores; they %s%s",
            processes, cores,
            spins                          ? "spin"
            : u->c->idle == LOOP_IDLE_WAIT ? "wait"
                                           : "spin, then wait",
            u->c->yield ? ", and yield" : "");
    }
    if (machine_read(u->m, text, "/sys/devices/system/cpu/smt/active"))
        add(u, "smt", strcmp(text, "1") == 0 && spins ? EXAMINE_WARN : EXAMINE_OK,
            "two threads of a core share it: who spins on one slows the other",
            "echo off > /sys/devices/system/cpu/smt/control", "threads of a core: %s",
            strcmp(text, "1") == 0 ? "two or more" : "one");
}

/* Who spins and yields gives its turn to whatever else wants to run, and where sessions are grouped all others
 * together get as much as its own does. */
static void check_autogroup(struct checkup *u)
{
    char text[MACHINE_TEXT_MAX];
    if (!machine_read(u->m, text, "/proc/sys/kernel/sched_autogroup_enabled"))
        return;
    bool on = strcmp(text, "1") == 0, spins = u->c->idle == LOOP_IDLE_SPIN;
    add(u, "autogroup", on && spins ? EXAMINE_WARN : EXAMINE_OK,
        "a session's processes share one turn with those of any other session, whatever their nice "
        "value: another shell's build costs who spins half of a core",
        "run them as services, with CPUWeight=1000; or: echo -20 > /proc/PID/autogroup; or: sysctl "
        "-w kernel.sched_autogroup_enabled=0",
        "sessions are %s%s", on ? "scheduled as groups" : "not scheduled as groups",
        on && spins ? ", and processes here spin" : "");
}

static void check_power(struct checkup *u)
{
    static const char why[] = "a core that was clocked down is slow when a message comes";
    char text[MACHINE_TEXT_MAX];
    if (!machine_read(u->m, text, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"))
        add(u, "governor", EXAMINE_OK, why, "", "not shown here, as on most virtual machines");
    else
        add(u, "governor", strcmp(text, "performance") == 0 ? EXAMINE_OK : EXAMINE_WARN, why,
            "cpupower frequency-set -g performance", "%s", text);
    if (machine_read(u->m, text, "/sys/kernel/mm/transparent_hugepage/enabled")) {
        bool never = strstr(text, "[never]") != NULL, always = strstr(text, "[always]") != NULL;
        add(u, "huge_pages", never ? EXAMINE_WARN : EXAMINE_OK,
            "rings and tables are large: with small pages look-ups cost more",
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
            "transparent ones: %s; sequencers and stores %s", text,
            never               ? "get none"
            : always            ? "get them"
            : !u->c->huge_pages ? "don't ask for them: huge_pages: false"
                                : "ask for them");
    }
}

static void check_clock_source(struct checkup *u)
{
    static const char *const good[] = { "tsc", "arch_sys_counter", "kvm-clock",
                                        "hyperv_clocksource_tsc_page", "riscv_clocksource" };
    char text[MACHINE_TEXT_MAX];
    bool fast = false;
    if (!machine_read(u->m, text,
                      "/sys/devices/system/clocksource/clocksource0/current_clocksource"))
        return;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        fast = fast || strcmp(text, good[i]) == 0;
    add(u, "clock_source", fast ? EXAMINE_OK : EXAMINE_BAD,
        "every round of a loop reads the clock: 20 ns with tsc, up to microseconds with others",
        "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource", "%s", text);
}

static void check_skews(struct checkup *u)
{
    uint64_t most = (uint64_t)u->c->sequencer.clock_ahead_max_ms * 1000000u;
    for (uint32_t i = 0; i < u->what->skew_count; i++) {
        const struct examine_skew *s = &u->what->skews[i];
        uint64_t size = (uint64_t)llabs(s->skew_ns);
        size = size > s->uncertain_ns ? size - s->uncertain_ns : 0;
        add(u, "clock_skew",
            size > most        ? EXAMINE_BAD
            : size > most / 10 ? EXAMINE_WARN
                               : EXAMINE_OK,
            "a sequencer whose clock is too far ahead of the stores' stamps by theirs",
            "chronyc makestep   # or timedatectl set-ntp true, on each host",
            "the clock of %s is %.1f ms %s ours (+-%.1f ms)", s->name,
            (double)llabs(s->skew_ns) / 1e6, s->skew_ns < 0 ? "behind" : "ahead of",
            (double)s->uncertain_ns / 1e6);
    }
}

/* ---- stores ---------------------------------------------------------------------------------- */

static void check_restored(struct checkup *u)
{
    for (uint32_t i = 0; i < u->what->skew_count; i++) {
        const struct examine_skew *s = &u->what->skews[i];
        char mend[FINDING_TEXT_MAX];
        if (s->restored == 0)
            continue;
        snprintf(mend, sizeof mend,
                 "stop %s, empty its directory, cantus-retransmitter --format --name %s, start it, "
                 "cantus member replace %016" PRIx64 " %s",
                 s->name, s->name, s->restored, s->name);
        add(u, "store_restored", EXAMINE_BAD,
            "it has forgotten what it promised and acknowledged, so it votes no more: one store less "
            "makes messages stable",
            mend, "%s: its store %016" PRIx64 " was restored from an older copy of itself", s->name,
            s->restored);
    }
}

static void check_sync(struct checkup *u, const char *name, bool every,
                       const struct machine_disk *d)
{
    static const char why[] =
        "a message is stable once a quorum of disks has it: this is what that rests on";
    char mend[FINDING_TEXT_MAX];
    if (d->in_memory) {
        snprintf(mend, sizeof mend, "move %s's directory to a disk, and name it in cantus.yaml",
                 name);
        add(u, "disk_sync", every ? EXAMINE_BAD : EXAMINE_WARN, why, mend,
            "%s: a file system in memory, which a crash of the host empties", name);
        return;
    }
    if (!every)
        add(u, "disk_sync", EXAMINE_WARN, why, "set sync: every for it in cantus.yaml",
            "%s acknowledges before it syncs: a crash of the host may lose what was stable", name);
    else if (d->append_ns == 0)
        add(u, "disk_sync", EXAMINE_WARN, why, "run it as the user of the store",
            "%s: not measured: %s", name, d->problem);
    else
        add(u, "disk_sync",
            d->append_ns > SYNC_BAD_NS                                       ? EXAMINE_BAD
            : d->append_ns > SYNC_SLOW_NS || d->append_ns < SYNC_TOO_FAST_NS ? EXAMINE_WARN
                                                                             : EXAMINE_OK,
            why,
            d->append_ns < SYNC_TOO_FAST_NS
                ? "find out what caches: hdparm -W DEVICE; the host's setting of this virtual disk"
                : "a disk with a cache that survives power loss; iostat -x 1 shows who else writes",
            "%s: %.3f ms for one append of 4 KiB, synced%s", name, (double)d->append_ns / 1e6,
            d->append_ns < SYNC_TOO_FAST_NS ? ": faster than any disk" : "");
}

static void check_store(struct checkup *u, const char *name, const char *directory, bool every,
                        uint32_t segment_mib)
{
    struct machine_disk d = { 0 };
    uint64_t least = 2 * ((uint64_t)segment_mib << 20);
    if (!u->m->disk(directory, every, &d)) {
        add(u, "disk_space", EXAMINE_BAD, "the store's journal lives there",
            "mkdir -p DIRECTORY   # as the user that runs the store", "%s: no such directory: %s",
            name, directory);
        return;
    }
    add(u, "disk_space",
        d.free_bytes < least                                ? EXAMINE_BAD
        : d.free_bytes < d.total_bytes / 100 * PERCENT_FREE ? EXAMINE_WARN
                                                            : EXAMINE_OK,
        "a store whose disk is full acknowledges nothing; a quorum of them stops the stream",
        "df -h DIRECTORY   # make room, or move the store to a larger disk",
        "%s: %" PRIu64 " MiB free of %" PRIu64 "; segments are of %" PRIu32 " MiB", name,
        d.free_bytes >> 20, d.total_bytes >> 20, segment_mib);
    check_sync(u, name, every, &d);
}

static void check_stores(struct checkup *u)
{
    char directory[2 * CONFIG_PATH_MAX];
    if (u->c->is_volatile)
        add(u, "disk_sync", EXAMINE_WARN, "nothing of a volatile stream is ever stable",
            "cantus init DIR   # without --volatile", "the stream is volatile: it has no stores");
    for (uint32_t i = 0; i < u->c->retransmitter_count; i++) {
        const struct config_retransmitter *r = &u->c->retransmitters[i];
        if (is_here(u, r->unicast.ip) &&
            config_path(u->c, r->directory, directory, sizeof directory))
            check_store(u, r->name, directory, r->sync == DISK_SYNC_EVERY, r->segment_mib);
    }
}

/* ---- all of it ------------------------------------------------------------------------------- */

struct addresses {
    uint32_t count;
    uint32_t all[CONFIG_PROCESSES_MAX + 1];
};

static void add_address(struct addresses *a, uint32_t ip)
{
    for (uint32_t i = 0; i < a->count; i++)
        if (a->all[i] == ip)
            return;
    a->all[a->count++] = ip;
}

/* Those whose interfaces the processes here use; where there is none, the one that an app would. */
static void check_interfaces(struct checkup *u)
{
    struct addresses a = { 0 };
    const struct config *c = u->c;
    for (uint32_t i = 0; i < c->sequencer_count; i++) {
        const struct config_sequencer *s = &c->sequencers[i];
        if (is_here(u, s->unicast.ip))
            add_address(&a, s->interface != 0 ? s->interface : c->interface);
    }
    for (uint32_t i = 0; i < c->retransmitter_count; i++) {
        const struct config_retransmitter *r = &c->retransmitters[i];
        if (is_here(u, r->unicast.ip))
            add_address(&a, r->interface != 0 ? r->interface : c->interface);
    }
    for (uint32_t i = 0; i < c->proxy_count; i++) {
        const struct config_proxy *p = &c->proxies[i];
        if (is_here(u, p->unicast.ip))
            add_address(&a, p->interface != 0 ? p->interface : c->interface);
    }
    if (a.count == 0)
        add_address(&a, c->interface);
    if (c->interface_b != 0 && c->egress_b.port != 0)
        add_address(&a, c->interface_b);
    for (uint32_t i = 0; i < a.count; i++)
        check_interface(u, a.all[i]);
}

void examine(const struct examine *what, struct findings *out)
{
    static struct config defaults;
    config_default(&defaults);
    if (what->config == NULL && what->host != 0)
        defaults.interface = what->host;
    struct checkup u = { .what = what,
                         .m = what->machine,
                         .c = what->config != NULL ? what->config : &defaults,
                         .out = out };
    out->count = out->dropped = 0;
    check_buffer(&u, "receive_buffer", "/proc/sys/net/core/rmem_max", "net.core.rmem_max",
                 RECEIVE_WANTED,
                 "what arrives while a process is busy waits there; the rest is lost");
    check_buffer(&u, "send_buffer", "/proc/sys/net/core/wmem_max", "net.core.wmem_max", SEND_WANTED,
                 "a burst that does not fit is sent in pieces, each a wait");
    check_interfaces(&u);
    check_clock_source(&u);
    check_skews(&u);
    check_restored(&u);
    check_cores(&u);
    check_autogroup(&u);
    check_power(&u);
    check_limits(&u);
    check_proxies(&u);
    check_stores(&u);
}

const char *examine_verdict_name(enum examine_verdict verdict)
{
    switch (verdict) {
    case EXAMINE_OK:
        return "ok";
    case EXAMINE_WARN:
        return "warn";
    case EXAMINE_BAD:
        return "bad";
    }
    return "";
}

enum examine_verdict examine_worst(const struct findings *findings)
{
    enum examine_verdict worst = EXAMINE_OK;
    for (uint32_t i = 0; i < findings->count; i++)
        if (findings->all[i].verdict > worst)
            worst = findings->all[i].verdict;
    return worst;
}
