# SPDX-License-Identifier: Apache-2.0
"""A sequence of a data set: frames by their files, read when they are needed."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.evaluation.datasets.files import DatasetError, read_image

Array = NDArray[np.float64]
FRAME_NS = 33_333_333
"""Between frames of data sets that have no stamps: 30 Hz."""
NEAREST_M, FARTHEST_M = 0.05, 1000.0
"""Medians of depth that are no mistake of the unit."""


def unknown_pose() -> Array:
    return np.full((3, 4), np.nan)


@dataclass(frozen=True, slots=True, eq=False)
class DatasetFrame:
    image: Path
    stamp_ns: int
    depth: Path | None = None
    camera_from_world: Array = field(default_factory=unknown_pose)
    """(3, 4), OpenCV axes, metres; NaN where it is not known."""


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    name: str
    frames: list[DatasetFrame]
    read_depth: Callable[[Path], NDArray[np.float32]]
    """(H, W) metres, 0 where it is not known."""
    intrinsics: Array | None = None
    """(3, 3), px of the images; None: not known."""
    farthest_m: float = inf
    """True depth beyond it does not count in the published protocol."""
    cloud: Path | None = None
    """The true surface, where the data set has it as points."""

    def selected(self, start: int, stride: int, frames: int) -> "Sequence":
        """Every `stride`-th frame from `start` on, at most `frames` of them (0: all)."""
        kept = self.frames[start::stride]
        kept = kept[:frames] if frames else kept
        if len(kept) < 2:
            raise DatasetError(
                f"{self.name} has {len(self.frames)} frames: --start {start} --stride {stride} "
                "leaves fewer than two"
            )
        return replace(self, frames=kept)

    def check(self) -> None:
        """Look at what the first frame names, before hours of work. Raises DatasetError."""
        for frame in self.frames:
            for path in (frame.image, frame.depth):
                if path is not None and not path.exists():
                    raise DatasetError(f"{path} is missing: download {self.name} again")
        read_image(self.frames[0].image)
        first = next((frame.depth for frame in self.frames if frame.depth), None)
        if first is None:
            return
        depth = self.read_depth(first)
        known = depth[depth > 0]
        if known.size and not NEAREST_M < float(np.median(known)) < FARTHEST_M:
            raise DatasetError(
                f"{first}: its median depth would be {np.median(known):.4g} m: it has another unit "
                "than the data set's"
            )
