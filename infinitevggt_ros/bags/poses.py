# SPDX-License-Identifier: Apache-2.0
"""Where the camera was, from the transforms, the odometry and the poses of a bag."""

from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped, TransformStamped
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.serialization import deserialize_message
from rclpy.time import Time
from tf2_msgs.msg import TFMessage
from tf2_ros import Buffer, TransformException

from infinitevggt_ros.axes import matrix_from_transform
from infinitevggt_ros.bags.own_outputs import OwnOutputs
from infinitevggt_ros.bags.reader import BagReader
from infinitevggt_ros.errors import CommandError

WHOLE_BAG = Duration(seconds=10**9)


POSE_TYPES = {
    "nav_msgs/msg/Odometry": Odometry,
    "geometry_msgs/msg/PoseStamped": PoseStamped,
    "geometry_msgs/msg/PoseWithCovarianceStamped": PoseWithCovarianceStamped,
    "geometry_msgs/msg/TransformStamped": TransformStamped,
}
"""Messages that say where something is, besides those on /tf."""


class BagPoses:
    """Poses of any frame in the root of the tree it hangs in."""

    def __init__(self, reader: BagReader, topic: str = "", body: str = "") -> None:
        """topic: of POSE_TYPES or /tf, which comes before all others; by default, all transforms
        and then odometry. body: the frame it places, if its messages do not say.
        """
        self.topics: list[str] = []
        """Those that placed a frame, in the order they were asked."""
        self.body = body
        """The frame placed by the first of them that is not /tf; empty if there is none."""
        self._buffer = Buffer(cache_time=WHOLE_BAG)
        self._parents: dict[str, str] = {}
        self._moving: set[str] = set()
        own = OwnOutputs(reader)
        self._own_map_frames = own.map_frames
        # /tf first: a frame that it places needs no odometry
        kinds = dict.fromkeys(t for t in ("/tf_static", "/tf") if t in reader.topics)
        odometry = [
            t
            for t, kind in reader.topics.items()
            if kind.endswith("/Odometry") and t not in own.topics
        ]
        first = [topic] if topic and topic not in kinds else []
        for name in [*first, *kinds, *([] if topic else odometry)]:
            try:
                self._read(reader, name, POSE_TYPES.get(reader.topics[name]))
            except CommandError:  # the damaged rest of a bag
                continue

    def moves(self, frame: str) -> bool:
        """Whether the frame's place in its root ever changes."""
        return any(name in self._moving for name in self._upwards(frame))

    def carries(self, frame: str) -> bool:
        """Whether the frame hangs in the body, or is it."""
        return self.body in (frame, *self._upwards(frame))

    def camera_from_world(self, frame: str, stamp_ns: int) -> NDArray[np.float64]:
        """(3, 4): the root to the frame; NaN where it is not known."""
        above = self._upwards(frame)
        root = self._parents[above[-1]] if above else frame
        try:
            found = self._buffer.lookup_transform(frame, root, Time(nanoseconds=stamp_ns))
        except TransformException:
            return np.full((3, 4), np.nan)
        return matrix_from_transform(found.transform)[:3]

    def _read(self, reader: BagReader, topic: str, kind: type | None) -> None:
        """kind: of POSE_TYPES, None for transforms."""
        placed = set(self._parents)
        for _, _, serialized in reader.messages([topic]):
            if kind:
                transforms = [_transform(deserialize_message(serialized, kind), self.body)]
                self.body = self.body or transforms[0].child_frame_id
            else:
                message = deserialize_message(serialized, TFMessage)
                own = self._own_map_frames
                transforms = [t for t in message.transforms if t.header.frame_id not in own]
            for transform in transforms:
                if transform.child_frame_id not in placed:
                    self._add(transform, is_static=topic == "/tf_static")
        if set(self._parents) - placed:
            self.topics.append(topic)

    def _add(self, transform: TransformStamped, is_static: bool) -> None:
        if not transform.child_frame_id or not transform.header.frame_id:
            return
        self._parents[transform.child_frame_id] = transform.header.frame_id
        if is_static:
            self._buffer.set_transform_static(transform, "bag")
        else:
            self._moving.add(transform.child_frame_id)
            self._buffer.set_transform(transform, "bag")

    def _upwards(self, frame: str) -> list[str]:
        """The frame and those it hangs in, but for the root."""
        found: list[str] = []
        while frame in self._parents and frame not in found:
            found.append(frame)
            frame = self._parents[frame]
        return found


def _transform(message: Any, body: str) -> TransformStamped:
    """A message of POSE_TYPES. body: the frame it places, in whatever it says itself."""
    if isinstance(message, TransformStamped):
        message.child_frame_id = body or message.child_frame_id
        return message
    child = body or getattr(message, "child_frame_id", "")
    transform = TransformStamped(header=message.header, child_frame_id=child)
    pose = message.pose if isinstance(message, PoseStamped) else message.pose.pose
    transform.transform.translation.x = pose.position.x
    transform.transform.translation.y = pose.position.y
    transform.transform.translation.z = pose.position.z
    transform.transform.rotation = pose.orientation
    return transform
