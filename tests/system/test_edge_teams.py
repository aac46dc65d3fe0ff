"""Two teams who don't know each other share one stream through two proxies, each with a key of its own: the
order book, and the payments ledger. A third key floods the same proxies. Meanwhile the proxies are killed with
SIGKILL, one, the other, and both at once, and started again.

In the end every order and every payment instruction is in the stream once and in its order, the apps that lived
through it have the digests of a replay from the journal, and each message was written by whom its subtree is
granted to. Before that, neither team can read or write what is the other's, and is told so by name.
"""

import json
import re
import subprocess
import unittest

import ledgers
import orders
from cantus_test import (DEADLINE_S, Case, Endpoints, config_path, listener, program, wait_tip, wait_until)

LONG_S = DEADLINE_S * 3
PAYMENTS = 30000
FLOOD_PER_S = 20000


class TeamsCase(Case):
    def setUp(self):
        super().setUp()
        self.d = self.path("d")
        self.cantus("init", self.d, "--proxies", 2)
        self.daemon("retransmitter", "r1")
        self.daemon("sequencer", "s1")
        self.proxies = {name: self.daemon("proxy", name) for name in ("p1", "p2")}
        self.addresses = [f"{ip}:{port}" for ip, port in Endpoints(self.d).proxies]
        self.keys = {}
        for team, *subtrees in (("traders", "/md", "/orders"), ("bank", "/ledger"), ("flood", "/flood")):
            self.keys[team] = self.cantus("key", "new", self.key(team)).out.strip()
            for subtree in subtrees:
                self.cantus("--dir", self.d, "grant", self.keys[team], "read,write", subtree)

    def daemon(self, role, name):
        process = self.start([program(f"cantus-{role}"), "--config", config_path(self.d), "--name", name])
        process.wait_said(f"{role}: ready")
        return process

    def key(self, team):
        return self.path(team + ".key")

    def edge(self, team, first=0):
        """The proxies, one of them first, and who one is there; with no team nobody in particular."""
        where = ["--proxy", ",".join(self.addresses[first:] + self.addresses[:first])]
        return where + (["--key", self.key(team)] if team else [])

    def app(self, name, team, role, *args, first=0):
        where, addresses, *key = self.edge(team, first)
        return self.start([program(name), "--source", f"{where[2:]}:{addresses}", *key, "--role", role, *args])


class SeparateTest(TeamsCase):
    def test_neither_reads_nor_writes_what_is_the_others(self):
        self.cantus(*self.edge("traders"), "pub", "/md/secret", "of the traders")
        self.cantus(*self.edge("bank"), "pub", "/ledger/secret", "of the bank")
        for first, team, own, other in ((0, "traders", "/md", "/ledger"), (1, "bank", "/ledger", "/md")):
            edge = self.edge(team, first)
            # Of a subtree that is granted in part that part is read, and nothing else.
            self.assertEqual(re.findall(r"of the \w+", self.cantus(*edge, "sub", "/").out), [f"of the {team}"])
            for subtree in (other, f"{other}/secret", "/sys", "/sys/grant"):
                done = self.cantus(*edge, "sub", subtree, status=1)
                self.assertNotIn("of the", done.out)
                self.assertIn("read", done.err)
                self.assertIn(subtree, done.err)
            for topic in (f"{other}/secret", f"{own[:-1]}", "/elsewhere"):
                done = self.cantus(*edge, "pub", topic, "an intruder", status=1)
                self.assertIn("write", done.err)
                self.assertIn(topic, done.err)
            # Nor take for itself what it was not given.
            done = self.cantus(*edge, "grant", self.keys[team], "read", other, status=1)
            self.assertIn("grant", done.err)
        for subtree in ("/md", "/ledger", "/"):
            self.assertIn("read", self.cantus(*self.edge(None), "sub", subtree, status=1).err)
        self.assertEqual([m["payload"] for m in self.sub(self.d, "/")], ["of the traders", "of the bank"])

    def test_what_is_taken_back_is_neither_read_nor_written_any_more(self):
        self.cantus(*self.edge("bank"), "pub", "/ledger/a", "before")
        reader = self.start([program("cantus"), *self.edge("bank"), "sub", "/ledger", "--follow"])
        reader.wait_lines(1)
        self.cantus("--dir", self.d, "revoke", self.keys["bank"], "read,write", "/ledger")
        self.cantus(*self.edge("bank"), "pub", "/ledger/a", "too late", status=1)
        self.cantus(*self.edge("bank"), "sub", "/ledger", status=1)
        self.pub(self.d, "/ledger/a", "of the core, not to be read")
        self.cantus("--dir", self.d, "grant", self.keys["bank"], "read", "/ledger")
        self.pub(self.d, "/ledger/a", "after")
        # Whoever reads anew may read what was written meanwhile; whoever followed is told nothing of it.
        self.cantus(*self.edge("bank"), "sub", "/ledger", "--follow", "--count", 3)
        self.assertEqual([m["payload"] for m in self.sub(self.d, "/ledger")],
                         ["before", "of the core, not to be read", "after"])
        wait_until(lambda: "after" in reader.out(), lambda: f"the last one: {reader.describe()}")
        self.assertNotIn("not to be read", reader.out())


class KilledProxiesTest(TeamsCase):
    def flood(self, first):
        numbers = subprocess.Popen(["seq", "1", "100000000"], stdout=subprocess.PIPE)
        self.addCleanup(numbers.wait)
        self.addCleanup(numbers.kill)
        process = self.start([program("cantus"), *self.edge("flood", first), "pub", f"/flood/{first}", "-",
                              "--publisher", f"flood-{first}"], stdin=numbers.stdout)
        numbers.stdout.close()
        return process

    def kill_proxies(self, *names):
        for name in names:
            self.proxies[name].kill()
        for name in names:
            self.proxies[name] = self.daemon("proxy", name)

    def test_two_teams_and_a_flood(self):
        self.cantus("--dir", self.d, "limit", self.keys["flood"], "--messages-per-s", FLOOD_PER_S)
        day = ("--payments", PAYMENTS)
        events, expected = orders.rows(), self.execute([program("ledger"), "--print", *day]).out.splitlines()
        egress = listener(Endpoints(self.d).egress)
        self.addCleanup(egress.close)
        floods = [self.flood(0), self.flood(1)]
        books = [self.app("orderbook", "traders", "book"),
                 self.app("orderbook", "traders", "book", "--sequenced", first=1)]
        quoters = [self.app("orderbook", "traders", "quoter", "--identity", f"quoter-{i}", first=i) for i in (0, 1)]
        keepers = [self.app("ledger", "bank", "ledger", "--identity", f"ledger-{i}", first=i) for i in (0, 1)]
        injector = self.app("orderbook", "traders", "injector", "--events", orders.FILE)
        till = self.app("ledger", "bank", "till", *day, first=1)

        midway = 0
        for round, victims in enumerate((["p1"], ["p2"], ["p1", "p2"], ["p2"], ["p1"])):
            wait_tip(egress, (round + 1) * 12000, LONG_S)
            midway += injector.running() or till.running()
            self.kill_proxies(*victims)
        self.assertGreaterEqual(midway, 3, "the kills are meant to hit work in progress")
        for process in (injector, till):
            self.assertEqual(process.wait(LONG_S), 0, process.describe())
        for process in floods:
            self.assertTrue(process.running(), process.describe())
            process.kill()
        self.check_orders(events, books, quoters)
        self.check_ledger(expected, keepers)
        self.check_floods()
        self.check_authors()

    # ---- what must hold in the end -----------------------------------------------------------------

    def whole(self, subtree):
        return self.sub(self.d, subtree, deadline_s=LONG_S)

    def replay(self, name, role, *args):
        """From the journal, as a core client, up to what is there now."""
        done = self.execute([program(name), "--source", self.d, "--role", role, "--once", *args],
                            deadline_s=LONG_S)
        return json.loads(done.out)

    def check_orders(self, events, books, quoters):
        md = self.whole("/md/btcusd")
        self.assertEqual([m["payload_base64"] for m in md], orders.payloads(events))
        self.assertEqual([m["publisher_seq"] for m in md], list(range(1, len(md) + 1)))
        line = self.replay("orderbook", "quoter")
        expected = orders.book(events)
        self.assertEqual({k: line[k] for k in expected}, expected)

        def same(process):
            """A quoter's last quote may be on its way; the books are at the end once the injector is."""
            self.assertEqual(process.terminate(), 0, process.describe())
            mine = json.loads(process.out())
            ours = {k: v for k, v in line.items() if k in mine and k != "last_seq"}
            self.assertEqual({k: mine[k] for k in ours}, ours, process.describe())
        self.settled("/orders/quoter")
        line = self.replay("orderbook", "quoter")
        for process in (*books, *quoters):
            same(process)

    def settled(self, subtree):
        """Waits until nothing more is said there."""
        last = [-1]

        def unchanged():
            before, last[0] = last[0], len(self.whole(subtree))
            return before == last[0]
        wait_until(unchanged, f"an end of {subtree}", LONG_S)

    def check_ledger(self, expected, keepers):
        seen = []

        def over():
            line = self.replay("ledger", "ledger")
            self.messages = self.whole("/ledger")
            model = ledgers.Ledger()
            for m in self.messages:
                model.apply(m)
            seen[:] = [line, len(model.due), *(k.err()[-600:] for k in keepers)]
            return line if line["held"] == 0 and line["settlements"] == len(model.due) else None
        line = wait_until(over, lambda: f"the last settlement; now {seen}", LONG_S)
        self.assertEqual([m["payload"] for m in self.messages if m["topic"] == "/ledger/instructions"], expected)
        self.assertEqual(ledgers.comparable(line), ledgers.of(self.messages, 1 << 63))
        for process in keepers:
            self.assertEqual(process.terminate(), 0, process.describe())
            self.assertEqual(json.loads(process.out())["digest"], line["digest"], process.describe())

    def check_floods(self):
        for i in (0, 1):
            numbers = [int(m["payload"]) for m in self.whole(f"/flood/{i}")]
            self.assertGreater(len(numbers), 1000)
            self.assertEqual(numbers, list(range(1, len(numbers) + 1)), f"flood {i}: each once, and in order")

    def check_authors(self):
        of = {"md": "traders", "orders": "traders", "ledger": "bank", "flood": "flood"}
        for m in self.whole("/"):
            key = self.keys[of[m["topic"].split("/")[1]]]
            self.assertTrue(m["publisher"].startswith(f"@{key}:"), m)


if __name__ == "__main__":
    unittest.main()
