/* Shared by client*.c and nobody else. */
#ifndef CANTUS_TESTS_PROXY_CLIENT_PRIVATE_H
#define CANTUS_TESTS_PROXY_CLIENT_PRIVATE_H

#include "client.h"

/* Something is wrong with what it got: the first is kept in client_fault. */
__attribute__((format(printf, 2, 3))) void client_wrong(struct client *c, const char *format, ...);
bool client_wants(const struct client *c, uint32_t topic);
uint64_t client_tip(const struct client *c);
uint64_t client_last_seq(const struct stream *s);
bool client_on_history(const struct client *c, struct position p);
bool client_begins_at(const struct client *c, uint64_t seq);

/* ---- exact ones: client_expect.c ------------------------------------------------------------- */
/* As an encoder that read the block of `next` from its beginning. */
void expect_from(struct client *c, uint64_t next);
void expect_all(struct client *c); /* what there is by now */
void expect_changed(struct client *c, uint64_t seq);
void expect_inserted(struct client *c, uint64_t seq, const uint8_t *frame, size_t length);
void expect_before_fork(struct client *c);
void expect_after_fork(struct client *c);
void expect_bytes(struct client *c, const uint8_t *bytes, size_t length); /* these have come */
void expect_complete(struct client *c);

/* ---- the others: client_judge.c -------------------------------------------------------------- */
void judge_note_rights(struct client *c);
void judge_bytes(struct client *c, const uint8_t *bytes, size_t length);
/* Nothing that it had to get lies between what it got last and seq. */
void judge_gap(struct client *c, uint64_t seq);

#endif
