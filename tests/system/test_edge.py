"""Clients of real proxies: the library's, under an app that does not know it, and the one in Python that ships
in examples/. Their order has to be the core's, digests and timers included; proxies are killed under them with
SIGKILL, and nothing may be lost or doubled. The Python client's bytes are compared with the examples of
docs/wire.md, and a proxy of a few lines that lies to it is found out.
"""

import base64
import json
import os
import re
import socket
import struct
import sys
import threading
import unittest

import orders
from cantus_test import (DEADLINE_S, SOURCE, Case, Endpoints, config_path, listener, program,
                         wait_tip, wait_until)

sys.path.insert(0, os.path.join(SOURCE, "examples", "python"))
import cantus_edge
import ed25519

LONG_S = DEADLINE_S * 3
CLIENT = os.path.join(SOURCE, "examples", "python", "cantus_edge.py")


def documented(name):
    """The bytes of an example of docs/wire.md."""
    with open(os.path.join(SOURCE, "docs", "wire.md"), encoding="utf-8") as f:
        block = re.search(rf"```hex {name}\n(.*?)```", f.read(), re.S).group(1)
    return bytes.fromhex(" ".join(line.split("#")[0] for line in block.splitlines()))


class NumbersTest(unittest.TestCase):
    def test_they_go_on_when_everything_is_stable(self):
        class Client:
            fragment_bytes, window = 1000, 10

            def say(self, raw):
                pass

            def tell(self, event):
                pass
        publisher = cantus_edge.Publisher(Client(), "me")
        publisher.opened, publisher.id, publisher.last = True, 7, 40
        for number in (41, 43, 44):
            publisher.publish("/x", bytes(1500 if number == 41 else 1))
            publisher.send()
            self.assertEqual(publisher.items[0].number, number)
            publisher.on_outcome(number, publisher.items[0].count, 500 + number, 0)
            publisher.on_stable(500 + number)
            self.assertEqual(publisher.items, [])


    def test_what_was_rejected_meanwhile_is_told_in_front_of_opened(self):
        told = []

        class Client:
            fragment_bytes, window = 1000, 1024

            def say(self, raw):
                pass

            def tell(self, event):
                told.append(event)
        publisher = cantus_edge.Publisher(Client(), "me")
        self.assertEqual(publisher.known(), (1 << 64) - 1)
        publisher.opened, publisher.id, publisher.incarnation, publisher.last = True, 7, 1, 40
        for _ in range(4):
            publisher.publish("/x", bytes(1500))  # two numbers each
        publisher.send()
        publisher.lost()
        self.assertEqual(publisher.known(), 40)
        publisher.on_outcome(43, 2, 500, 3)
        publisher.on_opened(cantus_edge.Reader(struct.pack("<IIQQQQ", 7, 2, 46, 502, 44, 42)))
        self.assertEqual(told, [cantus_edge.Outcome(1, None, None), cantus_edge.Outcome(2, 500, 3),
                                cantus_edge.Outcome(3, None, 0)])
        self.assertEqual(publisher.waiting(), 1)


class FormatTest(unittest.TestCase):
    def test_signatures_are_those_of_rfc_8032(self):
        for seed, key, message, signature in (
                ("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                 "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
                 "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
                 "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"),
                ("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
                 "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
                 "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
                 "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a")):
            seed = bytes.fromhex(seed)
            self.assertEqual(ed25519.public_key(seed).hex(), key)
            self.assertEqual(ed25519.sign(seed, bytes.fromhex(message)).hex(), signature)

    def test_what_it_writes_is_what_is_documented(self):
        place = cantus_edge.Position(2, 0xcafe, 41)
        self.assertEqual(cantus_edge.encode_hello(0, b"\7" * 32, "example client"), documented("edge_hello"))
        self.assertEqual(cantus_edge.signed_bytes(0x1122334455667788, b"\xaa" * 32, b"\7" * 32, b"east"),
                         documented("edge_signed"))
        self.assertEqual(cantus_edge.encode_subscribe(cantus_edge.SEQUENCED, cantus_edge.FROM_POSITION,
                                                      cantus_edge.Position(), 0, 5000, ["/team"]),
                         documented("edge_subscribe"))
        self.assertEqual(cantus_edge.encode_open("pub", 5, 0), documented("edge_open"))
        self.assertEqual(cantus_edge.encode_publish(1, 7, place, "/team/hello", b"hello", ("/team", 40)),
                         documented("edge_publish"))


# ---- a proxy that lies -------------------------------------------------------------------------------------

def text(s):
    return bytes([len(s)]) + s.encode()


def accepted(tip=(1, 7, 100), fragment=1000, window=64, payload_max=1 << 20, volatile=0):
    return cantus_edge.Position(*tip).encode() + struct.pack("<QIIIB", 90, fragment, window, payload_max, volatile)


ACCEPTED = accepted()


def subscribed(position):
    return cantus_edge.frame(cantus_edge.SUBSCRIBED, position)


def epoch(number, candidate, first_seq):
    return cantus_edge.frame(cantus_edge.EPOCH, struct.pack("<IQQ", number, candidate, first_seq))


class Liar:
    """Lets everybody in and says the frames of a script, another one to each connection; the last is said to
    all that come later."""

    def __init__(self, *scripts, accepted=None):
        self.scripts, self.subscriptions = list(scripts), []
        self.accepted = list(accepted or [ACCEPTED])    # bodies, another one to each connection likewise
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.address = self.listening.getsockname()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def close(self):
        self.listening.close()

    @staticmethod
    def read(sock):
        raw = b""
        while len(raw) < 4 or len(raw) < 4 + struct.unpack("<I", raw[:4])[0]:
            wanted = 4 if len(raw) < 4 else 4 + struct.unpack("<I", raw[:4])[0]
            got = sock.recv(wanted - len(raw))
            if not got:
                raise OSError("closed")
            raw += got
        return raw[4], raw[5:]

    def serve(self):
        while True:
            try:
                sock, _ = self.listening.accept()
                with sock:
                    self.talk(sock, self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0])
            except OSError:
                if self.listening.fileno() < 0:
                    return

    def talk(self, sock, script):
        self.read(sock)
        sock.sendall(cantus_edge.frame(cantus_edge.WELCOME, struct.pack("<HQ", 1, 5) + bytes(32) + text("liar")))
        accepted = self.accepted.pop(0) if len(self.accepted) > 1 else self.accepted[0]
        sock.sendall(cantus_edge.frame(cantus_edge.ACCEPTED, accepted))
        kind, body = self.read(sock)
        assert kind == cantus_edge.SUBSCRIBE
        position = body[2:22]
        self.subscriptions.append(struct.unpack("<IQQ", position))
        # A script of bytes comes behind SUBSCRIBED; another says all of it, of the position that was asked for.
        sock.sendall(script(position) if callable(script) else subscribed(position) + script)
        sock.recv(1)


def name(kind, number, what):
    return cantus_edge.frame(cantus_edge.NAME, bytes([kind]) + number.to_bytes(3, "little") + text(what))


NAMES = name(1, 16, "/team/a") + name(2, 1, "somebody")


def message(seq, previous, payload=b"x", time_ns=None, topic=16):
    head = struct.pack("<QQQ", seq, previous, seq if time_ns is None else time_ns)
    return cantus_edge.frame(cantus_edge.MESSAGE, head + topic.to_bytes(3, "little") + b"\1\0\0" +
                             seq.to_bytes(6, "little") + b"\0" + payload)


def progress(through, previous, time_ns=None):
    return cantus_edge.frame(cantus_edge.PROGRESS, struct.pack(
        "<QQQQ", through, previous, 0, through if time_ns is None else time_ns))


class LiarTest(unittest.TestCase):
    def events(self, *scripts, count, accepted=None):
        liar = Liar(*scripts, accepted=accepted)
        self.addCleanup(liar.close)
        said = []
        client = cantus_edge.Client([liar.address], log=said.append)
        self.addCleanup(client.close)
        client.subscribe(["/team"], position=cantus_edge.Position())
        found = []
        for event in client.events(DEADLINE_S):
            found.append(event)
            if len(found) == count:
                break
        self.assertEqual(len(found), count, said)
        return found, liar, said

    def test_an_honest_one(self):
        script = (epoch(1, 7, 2) + NAMES + message(4, 0) + message(9, 4) + progress(12, 9) + message(14, 9) +
                  progress(4095, 14) + NAMES + message(4100, 0) + progress(4101, 4100))
        found, liar, said = self.events(script, count=7)
        self.assertEqual([e.seq for e in found if isinstance(e, cantus_edge.Message)], [4, 9, 14, 4100])
        self.assertEqual((found[0].topic, found[0].publisher), ("/team/a", "somebody"))
        self.assertEqual((said, liar.subscriptions), ([], [(0, 0, 0)]))

    def test_lies_are_found_out_and_nothing_is_lost(self):
        begin = NAMES + message(4, 0) + message(9, 4)
        for what, lie in (("a gap", message(12, 11)),
                          ("the same again", message(9, 4)),
                          ("a block that is not over", message(12, 0)),
                          ("back in time", message(12, 9, time_ns=8)),
                          ("an unknown topic", message(12, 9, topic=17)),
                          ("progress with an unknown match", progress(20, 15)),
                          ("progress without the last match", progress(20, 4)),
                          ("progress backwards", progress(8, 4)),
                          ("an epoch that begins where messages were", epoch(1, 7, 9)),
                          ("a change that nobody asked for",
                           cantus_edge.frame(cantus_edge.CHANGED, struct.pack("<Q", 12))),
                          ("the outcome of somebody else", cantus_edge.frame(
                              cantus_edge.OUTCOME, struct.pack("<IQIQBQQ", 7, 1, 1, 12, 0, 0, 0))),
                          ("the end of a publisher that is not ours", cantus_edge.frame(
                              cantus_edge.SUPERSEDED, struct.pack("<IIQ", 7, 2, 12))),
                          ("a name of nothing", name(3, 1, "what")),
                          ("what a client says", cantus_edge.frame(cantus_edge.OPEN)),
                          ("a short body", cantus_edge.frame(cantus_edge.MESSAGE, b"123")),
                          ("a long body", cantus_edge.frame(cantus_edge.FORKED, bytes(21))),
                          ("no frame", b"\0" * 8)):
            with self.subTest(what):
                found, liar, said = self.events(begin + lie, NAMES + message(14, 9), count=3)
                self.assertEqual([e.seq for e in found], [4, 9, 14])
                self.assertEqual(liar.subscriptions[:2], [(0, 0, 0), (0, 0, 9)])
                self.assertGreaterEqual(len(said), 1)

    def test_epochs_go_on_and_have_one_candidate(self):
        begin = epoch(2, 7, 2) + NAMES + message(4, 0) + message(9, 4)
        for what, lie, clear in (("back", epoch(1, 9, 12), "from epoch 2 to 1"),
                                 ("twice", epoch(2, 8, 12), "another candidate of epoch 2")):
            with self.subTest(what):
                found, liar, said = self.events(begin + lie, NAMES + message(14, 9), count=3)
                self.assertEqual([e.seq for e in found], [4, 9, 14])
                self.assertEqual(liar.subscriptions[:2], [(0, 0, 0), (2, 7, 9)])
                self.assertIn(clear, said[0])

    def test_a_block_that_ends_behind_the_next_epoch_is_of_the_one_before(self):
        script = (epoch(1, 7, 2) + NAMES + message(4, 0) + epoch(2, 8, 20) + progress(15, 4) + b"\0" * 8)
        _, liar, _ = self.events(script, NAMES + message(24, 4), count=3)
        self.assertEqual(liar.subscriptions[:2], [(0, 0, 0), (1, 7, 15)])

    def test_another_history_is_told_by_a_fork_only(self):
        begin = epoch(2, 7, 2) + NAMES + message(4, 0) + message(9, 4)
        other = subscribed(cantus_edge.Position(3, 9, 9).encode())
        found, liar, said = self.events(begin + b"\0" * 8, lambda position: other, NAMES + message(14, 9), count=3)
        self.assertEqual([e.seq for e in found], [4, 9, 14])
        self.assertEqual(liar.subscriptions[:3], [(0, 0, 0), (2, 7, 9), (2, 7, 9)])
        self.assertIn("another epoch", said[1])

    def test_a_login_and_limits_that_can_not_be(self):
        for what, lie, clear in (("no place", accepted(tip=(0, 0, 0)), "no place"),
                                 ("no epoch", accepted(tip=(0, 0, 5)), "no place"),
                                 ("no window", accepted(window=0), "window of 0"),
                                 ("fragments of nothing", accepted(fragment=0), "fragments of 0"),
                                 ("payloads too large", accepted(payload_max=1 << 21), "payloads of 2097152"),
                                 ("neither", accepted(volatile=2), "volatile 2")):
            with self.subTest(what):
                _, liar, said = self.events(NAMES + message(4, 0), count=1, accepted=[lie, ACCEPTED])
                self.assertEqual(len(liar.subscriptions), 1)
                self.assertIn(clear, said[0])
        _, _, said = self.events(NAMES + message(4, 0) + b"\0" * 8, NAMES + message(14, 4), count=2,
                                 accepted=[ACCEPTED, accepted(volatile=1), ACCEPTED])
        self.assertIn("volatile", said[1])

    def test_what_a_terminal_would_obey_is_not_printed(self):
        self.assertEqual(cantus_edge.printable("a\x1b[2Jb\nc\x9bd\u202ee\u00e9"), r"a\x1b[2Jb\x0ac\x9bd\x202ee\u00e9"
                         .replace(r"\u00e9", "\u00e9"))

    def test_a_fork_goes_back(self):
        found, _, said = self.events(
            NAMES + message(4, 0) + message(9, 4) +
            cantus_edge.frame(cantus_edge.FORKED, cantus_edge.Position(0, 0, 6).encode()) +
            NAMES + message(8, 4, b"other"), count=4)
        self.assertEqual([type(e).__name__ for e in found], ["Message", "Message", "Forked", "Message"])
        self.assertEqual((found[2].seq, found[3].seq, said), (6, 8, []))


class TerminalTest(Case):
    def test_what_a_proxy_says_reaches_no_terminal_as_a_command(self):
        closing = cantus_edge.frame(cantus_edge.CLOSING, b"\4" + text("\x1b[2Jgo\x7f away"))
        refused = cantus_edge.frame(cantus_edge.REFUSED, struct.pack("<BBBIQ", 3, 1, 1, 0, 0) +
                                    text("/team\x1b]0;x\x07") + text("ask\r\n"))
        for frames, said in ((closing, r"\?\[2Jgo\? away"), (refused, r"/team\?]0;x\?")):
            liar = Liar(lambda position, frames=frames: frames)
            self.addCleanup(liar.close)
            address = f"{liar.address[0]}:{liar.address[1]}"
            process = self.start([program("cantus"), "--proxy", address, "sub", "/team"])
            process.wait_said(said)
            process.kill()
            python = self.start([sys.executable, CLIENT, "--proxy", address, "sub", "/team"])
            wait_until(lambda python=python: "away" in python.err() or "]0;x" in python.err(), "what it says")
            python.kill()
            for what in (process, python):
                self.assertNotRegex(what.err() + what.out(), "[\x00-\x08\x0b-\x1f\x7f-\x9f]")


# ---- real proxies ------------------------------------------------------------------------------------------

class EdgeCase(Case):
    """A deployment, and proxies of our own beside what it may have."""

    def setUp(self):
        super().setUp()
        self.d = self.path("d")
        self.dev(self.d)
        self.key = self.path("team.key")
        self.public = self.cantus("key", "new", self.key).out.strip()
        self.proxies, self.running = [], {}

    def grant(self, *args):
        self.cantus("--dir", self.d, "grant", *args)

    @staticmethod
    def free_ports(count):
        held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        ports = [s.getsockname()[1] for s in held]
        for s in held:
            s.close()
        return ports

    def add_proxies(self, count, settings=()):
        """Into a cantus.yaml of their own, which says the same of everything else."""
        entries = ""
        for i in range(count):
            core, listen = self.free_ports(2)
            entries += (f'  - name: "edge{i}"\n    unicast: 127.0.0.1:{core}\n    stream_port: {core}\n'
                        f"    listen: 127.0.0.1:{listen}\n" + "".join(f"    {line}\n" for line in settings))
            self.proxies.append(("127.0.0.1", listen))
        with open(config_path(self.d), encoding="utf-8") as f:
            whole = f.read()
        whole = re.sub(r"(?ms)^proxies:.*?(?=^\w|\Z)", "", whole)
        self.config = self.path("edge.yaml")
        with open(self.config, "w", encoding="utf-8") as f:
            f.write(whole + "\nproxies:\n" + entries)
        for i in range(count):
            self.start_proxy(i)

    def start_proxy(self, i):
        process = self.start([program("cantus-proxy"), "--config", self.config, "--name", f"edge{i}"])
        process.wait_said("ready")
        self.running[i] = process

    def list(self):
        return ",".join(f"{ip}:{port}" for ip, port in self.proxies)

    def source(self, *which):
        which = which or range(len(self.proxies))
        return "proxy:" + ",".join(f"{self.proxies[i][0]}:{self.proxies[i][1]}" for i in which)

    def client(self):
        client = cantus_edge.Client(self.proxies, cantus_edge.read_key(self.key))
        self.addCleanup(client.close)
        return client

    def python(self, *args, key=True, **options):
        return self.execute([sys.executable, CLIENT, "--proxy", self.list(),
                             *(["--key", self.key] if key else []), *args], **options)


class PythonTest(EdgeCase):
    def setUp(self):
        super().setUp()
        self.add_proxies(1)

    def test_it_publishes_and_reads_what_it_may(self):
        self.grant(self.public, "read,write", "/team")
        self.python("pub", "/team/hello", "one", "two", "--publisher", "me")
        self.pub(self.d, "/team/hello", "from the core")
        self.pub(self.d, "/other", "not ours")
        identity = f"@{self.public}:me"
        lines = self.python("sub", "/team", "--from", "1", "--count", "3").out.splitlines()
        core = self.sub(self.d, "/team/hello")
        self.assertEqual([m["payload"] for m in core], ["one", "two", "from the core"])
        self.assertEqual([m["publisher"] for m in core][:2], [identity] * 2)
        self.assertEqual([line.split(" ", 4)[4] for line in lines], ["one", "two", "from the core"])
        self.assertEqual([int(line.split()[0]) for line in lines], [m["seq"] for m in core])
        self.assertEqual([line.split()[3] for line in lines], [m["publisher"] for m in core])
        self.assertIn("not permitted", self.python("sub", "/other", status=1).err)
        self.assertIn("/other/x", self.python("pub", "/other/x", "no", status=1).err)
        self.assertIn("read", self.python("sub", "/team", key=False, status=1).err)
        self.grant("anyone", "read", "/team")
        stable = self.python("sub", "/team", "--from", "1", "--stable", "--count", "3", key=False)
        self.assertEqual(stable.out.splitlines(), lines)

    def test_what_it_is_given_is_checked_before_a_proxy_sees_it(self):
        """A path that is none would end the connection, again and again."""
        client = self.client()
        publisher = client.publisher("me")
        for path in ("", "/", "a", "/a/", "//a", "/a//b", "/a b", "/.", "/a/..", "/a/../b", "/\u00e9", "/a\n",
                     "/a" * 17, "/" + "a" * 255):
            with self.subTest(path=path):
                self.assertRaises(ValueError, publisher.publish, path, b"")
                self.assertRaises(ValueError, publisher.publish, "/a", b"", (path, 1))
                if path != "/":
                    self.assertRaises(ValueError, client.subscribe, [path])
                    self.assertRaises(ValueError, client.change, ["/a"], [path])
        for path in ("/a", "/...", "/.a/b..", "/A-Z.a_z~0:9", "/a" * 16, "/" + "a" * 254):
            publisher.publish(path, b"", (path, 1))
            client.subscribe(["/", path])
        self.assertIn("is no topic", self.python("pub", "/a//b", "x", status=1).err)
        for content in (b"\xff", b"0" * 63, b"0" * 65, b"x" * 64):
            with open(self.path("bad.key"), "wb") as f:
                f.write(content)
            self.assertRaisesRegex(ValueError, "is no key", cantus_edge.read_key, self.path("bad.key"))

    def test_large_payloads_and_numbers(self):
        self.grant(self.public, "read,write", "/team")
        client = self.client()
        publisher = client.publisher("me")
        sizes = [0, 1, 1300, 1500, 50000, 100000, 10]
        for size in sizes:
            publisher.publish("/team/x", os.urandom(size))
        payloads = [item.payload for item in publisher.items]
        self.assertEqual(client.publish_all(publisher), [])
        core = []

        def is_stable():
            core[:] = self.sub(self.d, "/team/x")
            return len(core) >= len(sizes)
        wait_until(is_stable, "what is sequenced becomes stable")
        self.assertEqual([base64.b64decode(m["payload_base64"]) if "payload_base64" in m else
                          m["payload"].encode() for m in core], payloads)
        reader = self.client()
        reader.subscribe(["/team"], position=cantus_edge.Position())
        found = []
        for event in reader.events(DEADLINE_S):
            if isinstance(event, cantus_edge.Message):
                found.append(event.payload)
            if len(found) == len(sizes):
                break
        self.assertEqual(found, payloads)

    def test_a_wrong_key_is_not_let_in(self):
        client = self.client()
        client.key = bytes(31) + b"\1"  # says that it is somebody else
        with self.assertRaises(cantus_edge.Refused):
            for _ in client.events(DEADLINE_S):
                pass

    def test_a_topic_that_may_not_be_made_is_no_reason_to_try_again(self):
        self.grant(self.public, "read,write", "/team")
        self.cantus("--dir", self.d, "limit", self.public, "--topics", "1")
        self.cantus("--proxy", self.list(), "--key", self.key, "pub", "/team/1", "x")
        for refused in (self.cantus("--proxy", self.list(), "--key", self.key, "pub", "/team/2", "x", status=1).err,
                        self.python("pub", "/team/3", "x", status=1).err):
            self.assertIn("as many topics as it may", refused)

    def test_who_takes_over_stops_the_other(self):
        self.grant(self.public, "read,write", "/team")
        first = self.client()
        a = first.publisher("me")
        a.publish("/team/x", b"1")
        first.publish_all(a)
        second = self.client()
        b = second.publisher("me")
        b.publish("/team/x", b"2")
        second.publish_all(b)
        with self.assertRaises(cantus_edge.Superseded):
            a.publish("/team/x", b"3")
            first.publish_all(a)
        wait_until(lambda: self.payloads(self.d, "/team/x") == ["1", "2"], "both, once they are stable")


class QuotaTest(EdgeCase):
    """What cantus.yaml says of how much clients may have."""

    def connect(self, source="127.0.0.1"):
        sock = socket.create_connection(self.proxies[0], DEADLINE_S, (source, 0))
        self.addCleanup(sock.close)
        return sock

    @staticmethod
    def answer(sock, line):
        sock.sendall(line)
        return sock.recv(1000)

    def test_an_address_and_a_key_have_so_many_connections(self):
        self.add_proxies(1, ["sessions_per_addr: 3", "sessions_per_key: 2"])
        self.grant("anyone", "read", "/team")
        held = [self.connect() for _ in range(3)]
        for sock in held:
            self.assertIn(b"#", self.answer(sock, b"cantus /team\n"))
        refused = self.connect()
        raw = refused.recv(1000)
        self.assertEqual(raw[4:6], bytes([cantus_edge.CLOSING, 5]), raw)
        other = self.connect("127.0.0.2")
        self.assertIn(b"#", self.answer(other, b"cantus /team\n"))
        for sock in held:
            sock.close()
        self.grant(self.public, "read", "/team")
        said, clients = [], []
        for _ in range(3):
            clients.append(cantus_edge.Client(self.proxies, cantus_edge.read_key(self.key), log=said.append))
            self.addCleanup(clients[-1].close)
            clients[-1].subscribe(["/team"])

        def let_in():
            for client in clients:
                client.work(0.01)
            return sum(c.subscribed for c in clients) == 2 and said
        wait_until(let_in, "two of three are let in")
        self.assertTrue(any("too many connections with this key" in text for text in said), said)


class KilledTest(EdgeCase):
    def test_a_python_client_is_exactly_once(self):
        self.add_proxies(2)
        self.grant(self.public, "read,write", "/team")
        client = self.client()
        client.subscribe(["/team"])
        publisher = client.publisher("me")
        for i in range(3000):
            publisher.publish("/team/x", b"%d" % i)
        outcomes, seen, victim = [], [], None
        for event in client.events(DEADLINE_S):
            if isinstance(event, cantus_edge.Outcome):
                outcomes.append(event.index)
            if isinstance(event, cantus_edge.Message):
                seen.append(event.payload)
                if len(seen) % 500 == 0 and len(seen) < 3000:
                    host, port = client.sock.getpeername()
                    victim = self.proxies.index((host, port))
                    self.running[victim].kill()
                    self.start_proxy(victim)
            if len(outcomes) == 3000 and len(seen) == 3000:
                break
        self.assertGreaterEqual(client.connects, 6, "the kills are meant to hit its connection")
        self.assertEqual(outcomes, list(range(1, 3001)))
        expected = [b"%d" % i for i in range(3000)]
        self.assertEqual(seen, expected)
        core = wait_until(lambda: [p for p in [self.payloads(self.d, "/team/x")] if len(p) >= 3000],
                          "what is sequenced becomes stable")[0]
        self.assertEqual([p.encode() for p in core], expected)

    def test_an_app_through_proxies_is_the_core_s(self):
        """The order book of the core, unchanged: only its source says proxies, which die under it."""
        self.add_proxies(2)
        self.grant(self.public, "read,write", "/md")
        self.grant(self.public, "read,write", "/quotes")
        self.grant(self.public, "read,write", "/")
        # So that the day is not over before this has seen how far it is.
        self.cantus("--dir", self.d, "limit", self.public, "--messages-per-s", "10000", "--burst-ms", "100")
        source = self.source()

        def role(name, *args):
            return self.start([program("orderbook"), "--source", source, "--key", self.key, "--role", name, *args])
        books = [role("book"), role("book", "--sequenced")]
        egress = listener(Endpoints(self.d).egress)
        self.addCleanup(egress.close)
        injector = role("injector", "--events", orders.FILE)
        rows = orders.rows()
        killed = 0
        for i in range(1, 7):
            wait_tip(egress, i * 6000, LONG_S)
            killed += injector.running()
            self.running[i % 2].kill()
            self.start_proxy(i % 2)
        self.assertEqual(injector.wait(LONG_S), 0, injector.describe())
        done = json.loads(injector.out())
        self.assertEqual(done["events"], len(rows))
        self.assertGreaterEqual(killed, 2, "a kill is meant to hit work in progress")
        md = self.sub(self.d, "/md/btcusd", deadline_s=LONG_S)
        self.assertEqual([m["payload_base64"] for m in md], orders.payloads(rows))
        last = md[-1]["seq"]
        lines = []
        for extra in ([], ["--sequenced"]):
            for where in (["--source", self.d], ["--source", source, "--key", self.key]):
                one = self.execute([program("orderbook"), *where, "--role", "book", "--until", last, *extra],
                                   deadline_s=LONG_S)
                lines.append(json.loads(one.out))
        expected = orders.book(rows)
        self.assertEqual({k: lines[0][k] for k in expected}, expected)
        self.assertEqual(lines, [lines[0]] * 4)
        for b in books:
            b.terminate()
            line = json.loads(b.out())
            self.assertEqual(line["digest"], lines[0]["digest"], b.describe())

    def test_timers_fire_where_they_do_on_the_core(self):
        """Ledgers, whose holds expire and settlements come by the stream's time: on the core, and through
        proxies that die under them, at either level. The settlements that they announce are compared by each."""
        self.add_proxies(2)
        self.grant(self.public, "read,write", "/")

        def ledger(where, *args):
            return self.start([program("ledger"), *where, "--role", "ledger", *args])
        proxied = ["--source", self.source(), "--key", self.key]
        ledgers = [ledger(["--source", self.d]), ledger(proxied, "--identity", "a"),
                   ledger(proxied, "--sequenced", "--identity", "b")]
        till = self.start([program("ledger"), *proxied, "--role", "till", "--payments", "3000", "--seconds", "3"])
        egress = listener(Endpoints(self.d).egress)
        self.addCleanup(egress.close)
        for i in range(1, 5):
            wait_tip(egress, i * 600, LONG_S)
            self.running[i % 2].kill()
            self.start_proxy(i % 2)
        self.assertEqual(till.wait(LONG_S), 0, till.describe())
        expected = json.loads(self.execute([program("ledger"), "--source", self.d, "--role", "ledger", "--once"],
                                           deadline_s=LONG_S).out)
        for one in ledgers:
            one.terminate()
            line = json.loads(one.out().splitlines()[-1])
            self.assertEqual(line["disputed"], 0, one.describe())
        proxied_line = json.loads(self.execute([program("ledger"), *proxied, "--role", "ledger", "--until",
                                                expected["last_seq"]], deadline_s=LONG_S).out)
        self.assertEqual(proxied_line["settlements"], expected["settlements"])
        self.assertGreater(expected["settlements"], 5)
        self.assertGreater(expected["outcomes"]["expired"], 10)


if __name__ == "__main__":
    unittest.main()
