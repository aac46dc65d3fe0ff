#!/usr/bin/env python3
"""Promotion by a lease of a real etcd, on loopback: who holds it leads; when its sequencer dies, its host, or
only the process that campaigns, another takes over, or nothing happens, as it should be; etcd may vanish and
come back. And two that both believe that they hold it: one was stopped past its end, or they ask two etcds
that know nothing of each other. Whatever they do to each other, what was published is in the stream
once, in one order."""

import base64
import json
import os
import shutil
import signal
import socket
import unittest
import urllib.error
import urllib.request

from cantus_test import DEADLINE_S, Endpoints, config_edit, config_path, program, wait_until
from test_several import SeveralCase

TTL_S = 2


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class LeaseCase(SeveralCase):
    @classmethod
    def setUpClass(cls):
        if shutil.which("etcd") is None:
            raise unittest.SkipTest("etcd is not installed (Debian's package etcd-server)")

    def setUp(self):
        super().setUp()
        self.init(stores=1, sequencers=2)
        # A leader that waits for a busy machine is not silent.
        config_edit(self.d, {"silence_ms": 2000})
        self.retransmitter("r1")
        self.key = f"/cantus/{Endpoints(self.d).stream:016x}/leader"
        self.sequencers = {name: self.standby(name) for name in ("s1", "s2")}
        self.leases = {}

    def standby(self, name):
        # Nobody leads yet, so that there is nothing to say.
        process = self.start([program("cantus-sequencer"), "--config", config_path(self.d), "--name",
                              name, "--standby"])
        wait_until(lambda: self.process_status(self.d, name), f"{name} to answer")
        return process

    # ---- etcd -----------------------------------------------------------------------------------

    def etcd(self, name="one", ports=None):
        """A process, its client's URL in `url`, ready."""
        client, peer = ports or free_ports(2)
        url = f"http://127.0.0.1:{client}"
        peers = f"http://127.0.0.1:{peer}"
        process = self.start(
            [shutil.which("etcd"), "--name", name, "--data-dir", self.path(f"etcd-{name}"),
             "--listen-client-urls", url, "--advertise-client-urls", url,
             "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers,
             "--initial-cluster", f"{name}={peers}", "--heartbeat-interval", "50",
             "--election-timeout", "500", "--logger", "zap", "--log-level", "error"])
        process.url, process.ports = url, (client, peer)
        wait_until(lambda: self.ask_etcd(process, "/v3/kv/range", {"key": "AA=="}) is not None,
                   process.describe)
        return process

    def ask_etcd(self, etcd, path, question):
        request = urllib.request.Request(etcd.url + path, json.dumps(question).encode())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=10) as answer:
                return json.load(answer)
        except (urllib.error.URLError, OSError):
            return None

    def holder(self, etcd):
        """Who holds the lease, as etcd says."""
        key = base64.b64encode(self.key.encode()).decode()
        found = (self.ask_etcd(etcd, "/v3/kv/range", {"key": key}) or {}).get("kvs", [])
        return base64.b64decode(found[0]["value"]).decode() if found else None

    def wait_holder(self, etcd, name):
        wait_until(lambda: self.holder(etcd) == name, lambda: f"the lease at {name}: "
                   + "".join(p.describe() for p in self.leases.values()))

    # ---- processes ------------------------------------------------------------------------------

    def lease(self, name, *urls, dir=None, **options):
        process = self.start([program("cantus"), "--dir", dir or self.d, "lease", "--name", name,
                              "--etcd", ",".join(urls), "--ttl", TTL_S], **options)
        process.wait_said("lease: ready")
        self.leases[name] = process
        return process

    def wait_leads(self, name):
        self.wait_leader(name)
        return self.status(self.d)["epoch"]["number"]

    def epochs(self):
        return [(h["epoch"], h["how"]) for h in self.history() if "epoch" in h]


class LeaseTest(LeaseCase):
    def test_the_holder_leads_and_the_next_takes_over(self):
        etcd = self.etcd()
        nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
        first = self.lease("s1", nobody, etcd.url)
        self.assertEqual(self.wait_leads("s1"), 1)
        self.wait_holder(etcd, "s1")
        second = self.lease("s2", etcd.url + "/", nobody)
        self.publish(100)
        first.kill()
        self.sequencers["s1"].kill()
        self.assertEqual(self.wait_leads("s2"), 2)
        self.wait_holder(etcd, "s2")
        self.publish(100)
        self.check_stream()
        self.assertEqual(self.epochs(), [(1, "lease"), (2, "lease")])
        self.assertEqual(self.status(self.d)["epochs_used"], 3)  # and the genesis
        whys = [h["why"] for h in self.history() if "epoch" in h]
        for why, name in zip(whys, ("s1", "s2")):
            self.assertRegex(why, f"^{name} holds lease [0-9a-f]+ on {self.key}$")
        # The dead come back, and change nothing.
        self.sequencers["s1"] = self.standby("s1")
        self.lease("s1", etcd.url)
        self.publish(10)
        self.assertEqual(self.wait_leads("s2"), 2)
        # Asked to stop it leaves the lease at once, and its sequencer leads on.
        self.assertEqual(second.terminate(), 0)
        self.assertNotEqual(self.holder(etcd), "s2")
        self.publish(10)
        self.assertEqual(self.wait_leads("s2"), 2)
        self.check_stream()

    def test_only_the_sequencer_dies(self):
        etcd = self.etcd()
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(manager.close)
        manager.bind(self.path("notify"))
        manager.settimeout(DEADLINE_S)
        first = self.lease("s1", etcd.url, env={**os.environ, "NOTIFY_SOCKET": self.path("notify")})
        self.assertIn(b"READY=1", manager.recv(4096))
        self.wait_leads("s1")
        self.lease("s2", etcd.url)
        self.publish(10)
        self.sequencers["s1"].kill()
        first.wait_said("gives the lease up")
        self.wait_leads("s2")
        self.publish(10)
        self.check_stream()

    def test_etcd_may_vanish(self):
        etcd = self.etcd()
        first, second = self.lease("s1", etcd.url), None
        self.wait_leads("s1")
        second = self.lease("s2", etcd.url)
        self.wait_holder(etcd, "s1")
        etcd.kill()
        first.wait_said("lost the lease")
        first.wait_said("etcd does not answer")
        self.publish(50)
        self.assertEqual(self.wait_leads("s1"), 1)
        self.etcd(ports=etcd.ports)
        first.wait_said("etcd answers again")
        self.wait_holder(etcd, "s1")
        self.publish(50)
        self.assertEqual(self.wait_leads("s1"), 1)
        self.check_stream()
        self.assertNotIn("promotes", second.err())

    def test_stopped_past_its_lease(self):
        etcd = self.etcd()
        first = self.lease("s1", etcd.url)
        self.wait_leads("s1")
        self.lease("s2", etcd.url)
        self.wait_holder(etcd, "s1")
        # The process alone: its lease ends, but its sequencer is well, and nobody overthrows it.
        first.signal(signal.SIGSTOP)
        self.wait_holder(etcd, None)
        self.publish(20)
        self.assertEqual(self.wait_leads("s1"), 1)
        first.signal(signal.SIGCONT)
        first.wait_said("lost the lease")
        self.wait_holder(etcd, "s1")
        # With its sequencer: both wake and believe that they are who they were.
        for p in (first, self.sequencers["s1"]):
            p.signal(signal.SIGSTOP)
        self.wait_leads("s2")
        self.publish(20)
        for p in (first, self.sequencers["s1"]):
            p.signal(signal.SIGCONT)
        self.publish(20)
        self.sequencers["s1"].wait_said("fenced")
        self.wait_holder(etcd, "s2")
        self.publish(20)
        self.check_stream()
        self.assertEqual(self.wait_leads("s2"), 2)

    def test_two_that_both_hold_it(self):
        one, other = self.etcd("one"), self.etcd("other")
        self.lease("s1", one.url)
        self.wait_leads("s1")
        # This one cannot see that s1 leads, and asks an etcd of which the lease is free.
        blind = self.path("blind")
        os.mkdir(blind)
        port = Endpoints(self.d).sequencer_streams[0][1]
        with open(config_path(self.d), encoding="utf-8") as f:
            text = f.read().replace(f"stream_port: {port}", f"stream_port: {free_ports(1)[0]}")
        with open(config_path(blind), "w", encoding="utf-8") as f:
            f.write(text)
        second = self.lease("s2", other.url, dir=blind)
        second.wait_said("holds the lease")
        second.wait_said("not promoted.*1 of 1 stores hear the leader")
        self.publish(50)
        self.assertEqual(self.wait_leads("s1"), 1)
        # An operator promotes it: now both hold a lease, and neither takes the lead back.
        self.on_deployment("promote", "s2", "--why", "a test")
        wait_until(lambda: self.holder(other) == "s2", second.describe)
        self.publish(50)
        self.sequencers["s2"].kill()
        self.wait_leads("s1")
        self.publish(50)
        self.check_stream()
        self.assertEqual([how for _, how in self.epochs()], ["lease", "promoted", "lease"])


class RefusalTest(SeveralCase):
    def test_what_makes_no_sense(self):
        self.init(stores=1, sequencers=2)
        for args, status, word in (((), 2, "--etcd URL"),
                                   (("--etcd", "http://127.0.0.1:1", "x"), 2, "no operand"),
                                   (("--etcd", "http://127.0.0.1:1", "--ttl", "1"), 2, "from 2"),
                                   (("--etcd", "http://127.0.0.1:1"), 1, "use --name"),
                                   (("--etcd", "http://127.0.0.1:1", "--name", "r1"), 1, "r1")):
            self.assertIn(word, self.on_deployment("lease", *args, status=status).err)
        for url in ("127.0.0.1:2379", "", "ftp://x", "http://a," * 9):
            done = self.on_deployment("lease", "--name", "s1", "--etcd", url, status=1)
            self.assertRegex(done.err, "endpoints are|without a client of etcd")


if __name__ == "__main__":
    unittest.main()
