# SPDX-License-Identifier: Apache-2.0
"""A keyframe for export: what its picture, its depth and its tracked points are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.tracking import Keyframe

JPEG_QUALITY = 95
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ExportKeyframe:
    """One keyframe without its picture. Depth and points are in its own unit, in the camera."""

    index: int
    stamp_ns: int
    size: tuple[int, int]
    """Height and width of the picture, px."""
    camera_matrix: Floats
    """K (3, 3), px of the picture."""
    depth: NDArray[Any]
    """Depth (h, w), floating point of any size."""
    depth_matrix: Floats
    """K (3, 3), px of the depth map."""
    ids: NDArray[np.int64]
    """Numbers (N,) of the tracked points; a point has the same number in all keyframes."""
    pixels: Floats
    """Pixels (N, 2) of the points in the picture; centres have integer coordinates."""
    points: Floats
    """Points (N, 3) in the camera."""

    @classmethod
    def of(
        cls,
        keyframe: Keyframe,
        stamp_ns: int,
        shape: Sequence[int],
        depth: NDArray[Any],
        depth_matrix: Floats,
    ) -> "ExportKeyframe":
        """Return a keyframe of the tracking with its depth (h, w), in the unit of the tracking.

        shape: height and width of the picture. depth_matrix: K (3, 3) of the depth map.
        """
        scale = shape[1] / keyframe.gray.shape[1]
        to_picture = np.array([[scale, 0, scale / 2 - 0.5], [0, scale, scale / 2 - 0.5], [0, 0, 1]])
        return cls(
            keyframe.index,
            stamp_ns,
            (shape[0], shape[1]),
            to_picture @ keyframe.intrinsics,
            depth,
            depth_matrix,
            keyframe.ids,
            (keyframe.pixels + 0.5) * scale - 0.5,
            keyframe.camera_points,
        )


class KeyframeSink(Protocol):
    """Receiver of keyframes. A keyframe comes again when its points are final."""

    def put(self, keyframe: ExportKeyframe, rgb: NDArray[np.uint8]) -> None:
        """Take a keyframe and its rectified image (H, W, 3)."""


def jpeg_of(rgb: NDArray[np.uint8]) -> bytes:
    """Return an image (H, W, 3) as JPEG."""
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return encoded.tobytes()
