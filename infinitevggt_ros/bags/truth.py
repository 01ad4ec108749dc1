# SPDX-License-Identifier: Apache-2.0
"""What a bag knows about its images besides them: poses, depth and calibration."""

from typing import Any

import numpy as np
from cv_bridge import CvBridge
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, Image

from infinitevggt_core.io.stamps import nearest
from infinitevggt_ros.bags.cdr import header_stamp_ns
from infinitevggt_ros.bags.own_outputs import OwnOutputs
from infinitevggt_ros.bags.poses import BagPoses
from infinitevggt_ros.bags.reader import BagReader
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.input.depth_images import metres_from_image
from infinitevggt_ros.input.image_gate import BadInputError

DEPTH_TOLERANCE_NS = 20_000_000
"""Greatest time between an image and its depth."""


class NoTruthError(LookupError):
    """Nothing usable was recorded for an image; `reason` is a few words that are counted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BagTruth:
    """Of one image topic. Poses are of the frame that the calibration names."""

    def __init__(
        self,
        reader: BagReader,
        image_topic: str,
        *,
        depth_topic: str = "",
        pose_topic: str = "",
        body: str = "",
    ) -> None:
        """depth_topic, pose_topic: by default, what looks like it. body: as in BagPoses."""
        self.info = _first_info(reader, image_topic)
        """Calibration, None if there is none."""
        self.depth_topic = depth_topic or _depth_topic(reader)
        """Empty if there is none."""
        self.poses = BagPoses(reader, pose_topic, body)
        self._bridge = CvBridge()
        self._depths_at = stamps(reader, self.depth_topic)
        self._depth_stamps = [stamp_ns for stamp_ns, _ in self._depths_at]

    @property
    def has_poses(self) -> bool:
        return self.poses.moves(str(self.info.header.frame_id) if self.info else "")

    @property
    def missing(self) -> str:
        """What the bag lacks, in words; empty if nothing."""
        parts = {
            "depth image": self.depth_topic,
            "camera_info": self.info,
            "poses on /tf or as Odometry": self.has_poses,
        }
        return ", ".join(name for name, there in parts.items() if not there)

    def camera_from_world(self, frame: str, stamp_ns: int) -> NDArray[np.float64]:
        """(3, 4) of an optical frame, metres; NaN where it is not known."""
        return self.poses.camera_from_world(frame, stamp_ns)

    def depth(self, reader: BagReader, stamp_ns: int) -> NDArray[np.float32]:
        """(H, W) metres of the depth image nearest in time, with the lens in it. Raises
        NoTruthError."""
        index = nearest(self._depth_stamps, stamp_ns, DEPTH_TOLERANCE_NS)
        if index is None:
            raise NoTruthError("no depth")
        message = message_at(reader, self.depth_topic, self._depths_at[index][1], Image)
        try:
            return metres_from_image(message, self._bridge)
        except BadInputError as error:
            raise NoTruthError(f"depth: {error.kind}") from error


def stamps(reader: BagReader, topic: str) -> list[tuple[int, int]]:
    """Stamps (ns) of a topic's messages in the header and in the bag, in order; of a damaged bag,
    those before the damage."""
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


def message_at(reader: BagReader, topic: str, at_ns: int, kind: type) -> Any:
    for _, _, serialized in reader.messages([topic], at_ns, at_ns + 1):
        return deserialize_message(serialized, kind)
    raise NoTruthError("message gone")


def _depth_topic(reader: BagReader) -> str:
    """The raw image topic with "depth" in its name; empty if there is none."""
    own = OwnOutputs(reader).topics
    images = (t for t, kind in reader.topics.items() if kind.endswith("/Image") and t not in own)
    return min((t for t in images if "depth" in t), default="")


def _first_info(reader: BagReader, image_topic: str) -> CameraInfo | None:
    """The calibration beside the images; that of the only camera, if it is elsewhere."""
    topics = [topic for topic, kind in reader.topics.items() if kind.endswith("/CameraInfo")]
    beside = f"{image_topic.removesuffix('/compressed').rpartition('/')[0]}/camera_info"
    topic = beside if beside in topics else topics[0] if len(topics) == 1 else ""
    for _, _, serialized in reader.messages([topic]) if topic else ():
        info: CameraInfo = deserialize_message(serialized, CameraInfo)
        return info
    return None
