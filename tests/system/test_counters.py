"""Counters, seen from outside: what `cantus metrics` says is what the processes' status says, in a
format that a strict reader of Prometheus' takes, over HTTP as well; the reference in docs and the
dashboards are of the table that is built; what was logged can be read by `cantus errors`, also of a
process that was killed. The reader of the format is here: it refuses what Prometheus' own would
refuse or warn of, and is shown a broken text of each kind first.
"""

import glob
import json
import os
import re
import unittest
import urllib.error
import urllib.request

import cantus_test
from cantus_test import SOURCE, Case, program, wait_until

SAMPLE = re.compile(r'^([a-z_]+)\{role="([^"]*)",name="([^"]*)",stream="([0-9a-f]{16})"\} (\S+)$')


def parse_metrics(text):
    """{metric: (type, {(role, name): value})}; raises ValueError where the format is not kept."""
    families, current = {}, None
    if not text.endswith("\n"):
        raise ValueError("does not end in a newline")
    helped = None
    for line in text.split("\n")[:-1]:
        if line.startswith("# HELP "):
            helped = line.split(" ", 3)[2]
            if len(line.split(" ", 3)) < 4:
                raise ValueError(f"no help text: {line}")
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            if name in families or name != helped or kind not in ("counter", "gauge"):
                raise ValueError(f"a family twice, without help or of no type: {line}")
            if (kind == "counter") != name.endswith("_total"):
                raise ValueError(f"counters, and they alone, end in _total: {line}")
            families[name] = (kind, {})
            current = name
        else:
            found = SAMPLE.match(line)
            if not found or found.group(1) != current:
                raise ValueError(f"no sample of {current}: {line}")
            value = float(found.group(5))
            key = found.group(2, 3)
            if key in families[current][1] or value < 0:
                raise ValueError(f"twice, or negative: {line}")
            families[current][1][key] = value
    return families


class Format(unittest.TestCase):
    def test_the_reader_refuses_what_is_wrong(self):
        head = "# HELP cantus_a_total help\n# TYPE cantus_a_total counter\n"
        sample = 'cantus_a_total{role="x",name="y",stream="0123456789abcdef"} 1\n'
        self.assertEqual(parse_metrics(head + sample)["cantus_a_total"][1][("x", "y")], 1)
        for wrong in (head + sample * 2, head + head + sample, sample, head + sample[:-1],
                      head.replace("counter", "gauge") + sample,
                      head.replace("# HELP cantus_a_total help\n", "") + sample,
                      head + sample.replace(" 1", " many"), head + sample.replace(" 1", " -1"),
                      head + sample.replace("_a_", "_b_")):
            with self.assertRaises(ValueError, msg=wrong):
                parse_metrics(wrong)


class Documents(Case):
    def test_the_reference_is_of_this_table(self):
        with open(os.path.join(SOURCE, "docs", "counters.md"), encoding="utf-8") as f:
            self.assertEqual(f.read(), self.cantus("metrics", "--reference").out,
                             "docs/counters.md is old: cantus metrics --reference > docs/counters.md")

    def test_dashboards_name_metrics_that_there_are(self):
        reference = self.cantus("metrics", "--reference").out
        known = set(re.findall(r"`(cantus_\w+)`", reference))
        boards = glob.glob(os.path.join(SOURCE, "deploy", "grafana", "*.json"))
        self.assertGreaterEqual(len(boards), 4)
        for path in boards:
            with open(path, encoding="utf-8") as f:
                board = json.load(f)
            ids = [p["id"] for p in board["panels"]]
            self.assertEqual(len(ids), len(set(ids)), path)
            for panel in board["panels"]:
                self.assertTrue(panel["targets"], panel["title"])
                for target in panel["targets"]:
                    named = re.findall(r"\bcantus_\w+", target["expr"])
                    self.assertTrue(named, f"{path}: {target['expr']}")
                    for name in named:
                        self.assertIn(name, known, f"{path}: {panel['title']}")
                    # A rate is of what only grows, and only of that.
                    for name in re.findall(r"rate\((cantus_\w+)", target["expr"]):
                        self.assertTrue(name.endswith("_total"), f"{path}: {target['expr']}")


class Counters(Case):
    def metrics(self, dir):
        return parse_metrics(self.cantus("--dir", dir, "metrics", "--once").out)

    def wait_metric(self, dir, name, key, condition):
        return wait_until(lambda: condition(self.metrics(dir)[name][1].get(key)) or None,
                          lambda: f"{name} of {key}: {self.metrics(dir)[name]}")

    def test_what_is_served_is_what_the_processes_say(self):
        dir = self.path("d")
        self.dev(dir, "--stores", "3", "--sequencers", "2")
        self.pub_lines(dir, "/a", [f"line {i}" for i in range(500)])
        tip = self.wait_status(dir, lambda s: s["tip"] >= 500 and s["stable"] == s["tip"],
                               "all stable")["tip"]
        self.wait_metric(dir, "cantus_stable_seq", ("sequencer", "s1"), lambda v: v >= tip)
        m = self.metrics(dir)
        self.assertEqual(m["cantus_up"][1], {("sequencer", "s1"): 1, ("sequencer", "s2"): 1,
                                             ("retransmitter", "r1"): 1, ("retransmitter", "r2"): 1,
                                             ("retransmitter", "r3"): 1, ("proxy", "p1"): 1})
        self.assertEqual(m["cantus_leading"][1], {("sequencer", "s1"): 1, ("sequencer", "s2"): 0})
        self.assertEqual(m["cantus_members"][1][("sequencer", "s1")], 3)
        self.assertEqual(m["cantus_members_current"][1][("sequencer", "s1")], 3)
        self.assertGreaterEqual(m["cantus_messages_sequenced_total"][1][("sequencer", "s1")], 500)
        self.assertGreater(m["cantus_disk_free_bytes"][1][("retransmitter", "r2")], 0)
        self.assertNotIn(("sequencer", "s1"), m["cantus_disk_free_bytes"][1])
        # Counts grow from the one to the other; apart from that they are the same array.
        answered = self.process_status(dir, "s1")["counters"]
        for name in ("proposals_in", "joins_in", "seals", "epochs_begun", "fenced", "forks"):
            self.assertEqual(m[f"cantus_{name}_total"][1][("sequencer", "s1")], answered[name], name)
        answered = self.process_status(dir, "r1")["counters"]
        self.assertLessEqual(m["cantus_journal_bytes_total"][1][("retransmitter", "r1")],
                             answered["journal_bytes"])
        self.assertGreater(m["cantus_journal_bytes_total"][1][("retransmitter", "r1")], 500)

    def test_apps_are_seen_while_they_run(self):
        dir = self.path("d")
        self.dev(dir)
        sub = self.start([program("cantus"), "--dir", dir, "sub", "/a", "--follow"])
        self.pub_lines(dir, "/a", ["one", "two"])
        sub.wait_lines(2)
        self.wait_metric(dir, "cantus_delivered_seq", ("app", "cantus-sub"), lambda v: v)
        sub.terminate()
        self.assertNotIn(("app", "cantus-sub"), self.metrics(dir)["cantus_up"][1])

    def test_apps_through_a_proxy_are_seen_too(self):
        dir = self.path("d")
        address = re.search(r"--proxy (\S+) --key (\S+)", self.dev(dir).ready)
        sub = self.start([program("cantus"), "--proxy", address[1], "--key", address[2], "sub", "/a", "--follow"])
        self.pub_lines(dir, "/a", ["one", "two"])
        sub.wait_lines(2)
        self.wait_metric(dir, "cantus_delivered_seq", ("app", "cantus-sub"), lambda v: v)
        sub.terminate()
        self.assertNotIn(("app", "cantus-sub"), self.metrics(dir)["cantus_up"][1])

    def test_over_http(self):
        dir = self.path("d")
        self.dev(dir)
        server = self.start([program("cantus"), "--dir", dir, "metrics", "--listen", "127.0.0.1:0"])
        wait_until(lambda: server.out() or not server.running(), server.describe)
        if "no HTTP server" in server.err():
            self.skipTest("built without libmicrohttpd")
        url = server.wait_line("listening:").split(" ")[1]
        with urllib.request.urlopen(url, timeout=cantus_test.DEADLINE_S) as answer:
            self.assertEqual(answer.headers["Content-Type"],
                             "text/plain; version=0.0.4; charset=utf-8")
            served = parse_metrics(answer.read().decode())
        self.assertEqual(set(served), set(self.metrics(dir)))
        self.assertEqual(served["cantus_up"][1][("sequencer", "s1")], 1)
        for wrong, status in ((url[:-1], 404), (url + "/x", 404)):
            with self.assertRaises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(wrong, timeout=cantus_test.DEADLINE_S)
            self.assertEqual(refused.exception.code, status)
            refused.exception.close()
        with self.assertRaises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(url, data=b"x", timeout=cantus_test.DEADLINE_S)
        self.assertEqual(refused.exception.code, 405)
        refused.exception.close()
        again = self.cantus("--dir", dir, "metrics", "--listen", url.split("/")[2], status=1)
        self.assertIn("--listen", again.err)
        self.assertEqual(server.terminate(), 0)

    def test_errors_are_remembered_and_survive_a_kill(self):
        dir = self.path("d")
        self.cantus("--dir", dir, "init")
        daemon = self.start([program("cantus-sequencer"), "--config", f"{dir}/cantus.yaml"])
        daemon.wait_said("not leading yet")

        def errors():
            done = self.cantus("--dir", dir, "errors", "--json", "--name", "s1", status=None)
            found = [json.loads(line) for line in done.out.splitlines()]
            return found[0] if found and found[0]["errors"] else None
        said = wait_until(errors, "an error of s1")
        self.assertEqual((said["role"], said["pid"], said["alive"]), ("sequencer", daemon.pid, True))
        first = said["errors"][0]
        self.assertEqual((first["text"], first["level"]), ("not leading yet", "warn"))
        self.assertGreaterEqual(first["count"], 1)
        self.assertIn("why=", first["detail"])
        self.assertLessEqual(first["first_ns"], first["last_ns"])
        daemon.kill()
        dead = errors()
        self.assertFalse(dead["alive"])
        self.assertEqual(dead["errors"][0]["text"], "not leading yet")
        text = self.cantus("--dir", dir, "errors").out
        self.assertIn("which has ended", text)
        self.assertIn("not leading yet", text)
        self.assertEqual(self.metrics(dir)["cantus_up"][1], {("sequencer", "s1"): 0})
        # Its successor takes its place.
        self.start([program("cantus-sequencer"), "--config", f"{dir}/cantus.yaml"])
        self.wait_metric(dir, "cantus_up", ("sequencer", "s1"), lambda v: v == 1)
        self.assertEqual(len(self.metrics(dir)["cantus_up"][1]), 1)
        self.cantus("--dir", dir, "errors", "--name", "s7", status=1)

    def test_a_stalled_process_is_told_from_one_that_runs(self):
        dir = self.path("d")
        self.cantus("--dir", dir, "init")
        daemon = self.start([program("cantus-sequencer"), "--config", f"{dir}/cantus.yaml"])
        self.wait_metric(dir, "cantus_up", ("sequencer", "s1"), lambda v: v == 1)
        daemon.signal(19)  # SIGSTOP
        self.wait_metric(dir, "cantus_up", ("sequencer", "s1"), lambda v: v == 0)
        self.assertGreater(self.metrics(dir)["cantus_silent_seconds"][1][("sequencer", "s1")], 1)
        daemon.signal(18)  # SIGCONT
        self.wait_metric(dir, "cantus_up", ("sequencer", "s1"), lambda v: v == 1)


if __name__ == "__main__":
    unittest.main()
