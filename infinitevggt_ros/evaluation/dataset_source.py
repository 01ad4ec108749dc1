# SPDX-License-Identifier: Apache-2.0
"""Source of images and truth from a sequence of a data set."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cv_bridge import CvBridge
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from infinitevggt_core.evaluation.datasets import READERS, DatasetError, DatasetFrame, Sequence
from infinitevggt_core.evaluation.datasets.files import read_image
from infinitevggt_core.io.ply import read_ply_points
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.evaluation.frames import Array, Frame, Truth
from infinitevggt_ros.output.messages import camera_info
from infinitevggt_ros.topics import DEFAULT_FRAME


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """A sequence of a data set and a selection of its frames."""

    dataset: str
    path: Path
    sequence: str
    start: int = 0
    stride: int = 1
    frames: int = 0
    """Largest number of frames; 0: all."""

    def open(self) -> "DatasetSource":
        return DatasetSource(self)


def sequence_names(dataset: str, path: Path) -> list[str]:
    """Return the names of the sequences below `path`. Raises CommandError."""
    try:
        return [sequence.name for sequence in READERS[dataset](path)]
    except DatasetError as error:
        raise CommandError(str(error)) from error


class DatasetSource:
    """Selected frames of one sequence, as messages of a camera."""

    def __init__(self, spec: DatasetSpec) -> None:
        self._sequence = self._opened(spec)
        self.name = spec.sequence
        self.topic = "/camera/image_raw"
        self.frame_count = len(self._sequence.frames)
        self.farthest_m = self._sequence.farthest_m
        self.calibration = self._calibration()
        frames = self._sequence.frames
        self.chosen: dict[str, Any] = {
            "dataset": spec.dataset,
            "path": str(spec.path),
            "sequence": spec.sequence,
            "frames": f"{self.frame_count}, from {spec.start} on, every {spec.stride}.",
            "poses": sum(bool(np.isfinite(f.camera_from_world).all()) for f in frames),
            "depth": sum(f.depth is not None for f in frames),
            "calibration": self.calibration is not None,
        }

    def frames(self, skip: int = 0) -> Iterator[Frame]:
        for frame in self._sequence.frames[skip:]:
            try:
                yield self._frame(frame)
            except DatasetError as error:
                raise CommandError(str(error)) from error

    def surface(self) -> Array | None:
        cloud = self._sequence.cloud
        return None if cloud is None else read_ply_points(cloud)

    def _opened(self, spec: DatasetSpec) -> Sequence:
        try:
            found = {s.name: s for s in READERS[spec.dataset](spec.path)}
            sequence = found[spec.sequence].selected(spec.start, spec.stride, spec.frames)
            sequence.check()
        except DatasetError as error:
            raise CommandError(str(error)) from error
        return sequence

    def _frame(self, frame: DatasetFrame) -> Frame:
        header = Header(frame_id=DEFAULT_FRAME)
        header.stamp.sec, header.stamp.nanosec = divmod(frame.stamp_ns, 10**9)
        message = CvBridge().cv2_to_imgmsg(read_image(frame.image), "rgb8", header)
        depth = None if frame.depth is None else self._sequence.read_depth(frame.depth)
        return Frame(message, Truth(frame.camera_from_world, depth))

    def _calibration(self) -> CameraInfo | None:
        matrix = self._sequence.intrinsics
        if matrix is None:
            return None
        height, width = read_image(self._sequence.frames[0].image).shape[:2]
        return camera_info(Header(frame_id=DEFAULT_FRAME), matrix, (height, width))
