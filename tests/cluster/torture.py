#!/usr/bin/env python3
"""Real daemons on real sockets, a network namespace for a host, and a fault every two seconds.

  torture.py --build BUILD [--duration SECONDS] [--seed N] [--keep DIR] [--every SECONDS] [--only KIND,..] [--plant [MISTAKE]]

deploy/lab brings the three hosts of deploy/three-hosts up, with a fourth for a spare store and one for clients.
Two proxies on hosts of their own let clients in. Publishers and followers work (driver.c), on the core network and
through the proxies, each with a key and what is granted to it; faults are drawn from the seed (faults.py, members.py) and may overlap.
When nothing goes on for a while an operator promotes somebody: which sequencers do so by themselves changes from
start to start. When the time is over everything is healed; then all must become live again, each publisher ends
with everything stable, and the logs of all clients and stores are compared (checker.py).

What is left in DIR: timeline.txt (what was done when, and what processes exited), the daemons' logs (h*/log), the
clients' (clients/), the configuration, the stores, and verdict.json: some 2 GB an hour. Without --keep the folder
is removed unless something was wrong. The last line on standard output is an object: seed, duration_s, faults,
by_kind, messages, violations. The seed repeats the schedule, not the moments at which the kernel does what.

Exit status 1 if there are violations, 77 if this machine can't do it (root, ip, nft). With --plant something goes
wrong on purpose, and the exit status is 1 if that is not found: `backup`, a store runs on a copy of itself;
`liar`, somebody between a client and its proxy leaves messages out (liar.py).
"""

import argparse
import heapq
import importlib.machinery
import importlib.util
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

import checker
import clients
import faults
import machine
import members

SKIPPED = 77
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LIVE_S = 120         # after the last fault is over
PROGRESS_S = 10
RESTART_S = 0.2      # as RestartSec= in the units
LEADS_AT_START = 0.3   # how often a sequencer that starts again takes the lead, whoever has it
MANUAL_AT_START = 0.4  # how often it waits for somebody to promote it
OPERATOR_S = 4         # after which an operator finds that nothing goes on
FREE_MIN = 2 << 30     # bytes that are left to others on the folder's disk
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


def load_lab():
    loader = importlib.machinery.SourceFileLoader("lab", os.path.join(SOURCE, "deploy", "lab"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("lab", loader))
    loader.exec_module(module)
    return module


# Begins with one more in the list of retransmitters, with which three-hosts/cantus.yaml ends.
SPARE = """  - name: "r4"
    unicast: 10.77.0.4:21011
    stream_port: 21011
    interface: 10.77.0.4
    directory: "/var/lib/cantus/r4"
    sync: every
    direct: true
    segment_mib: 1
proxies:
  - name: "x1"
    unicast: 10.77.0.5:21021
    stream_port: 21021
    listen: 10.77.0.5:21022
    interface: 10.77.0.5
  - name: "x2"
    unicast: 10.77.0.6:21021
    stream_port: 21021
    listen: 10.77.0.6:21022
    interface: 10.77.0.6
"""
PROXIES = ["10.77.0.5:21022", "10.77.0.6:21022"]
LIAR_PORT = 21023


# Whose keys, and what they may.
GRANTS = [("x0", ("read,write", "/torture/x0")), ("x1", ("write", "/torture/x1")), ("reader", ("read", "/torture"))]


class Torture:
    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        self.rng = random.Random(args.seed)
        self.began = time.monotonic()
        self.timeline = open(os.path.join(folder, "timeline.txt"), "w", encoding="utf-8")
        self.lab_module = load_lab()
        self.lab = self.lab_module.Lab(folder)
        self.cantus = os.path.join(args.build, "bin", "cantus")
        self.driver = os.path.join(args.build, "tests", "cluster_driver")
        self.violations = checker.Violations()
        self.by_kind, self.fault_count, self.exits = {}, 0, 0
        self.claims, self.agenda, self.serial = set(), [], itertools.count()
        self.daemons = {}        # unit -> Popen
        self.down = set()        # names that a fault keeps dead
        self.clients = {}        # name -> Client
        self.restart_at = {}
        self.tables = itertools.count(1)
        self.late = self.liar = None
        self.stores, self.memory_hosts = [], []
        self.healing = False
        self.store_ids, self.gone = {}, []   # unit -> id of its store; ids of stores that were lost
        self.moved, self.moved_at = 0, 0.0   # what the publishers had when it last was more

    # ---- what faults may ask ----------------------------------------------------------------------

    def note(self, text):
        self.timeline.write(f"{time.monotonic() - self.began:9.3f}  {text}\n")
        self.timeline.flush()

    def pid(self, name):
        return self.clients[name].pid() if name in self.clients else self.lab.pid(name)

    def busy(self, *kinds):
        return any(entry[2] in kinds for entry in self.agenda)

    def count_if(self, happened, kind):
        """A fault that found nothing to harm does not count."""
        if not happened:
            self.by_kind[kind] -= 1
            self.fault_count -= 1

    def kill(self, name):
        self.down.add(name)
        if name in self.clients:
            self.clients[name].kill()
            return
        self.daemons[name].kill()
        self.daemons[name].wait()

    def revive(self, name):
        self.down.discard(name)
        self.start(name)

    def start(self, name):
        if name in self.clients:
            self.clients[name].start()
        else:
            if name in self.sequencers:
                self.set_lead(name, self.rng.random() < LEADS_AT_START)
            self.daemons[name] = self.lab.start(name, environment=self.environment(name), wait=False)

    def set_lead(self, unit, leads):
        """Whether a sequencer stands by when it starts, or takes the lead from whoever has it."""
        host = self.lab.hosts[self.lab.units[unit]["host"]]
        with open(host.path("etc", unit.split("@")[1] + ".env"), "w", encoding="ascii") as f:
            f.write("CANTUS_SEQUENCER_OPTIONS=" + ("" if leads else "--standby") + "\n")
        manual = self.rng.random() < MANUAL_AT_START
        path = host.path("etc", "cantus.yaml")
        with open(path, encoding="utf-8") as f:
            text = self.lab_module.with_values(f.read(), {"promotion": "manual" if manual else "automatic"})
        with open(path + ".new", "w", encoding="utf-8") as f:
            f.write(text)
        os.replace(path + ".new", path)

    def store_directory(self, name):
        unit = self.lab.units[name]
        return self.lab.hosts[unit["host"]].file(unit["directory"])

    def nft(self, namespace, family, hook, rule):
        """Adds a rule in a table of its own; -> what removes it."""
        table = f"torture{next(self.tables)}"
        self.nft_run(namespace, f"table {family} {table} {{\n chain c {{\n {hook};\n {rule}\n }}\n}}\n")
        return lambda: self.nft_run(namespace, f"delete table {family} {table}\n")

    def nft_run(self, namespace, script):
        done = subprocess.run(["nsenter", f"--net=/run/netns/{namespace}", "nft", "-f", "-"], input=script, text=True,
                              capture_output=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"nft: {done.stderr}\n{script}")

    def drop_from(self, host, others):
        addresses = ", ".join(h.ip for h in others)
        return self.nft(host.netns, "inet", "type filter hook input priority 0",
                        f"iif eth0 ip saddr {{ {addresses} }} drop")

    # ---- clocks -----------------------------------------------------------------------------------

    def clock_file(self, host):
        return host.path("clock")

    def set_clock(self, host_name, seconds):
        path = self.clock_file(self.lab.hosts[host_name])
        with open(path + ".new", "w", encoding="ascii") as f:
            f.write(f"{seconds:+}s\n")
        os.replace(path + ".new", path)
        self.note(f"clock {host_name} {seconds:+} s")

    def environment(self, unit):
        if not self.clocks:
            return {}
        return {"LD_PRELOAD": FAKETIME, "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_TIMESTAMP_FILE": self.clock_file(self.lab.hosts[self.lab.units[unit]["host"]])}

    # ---- up and down --------------------------------------------------------------------------------

    def configuration(self):
        with open(os.path.join(SOURCE, "deploy", "three-hosts", "cantus.yaml"), encoding="utf-8") as f:
            text = f.read()
        text = text.replace("segment_mib: 32", "segment_mib: 1")
        text += SPARE
        path = os.path.join(self.folder, "cantus.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def up(self):
        # Small disks, half as large again as what is written: two of them, so that a quorum can be full.
        small = 128 + self.args.duration * self.args.rate // 600
        memory = {"h3": small, "h4": small}
        self.lab.create(self.configuration(), self.args.build, clients=1, memory=memory, spares=1)
        self.hosts = list(self.lab.hosts.values())
        self.host_names = list(self.lab.hosts)
        self.memory_hosts = list(memory)
        self.clocks = [h.name for h in self.hosts if h.name[0] == "h"] if self.args.clocks else []
        for name in self.clocks:
            self.set_clock(name, 0)
        self.sequencers = self.lab.sequencers()
        self.proxies = [u for u in self.lab.units if u.startswith("cantus-proxy")]
        self.stores = [u for u, s in self.lab.units.items() if s["directory"]]
        self.store_hosts = sorted({self.lab.units[u]["host"] for u in self.stores})
        self.late_up()
        os.makedirs(os.path.join(self.folder, "clients"))
        for unit in (*self.stores, *self.sequencers, *self.proxies):
            if unit in self.sequencers:
                self.set_lead(unit, unit == self.sequencers[0])
            self.daemons[unit] = self.lab.start(unit, environment=self.environment(unit))
            self.note(f"started {unit} pid {self.daemons[unit].pid}")
        self.keys = {name: self.key(name, *grants) for name, *grants in GRANTS}
        self.clients_up()
        for process in self.status()["processes"]:
            if process.get("role") == "retransmitter":
                self.store_ids[f"cantus-retransmitter@{process['name']}"] = process["store"]
        assert len(self.store_ids) == len(self.stores)
        self.moved_at = time.monotonic()

    def key(self, name, *grants):
        """-> the file of a new key, to which that is granted"""
        path, admin = os.path.join(self.folder, name + ".key"), os.path.join(self.folder, "new", "admin.key")
        public = self.lab_module.run([self.cantus, "key", "new", path]).strip()
        for rights, subtree in grants:
            self.hosts[0].run(["cantus", "--dir", "/etc/cantus", "grant", public, rights, subtree, "--key", admin])
        self.note(f"{name} is {public}")
        return path

    def edge_up(self, host):
        """Those who come through proxies. Each begins with another one."""
        def source(name):
            return "proxy:" + ",".join(self.rng.sample(PROXIES, len(PROXIES))), self.keys[name]
        all_told = source("reader")
        if self.args.plant == "liar":
            self.liar = subprocess.Popen(
                host.inside([sys.executable, os.path.join(SOURCE, "tests", "cluster", "liar.py"), str(LIAR_PORT),
                             *PROXIES]), stdin=subprocess.DEVNULL, start_new_session=True)
            all_told = f"proxy:127.0.0.1:{LIAR_PORT}", self.keys["reader"]
        made = [clients.publisher(self, host, name, self.args.rate, source(name)) for name in ("x0", "x1")]
        made += [clients.follower(self, host, "e0", "stable", all_told),
                 clients.follower(self, host, "e1", "stable", source("x0"), of="x0"),
                 clients.follower(self, host, "f0", "sequenced", source("reader")),
                 clients.follower(self, host, "f1", "sequenced", source("reader"), of="p0")]
        with open(os.path.join(self.folder, "views.json"), "w", encoding="ascii") as f:
            json.dump({c.name: c.of for c in made if c.of}, f)
        return made

    def clients_up(self):
        # Beside each sequencer a publisher and a follower at sequenced: cut off, they have only each other.
        h1, h2, h3, c1 = (self.lab.hosts[name] for name in ("h1", "h2", "h3", "c1"))
        made = [clients.publisher(self, host, f"p{i}", self.args.rate) for i, host in enumerate((c1, h1, h2))]
        made += [clients.follower(self, host, f"s{i}", "stable") for i, host in enumerate((c1, h3))]
        made += [clients.follower(self, host, f"q{i}", "sequenced") for i, host in enumerate((h1, h2, c1))]
        made += self.edge_up(c1)
        self.clients = {str(c): c for c in made}
        self.publishers = [n for n, c in self.clients.items() if c.kind == "publisher"]
        # The first of the stable followers is left alone by SIGKILL: it lives through everything.
        self.followers = [n for n in self.clients if n not in self.publishers and n != "stable-s0"]
        for client in made:
            client.start()
        deadline = time.monotonic() + LIVE_S
        while any(self.clients[n].outcomes() == 0 for n in self.publishers):
            if time.monotonic() > deadline:
                raise RuntimeError("nothing is stable, and no fault has happened yet")
            time.sleep(0.05)
        self.note("live")

    def late_up(self):
        bridge = self.lab.bridge
        for near, far in (("late0", "late1"), ("flip0", "flip1")):
            self.lab_module.run(["ip", "-n", bridge, "link", "add", near, "type", "veth", "peer", "name", far])
            for device in (near, far):
                self.lab_module.run(["ip", "-n", bridge, "link", "set", device, "up"])
        self.late = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{bridge}", sys.executable,
             os.path.join(SOURCE, "tests", "cluster", "late.py"), str(self.args.seed), "20", *self.host_names],
            stdin=subprocess.DEVNULL, start_new_session=True)

    def everything_down(self):
        for process in (self.late, self.liar):
            if process is not None:
                process.kill()
                process.wait()
        for client in self.clients.values():
            if client.running():
                client.kill()
        if self.lab.state:
            self.keep_memory()
            self.lab.down()
        self.timeline.close()

    # ---- the schedule -----------------------------------------------------------------------------

    def draw(self):
        """Begins a fault, if one can be found whose target is free."""
        if self.args.plant and self.fault_count > 0:
            return
        table = [faults.PLANTED[self.args.plant][0]] if self.args.plant else [
            e for e in faults.TABLE if not self.args.only or e[0] in self.args.only]
        for _ in range(20):
            kind, _, domain, targets, generator = self.rng.choices(table, [e[1] for e in table])[0]
            possible = targets(self)
            if not possible:
                continue
            target = self.rng.choice(possible)
            claim = (domain, target)
            if claim in self.claims or (domain == "process" and self.pid(target) is None):
                continue
            self.claims.add(claim)
            self.fault_count += 1
            self.by_kind[kind] = self.by_kind.get(kind, 0) + 1
            self.note(f"fault {self.fault_count}: {kind} {target}")
            self.advance((0, 0, kind, target, claim, generator(self, target)))
            return

    def advance(self, entry):
        _, _, kind, target, claim, generator = entry
        wait = next(generator, None)
        if wait is None:
            self.claims.discard(claim)
            self.note(f"over: {kind} {target}")
        else:
            heapq.heappush(self.agenda, (time.monotonic() + wait, next(self.serial), kind, target, claim,
                                         generator))

    def advance_due(self):
        while self.agenda and self.agenda[0][0] <= time.monotonic():
            self.advance(heapq.heappop(self.agenda))

    def watch(self):
        """Notices who ended though nobody killed it, and starts it again as systemd would."""
        now = time.monotonic()
        for name in (*self.daemons, *self.clients):
            process = self.clients[name].process if name in self.clients else self.daemons[name]
            if name in self.down or process.poll() is None:
                continue
            if name not in self.restart_at:
                self.exits += 1
                self.restart_at[name] = now + RESTART_S
                self.note(f"exit: {name}: status {process.returncode}")
                if process.returncode < 0:
                    self.violations.add("crash", f"{name} died of signal {-process.returncode}")
            elif now >= self.restart_at[name]:
                del self.restart_at[name]
                self.start(name)

    def operate(self):
        """Somebody has to promote where nobody does so by himself, or finds that out too late."""
        total, now = self.total(), time.monotonic()
        if total > self.moved:
            self.moved, self.moved_at = total, now
        elif now > self.moved_at + OPERATOR_S and not self.busy("operator"):
            self.moved_at = now
            both = self.rng.random() < 0.3
            target = "both" if both else self.rng.choice(self.sequencers)
            self.note(f"operator: nothing goes on, promotes {target}")
            generator = (faults.promote_both if both else faults.promote)(self, target)
            self.advance((0, 0, "operator", target, ("operator", target), generator))

    def total(self):
        return sum(self.clients[n].outcomes() for n in self.publishers)

    def torment(self):
        end = time.monotonic() + self.args.duration
        next_fault = time.monotonic()
        shown = time.monotonic()
        while time.monotonic() < end:
            self.advance_due()
            self.watch()
            self.operate()
            if time.monotonic() >= next_fault:
                self.draw()
                next_fault += self.rng.uniform(0.5, 1.5) * self.args.every
            if time.monotonic() >= shown + PROGRESS_S:
                shown += PROGRESS_S
                self.show()
                disk = os.statvfs(self.folder)
                if disk.f_bavail * disk.f_frsize < FREE_MIN:
                    self.note("ends early: the disk that this is written to fills up")
                    break
            time.sleep(0.01)

    def show(self):
        said = (f"{time.monotonic() - self.began:6.0f} s  {self.fault_count} faults, {self.total()} items stable, "
                f"{self.exits} exits, {self.violations.count()} violations")
        self.note(said.strip())
        print(said, file=sys.stderr, flush=True)

    # ---- afterwards -------------------------------------------------------------------------------

    def wait(self, condition, what):
        deadline = time.monotonic() + LIVE_S
        while not condition():
            self.advance_due()
            self.watch()
            if self.publishers_run():
                self.operate()
            if time.monotonic() > deadline:
                self.violations.add("liveness", f"not within {LIVE_S} s after the last fault: {what}")
                self.note(f"VIOLATION: not within {LIVE_S} s: {what}")
                self.keep_status("stuck")
                return False
            time.sleep(0.05)
        self.note(f"reached: {what}")
        return True

    def publishers_run(self):
        return not any(name in self.down for name in self.publishers)

    def status(self):
        """-> the object of `cantus status --json`, or None."""
        host = self.lab.hosts[self.host_names[0]]
        done = subprocess.run(host.inside(["cantus", "--dir", "/etc/cantus", "status", "--json", "--all"]),
                              capture_output=True, text=True, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def keep_status(self, name):
        with open(os.path.join(self.folder, f"status-{name}.json"), "w", encoding="utf-8") as f:
            json.dump(self.status(), f, indent=1)

    def heal(self):
        """Ends every fault, now, and brings back who is dead."""
        self.note("healing")
        self.healing = True
        for _ in range(2000):
            pending = [e for e in self.agenda if e[2] not in faults.PATIENT or e[3] in self.down]
            if not pending:
                break
            for entry in pending:
                self.agenda.remove(entry)
                self.advance(entry)
            heapq.heapify(self.agenda)
            time.sleep(0.01)
        healed = self.wait(lambda: not self.busy(*faults.PATIENT), "damaged and lost stores are whole again")
        self.note("healed" if healed else "not healed")

    def live_again(self):
        before = {n: self.clients[n].outcomes() for n in self.publishers}
        return self.wait(lambda: all(self.clients[n].outcomes() >= before[n] + self.args.rate
                                     for n in self.publishers), "every publisher goes on")

    def members_known(self):
        """Who counts in the end, as the checker compares it with the stream."""
        asking, found = members.members(self), []

        def known():
            try:
                next(asking)
            except StopIteration as end:
                found.extend(sorted(end.value))
                return True
            return False
        if not self.wait(known, "the members are known"):
            return False
        with open(os.path.join(self.folder, "members.json"), "w", encoding="ascii") as f:
            json.dump({"members": found, "gone": self.gone, "stores": self.store_ids}, f, indent=1)
        for store in set(found) - set(self.store_ids.values()):
            self.violations.add("membership", f"member {store} is on no host")
        return True

    def finish(self):
        self.heal()
        if not self.live_again() or not self.members_known():
            return
        self.keep_status("live")
        for name in self.publishers:
            self.down.add(name)
            self.clients[name].terminate()
        if not self.wait(lambda: not any(self.clients[n].running() for n in self.publishers),
                         "publishers ended with everything stable"):
            return
        ends = {self.clients[n].name: int((self.clients[n].last(b"O") or [0, 0, 0])[2]) for n in self.publishers}
        last = max(ends.values())
        everyone = [n for n in self.clients if n not in self.publishers]
        if self.wait(lambda: all(self.clients[n].delivered() >= ends.get(self.clients[n].of, last)
                                 for n in everyone), f"every follower has seq {last}"):
            with open(os.path.join(self.folder, "finished"), "w", encoding="ascii") as f:
                f.write(f"{last}\n")
        for name in everyone:
            self.down.add(name)
            self.clients[name].terminate()
        self.wait(lambda: not any(self.clients[n].running() for n in everyone), "followers ended")
        self.rest()
        self.collect()

    def rest(self):
        """Sequencers end, so that there is no new tick; then the stores come to the same end."""
        self.end(self.proxies)
        for unit in self.sequencers:
            self.down.add(unit)
            self.lab.stop(unit)
            self.daemons[unit].wait()

        def even():
            status = self.status() or {"processes": []}
            tips = [p.get("tip") for p in status["processes"] if p.get("role") == "retransmitter"]
            return len(tips) == len(self.stores) and len(set(tips)) == 1 and tips[0] is not None
        self.wait(even, "stores are even")
        self.end(self.stores)

    def end(self, units):
        for unit in units:
            self.down.add(unit)
            if not self.lab.stop(unit):
                self.violations.add("stop", f"{unit} did not end on SIGTERM")
            if self.daemons[unit].wait() != 0:
                self.violations.add("stop", f"{unit} ended with status {self.daemons[unit].returncode}")

    def collect(self):
        stores = {}
        for unit in self.stores:
            done = subprocess.run([self.cantus, "journal", "verify", self.store_directory(unit), "--json"],
                                  capture_output=True, text=True, check=False)
            stores[unit] = json.loads(done.stdout) if done.stdout else done.stderr
        with open(os.path.join(self.folder, "stores.json"), "w", encoding="utf-8") as f:
            json.dump(stores, f, indent=1)
        with open(os.path.join(self.folder, "history.jsonl"), "wb") as f:
            subprocess.run([self.cantus, "journal", "dump", self.store_directory(self.stores[0]), "--json"],
                           stdout=f, stderr=subprocess.DEVNULL, check=False)

    def keep_memory(self):
        """What lies in memory goes with its host."""
        for unit in self.stores:
            host = self.lab.hosts[self.lab.units[unit]["host"]]
            if host.name in self.memory_hosts and os.path.exists(self.store_directory(unit)):
                self.lab.stop(unit)
                shutil.copytree(self.store_directory(unit), host.path("kept"), dirs_exist_ok=True)

    def judge(self):
        found, figures = checker.check_folder(self.folder)
        for violation in found.found:
            self.violations.found.append(violation)
        for kind, count in found.counts.items():
            self.violations.counts[kind] = self.violations.counts.get(kind, 0) + count
        return {"seed": self.args.seed, "duration_s": self.args.duration, "every_s": self.args.every,
                "only": self.args.only, "faults": self.fault_count,
                "by_kind": dict(sorted(self.by_kind.items())), "exits": self.exits, **figures,
                "violations": self.violations.count()}


def skip(reason):
    print(f"skipped: {reason}", file=sys.stderr)
    sys.exit(SKIPPED)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--duration", type=int, default=int(os.environ.get("CANTUS_TORTURE_S", "60")),
                        help="seconds (default: CANTUS_TORTURE_S, or 60)")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("CANTUS_TORTURE_SEED", "1")),
                        help="default: CANTUS_TORTURE_SEED, or 1")
    parser.add_argument("--keep", help="folder for everything; replaced if an earlier run made it")
    parser.add_argument("--every", type=float, default=2.0, help="seconds from fault to fault, on average")
    parser.add_argument("--rate", type=int, default=100, help="items a second of each publisher")
    parser.add_argument("--no-clock", dest="clocks", action="store_false",
                        default=os.path.exists(FAKETIME), help="without libfaketime, which sanitizers don't like")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help="kinds of faults")
    parser.add_argument("--plant", nargs="?", const="backup", choices=tuple(faults.PLANTED),
                        help="no faults, but a mistake that must be found")
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
    return args


def folder_of(args):
    if args.keep is None:
        return tempfile.mkdtemp(prefix="cantus-torture-")
    folder = os.path.abspath(args.keep)
    if os.path.exists(os.path.join(folder, "lab.json")):
        sys.exit(f"{folder} holds a lab that is up: deploy/lab down {folder}")
    if os.path.exists(os.path.join(folder, "timeline.txt")):
        shutil.rmtree(folder)
    os.makedirs(folder, exist_ok=True)
    return folder


def main():
    args = parse()
    reason = machine.refusal(("ip", "nft", "nsenter"))
    if reason:
        skip(reason)
    folder = folder_of(args)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"seed {args.seed}, {args.duration} s, in {folder}", file=sys.stderr, flush=True)
    torture = Torture(args, folder)
    try:
        torture.up()
        torture.torment()
        torture.finish()
        torture.show()
    except Exception:  # the verdict has to say that there is none
        torture.violations.add("torture", traceback.format_exc())
    finally:
        torture.everything_down()
    verdict = torture.judge()
    with open(os.path.join(folder, "verdict.json"), "w", encoding="utf-8") as f:
        json.dump({**verdict, "found": torture.violations.found}, f, indent=1)
    for violation in torture.violations.found:
        print(f"{violation['kind']}: {violation['text']}", file=sys.stderr)
    dump = os.path.join(folder, "history.jsonl")
    if verdict["violations"] == 0 and os.path.exists(dump):
        os.unlink(dump)  # `cantus journal dump` makes another
    if verdict["violations"] == 0 and args.keep is None:
        shutil.rmtree(folder)
    print(json.dumps(verdict))
    if args.plant:
        return 0 if faults.PLANTED[args.plant][1] & torture.violations.counts.keys() else 1
    return 1 if verdict["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
