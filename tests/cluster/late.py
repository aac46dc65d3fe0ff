"""Holds frames back for a moment, so that they arrive after what was sent later. nftables forwards some of the
frames that enter the bridge to the device late0; here they are read from its other end, late1, and put out
to all hosts, of which each takes what is addressed to it. netem would do this, where the kernel has it.

  late.py SEED MS_MAX PORT...      PORT: the bridge's end of a host's link

Frames keep their virtio-net header, because between namespaces checksums are not filled in and one frame may
stand for many (segmentation offload)."""

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


def packet_socket(device, protocol):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
    s.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    s.bind((device, protocol))
    s.setblocking(False)
    return s


def main():
    rng, delay_max = random.Random(int(sys.argv[1])), float(sys.argv[2]) / 1000
    ports = [packet_socket(name, 0) for name in sys.argv[3:]]
    source = packet_socket("late1", ETH_P_ALL)
    held, count = [], 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        wait = max(0, held[0][0] - time.monotonic()) if held else None
        if select.select([source], [], [], wait)[0] and len(held) < HELD_MAX:
            frame, address = source.recvfrom(FRAME_MAX)
            if address[2] != PACKET_OUTGOING:
                count += 1
                heapq.heappush(held, (time.monotonic() + rng.random() * delay_max, count, frame))
        while held and held[0][0] <= time.monotonic():
            frame = heapq.heappop(held)[2]
            for port in ports:
                try:
                    port.send(frame)
                except OSError:
                    pass  # lost: that happens to frames


if __name__ == "__main__":
    main()
