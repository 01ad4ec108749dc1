# SPDX-License-Identifier: Apache-2.0
"""Correction of a guessed focal length."""

from typing import Any

import numpy as np

from infinitevggt_core.tracking.rigid import Floats

SIGMA = 0.2
"""Standard deviation of the logarithm of a focal length that is a guess."""
BOUNDS = (float(np.log(0.7)), float(np.log(1.4)))
KEYFRAMES, WINDOWS, STEADY = 40, 8, 0.01
"""Keyframes after which it is fixed; windows in a row that agree so far fix it before."""


class FocalLength:
    """Factor of the focal length: 1 where the intrinsics are known, else a variable for a while."""

    def __init__(self, *, is_known: bool) -> None:
        self.is_known = is_known
        self.log = 0.0
        """Logarithm of the factor."""
        self._history: list[float] = []

    def sigma(self, keyframes: int, *, is_decided: bool) -> float:
        """Return the standard deviation of `log` in the next adjustment; 0 where it is fixed.

        keyframes: number of keyframes so far. is_decided: True once the first structure is settled.
        """
        return 0.0 if self._is_fixed(keyframes, is_decided) else SIGMA

    def update(self, log: float, keyframes: int, *, is_decided: bool) -> None:
        """Take over an adjusted logarithm within the bounds, unless it is fixed."""
        if not self._is_fixed(keyframes, is_decided):
            self.log = float(np.clip(log, *BOUNDS))
            self._history = [*self._history[1 - WINDOWS :], self.log]

    def corrected(self, intrinsics: Floats) -> Floats:
        """Return intrinsics (3, 3) with the focal length corrected."""
        matrix = intrinsics.copy()
        matrix[0, 0] *= np.exp(self.log)
        matrix[1, 1] *= np.exp(self.log)
        return matrix

    def state_dict(self) -> dict[str, Any]:
        """Return all numbers."""
        return {"log": self.log, "history": list(self._history)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from saved numbers."""
        self.log, self._history = float(state["log"]), [float(x) for x in state["history"]]

    def _is_fixed(self, keyframes: int, is_decided: bool) -> bool:
        """Return True if the focal length is known or has been found."""
        enough = len(self._history) >= WINDOWS
        steady = enough and bool(np.ptp(self._history[-WINDOWS:]) < STEADY)
        return self.is_known or (steady and is_decided) or keyframes > KEYFRAMES
