"""State digests with real processes. One app in two builds, of which the second counts one message wrongly.
Replicas of both follow a deployment and publish digests of their states; the monitor must be content while
all run the first build, and when one runs the second, must name it, and find the very message.
"""

import base64
import json
import os
import signal
import subprocess
import unittest

from cantus_test import (BUILD, COMPILER, SANITIZE, SOURCE, Case, Endpoints, json_lines, program,
                         wait_until)

# Counts bytes, and with TRIGGER defined one too many of a message that begins so. With MAIN, a replica:
# replica DIR IDENTITY EVERY.
APP = r"""
#include <cantus/cantus.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tally {
    uint64_t bytes;
};

static void apply(void *state, const struct cantus_message *m)
{
    struct tally *t = state;
    t->bytes += m->length;
#ifdef TRIGGER
    if (m->length >= sizeof TRIGGER - 1 && memcmp(m->payload, TRIGGER, sizeof TRIGGER - 1) == 0)
        t->bytes++;
#endif
}

static bool init(void *state, const char *config, struct cantus_timers *timers)
{
    struct tally *t = state;
    (void)timers;
#ifdef TRIGGER
    t->bytes = strcmp(config, "offset") == 0;
#else
    (void)config;
    t->bytes = 0;
#endif
    return true;
}

static uint64_t digest(const void *state)
{
    return cantus_hash(0, state, sizeof(struct tally));
}

static const char *const topics[] = { "/items", NULL };
CANTUS_API const struct cantus_app cantus_app_v1 = {
    .abi = CANTUS_APP_ABI, .logic_version = 3, .name = "tally", .topics = topics,
    .state_size = sizeof(struct tally), .init = init, .apply = apply, .digest = digest,
};

#ifdef MAIN
static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
}

int main(int argc, char **argv)
{
    char error[CANTUS_ERROR_MAX];
    struct cantus_client_options options = { .source = argv[1] };
    struct cantus_client *client = argc == 4 ? cantus_client_open(&options, error) : NULL;
    struct cantus_machine *m =
        client ? cantus_client_add_app(client, &cantus_app_v1, "", NULL, error) : NULL;
    signal(SIGTERM, on_signal);
    if (!m || !cantus_client_publish_digests(client, m, argv[2], strtoull(argv[3], 0, 10), error)) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    enum cantus_status status = CANTUS_OK;
    while (!stopping && status == CANTUS_OK)
        status = cantus_client_poll(client, 50000000);
    if (status != CANTUS_OK)
        fprintf(stderr, "%s\n", cantus_client_error(client));
    cantus_client_close(client);
    return status != CANTUS_OK;
}
#endif
"""
EVERY = 50


class DigestTest(Case):
    def setUp(self):
        super().setUp()
        with open(self.path("tally.c"), "w", encoding="ascii") as f:
            f.write(APP)
        self.libraries = {}
        self.d = self.path("d")

    def compile(self, out, *flags):
        sanitize = [f"-fsanitize={SANITIZE}"] if SANITIZE else []
        done = subprocess.run(
            [COMPILER, "-std=gnu17", "-Wall", "-Wextra", "-Werror", "-g",
             "-I", os.path.join(SOURCE, "libclient", "include"), *sanitize,
             self.path("tally.c"), "-o", self.path(out), *flags], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return self.path(out)

    def build(self, name, trigger=None):
        """The app as a replica and as a library."""
        flags = [f'-DTRIGGER="{trigger}"'] if trigger else []
        lib = os.path.join(BUILD, "lib")
        self.compile(name, "-DMAIN", *flags, "-L", lib, f"-Wl,-rpath,{lib}", "-lcantus")
        self.libraries[name] = self.compile(f"{name}.so", "-shared", "-fPIC", *flags)

    def replica(self, build, identity, every=EVERY):
        return self.start([self.path(build), self.d, identity, str(every)])

    def digest(self, *args, source=None, **options):
        return self.cantus("--dir", source or self.d, "digest", "tally", *args, **options)

    def said(self, identity):
        return [m for m in self.sub(self.d, "/sys/digest/tally") if m["publisher"] == identity]

    def wait_said(self, identity, seq):
        """Until it has said something of a state at or after seq."""
        def latest():
            said = self.said(identity)
            if not said:
                return False
            payload = base64.b64decode(said[-1]["payload_base64"])
            return int.from_bytes(payload[16:24], "little") >= seq
        wait_until(latest, f"a digest of {identity} at or after {seq}")

    def last_seq(self):
        return self.sub(self.d, "/items")[-1]["seq"]

    def publish(self, lines):
        return self.pub(self.d, "/items", "-", input=b"".join(line + b"\n" for line in lines))

    def seq_of(self, payload):
        return next(m["seq"] for m in self.sub(self.d, "/items")
                    if m.get("payload", "").encode() == payload or
                    base64.b64decode(m.get("payload_base64", "")) == payload)

    def test_replicas_of_one_build_agree(self):
        self.build("good")
        self.dev()
        self.assertIn("nobody has published", self.digest(status=1).err)
        replicas = [self.replica("good", "one"), self.replica("good", "two")]
        for part in range(4):
            self.publish([b"item %d of part %d" % (i, part) for i in range(300)])
            if part == 1:
                replicas[1].kill()
                replicas[1] = self.replica("good", "two")
            for identity in ("one", "two"):
                self.wait_said(identity, self.last_seq() // EVERY * EVERY - EVERY)
        done = self.digest("--json")
        points = json_lines(done.out)
        both = [p for p in points if len(p["groups"]) == 1 and
                sorted(p["groups"][0]["replicas"]) == ["one", "two"]]
        self.assertGreater(len(both), 10, done.out)
        self.assertTrue(all(p["agree"] for p in points))
        self.assertEqual({p["groups"][0]["logic_version"] for p in points}, {3})
        for identity in ("one", "two"):
            payloads = [m["payload_base64"] for m in self.said(identity)]
            self.assertEqual(len(payloads), len(set(payloads)), "nothing is said twice")
        text = self.digest().out
        self.assertRegex(text, r"(?m)^seq \d+ epoch 1: 2 agree on [0-9a-f]{16} \((one, two|two, one); "
                               r"logic version 3\)$")
        self.assertRegex(text, r"of 2 replicas, compared at \d+ positions: no mismatch\n$")
        same = self.digest("--bisect", self.libraries["good"], self.libraries["good"], "--json")
        result = json_lines(same.out)[-1]
        self.assertEqual(result["bisect"], "equal")
        self.assertGreaterEqual(result["equal_through"], self.last_seq())

        follower = self.start([program("cantus"), "--dir", self.d, "digest", "tally", "--follow"])
        follower.wait_lines(5)
        follower.signal(signal.SIGINT)
        self.assertEqual(follower.wait(), 0, follower.describe())
        self.assertIn("no mismatch", follower.out())

    def check_found(self, result, payload, topic="/items"):
        self.assertEqual(result["bisect"], "differ")
        self.assertEqual(result["seq"], self.seq_of(payload))
        self.assertEqual(result["topic"], topic)
        self.assertTrue(result["publisher"])
        self.assertEqual(result["equal_through"], result["seq"] - 1)
        self.assertNotEqual(result["digest_a"], result["digest_b"])

    def test_the_first_message_that_two_builds_take_differently_is_found(self):
        self.build("good")
        self.build("bad", "unlucky")
        self.build("worse", r"\377\376")
        dev = self.dev()
        for build, identity in (("good", "one"), ("good", "two"), ("bad", "three")):
            self.replica(build, identity)
        libraries = [self.libraries["good"], self.libraries["bad"]]
        monitor = self.start([program("cantus"), "--dir", self.d, "digest", "tally", "--follow",
                              "--json", "--bisect", *libraries])
        self.publish([b"item %d" % i for i in range(2500)])
        for identity in ("one", "two", "three"):
            self.wait_said(identity, self.last_seq() // EVERY * EVERY - EVERY)
        self.assertTrue(monitor.running(), monitor.describe())
        self.publish([b"item"] * 77 + [b"unlucky \"13\""] + [b"more"] * 333 + [b"\xff\xfe!"] +
                     [b"unlucky again"] + [b"more"] * 100)

        self.assertEqual(monitor.wait(), 1, monitor.describe())
        *agreed, mismatch, found = json_lines(monitor.out())
        self.assertTrue(all(p["agree"] for p in agreed))
        self.check_found(found, b"unlucky \"13\"")
        self.assertEqual(found["payload"], "unlucky \"13\"")
        self.assertFalse(mismatch["agree"])
        self.assertGreaterEqual(mismatch["seq"], found["seq"])
        self.assertLess(mismatch["seq"], found["seq"] + 2 * EVERY)
        said = {g["replicas"][0] if len(g["replicas"]) == 1 else "both": g["majority"]
                for g in mismatch["groups"]}
        self.assertEqual(said, {"both": True, "three": False}, mismatch)

        # Everybody has spoken; without --follow, of the whole stream, for humans.
        for identity in ("one", "two", "three"):
            self.wait_said(identity, mismatch["seq"])
        text = self.digest("--bisect", *libraries, status=1).out
        self.assertIn(f"seq {mismatch['seq']} epoch 1: MISMATCH\n", text)
        self.assertRegex(text, r"(?m)^  2 say [0-9a-f]{16} \((one, two|two, one); logic version 3\), "
                               r"the majority$")
        self.assertRegex(text, r"(?m)^  1 says [0-9a-f]{16} \(three; logic version 3\)$")
        self.assertRegex(text, rf"(?m)^{found['seq']} {found['timestamp_ns']} /items "
                               rf"{found['publisher']} \d+ unlucky \"13\"$")
        # Builds that agree so far are not to blame.
        innocent = json_lines(self.digest("--json", "--bisect", self.libraries["good"],
                                          self.libraries["worse"], status=1).out)[-1]
        self.assertEqual((innocent["bisect"], innocent["equal_through"]),
                         ("equal", mismatch["seq"]))

        worse = b"\xff\xfe!"
        expected = self.seq_of(worse)
        dev.terminate()
        store = Endpoints(self.d).stores[0]
        done = self.digest("--json", "--bisect", *libraries, source=f"journal:{store}", status=1)
        *_, again, found_again = json_lines(done.out)
        self.assertEqual((again, found_again), (mismatch, found))
        # No digests of another app: through the whole journal. A payload that is no text.
        done = self.cantus("--dir", f"journal:{store}", "digest", "other", "--json", "--bisect",
                           self.libraries["good"], self.libraries["worse"], status=1)
        other = json.loads(done.out)
        self.assertEqual(other["seq"], expected)
        self.assertEqual(base64.b64decode(other["payload_base64"]), worse)
        done = self.cantus("--dir", f"journal:{store}", "digest", "other", "--bisect", *libraries,
                           "--config", "offset", status=1)
        self.assertIn("differ before the first message", done.out)

    def test_what_is_wrong_is_said(self):
        self.build("good")
        self.dev()
        good = self.libraries["good"]
        for args, status, says in (((), 2, "APPNAME"), (("a", "b"), 2, "APPNAME"),
                                   (("a", "--bisect", good), 2, "two libraries"),
                                   (("a", "--bisect", good, "--json"), 2, "two libraries"),
                                   (("two words",), 1, "subtree"),
                                   (("a", "--bisect", good, self.path("none.so")), 1, "none.so")):
            with self.subTest(args=args):
                done = self.cantus("--dir", self.d, "digest", *args, status=status)
                self.assertIn(says, done.err)
        self.assertIn("--dir", self.cantus("digest", "a", status=2).err)
        self.assertIn("--bisect A.so B.so", self.cantus("digest", "--help").out)


if __name__ == "__main__":
    unittest.main()
