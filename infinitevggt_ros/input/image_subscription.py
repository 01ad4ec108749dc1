# SPDX-License-Identifier: Apache-2.0
"""Subscribes to images with the reliability their publishers offer, and says when none come."""

import time
from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo
from sensor_msgs.msg import CompressedImage, Image

from infinitevggt_ros.input.image_conversion import stamp_ns
from infinitevggt_ros.params.qos import (
    OVERRIDABLE,
    RELIABILITIES,
    WITHOUT_RELIABILITY,
    asked_reliability,
)

CHECK_PERIOD_S = 0.5
SILENCE_S = 5.0
DEPTH = 2
LARGE_IMAGE_ADVICE = (
    "best-effort images over half a megabyte do not get through Fast DDS as it is set by default: "
    "publish them reliably, or start the camera and this node with "
    "FASTDDS_DEFAULT_PROFILES_FILE=<share/infinitevggt_ros/config/fastdds_large_images.xml>"
)


def image_topic(node: Node, name: str, transport: str) -> str:
    """The topic images come on, after namespace and remapping. name: what a user remaps."""
    suffix = "/compressed" if transport == "compressed" else ""
    return str(node.resolve_topic_name(name)) + suffix


class ImageSubscription:
    """A reliable subscriber hears no best-effort publisher, and a best-effort one loses every large
    image of a reliable publisher. So the node asks for what is offered, and looks again."""

    def __init__(
        self,
        node: Node,
        name: str,
        transport: str,
        reliability: str,
        receive: Callable[[Image | CompressedImage], None],
        warn: Callable[[str, str], None],
    ) -> None:
        """name: what a user remaps. transport, reliability: as in InputSettings."""
        self._node, self._name, self._receive, self._warn = node, name, receive, warn
        self._type: type[Image | CompressedImage] = (
            CompressedImage if transport == "compressed" else Image
        )
        self.topic = image_topic(node, name, transport)
        asked = asked_reliability(node, self.topic)
        self._reliability_wanted = asked or reliability
        # declared, it would keep its first value for all subscriptions to come
        self._overridable = OVERRIDABLE if asked else WITHOUT_RELIABILITY
        self._subscription: Subscription | None = None
        self._reliability: ReliabilityPolicy | None = None
        self._last_image_s = time.monotonic()
        self._last_stamp_ns = 0
        self._check()
        # not the node's clock: that one stands still while a bag is paused or not yet played
        self._timer = node.create_timer(
            CHECK_PERIOD_S, self._check, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def close(self) -> None:
        """Listen no more. To be called in the executor."""
        self._node.destroy_timer(self._timer)
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)

    def on_image(self, message: Image | CompressedImage) -> None:
        """Take an image. Called in the executor."""
        self._last_image_s = time.monotonic()
        self._last_stamp_ns = stamp_ns(message)
        self._receive(message)

    def _check(self) -> None:
        wanted = self._wanted_reliability()
        if wanted != self._reliability:
            if self._subscription is not None:
                self._node.destroy_subscription(self._subscription)
            qos = QoSProfile(depth=DEPTH, reliability=wanted)
            self._subscription = self._node.create_subscription(
                self._type,
                self.topic,
                self.on_image,
                qos,
                qos_overriding_options=self._overridable,
            )
            self._reliability = wanted
        if time.monotonic() - self._last_image_s > SILENCE_S:
            self._warn(f"silence on {self._name}", self._silence())

    def _wanted_reliability(self) -> ReliabilityPolicy:
        if self._reliability_wanted != "auto":
            return RELIABILITIES[self._reliability_wanted]
        offered = [found.qos_profile.reliability for found in self._publishers(self.topic)]
        if not offered:
            return self._reliability or ReliabilityPolicy.RELIABLE
        every = all(reliability == ReliabilityPolicy.RELIABLE for reliability in offered)
        return ReliabilityPolicy.RELIABLE if every else ReliabilityPolicy.BEST_EFFORT

    def _publishers(self, topic: str) -> list[TopicEndpointInfo]:
        return list(self._node.get_publishers_info_by_topic(topic))

    def _silence(self) -> str:
        publishers = self._publishers(self.topic)
        text = f"{self.topic}: no image for {SILENCE_S:.0f} s"
        if self._last_stamp_ns:
            now_ns = self._node.get_clock().now().nanoseconds
            text += f", the last stamp is {(now_ns - self._last_stamp_ns) / 1e9:.1f} s old"
        text += f"; {len(publishers)} publisher(s)"
        if publishers:
            text += f": {', '.join(sorted(map(_offer, publishers)))}"
        return f"{text}; {self._advice(publishers)}"

    def _advice(self, publishers: list[TopicEndpointInfo]) -> str:
        """Return advice for the case that no image arrives."""
        if not publishers:
            return self._advice_on_nobody()
        wanted, sent = _type_name(self._type), {found.topic_type for found in publishers}
        if wanted not in sent:
            return f"that is {', '.join(sorted(sent))}, not {wanted}: see image_transport"
        offered = {found.qos_profile.reliability for found in publishers}
        if offered == {ReliabilityPolicy.RELIABLE}:
            return "is it running?"
        if self._reliability == ReliabilityPolicy.RELIABLE:
            return "the node asks for reliable and hears no best effort: see image_reliability"
        return LARGE_IMAGE_ADVICE

    def _advice_on_nobody(self) -> str:
        base = str(self._node.resolve_topic_name(self._name))
        other, transport = (
            (f"{base}/compressed", "compressed") if self.topic == base else (base, "raw")
        )
        advice = f"remap `{self._name}` to your camera's topic (now {base})"
        if self._publishers(other):
            return f"{other} has one: set image_transport to {transport}, or {advice}"
        return advice


def _offer(publisher: TopicEndpointInfo) -> str:
    node = f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}"
    return f"{node} offers {publisher.qos_profile.reliability.name.lower()}"


def _type_name(kind: type[Image | CompressedImage]) -> str:
    return f"sensor_msgs/msg/{kind.__name__}"
