# SPDX-License-Identifier: Apache-2.0
"""Input and output of the window's bundle adjustment: arrays, copied in and copied out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.tracking.rigid import Floats

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class WindowProblem:
    """Keyframes, points and observations, sorted by keyframe, then by point."""

    poses: Floats
    """(K, 3, 4), camera_from_world, oldest first."""
    points: Floats
    """(N, 3), in the world."""
    camera: Indices
    """(M,), number of the keyframe of each observation, ascending."""
    point: Indices
    """(M,), number of its point."""
    pixels: Floats
    """(M, 2), from the principal point, px of an image 320 px wide."""
    focal: Floats
    """(K, 2), of each keyframe, in the same pixels."""
    log_depth: Floats
    """(M,), logarithm of the measured depth in the unit of the points; NaN where there is none."""
    depth_sigma: Floats
    """(M,), standard deviation of it."""
    whitening: Floats
    """(M, 2, 2), by which errors in pixels are multiplied."""
    fixed: int = 2
    """Oldest keyframes that do not move."""
    log_focal: float = 0.0
    """Logarithm of the correction of all focal lengths so far."""
    focal_sigma: float = 0.0
    """Standard deviation of that correction about 0; 0: it is fixed."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowResult:
    """The adjusted window."""

    poses: Floats
    """(K, 3, 4)."""
    points: Floats
    """(N, 3)."""
    log_focal: float
    cost: float
    """Robust cost of all residuals."""
    pixel_cost: float
    """Mean robust cost of an observation's reprojection."""
    errors_px: Floats
    """(M,); infinite behind a camera."""
    covariance: Floats
    """(6, 6) of the newest pose, a step on its left: translation, then rotation."""
    point_std: Floats
    """(N,), standard deviation of the position along the newest ray, unit of the points."""
    parallax: Floats
    """(N,), largest angle between the first ray to a point and the others, rad."""
    views: Indices
    """(N,), observations of each point."""
    steps: int
    """Steps that lowered the cost."""
