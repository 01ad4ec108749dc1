# SPDX-License-Identifier: Apache-2.0
"""A node without ROS's network: what the node's publishers send is handed to a function.

`Outputs` makes its messages here as it does on a robot; nothing is initialised, nothing is sent.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from infinitevggt_ros.topics import NODE_NAME

Take = Callable[[str, Any], None]
"""Topic and message."""


class OfflineNode:
    """As much of rclpy's Node as `Outputs` and tf2_ros ask for."""

    def __init__(self, take: Take, wanted: set[str]) -> None:
        """wanted: topics that somebody listens to."""
        self.context = SimpleNamespace(ok=lambda: True)
        self._take, self._wanted = take, wanted

    def get_clock(self) -> Any:
        """One that has not begun: a recording's stamps are not held against today."""
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=0))

    def create_publisher(self, kind: type, topic: str, *_: Any, **__: Any) -> "OfflinePublisher":
        return OfflinePublisher(topic.replace("~", NODE_NAME, 1), self._take, self._wanted)

    def create_timer(self, *_: Any, **__: Any) -> None:
        """Nothing is due."""

    def create_subscription(self, *_: Any, **__: Any) -> None:
        """Nothing ever comes."""


class OfflinePublisher:
    def __init__(self, topic: str, take: Take, wanted: set[str]) -> None:
        self._topic, self._take, self._wanted = topic, take, wanted

    def publish(self, message: Any) -> None:
        if self._topic in self._wanted:
            self._take(self._topic, message)

    def get_subscription_count(self) -> int:
        return int(self._topic in self._wanted)
