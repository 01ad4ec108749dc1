# SPDX-License-Identifier: Apache-2.0
"""Newest message of a topic."""

from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message


class Latest:
    """Holds one serialized message: only messages that are shown are deserialized."""

    def __init__(
        self, node: Node, kind: type[Any], topic: str, period_s: float, *, latched: bool = False
    ) -> None:
        """period_s: shortest time between two messages that take() returns."""
        self._kind = kind
        self._period_s = period_s
        self._bytes: bytes | None = None
        self._due_s = 0.0
        durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        qos = QoSProfile(depth=1, durability=durability)
        node.create_subscription(kind, topic, self.keep, qos, raw=True)

    def keep(self, message: bytes) -> None:
        """Replace the held message."""
        self._bytes = message

    def take(self, now_s: float) -> Any | None:
        """Return a new message; None if there is none or the period has not passed."""
        if self._bytes is None or now_s < self._due_s:
            return None
        taken, self._bytes = self._bytes, None
        self._due_s = now_s + self._period_s
        return deserialize_message(taken, self._kind)
