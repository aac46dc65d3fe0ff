#include "bench/programs.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/bench.h"

bool programs_find(struct programs *p, char *error)
{
    ssize_t n = readlink("/proc/self/exe", p->folder, sizeof p->folder - 1);
    p->folder[n > 0 ? n : 0] = 0;
    char *slash = strrchr(p->folder, '/');
    if (slash != NULL)
        *slash = 0;
    snprintf(error, BENCH_ERROR_MAX, "cannot tell where this program lies");
    return slash != NULL;
}

pid_t programs_start(const struct programs *p, const char *const *arguments, int out)
{
    char path[PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/%s", p->folder, arguments[0]);
    pid_t child = fork();
    if (child != 0)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int nowhere = open("/dev/null", O_RDWR);
    dup2(nowhere, STDIN_FILENO);
    dup2(out >= 0 ? out : nowhere, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    execv(path, (char *const *)(uintptr_t)arguments);
    _exit(127);
}

void programs_end(pid_t *child, int signal)
{
    if (*child > 0) {
        kill(*child, signal);
        waitpid(*child, NULL, 0);
    }
    *child = 0;
}

static int remove_entry(const char *path, const struct stat *s, int type, struct FTW *where)
{
    (void)s;
    (void)type;
    (void)where;
    return remove(path);
}

void programs_remove(const char *path)
{
    nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}
