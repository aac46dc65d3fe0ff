"""The checker finds what it is for. A folder is made as a clean run would leave it; then one thing at a time is
falsified, and exactly that must be reported."""

import base64
import json
import os
import shutil
import struct
import tempfile
import unittest

import checker


def delivery(seq, publisher, number, item):
    return f"D {seq} {publisher} {number} {item} 12 {seq * 7919:016x} {1000 + seq}"


def membership(seq, *stores, topic="/sys/member"):
    head = bytes(53) if topic == "/sys/genesis" else b""
    payload = head + struct.pack(f"<QIB{len(stores)}Q", seq, 0, len(stores), *stores)
    return json.dumps({"seq": seq, "timestamp_ns": 1, "topic": topic, "publisher": "", "publisher_seq": 0,
                       "more": False, "fragment": False, "payload_base64": base64.b64encode(payload).decode()})


class CheckerTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="cantus-checker-")
        self.addCleanup(shutil.rmtree, self.folder)
        os.mkdir(os.path.join(self.folder, "clients"))
        # Publishers a and b take turns on odd seqs; even ones are the stream's own.
        self.history = [delivery(2 * i + 1, "ab"[i % 2], i // 2 + 1, i // 2 + 1) for i in range(20)]
        self.write("clients/stable-s0.1.log", [*self.history, "E 39"])
        self.write("clients/stable-s1.1.log", self.history[:7], torn="D 15 b 4 4")
        self.write("clients/stable-s1.2.log", [*self.history, "E 39"])
        self.wrong = delivery(9, "b", 99, 99)
        self.write("clients/sequenced-q0.1.log", [*self.history[:4], self.wrong, "F 9", *self.history[4:], "R 39",
                                                  "E 39"])
        self.write("clients/publisher-a.1.log", ["J 0", "O 2 5", "O 5 17"])
        self.write("clients/publisher-a.2.log", ["J 6", "O 10 37", "E 10"])
        self.write("clients/publisher-b.1.log", ["J 0", "O 10 39", "E 10"])
        self.walk = {"messages": 40, "first_seq": 1, "last_seq": 40, "digest": "ab", "damage": None}
        self.write_stores(r1=self.walk, r2=self.walk, r3=self.walk)
        # Store 3 was lost; 4 took its place.
        self.members = [membership(1, 1, 2, 3, topic="/sys/genesis"), membership(10, 1, 2, 3, 4),
                        membership(12, 1, 2, 4)]
        self.write_dump([self.dumped(line) for line in self.history])
        self.write_members([1, 2, 4], [3])
        self.write("finished", ["39"])

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, lines, torn=""):
        with open(self.path(name), "w", encoding="ascii") as f:
            f.write("".join(line + "\n" for line in lines) + torn)

    def write_dump(self, lines):
        self.write("history.jsonl", [*self.members, *lines])

    def write_members(self, members, gone):
        with open(self.path("members.json"), "w", encoding="ascii") as f:
            json.dump({"members": [f"{m:016x}" for m in members], "gone": [f"{m:016x}" for m in gone]}, f)

    def write_stores(self, **stores):
        with open(self.path("stores.json"), "w", encoding="ascii") as f:
            json.dump(stores, f)

    def dumped(self, line, **changes):
        _, seq, publisher, number, item, length, _, timestamp_ns = line.split(" ")
        payload = f"{publisher} {item} ".ljust(int(length), "x")
        return json.dumps({"seq": int(seq), "timestamp_ns": int(timestamp_ns), "topic": f"/torture/{publisher}",
                           "publisher": publisher, "publisher_seq": int(number), "more": False,
                           "fragment": False, "payload": payload, **changes})

    def found(self):
        return checker.check_folder(self.folder)[0].counts

    def expect(self, *kinds):
        self.assertEqual(set(self.found()), set(kinds))

    # ---- what is fine --------------------------------------------------------------------------------

    def test_a_clean_run(self):
        violations, figures = checker.check_folder(self.folder)
        self.assertEqual(violations.found, [])
        self.assertEqual((figures["messages"], figures["forks_announced"], figures["taken_back"],
                          figures["journal_messages"], figures["member_changes"]), (20, 1, 1, 20, 2))

    def test_a_sequenced_follower_may_die_on_a_branch(self):
        self.write("clients/sequenced-q1.1.log", [*self.history[:4], self.wrong])
        self.write("clients/sequenced-q1.2.log", self.history)
        self.expect()

    def test_a_sequenced_follower_may_hear_again_what_holds(self):
        self.write("clients/sequenced-q0.1.log", [*self.history[:4], self.wrong, "F 5", *self.history[2:]])
        self.expect()

    def test_fragments_are_one_message(self):
        first = self.dumped(self.history[0], seq=0, more=True, fragment=True, payload="a 1 xx")
        last = self.dumped(self.history[0], publisher_seq=2, payload="xxxxxx")
        self.write_dump([first, last, *[self.dumped(line) for line in self.history[1:]]])
        self.expect()

    def test_a_run_cut_short_by_an_epoch_is_void(self):
        part = self.dumped(self.history[0], more=True, fragment=True)
        epoch = json.dumps({"seq": 2, "topic": "/sys/epoch", "more": False, "fragment": False})
        lines = [self.dumped(line) for line in self.history]
        self.write_dump([part, epoch, *lines])
        self.expect()

    def through_proxies(self):
        """b came through a proxy, and someone follows only him."""
        self.history = [line.replace(" b ", " @KEY:b ") for line in self.history]
        for name in ("clients/stable-s0.1.log", "clients/stable-s1.2.log", "clients/sequenced-q0.1.log"):
            self.write(name, self.history)
        self.write("clients/stable-s1.1.log", [])
        self.write_dump([self.dumped(line, payload=f"b {line.split(' ')[4]} ".ljust(12, "x"))
                         if "@" in line else self.dumped(line) for line in self.history])
        self.write("views.json", ['{"e0": "b"}'])
        own = [line for line in self.history if "@" in line]
        self.write("clients/stable-e0.1.log", own)
        return own

    def test_a_follower_of_one_publisher(self):
        self.through_proxies()
        self.expect()

    def test_an_outcome_that_a_join_told(self):
        self.through_proxies()
        self.write("clients/publisher-b.1.log", ["J 0", "O 9 38", "O 10 39"])
        self.expect()
        for seq in (34, 37):  # before it, and another message
            self.write("clients/publisher-b.1.log", ["J 0", f"O 9 {seq}", "O 10 39"])
            self.expect("outcome")

    def test_a_view_that_is_not_the_filter(self):
        own = self.through_proxies()
        self.write("clients/stable-e0.1.log", [*own[:3], *own[4:]])
        self.expect("one_order")
        self.write("clients/stable-e0.1.log", [*own[:3], self.history[6], *own[3:]])
        self.expect("one_order")
        self.write("clients/stable-e0.1.log", own[:-1])
        self.expect("incomplete")

    def test_an_unfinished_run_need_not_be_complete(self):
        os.unlink(self.path("finished"))
        self.write("clients/stable-s1.2.log", self.history[:9])
        self.expect()

    # ---- what is not ---------------------------------------------------------------------------------

    def test_nothing_at_all(self):
        shutil.rmtree(self.path("clients"))
        os.mkdir(self.path("clients"))
        self.expect("vacuous")

    def test_other_bytes(self):
        changed = list(self.history)
        changed[8] = changed[8].replace(" 12 ", " 13 ")
        self.write("clients/stable-s1.1.log", changed)
        self.expect("one_order")

    def test_a_gap(self):
        self.write("clients/stable-s1.2.log", self.history[:8] + self.history[9:])
        self.expect("one_order")

    def test_a_double(self):
        self.write("clients/stable-s1.2.log", self.history[:8] + self.history[7:19])
        self.expect("one_order")

    def test_an_end_too_early(self):
        self.write("clients/stable-s1.2.log", self.history[:19])
        self.expect("incomplete")

    def test_forked_at_stable(self):
        self.write("clients/stable-s1.2.log", [*self.history[:8], "F 17", *self.history[8:]])
        self.expect("forked_at_stable")

    def test_a_fork_that_was_not_announced(self):
        self.write("clients/sequenced-q0.1.log", [*self.history[:4], self.wrong, *self.history[4:]])
        self.expect("unannounced_fork")

    def test_a_fork_that_was_announced_too_late(self):
        self.write("clients/sequenced-q0.1.log", [*self.history[:4], self.wrong, "F 11", *self.history[5:]])
        self.expect("one_order")

    def test_a_killed_follower_that_was_back_on_the_history(self):
        self.write("clients/sequenced-q1.1.log", [*self.history[:4], self.wrong, *self.history[5:7]])
        self.write("clients/sequenced-q1.2.log", self.history)
        self.expect("one_order")

    def test_an_outcome_that_is_lost(self):
        self.write("clients/publisher-b.1.log", ["J 0", "O 11 41"])
        self.expect("lost", "outcome")

    def test_an_outcome_elsewhere(self):
        self.write("clients/publisher-b.1.log", ["J 0", "O 9 33", "O 10 39"])
        self.expect("outcome")

    def test_items_that_were_forgotten_at_a_join(self):
        self.write("clients/publisher-a.2.log", ["J 4", "O 10 37"])
        self.expect("forgotten")

    def test_an_item_twice(self):
        self.twist(12, number=6 + 1, item=6)
        self.assertIn("items", self.found())

    def test_an_item_missing(self):
        self.twist(12, number=7, item=8)
        self.assertIn("items", self.found())

    def test_a_number_that_does_not_grow(self):
        self.twist(12, number=6, item=7)
        self.assertIn("publisher_seq", self.found())

    def twist(self, index, number, item):
        """All agree on something that must not be."""
        _, seq, publisher, *_ = self.history[index].split(" ")
        self.history[index] = delivery(int(seq), publisher, number, item)
        for name in ("clients/stable-s0.1.log", "clients/stable-s1.2.log"):
            self.write(name, self.history)

    def test_time_that_goes_back(self):
        changed = [line.replace(" 1021", " 1018") for line in self.history]
        for name in ("clients/stable-s0.1.log", "clients/stable-s1.2.log"):
            self.write(name, changed)
        self.assertIn("time", self.found())

    def test_a_client_that_ended_by_itself(self):
        self.write("clients/publisher-b.1.log", ["J 0", "O 10 39", "X status -3: lost"])
        self.expect("client")

    def test_stores(self):
        for change in ({"digest": "ac"}, {"last_seq": 41, "messages": 41}):
            self.write_stores(r1=self.walk, r2={**self.walk, **change}, r3=self.walk)
            self.expect("digest")
        for change in ({"damage": "segment 1"}, {"messages": 39}):
            self.write_stores(r1=self.walk, r2={**self.walk, **change}, r3=self.walk)
            self.expect("store")
        self.write_stores(r1=self.walk, r2="no such directory", r3=self.walk)
        self.expect("store")

    def test_a_journal_that_says_otherwise(self):
        lines = [self.dumped(line) for line in self.history]
        extra = self.dumped(delivery(41, "a", 11, 11))
        changed = self.dumped(self.history[3], publisher_seq=77)
        for dump in (lines[:-1], [*lines, extra], [*lines[:3], changed, *lines[4:]]):
            self.write_dump(dump)
            self.expect("journal")

    def test_members(self):
        lines = [self.dumped(line) for line in self.history]
        # Two at once.
        kept = self.members
        self.members = [kept[0], membership(12, 1, 2, 4)]
        self.write_dump(lines)
        self.expect("membership")
        # A lost store that came back.
        self.members = [*kept, membership(14, 1, 2, 4, 3)]
        self.write_dump(lines)
        self.write_members([1, 2, 4, 3], [3])
        self.expect("membership")
        # Not who the operator left.
        self.members = kept
        self.write_dump(lines)
        self.write_members([1, 2, 4, 5], [3])
        self.expect("membership")

    # ---- what is not kept twice -----------------------------------------------------------------------

    def test_short_logs(self):
        """A shortened log reads as before, whatever it has in common with the reference."""
        whole = [line + "\n" for line in self.history]
        for text in ("", "D 1 a", "".join(whole), "".join(whole[:7]) + "D 15 b", "".join(whole[:7]) + "F 3\n",
                     "".join(whole[:7]) + whole[7].replace(" 12 ", " 13 "), "X at once\n", "".join(whole[1:])):
            path = self.path("clients/stable-s9.1.log")
            with open(path, "w", encoding="ascii") as f:
                f.write(text)
            before = checker.whole_lines(path)
            checker.shorten(path)
            self.assertEqual(checker.whole_lines(path), before)
            self.assertLess(os.path.getsize(path), 200 if text[:10] == whole[0][:10] else len(text) + 10)

    def test_a_short_log_that_differs(self):
        changed = [*self.history[:8], self.history[8].replace(" 12 ", " 13 "), *self.history[9:]]
        self.write("clients/stable-s1.1.log", changed)
        checker.shorten(self.path("clients/stable-s1.1.log"))
        self.expect("one_order")


if __name__ == "__main__":
    unittest.main()
