"""What must hold of a tormented stream, judged from what its clients and stores wrote down.

  checker.py DIR    judges a folder that torture.py kept

`history` is what the stores agree on, from `cantus journal dump`; the logs are those of driver.c. Checked:

- one order: what any follower was told at a seq is what the history has there, byte for byte, and it was told
  all of it, in order, once; at stable always, at sequenced after the forks that it was told of. Through a proxy
  too, and of one that follows a single publisher (views.json) the same holds of the history with only that
  publisher in it: its view is exactly the filter of the one order;
- nothing stable is lost: each outcome that a publisher was told stands in the history at that seq;
- exactly once: a publisher's items are 1, 2, 3 ... without a gap, a double or a change of order, and its
  numbers only grow; what it was told when it joined is no more than was there;
- time never goes back;
- the members change one store at a time, and in the end are who the operator made members: never a store
  whose directory was lost;
- clients ended only when they were asked to.
"""

import base64
import glob
import json
import os
import re
import shutil
import struct
import sys

VIOLATIONS_MAX = 50  # of one kind; more say nothing new


class Violations:
    def __init__(self):
        self.found = []
        self.counts = {}

    def add(self, kind, text):
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if self.counts[kind] <= VIOLATIONS_MAX:
            self.found.append({"kind": kind, "text": text})

    def count(self):
        return sum(self.counts.values())


# ---- logs -----------------------------------------------------------------------------------------------

REFERENCE = "stable-s0.1.log"  # of a follower that lives through everything
BLOCK = 1 << 20


def shorten(path):
    """What the log of a killed follower has in common with the reference is not kept twice: it becomes a line
    `P n`, for the first n bytes of that. Every new incarnation is told everything again, and so writes it."""
    reference, same = os.path.join(os.path.dirname(path), REFERENCE), 0
    with open(path, "rb") as a, open(reference, "rb") as b:
        while True:
            x, y = a.read(BLOCK), b.read(BLOCK)
            shorter = min(len(x), len(y))
            if shorter == BLOCK and x == y:
                same += shorter
                continue
            same += len(os.path.commonprefix([x, y]))
            break
        a.seek(max(0, same - BLOCK))
        start = a.tell()
        same = start + a.read(same - start).rfind(b"\n") + 1
        a.seek(same)
        with open(path + ".new", "wb") as out:
            out.write(b"P %d\n" % same)
            shutil.copyfileobj(a, out)
    os.replace(path + ".new", path)


def whole_lines(path):
    """Lines of a log; one that a SIGKILL cut off at the end is left out."""
    with open(path, "rb") as f:
        data = f.read()
    if data.startswith(b"P "):
        head, _, rest = data.partition(b"\n")
        with open(os.path.join(os.path.dirname(path), REFERENCE), "rb") as f:
            data = f.read(int(head[2:])) + rest
    lines = data.split(b"\n")
    lines.pop()
    return lines


# ---- the order ------------------------------------------------------------------------------------------

def publisher_name(identity):
    """Of somebody who came through a proxy the name is behind his key: "@KEY:name"."""
    return identity.rpartition(":")[2] if identity.startswith("@") else identity


class View:
    """What somebody should have been told: lines, and where each seq is."""

    def __init__(self, lines):
        self.lines = lines
        self.at = {int(line.split(b" ", 2)[1]): index for index, line in enumerate(lines)}


class History:
    """One line a message, as driver.c writes it, in the order of one stable follower that was told
    everything; all other logs are compared with it, so that it does not matter which it is."""

    def __init__(self, lines, violations):
        self.lines = lines
        self.at = {}        # seq -> index
        self.items = {}     # publisher -> [seq of item 1, of item 2, ...]
        self.edge = set()   # publishers that came through a proxy
        last_seq, last_ns, numbers = 0, 0, {}
        for index, line in enumerate(lines):
            _, seq, publisher, number, item, _, _, timestamp_ns = line.split(b" ")
            seq, number, item, timestamp_ns = int(seq), int(number), int(item), int(timestamp_ns)
            if publisher.startswith(b"@"):
                self.edge.add(publisher_name(publisher.decode()))
            publisher = publisher_name(publisher.decode())
            if seq <= last_seq:
                violations.add("order", f"seq {seq} was delivered after {last_seq}")
            if timestamp_ns < last_ns:
                violations.add("time", f"seq {seq} is stamped {last_ns - timestamp_ns} ns before the one before")
            if number <= numbers.get(publisher, 0):
                violations.add("publisher_seq", f"seq {seq}: number {number} of {publisher} after "
                                                f"{numbers[publisher]}")
            items = self.items.setdefault(publisher, [])
            if item != len(items) + 1:
                violations.add("items", f"seq {seq}: item {item} of {publisher} where {len(items) + 1} is next")
            # What follows is judged from here on, not again and again.
            del items[item - 1:]
            items.extend([0] * (item - 1 - len(items)))
            items.append(seq)
            self.at[seq] = index
            last_seq, last_ns, numbers[publisher] = seq, timestamp_ns, number

    def of(self, publisher):
        """The view of a follower of this publisher; of everything if None."""
        if publisher is None:
            return self
        return View([line for line in self.lines if publisher_name(line.split(b" ")[2].decode()) == publisher])


def check_stable(name, lines, history, violations, complete):
    """A follower at stable: a prefix of the history, or all of it."""
    delivered = [line for line in lines if line[:1] == b"D"]
    for line in lines:
        if line[:1] in (b"F", b"R"):
            violations.add("forked_at_stable", f"{name}: {line.decode()}")
    check_same(name, delivered, history, violations, complete)


def check_same(name, delivered, history, violations, complete):
    for index, (got, expected) in enumerate(zip(delivered, history.lines)):
        if got != expected:
            violations.add("one_order", f"{name}: delivery {index + 1} is '{got.decode()}', elsewhere "
                                        f"'{expected.decode()}'")
            return
    if len(delivered) > len(history.lines):
        violations.add("one_order", f"{name}: '{delivered[len(history.lines)].decode()}' is in no other history")
    elif complete and len(delivered) < len(history.lines):
        violations.add("incomplete", f"{name}: ends at delivery {len(delivered)} of {len(history.lines)}")


def check_sequenced(name, lines, history, violations, complete):
    """A follower at sequenced: goes back only to where a fork was announced, and what it believes in the end
    is the history. Returns (forks, messages taken back)."""
    view, seqs, forks, taken_back = [], [], 0, 0
    for line in lines:
        kind = line[:1]
        if kind == b"F":
            first = int(line.split(b" ")[1])
            forks += 1
            while seqs and seqs[-1] >= first:
                seqs.pop()
                view.pop()
                taken_back += 1
        elif kind == b"D":
            seq = int(line.split(b" ", 2)[1])
            if seqs and seq <= seqs[-1]:
                violations.add("unannounced_fork", f"{name}: seq {seq} after {seqs[-1]}, and no FORKED between")
                return forks, taken_back
            seqs.append(seq)
            view.append(line)
    if complete:
        check_same(name, view, history, violations, complete=True)
        return forks, taken_back
    # Killed: its tail may be one that was taken back after its death; before that it must agree.
    agreed = 0
    while agreed < min(len(view), len(history.lines)) and view[agreed] == history.lines[agreed]:
        agreed += 1
    missing = [s for s in seqs[agreed:] if s in history.at and view[seqs.index(s)] == history.lines[history.at[s]]]
    if missing:
        violations.add("one_order", f"{name}: leaves the history before seq {seqs[agreed]} and is back on it at "
                                    f"{missing[0]}")
    return forks, taken_back


# ---- publishers -----------------------------------------------------------------------------------------

def check_publisher(name, publisher, lines, history, violations, known):
    """One incarnation's log; `known` is what earlier ones were told. Returns what is known after it."""
    items = history.items.get(publisher, [])
    for line in lines:
        words = line.split(b" ")
        if words[0] == b"J":
            joined = int(words[1])
            if joined < known:
                violations.add("forgotten", f"{name}: joined with {joined} items in the stream; {known} were "
                                            "reported before")
            if joined > len(items):
                violations.add("lost", f"{name}: joined with {joined} items, the history has {len(items)}")
            known = max(known, joined)
        elif words[0] == b"O":
            n, seq = int(words[1]), int(words[2])
            if n > len(items):
                violations.add("lost", f"{name}: item {n} was reported stable at seq {seq}; the history has "
                                       f"{len(items)} items of it")
            elif items[n - 1] != seq and not (publisher in history.edge and seq > items[n - 1]
                                              and seq not in history.at):
                # Over a new connection to a proxy the join, a record behind it, is what tells of an item.
                violations.add("outcome", f"{name}: item {n} was reported at seq {seq}, it is at {items[n - 1]}")
            known = max(known, n)
        elif words[0] == b"X":
            violations.add("client", f"{name}: {line.decode(errors='replace')}")
    return known


# ---- stores ---------------------------------------------------------------------------------------------

def check_stores(stores, violations):
    """What `cantus journal verify --json` said of each: {name: object, or text where it failed}."""
    walks = {}
    for name, walk in stores.items():
        if not isinstance(walk, dict):
            violations.add("store", f"{name}: {walk}")
            continue
        walks[name] = walk
        if walk.get("damage"):
            violations.add("store", f"{name}: {walk['damage']}")
        if walk["messages"] != walk["last_seq"] - walk["first_seq"] + 1:
            violations.add("store", f"{name}: {walk['messages']} messages from {walk['first_seq']} to "
                                    f"{walk['last_seq']}")
    if len({(w["last_seq"], w["digest"]) for w in walks.values()}) > 1:
        violations.add("digest", "stores end differently: " + ", ".join(
            f"{n} seq {w['last_seq']} digest {w['digest']}" for n, w in walks.items()))


def whole_messages(f):
    """Messages of a dump with their fragments put together: the first part's number, the last one's seq. What
    an epoch record cut short is void."""
    first, payload = None, ""
    for line in f:
        m = json.loads(line)
        if not m["topic"].startswith("/torture/"):
            first = None
            continue
        if first is None:
            first, payload = m, ""
        payload += m.get("payload", "")
        if not m["more"]:
            yield {**m, "publisher_seq": first["publisher_seq"], "payload": payload}
            first = None


def check_dump(path, history, violations):
    """The journal has what the followers were told, and nothing else by publishers."""
    seen = 0
    with open(path, encoding="utf-8") as f:
        for m in whole_messages(f):
            index = history.at.get(m["seq"])
            if index is None:
                violations.add("journal", f"seq {m['seq']} of the journal was delivered to nobody")
                continue
            seen += 1
            _, _, publisher, number, item, length, _, timestamp_ns = history.lines[index].split(b" ")
            payload = m["payload"]
            if (publisher.decode(), int(number), int(timestamp_ns), int(length)) != (
                    m["publisher"], m["publisher_seq"], m["timestamp_ns"], len(payload)) \
                    or not payload.startswith(f"{publisher_name(m['publisher'])} {int(item)} "):
                violations.add("journal", f"seq {m['seq']} was delivered as '{history.lines[index].decode()}', the "
                                          f"journal has {m['publisher']} {m['publisher_seq']} {payload[:40]!r}")
    if seen < len(history.lines):
        violations.add("journal", f"of {len(history.lines)} delivered messages {seen} are in the journal")
    return seen


# ---- members --------------------------------------------------------------------------------------------

def members_of(m):
    """The ids in a genesis or a /sys/member: 13 bytes (seq, W, count), then the stores."""
    payload = base64.b64decode(m["payload_base64"])
    start = 53 + 8 + 4 if m["topic"] == "/sys/genesis" else 8 + 4
    return [f"{store:016x}" for store in struct.unpack(f"<{payload[start]}Q", payload[start + 1:])]


def check_members(path, said, violations):
    """`said` by the operator: {"members": those of the end, "gone": whose directories were lost}. -> changes"""
    now, changes = None, -1
    with open(path, encoding="utf-8") as f:
        for line in f:
            if '"/sys/genesis"' not in line and '"/sys/member"' not in line:
                continue
            m = json.loads(line)
            if m["topic"] not in ("/sys/genesis", "/sys/member"):
                continue
            then, now = now, members_of(m)
            changes += 1
            if then is not None and len(set(then) ^ set(now)) != 1:
                violations.add("membership", f"seq {m['seq']}: the members {then} became {now}")
    if now is None or set(now) != set(said["members"]):
        violations.add("membership", f"the members of the stream are {now}, the operator left {said['members']}")
    for store in set(said["gone"]) & set(now or []):
        violations.add("membership", f"store {store} was lost, and is a member")
    return changes


# ---- a folder -------------------------------------------------------------------------------------------

def incarnations(folder, prefix):
    """{client: [its logs, oldest first]} of files clients/PREFIX-NAME.N.log"""
    found = {}
    for path in glob.glob(os.path.join(folder, "clients", f"{prefix}-*.log")):
        name, n = re.fullmatch(rf"{prefix}-(.+)\.(\d+)\.log", os.path.basename(path)).groups()
        found.setdefault(name, []).append((int(n), path))
    return {name: [path for _, path in sorted(paths)] for name, paths in sorted(found.items())}


def read_views(folder):
    """{follower: the one publisher that it follows}"""
    path = os.path.join(folder, "views.json")
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def check_folder(folder):
    """-> (violations, figures)"""
    violations = Violations()
    figures = {"messages": 0, "outcomes": 0, "follower_logs": 0, "forks_announced": 0, "taken_back": 0,
               "journal_messages": 0, "member_changes": 0}
    stable, sequenced = incarnations(folder, "stable"), incarnations(folder, "sequenced")
    # Written once every follower had everything; before that, no log has to be complete.
    finished = os.path.exists(os.path.join(folder, "finished"))
    publisher_of = read_views(folder)
    if not stable:
        violations.add("vacuous", "no stable follower wrote a log")
        return violations, figures
    longest = max((whole_lines(logs[-1]) for name, logs in stable.items() if name not in publisher_of),
                  key=lambda lines: sum(1 for line in lines if line[:1] == b"D"))
    history = History([line for line in longest if line[:1] == b"D"], violations)
    figures["messages"] = len(history.lines)
    for level, clients in (("stable", stable), ("sequenced", sequenced)):
        for name, logs in clients.items():
            view = history.of(publisher_of.get(name))
            for path in logs:
                lines = whole_lines(path)
                label, complete = os.path.basename(path), finished and path == logs[-1]
                figures["follower_logs"] += 1
                for line in lines:
                    if line[:1] == b"X":
                        violations.add("client", f"{label}: {line.decode(errors='replace')}")
                if level == "stable":
                    check_stable(label, lines, view, violations, complete)
                else:
                    forks, taken_back = check_sequenced(label, lines, view, violations, complete)
                    figures["forks_announced"] += forks
                    figures["taken_back"] += taken_back
    for name, logs in incarnations(folder, "publisher").items():
        known = 0
        for path in logs:
            lines = whole_lines(path)
            figures["outcomes"] += sum(1 for line in lines if line[:1] == b"O")
            known = check_publisher(os.path.basename(path), name, lines, history, violations, known)
        if finished and known != len(history.items.get(name, [])):
            violations.add("outcome", f"{name}: {known} items were reported, the history has "
                                      f"{len(history.items.get(name, []))}")
    stores = os.path.join(folder, "stores.json")
    if os.path.exists(stores):
        with open(stores, encoding="utf-8") as f:
            check_stores(json.load(f), violations)
    dump = os.path.join(folder, "history.jsonl")
    if os.path.exists(dump):
        figures["journal_messages"] = check_dump(dump, history, violations)
        with open(os.path.join(folder, "members.json"), encoding="utf-8") as f:
            figures["member_changes"] = check_members(dump, json.load(f), violations)
    return violations, figures


if __name__ == "__main__":
    result, counted = check_folder(sys.argv[1])
    for violation in result.found:
        print(f"{violation['kind']}: {violation['text']}")
    print(json.dumps({**counted, "violations": result.count()}))
    sys.exit(1 if result.count() else 0)
