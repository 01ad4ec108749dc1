# SPDX-License-Identifier: Apache-2.0
"""Depth images of a depth camera: where they are valid, and how far they are off."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.tracking.similarity import Floats

Floats32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SensorNoise:
    """Standard deviation of a depth z: floor_m + growth * z^2, as triangulation has it."""

    floor_m: float = 0.005
    growth: float = 0.003
    """Per metre; 0.0014 to 0.003 for structured light, 0.002 to 0.005 for stereo."""
    nearest_m: float = 0.15
    farthest_m: float = 10.0

    def sigma_m(self, z: Floats) -> Floats:
        """(...,), m -> (...,), m."""
        return np.asarray(self.floor_m + self.growth * np.square(z))


@dataclass(frozen=True, slots=True, eq=False)
class SensorDepth:
    """A depth image of the size of the camera's, NaN where it says nothing."""

    depth: Floats32
    """(H, W), metres along the optical axis of the colour camera, to which it is registered."""
    noise: SensorNoise

    @classmethod
    def of(
        cls, depth_m: Floats32, height: int, width: int, noise: SensorNoise | None = None
    ) -> "SensorDepth":
        """From an image (h, w) of the same view, 0 or no number where there is no depth.

        Pixels are taken as they are: a mean over an edge is a depth where nothing is. Raises
        ValueError for an image that is none.
        """
        if depth_m.ndim != 2 or not depth_m.size:
            raise ValueError(f"a depth image has rows and columns: {depth_m.shape}")
        noise = noise or SensorNoise()
        depth = np.asarray(depth_m, dtype=np.float32)
        with np.errstate(invalid="ignore"):
            valid = (depth >= noise.nearest_m) & (depth <= noise.farthest_m)
        depth = np.where(valid, depth, np.float32(np.nan))
        if depth.shape != (height, width):
            resized = cv2.resize(depth, (width, height), interpolation=cv2.INTER_NEAREST)
            depth = np.asarray(resized, dtype=np.float32)
        return cls(depth, noise)

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(H, W)."""
        return np.isfinite(self.depth)

    def at(self, pixels: Floats) -> tuple[Floats, Floats]:
        """Depths (N,) in metres at pixels (N, 2), NaN where there is none, and the standard
        deviations (N,) of their logarithms.

        On an edge of depth there is none: the corner may lie on either side.
        """
        height, width = self.depth.shape
        usable = np.asarray(np.isfinite(pixels).all(axis=1))
        u, v = np.round(np.where(usable[:, None], pixels, -1)).astype(np.int64).T
        usable &= (u >= 0) & (u < width) & (v >= 0) & (v < height)
        z = np.full(len(pixels), np.nan)
        around = np.stack(
            [
                self.depth[np.clip(v + down, 0, height - 1), np.clip(u + right, 0, width - 1)]
                for down in (-1, 0, 1)
                for right in (-1, 0, 1)
            ],
            axis=1,
        ).astype(np.float64)
        low, high = around.min(axis=1), around.max(axis=1)  # NaN where any is
        with np.errstate(invalid="ignore"):
            usable &= high - low < 6 * self.noise.sigma_m(high) + 0.02 * high
        z[usable] = around[usable, 4]
        return z, np.asarray(self.noise.sigma_m(z) / z)

    def over(self, dense: Floats32) -> Floats32:
        """Depth (H, W), metres: this one where it is valid, `dense` elsewhere.

        Raises ValueError for one of another size.
        """
        if dense.shape != self.depth.shape:
            raise ValueError(f"depths of two sizes: {self.depth.shape} and {dense.shape}")
        return np.asarray(np.where(self.valid, self.depth, dense), dtype=np.float32)
