"""Holds frames back for a moment, so that they arrive after what was sent later, and flips bits in others.
nftables forwards some of the frames that enter the bridge to the devices late0 and flip0; here they are read from
their other ends, late1 and flip1, and put out to all hosts, of which each takes what is addressed to it. netem
would do this, where the kernel has it.

  late.py SEED MS_MAX PORT...      PORT: the bridge's end of a host's link

Frames keep their virtio-net header, because between namespaces checksums are not filled in and one frame may
stand for many (segmentation offload). For the same reason no kernel notices a flipped bit: whoever receives the
datagram has to. Only UDP is damaged; TCP has its own checksum, which a wire's damage does not get past."""

import heapq
import random
import select
import signal
import socket
import sys
import time

ETH_P_ALL, SOL_PACKET, PACKET_VNET_HDR, PACKET_OUTGOING = 3, 263, 15, 4
FRAME_MAX = 1 << 17
HELD_MAX = 4096
VNET_HEADER, ETHERNET_HEADER, UDP_HEADER = 10, 14, 8


def packet_socket(device, protocol):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
    s.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    s.bind((device, protocol))
    s.setblocking(False)
    return s


def with_flipped_bit(frame, rng):
    """One bit of a datagram's payload."""
    ip = VNET_HEADER + ETHERNET_HEADER
    if frame[ip - 2:ip] != b"\x08\x00" or frame[ip + 9] != socket.IPPROTO_UDP:
        return frame
    payload = ip + 4 * (frame[ip] & 15) + UDP_HEADER
    end = ip + int.from_bytes(frame[ip + 2:ip + 4], "big")
    if end <= payload or end > len(frame):
        return frame
    changed = bytearray(frame)
    changed[rng.randrange(payload, end)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def main():
    rng, delay_max = random.Random(int(sys.argv[1])), float(sys.argv[2]) / 1000
    ports = [packet_socket(name, 0) for name in sys.argv[3:]]
    late, flip = packet_socket("late1", ETH_P_ALL), packet_socket("flip1", ETH_P_ALL)
    held, count = [], 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        wait = max(0, held[0][0] - time.monotonic()) if held else None
        for source in select.select([late, flip], [], [], wait)[0]:
            frame, address = source.recvfrom(FRAME_MAX)
            if address[2] == PACKET_OUTGOING or len(held) >= HELD_MAX:
                continue
            count += 1
            delay = rng.random() * delay_max if source is late else 0
            heapq.heappush(held, (time.monotonic() + delay, count,
                                  frame if source is late else with_flipped_bit(frame, rng)))
        while held and held[0][0] <= time.monotonic():
            frame = heapq.heappop(held)[2]
            for port in ports:
                try:
                    port.send(frame)
                except OSError:
                    pass  # lost: that happens to frames


if __name__ == "__main__":
    main()
