#include "embedded.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* `cantus` lies beside this program in a build and in an installation; else PATH knows. */
static void command_path(char *out, size_t capacity)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    snprintf(out, capacity, "cantus");
    if (n <= 0)
        return;
    self[n] = 0;
    char *slash = strrchr(self, '/');
    if (slash == NULL)
        return;
    *slash = 0;
    char beside[PATH_MAX + 16];
    snprintf(beside, sizeof beside, "%s/cantus", self);
    if (access(beside, X_OK) == 0)
        snprintf(out, capacity, "%s", beside);
}

bool embedded_start(struct embedded *e, const char *program, char *error)
{
    *e = (struct embedded) { .child = -1 };
    const char *tmp = getenv("TMPDIR");
    snprintf(e->dir, sizeof e->dir, "%.30s/%.12s-XXXXXX", tmp != NULL ? tmp : "/tmp", program);
    if (mkdtemp(e->dir) == NULL) {
        snprintf(error, 256, "%s: %s (set TMPDIR to a directory you may write)", e->dir,
                 strerror(errno));
        e->dir[0] = 0;
        return false;
    }
    char command[PATH_MAX + 16];
    command_path(command, sizeof command);
    int pipe_fds[2];
    if (pipe(pipe_fds) != 0 || (e->child = fork()) < 0) {
        snprintf(error, 256, "cannot start %.120s: %s", command, strerror(errno));
        embedded_stop(e);
        return false;
    }
    if (e->child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        dup2(pipe_fds[1], STDOUT_FILENO);
        close(pipe_fds[0]);
        close(pipe_fds[1]);
        execlp(command, "cantus", "dev", "--dir", e->dir, (char *)NULL);
        fprintf(stderr, "%s: cannot run %s: %s\n", program, command, strerror(errno));
        _exit(127);
    }
    close(pipe_fds[1]);
    FILE *out = fdopen(pipe_fds[0], "r");
    char line[512];
    bool ready = false;
    while (!ready && out != NULL && fgets(line, sizeof line, out) != NULL)
        ready = strncmp(line, "ready", 5) == 0;
    if (out != NULL)
        fclose(out);
    if (!ready) {
        snprintf(error, 256, "%.120s dev --dir %s did not become ready; its messages are above",
                 command, e->dir);
        embedded_stop(e);
    }
    return ready;
}

static int remove_entry(const char *path, const struct stat *s, int type, struct FTW *where)
{
    (void)s;
    (void)type;
    (void)where;
    return remove(path);
}

void embedded_stop(struct embedded *e)
{
    if (e->child > 0) {
        kill(e->child, SIGTERM);
        waitpid(e->child, NULL, 0);
    }
    e->child = -1;
    if (e->dir[0] != 0)
        nftw(e->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    e->dir[0] = 0;
}
