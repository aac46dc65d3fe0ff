"""The deployment of deploy/three-hosts as deploy/lab brings it up: the units' own commands with the shipped
configuration, once without any fault. What is published on one host arrives on another, the units say when they
are ready, the standby takes over when it is told to, and taking the lab down leaves nothing behind.

Exit status 77 if this machine can't do it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

import machine

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LAB = os.path.join(SOURCE, "deploy", "lab")
BUILD = os.path.join(SOURCE, "build", "release")
SKIPPED = 77
DEADLINE_S = 60


def namespaces():
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    return {line.split()[0] for line in listed.splitlines()}


class LabTest(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="cantus-lab-test-")
        self.before = namespaces()
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.addCleanup(self.down)

    def lab(self, *args, status=0):
        done = subprocess.run([LAB, *args], capture_output=True, text=True, timeout=180, check=False,
                              stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, status, f"{args}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def on(self, host, *command):
        return self.lab("exec", self.dir, host, *command)

    def cantus(self, host, *args):
        return self.on(host, "cantus", "--dir", "/etc/cantus", *args)

    def down(self):
        if os.path.exists(os.path.join(self.dir, "lab.json")):
            self.lab("down", self.dir)

    def processes(self):
        return {p["name"]: p for p in json.loads(self.cantus("h1", "status", "--json"))["processes"]}

    def wait_for(self, condition, what):
        deadline = time.monotonic() + DEADLINE_S
        while not condition(self.processes()):
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.05)

    def test_three_hosts(self):
        self.lab("up", self.dir, "--build", BUILD, "--clients", "1")
        self.assertEqual({n: p["state"] for n, p in self.processes().items()},
                         {"s1": "leading", "s2": "following", "r1": "recording", "r2": "recording",
                          "r3": "recording"})
        said = self.lab("status", self.dir)
        self.assertNotIn("not running", said)

        # From one host to another, before and after the lead has changed hands.
        self.cantus("c1", "pub", "/lab", "one", "--publisher", "p")
        self.assertIn("s2", self.cantus("h3", "promote", "s2", "--why", "a test"))
        self.wait_for(lambda p: p["s2"]["state"] == "leading" and p["s1"]["state"].startswith("following"),
                      "s2 leads, s1 stands by")
        self.cantus("h3", "pub", "/lab", "two", "--publisher", "p")
        messages = [json.loads(line) for line in
                    self.cantus("h2", "sub", "/lab", "--json").splitlines()]
        self.assertEqual([(m["payload"], m["publisher_seq"]) for m in messages], [("one", 1), ("two", 2)])

        # A unit that is stopped and started again is where it was.
        self.lab("stop", self.dir, "cantus-retransmitter@r3")
        self.assertIn("cantus-retransmitter@r3  not running", self.lab("status", self.dir))
        self.cantus("c1", "pub", "/lab", "three", "--publisher", "p")
        self.lab("start", self.dir, "cantus-retransmitter@r3")
        self.assertIn("runs already", self.lab("start", self.dir, "cantus-retransmitter@r3", status=1))
        self.wait_for(lambda p: p["r3"]["stable"] >= messages[-1]["seq"] + 1, "r3 has caught up")

        self.down()
        self.assertEqual(namespaces() - self.before, set())

        # The same stores, another time.
        self.lab("up", self.dir, "--build", BUILD)
        self.assertIn("three", self.cantus("h3", "sub", "/lab"))

    def test_files(self):
        """What differs from host to host is one line, and the daemons find nothing wrong with it."""
        self.lab("up", self.dir, "--build", BUILD, "--no-start")
        with open(os.path.join(SOURCE, "deploy", "three-hosts", "cantus.yaml"), encoding="utf-8") as f:
            shipped = f.read().splitlines()
        for host in ("h1", "h2", "h3"):
            self.assertIn("no problems", self.on(host, "cantus-sequencer", "--config",
                                                 "/etc/cantus/cantus.yaml", "--check"))
            with open(os.path.join(self.dir, host, "etc", "cantus.yaml"), encoding="utf-8") as f:
                own = f.read().splitlines()
            different = [b.split(":")[0].strip() for a, b in zip(shipped, own, strict=True) if a != b]
            self.assertIn(different, (["stream", "interface"], ["stream"]))

    def test_spare(self):
        """A store that is there and no member, until it is made one."""
        self.lab("up", self.dir, "--build", BUILD, "--spares", "1")
        self.assertEqual(len(self.cantus("h1", "member", "list").splitlines()), 2)
        self.assertIn("is a member, stable", self.cantus("h1", "member", "add", "r3"))
        self.assertIn("r3", self.cantus("h1", "member", "list"))

    def test_mistakes(self):
        self.assertIn("holds no lab", self.lab("status", self.dir, status=1))
        self.assertIn("No such file", self.lab("up", self.dir, "--config", "/nonexistent", status=1))
        self.assertIn("can't be spares", self.lab("up", self.dir, "--build", BUILD, "--spares", "3", status=1))
        self.lab("up", self.dir, "--build", BUILD, "--no-start")
        self.assertIn("take it down first", self.lab("up", self.dir, "--build", BUILD, status=1))
        self.assertIn("no unit", self.lab("start", self.dir, "cantus-sequencer@s9", status=1))
        self.assertIn("no host", self.lab("exec", self.dir, "h9", "true", status=1))


if __name__ == "__main__":
    if "--build" in sys.argv:
        at = sys.argv.index("--build")
        BUILD = os.path.abspath(sys.argv[at + 1])
        del sys.argv[at:at + 2]
    reason = machine.refusal(("ip", "nsenter"))
    if reason:
        print("skipped:", reason, file=sys.stderr)
        sys.exit(SKIPPED)
    unittest.main()
