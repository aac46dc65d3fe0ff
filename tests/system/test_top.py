"""`cantus top` beside a real deployment: frames as text, whose numbers have to be those of the
processes; the same with a process on "another host" (whose counters' file is not there), one that
was killed, and one that stands still; and on a pseudo-terminal, with keys, where what is looked at
is the screen that the escape sequences make, put together by a small terminal of the test's own.
"""

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import termios
import unittest

from cantus_test import Case, program, wait_until


class Screen:
    """What an xterm would show: enough of its escape sequences for what ncurses sends."""

    def __init__(self, rows, columns):
        self.rows, self.columns = rows, columns
        self.cells = [[" "] * columns for _ in range(rows)]
        self.y = self.x = 0
        self.rest = b""
        self.last = " "

    def text(self):
        return "\n".join("".join(row).rstrip() for row in self.cells)

    def put(self, c):
        self.last = c
        if self.x >= self.columns:
            self.x, self.y = 0, min(self.y + 1, self.rows - 1)
        self.cells[self.y][self.x] = c
        self.x += 1

    def erase(self, y, begin, end):
        self.cells[y][begin:end] = [" "] * (end - begin)

    def control(self, arguments, final):
        n = [int(a) if a.isdigit() else 0 for a in arguments.split(";")] if arguments else [0]
        one = max(n[0], 1)
        if final in "Hf":
            self.y = min(one, self.rows) - 1
            self.x = min(max(n[1], 1) if len(n) > 1 else 1, self.columns) - 1
        elif final == "A":
            self.y = max(self.y - one, 0)
        elif final == "B":
            self.y = min(self.y + one, self.rows - 1)
        elif final == "C":
            self.x = min(self.x + one, self.columns - 1)
        elif final == "D":
            self.x = max(self.x - one, 0)
        elif final == "G":
            self.x = one - 1
        elif final == "d":
            self.y = one - 1
        elif final == "K":
            self.erase(self.y, 0 if n[0] else self.x, self.x + 1 if n[0] == 1 else self.columns)
        elif final == "X":
            self.erase(self.y, self.x, min(self.x + one, self.columns))
        elif final == "P":
            row = self.cells[self.y]
            self.cells[self.y] = (row[:self.x] + row[self.x + one:] + [" "] * one)[:self.columns]
        elif final == "@":
            row = self.cells[self.y]
            self.cells[self.y] = (row[:self.x] + [" "] * one + row[self.x:])[:self.columns]
        elif final == "b":
            for _ in range(one):
                self.put(self.last)
        elif final == "J":
            if n[0] == 0:
                self.erase(self.y, self.x, self.columns)
            for y in range(self.y + 1 if n[0] == 0 else 0, self.rows):
                self.erase(y, 0, self.columns)
        elif final in "LM":
            for _ in range(one):
                self.cells.pop(self.rows - 1 if final == "L" else self.y)
                self.cells.insert(self.y if final == "L" else self.rows - 1, [" "] * self.columns)
        elif final not in "mhlrtn":
            raise AssertionError(f"a sequence that this terminal does not know: {arguments}{final}")

    def feed(self, data):
        data = self.rest + data
        self.rest = b""
        text = data.decode("utf-8", "ignore") if self.whole(data) else None
        if text is None:
            return
        while text:
            found = re.match(r"\x1b\[([?>0-9;]*)([A-Za-z@])", text)
            if found:
                self.control(found.group(1).lstrip("?>"), found.group(2))
                text = text[found.end():]
            elif (other := re.match(r"\x1b[()][A-Z0-9]|\x1b[=>78M]|[\x0e\x0f\x07]", text)):
                text = text[other.end():]
            else:
                c, text = text[0], text[1:]
                if c == "\r":
                    self.x = 0
                elif c == "\n":
                    self.y = min(self.y + 1, self.rows - 1)
                elif c == "\b":
                    self.x = max(self.x - 1, 0)
                else:
                    self.put(c)

    def whole(self, data):
        """False, and kept for later, if it ends within a letter or a sequence."""
        if re.search(rb"\x1b(\[[?>0-9;]*|[()])?$", data):
            self.rest = data
            return False
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as e:
            if e.end == len(data) and len(data) - e.start < 4:
                self.rest = data
                return False
        return True


class Terminal:
    def __init__(self, argv, rows=30, columns=110, **env):
        self.screen = Screen(rows, columns)
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update({"TERM": "xterm", "LC_ALL": "C.UTF-8", **env})
            os.execv(argv[0], argv)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.status = None

    def read(self):
        while select.select([self.fd], [], [], 0)[0]:
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                return
            if not data:
                return
            self.screen.feed(data)

    def wait(self, pattern, absent=False):
        def found():
            self.read()
            return (re.search(pattern, self.screen.text()) is None) == absent
        wait_until(found, lambda: f"'{pattern}' on the screen:\n{self.screen.text()}")

    def keys(self, text):
        os.write(self.fd, text.encode())

    def ended(self):
        def gone():
            self.read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            return pid != 0
        wait_until(gone, "its end")
        return self.status

    def close(self):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


class Top(Case):
    def top(self, dir, *args, **options):
        return self.cantus("--dir", dir, "top", "--once", "--interval", "50", *args, **options).out

    def wait_top(self, dir, pattern, *args):
        last = [""]

        def holds():
            last[0] = self.top(dir, *args)
            return re.search(pattern, last[0])
        return wait_until(holds, lambda: f"'{pattern}': {last[0]}")

    def counters_directory(self, dir):
        with open(os.path.join(dir, "cantus.yaml"), encoding="utf-8") as f:
            stream = re.search(r'(?m)^stream: *"?([0-9a-f]{16})', f.read()).group(1)
        return f"/dev/shm/cantus-{stream}"

    def test_frames_are_of_the_deployment(self):
        dir = self.path("d")
        self.dev(dir, "--stores", "3", "--sequencers", "2")
        self.pub_lines(dir, "/a", [str(i) for i in range(300)])
        tip = self.wait_status(dir, lambda s: s["stable"] == s["tip"] >= 300, "stable")["tip"]
        out = self.wait_top(dir, rf"s1 leads epoch 1  tip {tip}  stable {tip}\n")
        self.assertRegex(out.string, r"3 of 3 acknowledge, 2 make stable   publishers \d")
        rows = {line.split()[0]: line.split() for line in out.string.splitlines()[6:]}
        self.assertEqual(set(rows), {"s1", "s2", "r1", "r2", "r3", "p1"})
        for name, row in rows.items():
            self.assertEqual(row[2:4], ["1", str(tip)], name)
        self.assertEqual((rows["s1"][1], rows["s2"][1]), ("leading", "following"))
        self.assertNotIn("\x1b", out.string)
        counters = self.top(dir, "--name", "r2")
        self.assertRegex(counters, rf"(?m)^durable +{tip} ")
        self.assertRegex(counters, r"(?m)^journal_bytes +[1-9]")
        for page in ("loss", "queues", "loop"):
            self.assertIn(f"[{page}]", self.top(dir, "--page", page))
        frames = self.cantus("--dir", dir, "top", "--batch", "3", "--interval", "20").out
        self.assertEqual(frames.count("cantus top"), 3)

    def test_wrong_use_is_explained(self):
        dir = self.path("d")
        self.cantus("--dir", dir, "init")
        self.cantus("--dir", dir, "top", "--page", "none", status=2)
        self.cantus("top", "--once", status=2)
        self.assertIn("--once", self.cantus("--dir", dir, "top", status=1).err)
        self.assertIn("nobody leads", self.top(dir))

    def test_other_hosts_are_asked(self):
        dir = self.path("d")
        self.dev(dir)
        self.pub_lines(dir, "/a", ["a", "b"])
        # As from another host: the same deployment, its counters out of reach.
        other = self.path("other")
        shutil.copytree(dir, other)
        with open(os.path.join(other, "cantus.yaml"), "a", encoding="utf-8") as f:
            f.write(f"\ncounters: {self.path('nothing')}\n")
        tip = self.wait_status(dir, lambda s: s["stable"] == s["tip"], "stable")["tip"]
        out = self.wait_top(other, rf"s1 leads epoch 1  tip {tip}  stable {tip}\n").string
        self.assertRegex(out, rf"(?m)^r1 +recording +1 +{tip} ")

    def test_killed_and_stalled(self):
        dir = self.path("d")
        self.cantus("--dir", dir, "init")
        store = self.start([program("cantus-retransmitter"), "--config", f"{dir}/cantus.yaml"])
        leader = self.start([program("cantus-sequencer"), "--config", f"{dir}/cantus.yaml"])
        self.wait_top(dir, r"s1 leads epoch 1")
        store.signal(signal.SIGSTOP)
        self.wait_top(dir, r"r1: its event loop has stood still for")
        store.signal(signal.SIGCONT)
        self.wait_top(dir, r"(?m)^r1 +recording")
        leader.kill()
        out = self.wait_top(dir, r"no sequencer leads").string
        self.assertRegex(out, r"(?m)^sequencer s1: ")
        self.assertEqual(store.terminate(), 0)
        self.assertEqual(os.listdir(self.counters_directory(dir)), ["sequencer-s1.counters"])
        shutil.rmtree(self.counters_directory(dir))

    def test_on_a_terminal(self):
        dir = self.path("d")
        self.dev(dir, "--stores", "3")
        if "draws on no terminal" in self.screenless(dir):
            self.skipTest("built without ncurses")
        t = Terminal([program("cantus"), "--dir", dir, "top", "--interval", "100"])
        self.addCleanup(t.close)
        t.wait(r"s1 leads epoch 1")
        t.wait(r"(?m)^r3 +recording")
        t.wait(r"sequenced .*[▁▂▃▄▅▆▇█]{3}")
        t.keys("\t")
        t.wait(r"\[loss\]")
        t.keys("\x1bOC")  # right
        t.wait(r"\[queues\]")
        t.keys("\x1bOD\x1bOD")
        t.wait(r"\[flow\]")
        t.keys("s")
        t.wait(r"by rate")
        t.keys("p")
        t.wait(r"\[paused\]")
        t.keys("p")
        t.wait(r"\[paused\]", absent=True)
        t.keys("h")
        t.wait(r"q +quit")
        t.wait(r"\[flow\]", absent=True)
        t.keys("h")
        t.wait(r"\[flow\]")
        self.pub_lines(dir, "/a", [str(i) for i in range(100)])
        tip = self.wait_status(dir, lambda s: s["stable"] == s["tip"] >= 100, "stable")["tip"]
        t.wait(rf"tip {tip // 10}\d+ ")
        # A smaller terminal.
        fcntl.ioctl(t.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 60, 0, 0))
        os.kill(t.pid, signal.SIGWINCH)
        t.screen = Screen(10, 60)
        t.wait(r"(?m)^cantus top")
        t.wait(r"(?m)^s1 +leading")
        t.keys("q")
        self.assertEqual(t.ended(), 0)

    def test_terminals_of_less(self):
        dir = self.path("d")
        self.dev(dir)
        if "draws on no terminal" in self.screenless(dir):
            self.skipTest("built without ncurses")
        plain = Terminal([program("cantus"), "--dir", dir, "top", "--interval", "50"], LC_ALL="C")
        self.addCleanup(plain.close)
        plain.wait(r"sequenced .*[_.=+*#@-]{3}")
        self.assertNotRegex(plain.screen.text(), "[▁█]")
        os.kill(plain.pid, signal.SIGTERM)
        self.assertEqual(plain.ended(), 0)
        unknown = Terminal([program("cantus"), "--dir", dir, "top"], TERM="no-such-terminal")
        self.addCleanup(unknown.close)
        unknown.wait("no-such-terminal.*--batch")
        self.assertEqual(unknown.ended(), 1)

    def screenless(self, dir):
        """What a build says that can't draw."""
        t = Terminal([program("cantus"), "--dir", dir, "top"], TERM="no-such-terminal")
        self.addCleanup(t.close)
        t.ended()
        t.read()
        return t.screen.text()


if __name__ == "__main__":
    unittest.main()
