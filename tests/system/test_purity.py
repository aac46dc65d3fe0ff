"""What the parts may call. A core is pure: no clock, no random, no socket, no file, no thread, no printing, and no
allocator but where it is made. That is read off its objects: every symbol they leave undefined has to be on a
short list, or be defined by a module that this one may know (so the test also holds the folders' dependencies to
point downwards). Then the public side: headers that compile alone, as C and as C++, and a library that exports
what they declare and nothing else.
"""

import os
import re
import shutil
import subprocess
import unittest

from cantus_test import BUILD, COMPILER, SOURCE, Case

# Computing, and text for humans into a caller's buffer.
ALLOWED = {
    "memcpy", "memmove", "memset", "memcmp", "bcmp", "memchr", "strlen", "strnlen", "strcmp", "strncmp",
    "strchr", "strrchr", "strcspn", "strspn", "strncpy", "strerror", "qsort", "snprintf", "vsnprintf",
    "XXH3_64bits_withSeed_dispatch", "XXH3_128bits_withSeed_dispatch",
    "crypto_generichash", "crypto_sign_verify_detached",
    "__assert_fail", "_GLOBAL_OFFSET_TABLE_", "__stack_chk_fail",
}
# What the compilers and sanitizers put there.
COMPILERS = re.compile(r"^__(asan|ubsan|tsan|sanitizer|start___san|stop___san|sancov)_?"
                       r"|^__(mem|str|v?sn)\w+_chk$|^__tls_get_addr$|^__emutls")
ALLOCATOR = {"malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign", "free", "strdup"}

# Archive: the archives it may know, and the objects in which it allocates: those that hold its create and
# destroy, or what happens once at start, in recovery or offline.
MODULES = {
    "cantus_proto": (["cantus_proto", "cantus_control_pb"], {"access.c.o", "catalog.c.o", "ledger.c.o"}),
    "cantus_follow": (["cantus_follow", "cantus_proto"], {"follower.c.o", "run.c.o"}),
    "cantus_journal": (["cantus_journal", "cantus_proto"],
                       {"journal.c.o", "journal_format.c.o", "journal_image.c.o", "journal_recover.c.o",
                        "journal_scrub.c.o", "journal_walk.c.o"}),
    "cantus_sequencer": (["cantus_sequencer", "cantus_follow", "cantus_proto"],
                         {"core.c.o", "core_base.c.o"}),
    "cantus_retransmitter": (["cantus_retransmitter", "cantus_follow", "cantus_journal", "cantus_proto"],
                             {"core.c.o"}),
    "cantus_client_core": (["cantus_client_core", "cantus_follow", "cantus_proto"],
                           {"core.c.o", "core_author.c.o", "core_edge.c.o", "digest.c.o", "edge.c.o", "edge_names.c.o",
                            "machine.c.o", "publisher.c.o"}),
    "cantus_proxy": (["cantus_proxy", "cantus_client_core", "cantus_follow", "cantus_proto"],
                     {"base.c.o", "buddy.c.o", "core.c.o", "history.c.o", "limiter.c.o", "logins.c.o", "reader.c.o", "recent.c.o",
                      "relay.c.o", "session.c.o", "view.c.o"}),
}
SHELL_OBJECTS = re.compile(r"^disk_\w+\.c\.o$")  # the journal's back ends

# The simulator allocates and prints into buffers as it likes, but it has to be the same on every machine.
IMPURE = re.compile(r"^(time|clock|clock_\w+|gettimeofday|rand|random|drand48|getrandom|arc4random\w*|getenv|"
                    r"socket|sendto|recv\w*|open|openat|fopen|read|write|pthread_\w+|usleep|nanosleep|poll|"
                    r"getpid|gethostname)$")


def symbols(path):
    """(object, name, type) of every symbol of an archive or object."""
    out = subprocess.run(["nm", "-A", "-P", path], check=True, capture_output=True, text=True).stdout
    for line in out.splitlines():
        found = re.match(r".*\[(.+?)\]: (\S+) (\S)", line)
        if found:
            yield found.groups()


def archive(name):
    return os.path.join(BUILD, "lib", f"lib{name}.a")


def defined(names):
    return {name for a in names for o, name, type in symbols(archive(a))
            if type not in "Uw" and not SHELL_OBJECTS.match(o)}


class CoresTest(Case):
    def test_cores_call_nothing_from_outside(self):
        for module, (known, allocating) in MODULES.items():
            with self.subTest(module=module):
                own = defined(known)
                self.assertGreater(len(own), 10)
                objects = set()
                wrong = []
                for o, name, type in symbols(archive(module)):
                    if SHELL_OBJECTS.match(o):
                        continue
                    objects.add(o)
                    if type != "U" or name in own or name in ALLOWED or COMPILERS.match(name):
                        continue
                    if name in ALLOCATOR and o in allocating:
                        continue
                    wrong.append(f"{o} calls {name}")
                self.assertEqual(wrong, [])
                self.assertLessEqual(allocating, objects, "the list of allocating objects is out of date")

    def test_the_simulator_knows_no_real_clock_random_or_network(self):
        wrong = [f"{o} calls {name}" for o, name, type in symbols(archive("cantus_sim"))
                 if type == "U" and IMPURE.match(name)]
        self.assertEqual(wrong, [])

    def test_this_test_can_fail(self):
        source = os.path.join(self.tmp, "core.c")
        with open(source, "w", encoding="ascii") as f:
            f.write("#include <time.h>\nlong now(void); long now(void) { return (long)time(0); }\n")
        subprocess.run([COMPILER, "-c", source, "-o", self.path("core.c.o")], check=True)
        subprocess.run(["ar", "rc", self.path("libcore.a"), self.path("core.c.o")], check=True)
        self.assertIn(("core.c.o", "time", "U"), set(symbols(self.path("libcore.a"))))
        self.assertNotIn("time", ALLOWED)
        self.assertRegex("time", IMPURE)


class PublicTest(Case):
    include = os.path.join(SOURCE, "libclient", "include")

    def headers(self):
        found = [os.path.join("cantus", n) for n in sorted(os.listdir(os.path.join(self.include, "cantus")))]
        self.assertIn("cantus/cantus.h", found)
        return found

    def test_headers_compile_alone(self):
        compilers = [[COMPILER, "-std=c17", "-x", "c"]]
        if shutil.which("g++"):
            compilers.append(["g++", "-std=c++17", "-x", "c++"])
        for header in self.headers():
            for compiler in compilers:
                with self.subTest(header=header, compiler=compiler[0]):
                    done = subprocess.run(
                        [*compiler, "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Werror",
                         "-I", self.include, "-"], input=f"#include <{header}>\nint main() {{ return 0; }}\n"
                        if compiler[0] == "g++" else f"#include <{header}>\nint x;\n",
                        capture_output=True, text=True, check=False)
                    self.assertEqual(done.returncode, 0, done.stderr)

    def test_the_library_exports_what_the_headers_declare(self):
        declared = set()
        for header in self.headers():
            with open(os.path.join(self.include, header), encoding="utf-8") as f:
                text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
            declared |= set(re.findall(r"\b(cantus_\w+)\s*\([^;{}]*\)\s*;",
                                       " ".join(re.findall(r"CANTUS_API[^;]*;", text))))
        self.assertIn("cantus_client_open", declared)
        out = subprocess.run(["nm", "-D", "--defined-only", os.path.join(BUILD, "lib", "libcantus.so")],
                             check=True, capture_output=True, text=True).stdout
        exported = {line.split()[-1].split("@")[0] for line in out.splitlines()}
        self.assertEqual(declared - exported, set(), "declared, not exported")
        self.assertEqual(exported - declared - {"CANTUS_0"}, set(), "exported by accident")


if __name__ == "__main__":
    unittest.main()
