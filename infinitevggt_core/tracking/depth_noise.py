# SPDX-License-Identifier: Apache-2.0
"""Noise of the network's depth, measured against triangulated depth."""

import numpy as np

from infinitevggt_core.tracking.rigid import Floats

START_SIGMA, LEAST_SIGMA, MOST_SIGMA = 2.0, 0.1, 8.0
KEPT = 0.8
FEWEST = 10


class DepthNoise:
    """Standard deviation and frame scale of log(triangulated depth / network depth)."""

    def __init__(self, trust: float) -> None:
        """trust: standard deviation in the adjustment, in units of the measured spread."""
        self.trust = trust
        self.sigma = START_SIGMA
        """Standard deviation of the logarithm of a depth in the bundle adjustment."""
        self.spread = float("nan")
        """Latest spread of log(triangulated / network): 1.4826 times its MAD."""
        self.log_scale = 0.0
        """Latest median of log(triangulated / network)."""

    def update(self, log_ratios: Floats) -> None:
        """Take in log(triangulated / network) of points with two views or more, NaN left out."""
        ratios = log_ratios[np.isfinite(log_ratios)]
        if len(ratios) < FEWEST:
            return
        middle = float(np.median(ratios))
        self.spread = 1.4826 * float(np.median(np.abs(ratios - middle)))
        measured = float(np.clip(self.trust * self.spread, LEAST_SIGMA, MOST_SIGMA))
        self.sigma = float(np.exp(KEPT * np.log(self.sigma) + (1 - KEPT) * np.log(measured)))

    def frame_scale(self, log_ratios: Floats) -> float:
        """Return the scale of one image's depth from its live points; the latest where too few."""
        ratios = log_ratios[np.isfinite(log_ratios)]
        if len(ratios) >= FEWEST:
            self.log_scale = float(np.clip(np.median(ratios), -10.0, 10.0))
        return float(np.exp(self.log_scale))

    def state_dict(self) -> dict[str, float]:
        """Return all numbers."""
        return {"sigma": self.sigma, "spread": self.spread, "log_scale": self.log_scale}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from saved numbers."""
        self.sigma, self.spread = float(state["sigma"]), float(state["spread"])
        self.log_scale = float(state["log_scale"])
