# SPDX-License-Identifier: Apache-2.0
"""What is published of one camera: its pose, its depth, its points."""

import math
import time
from typing import Any

import numpy as np
import torch
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry, Path
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header

from infinitevggt_core.model.geometry import unproject
from infinitevggt_ros.axes import pose_from_matrix
from infinitevggt_ros.input.image_conversion import stamp_ns
from infinitevggt_ros.input.mailbox import Received
from infinitevggt_ros.output import messages
from infinitevggt_ros.output.covariance import NOTHING_KNOWN, pose_covariance
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.output.trajectory import Trajectory
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
"""Latency and age of an output in ms (StreamStatus)."""


class CameraOutputs:
    """Publishes what somebody listens to; a pose always."""

    def __init__(self, node: Node, name: str, map_frame: str) -> None:
        """name: the camera's, its topics lie below it; empty where there is one."""
        self.trajectory = Trajectory()
        self.timings: dict[str, Timing] = {}
        """Of what was sent for the last frame, by output."""
        self._clock = node.get_clock()
        self._map_frame = map_frame

        def publisher(kind: type[Any], topic: str, qos: QoSProfile = STREAM_QOS) -> Publisher:
            return create_publisher(node, kind, f"~/{topic_of(name, topic)}", qos)

        self._odometry = publisher(Odometry, "odometry")
        self._path = publisher(Path, "path", LATCHED_QOS)
        self._depth = publisher(Image, "depth/image")
        self._depth_info = publisher(CameraInfo, "depth/camera_info")
        self._confidence = publisher(Image, "depth/confidence")
        self._points = publisher(PointCloud2, "points")

    def reset(self) -> None:
        """A new world: the path starts again, for those who come later too."""
        self.trajectory.clear()
        self._path.publish(Path(header=Header(frame_id=self._map_frame)))

    def restored(self, trajectory: dict[str, Any]) -> Trajectory:
        """From a snapshot."""
        restored = Trajectory()
        restored.load_state_dict(trajectory, Header(frame_id=self._map_frame))
        return restored

    def publish(self, result: FrameResult, settings: OutputSettings) -> None:
        """Pose, depth and this frame's cloud, all with the image's stamp."""
        self.timings = {}
        if result.is_placed:
            self._publish_pose(result, settings)
        self._publish_depth(result, settings)
        if self._points.get_subscription_count():
            self._publish_points(result, settings)

    def _time(self, output: str, result: FrameResult) -> None:
        self.timings[output] = timing(result.received, int(self._clock.now().nanoseconds))

    def _publish_pose(self, result: FrameResult, settings: OutputSettings) -> None:
        header = Header(stamp=result.header.stamp, frame_id=self._map_frame)
        pose = pose_from_matrix(result.pose)
        odometry = Odometry(header=header, child_frame_id=result.header.frame_id)
        odometry.pose.pose = pose
        odometry.pose.covariance = pose_covariance(result.pose[:3, 3], result.metres_doubt)
        odometry.twist.covariance = NOTHING_KNOWN
        self._odometry.publish(odometry)
        self.trajectory.add(PoseStamped(header=header, pose=pose), settings.path_poses)
        self._path.publish(Path(header=header, poses=self.trajectory.poses))
        self._time("pose", result)

    def _publish_depth(self, result: FrameResult, settings: OutputSettings) -> None:
        wanted = self._depth, self._depth_info, self._confidence
        if not any(publisher.get_subscription_count() for publisher in wanted):
            return
        depth, confidence = result.depth, result.confidence
        hidden = (confidence < settings.min_confidence) | ~np.isfinite(depth)
        depth = np.where(hidden, np.float32(np.nan), depth)
        matrix = result.intrinsics.double().numpy()
        if settings.depth_resolution == "camera":
            pixels = result.image.pixel_map
            depth, confidence = pixels.to_camera(depth), pixels.to_camera(confidence)
            matrix = pixels.camera_intrinsics(matrix)
        header = result.header
        self._depth.publish(messages.float_image(header, depth))
        self._depth_info.publish(messages.camera_info(header, matrix, depth.shape))
        self._confidence.publish(messages.float_image(header, confidence))
        self._time("depth", result)

    def _publish_points(self, result: FrameResult, settings: OutputSettings) -> None:
        """In the optical frame, so that it is right whatever becomes of the pose."""
        points = unproject(torch.from_numpy(result.depth), result.intrinsics).reshape(-1, 3)
        confidence = result.prediction.depth_confidence[0].cpu().reshape(-1)
        colors = result.image.pixels.cpu().reshape(3, -1).T
        shown = (confidence >= settings.min_confidence) & torch.isfinite(points).all(-1)
        arrays = (points[shown].numpy(), colors[shown].numpy(), confidence[shown].numpy())
        self._points.publish(messages.cloud(result.header, *arrays))
        self._time("points", result)


def timing(received: Received, now_ns: int) -> Timing:
    """Of what is sent just now. now_ns: the node's clock; 0 while that is not known."""
    latency_ms = 1e3 * (time.monotonic() - received.time_s)
    age_ms = (now_ns - stamp_ns(received.message)) / 1e6 if now_ns else math.nan
    return latency_ms, age_ms
