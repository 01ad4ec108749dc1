"""Where the map joins the robot's tf tree: one parent per frame, never a second one (REP-105)."""

import time

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
from infinitevggt_ros.settings import TfSettings

LOOKUP_TIMEOUT = Duration(seconds=0.1)
TREE_REFRESH_S = 1.0


class RobotBuffer(Buffer):
    """The robot's own tf: what hangs below the map frame directly is what we sent ourselves, and
    must not hide the parent that a frame has on the robot."""

    def __init__(self, map_frame: str) -> None:
        super().__init__()
        self._map_frame = map_frame

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        if transform.header.frame_id != self._map_frame:
            super().set_transform(transform, authority)


class TfTree:
    """Publishes map -> child so that the camera stands where the stream says."""

    def __init__(self, node: Node, settings: TfSettings) -> None:
        self.settings = settings
        self._broadcaster = TransformBroadcaster(node)
        self._buffer = RobotBuffer(settings.map_frame)
        self._listener = TransformListener(self._buffer, node)
        self._parents: dict[str, str] = {}
        self._read_at = -TREE_REFRESH_S

    def child_frame(self, optical_frame: str) -> str:
        """The configured child, or the topmost frame below the map that the camera hangs in."""
        if self.settings.child_frame:
            return self.settings.child_frame
        self._refresh(at_once=optical_frame not in self._parents)
        frame, seen = optical_frame, set[str]()
        while (parent := self._parents.get(frame, "")) and parent not in seen:
            seen.add(frame)
            frame = parent
        return frame

    def forget(self) -> None:
        """Time went back: transforms of the time before it are wrong. The tree's shape stays."""
        self._buffer.clear()

    def publish(self, map_from_optical: NDArray[np.float64], header: Header) -> None:
        """Send map -> child for a camera pose (4 x 4), with the image's header.

        Raises TransformException when the camera's place on the robot is not known.
        """
        if not self.settings.publish:
            return
        child = self.child_frame(header.frame_id)
        map_from_child = map_from_optical
        if child != header.frame_id:
            map_from_child = map_from_optical @ self._optical_from(child, header)
        message = TransformStamped(child_frame_id=child)
        message.header.stamp = header.stamp
        message.header.frame_id = self.settings.map_frame
        message.transform = transform_from_matrix(map_from_child)
        self._broadcaster.sendTransform(message)

    def _optical_from(self, child: str, header: Header) -> NDArray[np.float64]:
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
