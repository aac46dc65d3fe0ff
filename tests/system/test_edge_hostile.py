"""What somebody who means no good does to a real proxy, each in a test: dribbles bytes, floods, throws garbage,
opens thousands of connections, replays a login, claims another's key, never reads. What is judged is that an honest
client beside it goes on and nothing of its is lost or doubled, how each connection ends, counts of messages, and
that the process's memory grows by no more than a stated bound; never a time.
"""

import os
import random
import re
import resource
import select
import socket
import struct
import sys
import unittest

import test_edge
from cantus_test import DEADLINE_S, SANITIZE, SOURCE, wait_until

sys.path.insert(0, os.path.join(SOURCE, "examples", "python"))
import cantus_edge
import ed25519

MIB = 1 << 20
IDENTITY = 2  # a reason of CLOSING
NOT_PERMITTED, BAD_NAME = 1, 2  # of REFUSED


class Raw:
    """A connection, and frames."""

    def __init__(self, case, at):
        self.socket = socket.create_connection(at)
        case.addCleanup(self.socket.close)
        self.socket.settimeout(DEADLINE_S)
        self.received = b""

    def say(self, raw):
        self.socket.sendall(raw)

    def frames(self):
        """Each frame that comes, until the end."""
        while True:
            while len(self.received) >= 5:
                length, kind = struct.unpack_from("<IB", self.received)
                if len(self.received) < 4 + length:
                    break
                body, self.received = self.received[5:4 + length], self.received[4 + length:]
                yield kind, cantus_edge.Reader(body)
            try:
                more = self.socket.recv(1 << 16)
            except (ConnectionResetError, BrokenPipeError):
                return
            if not more:
                return
            self.received += more

    def next(self, wanted):
        for kind, reader in self.frames():
            if kind == wanted:
                return reader
        raise AssertionError(f"no frame of type {wanted} came")

    def closed(self):
        """The reason, or None if none was told."""
        reason = None
        for kind, reader in self.frames():
            if kind == cantus_edge.CLOSING:
                reason = reader.number(1)
        return reason

    def hello(self, key):
        self.say(cantus_edge.encode_hello(0, key, "hostile"))
        reader = self.next(cantus_edge.WELCOME)
        _, stream = reader.fields("HQ")
        return stream, reader.take(32), reader.string()

    def login(self, seed):
        key = ed25519.public_key(seed)
        stream, challenge, proxy = self.hello(key)
        prove = cantus_edge.frame(cantus_edge.PROVE, ed25519.sign(
            seed, cantus_edge.signed_bytes(stream, challenge, key, proxy)))
        self.say(prove)
        self.next(cantus_edge.ACCEPTED)
        return prove

    def open(self, name):
        self.say(cantus_edge.encode_open(name, random.getrandbits(63) + 1, 0))
        return self.next(cantus_edge.OPENED).fields("I")[0]


class Beside(test_edge.EdgeCase):
    def stable(self, topic, count):
        """All that is there, once so many are stable: outcomes are heard of as soon as they are sequenced."""
        found = []

        def there():
            found[:] = self.sub(self.d, topic)
            return len(found) >= count
        wait_until(there, f"{count} messages are stable")
        return found


class Hostile(Beside):
    def setUp(self):
        super().setUp()
        self.add_proxies(1)
        self.at = self.proxies[0]
        self.random = random.Random(4711)
        self.grant(self.public, "read,write", "/team")
        self.honest = self.client()
        self.honest.subscribe(["/team"])
        self.publisher = self.honest.publisher("honest")
        self.published = 0
        self.goes_on()
        self.rss = self.memory("VmRSS")

    def memory(self, field):
        with open(f"/proc/{self.running[0].pid}/status", encoding="ascii") as f:
            return int(re.search(rf"{field}:\s+(\d+) kB", f.read()).group(1)) << 10

    def goes_on(self, count=100):
        """The honest client publishes, on the connection that it has, and hears of each."""
        for _ in range(count):
            self.publisher.publish("/team/x", b"%d" % self.published)
            self.published += 1
        self.assertEqual(self.honest.publish_all(self.publisher), [])
        self.assertEqual(self.honest.connects, 1, "it was not cut off")

    def unharmed(self, bytes_max):
        self.goes_on()
        self.assertEqual([m["payload"] for m in self.stable("/team/x", self.published)],
                         [str(i) for i in range(self.published)])
        self.assertTrue(self.running[0].running())
        if not SANITIZE:  # they keep freed memory
            self.assertLess(self.memory("VmHWM") - self.rss, bytes_max)

    def somebody(self, *rights):
        seed = self.random.randbytes(32)
        while ed25519.public_key(seed)[0] >> 2 == 62:  # its text would begin with a dash
            seed = self.random.randbytes(32)
        if rights:
            key = self.path(f"{seed.hex()[:8]}.key")
            with open(key, "w", encoding="ascii") as f:
                f.write(seed.hex() + "\n")
            os.chmod(key, 0o600)
            self.grant(self.cantus("key", "show", key).out.strip(), *rights)
        return seed

    # ---- before it is let in --------------------------------------------------------------------------------

    def test_dribble(self):
        """A HELLO byte by byte from many: those that end it are welcome, those that don't are cut off."""
        hello = cantus_edge.encode_hello(0, None, "dribble")
        slow = [Raw(self, self.at) for _ in range(150)]
        for i in range(len(hello) - 1):
            for raw in slow:
                raw.say(hello[i:i + 1])
            if i % 8 == 0:
                self.goes_on(10)
        for raw in slow[:50]:
            raw.say(hello[-1:])
        self.assertEqual([raw.next(cantus_edge.ACCEPTED) is None for raw in slow[:50]], [False] * 50)
        self.assertEqual([raw.closed() for raw in slow[50:]], [IDENTITY] * 100)
        self.unharmed(32 * MIB)

    def test_garbage(self):
        for _ in range(10):
            raws = [Raw(self, self.at) for _ in range(30)]
            for raw in raws:
                try:
                    raw.say(self.random.randbytes(self.random.randrange(5, 3000)))
                    raw.socket.shutdown(socket.SHUT_WR)
                except (ConnectionResetError, BrokenPipeError):
                    pass
            self.goes_on(10)
            for raw in raws:
                raw.closed()
                raw.socket.close()
        self.unharmed(32 * MIB)

    def test_giant_frames(self):
        for size in (1 << 20, 0x7fffffff, 0xffffffff):
            raw = Raw(self, self.at)
            raw.say(struct.pack("<IB", size, cantus_edge.HELLO) + bytes(1000))
            self.assertEqual(raw.closed(), 1)
        self.unharmed(16 * MIB)

    def test_thousands_of_connections(self):
        """Half say nothing, half say a HELLO and no more."""
        count = 3000
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < count + 1000:
            self.skipTest(f"a process may have {hard} descriptors")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 1000), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        hello = cantus_edge.encode_hello(0, bytes(range(32)), "one of many")
        raws = []
        for i in range(count):
            raws.append(Raw(self, self.at))
            if i % 2 == 0:
                raws[-1].say(hello)
            if i % 500 == 0:
                self.goes_on(10)
        self.goes_on()
        for raw in raws:
            raw.socket.close()
        self.unharmed(count * 32768 + 16 * MIB)

    # ---- identity -------------------------------------------------------------------------------------------

    def test_a_captured_login_is_worth_nothing(self):
        seed = self.somebody("read,write", "/else")
        prove = Raw(self, self.at).login(seed)
        for _ in range(3):
            thief = Raw(self, self.at)
            thief.hello(ed25519.public_key(seed))
            thief.say(prove)
            self.assertEqual(thief.closed(), IDENTITY)
        self.unharmed(16 * MIB)

    def test_another_s_key_and_publisher(self):
        seed = self.somebody("read,write", "/else")
        thief = Raw(self, self.at)
        stream, challenge, proxy = thief.hello(self.honest.key)
        thief.say(cantus_edge.frame(cantus_edge.PROVE, ed25519.sign(
            seed, cantus_edge.signed_bytes(stream, challenge, self.honest.key, proxy))))
        self.assertEqual(thief.closed(), IDENTITY)
        thief = Raw(self, self.at)
        thief.login(seed)
        for name in (f"@{self.public}:honest", f"{self.public}:honest", "proxy.edge0 x", "a/\x1b[2J"):
            thief.say(cantus_edge.encode_open(name, 1, 0))
            _, reason, *_ = thief.next(cantus_edge.REFUSED).fields("BBBIQ")
            self.assertEqual(reason, BAD_NAME, name)
        thief.open("honest")  # its own of that name
        thief.say(cantus_edge.encode_publish(1, 1, cantus_edge.Position(), "/team/x", b"forged"))
        thief.next(cantus_edge.REFUSED)
        self.unharmed(16 * MIB)

    def test_keys_of_nobody_make_no_publishers(self):
        """Anybody can make keys; the catalog has so many publishers, for ever."""
        for _ in range(5):
            raw = Raw(self, self.at)
            raw.login(self.somebody())
            for i in range(200):
                raw.say(cantus_edge.encode_open(f"n{i}", i + 1, 0))
                _, reason, *_ = raw.next(cantus_edge.REFUSED).fields("BBBIQ")
                self.assertEqual(reason, NOT_PERMITTED)
        self.unharmed(16 * MIB)

    # ---- once it is in --------------------------------------------------------------------------------------

    def test_floods_of_messages(self):
        """Three with a right publish without waiting for anything, until nobody takes their bytes any more."""
        raws = []
        for i in range(3):
            seed = self.somebody("write", f"/flood{i}")
            raw = Raw(self, self.at)
            raw.login(seed)
            raws.append((raw, raw.open("f"), i))
        sent = 0
        for number in range(1, 3001):
            for raw, publisher, i in raws:
                raw.socket.setblocking(False)
                try:
                    raw.say(cantus_edge.encode_publish(publisher, number, cantus_edge.Position(), f"/flood{i}/x",
                                                       bytes(1000)))
                    sent += 1
                except OSError:
                    pass  # full, and what is behind it is no frame any more
            if number % 300 == 0:
                self.goes_on(20)
        self.assertGreater(sent, 300)
        self.unharmed(96 * MIB)

    def test_floods_of_requests(self):
        raw = Raw(self, self.at)
        raw.login(self.somebody("read", "/else"))
        raw.say(cantus_edge.encode_subscribe(1, cantus_edge.FROM_TIP, cantus_edge.Position(), 0, 5000, ["/else"]))
        raw.socket.setblocking(False)
        flood = b"".join(cantus_edge.encode_change([f"/else/{i}"], [f"/else/{i - 1}"]) +
                         cantus_edge.frame(cantus_edge.ALIVE) for i in range(20000))
        for _ in range(20):
            while flood and select.select([], [raw.socket], [], 0)[1]:
                flood = flood[raw.socket.send(flood):]
            self.goes_on(10)
        self.unharmed(64 * MIB)

    def test_a_reader_that_never_reads(self):
        seed = self.somebody("read", "/")
        for _ in range(20):
            raw = Raw(self, self.at)
            raw.login(seed)
            raw.say(cantus_edge.encode_subscribe(1, cantus_edge.FROM_POSITION, cantus_edge.Position(), 0, 5000, ["/"]))
        for _ in range(40):
            self.pub_lines(self.d, "/noise", ["x" * 1000] * 200)
            self.goes_on(5)
        self.unharmed(96 * MIB)

    def test_groups_that_never_end(self):
        for i in range(3):
            raw = Raw(self, self.at)
            raw.login(self.somebody("write", f"/open{i}"))
            publisher = raw.open("g")
            for number in range(1, 20):
                raw.say(cantus_edge.encode_publish(publisher, number, cantus_edge.Position(), f"/open{i}/x", b"part",
                                                   flags=cantus_edge.MORE))
            self.goes_on()
        self.assertEqual(self.sub(self.d, "/open0"), [])
        self.unharmed(16 * MIB)

    def test_who_comes_and_goes(self):
        """What is written down is a login and a logout for each that came, and no more."""
        self.grant("anyone", "read", "/open")
        first = self.stable("/team/x", self.published)[-1]["seq"]
        for i in range(300):
            raw = Raw(self, self.at)
            raw.say(b"cantus /open\n")
            if i % 2 == 0:
                raw.socket.recv(100)
            raw.socket.close()
        self.goes_on(1)
        last = self.stable("/team/x", self.published)[-1]["seq"]
        self.assertLess(last - first, 2 * 300 + 200)  # beside the clock's ticks
        self.unharmed(16 * MIB)


class Rates(Beside):
    """Rates of the stream's own messages, over its own time."""

    RATE, COUNT, PROXIES = 100, 400, 1

    def setUp(self):
        super().setUp()
        self.add_proxies(self.PROXIES)
        self.grant(self.public, "read,write", "/team")

    def run_through(self, topic):
        client = self.client()
        publisher = client.publisher("me")
        for i in range(self.COUNT):
            publisher.publish(topic, b"%d" % i)
        self.assertEqual(client.publish_all(publisher), [])
        found = self.stable(topic, self.COUNT)
        self.assertEqual([m["payload"] for m in found], [str(i) for i in range(self.COUNT)])
        return found

    def check_rate(self, found):
        """Over the whole run: its first message may have been late by as much as the slack."""
        seconds = (found[-1]["timestamp_ns"] - found[0]["timestamp_ns"]) / 1e9
        slack = len(found) / 4
        self.assertLess(len(found), self.RATE * seconds + self.RATE / 10 + slack)

    def limit(self, whom):
        self.cantus("--dir", self.d, "limit", whom, "--messages-per-s", self.RATE, "--burst-ms", 100)


class Limits(Rates):
    def test_a_key_has_its_rate_and_others_theirs(self):
        self.limit(self.public)
        self.check_rate(self.run_through("/team/a"))

    def test_a_subtree_has_its_rate(self):
        self.limit("/team/slow")
        self.check_rate(self.run_through("/team/slow/a"))
        other = self.run_through("/team/fast")
        self.assertEqual(len(other), self.COUNT)


class LimitsOfTwo(Rates):
    """What holds at one proxy holds at two together."""

    PROXIES = 2

    def test_a_key_that_is_at_two_proxies_has_its_rate_once(self):
        self.limit(self.public)
        clients = []
        for proxy in self.proxies:
            clients.append(cantus_edge.Client([proxy], cantus_edge.read_key(self.key)))
            self.addCleanup(clients[-1].close)
        publishers = [client.publisher(f"p{i}") for i, client in enumerate(clients)]

        def all_open():
            for client in clients:
                client.work(0.01)
            return all(p.opened for p in publishers)
        wait_until(all_open, "both are let in")
        for publisher in publishers:
            for i in range(self.COUNT):
                publisher.publish("/team/both", b"%d" % i)

        def all_answered():
            for client in clients:
                client.work(0.01)
            return all(p.waiting() == 0 for p in publishers)
        wait_until(all_answered, "everything has an outcome")
        found = self.stable("/team/both", 2 * self.COUNT)
        self.assertEqual(len(found), 2 * self.COUNT)
        self.check_rate(found)


if __name__ == "__main__":
    unittest.main()
