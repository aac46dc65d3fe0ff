/* Asking processes over their stream ports: one frame there, one frame back, all of those asked at
 * the same time, and nobody waited for beyond a deadline. And what a deployment's processes answer,
 * which is how the one that leads is found. */
#ifndef CANTUS_CLI_ASK_H
#define CANTUS_CLI_ASK_H

#include "proto/command.h"
#include "proto/replay.h"
#include "proto/status.h"
#include "shell/config.h"

enum { ASK_PROBLEM_MAX = 160 };
#define ASK_TIMEOUT_NS UINT64_C(2000000000)

struct ask {
    struct port_addr at;
    enum replay_type expected; /* of the answer */
    uint8_t request[REPLAY_FRAME_HEADER + COMMAND_SIZE_MAX];
    size_t request_length;
    /* After ask_run: */
    bool answered;
    char problem[ASK_PROBLEM_MAX]; /* why not, for humans */
    const uint8_t *body;           /* the answer's, in `bytes` */
    size_t length;
    /* Its own. */
    int fd;
    size_t sent, have;
    uint8_t bytes[REPLAY_FRAME_MAX + REPLAY_FRAME_HEADER];
};

void ask_for_status(struct ask *ask, struct port_addr at);
/* A proxy: one page of its clients. */
void ask_for_clients(struct ask *ask, struct port_addr at, uint32_t place);
void ask_for_command(struct ask *ask, struct port_addr at, const struct command *command);
/* Asks all of them, and returns when each has answered or failed: after timeout_ns at the
 * latest. */
void ask_run(struct ask *asks, uint32_t count, uint64_t timeout_ns);

/* One command to one process. False with a text in problem[ASK_PROBLEM_MAX] if there was no answer:
 * then it may have been carried out, or not. */
bool ask_command(struct port_addr at, const struct command *command, struct outcome *out,
                 char *problem);

/* ---- a deployment's processes ---------------------------------------------------------------- */

enum process_kind { PROCESS_SEQUENCER, PROCESS_STORE, PROCESS_PROXY };

struct process {
    char name[CONFIG_NAME_MAX + 1];
    struct port_addr address; /* of its stream port */
    enum process_kind kind;
    bool answered;
    char problem[ASK_PROBLEM_MAX];
    struct status status;
};

struct processes {
    const struct config *config;
    uint32_t count; /* sequencers, retransmitters, proxies, each in the configuration's order */
    struct process all[CONFIG_PROCESSES_MAX];
    struct ask asks[CONFIG_PROCESSES_MAX];
};

/* NULL: no memory. */
struct processes *processes_create(const struct config *config);
void processes_destroy(struct processes *p);
/* Asks each for its status. */
void processes_ask(struct processes *p);
void processes_ask_within(struct processes *p, uint64_t timeout_ns);
/* Asks the sequencers only, and waits no longer than this. */
void processes_ask_sequencers(struct processes *p, uint64_t timeout_ns);
/* As its counter file and its status call it. */
const char *process_role(const struct process *p);
struct process *processes_find(struct processes *p, const char *name);
/* The sequencer that leads, by its own word and the latest epoch; NULL if none answers so. */
struct process *processes_leader(struct processes *p);
/* The process that has this store; NULL if none that answers does. */
struct process *processes_store(struct processes *p, uint64_t store);

bool status_leads(const struct status *s);
bool status_is_paused(const struct status *s);
bool status_has_member(const struct status *s, uint64_t store);

#endif
