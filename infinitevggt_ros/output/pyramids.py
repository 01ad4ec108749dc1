# SPDX-License-Identifier: Apache-2.0
"""Pyramids that show cameras, without ROS."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SIZE_SHARE = 0.4
"""Depth of a keyframe's pyramid, as a share of the median distance of two keyframes."""
CORNERS = np.array([(-0.6, -0.45, 1), (0.6, -0.45, 1), (0.6, 0.45, 1), (-0.6, 0.45, 1)])
"""Corners of an image in the camera, at depth 1."""


def pyramid_lines(world_from_camera: Floats, size: float) -> Floats:
    """Return the ends (16 K, 3) of the eight lines of a pyramid for each pose (K, 3, 4)."""
    rotation, center = world_from_camera[:, :, :3], world_from_camera[:, :, 3]
    corners = np.einsum("kij,cj->kci", rotation, size * CORNERS) + center[:, None]  # (K, 4, 3)
    apex = np.repeat(center[:, None], 4, axis=1)
    rays = np.stack((apex, corners), axis=2)  # (K, 4, 2, 3)
    edges = np.stack((corners, np.roll(corners, -1, axis=1)), axis=2)
    return np.concatenate((rays, edges), axis=1).reshape(-1, 3)
