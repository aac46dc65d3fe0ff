"""docs/wire.md once more, as a decoder of captures: what the dissector for Wireshark is compared with. Values come
out as the text that `tshark -T fields` prints, under the names that the dissector's fields have.

Knows whole, right datagrams only, and says ValueError of everything else.
"""

import os
import re
import struct

from cantus_test import SOURCE

TYPES = {1: "batch", 2: "heartbeat", 3: "proposal", 4: "join", 5: "hint", 6: "gap_request", 7: "gap_refusal",
         8: "ack", 9: "seal", 10: "promise", 11: "create", 12: "recall"}
BODIES = {
    "heartbeat": "epoch:E next_seq:Q digest:D stable:Q time_ns:Q epoch_first_seq:Q",
    "join": "nonce:X wanted:I identity:S",
    "hint": "reason:B publisher:I incarnation:I next_publisher_seq:Q nonce:X epoch:E",
    "gap_request": "epoch:E first_seq:Q end_seq:Q nonce:X",
    "gap_refusal": "reason:B first_seq:Q oldest_seq:Q end_seq:Q nonce:X",
    "ack": "store:X run.id:X run.promised:E run.tail:P promised:E tail:P digest:D clock_ns:Q full:B settled:B",
    "seal": "epoch:E probe:B",
    "promise": "store:X run.id:X run.promised:E run.tail:P promised:E asked:E probe:B proven:B tail:P digest:D oldest_seq:Q clock_ns:Q "
               "leader_age_ns:Q fetch_ip:A fetch_port:H stream_port:H members:M",
    "create": "nonce:X publisher:I path:S",
    "recall": "store:X run:X epoch:E promised:E tail:P",
    "proposal": "publisher:I incarnation:I first_publisher_seq:Q position:P zero:I",
    "batch": "before:D first_seq:Q timestamp_ns:Q stable:Q candidate:X number:I zero:I",
    "request": "stream:X first_seq:Q end_seq:Q epoch:E",
    "end": "reason:B oldest_seq:Q next_seq:Q",
    "clients_request": "first:I",
}
RECORDS = {
    1: ("genesis", "stream:X created_ns:Q protocol_version:I is_volatile:B admin_key:K members:M"),
    2: ("epoch", "epoch:E adopted:P digest:D how:B why:S entries:T"),
    3: ("session", "name:S protocol_version:I protocol_digest:X catalog_digest:X"),
    4: ("join_record", "nonce:X last_publisher_seq:Q publisher:I incarnation:I identity:S"),
    5: ("reject", "reason:B topic:I count:I detail:Q"),
    6: ("topic", "path:R"),
    7: ("clock", ""),
    8: ("member", "members:M"),
    9: ("grant", "revoke:B rights:B who:B whom:W subtree:S"),
    10: ("group", "remove:B group:S key:K"),
    11: ("limit", "remove:B who:B limited:L messages_per_s:Q bytes_per_s:Q burst_ms:I topics:I subscriptions:I "
                  "connections:I inflight_bytes:Q"),
    13: ("words", "words:V"),
}
EDGE_TYPES = dict(enumerate(("hello", "prove", "subscribe", "change", "open", "publish", "alive", "who"), 1)) | dict(
    enumerate(("welcome", "accepted", "subscribed", "changed", "epoch", "name", "message", "progress", "opened",
               "outcome", "refused", "forked", "superseded", "closing", "clients"), 16))
# Of the client protocol: Y bytes as has_key says, G subtrees, C a condition, N what is left, 3 and 6 so many bytes.
EDGE_BODIES = {
    "hello": "version:H stream:X has_key:B key:Y agent:S", "prove": "signature:Z",
    "subscribe": "level:B from:B position:P time_ns:Q tick_ms:I mark_seq:Q subtree:G", "change": "add:G remove:G",
    "open": "nonce:X wanted:I known:Q name:S",
    "publish": "publisher:I number:Q position:P flags:B topic:S conditional:B condition:C payload:N", "alive": "", "who": "place:I",
    "welcome": "version:H stream:X challenge:K proxy:S",
    "accepted": "tip:P stable:Q fragment_bytes:I window:I payload_max:I is_volatile:B", "subscribed": "position:P",
    "changed": "seq:Q", "epoch": "epoch:E first_seq:Q", "name": "kind:B id:3 text:S",
    "message": "seq:Q previous:Q timestamp_ns:Q topic:3 publisher:3 publisher_seq:6 flags:B payload:N",
    "progress": "through:Q previous:Q stable:Q timestamp_ns:Q",
    "opened": "publisher:I incarnation:I last_number:Q join_seq:Q items:Q unknown_through:Q",
    "outcome": "publisher:I number:Q count:I seq:Q reason:B detail:Q stable:Q",
    "refused": "request:B reason:B right:B publisher:I number:Q subject:S text:S", "forked": "common:P",
    "superseded": "publisher:I incarnation:I join_seq:Q", "closing": "reason:B text:S",
}
FRAMES = {1: "request", 2: "batch", 3: "vouch", 4: "end", 5: "status_request", 6: "status", 7: "command",
          8: "outcome", 9: "clients_request", 10: "clients"}


class Decoder:
    def __init__(self):
        self.found = []  # (field, text), in order

    def add(self, field, text):
        self.found.append(("cantus." + field, text))

    def number(self, data, at, letter, field):
        size = struct.calcsize("<" + letter)
        if at + size > len(data):
            raise ValueError(field)
        self.add(field, str(struct.unpack_from("<" + letter, data, at)[0]))
        return at + size

    def parts(self, data, at, prefix, spec):
        for item in spec.split():
            name, kind = item.split(":")
            at = self.part(data, at, prefix + name, kind)
        return at

    def part(self, data, at, field, kind):
        if kind in "BHIQ":
            return self.number(data, at, kind, field)
        if kind == "X":
            self.add(field, f"0x{int.from_bytes(data[at:at + 8], 'little'):016x}")
            return at + 8
        if kind == "A":
            self.add(field, ".".join(str(b) for b in reversed(data[at:at + 4])))
            return at + 4
        if kind == "K":
            self.add(field, data[at:at + 32].hex())
            return at + 32
        if kind in "SR":
            length = data[at] if kind == "S" else len(data) - at
            at += kind == "S"
            self.add(field, data[at:at + length].decode())
            return at + length
        if kind in "36":
            self.add(field, str(int.from_bytes(data[at:at + int(kind)], "little")))
            return at + int(kind)
        if kind == "Z":
            self.add(field, data[at:at + 64].hex())
            return at + 64
        if kind == "N":
            if data[at:]:
                self.add(field, data[at:].hex())
            return len(data)
        if kind in "YC":  # if the bool before says so
            if data[at - 1] == 0:
                return at
            if kind == "Y":
                return self.part(data, at, field, "K")
            return self.part(data, self.part(data, at, field + "_topic", "S"), field + "_after", "Q")
        if kind == "G":
            count, at = struct.unpack_from("<H", data, at)[0], at + 2
            for _ in range(count):
                at = self.part(data, at, field, "S")
            return at
        if kind in "WL":  # whom a grant or a limit is for: as the byte before says
            who = data[at - 1]
            prefix = field.rpartition(".")[0]
            if who == 2:
                return self.part(data, at, prefix + ".key", "K")
            return self.part(data, at, prefix + (".group" if kind == "W" else ".subtree"), "S") if who == 3 else at
        if kind == "M":
            at = self.parts(data, at, field + ".", "seq:Q quorum:I count:B")
            return self.parts(data, at, field + ".", "store:X " * data[at - 1])
        if kind == "V":
            count = data[at]
            at = self.parts(data, at, field + ".", "count:B")
            return self.parts(data, at, field + ".", "store:X run:X promised:E tail:P " * count)
        if kind == "T":
            count = data[at]
            at = self.parts(data, at, field + ".", "count:B")
            return self.parts(data, at, field + ".", "epoch:E first_seq:Q before:D " * count)
        return self.parts(data, at, field + ".", {"E": "number:I candidate:X", "D": "low:X high:X",
                                                  "P": "epoch.number:I epoch.candidate:X seq:Q"}[kind])

    def envelope(self, data, at, part):
        head, topic = struct.unpack_from("<H", data, at)[0], int.from_bytes(data[at + 2:at + 5], "little")
        self.add(part + ".length", str(head & 0x3fff))
        self.add(part + ".more", str(head >> 14 & 1))
        self.add(part + ".fragment", str(head >> 15))
        self.add(part + ".topic", str(topic))
        return at + 5, head & 0x3fff, topic

    def payload(self, data, at, part, length, topic):
        payload = data[at:at + length]
        if len(payload) != length:
            raise ValueError("payload")
        if length:
            self.add(part + ".payload", payload.hex())
        if part == "message" and topic in RECORDS and length:
            name, spec = RECORDS[topic]
            if self.parts(payload, 0, name + ".", spec) != length:
                raise ValueError(name)
        return at + length

    def messages(self, data, at, count, seq):
        for i in range(count):
            self.add("message.seq", str(seq + i))
            at, length, topic = self.envelope(data, at, "message")
            self.add("message.publisher", str(int.from_bytes(data[at:at + 3], "little")))
            self.add("message.publisher_seq", str(int.from_bytes(data[at + 3:at + 9], "little")))
            at = self.payload(data, at + 9, "message", length, topic)
        if any(data[at:]):
            raise ValueError("padding")
        return len(data)

    def entries(self, data, at, count, number):
        for i in range(count):
            self.add("entry.publisher_seq", str(number + i))
            at, length, topic = self.envelope(data, at, "entry")
            conditional = data[at]
            at = self.parts(data, at, "entry.", "conditional:B")
            if conditional:
                at = self.parts(data, at, "entry.", "condition_topic:I after_seq:Q")
            at = self.payload(data, at, "entry", length, topic)
        return at

    def datagram(self, data):
        magic, version, type, length, count, _ = struct.unpack_from("<HBBHHQ", data)
        if magic != 0x7443 or version != 1 or length != len(data):
            raise ValueError("head")
        name = TYPES[type]
        self.parts(data, 2, "", "version:B type:B length:H count:H stream:X")
        if name == "batch":
            at = self.parts(data, 16, "", "digest:D")
            at = self.parts(data, at, "batch.", BODIES[name])
            at = self.messages(data, at, count, struct.unpack_from("<Q", data, 48)[0])
        else:
            at = self.parts(data, 16, "", "checksum:X")
            at = self.parts(data, at, name + ".", BODIES[name])
            if name == "proposal":
                at = self.entries(data, at, count, struct.unpack_from("<Q", data, 32)[0])
        if at != len(data):
            raise ValueError(name)

    def frame(self, data):
        """From the length field on."""
        self.number(data, 0, "I", "frame.length")
        self.number(data, 4, "B", "frame.type")
        name, body = FRAMES[data[4]], data[5:]
        if name in ("batch", "vouch"):
            self.datagram(body)
        elif name in BODIES:
            if self.parts(body, 0, name + ".", BODIES[name]) != len(body):
                raise ValueError(name)
        elif name in ("status", "command", "outcome", "clients"):
            self.protobuf(body, name.capitalize())

    def edge(self, data):
        """A frame of the client protocol, from the length field on."""
        self.number(data, 0, "I", "edge.length")
        self.number(data, 4, "B", "edge.type")
        name, body = EDGE_TYPES[data[4]], data[5:]
        if name == "clients":
            self.protobuf(body, "Clients")
            return
        if self.parts(body, 0, f"edge_{name}.", EDGE_BODIES[name]) != len(body):
            raise ValueError(name)

    def protobuf(self, data, message):
        at = 0

        def varint():
            nonlocal at
            value = shift = 0
            while True:
                byte = data[at]
                at += 1
                value |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    return value
        while at < len(data):
            key = varint()
            kind, name = CONTROL[message][key >> 3]
            field = f"{message.lower()}.{name}"
            if key & 7 == 0:
                self.add(field, str(varint()))
            elif key & 7 == 1:
                self.part(data, at, field, "X")
                at += 8
            elif key & 7 == 5:
                self.add(field, f"0x{int.from_bytes(data[at:at + 4], 'little'):08x}")
                at += 4
            else:
                length = varint()
                inner, at = data[at:at + length], at + length
                if kind == "string":
                    self.add(field, inner.decode())
                elif kind == "bytes":
                    self.add(field, inner.hex())
                else:
                    self.protobuf(inner, kind)


def control():
    """The messages of proto/control.proto: {message: {number: (kind, name)}}."""
    with open(os.path.join(SOURCE, "proto", "control.proto"), encoding="utf-8") as f:
        text = f.read()
    return {message: {int(number): (kind, name) for kind, name, number in
                      re.findall(r"(?:required|optional|repeated) (\w+) (\w+) = (\d+);", body)}
            for message, body in re.findall(r"(?ms)^message (\w+) \{(.*?)^\}", text)}


CONTROL = control()


def segments(payload):
    """The datagrams of a packet: more than one if segmentation offload is between sender and capture."""
    at = 0
    while at < len(payload):
        length = struct.unpack_from("<H", payload, at + 4)[0] if len(payload) - at >= 16 else 0
        if length < 16 or at + length > len(payload):
            raise ValueError("segment")
        yield payload[at:at + length]
        at += length


# ---- captures ------------------------------------------------------------------------------------

class Packet:
    """IPv4 with UDP or TCP. `flow`: source and destination, each with its port."""

    def __init__(self, ip):
        at = (ip[0] & 15) * 4
        ip = ip[:struct.unpack_from(">H", ip, 2)[0] or len(ip)]
        source, destination = struct.unpack_from(">HH", ip, at)
        self.udp = ip[9] == 17
        self.flow = (".".join(str(b) for b in ip[12:16]), source, ".".join(str(b) for b in ip[16:20]),
                     destination)
        if self.udp:
            self.payload = ip[at + 8:]
        else:
            self.sequence, self.syn = struct.unpack_from(">I", ip, at + 4)[0], bool(ip[at + 13] & 2)
            self.payload = ip[at + (ip[at + 12] >> 4) * 4:]


def read_pcap(path):
    """Packets in order, None where it is neither."""
    with open(path, "rb") as f:
        data = f.read()
    magic, link = struct.unpack_from("<I", data)[0], struct.unpack_from("<I", data, 20)[0]
    assert magic in (0xa1b2c3d4, 0xa1b23c4d), hex(magic)
    at, out = 24, []
    while at < len(data):
        captured = struct.unpack_from("<I", data, at + 8)[0]
        frame = data[at + 16:at + 16 + captured]
        at += 16 + captured
        skip, kind = (14, frame[12:14]) if link == 1 else (0, b"\x08\x00")
        out.append(Packet(frame[skip:]) if kind == b"\x08\x00" and frame[skip + 9] in (6, 17) else None)
    return out


def write_pcap(path, payloads, protocol=17, port=20123):
    """UDP datagrams, each from an address of its own, or the one segment of a TCP connection."""
    with open(path, "wb") as f:
        f.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 262144, 101))
        for i, payload in enumerate(payloads):
            if protocol == 17:
                head = struct.pack(">HHHH", port, port, 8 + len(payload), 0)
            else:
                head = struct.pack(">HHIIBBHHH", port, port, 1, 1, 0x50, 0x18, 65535, 0, 0)
            ip = struct.pack(">BBHHHBBHII", 0x45, 0, 20 + len(head) + len(payload), 0, 0, 64, protocol, 0,
                             0x0a000001 + i, 0x7f000001)
            packet = ip + head + payload
            f.write(struct.pack("<IIII", i, 0, len(packet), len(packet)) + packet)


def streams(packets):
    """The bytes of each direction of each connection, in order: {flow: bytes}."""
    out, expected = {}, {}
    for p in packets:
        if p is None or p.udp:
            continue
        if p.syn or p.flow not in expected:
            expected[p.flow] = (p.sequence + p.syn) & 0xffffffff
            out.setdefault(p.flow, bytearray())
        if not p.payload:
            continue
        if p.sequence == expected[p.flow]:
            out[p.flow] += p.payload
            expected[p.flow] = (p.sequence + len(p.payload)) & 0xffffffff
        elif (p.sequence - expected[p.flow]) & 0x80000000 == 0:
            raise ValueError(f"a hole in the capture of {p.flow}")
    return out


def frames(data):
    """Whole ones; what follows the last of them was not sent whole."""
    at = 0
    while at + 4 <= len(data):
        length = struct.unpack_from("<I", data, at)[0]
        if at + 4 + length > len(data):
            return
        yield bytes(data[at:at + 4 + length])
        at += 4 + length
