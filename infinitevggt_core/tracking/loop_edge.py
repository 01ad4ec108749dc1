# SPDX-License-Identifier: Apache-2.0
"""A loop: two keyframes that saw the same place at different times."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from infinitevggt_core.tracking.similarity import Floats, Similarity3


@dataclass(frozen=True, slots=True, eq=False)
class LoopEdge:
    """A measured Sim(3) between the cameras of two keyframes, with its uncertainty.

    A viewer draws a line between the two; red where it is not accepted.
    """

    from_index: int
    """Keyframe of the old place."""
    to_index: int
    """Keyframe that came back."""
    relative: Similarity3
    """Takes points in the camera of `to_index` to the camera of `from_index`. Its scale is units
    of `from_index` per unit of `to_index`."""
    covariance: Floats
    """(7, 7), of x in `true = relative @ exp(x)`: rad, unit of `to_index`, log scale."""
    inliers: int
    """Matches that agree with `relative`."""
    accepted: bool = True
    """False where the rest of the graph contradicts it."""

    @property
    def key(self) -> tuple[int, int]:
        return self.from_index, self.to_index

    def state_dict(self) -> dict[str, Any]:
        numbers = np.array([self.from_index, self.to_index, self.inliers, self.accepted])
        return {"numbers": numbers, "covariance": self.covariance, **self.relative.state_dict()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "LoopEdge":
        """Raises KeyError for a missing part."""
        start, end, inliers, accepted = (int(number) for number in state["numbers"])
        covariance = np.asarray(state["covariance"], dtype=np.float64)
        return cls(start, end, Similarity3.from_state(state), covariance, inliers, bool(accepted))
