"""What `cmake --install` leaves behind is enough to run Cantus and to build with it. This build is installed into
an empty directory (DESTDIR), and everything is then used from there: a program is built out of the tree, once by
pkg-config and once by CMake's find_package, with the shared library and with libcantus.a, and publishes to an
installed `cantus dev`. The manual, the completion and the symbol map are compared with what they are about: the
texts, the tables of options and the headers in the source.
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "system"))
sys.dont_write_bytecode = True
from cantus_test import BUILD, COMPILER, SOURCE, Case  # noqa: E402

PREFIX = os.environ.get("CANTUS_PREFIX", "/usr/local")
LIBDIR = os.environ.get("CANTUS_LIBDIR", "lib")
SYNTAX = "-Wall -Wextra -Werror -std=c17"


class Installed(Case):
    """A tree that is installed once for all tests of a class."""

    @classmethod
    def setUpClass(cls):
        cls.destination = tempfile.mkdtemp(prefix="cantus-install-")
        cls.addClassCleanup(shutil.rmtree, cls.destination, ignore_errors=True)
        done = subprocess.run(["cmake", "--install", BUILD], env=dict(os.environ, DESTDIR=cls.destination),
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise AssertionError(done.stdout + done.stderr)
        cls.root = cls.destination + PREFIX

    def installed(self, *names):
        return os.path.join(self.root, *names)

    def library(self, *names):
        return self.installed(LIBDIR, *names)

    def read(self, *names):
        with open(self.installed(*names), encoding="utf-8") as f:
            return f.read()

    def helps(self):
        """(verb, its --help) of every verb."""
        cantus = self.installed("bin", "cantus")
        verbs = re.findall(r"(?m)^  ([a-z]+) ", self.execute([cantus, "--help"]).out)
        self.assertIn("promote", verbs)
        return [(verb, self.execute([cantus, verb, "--help"]).out) for verb in verbs]


class TreeTest(Installed):
    def test_everything_is_there(self):
        for path in ["bin/cantus", "bin/cantus-sequencer", "bin/cantus-retransmitter", "bin/cantus-proxy",
                     "include/cantus/cantus.h",
                     f"{LIBDIR}/libcantus.so", f"{LIBDIR}/libcantus.a", f"{LIBDIR}/pkgconfig/cantus.pc",
                     f"{LIBDIR}/cmake/Cantus/CantusConfig.cmake", "lib/sysusers.d/cantus.conf",
                     f"{LIBDIR}/wireshark/plugins/cantus.lua", "share/cantus/grafana/cantus-overview.json",
                     "share/doc/cantus/operations.md", "share/doc/cantus/LICENSE", "share/doc/cantus/NOTICE",
                     "share/bash-completion/completions/cantus", "share/man/man1/cantus.1",
                     "share/man/man5/cantus.yaml.5", "share/man/man8/cantus-sequencer.8",
                     "share/man/man8/cantus-retransmitter.8", "share/man/man8/cantus-proxy.8"]:
            self.assertTrue(os.path.exists(self.installed(path)), path)
        self.assertEqual(os.readlink(self.library("libcantus.so")), "libcantus.so.0")

    def test_units_start_what_is_installed(self):
        units = sorted(os.listdir(self.installed("lib", "systemd", "system")))
        self.assertEqual(units, sorted(n for n in os.listdir(os.path.join(SOURCE, "deploy"))
                                       if n.endswith(".service")))
        for unit in units:
            text = self.read("lib", "systemd", "system", unit)
            for started in re.findall(r"(?m)^Exec\w+=(\S+)", text):
                self.assertTrue(os.access(self.destination + started, os.X_OK), f"{unit}: {started}")
            for document in re.findall(r"file:(\S+)", text):
                self.assertTrue(os.path.exists(self.destination + document), f"{unit}: {document}")
            for name, section in re.findall(r"man:([\w.-]+)\((\d)\)", text):
                self.assertTrue(os.path.exists(self.installed("share", "man", f"man{section}", f"{name}.{section}")),
                                f"{unit}: {name}({section})")

    def test_nothing_names_the_tree_it_was_built_in(self):
        for path in glob.glob(self.root + "/**", recursive=True):
            if os.path.isfile(path) and re.search(r"\.(pc|cmake|service|conf|\d)$|completions/", path) and "/bin/" not in path and ".so." not in path:
                with open(path, encoding="utf-8") as f:
                    text = f.read()
                for place in (SOURCE, BUILD, self.destination):
                    self.assertNotIn(place, text, path)


class LibraryTest(Installed):
    def symbols(self, *arguments):
        out = self.execute(["nm", "-P", "--defined-only", *arguments]).out
        return {line.split()[0].split("@")[0] for line in out.splitlines() if re.match(r"\S+ [TDBRVW] ", line)}

    def declared(self):
        """The functions that the installed headers mark CANTUS_API."""
        names = set()
        for header in os.listdir(self.installed("include", "cantus")):
            text = re.sub(r"/\*.*?\*/", "", self.read("include", "cantus", header), flags=re.S)
            text = re.sub(r"(?m)^#.*$", "", text)
            names |= {re.search(r"\b(cantus_\w+)\s*\(", call).group(1)
                      for call in re.findall(r"CANTUS_API[^;]*;", text)}
        self.assertIn("cantus_client_open", names)
        return names

    def test_the_symbols_are_the_api(self):
        """Headers, map, shared library and archive: the same names in all four."""
        with open(os.path.join(SOURCE, "libclient", "cantus.map"), encoding="utf-8") as f:
            mapped = set(re.findall(r"(?m)^    (cantus_\w+);$", f.read()))
        self.assertEqual(mapped, self.declared())
        self.assertEqual(self.symbols("-D", self.library("libcantus.so")) - {"CANTUS_0"}, mapped)
        self.assertEqual(self.symbols(self.library("libcantus.a")), mapped)

    def test_soname(self):
        out = self.execute(["readelf", "-d", self.library("libcantus.so")]).out
        self.assertRegex(out, r"SONAME.*\[libcantus\.so\.0\]")
        self.assertNotRegex(out, r"RPATH|RUNPATH")

    # ---- a program of someone else's ------------------------------------------------------------

    def pkg_config(self, *arguments):
        env = dict(os.environ, PKG_CONFIG_SYSROOT_DIR=self.destination,
                   PKG_CONFIG_PATH=self.library("pkgconfig"))
        return self.execute(["pkg-config", *arguments, "cantus"], env=env).out.split()

    def run_app(self, app, shared):
        """Against an installed deployment, from an installed library."""
        env = dict(os.environ, LD_LIBRARY_PATH=self.library() if shared else "")
        needed = self.execute(["readelf", "-d", app]).out
        self.assertEqual("libcantus.so.0" in needed, shared, needed)
        dev = self.start([self.installed("bin", "cantus"), "dev", "--dir", self.path("d")])
        dev.wait_line("ready")
        self.assertEqual(self.execute([app, self.path("d"), "hello"], env=env).out, "/app hello\n")
        read = self.execute([self.installed("bin", "cantus"), "--dir", self.path("d"), "sub", "/app"]).out
        self.assertIn("hello", read)

    def compile(self, *flags):
        self.execute([COMPILER, *SYNTAX.split(), os.path.join(HERE, "app", "app.c"), "-o", self.path("app"), *flags])
        return self.path("app")

    def test_pkg_config(self):
        self.run_app(self.compile(*self.pkg_config("--cflags", "--libs")), shared=True)

    def test_pkg_config_with_the_archive(self):
        flags = self.pkg_config("--static", "--cflags", "--libs")
        archive = self.library("libcantus.a")
        self.run_app(self.compile(*[archive if f == "-lcantus" else f for f in flags]), shared=False)

    def test_find_package(self):
        build = self.path("build")
        self.execute(["cmake", "-S", os.path.join(HERE, "app"), "-B", build, f"-DCMAKE_PREFIX_PATH={self.root}",
                      f"-DCMAKE_C_COMPILER={COMPILER}", f"-DCMAKE_C_FLAGS={SYNTAX}"])
        self.execute(["cmake", "--build", build])
        self.run_app(os.path.join(build, "app"), shared=True)
        self.execute([os.path.join(build, "app_alone")], status=2)  # it prints its usage: that it starts

    def test_another_version_is_refused(self):
        with open(self.path("CMakeLists.txt"), "w", encoding="ascii") as f:
            f.write("cmake_minimum_required(VERSION 3.25)\nproject(app LANGUAGES C)\n"
                    "find_package(Cantus 0.2 REQUIRED)\n")
        done = self.execute(["cmake", "-S", self.tmp, "-B", self.path("build"),
                             f"-DCMAKE_PREFIX_PATH={self.root}"], status=1)
        self.assertRegex(done.err, r"not\s+accepted:\s+\S+CantusConfig.cmake, version: 0\.1\.")


class ManualTest(Installed):
    def pages(self):
        found = sorted(glob.glob(self.installed("share", "man", "man?", "*.?")))
        self.assertGreaterEqual(len(found), 20)
        return found

    def test_a_page_for_each_verb_with_each_of_its_options(self):
        for verb, help in self.helps():
            page = self.read("share", "man", "man1", f"cantus-{verb}.1").replace("\\-", "-")
            listed = re.findall(r"(?m)^  (--[a-z-]+)", help)
            for option in listed:
                self.assertRegex(page, rf"(?m)^\.It Fl {option[1:]}\b", f"{verb}: {option}")
            words = re.sub(r"\\f[BP]|\\&|\\", "", re.sub(r"(?m)^\.\S+", "", page))
            words = set(re.findall(r"[a-z]{4,}", words))
            lost = set(re.findall(r"[a-z]{4,}", help.partition("\n\n")[2])) - words
            self.assertEqual(lost, set(), f"{verb}: said by --help, and not in the manual")

    def test_every_key_of_the_configuration(self):
        with open(os.path.join(SOURCE, "shell", "config_keys.c"), encoding="utf-8") as f:
            keys = set(re.findall(r'(?m)^    \{ "([a-z_]+)", CONFIG_', f.read()))
        self.assertIn("heartbeat_idle_ms", keys)
        page = self.read("share", "man", "man5", "cantus.yaml.5")
        self.assertEqual(set(re.findall(r"(?m)^\.It Cm (\S+)", page)), keys)

    def test_references_lead_somewhere(self):
        names = {os.path.basename(page) for page in self.pages()}
        for page in self.pages():
            with open(page, encoding="utf-8") as f:
                for name, section in re.findall(r"(?m)^\.(?:It )?Xr (\S+) (\d)", f.read()):
                    self.assertIn(f"{name}.{section}", names, page)

    def test_mandoc_finds_nothing(self):
        if shutil.which("mandoc") is None:
            self.skipTest("needs mandoc")
        done = self.execute(["mandoc", "-Tlint", *self.pages()], status=None)
        # It looks for them where the system has its manual; the test above looks here.
        said = [line for line in done.out.splitlines() if "referenced manual not found" not in line]
        self.assertEqual(said, [])


class CompletionTest(Installed):
    def complete(self, *words):
        """What bash offers for the last word."""
        script = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; '
                  'COMP_POINT=${#COMP_LINE}; _cantus; printf "%s\\n" "${COMPREPLY[@]}"')
        path = self.installed("share", "bash-completion", "completions", os.path.basename(words[0]))
        done = self.execute(["bash", "--norc", "-uc", script, "bash", path, *words], cwd=self.tmp)
        self.assertEqual(done.err, "")
        return set(done.out.split())

    def test_verbs(self):
        verbs = {verb for verb, _ in self.helps()}
        self.assertEqual(self.complete("cantus", ""), verbs | {"--dir", "--help"})
        self.assertEqual(self.complete("cantus", "--dir", "d", "hist"), {"history"})

    def test_options_are_those_that_the_verbs_take(self):
        """Compared with the tables that getopt_long is given."""
        files = []
        for path in glob.glob(os.path.join(SOURCE, "cli", "verb_*.c")):
            with open(path, encoding="utf-8") as f:
                files.append(f.read())
        with open(os.path.join(SOURCE, "cli", "main.c"), encoding="utf-8") as f:
            body = re.search(r"static bool through_proxy.*?\n}", f.read(), re.DOTALL).group(0)
        through = set(re.findall(r"&verb_(\w+)", body))
        self.assertIn("sub", through)
        for verb, _ in self.helps():
            defined, = [text for text in files if re.search(rf"cli_verb verb_{verb}\b[^;]*=", text)]
            taken = re.findall(r'\{ "([a-z-]+)", (?:no|required)_argument', defined)
            wanted = {f"--{name}" for name in taken} | {"--dir", "--help"}
            if verb in through:
                wanted |= {"--proxy", "--key", "--ca"}
            self.assertEqual(self.complete("cantus", verb, "--"), wanted, verb)
        for daemon in ("sequencer", "retransmitter"):
            with open(os.path.join(SOURCE, daemon, "main.c"), encoding="utf-8") as f:
                taken = re.findall(r'\{ "([a-z-]+)", (?:no|required)_argument', f.read())
            self.assertEqual(self.complete(f"cantus-{daemon}", "--"), {f"--{name}" for name in taken})

    def test_values(self):
        self.cantus("init", self.path("stream"), "--stores", "2")
        os.mkdir(self.path("other"))
        self.assertEqual(self.complete("cantus", "--dir", ""), {"stream", "other"})
        self.assertEqual(self.complete("cantus", "--dir", "stream", "promote", ""), {"s1", "--why", "--timeout",
                                                                                  "--json", "--dir", "--help"})
        self.assertEqual(self.complete("cantus", "--dir", "stream", "top", "--name", "r"), {"r1", "r2"})
        self.assertEqual(self.complete("cantus", "top", "--page", "l"), {"loss", "loop"})
        self.assertEqual(self.complete("cantus", "pub", "--publisher", ""), set())
        self.assertEqual(self.complete("cantus", "journal", "d"), {"dump"})
        self.assertEqual(self.complete("cantus-sequencer", "--config", "stream/c"), {"stream/cantus.yaml"})
        self.assertEqual(self.complete("cantus-sequencer", "--config", "stream/cantus.yaml", "--name", ""),
                         {"s1"})


if __name__ == "__main__":
    unittest.main()
