"""docs/operations.md, walked by an operator: every command of it runs, in order, in one shell, against this
build, and what the text promises has to come out: the standby leads, nothing is lost, the new store counts, a
full disk stops the stream and room lets it go on. And the units of deploy/ are what systemd understands.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import unittest

from cantus_test import BIN, BUILD, DEADLINE_S, SOURCE, Case

HEADING = re.compile(r"^## (.*)$", re.M)
BLOCK = re.compile(r"^```sh(?: +(\S+))?\n(.*?)^```$", re.M | re.S)
FULL = "A full disk"  # mounts a small one


def own_mounts():
    """What lets a command mount something; None if nothing here does."""
    prefix = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    try:
        tried = subprocess.run([*prefix, "mount", "-t", "tmpfs", "disk", "/mnt"], capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return prefix if tried.returncode == 0 else None


class OperationsTest(Case):
    def walks(self, text):
        """[(heading, block)], in order."""
        sections = HEADING.split("## Before\n" + text)[1:]
        found = [(heading, body) for heading, section in zip(sections[::2], sections[1::2])
                 for name, body in BLOCK.findall(section) if name != "setup"]
        self.assertEqual(list(dict.fromkeys(heading for heading, _ in found)),
                         ["Before", "Watching", "Proxies", "Promotion", "Replacing a store", FULL, "A fork", "Done"])
        return found

    def script(self, walks):
        framed = [f"echo '=== {heading}'\n{body}" for heading, body in walks]
        framed[-1] = "set +e\n" + framed[-1]  # it ends what still runs: with any status
        return "set -eu\n" + "".join(framed) + "echo '=== end'\n"

    def run_script(self, script, place, prefix):
        with open(self.path("script"), "w", encoding="utf-8") as f:
            f.write(script)
        env = dict(os.environ, CANTUS=SOURCE, BUILD=BUILD,
                   PATH=os.pathsep.join([BIN, os.environ["PATH"]]))
        # Into a file: what a failure leaves running would keep a pipe open.
        with open(self.path("said"), "wb") as out:
            shell = subprocess.Popen([*prefix, "bash", self.path("script")], cwd=place, env=env,
                                     stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                     start_new_session=True)
        try:
            shell.wait(timeout=DEADLINE_S * 3)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)  # with what a failure left running in the session
            shell.wait()
        with open(self.path("said"), encoding="utf-8", errors="replace") as f:
            return f.read()

    def test_every_walk(self):
        with open(os.path.join(SOURCE, "docs", "operations.md"), encoding="utf-8") as f:
            walks = self.walks(f.read())
        prefix = own_mounts()
        if prefix is None:
            walks = [(heading, body.replace("small/r1", "cluster/r1")) for heading, body in walks
                     if heading != FULL]
        place = self.path("cantus-operations")
        os.mkdir(place)
        out = self.run_script(self.script(walks), place, prefix or [])
        self.assertIn("=== end", out, out)
        said = {}
        for heading, text in re.findall(r"^=== (.*)\n((?:(?!=== ).*\n)*)", out, re.M):
            said[heading] = said.get(heading, "") + text
        self.assertIn("s1 leads", said["Before"], out)
        self.assertRegex(said["Watching"], r"(?m)^r3 +recording +1 ", out)
        self.assertRegex(said["Watching"], r"(?m)^messages_sequenced +[1-9]", out)
        self.assertRegex(said["Watching"], r"(?m)^sequencer s2 \(process \d+\)$", out)
        self.assertRegex(said["Watching"], r'(?m)^cantus_up\{role="retransmitter",name="r2",.* 1$', out)
        self.assertRegex(said["Promotion"], r"s2 leads: epoch 2", out)
        self.assertRegex(said["Promotion"], r"epoch 2 .*promoted.*s1 lost its power supply", out)
        replaced = said["Replacing a store"]
        self.assertRegex(replaced, r"r3: store [0-9a-f]{16}: is a member, stable", out)
        self.assertRegex(replaced, r"is no member any more, stable", out)
        self.assertRegex(replaced, r"3 of 3 stores compared: one history", out)
        fork = said["A fork"]
        self.assertRegex(fork, r"a failover took back what was sequenced but not stable, from seq \d+ on", out)
        self.assertEqual(re.findall(r"(?m)^\d+ .* /orders/forked (.*)$", fork), ["on three stores", "on no store"], out)
        self.assertRegex(fork, r"epoch \d+ .*promoted.*s1 and all stores lost power", out)
        self.assertRegex(fork, r"3 of 3 stores compared: one history", out)
        self.assertIn("no damage", fork, out)
        if prefix is None:
            self.skipTest("walked all but the full disk, because nothing can be mounted here")
        self.assertEqual(set(re.findall(r"member \S+ \((\w+)\).*DISK FULL", said[FULL])), {"r1", "r2"}, out)
        self.assertRegex(said[FULL], r"s1 leads: epoch 3", out)
        self.assertRegex(said[FULL], r"(?m)^40000$", out)
        self.assertRegex(said[FULL], r"3 of 3 stores compared: one history", out)


class UnitsTest(Case):
    def test_units(self):
        """systemd finds nothing wrong with the units."""
        analyze = shutil.which("systemd-analyze")
        if analyze is None:
            self.skipTest("needs systemd-analyze")
        deploy, units = os.path.join(SOURCE, "deploy"), []
        for name in sorted(os.listdir(deploy)):
            if name.endswith(".service"):
                units.append(self.path(name))
                with open(os.path.join(deploy, name), encoding="utf-8") as f:
                    text = f.read()
                # Where they are installed there is nothing yet.
                self.assertIn("ExecStart=/usr/bin/cantus", text)
                with open(units[-1], "w", encoding="utf-8") as f:
                    f.write(text.replace("ExecStart=/usr/bin/", f"ExecStart={BIN}/"))
        self.assertGreaterEqual(len(units), 2)
        done = self.execute([analyze, "verify", "--man=no", *units])
        self.assertEqual(done.out + done.err, "")


if __name__ == "__main__":
    unittest.main()
