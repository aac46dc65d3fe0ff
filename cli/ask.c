#include "cli/ask.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "cli/cli.h"

/* ---- one exchange ---------------------------------------------------------------------------- */

static void begin(struct ask *a, struct port_addr at, enum replay_type request,
                  enum replay_type answer, const uint8_t *body, size_t length)
{
    a->at = at;
    a->expected = answer;
    a->request_length = replay_frame_encode(request, body, length, a->request, sizeof a->request);
    a->answered = false;
    a->problem[0] = '\0';
    a->body = NULL;
    a->length = a->sent = a->have = 0;
    a->fd = -1;
}

void ask_for_status(struct ask *ask, struct port_addr at)
{
    begin(ask, at, REPLAY_STATUS_REQUEST, REPLAY_STATUS, NULL, 0);
}

void ask_for_clients(struct ask *ask, struct port_addr at, uint32_t place)
{
    uint8_t body[4];
    wire_store32(body, place);
    begin(ask, at, REPLAY_CLIENTS_REQUEST, REPLAY_CLIENTS, body, sizeof body);
}

void ask_for_command(struct ask *ask, struct port_addr at, const struct command *command)
{
    uint8_t body[COMMAND_SIZE_MAX];
    size_t length = command_encode(command, body, sizeof body);
    begin(ask, at, REPLAY_COMMAND, REPLAY_OUTCOME, body, length);
    if (length == 0)
        ask->request_length = 0;
}

static void end(struct ask *a, const char *problem)
{
    if (problem != NULL)
        snprintf(a->problem, sizeof a->problem, "%s", problem);
    if (a->fd >= 0)
        close(a->fd);
    a->fd = -1;
}

static void end_with_errno(struct ask *a, int number)
{
    end(a, number == ECONNREFUSED ? "not running"
           : number == ECONNRESET ? "closed the connection"
                                  : strerror(number));
}

static void start(struct ask *a)
{
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons(a->at.port),
                              .sin_addr.s_addr = htonl(a->at.ip) };
    if (a->request_length == 0) {
        end(a, "the command does not fit its frame");
        return;
    }
    a->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (a->fd < 0 || (connect(a->fd, (const struct sockaddr *)(const void *)&to, sizeof to) != 0 &&
                      errno != EINPROGRESS))
        end_with_errno(a, errno);
}

static void send_more(struct ask *a)
{
    ssize_t n = send(a->fd, a->request + a->sent, a->request_length - a->sent, MSG_NOSIGNAL);
    if (n >= 0)
        a->sent += (size_t)n;
    else if (errno != EAGAIN && errno != EINTR)
        end_with_errno(a, errno);
}

static void receive_more(struct ask *a)
{
    ssize_t n = recv(a->fd, a->bytes + a->have, sizeof a->bytes - a->have, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        end_with_errno(a, errno);
        return;
    }
    if (n == 0) {
        end(a, "closed the connection without an answer");
        return;
    }
    a->have += (size_t)n;
    enum replay_type type;
    size_t whole = replay_frame_peek(a->bytes, a->have, &type);
    if (whole == 0)
        return;
    if (whole == SIZE_MAX || type != a->expected) {
        end(a, "answered with something else; not Cantus?");
        return;
    }
    a->answered = true;
    a->body = a->bytes + REPLAY_FRAME_HEADER;
    a->length = whole - REPLAY_FRAME_HEADER;
    end(a, NULL);
}

void ask_run(struct ask *asks, uint32_t count, uint64_t timeout_ns)
{
    uint64_t until = cli_mono_ns() + timeout_ns;
    for (uint32_t i = 0; i < count; i++)
        start(&asks[i]);
    for (;;) {
        struct pollfd fds[CONFIG_PROCESSES_MAX];
        struct ask *waiting[CONFIG_PROCESSES_MAX];
        nfds_t n = 0;
        for (uint32_t i = 0; i < count && n < CONFIG_PROCESSES_MAX; i++)
            if (asks[i].fd >= 0) {
                short events = asks[i].sent < asks[i].request_length ? POLLOUT : POLLIN;
                waiting[n] = &asks[i];
                fds[n++] = (struct pollfd) { .fd = asks[i].fd, .events = events };
            }
        uint64_t now = cli_mono_ns();
        if (n == 0 || now >= until)
            break;
        if (poll(fds, n, (int)((until - now + 999999) / 1000000)) < 0 && errno != EINTR)
            break;
        for (nfds_t i = 0; i < n; i++)
            if (fds[i].revents != 0 && fds[i].events == POLLOUT)
                send_more(waiting[i]);
            else if (fds[i].revents != 0)
                receive_more(waiting[i]);
    }
    for (uint32_t i = 0; i < count; i++)
        if (asks[i].fd >= 0)
            end(&asks[i], asks[i].sent == 0 ? "can't be reached" : "no answer in time");
}

bool ask_command(struct port_addr at, const struct command *command, struct outcome *out,
                 char *problem)
{
    static struct ask ask;
    *out = (struct outcome) { 0 };
    ask_for_command(&ask, at, command);
    ask_run(&ask, 1, ASK_TIMEOUT_NS);
    if (ask.answered && !outcome_decode(ask.body, ask.length, out)) {
        ask.answered = false;
        end(&ask, "answered with something that is no outcome");
    }
    cli_clean(out->text);
    snprintf(problem, ASK_PROBLEM_MAX, "%s", ask.problem);
    return ask.answered;
}

/* ---- a deployment's processes ---------------------------------------------------------------- */

static void add(struct processes *p, const char *name, struct port_addr unicast,
                uint16_t stream_port, enum process_kind kind)
{
    struct process *process = &p->all[p->count++];
    snprintf(process->name, sizeof process->name, "%s", name);
    process->address = (struct port_addr) { unicast.ip, stream_port };
    process->kind = kind;
}

struct processes *processes_create(const struct config *config)
{
    struct processes *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->config = config;
    for (uint32_t i = 0; i < config->sequencer_count; i++) {
        const struct config_sequencer *s = &config->sequencers[i];
        add(p, s->name, s->unicast, s->stream_port, PROCESS_SEQUENCER);
    }
    for (uint32_t i = 0; i < config->retransmitter_count; i++) {
        const struct config_retransmitter *r = &config->retransmitters[i];
        add(p, r->name, r->unicast, r->stream_port, PROCESS_STORE);
    }
    for (uint32_t i = 0; i < config->proxy_count; i++) {
        const struct config_proxy *x = &config->proxies[i];
        add(p, x->name, x->unicast, x->stream_port, PROCESS_PROXY);
    }
    return p;
}

void processes_destroy(struct processes *p)
{
    free(p);
}

/* It is printed on terminals. */
static void clean_status(struct status *s)
{
    cli_clean(s->role);
    cli_clean(s->state);
    cli_clean(s->session);
    for (uint32_t i = 0; i < s->publisher_count && i < STATUS_PUBLISHERS_MAX; i++)
        cli_clean(s->publishers[i].identity);
}

/* A process of another deployment may have taken the port. */
static void take_answer(struct process *process, const struct ask *a, uint64_t stream)
{
    process->answered = a->answered;
    memcpy(process->problem, a->problem, sizeof process->problem); /* both ASK_PROBLEM_MAX */
    if (!a->answered)
        return;
    process->answered = status_decode(a->body, a->length, &process->status);
    if (process->answered)
        clean_status(&process->status);
    if (!process->answered)
        snprintf(process->problem, sizeof process->problem,
                 "answered with something that is no status; another version?");
    else if (process->status.stream != 0 && process->status.stream != stream) {
        process->answered = false;
        snprintf(process->problem, sizeof process->problem,
                 "its port is taken by a process of stream %016llx",
                 (unsigned long long)process->status.stream);
    }
}

static void ask_first(struct processes *p, uint32_t count, uint64_t timeout_ns)
{
    for (uint32_t i = 0; i < count; i++)
        ask_for_status(&p->asks[i], p->all[i].address);
    ask_run(p->asks, count, timeout_ns);
    for (uint32_t i = 0; i < count; i++)
        take_answer(&p->all[i], &p->asks[i], p->config->stream);
}

void processes_ask(struct processes *p)
{
    processes_ask_within(p, ASK_TIMEOUT_NS);
}

void processes_ask_within(struct processes *p, uint64_t timeout_ns)
{
    ask_first(p, p->count, timeout_ns);
}

void processes_ask_sequencers(struct processes *p, uint64_t timeout_ns)
{
    ask_first(p, p->config->sequencer_count, timeout_ns);
}

const char *process_role(const struct process *p)
{
    return p->kind == PROCESS_SEQUENCER ? "sequencer"
           : p->kind == PROCESS_STORE   ? "retransmitter"
                                        : "proxy";
}

struct process *processes_find(struct processes *p, const char *name)
{
    for (uint32_t i = 0; i < p->count; i++)
        if (strcmp(p->all[i].name, name) == 0)
            return &p->all[i];
    return NULL;
}

struct process *processes_leader(struct processes *p)
{
    struct process *leader = NULL;
    for (uint32_t i = 0; i < p->count; i++) {
        struct process *one = &p->all[i];
        if (one->kind == PROCESS_SEQUENCER && one->answered && status_leads(&one->status) &&
            (leader == NULL || leader->status.epoch.number < one->status.epoch.number))
            leader = one;
    }
    return leader;
}

struct process *processes_store(struct processes *p, uint64_t store)
{
    for (uint32_t i = 0; i < p->count; i++)
        if (p->all[i].kind == PROCESS_STORE && p->all[i].answered &&
            p->all[i].status.store == store)
            return &p->all[i];
    return NULL;
}

bool status_leads(const struct status *s)
{
    return strncmp(s->state, "leading", 7) == 0 || strncmp(s->state, "paused", 6) == 0;
}

bool status_is_paused(const struct status *s)
{
    return strstr(s->state, "paused") != NULL;
}

bool status_has_member(const struct status *s, uint64_t store)
{
    for (uint32_t i = 0; i < s->member_count; i++)
        if (s->members[i].store == store)
            return true;
    return false;
}
