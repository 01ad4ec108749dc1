# SPDX-License-Identifier: Apache-2.0
"""Training clips from bags: images with depth, poses and calibration if recorded."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from cv_bridge import CvBridge
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from infinitevggt_core.training import BadClipError, Clip, ClipShape
from infinitevggt_core.training.clip import fit_depth, fit_image, fit_to
from infinitevggt_ros.bags.camera_topics import choose_topics
from infinitevggt_ros.bags.reader import BagReader
from infinitevggt_ros.bags.truth import BagTruth, NoTruthError, message_at, stamps
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.input.calibration import Calibration, read_calibration
from infinitevggt_ros.input.image_conversion import rgb_from_compressed, rgb_from_image
from infinitevggt_ros.input.image_gate import BadInputError

HELD_OUT = 0.1
"""Share of a bag at its end that is reserved for validation."""


class BagClips:
    """Clips from the first nine tenths of a bag's images, or from the held-out rest."""

    def __init__(self, path: Path, *, held_out: bool = False) -> None:
        """Raises CommandError if the bag is unreadable or has too few images."""
        self.path = path
        self._bridge = CvBridge()
        self._calibrations: dict[tuple[int, int], Calibration | None] = {}
        with BagReader(path) as reader:
            self._image_topic = choose_topics(reader).image
            self._compressed = reader.topics[self._image_topic].endswith("CompressedImage")
            images_at = stamps(reader, self._image_topic)
            self._truth = BagTruth(reader, self._image_topic)
        split = len(images_at) - max(2, int(HELD_OUT * len(images_at)))
        self.images_at = images_at[split:] if held_out else images_at[:split]
        """Header stamp and receive time (ns) of each image."""
        if len(self.images_at) < 2:
            raise CommandError(f"{path} has too few images to learn from: {len(images_at)}")

    @property
    def missing(self) -> str:
        """Name of the labels that the bag lacks."""
        return self._truth.missing

    @property
    def has_labels(self) -> bool:
        return not self.missing

    def sample(self, shape: ClipShape, number: int, rng: np.random.Generator) -> Clip:
        """Return clips from random positions of the bag. A short bag has shorter strides."""
        available = len(self.images_at)
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
        except NoTruthError as error:
            raise BadClipError(error.reason) from error
        except CommandError as error:
            raise BadClipError("bag cannot be read") from error
        return Clip(**{name: torch.stack([c[name] for c in clips]) for name in clips[0]})

    def _clip(
        self, reader: BagReader, places: Sequence[int], shape: ClipShape
    ) -> dict[str, torch.Tensor]:
        frames = [self._frame(reader, *self.images_at[place], shape) for place in places]
        return {
            name: torch.from_numpy(np.stack([frame[name] for frame in frames]))
            for name in frames[0]
        }

    def _frame(
        self, reader: BagReader, stamp_ns: int, at_ns: int, shape: ClipShape
    ) -> dict[str, NDArray[np.float32]]:
        """Return one frame of each tensor of a clip. at_ns: receive time of its image."""
        kind = CompressedImage if self._compressed else Image
        message = message_at(reader, self._image_topic, (stamp_ns, at_ns), kind)
        try:
            convert = rgb_from_compressed if self._compressed else rgb_from_image
            rgb = convert(message, self._bridge)
        except BadInputError as error:
            raise BadClipError(f"image: {error.kind}") from error
        size = rgb.shape[0], rgb.shape[1]
        calibration = self._calibration(size)
        if calibration is not None:
            rgb = calibration.rectified(rgb)
        place = fit_to(size, shape.height, shape.width)
        parts = {"images": fit_image(rgb, place)}
        if not self.has_labels:
            return parts
        if calibration is None:
            raise BadClipError("no intrinsics")
        pose = self._truth.camera_from_world(message.header.frame_id, stamp_ns)
        parts["camera_from_world"] = pose.astype(np.float32)
        parts["intrinsics"] = place.model_intrinsics(calibration.matrix).astype(np.float32)
        depth = self._truth.depth(reader, stamp_ns)
        if calibration.maps is not None:
            resized = cv2.resize(depth, size[::-1], interpolation=cv2.INTER_NEAREST)
            depth = calibration.rectified_depth(np.asarray(resized, dtype=np.float32))
        parts["depth"] = fit_depth(depth, place)
        return parts

    def _calibration(self, size: tuple[int, int]) -> Calibration | None:
        """Return the calibration of images of `size` (height, width), as evaluation uses it."""
        if self._truth.info is None:
            return None
        if size not in self._calibrations:
            is_rectified = "rect" in self._image_topic.removesuffix("/compressed").split("/")[-1]
            try:
                found = read_calibration(self._truth.info, size, is_rectified=is_rectified)
            except BadInputError as error:
                raise BadClipError("calibration of other images") from error
            self._calibrations[size] = found
        return self._calibrations[size]
