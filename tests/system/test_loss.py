"""The order-book job on a bad network. In a network namespace of its own (made with unshare, gone with the
test) lo loses one datagram in twenty of this deployment, each for all its receivers at once, the retransmitter
among them; some arrive twice. The whole day has to come out right all the same, `status` has to show the gaps
and their fills, and the burst's last message must not be the one that is missing.
"""

import json
import re
import subprocess
import unittest

import orders
from cantus_test import DEADLINE_S, Case, Endpoints, config_edit, own_network, program, wait_until

LONG_S = DEADLINE_S * 4
REASON = own_network()


@unittest.skipIf(REASON, REASON)
class LossTest(Case):
    def setUp(self):
        super().setUp()
        for command in (["ip", "link", "set", "lo", "up", "multicast", "on"],
                        ["ip", "route", "replace", "224.0.0.0/4", "dev", "lo"]):
            subprocess.run(command, check=True)
        self.d = self.path("d")
        self.cantus("init", self.d)
        self.addCleanup(self.nft, "flush ruleset")

    def nft(self, rules):
        return subprocess.run(["nft", "-f", "-"], input=rules.encode(), check=True, capture_output=True)

    def lose(self, expression):
        ports = ", ".join(str(p) for p in Endpoints(self.d).ports())
        self.nft(f"table inet loss {{\n chain in {{\n type filter hook input priority 0;\n"
                 f" udp dport {{ {ports} }} {expression} counter drop\n }}\n}}\n")

    def lost(self):
        listed = subprocess.run(["nft", "list", "table", "inet", "loss"], check=True,
                                capture_output=True, text=True).stdout
        return int(re.search(r"packets (\d+)", listed).group(1))

    def duplicate(self):
        """Every tenth datagram once more. False where the kernel has no `dup` on lo."""
        try:
            self.nft("table netdev twice {\n chain in {\n type filter hook ingress device lo priority 0;\n"
                     " meta mark != 7 udp dport >= 20000 numgen random mod 100 < 10 meta mark set 7 "
                     "dup to \"lo\"\n }\n}\n")
        except subprocess.CalledProcessError:
            return False
        return True

    def role(self, role, *args):
        return self.start([program("orderbook"), "--source", self.d, "--role", role, *args])

    def whole_day(self):
        book = self.role("book", "--sequenced")
        quoter = self.role("quoter")
        injector = self.role("injector", "--events", orders.FILE)
        self.assertEqual(injector.wait(LONG_S), 0, injector.describe())
        last = json.loads(injector.out())["last_seq"]
        events = orders.rows()
        expected = orders.book(events)
        replicas = [json.loads(self.execute([program("orderbook"), "--source", self.d, "--role", "book",
                                             "--until", last], deadline_s=LONG_S).out) for _ in range(2)]
        self.assertEqual(replicas[0], replicas[1])
        self.assertEqual({k: replicas[0][k] for k in expected}, expected)
        self.assertEqual([m["payload_base64"] for m in self.sub(self.d, "/md/btcusd", deadline_s=LONG_S)],
                         orders.payloads(events))
        # The book that followed live, through the loss, has the same state once it has the last event.
        quoter.terminate()
        self.pub(self.d, "/end", "of the day")
        lines = json.loads(self.execute([program("orderbook"), "--source", self.d, "--role", "book",
                                         "--once"], deadline_s=LONG_S).out)
        book.terminate()
        live = json.loads(book.out())
        self.assertEqual(live["digest"], lines["digest"], book.describe())
        return self.status(self.d)

    def counters(self, status):
        return {p["role"]: p["counters"] for p in status["processes"]}

    def test_whole_day_with_loss(self):
        self.dev()
        self.lose("numgen random mod 100 < 5")
        counters = self.counters(self.whole_day())
        self.assertGreater(self.lost(), 10)
        recorder = counters["retransmitter"]
        for name in ("gaps", "gap_requests_out", "fills_in"):
            self.assertGreater(recorder[name], 0, name)
        self.assertGreater(counters["sequencer"]["gap_requests_in"], 0)
        self.assertGreater(counters["sequencer"]["proposals_in"], 50414)  # some twice
        self.processes[0].terminate()
        self.assertIsNone(self.verify(self.d)["damage"])

    def test_whole_day_with_loss_datagram_by_datagram(self):
        """Without segmentation offload the network sees every datagram by itself, and so does the loss."""
        config_edit(self.d, {"segmentation": "false"})
        self.dev()
        self.lose("numgen random mod 100 < 5")
        counters = self.counters(self.whole_day())
        self.assertGreater(self.lost(), 10)
        self.assertGreater(counters["retransmitter"]["fills_in"], 0)

    def test_duplicates(self):
        self.dev()
        if not self.duplicate():
            self.skipTest("nftables cannot duplicate here")
        counters = self.counters(self.whole_day())
        self.assertGreater(counters["retransmitter"]["duplicates_in"], 0)

    def test_the_last_message_of_a_burst(self):
        """Of every two datagrams one is lost, the last of a burst as often as any: heartbeats tell."""
        self.dev()
        self.lose("numgen random mod 100 < 50")
        follower = self.start([program("cantus"), "--dir", self.d, "sub", "/a", "--follow", "--json"])
        for i in range(20):
            self.pub(self.d, "/a", str(i), "--publisher", "p")
        follower.wait_lines(20)
        self.assertEqual([json.loads(line)["payload"] for line in follower.out().splitlines()],
                         [str(i) for i in range(20)])

    def test_cut_off_and_back(self):
        """Nothing gets through; then everything does again, without anybody's help."""
        self.dev()
        follower = self.start([program("cantus"), "--dir", self.d, "sub", "/a", "--follow"])
        self.pub(self.d, "/a", "before", "--publisher", "p")
        self.lose("udp length > 0")
        waiting = self.start([program("cantus"), "--dir", self.d, "pub", "/a", "meanwhile",
                              "--publisher", "p"])
        wait_until(lambda: self.lost() > 20, "attempts")
        self.assertTrue(waiting.running())
        self.nft("delete table inet loss")
        self.assertEqual(waiting.wait(), 0, waiting.describe())
        follower.wait_lines(2)
        self.assertEqual(self.payloads(self.d, "/a"), ["before", "meanwhile"])


if __name__ == "__main__":
    unittest.main()
