# SPDX-License-Identifier: Apache-2.0
"""Similarity transforms Sim(3), the gauge freedom of a camera without scale."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Similarity:
    """Similarity that maps points p to scale * rotation @ p + translation."""

    scale: float
    rotation: Array
    """(3, 3)."""
    translation: Array
    """(3,)."""

    @classmethod
    def of(cls, source: Array, target: Array, *, scaled: bool = True) -> "Similarity":
        """Return the least-squares similarity from points (N, 3) to their partners (Umeyama 1991).

        scaled: estimate the scale (Sim(3)), or keep it 1 (SE(3)). Coincident points have scale 0.
        """
        if source.shape != target.shape or source.ndim != 2 or not len(source):
            raise ValueError(f"points have no partners: {source.shape} and {target.shape}")
        middle, goal = source.mean(0), target.mean(0)
        left, right = source - middle, target - goal
        u, singular, vt = np.linalg.svd(right.T @ left / len(source))
        # a reflection is no motion: the least direction is turned round instead
        sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt)) or 1.0])
        rotation = u * sign @ vt
        variance = left.var(0).sum()
        scale = 1.0
        if scaled:
            scale = float(singular @ sign / variance) if variance > 1e-18 else 0.0
        return cls(scale, rotation, goal - scale * rotation @ middle)

    def __call__(self, points: Array) -> Array:
        """Transform points (..., 3)."""
        return self.scale * points @ self.rotation.T + self.translation
