"""The dissector for Wireshark, by tshark.

On a real run: three stores and two sequencers in a network namespace of the test's own, where lo loses one datagram
in twenty; messages, a replay, commands, the leader killed, a standby promoted, and what no healthy deployment
sends, by hand. dumpcap captures all of lo. Every datagram of the capture must be dissected without complaint, every
type must have been seen, and every value must be what wire_decode.py, written from docs/wire.md, reads.

On made ones: the examples of docs/wire.md; digests that don't link; and thousands of damaged packets, which may be
called malformed but must never raise an error in Lua. The tables of names are compared with the headers, so that a
new type of datagram fails here until the dissector knows it.
"""

import collections
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import time
import unittest

import wire
import wire_decode
from cantus_test import (DEADLINE_S, SOURCE, Case, Endpoints, listener, own_network, program, sender,
                         wait_until)
from wire_decode import Decoder

DISSECTOR = os.path.join(SOURCE, "deploy", "wireshark", "cantus.lua")
SEED = int(os.environ.get("CANTUS_TEST_SEED", time.time_ns() % 1_000_000))
TSHARK = shutil.which("tshark")
DAMAGED = 2000  # packets of each kind
SEPARATOR, OCCURRENCE = "\t", "\x1f"


NO_TSHARK = None if TSHARK else "no tshark"
NO_CAPTURE = NO_TSHARK or (None if shutil.which("dumpcap") else "no dumpcap") or own_network()


def header_enum(path, enum, prefix):
    """{value: name} of the constants of one enum of a header, END aside."""
    with open(os.path.join(SOURCE, path), encoding="utf-8") as f:
        body = re.search(rf"enum {enum} \{{(.*?)\}}", f.read(), re.S).group(1)
    found = {int(value): name.lower() for name, value in re.findall(rf"\b{prefix}_(\w+) = (\d+)", body)}
    assert len(found) >= 3, enum
    return found


@unittest.skipIf(NO_TSHARK, NO_TSHARK)
class DissectorCase(Case):
    def tshark(self, *args):
        """Standard output. Neither there nor on standard error may Lua report anything."""
        env = dict(os.environ, HOME=self.tmp, XDG_CONFIG_HOME=self.tmp, TZ="UTC")
        table = args if args[0] == "-G" else ()  # which has to come first
        rest = () if table else ("-n", *args)
        done = self.execute([TSHARK, *table, "-X", f"lua_script:{DISSECTOR}", *rest], env=env,
                            deadline_s=DEADLINE_S * 4)
        for text in () if table else (done.out, done.err):
            found = re.search(r"(?m)^.*(Lua[ :].*[Ee]rror|lua_script.*error|attempt to).*$", text)
            self.assertIsNone(found, found and found.group(0)[:1000])
        return done.out

    def fields(self, pcap, names, *args):
        """Of each packet, the values of each field, in order."""
        wanted = [a for name in names for a in ("-e", name)]
        out = self.tshark("-r", pcap, *args, "-T", "fields", "-E", f"separator={SEPARATOR}", "-E",
                          f"aggregator={OCCURRENCE}", *wanted)
        rows = []
        for line in out.split("\n")[:-1]:
            values = line.split(SEPARATOR)
            rows.append({name: v.split(OCCURRENCE) for name, v in zip(names, values) if v})
        return rows


def normal(values):
    """Booleans are 0 and 1 in some releases of tshark, words in others."""
    return [{"True": "1", "False": "0"}.get(v, v) for v in values]


# ---- tables ----------------------------------------------------------------------------------------

class TableTest(DissectorCase):
    def test_names_are_those_of_the_headers(self):
        tables = collections.defaultdict(dict)
        for line in self.tshark("-G", "values").splitlines():
            kind, field, value, name = (line.split("\t") + [""] * 4)[:4]
            if kind == "V" and field.startswith("cantus."):
                tables[field[len("cantus."):]][int(value, 0)] = name
        for field, path, enum, prefix in (
                ("type", "proto/wire.h", "wire_type", "WIRE"),
                ("frame.type", "proto/replay.h", "replay_type", "REPLAY"),
                ("end.reason", "proto/replay.h", "replay_end_reason", "REPLAY"),
                ("hint.reason", "proto/signal.h", "hint_reason", "HINT"),
                ("gap_refusal.reason", "proto/signal.h", "gap_refusal_reason", "GAP"),
                ("reject.reason", "proto/sys.h", "reject_reason", "REJECT"),
                ("epoch.how", "proto/sys.h", "sys_epoch_how", "SYS_EPOCH"),
                ("command.how", "proto/sys.h", "sys_epoch_how", "SYS_EPOCH"),
                ("command.kind", "proto/command.h", "command_kind", "COMMAND"),
                ("outcome.verdict", "proto/command.h", "outcome_verdict", "OUTCOME"),
                ("edge.type", "proto/edge.h", "edge_type", "EDGE"),
                ("edge_refused.reason", "proto/edge.h", "edge_refusal", "EDGE_REFUSED"),
                ("edge_closing.reason", "proto/edge.h", "edge_closing_reason", "EDGE_CLOSING"),
                ("edge_subscribe.from", "proto/edge.h", "edge_from", "EDGE_FROM")):
            self.assertEqual(tables[field], header_enum(path, enum, prefix), field)
        self.assertEqual(wire_decode.TYPES, tables["type"])
        self.assertEqual(wire_decode.EDGE_TYPES, tables["edge.type"])

    def test_every_field_of_the_control_messages(self):
        fields = {}
        for line in self.tshark("-G", "fields").splitlines():
            parts = line.split("\t")
            if parts[0] == "F":
                fields[parts[2]] = parts[3]
        kinds = {"string": "FT_STRING", "uint64": "FT_UINT64", "fixed64": "FT_UINT64",
                 "uint32": "FT_UINT32", "fixed32": "FT_UINT32", "bool": "FT_BOOLEAN", "bytes": "FT_BYTES"}
        for message, of in wire_decode.CONTROL.items():
            for kind, name in of.values():
                self.assertEqual(fields.get(f"cantus.{message.lower()}.{name}"),
                                 kinds.get(kind, "FT_NONE"), f"{message}.{name}")


# ---- made packets ----------------------------------------------------------------------------------

def examples():
    """The examples of docs/wire.md: {name: bytes}."""
    with open(os.path.join(SOURCE, "docs", "wire.md"), encoding="utf-8") as f:
        text = f.read()
    return {name: bytes.fromhex("".join(line.split("#")[0] for line in body.splitlines()))
            for name, body in re.findall(r"```hex (\S+)\n(.*?)```", text, re.S)}


STREAM = 0x1122334455667788
CONTROLS = ("command", "outcome", "clients_request", "clients")  # examples of frames


def message(topic, payload, publisher=0, number=0):
    return (struct.pack("<H", len(payload)) + topic.to_bytes(3, "little") + publisher.to_bytes(3, "little") +
            number.to_bytes(6, "little") + payload)


def batch(messages, first_seq=2, before=(0, 0), epoch=(0xcafe, 2), count=None):
    body = struct.pack("<QQQQQQII", *before, first_seq, 1_700_000_000_000_000_000, 1, *epoch, 0)
    head = struct.pack("<HBBHHQQQ", 0x7443, 1, 1, 0, count or len(messages), STREAM, 0, 0)
    return wire.seal(head + body + b"".join(messages))


def batch_digest(datagram):
    return struct.unpack_from("<QQ", datagram, 16)


def heartbeat(next_seq, digest, epoch=(2, 0xcafe)):
    return wire.frame(2, STREAM, struct.pack("<IQQQQQQQ", *epoch, next_seq, *digest, 1, 1, 1))


def control_frame(type, body):
    return struct.pack("<IB", 1 + len(body), type) + body


def edge_frames():
    """One of each type at least: the examples, and the others by hand."""
    place = struct.pack("<IQQ", 2, 0xcafe, 41)
    e = examples()
    others = ("edge_signed", "edge_present")  # what is signed, and a record
    frames = [d for name, d in e.items() if name.startswith("edge_") and name not in others]
    return frames + [control_frame(type, body) for type, body in (
        (1, struct.pack("<HQB", 1, 5, 0) + b"\x06nobody"), (2, bytes(range(64))),
        (4, b"\x02\0\x02/a\x04/b/c" + b"\x01\0\x02/d"), (7, b""),
        (17, place + struct.pack("<QIIIB", 40, 1300, 1024, 1 << 20, 0)), (19, struct.pack("<Q", 77)),
        (27, place), (28, struct.pack("<IIQ", 1, 4, 99)), (29, b"\x06\x03bye"),
        (30, e["clients"][5:]))]


class MadeTest(DissectorCase):
    def compare(self, payloads, protocol, frames="frame"):
        pcap = self.path("made.pcap")
        wire_decode.write_pcap(pcap, payloads, protocol=protocol)
        expected = []
        for p in payloads:
            d = Decoder()
            d.datagram(p) if protocol == 17 else getattr(d, frames)(p)
            values = collections.defaultdict(list)
            for field, text in d.found:
                values[field].append(text)
            expected.append(values)
        names = sorted({name for values in expected for name in values})
        by_port = ("-o", "cantus_edge.ports:20123") if frames == "edge" else ()
        for want, got in zip(expected, self.fields(pcap, names, *by_port), strict=True):
            self.assertEqual({k: normal(v) for k, v in got.items()},
                             {k: v for k, v in want.items() if v != [""]})
        return pcap

    def test_examples_of_the_documentation(self):
        e = examples()
        datagrams = [d for d in e.values() if d[:2] == b"Ct"]
        self.assertGreaterEqual(len(datagrams), 7)
        records = [message(topic, e[name]) for topic, name in
                   ((1, "genesis"), (2, "epoch"), (4, "join_record"), (5, "reject"), (9, "grant"), (10, "group"),
                    (11, "limit"))]
        records += [message(6, b"/md/nasdaq"), message(7, b""), message(8, e["genesis"][-21:]),
                    message(3, b"\x03day" + struct.pack("<IQQ", 1, 2, 3))]
        self.compare([*datagrams, batch(records, first_seq=100)], 17)
        self.compare([e["replay_request"], control_frame(2, e["batch"]), control_frame(3, e["heartbeat"]),
                      control_frame(5, b""), control_frame(4, struct.pack("<BQQ", 2, 17, 16)),
                      *(e[name] for name in CONTROLS)], 6)

    def test_frames_of_the_client_protocol(self):
        frames = edge_frames()
        self.assertEqual({f[4] for f in frames}, set(wire_decode.EDGE_TYPES))
        pcap = self.compare(frames, 6, "edge")
        # Without a preference: by how a connection begins, and what a proxy says most.
        found = self.fields(pcap, ["cantus.edge.type", "cantus.frame.type"])
        shapes = {wire_decode.EDGE_TYPES[f[4]] for f, row in zip(frames, found) if "cantus.edge.type" in row}
        self.assertLessEqual({"hello", "welcome", "accepted", "subscribed", "progress", "outcome"}, shapes)
        self.assertFalse([row for row in found if len(row) > 1])

    def test_every_mark_is_found(self):
        e = examples()
        ack, beat = bytearray(e["ack"]), e["heartbeat"]
        ack[-1] = 7
        marks = {
            "foreign": b"Xt" + beat[2:], "other_version": beat[:2] + b"\x02" + beat[3:],
            "unknown_type": beat[:3] + b"\x63" + beat[4:], "bad_length": beat[:-1],
            "malformed": wire.seal(ack), "refused": wire.frame(5, STREAM, struct.pack("<BIIQQIQ", 8, 1, 1, 1,
                                                                                    0, 1, 1)),
        }
        for mark, datagram in marks.items():
            pcap = self.path("mark.pcap")
            wire_decode.write_pcap(pcap, [datagram])
            out = self.tshark("-r", pcap, "-o", "cantus.ports:20123", "-Y", f"cantus.{mark}")
            self.assertEqual(out.count("\n"), 1, mark)
        # Found without a preference too, where something says that it is ours.
        wire_decode.write_pcap(pcap, [marks["bad_length"], marks["other_version"], b"Ct, a text",
                                      b"Something else of sixteen bytes or more"])
        self.assertEqual(self.tshark("-r", pcap, "-Y", "cantus").count("\n"), 2)

    def test_digests_that_do_not_link(self):
        first = batch([message(16, b"a", 1, 1)], first_seq=2)
        second = batch([message(16, b"b", 1, 2)], first_seq=3, before=batch_digest(first))
        broken = batch([message(16, b"b", 1, 2)], first_seq=3, before=(1, 2))
        differs = batch([message(16, b"c", 1, 2)], first_seq=3, before=(1, 2), epoch=(0xbeef, 3))
        changed = batch([message(16, b"A", 1, 1)], first_seq=2)
        pcap = self.path("chain.pcap")
        good = [first, second, heartbeat(4, batch_digest(second)), first]
        bad = [broken, heartbeat(3, (5, 5)), changed]
        wire_decode.write_pcap(pcap, [*good, *bad, differs])
        rows = self.fields(pcap, ["cantus.chain_broken", "cantus.history_differs"])
        self.assertEqual([bool(r.get("cantus.chain_broken")) for r in rows],
                         [False] * len(good) + [True] * len(bad) + [False])
        self.assertEqual([bool(r.get("cantus.history_differs")) for r in rows],
                         [False] * (len(good) + len(bad)) + [True])

    def test_many_datagrams_in_one_packet(self):
        e = examples()
        pcap = self.path("segments.pcap")
        wire_decode.write_pcap(pcap, [e["batch"] + e["batch"] + e["ack"], e["ack"] + b"tail"])
        rows = self.fields(pcap, ["cantus.type", "cantus.bad_length"])
        self.assertEqual(rows[0]["cantus.type"], ["1", "1", "8"])
        self.assertNotIn("cantus.bad_length", rows[0])
        self.assertEqual(rows[1]["cantus.type"], ["8"])
        self.assertIn("cantus.bad_length", rows[1])

    def damaged(self, rng, originals):
        d = bytearray(rng.choice(originals))
        what = rng.randrange(4)
        if what == 0:
            return bytes(d[:rng.randrange(1, len(d))])
        if what == 1:
            return bytes(d) + rng.randbytes(rng.randrange(1, 40))
        for _ in range(rng.choice((1, 1, 2, 8))):
            at = rng.randrange(4 if what == 2 else 0, len(d))
            d[at] = rng.choice((0, 1, 0x7f, 0x80, 0xff, rng.randrange(256)))
        return bytes(d)

    def test_damaged_packets(self):
        rng = random.Random(SEED)
        e = examples()
        datagrams = [d for d in e.values() if d[:2] == b"Ct"] + [
            batch([message(topic, e[name]) for topic, name in
                   ((1, "genesis"), (2, "epoch"), (4, "join_record"), (5, "reject"), (9, "grant"), (10, "group"),
                    (11, "limit"))], first_seq=100),
            batch([message(6, b"/a"), message(7, b""), message(8, e["genesis"][-21:])], first_seq=9)]
        status = bytes.fromhex("0a0973657175656e636572" "12076c656164696e67" "190100000000000000" "2200"
                               "2a0d080211feca0000000000001802" "300a3809400048015210" "09070000000000000010"
                               "051801200028ff01" "5a0b080112037075621801200b" "6001" "6801"
                               "720a0a0667617073696e1003")
        control = [e["replay_request"], control_frame(2, e["batch"]), control_frame(3, e["heartbeat"]),
                   control_frame(5, b""), control_frame(4, struct.pack("<BQQ", 2, 17, 16)),
                   control_frame(6, status),
                   control_frame(7, bytes.fromhex("08011107000000000000001800220377686f2a00")),
                   control_frame(8, bytes.fromhex("0803100018002100000000000000002800310000000000000000"
                                                  "39000000000000000042026e6f")),
                   *(e[name] for name in CONTROLS)]
        for originals, protocol, preference in ((datagrams, 17, "cantus"), (control, 6, "cantus_stream"),
                                                (edge_frames(), 6, "cantus_edge")):
            pcap = self.path(f"damaged-{preference}.pcap")
            packets = [self.damaged(rng, originals) for _ in range(DAMAGED)]
            wire_decode.write_pcap(pcap, [p for p in packets if p], protocol=protocol)
            out = self.tshark("-r", pcap, "-o", f"{preference}.ports:20123", "-V")
            self.assertEqual(len(re.findall(r"^Frame \d+:", out, re.M)), DAMAGED, f"seed {SEED}")
            self.assertGreater(len(re.findall(r"^Cantus", out, re.M)), DAMAGED * 3 // 4, f"seed {SEED}")
            found = re.search(r"Malformed Packet.*", out)
            self.assertIsNone(found, f"seed {SEED}: {found and found.group(0)}; in {pcap}")


# ---- a real run --------------------------------------------------------------------------------------

@unittest.skipIf(NO_CAPTURE, NO_CAPTURE)
class CaptureTest(DissectorCase):
    def setUp(self):
        super().setUp()
        for command in (["ip", "link", "set", "lo", "up", "multicast", "on"],
                        ["ip", "route", "replace", "224.0.0.0/4", "dev", "lo"]):
            subprocess.run(command, check=True)
        self.d = self.path("d")
        self.cantus("init", self.d, "--stores", "3", "--sequencers", "2")
        self.addCleanup(self.nft, "flush ruleset")

    def nft(self, rules):
        subprocess.run(["nft", "-f", "-"], input=rules.encode(), check=True, capture_output=True)

    def lose(self, percent):
        ports = ", ".join(str(p) for p in Endpoints(self.d).ports())
        self.nft(f"table inet loss {{\n chain in {{\n type filter hook input priority 0;\n"
                 f" udp dport {{ {ports} }} numgen random mod 100 < {percent} drop\n }}\n}}\n")

    def daemon(self, kind, name, *args):
        return self.start([program(f"cantus-{kind}"), "--config", os.path.join(self.d, "cantus.yaml"),
                           "--name", name, *args])

    def leads(self, name):
        return self.wait_status(self.d, lambda s: s["leader"] == name, f"{name} leads")

    def by_hand(self):
        """A publisher that nobody knows, and a request for what there is not: a hint and a refusal."""
        endpoints = Endpoints(self.d)
        s = sender()
        self.addCleanup(s.close)
        s.settimeout(0.2)
        proposal = wire.frame(3, endpoints.stream, struct.pack("<IIQIQQI", 9_999_999, 1, 1, 0, 0, 0, 0) +
                              struct.pack("<H", 1) + (16).to_bytes(3, "little") + b"\x00x", count=1)
        request = wire.frame(6, endpoints.stream, struct.pack("<IQQQQ", 1, 1, 1 << 40, (1 << 40) + 5, 77))
        for datagram, to, answer in ((proposal, endpoints.ingress, 5),
                                     (request, endpoints.retransmitters[0], 7)):
            def answered(datagram=datagram, to=to, answer=answer):
                s.sendto(datagram, to)
                try:
                    return s.recv(65536)[3] == answer
                except TimeoutError:
                    return False
            wait_until(answered, f"an answer of type {answer}")

    def run_deployment(self):
        for name in ("r1", "r2", "r3"):
            self.daemon("retransmitter", name)
        first = self.daemon("sequencer", "s1")
        self.leads("s1")
        self.daemon("sequencer", "s2", "--standby")
        self.pub_lines(self.d, "/orders", [f"order {i}" for i in range(300)], "--publisher", "trader")
        self.lose(5)
        self.pub_lines(self.d, "/orders", [f"lossy {i} {'x' * (i % 90)}" for i in range(3000)],
                       "--publisher", "trader")
        self.cantus("--dir", self.d, "session", "the second day")
        first.kill()
        self.cantus("--dir", self.d, "promote", "s2", "--why", "the first was killed")
        self.nft("delete table inet loss")
        self.pub_lines(self.d, "/orders", [f"later {i}" for i in range(50)], "--publisher", "trader")
        self.by_hand()
        self.assertEqual(len(self.payloads(self.d, "/orders")), 3350)
        self.cantus("--dir", self.d, "verify", status=None)

    def capture(self):
        pcap = self.path("run.pcap")
        dumpcap = self.start(["dumpcap", "-i", "lo", "-P", "-q", "-B", "64", "-w", pcap])
        dumpcap.wait_said(r"File: ")
        wait_until(lambda: os.path.exists(pcap) and os.path.getsize(pcap) >= 24, "the capture's head")
        self.run_deployment()
        # What was sent last has been written once a datagram that was sent later has.
        end = b"the end of the capture"
        s = sender()

        def ended():
            s.sendto(end, ("127.0.0.1", 9))
            with open(pcap, "rb") as f:
                return end in f.read()
        wait_until(ended, "the last packet in the capture")
        s.close()
        dumpcap.terminate()
        self.assertRegex(dumpcap.err(), r"dropped on interface '[^']*': \d+/0 ", dumpcap.err())
        return pcap

    def ports(self):
        """By their ports, as some may belong to another protocol; MadeTest finds packets by their shape."""
        ports = ",".join(str(p) for p in Endpoints(self.d).ports())
        return "-o", f"cantus.ports:{ports}", "-o", f"cantus_stream.ports:{ports}"

    def expected_of(self, packets):
        """What wire_decode reads: of each UDP packet, and of each direction of each connection."""
        ports = set(Endpoints(self.d).ports())
        udp, tcp = {}, {}
        for i, p in enumerate(packets):
            if p is not None and p.udp and ({p.flow[1], p.flow[3]} & ports):
                d = Decoder()
                for one in wire_decode.segments(p.payload):
                    d.datagram(one)
                udp[i] = d.found
        for flow, data in wire_decode.streams(packets).items():
            d = Decoder()
            for one in wire_decode.frames(data):
                d.frame(one)
            tcp[flow] = d.found
        return udp, tcp

    @staticmethod
    def by_field(found):
        values = collections.defaultdict(list)
        for field, text in found:
            if text != "":
                values[field].append(text)
        return values

    def test_a_run_with_loss_and_a_failover(self):
        pcap = self.capture()
        packets = wire_decode.read_pcap(pcap)
        udp, tcp = self.expected_of(packets)
        self.assertGreater(len(udp), 300)
        names = sorted({f for found in [*udp.values(), *tcp.values()] for f, _ in found})
        where = ["ip.src", "tcp.srcport", "ip.dst", "tcp.dstport", "icmp.type"]
        rows = self.fields(pcap, where + names, *self.ports())
        self.assertEqual(len(rows), len(packets))

        got_tcp = collections.defaultdict(lambda: collections.defaultdict(list))
        for i, row in enumerate(rows):
            cantus = {k: normal(v) for k, v in row.items() if k not in where}
            if i in udp:
                self.assertEqual({k: [v for v in values if v] for k, values in cantus.items()},
                                 self.by_field(udp[i]), f"packet {i + 1} of {pcap}")
            elif "tcp.srcport" in row:
                flow = (row["ip.src"][0], int(row["tcp.srcport"][0]), row["ip.dst"][0],
                        int(row["tcp.dstport"][0]))
                for k, v in cantus.items():
                    got_tcp[flow][k] += [one for one in v if one]
            elif "icmp.type" not in row:  # which quotes what could not be delivered
                self.assertEqual(cantus, {}, f"packet {i + 1} is not of this deployment")
        for flow, found in tcp.items():
            self.assertEqual(dict(got_tcp[flow]), self.by_field(found), flow)

        found = [pair for one in [*udp.values(), *tcp.values()] for pair in one]
        seen = {int(text) for field, text in found if field == "cantus.type"}
        self.assertEqual({wire_decode.TYPES[t] for t in seen}, set(wire_decode.TYPES.values()))
        seen = {int(text) for field, text in found if field == "cantus.frame.type"}
        asked_of_proxies = {"clients_request", "clients"}  # there are none here; MadeTest has these
        self.assertEqual({wire_decode.FRAMES[t] for t in seen},
                         set(wire_decode.FRAMES.values()) - asked_of_proxies)
        for field in ("genesis", "epoch", "session", "join_record", "topic"):
            self.assertTrue(any(f.startswith(f"cantus.{field}.") for f, _ in found), field)
        self.check_complaints(pcap)

    def check_complaints(self, pcap):
        """Nothing is malformed, and no digest of one epoch contradicts another; the failover may show."""
        marks = ["foreign", "other_version", "bad_length", "malformed", "unknown_type", "cut", "chain_broken"]
        bad = " || ".join(f"cantus.{m}" for m in marks)
        self.assertEqual(self.tshark("-r", pcap, *self.ports(), "-Y", f"({bad} || _ws.malformed) && !icmp", "-V"), "")
        refused = self.fields(pcap, ["cantus.hint.reason", "cantus.gap_refusal.reason"], "-Y",
                              "cantus.refused", *self.ports())
        self.assertGreaterEqual(len(refused), 2)


if __name__ == "__main__":
    unittest.main()
