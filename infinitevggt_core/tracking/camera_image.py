# SPDX-License-Identifier: Apache-2.0
"""Image of the camera at the resolution of the tracking."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.tracking.rigid import Floats

LEAST_SIDE_PX = 32


@dataclass(frozen=True, slots=True, eq=False)
class CameraImage:
    """One checked image, shrunk where the camera's image has too many pixels."""

    gray: NDArray[np.uint8]
    """(H, W)."""
    intrinsics: Floats
    """(3, 3), pixels of `gray`, without the correction of the focal length."""
    shrink: Floats
    """(2,), pixels of `gray` per pixel of the camera's image, along u and v."""
    stamp_s: float

    @classmethod
    def of(
        cls, gray: NDArray[np.uint8], intrinsics: Floats, stamp_s: float, most_pixels: int
    ) -> "CameraImage":
        """Return an image of at most so many pixels. Raises ValueError for bad input.

        gray: (H, W) uint8 without distortion. intrinsics: (3, 3), its pixels.
        """
        if gray.ndim != 2 or gray.dtype != np.uint8 or min(gray.shape) < LEAST_SIDE_PX:
            raise ValueError(
                f"expected uint8 (H, W), {LEAST_SIDE_PX} px or more; got {gray.dtype} {gray.shape}"
            )
        matrix = np.asarray(intrinsics, np.float64)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or matrix[0, 0] <= 0:
            raise ValueError(f"expected intrinsics (3, 3) with a focal length; got {intrinsics}")
        shrink = np.ones(2)
        if gray.size > most_pixels:
            factor = float(np.sqrt(most_pixels / gray.size))
            size = np.array([gray.shape[1], gray.shape[0]])
            small = np.maximum(np.round(factor * size), 1).astype(int)
            shape = (int(small[0]), int(small[1]))
            gray = np.asarray(cv2.resize(gray, shape, interpolation=cv2.INTER_AREA), np.uint8)
            shrink = small / size
            matrix = np.diag([*shrink, 1.0]) @ matrix
            matrix[:2, 2] += (shrink - 1) / 2
        return cls(np.ascontiguousarray(gray), matrix, shrink, stamp_s)

    def camera_pixels(self, pixels: Floats) -> Floats:
        """Return pixels (N, 2) of `gray` as pixels of the camera's image."""
        return (pixels + 0.5) / self.shrink - 0.5

    def camera_matrix(self, matrix: Floats) -> Floats:
        """Return intrinsics (3, 3) of `gray` as intrinsics of the camera's image."""
        matrix = matrix.copy()
        matrix[:2] /= self.shrink[:, None]
        matrix[:2, 2] += (1 / self.shrink - 1) / 2
        return matrix
