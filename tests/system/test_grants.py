"""Rights and limits from the command line, on a deployment that runs: given and taken as messages of the stream,
refused with what is missing, listed as they are; and a publisher of a key writes what its key may, at once."""

import json
import os
import shutil
import stat
import unittest

from cantus_test import Case


class KeyTest(Case):
    def test_a_key_is_its_owners_alone(self):
        path = self.path("a.key")
        key = self.cantus("key", "new", path).out.strip()
        self.assertRegex(key, r"^[A-Za-z0-9_-]{43}$")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.assertEqual(self.cantus("key", "show", path).out.strip(), key)
        for mode, warned in ((0o600, False), (0o400, False), (0o644, True), (0o620, True)):
            os.chmod(path, mode)
            err = self.cantus("--dir", self.path("none"), "grant", "anyone", "read", "/", "--key", path,
                              status=1).err
            self.assertEqual(f"chmod 600 {path}" in err, warned, err)
        with open(path, "rb") as f:
            content = f.read()
        self.assertIn("exists", self.cantus("key", "new", path, status=1).err)
        with open(path, "rb") as f:
            self.assertEqual(f.read(), content)
        self.assertNotEqual(self.cantus("key", "new", self.path("b.key")).out.strip(), key)

    def test_a_key_that_every_ed25519_knows(self):
        """The first test of RFC 8032, section 7.1."""
        with open(self.path("rfc.key"), "w", encoding="ascii") as f:
            f.write("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60\n")
        self.assertEqual(self.cantus("key", "show", self.path("rfc.key")).out.strip(),
                         "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")

    def test_what_is_no_key(self):
        for content in ("", "00", "0" * 66, "0" * 63 + "x", "0" * 64 + " "):
            with open(self.path("bad.key"), "w", encoding="ascii") as f:
                f.write(content)
            self.assertIn("is no key", self.cantus("key", "show", self.path("bad.key"), status=1).err)
        self.assertIn("cannot read", self.cantus("key", "show", self.path("none.key"), status=1).err)
        self.cantus("key", "show", status=2)


class DevKeysTest(Case):
    """`cantus dev` at a start with keys that are gone or spoilt: it says so, replaces none, and recommends none that is
    of no use."""

    def setUp(self):
        super().setUp()
        self.own, self.admin = self.path("d", "dev.key"), self.path("d", "admin.key")

    def start_again(self, *args):
        """The ready line, and what is said in front of it."""
        process = self.dev(None, *args)
        said = process.err()
        process.terminate()
        return process.ready, said

    def spoil(self, path):
        with open(path, "w", encoding="ascii") as f:
            f.write("junk\n")

    def assert_spoilt(self, path):
        with open(path, encoding="ascii") as f:
            self.assertEqual(f.read(), "junk\n")

    def test_a_dev_key_that_is_none(self):
        for args in ((), ("--volatile",)):
            with self.subTest(args=args):
                ready, said = self.start_again(*args)
                self.assertIn(f"--key {self.own}", ready)
                self.assertNotIn("key", said)
                self.spoil(self.own)
                ready, said = self.start_again()
                self.assertNotIn("--key", ready)
                self.assertRegex(said, rf"{self.own} is no key.*remove it and start again")
                self.assert_spoilt(self.own)
                os.remove(self.own)
                ready, said = self.start_again()
                self.assertIn(f"--key {self.own}", ready)
                self.assertNotIn("key", said)
                shutil.rmtree(self.path("d"))

    def test_an_administrators_key_that_is_gone(self):
        for args, recommended in (((), True), (("--volatile",), False)):
            with self.subTest(args=args):
                self.start_again(*args)
                for damage, wrong in ((self.spoil, "is no key"), (os.remove, "No such file")):
                    damage(self.admin)
                    ready, said = self.start_again()
                    self.assertRegex(said, rf"{self.admin}.*{wrong}|{wrong}.*{self.admin}")
                    self.assertIn("put it back, or name it with --key FILE", said)
                    self.assertEqual(f"--key {self.own}" in ready, recommended)
                self.assertFalse(os.path.exists(self.admin))
                os.remove(self.own)
                self.assertNotIn("--key", self.start_again()[0])
                self.assertFalse(os.path.exists(self.own))
                shutil.rmtree(self.path("d"))


class GrantTest(Case):
    def setUp(self):
        super().setUp()
        self.dev()
        self.key = self.cantus("key", "new", self.path("team.key")).out.strip()
        self.on("revoke", self.cantus("key", "show", self.path("d", "dev.key")).out.strip(), "read,write", "/")

    def on(self, *args, **options):
        return self.cantus("--dir", self.path("d"), *args, **options)

    def listed(self):
        return json.loads(self.on("grants", "--json").out)

    def publish(self, topic, status=0):
        return self.on("pub", topic, "x", "--publisher", f"@{self.key}:app", status=status)

    def test_given_used_and_taken_back(self):
        self.assertEqual(self.listed()["grants"], [])
        self.assertIn("not permitted", self.publish("/a/b", status=1).err)
        seq = json.loads(self.on("grant", self.key, "read,w", "/a", "--json").out)["seq"]
        self.assertGreater(seq, 1)
        self.assertEqual(self.listed()["grants"],
                         [{"whom": self.key, "rights": "read,write", "subtree": "/a"}])
        self.publish("/a/b")
        self.assertIn("not permitted", self.publish("/ab", status=1).err)
        self.assertGreater(int(self.on("revoke", self.key, "write", "/a").out), seq)
        self.assertIn("/a/b", self.publish("/a/b", status=1).err)
        self.assertEqual(self.listed()["grants"], [{"whom": self.key, "rights": "read", "subtree": "/a"}])

    def test_what_a_key_may_not_give(self):
        err = self.on("grant", "anyone", "read", "/a", "--key", self.path("team.key"), status=1).err
        self.assertIn("not permitted", err)
        self.assertIn("the right to grant on /a", err)
        self.on("grant", self.key, "grant", "/a")
        self.on("grant", "anyone", "read", "/a/b", "--key", self.path("team.key"))
        err = self.on("limit", "everyone", "--topics", "5", "--key", self.path("team.key"), status=1).err
        self.assertIn("the right to grant on /", err)

    def test_groups(self):
        self.on("grant", "group:traders", "write", "/a")
        self.assertIn("not permitted", self.publish("/a", status=1).err)
        self.on("group", "add", "traders", self.key)
        self.publish("/a")
        self.assertEqual(json.loads(self.on("group", "list", "--json").out),
                         {"groups": [{"group": "traders", "key": self.key}]})
        self.assertEqual(self.on("group", "list", "others").out, "")
        self.on("group", "remove", "traders", self.key)
        self.assertIn("not permitted", self.publish("/a", status=1).err)

    def test_a_key_that_looks_like_an_option(self):
        key = "-" * 42 + "8"
        self.on("grant", "--", key, "read", "/a")
        self.assertEqual(self.listed()["grants"], [{"whom": key, "rights": "read", "subtree": "/a"}])

    def test_limits(self):
        self.on("limit", "everyone", "--messages-per-s", "100", "--burst-ms", "50")
        self.on("limit", "/md", "--bytes-per-s", "1000000")
        limits = self.listed()["limits"]
        self.assertEqual([(l["whom"], l["messages_per_s"], l["burst_ms"], l["bytes_per_s"]) for l in limits],
                         [("everyone", 100, 50, 0), ("/md", 0, 0, 1000000)])
        self.on("limit", "everyone", "--remove")
        self.assertEqual([l["whom"] for l in self.listed()["limits"]], ["/md"])

    def test_topics(self):
        self.on("pub", "/a/b", "x")
        self.on("pub", "/c", "x")
        self.assertEqual(json.loads(self.on("topic", "ls", "--json").out),
                         {"topics": [{"id": 16, "topic": "/a/b"}, {"id": 17, "topic": "/c"}]})
        self.assertEqual(self.on("topic", "ls", "/a").out.split(), ["16", "/a/b"])
        self.on("grant", "anyone", "read", "/a")
        self.on("grant", "anyone", "read", "/c")
        self.assertEqual(json.loads(self.on("topic", "info", "/a/b", "--json").out),
                         {"id": 16, "topic": "/a/b",
                          "grants": [{"whom": "anyone", "rights": "read", "subtree": "/a"}]})
        self.assertIn("no topic", self.on("topic", "info", "/x", status=1).err)

    def test_words_that_are_none(self):
        for args in (("grant", "nobody", "read", "/a"), ("grant", "anyone", "reads", "/a"),
                     ("grant", "anyone", "read", "/a/"), ("grant", "anyone", "", "/a"),
                     ("grant", "group:a/b", "read", "/a"), ("grant", "anyone", "read"),
                     ("group", "add", "x"), ("group", "join", "x", self.key), ("limit", "everyone"),
                     ("limit", "everyone", "--topics", "0"), ("limit", "nobody", "--topics", "1"),
                     ("limit", "everyone", "--remove", "--topics", "1"), ("topic", "info"), ("grants", "x")):
            with self.subTest(args=args):
                self.assertNotEqual(self.on(*args, status=2).err, "")
        self.assertIn("is no key", self.on("grant", "anyone", "read", "/a", "--key", self.path("d", "genesis"),
                                           status=1).err)


if __name__ == "__main__":
    unittest.main()
