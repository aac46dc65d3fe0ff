#!/usr/bin/env python3
"""A client of Cantus' proxies, in Python's standard library alone: what docs/wire.md, section 10, takes.

    cantus_edge.py --proxy HOST:PORT[,HOST:PORT...] [--key FILE] sub SUBTREE... [--from SEQ] [--stable]
    cantus_edge.py --proxy HOST:PORT --key FILE pub TOPIC TEXT...
    cantus_edge.py --proxy tls:HOST:PORT [--ca FILE] ...

As a library:

    client = Client([("127.0.0.1", 7000)], seed=read_key("team.key"))
    client.subscribe(["/team"])
    for event in client.events():
        if isinstance(event, Message):
            print(event.seq, event.topic, event.payload)

One connection at a time, one thread. When the connection is lost, or what comes over it does not add up, the
next proxy goes on behind the last position. What is published is in the stream exactly once, whatever breaks.
"""

import argparse
import base64
import dataclasses
import hashlib
import hmac
import os
import random
import re
import select
import socket
import ssl
import struct
import sys
import time

import ed25519

VERSION = 1
FRAME_MAX = (1 << 20) + 2048
SEQUENCED, STABLE = 1, 2
FROM_TIP, FROM_POSITION, FROM_TIME = 1, 2, 3
MORE = 1  # a message's flag: its group goes on
BLOCK, NAMES_MAX = 4096, 3 * 4096  # names that may be known at a time
FIRST_UNKNOWN = 1 << 64  # of an epoch
PAYLOAD_MAX = 1 << 20
NOTHING_SENT = (1 << 64) - 1  # of an OPEN: no rejects are to be told
ALIVE_S, DEAD_S, LOGIN_S, REST_MAX_S = 15, 60, 15, 5

(HELLO, PROVE, SUBSCRIBE, CHANGE, OPEN, PUBLISH, ALIVE) = range(1, 8)
(WELCOME, ACCEPTED, SUBSCRIBED, CHANGED, EPOCH, NAME, MESSAGE, PROGRESS, OPENED, OUTCOME, REFUSED, FORKED,
 SUPERSEDED, CLOSING) = range(16, 30)
REFUSALS = ("", "not permitted", "not a well-formed name", "not the next number", "over a quota", "too large",
            "not now", "history is not kept so far back")
RIGHTS = {1: "read", 2: "write", 4: "grant"}
REFUSED_QUOTA, CLOSING_IDENTITY = 4, 2
PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~:-]+){1,16}")


class Refused(Exception):
    """The proxy's no, for good: waiting or another proxy would not change it."""


class Superseded(Exception):
    """Another process publishes under our name."""


class Broken(Exception):
    """The connection is lost, or what came over it does not add up."""


# ---- what is read ------------------------------------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class Position:
    number: int = 0     # of the epoch
    candidate: int = 0
    seq: int = 0

    def encode(self):
        return struct.pack("<IQQ", self.number, self.candidate, self.seq)


@dataclasses.dataclass(frozen=True)
class Message:
    seq: int
    timestamp_ns: int
    topic: str
    publisher: str      # "" for the sequencer
    publisher_seq: int
    more: bool          # the group goes on
    payload: bytes


@dataclasses.dataclass(frozen=True)
class Progress:
    """Everything through this seq was handed over."""
    through: int
    stable: int
    timestamp_ns: int


@dataclasses.dataclass(frozen=True)
class Forked:
    """What was handed over behind this seq no longer holds; what holds comes next."""
    seq: int


@dataclasses.dataclass(frozen=True)
class Changed:
    """The subtrees that were changed to count from this seq on."""
    seq: int


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Of an item of ours: sequenced at seq, or rejected there for this reason. seq None: sequenced, and where
    was not told, because a connection was lost. Reason None: it may have been rejected, too long ago to be told."""
    index: int          # of the item, as publish counts them
    seq: int
    reason: int | None = 0


# ---- bytes -------------------------------------------------------------------------------------------------

def string(text):
    raw = text.encode() if isinstance(text, str) else text
    if len(raw) > 255 or 0 in raw:
        raise ValueError(f"not a string of the protocol: {text!r}")
    return bytes([len(raw)]) + raw


def checked(path, subtree=False):
    """A topic, or a subtree: a proxy ends the connection for one that is not well-formed."""
    if (PATH.fullmatch(path) is None or len(path) > 255) and not (subtree and path == "/"):
        raise ValueError(f"{path!r} is no {'subtree' if subtree else 'topic'}: that is 1 to 16 times a / and some of "
                         "A-Z a-z 0-9 . _ - ~ :")
    return path


def frame(kind, body=b""):
    return struct.pack("<IB", 1 + len(body), kind) + body


def encode_hello(stream, key, agent):
    return frame(HELLO, struct.pack("<HQB", VERSION, stream, key is not None) + (key or b"") + string(agent))


def encode_subtrees(subtrees):
    return struct.pack("<H", len(subtrees)) + b"".join(string(s) for s in subtrees)


def encode_subscribe(level, start, position, time_ns, tick_ms, subtrees):
    return frame(SUBSCRIBE, struct.pack("<BB", level, start) + position.encode() +
                 struct.pack("<QIQ", time_ns, tick_ms, 0) + encode_subtrees(subtrees))


def encode_change(add, remove):
    return frame(CHANGE, encode_subtrees(add) + encode_subtrees(remove))


def encode_open(name, nonce, wanted, known=NOTHING_SENT):
    return frame(OPEN, struct.pack("<QIQ", nonce, wanted, known) + string(name))


def encode_publish(publisher, number, position, topic, payload, condition=None, flags=0):
    """A condition is (topic, seq): only if that topic has nothing after that seq."""
    conditional = b"\0" if condition is None else b"\1" + string(condition[0]) + struct.pack("<Q", condition[1])
    return frame(PUBLISH, struct.pack("<IQ", publisher, number) + position.encode() + bytes([flags]) +
                 string(topic) + conditional + payload)


def signed_bytes(stream, challenge, key, proxy, binding=bytes(32)):
    """What PROVE signs. The binding is the TLS exporter's value; zeros without TLS."""
    return (b"cantus login 1\0\0" + struct.pack("<Q", stream) + challenge + key + binding +
            proxy.ljust(64, b"\0"))


class Reader:
    """A body's fields, one after the other."""

    def __init__(self, body):
        self.body, self.at = body, 0

    def take(self, size):
        if size > len(self.body) - self.at:
            raise Broken("a frame is too short")
        self.at += size
        return self.body[self.at - size:self.at]

    def fields(self, layout):
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))

    def number(self, size):
        return int.from_bytes(self.take(size), "little")

    def string(self):
        return self.take(self.take(1)[0])

    def text(self):
        return self.string().decode("utf-8", "replace")

    def position(self):
        return Position(*self.fields("IQQ"))

    def rest(self):
        return self.take(len(self.body) - self.at)

    def done(self):
        if self.at != len(self.body):
            raise Broken("a frame is too long")


def read_key(path):
    """A file of `cantus key new`: the seed in hex."""
    with open(path, "rb") as file:
        text = file.read(66).strip()
    if re.fullmatch(b"[0-9a-fA-F]{64}", text) is None:
        raise ValueError(f"{path} is no key: it should be 64 hex digits, as `cantus key new` writes them")
    return bytes.fromhex(text.decode())


# ---- publishing --------------------------------------------------------------------------------------------

@dataclasses.dataclass
class Item:
    index: int
    topic: str
    payload: bytes
    condition: tuple
    number: int = 0     # its first
    count: int = 1      # numbers that it takes
    seq: int = None     # of its outcome; None: under way


class Publisher:
    """A name of our key. What is published is kept until it is stable, and sent again over another connection
    unless it is in the stream."""

    def __init__(self, client, name):
        self.client, self.name = client, name
        self.nonce = random.SystemRandom().getrandbits(64)
        self.id = self.incarnation = 0
        self.opened = False         # over this connection
        self.items = []             # in the order of their numbers
        self.sent = 0               # so many of them over this connection
        self.last = 0               # number in the stream, when it was opened last or stable since
        self.published = 0
        self.rejected = []          # told in front of OPENED: first number, behind the last, seq, reason

    def known(self):
        """Rejects through this number were heard of, and no fork takes them back."""
        if self.incarnation == 0:
            return NOTHING_SENT
        return self.items[0].number - 1 if self.items and self.items[0].number else self.last

    def publish(self, topic, payload, condition=None):
        """The index of the item, which its outcome will name."""
        checked(topic)
        if condition is not None:
            checked(condition[0])
        self.published += 1
        self.items.append(Item(self.published, topic, bytes(payload), condition))
        return self.published

    def waiting(self):
        return sum(item.seq is None for item in self.items)

    def on_opened(self, reader):
        identity, incarnation, last, _, _, unknown_through = reader.fields("IIQQQQ")
        reader.done()
        if self.id not in (0, identity):
            raise Broken(f"it opens publisher {identity}, and {self.name} is publisher {self.id}")
        if identity == 0 or incarnation <= self.incarnation:
            raise Broken(f"it opens incarnation {incarnation} of {self.name} behind {self.incarnation}")
        fresh, self.id, self.incarnation, self.last = self.id == 0, identity, incarnation, last
        self.nonce = random.SystemRandom().getrandbits(64)  # for the next one
        self.opened = True
        self.sent = 0
        for item in self.items:
            if not fresh and item.number != 0 and item.number <= last:
                self.sent += 1
                if item.seq is None:
                    item.seq = 0
                    self.client.tell(self.missed(item, unknown_through))
        self.rejected.clear()

    def missed(self, item, unknown_through):
        """The outcome that was not told when it came: sequenced, unless it is said to have been rejected."""
        for first, end, seq, reason in self.rejected:
            if item.number < end and first < item.number + item.count:
                return Outcome(item.index, seq, reason)
        return Outcome(item.index, None, None if item.number <= unknown_through else 0)

    def on_outcome(self, number, count, seq, reason):
        if not self.opened:
            self.rejected.append((number, number + count, seq, reason))
            return
        for item in self.items:
            if item.number != 0 and item.seq is None:
                break
        else:
            return  # told by a later OPENED
        if number + count <= item.number:
            return
        if number != item.number or count < item.count:
            raise Broken(f"an outcome out of turn: of {count} numbers from {number} on, where number {item.number} "
                         f"is the next, which takes {item.count}")
        item.seq = seq
        self.client.tell(Outcome(item.index, seq, reason))

    def on_stable(self, stable):
        while self.items and self.items[0].seq is not None and self.items[0].seq <= stable:
            item = self.items.pop(0)
            self.last = max(self.last, item.number + item.count - 1)
            self.sent = max(0, self.sent - 1)

    def on_forked(self, seq):
        for item in self.items:
            if item.seq is not None and item.seq > seq:
                item.seq = None  # the proxy sends it again

    def lost(self):
        self.opened = False
        self.sent = 0
        self.rejected.clear()

    def send(self):
        """Numbers go on behind the last of the stream, or of the item before."""
        if not self.opened:
            return
        number = self.last + 1
        flying = sum(item.count for item in self.items[:self.sent] if item.seq is None)
        if self.sent > 0:
            number = max(number, self.items[self.sent - 1].number + self.items[self.sent - 1].count)
        for item in self.items[self.sent:]:
            item.count = max(1, -(-len(item.payload) // self.client.fragment_bytes))
            if flying + item.count > self.client.window:
                return
            item.number = number
            self.client.say(encode_publish(self.id, number, Position(), item.topic, item.payload,
                                           item.condition))
            self.sent += 1
            flying += item.count
            number += item.count


# ---- TLS ---------------------------------------------------------------------------------------------------

def expand_label(digest, secret, label, context):
    """HKDF-Expand-Label of RFC 8446, of one block at most."""
    label = b"tls13 " + label
    size = hashlib.new(digest).digest_size
    info = struct.pack(">H", size) + bytes([len(label)]) + label + bytes([len(context)]) + context
    return hmac.digest(secret, info + b"\1", digest)


class Tls:
    """TLS 1.3 over a connected socket. The ssl module does not tell the exporter's value (RFC 9266), but it
    writes the secret that it comes from to a log, which is a file in memory here."""

    def __init__(self, sock, host, ca_file=None):
        log = os.memfd_create("exporter", os.MFD_CLOEXEC)
        try:
            context = ssl.create_default_context(cafile=ca_file)
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.set_alpn_protocols(["cantus"])
            context.keylog_filename = f"/proc/self/fd/{log}"
            self.sock = context.wrap_socket(sock, server_hostname=host)
            with os.fdopen(os.dup(log), "rb") as file:
                file.seek(0)
                secrets = dict(line.split()[::2] for line in file if not line.startswith(b"#"))
        finally:
            os.close(log)
        secret = bytes.fromhex(secrets[b"EXPORTER_SECRET"].decode())
        digest = "sha384" if self.sock.cipher()[0].endswith("SHA384") else "sha256"
        nothing = hashlib.new(digest).digest()
        derived = expand_label(digest, secret, b"EXPORTER-Channel-Binding", nothing)
        info = struct.pack(">H", 32) + b"\x0etls13 exporter" + bytes([len(nothing)]) + nothing
        self.binding = hmac.digest(derived, info + b"\1", digest)[:32]


# ---- the connection ----------------------------------------------------------------------------------------

class Client:
    def __init__(self, proxies, seed=None, agent="cantus_edge.py", log=None, tls=False, ca_file=None):
        self.tls, self.ca_file = tls, ca_file
        self.proxies, self.seed, self.agent = list(proxies), seed, agent
        self.key = ed25519.public_key(seed) if seed else None
        self.log = log or (lambda text: None)
        self.next_proxy = random.randrange(len(self.proxies))
        self.stream = 0
        self.level, self.start, self.time_ns, self.tick_ms = SEQUENCED, FROM_TIP, 0, 5000
        self.subtrees = []
        self.publishers = []
        self.told = []              # events for the caller
        self.position = Position()  # everything through here was handed over
        self.stable = 0
        self.failures = 0
        self.connects = 0           # how often it was let in
        self.sock = None
        self.refused_identity = 0
        self.volatile = None        # not known yet
        self.forget()

    def forget(self):
        """What belongs to a connection."""
        if self.sock is not None:
            self.sock.close()
        self.sock = None
        self.received, self.unsent = bytearray(), bytearray()
        self.state = "hello"
        self.opening = None
        self.subscribed = False
        self.changing = 0           # CHANGEs without an answer
        self.names = {}
        self.epoch = (self.position.number, self.position.candidate)
        self.epoch_first_seq = 0    # of it; 0: it began in front of the position; what is below is of
        self.epoch_before, self.before_first_seq = self.epoch, 0
        self.last, self.covered, self.boundary = 0, False, None
        self.timestamp_ns = 0
        for publisher in self.publishers:
            publisher.lost()

    def close(self):
        self.forget()

    # ---- what the caller wants ------------------------------------------------------------------------------

    def subscribe(self, subtrees, level=SEQUENCED, position=None, time_ns=None, tick_ms=5000):
        """Before the first event. From the tip; or behind a position; Position() is the beginning; or at a time.
        tick_ms is how often there is a Progress at least, in the stream's time."""
        self.subtrees, self.level, self.tick_ms = [checked(s, True) for s in subtrees], level, tick_ms
        if position is not None:
            self.start, self.position = FROM_POSITION, position
        elif time_ns is not None:
            self.start, self.time_ns = FROM_TIME, time_ns

    def change(self, add=(), remove=()):
        """While it runs: Changed tells from which seq on. If the connection is lost before, the next one asks for the
        new set from where we are."""
        add, remove = [checked(s, True) for s in add], [checked(s, True) for s in remove]
        self.subtrees = [s for s in self.subtrees if s not in remove] + [s for s in add if s not in self.subtrees]
        if self.subscribed:
            self.say(encode_change(list(add), list(remove)))
            self.changing += 1

    def publisher(self, name):
        self.publishers.append(Publisher(self, name))
        return self.publishers[-1]

    def events(self, timeout_s=None):
        """Messages, progress, forks and outcomes as they come, for ever, or until nothing came for so long."""
        quiet_since = time.monotonic()
        while True:
            if self.told:
                quiet_since = time.monotonic()
                yield self.told.pop(0)
                continue
            if timeout_s is not None and time.monotonic() - quiet_since >= timeout_s:
                return
            self.work(1.0 if timeout_s is None else min(1.0, timeout_s))

    def publish_all(self, publisher):
        """Until everything has an outcome; those of what was rejected."""
        rejected = []
        while publisher.waiting() > 0 or self.told:
            if not self.told:
                self.work(1.0)
            rejected += [e for e in self.told if isinstance(e, Outcome) and e.reason != 0]
            self.told.clear()
        return rejected

    # ---- rounds ---------------------------------------------------------------------------------------------

    def work(self, timeout_s):
        """One round. Connects if need be."""
        try:
            if self.sock is None:
                self.connect()
            self.ask()
            self.exchange(timeout_s)
        except (Broken, OSError) as why:
            host, port = self.proxies[self.next_proxy - 1]
            self.log(f"proxy {host}:{port}: {why}")
            self.failures += 1
            self.forget()
            rounds = max(0, self.failures // len(self.proxies) - 1)
            if self.failures > 1:
                time.sleep(random.uniform(0.5, 1.5) * min(REST_MAX_S, 0.05 * 2**min(rounds, 10)))

    def connect(self):
        host, port = self.proxies[self.next_proxy]
        self.next_proxy = (self.next_proxy + 1) % len(self.proxies)
        self.sock = socket.create_connection((host, port), LOGIN_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.binding = bytes(32)
        if self.tls:
            secured = Tls(self.sock, host, self.ca_file)
            self.sock, self.binding = secured.sock, secured.binding
        self.sock.setblocking(False)
        self.heard_s = self.said_s = self.began_s = time.monotonic()
        self.say(encode_hello(self.stream, self.key, self.agent))

    def say(self, raw):
        self.unsent += raw

    def tell(self, event):
        self.told.append(event)

    def ask(self):
        """What can be asked for now. One OPEN at a time: OPENED does not repeat the name."""
        now = time.monotonic()
        if self.state != "open" and now - self.began_s > LOGIN_S:
            raise Broken("it does not let us in")
        if now - self.heard_s > DEAD_S:
            raise Broken("nothing was heard for a minute")
        if self.state != "open":
            return
        if not self.unsent and now - self.said_s > ALIVE_S:
            self.say(frame(ALIVE))
        if not self.subscribed:
            return
        for publisher in self.publishers:
            if not publisher.opened and self.opening is None:
                self.opening = publisher
                wanted = publisher.incarnation + 1 if publisher.incarnation else 0
                self.say(encode_open(publisher.name, publisher.nonce, wanted, publisher.known()))
            publisher.send()

    def exchange(self, timeout_s):
        held = self.tls and self.sock.pending() > 0  # select does not know of what TLS has taken in
        readable, writable, _ = select.select([self.sock], [self.sock] if self.unsent else [], [],
                                              0 if held else timeout_s)
        if writable:
            try:
                sent = self.sock.send(self.unsent)
            except ssl.SSLWantWriteError:
                sent = 0
            del self.unsent[:sent]
            self.said_s = time.monotonic()
        if readable or held:
            try:
                got = self.sock.recv(1 << 18)
            except ssl.SSLWantReadError:
                return
            if not got:
                raise Broken("the connection was lost")
            self.heard_s = time.monotonic()
            self.received += got
            self.take_frames()

    def take_frames(self):
        at = 0
        while len(self.received) - at >= 5:
            length, kind = struct.unpack_from("<IB", self.received, at)
            if self.state == "hello" and self.received[:2] == b"\x15\x03":
                raise Broken("it wants TLS: tls:HOST:PORT")
            if length == 0 or length > FRAME_MAX:
                raise Broken("that is no frame")
            if len(self.received) - at < 4 + length:
                break
            reader = Reader(bytes(self.received[at + 5:at + 4 + length]))
            at += 4 + length
            self.on_frame(kind, reader)
        del self.received[:at]

    def on_frame(self, kind, reader):
        handler = {WELCOME: self.on_welcome, ACCEPTED: self.on_accepted, SUBSCRIBED: self.on_subscribed,
                   CHANGED: self.on_changed, EPOCH: self.on_epoch, NAME: self.on_name, MESSAGE: self.on_message,
                   PROGRESS: self.on_progress, OPENED: self.on_opened, OUTCOME: self.on_outcome,
                   REFUSED: self.on_refused, FORKED: self.on_forked, SUPERSEDED: self.on_superseded,
                   CLOSING: self.on_closing, ALIVE: Reader.done}.get(kind)
        if handler is None or (self.state != "open" and kind not in (WELCOME, ACCEPTED, CLOSING)):
            raise Broken(f"a frame of type {kind} is not what comes next")
        handler(reader)

    # ---- login ----------------------------------------------------------------------------------------------

    def on_welcome(self, reader):
        version, stream = reader.fields("HQ")
        challenge, proxy = reader.take(32), reader.string()
        reader.done()
        if self.state != "hello" or version != VERSION or self.stream not in (0, stream):
            raise Broken("it speaks another version, or of another stream")
        self.stream = stream
        self.state = "prove"
        if self.key is not None:
            signature = ed25519.sign(self.seed, signed_bytes(stream, challenge, self.key, proxy,
                                                                 self.binding))
            self.say(frame(PROVE, signature))

    def on_accepted(self, reader):
        tip = reader.position()
        (stable, self.fragment_bytes, self.window, self.payload_max, volatile) = reader.fields("QIIIB")
        reader.done()
        if self.state != "prove":
            raise Broken("an ACCEPTED that was not asked for")
        if tip.seq == 0 or tip.number == 0:
            raise Broken("it says that our login has no place in the stream")
        if (not 0 < self.fragment_bytes <= PAYLOAD_MAX or self.window == 0 or self.payload_max > PAYLOAD_MAX or
                volatile > 1):
            raise Broken(f"its limits can't be: fragments of {self.fragment_bytes} bytes, a window of {self.window}, "
                         f"payloads of {self.payload_max}, volatile {volatile}")
        if self.volatile not in (None, volatile):
            raise Broken("it says that the stream is volatile, and was told before that it is not, or the reverse")
        self.volatile = volatile
        if volatile and self.level == STABLE:
            raise Refused("nothing in this stream is ever stable")
        self.state = "open"
        self.connects += 1
        self.failures = self.refused_identity = 0
        self.on_stable(stable)
        self.say(encode_subscribe(self.level, self.start, self.position, self.time_ns, self.tick_ms,
                                  self.subtrees))

    # ---- the stream -----------------------------------------------------------------------------------------

    def on_subscribed(self, reader):
        position = reader.position()
        reader.done()
        if self.subscribed:
            raise Broken("a second SUBSCRIBED")
        if self.start == FROM_POSITION:
            if position.seq > self.position.seq:
                raise Broken(f"it begins behind {position.seq}, and we have everything through {self.position.seq}")
            if position.seq == self.position.seq and position != self.position:
                raise Broken(f"it begins behind {position.seq} of another epoch than ours, and has told no fork")
            if position.seq < self.position.seq:
                self.go_back(position)
        self.subscribed = True
        self.position, self.start = position, FROM_POSITION
        self.epoch = (position.number, position.candidate)
        self.epoch_first_seq = 0
        self.last, self.covered, self.boundary = 0, False, position.seq

    def on_changed(self, reader):
        (seq,) = reader.fields("Q")
        reader.done()
        if self.changing == 0:
            raise Broken("a CHANGED that was not asked for")
        if seq <= self.position.seq:
            raise Broken(f"it changes what comes from {seq} on, and we have everything through {self.position.seq}")
        self.changing -= 1
        self.go_to(seq - 1)
        self.last, self.covered, self.boundary = 0, False, seq - 1
        self.tell(Changed(seq))

    def on_epoch(self, reader):
        number, candidate, first_seq = reader.fields("IQQ")
        reader.done()
        if (number, candidate) == self.epoch:
            if self.epoch_first_seq == FIRST_UNKNOWN:
                self.epoch_first_seq = first_seq
            return
        if number == self.epoch[0]:
            raise Broken(f"it names another candidate of epoch {number}")
        if number < self.epoch[0]:
            raise Broken(f"it goes back from epoch {self.epoch[0]} to {number}")
        if first_seq <= self.position.seq:
            raise Broken(f"it begins epoch {number} at {first_seq}, and we have everything through "
                         f"{self.position.seq}")
        self.epoch_before, self.before_first_seq = self.epoch, self.epoch_first_seq
        self.epoch, self.epoch_first_seq = (number, candidate), first_seq

    def on_name(self, reader):
        kind, number = reader.number(1), reader.number(3)
        text = reader.text()
        reader.done()
        self.names[kind, number] = text
        if kind not in (1, 2) or len(self.names) > NAMES_MAX:
            raise Broken("a name of neither a topic nor a publisher, or more names than a block has")

    def check_previous(self, previous):
        """Whether nothing is missing: docs/wire.md, "What a client must check"."""
        begun = self.boundary is not None and previous <= self.boundary
        if not begun and previous != self.last and not (previous == 0 and self.covered):
            raise Broken(f"messages are missing: behind {self.last}, {previous} is named")
        self.boundary = None

    def go_to(self, seq):
        """What ends a block may come behind the EPOCH that follows its seq; of what is further back the epoch is
        not known any more."""
        if seq > self.position.seq and seq >= self.epoch_first_seq:
            self.position = Position(*self.epoch, seq)
        elif seq > self.position.seq and seq >= self.before_first_seq:
            self.position = Position(*self.epoch_before, seq)

    def on_message(self, reader):
        seq, previous, timestamp_ns = reader.fields("QQQ")
        topic, publisher, number = reader.number(3), reader.number(3), reader.number(6)
        flags, payload = reader.number(1), reader.rest()
        if seq <= self.position.seq or timestamp_ns < self.timestamp_ns:
            raise Broken(f"message {seq} of {timestamp_ns} comes again, or goes back in time: we have everything "
                         f"through {self.position.seq}, of {self.timestamp_ns}")
        self.check_previous(previous)
        try:
            topic = self.names[1, topic]
            publisher = self.names[2, publisher] if publisher else ""
        except KeyError:
            raise Broken(f"message {seq} names what was not introduced") from None
        self.last, self.covered, self.timestamp_ns = seq, False, timestamp_ns
        self.go_to(seq)
        self.tell(Message(seq, timestamp_ns, topic, publisher, number, bool(flags & MORE), payload))

    def on_progress(self, reader):
        through, previous, stable, timestamp_ns = reader.fields("QQQQ")
        reader.done()
        if through < self.position.seq or timestamp_ns < self.timestamp_ns:
            raise Broken(f"progress goes back to {through} of {timestamp_ns}: we have everything through "
                         f"{self.position.seq}, of {self.timestamp_ns}")
        self.check_previous(previous)
        self.last, self.covered, self.timestamp_ns = previous, True, timestamp_ns
        self.go_to(through)
        self.on_stable(stable)
        if (through + 1) % BLOCK == 0:
            self.names.clear()
        self.tell(Progress(through, self.stable, timestamp_ns))

    def on_stable(self, stable):
        self.stable = max(self.stable, stable)
        for publisher in self.publishers:
            publisher.on_stable(self.stable)

    def on_forked(self, reader):
        common = reader.position()
        reader.done()
        self.go_back(common)

    def go_back(self, common):
        self.last, self.covered, self.boundary = 0, False, min(common.seq, self.position.seq)
        epoch = (common.number, common.candidate)
        if common.seq >= self.position.seq:  # ahead: epochs that began behind it are taken back
            if epoch < self.epoch:
                began = epoch == (self.position.number, self.position.candidate)
                self.epoch, self.epoch_first_seq = epoch, 0 if began else FIRST_UNKNOWN
                self.before_first_seq = FIRST_UNKNOWN
            return
        self.epoch, self.epoch_first_seq = epoch, 0
        if self.level == STABLE:
            raise Refused(f"message {common.seq + 1} was stable and is no longer in the stream")
        self.position, self.timestamp_ns = common, 0
        self.stable = min(self.stable, common.seq)
        for publisher in self.publishers:
            publisher.on_forked(common.seq)
        self.tell(Forked(common.seq))

    # ---- publishers, and no ---------------------------------------------------------------------------------

    def on_opened(self, reader):
        publisher, self.opening = self.opening, None
        if publisher is None:
            raise Broken("an OPENED that was not asked for")
        publisher.on_opened(reader)

    def on_outcome(self, reader):
        identity, number, count, seq, reason, _, stable = reader.fields("IQIQBQQ")
        reader.done()
        ours = [p for p in self.publishers if (p.opened or p is self.opening) and p.id == identity]
        if not ours or count == 0 or seq == 0:
            raise Broken(f"the outcome of {count} numbers of publisher {identity}, which is not open here")
        ours[0].on_outcome(number, count, seq, reason)
        self.go_to(seq)
        self.on_stable(seq if self.level == STABLE else stable)

    def on_superseded(self, reader):
        identity, _, seq = reader.fields("IIQ")
        reader.done()
        names = [p.name for p in self.publishers if p.id == identity or p is self.opening]
        if not names:
            raise Broken(f"it says that publisher {identity} is superseded, which is not ours")
        raise Superseded(f"another process publishes as {names}, since message {seq}")

    def on_refused(self, reader):
        request, reason, right, _, _ = reader.fields("BBBIQ")
        subject, text = reader.text(), reader.text()
        reader.done()
        what = REFUSALS[reason] if reason < len(REFUSALS) else str(reason)
        right = f" (the right to {RIGHTS[right]})" if right in RIGHTS else ""
        if reason == REFUSED_QUOTA and request != PUBLISH:  # of a message: there is no topic left to make for it
            raise Broken(f"{subject}: {what}: {text}")
        raise Refused(f"{subject}: {what}{right}{': ' if text else ''}{text}")

    def on_closing(self, reader):
        reason, text = reader.number(1), reader.text()
        reader.done()
        if reason == CLOSING_IDENTITY:
            self.refused_identity += 1
            if self.refused_identity >= 3:
                raise Refused(f"no proxy lets us in: {text}")
        raise Broken(f"it closes: {text}")


# ---- the command line --------------------------------------------------------------------------------------

def parse_proxies(text):
    proxies = []
    for part in text.removeprefix("tls:").split(","):
        host, _, port = part.rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(f"{part!r} is not HOST:PORT")
        proxies.append((host, int(port)))
    return proxies


def printable(text):
    """Without what a terminal would take for a command, or a reader for another line."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def show(event):
    if isinstance(event, Message):
        text = event.payload.decode("utf-8", "backslashreplace")
        print(event.seq, event.timestamp_ns, printable(event.topic), printable(event.publisher) or "-",
              printable(text), flush=True)
    elif isinstance(event, Forked):
        print(f"# forked: what came behind {event.seq} no longer holds", flush=True)


class Log:
    """Says what has changed."""

    def __init__(self):
        self.last = None

    def __call__(self, text):
        if text != self.last:
            print(printable(text), file=sys.stderr, flush=True)
        self.last = text


def subscribe(client, args):
    level = STABLE if args.stable else SEQUENCED
    if args.start is not None:  # a bare seq is no position: what is below it is read and not shown
        client.subscribe(args.subtrees, level, position=Position())
    elif args.time is not None:
        client.subscribe(args.subtrees, level, time_ns=args.time)
    else:
        client.subscribe(args.subtrees, level)
    count = 0
    for event in client.events(args.timeout):
        if isinstance(event, Message) and event.seq < (args.start or 0):
            continue
        show(event)
        count += isinstance(event, Message)
        if args.count is not None and count >= args.count:
            return 0
    return 0


def publish(client, args):
    publisher = client.publisher(args.publisher)
    texts = args.texts or [line.rstrip("\n") for line in sys.stdin]
    for text in texts:
        publisher.publish(args.topic, text.encode())
    rejected = client.publish_all(publisher)
    for outcome in rejected:
        print(f"item {outcome.index} was rejected at seq {outcome.seq}: reason {outcome.reason}", file=sys.stderr)
    return 1 if rejected else 0


def main():
    parser = argparse.ArgumentParser(description="A client of Cantus' proxies.")
    parser.add_argument("--proxy", required=True, metavar="[tls:]HOST:PORT[,...]")
    parser.add_argument("--ca", metavar="FILE", help="PEM of the authorities that are trusted; default: the system's")
    parser.add_argument("--key", metavar="FILE", help="of `cantus key new`; without it: nobody in particular")
    parser.add_argument("--quiet", action="store_true", help="say nothing of connections that break")
    verbs = parser.add_subparsers(dest="verb", required=True)
    sub = verbs.add_parser("sub", help="print the messages of subtrees")
    sub.add_argument("subtrees", nargs="+", metavar="SUBTREE")
    sub.add_argument("--from", dest="start", type=int, metavar="SEQ")
    sub.add_argument("--time", type=int, metavar="NS", help="from this Unix time on, in nanoseconds")
    sub.add_argument("--stable", action="store_true")
    sub.add_argument("--count", type=int, help="end after so many messages")
    sub.add_argument("--timeout", type=float, metavar="S", help="end when nothing came for so long")
    pub = verbs.add_parser("pub", help="publish texts, or the lines of the input")
    pub.add_argument("topic", metavar="TOPIC")
    pub.add_argument("texts", nargs="*", metavar="TEXT")
    # A name is kept by the stream for ever: so few are used again and again.
    pub.add_argument("--publisher", default=f"pub-{os.getpid() % 64}", metavar="NAME")
    args = parser.parse_args()
    try:
        client = Client(parse_proxies(args.proxy), read_key(args.key) if args.key else None,
                        log=None if args.quiet else Log(), tls=args.proxy.startswith("tls:"), ca_file=args.ca)
        return subscribe(client, args) if args.verb == "sub" else publish(client, args)
    except (Refused, Superseded, ValueError, OSError) as why:
        print(printable(str(why)), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def identity(seed, name):
    """How a publisher of this key is called in the stream."""
    return "@" + base64.urlsafe_b64encode(ed25519.public_key(seed)).decode().rstrip("=") + ":" + name


if __name__ == "__main__":
    sys.exit(main())
