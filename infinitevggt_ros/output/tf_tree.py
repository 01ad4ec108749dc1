# SPDX-License-Identifier: Apache-2.0
"""Transforms that join the map to the robot's tree: one parent per frame (REP-105)."""

import numpy as np
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time
from std_msgs.msg import Header
from tf2_ros import TransformBroadcaster, TransformException

from infinitevggt_ros.input.robot_tf import RobotTf
from infinitevggt_ros.output.frame_messages import transform_message
from infinitevggt_ros.output.frame_result import FramePose
from infinitevggt_ros.params.settings import TfSettings
from infinitevggt_ros.topics import frame_name

Matrix = NDArray[np.float64]
"""4 x 4."""


def visual_frame(optical_frame: str) -> str:
    """Return the name of the camera's frame in the stream's own tree."""
    return f"{optical_frame}_visual"


class TfTree:
    """Publishes the transform that `tf.mode` asks for.

    While lengths are in an arbitrary unit, the map is not joined to the robot's tree: the camera's
    pose is sent as `map -> <optical frame>_visual` (see `tf.require_metres`).
    """

    def __init__(self, node: Node, settings: TfSettings, robot: RobotTf, map_frame: str) -> None:
        self.settings = settings
        self._map_frame = map_frame
        self._odom_frame = frame_name(settings.odom_frame)
        self._base_frame = frame_name(settings.base_frame)
        self._clock = node.get_clock()
        self._logger = node.get_logger()
        self._broadcaster = TransformBroadcaster(node)
        self._robot = robot
        self._map_from_odom: Matrix | None = None
        self._odom_from_map: Matrix | None = None  # None: of the map that comes next
        self._odom_from_base: Matrix | None = None  # None: it has not moved yet
        self._sent: dict[tuple[str, str], TransformStamped | None] = {}  # by parent and child
        self._is_visual_said = False
        self.is_resting = False
        """True while nothing is sent by the timer."""
        if settings.mode in ("map_to_odom", "auto"):
            node.create_timer(settings.period, self.send_again)

    def start_map(self) -> None:
        """Start with another map. The tree's shape stays, and so does the robot's place in odom."""
        self._sent = dict.fromkeys(self._sent)
        self._map_from_odom = self._odom_from_map = None

    def publish(self, result: FramePose) -> None:
        """Send the transform of the mode for the pose of one image.

        Raises TransformException if the camera's pose on the robot is unknown, or if the frame has
        another parent.
        """
        mode, settings, header = self.settings.mode, self.settings, result.header
        if mode == "none":
            return
        if settings.require_metres and not result.is_metric:
            self._publish_own_tree(result)
            return
        child = self._child(header.frame_id)
        optical_from_child = self._robot.lookup(child, header)
        map_from_child = result.pose @ optical_from_child
        if mode == "map_to_odom" or (mode == "auto" and child == self._odom_frame):
            self._map_from_odom = map_from_child
            self.send_again()
        elif mode == "odom_to_base":
            odom_from_child = self._moved(result.odom_pose @ optical_from_child)
            self._send(self._odom_frame, child, odom_from_child, header)
        else:
            self._send(self._map_frame, child, map_from_child, header)

    def send_again(self) -> None:
        """Send the latest map -> odom, stamped ahead of the clock by `tf.tolerance`."""
        now_ns = self._clock.now().nanoseconds
        map_from_odom = self._map_from_odom  # once: another thread may replace it
        is_silent = self.is_resting or self._robot.buffer.rival_parent(self._odom_frame)
        if map_from_odom is None or now_ns == 0 or is_silent:
            return
        ahead = Time(nanoseconds=now_ns) + Duration(seconds=self.settings.tolerance)
        header = Header(stamp=ahead.to_msg())
        self._send(self._map_frame, self._odom_frame, map_from_odom, header)

    def _publish_own_tree(self, result: FramePose) -> None:
        child = visual_frame(result.header.frame_id)
        if not self._is_visual_said:
            self._is_visual_said = True
            self._logger.warning(
                f"lengths are in an arbitrary unit: the camera's pose is sent as {self._map_frame} "
                f"-> {child}, apart from the robot's tree. Set scale.source to get metres"
            )
        self._broadcast(self._map_frame, child, result.pose, result.header)

    def _child(self, optical_frame: str) -> str:
        frames = {"map_to_odom": self._odom_frame, "auto": self._robot.root(optical_frame)}
        child = frames.get(self.settings.mode, self._base_frame)
        if rival := self._robot.buffer.rival_parent(child):
            raise TransformException(
                f"another node sends {rival} -> {child}, as this one would: stop it, or set "
                "another tf.mode"
            )
        parent = self._robot.parent(child) or self._parent_of_ours(child)
        if parent and not self.settings.invert:
            raise TransformException(
                f"{child} has the parent {parent} already, and a frame has one: set another "
                "tf.mode, or tf.invert"
            )
        return child

    def _parent_of_ours(self, child: str) -> str:
        """Return the parent that another tree of this node gave the frame; empty if none did."""
        others = self._robot.buffer.own_edges - self._sent.keys()
        return next((parent for parent, other in others if other == child), "")

    def _moved(self, map_from_base: Matrix) -> Matrix:
        """Return odom_from_base: in another map, the robot goes on from its place in odom."""
        if self._odom_from_base is None:
            self._odom_from_map = np.eye(4)
        elif self._odom_from_map is None:
            self._odom_from_map = self._odom_from_base @ np.linalg.inv(map_from_base)
        self._odom_from_base = np.asarray(self._odom_from_map @ map_from_base)
        return self._odom_from_base

    def _send(self, parent: str, child: str, matrix: Matrix, stamp_of: Header) -> None:
        if self.settings.invert:
            parent, child, matrix = child, parent, np.asarray(np.linalg.inv(matrix))
        self._broadcast(parent, child, matrix, stamp_of)

    def _broadcast(self, parent: str, child: str, matrix: Matrix, stamp_of: Header) -> None:
        before = self._sent.get((parent, child))
        if before is not None and before.header.stamp == stamp_of.stamp:
            return  # another camera of the rig at the same time: tf2 takes one and warns of more
        rotation = None if before is None else before.transform.rotation
        message = transform_message(parent, child, matrix, stamp_of.stamp, rotation)
        self._sent[parent, child] = message
        self._robot.buffer.add_own(message)
        self._broadcaster.sendTransform(message)
