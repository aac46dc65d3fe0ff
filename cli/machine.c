#include "cli/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

enum { PATH_SIZE = 1024, BLOCK = 4096, TMPFS = 0x01021994, ANSWER_MS = 1000 };
static const unsigned long RAMFS = 0x858458f6;

/* ---- files ----------------------------------------------------------------------------------- */

bool machine_read(const struct machine *m, char out[MACHINE_TEXT_MAX], const char *path, ...)
{
    char tail[PATH_SIZE], whole[2 * PATH_SIZE];
    va_list arguments;
    va_start(arguments, path);
    vsnprintf(tail, sizeof tail, path, arguments);
    va_end(arguments);
    snprintf(whole, sizeof whole, "%s%s", m->root, tail);
    out[0] = '\0';
    FILE *f = fopen(whole, "re");
    if (f == NULL)
        return false;
    size_t n = fread(out, 1, MACHINE_TEXT_MAX - 1, f);
    bool good = ferror(f) == 0;
    fclose(f);
    while (n > 0 && out[n - 1] == '\n')
        n--;
    out[n] = '\0';
    return good;
}

bool machine_read_u64(const struct machine *m, uint64_t *out, const char *path)
{
    char text[MACHINE_TEXT_MAX], *end;
    if (!machine_read(m, text, "%s", path))
        return false;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return errno == 0 && end != text;
}

static bool limit_in(const struct machine *m, const char *name, bool hard, uint64_t *out)
{
    char text[MACHINE_TEXT_MAX];
    if (!machine_read(m, text, "/proc/self/limits"))
        return false;
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += line[0] == '\n';
        if (strncmp(line, name, strlen(name)) != 0)
            continue;
        const char *value = line + strlen(name);
        value += strspn(value, " ");
        if (hard) {
            value += strcspn(value, " ");
            value += strspn(value, " ");
        }
        *out = strncmp(value, "unlimited", 9) == 0 ? UINT64_MAX : strtoull(value, NULL, 10);
        return true;
    }
    return false;
}

bool machine_limit(const struct machine *m, const char *name, uint64_t *out)
{
    return limit_in(m, name, false, out);
}

bool machine_limit_hard(const struct machine *m, const char *name, uint64_t *out)
{
    return limit_in(m, name, true, out);
}

uint32_t machine_list_count(const char *list)
{
    uint32_t count = 0;
    while (*list >= '0' && *list <= '9') {
        char *end;
        unsigned long first = strtoul(list, &end, 10), last = first;
        if (*end == '-')
            last = strtoul(end + 1, &end, 10);
        count += last >= first && last - first < 65536 ? (uint32_t)(last - first + 1) : 0;
        list = *end == ',' ? end + 1 : end;
    }
    return count;
}

/* ---- the network ----------------------------------------------------------------------------- */

static bool real_interface_of(uint32_t ip, char name[MACHINE_NAME_MAX + 1])
{
    struct ifaddrs *all = NULL;
    bool found = false;
    if (getifaddrs(&all) != 0)
        return false;
    for (const struct ifaddrs *i = all; i != NULL && !found; i = i->ifa_next) {
        struct sockaddr_in a;
        if (i->ifa_addr == NULL || i->ifa_addr->sa_family != AF_INET)
            continue;
        memcpy(&a, i->ifa_addr, sizeof a);
        found = ntohl(a.sin_addr.s_addr) == ip;
        if (found)
            snprintf(name, MACHINE_NAME_MAX + 1, "%s", i->ifa_name);
    }
    freeifaddrs(all);
    return found;
}

static bool failed(char *problem, const char *what)
{
    snprintf(problem, MACHINE_PROBLEM_MAX, "%s: %s", what, strerror(errno));
    return false;
}

/* On a port that the kernel chooses, so that no deployment hears it. */
static bool exchange(int fd, uint32_t group, uint32_t interface, char *problem)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { .s_addr = htonl(group) } };
    socklen_t size = sizeof at;
    struct ip_mreq join = { .imr_multiaddr = { .s_addr = htonl(group) },
                            .imr_interface = { .s_addr = htonl(interface) } };
    uint64_t sent = (uint64_t)getpid() << 32 ^ (uint64_t)time(NULL), heard = 0;
    int on = 1;
    if (bind(fd, (struct sockaddr *)(void *)&at, sizeof at) != 0 ||
        getsockname(fd, (struct sockaddr *)(void *)&at, &size) != 0)
        return failed(problem, "bind");
    if (setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof join) != 0)
        return failed(problem, "joining the group");
    if (setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &join.imr_interface,
                   sizeof join.imr_interface) != 0 ||
        setsockopt(fd, IPPROTO_IP, IP_MULTICAST_LOOP, &on, sizeof on) != 0)
        return failed(problem, "choosing the interface");
    if (sendto(fd, &sent, sizeof sent, 0, (struct sockaddr *)(void *)&at, sizeof at) < 0)
        return failed(problem, "sending");
    struct pollfd p = { .fd = fd, .events = POLLIN };
    if (poll(&p, 1, ANSWER_MS) == 1 && recv(fd, &heard, sizeof heard, 0) == sizeof heard &&
        heard == sent)
        return true;
    snprintf(problem, MACHINE_PROBLEM_MAX, "sent, but not received within %d ms", ANSWER_MS);
    return false;
}

static bool real_multicast(uint32_t group, uint32_t interface, char *problem)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return failed(problem, "socket");
    bool good = exchange(fd, group, interface, problem);
    close(fd);
    return good;
}

/* ---- disks ----------------------------------------------------------------------------------- */

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static void measure_appends(int fd, struct machine_disk *out)
{
    static _Alignas(BLOCK) uint8_t block[BLOCK];
    uint64_t took[MACHINE_APPENDS];
    memset(block, 0x5a, sizeof block);
    for (int i = 0; i < MACHINE_APPENDS; i++) {
        uint64_t begun = now_ns();
        if (write(fd, block, sizeof block) != sizeof block || fdatasync(fd) != 0) {
            failed(out->problem, "writing");
            return;
        }
        took[i] = now_ns() - begun;
    }
    qsort(took, MACHINE_APPENDS, sizeof took[0], by_size);
    out->append_ns = took[MACHINE_APPENDS / 2];
}

static void measure(const char *directory, struct machine_disk *out)
{
    char path[PATH_SIZE + 32];
    snprintf(path, sizeof path, "%s/.cantus-doctor-XXXXXX", directory);
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0) {
        failed(out->problem, "can't write there");
        return;
    }
    unlink(path); /* it is gone whatever becomes of us */
    measure_appends(fd, out);
    close(fd);
}

static bool real_disk(const char *directory, bool measured, struct machine_disk *out)
{
    char path[PATH_SIZE];
    struct statvfs v;
    struct statfs f;
    *out = (struct machine_disk) { 0 };
    snprintf(path, sizeof path, "%s", directory);
    while (statvfs(path, &v) != 0) {
        char *slash = strrchr(path, '/');
        if (errno != ENOENT || slash == NULL || slash == path)
            return false;
        *slash = '\0';
    }
    if (statfs(path, &f) != 0)
        return false;
    out->free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
    out->total_bytes = (uint64_t)v.f_blocks * v.f_frsize;
    out->in_memory = f.f_type == TMPFS || (unsigned long)f.f_type == RAMFS;
    if (measured)
        measure(path, out);
    return true;
}

struct machine machine_real(void)
{
    return (struct machine) { .root = "",
                              .interface_of = real_interface_of,
                              .multicast = real_multicast,
                              .disk = real_disk };
}
