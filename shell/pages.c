#include "shell/pages.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SMALL = 4096, SMALL_IN_HUGE = PAGES_HUGE / SMALL };
/* The largest ring there can be, twice: what reserves more, as sanitizers do, is not to be filled. */
#define LARGEST (UINT64_C(128) << 30)
/* Linux 6.1; what is older says EINVAL, and puts pages together in its own time. */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* Whether most of a huge page is in memory already: 8 bytes of pagemap for each small one, of which the highest bit
 * says it. */
static bool is_used(int pagemap, uintptr_t at)
{
    uint64_t pages[SMALL_IN_HUGE];
    uint32_t count = 0;
    if (pread(pagemap, pages, sizeof pages, (off_t)(at / SMALL * sizeof pages[0])) != sizeof pages)
        return false;
    for (uint32_t i = 0; i < SMALL_IN_HUGE; i++)
        count += (uint32_t)(pages[i] >> 63);
    return count > SMALL_IN_HUGE / 2;
}

static uint64_t ask_for(int pagemap, uintptr_t from, uintptr_t to)
{
    from = (from + PAGES_HUGE - 1) / PAGES_HUGE * PAGES_HUGE;
    to = to / PAGES_HUGE * PAGES_HUGE;
    if (to <= from || madvise((void *)from, to - from, MADV_HUGEPAGE) != 0)
        return 0;
    for (uintptr_t at = from; at < to; at += PAGES_HUGE) {
        if (is_used(pagemap, at))
            (void)madvise((void *)at, PAGES_HUGE, MADV_COLLAPSE);
    }
    return to - from;
}

/* A line of /proc/self/maps that is private memory without a file: "from-to rw-p 00000000 00:00 0 [name]". */
static bool is_ours(const char *line, uintptr_t *from, uintptr_t *to)
{
    char rights[5], name[16] = "";
    uint64_t inode;
    if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %*x %*s %" SCNu64 " %15s", from, to, rights,
               &inode, name) < 4)
        return false;
    return strcmp(rights, "rw-p") == 0 && inode == 0 &&
           (name[0] == '\0' || strcmp(name, "[heap]") == 0) && *to - *from >= PAGES_LARGE &&
           *to - *from <= LARGEST;
}

uint64_t pages_ask(void)
{
    enum { MAPPINGS_MAX = 256 };
    struct {
        uintptr_t from, to;
    } found[MAPPINGS_MAX];
    uint32_t count = 0;
    char line[1024];
    uint64_t asked = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    if (maps == NULL)
        return 0;
    while (count < MAPPINGS_MAX && fgets(line, sizeof line, maps) != NULL)
        if (is_ours(line, &found[count].from, &found[count].to))
            count++;
    fclose(maps);
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    for (uint32_t i = 0; i < count; i++)
        asked += ask_for(pagemap, found[i].from, found[i].to);
    if (pagemap >= 0)
        close(pagemap);
    return asked;
}
