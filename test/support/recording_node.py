# SPDX-License-Identifier: Apache-2.0
"""A node without DDS: what its publishers send is handed to a function."""

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from infinitevggt_ros.topics import NODE_NAME

Take = Callable[[str, Any], None]
"""Topic and message."""


class RecordingNode:
    """As much of rclpy's Node as the publishers and tf2_ros ask for."""

    def __init__(self, take: Take, wanted: set[str]) -> None:
        """wanted: topics that somebody listens to."""
        self.context = SimpleNamespace(ok=lambda: True)
        self.now_ns = 0
        """Time of the node's clock."""
        self.timers: list[Callable[[], None]] = []
        """Callbacks of timers, for the test to call."""
        self.subscriptions: dict[str, Callable[[Any], None]] = {}
        """Callbacks of subscriptions, for the test to call."""
        self._take, self._wanted = take, wanted

    def get_clock(self) -> Any:
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=self.now_ns))

    def get_logger(self) -> Any:
        return logging.getLogger("recording_node")

    def create_publisher(self, kind: type, topic: str, *_: Any, **__: Any) -> "RecordingPublisher":
        return RecordingPublisher(topic.replace("~", NODE_NAME, 1), self._take, self._wanted)

    def create_timer(self, _: float, callback: Callable[[], None], **__: Any) -> None:
        self.timers.append(callback)

    def create_subscription(
        self, kind: type, topic: str, callback: Callable[[Any], None], *_: Any, **__: Any
    ) -> None:
        self.subscriptions[topic] = callback


class RecordingPublisher:
    """Publisher of a RecordingNode."""

    def __init__(self, topic: str, take: Take, wanted: set[str]) -> None:
        self._topic, self._take, self._wanted = topic, take, wanted

    def publish(self, message: Any) -> None:
        if self._topic in self._wanted:
            self._take(self._topic, message)

    def get_subscription_count(self) -> int:
        return int(self._topic in self._wanted)
