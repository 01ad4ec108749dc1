# SPDX-License-Identifier: Apache-2.0
"""Subscribes to the calibration of a camera, latched or not."""

from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo

from infinitevggt_ros.params.qos import OVERRIDABLE
from infinitevggt_ros.params.rclpy_compat import no_event_callbacks

CHECK_PERIOD_S = 0.5


class CalibrationSubscription:
    """Hears every publisher by a volatile subscription, and what was latched before by another one.

    That one is made only where a publisher latches: any other would warn that it is incompatible.
    """

    def __init__(self, node: Node, name: str, receive: Callable[[CameraInfo], None]) -> None:
        """name: what a user remaps."""
        self._node, self._receive = node, receive
        self._topic = str(node.resolve_topic_name(name))
        self._latched: Subscription | None = None
        any_publisher = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        node.create_subscription(
            CameraInfo, name, receive, any_publisher, qos_overriding_options=OVERRIDABLE
        )
        self._check()
        # not the node's clock: that one stands still while a bag is paused or not yet played
        node.create_timer(
            CHECK_PERIOD_S, self._check, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def _check(self) -> None:
        if self._latched is None and self._is_latched():
            self._latched = self._node.create_subscription(
                CameraInfo,
                self._topic,
                self._receive,
                QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL),
                event_callbacks=no_event_callbacks(),
            )

    def _is_latched(self) -> bool:
        return any(
            publisher.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
            for publisher in self._node.get_publishers_info_by_topic(self._topic)
        )
