# SPDX-License-Identifier: Apache-2.0
"""Publish serialized messages reliably on one live topic."""

import time
from collections.abc import Callable

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from infinitevggt_ros.message_maker import message_class

FRAGMENTED_BYTES = 65_000
"""Larger messages are sent in fragments, which Fast DDS acknowledges within milliseconds. Smaller
ones are acknowledged with the next heartbeat, seconds later, and are rarely lost."""
ACKNOWLEDGE_S = 1.0
"""A subscriber that does not read delays at most one queue of messages by this time."""
SLICE_S = 0.05


class TopicPublisher:
    """RELIABLE publisher that keeps the number of unacknowledged large messages below its depth.

    Reliable whatever was recorded: over the default transport of Fast DDS, best-effort images of
    more than half a megabyte never arrive. A queue that overflows would still lose messages, so
    publish() waits for room.
    """

    def __init__(
        self, node: Node, topic: str, type_name: str, *, depth: int, latched: bool
    ) -> None:
        """latched: TRANSIENT_LOCAL. Raises LookupError if the type is not installed."""
        self.topic = topic
        self.sent = 0
        """Number of messages published."""
        self._depth = depth
        self._unacknowledged = 0
        durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        qos = QoSProfile(depth=depth, reliability=ReliabilityPolicy.RELIABLE, durability=durability)
        self._publisher = node.create_publisher(message_class(type_name), topic, qos)

    @property
    def subscriber_count(self) -> int:
        return int(self._publisher.get_subscription_count())

    def publish(self, serialized: bytes, running: Callable[[], bool]) -> None:
        """Send one message; a large one waits for room in the queue."""
        if len(serialized) > FRAGMENTED_BYTES:
            self._make_room(running)
        self._publisher.publish(serialized)
        self.sent += 1

    def drain(self, timeout_s: float, running: Callable[[], bool]) -> bool:
        """Wait until every subscriber has all messages; return False after the timeout."""
        deadline = time.monotonic() + timeout_s
        while running():
            if self._acknowledged(SLICE_S):  # in slices: the call would not let Ctrl-C through
                return True
            if time.monotonic() > deadline:
                break
        return False

    def _make_room(self, running: Callable[[], bool]) -> None:
        if self._acknowledged(0.0):
            self._unacknowledged = 0
        elif self._unacknowledged >= self._depth - 1:
            self.drain(ACKNOWLEDGE_S, running)
            self._unacknowledged = 0
        self._unacknowledged += 1

    def _acknowledged(self, timeout_s: float) -> bool:
        return bool(self._publisher.wait_for_all_acked(Duration(seconds=timeout_s)))
