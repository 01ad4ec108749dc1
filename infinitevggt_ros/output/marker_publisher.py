# SPDX-License-Identifier: Apache-2.0
"""Publisher of the tracking's markers."""

import time
from collections.abc import Callable

from rclpy.node import Node
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from infinitevggt_ros.output.camera_publishers import LATCHED_QOS
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.output.markers import TrackedScene, marker_array, no_markers
from infinitevggt_ros.params.qos import create_publisher
from infinitevggt_ros.topics import topic_of


class MarkerPublisher:
    """Publishes the markers of one world if somebody subscribes to them."""

    def __init__(self, node: Node, map_frame: str, name: str = "") -> None:
        """name: of the world, before its topics; empty if there is one world."""
        self._map_frame = map_frame
        self._publisher = create_publisher(
            node, MarkerArray, f"~/{topic_of(name, 'markers')}", LATCHED_QOS
        )
        self._sent: FrameResult | None = None
        self._sent_s = 0.0

    def clear(self) -> None:
        """Remove the markers of a map that ended."""
        self._publisher.publish(no_markers(Header(frame_id=self._map_frame)))

    def publish(
        self, latest: FrameResult, scene: Callable[[], TrackedScene | None], period_s: float
    ) -> None:
        """Publish the scene as of the latest frame, if that is due and there is one."""
        now_s = time.monotonic()
        is_due = now_s - self._sent_s >= period_s
        if latest is self._sent or not is_due or not self._publisher.get_subscription_count():
            return
        self._sent, self._sent_s = latest, now_s
        shown = scene()
        if shown is not None:
            header = Header(stamp=latest.header.stamp, frame_id=self._map_frame)
            self._publisher.publish(marker_array(shown, latest.placement, header))
