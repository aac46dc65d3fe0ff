#include "shell/config_keys.h"

#include <stddef.h>

#define KEYS(table) .key_count = (uint32_t)(sizeof(table) / sizeof((table)[0])), .keys = (table)

#define TOP(field) offsetof(struct config, field)

static const struct config_key top_keys[] = {
    { "stream", CONFIG_STREAM_ID, true, TOP(stream), 0, 0,
      "The stream's id: 16 hex digits, made by `cantus init`. Never change it: journals carry "
      "it." },
    { "volatile", CONFIG_BOOL, false, TOP(is_volatile), 0, 0,
      "true: a stream without stores, for measuring. Nothing in it is ever stable." },
    { "session", CONFIG_SESSION, false, TOP(session), 1, SESSION_NAME_MAX,
      "The session that a sequencer begins when another one runs." },
    { "counters", CONFIG_PATH, false, TOP(counters), 1, CONFIG_PATH_MAX,
      "Directory of the files in which processes of this host keep their counters, for `cantus "
      "top`, `metrics` and `errors`. It should be in memory. Without it, one below /dev/shm." },
    { "huge_pages", CONFIG_BOOL, false, TOP(huge_pages), 0, 0,
      "Sequencers and retransmitters ask for huge pages for their rings and tables, where the kernel "
      "gives them to who asks. Look-ups are cheaper, and one that rests takes more memory. Proxies "
      "don't: their memory follows their clients. Nor does `cantus dev`." },
};

static const struct config_key network_keys[] = {
    { "interface", CONFIG_IP, false, TOP(interface), 0, 0,
      "Address of this host's interface for everything but line B. 127.0.0.1: this host alone." },
    { "ingress", CONFIG_GROUP, true, TOP(ingress), 0, 0,
      "Multicast group and port of proposals. Whoever may send here may speak for any publisher." },
    { "egress_a", CONFIG_GROUP, true, TOP(egress_a), 0, 0,
      "Multicast group and port of the stream." },
    { "egress_b", CONFIG_GROUP, false, TOP(egress_b), 0, 0,
      "The same once more: line B. Receivers take whichever copy comes first." },
    { "interface_b", CONFIG_IP, false, TOP(interface_b), 0, 0,
      "Address of the interface for line B, on a network of its own." },
    { "datagram_max", CONFIG_U32, false, TOP(datagram_max), 512, 8972,
      "UDP payload bytes: the MTU less 28. 1472 on Ethernet, 8972 with jumbo frames." },
    { "ttl", CONFIG_U32, false, TOP(ttl), 1, 255, "Routers that multicast may pass, plus one." },
    { "segmentation", CONFIG_BOOL, false, TOP(segmentation), 0, 0,
      "Let the kernel cut and join datagrams (UDP_SEGMENT, UDP_GRO): more throughput under load." },
};

static const struct config_key idle_keys[] = {
    { "strategy", CONFIG_IDLE, false, TOP(idle), 0, 0,
      "What a process does without work. wait: sleeps at once. spin-then-wait: looks on for a "
      "moment, so that a busy stream never pays for waking up. spin: never sleeps, takes a core." },
    { "spin_us", CONFIG_U32, false, TOP(spin_us), 1, 1000000, "That moment, in microseconds." },
    { "yield", CONFIG_BOOL, false, TOP(yield), 0, 0,
      "Give way to other processes while spinning: for hosts with fewer cores than spinners." },
};

#define SEQ(field) offsetof(struct config_sequencing, field)

static const struct config_key sequencing_keys[] = {
    { "ring_mib", CONFIG_U32, false, SEQ(ring_mib), 1, 65536,
      "Recent batches in memory. Nothing leaves it before it is stable: when it is full, appending "
      "pauses." },
    { "queue_max", CONFIG_U32, false, SEQ(queue_max), 64, 1048576,
      "Datagrams of proposals held at a time, of all publishers." },
    { "window", CONFIG_U32, false, SEQ(window), 1, 65536,
      "How far ahead of its next number a publisher's proposals are held." },
    { "run_bytes_max", CONFIG_U32, false, SEQ(run_bytes_max), 16384, 67108864,
      "Largest run: a group, or a message in fragments." },
    { "topics_max", CONFIG_U32, false, SEQ(topics_max), 64, 16777215,
      "Topics there can be. The same for every process of the stream." },
    { "publishers_max", CONFIG_U32, false, SEQ(publishers_max), 16, 16777215,
      "Publishers there can be. The same for every process of the stream." },
    { "tick_ms", CONFIG_U32, false, SEQ(tick_ms), 0, 3600000,
      "Time between ticks on /sys/clock, which let timers fire on an idle stream. 0: no ticks." },
    { "heartbeat_min_us", CONFIG_U32, false, SEQ(heartbeat_min_us), 1, 1000000,
      "The first heartbeat follows a message after this time; then they back off. Where messages follow each other "
      "within a few times of it, after twice their distance." },
    { "heartbeat_idle_ms", CONFIG_U32, false, SEQ(heartbeat_idle_ms), 1, 60000,
      "The longest time between heartbeats." },
    { "pace_mib", CONFIG_U32, false, SEQ(pace_mib), 0, 65536,
      "Emission slows down when the stores lag by this much. 0: half the ring." },
    { "pace_us", CONFIG_U32, false, SEQ(pace_us), 1, 1000000, "Then one batch is sent per this." },
    { "clock_ahead_max_ms", CONFIG_U32, false, SEQ(clock_ahead_max_ms), 1, 86400000,
      "A clock further ahead of the stores' median is refused, because time never goes back." },
};

static const struct config_key failover_keys[] = {
    { "promotion", CONFIG_PROMOTION, false, TOP(promotion), 0, 0,
      "manual: a standby leads when `cantus promote` says so. automatic: it promotes itself when "
      "it "
      "has not heard the leader for silence_ms and the stores, which it asks first, haven't "
      "either." },
    { "silence_ms", CONFIG_U32, false, TOP(silence_ms), 5, 60000,
      "That silence. Three times heartbeat_idle_ms at least." },
};

#define SEQR(field) offsetof(struct config_sequencer, field)

static const struct config_key sequencer_keys[] = {
    { "name", CONFIG_NAME, true, SEQR(name), 1, CONFIG_NAME_MAX,
      "Its name: for --name and `cantus promote`." },
    { "unicast", CONFIG_ADDRESS, true, SEQR(unicast), 0, 0,
      "Where it is asked for recent batches: address and UDP port." },
    { "stream_port", CONFIG_PORT, true, SEQR(stream_port), 1, 65535,
      "Where it is asked for its status and told what to do: its TCP port." },
    { "interface", CONFIG_IP, false, SEQR(interface), 0, 0,
      "Its host's interface for multicast, if that is not the one under 'network'." },
};

#define RETR(field) offsetof(struct config_retransmitter, field)

static const struct config_key retransmitter_keys[] = {
    { "name", CONFIG_NAME, true, RETR(name), 1, CONFIG_NAME_MAX,
      "Its name: for --name and `cantus member`." },
    { "unicast", CONFIG_ADDRESS, true, RETR(unicast), 0, 0,
      "Where it is asked for gaps: address and UDP port." },
    { "stream_port", CONFIG_PORT, true, RETR(stream_port), 1, 65535,
      "Where it serves bulk replay: its TCP port." },
    { "interface", CONFIG_IP, false, RETR(interface), 0, 0,
      "Its host's interface for multicast, if that is not the one under 'network'." },
    { "directory", CONFIG_PATH, true, RETR(directory), 1, CONFIG_PATH_MAX,
      "Its journal; relative to this file." },
    { "sync", CONFIG_SYNC, false, RETR(sync), 0, 0,
      "every: acknowledges what is on the disk. none: what is in the page cache, which a host "
      "crash may lose; a process crash loses nothing." },
    { "direct", CONFIG_BOOL, false, RETR(direct), 0, 0,
      "Write past the page cache (O_DIRECT) where the file system can." },
    { "segment_mib", CONFIG_U32, false, RETR(segment_mib), 1, 4096, "Size of a journal file." },
};

#define PROX(field) offsetof(struct config_proxy, field)

static const struct config_key proxy_keys[] = {
    { "name", CONFIG_NAME, true, PROX(name), 1, CONFIG_NAME_MAX,
      "Its name: for --name and `cantus proxy`." },
    { "unicast", CONFIG_ADDRESS, true, PROX(unicast), 0, 0,
      "Where gaps are filled for it: address and UDP port on the core network." },
    { "stream_port", CONFIG_PORT, true, PROX(stream_port), 1, 65535,
      "Where it is asked for its status and its clients, and told to drain: its TCP port on the core "
      "network." },
    { "listen", CONFIG_LISTEN, true, PROX(listen), 0, 0,
      "Where clients connect: address and TCP port, outside of the core network as a rule. 0.0.0.0: "
      "on every interface." },
    { "interface", CONFIG_IP, false, PROX(interface), 0, 0,
      "Its host's interface for multicast, if that is not the one under 'network'." },
    { "sessions_max", CONFIG_U32, false, PROX(sessions_max), 1, CONFIG_SESSIONS_MAX,
      "Clients at a time. Each needs a file descriptor: see `ulimit -n`." },
    { "sessions_per_addr", CONFIG_U32, false, PROX(sessions_per_addr), 1, CONFIG_SESSIONS_MAX,
      "Of them, from one address." },
    { "sessions_per_key", CONFIG_U32, false, PROX(sessions_per_key), 1, CONFIG_SESSIONS_MAX,
      "Of them, with one key whose limit (`cantus limit`) says nothing else." },
    { "logins_max", CONFIG_U32, false, PROX(logins_max), 8, CONFIG_SESSIONS_MAX,
      "Of them, who have not logged in yet: others wait for their turn. An eighth of it from one "
      "address." },
    { "subtrees_max", CONFIG_U32, false, PROX(subtrees_max), 1024, 4194304,
      "Subtrees that all clients together subscribe to." },
    { "records_per_addr_s", CONFIG_U32, false, PROX(records_per_addr_s), 0, 1000000,
      "What clients make it write down (logins, subscriptions from the tip, changes, publishers) stays "
      "in the stream: so many a second from one address, behind a burst, then they wait. 0: any." },
    { "records_per_addr_burst", CONFIG_U32, false, PROX(records_per_addr_burst), 1, 1000000,
      "That burst." },
    { "records_per_key_s", CONFIG_U32, false, PROX(records_per_key_s), 0, 1000000,
      "The same with one key, whose logins are refused then. 0: any." },
    { "records_per_key_burst", CONFIG_U32, false, PROX(records_per_key_burst), 1, 1000000,
      "And its burst." },
    { "recent_mib", CONFIG_U32, false, PROX(recent_mib), 4, 1048576,
      "The recent part of the stream in memory, from which clients that are behind catch up; what is "
      "older comes from a store." },
    { "view_mib", CONFIG_U32, false, PROX(view_mib), 4, 1048576,
      "What was encoded for clients and not taken yet by all of them, once for all that want the "
      "same." },
    { "relay_mib", CONFIG_U32, false, PROX(relay_mib), 1, 1048576,
      "What clients have published and is not stable yet, of all publishers." },
    { "publisher_kib", CONFIG_U32, false, PROX(publisher_kib), 16, 65536,
      "The same of one publisher; its largest message has half of that." },
    { "slow_s", CONFIG_U32, false, PROX(slow_s), 1, 86400,
      "A client that takes nothing for so long although there is something is cut off." },
    { "idle_s", CONFIG_U32, false, PROX(idle_s), 0, 86400,
      "A client that says nothing for so long is cut off. 0: never." },
    { "login_s", CONFIG_U32, false, PROX(login_s), 1, 3600,
      "A client has so long to prove who it is." },
    { "tls_certificate", CONFIG_PATH, false, PROX(tls_certificate), 1, CONFIG_PATH_MAX,
      "PEM file of its certificate, with those between it and its authority behind it; relative to this "
      "file. With it and tls_key clients must speak TLS 1.3. Read once, at start." },
    { "tls_key", CONFIG_PATH, false, PROX(tls_key), 1, CONFIG_PATH_MAX,
      "PEM file of the certificate's key, without a passphrase." },
};

_Static_assert(sizeof sequencing_keys / sizeof sequencing_keys[0] <= CONFIG_KEYS_MAX &&
                   sizeof proxy_keys / sizeof proxy_keys[0] <= CONFIG_KEYS_MAX,
               "lines are kept for that many keys");
_Static_assert((int)CONFIG_SEQUENCERS_MAX <= (int)CONFIG_ITEMS_MAX &&
                   (int)CONFIG_PROXIES_MAX <= (int)CONFIG_ITEMS_MAX,
               "and items");

#define SECTION(title, table, must, where, text)                                                   \
    {                                                                                              \
        .name = (title), .help = (text), .required = (must), .offset = (where), KEYS(table)        \
    }
#define LIST(title, table, must, array, one, text)                                                 \
    {                                                                                              \
        .name = (title), .help = (text), .required = (must), .offset = TOP(array),                 \
        .items_max = sizeof((struct config *)0)->array / sizeof(struct config_##one),              \
        .item_size = sizeof(struct config_##one), .count_offset = TOP(one##_count), KEYS(table)    \
    }

const struct config_section config_sections[CONFIG_SECTIONS] = {
    [CONFIG_TOP] = SECTION(NULL, top_keys, true, 0, NULL),
    [CONFIG_NETWORK] = SECTION("network", network_keys, true, 0,
                               "How the parts hear each other. The same groups for all of them."),
    [CONFIG_IDLING] = SECTION("idle", idle_keys, false, 0, "Latency against electricity."),
    [CONFIG_SEQUENCING] = SECTION("sequencer", sequencing_keys, false, TOP(sequencer),
                                  "How messages are put in order, whichever sequencer leads."),
    [CONFIG_FAILOVER] = SECTION("failover", failover_keys, false, 0,
                                "What happens when the sequencer that leads falls silent."),
    [CONFIG_SEQUENCERS] = LIST("sequencers", sequencer_keys, true, sequencers, sequencer,
                               "The processes that can put messages in order. One leads, the "
                               "others follow and wait to be promoted."),
    [CONFIG_RETRANSMITTERS] =
        LIST("retransmitters", retransmitter_keys, true, retransmitters, retransmitter,
             "The processes that record the stream, one store each."),
    [CONFIG_PROXIES] =
        LIST("proxies", proxy_keys, false, proxies, proxy,
             "The processes that let clients in, over TCP. Any number, none included."),
};

const struct config_word *config_words(enum config_type type)
{
    static const struct config_word idle[] = { { "spin-then-wait", LOOP_IDLE_SPIN_THEN_WAIT },
                                               { "spin", LOOP_IDLE_SPIN },
                                               { "wait", LOOP_IDLE_WAIT },
                                               { NULL, 0 } };
    static const struct config_word sync[] = { { "every", DISK_SYNC_EVERY },
                                               { "none", DISK_SYNC_NONE },
                                               { NULL, 0 } };
    static const struct config_word promotion[] = { { "manual", CONFIG_PROMOTION_MANUAL },
                                                    { "automatic", CONFIG_PROMOTION_AUTOMATIC },
                                                    { NULL, 0 } };
    return type == CONFIG_IDLE        ? idle
           : type == CONFIG_SYNC      ? sync
           : type == CONFIG_PROMOTION ? promotion
                                      : NULL;
}
