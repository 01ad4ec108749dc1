# SPDX-License-Identifier: Apache-2.0
"""A keyframe as the tracker hands it to the map."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Keyframe:
    """One keyframe: its pose, its image and the points that it saw.

    Poses and points are in `odom`, the tracker's own world and unit, as known when the keyframe
    was handed over. Camera axes are OpenCV's: x right, y down, z forward.
    """

    index: int
    """Number of the keyframe, counted over the whole stream."""
    frame: int
    """Number of the image, counted over the whole stream."""
    stamp_s: float
    """Stamp of the image, s."""
    submap: int
    """Number of the piece of trajectory without a break that the keyframe belongs to."""
    gray: NDArray[np.uint8]
    """(H, W), at the resolution of the tracking."""
    intrinsics: Floats
    """(3, 3), pixels of `gray`."""
    camera_from_world: Floats
    """(3, 4)."""
    ids: NDArray[np.int64]
    """(N,) of the points, never used twice in a stream."""
    pixels: Floats
    """(N, 2), u and v in `gray`; pixel centres have integer coordinates."""
    points: Floats
    """(N, 3), in odom, unit of the tracker."""
    parallax: Floats
    """(N,), largest angle between two rays to the point, rad."""
    relative_std: Floats
    """(N,), standard deviation of the distance divided by the distance."""
    depth_scale: float
    """Units of the tracker per unit of the network's depth in this image; 1 where unknown."""

    @property
    def camera_points(self) -> Floats:
        """(N, 3): the points in the camera's axes."""
        pose = self.camera_from_world
        placed: Floats = self.points @ pose[:, :3].T + pose[:, 3]
        return placed
