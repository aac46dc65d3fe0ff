"""Stands between clients and their proxies, and can lie: from one SIGUSR1 to the next it leaves out every so many messages and
mends whatever would tell the client, the previous match that frames name. A client can't notice that of a proxy
that lies to it, so whoever compares what clients were told has to.

  liar.py PORT PROXY...     listens on 127.0.0.1:PORT, and passes each connection on to the next proxy"""

import asyncio
import itertools
import signal
import struct
import sys

NAME, MESSAGE, PROGRESS = 21, 22, 23
LEAVES_OUT = 50
lying = False


class Lies:
    """What one client is told, frame by frame."""

    def __init__(self):
        self.buffer, self.messages = b"", 0
        self.left_out = {}  # seq that was left out -> the match before it

    def believed(self, previous):
        while previous in self.left_out:
            previous = self.left_out[previous]
        return previous

    def frame(self, kind, body):
        """The body as the client is to read it; None: not at all."""
        if kind not in (MESSAGE, PROGRESS):
            return body
        seq, previous = struct.unpack_from("<QQ", body)
        if kind == MESSAGE:
            self.messages += 1
            if lying and self.messages % LEAVES_OUT == 0:
                self.left_out[seq] = previous
                return None
        return struct.pack("<QQ", seq, self.believed(previous)) + body[16:]

    def feed(self, data):
        self.buffer += data
        out, at = [], 0
        while len(self.buffer) - at >= 5:
            length, kind = struct.unpack_from("<IB", self.buffer, at)
            if len(self.buffer) - at < 4 + length:
                break
            body = self.frame(kind, self.buffer[at + 5:at + 4 + length])
            if body is not None:
                out.append(struct.pack("<IB", 1 + len(body), kind) + body)
            at += 4 + length
        self.buffer = self.buffer[at:]
        return b"".join(out)


async def pump(reader, writer, change):
    try:
        while data := await reader.read(65536):
            writer.write(change(data))
            await writer.drain()
    except OSError:
        pass
    writer.close()


async def main():
    proxies = itertools.cycle(sys.argv[2:])

    def lie():
        global lying
        lying = not lying

    async def serve(reader, writer):
        host, port = next(proxies).rsplit(":", 1)
        try:
            there = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.close()
            return
        await asyncio.gather(pump(reader, there[1], lambda data: data), pump(there[0], writer, Lies().feed))
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, lie)
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
