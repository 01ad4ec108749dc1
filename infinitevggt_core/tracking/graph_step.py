# SPDX-License-Identifier: Apache-2.0
"""A measurement between two keyframes of a graph, with its uncertainty."""

from dataclasses import dataclass

import numpy as np

from infinitevggt_core.tracking.similarity import Floats, Similarity3


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A measured Sim(3), camera of the first keyframe <- camera of the second."""

    relative: Similarity3
    covariance: Floats
    """(7, 7), of x in `true = relative @ exp(x)`: rad, unit of the second, log scale."""
    is_link: bool = False
    """Joins two submaps and says next to nothing."""

    def reversed(self) -> "Step":
        adjoint = self.relative.adjoint()
        covariance = adjoint @ self.covariance @ adjoint.T
        return Step(self.relative.inverse(), covariance, self.is_link)

    def then(self, other: "Step") -> "Step":
        """a <- b and b <- c make a <- c."""
        adjoint = other.relative.inverse().adjoint()
        covariance = adjoint @ self.covariance @ adjoint.T + other.covariance
        return Step(self.relative @ other.relative, covariance, self.is_link or other.is_link)

    @property
    def doubt(self) -> float:
        """Contribution to the uncertainty of a path, for choosing among paths."""
        return float(self.covariance[0, 0] + self.covariance[6, 6])


def diagonal(turn: float, shift: float, log_scale: float) -> Floats:
    """(7, 7): the covariance of independent parts."""
    return np.diag(np.square([turn, turn, turn, shift, shift, shift, log_scale]))
