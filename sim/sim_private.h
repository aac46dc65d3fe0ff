/* The inside of the simulator. One `struct sim` is one deployment; everything hangs on it. */
#ifndef CANTUS_SIM_SIM_PRIVATE_H
#define CANTUS_SIM_SIM_PRIVATE_H

#include <assert.h>
#include <stdarg.h>

#include "proto/command.h"
#include "proxy/core.h"
#include "sim/sim.h"
#include "sim/sim_clock.h"
#include "sim/sim_disk.h"
#include "sim/sim_history.h"
#include "sim/sim_queue.h"
#include "sim/sim_random.h"

enum {
    SIM_DATAGRAM_MAX = 1472,
    SIM_PACKETS_SLAB = 256, /* packets taken from the system at once */
    SIM_SLABS_MAX = 64,
    SIM_INBOX_MAX = 256, /* a socket's buffer, in datagrams */
    SIM_DUE_MAX = 8192,  /* datagrams on the way to one process */
    SIM_OUT_MAX = 1024,  /* datagrams queued by one step */
    SIM_SCRATCH_BYTES = 256 * 1024,
    SIM_STREAMS_MAX = 64, /* connections at a time, of the whole deployment */
    SIM_STREAM_BUFFER = 64 * 1024,
    SIM_FLIGHT_MAX = 8192, /* datagrams in flight, by hand */
    SIM_AGAIN_MAX = 8000,  /* steps in a row that want another at once: a livelock */
    SIM_STORES_MAX = MEMBERS_MAX,
    SIM_NAME_MAX = 31,
    SIM_HOARD_MAX = 256,  /* old datagrams kept, to be heard again */
    SIM_QUEUED_MAX = 1024 /* items handed to sim_publish and not yet taken by its pipe */
};

#define SIM_MS UINT64_C(1000000)
#define SIM_US UINT64_C(1000)

enum sim_event_kind {
    SIM_EVENT_RUN = SIM_QUEUE_WAKE, /* a node: step, and what came for it */
    SIM_EVENT_STREAM,               /* a: connection, b: direction and generation */
    SIM_EVENT_RESTART,              /* a node comes up again */
    SIM_EVENT_FAULT,
    SIM_EVENT_WORK,
    SIM_EVENT_WEATHER,
    SIM_EVENT_PROBE /* of progress */
};

/* ---- the network ----------------------------------------------------------------------------- */

struct sim_packet {
    uint32_t references;
    uint32_t length;
    uint8_t bytes[SIM_DATAGRAM_MAX];
};

/* One copy on its way to one receiver. */
struct sim_arrival {
    struct sim_packet *packet;
    uint64_t order; /* of sending */
    uint16_t from;
    uint16_t to;
    uint8_t channel;
    bool held; /* by hand */
};

/* When one is there, in its receiver's heap. */
struct sim_due {
    uint64_t at;
    uint64_t order; /* of sending */
    uint32_t slot;  /* in the network's table of arrivals */
};

/* How the network treats datagrams, right now; chances are per million. */
struct sim_weather {
    uint32_t loss, duplicate, reorder, delay, corrupt;
    uint64_t latency_min_ns, latency_max_ns;
    uint64_t reorder_max_ns, delay_max_ns;
};

struct sim_network {
    struct sim_packet *slabs[SIM_SLABS_MAX];
    uint32_t slab_count;
    struct sim_packet **free; /* a stack */
    uint32_t free_count;
    struct sim_arrival *arrivals; /* SIM_EVENTS_MAX, by slot */
    uint32_t arrivals_end;        /* none at or above was ever used */
    uint32_t *free_arrivals;      /* below it */
    uint32_t free_arrival_count;
    uint64_t sent;
    struct sim_weather weather;
    uint64_t blocked_from[SIM_NODES_MAX][SIM_NODES_MAX]; /* sender, receiver */
    uint64_t blocked_until[SIM_NODES_MAX][SIM_NODES_MAX];
    uint64_t flaps_ns[SIM_NODES_MAX][SIM_NODES_MAX]; /* 0: blocked throughout; else by turns */
    struct sim_hoarded {
        struct sim_packet *packet; /* NULL: none */
        uint64_t to_mask;          /* who could have heard it, by node */
        uint16_t from;
        uint8_t channel;
    } hoard[SIM_HOARD_MAX];
    uint32_t hoard_next;
    uint64_t newest[SIM_NODES_MAX][SIM_NODES_MAX]; /* order of the newest that arrived */
    uint32_t flight[SIM_FLIGHT_MAX];               /* by hand: arrival slots, oldest first */
    uint32_t flight_count;
    bool hold[SIM_NODES_MAX][SIM_NODES_MAX];
};

struct sim_direction {
    uint8_t *bytes;   /* SIM_STREAM_BUFFER */
    uint32_t used;    /* written and not yet consumed */
    uint32_t arrived; /* of them, what the receiver can see */
    uint32_t offered; /* of them, what the receiver has been shown */
    uint32_t room_wanted;
    uint32_t capacity;
    bool closing;        /* the writer has closed; what is in it still arrives */
    bool moving;         /* an event is scheduled */
    uint64_t slow_until; /* the reader does not look */
};

struct sim_connection {
    bool used;
    bool open;    /* accepted */
    bool dead[2]; /* this end knows that it is closed */
    uint16_t generation;
    uint16_t node[2]; /* 0: who connected */
    uint32_t boot[2];
    struct sim_direction way[2]; /* by writer */
    uint64_t far_ns;             /* that everything takes longer */
    uint32_t piece_max;          /* bytes that arrive at once; 0: any number */
    uint32_t talk;               /* number of what is kept of it; 0: nothing */
};

/* ---- nodes ----------------------------------------------------------------------------------- */

enum sim_kind {
    SIM_SEQUENCER = 1,
    SIM_STORE,
    SIM_CLIENT,
    SIM_OPERATOR,
    SIM_PROXY,
    SIM_HOSTILE,
    SIM_VISITOR
};

/* Where in its next run a process dies. */
enum sim_dies {
    SIM_DIES_NOT = 0,
    SIM_DIES_BEFORE_STEP, /* what completed on its disk is known to nobody */
    SIM_DIES_BEFORE_FLUSH /* it has stepped, and some of what it wanted to send is not sent */
};

struct sim_out {
    const uint8_t *bytes;
    uint32_t length;
    enum port_channel channel;
    struct port_addr to;
    uint64_t hash; /* of the bytes as they were handed over, if they are watched */
};

struct sim_port {
    struct port port; /* first */
    struct sim *sim;
    uint32_t node;
};

enum sim_work {
    SIM_WORK_NONE = 0,
    SIM_WORK_PIPE,
    SIM_WORK_INJECTOR,
    SIM_WORK_GROUPS,
    SIM_WORK_GRANTS,
    SIM_WORK_BY_HAND,
    SIM_WORK_EDGE_READ,  /* through a proxy: only reads, */
    SIM_WORK_EDGE_PIPE,  /* pushes items, */
    SIM_WORK_EDGE_FEED,  /* has an injector, */
    SIM_WORK_EDGE_WRITE, /* pushes where it may not always, */
    SIM_WORK_EDGE_CHANGE /* changes its subtrees */
};

/* What only some runs have, for it costs; a bit set. */
enum sim_extra {
    SIM_EXTRA_TWIN = 1,      /* another process takes over a publisher's identity */
    SIM_EXTRA_GROUPS = 2,    /* a publisher of groups */
    SIM_EXTRA_UNSYNCED = 4,  /* stores that acknowledge before they sync */
    SIM_EXTRA_DIGESTS = 8,   /* replicas publish digests of their states */
    SIM_EXTRA_LIARS = 16,    /* a disk lies about syncs, and more than a majority makes stable */
    SIM_EXTRA_GRANTS = 32,   /* publishers of keys, while rights are given and taken */
    SIM_EXTRA_RESTORED = 64, /* a store is restored from an older copy of its disk */
    SIM_EXTRA_EDGE = 128,    /* proxies, their clients, and whoever else comes to them */
    SIM_EXTRA_END = 256
};

/* What some runs with proxies have besides; a bit set. */
enum sim_edge_extra {
    SIM_EDGE_LIMITS = 1,   /* the publishers' rates are limited, and the limits changed */
    SIM_EDGE_FAR = 2,      /* some connections take long, or bring a few bytes at a time */
    SIM_EDGE_PACES = 4,    /* little may be written down for one key or address */
    SIM_EDGE_HALVES = 8,   /* proxies die amid a step, too; and there are up to three */
    SIM_EDGE_CHANGES = 16, /* visitors change what they want */
    SIM_EDGE_END = 32
};

struct sim_queued {
    char topic[TOPIC_PATH_MAX + 1];
    uint8_t *payload;
    size_t length;
};

/* A process that uses the library. */
/* A subtree that a client of a proxy subscribes to and no longer. */
enum { SIM_EDGE_CHANGED = 3 };
enum sim_wanted_state { SIM_WANTED_NOT, SIM_WANTED_WAITS, SIM_WANTED_COUNTS };
struct sim_wanted {
    enum sim_wanted_state state;
    uint64_t from_seq; /* from which it counts */
};

struct sim_client {
    enum cantus_level level;
    enum sim_work work;
    char identity[IDENTITY_MAX + 1]; /* of its pipe, injector or app */
    const struct cantus_app *apps[2];
    char config[2][256];
    char identities[2][IDENTITY_MAX + 1]; /* "": only follows */
    uint32_t app_count;

    struct machine *machines[2];
    struct cantus_pipe *pipe;
    struct cantus_injector *injector;
    uint64_t items; /* of its identity: pushed by this incarnation or found sequenced */
    uint64_t goal;  /* push up to here */
    bool started;   /* `items` is known */
    uint32_t group; /* items of the group that its last item is a part of, and that goes on */
    struct sim_queued *queued; /* SIM_QUEUED_MAX, by hand */
    uint32_t queued_count;
    bool quarantined;
    bool late;           /* a twin: it starts amid the run */
    uint64_t nonce;      /* of a publisher of groups or of a key: its join */
    uint32_t grant_role; /* of a publisher of a key: 1 the operator */
    uint64_t proposed;   /* number of the last it has proposed; 0: none */

    /* through a proxy */
    const struct sim_edge_role *edge; /* NULL: on the core network */
    const char *edge_name;            /* of its publisher, behind "@KEY:" */
    char error[160];                  /* why its last process gave up */
    struct sim_wanted wanted[SIM_EDGE_CHANGED];
    uint32_t changes; /* of its subtrees, by all its processes */

    /* what the checkers know of its deliveries */
    struct sim_reader reader;
};

struct sim_node {
    char name[SIM_NAME_MAX + 1];
    enum sim_kind kind;
    uint32_t index; /* among its kind, from 1 */
    bool up;
    bool ever; /* has been up before */
    bool running;
    bool unread; /* something may have come over a stream that it has not consumed */
    uint64_t frozen_until;
    enum sim_dies dies; /* in its next run */
    uint64_t outage_ns; /* then */
    bool rotten;        /* a store's disk lost what was durable */
    bool founder;       /* its store has the genesis from the start */
    bool formatted;
    uint64_t host_boot; /* of a store's host */
    bool host_lost;     /* it went down, and something that was not synced with it */
    bool lied;          /* its disk has lost what it had said was synced; not started since */
    bool hurt;          /* it had, once */
    bool restored;      /* its disk is an older copy of itself, and it does not know yet */
    struct word kept;   /* of the store as of the copy that its disk keeps */
    uint32_t boot;      /* counts starts */
    const struct participant_ops *ops;
    void *core;
    struct sim_port port;
    struct sim_clock clock;
    bool join[PORT_CHANNELS];

    uint64_t lag_ns; /* from a datagram's arrival until it runs: meanwhile more may come */
    uint64_t busy_until;
    uint32_t again;      /* steps in a row that wanted another at once */
    struct sim_due *due; /* SIM_DUE_MAX: on the way to it, a heap */
    uint32_t due_count;
    uint32_t inbox[SIM_INBOX_MAX]; /* arrival slots */
    uint32_t inbox_count;
    struct sim_out *out; /* SIM_OUT_MAX */
    uint32_t out_count;
    uint8_t *scratch; /* SIM_SCRATCH_BYTES */
    uint32_t scratch_used;

    struct sim_disk *disk; /* stores */
    struct journal *journal;
    uint64_t store; /* its id */
    struct sim_client *client;
};

/* ---- faults ---------------------------------------------------------------------------------- */

enum sim_fault {
    SIM_FAULT_CRASH_SEQUENCER = 0,
    SIM_FAULT_CRASH_STORE,
    SIM_FAULT_CRASH_CLIENT,
    SIM_FAULT_FREEZE,
    SIM_FAULT_PARTITION,
    SIM_FAULT_ONE_WAY,
    SIM_FAULT_DISK_FULL,
    SIM_FAULT_DISK_ERRORS,
    SIM_FAULT_DISK_STALL,
    SIM_FAULT_READ_FLIPS,
    SIM_FAULT_CLOCK,
    SIM_FAULT_RESET_STREAMS,
    SIM_FAULT_WEATHER,
    SIM_FAULT_PROMOTE,
    SIM_FAULT_STALE, /* crash of the sequencer; what it sent stays on the way for long */
    SIM_FAULT_ROT,
    SIM_FAULT_HALF_STEP, /* a process dies between a completion and its effects, or amid a flush */
    SIM_FAULT_POWER,     /* any number of processes die at once */
    SIM_FAULT_FLAP,      /* a partition that comes and goes */
    SIM_FAULT_STALL_LEADER, /* it freezes for long, and another is promoted */
    SIM_FAULT_REPEAT,       /* datagrams of long ago arrive again */
    SIM_FAULT_RIVALS,       /* several standbys are promoted at once */
    SIM_FAULT_COMMAND,      /* the operator promotes, adds or removes by command */
    SIM_FAULT_ISLAND,  /* the leader and one store go on apart from the others, who go on too */
    SIM_FAULT_WIPE,    /* a store loses its disk, and comes back as another */
    SIM_FAULT_LIE,     /* a disk lies about syncs, until its power fails */
    SIM_FAULT_RESTORE, /* a copy is taken of a store's disk, or put in its place */
    SIM_FAULT_CRASH_PROXY,
    SIM_FAULT_CUT,   /* some clients' connections */
    SIM_FAULT_STORM, /* all connections of a proxy: they come back at once */
    SIM_FAULT_SLOW,  /* some clients do not read for a while */
    SIM_FAULT_DRAIN, /* a proxy sends its clients elsewhere, and is started anew */
    SIM_FAULT_KINDS,
    SIM_FAULT_TORN_GROUP = SIM_FAULT_KINDS /* not drawn: sim_fault_group.c */
};

struct sim_mood {
    const char *name;
    uint32_t weight[SIM_FAULT_KINDS];
    uint64_t gap_min_ns, gap_max_ns; /* between faults */
    uint64_t outage_max_ns;
    uint32_t packet_chance; /* scale of the datagram faults, percent of usual */
};

enum { SIM_OVERHEARD_MAX = 8, SIM_PROOF_SIZE = EDGE_HEADER + EDGE_SIGNATURE_SIZE };
struct sim_overheard { /* an honest client's PROVE */
    uint32_t key, proxy, length;
    uint8_t bytes[SIM_PROOF_SIZE];
};

/* ---- the whole ------------------------------------------------------------------------------- */

struct sim {
    struct sim_options options;
    struct sim_random random;
    struct sim_queue queue;
    struct sim_network network;
    struct sim_connection connections[SIM_STREAMS_MAX];
    uint32_t connections_end; /* none at or above was ever used */
    uint8_t *stream_memory;
    struct sim_node *nodes[SIM_NODES_MAX];
    uint32_t node_count;
    struct sim_history history;
    struct sim_result result;

    uint64_t now;
    uint64_t steps;
    uint64_t stream; /* its id */
    uint8_t genesis[SIM_DATAGRAM_MAX];
    uint32_t genesis_length;
    uint64_t store_ids[SIM_STORES_MAX];
    uint32_t store_count; /* spares included */
    uint32_t sequencer_count;
    uint32_t sabotage_sequencer, sabotage_retransmitter, sabotage_client, sabotage_follower;
    uint32_t sabotage_proxy;
    bool sabotage_wiped_votes, sabotage_unsynced_votes, sabotage_lying_quorum,
        sabotage_false_digest;
    bool has_lied;       /* a disk; once a run */
    bool watches_bytes;  /* that are handed over, for changes before they are sent or written */
    uint32_t extras;     /* enum sim_extra */
    uint64_t silence_ns; /* after which standbys promote themselves; 0: never */
    struct sim_node *operator;
    uint64_t disks_checked_at; /* in the phase of faults; 0: not yet */
    uint32_t proxy_count;      /* 0: none, and of the following nothing */
    bool edge_open;            /* the rights that stay are stable: its clients run */
    uint64_t edge_restarts;    /* of clients that were refused */
    uint32_t edge_extras;      /* enum sim_edge_extra */
    struct proxy_options edge; /* of all proxies */
    uint32_t edge_buffer;      /* of a client's connection */
    struct sim_overheard overheard[SIM_OVERHEARD_MAX]; /* a ring */
    uint32_t overheard_count;
    struct sim_talk **talks; /* sim_talk.c */
    uint32_t talk_count;
    size_t talk_bytes;
    struct position edge_opened;                      /* stable then */
    struct sim_timeline *timelines[SIM_BRANCHES_MAX]; /* of rights; sim_check_access.c */
    struct sim_rights *rights;                        /* there, too */
    bool line_b;
    uint64_t ring_bytes; /* limits of the cores, drawn so that they are reached now and then */
    uint32_t pending_max, queue_max;
    uint32_t large_every; /* one item in so many */
    bool by_hand;
    bool healed;
    bool stopped;
    bool done; /* live again */
    uint64_t healed_at;
    uint64_t faults_scheduled;
    bool tears_groups, tear_due; /* sim_fault_group.c */
    uint64_t tear_seq;           /* where the group that is to be torn begins; 0: none */
    uint64_t tear_after;         /* no other before */
    const struct sim_mood *mood;
    uint64_t injector_limit;
    bool quiet;            /* nobody pushes any more */
    uint32_t solver_items; /* of the workload, for a round of the race */

    char *trace; /* by hand, or traced */
    size_t trace_length, trace_capacity;
    char text[SIM_TEXT_MAX];
};

/* sim_operator.c: who gives commands over the stream port. */
extern const struct participant_ops sim_operator_participant;
struct sim_operator;
struct sim_operator *sim_operator_create(struct sim *s, struct sim_node *n);
void sim_operator_ask(struct sim_operator *o, const struct command *command, uint32_t node);
/* A command may still be carried out. */
bool sim_operator_busy(const struct sim_operator *o);
/* What is to be done next about stores that are gone, and members still, and whom to ask. */
bool sim_operator_repairs(const struct sim *s, struct command *out, const struct sim_node **target);
/* No member, which promised the leader's number to another candidate: it waits for the next epoch. */
bool sim_operator_sits_out(const struct sim_node *n, const struct sim_node *leader);
struct sim_node *sim_leader(const struct sim *s);

/* sim_node.c */
struct sim_node *sim_node_add(struct sim *s, enum sim_kind kind, uint32_t index, const char *name);
void sim_node_free(struct sim *s, struct sim_node *n);
bool sim_node_start(struct sim *s, struct sim_node *n);
void sim_node_crash(struct sim *s, struct sim_node *n);
void sim_node_run(struct sim *s, struct sim_node *n);
void sim_node_wake(struct sim *s, struct sim_node *n, uint64_t at);
void sim_node_stream(struct sim *s, struct sim_node *n, const struct port_stream_event *event,
                     size_t *consumed);
/* After on_* calls: steps, flushes, and sees to being called again. */
void sim_node_step(struct sim *s, struct sim_node *n);
uint32_t sim_node_index(const struct sim *s, const struct sim_node *n);
struct port_time sim_node_time(const struct sim *s, const struct sim_node *n);
static inline bool sim_node_frozen(const struct sim *s, const struct sim_node *n)
{
    return n->frozen_until > s->now;
}

/* sim_deploy.c: what a run consists of */
bool sim_deploy(struct sim *s, char *error);
struct sim_node *sim_deploy_client(struct sim *s, const char *name, enum cantus_level level);
bool sim_create_core(struct sim *s, struct sim_node *n);
/* The disk is lost; the store will be formatted as another, without a history. */
void sim_deploy_wipe(struct sim *s, struct sim_node *n);

/* sim_edge.c: proxies, and clients that come and go */
enum {
    SIM_EDGE_KEYS = 7,
    SIM_EDGE_NOBODY = 0,
    SIM_EDGE_EVERYTHING = 1, /* may read and write everywhere */
    SIM_EDGE_FOREIGN = 6,
    SIM_EDGE_SUBTREES = 2
};
struct sim_edge_role {
    const char *name; /* of its node */
    uint32_t key;     /* SIM_EDGE_NOBODY: none */
    enum sim_work work;
    const char *publisher; /* NULL: none */
    const char *subtrees[SIM_EDGE_SUBTREES + 1];
    bool rights_stay; /* it is refused nothing */
    bool replica, twin, peer, changer;
};
struct sim_edge_key {
    uint8_t public_key[ACCESS_KEY_SIZE];
    uint8_t secret[64];
};
const struct sim_edge_key *sim_edge_key(uint32_t key); /* of SIM_EDGE_NOBODY: one that nobody has */
void sim_edge_sign(void *ctx, const uint8_t message[EDGE_SIGNED_SIZE],
                   uint8_t signature[EDGE_SIGNATURE_SIZE]); /* ctx: a sim_edge_key */
bool sim_edge_deploy(struct sim *s);
bool sim_edge_create_proxy(struct sim *s, struct sim_node *n);
bool sim_edge_furnish(struct sim *s, struct sim_node *n, char *error);
/* Whether its pipes push groups, of parts with up to so many bytes: some of them in several batches. */
enum { SIM_EDGE_PART_BYTES = 900, SIM_EDGE_ITEM_MAX = 4000 };
bool sim_edge_has_groups(const struct sim *s);
/* And whether everything stops now and then while one is stable in part. */
bool sim_edge_tears_groups(const struct sim *s);
struct edge_options sim_edge_options(struct sim *s, const struct sim_node *n);
/* Of whoever changes its subtrees: those that come and go, which are apart. */
extern const char *const sim_edge_changed[SIM_EDGE_CHANGED];
uint32_t sim_edge_proxies(const struct sim *s, struct port_addr out[EDGE_PROXIES_MAX]);
void sim_edge_work(struct sim *s, struct sim_node *n);
/* Starts its clients, once they are let in. */
void sim_edge_look(struct sim *s);
/* SIM_FINE: all of it is live. */
enum sim_invariant sim_edge_live(const struct sim *s, const struct sim_node *n, uint64_t tip,
                                 char *why, size_t capacity);
bool sim_fault_edge(struct sim *s, enum sim_fault kind);
void sim_fault_end_drain(struct sim *s, struct sim_node *n);

/* sim_hostile.c: who comes to a proxy and means it no good */
#define SIM_HOSTILE_NAME ":stolen" /* of publishers that only it opens */
extern const struct participant_ops sim_hostile_participant;
struct sim_hostile;
struct sim_hostile *sim_hostile_create(struct sim *s, struct sim_node *n);
/* Bytes of an honest client, that it overhears. */
void sim_hostile_overhear(struct sim *s, const struct sim_connection *c, const uint8_t *bytes,
                          size_t length);

/* sim_visitor.c: who comes to a proxy for a while, and reads from anywhere */
extern const struct participant_ops sim_visitor_participant;
struct sim_visitor;
struct sim_visitor *sim_visitor_create(struct sim *s, struct sim_node *n);
void sim_visitor_destroy(struct sim_visitor *x);
/* Each of its visits has been told what there was when the run became quiet. */
bool sim_visitor_live(const struct sim_visitor *x, char *why, size_t capacity);

/* sim_check_edge.c */
void sim_check_edge_message(void *ctx, const struct cantus_message *message);
/* Of the history that it was told; SIM_NONE: it was told nothing yet. */
uint32_t sim_check_edge_branch(const struct sim_node *n);
/* Messages of this subtree come from this seq on; or, if `refused`, not at all. */
void sim_check_edge_changed(struct sim *s, struct sim_node *n, const char *subtree, uint64_t seq,
                            bool refused);
void sim_check_edge_forked(struct sim *s, struct sim_node *n, uint64_t first_seq);
/* After each of its runs. */
void sim_check_edge_client(struct sim *s, struct sim_node *n);
void sim_check_edge_proxy(struct sim *s, const struct sim_node *n);
/* The next seq above `after`, through `through`, that it should have been handed; 0: none. */
uint64_t sim_check_edge_missing(struct sim *s, const struct sim_node *n, uint32_t branch,
                                uint64_t after, uint64_t through);
void sim_check_edge_record(struct sim *s, const struct message *m);

/* sim_talk.c: what proxies and clients say to each other */
void sim_talk_note(struct sim *s, struct sim_connection *c, uint32_t writer, const uint8_t *bytes,
                   size_t length);
void sim_talks_free(struct sim *s);
/* sim_check_talk.c: at the end of a run */
void sim_check_talks(struct sim *s);

/* sim_net.c */
bool sim_net_init(struct sim *s);
void sim_net_close(struct sim *s);
void sim_port_init(struct sim *s, struct sim_node *n);
void sim_net_flush(struct sim *s, struct sim_node *n);
/* Puts into its inbox what is there by now. */
void sim_net_receive(struct sim *s, struct sim_node *n);
/* By hand: this one is there. */
void sim_net_arrive(struct sim *s, uint32_t slot);
void sim_net_release(struct sim *s, uint32_t slot);
/* Everything a node has sent and that is still on its way takes longer. */
uint32_t sim_net_linger(struct sim *s, uint32_t from, uint64_t min_ns, uint64_t max_ns);
/* Some old datagrams arrive once more. Returns how many. */
uint32_t sim_net_repeat(struct sim *s, uint32_t max);
bool sim_net_blocked(const struct sim *s, uint32_t from, uint32_t to);
struct port_addr sim_net_address(uint32_t node);

/* sim_stream.c */
bool sim_stream_init(struct sim *s);
void sim_stream_close_all(struct sim *s);
uint32_t sim_stream_connect(struct port *port, struct port_addr to);
size_t sim_stream_room(struct port *port, uint32_t stream, size_t want);
void sim_stream_write(struct port *port, uint32_t stream, const void *bytes, size_t length);
void sim_stream_close(struct port *port, uint32_t stream);
void sim_stream_event(struct sim *s, uint32_t connection, uint32_t what);
/* Offers again what a node has not consumed. */
void sim_stream_offer(struct sim *s, struct sim_node *n);
void sim_stream_node_down(struct sim *s, uint32_t node);
uint32_t sim_stream_reset_some(struct sim *s);
/* All connections of a proxy's clients, or of some of everybody's (SIM_NONE). Returns how many. */
uint32_t sim_stream_cut(struct sim *s, uint32_t proxy);
/* Some clients of proxies do not read for a while. */
uint32_t sim_stream_slow(struct sim *s);

/* sim_fault.c */
/* sim_mood.c */
const struct sim_mood *sim_mood_draw(struct sim *s);
uint32_t sim_extras_draw(const struct sim_options *o);
/* Draws what the planted mistake needs in order to show. */
void sim_fault_lean(struct sim_options *o);
void sim_fault_begin(struct sim *s);
void sim_fault_strike(struct sim *s);
void sim_fault_end(struct sim *s, uint32_t node, uint32_t kind);
void sim_fault_weather(struct sim *s);
void sim_fault_heal(struct sim *s);
void sim_fault_operate(struct sim *s);
void sim_fault_restart_later(struct sim *s, struct sim_node *n, uint64_t outage_ns);
struct sim_node *sim_fault_draw_node(struct sim *s, enum sim_kind kind); /* that is up; or NULL */
uint64_t sim_fault_draw_outage(struct sim *s);
/* sim_fault_store.c. False: it can't be now. */
bool sim_fault_is_lost(const struct sim *s, uint64_t store);
bool sim_fault_rot(struct sim *s);
bool sim_fault_wipe(struct sim *s);
bool sim_fault_crash_host(struct sim *s, struct sim_node *n);
bool sim_fault_lie(struct sim *s);
bool sim_fault_restore(struct sim *s);
/* False: what goes on just now is no copy to start from. */
bool sim_fault_keep(struct sim *s, struct sim_node *n);
void sim_fault_put_back(struct sim *s, struct sim_node *n);
/* sim_fault_group.c: a store acknowledges, or a leader declares stable, what may be a part of a group. */
void sim_fault_group_acked(struct sim *s, struct sim_node *store, uint32_t branch, uint64_t seq);
void sim_fault_group_stable(struct sim *s, uint32_t branch, uint64_t seq);
void sim_fault_tear_group(struct sim *s);
/* After a step: a store that found out is formatted anew. */
void sim_fault_look_restored(struct sim *s, struct sim_node *n);
void sim_fault_end_lie(struct sim *s, struct sim_node *n);

/* sim_workload.c */
enum { SIM_RUN_BYTES_MAX = 40 * 1024, SIM_ITEM_HEADER = 16 };
enum { SIM_EDGE_PIPE = 22 }; /* the author behind sim_edge.c's pipes */
enum sim_item_kind { SIM_ITEM_PLAIN = 1, SIM_ITEM_RACE };
struct sim_item_header {
    enum sim_item_kind kind;
    uint32_t author; /* the workload's number of its publisher or solver */
    uint64_t number; /* of the item, or the round */
};
/* False: it is no item. */
bool sim_item_header(const uint8_t *payload, size_t length, struct sim_item_header *out);
bool sim_item_check(const uint8_t *payload, size_t length, uint32_t author, uint64_t item);
extern const struct cantus_app sim_follower_app;
extern const struct cantus_app sim_solver_app;
uint32_t sim_item_length(uint32_t publisher, uint64_t item);
void sim_item_fill(uint32_t publisher, uint64_t item, uint8_t *out, uint32_t length);
void sim_work(struct sim *s, struct sim_node *n);
bool sim_work_item(void *ctx, uint64_t index, struct cantus_item *out);
/* The run that the calling thread's apps belong to. */
void sim_work_context(struct sim *s);

/* sim_group.c */
struct sim_group_part {
    uint64_t first; /* number of the group's first */
    uint32_t index, count;
};
bool sim_group_part(const uint8_t *payload, size_t length, struct sim_group_part *out);
void sim_group_work(struct sim *s, struct sim_node *n);
/* sim_grant.c */
enum {
    SIM_GRANT_ROLES = 3,
    SIM_GRANT_EDGE = 4
}; /* the operator and two teams; and of the edge's rights */
void sim_grant_identity(uint32_t role, char out[IDENTITY_MAX + 1]);
void sim_grant_work(struct sim *s, struct sim_node *n);
/* The rights that stay are given. */
bool sim_grant_edge_begun(const struct sim *s, const struct sim_node *n);
bool sim_grant_edge_over(const struct sim *s, const struct sim_node *n);
/* sim_check_access.c */
/* A message at the end of a branch, before it counts there. */
void sim_check_permitted(struct sim *s, uint32_t branch, const struct message *m);
void sim_check_access_tally(const struct sim *s, struct sim_tally *t, uint32_t branch,
                            const struct sim_entry *e, uint64_t seq);
/* Whether a key may read a topic at a seq, or at any time from then to the end of the branch; and all the time. */
struct sim_may {
    bool ever, always;
};
struct sim_may sim_check_may_read(struct sim *s, uint32_t branch, uint32_t key, uint32_t topic,
                                  uint64_t seq);
/* NULL: there is none. Not terminated. */
const char *sim_check_path(const struct sim *s, uint32_t branch, uint32_t topic, uint32_t *length);
/* What it has proposed is in the stream, or refused there. */
bool sim_group_answered(const struct sim *s, const struct sim_node *n);

/* sim_check.c */
void sim_violate(struct sim *s, enum sim_invariant invariant, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void sim_check_send(struct sim *s, struct sim_node *n, enum port_channel channel,
                    const uint8_t *bytes, uint32_t length);
/* Whether the stores that lack what is stable could seal without the others, by their disks. */
void sim_check_disks(struct sim *s); /* sim_check_disk.c */
void sim_check_started(struct sim *s, struct sim_node *n, const struct journal_report *report);
/* sim_check_client.c */
void sim_check_message(void *ctx, const struct cantus_message *message);
/* The last message of the run that this one is of; 0: it is cut off, or not there yet. */
uint64_t sim_check_run_end(const struct sim_history *h, uint32_t branch, uint64_t seq);
/* Whether a client at this place of the history is handed a message with this seq. */
bool sim_check_is_delivered(const struct sim_history *h, uint32_t branch, uint64_t seq);
/* Compares a delivered message with the fragments it was sequenced in, the last of which is seq. */
bool sim_check_same_bytes(const struct sim_history *h, uint32_t branch, uint64_t seq,
                          const struct cantus_message *m);
void sim_check_report(void *ctx, const struct cantus_report *report);
void sim_check_applied(struct sim *s, uint32_t node, uint64_t seq, uint64_t digest);
/* SIM_FINE once all is live again; else what is not yet as promised: SIM_LIVE or SIM_ANSWERED. */
enum sim_invariant sim_check_live(struct sim *s, char *why, size_t capacity);
void sim_check_final(struct sim *s);

/* sim_trace.c */
void sim_trace_line(struct sim *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
size_t sim_datagram_text(const uint8_t *bytes, uint32_t length, char *out, size_t capacity);
static inline bool sim_tracing(const struct sim *s)
{
    return s->by_hand || s->options.trace;
}

/* sim.c */
struct sim *sim_create(const struct sim_options *options, bool by_hand, char *error);
void sim_destroy(struct sim *s);
/* The same name, with '-' or '_'. */
bool sim_sabotage_named(const char *wanted, const char *name);
void sim_schedule(struct sim *s, uint64_t at, enum sim_event_kind kind, uint32_t node, uint32_t a,
                  uint32_t b);
/* Carries out the next event. False: there is none. */
bool sim_step(struct sim *s);

#endif
