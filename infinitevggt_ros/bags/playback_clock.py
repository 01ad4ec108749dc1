# SPDX-License-Identifier: Apache-2.0
"""Clock of a bag that is being played, published on /clock."""

import math
import time
from collections.abc import Callable

from rclpy.node import Node
from rosgraph_msgs.msg import Clock

LONGEST_SLEEP_S = 0.05
"""A sleep ends this often, to notice Ctrl-C."""


class PlaybackClock:
    """Advances by `rate` bag seconds in a wall second and publishes its time on /clock."""

    def __init__(self, node: Node, *, rate: float, clock_hz: float) -> None:
        """rate: inf for no waiting. clock_hz: messages on /clock per wall second, 0 for none."""
        self._rate = rate
        self._period_s = 1.0 / clock_hz if clock_hz else math.inf
        self._publisher = node.create_publisher(Clock, "/clock", 10) if clock_hz else None
        self._next_tick_s = 0.0
        self.set(0)

    def set(self, stamp_ns: int) -> None:
        """Set the bag time of this moment."""
        self._anchor_ns = stamp_ns
        self._anchor_wall_ns = time.monotonic_ns()

    def wall_s_until(self, stamp_ns: int) -> float:
        """Return the wall seconds until bag time is `stamp_ns`; 0 without waiting."""
        if math.isinf(self._rate):
            return 0.0
        return (stamp_ns - self._now_ns()) / 1e9 / self._rate

    def wait_until(self, stamp_ns: int, running: Callable[[], bool]) -> int:
        """Sleep until bag time is `stamp_ns`; return the delay of waking up (wall ns)."""
        if math.isinf(self._rate):
            self.tick(stamp_ns)
            return 0
        while running():
            ahead_ns = stamp_ns - self._now_ns()
            self.tick(stamp_ns - max(0, ahead_ns))
            if ahead_ns <= 0:
                return int(-ahead_ns / self._rate)
            time.sleep(min(ahead_ns / 1e9 / self._rate, self._period_s, LONGEST_SLEEP_S))
        return 0

    def tick(self, stamp_ns: int, *, force: bool = False) -> None:
        """Publish `stamp_ns` on /clock if the period has passed; always with `force`."""
        wall_s = time.monotonic()
        if self._publisher is None or (wall_s < self._next_tick_s and not force):
            return
        self._next_tick_s = wall_s + self._period_s
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(stamp_ns, 10**9)
        self._publisher.publish(message)

    def _now_ns(self) -> int:
        wall_ns = time.monotonic_ns() - self._anchor_wall_ns
        return self._anchor_ns + int(wall_ns * self._rate)
