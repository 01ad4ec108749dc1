# SPDX-License-Identifier: Apache-2.0
"""The network's input image, made of a camera's message."""

from collections import Counter
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
from infinitevggt_ros.errors import Warn
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
    """Input image of the network."""

    pixels: Tensor
    """[3, H, W], RGB in [0, 1], on the host."""
    pixel_map: PixelMap
    intrinsics: Tensor | None
    """[3, 3], px of the network's image; None if the camera is uncalibrated."""
    rgb: NDArray[np.uint8]
    """(H, W, 3) at the camera's own resolution, rectified."""
    gray: NDArray[np.uint8]
    """(H, W) of the same."""
    is_rectified: bool = False
    """True if lens distortion was removed here."""
    calibration: Calibration | None = None
    """Calibration of the camera's images; None if there is none."""


class ImageConverter:
    """Converts, rectifies and resizes the images of one camera.

    The rectification maps of the latest calibration are cached.
    """

    def __init__(self, settings: InputSettings, topic: str, warn: Warn) -> None:
        """topic: of the images. warn: throttled by kind."""
        self.calibration: CameraInfo | None = None
        """Latest calibration, set by the executor."""
        self.unusual = Counter[str]()
        """Number of images of each kind of unusual encoding."""
        self._settings = settings
        self._topic = topic
        self._warn = warn
        self._bridge = CvBridge()
        self._read: tuple[object, Calibration | None] = (None, None)
        self._problem = ""  # of the calibration that was read last
        come_rectified = "rect" in topic.rsplit("/", 2 if topic.endswith("/compressed") else 1)[1]
        geometry = settings.image_geometry
        self._come_rectified = come_rectified if geometry == "auto" else geometry == "rectified"

    def rgb(self, message: ImageMessage) -> NDArray[np.uint8]:
        """Return RGB (H, W, 3) as the camera sent it. Raises BadInputError."""
        convert = rgb_from_image if isinstance(message, Image) else rgb_from_compressed
        rgb = convert(message, self._bridge)
        encoding = sent_encoding(message)
        if kind := unusual_kind(encoding):
            self.unusual[kind] += 1
            self._warn(kind, f"{self._topic}: encoding {encoding} {UNUSUAL[kind]}")
        return rgb

    def prepare(self, rgb: NDArray[np.uint8], width: int, patch_size: int) -> NetworkImage:
        """Return the network's image, `width` px wide. Raises BadInputError."""
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
        gray = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
        return NetworkImage(pixels, pixel_map, matrix, rgb, gray, is_rectified, calibration)

    def camera_matrix(self, size: tuple[int, int]) -> NDArray[np.float64] | None:
        """Return K (3 x 3, px) of the rectified images of `size` (height, width).

        None if the camera is uncalibrated.
        """
        calibration = self._calibration(size)
        return None if calibration is None else calibration.matrix

    def rectified_depth(
        self, depth: NDArray[np.float32], size: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Return a depth map (H, W) of the camera's images, rectified as the images of `size`
        (height, width) are; unchanged if they are not rectified here."""
        calibration = self._calibration(size)
        return depth if calibration is None else calibration.rectified_depth(depth)

    @property
    def ignores_calibration(self) -> bool:
        """True if the user chose the predicted field of view."""
        return self._settings.intrinsics == "predicted"

    @property
    def why_uncalibrated(self) -> str:
        """Reason why there is no calibration, if that is not the user's choice."""
        if self.calibration is None:
            return f"no message on camera_info of {self._topic}"
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
    """Return everything but the header, to detect another calibration."""
    arrays = (info.d, info.k, info.r, info.p)
    roi = info.roi
    return (
        *(tuple(array) for array in arrays),
        (info.height, info.width, info.binning_x, info.binning_y, info.distortion_model),
        (roi.x_offset, roi.y_offset, roi.height, roi.width),
    )
