"""Processes die at any moment and nothing that was reported is lost. Publishers work in rounds of lines, each
`pub` reporting with its exit status that all of its lines are stable; meanwhile the deployment, or one part
of it, is killed with SIGKILL over and over and started again. Afterwards every reported line is in the stream
exactly once and in its publisher's order, nothing is there that nobody published, and the journal is whole.

Moments are drawn from a seed, which a failure prints; CANTUS_TEST_SEED repeats it (as far as processes can
be repeated). What is sequenced but recorded by nobody is made on purpose, to see followers report a fork.
"""

import json
import os
import random
import signal
import threading
import time
import unittest

from cantus_test import Case, Endpoints, config_path, json_lines, program, wait_until

SEED = int(os.environ.get("CANTUS_TEST_SEED", time.time_ns() % 1_000_000))


class Publisher(threading.Thread):
    """Publishes rounds of lines under one identity until told to stop. `reported` is what some `pub` said
    is stable; `tried` also has what an interrupted one may have got through."""

    def __init__(self, case, dir, name, interrupt=False):
        super().__init__()
        self.case, self.dir, self.name, self.interrupt = case, dir, name, interrupt
        self.random = random.Random(f"{SEED} {name}")
        self.lines, self.reported = [], []
        self.stop = threading.Event()
        self.failure = None
        self.children = []

    def run(self):
        try:
            while not self.stop.is_set():
                self.round()
        except Exception as e:  # shown by the test's thread
            self.failure = e

    def round(self):
        first = len(self.lines)
        batch = [f"{self.name} {first + i}" for i in range(self.random.randint(1, 300))]
        self.lines += batch
        source = self.case.path(f"{self.name}-{first}.txt")
        with open(source, "w", encoding="ascii") as f:
            f.write("".join(line + "\n" for line in batch))
        with open(source, "rb") as f:
            child = self.case.start([program("cantus"), "--dir", self.dir, "pub", f"/crash/{self.name}",
                                     "-", "--publisher", self.name, "--json"], stdin=f)
        if self.interrupt and self.random.random() < 0.3:
            moment = time.monotonic() + self.random.random() * 0.05
            wait_until(lambda: time.monotonic() >= moment, "a moment")
            child.kill()
        if child.wait(600) == 0:
            assert json.loads(child.out())["messages"] == len(batch), child.describe()
            self.reported += batch
        elif not child.ended_by_test:
            raise AssertionError(child.describe())

    def finish(self):
        self.stop.set()
        self.join()
        if self.failure is not None:
            raise self.failure

    def check(self, case, messages):
        got = [m["payload"] for m in messages if m["topic"] == f"/crash/{self.name}"]
        numbers = [m["publisher_seq"] for m in messages if m["topic"] == f"/crash/{self.name}"]
        case.assertEqual(numbers, list(range(1, len(got) + 1)), f"{self.name}, seed {SEED}")
        case.assertEqual(len(got), len(set(got)), f"{self.name}: twice in the stream, seed {SEED}")
        case.assertEqual(sorted(set(self.reported) - set(got)), [],
                         f"{self.name}: reported stable, but not in the stream, seed {SEED}")
        case.assertEqual(sorted(set(got) - set(self.lines)), [])
        order = {line: i for i, line in enumerate(self.lines)}
        places = [order[line] for line in got]
        case.assertEqual(places, sorted(places), f"{self.name}: out of order, seed {SEED}")


class CrashCase(Case):
    def setUp(self):
        super().setUp()
        self.random = random.Random(SEED)
        self.d = self.path("d")
        self.publishers = []
        self.addCleanup(lambda: [p.stop.set() for p in self.publishers])

    def publish(self, count, interrupt=False):
        for i in range(count):
            self.publishers.append(Publisher(self, self.d, f"p{i}", interrupt and i == 0))
            self.publishers[-1].start()

    def reported(self):
        return sum(len(p.reported) for p in self.publishers)

    def progress(self, at_least):
        """Waits until publishers have had so much more reported, then for a random moment."""
        target = self.reported() + at_least
        def done():
            for p in self.publishers:
                if p.failure is not None:
                    raise p.failure
            return self.reported() >= target
        wait_until(done, lambda: f"{at_least} lines more than {target - at_least}; seed {SEED}; "
                   + "\n".join(p.describe() for p in self.processes if p.running()))
        moment = time.monotonic() + self.random.random() * 0.05
        wait_until(lambda: time.monotonic() >= moment, "a moment")

    def check_stream(self):
        for p in self.publishers:
            p.finish()
        messages = self.sub(self.d, "/crash")
        for p in self.publishers:
            p.check(self, messages)
        self.assertGreater(self.reported(), 0)
        return messages


class DevKilledTest(CrashCase):
    def test_killed_at_random_moments(self):
        dev = self.dev()
        self.publish(3, interrupt=True)
        followed = self.start([program("cantus"), "--dir", self.d, "sub", "/crash", "--follow", "--json"])
        epochs = 12
        for _ in range(epochs):
            self.progress(self.random.randint(1, 600))
            dev.kill()
            walk = self.verify(Endpoints(self.d).stores[0])
            self.assertIsNone(walk["damage"], f"seed {SEED}")
            dev = self.dev()
        self.progress(100)
        messages = self.check_stream()
        self.assertEqual(self.status(self.d)["epoch"]["number"], epochs + 1)

        # A stable follower that lived through all of it has seen exactly the same.
        lines = followed.wait_lines(len(messages))
        self.assertEqual(json_lines("\n".join(lines))[:len(messages)], messages)
        self.assertNotIn("took back", followed.err())
        dev.terminate()
        walk = self.verify(self.d)
        self.assertEqual((walk["damage"], walk["torn_bytes"], walk["first_seq"]), (None, 0, 1))
        self.assertEqual(walk["messages"], walk["last_seq"])

    def test_killed_while_it_starts(self):
        dev = self.dev()
        self.pub_lines(self.d, "/a", ["1", "2", "3"], "--publisher", "p")
        dev.kill()
        for _ in range(15):
            dev = self.dev(ready=False)
            moment = time.monotonic() + self.random.random() * 0.03
            wait_until(lambda: time.monotonic() >= moment, "a moment")
            dev.kill()
        dev = self.dev()
        self.pub_lines(self.d, "/a", ["4"], "--publisher", "p")
        self.assertEqual(self.payloads(self.d, "/a"), ["1", "2", "3", "4"])


class DaemonsCase(CrashCase):
    """cantus-sequencer and cantus-retransmitter on one cantus.yaml."""

    def setUp(self):
        super().setUp()
        self.cantus("init", self.d)

    def sequencer(self):
        before = self.process_status(self.d, "s1")
        process = self.start([program("cantus-sequencer"), "--config", config_path(self.d)])
        if before is None:
            process.wait_said(r"sequencer: ready")
        return process

    def retransmitter(self):
        process = self.start([program("cantus-retransmitter"), "--config", config_path(self.d)])
        process.wait_said(r"retransmitter: ready")
        return process


class DaemonsKilledTest(DaemonsCase):
    def test_killed_separately(self):
        retransmitter = self.retransmitter()
        sequencer = self.sequencer()
        self.publish(2)
        for i in range(8):
            self.progress(self.random.randint(1, 300))
            if i % 2 == 0:
                sequencer.kill()
                sequencer = self.sequencer()
            else:
                retransmitter.kill()
                retransmitter = self.retransmitter()
        self.progress(100)
        self.check_stream()
        self.assertEqual(self.status(self.d)["epoch"]["number"], 5)
        for daemon in (sequencer, retransmitter):
            self.assertEqual(daemon.terminate(), 0, daemon.describe())
        self.assertIsNone(self.verify(self.d)["damage"])

    def test_either_starts_first(self):
        sequencer = self.start([program("cantus-sequencer"), "--config", config_path(self.d)])
        sequencer.wait_said("not leading yet")
        self.retransmitter()
        sequencer.wait_said("sequencer: ready")
        self.pub(self.d, "/a", "x")
        self.assertEqual(self.payloads(self.d, "/a"), ["x"])

    def test_retransmitter_stopped_and_continued(self):
        retransmitter = self.retransmitter()
        self.sequencer()
        self.pub_lines(self.d, "/a", ["before"], "--publisher", "p")
        retransmitter.signal(signal.SIGSTOP)
        waiting = self.start([program("cantus"), "--dir", self.d, "pub", "/a", "meanwhile",
                              "--publisher", "p"])
        self.wait_status_of_sequencer(lambda s: s["stable"] < s["tip"])
        self.assertTrue(waiting.running(), "nothing is stable without the only store")
        retransmitter.signal(signal.SIGCONT)
        self.assertEqual(waiting.wait(), 0, waiting.describe())
        self.assertEqual(self.payloads(self.d, "/a"), ["before", "meanwhile"])

    def wait_status_of_sequencer(self, condition):
        return wait_until(lambda: (lambda s: s is not None and condition(s))(
            self.process_status(self.d, "s1")), "the sequencer's status")

    def test_sequencer_stopped_and_superseded(self):
        """A paused old sequencer that wakes up harms nobody, and says that it is fenced."""
        self.retransmitter()
        old = self.sequencer()
        self.pub(self.d, "/a", "old epoch", "--publisher", "p")
        old.signal(signal.SIGSTOP)
        # A second one on this host needs ports of its own; the groups are the same.
        other = self.path("other")
        os.mkdir(other)
        with open(config_path(self.d), encoding="utf-8") as f:
            text = f.read()
        endpoints = Endpoints(self.d)
        spare = max(endpoints.ports()) + 1
        before, after = text.split("\nsequencer:", 1)
        after = after.replace(f"unicast: 127.0.0.1:{endpoints.sequencer[1]}",
                              f"unicast: 127.0.0.1:{spare}", 1)
        after = after.replace(f"stream_port: {endpoints.sequencer_stream[1]}", f"stream_port: {spare}", 1)
        after = after.replace('directory: "', f'directory: "{self.d}/', 1)
        with open(config_path(other), "w", encoding="utf-8") as f:
            f.write(before + "\nsequencer:" + after)
        new = self.start([program("cantus-sequencer"), "--config", config_path(other)])
        new.wait_said("sequencer: ready")
        self.pub(other, "/a", "new epoch", "--publisher", "p")
        old.signal(signal.SIGCONT)
        old.wait_said("fenced")
        self.pub(other, "/a", "goes on", "--publisher", "p")
        self.assertEqual(self.payloads(other, "/a"), ["old epoch", "new epoch", "goes on"])
        self.assertEqual(self.sub(other, "/a")[-1]["publisher_seq"], 3)


class ForkTest(DaemonsCase):
    def test_followers_at_sequenced_report_what_was_taken_back(self):
        retransmitter = self.retransmitter()
        sequencer = self.sequencer()
        self.pub(self.d, "/a", "stays", "--publisher", "p")
        sequenced, stable = (self.start([program("cantus"), "--dir", self.d, "sub", "/a", "--follow",
                                         "--json", *level]) for level in (["--sequenced"], []))
        for follower in (sequenced, stable):
            follower.wait_lines(1)
        # A publisher has to have joined, which is acted upon when it is stable.
        reader, writer = os.pipe()
        self.start([program("cantus"), "--dir", self.d, "pub", "/a", "-", "--sequenced",
                    "--publisher", "q"], stdin=reader).ended_by_test = True
        os.close(reader)
        self.addCleanup(os.close, writer)
        os.write(writer, b"joined\n")
        for follower in (sequenced, stable):
            follower.wait_lines(2)
        retransmitter.kill()  # from here on nobody records
        os.write(writer, b"taken back\n")
        lost = json.loads(sequenced.wait_lines(3)[2])
        self.assertEqual(lost["payload"], "taken back")
        self.processes[-1].kill()
        sequencer.kill()
        self.retransmitter()
        self.sequencer()
        self.pub(self.d, "/a", "in its place", "--publisher", "p")
        said = sequenced.wait_said(r"took back .* from seq (\d+)")
        self.assertEqual(int(said.group(1)), lost["seq"])
        wait_until(lambda: any("in its place" in line for line in sequenced.out().splitlines()),
                   lambda: sequenced.describe())
        stable.wait_lines(3)
        left = ["stays", "joined", "in its place"]
        self.assertEqual([m["payload"] for m in json_lines(stable.out())], left)
        self.assertNotIn("took back", stable.err())
        self.assertEqual(self.payloads(self.d, "/a"), left)
        self.assertIsNone(self.verify(self.d)["damage"])

    def test_a_publisher_that_waits_for_stable_gets_its_message_in_after_all(self):
        retransmitter = self.retransmitter()
        sequencer = self.sequencer()
        self.pub(self.d, "/a", "first", "--publisher", "p")
        retransmitter.kill()
        waiting = self.start([program("cantus"), "--dir", self.d, "pub", "/a", "wants stable",
                              "--publisher", "p"])
        # It joined, and was sequenced, on a history that nobody records; or it waits for its join.
        wait_until(lambda: (self.process_status(self.d, "s1") or {"tip": 0, "stable": 0})["tip"] >
                   self.process_status(self.d, "s1")["stable"], "something that is not stable")
        sequencer.kill()
        self.retransmitter()
        self.sequencer()
        self.assertEqual(waiting.wait(), 0, waiting.describe())
        self.assertEqual(self.payloads(self.d, "/a"), ["first", "wants stable"])


if __name__ == "__main__":
    unittest.main()
