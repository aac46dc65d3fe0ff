"""The main job. A real day of limit-order events goes through a deployment, and what comes out is compared
with an independent reading of the same file (orders.py). Then once more the hard way: every role a process
of its own, the injector, the books and the whole deployment killed with SIGKILL in the middle and started
again. In the end every event is in the stream exactly once and in order, and every replica has the same
digest at the same seq.
"""

import json
import os
import unittest
import xml.etree.ElementTree

import orders
from cantus_test import DEADLINE_S, Case, Endpoints, listener, program, wait_tip, wait_until

LONG_S = DEADLINE_S * 3


class OrderbookCase(Case):
    @classmethod
    def setUpClass(cls):
        cls.events = orders.rows()
        cls.expected = orders.book(cls.events)

    def check_line(self, line):
        self.assertEqual({k: line[k] for k in self.expected}, self.expected)
        self.assertRegex(line["digest"], r"^[0-9a-f]{16}$")

    def role(self, d, role, *args):
        return self.start([program("orderbook"), "--source", d, "--role", role, *args])

    def replica_line(self, d, until, *args):
        done = self.execute([program("orderbook"), "--source", d, "--role", "book", "--until", until, *args],
                            deadline_s=LONG_S)
        line = json.loads(done.out)
        self.assertEqual(line["last_seq"], int(until))
        return line


class WholeDayTest(OrderbookCase):
    def test_the_sample_is_the_one_that_is_documented(self):
        self.assertEqual((self.expected["events"], self.expected["unknown"]), (50414, 213))

    def test_embedded_deployment(self):
        picture = self.path("day.svg")
        done = self.execute([program("orderbook"), "--events", orders.FILE, "--plot", picture],
                            env=dict(os.environ, TMPDIR=self.tmp), deadline_s=LONG_S)
        line = json.loads(done.out.splitlines()[-1])
        self.check_line(line)
        self.assertGreater(line["last_seq"], 50414)
        self.assertGreater(line["quotes"], 0)
        root = xml.etree.ElementTree.parse(picture).getroot()
        self.assertEqual(root.tag, "{http://www.w3.org/2000/svg}svg")
        kinds = [e.tag.rpartition("}")[2] for e in root.iter()]
        self.assertGreater(kinds.count("rect"), 1000)
        self.assertEqual(kinds.count("path"), 4)
        self.assertEqual([n for n in os.listdir(self.tmp) if n.startswith("orderbook-")], [],
                         "the deployment's directory is removed")

    def test_plain_csv_and_bad_files(self):
        few = self.path("few.csv")
        header = "id,timestamp,exchange.timestamp,price,volume,action,direction\n"
        with open(few, "w", encoding="ascii") as f:
            f.write(header + "1,1000,1000,10.5,300,created,bid\n2,1001,1001,11,200,created,ask\n"
                    "3,1002,1002,9,1,deleted,bid\n1,1003,1003,10.49,250,changed,bid\n")
        line = json.loads(self.execute([program("orderbook"), "--events", few]).out.splitlines()[-1])
        self.assertEqual((line["events"], line["unknown"], line["best_bid"], line["best_ask"],
                          line["bid_volume"], line["ask_volume"]), (4, 1, 1049, 1100, 250, 200))
        bad = self.path("bad.csv")
        for row, reason in (("1,1,1,1.234,1,created,bid", "price"), ("1,1,1,1,1,sold,bid", "action"),
                            ("x,1,1,1,1,created,bid", "id"), ("1,1,1,1", "columns")):
            with self.subTest(row=row):
                with open(bad, "w", encoding="ascii") as f:
                    f.write(header + "1,1,1,1,1,created,bid\n" + row + "\n")
                done = self.execute([program("orderbook"), "--events", bad], status=1)
                self.assertIn(f"{bad}:3:", done.err)
                self.assertIn(reason, done.err)
        self.assertIn("No such file",
                      self.execute([program("orderbook"), "--events", "/nowhere"], status=1).err)
        self.assertIn("--role",
                      self.execute([program("orderbook"), "--source", "d", "--role", "x"], status=2).err)


class KilledTest(OrderbookCase):
    def test_roles_killed_and_restarted(self):
        d = self.path("d")
        dev = self.dev()
        books = [self.role(d, "book"), self.role(d, "book", "--sequenced")]
        quoters = [self.role(d, "quoter", "--identity", f"quoter-{i}") for i in (1, 2)]
        egress = listener(Endpoints(d).egress)
        self.addCleanup(egress.close)
        injector = self.role(d, "injector", "--events", orders.FILE)
        killed_midway = 0
        for round in range(1, 7):
            wait_tip(egress, round * 6000, LONG_S)
            victims = [[injector], [books[0]], [dev], [injector, books[1]], [quoters[0], injector],
                       [dev, injector]][round - 1]
            midway = injector.running()
            for v in victims:
                v.kill()
            killed_midway += midway
            if dev in victims:
                dev = self.dev()
            if injector in victims:
                injector = self.role(d, "injector", "--events", orders.FILE)
            for i in range(2):
                if books[i] in victims:
                    books[i] = self.role(d, "book", *(["--sequenced"] if i else []))
            if quoters[0] in victims:
                quoters[0] = self.role(d, "quoter", "--identity", "quoter-1")
        self.assertGreaterEqual(killed_midway, 3, "the kills are meant to hit work in progress")

        self.assertEqual(injector.wait(LONG_S), 0, injector.describe())
        done = json.loads(injector.out())
        self.assertEqual(done["events"], len(self.events))
        # Quotes may still come; where the stream has been silent for a while is the end.
        last = self.settled(d)

        md = self.sub(d, "/md/btcusd", deadline_s=LONG_S)
        self.assertEqual([m["payload_base64"] for m in md], orders.payloads(self.events))
        self.assertEqual([m["publisher_seq"] for m in md], list(range(1, len(md) + 1)))

        until = [self.replica_line(d, last), self.replica_line(d, last, "--sequenced")]
        self.check_line(until[0])
        self.assertEqual(until[0], until[1])
        for b in books:
            b.terminate()
            line = json.loads(b.out())
            self.assertEqual({k: line[k] for k in line if k != "last_seq"},
                             {k: until[0][k] for k in until[0] if k != "last_seq"}, b.describe())
        middle = self.replica_line(d, last // 2)
        self.assertEqual(middle, self.replica_line(d, last // 2))

        lines = []
        for q in quoters:
            self.assertEqual(q.terminate(), 0, q.describe())
            lines.append(json.loads(q.out()))
        self.assertEqual(lines[0]["quoter_digest"], lines[1]["quoter_digest"])
        self.assertEqual(lines[0]["quotes"], len(self.sub(d, "/orders/quoter", deadline_s=LONG_S)))
        dev.terminate()
        self.assertIsNone(self.verify(d)["damage"])

    def settled(self, d):
        """The stream's stable tip once both quoters have said what they had to say."""
        def unchanged():
            before = self.quotes_stable(d)
            line = json.loads(self.execute([program("orderbook"), "--source", d, "--role", "quoter",
                                            "--once"], deadline_s=LONG_S).out)
            return line["last_seq"] if before == self.quotes_stable(d) else None
        return wait_until(unchanged, "no quotes any more", LONG_S)

    def quotes_stable(self, d):
        return sum(p["next_number"] for p in self.status(d)["publishers"])


if __name__ == "__main__":
    unittest.main()
