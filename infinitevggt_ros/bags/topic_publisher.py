# SPDX-License-Identifier: Apache-2.0
"""Serialized messages onto one live topic, reliably."""

import time
from collections.abc import Callable

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from infinitevggt_ros.bags.message_types import message_class

# Messages above this go in fragments, which Fast DDS has acknowledged within milliseconds; smaller
# ones are acknowledged with the next heartbeat, seconds later, and rarely get lost.
_FRAGMENTED_BYTES = 65_000
_ACKNOWLEDGE_S = 1.0  # a subscriber that stands still holds one queue's worth up no longer
_SLICE_S = 0.05


class TopicPublisher:
    """A RELIABLE publisher that sends no more large messages than its queue holds unacknowledged.

    Reliable whatever was recorded: over the default transport of Fast DDS, best-effort images of
    more than half a megabyte never arrive. A queue that overflows would lose messages in spite of
    that, so publish() waits first.
    """

    def __init__(
        self, node: Node, topic: str, type_name: str, *, depth: int, latched: bool
    ) -> None:
        """`latched`: TRANSIENT_LOCAL. Raises LookupError where the type is not installed."""
        self.topic = topic
        self.sent = 0
        self._depth = depth
        self._unacknowledged = 0
        durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        qos = QoSProfile(depth=depth, reliability=ReliabilityPolicy.RELIABLE, durability=durability)
        self._publisher = node.create_publisher(message_class(type_name), topic, qos)

    @property
    def subscriber_count(self) -> int:
        return int(self._publisher.get_subscription_count())

    def publish(self, serialized: bytes, running: Callable[[], bool]) -> None:
        """Send one message; a large one after there is room for it in the queue."""
        if len(serialized) > _FRAGMENTED_BYTES:
            self._make_room(running)
        self._publisher.publish(serialized)
        self.sent += 1

    def drain(self, timeout_s: float, running: Callable[[], bool]) -> bool:
        """Wait until every subscriber has everything; False where one has not in time."""
        deadline = time.monotonic() + timeout_s
        while running():
            if self._acknowledged(_SLICE_S):  # in slices: the call would not let Ctrl-C through
                return True
            if time.monotonic() > deadline:
                break
        return False

    def _make_room(self, running: Callable[[], bool]) -> None:
        if self._acknowledged(0.0):
            self._unacknowledged = 0
        elif self._unacknowledged >= self._depth - 1:
            self.drain(_ACKNOWLEDGE_S, running)
            self._unacknowledged = 0
        self._unacknowledged += 1

    def _acknowledged(self, timeout_s: float) -> bool:
        return bool(self._publisher.wait_for_all_acked(Duration(seconds=timeout_s)))
