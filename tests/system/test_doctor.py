"""`cantus doctor` on this machine as it is, with and without a deployment, and `cantus why` where something is
really waited for: a quorum whose stores were stopped, a publisher with a hole in its numbers, an app that is
behind, a leader that is gone, and a name that nobody has.
"""

import json
import os
import signal
import struct
import subprocess
import threading
import unittest

import wire
from cantus_test import SOURCE, Case, Endpoints, config_edit, json_lines, program, sender, wait_until

CHECKS = {"receive_buffer", "send_buffer", "interface", "mtu", "igmp_snooping", "rp_filter", "multicast_route",
          "multicast_received", "clock_source", "cores", "open_files", "host_files", "memory_lock"}


class DoctorTest(Case):
    def doctor(self, *args):
        """{check: [findings]}, and the exit status that goes with them."""
        done = self.cantus(*args, "--json", status=None)
        findings = {}
        for f in json_lines(done.out):
            self.assertIn(f["verdict"], ("ok", "warn", "bad"))
            self.assertTrue(f["found"] and f["why"], f)
            self.assertEqual(f["mend"] == "", f["verdict"] == "ok", f)
            findings.setdefault(f["check"], []).append(f)
        bad = any(f["verdict"] == "bad" for of in findings.values() for f in of)
        self.assertEqual(done.returncode, 1 if bad else 0, done.out)
        return findings

    def test_only_the_machine(self):
        findings = self.doctor("doctor")
        self.assertLessEqual(CHECKS, set(findings))
        self.assertEqual(findings["multicast_received"][0]["verdict"], "ok", findings)
        self.assertEqual(findings["mtu"][0]["verdict"], "ok", findings)
        self.assertNotIn("disk_sync", findings)
        text = self.cantus("doctor", status=None).out
        with open(os.path.join(SOURCE, "docs", "troubleshooting.md"), encoding="utf-8") as f:
            explained = f.read()
        for check in findings:
            self.assertIn(f"`{check}`", explained)
        for f in (f for of in findings.values() for f in of):
            self.assertIn(f["check"], text)
            self.assertIn(f["mend"], text)

    def test_a_deployment(self):
        d = self.path("d")
        self.cantus("init", d)
        quiet = self.doctor("--dir", d, "doctor")  # none of its processes runs
        self.assertNotIn("clock_skew", quiet)
        self.dev(d)
        findings = self.doctor("--dir", d, "doctor")
        self.assertLessEqual(CHECKS | {"disk_sync", "disk_space", "clock_skew"}, set(findings))
        self.assertEqual({f["verdict"] for f in findings["clock_skew"]}, {"ok"})  # it is our own clock
        self.assertEqual(len(findings["clock_skew"]), 2)
        self.assertRegex(findings["disk_sync"][0]["found"],
                         r"^r1: (\d+\.\d+ ms for one append|a file system in memory)")
        self.assertEqual([n for n in os.listdir(os.path.join(d, "r1")) if "doctor" in n], [])

    def test_what_a_configuration_asks_for(self):
        d = self.path("d")
        self.cantus("init", d)
        config_edit(d, {"sync": "none", "datagram_max": 8972})
        findings = self.doctor("--dir", d, "doctor")
        self.assertEqual(findings["disk_sync"][0]["verdict"], "warn")
        self.assertIn("8972", findings["mtu"][0]["found"])

    def test_usage(self):
        self.cantus("doctor", "not-an-address", status=2)
        elsewhere = self.doctor("doctor", "192.0.2.77")
        self.assertEqual(elsewhere["interface"][0]["verdict"], "bad")


class WhyTest(Case):
    def setUp(self):
        super().setUp()
        self.d = self.path("d")

    def cluster(self):
        self.cantus("init", self.d, "--stores", "3")
        config = os.path.join(self.d, "cantus.yaml")
        self.stores = [self.start([program("cantus-retransmitter"), "--config", config, "--name", f"r{i}"])
                       for i in (1, 2, 3)]
        self.sequencer = self.start([program("cantus-sequencer"), "--config", config, "--name", "s1"])
        self.wait_status(self.d, lambda s: s["leader"] == "s1", "s1 leads")

    def why(self, name, status=0):
        """Status None: known or not, as it may be that nobody who answers knows the name just now."""
        done = self.cantus("--dir", self.d, "why", name, "--json", status=status)
        return json.loads(done.out)

    def wait_why(self, name, words):
        """Until what holds it up says all these words."""
        last = [None]

        def says():
            last[0] = self.why(name, status=None)
            text = " ".join(w["text"] for w in last[0]["waits"] if w["holds_up"])
            return text if all(word in text for word in words) else None
        return wait_until(says, lambda: f"{words} in {last[0]}")

    def test_a_missing_quorum(self):
        self.cluster()
        self.pub(self.d, "/a", "one", "--publisher", "trader")
        calm = self.why("trader")
        self.assertFalse([w for w in calm["waits"] if w["holds_up"]], calm)
        self.assertIn("waits for nothing", self.cantus("--dir", self.d, "why", "trader").out)
        self.stores[2].terminate()
        still = self.why("trader")  # two of three are enough
        self.assertFalse([w for w in still["waits"] if w["holds_up"]], still)
        self.assertIn("r3 does not answer", str(still))
        self.stores[1].terminate()
        waiting = self.start([program("cantus"), "--dir", self.d, "pub", "/a", "two", "--publisher", "trader"])
        text = self.wait_why("trader", ["a quorum of stores is missing: 1 of the 2", "r2 does not answer",
                                        "r3 does not answer"])
        self.assertIn("stable through", text)
        self.assertTrue(waiting.running())
        self.stores[1] = self.start(self.stores[1].argv)
        self.assertEqual(waiting.wait(), 0, waiting.describe())
        wait_until(lambda: not [w for w in self.why("trader")["waits"] if w["holds_up"]], "all well")

    def publisher(self, name):
        def known():
            of = [p for p in self.status(self.d)["publishers"] if p["identity"] == name]
            return of[0] if of else None
        return wait_until(known, f"publisher {name}")

    def test_a_hole_in_the_numbers(self):
        self.dev(self.d)
        self.pub(self.d, "/a", "one", "--publisher", "holed")
        p = self.publisher("holed")
        endpoints = Endpoints(self.d)
        n = p["next_number"]
        datagram = wire.frame(3, endpoints.stream,
                              struct.pack("<IIQIQQI", p["id"], p["incarnation"], n + 2, 0, 0, 0, 0) +
                              struct.pack("<H", 1) + (16).to_bytes(3, "little") + b"\x00x", count=1)
        s = sender()
        self.addCleanup(s.close)
        s.sendto(datagram, endpoints.ingress)
        text = self.wait_why("holed", [f"its own number {n}", f"{n} to {n + 1} have not arrived"])
        self.assertIn("1 datagrams", text)

    def test_a_rejected_number(self):
        self.dev(self.d)
        self.pub(self.d, "/a", "one", "--publisher", "refused")
        p = self.publisher("refused")
        endpoints = Endpoints(self.d)
        datagram = wire.frame(3, endpoints.stream,
                              struct.pack("<IIQIQQI", p["id"], p["incarnation"], p["next_number"], 0, 0, 0, 0) +
                              struct.pack("<H", 1) + (9999).to_bytes(3, "little") + b"\x00x", count=1)
        s = sender()
        self.addCleanup(s.close)
        s.sendto(datagram, endpoints.ingress)
        wait_until(lambda: "was rejected: no such topic" in str(self.why("refused")),
                   lambda: self.why("refused"))

    def test_an_app_that_is_behind(self):
        self.dev(self.d)
        follower = self.start([program("cantus"), "--dir", self.d, "sub", "/a", "--follow", "--json"])
        self.pub(self.d, "/a", "one", "--publisher", "p")
        follower.wait_lines(1)
        wait_until(lambda: "has delivered everything" in str(self.why("cantus-sub")),
                   lambda: self.why("cantus-sub"))
        follower.signal(signal.SIGSTOP)
        self.pub_lines(self.d, "/a", [str(i) for i in range(500)], "--publisher", "p")
        text = self.wait_why("cantus-sub", ["messages behind the tip", "loop stands still"])
        self.assertIn(str(follower.pid), text)
        self.assertIn("at this rate never", text)
        follower.signal(signal.SIGCONT)
        follower.wait_lines(501)
        wait_until(lambda: "has delivered everything" in str(self.why("cantus-sub")),
                   lambda: self.why("cantus-sub"))

    def test_an_app_that_catches_up(self):
        """Its output is a pipe that is read slowly: how far, how fast and how long still are told."""
        self.dev(self.d)
        self.pub_lines(self.d, "/a", [f"{i} {'x' * 100}" for i in range(20000)], "--publisher", "p")
        slow = subprocess.Popen([program("cantus"), "--dir", self.d, "sub", "/a", "--follow", "--json"],
                                stdout=subprocess.PIPE)
        self.addCleanup(slow.stdout.close)
        self.addCleanup(slow.wait)
        self.addCleanup(slow.kill)
        enough = threading.Event()

        def read():
            while not enough.wait(0.02) and slow.stdout.read1(8192):
                pass
        reader = threading.Thread(target=read)
        reader.start()
        try:
            text = self.wait_why("cantus-sub", ["messages behind the tip", "s more if nothing is added"])
        finally:
            enough.set()
            reader.join()
        self.assertRegex(text, r"delivered through \d+ of 20\d\d\d, [1-9]\d* messages/s")

    def test_nobody_leads(self):
        self.cluster()
        self.pub(self.d, "/a", "one", "--publisher", "trader")
        self.sequencer.terminate()
        self.assertIn("no sequencer leads", str(self.why("trader", status=None)))
        self.assertIn("s1: ", str(self.why("trader", status=None)))

    def test_sealing_without_enough_stores(self):
        self.cluster()
        self.pub(self.d, "/a", "one", "--publisher", "trader")
        for process in (self.sequencer, self.stores[1], self.stores[2]):
            process.kill()
        self.start(self.sequencer.argv)
        text = self.wait_why("trader", ["no sequencer leads", "s1, ", "of 2 stores needed", "r2 does not answer",
                                        "r3 does not answer"])
        self.assertNotIn("r1 does not answer", text)
        done = self.cantus("--dir", self.d, "why", "nobody", status=1)
        self.assertIn("while no sequencer leads that says little", done.err)

    def test_a_name_that_nobody_has(self):
        self.dev(self.d)
        self.pub(self.d, "/a", "one", "--publisher", "trader")
        done = self.cantus("--dir", self.d, "why", "tradre", status=1)
        self.assertIn("did you mean: trader", done.err)
        self.assertEqual(self.why("tradre", status=1)["near"], ["trader"])
        done = self.cantus("--dir", self.d, "why", "zzzz", status=1)
        self.assertIn("cantus status lists the publishers", done.err)
        self.cantus("why", "trader", status=2)


if __name__ == "__main__":
    unittest.main()
