# SPDX-License-Identifier: Apache-2.0
"""Lockstep: send the next image only after the node has answered the previous one."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node, NodeNameNonExistentError
from rclpy.qos import QoSProfile

from infinitevggt_ros.bags.reader import IMAGE_TYPES
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.msg import StreamStatus


@dataclass(frozen=True)
class LockstepOptions:
    """Wait for the node's answer to each image."""

    status_topic: str = "/infinitevggt/status"
    timeout_s: float = 120.0
    """The replay fails after this time without an answer."""
    resend_s: float = 60.0
    """The first image is sent again after this time without an answer, then after twice this."""


class LockstepGate:
    """Sends an image and waits until a StreamStatus with its stamp gives the outcome."""

    def __init__(self, node: Node, options: LockstepOptions) -> None:
        self.options = options
        self.outcomes: Counter[int] = Counter()
        """Number of images by outcome of StreamStatus."""
        self._heard = False
        self._copies = 0
        self._awaited_ns: int | None = None
        self._outcome: int | None = None
        self._node = node
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)
        node.create_subscription(
            StreamStatus, options.status_topic, self._on_status, QoSProfile(depth=100)
        )

    @property
    def has_publisher(self) -> bool:
        """True if there is a publisher on the status topic."""
        return self._publishers() > 0

    @property
    def has_listener(self) -> bool:
        """True if a node that publishes on the status topic subscribes to images."""
        found = self._node.get_publishers_info_by_topic(self.options.status_topic)
        names = {f"{node.node_namespace}/{node.node_name}" for node in found}
        return any(listens_to_images(self._node, name) for name in names)

    def deliver(
        self,
        send: Callable[[], None],
        stamp_ns: int,
        running: Callable[[], bool],
        while_waiting: Callable[[], None],
    ) -> None:
        """Send the image stamped `stamp_ns` (ns) and wait for its answer.

        The first image is sent again until the node answers: a subscriber that was discovered a
        moment ago may have missed it. Raises CommandError after the timeout.
        """
        self._awaited_ns, self._outcome, self._copies = stamp_ns, None, 1
        began_s, pause_s = time.monotonic(), self.options.resend_s
        resend_s = began_s + pause_s
        send()
        while running() and self._outcome is None:
            now_s = time.monotonic()
            if now_s - began_s > self.options.timeout_s:
                raise CommandError(self._no_answer(stamp_ns))
            if now_s > resend_s and not self._heard:
                pause_s *= 2
                resend_s = now_s + pause_s
                self._copies += 1
                send()
            self._executor.spin_once(timeout_sec=0.05)
            while_waiting()
        if self._outcome is not None:
            self.outcomes[self._outcome] += 1

    def close(self) -> None:
        """Stop listening."""
        self._executor.shutdown()

    def _on_status(self, status: StreamStatus) -> None:
        stamp = status.header.stamp
        if stamp.sec * 10**9 + stamp.nanosec != self._awaited_ns:
            return
        self._heard = True
        if status.outcome != StreamStatus.DROPPED or self._copies == 1:
            self._outcome = status.outcome  # of several copies, one that is not dropped counts

    def _no_answer(self, stamp_ns: int) -> str:
        return (
            f"no answer on {self.options.status_topic} to the image stamped "
            f"{stamp_ns // 10**9}.{stamp_ns % 10**9:09d} within {self.options.timeout_s:g} s. Is "
            f"the node running ({self._publishers()} publishers), is {self.options.status_topic} "
            "its status topic (--status-topic), does it subscribe to these images (--image-topic, "
            "--remap)? --timeout waits longer"
        )

    def _publishers(self) -> int:
        return int(self._node.count_publishers(self.options.status_topic))


def listens_to_images(graph: Node, name: str) -> bool:
    """Return True if the node with this full name (`/robot/infinitevggt`) subscribes to images."""
    namespace, _, base_name = name.strip("/").rpartition("/")
    try:
        topics = graph.get_subscriber_names_and_types_by_node(base_name, f"/{namespace}")
    except NodeNameNonExistentError:
        return False
    return any(kind in IMAGE_TYPES for _, kinds in topics for kind in kinds)
