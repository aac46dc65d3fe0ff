"""Subscriptions that change while a client is connected, by the library (libcantus.so, over ctypes) on the core and
through proxies, and by the client in Python. One writes numbers on three topics, in turn and for ever; the others ask
for the second topic in the middle of it, and end the first. Each must see, of the second topic, exactly what the stream
has from the seq on that it was told; of the first nothing behind its end; and never anything twice or out of order,
also when the proxy that it is connected to is killed. The stream, read back, is the judge.
"""

import ctypes
import os
import threading
import unittest

from cantus_test import BUILD, DEADLINE_S, SANITIZE, wait_until
from test_edge import EdgeCase, cantus_edge

SUBSCRIBED, REFUSED = 8, 9


class Message(ctypes.Structure):
    _fields_ = [("seq", ctypes.c_uint64), ("timestamp_ns", ctypes.c_uint64), ("topic", ctypes.c_char_p),
                ("publisher", ctypes.c_char_p), ("publisher_seq", ctypes.c_uint64), ("payload", ctypes.c_void_p),
                ("length", ctypes.c_size_t)]


class Report(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int), ("seq", ctypes.c_uint64), ("identity", ctypes.c_char_p),
                ("topic", ctypes.c_char_p), ("text", ctypes.c_char_p)]


ON_MESSAGE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(Message))
ON_REPORT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(Report))


class Options(ctypes.Structure):
    _fields_ = [("source", ctypes.c_char_p), ("level", ctypes.c_int), ("until_seq", ctypes.c_uint64),
                ("report", ON_REPORT), ("ctx", ctypes.c_void_p), ("name", ctypes.c_char_p), ("spin", ctypes.c_bool),
                ("key_file", ctypes.c_char_p), ("ca_file", ctypes.c_char_p), ("from", ctypes.c_int),
                ("from_ns", ctypes.c_uint64)]


class Client:
    """Of the library: what its subscriptions saw, and what it reported."""

    def __init__(self, source, key=None, stable=False):
        self.library = ctypes.CDLL(os.path.join(BUILD, "lib", "libcantus.so"))
        self.library.cantus_client_open.restype = ctypes.c_void_p
        self.library.cantus_client_error.restype = ctypes.c_char_p
        self.library.cantus_client_subscribe.restype = self.library.cantus_client_unsubscribe.restype = ctypes.c_bool
        self.error = ctypes.create_string_buffer(1024)
        self.told, self.refused, self.handles = {}, [], {}
        self.on_report = ON_REPORT(self.report)
        options = Options(source.encode(), 0 if stable else 1, 0, self.on_report, None, b"", False,
                          key.encode() if key else None, None)
        self.client = ctypes.c_void_p(self.library.cantus_client_open(ctypes.byref(options), self.error))
        if not self.client:
            raise RuntimeError(self.error.value)

    def report(self, _, report):
        if report.contents.kind == SUBSCRIBED:
            self.told[report.contents.topic.decode()] = report.contents.seq
        if report.contents.kind == REFUSED:
            self.refused.append((report.contents.topic.decode(), report.contents.text.decode()))

    def subscribe(self, subtree):
        seen = []

        def on_message(_, m):
            seen.append((m.contents.seq, ctypes.string_at(m.contents.payload, m.contents.length)))
        self.handles[subtree] = ON_MESSAGE(on_message)
        if not self.library.cantus_client_subscribe(self.client, subtree.encode(), self.handles[subtree], None,
                                                    self.error):
            raise RuntimeError(self.error.value)
        return seen

    def unsubscribe(self, subtree):
        return self.library.cantus_client_unsubscribe(self.client, subtree.encode(), self.handles[subtree], None)

    def poll(self):
        if self.library.cantus_client_poll(self.client, ctypes.c_uint64(1000000)) != 0:
            raise RuntimeError(self.library.cantus_client_error(self.client))

    def poll_until(self, condition, what):
        def poll():
            self.poll()
            return condition()
        return wait_until(poll, what)

    def close(self):
        self.library.cantus_client_close(self.client)


class Writer:
    """Numbers on /team/a, /team/b, /team/c in turn, through whatever proxies there are."""

    def __init__(self, client):
        self.client, self.publisher = client, client.publisher("writer")
        self.count, self.over = 0, False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.over or self.publisher.waiting() > 0:
            while not self.over and self.publisher.waiting() < 30:
                self.publisher.publish("/team/" + "abc"[self.count % 3], b"%d" % self.count)
                self.count += 1
            self.client.work(0.01)
            self.client.told.clear()

    def stop(self):
        self.over = True
        self.thread.join(DEADLINE_S)


class ChangedTest(EdgeCase):
    def setUp(self):
        super().setUp()
        self.add_proxies(2)
        self.grant(self.public, "read,write", "/team")
        self.writer = Writer(self.client())
        self.addCleanup(self.writer.stop)

    def judge(self, seen, topic, first, last, what):
        """What was seen of a topic is what the stream has of it, between these seqs."""
        core = [(m["seq"], m["payload"].encode()) for m in self.sub(self.d, topic, "--sequenced")]
        self.assertEqual([m for m in seen if m[0] <= last], [m for m in core if first <= m[0] <= last], what)
        self.assertGreater(len(seen), 10)

    def judge_library(self, client, kill=False):
        self.addCleanup(client.close)
        a = client.subscribe("/team/a")
        client.poll_until(lambda: len(a) > 20, "messages")
        b = client.subscribe("/team/b")
        if kill:
            for i in range(2):
                self.running[i].kill()
                self.start_proxy(i)
        client.poll_until(lambda: len(b) > 20, "messages of the second")
        self.assertTrue(client.unsubscribe("/team/a"))
        self.assertFalse(client.unsubscribe("/team/a"))
        seen = len(a)
        client.poll_until(lambda: len(b) > 80, "more of the second")
        self.assertEqual(len(a), seen)
        self.assertEqual(client.refused, [])
        first, last = client.told["/team/b"], b[-1][0]
        self.assertGreater(first, a[20][0])
        self.writer.stop()
        self.judge(b, "/team/b", first, last, "the second")
        self.judge(a, "/team/a", 1, a[-1][0], "the first")

    @unittest.skipIf(SANITIZE, "the interpreter has no sanitizer's runtime")
    def test_the_library_on_the_core(self):
        self.judge_library(Client(self.d))

    @unittest.skipIf(SANITIZE, "the interpreter has no sanitizer's runtime")
    def test_the_library_through_a_proxy(self):
        self.judge_library(Client(self.source(), self.key))

    @unittest.skipIf(SANITIZE, "the interpreter has no sanitizer's runtime")
    def test_the_library_at_stable_through_proxies_that_die(self):
        self.judge_library(Client(self.source(), self.key, stable=True), kill=True)

    @unittest.skipIf(SANITIZE, "the interpreter has no sanitizer's runtime")
    def test_what_may_not_be_read_is_refused_to_the_library(self):
        client = Client(self.source(), self.key)
        self.addCleanup(client.close)
        a = client.subscribe("/team/a")
        client.poll_until(lambda: len(a) > 5, "messages")
        client.subscribe("/other")
        client.poll_until(lambda: client.refused, "a refusal")
        self.assertEqual(client.refused[0][0], "/other")
        self.assertIn("right to read", client.refused[0][1])
        seen = len(a)
        client.poll_until(lambda: len(a) > seen + 5, "messages go on")
        self.assertEqual(a, sorted(set(a)))

    def test_the_client_in_python(self):
        client = self.client()
        client.subscribe(["/team/a"])
        seen, first = [], None
        for event in client.events(DEADLINE_S):
            if isinstance(event, cantus_edge.Changed):
                first = event.seq
            if isinstance(event, cantus_edge.Message):
                seen.append((event.seq, event.payload, event.topic))
                if len(seen) == 20:
                    client.change(add=["/team/b"], remove=["/team/a"])
            if sum(s[2] == "/team/b" for s in seen) > 60:
                break
        self.writer.stop()
        self.assertIsNotNone(first)
        self.assertLess(max(s[0] for s in seen if s[2] == "/team/a"), first)
        self.judge([s[:2] for s in seen if s[2] == "/team/b"], "/team/b", first, seen[-1][0], "the second")
        self.judge([s[:2] for s in seen if s[2] == "/team/a"], "/team/a", seen[0][0], first - 1, "the first")


if __name__ == "__main__":
    unittest.main()
