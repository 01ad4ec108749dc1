"""Where the camera was, from the transforms and the odometry of a bag."""

import numpy as np
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.serialization import deserialize_message
from rclpy.time import Time
from tf2_msgs.msg import TFMessage
from tf2_ros import Buffer, TransformException

from infinitevggt_ros.axes import matrix_from_transform
from infinitevggt_ros.bags.reader import BagReader
from infinitevggt_ros.commands import CommandError

WHOLE_BAG = Duration(seconds=10**9)


class BagPoses:
    """Poses of any frame in the root of the tree it hangs in."""

    def __init__(self, reader: BagReader) -> None:
        self._buffer = Buffer(cache_time=WHOLE_BAG)
        self._parents: dict[str, str] = {}
        self._moving: set[str] = set()
        kinds = {
            topic: kind
            for topic, kind in reader.topics.items()
            if topic in ("/tf", "/tf_static") or kind.endswith("/Odometry")
        }
        # /tf first: a frame that it places needs no odometry
        for topic in sorted(kinds, key=lambda name: not name.startswith("/tf")):
            try:
                self._read(reader, topic, kinds[topic].endswith("/Odometry"))
            except CommandError:  # the damaged rest of a bag
                continue

    def moves(self, frame: str) -> bool:
        """Whether the frame's place in its root ever changes."""
        return any(name in self._moving for name in self._upwards(frame))

    def camera_from_world(self, frame: str, stamp_ns: int) -> NDArray[np.float64]:
        """(3, 4): the root to the frame; NaN where it is not known."""
        above = self._upwards(frame)
        root = self._parents[above[-1]] if above else frame
        try:
            found = self._buffer.lookup_transform(frame, root, Time(nanoseconds=stamp_ns))
        except TransformException:
            return np.full((3, 4), np.nan)
        return matrix_from_transform(found.transform)[:3]

    def _read(self, reader: BagReader, topic: str, is_odometry: bool) -> None:
        placed = set(self._parents)
        for _, _, serialized in reader.messages([topic]):
            if is_odometry:
                transforms = [_transform(deserialize_message(bytes(serialized), Odometry))]
                transforms = [t for t in transforms if t.child_frame_id not in placed]
            else:
                transforms = deserialize_message(bytes(serialized), TFMessage).transforms
            for transform in transforms:
                self._add(transform, is_static=topic == "/tf_static")

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


def _transform(odometry: Odometry) -> TransformStamped:
    transform = TransformStamped(header=odometry.header, child_frame_id=odometry.child_frame_id)
    pose = odometry.pose.pose
    transform.transform.translation.x = pose.position.x
    transform.transform.translation.y = pose.position.y
    transform.transform.translation.z = pose.position.z
    transform.transform.rotation = pose.orientation
    return transform
