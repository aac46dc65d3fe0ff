#include "shell/config_keys.h"

#include <stddef.h>

#define KEYS(table) (uint32_t)(sizeof(table) / sizeof((table)[0])), table

#define TOP(field) offsetof(struct config, field)

static const struct config_key top_keys[] = {
    { "stream", CONFIG_STREAM_ID, true, TOP(stream), 0, 0,
      "The stream's id: 16 hex digits, made by `cantus init`. Never change it: journals carry "
      "it." },
    { "volatile", CONFIG_BOOL, false, TOP(is_volatile), 0, 0,
      "true: a stream without stores, for measuring. Nothing in it is ever stable." },
    { "session", CONFIG_NAME, false, TOP(session), 1, SESSION_NAME_MAX,
      "The session that a sequencer begins when another one runs." },
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

#define SEQ(field) offsetof(struct config_sequencer, field)

static const struct config_key sequencer_keys[] = {
    { "unicast", CONFIG_ADDRESS, true, SEQ(unicast), 0, 0,
      "Where it is asked for recent batches and its status: address and UDP port." },
    { "stream_port", CONFIG_PORT, true, SEQ(stream_port), 1, 65535, "Its TCP port." },
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
      "The first heartbeat follows a message after this time; then they back off." },
    { "heartbeat_idle_ms", CONFIG_U32, false, SEQ(heartbeat_idle_ms), 1, 60000,
      "The longest time between heartbeats." },
    { "pace_mib", CONFIG_U32, false, SEQ(pace_mib), 0, 65536,
      "Emission slows down when the stores lag by this much. 0: half the ring." },
    { "pace_us", CONFIG_U32, false, SEQ(pace_us), 1, 1000000, "Then one batch is sent per this." },
    { "clock_ahead_max_ms", CONFIG_U32, false, SEQ(clock_ahead_max_ms), 1, 86400000,
      "A clock further ahead of the stores' median is refused, because time never goes back." },
};

#define RETR(field) offsetof(struct config_retransmitter, field)

static const struct config_key retransmitter_keys[] = {
    { "name", CONFIG_NAME, true, RETR(name), 1, CONFIG_NAME_MAX, "Its name, for people." },
    { "unicast", CONFIG_ADDRESS, true, RETR(unicast), 0, 0,
      "Where it is asked for gaps: address and UDP port." },
    { "stream_port", CONFIG_PORT, true, RETR(stream_port), 1, 65535,
      "Where it serves bulk replay: its TCP port." },
    { "directory", CONFIG_PATH, true, RETR(directory), 1, CONFIG_PATH_MAX,
      "Its journal; relative to this file." },
    { "sync", CONFIG_SYNC, false, RETR(sync), 0, 0,
      "every: acknowledges what is on the disk. none: what is in the page cache, which a host "
      "crash may lose; a process crash loses nothing." },
    { "direct", CONFIG_BOOL, false, RETR(direct), 0, 0,
      "Write past the page cache (O_DIRECT) where the file system can." },
    { "segment_mib", CONFIG_U32, false, RETR(segment_mib), 1, 4096, "Size of a journal file." },
};

_Static_assert(sizeof sequencer_keys / sizeof sequencer_keys[0] <= CONFIG_KEYS_MAX,
               "lines are kept for that many keys");

const struct config_section config_sections[CONFIG_SECTIONS] = {
    [CONFIG_TOP] = { NULL, NULL, 0, KEYS(top_keys) },
    [CONFIG_NETWORK] = { "network",
                         "How the parts hear each other. The same groups for all of them.", 0,
                         KEYS(network_keys) },
    [CONFIG_IDLING] = { "idle", "Latency against electricity.", 0, KEYS(idle_keys) },
    [CONFIG_SEQUENCER] = { "sequencer", "The process that puts messages in order.",
                           offsetof(struct config, sequencer), KEYS(sequencer_keys) },
    [CONFIG_RETRANSMITTER] = { "retransmitters",
                               "The processes that record the stream, one store each.",
                               offsetof(struct config, retransmitters), KEYS(retransmitter_keys) },
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
    return type == CONFIG_IDLE ? idle : type == CONFIG_SYNC ? sync : NULL;
}
