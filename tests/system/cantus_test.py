"""What the system tests share: the programs of this build, temporary directories, processes that are
started and ended by pid, conditions waited for with a deadline, and lines of JSON.

A process writes into files, so that nobody has to read a pipe in time. Whatever still runs when a test
ends is asked to stop (SIGTERM) and has to do so with status 0; and what a process said on standard error
must not hold a sanitizer's report, however it ended.
"""

import glob
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

SOURCE = os.environ.get(
    "CANTUS_SOURCE", os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BUILD = os.path.abspath(os.environ.get("CANTUS_BUILD", os.path.join(SOURCE, "build", "release")))
BIN = os.path.join(BUILD, "bin")
SANITIZE = os.environ.get("CANTUS_SANITIZE", "")
COMPILER = shutil.which(os.environ.get("CANTUS_CC", "cc")) or "cc"

# Deadlines are for finding hangs, not for measuring: far above what is needed, more so where a
# sanitizer slows everything down.
DEADLINE_S = 240 if SANITIZE else 60
POLL_S = 0.005

SANITIZER_REPORT = re.compile(
    r"ERROR: \w+Sanitizer|WARNING: \w+Sanitizer|runtime error:|Assertion .* failed")


def program(name):
    return os.path.join(BIN, name)


def wait_until(condition, what, deadline_s=DEADLINE_S):
    """Calls condition until it returns something true, and returns that."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s} s: {what() if callable(what) else what}")
        time.sleep(POLL_S)


def own_network():
    """Goes on in a network namespace of its own, where lo may lose what it is told to: this file, run again.
    Says why not, if that can't be done; None once it is."""
    inside = "CANTUS_TEST_INSIDE"
    if inside in os.environ:
        return None
    flags = ["-n"] if os.geteuid() == 0 else ["-Urn"]
    probe = "ip link set lo up && nft add table inet probe"
    try:
        can = subprocess.run(["unshare", *flags, "sh", "-c", probe], capture_output=True, check=False)
    except FileNotFoundError:
        return "no unshare"
    if can.returncode != 0:
        return f"no network namespace with nftables here: {can.stderr.decode().strip()}"
    os.environ[inside] = "1"
    return os.execvp("unshare", ["unshare", *flags, sys.executable, *sys.argv])


def json_lines(text):
    return [json.loads(line) for line in text.splitlines()]


class Process:
    """A program running in the background."""

    def __init__(self, argv, log, stdin=None, env=None, cwd=None):
        self.argv = argv
        self.out_path, self.err_path = log + ".out", log + ".err"
        self.ended_by_test = False
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.popen = subprocess.Popen(argv, stdin=stdin or subprocess.DEVNULL, stdout=out,
                                          stderr=err, env=env, cwd=cwd)

    @property
    def pid(self):
        return self.popen.pid

    def out(self):
        with open(self.out_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def err(self):
        with open(self.err_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def describe(self):
        return (f"{' '.join(self.argv)}: status {self.popen.poll()}\n--- stdout (end)\n"
                f"{self.out()[-2000:]}\n--- stderr (end)\n{self.err()[-4000:]}")

    def running(self):
        return self.popen.poll() is None

    def wait(self, deadline_s=DEADLINE_S):
        wait_until(lambda: not self.running(), lambda: "the end of " + self.describe(), deadline_s)
        return self.popen.returncode

    def wait_line(self, prefix, deadline_s=DEADLINE_S):
        """The first whole line of standard output that begins so."""
        def found():
            lines = self.out().split("\n")[:-1]
            for line in lines:
                if line.startswith(prefix):
                    return line
            if not self.running():
                raise AssertionError(f"ended before it printed '{prefix}': {self.describe()}")
            return None
        return wait_until(found, lambda: f"a line '{prefix}' of {self.describe()}", deadline_s)

    def wait_lines(self, count, deadline_s=DEADLINE_S):
        """Waits for so many whole lines of standard output, and returns all there are."""
        wait_until(lambda: self.out().count("\n") >= count,
                   lambda: f"{count} lines of {self.describe()}", deadline_s)
        return self.out().split("\n")[:-1]

    def wait_said(self, pattern, deadline_s=DEADLINE_S):
        """Waits until standard error matches."""
        return wait_until(lambda: re.search(pattern, self.err()),
                          lambda: f"'{pattern}' on standard error of {self.describe()}", deadline_s)

    def signal(self, number):
        if self.running():
            self.popen.send_signal(number)

    def kill(self):
        """kill -9."""
        self.ended_by_test = True
        self.signal(signal.SIGKILL)
        self.popen.wait()

    def terminate(self, deadline_s=DEADLINE_S):
        self.ended_by_test = True
        self.signal(signal.SIGTERM)
        return self.wait(deadline_s)

    def cpu_s(self):
        """User and system time so far."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Case(unittest.TestCase):
    maxDiff = 4000

    def setUp(self):
        self.tmp = tempfile.mkdtemp(prefix="cantus-test-")
        self.addCleanup(shutil.rmtree, self.tmp, ignore_errors=True)
        self.processes = []
        self.numbers = itertools.count(1)  # tests with threads start processes from each
        self.addCleanup(self.remove_counters)
        self.addCleanup(self.end_processes)

    def remove_counters(self):
        """What processes that were killed have left in shared memory."""
        for depth in ("", "*/", "*/*/"):
            for path in glob.glob(os.path.join(self.tmp, depth, "cantus.yaml")):
                with open(path, encoding="utf-8", errors="replace") as f:
                    stream = re.search(r'(?m)^stream: *"?([0-9a-f]{16})', f.read())
                if stream:
                    shutil.rmtree(f"/dev/shm/cantus-{stream.group(1)}", ignore_errors=True)

    # ---- processes ------------------------------------------------------------------------------

    def path(self, *names):
        return os.path.join(self.tmp, *names)

    def start(self, argv, **options):
        log = self.path(f"process-{next(self.numbers)}")
        process = Process([str(a) for a in argv], log, **options)
        self.processes.append(process)
        return process

    def end_processes(self):
        problems = []
        for p in reversed(self.processes):
            p.signal(signal.SIGCONT)
            p.signal(signal.SIGTERM)
        for p in reversed(self.processes):
            try:
                p.wait()
            except AssertionError as e:
                problems.append(f"SIGTERM does not end it: {e}")
                p.kill()
            # -SIGTERM: it had not come as far as to handle it.
            if p.popen.returncode not in (0, 1, -signal.SIGTERM) and not p.ended_by_test:
                problems.append(f"ended badly: {p.describe()}")
            if SANITIZER_REPORT.search(p.err()):
                problems.append(f"reported: {p.describe()}")
        self.assertFalse(problems, "\n".join(problems))

    def execute(self, argv, status=0, input=None, env=None, cwd=None, deadline_s=DEADLINE_S):
        """Runs to the end; fails unless it exits with that status (None: any but a signal)."""
        argv = [str(a) for a in argv]
        text = input if input is None or isinstance(input, bytes) else input.encode()
        try:
            done = subprocess.run(argv, input=text, stdin=None if input is not None else
                                  subprocess.DEVNULL, capture_output=True, timeout=deadline_s,
                                  env=env, cwd=cwd, check=False)
        except subprocess.TimeoutExpired as e:
            self.fail(f"{' '.join(argv)[:300]}: no end within {deadline_s} s; said: "
                      f"{(e.stdout or b'')[-1000:]} {(e.stderr or b'')[-2000:]}")
        done.out = done.stdout.decode("utf-8", "replace")
        done.err = done.stderr.decode("utf-8", "replace")
        said = (f"{' '.join(argv)[:300]}: status {done.returncode}\n--- stdout (end)\n"
                f"{done.out[-2000:]}\n--- stderr (end)\n{done.err[-4000:]}")
        if SANITIZER_REPORT.search(done.err) or done.returncode < 0:
            self.fail(said)
        if status is not None:
            self.assertEqual(done.returncode, status, said)
        return done

    def cantus(self, *args, **options):
        return self.execute([program("cantus"), *args], **options)

    # ---- a deployment ---------------------------------------------------------------------------

    def dev(self, dir=None, *args, ready=True):
        """`cantus dev`, ready."""
        process = self.start([program("cantus"), "dev", "--dir", dir or self.path("d"), *args])
        if ready:
            process.ready = process.wait_line("ready")
        return process

    def pub(self, dir, topic, *args, **options):
        return self.cantus("--dir", dir, "pub", topic, *args, **options)

    def pub_lines(self, dir, topic, lines, *args, **options):
        """Publishes lines, and returns what pub says of them."""
        done = self.pub(dir, topic, "-", "--json", *args,
                        input="".join(f"{line}\n" for line in lines), **options)
        result = json.loads(done.out)
        self.assertEqual(result["messages"], len(lines))
        return result

    def load(self, dir, topic):
        """A process that publishes as fast as it can, until it is ended."""
        lines = subprocess.Popen(["yes", "a line of a busy publisher"], stdout=subprocess.PIPE)
        self.addCleanup(lines.wait)
        self.addCleanup(lines.kill)
        process = self.start([program("cantus"), "--dir", dir, "pub", topic, "-"], stdin=lines.stdout)
        lines.stdout.close()
        return process

    def sub(self, dir, topic, *args, **options):
        return json_lines(self.cantus("--dir", dir, "sub", topic, "--json", *args, **options).out)

    def payloads(self, dir, topic, *args):
        return [m["payload"] for m in self.sub(dir, topic, *args)]

    def status(self, dir):
        """The status object, or None if nobody answers."""
        done = self.cantus("--dir", dir, "status", "--json", "--all", status=None)
        return json.loads(done.out) if done.returncode == 0 else None

    def process_status(self, dir, name):
        """What one process of the deployment, by name or role, answers, or None."""
        whole = self.status(dir) or {"processes": []}
        for p in whole["processes"]:
            if "state" in p and name in (p["name"], p["role"]):
                return p
        return None

    def wait_status(self, dir, condition, what, deadline_s=DEADLINE_S):
        last = [None]

        def holds():
            done = self.cantus("--dir", dir, "status", "--json", "--all", status=None)
            last[0] = json.loads(done.out) if done.returncode == 0 else done.err
            return last[0] if done.returncode == 0 and condition(last[0]) else None
        return wait_until(holds, lambda: f"{what}; the last status: {last[0]}", deadline_s)

    def verify(self, path, status=0):
        return json.loads(self.cantus("journal", "verify", path, "--json", status=status).out)


# ---- cantus.yaml ---------------------------------------------------------------------------------

def config_path(dir):
    return os.path.join(dir, "cantus.yaml")


def config_edit(dir, changes):
    """Replaces values: {"segment_mib": 1} sets every line `segment_mib: ...`."""
    with open(config_path(dir), encoding="utf-8") as f:
        text = f.read()
    for key, value in changes.items():
        text, count = re.subn(rf"(?m)^([ -]*){key}: .*$", rf"\g<1>{key}: {value}", text)
        assert count > 0, f"{key} is not in cantus.yaml"
    with open(config_path(dir), "w", encoding="utf-8") as f:
        f.write(text)


class Endpoints:
    """Addresses of a deployment: (ip, port) pairs, in the order of cantus.yaml. `sequencer` is the first
    one's."""

    def __init__(self, dir):
        with open(config_path(dir), encoding="utf-8") as f:
            text = f.read()

        def addresses(key, part):
            found = re.findall(rf"(?m)^[ -]*{key}: *\"?([0-9.]+):(\d+)", part)
            return [(ip, int(port)) for ip, port in found]

        def processes(section):
            part = re.search(rf"(?ms)^{section}:.*?(?=^\w|\Z)", text)
            part = part.group(0) if part else ""
            unicast = addresses("unicast", part)
            ports = [int(p) for p in re.findall(r"(?m)^[ -]*stream_port: *(\d+)", part)]
            return unicast, [(u[0], p) for u, p in zip(unicast, ports)]
        self.ingress = addresses("ingress", text)[0]
        self.egress = addresses("egress_a", text)[0]
        self.sequencers, self.sequencer_streams = processes("sequencers")
        self.retransmitters, self.retransmitter_streams = processes("retransmitters")
        _, self.proxy_streams = processes("proxies")
        part = re.search(r"(?ms)^proxies:.*?(?=^\w|\Z)", text)
        self.proxies = addresses("listen", part.group(0) if part else "")  # where clients connect
        self.sequencer, self.sequencer_stream = self.sequencers[0], self.sequencer_streams[0]
        self.stream = int(re.search(r'(?m)^stream: *"?([0-9a-f]{16})', text).group(1), 16)
        self.stores = [os.path.join(dir, name) for name in
                       re.findall(r'(?m)^[ -]*directory: *"?([^"\n]+)"?', text)]

    def ports(self):
        return sorted({a[1] for a in [self.ingress, self.egress, *self.sequencers,
                                      *self.retransmitters]})


def sender():
    """A socket that multicasts on lo."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
    s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
    return s


def listener(group):
    """A socket that hears a multicast group on lo."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    s.bind(group)
    s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                 socket.inet_aton(group[0]) + socket.inet_aton("127.0.0.1"))
    s.settimeout(DEADLINE_S)
    return s


def wait_tip(egress, seq, deadline_s=DEADLINE_S):
    """Waits until a listener to the egress group has heard of a message. Asking for a status takes longer
    than thousands of messages."""
    tip = [0]
    egress.settimeout(0)

    def reached():
        try:
            while tip[0] < seq:
                batch = egress.recv(65536)
                if len(batch) >= 88 and batch[3] == 1:
                    tip[0] = max(tip[0], int.from_bytes(batch[48:56], "little"))
        except BlockingIOError:
            pass
        return tip[0] >= seq
    wait_until(reached, lambda: f"seq {seq}, not {tip[0]}", deadline_s)
