"""Clients over TLS, with a certificate that each test makes: the command, the client in Python and bare text publish
and read through one proxy. What must not work is shown not to: an authority that is not trusted, one side alone that
speaks TLS, a proof of one connection used over another, connections that never become one. A login is taken apart
by hand to see that its proof names the connection: with zeros instead it is refused.
"""

import json
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
import unittest

from cantus_test import SOURCE, Case, Endpoints, config_path, program, wait_until

sys.path.insert(0, os.path.join(SOURCE, "examples", "python"))
import cantus_edge
import ed25519

CLIENT = os.path.join(SOURCE, "examples", "python", "cantus_edge.py")


def certificate(dir, name):
    """Its own authority. Paths of the certificate and the key."""
    paths = [os.path.join(dir, f"{name}.{end}") for end in ("pem", "key")]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                    "-out", paths[0], "-keyout", paths[1]], check=True, stderr=subprocess.DEVNULL)
    return paths


def set_tls(dir, **keys):
    """The proxy's, in place of those that are there."""
    with open(config_path(dir), encoding="utf-8") as file:
        text = re.sub(r"\n +tls_[a-z]+: [^\n]*", "", file.read())
    lines = "".join(f"    tls_{key}: {value}\n" for key, value in keys.items())
    text, count = re.subn(r"(?m)^    listen: .*\n", lambda found: found.group(0) + lines, text)
    assert count == 1
    with open(config_path(dir), "w", encoding="utf-8") as file:
        file.write(text)


class Files(Case):
    """What is wrong with a configuration is said, and where."""

    def refused(self, *args):
        return self.execute([program("cantus-proxy"), "--config", config_path(self.dir), *args], status=1).err

    def test_files_are_checked(self):
        self.dir = self.path("d")
        self.cantus("init", self.dir)
        own, _ = certificate(self.dir, "own")
        _, other_key = certificate(self.dir, "other")
        set_tls(self.dir, certificate="none.pem", key="own.key")
        said = self.refused()
        self.assertIn("proxy p1: TLS: certificate ", said)
        self.assertIn("none.pem: No such file", said)
        set_tls(self.dir, certificate=own, key=other_key)
        self.assertIn("other.key", self.refused())
        set_tls(self.dir, certificate=own)
        self.assertRegex(self.refused("--check"), r"cantus.yaml:\d+: tls_certificate: it takes tls_key, too")


class Tls(Case):
    def setUp(self):
        super().setUp()
        self.dir = self.path("d")
        self.cantus("init", self.dir)
        self.ca, _ = certificate(self.dir, "own")
        set_tls(self.dir, certificate="own.pem", key="own.key")
        self.process = self.dev(self.dir)
        self.at = Endpoints(self.dir).proxies[0]
        self.address = f"127.0.0.1:{self.at[1]}"
        self.key = os.path.join(self.dir, "dev.key")

    def through(self, *args, ca=None, **options):
        return self.cantus("--proxy", "tls:" + self.address, "--ca", ca or self.ca, "--key", self.key, *args,
                           **options)

    def tries(self, proxy, *args):
        """To publish, for as long as it takes."""
        return self.start([program("cantus"), "--proxy", proxy, *args, "--key", self.key, "pub", "/a", "x"])

    def client(self, **options):
        return cantus_edge.Client([("localhost", self.at[1])], seed=cantus_edge.read_key(self.key), tls=True,
                                  ca_file=self.ca, **options)

    def counter(self, name):
        return self.process_status(self.dir, "p1")["counters"][name]

    def test_the_command_publishes_and_reads(self):
        self.through("pub", "/a", "over TLS")
        self.assertIn("/a over TLS", self.through("sub", "/a").out)

    def test_who_is_asked_for(self):
        self.cantus("--dir", self.dir, "grant", self.cantus("key", "show", self.key).out.strip(), "read", "/sys/edge")
        said = json.loads(self.through("who", "--json").out)
        self.assertEqual(([c["agent"] for c in said["clients"]], said["asked"]), (["cantus-who"], ["p1"]))
        self.assertIn("certificate", self.cantus("--proxy", "tls:" + self.address, "--key", self.key, "who",
                                                 status=1).err)

    def test_a_python_client_publishes_and_reads(self):
        payloads = [os.urandom(70000) for _ in range(20)]
        client = self.client()
        client.subscribe(["/py"])
        publisher = client.publisher("me")
        for payload in payloads:
            publisher.publish("/py/a", payload)
        found = []
        for event in client.events(60):
            if isinstance(event, cantus_edge.Message):
                found.append(event.payload)
            if len(found) > 0 and sum(map(len, found)) >= sum(map(len, payloads)):
                break
        self.assertEqual(b"".join(found), b"".join(payloads))
        self.assertNotEqual(client.binding, bytes(32))
        client.close()

    def test_text(self):
        self.cantus("--dir", self.dir, "grant", "anyone", "read", "/open")
        first = int(self.pub(self.dir, "/open/a", "one").out)
        with subprocess.Popen(["openssl", "s_client", "-quiet", "-no_ign_eof", "-verify_return_error", "-CAfile", self.ca,
                               "-connect", self.address], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True) as reader:
            reader.stdin.write(f"cantus /open from {first}\n")
            reader.stdin.flush()
            line = reader.stdout.readline()
            while line.startswith("#"):
                line = reader.stdout.readline()
            self.assertRegex(line, rf"^{first} \d+ /open/a \S+ one$")
            reader.kill()

    def test_an_authority_that_is_not_trusted(self):
        other, _ = certificate(self.dir, "other")
        self.tries("tls:" + self.address, "--ca", other).wait_said(
            "its certificate is not accepted: self-signed certificate")
        self.assertIn("none.pem: No such file",
                      self.through("pub", "/a", "x", ca=os.path.join(self.dir, "none.pem"), status=1).err)
        self.assertEqual(self.counter("logins"), 0)

    def test_one_side_alone_speaks_it(self):
        self.tries(self.address).wait_said("it wants TLS")
        said = self.execute([sys.executable, CLIENT, "--proxy", self.address, "sub", "/a", "--timeout", "3"], status=0)
        self.assertIn("it wants TLS", said.err)
        self.assertEqual(self.process.terminate(), 0)
        set_tls(self.dir)
        self.dev(self.dir)
        self.tries("tls:" + self.address, "--ca", self.ca).wait_said("TLS: the other side does not speak it")

    def login(self, tls, prove):
        """By hand: what follows PROVE, ACCEPTED or CLOSING. prove makes the signature of what is to be signed."""
        key = ed25519.public_key(cantus_edge.read_key(self.key))
        sock = tls.sock
        sock.settimeout(60)
        sock.sendall(cantus_edge.encode_hello(0, key, "by hand"))
        kind, body = self.frame(sock)
        self.assertEqual(kind, cantus_edge.WELCOME)
        reader = cantus_edge.Reader(body)
        _, stream = reader.fields("HQ")
        challenge, proxy = reader.take(32), reader.string()
        sock.sendall(cantus_edge.frame(cantus_edge.PROVE, prove(stream, challenge, key, proxy)))
        return self.frame(sock)[0]

    @staticmethod
    def frame(sock):
        raw = b""
        while len(raw) < 4 or len(raw) < 4 + struct.unpack_from("<I", raw)[0]:
            more = sock.recv(1 if len(raw) >= 4 else 4 - len(raw))
            if not more:
                return None, b""
            raw += more
        return raw[4], raw[5:]

    def connect(self):
        tls = cantus_edge.Tls(socket.create_connection(("localhost", self.at[1])), "localhost", self.ca)
        self.addCleanup(tls.sock.close)
        return tls

    def test_a_proof_is_of_its_connection(self):
        seed = cantus_edge.read_key(self.key)
        captured = []

        def prove(binding):
            def sign(*welcome):
                captured.append(ed25519.sign(seed, cantus_edge.signed_bytes(*welcome, binding)))
                return captured[-1]
            return sign

        first, second = self.connect(), self.connect()
        self.assertNotEqual(first.binding, second.binding)
        self.assertEqual(self.login(first, prove(first.binding)), cantus_edge.ACCEPTED)
        # The same proof; a fresh one of the wrong connection; one without any.
        self.assertEqual(self.login(second, lambda *_: captured[0]), cantus_edge.CLOSING)
        self.assertEqual(self.login(self.connect(), prove(first.binding)), cantus_edge.CLOSING)
        self.assertEqual(self.login(self.connect(), prove(bytes(32))), cantus_edge.CLOSING)
        third = self.connect()
        self.assertEqual(self.login(third, prove(third.binding)), cantus_edge.ACCEPTED)

    def test_older_versions_are_refused(self):
        context = ssl.create_default_context(cafile=self.ca)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with socket.create_connection(("localhost", self.at[1])) as sock, self.assertRaises(ssl.SSLError):
            context.wrap_socket(sock, server_hostname="localhost")

    def memory_kib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))

    def test_garbage_costs_little(self):
        """Beginnings of handshakes of all kinds, hundreds at a time: memory stays, and those who mean it get in."""
        def wave():
            sockets = []
            for i in range(200):
                sock = socket.create_connection(("127.0.0.1", self.at[1]))
                try:
                    sock.sendall((b"", b"\x16\x03\x01\x40\x00\x01\x00\xff\xff", b"GET / HTTP/1.1\r\n\r\n",
                                  b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + os.urandom(16379),
                                  os.urandom(500))[i % 5])
                except OSError:
                    pass
                sockets.append(sock)
            self.through("pub", "/a", "in between")
            for sock in sockets:
                sock.close()
            wait_until(lambda: self.counter("sessions") == 0, "they are gone")

        wave()
        before = self.memory_kib()
        for _ in range(5):
            wave()
        if not os.environ.get("CANTUS_SANITIZE"):  # whose allocator keeps what was freed
            self.assertLess(self.memory_kib(), before + 32 * 1024)
        self.assertEqual(json.loads(self.cantus("--dir", self.dir, "who", "--once", "--json").out)["clients"], [])


if __name__ == "__main__":
    unittest.main()
