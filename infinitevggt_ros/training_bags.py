"""Clips of bags to learn from: images, and where they are recorded depth, poses and calibration."""

from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cv_bridge import CvBridge
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from infinitevggt_core.training import BadClipError, Clip, ClipShape
from infinitevggt_core.training.fitting import fit_depth, fit_image, fit_to
from infinitevggt_ros.bag_poses import BagPoses
from infinitevggt_ros.bags.cdr import header_stamp_ns
from infinitevggt_ros.bags.reader import BagReader
from infinitevggt_ros.calibration import camera_matrix
from infinitevggt_ros.commands import CommandError
from infinitevggt_ros.image_gate import BadInputError
from infinitevggt_ros.images import rgb_from_compressed, rgb_from_image

DEPTH_UNITS_M = {"32FC1": 1.0, "16UC1": 0.001, "mono16": 0.001}
"""Metres per unit of a depth image (REP-118)."""
HELD_OUT = 0.1
"""Last part of a bag, for validation."""
DEPTH_TOLERANCE_NS = 20_000_000
"""Greatest time between an image and its depth."""


class BagClips:
    """The first nine tenths of a bag's images, or the held-out rest, in clips."""

    def __init__(self, path: Path, *, held_out: bool = False) -> None:
        """Raises CommandError for a bag that cannot be read or has hardly any images."""
        self.path = path
        self._bridge = CvBridge()
        with BagReader(path) as reader:
            images = [t for t in reader.require_image_topics() if "depth" not in t]
            self._image_topic = (images or reader.require_image_topics())[0]
            self._compressed = reader.topics[self._image_topic].endswith("CompressedImage")
            self._depth_topic = _depth_topic(reader)
            images_at = _stamps(reader, self._image_topic)
            self._depths_at = _stamps(reader, self._depth_topic)
            self._poses = BagPoses(reader)
            self._info = _first_info(reader, self._image_topic)
        split = len(images_at) - max(2, int(HELD_OUT * len(images_at)))
        self._images_at = images_at[split:] if held_out else images_at[:split]
        if len(self._images_at) < 2:
            raise CommandError(f"{path} has too few images to learn from: {len(images_at)}")

    @property
    def missing(self) -> str:
        """What the bag lacks of labels."""
        parts = {
            "depth image": self._depth_topic,
            "camera_info": self._info,
            "poses on /tf or as Odometry": self._poses.moves(self._optical_frame()),
        }
        return ", ".join(name for name, there in parts.items() if not there)

    @property
    def has_labels(self) -> bool:
        return not self.missing

    def sample(self, shape: ClipShape, number: int, rng: np.random.Generator) -> Clip:
        """Clips from random places of the bag, batch times; a short bag has shorter strides."""
        available = len(self._images_at)
        stride = min(shape.stride, (available - 1) // (shape.frames - 1))
        if stride < 1:
            raise BadClipError("fewer images than a clip has")
        starts = rng.integers(0, available - stride * (shape.frames - 1), shape.batch)
        try:
            with BagReader(self.path) as reader:
                clips = [
                    self._clip(reader, range(start, start + stride * shape.frames, stride), shape)
                    for start in starts.tolist()
                ]
        except CommandError as error:
            raise BadClipError("bag cannot be read") from error
        return Clip(**{name: torch.stack([c[name] for c in clips]) for name in clips[0]})

    def _clip(
        self, reader: BagReader, places: Sequence[int], shape: ClipShape
    ) -> dict[str, torch.Tensor]:
        frames = [self._frame(reader, *self._images_at[place], shape) for place in places]
        return {
            name: torch.from_numpy(np.stack([frame[name] for frame in frames]))
            for name in frames[0]
        }

    def _frame(
        self, reader: BagReader, stamp_ns: int, at_ns: int, shape: ClipShape
    ) -> dict[str, NDArray[np.float32]]:
        """One frame's part of each of a clip's tensors."""
        message = _message(
            reader, self._image_topic, at_ns, CompressedImage if self._compressed else Image
        )
        try:
            convert = rgb_from_compressed if self._compressed else rgb_from_image
            rgb = convert(message, self._bridge)
        except BadInputError as error:
            raise BadClipError(f"image: {error.kind}") from error
        place = fit_to(rgb.shape[:2], shape.height, shape.width)
        parts = {"images": fit_image(rgb, place)}
        if not self.has_labels:
            return parts
        try:
            matrix = camera_matrix(self._info, rgb.shape[:2])
        except BadInputError as error:
            raise BadClipError("calibration of other images") from error
        if matrix is None:
            raise BadClipError("no intrinsics")
        pose = self._poses.camera_from_world(message.header.frame_id, stamp_ns)
        parts["camera_from_world"] = pose.astype(np.float32)
        parts["intrinsics"] = place.model_intrinsics(matrix).astype(np.float32)
        parts["depth"] = fit_depth(self._depth(reader, stamp_ns), place)
        return parts

    def _depth(self, reader: BagReader, stamp_ns: int) -> NDArray[np.float32]:
        """(H, W) metres of the depth image nearest in time."""
        index = bisect_left(self._depths_at, (stamp_ns, 0))
        near = self._depths_at[max(0, index - 1) : index + 1]
        found = min(near, key=lambda entry: abs(entry[0] - stamp_ns), default=None)
        if found is None or abs(found[0] - stamp_ns) > DEPTH_TOLERANCE_NS:
            raise BadClipError("no depth")
        message = _message(reader, self._depth_topic, found[1], Image)
        unit_m = DEPTH_UNITS_M.get(message.encoding)
        if unit_m is None:
            raise BadClipError(f"depth: encoding {message.encoding}")
        try:
            depth = np.asarray(self._bridge.imgmsg_to_cv2(message, "passthrough"))
        except Exception as error:  # cv_bridge raises whatever numpy or a dict lookup raises
            raise BadClipError("depth: damaged") from error
        return (depth.astype(np.float32) * np.float32(unit_m)).reshape(depth.shape[:2])

    def _optical_frame(self) -> str:
        return str(self._info.header.frame_id) if self._info else ""


def _stamps(reader: BagReader, topic: str) -> list[tuple[int, int]]:
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


def _message(reader: BagReader, topic: str, at_ns: int, kind: type) -> Any:
    for _, _, serialized in reader.messages([topic], at_ns, at_ns + 1):
        return deserialize_message(bytes(serialized), kind)
    raise BadClipError("message gone")


def _depth_topic(reader: BagReader) -> str:
    """The raw image topic with "depth" in its name; empty if there is none."""
    names = [t for t, kind in reader.topics.items() if kind.endswith("/Image") and "depth" in t]
    return min(names, default="")


def _first_info(reader: BagReader, image_topic: str) -> CameraInfo | None:
    """The calibration beside the images; that of the only camera, if it is elsewhere."""
    topics = [topic for topic, kind in reader.topics.items() if kind.endswith("/CameraInfo")]
    beside = f"{image_topic.removesuffix('/compressed').rpartition('/')[0]}/camera_info"
    topic = beside if beside in topics else topics[0] if len(topics) == 1 else ""
    for _, _, serialized in reader.messages([topic]) if topic else ():
        info: CameraInfo = deserialize_message(bytes(serialized), CameraInfo)
        return info
    return None
