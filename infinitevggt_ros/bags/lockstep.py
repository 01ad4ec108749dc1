# SPDX-License-Identifier: Apache-2.0
"""Frame by frame: the next image only after the node has answered the one before."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile

from infinitevggt_ros.bags.image_listener import listens_to_images
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.msg import StreamStatus


@dataclass(frozen=True)
class LockstepOptions:
    """How to wait for the node's answer to an image."""

    status_topic: str = "/infinitevggt/status"
    timeout_s: float = 120.0  # without an answer the replay fails
    resend_s: float = 60.0  # no answer yet: the first image is sent again; then twice this


class LockstepGate:
    """Sends an image and waits until a StreamStatus with its stamp says what became of it."""

    def __init__(self, node: Node, options: LockstepOptions) -> None:
        self.options = options
        self.outcomes: Counter[int] = Counter()  # images by StreamStatus outcome
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
        """Whether anybody publishes on the status topic yet."""
        return self._publishers() > 0

    @property
    def has_listener(self) -> bool:
        """Whether somebody who publishes on the status topic listens to images yet."""
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

        The very first image is sent again until the node answers for it: a subscriber that has
        only just been discovered may have missed it.
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
        self._executor.shutdown()

    def _on_status(self, status: StreamStatus) -> None:
        stamp = status.header.stamp
        if stamp.sec * 10**9 + stamp.nanosec != self._awaited_ns:
            return
        self._heard = True
        if status.outcome != StreamStatus.DROPPED or self._copies == 1:
            self._outcome = status.outcome  # of several copies, one that is not dropped answers

    def _no_answer(self, stamp_ns: int) -> str:
        return (
            f"no answer on {self.options.status_topic} to the image stamped "
            f"{stamp_ns // 10**9}.{stamp_ns % 10**9:09d} within {self.options.timeout_s:g} s. Is "
            f"the node running ({self._publishers()} publish there), is {self.options.status_topic}"
            " its status topic (--status-topic), is it subscribed to the images (--image-topic, "
            "--remap)? --timeout waits longer"
        )

    def _publishers(self) -> int:
        return int(self._node.count_publishers(self.options.status_topic))
