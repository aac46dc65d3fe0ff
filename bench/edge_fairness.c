/* Ten that publish as much as they can and one that says one thing at a time, through one proxy.
 *
 * The sequencer's process notes the tip after each of its rounds. The proxy's process notes, after the round in
 * which bytes of the polite one came, what the tip was before that round: whatever a greedy one has behind that
 * and in front of the polite one's message, the polite one has waited for, wherever on the way it was. What had
 * left the proxy and was not in the stream yet counts, too. A receiver on the core sees the order. */
#include <cantus/cantus.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "bench/edge.h"
#include "bench/edge_stage.h"
#include "proto/edge.h"
#include "proxy/core.h"

enum {
    GREEDY = 10,
    PROPOSALS = 200,
    ROUNDS = 5,
    PAYLOAD_BYTES = 128,
    PAYLOAD_MAX = 1024,
    BURST = 256,     /* frames written at a time */
    ORDER = 1 << 22, /* of the last so many messages it is kept whose they are */
    NOBODY = GREEDY, /* of the greedy ones */
    READ_BYTES = 65536
};
#define PATIENCE_NS UINT64_C(30000000000)

struct shared {
    _Atomic uint32_t asked;           /* proposals of the polite one, in this run */
    _Atomic uint32_t arrived;         /* of them, at the proxy */
    _Atomic uint64_t behind;          /* the seq behind which the last of them arrived */
    _Atomic uint64_t written[GREEDY]; /* messages, by each greedy one */
};

struct fairness {
    const struct bench_knobs *knobs;
    uint32_t payload_bytes;
    struct edge_stage edge;
    struct shared *shared;
    struct key_pair key;
    struct cantus_client *observer, *polite;
    struct cantus_pipe *pipe;
    uint8_t *order; /* [ORDER], by seq */
    uint64_t seq;   /* through which it is known */
    uint64_t place; /* of the polite one's message, the last */
    uint64_t seen[GREEDY];
};

/* ---- the proxy's process --------------------------------------------------------------------- */

struct watch {
    struct fairness *f;
    uint64_t tip, bytes_in; /* after the round before */
};

static void look(void *ctx, const struct proxy *p)
{
    struct watch *w = ctx;
    struct shared *s = w->f->shared;
    uint32_t asked = atomic_load(&s->asked);
    for (struct proxy_client c = { 0 }; proxy_client_at(p, c.at, &c);) {
        if (strcmp(c.agent, "polite") != 0)
            continue;
        if (c.bytes_in != w->bytes_in && atomic_load(&s->arrived) != asked) {
            atomic_store(&s->behind, w->tip);
            atomic_store(&s->arrived, asked);
        }
        w->bytes_in = c.bytes_in;
    }
    w->tip = atomic_load(&w->f->edge.stage.shared->tip);
}

static int proxy(void *ctx, struct stage *s)
{
    struct watch w = { .f = ctx };
    const struct edge_proxy_watch watch = { .round = look, .ctx = &w };
    (void)s;
    return edge_stage_proxy(&w.f->edge, &watch);
}

static int serve(void *ctx, struct stage *s)
{
    (void)ctx;
    return stage_sequencer(s, NULL, NULL);
}

/* ---- the greedy ones' process ---------------------------------------------------------------- */

struct greedy {
    struct edge_opened opened;
    uint64_t number; /* the next */
    int fd;
    size_t at, end; /* of what is to be written */
    uint8_t out[BURST * (EDGE_HEADER + 64 + sizeof EDGE_TOPIC + PAYLOAD_MAX)];
};

static size_t publish_frame(const struct fairness *f, uint32_t publisher, uint64_t number,
                            uint8_t *out, size_t capacity)
{
    static const uint8_t payload[PAYLOAD_MAX];
    const struct edge_publish p = { .publisher = publisher,
                                    .number = number,
                                    .topic = EDGE_TOPIC,
                                    .topic_length = sizeof EDGE_TOPIC - 1,
                                    .payload = payload,
                                    .length = f->payload_bytes };
    return edge_publish_encode(&p, out, capacity);
}

/* As much as the connection takes now. False: it is gone. */
static bool write_some(struct fairness *f, struct greedy *g, uint32_t index)
{
    uint8_t answers[READ_BYTES];
    while (recv(g->fd, answers, sizeof answers, MSG_DONTWAIT) > 0) {
    }
    for (;;) {
        if (g->at == g->end) {
            g->at = g->end = 0;
            for (uint32_t i = 0; i < BURST; i++)
                g->end += publish_frame(f, g->opened.publisher, g->number++, g->out + g->end,
                                        sizeof g->out - g->end);
        }
        ssize_t n = send(g->fd, g->out + g->at, g->end - g->at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0)
            return errno == EAGAIN;
        g->at += (size_t)n;
        if (g->at == g->end)
            atomic_fetch_add(&f->shared->written[index], BURST);
    }
}

static int flood(void *ctx, struct stage *s)
{
    struct fairness *f = ctx;
    char error[BENCH_ERROR_MAX] = "out of memory", name[16];
    struct greedy *all = calloc(GREEDY, sizeof *all);
    struct pollfd polled[GREEDY];
    bool fine = all != NULL;
    for (uint32_t i = 0; fine && i < GREEDY; i++) {
        snprintf(name, sizeof name, "greedy%u", i);
        all[i].fd = edge_client_open(&f->edge, &f->key, NULL, error);
        fine = all[i].fd >= 0 && edge_client_publisher(all[i].fd, name, &all[i].opened, error);
        all[i].number = all[i].opened.last_number + 1;
        polled[i] = (struct pollfd) { .fd = all[i].fd, .events = POLLIN | POLLOUT };
    }
    if (!fine)
        fprintf(stderr, "cantus: a greedy publisher: %s\n", error);
    while (fine && stage_phase_now(s) != STAGE_END) {
        (void)!poll(polled, GREEDY, 10);
        for (uint32_t i = 0; fine && i < GREEDY; i++)
            fine = polled[i].revents == 0 || write_some(f, &all[i], i);
        if (!fine && stage_phase_now(s) != STAGE_END)
            fprintf(stderr, "cantus: a greedy publisher has lost its connection\n");
    }
    return fine ? 0 : 1; /* what it has goes with the process */
}

/* ---- the polite one, and who sees the order: this process ------------------------------------ */

static void on_message(void *ctx, const struct cantus_message *m)
{
    struct fairness *f = ctx;
    const char *name = strrchr(m->publisher, ':'); /* @KEY:NAME */
    uint32_t whose = NOBODY;
    while (f->seq + 1 < m->seq)
        f->order[++f->seq % ORDER] = NOBODY; /* not on this topic */
    f->seq = m->seq;
    if (name != NULL && strncmp(name, ":greedy", 7) == 0)
        whose = (uint32_t)(name[7] - '0') % GREEDY;
    else if (name != NULL && strcmp(name, ":polite") == 0)
        f->place = m->seq;
    if (whose != NOBODY)
        f->seen[whose]++;
    f->order[m->seq % ORDER] = (uint8_t)whose;
}

static bool poll_both(struct fairness *f, uint64_t began, char *error)
{
    struct cantus_client *const both[] = { f->polite, f->observer };
    for (uint32_t i = 0; i < 2; i++) {
        if (cantus_client_poll(both[i], 0) == CANTUS_OK)
            continue;
        snprintf(error, BENCH_ERROR_MAX, "%s", cantus_client_error(both[i]));
        return false;
    }
    snprintf(error, BENCH_ERROR_MAX, "a proposal waits for longer than 30 s");
    return stage_mono_ns() - began < PATIENCE_NS && !atomic_load(&f->edge.stage.shared->failed);
}

static bool open_both(struct fairness *f, char *error)
{
    struct cantus_client_options options = { .source = f->edge.stage.dir,
                                             .level = CANTUS_SEQUENCED,
                                             .name = "" };
    f->observer = cantus_client_open(&options, error);
    options.source = f->edge.source;
    options.name = "polite";
    options.key_file = f->edge.key_file;
    f->polite = cantus_client_open(&options, error);
    if (f->observer == NULL || f->polite == NULL ||
        !cantus_client_subscribe(f->observer, EDGE_SUBTREE, on_message, f, error))
        return false;
    f->pipe = cantus_pipe_open(f->polite, "polite", error);
    for (uint64_t began = stage_mono_ns(); f->pipe != NULL && !cantus_pipe_ready(f->pipe);) {
        if (!poll_both(f, began, error))
            return false;
    }
    return f->pipe != NULL;
}

static bool start(struct fairness *f, char *error)
{
    const struct stage_options options = { .store = true };
    struct stage *s = &f->edge.stage;
    char text[KEY_PAIR_ERROR_MAX];
    if (!edge_stage_open(&f->edge, &options, error))
        return false;
    if (!key_pair_read(f->edge.key_file, &f->key, text)) {
        snprintf(error, BENCH_ERROR_MAX, "%s", text);
        return false;
    }
    snprintf(error, BENCH_ERROR_MAX, "out of memory");
    void *memory =
        mmap(NULL, sizeof *f->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    f->shared = memory != MAP_FAILED ? memory : NULL;
    f->order = malloc(ORDER);
    return f->shared != NULL && f->order != NULL && stage_fork(s, serve, f, -1, error) &&
           stage_fork(s, proxy, f, -1, error) && stage_fork(s, stage_recorder, NULL, -1, error) &&
           open_both(f, error) && stage_fork(s, flood, f, -1, error);
}

/* One proposal, from its being pushed to its place. False with a text. */
static bool say_one(struct fairness *f, char *error)
{
    static const uint8_t payload[PAYLOAD_MAX];
    const uint64_t before = f->place, began = stage_mono_ns();
    uint32_t asked = atomic_fetch_add(&f->shared->asked, 1) + 1;
    while (!cantus_pipe_push(f->pipe, EDGE_TOPIC, payload, f->payload_bytes)) {
        if (!poll_both(f, began, error))
            return false;
    }
    while (f->place == before || atomic_load(&f->shared->arrived) != asked ||
           cantus_pipe_in_flight(f->pipe) > 0) {
        if (!poll_both(f, began, error))
            return false;
    }
    return true;
}

/* How many of one greedy one came in between, at most; *waiting: how many of one, at least, had been written to its
 * connection and were not in the stream yet. */
static bool count(struct fairness *f, uint64_t *most, uint64_t *waiting, char *error)
{
    uint64_t between[GREEDY + 1] = { 0 }, written[GREEDY], seen[GREEDY];
    for (uint32_t i = 0; i < GREEDY; i++) {
        written[i] = atomic_load(&f->shared->written[i]);
        seen[i] = f->seen[i];
    }
    if (!say_one(f, error))
        return false;
    uint64_t behind = atomic_load(&f->shared->behind);
    snprintf(error, BENCH_ERROR_MAX, "a proposal waited for more messages than are kept in mind");
    if (f->seq - behind >= ORDER)
        return false;
    for (uint64_t seq = behind + 1; seq < f->place; seq++)
        between[f->order[seq % ORDER]]++;
    for (uint32_t i = 0; i < GREEDY; i++) {
        *most = between[i] > *most ? between[i] : *most;
        *waiting = written[i] - seen[i] < *waiting ? written[i] - seen[i] : *waiting;
    }
    return true;
}

/* All greedy ones are at it. */
static bool wait_for_flood(struct fairness *f, char *error)
{
    for (uint64_t began = stage_mono_ns();;) {
        uint32_t at_it = 0;
        for (uint32_t i = 0; i < GREEDY; i++)
            at_it += f->seen[i] >= BURST;
        if (at_it == GREEDY)
            return true;
        if (!poll_both(f, began, error))
            return false;
    }
}

static bool measure(struct fairness *f, struct bench_result *r, char *error)
{
    const uint32_t rounds = f->knobs->rounds != 0 ? f->knobs->rounds : ROUNDS;
    const uint64_t proposals = f->knobs->count != 0 ? f->knobs->count : PROPOSALS;
    uint8_t frame[EDGE_HEADER + 64 + sizeof EDGE_TOPIC + PAYLOAD_MAX];
    const size_t length = publish_frame(f, 1, 1, frame, sizeof frame) - EDGE_HEADER;
    struct proxy_options o;
    proxy_options_default(&o);
    const uint64_t quantum = (o.quantum_bytes + length - 1) / length;
    uint64_t sum = 0, waiting = UINT64_MAX;
    if (!wait_for_flood(f, error))
        return false;
    for (uint32_t round = 0; round < rounds; round++) {
        for (uint64_t i = 0; i < proposals; i++) {
            uint64_t most = 0;
            if (!count(f, &most, &waiting, error))
                return false;
            sum += most;
            r->messages_max = most > r->messages_max ? most : r->messages_max;
        }
        f->knobs->progress(round + 1, rounds);
    }
    r->target_messages_max = 2 * quantum;
    bench_set_u64(r, "messages_mean", sum / (rounds * proposals));
    bench_set_u64(r, "greedy", GREEDY);
    bench_set_u64(r, "greedy_waiting_min", waiting);
    bench_set_u64(r, "messages_per_quantum", quantum);
    bench_set_u64(r, "payload_bytes", f->payload_bytes);
    bench_set_u64(r, "proposals", rounds * proposals);
    bench_set_u64(r, "rounds", rounds);
    bench_set_text(r, "counted", "of one greedy one, behind the tip at its arrival");
    snprintf(error, BENCH_ERROR_MAX,
             "the greedy publishers were not greedy: only %llu messages of one waited",
             (unsigned long long)waiting);
    return waiting >= 2 * quantum;
}

bool edge_fairness(const struct bench_knobs *k, struct bench_result *r, char *error)
{
    struct fairness *f = calloc(1, sizeof *f);
    snprintf(error, BENCH_ERROR_MAX, "out of memory");
    if (f == NULL)
        return false;
    f->knobs = k;
    f->payload_bytes = k->payload_bytes != 0 ? k->payload_bytes : PAYLOAD_BYTES;
    bool fine = start(f, error) && measure(f, r, error);
    cantus_client_close(f->polite);
    cantus_client_close(f->observer);
    stage_close(&f->edge.stage);
    key_pair_forget(&f->key);
    if (f->shared != NULL)
        munmap(f->shared, sizeof *f->shared);
    free(f->order);
    free(f);
    return fine;
}
