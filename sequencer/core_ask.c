/* What is asked of the sequencer itself rather than proposed: a join, a topic. The answer is in the
 * stream; a hint only says that there will be none, or that it is there already. */
#include "sequencer/core_private.h"

void ask_on(struct sequencer *s, const struct ask *a)
{
    bool join = a->type == WIRE_JOIN;
    if (join)
        count(s, COUNTER_JOINS_IN, 1);
    if (s->state != SEQUENCER_LEADING)
        return;
    if (s->ask_count == ASKS_MAX) {
        count(s, COUNTER_PROPOSALS_OVERFLOW, 1);
        answer_hint(s, a->from, HINT_OVERLOADED, 0, join ? a->join.nonce : a->create.nonce);
        return;
    }
    s->asks[s->ask_count++] = *a;
}

/* Compare-and-set on the catalog: of two that want the same incarnation, one wins. */
static bool serve_join(struct sequencer *s, const struct ask *a)
{
    const struct join *j = &a->join;
    uint32_t id = catalog_publisher_find(s->catalog, j->identity);
    uint32_t incarnation = id == 0 ? 0 : catalog_publisher(s->catalog, id)->incarnation;
    if (id != 0 && incarnation == j->wanted &&
        catalog_publisher(s->catalog, id)->nonce == j->nonce) {
        answer_hint(s, a->from, HINT_OLD_NUMBER, id, j->nonce);
        return true;
    }
    if (j->wanted != incarnation + 1) {
        count(s, COUNTER_JOINS_CONFLICT, 1);
        answer_hint(s, a->from, HINT_JOIN_CONFLICT, id, j->nonce);
        return true;
    }
    if (id == 0 && catalog_publisher_end(s->catalog) >= s->ledger.publishers_max) {
        count(s, COUNTER_JOINS_FULL, 1);
        answer_hint(s, a->from, HINT_OVERLOADED, 0, j->nonce);
        return true;
    }
    uint32_t publisher = id != 0 ? id : catalog_publisher_end(s->catalog);
    struct sys_join record = { .nonce = j->nonce,
                               .last_publisher_seq = ledger_next(&s->ledger, publisher) - 1,
                               .publisher = publisher,
                               .incarnation = j->wanted };
    memcpy(record.identity, j->identity, sizeof record.identity);
    uint8_t payload[SYS_PAYLOAD_MAX];
    size_t length = sys_join_encode(&record, payload, sizeof payload);
    assert(length > 0);
    if (!emit_record(s, TOPIC_JOIN, 0, 0, payload, (uint32_t)length, ROOM_ORDINARY))
        return false;
    queue_drop(s, publisher); /* of the incarnation that ends here */
    return true;
}

static bool serve_create(struct sequencer *s, const struct ask *a)
{
    const struct create *c = &a->create;
    size_t length = strlen(c->path);
    if (c->publisher == 0 || c->publisher >= catalog_publisher_end(s->catalog)) {
        answer_hint(s, a->from, HINT_UNKNOWN_PUBLISHER, 0, c->nonce);
        return true;
    }
    if (catalog_refuses(s->catalog, c->publisher, TOPIC_TOPIC) != 0 ||
        catalog_refuses_topic(s->catalog, c->publisher, c->path, length) != 0) {
        answer_hint(s, a->from, HINT_TOPIC_REFUSED, c->publisher, c->nonce);
        return true;
    }
    if (catalog_topic_find(s->catalog, c->path, length) != 0)
        return true;
    return emit_record(s, TOPIC_TOPIC, 0, 0, (const uint8_t *)c->path, (uint32_t)length,
                       ROOM_ORDINARY);
}

bool ask_step(struct sequencer *s)
{
    uint32_t done = 0;
    for (; done < s->ask_count; done++) {
        const struct ask *a = &s->asks[done];
        if (!(a->type == WIRE_JOIN ? serve_join(s, a) : serve_create(s, a)))
            break;
    }
    s->ask_count -= done;
    if (done > 0)
        memmove(s->asks, s->asks + done, s->ask_count * sizeof s->asks[0]);
    return s->ask_count == 0;
}
