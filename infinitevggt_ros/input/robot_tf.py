# SPDX-License-Identifier: Apache-2.0
"""The robot's own transforms, as heard on /tf and /tf_static."""

import math
import time
from collections import deque
from collections.abc import Collection
from typing import TypeAlias

import numpy as np
import yaml
from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time
from std_msgs.msg import Header
from tf2_ros import Buffer, TransformException, TransformListener

from infinitevggt_ros.input.image_conversion import stamp_ns
from infinitevggt_ros.input.robot import Pose, Position
from infinitevggt_ros.pose_messages import matrix_from_transform
from infinitevggt_ros.topics import frame_name

LOOKUP_TIMEOUT = Duration(seconds=0.1)
TREE_REFRESH_S = 1.0
MAX_LATE_NS = 1_000_000_000
"""A transform that is older than its predecessor by more than this belongs to a restarted time."""
RIVAL_S = 5.0
"""Time after the last transform of another node during which more are expected."""
KEPT_MARKS = 1000
Mark: TypeAlias = tuple[str, str, int, int, float, float, float]
"""Identifies one of our transforms: parent, child, stamp and translation."""


class RobotBuffer(Buffer):
    """tf2 buffer without the transforms that this node sends, which must not hide the parent that a
    frame has on the robot."""

    def __init__(self, node: Node, map_frames: Collection[str]) -> None:
        super().__init__()
        self._map_frames = [frame_name(frame) for frame in map_frames]
        self.own_edges: set[tuple[str, str]] = set()
        """Parents and children that this node publishes."""
        self._own_marks = deque[Mark](maxlen=KEPT_MARKS)
        self._rivals: dict[str, tuple[str, float]] = {}  # parent and time of the latest, by child
        self._newest_ns: dict[str, int] = {}  # by child
        self._listener = TransformListener(self, node)

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Store a transform of the robot; a stamp far before the latest one clears the buffer."""
        if self._is_ours(transform, time.monotonic()):
            return
        child, at_ns = frame_name(transform.child_frame_id), stamp_ns(transform)
        if at_ns < self._newest_ns.get(child, at_ns) - MAX_LATE_NS:
            self.clear()
        self._newest_ns[child] = at_ns
        super().set_transform(transform, authority)

    def clear(self) -> None:
        """Discard all transforms but the static ones."""
        self._newest_ns.clear()
        super().clear()

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Store a static transform of the robot."""
        if not self._is_ours(transform, math.inf):  # it is sent once, and holds
            super().set_transform_static(transform, authority)

    def add_own(self, transform: TransformStamped) -> None:
        """Record a transform of this node, before it is sent."""
        self.own_edges.add((transform.header.frame_id, transform.child_frame_id))
        self._own_marks.append(_mark(transform))

    def rival_parent(self, child: str) -> str:
        """Return the parent that another node gives a frame of ours; empty if there is none."""
        parent, at_s = self._rivals.get(child, ("", -math.inf))
        return parent if time.monotonic() - at_s < RIVAL_S else ""

    def _is_ours(self, transform: TransformStamped, at_s: float) -> bool:
        parent, child = frame_name(transform.header.frame_id), frame_name(transform.child_frame_id)
        if parent not in self._map_frames and (parent, child) not in self.own_edges:
            return False
        if _mark(transform) not in self._own_marks:
            self._rivals[child] = parent, at_s
        return True


class RobotTf:
    """The robot's frames by its /tf. See `Robot`."""

    def __init__(
        self, buffer: RobotBuffer, odom_frame: str, base_frame: str, *, is_shared: bool = False
    ) -> None:
        """is_shared: several streams use the buffer, so that none of them may clear it."""
        self.buffer = buffer
        self.base_frame = frame_name(base_frame)
        self._odom_frame = frame_name(odom_frame)
        self._is_shared = is_shared
        self._parents: dict[str, str] = {}
        self._read_at = -TREE_REFRESH_S

    def position_in_odom(self, header: Header) -> Position | None:
        stamp = Time.from_msg(header.stamp)
        try:
            found = self.buffer.lookup_transform(
                self._odom_frame, header.frame_id, stamp, LOOKUP_TIMEOUT
            )
        except TransformException:
            return None
        return np.asarray(matrix_from_transform(found.transform)[:3, 3])

    def between(self, frame: str, other: str) -> Pose | None:
        try:
            found = self.buffer.lookup_transform(frame, other, Time())
        except TransformException:
            return None
        return matrix_from_transform(found.transform)

    def pose_of(self, frame: str, header: Header) -> Pose | None:
        try:
            return self.lookup(frame, header)
        except TransformException:
            return None

    def lookup(self, frame: str, header: Header) -> Pose:
        """Return the pose of `frame` in the header's frame at its stamp, or the latest one if the
        robot's transforms are late. Raises TransformException if there is none."""
        if frame == header.frame_id:
            return np.eye(4)
        self.buffer.lookup_transform(header.frame_id, frame, Time())  # do not wait for unknown ones
        stamp = Time.from_msg(header.stamp)
        try:
            found = self.buffer.lookup_transform(header.frame_id, frame, stamp, LOOKUP_TIMEOUT)
        except TransformException:
            found = self.buffer.lookup_transform(header.frame_id, frame, Time())
        return matrix_from_transform(found.transform)

    def forget_time(self) -> None:
        if not self._is_shared:
            self.buffer.clear()

    def parent(self, frame: str) -> str:
        """Return the frame's parent on the robot; empty if it has none."""
        self._refresh(at_once=frame not in self._parents)
        return self._parents.get(frame, "")

    def root(self, frame: str) -> str:
        """Return the topmost ancestor of a frame on the robot: the frame itself if it has none."""
        self._refresh(at_once=frame not in self._parents)
        seen = set[str]()
        while (parent := self._parents.get(frame, "")) and parent not in seen:
            seen.add(frame)
            frame = parent
        return frame

    def _refresh(self, *, at_once: bool) -> None:
        now_s = time.monotonic()
        if now_s - self._read_at < TREE_REFRESH_S and not at_once:
            return
        self._read_at = now_s
        frames = yaml.safe_load(self.buffer.all_frames_as_yaml()) or {}
        self._parents |= {str(name): str(entry["parent"]) for name, entry in frames.items()}


def _mark(transform: TransformStamped) -> Mark:
    stamp, place = transform.header.stamp, transform.transform.translation
    edge = frame_name(transform.header.frame_id), frame_name(transform.child_frame_id)
    return *edge, stamp.sec, stamp.nanosec, place.x, place.y, place.z
