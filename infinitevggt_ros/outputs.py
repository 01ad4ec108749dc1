"""The node's publishers: one call a frame."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry, Path
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header
from tf2_ros import TransformException

from infinitevggt_core import PointCloud, PointMap
from infinitevggt_core.geometry import unproject
from infinitevggt_ros import messages
from infinitevggt_ros.axes import points_in_map, pose_from_matrix
from infinitevggt_ros.frame_result import FrameResult
from infinitevggt_ros.images import stamp_ns
from infinitevggt_ros.msg import StreamStatus
from infinitevggt_ros.settings import OutputSettings, TfSettings
from infinitevggt_ros.tf_tree import TfTree
from infinitevggt_ros.trajectory import Trajectory

# reliable: it serves subscribers of either kind, and large messages do not get lost
STREAM_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
LATCHED_QOS = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
UPDATES_QOS = QoSProfile(
    depth=5,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,  # else the first one may pass a newcomer by
)
STATUS_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
TIMED_OUTPUTS = "pose", "depth", "points", "map"


class Outputs:
    """Publishes what somebody listens to; a pose and a status always."""

    def __init__(
        self, node: Node, tf: TfSettings, settings: OutputSettings, warn: Callable[[str, str], None]
    ) -> None:
        """warn(kind, text): the node's throttled warning."""
        self.settings = settings
        self.timings: dict[str, tuple[float, float]] = {}
        """Latency and age in ms (StreamStatus) of what was sent for the last frame, by output; of
        the map when it was sent last."""
        self._context = node.context
        self._clock = node.get_clock()
        self._map_frame = tf.map_frame
        self._tf = TfTree(node, tf)
        self._warn = warn
        self.trajectory = Trajectory()
        self._update_listeners = 0
        self._odometry = node.create_publisher(Odometry, "~/odometry", STREAM_QOS)
        self._path = node.create_publisher(Path, "~/path", LATCHED_QOS)
        self._depth = node.create_publisher(Image, "~/depth/image", STREAM_QOS)
        self._depth_info = node.create_publisher(CameraInfo, "~/depth/camera_info", STREAM_QOS)
        self._confidence = node.create_publisher(Image, "~/depth/confidence", STREAM_QOS)
        self._points = node.create_publisher(PointCloud2, "~/points", STREAM_QOS)
        self._map = node.create_publisher(PointCloud2, "~/map", LATCHED_QOS)
        self._map_updates = node.create_publisher(PointCloud2, "~/map_updates", UPDATES_QOS)
        self._status = node.create_publisher(StreamStatus, "~/status", STATUS_QOS)

    @property
    def can_publish(self) -> bool:
        """False once ROS is shut down."""
        return bool(self._context.ok())

    @property
    def now_ns(self) -> int:
        """The node's clock; 0 while it waits for the first /clock."""
        return int(self._clock.now().nanoseconds)

    @property
    def map_is_wanted(self) -> bool:
        return self._map.get_subscription_count() > 0

    def reset(self) -> None:
        """A new world: the path and the map start again, for those who come later too."""
        self._tf.forget()
        self.trajectory.clear()
        header = Header(frame_id=self._map_frame)
        none = np.empty((0, 3), dtype=np.float32)
        self._path.publish(Path(header=header))
        self._map.publish(messages.cloud(header, none, none, none[:, 0]))
        self.clear_map_updates()

    def clear_map_updates(self) -> None:
        """Who follows the map forgets all of it."""
        none = np.empty((0, 3), dtype=np.float32)
        header = Header(frame_id=self._map_frame)
        self._map_updates.publish(messages.cloud(header, none, none, *none.T[:2]))

    def restore(self, trajectory: dict[str, Any]) -> None:
        """Go on from a trajectory's snapshot, in another map; one that does not fit changes
        nothing."""
        restored = Trajectory()
        restored.load_state_dict(trajectory, Header(frame_id=self._map_frame))
        self._tf.forget()
        self.trajectory = restored
        self.clear_map_updates()

    def rescale(self, ratio: float) -> None:
        """All lengths have another unit from now on."""
        self.trajectory.rescale(ratio)
        self._tf.let_go()

    def position_in_odom(self, header: Header) -> NDArray[np.float64] | None:
        """Of the camera at the header's stamp, by the robot's own tf, metres; None if unknown."""
        return self._tf.position_in_odom(header)

    def publish_frame(self, result: FrameResult) -> None:
        """Pose, depth and this frame's cloud, all with the image's stamp."""
        self.timings = {name: timing for name, timing in self.timings.items() if name == "map"}
        self._publish_pose(result)
        self._publish_depth(result)
        if self._points.get_subscription_count():
            self._publish_points(result)

    def publish_status(self, status: StreamStatus) -> None:
        self._status.publish(status)

    def publish_map(self, point_map: PointMap, latest: FrameResult) -> None:
        """The whole fused cloud, in the map frame, as of the latest frame in it."""
        cloud = point_map.cloud(self.settings.map_points)
        header = self._in_map(latest.header)
        self._map.publish(messages.cloud(header, *_arrays(cloud, latest.scale)))
        self._time("map", latest)

    def publish_map_changes(self, point_map: PointMap, latest: FrameResult) -> None:
        """What changed in the map since the last time; to a new listener all of it is new."""
        listeners = self._map_updates.get_subscription_count()
        if listeners > self._update_listeners:
            point_map.hand_out_again()
        self._update_listeners = listeners
        if not listeners:
            return
        changes = point_map.changes(self.settings.updates_points)
        if len(changes.voxels):
            header = self._in_map(latest.header)
            voxels = changes.voxels.numpy()
            self._map_updates.publish(
                messages.cloud(header, *_arrays(changes, latest.scale), voxels)
            )

    def _in_map(self, header: Header) -> Header:
        return Header(stamp=header.stamp, frame_id=self._map_frame)

    def _time(self, output: str, result: FrameResult) -> None:
        """Note that an output of this frame was sent just now."""
        latency_ms = 1e3 * (time.monotonic() - result.received.time_s)
        self.timings[output] = latency_ms, (self.now_ns - stamp_ns(result.received.message)) / 1e6

    def _publish_pose(self, result: FrameResult) -> None:
        if not np.isfinite(result.pose).all():
            self._warn("pose", "the network gave a pose that is not finite: not published")
            return
        try:
            self._tf.publish(result.pose, result.header)
        except TransformException as error:
            self._warn("tf", f"nothing published on /tf: {error}")
        header = self._in_map(result.header)
        pose = pose_from_matrix(result.pose)
        odometry = Odometry(header=header, child_frame_id=result.header.frame_id)
        odometry.pose.pose = pose
        self._odometry.publish(odometry)
        self.trajectory.add(PoseStamped(header=header, pose=pose), self.settings.path_poses)
        self._path.publish(Path(header=header, poses=self.trajectory.poses))
        self._time("pose", result)

    def _publish_depth(self, result: FrameResult) -> None:
        wanted = self._depth, self._depth_info, self._confidence
        if not any(publisher.get_subscription_count() for publisher in wanted):
            return
        depth, confidence = result.depth, result.confidence
        hidden = (confidence < self.settings.min_confidence) | ~np.isfinite(depth)
        depth = np.where(hidden, np.float32(np.nan), depth)
        matrix = result.intrinsics.double().numpy()
        if self.settings.depth_resolution == "camera":
            pixels = result.image.pixel_map
            depth, confidence = pixels.to_camera(depth), pixels.to_camera(confidence)
            matrix = pixels.camera_intrinsics(matrix)
        header = result.header
        self._depth.publish(messages.float_image(header, depth))
        self._depth_info.publish(messages.camera_info(header, matrix, depth.shape))
        self._confidence.publish(messages.float_image(header, confidence))
        self._time("depth", result)

    def _publish_points(self, result: FrameResult) -> None:
        """In the optical frame, so that it is right whatever becomes of the pose."""
        points = unproject(torch.from_numpy(result.depth), result.intrinsics).reshape(-1, 3)
        confidence = result.prediction.depth_confidence[0].cpu().reshape(-1)
        colors = result.image.pixels.cpu().reshape(3, -1).T
        shown = (confidence >= self.settings.min_confidence) & torch.isfinite(points).all(-1)
        arrays = (points[shown].numpy(), colors[shown].numpy(), confidence[shown].numpy())
        self._points.publish(messages.cloud(result.header, *arrays))
        self._time("points", result)


def _arrays(
    cloud: PointCloud, scale: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Positions in the map, colours, confidences."""
    positions = points_in_map(cloud.positions.numpy()) * np.float32(scale)
    return positions, cloud.colors.numpy(), cloud.confidences.numpy()
