/* nats-server as a peer: a process of its own, spoken to in its text protocol, without a library. */
#ifndef CANTUS_BENCH_NATS_H
#define CANTUS_BENCH_NATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define NATS_SUBJECT "b"
#define NATS_MISSING "nats-server is not installed: there is nothing to compare with"

enum { NATS_HEAD_MAX = 32 };

struct nats {
    pid_t server; /* 0: none */
    uint16_t port;
};

bool nats_is_installed(void);
/* On a free port of 127.0.0.1. False with a text in error[BENCH_ERROR_MAX]; stop it all the same. */
bool nats_start(struct nats *n, char *error);
void nats_stop(struct nats *n);
/* A blocking socket that the server knows; with a subscription to NATS_SUBJECT, or without. Below 0: failed. */
int nats_connect(const struct nats *n, bool subscribes);
/* What comes before so long a payload in a PUB, and in a MSG; after either comes "\r\n". Lengths. */
size_t nats_pub_head(char out[NATS_HEAD_MAX], uint32_t payload_bytes);
size_t nats_msg_head(char out[NATS_HEAD_MAX], uint32_t payload_bytes);

#endif
