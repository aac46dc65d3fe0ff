"""Whether this machine lets the cluster tests make hosts of their own: root, programs, and namespaces, which
a container or a changed root may refuse."""

import os
import shutil
import subprocess


def refusal(programs):
    """Why not; None if it does."""
    if os.geteuid() != 0:
        return "needs root"
    for program in programs:
        if shutil.which(program) is None:
            return f"needs {program}"
    name = f"cantus-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    used = subprocess.run(["ip", "-n", name, "link"], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    if made.returncode != 0 or used.returncode != 0:
        return "no network namespaces here: " + (made.stderr + used.stderr).strip()
    return None
