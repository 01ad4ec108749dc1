# SPDX-License-Identifier: Apache-2.0
"""Choose the topics of one camera in a bag: its images, depth registered to them, calibration."""

from dataclasses import dataclass, field
from os.path import commonprefix
from typing import Any

from infinitevggt_ros.bags.message_types import typestore_with
from infinitevggt_ros.bags.reader import CAMERA_INFO_TYPE, IMAGE_TYPES, BagReader
from infinitevggt_ros.errors import CommandError

COLOUR = ("rgb", "bgr", "bayer", "yuv", "uyvy", "yuyv", "nv12", "nv21", "nv24", "8uc3", "8uc4")
"""Beginnings of the names of encodings with colour."""
STREAM_STATUS = "infinitevggt_ros/msg/StreamStatus"


@dataclass(frozen=True, slots=True)
class ImageTopic:
    """Properties of an image topic, from its first message."""

    topic: str
    encoding: str
    frame_id: str
    size: tuple[int, int]
    """Height and width, px; (0, 0) for compressed images."""
    count: int

    @property
    def is_depth(self) -> bool:
        """True for images that hold distances: by encoding, and by name where it is ambiguous."""
        name = self.topic.lower()
        if "compresseddepth" in name or self.encoding == "32FC1":
            return True
        if self.encoding == "16UC1":
            return not self.is_infrared
        return self.encoding == "mono16" and "depth" in name

    @property
    def is_infrared(self) -> bool:
        """True for images of an infrared or thermal camera, by name."""
        words = self.topic.lower().replace("_", "/").split("/")
        return any(w in ("ir", "ir1", "ir2") or w.startswith(("infra", "therm")) for w in words)

    @property
    def is_colour(self) -> bool:
        """True for encodings with colour."""
        return self.encoding.lower().startswith(COLOUR)

    @property
    def kind(self) -> tuple[bool, bool, bool]:
        """Properties that tell cameras apart."""
        return self.is_depth, self.is_infrared, self.is_colour

    @property
    def base(self) -> str:
        """Name without the suffix of image_transport."""
        return self.topic.removesuffix("/compressed")


@dataclass(frozen=True, slots=True)
class CameraTopics:
    """Topics of one camera; empty if the bag has none."""

    image: str
    depth: str = ""
    info: str = ""
    rivals: list[str] = field(default_factory=list)
    """Images of other cameras of the same kind: a choice among them is a guess."""
    notes: list[str] = field(default_factory=list)
    """One sentence for each choice among several topics."""


def choose_topics(
    reader: BagReader, *, image: str = "", depth: str = "", topics: tuple[str, ...] = ()
) -> CameraTopics:
    """Choose the colour camera first, then the depth that lies in the frame of its images.

    image, depth: topics named by the user. topics: candidates, by default all. Outputs of a
    stream_node are no candidates. Raises CommandError if there is no camera image.
    """
    outputs = [
        name.rpartition("/")[0] + "/"
        for name, kind in reader.topics.items()
        if kind == STREAM_STATUS
    ]
    found = [
        described(reader, topic)
        for topic in (topics or reader.require_image_topics())
        if topic == image or not topic.startswith(tuple(outputs))
    ]
    notes: list[str] = []
    camera = _camera(reader, found, image, notes)
    if not depth:
        depth = _depth(found, camera, notes)
    info = _info(reader, camera)
    rivals = [t.topic for t in found if t.kind == camera.kind and t.base != camera.base]
    return CameraTopics(camera.topic, depth, info, rivals, notes)


def described(reader: BagReader, topic: str) -> ImageTopic:
    """Return the properties of an image topic, from its first message."""
    kind = reader.topics[topic]
    if kind not in IMAGE_TYPES:
        raise CommandError(f"{topic} is {kind}, not images")
    for _, _, serialized in reader.messages([topic]):
        message: Any = typestore_with().deserialize_cdr(serialized, kind)
        frame, count = message.header.frame_id.removeprefix("/"), reader.message_counts[topic]
        if kind.endswith("/CompressedImage"):
            encoding = message.format.partition(";")[0].strip()
            encoding = "rgb8" if encoding in ("", "jpeg", "jpg", "png") else encoding
            return ImageTopic(topic, encoding, frame, (0, 0), count)
        return ImageTopic(topic, message.encoding, frame, (message.height, message.width), count)
    raise CommandError(f"{reader.path} has no message on {topic}")


def _camera(reader: BagReader, found: list[ImageTopic], named: str, notes: list[str]) -> ImageTopic:
    if named:
        return next((t for t in found if t.topic == named), None) or described(reader, named)
    cameras = [t for t in found if not t.is_depth]
    if not cameras:
        raise CommandError(f"{reader.path} has only depth images: name the camera's, --image TOPIC")
    order = sorted(cameras, key=lambda t: (t.is_infrared, not t.is_colour, -t.count, t.topic))
    best, others = order[0], [t.topic for t in order[1:]]
    if others:
        notes.append(f"images: {best.topic}; not {', '.join(others)} (--image TOPIC)")
    return best


def _depth(found: list[ImageTopic], camera: ImageTopic, notes: list[str]) -> str:
    raw = [t for t in found if t.size != (0, 0)]
    depths = [t for t in raw if t.is_depth and t.topic != camera.topic]
    same_frame = [t for t in depths if t.frame_id == camera.frame_id]
    if len(depths) > 1 and not same_frame:
        names = ", ".join(t.topic for t in depths)
        notes.append(
            f"no depth image lies in the frame {camera.frame_id} of the images: {names} are not "
            "used (--depth TOPIC)"
        )
        return ""
    order = sorted(
        same_frame or depths, key=lambda t: (-_shared(t.topic, camera.topic), -t.count, t.topic)
    )
    if len(depths) > 1:
        others = ", ".join(t.topic for t in depths if t is not order[0])
        notes.append(f"depth: {order[0].topic}; not {others} (--depth TOPIC)")
    return order[0].topic if order else ""


def _shared(first: str, second: str) -> int:
    return len(commonprefix((first, second)))


def _info(reader: BagReader, camera: ImageTopic) -> str:
    """Return the calibration beside the images, or the only one of their frame or of the bag."""
    topics = [topic for topic, kind in reader.topics.items() if kind == CAMERA_INFO_TYPE]
    namespace = camera.topic.removesuffix("/compressed").rpartition("/")[0]
    parent = namespace.rpartition("/")[0]  # RealSense Viewer: .../image/data, .../info/camera_info
    for candidate in (f"{namespace}/camera_info", f"{parent}/info/camera_info"):
        if candidate.lstrip("/") in (topic.lstrip("/") for topic in topics):
            return next(t for t in topics if t.lstrip("/") == candidate.lstrip("/"))
    return topics[0] if len(topics) == 1 else ""
