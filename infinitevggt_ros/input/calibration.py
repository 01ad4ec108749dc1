# SPDX-License-Identifier: Apache-2.0
"""Intrinsics and rectification of images, by their CameraInfo."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from infinitevggt_ros.input.image_gate import BadInputError

OPENCV_COUNTS = (4, 5, 8, 12, 14)
"""Numbers of coefficients that OpenCV takes for a pinhole camera, whatever the model is called."""
COEFFICIENTS = {
    "plumb_bob": OPENCV_COUNTS,
    "rational_polynomial": OPENCV_COUNTS,
    "equidistant": (4,),
}
"""Distortion models that OpenCV can undo, and the numbers of coefficients each may have."""
NO_DISTORTION = 1e-9
FOCAL_SIDES = 0.01, 1000.0
"""Range of a focal length, in longer sides of the image."""


class CameraInfo(Protocol):
    """Fields of sensor_msgs/CameraInfo, of a message or of a calibration file."""

    height: int
    width: int
    distortion_model: str
    d: Sequence[float]
    k: Sequence[float]
    r: Sequence[float]
    p: Sequence[float]
    binning_x: int
    binning_y: int
    roi: Any


@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibration of images of one size."""

    matrix: NDArray[np.float64]
    """K (3 x 3), px, of the rectified image."""
    maps: tuple[NDArray[np.int16], NDArray[np.uint16]] | None
    """OpenCV maps from the rectified image to the camera's; None if there is nothing to rectify."""

    def rectified(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the image (H, W, 3) without distortion; black outside the lens's view."""
        if self.maps is None:
            return rgb
        return np.asarray(cv2.remap(rgb, *self.maps, cv2.INTER_LINEAR), dtype=np.uint8)

    def rectified_depth(self, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a depth map (H, W) of the camera's view without distortion, at the camera's size.

        Each pixel is the nearest one, because depths must not be mixed; 0 (unknown) outside the
        lens's view. Unchanged if there is nothing to rectify.
        """
        if self.maps is None:
            return depth
        height, width = self.maps[0].shape[:2]
        depth = np.asarray(
            cv2.resize(depth, (width, height), interpolation=cv2.INTER_NEAREST), dtype=np.float32
        )
        places = cv2.convertMaps(*self.maps, cv2.CV_32FC1)  # whole pixels would be rounded down
        return np.asarray(cv2.remap(depth, *places, cv2.INTER_NEAREST), dtype=np.float32)


def read_calibration(
    info: CameraInfo, size: tuple[int, int], *, is_rectified: bool
) -> Calibration | None:
    """Return the calibration of images of `size` (height, width); None if the camera has none.

    is_rectified: the images are rectified already, as by image_proc: P holds instead of K.
    Raises BadInputError for a calibration that is not a camera's, or not of these images.
    """
    matrix = camera_matrix(info, size)
    if matrix is None or not (is_rectified or is_distorted(info)):
        return None if matrix is None else Calibration(matrix, None)
    new_matrix = np.asarray(info.p, dtype=float).reshape(3, 4)[:, :3]
    if new_matrix[0, 0] == 0:  # many drivers leave P out
        new_matrix = matrix
    else:
        new_matrix = _in_image_pixels(_checked("P", new_matrix, info), info)
    if is_rectified:
        return Calibration(new_matrix, None)
    return Calibration(new_matrix, _rectification(info, matrix, new_matrix, size))


def camera_matrix(info: CameraInfo, size: tuple[int, int]) -> NDArray[np.float64] | None:
    """Return K (3 x 3, px) of images of `size` (height, width).

    None if the camera is uncalibrated: K[0] == 0 (sensor_msgs/CameraInfo). Raises BadInputError as
    `read_calibration` does.
    """
    k = np.asarray(info.k, dtype=float).reshape(3, 3)
    if k[0, 0] == 0:
        return None
    _check_size(info, size)
    return _in_image_pixels(_checked("K", k, info), info)


def is_distorted(info: CameraInfo) -> bool:
    """Return True if the calibration has lens distortion."""
    return not all(abs(coefficient) <= NO_DISTORTION for coefficient in info.d)  # NaN is none


def _checked(name: str, matrix: NDArray[np.float64], info: CameraInfo) -> NDArray[np.float64]:
    focals, centre, side = matrix[(0, 1), (0, 1)], matrix[:2, 2], max(info.width, info.height)
    low, high = FOCAL_SIDES
    is_camera = np.isfinite(matrix).all() and matrix[2].tolist() == [0, 0, 1]
    is_camera = is_camera and bool((low * side <= focals).all() and (focals <= high * side).all())
    if not (is_camera and (np.abs(centre) <= high * side).all()):
        raise BadInputError(
            "calibration", f"its {name} is not a camera matrix: {matrix.ravel().tolist()}"
        )
    return matrix


def _check_size(info: CameraInfo, size: tuple[int, int]) -> None:
    height = info.roi.height or info.height
    width = info.roi.width or info.width
    sent = height // max(1, info.binning_y), width // max(1, info.binning_x)
    if sent != size:
        raise BadInputError(
            "calibration",
            f"it is for {sent[1]}x{sent[0]} px, the images have {size[1]}x{size[0]} px",
        )


def _in_image_pixels(matrix: NDArray[np.float64], info: CameraInfo) -> NDArray[np.float64]:
    """Return K or P of the image, which may be a binned region of the sensor."""
    to_image = np.eye(3)
    to_image[:2, 2] = -info.roi.x_offset, -info.roi.y_offset
    binning = np.diag((1 / max(1, info.binning_x), 1 / max(1, info.binning_y), 1.0))
    return np.asarray(binning @ to_image @ matrix)


def _rectification(
    info: CameraInfo,
    matrix: NDArray[np.float64],
    new_matrix: NDArray[np.float64],
    size: tuple[int, int],
) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    model, d = info.distortion_model or "plumb_bob", np.asarray(info.d, dtype=float)
    if len(d) not in COEFFICIENTS.get(model, ()):
        raise BadInputError(
            "calibration",
            f"distortion model {model!r} with {len(d)} coefficients is unsupported: rectify the "
            "images first",
        )
    if not np.isfinite(d).all():
        raise BadInputError("calibration", f"its distortion is not finite: {d.tolist()}")
    rotation: NDArray[np.float64] = np.asarray(info.r, dtype=float).reshape(3, 3)
    if abs(np.linalg.det(rotation) - 1) > 1e-3:  # many drivers leave R out
        rotation = np.eye(3)
    shape = (size[1], size[0])
    undo = cv2.fisheye if model == "equidistant" else cv2
    first, second = undo.initUndistortRectifyMap(
        matrix, d, rotation, new_matrix, shape, cv2.CV_16SC2
    )
    return np.asarray(first, dtype=np.int16), np.asarray(second, dtype=np.uint16)
