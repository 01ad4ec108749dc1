# SPDX-License-Identifier: Apache-2.0
"""From the camera's message to the network's image."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
import torch
from cv_bridge import CvBridge
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from torch import Tensor

from infinitevggt_core import PixelMap, preprocess
from infinitevggt_ros.input.calibration import Calibration, read_calibration
from infinitevggt_ros.input.image_conversion import (
    UNUSUAL,
    rgb_from_compressed,
    rgb_from_image,
    sent_encoding,
    unusual_kind,
)
from infinitevggt_ros.input.image_gate import BadInputError
from infinitevggt_ros.params.settings import InputSettings

ImageMessage: TypeAlias = Image | CompressedImage


@dataclass(frozen=True, slots=True)
class NetworkImage:
    """An image as the network takes it."""

    pixels: Tensor
    """[3, H, W], RGB in [0, 1]."""
    pixel_map: PixelMap
    intrinsics: Tensor | None
    """[3, 3], px of the network's image; None: uncalibrated."""
    is_rectified: bool
    """Whether the lens was taken out here."""


class Intake:
    """Converts, rectifies and resizes; keeps the rectification of the last calibration."""

    def __init__(
        self, settings: InputSettings, topic: str, warn: Callable[[str, str], None]
    ) -> None:
        """warn(kind, text): the node's throttled warning."""
        self.calibration: CameraInfo | None = None
        """The latest, left here by the executor."""
        self.unusual = Counter[str]()
        """Images of each kind of unusual encoding."""
        self._settings = settings
        self._topic = topic
        self._warn = warn
        self._bridge = CvBridge()
        self._read: tuple[object, Calibration | None] = (None, None)
        self._problem = ""  # with the calibration that was read last
        come_rectified = "rect" in topic.rsplit("/", 2 if topic.endswith("/compressed") else 1)[1]
        geometry = settings.image_geometry
        self._come_rectified = come_rectified if geometry == "auto" else geometry == "rectified"

    def rgb(self, message: ImageMessage) -> NDArray[np.uint8]:
        """(H, W, 3) as the camera sent it. Raises BadInputError."""
        convert = rgb_from_image if isinstance(message, Image) else rgb_from_compressed
        rgb = convert(message, self._bridge)
        encoding = sent_encoding(message)
        if kind := unusual_kind(encoding):
            self.unusual[kind] += 1
            self._warn(kind, f"{self._topic}: encoding {encoding} {UNUSUAL[kind]}")
        return rgb

    def prepare(self, rgb: NDArray[np.uint8], width: int, patch_size: int) -> NetworkImage:
        """The network's image, `width` px wide. Raises BadInputError."""
        calibration = self._calibration((rgb.shape[0], rgb.shape[1]))
        if calibration is not None:
            rgb = calibration.rectified(rgb)
        try:
            pixels, pixel_map = preprocess(rgb, width, patch_size)
        except ValueError as error:
            raise BadInputError("size", str(error)) from error
        if calibration is None or self.ignores_calibration:
            matrix = None
        else:
            matrix = torch.from_numpy(pixel_map.model_intrinsics(calibration.matrix)).float()
        is_rectified = calibration is not None and calibration.maps is not None
        return NetworkImage(pixels, pixel_map, matrix, is_rectified)

    def camera_matrix(self, size: tuple[int, int]) -> NDArray[np.float64] | None:
        """K (3 x 3, px) of the rectified images of `size` (height, width), whatever unprojects
        their depth; None: uncalibrated."""
        calibration = self._calibration(size)
        return None if calibration is None else calibration.matrix

    def rectified_depth(
        self, depth: NDArray[np.float32], size: tuple[int, int]
    ) -> NDArray[np.float32]:
        """A depth map (H, W) that lies on the camera's images, as it lies on the rectified ones of
        `size` (height, width); as it is where none are rectified here."""
        calibration = self._calibration(size)
        if calibration is None or calibration.maps is None:
            return depth
        resized = cv2.resize(depth, size[::-1], interpolation=cv2.INTER_NEAREST)
        return calibration.rectified_depth(np.asarray(resized, dtype=np.float32))

    @property
    def ignores_calibration(self) -> bool:
        """Whether the predicted field of view is what the user asked for."""
        return self._settings.intrinsics == "predicted"

    @property
    def why_uncalibrated(self) -> str:
        """Where it is not by choice."""
        if self.calibration is None:
            return f"nothing came on camera_info of {self._topic}"
        return self._problem or f"camera_info of {self._topic} has K[0] = 0"

    def _calibration(self, size: tuple[int, int]) -> Calibration | None:
        info = self.calibration
        if info is None:
            return None
        key = (size, *_contents(info))
        if key != self._read[0]:
            self._problem = ""
            try:
                calibration = read_calibration(info, size, is_rectified=self._come_rectified)
            except BadInputError as problem:
                self._problem = f"camera_info of {self._topic} is not used: {problem}"
                self._warn(problem.kind, self._problem)
                calibration = None
            self._read = key, calibration
        return self._read[1]


def _contents(info: CameraInfo) -> tuple[object, ...]:
    """All but the header: whether it is another calibration."""
    arrays = (info.d, info.k, info.r, info.p)
    roi = info.roi
    return (
        *(tuple(array) for array in arrays),
        (info.height, info.width, info.binning_x, info.binning_y, info.distortion_model),
        (roi.x_offset, roi.y_offset, roi.height, roi.width),
    )
