"""Publishers and followers: cluster_driver on some host, each incarnation with a log of its own."""

import os
import signal
import subprocess

import checker


class Client:
    def __init__(self, torture, host, kind, name, arguments, of=None):
        self.torture, self.host, self.kind, self.name = torture, host, kind, name
        self.of = of  # the one publisher that it follows
        self.arguments = arguments
        self.incarnation = 0
        self.process = None
        self.known = 0

    def __str__(self):
        return f"{self.kind}-{self.name}"

    def log_path(self):
        return os.path.join(self.torture.folder, "clients", f"{self}.{self.incarnation}.log")

    def start(self):
        self.incarnation += 1
        err = os.path.join(self.torture.folder, "clients", f"{self}.{self.incarnation}.err")
        argv = [self.torture.driver, *self.arguments, self.log_path()]
        with open(err, "wb") as f:
            self.process = subprocess.Popen(self.host.inside(argv), stdin=subprocess.DEVNULL, stdout=f,
                                            stderr=f, start_new_session=True)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def pid(self):
        return self.process.pid if self.running() else None

    def kill(self):
        if self.running():
            self.process.kill()
        self.process.wait()
        if self.kind != "publisher" and os.path.basename(self.log_path()) != checker.REFERENCE:
            checker.shorten(self.log_path())

    def terminate(self):
        if self.running():
            self.process.send_signal(signal.SIGTERM)

    def last(self, kind):
        """The words of the newest whole line of that kind in the newest log, or None."""
        try:
            with open(self.log_path(), "rb") as f:
                f.seek(0, os.SEEK_END)
                f.seek(max(0, f.tell() - 65536))
                lines = f.read().split(b"\n")[:-1]
        except FileNotFoundError:
            return None
        for line in reversed(lines):
            if line.startswith(kind + b" "):
                return line.split(b" ")
        return None

    def outcomes(self):
        """Items of it that some incarnation was told are in the stream."""
        words = self.last(b"O") or self.last(b"J")
        self.known = max(self.known, int(words[1]) if words else 0)
        return self.known

    def delivered(self):
        words = self.last(b"D")
        return int(words[1]) if words else 0


CORE = ("/etc/cantus", "-")  # the source of clients on the core network, who have no key


def publisher(torture, host, name, rate, source=CORE):
    return Client(torture, host, "publisher", name, ["publish", *source, name, str(rate)])


def follower(torture, host, name, level, source=CORE, of=None):
    subtree = f"/torture/{of}" if of else "/torture"
    return Client(torture, host, level, name, ["follow", *source, subtree, level], of)
