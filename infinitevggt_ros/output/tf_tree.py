# SPDX-License-Identifier: Apache-2.0
"""Where the map joins the robot's tf tree: one parent per frame, never a second one (REP-105)."""

import math
import time
from collections import deque
from collections.abc import Collection
from typing import TypeAlias

import numpy as np
import yaml
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time
from std_msgs.msg import Header
from tf2_ros import Buffer, TransformBroadcaster, TransformException, TransformListener

from infinitevggt_ros.axes import matrix_from_transform, transform_from_matrix
from infinitevggt_ros.input.image_conversion import stamp_ns
from infinitevggt_ros.params.settings import TfSettings

LOOKUP_TIMEOUT = Duration(seconds=0.1)
TREE_REFRESH_S = 1.0
MOST_LATE_NS = 1_000_000_000
"""A transform that is later than this after its successor is of a time that began again."""
RIVAL_S = 5.0
"""So long after its last transform another node is taken to send more."""
KEPT_MARKS = 1000
Mark: TypeAlias = tuple[str, str, int, int, float, float, float]
"""What tells a transform of ours from another's: parent, child, stamp and place."""


class RobotBuffer(Buffer):
    """The robot's own tf: what we sent ourselves must not hide the parent that a frame has on the
    robot."""

    def __init__(self, node: Node, map_frames: Collection[str]) -> None:
        super().__init__()
        self._map_frames = map_frames
        self.own_edges: set[tuple[str, str]] = set()
        """Parents and children that we publish."""
        self._own_marks = deque[Mark](maxlen=KEPT_MARKS)
        self._rivals: dict[str, tuple[str, float]] = {}  # parent and time of the latest, by child
        self._newest_ns: dict[str, int] = {}  # by child
        self._listener = TransformListener(self, node)

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        if self._keeps_out(transform, time.monotonic()):
            return
        at_ns = stamp_ns(transform)
        if at_ns < self._newest_ns.get(transform.child_frame_id, at_ns) - MOST_LATE_NS:
            self.clear()
        self._newest_ns[transform.child_frame_id] = at_ns
        super().set_transform(transform, authority)

    def clear(self) -> None:
        """Time begins again: transforms of the time before are wrong. Static ones stay."""
        self._newest_ns.clear()
        super().clear()

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        if not self._keeps_out(transform, math.inf):  # it is sent once, and holds
            super().set_transform_static(transform, authority)

    def remember_own(self, transform: TransformStamped) -> None:
        """To be called before it is sent."""
        self.own_edges.add((transform.header.frame_id, transform.child_frame_id))
        self._own_marks.append(_mark(transform))

    def rival_parent(self, child: str) -> str:
        """What another node joins a frame to, as we would; empty where none does."""
        parent, at_s = self._rivals.get(child, ("", -math.inf))
        return parent if time.monotonic() - at_s < RIVAL_S else ""

    def _keeps_out(self, transform: TransformStamped, at_s: float) -> bool:
        parent, child = transform.header.frame_id, transform.child_frame_id
        if parent not in self._map_frames and (parent, child) not in self.own_edges:
            return False
        if _mark(transform) not in self._own_marks:
            self._rivals[child] = parent, at_s
        return True


def _mark(transform: TransformStamped) -> Mark:
    stamp, place = transform.header.stamp, transform.transform.translation
    edge = transform.header.frame_id, transform.child_frame_id
    return *edge, stamp.sec, stamp.nanosec, place.x, place.y, place.z


class TfTree:
    """Publishes the transform of the mode so that the camera stands where the stream says."""

    def __init__(self, node: Node, settings: TfSettings, robot: RobotBuffer | None = None) -> None:
        """robot: where several trees share it."""
        self.settings = settings
        self._clock = node.get_clock()
        self._broadcaster = TransformBroadcaster(node)
        self._has_robot_alone = robot is None
        self._buffer = robot or RobotBuffer(node, (settings.map_frame,))
        self._parents: dict[str, str] = {}
        self._read_at = -TREE_REFRESH_S
        self._map_from_odom: NDArray[np.float64] | None = None
        self._odom_from_map: NDArray[np.float64] | None = None  # None: of the map that comes next
        self._odom_from_base: NDArray[np.float64] | None = None  # None: it has not moved yet
        self._sent: dict[tuple[str, str], object] = {}  # latest stamps, by parent and child
        self._latest: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        self.is_resting = False
        """Nothing is sent again then."""
        if settings.mode == "map_to_odom":
            node.create_timer(settings.period, self._send_again)

    def forget(self) -> None:
        """A new map, and another time. The tree's shape stays, and so does the place in odom; what
        other worlds know of the robot too, whose time may be the same as before."""
        if self._has_robot_alone:
            self.forget_robot()
        self._sent = dict.fromkeys(self._sent)
        self._map_from_odom = self._odom_from_map = self._latest = None

    def forget_robot(self) -> None:
        """Time begins again for the whole robot."""
        self._buffer.clear()

    def rescale(self, ratio: float) -> None:
        """The map's lengths have another unit from now on: the robot is where it was in odom, and
        goes on from there in the new unit."""
        if self._latest is not None and self._odom_from_base is not None:
            map_from_optical, optical_from_base = self._latest
            scaled = map_from_optical.copy()
            scaled[:3, 3] *= ratio
            self._odom_from_map = self._odom_from_base @ np.linalg.inv(scaled @ optical_from_base)

    def position_in_odom(self, header: Header) -> NDArray[np.float64] | None:
        """Of the camera at the header's stamp, by the robot's own tf, metres; None if unknown."""
        stamp, odom = Time.from_msg(header.stamp), self.settings.odom_frame
        try:
            found = self._buffer.lookup_transform(odom, header.frame_id, stamp, LOOKUP_TIMEOUT)
        except TransformException:
            return None
        return matrix_from_transform(found.transform)[:3, 3]

    def between(self, frame: str, other: str) -> NDArray[np.float64] | None:
        """4 x 4, another frame on the robot as it is now in a frame, metres; None if unknown."""
        try:
            found = self._buffer.lookup_transform(frame, other, Time())
        except TransformException:
            return None
        return matrix_from_transform(found.transform)

    def publish(self, map_from_optical: NDArray[np.float64], header: Header) -> None:
        """Send what the mode asks for, for a camera pose (4 x 4), with the image's header.

        Raises TransformException when the camera's place on the robot is not known, or the frame
        has another parent.
        """
        mode, settings = self.settings.mode, self.settings
        if mode == "none":
            return
        child = self._child(header.frame_id)
        optical_from_child = self.pose_of(child, header)
        map_from_child = map_from_optical @ optical_from_child
        if mode == "map_to_odom":
            self._map_from_odom = map_from_child
            self._send_again()
        elif mode == "odom_to_base":
            self._send(settings.odom_frame, child, self._moved(map_from_child), header)
            self._latest = map_from_optical, optical_from_child
        else:
            self._send(settings.map_frame, child, map_from_child, header)

    def _child(self, optical_frame: str) -> str:
        frames = {"map_to_odom": self.settings.odom_frame, "auto": self._root(optical_frame)}
        child = frames.get(self.settings.mode, self.settings.base_frame)
        if rival := self._buffer.rival_parent(child):
            raise TransformException(
                f"another node sends {rival} to {child}, as this one would: stop it, or set "
                "another tf.mode"
            )
        parent = self._parents.get(child, "") or self._parent_of_ours(child)
        if parent and not self.settings.invert:
            raise TransformException(
                f"{child} has the parent {parent} already, and a frame has one: set another "
                "tf.mode, or tf.invert"
            )
        return child

    def _parent_of_ours(self, child: str) -> str:
        """That another tree of this node has given it; empty if none has."""
        others = self._buffer.own_edges - self._sent.keys()
        return next((parent for parent, other in others if other == child), "")

    def _root(self, frame: str) -> str:
        """The topmost frame below the map that a frame hangs in."""
        self._refresh(at_once=frame not in self._parents)
        seen = set[str]()
        while (parent := self._parents.get(frame, "")) and parent not in seen:
            seen.add(frame)
            frame = parent
        return frame

    def _moved(self, map_from_base: NDArray[np.float64]) -> NDArray[np.float64]:
        """odom from base: the robot goes on from where it is in odom, whatever map it is in."""
        if self._odom_from_base is None:
            self._odom_from_map = np.eye(4)
        elif self._odom_from_map is None:
            self._odom_from_map = self._odom_from_base @ np.linalg.inv(map_from_base)
        self._odom_from_base = np.asarray(self._odom_from_map @ map_from_base)
        return self._odom_from_base

    def _send_again(self) -> None:
        now_ns = self._clock.now().nanoseconds
        map_from_odom = self._map_from_odom  # once: another thread may forget it
        is_silent = self.is_resting or self._buffer.rival_parent(self.settings.odom_frame)
        if map_from_odom is None or now_ns == 0 or is_silent:
            return
        ahead = Time(nanoseconds=now_ns) + Duration(seconds=self.settings.tolerance)
        header = Header(stamp=ahead.to_msg())
        parent, child = self.settings.map_frame, self.settings.odom_frame
        self._send(parent, child, map_from_odom, header)

    def _send(self, parent: str, child: str, matrix: NDArray[np.float64], stamp_of: Header) -> None:
        if self.settings.invert:
            parent, child, matrix = child, parent, np.asarray(np.linalg.inv(matrix))
        if self._sent.get((parent, child)) == stamp_of.stamp:
            return  # another camera of the rig at the same time: tf2 takes one and warns of more
        self._sent[parent, child] = stamp_of.stamp
        message = TransformStamped(child_frame_id=child, transform=transform_from_matrix(matrix))
        message.header.stamp = stamp_of.stamp
        message.header.frame_id = parent
        self._buffer.remember_own(message)
        self._broadcaster.sendTransform(message)

    def pose_of(self, child: str, header: Header) -> NDArray[np.float64]:
        """4 x 4, a frame of the robot in the header's, at its stamp. Raises TransformException."""
        if child == header.frame_id:
            return np.eye(4)
        stamp = Time.from_msg(header.stamp)
        try:
            found = self._buffer.lookup_transform(header.frame_id, child, stamp, LOOKUP_TIMEOUT)
        except TransformException:  # the robot's own tf is late: its latest place is the best guess
            found = self._buffer.lookup_transform(header.frame_id, child, Time())
        return matrix_from_transform(found.transform)

    def _refresh(self, at_once: bool) -> None:
        now = time.monotonic()
        if now - self._read_at < TREE_REFRESH_S and not at_once:
            return
        self._read_at = now
        frames = yaml.safe_load(self._buffer.all_frames_as_yaml()) or {}
        self._parents |= {name: str(entry["parent"]) for name, entry in frames.items()}
