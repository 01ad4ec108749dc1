# SPDX-License-Identifier: Apache-2.0
"""Axes of a ROS map (x forward, z up; REP-103), without ROS."""

import numpy as np
from numpy.typing import NDArray

MAP_FROM_WORLD = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], dtype=float)
"""4 x 4: axes of a level first camera to the map's (right is -y, down is -z, forward is x)."""


def points_in_map(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return points (..., 3) of a level world in the axes of the map, in the same unit."""
    return points @ MAP_FROM_WORLD[:3, :3].T.astype(np.float32)
