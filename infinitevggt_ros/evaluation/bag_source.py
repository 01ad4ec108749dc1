# SPDX-License-Identifier: Apache-2.0
"""Source of images and truth from a bag."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from infinitevggt_ros.bags.camera_topics import choose_topics
from infinitevggt_ros.bags.poses import POSE_TYPES, plain_frame
from infinitevggt_ros.bags.reader import TF_TYPE, BagReader, header_stamp_ns
from infinitevggt_ros.bags.truth import BagTruth, NoTruthError
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.evaluation.frames import Array, Frame, Truth


@dataclass(frozen=True, slots=True)
class BagSpec:
    """A bag and its topics. Empty names are found in the bag."""

    path: Path
    image_topic: str = ""
    truth_topic: str = ""
    truth_frame: str = ""
    depth_topic: str = ""

    def open(self) -> "BagSource":
        return BagSource(self)


class BagSource:
    """Images of one topic in the order in which they were recorded."""

    def __init__(self, spec: BagSpec) -> None:
        self.path = spec.path
        self.name = spec.path.stem
        self.farthest_m = inf
        with BagReader(spec.path) as reader:
            named = (spec.image_topic, spec.truth_topic, spec.depth_topic)
            reader.require_topics([topic for topic in named if topic])
            topics = choose_topics(reader, image=spec.image_topic, depth=spec.depth_topic)
            self.topic = topics.image
            self.notes = [*reader.notes, *topics.notes]
            """One sentence for each choice among several topics."""
            kind = reader.topics[self.topic]
            self._kind = CompressedImage if kind.endswith("/CompressedImage") else Image
            self._check_truth_topic(reader, spec.truth_topic)
            self.frame_count = reader.message_counts[self.topic]
            self._frame_id = _frame_id(reader, self.topic, self._kind)
            self._truth = self._find_truth(reader, spec)
        self.calibration = self._truth.info
        self.chosen = self._choices()

    def frames(self, skip: int = 0) -> Iterator[Frame]:
        """Yield images in one pass over the bag, with the truth at their stamps."""
        with BagReader(self.path) as images, BagReader(self.path) as depths:
            for index, (_, _, serialized) in enumerate(images.messages([self.topic])):
                if index >= skip:
                    yield Frame(
                        deserialize_message(serialized, self._kind),
                        self._truth_at(depths, header_stamp_ns(serialized)),
                    )

    def surface(self) -> None:
        return None

    def _check_truth_topic(self, reader: BagReader, topic: str) -> None:
        if topic and reader.topics[topic] not in (TF_TYPE, *POSE_TYPES):
            names = ", ".join(name.split("/")[-1] for name in (TF_TYPE, *POSE_TYPES))
            raise CommandError(
                f"--truth {topic} is {reader.topics[topic]}: it must be one of {names}"
            )

    def _find_truth(self, reader: BagReader, spec: BagSpec) -> BagTruth:
        given = {"depth_topic": spec.depth_topic, "body": spec.truth_frame}
        topics = [spec.truth_topic] if spec.truth_topic else ["", *_pose_topics(reader)]
        for topic in topics:
            body = given["body"]
            if topic and not body and reader.topics[topic] not in WITH_CHILD:
                body = self._frame_id  # such messages do not name the frame that they place
            truth = BagTruth(reader, self.topic, **{**given, "pose_topic": topic, "body": body})
            named = (
                not topic or reader.topics[topic] == TF_TYPE or truth.poses.carries(self._frame_id)
            )
            if named and truth.poses.moves(self._frame_id):
                return truth
        if spec.truth_topic:
            raise CommandError(
                f"--truth {spec.truth_topic} places {truth.poses.body or 'no frame'}, to which the "
                f"image's frame {self._frame_id} has no transform in the bag: name the frame whose "
                f"pose it is, --truth-frame {self._frame_id} if it is the camera's own"
            )
        return BagTruth(reader, self.topic, depth_topic=spec.depth_topic)

    def _truth_at(self, reader: BagReader, stamp_ns: int) -> Truth:
        pose: Array = np.full((3, 4), np.nan)
        if self._truth.poses.moves(self._frame_id):
            pose = self._truth.camera_from_world(self._frame_id, stamp_ns)
        try:
            return Truth(pose, self._truth.depth(reader, stamp_ns))
        except NoTruthError:
            return Truth(pose)

    def _choices(self) -> dict[str, Any]:
        poses = self._truth.poses
        known = poses.moves(self._frame_id)
        return {
            "bag": str(self.path),
            "image": self.topic,
            "images": self.frame_count,
            "frame": self._frame_id,
            "truth": poses.topics if known else None,
            "depth": self._truth.depth_topic or None,
            "calibration": self._truth.info is not None,
            **({"notes": self.notes} if self.notes else {}),
        }


WITH_CHILD = (
    "nav_msgs/msg/Odometry",
    "geometry_msgs/msg/TransformStamped",
    "tf2_msgs/msg/TFMessage",
)
"""Types whose messages name the frame that they place."""


def _pose_topics(reader: BagReader) -> list[str]:
    """Return topics that may hold the truth, those with most messages first; without odometry."""
    counts = reader.message_counts
    kinds = {t: kind for t, kind in reader.topics.items() if kind in POSE_TYPES}
    topics = [t for t, kind in kinds.items() if not kind.endswith("/Odometry") and counts[t] > 1]
    return sorted(topics, key=lambda topic: (-counts[topic], topic))


def _frame_id(reader: BagReader, topic: str, kind: type) -> str:
    for _, _, serialized in reader.messages([topic]):
        return plain_frame(deserialize_message(serialized, kind).header.frame_id)
    raise CommandError(f"{reader.path} has no message on {topic}")
