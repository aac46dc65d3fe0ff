/* Building a machine from an app and its parts, applying, asking for the next proposal. */
#include "libclient/machine_private.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/hash.h"

enum { STATE_ALIGNMENT = 64 };

/* ---- building -------------------------------------------------------------------------------- */

static bool check_app(const struct cantus_app *app, char *error)
{
    const char *name = app->name != NULL ? app->name : "";
    if (app->abi != CANTUS_APP_ABI) {
        snprintf(error, MACHINE_ERROR_MAX,
                 "app \"%s\" was built for version %u of the app interface, this library has "
                 "version %u: build it again with this library's headers",
                 name, app->abi, CANTUS_APP_ABI);
        return false;
    }
    if (*name == '\0') {
        snprintf(error, MACHINE_ERROR_MAX, "an app has no name: set cantus_app.name");
        return false;
    }
    for (const char *const *t = app->topics; t != NULL && *t != NULL; t++) {
        const char *wrong = topic_subtree_check(*t, strlen(*t));
        if (wrong != NULL) {
            snprintf(error, MACHINE_ERROR_MAX, "app \"%s\", topic \"%.100s\": %s", name, *t, wrong);
            return false;
        }
    }
    return true;
}

/* Adds the nodes of app, parts first. `room` is what is left of the enclosing state. */
static bool add_nodes(struct machine *m, const struct cantus_app *app, size_t offset, size_t room,
                      uint32_t depth, char *error)
{
    if (app == NULL || depth > MACHINE_DEPTH_MAX) {
        snprintf(error, MACHINE_ERROR_MAX, "app \"%s\": %s", m->app->name,
                 app == NULL ? "a part has no app" : "parts are nested too deep, or in a circle");
        return false;
    }
    if (!check_app(app, error))
        return false;
    if (app->state_size > room) {
        snprintf(error, MACHINE_ERROR_MAX,
                 "app \"%s\": part \"%s\" does not fit the state at its offset", m->app->name,
                 app->name);
        return false;
    }
    for (size_t i = 0; i < app->part_count; i++) {
        const struct cantus_part *part = &app->parts[i];
        if (part->offset > app->state_size) {
            snprintf(error, MACHINE_ERROR_MAX, "app \"%s\": a part begins behind its state",
                     app->name);
            return false;
        }
        if (!add_nodes(m, part->app, offset + part->offset, app->state_size - part->offset,
                       depth + 1, error))
            return false;
    }
    if (m->node_count == MACHINE_NODES_MAX) {
        snprintf(error, MACHINE_ERROR_MAX, "app \"%s\" has more than %d parts", m->app->name,
                 MACHINE_NODES_MAX - 1);
        return false;
    }
    m->nodes[m->node_count] = (struct machine_node) {
        .app = app,
        .state = m->state + offset,
        .timers = { .machine = m, .node = m->node_count },
    };
    m->node_count++;
    for (const char *const *t = app->topics; t != NULL && *t != NULL; t++)
        m->subtree_count++;
    return true;
}

static void close_nodes(struct machine *m)
{
    for (uint32_t i = m->node_count; i-- > 0;) {
        struct machine_node *n = &m->nodes[i];
        if (n->open && n->app->close != NULL)
            n->app->close(n->state);
        n->open = false;
    }
}

/* The index of the node that refused, or node_count. */
static uint32_t init_nodes(struct machine *m)
{
    memset(m->state, 0, m->state_size);
    m->timer_count = 0;
    for (uint32_t i = 0; i < m->node_count; i++) {
        struct machine_node *n = &m->nodes[i];
        if (n->app->init != NULL && !n->app->init(n->state, m->config, &n->timers))
            return i;
        n->open = true;
    }
    return m->node_count;
}

struct machine *machine_create(const struct cantus_app *app, const char *config, char *error)
{
    if (config == NULL)
        config = "";
    struct machine *m = calloc(1, sizeof *m);
    if (m == NULL)
        goto no_memory;
    m->app = app;
    m->state_size = (app->state_size + STATE_ALIGNMENT) / STATE_ALIGNMENT * STATE_ALIGNMENT;
    m->state = aligned_alloc(STATE_ALIGNMENT, m->state_size);
    m->config = strdup(config);
    m->buffer = malloc(MACHINE_BUFFER_BYTES);
    if (m->state == NULL || m->config == NULL || m->buffer == NULL)
        goto no_memory;
    if (!check_app(app, error) || !add_nodes(m, app, 0, app->state_size, 0, error))
        goto failed;
    uint32_t refused = init_nodes(m);
    if (refused < m->node_count) {
        snprintf(error, MACHINE_ERROR_MAX,
                 "app \"%s\" refuses to start with the configuration \"%.120s\"",
                 m->nodes[refused].app->name, config);
        goto failed;
    }
    return m;
no_memory:
    snprintf(error, MACHINE_ERROR_MAX, "no memory for the state of app \"%s\" (%zu bytes)",
             app->name != NULL ? app->name : "", app->state_size);
failed:
    machine_destroy(m);
    return NULL;
}

void machine_destroy(struct machine *m)
{
    if (m == NULL)
        return;
    close_nodes(m);
    free(m->state);
    free(m->config);
    free(m->buffer);
    free(m);
}

bool machine_reset(struct machine *m)
{
    close_nodes(m);
    m->proposed = false;
    m->answered = false;
    m->digest_known = false;
    m->repeats = 0;
    return init_nodes(m) == m->node_count;
}

/* ---- applying -------------------------------------------------------------------------------- */

static bool node_wants(const struct cantus_app *app, const char *path, size_t length)
{
    for (const char *const *t = app->topics; t != NULL && *t != NULL; t++) {
        if (strcmp(*t, "/") == 0 && topic_in_subtree(path, length, "/sys", 4))
            continue;
        if (topic_in_subtree(path, length, *t, strlen(*t)))
            return true;
    }
    return false;
}

uint64_t machine_wants(const struct machine *m, const char *path, size_t length)
{
    uint64_t nodes = 0;
    for (uint32_t i = 0; i < m->node_count; i++) {
        if (m->nodes[i].app->apply != NULL && node_wants(m->nodes[i].app, path, length))
            nodes |= UINT64_C(1) << i;
    }
    return nodes;
}

uint32_t machine_subtree_count(const struct machine *m)
{
    return m->subtree_count;
}

const char *machine_subtree(const struct machine *m, uint32_t index)
{
    for (uint32_t i = 0; i < m->node_count; i++) {
        for (const char *const *t = m->nodes[i].app->topics; t != NULL && *t != NULL; t++) {
            if (index-- == 0)
                return *t;
        }
    }
    return NULL;
}

bool machine_has_timers(const struct machine *m)
{
    for (uint32_t i = 0; i < m->node_count; i++) {
        if (m->nodes[i].app->timer != NULL)
            return true;
    }
    return false;
}

void machine_apply(struct machine *m, uint64_t nodes, const struct cantus_message *message)
{
    while (nodes != 0) {
        struct machine_node *n = &m->nodes[__builtin_ctzll(nodes)];
        n->app->apply(n->state, message);
        nodes &= nodes - 1;
    }
}

/* ---- proposing ------------------------------------------------------------------------------- */

static uint64_t proposal_hash(const struct cantus_proposal *p)
{
    uint64_t h = hash64(p->payload, p->length, 1);
    if (p->topic != NULL)
        h = hash64(p->topic, strlen(p->topic), h);
    if (p->condition_topic != NULL) {
        h = hash64(&p->condition_after, sizeof p->condition_after, h);
        h = hash64(p->condition_topic, strlen(p->condition_topic), h);
    }
    return h;
}

/* Whether the state is still what it was: an app without a digest is judged by its bytes. */
static uint64_t state_digest(const struct machine *m)
{
    uint64_t h = machine_digest(m);
    for (uint32_t i = 0; i < m->node_count; i++) {
        const struct machine_node *n = &m->nodes[i];
        if (n->app->digest == NULL)
            h = hash64(n->state, n->app->state_size, h);
    }
    return h;
}

/* The digest may be dear, so it is asked only when a proposal is the same again: the first
 * repetition gives the digest that the further ones are compared with. */
static void note_repetition(struct machine *m)
{
    uint64_t digest = state_digest(m);
    if (!m->digest_known || digest != m->digest) {
        m->digest = digest;
        m->digest_known = true;
        m->repeats = 0;
        return;
    }
    if (++m->repeats >= MACHINE_REPEATS_MAX)
        m->quarantined = true;
}

enum machine_advice machine_next(struct machine *m, struct cantus_proposal *proposal)
{
    if (m->quarantined)
        return MACHINE_QUARANTINED;
    if (m->app->next == NULL)
        return MACHINE_NOTHING;
    *proposal = (struct cantus_proposal) {
        .buffer = m->buffer,
        .buffer_size = MACHINE_BUFFER_BYTES,
    };
    if (!m->app->next(m->state, proposal))
        return MACHINE_NOTHING;
    if (proposal->payload == NULL)
        proposal->length = 0;
    uint64_t hash = proposal_hash(proposal);
    if (!m->proposed || hash != m->proposal_hash) {
        m->proposal_hash = hash;
        m->digest_known = false;
        m->repeats = 0;
        snprintf(m->topic, sizeof m->topic, "%s", proposal->topic != NULL ? proposal->topic : "");
    } else if (m->answered) {
        note_repetition(m);
    }
    m->proposed = true;
    m->answered = false;
    return m->quarantined ? MACHINE_QUARANTINED : MACHINE_PROPOSES;
}

void machine_outcome(struct machine *m, uint64_t seq, bool rejected)
{
    (void)rejected; /* saying again what was refused is as idle as what was sequenced */
    m->answered = true;
    m->outcome_seq = seq;
}

bool machine_quarantined(const struct machine *m)
{
    return m->quarantined;
}

const char *machine_repeated_topic(const struct machine *m)
{
    return m->topic;
}

uint64_t machine_repeated_seq(const struct machine *m)
{
    return m->outcome_seq;
}

/* ---- questions ------------------------------------------------------------------------------- */

uint64_t machine_digest(const struct machine *m)
{
    uint64_t h = 0;
    for (uint32_t i = 0; i < m->node_count; i++) {
        const struct machine_node *n = &m->nodes[i];
        uint64_t own = n->app->digest != NULL ? n->app->digest(n->state) : 0;
        h = hash64(&own, sizeof own, h);
    }
    for (uint32_t i = 0; i < m->timer_count; i++) {
        const struct machine_timer *t = &m->timers[i];
        const uint64_t fields[3] = { t->due_ns, t->id, t->node };
        h = hash64(fields, sizeof fields, h);
    }
    return h;
}

bool machine_has_digest(const struct machine *m)
{
    for (uint32_t i = 0; i < m->node_count; i++) {
        if (m->nodes[i].app->digest != NULL)
            return true;
    }
    return false;
}

void *machine_state(struct machine *m)
{
    return m->state;
}

const void *machine_state_const(const struct machine *m)
{
    return m->state;
}

const struct cantus_app *machine_app(const struct machine *m)
{
    return m->app;
}

uint64_t cantus_hash(uint64_t seed, const void *bytes, size_t length)
{
    return hash64(bytes, length, seed);
}
