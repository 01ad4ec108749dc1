# SPDX-License-Identifier: Apache-2.0
"""Covariances of messages: 6 x 6, position, then rotation about the fixed axes x, y, z."""

import numpy as np
from numpy.typing import NDArray

UNKNOWN = 1e6
"""Variance of an unknown component, in the square of its unit; 0 would mean exactly known."""
Covariance = NDArray[np.float64]
"""(6, 6)."""


def unknown() -> Covariance:
    """Return the covariance of an unknown pose. Unknown components have variance 1e6."""
    return np.diag([UNKNOWN] * 6)


def bounded(covariance: Covariance) -> NDArray[np.float64]:
    """Return a covariance as messages have it, (36,). Components that are not finite have variance
    1e6."""
    if not np.isfinite(covariance).all():
        diagonal = np.diag(covariance)
        covariance = np.diag(np.where(np.isfinite(diagonal), diagonal, UNKNOWN))
    return covariance.ravel()
