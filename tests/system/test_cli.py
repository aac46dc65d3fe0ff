"""The command as a person or a script meets it: every verb's help, usage errors, what `init` makes, what
`dev` says and how it starts and ends, the round trip of `pub` and `sub` with every option, `status` in both
forms, and reading a journal while it is written. Output for programs is compared field by field.
"""

import base64
import json
import os
import re
import signal
import stat
import time
import unittest

from cantus_test import SANITIZE, Case, Endpoints, json_lines, program, wait_until

VERBS = {"init", "dev", "pub", "sub", "status", "journal", "sim", "bench"}
MESSAGE_FIELDS = {"seq", "timestamp_ns", "topic", "publisher", "publisher_seq", "payload"}


class HelpTest(Case):
    def verbs(self):
        listed = set(re.findall(r"(?m)^  ([a-z]+)  +\S", self.cantus("--help").out))
        self.assertLessEqual(VERBS, listed)
        return sorted(listed)

    def test_every_verb_has_help(self):
        for verb in self.verbs():
            with self.subTest(verb=verb):
                done = self.cantus(verb, "--help")
                self.assertTrue(done.out.startswith("usage: cantus"), done.out)
                self.assertIn(verb, done.out.splitlines()[0])
                self.assertEqual(done.err, "")

    def test_every_program_has_help(self):
        for name in ("cantus-sequencer", "cantus-retransmitter", "orderbook"):
            with self.subTest(program=name):
                self.assertIn(f"usage: {name}", self.execute([program(name), "--help"]).out)

    def test_usage_errors_say_where_to_look(self):
        self.assertIn("see cantus --help", self.cantus("publish", status=2).err)
        self.assertIn("see cantus --help", self.cantus("--verbose", "pub", status=2).err)
        self.assertIn("usage: cantus", self.cantus(status=2).err)
        for verb in self.verbs():
            with self.subTest(verb=verb):
                done = self.cantus(verb, "--no-such-option", status=2)
                self.assertIn(f"try cantus {verb} --help", done.err)

    def test_missing_operands(self):
        for args in (["pub", "/a", "b"], ["sub", "/"], ["status"], ["dev"], ["init"],
                     ["journal"], ["journal", "mend", "x"], ["bench"]):
            with self.subTest(args=args):
                done = self.cantus(*args, status=2)
                self.assertIn("wants", done.err)

    def test_numbers_are_checked(self):
        for value in ("-1", "x", "0", "1x", "", "2026-11-22", "2026-11-22T09:30:00", "2026-11-22T09:30:00.1x",
                      "2026-11-22T09:30:00+01:00", "tips"):
            with self.subTest(value=value):
                done = self.cantus("--dir", "d", "sub", "/", "--from", value, status=2)
                self.assertIn("--from", done.err)

    def test_a_directory_without_a_stream(self):
        for verb in (["pub", "/a", "b"], ["sub", "/"], ["status"]):
            with self.subTest(verb=verb):
                done = self.cantus("--dir", self.path("nothing"), *verb, status=1)
                self.assertIn("cantus.yaml", done.err)


class InitTest(Case):
    def test_makes_what_it_says_and_refuses_a_second_time(self):
        d = self.path("d")
        made = json.loads(self.cantus("init", d, "--json").out)
        self.assertLessEqual({"dir", "stream", "volatile"}, set(made))
        self.assertEqual((made["dir"], made["volatile"]), (d, False))
        for name in ("cantus.yaml", "genesis", "admin.key"):
            self.assertTrue(os.path.isfile(os.path.join(d, name)), name)
        self.assertEqual(stat.S_IMODE(os.stat(os.path.join(d, "admin.key")).st_mode), 0o600)
        endpoints = Endpoints(d)
        self.assertEqual(f"{endpoints.stream:016x}", made["stream"])
        walk = self.verify(endpoints.stores[0])
        self.assertEqual((walk["stream"], walk["messages"], walk["last_seq"], walk["damage"]),
                         (made["stream"], 1, 1, None))

        before = {n: os.stat(os.path.join(d, n)).st_mtime_ns for n in os.listdir(d)}
        again = self.cantus("init", d, status=1)
        self.assertIn("holds a stream already", again.err)
        self.assertIn("cantus dev", again.err)
        self.assertEqual(before, {n: os.stat(os.path.join(d, n)).st_mtime_ns for n in os.listdir(d)})

    def test_text_says_how_to_go_on(self):
        done = self.cantus("init", self.path("d"))
        self.assertIn(f"cantus dev --dir {self.path('d')}", done.out)

    def test_two_streams_are_two(self):
        ids = {json.loads(self.cantus("init", self.path(n), "--json").out)["stream"] for n in "ab"}
        self.assertEqual(len(ids), 2)
        self.assertNotEqual(Endpoints(self.path("a")).ingress, Endpoints(self.path("b")).ingress)

    def test_where_nothing_can_be_made(self):
        with open(self.path("file"), "w", encoding="ascii"):
            pass
        self.assertIn(self.path("file"), self.cantus("init", self.path("file", "d"), status=1).err)


class DevTest(Case):
    def test_ready_line(self):
        dev = self.dev()
        self.assertRegex(dev.ready,
                         r"^ready: stream [0-9a-f]{16} session main epoch 1 tip \d+ stores 1; ")
        self.assertEqual(dev.out().count("\n"), 1)

    def test_sigterm_and_sigint_end_it_with_status_0(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(signal=number):
                dev = self.dev()
                dev.ended_by_test = True
                dev.signal(number)
                self.assertEqual(dev.wait(10 if not SANITIZE else 60), 0, dev.describe())

    def test_started_again_it_continues_the_stream(self):
        d = self.path("d")
        stream, tip = None, 0
        for epoch in (1, 2, 3):
            dev = self.dev()
            found = re.match(r"ready: stream (\w+) session main epoch (\d+) tip (\d+)", dev.ready)
            self.assertEqual(int(found.group(2)), epoch)
            self.assertGreater(int(found.group(3)), tip)
            self.assertIn(stream, (None, found.group(1)))
            stream = found.group(1)
            self.pub(d, "/a", f"of epoch {epoch}")
            tip = self.status(d)["tip"]
            self.assertEqual(dev.terminate(), 0)
        self.dev()
        self.assertEqual(self.payloads(d, "/a"), ["of epoch 1", "of epoch 2", "of epoch 3"])

    def test_another_session(self):
        d = self.path("d")
        self.dev().terminate()
        self.assertIn("session tuesday ", self.dev(None, "--session", "tuesday").ready)
        self.assertEqual(self.status(d)["session"], "tuesday")
        self.processes[-1].terminate()
        self.dev()  # not asked for another one, it goes on with the last
        self.assertIn(self.status(d)["session"], ("tuesday", "main"))

    def test_a_session_name_is_printable_ascii(self):
        d = self.path("d")
        for name in ("caf\u00e9", "a\tb", "", "n" * 64):
            with self.subTest(name=name):
                for verb in (("init", "--session", name, d), ("dev", "--dir", d, "--session", name),
                             ("--dir", d, "session", name)):
                    self.assertIn("printable ASCII", self.cantus(*verb, status=2).err)
        self.assertFalse(os.path.exists(d))

    def test_idle_it_does_not_spin(self):
        dev = self.dev()
        self.pub(self.path("d"), "/a", "then nothing")
        began, used = time.monotonic(), dev.cpu_s()
        wait_until(lambda: time.monotonic() - began >= 1.5, "a moment of idleness")
        share = (dev.cpu_s() - used) / (time.monotonic() - began)
        self.assertLess(share, 0.5 if SANITIZE else 0.2, "of a core, without anything to do")

    def test_volatile(self):
        d = self.path("d")
        dev = self.dev(None, "--volatile")
        self.assertIn("nothing is ever stable", dev.ready)
        self.assertIn("stores 0", dev.ready)
        self.assertTrue(self.status(d)["volatile"])
        self.pub(d, "/a", "first", "--sequenced")
        self.assertEqual(self.status(d)["stable"], 0)
        self.assertIn("nothing is ever stable", self.cantus("--dir", d, "status").out)
        for verb in (["sub", "/a"], ["pub", "/a", "x"]):
            self.assertIn("nothing in it is ever stable",
                          self.cantus("--dir", d, *verb, status=1).err)
        follower = self.start([program("cantus"), "--dir", d, "sub", "/a", "--sequenced", "--follow"])
        wait_until(lambda: self.pub(d, "/a", "live", "--sequenced") and "live" in follower.out(),
                   "a live message of a volatile stream")

    def test_two_deployments_coexist(self):
        a, b = self.path("a"), self.path("b")
        self.dev(a)
        self.dev(b)
        for d, text in ((a, "for a"), (b, "for b")):
            self.pub(d, "/x", text)
        self.assertEqual(self.payloads(a, "/"), ["for a"])
        self.assertEqual(self.payloads(b, "/"), ["for b"])
        self.assertNotEqual(self.status(a)["stream"], self.status(b)["stream"])


class PubSubTest(Case):
    def setUp(self):
        super().setUp()
        self.d = self.path("d")
        self.dev()

    def test_round_trip(self):
        seq = int(self.pub(self.d, "/hello", "Hello, world").out)
        text = self.cantus("--dir", self.d, "sub", "/hello").out
        self.assertRegex(text, rf"^{seq} \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{6}}Z /hello Hello, world\n$")

    def test_json_has_exactly_these_fields(self):
        before = time.time_ns()
        seq = int(self.pub(self.d, "/a/b", "\"quoted\" \\ tab\there, snowman ☃", "--publisher", "me").out)
        [m] = self.sub(self.d, "/a")
        self.assertEqual(set(m), MESSAGE_FIELDS)
        self.assertEqual((m["seq"], m["topic"], m["publisher"], m["publisher_seq"], m["payload"]),
                         (seq, "/a/b", "me", 1, "\"quoted\" \\ tab\there, snowman ☃"))
        self.assertTrue(before <= m["timestamp_ns"] <= time.time_ns(), m)

    def test_what_is_not_text_is_base64(self):
        lines = [b"\xff\xfe", b"nul \0 inside", b"\x1b[31m", b"\xc2\x9b31m", b"\xc0\xaf", b"plain"]
        self.pub(self.d, "/bin", "-", input=b"\n".join(lines) + b"\n")
        got = self.sub(self.d, "/bin")
        for line, m in zip(lines, got, strict=True):
            if line == b"plain":
                self.assertEqual(m["payload"], "plain")
            else:
                self.assertEqual(set(m), MESSAGE_FIELDS - {"payload"} | {"payload_base64"})
                self.assertEqual(base64.b64decode(m["payload_base64"]), line)

    def test_a_payload_is_never_more_than_a_line(self):
        """Nobody makes up messages of others in what a terminal shows."""
        self.pub(self.d, "/forged", "one\n2 2020-01-01T00:00:00.000000Z /bank paid")
        self.pub(self.d, "/forged", "two\r2 2020-01-01T00:00:00.000000Z /bank paid")
        shown = self.cantus("--dir", self.d, "sub", "/forged").out
        self.assertEqual((len(shown.splitlines()), "/bank" in shown), (2, False))
        self.assertIn("/bank paid", self.payloads(self.d, "/forged")[0])

    def test_empty_payloads_and_lines(self):
        self.pub(self.d, "/e")
        self.pub(self.d, "/e", "")
        self.pub(self.d, "/e", "-", input="\n\nlast without newline")
        self.assertEqual(self.payloads(self.d, "/e"), ["", "", "", "", "last without newline"])

    def test_stdin_without_a_line(self):
        self.assertIn("0 messages", self.pub(self.d, "/e", "-", input="").out)

    def test_lines_travel_while_the_input_is_still_open(self):
        reader, writer = os.pipe()
        publisher = self.start([program("cantus"), "--dir", self.d, "pub", "/typed", "-"], stdin=reader)
        os.close(reader)
        for i in range(3):
            os.write(writer, b"half a ")
            os.write(writer, b"line %d\n" % i)
            wait_until(lambda: len(self.payloads(self.d, "/typed")) == i + 1, "the line just typed")
        os.write(writer, b"no newline")
        os.close(writer)
        self.assertEqual(publisher.wait(), 0, publisher.describe())
        self.assertEqual(self.payloads(self.d, "/typed"),
                         ["half a line 0", "half a line 1", "half a line 2", "no newline"])

    def test_lines_keep_their_order_and_numbers(self):
        lines = [f"line {i}" for i in range(5000)]
        result = self.pub_lines(self.d, "/lines", lines, "--publisher", "p")
        self.assertEqual(set(result), {"publisher", "messages", "rejected", "last_seq"})
        self.assertEqual((result["publisher"], result["rejected"]), ("p", 0))
        got = self.sub(self.d, "/lines")
        self.assertEqual([m["payload"] for m in got], lines)
        self.assertEqual([m["publisher_seq"] for m in got], list(range(1, 5001)))
        self.assertEqual(got[-1]["seq"], result["last_seq"])
        self.assertEqual(sorted(m["seq"] for m in got), [m["seq"] for m in got])
        times = [m["timestamp_ns"] for m in got]
        self.assertEqual(sorted(times), times)

    def test_a_publisher_continues_its_numbers(self):
        for i in range(3):
            self.pub(self.d, "/n", f"{i}", "--publisher", "again")
        self.pub_lines(self.d, "/n", ["3", "4"], "--publisher", "again")
        self.pub(self.d, "/n", "other", "--publisher", "other")
        got = [(m["publisher"], m["publisher_seq"], m["payload"]) for m in self.sub(self.d, "/n")]
        self.assertEqual(got, [("again", i + 1, f"{i}") for i in range(5)] + [("other", 1, "other")])
        known = {p["identity"]: p for p in self.status(self.d)["publishers"]}
        self.assertEqual((known["again"]["incarnation"], known["again"]["next_number"]), (4, 6))

    def test_from_count_and_subtrees(self):
        self.pub_lines(self.d, "/a/x", ["1", "2", "3"])
        self.pub_lines(self.d, "/ab", ["4"])
        self.pub_lines(self.d, "/a/y/z", ["5"])
        self.assertEqual(self.payloads(self.d, "/a"), ["1", "2", "3", "5"])
        self.assertEqual(self.payloads(self.d, "/a/x"), ["1", "2", "3"])
        self.assertEqual(self.payloads(self.d, "/"), ["1", "2", "3", "4", "5"])
        self.assertEqual(self.payloads(self.d, "/none"), [])
        self.assertEqual(self.payloads(self.d, "/", "--count", "2"), ["1", "2"])
        self.assertEqual(self.payloads(self.d, "/", "--count", "0"), [])
        seqs = [m["seq"] for m in self.sub(self.d, "/")]
        self.assertEqual(self.payloads(self.d, "/", "--from", seqs[2]), ["3", "4", "5"])
        self.assertEqual(self.payloads(self.d, "/", "--from", seqs[2], "--count", "1"), ["3"])
        self.assertEqual(self.payloads(self.d, "/", "--from", seqs[-1] + 1), [])

    def test_from_a_time_and_from_the_tip(self):
        """A time that was printed is one to begin at; the tip is behind all that there was."""
        for payload in ("1", "2", "3"):
            self.pub(self.d, "/a", payload)
        times = [line.split()[1] for line in self.cantus("--dir", self.d, "sub", "/a").out.splitlines()]
        self.assertEqual(self.payloads(self.d, "/a", "--from", times[1]), ["2", "3"])
        self.assertEqual(self.payloads(self.d, "/a", "--from", "1970-01-01T00:00:00Z"), ["1", "2", "3"])
        self.assertEqual(self.payloads(self.d, "/a", "--from", "2999-01-01T00:00:00.5Z"), [])
        self.assertEqual(self.payloads(self.d, "/a", "--from", "tip"), [])
        follower = self.start([program("cantus"), "--dir", self.d, "sub", "/a", "--from", "tip", "--follow",
                               "--count", "1"])
        while follower.running():  # it may come late to the first of these
            self.pub(self.d, "/a", "new")
        self.assertRegex(follower.out(), r"^\d+ \S+ /a new\n$")

    def test_root_leaves_out_sys(self):
        self.pub(self.d, "/a", "x")
        self.assertEqual({m["topic"] for m in self.sub(self.d, "/")}, {"/a"})
        topics = {m["topic"] for m in self.sub(self.d, "/sys")}
        self.assertTrue(all(t.startswith("/sys/") for t in topics), topics)
        self.assertTrue({"/sys/epoch", "/sys/session", "/sys/topic"} <= topics, topics)
        self.assertEqual({m["topic"] for m in self.sub(self.d, "/sys/epoch")}, {"/sys/epoch"})

    def test_follow(self):
        self.pub(self.d, "/f", "before")
        follower = self.start([program("cantus"), "--dir", self.d, "sub", "/f", "--follow", "--json",
                               "--count", "4"])
        follower.wait_lines(1)
        self.pub_lines(self.d, "/f", ["one", "two"])
        follower.wait_lines(3)
        self.assertTrue(follower.running())
        self.pub(self.d, "/f", "three")
        self.assertEqual(follower.wait(), 0)
        self.assertEqual([m["payload"] for m in json_lines(follower.out())],
                         ["before", "one", "two", "three"])

    def test_without_follow_it_ends_while_others_publish(self):
        publisher = self.load(self.d, "/busy")
        self.wait_status(self.d, lambda s: s["stable"] > 1000, "messages")
        before = self.status(self.d)["stable"]
        got = self.sub(self.d, "/busy")
        after = self.status(self.d)["stable"]
        self.assertTrue(publisher.running(), publisher.describe())
        publisher.kill()
        self.assertGreaterEqual(len(got), 900)
        self.assertGreaterEqual(got[-1]["seq"], before - 10)  # ticks aside
        self.assertLessEqual(got[-1]["seq"], after)

    def test_large_payloads(self):
        sizes = [1, 1000, 1400, 1472, 16383, 16384, 100_000, (1 << 20) - 4096]
        lines = [(str(i) * n)[:n] for i, n in enumerate(sizes, 1)]
        self.pub_lines(self.d, "/large", lines, "--publisher", "p")
        got = self.payloads(self.d, "/large")
        self.assertEqual([len(p) for p in got], sizes)
        self.assertEqual(got, lines)

    def test_too_large_a_line(self):
        done = self.pub(self.d, "/large", "-", input="x" * ((1 << 20) + 1) + "\n", status=1)
        self.assertIn("1048576", done.err)
        self.pub(self.d, "/large", "goes on")

    def test_bad_topics_are_explained(self):
        for topic in ("", "a", "a/b", "/a/", "//a", "/a//b", "/", "/a b\x01", "/" + "x" * 3000):
            with self.subTest(topic=topic[:40]):
                done = self.pub(self.d, topic, "x", status=None)
                self.assertNotEqual(done.returncode, 0)
                self.assertRegex(done.err, r"(?i)topic|path|subtree")
        done = self.pub(self.d, "/sys/epoch", "x", status=1)
        self.assertIn("/sys", done.err)
        for topic in ("a", "//"):
            with self.subTest(sub=topic):
                done = self.cantus("--dir", self.d, "sub", topic, status=1)
                self.assertRegex(done.err, r"(?i)topic|path|subtree")
        self.assertEqual(self.payloads(self.d, "/"), [])

    def test_interrupted_pub_says_what_is_known(self):
        self.processes[0].signal(signal.SIGSTOP)
        waiting = self.start([program("cantus"), "--dir", self.d, "pub", "/a", "x"])
        waiting.wait_said("nothing heard|is it running")
        self.assertNotEqual(waiting.terminate(), 0)
        self.processes[0].signal(signal.SIGCONT)


class StatusTest(Case):
    def test_json_and_text(self):
        d = self.path("d")
        self.dev()
        self.pub_lines(d, "/a", [str(i) for i in range(100)], "--publisher", "p")
        s = self.status(d)
        self.assertLessEqual({"stream", "session", "epoch", "tip", "stable", "members", "publishers",
                              "counters", "processes"}, set(s))
        self.assertEqual((s["stream"], s["session"], s["epoch"]["number"], s["volatile"]),
                         (f"{Endpoints(d).stream:016x}", "main", 1, False))
        s = self.wait_status(d, lambda s: s["stable"] == s["tip"], "everything stable")
        self.assertGreaterEqual(s["tip"], 102)
        [member] = s["members"]
        self.assertEqual((member["current"], member["full"]), (True, False))
        numbers = {p["identity"]: p["next_number"] for p in s["publishers"]}
        self.assertEqual(numbers["p"], 101)
        self.assertEqual([p["role"] for p in s["processes"]], ["sequencer", "retransmitter", "proxy"])
        self.assertGreaterEqual(s["counters"]["proposals_in"], 100)
        self.assertIn("dropped_corrupt", s["counters"])  # with --all, zeros too

        text = self.cantus("--dir", d, "status").out
        for word in (s["stream"], "session main", "stable", "member", " publishers", "proposals_in"):
            self.assertIn(word, text)
        self.assertNotIn("dropped_corrupt", text)  # zero: only with --all
        self.assertIn("dropped_corrupt", self.cantus("--dir", d, "status", "--all").out)

    def test_nobody_answers(self):
        d = self.path("d")
        self.cantus("init", d)
        for args in ([], ["--json"]):
            done = self.cantus("--dir", d, "status", *args, status=1)
            self.assertIn("cantus dev --dir", done.err)


class JournalTest(Case):
    def test_verify_and_dump_while_running_and_after(self):
        d = self.path("d")
        dev = self.dev()
        store = Endpoints(d).stores[0]
        lines = [f"message {i}" for i in range(500)]
        last = self.pub_lines(d, "/a/b", lines, "--publisher", "p")["last_seq"]
        running = self.verify(store)
        self.assertEqual((running["damage"], running["first_seq"]), (None, 1))
        self.assertGreaterEqual(running["last_seq"], last)
        dev.terminate()

        after = self.verify(store)
        self.assertEqual(after["messages"], after["last_seq"])
        self.assertRegex(after["digest"], r"^[0-9a-f]{32}$")
        self.assertEqual((after["stream"], after["torn_bytes"]), (f"{Endpoints(d).stream:016x}", 0))
        self.assertEqual(self.verify(d), after)  # a deployment's directory stands for its store
        self.assertIn("no damage", self.cantus("journal", "verify", store).out)

        dumped = json_lines(self.cantus("journal", "dump", store, "--json").out)
        self.assertEqual([m["seq"] for m in dumped], list(range(1, after["last_seq"] + 1)))
        mine = [m for m in dumped if m["topic"] == "/a/b"]
        self.assertEqual([m["payload"] for m in mine], lines)
        self.assertEqual([m["publisher_seq"] for m in mine], list(range(1, 501)))
        self.assertEqual({m["publisher"] for m in mine}, {"p"})
        some = json_lines(self.cantus("journal", "dump", store, "--json", "--from", mine[7]["seq"],
                                      "--count", "3").out)
        self.assertEqual([m["payload"] for m in some], lines[7:10])
        self.assertIn("/a/b p 500 message 499", self.cantus("journal", "dump", store).out)

    def test_under_load(self):
        d = self.path("d")
        self.dev()
        store = Endpoints(d).stores[0]
        load = self.load(d, "/busy")
        last = 0
        for _ in range(8):
            self.wait_status(d, lambda s: s["stable"] > last + 500, "progress")
            found = self.verify(store)
            self.assertIsNone(found["damage"])
            last = found["last_seq"]
        self.assertTrue(load.running(), load.describe())
        load.kill()

    def test_what_is_no_store(self):
        self.assertIn("store", self.cantus("journal", "verify", self.tmp, status=1).err)
        done = self.cantus("journal", "verify", self.path("nowhere"), status=1)
        self.assertIn("No such file", done.err)


class SimTest(Case):
    def test_same_seed_same_line(self):
        first, again = (self.cantus("sim", "--seed", "7", "--runs", "2", deadline_s=600).out
                        for _ in range(2))
        self.assertEqual(first, again)
        runs = json_lines(first)
        self.assertEqual([r["seed"] for r in runs], [7, 8])
        for run in runs:
            self.assertLessEqual({"seed", "steps", "messages", "digest", "faults"}, set(run))
            self.assertGreaterEqual(run["messages"], 1000)

    def test_a_sabotage_is_caught(self):
        listed = [line.split()[0] for line in self.cantus("sim", "--list-sabotage").out.splitlines()]
        self.assertLessEqual({"send-before-persist", "dedup-forgotten", "clock-unclamped", "gap-ignored",
                              "order-by-arrival"}, set(listed))
        done = self.cantus("sim", "--seed", "1", "--runs", "200", "--sabotage", "gap-ignored", "--quiet",
                           status=1, deadline_s=600)
        self.assertRegex(done.err, r"violated: .*, seed \d+, step \d+")

    def test_bad_arguments(self):
        self.assertIn("no-such", self.cantus("sim", "--sabotage", "no-such", status=None).err)
        done = self.cantus("sim", "--app", self.path("nothing.so"), status=1)
        self.assertIn("nothing.so", done.err)


if __name__ == "__main__":
    unittest.main()
