# SPDX-License-Identifier: Apache-2.0
"""Dense depth brought to the depths of tracked points, where that demonstrably helps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.metric.scale_estimate import ScaleEstimate
from infinitevggt_core.tracking.similarity import Floats

Floats32 = NDArray[np.float32]
COLUMNS, ROWS = 16, 12
LEAST_POINTS = 16
RIDGE = 5.0
"""Weight against all but the constant part of the low-order field, in points."""
RADIUS = 0.08
"""Standard deviation of the local kernel, as a share of the width."""
PSEUDO_POINTS = 2.0
"""Points without a residual that each local mean counts besides."""
FOLDS = 4
GATE_RATIO = 0.75
"""Held-out error of the field, in that of one scale, below which it is used."""
GATE_ERROR = 0.06
"""Held-out error of one scale, in the logarithm, above which there is anything to correct."""
ROUNDS = 4
HUBER = 1.5
MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, slots=True, eq=False)
class CorrectedDepth:
    """A depth image in the unit of the points."""

    depth: Floats32
    """(H, W) along the optical axis; what was no depth before is none now."""
    log_scale: float
    """Logarithm of the unit: median of points / depth in this frame; NaN without enough points."""
    is_open: bool
    """True where a field was applied, False where one scale of the whole stream was."""
    error_before: float
    """Held-out mean |log| error with one scale for this frame; NaN without enough points."""
    error_after: float
    """The same with the field."""


class DepthCorrector:
    """Corrects each frame on its own; remembers the usual scale for frames without correction."""

    def __init__(self) -> None:
        self._usual = ScaleEstimate(1)

    @property
    def usual_scale(self) -> float:
        """Unit of the points per unit of the depth, over the latest frames; 1 before any."""
        return self._usual.factor if self._usual.is_known else 1.0

    def correct(self, depth: Floats32, pixels: Floats, z: Floats) -> CorrectedDepth:
        """Depth (H, W), points at pixels (N, 2), u and v in the depth image, with their depth (N,).

        Points should have been seen with parallax; those that are no numbers are passed over.
        Raises ValueError for shapes that do not fit.
        """
        if depth.ndim != 2 or pixels.shape != (len(z), 2):
            raise ValueError(f"no depth with points: {depth.shape}, {pixels.shape}, {z.shape}")
        places, logs = _log_ratios(depth, pixels, z)
        if len(logs) < LEAST_POINTS:
            return self._scaled(depth, np.nan, np.nan, np.nan)
        middle = float(np.median(logs))
        self._usual.add(float(np.exp(middle)), 1.0)
        field = _Field(places, logs)
        before, after = field.held_out()
        if before <= GATE_ERROR or after >= GATE_RATIO * before:
            return self._scaled(depth, middle, before, after)
        corrected = depth * np.exp(field.image(*depth.shape))
        return CorrectedDepth(corrected.astype(np.float32), middle, True, before, after)

    def state_dict(self) -> dict[str, Any]:
        return {"usual": np.array(self._usual.state()).reshape(-1, 2)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises KeyError for a missing part."""
        self._usual.restore([(float(log), float(doubt)) for log, doubt in state["usual"]])

    def _scaled(
        self, depth: Floats32, middle: float, before: float, after: float
    ) -> CorrectedDepth:
        scaled = (depth * self.usual_scale).astype(np.float32)
        return CorrectedDepth(scaled, middle, False, before, after)


class _Field:
    """A smooth field of log scale through points, at places in [0, 1] x [0, aspect]."""

    def __init__(self, places: Floats, logs: Floats) -> None:
        """places: (N, 2), u / W and v / H. logs: (N,)."""
        self._logs = logs
        self._design = _low_order(places[:, 0], places[:, 1])
        self._places = places
        u, v = (np.arange(COLUMNS) + 0.5) / COLUMNS, (np.arange(ROWS) + 0.5) / ROWS
        across = np.exp(-np.square(u[:, None] - places[:, 0]) / (2 * RADIUS**2))
        # cells are taken for square
        away = (v[:, None] - places[:, 1]) * ROWS / COLUMNS
        down = np.exp(-np.square(away) / (2 * RADIUS**2))
        self._kernel = (down[:, None] * across[None]).reshape(-1, len(logs))  # (nodes, N)

    def held_out(self) -> tuple[float, float]:
        """Mean errors of one scale and of the field at points that they were not made from."""
        fold = np.arange(len(self._logs)) % FOLDS
        one_scale, field = np.empty(len(fold)), np.empty(len(fold))
        for k in range(FOLDS):
            outside = fold == k
            coefficients, local = self._fit(~outside)
            one_scale[outside] = np.median(self._logs[~outside])
            field[outside] = self._design[outside] @ coefficients
            field[outside] += _sampled(local, self._places[outside])
        errors = np.abs(one_scale - self._logs), np.abs(field - self._logs)
        return float(errors[0].mean()), float(errors[1].mean())

    def image(self, height: int, width: int) -> Floats32:
        """(H, W), within the range of most points."""
        coefficients, local = self._fit(np.ones(len(self._logs), dtype=np.bool_))
        grid = local.reshape(ROWS, COLUMNS).astype(np.float32)
        u = (np.arange(width) + 0.5) / width
        v = (np.arange(height) + 0.5) / height
        x, y = 2 * u - 1, 2 * v - 1
        a, b, c, d, e, f = coefficients
        smooth = (a + b * x + e * x**2)[None] + (c * y + f * y**2)[:, None]
        smooth += np.multiply.outer(d * y, x)
        field = smooth.astype(np.float32)
        field += cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR)
        low, high = np.percentile(self._logs, (1, 99))
        return np.asarray(np.clip(field, low - 0.1, high + 0.1), dtype=np.float32)

    def _fit(self, inside: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Coefficients (6,) and the rest at the nodes, from some of the points."""
        design, logs = self._design[inside], self._logs[inside]
        penalty = np.diag([0.0] + [RIDGE] * 5)
        weights = np.ones(len(logs))
        coefficients = np.zeros(6)
        for _ in range(ROUNDS):
            weighted = design * weights[:, None]
            matrix = weighted.T @ design + penalty + 1e-9 * np.eye(6)
            coefficients = np.linalg.solve(matrix, weighted.T @ logs)
            rest = logs - design @ coefficients
            sigma = max(MAD_TO_SIGMA * float(np.median(np.abs(rest))), 1e-6)
            weights = np.minimum(1, HUBER * sigma / np.maximum(np.abs(rest), 1e-12))
        mass, pull = (np.zeros_like(self._logs) for _ in range(2))
        mass[inside], pull[inside] = weights, weights * rest
        return coefficients, self._kernel @ pull / (self._kernel @ mass + PSEUDO_POINTS)


def _log_ratios(depth: Floats32, pixels: Floats, z: Floats) -> tuple[Floats, Floats]:
    """Places (M, 2), u / W and v / H, and log(z / depth) (M,) of the points that have both."""
    height, width = depth.shape
    usable = np.isfinite(pixels).all(axis=1) & np.isfinite(z) & (z > 0)
    rounded = np.round(np.where(usable[:, None], pixels, -1)).astype(np.int64)
    usable &= ((rounded >= 0) & (rounded < (width, height))).all(axis=1)
    there = np.zeros(len(z))
    there[usable] = depth[rounded[usable, 1], rounded[usable, 0]]
    usable &= np.isfinite(there) & (there > 0)
    logs = np.log(z[usable] / there[usable])
    return (pixels[usable] + 0.5) / (width, height), logs


def _low_order(u: Floats, v: Floats) -> Floats:
    """(N,) each, in [0, 1] -> (N, 6)."""
    x, y = 2 * u - 1, 2 * v - 1
    return np.column_stack((np.ones_like(x), x, y, x * y, x**2, y**2))


def _sampled(local: Floats, places: Floats) -> Floats:
    """Values at nodes and places (N, 2) -> (N,), as `cv2.resize` has it between them."""
    grid = local.reshape(ROWS, COLUMNS)
    column = np.clip(places[:, 0] * COLUMNS - 0.5, 0, COLUMNS - 1)
    row = np.clip(places[:, 1] * ROWS - 0.5, 0, ROWS - 1)
    left = np.minimum(column.astype(np.int64), COLUMNS - 2)
    top = np.minimum(row.astype(np.int64), ROWS - 2)
    across, down = column - left, row - top
    upper = (1 - across) * grid[top, left] + across * grid[top, left + 1]
    lower = (1 - across) * grid[top + 1, left] + across * grid[top + 1, left + 1]
    return np.asarray((1 - down) * upper + down * lower)
