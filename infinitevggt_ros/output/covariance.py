# SPDX-License-Identifier: Apache-2.0
"""Covariances of a message: 6 x 6 in rows; x, y, z, then the turns about x, y, z."""

import math

import numpy as np
from numpy.typing import NDArray

UNKNOWN = 1e6
"""Variance of what is not known, in the square of its unit; 0 would be read as known exactly."""
NOTHING_KNOWN = np.diag([UNKNOWN] * 6).ravel()


def pose_covariance(position: NDArray[np.float64], metres_doubt: float) -> NDArray[np.float64]:
    """(36,) in the map's axes, of a position (3,) in it.

    metres_doubt: share by which lengths may be off, a standard deviation; NaN where they are no
    metres. The map's origin is exact; of drift and of the rotation nothing is known.
    """
    variance = UNKNOWN
    if math.isfinite(metres_doubt):
        variance = min(UNKNOWN, float(metres_doubt * np.linalg.norm(position)) ** 2)
    return np.diag([variance] * 3 + [UNKNOWN] * 3).ravel()
