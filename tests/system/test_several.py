#!/usr/bin/env python3
"""Deployments of several sequencers and stores: made by init, run by dev and by the daemons, changed
while they run by promote, member and session, and looked at with status, history and verify. What is
published before, meanwhile and after has to be in the stream, once, in one order; every refusal has to
say what to do."""

import json
import os
import re
import shutil
import socket
import socketserver
import struct
import threading
import unittest

from cantus_test import (COMPILER, SANITIZE, Case, Endpoints, config_edit, config_path, json_lines, program,
                         wait_until)

STATUS_REQUEST, STATUS, COMMAND, OUTCOME, PENDING = 5, 6, 7, 8, 2


def varint(n):
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)


def protobuf(**fields):
    """Fields named by kind and number: b for bytes, v for a varint, f for a fixed64."""
    out = b""
    for name, value in fields.items():
        kind, number = name[0], int(name[1:])
        tag = varint(number << 3 | {"v": 0, "f": 1, "b": 2}[kind])
        out += tag + (varint(value) if kind == "v" else struct.pack("<Q", value) if kind == "f"
                      else varint(len(value)) + value)
    return out


class Pretender(socketserver.ThreadingTCPServer):
    """Answers on s2's stream port as one that takes a promotion up, seals, and gives it up again."""
    allow_reuse_address = daemon_threads = True

    def __init__(self, dir, epoch):
        ends = Endpoints(dir)
        self.stream, self.epoch, self.told, self.looks = ends.stream, epoch, 0, 0
        super().__init__(ends.sequencer_streams[1], None)
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def __exit__(self, *args):
        self.shutdown()
        self.thread.join()
        super().__exit__(*args)

    def status(self):
        self.looks += self.told
        state = b"sealing" if 1 <= self.looks <= 3 else b"following"
        return protobuf(b1=b"sequencer", b2=state, f3=self.stream, b4=b"main",
                        b5=protobuf(v1=self.epoch, f2=1, v3=2), v6=2, v7=2, v8=0, v9=2, v12=0, v13=0,
                        v15=1, v16=1, f17=0, v18=1, f19=1)

    def finish_request(self, request, client_address):
        with request.makefile("rwb") as f:
            while header := f.read(5):
                length, kind = struct.unpack("<IB", header)
                f.read(length - 1)
                self.told += kind == COMMAND
                body = self.status() if kind == STATUS_REQUEST else protobuf(
                    v1=PENDING, v2=0, v3=0, f4=0, v5=0, f6=0, f7=0, b8=b"asks the stores")
                answer = STATUS if kind == STATUS_REQUEST else OUTCOME
                f.write(struct.pack("<IB", len(body) + 1, answer) + body)
                f.flush()


class SeveralCase(Case):
    def setUp(self):
        super().setUp()
        self.d = self.path("d")
        self.published = []

    def init(self, stores=3, sequencers=2, *args):
        return self.cantus("init", self.d, "--stores", stores, "--sequencers", sequencers, *args)

    def retransmitter(self, name):
        process = self.start([program("cantus-retransmitter"), "--config", config_path(self.d),
                              "--name", name])
        process.wait_said("retransmitter: ready")
        return process

    def sequencer(self, name, *args, said="sequencer: ready"):
        process = self.start([program("cantus-sequencer"), "--config", config_path(self.d),
                              "--name", name, *args])
        process.wait_said(said)
        return process

    def standby(self, name):
        return self.sequencer(name, "--standby", said="standing by")

    def deployment(self, stores=3, sequencers=2):
        self.init(stores, sequencers)
        self.stores = {f"r{i}": self.retransmitter(f"r{i}") for i in range(1, stores + 1)}
        self.sequencers = {"s1": self.sequencer("s1")}
        for i in range(2, sequencers + 1):
            self.sequencers[f"s{i}"] = self.standby(f"s{i}")

    def publish(self, count):
        lines = [f"m{len(self.published) + i}" for i in range(count)]
        self.pub_lines(self.d, "/several", lines, "--publisher", "p")
        self.published += lines

    def check_stream(self):
        self.assertEqual(self.payloads(self.d, "/several"), self.published)

    def on_deployment(self, *args, **options):
        return self.cantus("--dir", self.d, *args, **options)

    def history(self):
        return json_lines(self.on_deployment("history", "--json").out)

    def wait_leader(self, name):
        return self.wait_status(self.d, lambda s: s["leader"] == name, f"{name} to lead")

    def wait_verified(self):
        """A store may be a moment behind what is stable."""
        def verified():
            done = self.on_deployment("verify", "--json", status=None)
            return json.loads(done.out) if done.returncode == 0 else None
        return wait_until(verified, lambda: self.on_deployment("verify", status=None).out)


class InitTest(SeveralCase):
    def test_all_begin_alike(self):
        made = json.loads(self.init(3, 2, "--json").out)
        self.assertEqual((made["stores"], made["sequencers"]), (3, 2))
        walks = [self.verify(self.path("d", f"r{i}")) for i in (1, 2, 3)]
        self.assertEqual(len({w["store"] for w in walks}), 3)
        self.assertEqual({(w["stream"], w["last_seq"], w["digest"]) for w in walks},
                         {(made["stream"], 1, walks[0]["digest"])})
        with open(config_path(self.d), encoding="utf-8") as f:
            text = f.read()
        self.assertEqual(re.findall(r'name: "(\w+)"', text), ["s1", "s2", "r1", "r2", "r3", "p1"])

    def test_what_a_quorum_means_is_said(self):
        for stores, quorum, words in ((3, 1, ("fixes the membership", "one lost store blocks failover")),
                                      (5, 2, ("fixes the membership", "promises of 4")),
                                      (2, 2, ("pauses the stream",)), (3, 3, ("pauses the stream",))):
            done = self.cantus("init", self.path(f"{stores}-{quorum}"), "--stores", stores, "--quorum",
                               quorum)
            for word in words:
                self.assertIn(word, done.err)
        self.assertEqual(self.cantus("init", self.path("usual"), "--stores", 3).err, "")
        self.assertEqual(self.cantus("init", self.path("same"), "--stores", 3, "--quorum", 2).err, "")

    def test_numbers_that_make_no_sense(self):
        for args in (("--quorum", 2), ("--stores", 3, "--quorum", 4), ("--volatile", "--stores", 1),
                     ("--volatile", "--sequencers", 2)):
            self.cantus("init", self.d, *args, status=1)
        for args in (("--stores", 0), ("--stores", 16), ("--sequencers", 8), ("--quorum", 0)):
            self.cantus("init", self.d, *args, status=2)
        self.assertFalse(os.path.exists(config_path(self.d)))

    def test_daemons_want_a_name(self):
        self.init()
        for daemon in ("cantus-sequencer", "cantus-retransmitter"):
            done = self.execute([program(daemon), "--config", config_path(self.d)], status=1)
            self.assertIn("use --name", done.err)
            done = self.execute([program(daemon), "--config", config_path(self.d), "--name", "x"],
                                status=1)
            self.assertIn("no ", done.err)
            self.execute([program(daemon), "--config", config_path(self.d), "--check"])


class DevTest(SeveralCase):
    def test_all_in_one_process(self):
        dev = self.dev(self.d, "--stores", "3", "--sequencers", "2")
        self.assertIn("stores 3", dev.ready)
        self.publish(100)
        self.check_stream()
        status = self.status(self.d)
        self.assertEqual([p["name"] for p in status["processes"]], ["s1", "s2", "r1", "r2", "r3", "p1"])
        self.assertEqual((status["leader"], status["quorum"], len(status["members"])), ("s1", 2, 3))
        self.assertTrue(self.wait_verified()["agree"])
        # The other one leads when it is told to, and dev says so.
        self.on_deployment("promote", "--why", "a test")
        dev.wait_said(r"s1 leads no more: fenced")
        dev.wait_said(r"s2 leads: epoch 2")
        self.publish(100)
        self.check_stream()
        self.assertEqual(dev.terminate(), 0)
        # Started again it continues, and the first leads.
        self.dev(self.d)
        self.assertEqual(self.status(self.d)["leader"], "s1")
        self.publish(1)
        self.check_stream()

    def test_a_stream_stays_as_it_was_made(self):
        self.dev(self.d).terminate()
        again = self.dev(self.d, "--stores", "3")
        self.assertIn("stores 1", again.ready)
        again.wait_said("stay as they are")


class PromoteTest(SeveralCase):
    def test_the_one_that_stands_by(self):
        self.deployment()
        self.publish(50)
        before = self.status(self.d)
        done = json.loads(self.on_deployment("promote", "--why", 'maintenance of "s1"', "--json").out)
        self.assertEqual((done["name"], done["epoch"]), ("s2", before["epoch"]["number"] + 1))
        self.assertGreater(done["tip"], before["tip"])
        self.sequencers["s1"].wait_said("fenced")
        self.publish(50)
        self.check_stream()
        after = self.status(self.d)
        self.assertEqual(after["leader"], "s2")
        # And back again.
        self.on_deployment("promote", "s1", "--why", "done")
        self.wait_leader("s1")
        self.publish(1)
        self.check_stream()
        epochs = [h for h in self.history() if "epoch" in h]
        self.assertEqual([(e["epoch"], e["how"], e["why"]) for e in epochs],
                         [(1, "started", ""), (2, "promoted", 'maintenance of "s1"'),
                          (3, "promoted", "done")])
        self.assertEqual(epochs[1]["candidate"], done["candidate"])
        for older, newer in zip(epochs, epochs[1:]):
            self.assertEqual(newer["adopted"]["epoch"], older["epoch"])
            self.assertEqual(newer["adopted"]["seq"], newer["seq"] - 1)
        said = self.on_deployment("history").out
        self.assertIn("why: done", said)
        self.assertIn(f"  promoted, candidate {epochs[1]['candidate']}  continues", said)
        self.assertIn(f"  promoted, candidate {epochs[2]['candidate']} (s1)  continues", said)
        self.assertTrue(self.wait_verified()["agree"])

    def test_a_faster_one(self):
        """What was given up for a rival is not waited for."""
        self.deployment()
        epoch = self.status(self.d)["epoch"]["number"]
        self.sequencers["s2"].terminate()
        with Pretender(self.d, epoch) as pretender:
            done = self.on_deployment("promote", "s2", "--why", "x", "--timeout", "3000", status=1)
        self.assertEqual(pretender.told, 1)
        self.assertIn("s2: sealing", done.err)
        self.assertIn(f"s2 has given up: s1 leads, in epoch {epoch}", done.err)

    def test_after_the_leader_died(self):
        self.deployment()
        self.publish(50)
        self.sequencers["s1"].kill()
        waiting = self.start([program("cantus"), "--dir", self.d, "pub", "/several", "meanwhile",
                              "--publisher", "p"])
        status = self.wait_status(self.d, lambda s: s["leader"] is None, "nobody to lead")
        self.assertTrue(any("no sequencer leads" in w for w in status["warnings"]), status["warnings"])
        self.on_deployment("promote", "--why", "s1 died")
        self.published.append("meanwhile")
        self.assertEqual(waiting.wait(), 0, waiting.describe())
        self.publish(50)
        self.check_stream()
        # The dead one comes back as a standby, not as a rival.
        self.standby("s1")
        self.assertEqual(self.wait_leader("s2")["epoch"]["number"], 2)

    def test_refusals(self):
        self.deployment()
        for args, status, word in ((("s1", "--why", "x"), 1, "leads already"),
                                   (("s9", "--why", "x"), 1, "the configuration has s1 s2"),
                                   (("r1", "--why", "x"), 1, "no sequencer is named 'r1'"),
                                   (("s2",), 2, "--why"), (("s2", "--why", "x" * 121), 2, "120"),
                                   (("s1", "s2", "--why", "x"), 2, "one NAME")):
            self.assertIn(word, self.on_deployment("promote", *args, status=status).err)
        self.sequencers["s2"].terminate()
        self.assertIn("no standby", self.on_deployment("promote", "--why", "x", status=1).err)
        self.assertEqual(self.status(self.d)["epoch"]["number"], 1)

    def test_without_a_quorum_of_stores(self):
        self.deployment()
        self.publish(5)
        self.stores["r1"].kill()
        self.stores["r2"].kill()
        done = self.on_deployment("promote", "--why", "x", "--timeout", "3", status=1)
        self.assertRegex(done.err, "refuses|does not lead")

    def test_automatic(self):
        self.init()
        config_edit(self.d, {"promotion": "automatic", "silence_ms": 300})
        self.stores = [self.retransmitter(f"r{i}") for i in (1, 2, 3)]
        first, second = self.sequencer("s1"), self.standby("s2")
        self.publish(50)
        first.kill()
        self.publish(50)
        second.wait_said("sequencer: ready")
        self.check_stream()
        self.assertEqual([h["how"] for h in self.history() if "epoch" in h], ["started", "timeout"])


class SessionTest(SeveralCase):
    def test_another_session(self):
        self.deployment(stores=1, sequencers=1)
        self.assertEqual(self.on_deployment("session").out, "main\n")
        self.publish(1)
        done = json.loads(self.on_deployment("session", "2026-07-01", "--json").out)
        self.publish(1)
        self.assertEqual(self.status(self.d)["session"], "2026-07-01")
        sessions = [h for h in self.history() if "session" in h]
        self.assertEqual([s["session"] for s in sessions], ["main", "2026-07-01"])
        self.assertEqual(sessions[-1]["seq"], done["seq"])
        self.check_stream()


EPOLL_FULL = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/epoll.h>
int epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
    static int added;
    int (*real)(int, int, int, struct epoll_event *) = dlsym(RTLD_NEXT, "epoll_ctl");
    if (op != EPOLL_CTL_ADD || ++added < FAILS_FROM)
        return real(epoll, op, fd, event);
    errno = ENOSPC;
    return -1;
}
"""


class StartTest(SeveralCase):
    @unittest.skipIf(SANITIZE, "what is preloaded would come before the sanitizer")
    def test_what_cannot_be_waited_for(self):
        """A sequencer whose descriptors the system refuses to watch, one after the other, says so; it is never
        ready before that."""
        self.init()
        ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(ready.close)
        ready.bind(self.path("notify"))
        ready.setblocking(False)
        for first in (1, 2, 3, 4):
            shim = self.path(f"shim{first}.so")
            self.execute([COMPILER, "-shared", "-fPIC", f"-DFAILS_FROM={first}", "-x", "c", "-", "-o", shim,
                          "-ldl"], input=EPOLL_FULL)
            done = self.execute([program("cantus-sequencer"), "--config", config_path(self.d), "--name", "s1"],
                                status=1, env={**os.environ, "LD_PRELOAD": shim,
                                               "NOTIFY_SOCKET": self.path("notify")})
            self.assertIn("No space left on device", done.err)
        self.assertRaises(BlockingIOError, ready.recv, 100)


class MemberTest(SeveralCase):
    def store_id(self, name):
        return self.process_status(self.d, name)["store"]

    def members(self):
        return [m["store"] for m in self.status(self.d)["members"]]

    def enlarge(self, name, offset):
        """Another retransmitter in cantus.yaml, with a fresh store."""
        with open(config_path(self.d), encoding="utf-8") as f:
            text = f.read()
        port = max(Endpoints(self.d).proxies)[1] + offset
        item = (f"  - name: {name}\n    unicast: 127.0.0.1:{port}\n    stream_port: {port}\n"
                f"    directory: {name}\n")
        text, count = re.subn(r"(?m)^((?:#[^\n]*\n)*proxies:)", rf"{item}\1", text)
        self.assertEqual(count, 1)
        with open(config_path(self.d), "w", encoding="utf-8") as f:
            f.write(text)
        return self.execute([program("cantus-retransmitter"), "--config", config_path(self.d),
                             "--name", name, "--format"]).out.strip()

    def test_grow_and_shrink(self):
        self.deployment()
        self.publish(2000)
        store = self.enlarge("r4", 1)
        self.assertIn("not running", self.on_deployment("member", "add", "r4", status=1).err)
        self.retransmitter("r4")
        status = self.wait_status(self.d, lambda s: any("r4 is no member" in w for w in s["warnings"]),
                                  "a warning of r4")
        self.assertNotIn(store, [m["store"] for m in status["members"]])
        done = self.on_deployment("member", "add", "r4")
        self.assertIn("has caught up", done.out)
        self.assertIn("the digest at seq", done.out)
        self.assertIn("is a member, stable", done.out)
        self.assertIn("is a member already", self.on_deployment("member", "add", "r4").out)
        self.assertEqual(len(self.members()), 4)
        self.assertIn(store, self.members())
        self.publish(100)
        gone = self.store_id("r1")
        self.assertIn("is no member any more", self.on_deployment("member", "remove", "r1").out)
        self.assertNotIn(gone, self.members())
        self.stores["r1"].terminate()
        self.publish(100)
        self.check_stream()
        listed = self.on_deployment("member").out
        self.assertIn("r4", listed)
        self.assertNotIn(gone, listed)

    def test_replace_what_was_wiped(self):
        self.deployment()
        self.publish(200)
        old = self.store_id("r3")
        self.stores["r3"].kill()
        self.assertIn(old, self.on_deployment("member", "remove", "r3", status=1).err)
        shutil.rmtree(self.path("d", "r3"))
        new = self.execute([program("cantus-retransmitter"), "--config", config_path(self.d), "--name",
                            "r3", "--format"]).out.strip()
        self.assertNotEqual(new, old)
        self.retransmitter("r3")
        self.publish(10)
        # By its name it would be the new one, which is no member.
        self.assertIn(old, self.on_deployment("member", "remove", "r3", status=1).err)
        self.on_deployment("member", "replace", old, "r3")
        self.assertIn(new, self.members())
        self.assertNotIn(old, self.members())
        self.publish(10)
        self.check_stream()
        self.assertEqual(len(self.wait_verified()["stores"]), 3)

    def test_refusals(self):
        self.deployment(stores=1, sequencers=1)
        for args, status, word in ((("add", "r9"), 1, "the configuration has r1"),
                                   (("add", "s1"), 1, "no retransmitter"),
                                   (("remove", "r9"), 1, "neither"),
                                   (("remove", "0123456789abcdef"), 1, "is no member"),
                                   (("replace", "r1", "r1"), 1, "the very store"),
                                   (("remove", "r1"), 1, "refuses"),
                                   (("add",), 2, "NAME"), (("lose", "r1"), 2, "NAME")):
            self.assertIn(word, self.on_deployment("member", *args, status=status).err)
        self.assertEqual(len(self.members()), 1)

    def test_a_small_quorum_fixes_the_membership(self):
        self.init(3, 1, "--quorum", 1)
        for i in (1, 2, 3):
            self.retransmitter(f"r{i}")
        self.sequencer("s1")
        self.assertIn("its membership is fixed",
                      self.on_deployment("member", "remove", "r1", status=1).err)


class VerifyTest(SeveralCase):
    def test_equal_and_incomplete(self):
        self.deployment()
        self.publish(500)
        result = self.wait_verified()
        self.assertTrue(result["agree"])
        self.assertIsNone(result["first_differing_seq"])
        self.assertEqual(len({s["digest"] for s in result["stores"]}), 1)
        self.assertGreaterEqual(result["through"], 500)
        self.stores["r2"].kill()
        done = self.on_deployment("verify", "--json", status=1)
        result = json.loads(done.out)
        self.assertTrue(result["agree"])
        self.assertEqual([s["name"] for s in result["stores"] if "problem" in s], ["r2"])
        self.assertIn("not running", self.on_deployment("verify", status=1).out)


if __name__ == "__main__":
    unittest.main()
