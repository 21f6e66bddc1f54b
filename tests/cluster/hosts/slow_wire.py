"""A cable that is slow and loses frames, where the kernel has no netem: two taps, and this process between them.

slow_wire.py TAP TAP SECONDS SHARE    carry frames both ways, each SECONDS later, but for a SHARE of them
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import struct
import sys
import time

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000


def tap(name: str) -> int:
    """Make a tap in this network namespace and return its descriptor; it is gone when that is closed."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TAP | IFF_NO_PI))
    return descriptor


def carry(ends: tuple[int, int], seconds: float, share: float) -> None:
    """Carry frames between two taps until this process is killed."""
    draw, number = random.Random(0), 0
    under_way: list[tuple[float, int, int, bytes]] = []  # when it arrives, a number for the order, where, the frame
    while True:
        waiting = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        ready, _, _ = select.select(ends, [], [], waiting)
        for end in ready:
            frame = os.read(end, 65536)
            if draw.random() >= share:
                number += 1
                to = ends[1] if end == ends[0] else ends[0]
                heapq.heappush(under_way, (time.monotonic() + seconds, number, to, frame))
        while under_way and under_way[0][0] <= time.monotonic():
            _, _, to, frame = heapq.heappop(under_way)
            try:
                os.write(to, frame)
            except OSError:  # the tap is down, or its queue is full: one more frame is lost
                continue


if __name__ == "__main__":
    taps = tap(sys.argv[1]), tap(sys.argv[2])
    print("ready", flush=True)  # noqa: T201
    carry(taps, float(sys.argv[3]), float(sys.argv[4]))
