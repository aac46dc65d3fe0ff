"""The payments ledger. A day of payments goes through a deployment, and what comes out is compared with an
independent reading of the same messages (ledgers.py): balances, holds that expired by the stream's clock,
refusals by reason, settlements. Then once more with till, ledgers and the whole deployment killed with
SIGKILL in the middle; each rule by hand; and in the simulator.
"""

import json
import os
import re
import unittest
import xml.etree.ElementTree

import ledgers
from cantus_test import BUILD, DEADLINE_S, Case, Endpoints, listener, program, wait_tip, wait_until

LONG_S = DEADLINE_S * 3


class LedgerCase(Case):
    def role(self, role, *args):
        return self.start([program("ledger"), "--source", self.path("d"), "--role", role, *args])

    def look(self, source, *args):
        """What a replica says that only looks."""
        done = self.execute([program("ledger"), "--source", source, "--role", "ledger", *args],
                            deadline_s=LONG_S)
        return json.loads(done.out)

    def instructions(self, *args):
        return self.execute([program("ledger"), "--print", *args]).out.splitlines()

    def messages(self, d):
        return self.sub(d, "/ledger", deadline_s=LONG_S)


class WholeDayTest(LedgerCase):
    def test_embedded_deployment(self):
        picture = self.path("day.svg")
        done = self.execute([program("ledger"), "--payments", "3000", "--seconds", "2",
                             "--plot", picture],
                            env=dict(os.environ, TMPDIR=self.tmp), deadline_s=LONG_S)
        lines = [json.loads(line) for line in done.out.splitlines()]
        self.assertEqual(len({line["digest"] for line in lines}), 1, lines)
        self.assertEqual(len(lines), 3)
        self.assertEqual((lines[0]["accounts"], lines[0]["sum"], lines[0]["held"], lines[0]["disputed"]),
                         (241, 0, 0, 0))
        self.assertGreater(lines[0]["payments"], 1500)
        root = xml.etree.ElementTree.parse(picture).getroot()
        self.assertGreater(len([e for e in root.iter() if e.tag.endswith("}rect")]), 100)
        self.assertEqual([n for n in os.listdir(self.tmp) if n.startswith("ledger-")], [])

    def test_options(self):
        for args, word in ((("--role", "ledger"), "go together"), (("--source", "d"), "go together"),
                           (("--source", "d", "--role", "bank"), "'bank'"), (("--payments", "x"), "'x'"),
                           (("more",), "'more'")):
            self.assertIn(word, self.execute([program("ledger"), *args], status=2).err)
        self.assertIn("cantus.yaml", self.execute([program("ledger"), "--source", self.path("none"), "--role",
                                                   "till"], status=1).err)

    def test_roles_killed_and_restarted(self):
        d, day = self.path("d"), ("--payments", "12000")
        expected = self.instructions(*day)
        dev = self.dev()
        keepers = [self.role("ledger", "--identity", "ledger-1"),
                   self.role("ledger", "--identity", "ledger-2", "--sequenced")]
        egress = listener(Endpoints(d).egress)
        self.addCleanup(egress.close)
        till = self.role("till", *day)
        midway = 0
        for round in range(5):
            wait_tip(egress, (round + 1) * 1500, LONG_S)
            midway += till.running()
            victims = [[till], [keepers[0]], [dev], [till, keepers[1]], [dev, till]][round]
            for v in victims:
                v.kill()
            if dev in victims:
                dev = self.dev()
            if till in victims:
                till = self.role("till", *day)
            for i, k in enumerate(keepers):
                if k in victims:
                    keepers[i] = self.role("ledger", "--identity", f"ledger-{i + 1}",
                                           *(["--sequenced"] if i else []))
        self.assertGreaterEqual(midway, 3, "the kills are meant to hit work in progress")
        self.assertEqual(till.wait(LONG_S), 0, till.describe())
        self.assertEqual(json.loads(till.out())["instructions"], len(expected))

        # The day is over once the last settlement is announced and the last hold has expired.
        line = wait_until(lambda: self.over(d), "the last settlement", LONG_S)
        messages = self.messages(d)
        given = [m["payload"] for m in messages if m["topic"] == "/ledger/instructions"]
        self.assertEqual(given, expected, "each instruction is there, once, in its order")
        self.assertEqual(ledgers.comparable(line), ledgers.of(messages, 1 << 63))
        self.assertGreater(line["outcomes"]["expired"], 0)
        for k in keepers:
            self.assertEqual(k.terminate(), 0, k.describe())
            self.assertEqual(json.loads(k.out())["digest"], line["digest"])

        # In the middle too, live and from the journal, at both levels.
        dev.terminate()
        middle = messages[len(messages) // 2]
        store = "journal:" + Endpoints(d).stores[0]
        line = self.look(store, "--until", middle["seq"])
        self.assertEqual(ledgers.comparable(line),
                         ledgers.of(messages[:len(messages) // 2 + 1], middle["timestamp_ns"]))
        self.dev()
        self.assertEqual(self.look(d, "--until", middle["seq"]), line)
        self.assertEqual(self.look(d, "--until", middle["seq"], "--sequenced"), line)

    def over(self, d):
        line = self.look(d, "--once")
        settled = [m for m in self.messages(d) if m["topic"] == "/ledger/settlements"]
        model = ledgers.Ledger()
        for m in self.messages(d):
            model.apply(m)
        return line if line["held"] == 0 and len(settled) == len(model.due) == line["settlements"] else None


class RulesTest(LedgerCase):
    def give(self, *lines):
        self.pub_lines(self.path("d"), "/ledger/instructions", lines)
        return self.look(self.path("d"), "--once")

    def test_each_rule(self):
        d = self.path("d")
        self.dev()
        self.give("open bank 1000", "open ana 0", "transfer 1 bank ana 600", "hold 2 ana bank 200 86400000")
        for instruction, outcome in (
                ("open ana 5", "account exists"), ("transfer 3 ana bank 401", "insufficient funds"),
                ("transfer 3 ana bank 401", "repeated"), ("transfer 3 ana bank 1", "reference used"),
                ("transfer 4 ana bob 1", "no such account"), ("capture 1", "no such hold"),
                ("capture 9", "no such hold"), ("capture 2", "captured"), ("capture 2", "repeated"),
                ("release 2", "hold is over"), ("hold 5 ana bank 100 86400000", "held"),
                ("release 5", "released"), ("hold 6 ana bank 1 1", "held"), ("transfer 7 ana bank 400", "paid"),
                ("steal 8 ana bank 1", "malformed"), ("transfer 8 ana ana 1", "malformed"),
                ("transfer 8 ana bank 0", "malformed"), ("transfer 8 ana bank", "malformed"),
                ("transfer 8 ana bank 1 1", "malformed"), ("transfer 8 ana  1", "malformed"),
                ("transfer 08 ana bank 1", "malformed"), ("transfer -8 ana bank 1", "malformed"),
                ("transfer 8 Ana bank 1", "malformed"), ("open a-name-that-is-long 1", "malformed"),
                ("close now", "malformed"), ("", "malformed")):
            with self.subTest(instruction=instruction):
                before = self.look(d, "--once")["outcomes"]
                after = self.give(instruction)["outcomes"]
                # The hold of a millisecond may go at any of these.
                changed = {k for k in after if after[k] != before[k]} - {"expired"}
                self.assertEqual(changed, {outcome})
        line = wait_until(lambda: (lambda l: l if l["outcomes"]["expired"] else None)(self.give("close")),
                          "the hold of a millisecond to expire")
        self.assertEqual((line["payments"], line["volume"], line["sum"], line["held"]), (3, 1200, 0, 0))

    def test_a_false_settlement_is_disputed(self):
        d = self.path("d")
        self.dev()
        self.give("open a 10", "open b 0", "transfer 1 a b 7")
        self.pub(d, "/ledger/settlements", "settlement 1 payments 9 volume 9 balances 0123456789abcdef")
        keeper = self.role("ledger")
        self.give("close")
        line = wait_until(lambda: (lambda l: l if l["settlements"] else None)(self.look(d, "--once")),
                          "the settlement")
        self.assertEqual((line["settlements"], line["disputed"]), (1, 1))
        self.assertRegex(self.messages(d)[-1]["payload"], r"^settlement 1 payments 1 volume 7 balances \w{16}$")
        self.assertEqual(keeper.terminate(), 0)


class SimulatedTest(LedgerCase):
    def test_in_the_simulator(self):
        app = os.path.join(BUILD, "lib", "ledger.so")
        done = self.cantus("sim", "--app", app, "--config", "150", "--replicas", "3", "--runs", "20", "--quiet",
                           deadline_s=LONG_S)
        self.assertEqual(json.loads(done.out)["violations"], 0)
        self.assertRegex(self.cantus("sim", "--app", app, "--config", "many", status=1).err, re.compile("init|config"))


if __name__ == "__main__":
    unittest.main()
