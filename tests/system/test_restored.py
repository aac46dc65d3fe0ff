#!/usr/bin/env python3
"""A store whose directory is replaced by an older copy of itself, as from a backup or a snapshot, and which is
started under its old id: while the leader lives that has heard it since, after that leader was replaced by one
that has heard nothing, and when the whole deployment was down, so that only the others' journals know. Each time it must not
count, the tools must say what happened and what to do, and once that is done it must vote again. Nothing
that was acknowledged may be missing."""

import json
import os
import shutil
import signal
import unittest

from cantus_test import config_path, program, wait_until
from test_several import SeveralCase

RESTORED = "restored from a copy, re-format it"


class RestoredTest(SeveralCase):
    def setUp(self):
        super().setUp()
        self.copy = self.path("copy")

    def durable(self, name):
        """Everything that is stable is in this store, too."""
        def holds(s):
            own = self.process_status(self.d, name)
            return own is not None and own["tip"] >= s["processes"][0]["tip"]
        self.wait_status(self.d, holds, f"{name} to have everything")

    def keep_a_copy(self, name):
        """Of a store that runs; it stands still meanwhile, as under a snapshot."""
        self.stores[name].signal(signal.SIGSTOP)
        shutil.copytree(self.path("d", name), self.copy)
        self.stores[name].signal(signal.SIGCONT)

    def put_back(self, name):
        shutil.rmtree(self.path("d", name))
        shutil.copytree(self.copy, self.path("d", name))

    def words(self):
        """What the newest record in the stream says of each store."""
        records = self.sub(self.d, "/sys/word")
        return records[-1] if records else None

    def wait_words(self):
        """Until the stream tells, in a record of its own, what was said by now."""
        count = len(self.sub(self.d, "/sys/word"))
        wait_until(lambda: len(self.sub(self.d, "/sys/word")) > count + 1, lambda: "a record of the stores' words")

    def wait_found_out(self, name):
        status = self.wait_status(
            self.d, lambda s: any(p["name"] == name and p.get("state") == RESTORED for p in s["processes"]),
            f"{name} to find out that it was restored")
        store = next(p for p in status["processes"] if p["name"] == name)["store"]
        warning = next(w for w in status["warnings"] if w.startswith(name) and "restored from an older copy" in w)
        self.assertIn(f"cantus member replace {store} {name}", warning)
        return store

    def check_tools(self, name, store):
        found = [json.loads(line) for line in self.on_deployment("doctor", "--json", status=None).out.splitlines()]
        finding = next(f for f in found if f["check"] == "store_restored")
        self.assertEqual(finding["verdict"], "bad")
        self.assertIn(f"{name}: its store {store}", finding["found"])
        self.assertIn(f"cantus member replace {store} {name}", finding["mend"])
        self.stores[name].wait_said("was restored from an older copy of itself and votes no more")
        self.assertIn(f"cantus member replace {store} {name}", self.stores[name].err())
        # A start of it is refused from then on, with the same advice.
        self.stores[name].terminate()
        done = self.execute([program("cantus-retransmitter"), "--config", config_path(self.d), "--name", name],
                            status=1)
        self.assertIn("restored from an older copy", done.err)
        self.assertIn(f"cantus member replace {store} {name}", done.err)

    def replace(self, name, store):
        shutil.rmtree(self.path("d", name))
        self.execute([program("cantus-retransmitter"), "--config", config_path(self.d), "--name", name, "--format"])
        self.stores[name] = self.retransmitter(name)
        self.on_deployment("member", "replace", store, name)

    def check_votes(self, name, other):
        """Without one of the others it makes the quorum."""
        self.stores[other].kill()
        self.publish(20)
        self.check_stream()
        self.stores[other] = self.retransmitter(other)
        self.assertEqual(len(self.wait_verified()["stores"]), 3)

    def test_while_the_leader_lives(self):
        self.deployment(sequencers=1)
        self.publish(100)
        self.durable("r3")
        self.stores["r3"].terminate()
        shutil.copytree(self.path("d", "r3"), self.copy)
        self.stores["r3"] = self.retransmitter("r3")
        self.publish(100)
        self.durable("r3")
        self.stores["r3"].terminate()
        # An ordinary start is nothing.
        self.stores["r3"] = self.retransmitter("r3")
        self.durable("r3")
        self.publish(10)
        self.assertNotIn("restored", self.stores["r3"].err())
        self.stores["r3"].kill()
        self.put_back("r3")
        self.stores["r3"] = self.retransmitter("r3")
        store = self.wait_found_out("r3")
        self.sequencers["s1"].wait_said(f"a store is not counted.*{store}")
        self.publish(10)
        self.check_tools("r3", store)
        self.replace("r3", store)
        self.check_votes("r3", "r1")

    def test_after_the_leader_was_replaced(self):
        self.deployment(sequencers=1)
        self.publish(100)
        self.durable("r3")
        self.keep_a_copy("r3")
        self.publish(100)
        self.durable("r3")
        self.wait_words()
        self.stores["r3"].kill()
        self.put_back("r3")
        # Who leads now was not there.
        self.sequencers["s1"].kill()
        self.sequencers["s1"] = self.sequencer("s1")
        self.stores["r3"] = self.retransmitter("r3")
        store = self.wait_found_out("r3")
        self.check_tools("r3", store)
        self.replace("r3", store)
        self.check_votes("r3", "r2")

    def test_when_all_were_down(self):
        self.deployment(sequencers=1)
        self.publish(100)
        self.durable("r3")
        self.keep_a_copy("r3")
        self.publish(100)
        self.durable("r3")
        self.wait_words()
        store = self.store_id("r3")
        for process in [*self.stores.values(), *self.sequencers.values()]:
            process.kill()
        self.put_back("r3")
        # Two of three would be enough, if one of them had not forgotten.
        self.stores["r1"], self.stores["r3"] = self.retransmitter("r1"), self.retransmitter("r3")
        self.sequencers["s1"] = self.sequencer("s1", said="1 restored from an older copy, without a vote")
        self.assertEqual(self.wait_found_out("r3"), store)
        self.assertNotIn("sequencer: ready", self.sequencers["s1"].err())
        self.stores["r2"] = self.retransmitter("r2")
        self.wait_leader("s1")
        self.check_stream()
        self.publish(10)
        self.check_tools("r3", store)
        self.replace("r3", store)
        self.check_votes("r3", "r1")

    def store_id(self, name):
        return self.process_status(self.d, name)["store"]


if __name__ == "__main__":
    unittest.main()
