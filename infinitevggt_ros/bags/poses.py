# SPDX-License-Identifier: Apache-2.0
"""Poses of the camera from the transforms, the odometry and the pose topics of a bag."""

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

from infinitevggt_core.evaluation.datasets.files import SHORTEST_QUATERNION
from infinitevggt_ros.bags.reader import TF_TYPE, BagReader, is_static_tf
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.pose_messages import matrix_from_transform

WHOLE_BAG = Duration(seconds=10**9)
STATUS_TYPE = "infinitevggt_ros/msg/StreamStatus"
POSE_TYPES = {
    "nav_msgs/msg/Odometry": Odometry,
    "geometry_msgs/msg/PoseStamped": PoseStamped,
    "geometry_msgs/msg/PoseWithCovarianceStamped": PoseWithCovarianceStamped,
    "geometry_msgs/msg/TransformStamped": TransformStamped,
}
"""Message types of poses, besides transforms."""


class NodeOutputs:
    """Topics and frames of every stream_node that ran while the bag was recorded.

    They are estimates and never the truth to compare estimates with. A stream_node is recognised by
    its status topic.
    """

    def __init__(self, reader: BagReader) -> None:
        nodes = [
            topic.rpartition("/")[0]
            for topic, kind in reader.topics.items()
            if kind == STATUS_TYPE and topic.endswith("/status")
        ]
        self.topics = {t for t in reader.topics if any(t.startswith(f"{n}/") for n in nodes)}
        """Topics in the namespaces of those nodes."""
        self.map_frames = {_frame_of(reader, f"{n}/odometry") for n in nodes} - {""}
        """Root frames of the transforms that those nodes sent."""


class BagPoses:
    """Poses of each frame in the root of its transform tree."""

    def __init__(self, reader: BagReader, topic: str = "", body: str = "") -> None:
        """topic: of POSE_TYPES or of transforms, read before all others; by default all transforms
        and then odometry. body: frame that the topic places, if its messages do not name it.
        """
        self.topics: list[str] = []
        """Topics that placed a frame, in the order they were read."""
        self.body = plain_frame(body)
        """Frame placed by the first topic of POSE_TYPES; empty if there is none."""
        self.skipped = 0
        """Number of transforms and poses left out, as they are not finite or have no rotation."""
        self._buffer = Buffer(cache_time=WHOLE_BAG)
        self._parents: dict[str, str] = {}
        self._moving: set[str] = set()
        outputs = NodeOutputs(reader)
        self._output_frames = {plain_frame(frame) for frame in outputs.map_frames}
        for name in self._topics_to_read(reader, topic, outputs):
            try:
                self._read(reader, name, POSE_TYPES.get(reader.topics[name]))
            except CommandError:  # the damaged rest of a bag
                continue

    def moves(self, frame: str) -> bool:
        """Return True if the pose of the frame in its root changes."""
        return any(name in self._moving for name in self._upwards(plain_frame(frame)))

    def carries(self, frame: str) -> bool:
        """Return True if the frame is the body or a descendant of it."""
        frame = plain_frame(frame)
        return self.body in (frame, *self._upwards(frame))

    def camera_from_world(self, frame: str, stamp_ns: int) -> NDArray[np.float64]:
        """Return the transform (3, 4) from the root to the frame; NaN if it is unknown."""
        frame = plain_frame(frame)
        above = self._upwards(frame)
        root = self._parents[above[-1]] if above else frame
        try:
            found = self._buffer.lookup_transform(frame, root, Time(nanoseconds=stamp_ns))
        except TransformException:
            return np.full((3, 4), np.nan)
        return matrix_from_transform(found.transform)[:3]

    @staticmethod
    def _topics_to_read(reader: BagReader, topic: str, outputs: NodeOutputs) -> list[str]:
        """Static transforms, then transforms, then odometry; `topic` before the latter two."""
        transforms = tf_topics(reader)
        static = [t for t in transforms if is_static_tf(t, TF_TYPE)]
        odometry = [
            t
            for t, kind in reader.topics.items()
            if kind == "nav_msgs/msg/Odometry" and t not in outputs.topics
        ]
        named = [topic] if topic else []
        order = [*named, *static] if topic not in transforms else [*static, *named]
        return list(dict.fromkeys([*order, *transforms, *([] if topic else odometry)]))

    def _read(self, reader: BagReader, topic: str, kind: type | None) -> None:
        """kind: of POSE_TYPES, None for transforms."""
        placed = set(self._parents)
        is_static = is_static_tf(topic, reader.topics[topic])
        for _, _, serialized in reader.messages([topic]):
            if kind:
                transforms = [_transform(deserialize_message(serialized, kind), self.body)]
                self.body = self.body or plain_frame(transforms[0].child_frame_id)
            else:
                transforms = deserialize_message(serialized, TFMessage).transforms
            for transform in transforms:
                _strip_slashes(transform)
                if transform.child_frame_id not in placed and (
                    kind or not self._is_output(transform)
                ):
                    self._add(transform, is_static=is_static)
        if set(self._parents) - placed:
            self.topics.append(topic)

    def _is_output(self, transform: TransformStamped) -> bool:
        return transform.header.frame_id in self._output_frames

    def _add(self, transform: TransformStamped, is_static: bool) -> None:
        if not transform.child_frame_id or not transform.header.frame_id:
            return
        if not _normalise(transform):
            self.skipped += 1
            return
        self._parents[transform.child_frame_id] = transform.header.frame_id
        if is_static:
            self._buffer.set_transform_static(transform, "bag")
        else:
            self._moving.add(transform.child_frame_id)
            self._buffer.set_transform(transform, "bag")

    def _upwards(self, frame: str) -> list[str]:
        """Return the frame and its ancestors without the root."""
        found: list[str] = []
        while frame in self._parents and frame not in found:
            found.append(frame)
            frame = self._parents[frame]
        return found


def tf_topics(reader: BagReader) -> list[str]:
    """Return the topics of transforms, recognised by their type: static ones first, /tf before
    those of other namespaces."""
    found = [topic for topic, kind in reader.topics.items() if kind == TF_TYPE]
    return sorted(found, key=lambda t: (not is_static_tf(t, TF_TYPE), t.count("/"), t))


def plain_frame(frame: str) -> str:
    """Return the name of a frame without its leading slash, as tf2 compares names."""
    return frame.removeprefix("/")


def _frame_of(reader: BagReader, topic: str) -> str:
    """Return the frame of the first odometry; empty if there is none."""
    for _, _, serialized in reader.messages([topic]) if topic in reader.topics else ():
        message: Odometry = deserialize_message(serialized, Odometry)
        return str(message.header.frame_id)
    return ""


def _strip_slashes(transform: TransformStamped) -> None:
    transform.header.frame_id = plain_frame(transform.header.frame_id)
    transform.child_frame_id = plain_frame(transform.child_frame_id)


def _normalise(transform: TransformStamped) -> bool:
    """Normalise the rotation; return False if the transform is no rigid motion."""
    q, t = transform.transform.rotation, transform.transform.translation
    quat = np.array([q.x, q.y, q.z, q.w])
    length = float(np.linalg.norm(quat))
    if not (np.isfinite([*quat, t.x, t.y, t.z]).all() and length >= SHORTEST_QUATERNION):
        return False
    q.x, q.y, q.z, q.w = (quat / length).tolist()
    return True


def _transform(message: Any, body: str) -> TransformStamped:
    """Return the transform of a message of POSE_TYPES. body: child frame, instead of its own."""
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
