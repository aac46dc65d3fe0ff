#include "shell/daemon.h"

#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "shell/pages.h"

#define DRAIN_WAIT_NS UINT64_C(10000000) /* what it waits for may come from outside the loop */

/* All that the signal handler sees. */
static _Atomic(struct loop *) running;
static atomic_bool asked_to_end;

static void on_signal(int number)
{
    (void)number;
    atomic_store(&asked_to_end, true);
    struct loop *loop = atomic_load(&running);
    if (loop != NULL)
        loop_wake(loop);
}

static void catch_signals(void)
{
    struct sigaction action = { .sa_handler = on_signal };
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
}

bool daemon_open(struct daemon *d, const struct config *config, char *error)
{
    catch_signals();
    log_init(&d->log, STDERR_FILENO, LOG_INFO);
    notify_open(&d->notify);
    d->huge_pages = config->huge_pages;
    struct loop_options options = config_loop(config);
    d->loop = loop_create(&options, error);
    if (d->loop == NULL) {
        daemon_close(d);
        return false;
    }
    atomic_store(&running, d->loop);
    return true;
}

void daemon_ready(struct daemon *d, const char *component, const char *what)
{
    uint64_t asked = d->huge_pages ? pages_ask() : 0;
    if (asked > 0)
        log_line(&d->log, LOG_INFO, component, "huge pages asked for", "mib=%llu",
                 (unsigned long long)asked >> 20);
    notify_ready(&d->notify, what);
}

static void round_once(struct daemon *d, uint64_t wait_ns)
{
    loop_poll(d->loop, notify_wait_ns(&d->notify, wait_ns));
    notify_alive(&d->notify, loop_now(d->loop).mono_ns);
}

bool daemon_round(struct daemon *d, uint64_t wait_ns)
{
    if (atomic_load(&asked_to_end))
        return false;
    round_once(d, wait_ns);
    return true;
}

bool daemon_drain(struct daemon *d, uint64_t patience_ns, bool (*done)(void *ctx), void *ctx)
{
    uint64_t until = loop_clock().mono_ns + patience_ns;
    bool drained = done(ctx);
    while (!drained && loop_clock().mono_ns < until) {
        round_once(d, DRAIN_WAIT_NS);
        drained = done(ctx);
    }
    return drained;
}

void daemon_close(struct daemon *d)
{
    log_flush(&d->log);
    notify_close(&d->notify);
    atomic_store(&running, NULL);
    if (d->loop != NULL)
        loop_destroy(d->loop);
    d->loop = NULL;
}
