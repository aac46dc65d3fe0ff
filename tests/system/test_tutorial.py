"""docs/tutorial.md, done as a newcomer would: its files are written as printed, its commands run in order in one
shell, against this build, and what the text promises has to come out. The one block that is not run is the
set-up, whose three variables this test sets itself.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import unittest

from cantus_test import BIN, BUILD, COMPILER, DEADLINE_S, SANITIZE, SOURCE, Case

BLOCK = re.compile(r"^```(sh|c|py)(?: +(\S+))?\n(.*?)^```$", re.M | re.S)


class TutorialTest(Case):
    def script(self, text):
        """One bash script; every block's output is framed, so that it can be looked at by itself."""
        parts = ["set -eux"]
        count = 0
        for kind, name, body in BLOCK.findall(text):
            if kind != "sh":
                parts.append(f"cat > {shlex.quote(name)} <<'END_OF_FILE'\n{body}END_OF_FILE")
            elif name == "setup":
                continue
            else:
                if "wait" in body.split():  # the last one ends what still runs: with any status
                    parts.append("set +e")
                parts.append(f"echo '=== block {count}'\n{body}")
                count += 1
        self.assertGreaterEqual(count, 8, "the tutorial has lost its commands")
        parts.append("echo '=== done'")
        return "\n".join(parts) + "\n"

    def compiler(self):
        """`cc` is the compiler of this build, with its sanitizers: they have to be in the program if they
        are in the library."""
        tools = self.path("tools")
        os.mkdir(tools)
        flags = f" -fsanitize={SANITIZE}" if SANITIZE else ""
        path = os.path.join(tools, "cc")
        with open(path, "w", encoding="ascii") as f:
            f.write(f'#!/bin/sh\nexec {shlex.quote(COMPILER)} -Wall -Wextra -Werror{flags} "$@"\n')
        os.chmod(path, 0o755)
        return tools

    def test_every_command_of_it(self):
        with open(os.path.join(SOURCE, "docs", "tutorial.md"), encoding="utf-8") as f:
            script = self.script(f.read())
        place = self.path("cantus-tutorial")
        os.mkdir(place)
        env = dict(os.environ, CANTUS=SOURCE, BUILD=BUILD,
                   PATH=os.pathsep.join([self.compiler(), BIN, os.environ["PATH"]]))
        with open(self.path("script"), "w", encoding="utf-8") as f:
            f.write(script)
        shell = subprocess.Popen(["bash", self.path("script")], cwd=place, env=env,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, start_new_session=True)
        try:
            out = shell.communicate(timeout=DEADLINE_S)[0].decode()
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGKILL)
            self.fail("no end; so far: " + shell.communicate()[0].decode())
        finally:
            try:
                os.killpg(shell.pid, signal.SIGKILL)  # what a failure left running in the session
            except ProcessLookupError:
                pass
        self.assertIn("=== done", out, out)
        blocks = dict(re.findall(r"^=== block (\d+)\n(.*?)(?=^=== )", out, re.M | re.S))

        def block_with(text):
            found = [b for b in blocks.values() if text in b]
            self.assertTrue(found, f"'{text}' in none of the blocks: {out}")
            return found[0]
        block_with("/hello Hello, world")
        numbers = [json.loads(line) for line in block_with('"payload":"two"').splitlines()
                   if line.startswith("{")]
        self.assertEqual([m["payload"] for m in numbers], ["Hello, world", "one", "two", "three"])
        milestones = block_with("20 clicks")
        self.assertRegex(milestones, r"/milestones 10 clicks\n.*/milestones 20 clicks\n")
        self.assertRegex(block_with("30 clicks"),
                         r"/milestones 10 clicks\n.*/milestones 20 clicks\n.*/milestones 30 clicks\n")
        self.assertEqual(re.findall(r"(?m)^\d+ \S+ (/clicks .*)$", block_with("for the")),
                         ["/clicks for the 10 clicks", "/clicks for the 20 clicks"])
        refused = block_with("refused: the clicks")
        self.assertIn("refused: neither to read", refused)
        self.assertRegex(refused, r"(?s)/clicks.*right to write.*/clicks.*right to read")
        lines = re.findall(r"(?m)^\d+ \d+ /milestones @[\w-]{43}:counter (.*)$", block_with("nc 127"))
        self.assertEqual(lines, ["10 clicks", "20 clicks", "30 clicks"])
        self.assertRegex(block_with("equal"), r"seq \d+ digest [0-9a-f]{16}\n(?:\+.*\n)*equal\n")
        runs = [json.loads(line) for line in block_with('"seed"').splitlines() if line.startswith("{")]
        self.assertEqual([r["seed"] for r in runs], [1, 2, 3, 4, 5])
        self.assertNotIn("violated", out)
        with open(os.path.join(place, "dev.log"), encoding="utf-8") as f:
            self.assertTrue(f.read().startswith("ready"))


if __name__ == "__main__":
    unittest.main()
