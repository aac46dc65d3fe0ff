"""Faults of the membership: stores are added, removed and replaced while everything else goes on, with commands
that are interrupted and stores that are killed while they copy; stores lose their directories, or are restored
from a backup and even run on it, which they must find out, and rejoin as new ones in the way of docs/operations.md.

Only one of these at a time: with a second store lost before the first is replaced, what was stable could be on
no disk. And only on proof that the one before has come to its end: two answers of a leader with the same
members, between which something became stable."""

import json
import os
import shutil
import subprocess
import tempfile
import time

MEMBERS_MIN = 3
COMMAND_S = 30       # so long may a command take before it is ended
BACKUP_S = (1, 5)
WORDS_S = 12         # in so long the leader has put what the stores have said into the stream, twice
FOUND_OUT_S = 120
RESTORED = "restored from a copy, re-format it"
EMPTY_START_S = 20


def command(t, argv, interrupt_s=None):
    """Runs `cantus` on some host. For `yield from`: -> (status, what it said)"""
    host = t.rng.choice(t.hosts)
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(host.inside(["cantus", "--dir", "/etc/cantus", *argv]), stdin=subprocess.DEVNULL,
                                   stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        end = time.monotonic() + (COMMAND_S if interrupt_s is None else interrupt_s)
        while process.poll() is None:
            yield 0.1
            if time.monotonic() > end:
                process.kill()
                process.wait()
        out.seek(0)
        said = out.read().decode(errors="replace")
    if argv[0] != "status":
        t.note(f"{' '.join(argv)} on {host.name}: status {process.returncode}: {' '.join(said.split())}")
    return process.returncode, said


def led(t):
    """-> (epoch, stable, ids of the members) as the leader says; None if none is heard."""
    status, said = yield from command(t, ["status", "--json"])
    if status != 0:
        return None
    whole = json.loads(said)
    if whole["leader"] is None:
        return None
    return whole["epoch"], whole["stable"], {m["store"] for m in whole["members"]}


def members(t):
    """The ids of the members, proven: what a leader says who has been overtaken is old."""
    before = None
    while True:
        now = yield from led(t)
        if before is not None and now is not None and before[0] == now[0] and before[2] == now[2] \
                and before[1] < now[1]:
            return now[2]
        before = now
        yield 0.3


def free_process(t, names):
    """One of them that runs and that no fault has; claimed. None if there is none."""
    names = [n for n in names if ("process", n) not in t.claims and t.pid(n) is not None]
    if not names:
        return None
    name = t.rng.choice(names)
    t.claims.add(("process", name))
    return name


# ---- a store becomes a new one ----------------------------------------------------------------------------

def refuses_to_start(t, name, why):
    """Started on what must not be taken for a store, a retransmitter ends and says so."""
    t.start(name)
    process, end = t.daemons[name], time.monotonic() + EMPTY_START_S
    while process.poll() is None and time.monotonic() < end:
        yield 0.1
    if process.poll() is None:
        t.violations.add("lost_store", f"{name} runs {why}")
        process.kill()
        process.wait()
    elif process.returncode != 1:
        t.violations.add("lost_store", f"{name}, started {why}, ended with status {process.returncode}")


def format_store(t, name):
    """-> status of `cantus-retransmitter --format`"""
    host = t.lab.hosts[t.lab.units[name]["host"]]
    done = subprocess.run(host.inside(["cantus-retransmitter", "--config", "/etc/cantus/cantus.yaml", "--name",
                                       name.split("@")[1], "--format"]), capture_output=True, text=True, check=False)
    if done.returncode == 0:
        t.store_ids[name] = done.stdout.strip()
    else:
        t.note(f"{name}: --format: {done.stderr.strip()}")
    return done.returncode


def renew(t, name):
    """The store of a retransmitter that is down is lost; it starts again with a new one."""
    directory, old = t.store_directory(name), t.store_ids[name]
    shutil.rmtree(directory)
    t.gone.append(old)
    if t.rng.random() < 0.3:
        if t.rng.random() < 0.5:
            os.mkdir(directory)
        yield from refuses_to_start(t, name, "without a store")
    while format_store(t, name) != 0:  # its disk may be full
        shutil.rmtree(directory, ignore_errors=True)
        yield 0.5
    t.note(f"{name}: store {old} is gone, now {t.store_ids[name]}")
    t.revive(name)


def take_backup(t, name):
    """-> the folder with a copy of the store, made while it was down"""
    backup = os.path.join(t.folder, "backup")
    t.kill(name)
    shutil.copytree(t.store_directory(name), backup)
    t.revive(name)
    yield t.rng.uniform(*BACKUP_S)
    return backup


def all_know(t, store):
    """Until every other member has on its disk what the stream says now of the store that is to forget it."""
    end = time.monotonic() + WORDS_S
    while time.monotonic() < end:
        yield 0.5
    yield from members(t)
    goal = None
    while True:
        status, said = yield from command(t, ["status", "--json"])
        whole = json.loads(said) if status == 0 else {"leader": None}
        if whole["leader"] is not None:
            goal = whole["stable"] if goal is None else goal
            if all(m["durable_seq"] >= goal for m in whole["members"] if m["store"] != store):
                return
        yield 0.3


def finds_out(t, name):
    """Run on the older copy, a store is told of it, votes no more, and refuses to start again."""
    t.revive(name)
    short, end = name.split("@")[1], time.monotonic() + FOUND_OUT_S
    while True:
        status, said = yield from command(t, ["status", "--json", "--all"])
        processes = json.loads(said)["processes"] if status == 0 else []
        if any(p["name"] == short and p.get("state") == RESTORED for p in processes):
            t.note(f"{name}: has found out that it was restored")
            break
        if time.monotonic() > end:
            t.violations.add("lost_store", f"{name} runs on an older copy of itself, and nobody notices")
            break
        yield 0.2
    t.kill(name)
    yield from refuses_to_start(t, name, "on an older copy of itself, after it has found out")


def restore(t, name, backup):
    """Yesterday's store instead of today's. It must not be formatted by accident."""
    directory = t.store_directory(name)
    shutil.rmtree(directory)
    shutil.copytree(backup, directory)
    if format_store(t, name) == 0:
        t.violations.add("lost_store", f"{name}: --format took a directory with a store for an empty one")


def replace(t, name):
    """The store of a retransmitter that nothing else is being done to is replaced by a new one."""
    yield from members(t)
    old = t.store_ids[name]
    t.kill(name)
    yield from renew(t, name)
    now = yield from members(t)
    if old in now:
        yield from change(t, ["replace", old, name.split("@")[1]], {t.store_ids[name]}, {old}, [name])


def lose(t, from_backup):
    """A store is lost, and replaced by a new one."""
    before = yield from members(t)
    name = free_process(t, t.stores)
    if name is None or t.busy("rot"):
        t.claims.discard(("process", name))
        t.count_if(False, "restore" if from_backup else "wipe")
        return
    t.note(f"store of {name} will be lost")
    backup = os.path.join(t.folder, "backup")
    old = t.store_ids[name]
    # Only what a member has said is in the stream, for whoever leads to know.
    runs = from_backup and old in before and t.rng.random() < 0.7
    if from_backup:
        yield from take_backup(t, name)
    if runs:
        yield from all_know(t, old)
    t.kill(name)
    yield t.rng.choice((0.0, 0.5, 3.0))
    try:
        if from_backup:
            restore(t, name, backup)
        if runs:
            yield from finds_out(t, name)
        yield from renew(t, name)
    finally:
        shutil.rmtree(backup, ignore_errors=True)
        t.claims.discard(("process", name))
    now = yield from members(t)
    if old in now:
        yield from change(t, ["replace", old, name.split("@")[1]], {t.store_ids[name]}, {old}, [name])


def wipe(t, _):
    yield from lose(t, from_backup=False)


def from_backup(t, _):
    yield from lose(t, from_backup=True)


# ---- changes ----------------------------------------------------------------------------------------------

def change(t, argv, wanted, unwanted, copying):
    """Repeats `cantus member` until the members are as they should be. Some of the first attempts are cut short,
    by the end of the command or of the store that copies."""
    troubles = t.rng.choice((0, 0, 1, 2))
    while True:
        trouble = None
        if troubles > 0 and not t.healing:
            troubles -= 1
            trouble = t.rng.choice(("interrupt", "kill") if copying else ("interrupt",))
        killed = free_process(t, copying) if trouble == "kill" else None
        attempt = command(t, ["member", *argv, "--timeout", "20"],
                          t.rng.uniform(0, 1.5) if trouble == "interrupt" else None)
        if killed is not None:
            next(attempt)
            yield t.rng.uniform(0, 0.8)
            t.note(f"{killed} is killed while it copies")
            t.kill(killed)
            yield t.rng.choice((0.0, 0.5, 2.0))
            t.revive(killed)
            t.claims.discard(("process", killed))
        status, _ = yield from attempt
        now = yield from members(t)
        if wanted <= now and not unwanted & now:
            return
        # `member replace` by a name of what is no member any more is refused: the rest is an addition.
        if status != 0 and argv[0] == "replace" and not unwanted & now:
            argv = ["add", argv[2]]
        yield 0.5


def member(t, _):
    """A store is added, removed or replaced by another; the one that comes may be a new one."""
    now = yield from members(t)
    inside = [u for u in t.stores if t.store_ids[u] in now]
    outside = [u for u in t.stores if u not in inside]
    if len(now) > MEMBERS_MIN:
        leaves = t.rng.choice(inside)
        store = t.store_ids[leaves]
        yield from change(t, ["remove", store], set(), {store}, [])
        return
    comes = free_process(t, outside)
    if comes is None:
        t.count_if(False, "member")
        return
    if t.rng.random() < 0.5:
        t.kill(comes)
        yield from renew(t, comes)
    t.claims.discard(("process", comes))
    new, name = {t.store_ids[comes]}, comes.split("@")[1]
    if t.rng.random() < 0.5:
        yield from change(t, ["add", name], new, set(), [comes])
    else:
        leaves = t.store_ids[t.rng.choice(inside)]
        yield from change(t, ["replace", leaves, name], new, {leaves}, [comes])


# ---- what must be found -----------------------------------------------------------------------------------

def run_backup(t, _):
    """Beyond what Cantus survives, to see that it is noticed: a store runs on a backup of itself, and makes a
    quorum with one that was down since before it was made, while those who know better are away."""
    late, old, *others = t.stores
    backup, directory = os.path.join(t.folder, "backup"), t.store_directory(old)
    yield from members(t)
    t.kill(late)
    yield from take_backup(t, old)
    yield from members(t)
    before = yield from led(t)
    goal = t.total() + t.args.rate
    while t.total() < goal:
        yield 0.1
    for name in (old, *others, *t.sequencers):
        t.kill(name)
    shutil.rmtree(directory)
    shutil.move(backup, directory)
    for name in (late, old, *t.sequencers):
        t.revive(name)
    now = None
    while now is None or now[0]["number"] <= before[0]["number"]:
        now = yield from led(t)
    for name in others:
        t.revive(name)
