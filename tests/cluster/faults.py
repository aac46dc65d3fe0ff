"""The faults. Each is a generator: it does the harm, yields how many seconds until it wants to be asked again,
and goes on; when it returns, all is as before. The schedule draws a fault, a target and lets it run; what a
fault claims (a process, a host's network, a store's files) no other one touches meanwhile."""

import json
import os
import resource
import signal
import subprocess

import members

HEALED_POLL_S = 1.0
FLIPS_MAX = 8
BEYOND_REPAIR = "format a new store and let it copy the history from its peers"
TAIL_BYTES = 4096
DRAIN_LOOKS = 150  # ten a second


# ---- processes ------------------------------------------------------------------------------------------

def kill(t, name):
    """SIGKILL, and a while later a new start."""
    t.kill(name)
    yield t.rng.choice((0.0, 0.1, 0.5, 2.0, 5.0))
    t.revive(name)


def kill_many(t, names):
    """All that nothing else is being done to, at the same moment."""
    names = [n for n in names if ("process", n) not in t.claims and t.pid(n) is not None]
    t.claims.update(("process", n) for n in names)
    for name in names:
        t.kill(name)
    t.note(f"killed {' '.join(names)}")
    yield t.rng.choice((0.0, 0.5, 2.0))
    t.rng.shuffle(names)
    for name in names:
        t.revive(name)
        t.claims.discard(("process", name))


def kill_host(t, host_name):
    yield from kill_many(t, [u for u, s in t.lab.units.items() if s["host"] == host_name])


def kill_all(t, _):
    """The power of the whole room."""
    yield from kill_many(t, [*t.sequencers, *t.stores])


def stop(t, name):
    """SIGSTOP: alive and silent; what it knows is old when it goes on."""
    pid = t.pid(name)
    os.kill(pid, signal.SIGSTOP)
    yield t.rng.choice((0.05, 0.3, 1.0, 3.0, 6.0))
    if t.pid(name) == pid:
        os.kill(pid, signal.SIGCONT)


def crawl(t, name):
    """A slow reader: it takes a little, and then nothing for a while."""
    pid = t.pid(name)
    for _ in range(t.rng.randint(4, 16)):
        os.kill(pid, signal.SIGSTOP)
        yield t.rng.uniform(0.2, 1.0)
        if t.pid(name) != pid:
            return
        os.kill(pid, signal.SIGCONT)
        yield t.rng.uniform(0.005, 0.05)


def drain(t, name):
    """SIGTERM: a proxy sends its clients elsewhere, and ends. The next start comes at once, or later."""
    t.down.add(name)
    t.daemons[name].terminate()
    for _ in range(DRAIN_LOOKS):
        yield 0.1
        if t.daemons[name].poll() is not None:
            break
    if t.daemons[name].poll() is None:
        t.violations.add("stop", f"{name} does not end on SIGTERM")
        t.kill(name)
    elif t.daemons[name].returncode != 0:
        t.violations.add("stop", f"{name}, drained, ended with status {t.daemons[name].returncode}")
    yield t.rng.choice((0.0, 0.5, 2.0))
    t.revive(name)


def kill_proxies(t, _):
    """All at once: their clients have nowhere to go, and then come back in a storm."""
    yield from kill_many(t, t.proxies)


def fds(t, name):
    """No further file descriptors: connections and files can't be opened."""
    pid = t.pid(name)
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (t.rng.choice((0, 3, 8)), hard))
    yield t.rng.uniform(0.5, 5)
    if t.pid(name) == pid:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def promote(t, name):
    """`cantus promote` of whoever it is, leading or not, on a random host."""
    yield from members.command(t, ["promote", name.split("@")[1], "--why", f"fault {t.fault_count}"])


def promote_both(t, _):
    """Two operators at once, each with a sequencer of their own."""
    both = [promote(t, name) for name in t.rng.sample(t.sequencers, 2)]
    while both:
        both = [p for p in both if next(p, None) is not None]
        yield 0.1


def clock(t, host_name):
    """The host's clock jumps, and later jumps back."""
    seconds = t.rng.choice((-3600, -5, -0.5, 0.5, 5, 3600))
    t.set_clock(host_name, seconds)
    yield t.rng.uniform(1, 6)
    t.set_clock(host_name, 0)


# ---- networks -------------------------------------------------------------------------------------------

def partition(t, host_name):
    """A host is cut off from some or all others: nothing in, nothing out, or neither."""
    host = t.lab.hosts[host_name]
    others = [h for h in t.hosts if h is not host]
    others = others if t.rng.random() < 0.5 else t.rng.sample(others, 1)
    direction = t.rng.choice(("both", "in", "out"))
    undo = []
    if direction in ("both", "in"):
        undo.append(t.drop_from(host, others))
    if direction in ("both", "out"):
        undo += [t.drop_from(other, [host]) for other in others]
    t.note(f"partition {host_name} {direction} {' '.join(h.name for h in others)}")
    yield t.rng.choice((0.1, 0.6, 2.0, 5.0))
    for action in undo:
        action()


def flap(t, host_name):
    """Cut off and back, again and again."""
    host = t.lab.hosts[host_name]
    for _ in range(t.rng.randint(3, 10)):
        undo = [t.drop_from(host, t.hosts), *[t.drop_from(h, [host]) for h in t.hosts]]
        yield t.rng.uniform(0.05, 0.5)
        for action in undo:
            action()
        yield t.rng.uniform(0.05, 0.5)


def loss(t, host_name):
    host = t.lab.hosts[host_name]
    permille = t.rng.choice((5, 20, 100, 300))
    undo = t.nft(host.netns, "inet", "type filter hook input priority 0",
                 f"iif eth0 numgen random mod 1000 < {permille} drop")
    t.note(f"loss {host_name} {permille}/1000")
    yield t.rng.uniform(1, 6)
    undo()


def duplicate(t, host_name):
    """Frames of one host reach the others twice."""
    percent = t.rng.choice((5, 30, 99))
    undo = [t.nft(t.lab.bridge, "netdev",
                  f"type filter hook ingress device {host_name} priority {i}",
                  f"numgen random mod 100 < {percent} dup to {other.name}")
            for i, other in enumerate(t.hosts) if other.name != host_name]
    yield t.rng.uniform(1, 6)
    for action in undo:
        action()


def reorder(t, host_name):
    """Frames of one host are held back for some milliseconds, one by one."""
    percent = t.rng.choice((2, 20, 60))
    undo = t.nft(t.lab.bridge, "netdev",
                 f"type filter hook ingress device {host_name} priority 100",
                 f"numgen random mod 100 < {percent} fwd to late0")
    yield t.rng.uniform(1, 6)
    undo()


def corrupt(t, host_name):
    """In some of the datagrams of a host a bit is not as it was sent."""
    percent = t.rng.choice((1, 5, 30))
    undo = t.nft(t.lab.bridge, "netdev",
                 f"type filter hook ingress device {host_name} priority 100",
                 f"numgen random mod 100 < {percent} fwd to flip0")
    t.note(f"corrupt {host_name} {percent}/100")
    yield t.rng.uniform(1, 6)
    undo()


# ---- disks ----------------------------------------------------------------------------------------------

def disk_full(t, host_name):
    """Not a byte free on the store's file system."""
    folder = t.lab.hosts[host_name].file("/var/lib/cantus")
    filler = os.path.join(folder, "filler")
    with open(filler, "wb") as f:
        try:
            while True:
                free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
                if free == 0:
                    break
                os.posix_fallocate(f.fileno(), os.fstat(f.fileno()).st_size, free)
        except OSError:
            pass  # full
    yield t.rng.uniform(1, 8)
    os.unlink(filler)


def rot(t, name):
    """Bits flip in closed segments of a store that is down. Only one store at a time is damaged: with a
    second one the quorum itself would have lost what it acknowledged."""
    directory = t.store_directory(name)
    t.kill(name)
    segments = sorted(f for f in os.listdir(directory) if f.startswith("segment-"))[:-1]
    flipped = []
    if segments:
        for _ in range(t.rng.randint(1, FLIPS_MAX)):
            path = os.path.join(directory, t.rng.choice(segments))
            size = os.path.getsize(path)
            if size == 0:
                continue
            offset, bit = t.rng.randrange(size), t.rng.randrange(8)
            with open(path, "r+b") as f:
                f.seek(offset)
                byte = f.read(1)[0]
                f.seek(offset)
                f.write(bytes([byte ^ 1 << bit]))
            flipped.append(f"{os.path.basename(path)}:{offset}.{bit}")
    t.note(f"rot {name}: {' '.join(flipped) or 'no closed segment yet'}")
    t.count_if(bool(flipped), "rot")
    yield t.rng.choice((0.0, 1.0))
    t.revive(name)
    while flipped and not healed(t, name, directory):
        if beyond_repair(t, name):
            yield from members.replace(t, name)
            return
        yield HEALED_POLL_S


def beyond_repair(t, name):
    """Whether the last that it said is that it can't tell what it has: a header of a segment, and all from which
    that can be made again, were hit together. What it then asks for is what an operator does."""
    unit = t.lab.units[name]
    with open(t.lab.hosts[unit["host"]].path("log", f"{name}.log"), "rb") as log:
        log.seek(max(0, os.path.getsize(log.name) - TAIL_BYTES))
        said = log.read().decode(errors="replace").splitlines()
    return bool(said) and said[-1].endswith(BEYOND_REPAIR)


def healed(t, name, directory):
    """Whether the store, which may run meanwhile, reads back whole."""
    done = subprocess.run([t.cantus, "journal", "verify", directory, "--json"], capture_output=True,
                          text=True, check=False)
    try:
        whole = json.loads(done.stdout)["damage"] is None
    except (ValueError, KeyError):
        return False
    if whole:
        t.note(f"rot {name}: healed")
    return whole


# ---- what must be found -----------------------------------------------------------------------------------

def lie(t, _):
    """Who stands between a client and its proxy leaves messages out, so that nothing shows."""
    while t.clients["stable-e0"].delivered() == 0:
        yield 0.1
    os.kill(t.liar.pid, signal.SIGUSR1)
    yield 2.0
    os.kill(t.liar.pid, signal.SIGUSR1)


# ---- the table --------------------------------------------------------------------------------------------

# (kind, weight, what it claims of a target, targets, generator)
TABLE = [
    ("kill_sequencer", 8, "process", lambda t: t.sequencers, kill),
    ("kill_store", 6, "process", lambda t: t.stores, kill),
    ("kill_host", 2, "host", lambda t: t.store_hosts, kill_host),
    ("kill_all", 1, "room", lambda t: ["room"], kill_all),
    ("kill_publisher", 3, "process", lambda t: t.publishers, kill),
    ("kill_follower", 3, "process", lambda t: t.followers, kill),
    ("stop_sequencer", 6, "process", lambda t: t.sequencers, stop),
    ("stop_store", 4, "process", lambda t: t.stores, stop),
    ("stop_client", 2, "process", lambda t: t.publishers + t.followers, stop),
    ("kill_proxy", 6, "process", lambda t: t.proxies, kill),
    ("kill_proxies", 2, "edge", lambda t: ["edge"], kill_proxies),
    ("stop_proxy", 4, "process", lambda t: t.proxies, stop),
    ("drain_proxy", 3, "process", lambda t: t.proxies, drain),
    ("crawl", 3, "process", lambda t: t.followers, crawl),
    ("fds", 2, "process", lambda t: t.sequencers + t.stores + t.proxies, fds),
    ("promote", 4, "promotion", lambda t: t.sequencers, promote),
    ("promote_both", 2, "promotion", lambda t: ["both"], promote_both),
    ("clock", 3, "clock", lambda t: t.clocks, clock),
    ("partition", 8, "network", lambda t: t.host_names, partition),
    ("flap", 2, "network", lambda t: t.host_names, flap),
    ("loss", 4, "network", lambda t: t.host_names, loss),
    ("duplicate", 3, "network", lambda t: t.host_names, duplicate),
    ("reorder", 3, "network", lambda t: t.host_names, reorder),
    ("corrupt", 3, "network", lambda t: t.host_names, corrupt),
    ("disk_full", 3, "disk", lambda t: t.memory_hosts, disk_full),
    ("rot", 4, "process", lambda t: t.stores if not t.busy("rot", "wipe", "restore") else [], rot),
    ("member", 8, "membership", lambda t: ["room"], members.member),
    ("wipe", 4, "membership", lambda t: ["room"], members.wipe),
    ("restore", 2, "membership", lambda t: ["room"], members.from_backup),
]

# What torture.py --plant does instead, once: the fault, and what the checker must say of it.
PLANTED = {
    "backup": (("run_backup", 1, "membership", lambda t: ["room"], members.run_backup), {"lost", "forgotten"}),
    "liar": (("lie", 1, "liar", lambda t: ["liar"], lie), {"one_order", "incomplete"}),
}

# These take as long as they take, also once all other faults are over.
PATIENT = ("rot", "member", "wipe", "restore", "run_backup")
