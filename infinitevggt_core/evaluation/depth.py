"""Errors of depth maps with one scale for a whole sequence, as video depth is compared."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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


class DepthSample:
    """Pixels of a sequence, evenly spread: as many of each frame, so that all frames count alike
    and the scale, which is known last, can still be applied."""

    def __init__(self, pixels_per_frame: int) -> None:
        self.pixels_per_frame = pixels_per_frame
        self._pairs: list[NDArray[np.float32]] = []

    def add(self, depth: NDArray[np.float32], truth: NDArray[np.float32]) -> None:
        """A frame's maps of one shape; pixels without truth (0 or not finite) do not count, those
        without depth count as depth 0."""
        places = spread(depth.size, self.pixels_per_frame)
        pair = np.stack((depth.ravel()[places], truth.ravel()[places]))
        known = np.isfinite(pair[1]) & (pair[1] > 0)
        self._pairs.append(np.nan_to_num(pair[:, known], nan=0.0, posinf=0.0, neginf=0.0))

    def errors(self) -> DepthErrors:
        """Raises ValueError where no pixel has truth."""
        if not self._pairs:
            raise ValueError("no frame with true depth")
        depth, truth = np.concatenate(self._pairs, axis=1).astype(np.float64)
        if not len(truth):
            raise ValueError("no pixel with true depth")
        usable = depth > 0
        scale = float(np.median(truth[usable] / depth[usable])) if usable.any() else 0.0
        return depth_errors(scale * depth, truth, scale)

    def trivial(self) -> DepthErrors:
        """Of one depth everywhere, the best by the same scale."""
        truth = np.concatenate(self._pairs, axis=1)[1].astype(np.float64)
        return depth_errors(np.full_like(truth, np.median(truth)), truth, float(np.median(truth)))


def depth_errors(
    depth: NDArray[np.float64], truth: NDArray[np.float64], scale: float
) -> DepthErrors:
    """Of depth that is scaled already; (N,) each, truth above 0."""
    ratio = np.maximum(depth, 1e-9) / truth
    return DepthErrors(
        absrel=float(np.abs(depth / truth - 1).mean()),
        delta125=float((np.maximum(ratio, 1 / ratio) < 1.25).mean()),
        rmse=float(np.sqrt(np.square(depth - truth).mean())),
        scale=scale,
    )


def spread(size: int, count: int) -> NDArray[np.int64]:
    """At most `count` of `size` places, evenly spread and not in columns."""
    return (np.arange(min(count, size)) * size) // min(count, size)
