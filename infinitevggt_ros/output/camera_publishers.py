# SPDX-License-Identifier: Apache-2.0
"""Publishers of one camera: odometry, path, depth and points."""

import math
import time
from collections.abc import Sequence
from typing import Any

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry, Path
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header

from infinitevggt_ros.output.frame_messages import depth_messages, points_message
from infinitevggt_ros.output.frame_result import FramePose, FrameResult
from infinitevggt_ros.output.odometry import OdometryMessages
from infinitevggt_ros.params.qos import create_publisher
from infinitevggt_ros.params.settings import OutputSettings
from infinitevggt_ros.topics import topic_of

# reliable: it serves subscribers of either kind, and large messages do not get lost
STREAM_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
LATCHED_QOS = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
Timing = tuple[float, float]
"""Latency and age of an output, s (StreamStatus)."""


class CameraPublishers:
    """Publishes depth and points if somebody subscribes to them; poses always."""

    def __init__(self, node: Node, name: str, map_frame: str, odometry: OdometryMessages) -> None:
        """name: of the camera, before its topics; empty for a single camera."""
        self.timings: dict[str, Timing] = {}
        """Timing of each output of the last frame."""
        self._sent: tuple[int, ...] = ()  # identifies the image whose pose was sent last
        self._clock = node.get_clock()
        self._map_frame = map_frame
        self._odometry_messages = odometry

        def publisher(kind: type[Any], topic: str, qos: QoSProfile = STREAM_QOS) -> Publisher:
            return create_publisher(node, kind, f"~/{topic_of(name, topic)}", qos)

        self._odometry = publisher(Odometry, "odometry")
        self._path = publisher(Path, "path", LATCHED_QOS)
        self._depth = publisher(Image, "depth/image")
        self._depth_info = publisher(CameraInfo, "depth/camera_info")
        self._confidence = publisher(Image, "depth/confidence")
        self._points = publisher(PointCloud2, "points")

    def start_map(self, path: Sequence[PoseStamped]) -> None:
        """Publish the path of another map, also for later subscribers."""
        self._odometry_messages.reset()
        self._path.publish(Path(header=Header(frame_id=self._map_frame), poses=path))

    def has_sent(self, pose: FramePose) -> bool:
        """Return True if the pose of this image was published."""
        return self._sent == _key(pose)

    def publish_pose(self, pose: FramePose) -> None:
        """Publish the odometry of an image whose pose is finite, with the image's stamp."""
        self.timings = {}
        self._odometry.publish(self._odometry_messages.message(pose))
        self._sent = _key(pose)
        self._time("pose", pose)

    def publish(
        self,
        result: FrameResult,
        path: Sequence[PoseStamped],
        settings: OutputSettings,
        points_frame: str = "",
    ) -> None:
        """Publish path, depth and points, all with the image's stamp.

        points_frame: name of the optical frame in the points' message; the image's by default.
        """
        if not self.has_sent(result):
            self.timings = {}
        if result.is_placed:
            header = Header(stamp=result.header.stamp, frame_id=self._map_frame)
            self._path.publish(Path(header=header, poses=path))
        self._publish_depth(result, settings)
        if self._points.get_subscription_count():
            self._points.publish(points_message(result, settings, points_frame))
            self._time("points", result)

    def clear_timings(self) -> None:
        """Record that nothing was published of the last frame."""
        self.timings = {}

    def _publish_depth(self, result: FrameResult, settings: OutputSettings) -> None:
        publishers = self._depth, self._depth_info, self._confidence
        if not any(publisher.get_subscription_count() for publisher in publishers):
            return
        depth = depth_messages(result, settings)
        self._depth.publish(depth.image)
        self._depth_info.publish(depth.info)
        self._confidence.publish(depth.confidence)
        self._time("depth", result)

    def _time(self, output: str, result: FramePose) -> None:
        now_ns = int(self._clock.now().nanoseconds)
        self.timings[output] = timing(result.stamp_ns, result.received_s, now_ns)


def _key(pose: FramePose) -> tuple[int, ...]:
    """Return what identifies the pose of an image."""
    return pose.stamp_ns, pose.map_id, pose.placement_id


def timing(stamp_ns: int, received_s: float, now_ns: int) -> Timing:
    """Return latency and age, s, of a message that is sent now.

    now_ns: time of the node's clock; 0 if it is unknown, then the age is NaN.
    """
    latency_s = time.monotonic() - received_s
    age_s = (now_ns - stamp_ns) / 1e9 if now_ns else math.nan
    return latency_s, age_s
