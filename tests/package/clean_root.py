#!/usr/bin/env python3
"""The packages on a Debian that has nothing else: debootstrap makes a minimal Debian 12 once, each run works on a
copy of it. There apt installs the .deb files with what they depend on, and then, in namespaces of its own and
without systemd running: a `cantus dev` takes a message and gives it back; the daemons run as their units start
them, as the packages' user; a program built with libcantus-dev runs; the manual and the units are looked at. At the
end the packages are purged, and only data may remain. lintian looks at the packages first.

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
import shlex
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
apt-get -qq update
apt-get -qq install --no-install-recommends man-db
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
install -d -o cantus -g cantus /var/lib/cantus
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
    cantus-lease@s1.service
man -P cat cantus | grep 'one totally ordered stream'
man -P cat cantus-promote | grep -e '--why'
man -P cat 5 cantus.yaml | grep heartbeat_idle_ms
man -P cat 8 cantus-sequencer | grep -e '--standby'
bash -c '. /usr/share/bash-completion/completions/cantus; complete -p cantus'
"""

PURGE = """
export DEBIAN_FRONTEND=noninteractive
mkdir -p /etc/systemd/system/multi-user.target.wants
ln -s /usr/lib/systemd/system/cantus-sequencer@.service \
    /etc/systemd/system/multi-user.target.wants/cantus-sequencer@s1.service
apt-get -qq install --reinstall --no-install-recommends /packages/*.deb
apt-get -qq purge {packages}
test -z "$(find /usr /etc/systemd /lib/systemd -name '*cantus*')"
test -d /var/lib/cantus/r1
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
        root = shlex.quote(self.path)
        prepare = (f"mount -t proc proc {root}/proc && mount -t tmpfs tmpfs {root}/run && "
                   f"mkdir -p {root}/dev/shm && mount -t tmpfs tmpfs {root}/dev/shm && ")
        if not network:
            prepare += "ip link set lo up && ip link set lo multicast on && "
        prepare += f"exec chroot {root} sh -eux -c {shlex.quote(script)}"
        namespaces = ["--mount", "--pid", "--ipc", "--fork", "--kill-child"] + ["--net"] * (not network)
        done = subprocess.run(["unshare", *namespaces, "sh", "-c", prepare], check=False, timeout=600,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              encoding="utf-8", errors="replace", env={"PATH": PATH, "LC_ALL": "C.UTF-8"})
        if done.returncode != 0:
            sys.exit(f"{done.stdout}==> failed, with status {done.returncode}")


def make_base(path, mirror):
    if os.path.isdir(path):
        return
    say(f"a minimal Debian 12 in {path}")
    partial = path + ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    run(["debootstrap", "--variant=minbase", "bookworm", partial, mirror], stdout=subprocess.DEVNULL)
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
    run(["lintian", "--allow-root", "--fail-on", "error", *debs], stderr=subprocess.DEVNULL)


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
        say("purging")
        root.execute(PURGE.format(packages=" ".join(PACKAGES)))
    say("the packages are fine")


if __name__ == "__main__":
    main()
