#!/usr/bin/env python3
"""The packages on a Debian that has nothing else: debootstrap makes a minimal Debian 12 once, each run works on a
copy of it. There apt installs the .deb files with what they depend on, and then, in namespaces of its own, without
systemd running: a `cantus dev` takes a message and gives it back, also by a program built with libcantus-dev; the
daemons run, as the packages' user; the manual and the units are looked at. Then, where there is a cgroup2, systemd
starts in it and the units start the daemons, start a killed one again, are left alone by an upgrade and stopped by
a removal. At the end the packages are purged, and only data may remain. lintian looks at the packages first.

usage: clean_root.py [--packages DIR] [--base DIR] [--mirror URL] [--apt-conf DIR]

  --packages DIR  with the .deb files (default build/package/packages: cmake --workflow --preset package)
  --base DIR      the minimal Debian, made when it is not there (default build/debian12)
  --mirror URL    where it comes from (default http://deb.debian.org/debian)
  --apt-conf DIR  files for the root's /etc/apt/apt.conf.d, where apt needs more to reach the mirror

Needs root, debootstrap and the network; exit status 77 without them.
"""

import argparse
import contextlib
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
SKIPPED = 77
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PACKAGES = ("cantus", "libcantus0", "libcantus-dev")

# What runs inside, each by `sh -eux`. The deployment has the addresses of lo, in a network of its own.
INSTALL = """
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update || exit 77
apt-get -qq install --no-install-recommends man-db || exit 77
apt-get -qq install --no-install-recommends /packages/*.deb
test -z "$(dpkg --audit)"
getent passwd cantus | grep ':/var/lib/cantus:'
ldconfig -p | grep 'libcantus.so.0 '
"""

DEV = """
cantus --help
mkfifo /tmp/said
cantus dev --dir /tmp/stream > /tmp/said & dev=$!
read -r line < /tmp/said
echo "$line" | grep '^ready'
cantus --dir /tmp/stream pub /hello 'Hello, clean world'
cantus --dir /tmp/stream sub /hello | grep 'Hello, clean world'
cantus --dir /tmp/stream status
/app /tmp/stream 'from an app' | grep '^/app from an app$'
kill $dev
wait $dev
"""

# As the README of three-hosts says, on one host; the commands are those of the units.
DAEMONS = """
cantus init /etc/cantus
mv /etc/cantus/r1 /var/lib/cantus/r1
chown -R cantus: /var/lib/cantus/r1
sed -i 's|directory: "r1"|directory: "/var/lib/cantus/r1"|' /etc/cantus/cantus.yaml
started() { sed -n 's/^ExecStart=//p' "/usr/lib/systemd/system/$1@.service" | sed "s/%i/$2/; s/ \\$CANTUS_.*//"; }
retransmitter=$(started cantus-retransmitter r1)
sequencer=$(started cantus-sequencer s1)
setpriv --reuid cantus --regid cantus --clear-groups $retransmitter & pids=$!
setpriv --reuid cantus --regid cantus --clear-groups $sequencer & pids="$pids $!"
cantus --dir /etc/cantus pub /orders 'through the daemons'
cantus --dir /etc/cantus sub /orders | grep 'through the daemons'
kill $pids
for pid in $pids; do wait "$pid"; done
cantus journal verify /var/lib/cantus/r1
"""

LOOK = """
cd /usr/lib/systemd/system
systemd-analyze verify cantus-sequencer@s1.service cantus-retransmitter@r1.service cantus-metrics.service \
    cantus-lease@s1.service cantus-proxy@p1.service
man -P cat cantus | grep 'one totally ordered stream'
man -P cat cantus-promote | grep -e '--why'
man -P cat 5 cantus.yaml | grep heartbeat_idle_ms
man -P cat 8 cantus-sequencer | grep -e '--standby'
bash -c '. /usr/share/bash-completion/completions/cantus; complete -p cantus'
"""

# Under systemd, of which this is one unit; its end is the end of systemd.
UNITS = """
trap 'test $? = 0 || journalctl --no-pager -n 300' EXIT
units='cantus-retransmitter@r1 cantus-sequencer@s1 cantus-proxy@p1 cantus-metrics'
systemctl enable --now $units
for unit in $units; do systemctl is-active $unit; done
cantus --dir /etc/cantus promote s1 --why 'first start'
cantus --dir /etc/cantus pub /orders 'through the units'
cantus --dir /etc/cantus sub /orders | grep 'through the units'
bash -c 'exec 3<>/dev/tcp/127.0.0.1/9464; printf "GET /metrics HTTP/1.0\\r\\n\\r\\n" >&3; cat <&3' > /tmp/metrics
grep '^cantus_messages_sequenced_total{.*name="s1"' /tmp/metrics
grep '^cantus_sessions{role="proxy",name="p1"' /tmp/metrics
systemctl kill -s KILL cantus-sequencer@s1
until test "$(systemctl show -P NRestarts cantus-sequencer@s1)" = 1; do sleep 0.1; done
until systemctl is-active cantus-sequencer@s1; do sleep 0.1; done
cantus --dir /etc/cantus promote s1 --why 'it was killed'
cantus --dir /etc/cantus pub /orders 'after a crash'
pids() { for unit in $units; do systemctl show -P MainPID $unit; done; }
before=$(pids)
dpkg -i /packages/*.deb
test "$before" = "$(pids)"
dpkg --remove cantus
for unit in $units; do test "$(systemctl is-active $unit)" = inactive; done
for unit in $units; do test "$(systemctl show -P Result $unit)" = success; done
"""

TRIAL_UNIT = """
[Unit]
SuccessAction=exit
FailureAction=exit
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'sh -eux /trial > /trial.said 2>&1 && touch /trial.passed'
"""

PURGE = """
export DEBIAN_FRONTEND=noninteractive
mkdir -p /etc/systemd/system/multi-user.target.wants
ln -sf /usr/lib/systemd/system/cantus-sequencer@.service \
    /etc/systemd/system/multi-user.target.wants/cantus-sequencer@s1.service
apt-get -qq install --reinstall --no-install-recommends /packages/*.deb
apt-get -qq purge {packages}
test -z "$(find /usr /etc/systemd /lib/systemd -name '*cantus*')"
test -d /var/lib/cantus/r1
"""


# Run in the root's directory, which becomes the root, so that nothing of the host can be reached. A container's
# systemd leaves the kernel's settings alone; so that nothing else in it can change them, they are read-only.
MOUNTS = """
mount --bind . .
cd "$PWD"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t tmpfs tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
    touch dev/$device
    mount --bind /dev/$device dev/$device
done
ln -s /proc/self/fd dev/fd
mkdir dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mkdir -m 1777 dev/shm
mount -t tmpfs tmpfs dev/shm
"""
LOOPBACK = """
ip link set lo up
ip link set lo multicast on
"""
CGROUP = """
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
"""
PIVOT = """
pivot_root . .
umount -l .
cd /
"""
SYSTEMD = """
exec env -i container=clean-root PATH="$PATH" /lib/systemd/systemd --system --unit=trial.service --show-status=no \\
    --log-target=journal
"""


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def say(what):
    print(f"==> {what}", flush=True)


def run(argv, **options):
    subprocess.run(argv, check=True, **options)


class Root:
    """A copy of the minimal Debian, and a way to run things in it."""

    def __init__(self, base, directory, arguments):
        self.path = os.path.join(directory, "root")
        run(["cp", "-a", "--reflink=auto", base, self.path])
        os.makedirs(self.inside("packages"))
        for deb in arguments.debs:
            shutil.copy(deb, self.inside("packages"))
        for conf in glob.glob(os.path.join(arguments.apt_conf, "*")) if arguments.apt_conf else []:
            shutil.copy(conf, self.inside("etc", "apt", "apt.conf.d"))
        shutil.copy("/etc/resolv.conf", self.inside("etc", "resolv.conf"))

    def inside(self, *names):
        return os.path.join(self.path, *names)

    def execute(self, script, network=False):
        """In processes, mounts and (unless it needs the world's) a network of its own, which end with it."""
        namespaces = ["--mount", "--pid", "--ipc", "--fork", "--kill-child"] + ["--net"] * (not network)
        prepare = MOUNTS + ("" if network else LOOPBACK) + PIVOT
        done = self.enter(namespaces, prepare + 'exec sh -eux -c "$0"', script)
        if done.returncode == SKIPPED:
            skip("apt in the new root does not reach its archive: see --apt-conf")
        if done.returncode != 0:
            sys.exit(f"{done.stdout}==> failed, with status {done.returncode}")

    def enter(self, namespaces, script, argument, **options):
        return subprocess.run(["unshare", *namespaces, "sh", "-euc", script, argument], check=False, timeout=600,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              cwd=self.path, encoding="utf-8", errors="replace",
                              env={"PATH": PATH, "LC_ALL": "C.UTF-8"}, **options)

    def boot(self, script):
        """As a unit of a systemd that is process 1 of a container of its own. False: there is no cgroup2."""
        with open("/proc/mounts", encoding="utf-8") as f:
            found = [line.split()[1] for line in f if line.split()[2] == "cgroup2"]
        if not found:
            return False
        for name, text in (("trial", script), ("etc/systemd/system/trial.service", TRIAL_UNIT)):
            with open(self.inside(name), "w", encoding="utf-8") as f:
                f.write(text)
        cgroup = os.path.join(found[0], f"cantus-clean-root-{os.getpid()}")
        os.mkdir(cgroup)
        try:
            done = self.enter(["--cgroup", "--mount", "--pid", "--ipc", "--uts", "--net", "--fork", "--kill-child"],
                              MOUNTS + CGROUP + LOOPBACK + PIVOT + SYSTEMD, "",
                              preexec_fn=lambda: self.move_to(cgroup))
        finally:
            for directory, _, _ in os.walk(cgroup, topdown=False):
                os.rmdir(directory)
        if not os.path.exists(self.inside("trial.passed")):
            said = ""
            if os.path.exists(self.inside("trial.said")):
                with open(self.inside("trial.said"), encoding="utf-8", errors="replace") as f:
                    said = f.read()
            sys.exit(f"{done.stdout}{said}==> failed, systemd with status {done.returncode}")
        return True

    @staticmethod
    def move_to(cgroup):
        with open(os.path.join(cgroup, "cgroup.procs"), "w", encoding="ascii") as f:
            f.write("0")


def make_base(path, mirror):
    if os.path.isdir(path):
        return
    say(f"a minimal Debian 12 in {path}")
    partial = path + ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    done = subprocess.run(["debootstrap", "--variant=minbase", "bookworm", partial, mirror], check=False,
                          stdout=subprocess.DEVNULL)
    if done.returncode != 0:
        skip(f"debootstrap could not get Debian 12 from {mirror}")
    os.rename(partial, path)


def build_app(root):
    """With what libcantus-dev has put into the root, by this host's compiler."""
    library, = glob.glob(root.inside("usr", "lib", "*", "libcantus.so"))
    directory = os.path.dirname(library)
    environment = dict(os.environ, PKG_CONFIG_SYSROOT_DIR=root.path,
                       PKG_CONFIG_LIBDIR=os.path.join(directory, "pkgconfig"))
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "cantus"], check=True, capture_output=True,
                           text=True, env=environment).stdout.split()
    run(["cc", os.path.join(HERE, "app", "app.c"), "-o", root.inside("app"), *flags,
         f"-Wl,-rpath-link,{directory}"])


def check_packages(debs):
    names = {re.match(r"[^_]+", os.path.basename(deb)).group(0) for deb in debs}
    if names != set(PACKAGES) or len(debs) != len(PACKAGES):
        sys.exit(f"wanted one package of each of {', '.join(PACKAGES)}, found: {' '.join(debs) or 'none'}")
    if shutil.which("lintian") is None:
        say("lintian is not installed: not asked")
        return
    say("lintian")
    done = subprocess.run(["lintian", "--allow-root", "--fail-on", "error", *debs], check=False,
                          stderr=subprocess.DEVNULL)
    if done.returncode != 0:
        sys.exit("==> failed: lintian finds errors")


def parse():
    parser = argparse.ArgumentParser(usage=__doc__.partition("usage: ")[2])
    parser.add_argument("--packages", default=os.path.join(SOURCE, "build", "package", "packages"))
    parser.add_argument("--base", default=os.path.join(SOURCE, "build", "debian12"))
    parser.add_argument("--mirror", default="http://deb.debian.org/debian")
    parser.add_argument("--apt-conf")
    arguments = parser.parse_args()
    arguments.debs = sorted(glob.glob(os.path.join(arguments.packages, "*.deb")))
    return arguments


def main():
    arguments = parse()
    check_packages(arguments.debs)
    if os.geteuid() != 0:
        skip("needs root")
    for program in ("debootstrap", "unshare", "ip", "pkg-config", "cc"):
        if shutil.which(program) is None:
            skip(f"needs {program}")
    base = os.path.abspath(arguments.base)
    make_base(base, arguments.mirror)
    with contextlib.ExitStack() as stack:
        directory = tempfile.mkdtemp(prefix="clean-root-", dir=os.path.dirname(base))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        root = Root(base, directory, arguments)
        say("installing")
        root.execute(INSTALL, network=True)
        build_app(root)
        for what, script in (("cantus dev", DEV), ("the daemons, as their user", DAEMONS),
                             ("the manual and the units", LOOK)):
            say(what)
            root.execute(script)
        say("the units, by systemd")
        if not root.boot(UNITS):
            say("no cgroup2 here: systemd not started")
        say("purging")
        root.execute(PURGE.format(packages=" ".join(PACKAGES)))
    say("the packages are fine")


if __name__ == "__main__":
    main()
