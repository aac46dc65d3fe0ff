"""docs/operations.md, walked by an operator: every command of it runs, in order, in one shell, against this
build, and what the text promises has to come out: the standby leads, nothing is lost, the new store counts.
"""

import os
import re
import signal
import subprocess
import unittest

from cantus_test import BIN, BUILD, DEADLINE_S, SOURCE, Case

BLOCK = re.compile(r"^```sh(?: +(\S+))?\n(.*?)^```$", re.M | re.S)


class OperationsTest(Case):
    def script(self, text):
        blocks = [body for name, body in BLOCK.findall(text) if name != "setup"]
        self.assertGreaterEqual(len(blocks), 7, "the walks have lost their commands")
        framed = [f"echo '=== block {i}'\n{body}" for i, body in enumerate(blocks)]
        framed[-1] = "set +e\n" + framed[-1]  # it ends what still runs: with any status
        return "set -eu\n" + "".join(framed) + "echo '=== done'\n"

    def run_script(self, script, place):
        with open(self.path("script"), "w", encoding="utf-8") as f:
            f.write(script)
        env = dict(os.environ, CANTUS=SOURCE, BUILD=BUILD,
                   PATH=os.pathsep.join([BIN, os.environ["PATH"]]))
        shell = subprocess.Popen(["bash", self.path("script")], cwd=place, env=env,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, start_new_session=True)
        try:
            return shell.communicate(timeout=DEADLINE_S * 2)[0].decode()
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGKILL)
            self.fail("no end; so far: " + shell.communicate()[0].decode())
        finally:
            try:
                os.killpg(shell.pid, signal.SIGKILL)  # what a failure left running in the session
            except ProcessLookupError:
                pass

    def test_every_walk(self):
        with open(os.path.join(SOURCE, "docs", "operations.md"), encoding="utf-8") as f:
            script = self.script(f.read())
        place = self.path("cantus-operations")
        os.mkdir(place)
        out = self.run_script(script, place)
        self.assertIn("=== done", out, out)
        blocks = dict(re.findall(r"^=== block (\d+)\n(.*?)(?=^=== )", out, re.M | re.S))
        self.assertIn("s1 leads", blocks["0"], out)
        self.assertRegex(blocks["1"], r"s2 leads: epoch 2", out)
        self.assertRegex(blocks["1"], r"epoch 2 .*promoted.*s1 lost its power supply", out)
        self.assertRegex(blocks["3"], r"r3: store [0-9a-f]{16}: is a member, stable", out)
        self.assertRegex(blocks["3"], r"is no member any more, stable", out)
        self.assertRegex(blocks["3"], r"3 of 3 stores compared: one history", out)
        self.assertNotIn("true", blocks["4"], out)
        self.assertIn("no damage", blocks["5"], out)


if __name__ == "__main__":
    unittest.main()
