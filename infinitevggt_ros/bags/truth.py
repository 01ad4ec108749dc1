# SPDX-License-Identifier: Apache-2.0
"""Ground truth that a bag holds for its images: poses, depth and calibration."""

from typing import Any

import numpy as np
from cv_bridge import CvBridge
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, Image

from infinitevggt_core.io.stamps import nearest
from infinitevggt_ros.bags.camera_topics import choose_topics
from infinitevggt_ros.bags.poses import BagPoses
from infinitevggt_ros.bags.reader import BagReader, header_stamp_ns
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.input.depth_images import metres_from_image
from infinitevggt_ros.input.image_gate import BadInputError

DEPTH_TOLERANCE_NS = 20_000_000
"""Greatest difference between the stamps of an image and of its depth."""


class NoTruthError(LookupError):
    """Nothing usable was recorded for an image. `reason`: a few words, counted by the caller."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BagTruth:
    """Ground truth for one image topic. Poses are those of the frame that the images name."""

    def __init__(
        self,
        reader: BagReader,
        image_topic: str,
        *,
        depth_topic: str = "",
        pose_topic: str = "",
        body: str = "",
    ) -> None:
        """depth_topic, pose_topic: chosen by encoding and frame if empty. body: as in BagPoses."""
        topics = choose_topics(reader, image=image_topic, depth=depth_topic)
        self.notes = topics.notes
        """One sentence for each choice among several topics."""
        self.info = _first_info(reader, topics.info)
        """Calibration, None if there is none."""
        self.depth_topic = topics.depth
        """Empty if there is none."""
        self.poses = BagPoses(reader, pose_topic, body)
        self._bridge = CvBridge()
        self._depths_at = stamps(reader, self.depth_topic)
        self._depth_stamps = [stamp_ns for stamp_ns, _ in self._depths_at]

    @property
    def has_poses(self) -> bool:
        """True if the bag places the frame of the calibration and it moves."""
        return self.poses.moves(str(self.info.header.frame_id) if self.info else "")

    @property
    def missing(self) -> str:
        """Names of the labels that the bag lacks; empty if it has all."""
        parts = {
            "depth image": self.depth_topic,
            "camera_info": self.info,
            "poses on /tf or as Odometry": self.has_poses,
        }
        return ", ".join(name for name, there in parts.items() if not there)

    def camera_from_world(self, frame: str, stamp_ns: int) -> NDArray[np.float64]:
        """Return the pose (3, 4) of an optical frame, metres; NaN if it is unknown."""
        return self.poses.camera_from_world(frame, stamp_ns)

    def depth(self, reader: BagReader, stamp_ns: int) -> NDArray[np.float32]:
        """Return the depth image (H, W), metres, whose stamp is nearest; with lens distortion.

        Raises NoTruthError if there is none.
        """
        index = nearest(self._depth_stamps, stamp_ns, DEPTH_TOLERANCE_NS)
        if index is None:
            raise NoTruthError("no depth")
        message = message_at(reader, self.depth_topic, self._depths_at[index], Image)
        try:
            return metres_from_image(message, self._bridge)
        except BadInputError as error:
            raise NoTruthError(f"depth: {error.kind}") from error


def stamps(reader: BagReader, topic: str) -> list[tuple[int, int]]:
    """Return the header stamp and the receive time (ns) of each message, in order of stamps.

    Of a damaged bag, those before the damage.
    """
    found: list[tuple[int, int]] = []
    if not topic:
        return found
    try:
        for _, at_ns, serialized in reader.messages([topic]):
            found.append((header_stamp_ns(serialized), at_ns))
    except CommandError:
        if not found:
            raise
    return sorted(found)


def message_at(reader: BagReader, topic: str, times_ns: tuple[int, int], kind: type) -> Any:
    """Return the message of a header stamp. Many messages may share one receive time.

    times_ns: header stamp and receive time, as `stamps` returns them. Raises NoTruthError.
    """
    stamp_ns, at_ns = times_ns
    for _, _, serialized in reader.messages([topic], at_ns, at_ns + 1):
        if header_stamp_ns(serialized) == stamp_ns:
            return deserialize_message(serialized, kind)
    raise NoTruthError("message gone")


def _first_info(reader: BagReader, topic: str) -> CameraInfo | None:
    for _, _, serialized in reader.messages([topic]) if topic else ():
        info: CameraInfo = deserialize_message(serialized, CameraInfo)
        return info
    return None
