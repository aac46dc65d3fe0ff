"""`cantus bench rtt` runs two processes on a stream of its own and prints one JSON line. The goal here is
the line: every documented field is there, percentiles are in order, the ratio is that of the medians, and
nothing is left behind. How fast it is, is not a test's business: the machine is shared.
"""

import json
import os
import re
import signal
import subprocess
import unittest
import xml.etree.ElementTree as ElementTree

from cantus_test import SOURCE, Case, json_lines, program, wait_until


class BenchTest(Case):
    def bench(self, *args, **options):
        env = dict(os.environ, TMPDIR=self.tmp)
        return self.cantus("bench", *args, env=env, **options)

    def test_rtt_prints_one_line_with_every_field(self):
        done = self.bench("rtt", "sequenced", "--rounds", "2", "--count", "200")
        self.assertEqual(done.out.count("\n"), 1, done.out)
        line = json.loads(done.out)
        self.assertEqual(
            set(line) - {"autogroup_nice"},
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

    def may_be_heavy(self):
        """Whether the kernel groups sessions, and lets us weigh ours more."""
        try:
            with open("/proc/sys/kernel/sched_autogroup_enabled", encoding="ascii") as file:
                grouped = file.read().strip() == "1"
        except OSError:
            return False
        probe = subprocess.run(["sh", "-c", "echo -20 > /proc/self/autogroup"], start_new_session=True,
                               stderr=subprocess.DEVNULL, check=False)
        return grouped and probe.returncode == 0

    def test_a_bench_runs_in_a_session_of_its_own_weight(self):
        """And nothing of it stays: neither the session that asked nor another line is any heavier."""
        if not self.may_be_heavy():
            self.skipTest("sessions are not grouped here, or we may not weigh ours more")
        small = ("rtt", "sequenced", "--rounds", "1", "--count", "20")
        self.assertEqual(json.loads(self.bench(*small).out)["autogroup_nice"], -20)
        self.assertNotIn("autogroup_nice", json.loads(self.bench(*small, "--leave-autogroup").out))
        # What waits for disks has the weight of any other session.
        small = ("durable", "append", "--rounds", "1", "--count", "20")
        self.assertNotIn("autogroup_nice", json.loads(self.bench(*small).out))

    def sessions(self):
        """Process ids by session."""
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                    fields = file.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if fields[0] != "Z":
                found.setdefault(int(fields[3]), {})[int(pid)] = int(fields[1])
        return found

    def test_whatever_ends_a_bench_ends_all_of_it(self):
        for end in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            process = self.start([program("cantus"), "bench", "rtt", "recorded", "--rounds", "10000"],
                                 env=dict(os.environ, TMPDIR=self.tmp))
            pid = process.pid

            def session():
                return next((s for s, members in self.sessions().items() if members.get(s) == pid), None)

            wait_until(lambda: session() is not None and len(self.sessions().get(session(), ())) >= 3, "a bench under way")
            own = session()
            process.ended_by_test = True
            process.signal(end)
            self.assertEqual(process.wait(), -end)
            wait_until(lambda: own not in self.sessions(), "the end of all of it")

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
        self.assertAlmostEqual(line["chain_ratio"], line["rate_per_s"] / line["chain_rate_per_s"], places=2)

    def test_the_chain_moves_what_throughput_moves(self):
        """Nothing is lost on the way, and with a recorder everything was on the disk: the run ends only then."""
        lines = {line["case"]: line for line in map(json.loads, self.bench("chain", "--rounds", "1").out.splitlines())}
        self.assertEqual({case: (line["processes"], line["segmentation"]) for case, line in lines.items()},
                         {"gso": (3, "on"), "gso-hashed": (3, "on"), "no-gso": (3, "off"),
                          "recorded-no-gso": (4, "off"), "recorded": (4, "on")})
        for case, line in lines.items():
            self.assertGreater(line["datagrams"], 0, case)
            self.assertEqual(line["lost"], 0, case)
            self.assertGreater(line["floor_rate_per_s"], 0, case)
        # As a full batch is on the wire: padded only where segments have to be of one size.
        self.assertEqual([lines[c]["batch_bytes"] for c in ("gso", "no-gso")], [1472, 1438])
        small = json.loads(self.bench("chain", "no-gso", "--rounds", "1", "--size", "32").out)
        self.assertLess(small["window"], lines["no-gso"]["window"])

    def test_dev_starts_and_rests(self):
        out = self.bench("dev", "--rounds", "1").out
        lines = {line["case"]: line for line in map(json.loads, out.splitlines())}
        self.assertEqual({case: line["wanted_p50_us"] for case, line in lines.items()},
                         {"start": 300000, "idle": 5000})
        for line in lines.values():
            self.assertGreater(line["p50_us"], 0)
            self.assertEqual(line["reached"], line["p50_us"] <= line["wanted_p50_us"])
        self.assertEqual([n for n in os.listdir(self.tmp) if n.startswith("cantus-dev")], [])

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

    def test_a_publisher_alone_gets_all_its_outcomes(self):
        line = json.loads(self.bench("publish", "--rounds", "1", "--count", "20000").out)
        self.assertGreaterEqual(line["messages"], 20000)
        self.assertEqual(line["resent"], 0)
        self.assertGreater(line["floor_rate_per_s"], line["rate_per_s"])

    def test_fairness_is_counted_in_messages(self):
        line = json.loads(self.bench("edge", "fairness", "--rounds", "1", "--count", "20", "--size", "500").out)
        self.assertEqual((line["greedy"], line["proposals"], line["payload_bytes"]), (10, 20, 500))
        self.assertEqual(line["wanted_messages_max"], 2 * line["messages_per_quantum"])
        self.assertEqual(line["reached"], line["messages_max"] <= line["wanted_messages_max"])
        self.assertLessEqual(line["messages_mean"], line["messages_max"])
        self.assertGreater(line["greedy_waiting_min"], line["wanted_messages_max"])

    def test_leaves_nothing_behind(self):
        self.bench("rtt", "--rounds", "1", "--count", "20")
        left = [n for n in os.listdir(self.tmp) if n.startswith("cantus-bench")]
        self.assertEqual(left, [])

    def test_refuses_what_it_cannot_do(self):
        self.assertIn("rtt", self.bench("nothing", status=2).err)
        self.assertIn("--size", self.bench("rtt", "--size", "7", status=2).err)
        self.assertIn("--count", self.bench("rtt", "--count", "0", status=2).err)


LINES = """\
{"machine":"A <fast> & \\"quiet\\" one","cores":2,"kernel":"6.1","clock_source":"tsc","date":"2025-01-02"}
{"bench":"rtt","case":"sequenced","p50_us":10.00,"p99_us":20.00,"p999_us":90.00,"max_us":1000.00,\
"floor_p50_us":8.00,"floor_p99_us":9.00,"floor_p999_us":40.00,"floor_max_us":50.00,"ratio":1.250,\
"wanted_at_most":1.200,"reached":false,"trips":100,"idle":"spin, yielding","floor_is":"two <bare> processes",\
"histogram_ns":[10000,95,20000,4,1000000,1],"floor_histogram_ns":[8000,98,9000,2]}
{"bench":"core","case":"100","rate_per_s":54400000,"unit":"messages","floor_rate_per_s":181000000,\
"ratio":0.301,"wanted_rate_per_s":40000000,"reached":true,"series_interval_s":0.5,\
"series_per_s":[50000000,55000000,54000000]}
{"bench":"throughput","case":"256","rate_per_s":860000,"unit":"datagrams","floor_rate_per_s":350000,\
"ratio":2.457,"chain_rate_per_s":2300000,"chain_ratio":0.374,"wanted_at_least":5.000,"reached":false}
{"bench":"failover","case":"manual","p50_us":12000.00,"p99_us":15000.00,"p999_us":15000.00,\
"max_us":15000.00,"wanted_p50_us":20000,"reached":true}
{"bench":"rtt","case":"loss","p50_us":10.00,"p99_us":20.00,"p999_us":315.00,"max_us":1000.00,\
"wanted_p999_us":1000,"reached":true}
"""

SVG = "{http://www.w3.org/2000/svg}"
HTML = "{http://www.w3.org/1999/xhtml}"


class ReportTest(Case):
    """What `cantus bench` makes of lines: a page, a picture, a table. Most of it from lines that are
    written here, so that what must be seen is known; one test goes through a measurement.
    """

    def saved(self, text=LINES):
        path = os.path.join(self.tmp, "lines.jsonl")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def page(self, *args):
        """The page, which must be well-formed and need nothing from anywhere else."""
        path = os.path.join(self.tmp, "report.html")
        self.cantus("bench", "--report", path, *args, env=dict(os.environ, TMPDIR=self.tmp))
        with open(path, encoding="utf-8") as f:
            text = f.read()
        self.assert_self_contained(text)
        return ElementTree.fromstring(text), text

    def assert_self_contained(self, text):
        outside = re.sub(r'xmlns="http://www\.w3\.org/[^"]*"', "", text)
        for needle in ("http:", "https:", "//", "src=", "url(", "@import", "<link"):
            self.assertNotIn(needle, outside)

    @staticmethod
    def all_text(element):
        return " ".join(" ".join(element.itertext()).split())

    def section(self, root, name):
        found = [s for s in root.iter(HTML + "section") if s.get("id") == name]
        self.assertEqual(len(found), 1, name)
        return found[0]

    def test_every_case_is_drawn_with_its_figures_and_settings(self):
        root, _ = self.page("--from", self.saved())
        self.assertEqual([s.get("id") for s in root.iter(HTML + "section")],
                         ["rtt-sequenced", "core-100", "throughput-256", "failover-manual", "rtt-loss"])
        rtt = self.section(root, "rtt-sequenced")
        for text in ("missed", "10.0 µs", "8.00 µs", "1.25", "≤ 1.20", "20.0 µs", "1.00 ms",
                     "two <bare> processes", "trips 100", "idle spin, yielding", "99.999 %"):
            self.assertIn(text, self.all_text(rtt))
        kinds = [p.get("class") for p in rtt.iter(SVG + "path")]
        self.assertEqual((kinds.count("measured"), kinds.count("floor"), kinds.count("wanted")), (1, 1, 1))
        core = self.section(root, "core-100")
        for text in ("reached", "54.4 M/s", "181 M/s", "≥ 40.0 M/s", "rate over time", "1.5 s"):
            self.assertIn(text, self.all_text(core))
        self.assertEqual([r.get("class") for r in core.iter(SVG + "rect")], ["bar-measured", "bar-floor"])
        chained = self.section(root, "throughput-256")
        for text in ("860 k/s", "2.30 M/s chain", "0.37 of the chain", "≥ 5.00"):
            self.assertIn(text, self.all_text(chained))
        self.assertEqual([r.get("class") for r in chained.iter(SVG + "rect")],
                         ["bar-measured", "bar-floor", "bar-chain"])
        failover = self.section(root, "failover-manual")
        for text in ("12.0 ms p50", "≤ 20.0 ms", "reached"):
            self.assertIn(text, self.all_text(failover))
        # What is judged by its tail shows the tail.
        self.assertIn("315 µs p99.9", self.all_text(self.section(root, "rtt-loss")))

    def test_the_summary_says_what_was_reached_and_where(self):
        root, _ = self.page("--from", self.saved())
        self.assertIn('A <fast> & "quiet" one, 2 cores, Linux 6.1, clock source tsc, 2025-01-02',
                      self.all_text(root))
        self.assertIn("3 of 5 targets reached", self.all_text(root))
        rows = [self.all_text(r) for r in root.iter(HTML + "tr")]
        self.assertEqual(len(rows), 6)
        self.assertIn("missed", rows[1])
        self.assertIn("reached", rows[2])

    def test_bars_are_as_long_as_the_rates(self):
        root, _ = self.page("--from", self.saved())
        measured, floor = [float(r.get("width"))
                           for r in self.section(root, "core-100").iter(SVG + "rect")]
        self.assertAlmostEqual(measured / floor, 54.4 / 181, places=2)

    def test_a_page_is_made_again_from_itself(self):
        _, first = self.page("--from", self.saved())
        again = os.path.join(self.tmp, "again.html")
        self.cantus("bench", "--report", again, "--from", os.path.join(self.tmp, "report.html"))
        with open(again, encoding="utf-8") as f:
            second = f.read()
        # The lines themselves are written down as they were read, escapes included.
        self.assertEqual(first.split("<script")[0], second.split("<script")[0])
        self.assertEqual(first, second)

    def test_measuring_and_drawing_from_saved_lines_give_the_same(self):
        path = os.path.join(self.tmp, "measured.html")
        env = dict(os.environ, TMPDIR=self.tmp)
        done = self.cantus("bench", "rtt", "sequenced", "durable", "append", "--rounds", "1", "--count", "100",
                           "--report", path, "--details", env=env, status=2)
        self.assertIn("bench", done.err)
        done = self.cantus("bench", "rtt", "sequenced", "--rounds", "2", "--count", "200", "--report", path,
                           "--details", env=env)
        machine, line = json_lines(done.out)
        self.assertGreaterEqual(machine["cores"], 1)
        self.assertEqual(sum(line["histogram_ns"][1::2]), line["trips"])
        # The highest of a bucket, which is 1 % wide.
        self.assertAlmostEqual(line["histogram_ns"][-2] / 1000 / line["max_us"], 1, delta=0.02)
        with open(path, encoding="utf-8") as f:
            measured = f.read()
        _, drawn = self.page("--from", self.saved(done.out))
        self.assertEqual(measured.split("<script")[0], drawn.split("<script")[0])

    def test_the_picture_is_an_svg_of_its_own(self):
        path = os.path.join(self.tmp, "summary.svg")
        self.cantus("bench", "--picture", path, "--from", self.saved())
        with open(path, encoding="utf-8") as f:
            text = f.read()
        self.assert_self_contained(text)
        root = ElementTree.fromstring(text)
        self.assertEqual(root.tag, SVG + "svg")
        self.assertIn("3 of 5 targets reached", self.all_text(root))
        dots = [(c.get("class"), float(c.get("cx"))) for c in root.iter(SVG + "circle")]
        self.assertEqual([kind for kind, _ in dots], ["bad", "good", "bad", "good", "good"])
        missed, near, _, _, far = [x for _, x in dots]
        self.assertLess(missed, near)  # 0.96, 1.36 and 3.2 times the target
        self.assertLess(near, far)

    def test_the_table_has_a_row_a_case(self):
        out = self.cantus("bench", "--markdown", "--from", self.saved()).out
        rows = out.splitlines()[2:]
        self.assertEqual(
            rows[0], "| `rtt sequenced` | 10.0 µs | 20.0 µs | 90.0 µs | 8.00 µs | 1.25 |  |  | ≤ 1.20 | missed |")
        self.assertEqual(rows[1], "| `core 100` | 54.4 M/s |  |  | 181 M/s | 0.30 |  |  | ≥ 40.0 M/s | reached |")
        self.assertEqual(
            rows[2], "| `throughput 256` | 860 k/s |  |  | 350 k/s | 2.46 | 2.30 M/s | 0.37 | ≥ 5.00 | missed |")
        self.assertEqual(len(rows), 5)
        only = self.cantus("bench", "core", "--markdown", "--from", self.saved()).out
        self.assertEqual(only.splitlines()[2:], rows[1:2])

    def test_refuses_lines_that_are_none(self):
        for text in ('{"bench":"rtt","case":', '{"bench":"rtt","case":"x","p50_us":}', "no line at all\n",
                     '{"bench":"rtt","case":"x","histogram_ns":[1,}'):
            path = self.saved(text)
            err = self.cantus("bench", "--markdown", "--from", path, status=1).err
            self.assertIn("bench", err)
        self.assertIn("--report", self.cantus("bench", "--from", self.saved(), status=2).err)

    def test_figures_that_are_none_are_drawn_as_none(self):
        """Negative, not finite, in no order: no curve can hold them, and drawing must end."""
        for figure in ("-10.0", "1e999", "nan", "0", "1e-300"):
            line = LINES.replace('"p50_us":10.00', f'"p50_us":{figure}').replace("1.250", figure)
            _, text = self.page("--from", self.saved(line.replace('"p999_us":90.00', f'"p999_us":{figure}')))
            drawing = text.split("<script")[0].lower()
            for bad in ("nan", "inf ", '"inf', "-inf"):
                self.assertNotIn(bad, drawing, figure)

    def test_the_document_is_made_of_its_lines(self):
        """docs/performance.md and its picture are what these commands make of docs/performance.jsonl."""
        docs = os.path.join(SOURCE, "docs")
        lines = os.path.join(docs, "performance.jsonl")
        table = self.cantus("bench", "--markdown", "--from", lines).out
        with open(os.path.join(docs, "performance.md"), encoding="utf-8") as f:
            written = f.read().split("<!-- table -->\n")[1].split("<!-- end of table -->")[0]
        self.assertEqual(written.strip(), table.strip())
        picture = os.path.join(self.tmp, "performance.svg")
        self.cantus("bench", "--picture", picture, "--from", lines)
        with open(picture, "rb") as made, open(os.path.join(docs, "performance.svg"), "rb") as kept:
            self.assertEqual(made.read(), kept.read())


class DurableTest(Case):
    """The cases of `durable`, small: that everything becomes durable, and what the lines say."""

    def test_lines(self):
        out = self.cantus("bench", "durable", "--rounds", "2", "--count", "20",
                          env=dict(os.environ, TMPDIR=self.tmp)).out
        lines = {line["case"]: line for line in json_lines(out)}
        self.assertEqual(set(lines), {"append", "loaded", "stable"})
        self.assertEqual([lines[c]["wanted_at_most"] for c in ("append", "loaded", "stable")], [1.3, 2.2, 1.3])
        self.assertEqual((lines["append"]["appends"], lines["loaded"]["batches"], lines["stable"]["trips"]),
                         (40, 40, 40))
        for line in lines.values():
            self.assertGreater(line["p50_us"], 0)
            self.assertGreater(line["floor_p50_us"], 0)
            self.assertRegex(line["file_system"], r"\w")
        left = [n for n in os.listdir(self.tmp) if n.startswith("cantus-")]
        self.assertEqual(left, [])


if __name__ == "__main__":
    unittest.main()
