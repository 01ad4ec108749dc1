# SPDX-License-Identifier: Apache-2.0
"""Publishes one stream: transforms, poses, depth, points and the map."""

import time
from collections.abc import Collection

from nav_msgs.msg import OccupancyGrid
from rclpy.node import Node
from std_msgs.msg import Header
from tf2_ros import TransformException

from infinitevggt_ros.errors import Warn
from infinitevggt_ros.input.robot_tf import RobotBuffer, RobotTf
from infinitevggt_ros.output import messages
from infinitevggt_ros.output.camera_publishers import (
    LATCHED_QOS,
    CameraPublishers,
    Timing,
    timing,
)
from infinitevggt_ros.output.frame_result import FramePose, FrameResult
from infinitevggt_ros.output.map_publisher import MapPublisher
from infinitevggt_ros.output.marker_publisher import MarkerPublisher
from infinitevggt_ros.output.odometry import OdometryMessages
from infinitevggt_ros.output.tf_tree import TfTree, visual_frame
from infinitevggt_ros.params.qos import create_publisher
from infinitevggt_ros.params.settings import Settings
from infinitevggt_ros.stream.stream import Stream
from infinitevggt_ros.topics import frame_name, topic_of

WorldKey = tuple[int, int]
"""Identifies a map and its pose: map_id and placement_id."""


class StreamPublisher:
    """Publishers of one world. Belongs to the worker's thread, like its stream."""

    def __init__(
        self,
        node: Node,
        settings: Settings,
        warn: Warn,
        cameras: Collection[str] = ("",),
        name: str = "",
        buffer: RobotBuffer | None = None,
    ) -> None:
        """Create the publishers.

        Args:
            node: Owner of the publishers.
            settings: All parameters of the node.
            warn: Called with warnings.
            cameras: Names of the cameras in this world.
            name: Name of the world, before its topics and its map frame; empty if there is one.
            buffer: Transforms of the robot, if several worlds share them.
        """
        self.name = name
        self.cameras = cameras
        self._clock, self._warn = node.get_clock(), warn
        self._map_frame = settings.tf.map_frame_of(name)
        self.robot = RobotTf(
            buffer or RobotBuffer(node, (self._map_frame,)),
            settings.tf.odom_frame,
            settings.tf.base_frame,
            is_shared=buffer is not None,
        )
        self.tf = TfTree(node, settings.tf, self.robot, self._map_frame)
        base_frame = frame_name(settings.tf.base_frame)
        self._cameras = {
            camera: CameraPublishers(
                node,
                camera,
                self._map_frame,
                OdometryMessages(self._map_frame, base_frame, self.robot, settings.odometry),
            )
            for camera in cameras
        }
        self._map = MapPublisher(node, self._map_frame, name)
        self._markers = MarkerPublisher(node, self._map_frame, name)
        self._grid = create_publisher(
            node, OccupancyGrid, f"~/{topic_of(name, 'grid')}", LATCHED_QOS
        )
        self._grid_sent_s = 0.0
        self._gridded: FrameResult | None = None  # latest frame in the grid that was sent
        self._map_timing: Timing | None = None
        self._map_sent_s = self._updates_sent_s = 0.0
        self._mapped: FrameResult | None = None  # latest frame in the map that was sent
        self._world: WorldKey = (0, 0)
        self._map_version = 0

    @property
    def now_ns(self) -> int:
        """Time of the node's clock; 0 while it waits for the first /clock."""
        return int(self._clock.now().nanoseconds)

    def timings(self, camera: str) -> dict[str, Timing]:
        """Return the timing of each output of the camera's last frame, and of the last map."""
        sent = self._cameras[camera].timings
        return sent if self._map_timing is None else {**sent, "map": self._map_timing}

    def attach(self, stream: Stream) -> None:
        """Continue with a stream that was loaded: nothing of it was published yet."""
        self._world = (stream.map_id, stream.placement_id)
        self._map_version, self._mapped = stream.map_version, None

    def publish_pose(self, stream: Stream, pose: FramePose) -> None:
        """Publish transform and odometry of one image, once. Nothing while the scale is awaited."""
        self.follow(stream)
        camera = self._cameras[pose.camera]
        if pose.awaits_scale or camera.has_sent(pose):
            return
        if not pose.is_placed:
            self._warn("pose", "the network gave a pose that is not finite: not published")
            return
        self._publish_transform(pose)
        camera.publish_pose(pose)

    def publish(self, stream: Stream, result: FrameResult) -> None:
        """Publish the result of one image. Nothing is published while the scale is awaited."""
        self.publish_pose(stream, result)
        camera = self._cameras[result.camera]
        if result.awaits_scale:
            camera.clear_timings()
            return
        camera.publish(
            result,
            stream.trajectories[result.camera].poses,
            stream.settings.output,
            self._points_frame(stream, result),
        )

    def follow(self, stream: Stream) -> None:
        """Start again where the stream did: clear transforms, paths and map."""
        world = (stream.map_id, stream.placement_id)
        if world != self._world:
            self._world = world
            self.tf.start_map()
            for name, camera in self._cameras.items():
                camera.start_map([] if stream.awaits_scale else stream.trajectories[name].poses)
        if stream.map_version != self._map_version:
            self._map_version = stream.map_version
            self._mapped = stream.latest  # an empty map has no stamp, and it is not sent again
            self._map.clear()
            self._markers.clear()

    def publish_periodic(self, stream: Stream) -> None:
        """Publish the map and its changes, if they are due."""
        self.follow(stream)
        settings, now_s, latest = stream.settings.output, time.monotonic(), stream.latest
        if latest is None or latest.awaits_scale:
            return
        if now_s - self._updates_sent_s >= settings.updates_period:
            self._map.publish_changes(stream.map, latest, settings)
            self._updates_sent_s = now_s
        self._publish_grid(stream, latest, now_s)
        self._markers.publish(latest, stream.scene, settings.markers_period)
        is_due = now_s - self._map_sent_s >= settings.map_period
        if latest is not self._mapped and is_due and self._map.has_subscribers:
            self._map.publish(stream.map, latest, settings)
            self._map_timing = timing(latest.stamp_ns, latest.received_s, self.now_ns)
            self._mapped, self._map_sent_s = latest, now_s

    def _publish_grid(self, stream: Stream, latest: FrameResult, now_s: float) -> None:
        """Publish the occupancy grid if it is due and somebody subscribes to it."""
        is_due = now_s - self._grid_sent_s >= stream.settings.grid.period
        if latest is self._gridded or not is_due or stream.grid.is_empty:
            return
        if self._grid.get_subscription_count():
            grid = stream.grid.image()
            header = Header(stamp=latest.header.stamp, frame_id=self._map_frame)
            origin = (*grid.origin, grid.floor)
            message = messages.occupancy_grid(header, grid.cells, grid.resolution, origin)
            self._grid.publish(message)
            self._gridded, self._grid_sent_s = latest, now_s

    def rest(self) -> None:
        """Send nothing by a timer until `wake`."""
        self.tf.is_resting = True

    def wake(self) -> None:
        """Send by timers again."""
        self.tf.is_resting = False

    def _publish_transform(self, result: FramePose) -> None:
        try:
            self.tf.publish(result)
        except TransformException as error:
            self._warn("tf", f"nothing published on /tf: {error}")

    def _points_frame(self, stream: Stream, result: FrameResult) -> str:
        """Return the frame of the points: that of the stream's own tree while it has one."""
        tf = stream.settings.tf
        is_own_tree = tf.mode != "none" and tf.require_metres and not result.is_metric
        return visual_frame(result.header.frame_id) if is_own_tree else result.header.frame_id


def publishers_of_worlds(node: Node, settings: Settings, warn: Warn) -> list[StreamPublisher]:
    """Return publishers for one world of all cameras, or for one world of each."""
    names = settings.input.camera_names
    if not settings.is_independent:
        return [StreamPublisher(node, settings, warn, names)]
    buffer = RobotBuffer(node, [settings.tf.map_frame_of(name) for name in names])
    return [StreamPublisher(node, settings, warn, (name,), name, buffer) for name in names]
