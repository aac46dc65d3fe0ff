"""Bad input and faults, one by one: hostile datagrams and connections, configurations with mistakes, ports and
addresses that can't be had, directories that must not be written, journals that are damaged, torn, foreign or
incomplete, and a full disk. Each has to end in a message that says what to do, a counter, or a clean refusal;
nothing acknowledged is lost, and nothing crashes (a process that dies of a signal fails every test here).
"""

import json
import os
import random
import re
import shutil
import socket
import stat
import struct
import subprocess
import sys
import time
import unittest

import wire
from cantus_test import (Case, Endpoints, config_edit, config_path, listener, program, sender,
                         wait_until)

SEED = int(os.environ.get("CANTUS_TEST_SEED", time.time_ns() % 1_000_000))
INSIDE = "CANTUS_TEST_INSIDE"


class HostileDatagramsTest(Case):
    def setUp(self):
        super().setUp()
        self.random = random.Random(SEED)
        self.d = self.path("d")
        self.dev()
        self.endpoints = Endpoints(self.d)
        self.targets = [self.endpoints.ingress, self.endpoints.egress, self.endpoints.sequencer,
                        *self.endpoints.retransmitters]
        self.sender = sender()
        self.addCleanup(self.sender.close)

    def capture(self):
        """Real datagrams, of both groups, while something is published."""
        listeners = [listener(self.endpoints.ingress), listener(self.endpoints.egress)]
        self.pub_lines(self.d, "/captured", [f"line {i}" for i in range(200)], "--publisher", "victim")
        captured = []
        for s in listeners:
            s.settimeout(0)
            heard = set()

            def more(s=s, heard=heard):
                try:
                    heard.add(s.recv(65536))
                except BlockingIOError:
                    pass
                return len(heard) >= 10
            wait_until(more, lambda: "ten different datagrams")
            captured += sorted(heard)
            s.close()
        return captured

    def throw(self, datagrams):
        for i, d in enumerate(datagrams):
            self.sender.sendto(d, self.targets[i % len(self.targets)])
            if i % 100 == 99:  # no more than a socket buffer holds
                self.status(self.d)

    def counters(self, name):
        return self.process_status(self.d, name)["counters"]

    def check_service(self, before):
        self.pub_lines(self.d, "/after", ["goes on", "and on"], "--publisher", "victim")
        after = self.sub(self.d, "/")
        self.assertEqual(after[:len(before)], before, f"seed {SEED}")
        self.assertEqual([m["payload"] for m in after[len(before):]], ["goes on", "and on"])

    def test_thrown_at_every_port(self):
        captured = self.capture()
        stream = self.endpoints.stream
        follower = self.start([program("cantus"), "--dir", self.d, "sub", "/", "--follow", "--json"])
        follower.wait_lines(200)
        before = self.sub(self.d, "/")
        rng = self.random

        def flipped(d):
            d = bytearray(d)
            d[rng.randrange(16, len(d))] ^= 1 << rng.randrange(8)
            return bytes(d)

        def of_stream(d, other):
            return wire.seal(d[:8] + struct.pack("<Q", other) + d[16:])
        kinds = {
            "dropped_short": [d[:rng.randrange(len(d))] for d in captured * 4] + [b"", b"C", b"Ct\1"],
            "dropped_foreign": [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"] * 10 +
                               [rng.randbytes(rng.randrange(16, 2000)) for _ in range(400)],
            "dropped_version": [d[:2] + b"\2" + d[3:] for d in captured],
            "dropped_stream": [of_stream(d, stream ^ 1) for d in captured],
            "dropped_corrupt": [flipped(d) for d in captured * 8],
            "dropped_malformed": [wire.frame(99, stream, b"unknown type")] * 8 +
                                 [wire.seal(d[:4] + d[4:-1] + b"\xff" * 7) for d in captured
                                  if d[3] != wire.BATCH],
        }
        for counter, datagrams in kinds.items():
            with self.subTest(counter=counter, seed=SEED):
                had = {n: self.counters(n)[counter] for n in ("s1", "r1")}
                self.throw(datagrams)
                for name in had:
                    wait_until(lambda name=name: self.counters(name)[counter] > had[name],
                               lambda counter=counter, name=name: f"{counter} of {name} to grow")
        self.check_service(before)
        lines = follower.wait_lines(len(before) + 2)
        self.assertEqual([json.loads(line)["payload"] for line in lines[-2:]], ["goes on", "and on"])

    def test_sealed_nonsense(self):
        """Bodies of random bytes under a right checksum: what only the decoders stand against. Whole
        well-formed lies (a seal, say) are not among them: the core network is trusted."""
        self.pub_lines(self.d, "/a", [str(i) for i in range(50)], "--publisher", "victim")
        before = self.sub(self.d, "/")
        rng = self.random
        nonsense = [wire.frame(rng.choice([2, 3, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 255]),
                               self.endpoints.stream, rng.randbytes(rng.randrange(1, 20)),
                               count=rng.randrange(4)) for _ in range(600)]
        nonsense += [wire.frame(3, self.endpoints.stream, rng.randbytes(rng.randrange(40, 1400)),
                                count=rng.randrange(65536)) for _ in range(400)]
        nonsense += [wire.seal(struct.pack("<HBBHHQ", 0x7443, 1, 1, 0, rng.randrange(65536),
                                           self.endpoints.stream) + rng.randbytes(rng.randrange(72, 1400)))
                     for _ in range(400)]
        self.throw(nonsense)
        self.check_service(before)
        self.assertGreater(self.counters("s1")["dropped_malformed"], 0)

    def test_large_and_repeated(self):
        captured = self.capture()
        before = self.sub(self.d, "/")
        self.throw([b"Ct" + bytes(65000)] * 20 + captured * 20)
        self.check_service(before)


class HostileConnectionsTest(Case):
    def test_garbage_on_the_tcp_ports(self):
        rng = random.Random(SEED)
        d = self.path("d")
        self.dev()
        self.pub_lines(d, "/a", [str(i) for i in range(50)])
        before = self.payloads(d, "/a")
        endpoints = Endpoints(d)
        held = []
        for address in (endpoints.sequencer_stream, *endpoints.retransmitter_streams,
                        *endpoints.proxy_streams, *endpoints.proxies):
            for attempt in range(60):
                garbage = [rng.randbytes(rng.randrange(1, 4000)), b"GET / HTTP/1.0\r\n\r\n", b"\xff" * 64,
                           b"\0" * 64, struct.pack("<IHH", 0xffffffff, 1, 0), b"\x08"][attempt % 6]
                s = socket.create_connection(address, timeout=20)
                try:
                    s.sendall(garbage)
                    if attempt % 3 == 0:
                        s.shutdown(socket.SHUT_WR)
                        s.recv(100)
                except OSError:
                    pass  # it may hang up on us
                if attempt % 10 == 1:
                    held.append(s)  # half a request, and then silence
                else:
                    s.close()
        self.pub(d, "/a", "goes on")
        self.assertEqual(self.payloads(d, "/a"), before + ["goes on"])
        for s in held:
            s.close()
        self.assertEqual({p["role"] for p in self.status(d)["processes"] if "role" in p},
                         {"sequencer", "retransmitter", "proxy"})

    def test_more_connections_than_there_are_places(self):
        d = self.path("d")
        self.dev()
        self.pub(d, "/a", "before")
        endpoints = Endpoints(d)
        held = []
        for address in (endpoints.sequencer_stream, *endpoints.retransmitter_streams):
            for _ in range(300):
                s = socket.socket()
                s.settimeout(20)
                s.connect(address)
                held.append(s)
        follower = self.start([program("cantus"), "--dir", d, "sub", "/a", "--follow", "--json"])
        self.pub(d, "/a", "meanwhile")
        for s in held:
            s.close()
        follower.wait_lines(2)
        wait_until(lambda: self.status(d) is not None, "an answer, once the others have hung up")
        self.assertEqual(self.payloads(d, "/a"), ["before", "meanwhile"])


class ConfigTest(Case):
    def setUp(self):
        super().setUp()
        self.d = self.path("d")
        self.cantus("init", self.d)
        with open(config_path(self.d), encoding="utf-8") as f:
            self.text = f.read()

    def write(self, text):
        with open(config_path(self.d), "w", encoding="utf-8") as f:
            f.write(text)

    def line_of(self, text, pattern):
        return next(i for i, line in enumerate(text.split("\n"), 1) if re.search(pattern, line))

    def test_check_of_a_good_one(self):
        for daemon in ("cantus-sequencer", "cantus-retransmitter"):
            done = self.execute([program(daemon), "--config", config_path(self.d), "--check"])
            self.assertIn("no problems", done.out)

    def test_all_mistakes_at_once_each_with_its_line(self):
        edits = {r"^  interface:": "  interface: 300.1.2.3", r"^  ingress:": "  ingress: 10.0.0.1:5000",
                 r"^  window:": "  windo: 5", r"^  tick_ms:": "  tick_ms: -1",
                 r"^  queue_max:": "  queue_max: many", r"^    sync:": "    sync: sometimes",
                 r"^  strategy:": "  strategy: sleep"}
        text = self.text
        for pattern, line in edits.items():
            text, count = re.subn(rf"(?m){pattern}.*$", line, text)
            self.assertEqual(count, 1, pattern)
        self.write(text)
        for argv in ([program("cantus-sequencer"), "--config", config_path(self.d), "--check"],
                     [program("cantus-retransmitter"), "--config", config_path(self.d), "--check"],
                     [program("cantus-sequencer"), "--config", config_path(self.d)],
                     [program("cantus"), "dev", "--dir", self.d],
                     [program("cantus"), "--dir", self.d, "status"]):
            with self.subTest(argv=argv[:2]):
                done = self.execute(argv, status=1)
                for line in edits.values():
                    number = self.line_of(text, "^" + re.escape(line) + "$")
                    key = line.split(":")[0].strip()
                    self.assertRegex(done.err, rf"(?m)^{re.escape(config_path(self.d))}:{number}: .*{key}")

    def test_other_damage(self):
        cases = {
            "stream: [1": r"cantus\.yaml:\d+: ",
            "": "empty",
            self.text + "\nstream: \"0123456789abcdef\"\n": "duplicate",
            self.text.replace("stream:", "strean:", 1): "stream",
            "\0\1\2": r"cantus\.yaml",
            self.text.replace("retransmitters:", "retransmiters:"): "retransmitters",
        }
        for text, said in cases.items():
            with self.subTest(said=said):
                self.write(text)
                done = self.execute([program("cantus-sequencer"), "--config", config_path(self.d),
                                     "--check"], status=1)
                self.assertRegex(done.err, said)
        os.remove(config_path(self.d))
        done = self.execute([program("cantus-sequencer"), "--config", config_path(self.d)], status=1)
        self.assertIn("No such file", done.err)

    def test_daemons_without_a_configuration(self):
        for daemon in ("cantus-sequencer", "cantus-retransmitter"):
            done = self.execute([program(daemon)], status=None)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("--config", done.err)


class SurroundingsTest(Case):
    """What the machine refuses."""

    def setUp(self):
        super().setUp()
        self.d = self.path("d")
        self.cantus("init", self.d)

    def refused(self, *patterns):
        done = self.cantus("dev", "--dir", self.d, status=1)
        self.assertNotIn("ready:", done.out)
        for p in patterns:
            self.assertRegex(done.err, p)

    def test_ports_in_use(self):
        endpoints = Endpoints(self.d)
        for address, kind in ((endpoints.sequencer, socket.SOCK_DGRAM),
                              (endpoints.sequencer_stream, socket.SOCK_STREAM),
                              (endpoints.retransmitters[0], socket.SOCK_DGRAM),
                              (endpoints.retransmitter_streams[0], socket.SOCK_STREAM)):
            with self.subTest(address=address, kind=kind):
                with socket.socket(socket.AF_INET, kind) as s:
                    s.bind(address)
                    if kind == socket.SOCK_STREAM:
                        s.listen()
                    self.refused(str(address[1]), "in use", "another port")
        self.dev()

    def test_an_address_of_no_interface(self):
        config_edit(self.d, {"interface": "192.0.2.77"})
        self.refused(r"192\.0\.2\.77", "interface", "ip ")

    def test_unicast_address_of_no_interface(self):
        endpoints = Endpoints(self.d)
        with open(config_path(self.d), encoding="utf-8") as f:
            text = f.read()
        with open(config_path(self.d), "w", encoding="utf-8") as f:
            f.write(text.replace(f"127.0.0.1:{endpoints.sequencer[1]}", f"192.0.2.1:{endpoints.sequencer[1]}"))
        self.refused(r"192\.0\.2\.1")

    def test_two_on_one_directory(self):
        dev = self.dev()
        self.refused(f"{dev.pid}|in use")
        self.pub(self.d, "/a", "undisturbed")
        # The store itself is locked, whatever the ports.
        other = self.path("other")
        shutil.copytree(self.d, other)
        endpoints = Endpoints(self.d)
        with open(config_path(other), encoding="utf-8") as f:
            text = f.read()
        spare = max(endpoints.ports()) + 1
        text = re.sub(r"127\.0\.0\.1:\d+", lambda _, n=iter(range(spare, spare + 9)): f"127.0.0.1:{next(n)}",
                      text)
        text = re.sub(r"(?m)(stream_port:) \d+", lambda m, n=iter(range(spare, spare + 9)):
                      f"{m.group(1)} {next(n)}", text)
        text = re.sub(r'(?m)directory: "(.*)"', rf'directory: "{self.d}/\1"', text)
        with open(config_path(other), "w", encoding="utf-8") as f:
            f.write(text)
        done = self.execute([program("cantus-retransmitter"), "--config", config_path(other)], status=1)
        self.assertIn(f"in use by process {dev.pid}", done.err)
        self.pub(self.d, "/a", "still undisturbed")
        self.assertEqual(self.payloads(self.d, "/a"), ["undisturbed", "still undisturbed"])

    def as_nobody(self, argv):
        """Runs as a user who may do nothing here."""
        if os.geteuid() != 0:
            return argv
        prefix = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        os.chmod(self.tmp, 0o755)
        probe = subprocess.run([*prefix, program("cantus"), "--help"], capture_output=True, check=False)
        if probe.returncode != 0:
            self.skipTest("cannot run the programs as another user")
        return prefix + argv

    def test_directories_without_permission(self):
        closed = self.path("closed")
        os.mkdir(closed, 0o555)
        done = self.execute(self.as_nobody([program("cantus"), "init", os.path.join(closed, "d")]), status=1)
        self.assertRegex(done.err, "Permission denied")
        self.assertIn(closed, done.err)
        done = self.execute(self.as_nobody([program("cantus"), "init", closed]), status=1)
        self.assertRegex(done.err, "Permission denied")

        store = Endpoints(self.d).stores[0]
        modes = {p: stat.S_IMODE(os.stat(p).st_mode) for p in [store, *(
            os.path.join(store, n) for n in os.listdir(store))]}
        for p in sorted(modes, reverse=True):
            os.chmod(p, 0o500 if p == store else 0o400)
        done = self.execute(self.as_nobody([program("cantus"), "dev", "--dir", self.d]), status=1)
        self.assertRegex(done.err, "Permission denied")
        self.assertIn(store, done.err)
        for p, mode in modes.items():
            os.chmod(p, mode)
        self.dev()


class JournalDamageTest(Case):
    LINES = [f"{i} " + "x" * 50_000 for i in range(80)]

    def setUp(self):
        super().setUp()
        self.d = self.path("d")
        self.cantus("init", self.d)
        config_edit(self.d, {"segment_mib": 1})
        self.store = Endpoints(self.d).stores[0]
        self.dev()
        self.pub_lines(self.d, "/a", self.LINES, "--publisher", "p")
        [self.last_number] = [p["next_number"] - 1 for p in self.status(self.d)["publishers"]
                              if p["identity"] == "p"]
        self.processes[-1].terminate()
        self.whole = self.verify(self.store)
        self.assertGreaterEqual(self.whole["segments"], 3)

    def file(self, name):
        return os.path.join(self.store, name)

    def segments(self):
        return sorted(n for n in os.listdir(self.store) if n.startswith("segment-"))

    def patch(self, name, offset, change):
        with open(self.file(name), "r+b") as f:
            f.seek(offset)
            old = f.read(64)
            f.seek(offset)
            f.write(change(old))
        return old

    def check_goes_on(self):
        self.dev()
        self.assertEqual(self.payloads(self.d, "/a"), self.LINES)
        self.pub_lines(self.d, "/a", ["goes on"], "--publisher", "p")
        after = self.sub(self.d, "/a")
        self.assertEqual([m["payload"] for m in after], self.LINES + ["goes on"])
        self.assertEqual(after[-1]["publisher_seq"], self.last_number + 1)

    def test_flipped_bit_in_the_middle(self):
        segment = self.segments()[1]
        old = self.patch(segment, 400_000, lambda b: bytes([b[0] ^ 4]) + b[1:])
        found = self.verify(self.store, status=1)
        self.assertRegex(found["damage"], r"segment 2 offset \d+")
        offset = int(re.search(r"offset (\d+)", found["damage"]).group(1))
        self.assertTrue(390_000 < offset <= 400_000, found)

        # With no peer to heal from, a single store does not vote, and so nobody leads.
        dev = self.dev(ready=False)
        dev.wait_said(r"not leading yet: .*damaged.*cantus journal verify")
        self.assertNotIn("ready:", dev.out())
        self.assertGreater(self.process_status(self.d, "r1")["counters"]["journal_damaged"], 0)
        self.assertEqual(dev.terminate(), 0)

        self.patch(segment, 400_000, lambda _: old)
        self.assertIsNone(self.verify(self.store)["damage"])
        self.check_goes_on()

    def test_truncated_segment(self):
        segment = self.segments()[1]
        with open(self.file(segment), "rb") as f:
            kept = f.read()
        os.truncate(self.file(segment), 300_000)
        found = self.verify(self.store, status=1)
        self.assertIsNotNone(found["damage"])
        dev = self.dev(ready=False)
        dev.wait_said(r"not leading yet: .*damaged.*cantus journal verify")
        self.assertNotIn("ready:", dev.out())
        dev.terminate()
        with open(self.file(segment), "r+b") as f:
            f.write(kept)
        self.check_goes_on()

    def test_missing_segment(self):
        name = self.segments()[1]
        os.rename(self.file(name), self.path(name))
        self.assertIsNotNone(self.verify(self.store, status=1)["damage"])
        dev = self.dev(ready=False)
        dev.wait_said(r"(?i)segment")
        self.assertNotIn("ready:", dev.out())
        dev.ended_by_test = True
        wait_until(lambda: not dev.running() or "not leading yet" in dev.err(), dev.describe)
        dev.terminate()

    def test_torn_tail(self):
        """Blocks of a commit that never completed: after the last batch there are bytes that follow
        nothing."""
        last = self.segments()[-1]
        with open(self.file(last), "rb") as f:
            content = f.read()
        end = len(content.rstrip(b"\0"))
        block = (end + 4095) // 4096 * 4096 + 4096
        self.patch(last, block, lambda _: random.Random(SEED).randbytes(12288))
        found = self.verify(self.store)
        self.assertIsNone(found["damage"])
        self.assertEqual(found["digest"], self.whole["digest"])
        self.check_goes_on()
        self.assertGreater(self.process_status(self.d, "r1")["counters"]["journal_torn_bytes"], 0)
        self.processes[-1].terminate()
        self.assertEqual(self.verify(self.store)["torn_bytes"], 0)

    def test_an_older_mark(self):
        """The mark as it was before the last messages, as a crash between two writes could leave it: what
        follows the chain beyond it stays."""
        kept = self.path("mark")
        shutil.copyfile(self.file("mark"), kept)
        self.dev()
        self.pub_lines(self.d, "/b", ["y" * 1000] * 20, "--publisher", "p")
        self.processes[-1].terminate()
        shutil.copyfile(kept, self.file("mark"))
        self.assertIsNone(self.verify(self.store)["damage"])
        self.dev()
        self.assertEqual(self.payloads(self.d, "/a"), self.LINES)
        self.pub(self.d, "/c", "goes on")
        self.processes[-1].terminate()
        self.assertIsNone(self.verify(self.store)["damage"])

    def test_missing_indexes_are_rebuilt(self):
        indexes = [n for n in os.listdir(self.store) if n.startswith("index-")]
        self.assertGreaterEqual(len(indexes), 2)
        for n in indexes:
            os.remove(self.file(n))
        self.assertEqual(self.verify(self.store), self.whole)
        self.check_goes_on()
        self.processes[-1].terminate()
        for n in indexes:
            self.assertTrue(os.path.exists(self.file(n)), f"{n} is made again")

    def test_missing_or_damaged_mark_and_promise(self):
        for name in ("mark", "promise"):
            with self.subTest(name=name):
                kept = self.path(name)
                os.rename(self.file(name), kept)
                done = self.cantus("dev", "--dir", self.d, status=1)
                self.assertIn(f"`{name}`", done.err)
                self.assertRegex(done.err, "(?i)format a new")
                with open(kept, "rb") as f:
                    content = bytearray(f.read())
                for at in range(0, len(content), 512):
                    content[at] ^= 0xff
                with open(self.file(name), "wb") as f:
                    f.write(content)
                self.assertIn(f"`{name}`", self.cantus("dev", "--dir", self.d, status=1).err)
                shutil.copyfile(kept, self.file(name))
        self.check_goes_on()

    def test_journal_of_another_stream(self):
        other = self.path("other")
        self.cantus("init", other)
        mine = self.path("mine")
        os.rename(self.store, mine)
        shutil.copytree(Endpoints(other).stores[0], self.store)
        done = self.cantus("dev", "--dir", self.d, status=1)
        self.assertIn(f"belongs to stream {Endpoints(other).stream:016x}", done.err)
        shutil.rmtree(self.store)
        os.rename(mine, self.store)
        self.check_goes_on()

    def test_journal_of_another_format_version(self):
        with open(self.file("store"), "r+b") as f:
            block = bytearray(f.read())
            struct.pack_into("<H", block, 4, 2)
            magic = struct.unpack_from("<I", block)[0]
            rest = bytes(block[16:])
            struct.pack_into("<Q", block, 8,
                             wire.xxhash.XXH3_64bits_withSeed(rest, len(rest), 2 << 32 | magic))
            f.seek(0)
            f.write(block)
        for args in (["dev", "--dir", self.d], ["journal", "verify", self.store]):
            done = self.cantus(*args, status=1)
            self.assertIn("format version 2", done.err)

    def test_empty_store_directory(self):
        os.rename(self.store, self.path("mine"))
        os.mkdir(self.store)
        done = self.cantus("dev", "--dir", self.d, status=1)
        self.assertIn("there is no store here", done.err)
        shutil.rmtree(self.store)
        done = self.cantus("dev", "--dir", self.d, status=1)
        self.assertIn(self.store, done.err)


class FullDiskTest(Case):
    def test_in_a_small_file_system(self):
        """Runs FullDisk (below) where a file system may be mounted."""
        flags = ["-m"] if os.geteuid() == 0 else ["-Urm"]
        can = subprocess.run(["unshare", *flags, "mount", "-t", "tmpfs", "-o", "size=1m", "x", self.tmp],
                             capture_output=True, check=False)
        if can.returncode != 0:
            self.skipTest("no file system can be mounted here")
        done = subprocess.run(["unshare", *flags, sys.executable, os.path.abspath(__file__), "-v",
                               "FullDisk"], env=dict(os.environ, **{INSIDE: "1"}), capture_output=True,
                              text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


@unittest.skipUnless(os.environ.get(INSIDE), "run by FullDiskTest")
class FullDisk(Case):
    LINES = [f"{i} " + "x" * 100_000 for i in range(120)]

    def setUp(self):
        super().setUp()
        disk = self.path("disk")
        os.mkdir(disk)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", disk], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", disk], check=True)
        self.d = os.path.join(disk, "d")
        self.cantus("init", self.d)
        config_edit(self.d, {"segment_mib": 1})
        self.ballast = os.path.join(disk, "ballast")
        self.dev(self.d)

    def fill(self, but):
        """Leaves so many bytes."""
        s = os.statvfs(os.path.dirname(self.ballast))
        with open(self.ballast, "wb") as f:
            os.posix_fallocate(f.fileno(), 0, s.f_bavail * s.f_frsize - but)

    def publish_until_full(self):
        self.fill(4 << 20)
        source = self.path("lines")
        with open(source, "w", encoding="ascii") as f:
            f.write("".join(line + "\n" for line in self.LINES))
        with open(source, "rb") as f:
            publisher = self.start([program("cantus"), "--dir", self.d, "pub", "/a", "-", "--json",
                                    "--publisher", "p"], stdin=f)
        self.wait_status(self.d, lambda s: s["members"] and s["members"][0]["full"], "a full disk")
        self.assertTrue(publisher.running(), "nothing is acknowledged that is not on disk")
        self.assertIn("DISK FULL", self.cantus("--dir", self.d, "status").out)
        self.assertGreater(self.process_status(self.d, "r1")["counters"]["journal_full"], 0)
        return publisher

    def check_all_there(self, publisher):
        os.remove(self.ballast)
        self.assertEqual(publisher.wait(), 0, publisher.describe())
        self.wait_status(self.d, lambda s: not s["members"][0]["full"], "the disk is no longer full")
        got = self.sub(self.d, "/a")
        self.assertEqual([m["payload"] for m in got], self.LINES)
        numbers = [m["publisher_seq"] for m in got]
        self.assertEqual(numbers, sorted(numbers))

    def test_appending_pauses_and_goes_on(self):
        publisher = self.publish_until_full()
        stable = self.status(self.d)["stable"]
        there = self.sub(self.d, "/a")  # what is there can be read meanwhile
        self.assertEqual([m["payload"] for m in there], self.LINES[:len(there)])
        self.assertGreaterEqual(self.status(self.d)["stable"], stable)
        self.check_all_there(publisher)

    def test_killed_while_full(self):
        publisher = self.publish_until_full()
        there = self.sub(self.d, "/a")
        self.processes[0].kill()
        # Started again with the disk still full: room for the epoch's record is kept in reserve.
        self.dev(self.d)
        again = self.sub(self.d, "/a")
        self.assertEqual(again[:len(there)], there)
        self.check_all_there(publisher)

    def test_no_room_to_begin_with(self):
        self.processes[0].terminate()
        self.fill(1 << 20)
        new = os.path.join(os.path.dirname(self.d), "new")
        done = self.cantus("init", new, status=1)
        self.assertIn("No space left", done.err)
        os.remove(self.ballast)
        self.cantus("init", new)  # nothing half-made is in the way


if __name__ == "__main__":
    unittest.main()
