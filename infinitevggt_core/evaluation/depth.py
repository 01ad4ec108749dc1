# SPDX-License-Identifier: Apache-2.0
"""Errors of depth maps with one alignment per sequence, as in video depth benchmarks.

Alignments: "scale" and "scale_shift" by least absolute deviations, "metric" without any, and the
median ratio for synthetic worlds (`DepthSample.errors`).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LAD_ROUNDS = 50
LAD_FLOOR = 1e-6
"""Lower bound of residuals, which limits the weight of a pixel that fits exactly."""


@dataclass(frozen=True, slots=True)
class DepthErrors:
    absrel: float
    """Mean |scale * depth - truth| / truth."""
    delta125: float
    """Share of pixels within a factor of 1.25 of the truth."""
    rmse: float
    """Root mean square error in units of the truth (metres)."""
    scale: float
    """Units of the truth per unit of the stream: median of truth / depth over the sequence."""


@dataclass(frozen=True, slots=True)
class AlignedDepthErrors(DepthErrors):
    shift: float = 0.0
    """Shift added after scaling, in units of the truth."""


class DepthSample:
    """Evenly spread pixels of a sequence, with the same number in each frame.

    All frames count alike, and the scale can be applied after the last frame.
    """

    def __init__(self, pixels_per_frame: int, farthest: float = math.inf) -> None:
        """farthest: true depth beyond it is ignored, and predicted depth is clipped to it."""
        self.pixels_per_frame = pixels_per_frame
        self.farthest = farthest
        self._pairs: list[NDArray[np.float32]] = []

    def add(self, depth: NDArray[np.float32], truth: NDArray[np.float32]) -> None:
        """Add a frame's maps of equal shape.

        Pixels without truth (0 or not finite) are ignored; those without prediction count as depth
        0.
        """
        places = spread(depth.size, self.pixels_per_frame)
        pair = np.stack((depth.ravel()[places], truth.ravel()[places]))
        known = np.isfinite(pair[1]) & (pair[1] > 0) & (pair[1] < self.farthest)
        self._pairs.append(np.nan_to_num(pair[:, known], nan=0.0, posinf=0.0, neginf=0.0))

    def pixels(self) -> NDArray[np.float64]:
        """Return depth and truth, (2, N). Raises ValueError if no pixel has truth."""
        if not self._pairs:
            raise ValueError("no frame with true depth")
        # in one order in memory, so that sums are the same to the last bit
        pairs = np.concatenate(self._pairs, axis=1).astype(np.float64, order="C")
        if not pairs.size:
            raise ValueError("no pixel with true depth")
        return pairs

    def state(self) -> NDArray[np.float32]:
        """Return all added pixels, (2, N), to continue in another process."""
        return np.concatenate([np.empty((2, 0), np.float32), *self._pairs], axis=1)

    def load_state(self, pairs: NDArray[np.float32]) -> None:
        self._pairs = [pairs] if pairs.size else []

    def aligned(self, alignment: str) -> AlignedDepthErrors:
        """Return errors after an alignment of ALIGNMENTS. Raises ValueError if no pixel has
        truth."""
        depth, truth = self.pixels()
        scale, shift = ALIGNMENTS[alignment](depth, truth)
        found = np.minimum(scale * depth + shift, self.farthest)
        errors = depth_errors(found, truth, scale)
        return AlignedDepthErrors(errors.absrel, errors.delta125, errors.rmse, scale, shift)

    def errors(self) -> DepthErrors:
        """Return errors with the median ratio as the scale. Raises ValueError if no pixel has
        truth."""
        depth, truth = self.pixels()
        usable = depth > 0
        scale = float(np.median(truth[usable] / depth[usable])) if usable.any() else 0.0
        return depth_errors(scale * depth, truth, scale)

    def trivial(self) -> DepthErrors:
        """Return the errors of the best constant depth."""
        truth = np.concatenate(self._pairs, axis=1)[1].astype(np.float64)
        return depth_errors(np.full_like(truth, np.median(truth)), truth, float(np.median(truth)))


def depth_errors(
    depth: NDArray[np.float64], truth: NDArray[np.float64], scale: float
) -> DepthErrors:
    """Return the errors of depth that is already scaled; (N,) each, truth above 0."""
    ratio = np.maximum(depth, 1e-9) / truth
    return DepthErrors(
        absrel=float(np.abs(depth / truth - 1).mean()),
        delta125=float((np.maximum(ratio, 1 / ratio) < 1.25).mean()),
        rmse=float(np.sqrt(np.square(depth - truth).mean())),
        scale=scale,
    )


def fit_scale(depth: NDArray[np.float64], truth: NDArray[np.float64]) -> tuple[float, float]:
    """Return the scale that minimises sum |scale * depth - truth|; depth and truth (N,).

    It is the median of the ratios, weighted by depth.
    """
    usable = depth > 0
    if not usable.any():
        return 0.0, 0.0
    weight = depth[usable]
    ratio = truth[usable] / weight
    order = np.argsort(ratio, kind="stable")
    below = np.cumsum(weight[order])
    return float(ratio[order][np.searchsorted(below, below[-1] / 2)]), 0.0


def fit_scale_and_shift(
    depth: NDArray[np.float64], truth: NDArray[np.float64]
) -> tuple[float, float]:
    """Return scale and shift that minimise sum |scale * depth + shift - truth|, (N,) each.

    The solution is found by iteratively reweighted least squares.
    """
    columns = np.stack((depth, np.ones_like(depth)), axis=1)
    weight: NDArray[Any] = np.ones_like(depth)
    solution: NDArray[Any] = np.zeros(2)
    for _ in range(LAD_ROUNDS):
        weighted = columns * weight[:, None]
        solution, *_ = np.linalg.lstsq(weighted.T @ columns, weighted.T @ truth, rcond=None)
        left = np.abs(columns @ solution - truth)
        weight = 1 / np.maximum(left, LAD_FLOOR)
    return float(solution[0]), float(solution[1])


def no_fit(depth: NDArray[np.float64], truth: NDArray[np.float64]) -> tuple[float, float]:
    """Return scale 1 and shift 0: metric depth is compared without alignment."""
    return 1.0, 0.0


ALIGNMENTS = {"scale": fit_scale, "scale_shift": fit_scale_and_shift, "metric": no_fit}


def spread(size: int, count: int) -> NDArray[np.int64]:
    """Return at most `count` of `size` indices, evenly spread and not in columns."""
    return (np.arange(min(count, size)) * size) // min(count, size)
