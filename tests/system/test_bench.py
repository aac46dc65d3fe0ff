"""`cantus bench rtt` runs two processes on a stream of its own and prints one JSON line. The goal here is
the line: every documented field is there, percentiles are in order, the ratio is that of the medians, and
nothing is left behind. How fast it is, is not a test's business: the machine is shared.
"""

import json
import os
import unittest

from cantus_test import Case


class BenchTest(Case):
    def bench(self, *args, **options):
        env = dict(os.environ, TMPDIR=self.tmp)
        return self.cantus("bench", *args, env=env, **options)

    def test_rtt_prints_one_line_with_every_field(self):
        done = self.bench("rtt", "sequenced", "--rounds", "2", "--count", "200")
        self.assertEqual(done.out.count("\n"), 1, done.out)
        line = json.loads(done.out)
        self.assertEqual(
            set(line),
            {"bench", "case", "payload_bytes", "p50_us", "p99_us", "p999_us", "max_us",
             "floor_p50_us", "floor_p99_us", "floor_p999_us", "floor_max_us", "ratio",
             "wanted_at_most", "reached", "trips", "rounds", "rate_asked_per_s", "loss_ppm",
             "floor_lost", "transport", "idle", "processes"})
        self.assertEqual(line["bench"], "rtt")
        self.assertEqual((line["rounds"], line["trips"], line["payload_bytes"]), (2, 400, 32))
        for name in ("p50_us", "p99_us", "p999_us", "max_us", "floor_p50_us", "floor_p99_us", "ratio"):
            self.assertGreater(line[name], 0, name)
        self.assertLessEqual(line["p50_us"], line["p99_us"])
        self.assertLessEqual(line["p99_us"], line["p999_us"])
        self.assertLessEqual(line["floor_p50_us"], line["floor_p99_us"])
        # All three are rounded to two decimals.
        expected = line["p50_us"] / line["floor_p50_us"]
        self.assertAlmostEqual(line["ratio"], expected, delta=0.01 + 0.01 * expected)

    def test_size_is_the_payload(self):
        line = json.loads(self.bench("rtt", "sequenced", "--rounds", "1", "--count", "50", "--size", "1024").out)
        self.assertEqual(line["payload_bytes"], 1024)

    def test_rtt_with_a_store_with_loss_and_in_an_open_loop(self):
        done = self.bench("rtt", "recorded", "loss", "--rounds", "1", "--count", "200",
                          "--rate", "2000")
        lines = {line["case"]: line for line in map(json.loads, done.out.splitlines())}
        self.assertEqual(set(lines), {"recorded", "loss"})
        self.assertEqual(lines["recorded"]["processes"], 3)
        self.assertEqual(lines["loss"]["loss_ppm"], 1000)
        for line in lines.values():
            self.assertEqual((line["trips"], line["rate_asked_per_s"]), (200, 2000))

    def test_throughput_delivers_everything(self):
        """The run ends only when the receiver, which delivers nothing out of order, has it all."""
        line = json.loads(self.bench("throughput", "256", "--rounds", "1").out)
        self.assertEqual((line["datagram_bytes"], line["messages_per_datagram"]), (1472, 5))
        self.assertEqual(line["segmentation"], "on")
        self.assertGreater(line["messages"], 0)
        # A batch is at most full.
        self.assertGreaterEqual(line["batches"] * 5, line["rate_per_s"] * 0.4)
        self.assertGreater(line["floor_rate_per_s"], 0)

    def test_loss_is_made_up_for(self):
        line = json.loads(self.bench("loss", "both", "--rounds", "1").out)
        self.assertEqual((line["ingress_loss_ppm"], line["receiver_loss_ppm"]), (10000, 10000))
        self.assertGreater(line["resent"], 0)

    def test_cores_take_everything_and_name_their_target(self):
        for case in (["core", "100"], ["reassembly"], ["discard"], ["replay", "cached"]):
            line = json.loads(self.bench(*case, "--rounds", "1", "--count", "20000").out)
            self.assertEqual(line["bench"], case[0])
            self.assertGreaterEqual(line["messages"], 20000)
            self.assertGreater(line["rate_per_s"], 0)
            self.assertGreater(line["floor_rate_per_s"], 0)
            self.assertEqual(line["reached"], line["rate_per_s"] >= line["wanted_rate_per_s"])
        self.assertEqual([n for n in os.listdir(self.tmp) if n.startswith("cantus-replay")], [])

    def test_leaves_nothing_behind(self):
        self.bench("rtt", "--rounds", "1", "--count", "20")
        left = [n for n in os.listdir(self.tmp) if n.startswith("cantus-bench")]
        self.assertEqual(left, [])

    def test_refuses_what_it_cannot_do(self):
        self.assertIn("rtt", self.bench("nothing", status=2).err)
        self.assertIn("--size", self.bench("rtt", "--size", "7", status=2).err)
        self.assertIn("--count", self.bench("rtt", "--count", "0", status=2).err)


if __name__ == "__main__":
    unittest.main()
