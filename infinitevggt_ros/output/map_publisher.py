# SPDX-License-Identifier: Apache-2.0
"""The node's publishers: one call a frame."""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from tf2_ros import TransformException

from infinitevggt_core import PointCloud, PointMap
from infinitevggt_ros.axes import points_in_map
from infinitevggt_ros.output import messages
from infinitevggt_ros.output.camera_publishers import LATCHED_QOS, CameraOutputs, Timing, timing
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.output.tf_tree import RobotBuffer, TfTree
from infinitevggt_ros.output.trajectory import Trajectory
from infinitevggt_ros.params.qos import create_publisher
from infinitevggt_ros.params.settings import OutputSettings, Settings, TfSettings
from infinitevggt_ros.topics import topic_of

UPDATES_QOS = QoSProfile(
    depth=5,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,  # else the first one may pass a newcomer by
)


class Outputs:
    """Of one world: tf and the map, and what is published of each camera in it."""

    def __init__(
        self,
        node: Node,
        tf: TfSettings,
        settings: OutputSettings,
        warn: Callable[[str, str], None],
        cameras: Collection[str] = ("",),
        name: str = "",
        robot: RobotBuffer | None = None,
    ) -> None:
        """warn(kind, text): the node's throttled warning. cameras: their names. name: of the world,
        before its topics and its frame; empty where there is one. robot: where worlds share it."""
        self.settings = settings
        self.name = name
        self._clock = node.get_clock()
        self._map_frame = _map_frame(name, tf)
        self._tf = TfTree(node, replace(tf, map_frame=self._map_frame), robot)
        self._warn = warn
        self._map_timing: Timing | None = None
        self._update_listeners = 0
        self._cameras = {camera: CameraOutputs(node, camera, self._map_frame) for camera in cameras}
        topics = [f"~/{topic_of(name, topic)}" for topic in ("map", "map_updates")]
        self._map = create_publisher(node, PointCloud2, topics[0], LATCHED_QOS)
        self._map_updates = create_publisher(node, PointCloud2, topics[1], UPDATES_QOS)

    @property
    def now_ns(self) -> int:
        """The node's clock; 0 while it waits for the first /clock."""
        return int(self._clock.now().nanoseconds)

    @property
    def map_is_wanted(self) -> bool:
        return self._map.get_subscription_count() > 0

    @property
    def trajectories(self) -> dict[str, Trajectory]:
        """By camera."""
        return {name: camera.trajectory for name, camera in self._cameras.items()}

    def timings(self, camera: str) -> dict[str, Timing]:
        """Of what was sent for the camera's last frame, by output; of the map when it was sent
        last."""
        sent = self._cameras[camera].timings
        return sent if self._map_timing is None else {**sent, "map": self._map_timing}

    def reset(self) -> None:
        """A new world: paths and map start again, for those who come later too."""
        self._tf.forget()
        for camera in self._cameras.values():
            camera.reset()
        self.clear_map()

    def forget_robot(self) -> None:
        """Time begins again for all worlds: what the robot's tf said before is wrong."""
        self._tf.forget_robot()

    def rest(self) -> None:
        """Send nothing by a timer until `wake`."""
        self._tf.is_resting = True

    def wake(self) -> None:
        self._tf.is_resting = False

    def clear_map(self) -> None:
        """It is empty, for those who come later too. No image says so, and no stamp: that of the
        last image has been sent."""
        header = Header(frame_id=self._map_frame)
        none = np.empty((0, 3), dtype=np.float32)
        self._map.publish(messages.cloud(header, none, none, none[:, 0]))
        self.clear_map_updates()

    def clear_map_updates(self) -> None:
        """Who follows the map forgets all of it."""
        none = np.empty((0, 3), dtype=np.float32)
        header = Header(frame_id=self._map_frame)
        self._map_updates.publish(messages.cloud(header, none, none, *none.T[:2]))

    def restore(self, trajectories: dict[str, Any]) -> None:
        """Go on from snapshots of the trajectories, in another map; where one does not fit, nothing
        changes."""
        restored = [camera.restored(trajectories[name]) for name, camera in self._cameras.items()]
        self._tf.forget()
        for camera, trajectory in zip(self._cameras.values(), restored, strict=True):
            camera.trajectory = trajectory
        self.clear_map_updates()

    def rescale(self, ratio: float) -> None:
        """All lengths have another unit from now on."""
        for trajectory in self.trajectories.values():
            trajectory.rescale(ratio)
        self._tf.rescale(ratio)

    def position_in_odom(self, header: Header) -> NDArray[np.float64] | None:
        """Of the camera at the header's stamp, by the robot's own tf, metres; None if unknown."""
        return self._tf.position_in_odom(header)

    def between(self, frame: str, other: str) -> NDArray[np.float64] | None:
        """4 x 4, another frame on the robot in a frame, metres; None if unknown."""
        return self._tf.between(frame, other)

    def pose_of(self, frame: str, header: Header) -> NDArray[np.float64]:
        """4 x 4, a frame of the robot in the header's, at its stamp. Raises TransformException."""
        return self._tf.pose_of(frame, header)

    def publish_frame(self, result: FrameResult) -> None:
        """Its place on /tf, and what is published of its camera."""
        if result.is_placed:
            self._publish_place(result)
        else:
            self._warn("pose", "the network gave a pose that is not finite: not published")
        self._cameras[result.received.camera.name].publish(result, self.settings)

    def _publish_place(self, result: FrameResult) -> None:
        try:
            self._tf.publish(result.pose, result.header)
        except TransformException as error:
            self._warn("tf", f"nothing published on /tf: {error}")

    def publish_map(self, point_map: PointMap, latest: FrameResult) -> None:
        """The whole fused cloud, in the map frame, as of the latest frame in it."""
        cloud = point_map.cloud(self.settings.map_points)
        header = self._in_map(latest.header)
        self._map.publish(messages.cloud(header, *_arrays(cloud, latest)))
        self._map_timing = timing(latest.received, self.now_ns)

    def publish_map_changes(self, point_map: PointMap, latest: FrameResult) -> None:
        """What changed in the map since the last time; to a new listener all of it is new."""
        listeners = self._map_updates.get_subscription_count()
        if listeners > self._update_listeners:
            point_map.mark_all_changed()
        self._update_listeners = listeners
        if not listeners:
            return
        changes = point_map.changes(self.settings.updates_points)
        if len(changes.voxels):
            header = self._in_map(latest.header)
            voxels = changes.voxels.numpy()
            self._map_updates.publish(messages.cloud(header, *_arrays(changes, latest), voxels))

    def _in_map(self, header: Header) -> Header:
        return Header(stamp=header.stamp, frame_id=self._map_frame)


def outputs_of_worlds(
    node: Node, settings: Settings, warn: Callable[[str, str], None]
) -> list[Outputs]:
    """One world for all cameras, or one for each."""
    common, names = (node, settings.tf, settings.output, warn), settings.input.camera_names
    if not settings.is_independent:
        return [Outputs(*common, names)]
    robot = RobotBuffer(node, [_map_frame(name, settings.tf) for name in names])
    return [Outputs(*common, (name,), name, robot) for name in names]


def _map_frame(world: str, tf: TfSettings) -> str:
    return f"{world}_{tf.map_frame}" if world else tf.map_frame


def _arrays(
    cloud: PointCloud, latest: FrameResult
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Positions in the map, colours, confidences."""
    positions = points_in_map(cloud.positions.numpy(), latest.map_from_world)
    return positions * np.float32(latest.scale), cloud.colors.numpy(), cloud.confidences.numpy()
