"""The proxy as a process: that it starts, or says clearly why not; that `dev` runs one, with a key and an address
to use it by; that a socket and a line of text suffice to read what anyone may; that operators see who is there,
and let clients go before a stop. What clients may count on is in test_edge.py and in the simulator.
"""

import json
import os
import re
import resource
import signal
import socket
import unittest

from cantus_test import BIN, Case, Endpoints, config_edit, config_path, program, wait_until


class Daemon(Case):
    """Each process by itself, as a service manager runs them."""

    def deployment(self, *args):
        dir = self.path("d")
        self.cantus("init", dir, *args)
        return dir

    def run_core(self, dir):
        self.start([program("cantus-retransmitter"), "--config", config_path(dir)])
        self.start([program("cantus-sequencer"), "--config", config_path(dir)])
        self.wait_status(dir, lambda s: s["leader"] == "s1", "somebody leads")

    def proxy(self, dir, *args, **options):
        return self.start([program("cantus-proxy"), "--config", config_path(dir), *args], **options)

    def refused(self, dir, *args, status=1, **options):
        done = self.execute([program("cantus-proxy"), "--config", config_path(dir), *args], status=status,
                            **options)
        return done.err

    def test_what_is_wrong_is_said(self):
        dir = self.deployment("--proxies", "2")
        self.execute([program("cantus-proxy"), "--config", config_path(dir), "--check"])
        self.assertIn("which proxy? use --name; the configuration has p1 p2", self.refused(dir))
        self.assertIn("no proxy is named 'r1'; the configuration has p1 p2", self.refused(dir, "--name", "r1"))
        self.assertIn("usage:", self.refused(dir, "--nam"))
        config_edit(dir, {"sessions_max": 60001})
        self.assertRegex(self.refused(dir, "--name", "p1"), r"cantus.yaml:\d+: sessions_max: 60001 is out of range")

    def test_too_few_descriptors(self):
        dir = self.deployment()
        said = self.execute(["sh", "-c", f"ulimit -n 200; exec {program('cantus-proxy')} --config {config_path(dir)}"],
                            status=1).err
        self.assertRegex(said, r"proxy p1: sessions_max: 512 clients need \d+ file descriptors, .* may have 200")
        self.assertIn("LimitNOFILE", said)

    def test_a_limit_that_can_be_raised_is(self):
        dir = self.deployment()
        process = self.start(["sh", "-c", f"ulimit -Sn 200; exec {program('cantus-proxy')} --config {config_path(dir)}"])
        process.wait_said("listening")
        with open(f"/proc/{process.pid}/limits", encoding="ascii") as f:
            soft = re.search(r"Max open files +(\d+)", f.read()).group(1)
        self.assertGreater(int(soft), 512)

    def test_a_port_that_is_taken(self):
        dir = self.deployment()
        at = Endpoints(dir).proxies[0]
        with socket.socket() as taken:
            taken.bind(at)
            taken.listen()
            said = self.refused(dir)
        self.assertIn(f"proxy p1: clients: port {at[1]} of 127.0.0.1 is in use", said)

    def test_it_starts_and_stops(self):
        dir = self.deployment()
        alone = self.proxy(dir)
        alone.wait_said("not ready yet")  # nobody leads
        self.run_core(dir)
        alone.wait_said("proxy: ready")
        status = self.process_status(dir, "p1")
        self.assertEqual(status["role"], "proxy")
        self.assertEqual(status["counters"]["sessions_max"], 512)
        self.assertEqual(alone.terminate(), 0)
        self.assertIn("stopped", alone.err())
        self.assertIn("not running", self.cantus("--dir", dir, "who", status=1).err)

    def test_it_follows_who_leads(self):
        dir = self.deployment("--sequencers", "2")
        self.run_core_of_two(dir)
        proxy = self.proxy(dir)
        proxy.wait_said("proxy: ready")
        first = self.process_status(dir, "p1")["epoch"]["number"]
        self.cantus("--dir", dir, "promote", "s2", "--why", "a test")
        self.pub(dir, "/a", "after")
        wait_until(lambda: self.process_status(dir, "p1")["epoch"]["number"] > first, "the next epoch")

    def run_core_of_two(self, dir):
        self.start([program("cantus-retransmitter"), "--config", config_path(dir)])
        self.start([program("cantus-sequencer"), "--config", config_path(dir), "--name", "s1"])
        self.wait_status(dir, lambda s: s["leader"] == "s1", "somebody leads")
        self.start([program("cantus-sequencer"), "--config", config_path(dir), "--name", "s2", "--standby"])


class Reader:
    """What nc would be: a socket, and lines."""

    def __init__(self, case, at, hello):
        self.socket = socket.create_connection(at)
        case.addCleanup(self.socket.close)
        self.socket.settimeout(60)
        self.socket.sendall(hello.encode() + b"\n")
        self.rest = b""

    def line(self):
        while b"\n" not in self.rest:
            more = self.socket.recv(4096)
            if not more:
                return None
            self.rest += more
        line, self.rest = self.rest.split(b"\n", 1)
        return line.decode()

    def message(self):
        """The next line that is no comment."""
        while True:
            line = self.line()
            if line is None or not line.startswith("#"):
                return line

    def closed(self):
        """Everything until the other side ends."""
        lines = []
        while (line := self.line()) is not None:
            lines.append(line)
        return lines


class WaitingTest(Case):
    """`pub` and `sub` when there is nobody: they say what they wait for, and --timeout ends it."""

    def setUp(self):
        super().setUp()
        self.key = self.path("a.key")
        self.cantus("key", "new", self.key)
        self.verbs = (("pub", "/a", "x"), ("pub", "/a", "-"), ("sub", "/", "--follow"), ("sub", "/"))

    def run_out(self, proxies, why, verbs):
        for verb in verbs:
            with self.subTest(verb=verb):
                done = self.cantus("--proxy", proxies, "--key", self.key, *verb, "--timeout", 4, status=1, input="x\n")
                self.assertRegex(done.err, r"waited 4 s for .*stream.*: given up\n$")
                self.assertEqual(done.err.count("cantus: waiting for "), 1, done.err)
                self.assertEqual(done.out, "")
                self.assertRegex(done.err, why)

    def test_nobody_listens(self):
        with socket.socket() as s:  # bound, so that nobody else gets it
            s.bind(("127.0.0.1", 0))
            self.run_out(f"127.0.0.1:{s.getsockname()[1]}", "no connection; it is tried again", self.verbs)

    def test_nobody_answers(self):
        with socket.create_server(("127.0.0.1", 0)) as s:
            self.run_out(f"127.0.0.1:{s.getsockname()[1]}", "given up", self.verbs[1:3])

    def test_no_end_unless_asked_for(self):
        with socket.create_server(("127.0.0.1", 0)) as s:
            for verb in self.verbs:
                process = self.start([program("cantus"), "--proxy", f"127.0.0.1:{s.getsockname()[1]}", "--key", self.key,
                                      *verb])
                process.wait_said(r"waiting for .*stream.*--timeout SECONDS gives that an end")
                process.terminate()

    def test_the_timeout_is_a_number(self):
        for verb in self.verbs:
            for wrong in ("0", "x", "-1", "86401"):
                err = self.cantus("--proxy", "127.0.0.1:1", *verb, "--timeout", wrong, status=2).err
                self.assertIn("--timeout wants a number from 1 to 86400", err)


class Dev(Case):
    def setUp(self):
        super().setUp()
        self.dir = self.path("d")
        self.process = self.dev(self.dir)
        self.at = Endpoints(self.dir).proxies[0]
        self.address = f"{self.at[0]}:{self.at[1]}"

    def who(self, *args):
        return json.loads(self.cantus("--dir", self.dir, "who", "--once", "--json", *args).out)["clients"]

    def test_the_ready_line_says_how(self):
        said = re.search(r"clients: cantus --proxy (\S+) --key (\S+) sub / --follow$", self.process.ready)
        self.assertEqual(said.group(1), self.address)
        self.assertEqual(said.group(2), os.path.join(self.dir, "dev.key"))
        self.assertEqual(os.stat(said.group(2)).st_mode & 0o777, 0o600)
        key = self.cantus("key", "show", said.group(2)).out.strip()
        grants = json.loads(self.cantus("--dir", self.dir, "grants", "--json").out)["grants"]
        self.assertEqual(grants, [{"whom": key, "rights": "read,write", "subtree": "/"}])

    def test_a_revoked_key_stays_revoked(self):
        key = self.cantus("key", "show", os.path.join(self.dir, "dev.key")).out.strip()
        self.cantus("--dir", self.dir, "revoke", key, "read,write", "/")
        self.assertEqual(self.process.terminate(), 0)
        self.dev(self.dir)
        self.assertEqual(json.loads(self.cantus("--dir", self.dir, "grants", "--json").out)["grants"], [])

    def test_text(self):
        """A subtree that anyone may read, from a seq, and then as it comes."""
        self.cantus("--dir", self.dir, "grant", "anyone", "read", "/open")
        first = int(self.pub(self.dir, "/open/a", "one").out)
        self.pub(self.dir, "/closed", "not for everybody")
        second = int(self.pub(self.dir, "/open/b", "tab\there", "--publisher", "team").out)
        reader = Reader(self, self.at, f"cantus /open from {first}")
        found = [reader.message().split(" ", 4) for _ in range(2)]
        self.assertEqual([(m[0], m[2], m[4]) for m in found],
                         [(str(first), "/open/a", "one"), (str(second), "/open/b", r"tab\x09here")])
        self.assertEqual(found[1][3], "team")
        self.assertGreater(int(found[1][1]), int(found[0][1]) - 1)
        self.pub(self.dir, "/open/a", "two")
        self.assertEqual(reader.message().split(" ", 4)[4], "two")
        clients = self.who()
        self.assertEqual([(c["proxy"], c["key"], c["text"], c["subtrees"]) for c in clients],
                         [("p1", None, True, 1)])
        port = reader.socket.getsockname()[1]
        self.assertEqual(clients[0]["address"], f"127.0.0.1:{port}")

    def test_who_begins_later_is_sent_nothing_of_what_was_before(self):
        """From a time, and from the tip: the same messages as on the core, and the proxy's counters tell that it has
        sent no others."""
        count = 500
        self.pub_lines(self.dir, "/a", [f"{i} {'x' * 200}" for i in range(count)])
        lines = self.cantus("--dir", self.dir, "sub", "/a").out.splitlines()
        later = self.pub(self.dir, "/a", "later").out.strip()
        printed = self.cantus("--dir", self.dir, "sub", "/a").out.splitlines()
        when = printed[-1].split()[1]
        self.assertEqual((len(lines), printed[-1].split()[0]), (count, later))

        def sub(*args):
            """What is printed through the proxy, and what the proxy has sent for it."""
            before = self.process_status(self.dir, "p1")["counters"]
            out = self.cantus("--proxy", self.address, "--key", os.path.join(self.dir, "dev.key"), "sub", "/a", *args).out
            after = self.process_status(self.dir, "p1")["counters"]
            return out.splitlines(), *(after[c] - before[c] for c in ("client_messages_out", "client_bytes_out"))

        said, messages, all_bytes = sub()
        self.assertEqual((said, messages), (printed, count + 1))
        self.assertGreater(all_bytes, count * 200)
        said, messages, few_bytes = sub("--from", when)
        self.assertEqual((said, messages), (printed[-1:], 1))
        self.assertLess(few_bytes, 2000)
        self.assertEqual(sub("--from", "tip")[:2], ([], 0))
        self.assertEqual(sub("--from", "2999-01-01T00:00:00.5Z")[:2], ([], 0))
        follower = self.start([program("cantus"), "--proxy", self.address, "--key", os.path.join(self.dir, "dev.key"),
                               "sub", "/a", "--from", "tip", "--follow", "--count", "1"])
        while follower.running():  # it may come late to the first of these
            self.pub(self.dir, "/a", "new")
        self.assertRegex(follower.out(), r"^\d+ \S+ /a new\n$")

    def test_text_that_is_not_granted(self):
        said = " ".join(Reader(self, self.at, "cantus /secret").closed())
        self.assertIn("refused: /secret: not permitted: the right to read", said)
        counters = self.process_status(self.dir, "p1")["counters"]
        self.assertEqual(counters["refused_right"], 1)

    def test_drain(self):
        self.cantus("--dir", self.dir, "grant", "anyone", "read", "/open")
        readers = [Reader(self, self.at, "cantus /open") for _ in range(5)]
        wait_until(lambda: len(self.who("p1")) == 5, "five clients")
        self.assertIn("no clients any more", self.cantus("--dir", self.dir, "proxy", "drain", "p1").out)
        for reader in readers:
            self.assertTrue([line for line in reader.closed() if line.startswith("#")])
        self.assertEqual(self.who(), [])
        self.assertIn("no proxy is named", self.cantus("--dir", self.dir, "proxy", "drain", "p9", status=1).err)

    def test_whoever_comes_while_all_drain_is_told(self):
        """Also who names two: it does not go from one to the other as fast as it can, and silently."""
        dir = self.path("two")
        self.dev(dir, "--proxies", "2")
        at = [f"{host}:{port}" for host, port in Endpoints(dir).proxies]
        for name in ("p1", "p2"):
            self.cantus("--dir", dir, "proxy", "drain", name)
        for proxies in (at[:1], at):
            done = self.cantus("--proxy", ",".join(proxies), "--key", os.path.join(dir, "dev.key"), "sub", "/",
                               "--timeout", 4, status=1)
            self.assertRegex(done.err, rf"proxy ({at[0]}|{at[1]}): this proxy stops: go to another")
            self.assertIn("given up", done.err)

    def test_an_outcome_that_does_not_come(self):
        self.pub(self.dir, "/a", "one")
        key = os.path.join(self.dir, "dev.key")
        process = self.start([program("cantus"), "--proxy", self.address, "--key", key, "sub", "/", "--follow",
                              "--timeout", "4"])
        process.wait_lines(1)
        self.process.kill()
        self.assertEqual(process.wait(), 1)
        self.assertRegex(process.err(), r"waited 4 s for what there is of the stream: given up")

    def test_many_clients_are_listed_once_each(self):
        self.cantus("--dir", self.dir, "grant", "anyone", "read", "/open")
        readers = [Reader(self, self.at, "cantus /open") for _ in range(150)]
        wait_until(lambda: len(self.who()) == 150, "all of them")
        ports = {r.socket.getsockname()[1] for r in readers}
        self.assertEqual({int(c["address"].split(":")[1]) for c in self.who()}, ports)
        text = self.cantus("--dir", self.dir, "who").out.splitlines()
        self.assertEqual(len(text), 151)
        self.assertIn("B/s out", text[0])

    def test_sessions_are_bounded(self):
        """More than sessions_max are turned away at once, and those that are there are unharmed."""
        self.assertEqual(self.process.terminate(), 0)
        config_edit(self.dir, {"sessions_max": 3})
        self.dev(self.dir)
        self.cantus("--dir", self.dir, "grant", "anyone", "read", "/open")
        readers = [Reader(self, self.at, "cantus /open") for _ in range(3)]
        wait_until(lambda: len(self.who()) == 3, "three clients")
        turned_away = Reader(self, self.at, "cantus /open")
        try:
            turned_away.closed()
        except ConnectionResetError:
            pass
        self.pub(self.dir, "/open/a", "still here")
        for reader in readers:
            self.assertIn("still here", reader.message())

    def through(self, key, *args, **options):
        keys = ["--key", key] if key else []
        return self.cantus("--proxy", self.address, *keys, *args, **options)

    def test_the_command_goes_through_it(self):
        """What needs no more than the dev key, what needs the administrator's, and what neither may."""
        dev, admin = os.path.join(self.dir, "dev.key"), os.path.join(self.dir, "admin.key")
        seq = int(self.through(dev, "pub", "/hello", "world").out)
        self.assertIn("/hello world", self.through(dev, "sub", "/hello").out)
        self.assertGreater(int(self.through(admin, "grant", "anyone", "read", "/open").out), seq)
        self.pub(self.dir, "/open/a", "for all")
        self.assertIn("for all", self.through(None, "sub", "/open").out)
        self.assertIn("/open/a", self.through(admin, "topic", "ls").out)
        who = json.loads(self.through(admin, "who", "--json").out)["clients"]
        reader = Reader(self, self.at, "cantus /open")
        wait_until(lambda: len(self.who()) == 1, "the reader")
        now = json.loads(self.through(admin, "who", "--json").out)["clients"]
        self.assertEqual([c["agent"] for c in who], ["cantus-who"])  # the others have logged out
        self.assertEqual(sorted((c["key"] is None, c["proxy"]) for c in now), [(False, "p1"), (True, "p1")])
        live = self.who()[0]
        self.assertIn((live["address"], None), [(c["address"], c["key"]) for c in now])
        self.assertIn(live["address"], self.through(admin, "who").out)
        reader.socket.close()
        self.assertIn("right to read", self.through(dev, "who", status=1).err)
        grants = json.loads(self.through(admin, "grants", "--json").out)
        self.assertEqual(grants, json.loads(self.cantus("--dir", self.dir, "grants", "--json").out))
        self.assertIn({"whom": "anyone", "rights": "read", "subtree": "/open"}, grants["grants"])
        self.through(admin, "group", "add", "team", self.cantus("key", "show", dev).out.strip())
        self.through(admin, "limit", "everyone", "--connections", "100")
        self.assertIn("team", self.through(admin, "group", "list").out)

    def test_who_through_it(self):
        """Proxies that are asked as clients ask: how far each client lags and its rates are known, a right is
        wanted, and one of the list that is down does not keep the other from being heard."""
        admin = os.path.join(self.dir, "admin.key")
        self.cantus("--dir", self.dir, "grant", "anyone", "read", "/open")
        readers = [Reader(self, self.at, "cantus /open") for _ in range(40)]
        wait_until(lambda: len(self.who()) == 40, "all of them")
        said = json.loads(self.through(admin, "who", "--json").out)
        self.assertEqual((said["asked"], said["problems"]), (["p1"], []))
        ports = {r.socket.getsockname()[1] for r in readers}
        texts = [c for c in said["clients"] if c["text"]]
        self.assertEqual({int(c["address"].split(":")[1]) for c in texts}, ports)
        own, = (c for c in said["clients"] if c["agent"] == "cantus-who")
        self.assertGreater(own["bytes_in_per_s"], 0)  # it has asked in between
        self.assertEqual(own["key"], self.cantus("key", "show", admin).out.strip())
        for c in said["clients"]:
            self.assertGreaterEqual(c["lag"], 0)
            self.assertIn("bytes_out_per_s", c)
        text = self.through(admin, "who").out.splitlines()
        self.assertEqual((len(text), text[-1]), (1 + 41 + 1, "asked: p1"))
        self.assertNotIn("bytes_in_per_s", self.through(admin, "who", "--once", "--json").out)
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            down = f"127.0.0.1:{nobody.getsockname()[1]}"
            said = json.loads(self.cantus("--proxy", f"{down},{self.address}", "--key", admin, "who", "--once",
                                          "--json").out)
        self.assertEqual(said["asked"], [down, "p1"])
        self.assertEqual([p["proxy"] for p in said["problems"]], [down])
        self.assertEqual(len(said["clients"]), 41)
        self.assertIn("/sys/edge", self.through(None, "who", status=1).err)
        self.assertEqual(self.process_status(self.dir, "p1")["counters"]["refused_right"], 1)

    def test_what_is_missing_is_named(self):
        dev = os.path.join(self.dir, "dev.key")
        for key, args, words in ((dev, ("grants",), ("/sys/genesis", "right to read", "or read /sys,")),
                                 (dev, ("topic", "ls"), ("right to read", "or read /sys,")),
                                 (dev, ("grant", "anyone", "read", "/x"),
                                  ("/sys/grant", "not permitted (right to grant): it takes the right to grant on")),
                                 (dev, ("pub", "/sys/edge", "x"),
                                  ("(right to write)", "cantus grant KEY write /sys/edge")),
                                 (dev, ("who",), ("cantus grant KEY read /sys/edge",)),
                                 (None, ("sub", "/hello"), ("/hello", "right to read")),
                                 (None, ("grant", "anyone", "read", "/x"), ("--key FILE",)),
                                 (None, ("status",), ("does not go through a proxy",))):
            with self.subTest(args=args):
                done = self.through(key, *args, status=None)
                self.assertNotEqual(done.returncode, 0)
                for word in words:
                    self.assertIn(word, done.err)

    def test_top_and_metrics_know_it(self):
        self.assertIn("p1", self.cantus("--dir", self.dir, "top", "--once", "--page", "clients").out)
        metrics = self.cantus("--dir", self.dir, "metrics", "--once").out
        self.assertRegex(metrics, r'cantus_sessions\{role="proxy",name="p1",[^}]*\} 0')


if __name__ == "__main__":
    unittest.main()
