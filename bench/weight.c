#include "bench/weight.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define AUTOGROUP "/proc/self/autogroup"

static bool read_small(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, size - 1);
    if (fd >= 0)
        close(fd);
    text[got > 0 ? got : 0] = 0;
    return got > 0;
}

void weight_note(struct bench_result *r)
{
    char text[128];
    if (!read_small("/proc/sys/kernel/sched_autogroup_enabled", text, sizeof text) ||
        text[0] != '1' || !read_small(AUTOGROUP, text, sizeof text))
        return;
    const char *nice = strstr(text, " nice ");
    int value = nice == NULL ? 0 : atoi(nice + strlen(" nice "));
    if (value != 0)
        bench_set_i64(r, "autogroup_nice", value);
}

static bool own_session;

/* What mostly waits for disks has the weight of any session: the kernel's threads that finish its writes are in
 * none, and who spins in a heavier one keeps them waiting. */
static bool is_heavy(const struct bench_case *c)
{
    static const char *const others[] = { "durable", "failover", "dev" };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (strcmp(c->bench, others[i]) == 0)
            return false;
    return true;
}

void weight_set(const struct bench_case *c)
{
    const char *wanted = is_heavy(c) ? "-20" : "0";
    if (!own_session)
        return;
    int fd = open(AUTOGROUP, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;                                          /* the kernel doesn't group */
    ssize_t ignored = write(fd, wanted, strlen(wanted)); /* who may not lives with what there is */
    (void)ignored;
    close(fd);
}

static int work_in_child(int (*work)(void *ctx), void *ctx, pid_t parent, const sigset_t *before)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        return EXIT_FAILURE;
    own_session = setsid() >= 0;
    sigprocmask(SIG_SETMASK, before, NULL);
    return work(ctx);
}

/* Ends as the child did. */
static int end_as(int status)
{
    if (!WIFSIGNALED(status))
        return WEXITSTATUS(status);
    signal(WTERMSIG(status), SIG_DFL);
    raise(WTERMSIG(status));
    sigset_t now;
    sigemptyset(&now);
    sigaddset(&now, WTERMSIG(status));
    sigprocmask(SIG_UNBLOCK, &now, NULL);
    return EXIT_FAILURE;
}

/* The terminal no longer reaches the child's session: what it says goes on by hand. */
static int wait_for(pid_t child, const sigset_t *caught)
{
    int status, signal;
    while (waitpid(child, &status, WNOHANG) != child) {
        if (sigwait(caught, &signal) != 0 || signal == SIGCHLD)
            continue;
        kill(-child, signal == SIGTSTP ? SIGSTOP : signal);
        if (signal == SIGTSTP)
            raise(SIGSTOP);
    }
    return end_as(status);
}

int weight_run(int (*work)(void *ctx), void *ctx)
{
    static const int handed_on[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGCHLD };
    sigset_t caught, before;
    sigemptyset(&caught);
    for (size_t i = 0; i < sizeof handed_on / sizeof handed_on[0]; i++)
        sigaddset(&caught, handed_on[i]);
    sigprocmask(SIG_BLOCK, &caught, &before);
    fflush(NULL);
    pid_t parent = getpid(), child = fork();
    if (child == 0)
        exit(work_in_child(work, ctx, parent, &before));
    if (child > 0)
        return wait_for(child, &caught);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return work(ctx);
}
