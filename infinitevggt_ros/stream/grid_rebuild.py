# SPDX-License-Identifier: Apache-2.0
"""Grid of the floor made anew from the keyframes after a loop closure, a few with each image."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infinitevggt_ros.output.frame_result import unprojected
from infinitevggt_ros.params.settings import GridSettings
from infinitevggt_ros.stream.floor_grid import DepthView, FloorGrid

VIEWS_PER_IMAGE = 3
"""Keyframes that are added with each image."""


@dataclass(frozen=True, slots=True, eq=False)
class KeyframeView:
    """Depth image of a keyframe at its corrected pose."""

    pose: NDArray[np.float64]
    """(4, 4), the optical frame in the map, m."""
    depth: NDArray[np.float32]
    """(H, W), m."""
    confidence: NDArray[np.float32]
    """(H, W)."""
    intrinsics: NDArray[np.float64]
    """(3, 3), px."""

    @property
    def is_placed(self) -> bool:
        """True if the pose is finite."""
        return bool(np.isfinite(self.pose).all())

    def optical_points(self) -> NDArray[np.float64]:
        """Return (H, W, 3), depth unprojected into the optical frame."""
        return unprojected(self.depth, self.intrinsics)


class GridRebuild:
    """Makes one grid at a time, so that no image waits for it.

    The present grid is used until the new one holds all keyframes. A correction meanwhile starts
    another one afterwards.
    """

    def __init__(self, settings: GridSettings) -> None:
        self._settings = settings
        self.reset()

    def reset(self) -> None:
        """Forget what was begun."""
        self._grid: FloorGrid | None = None
        self._done: set[int] = set()
        self._is_outdated = False

    def begin(self) -> None:
        """Make a new grid, because keyframes have moved."""
        if self._grid is not None:
            self._is_outdated = True
            return
        self._grid, self._done = FloorGrid(self._settings), set()

    def step(
        self,
        keyframes: Iterable[int],
        view_of: Callable[[int], DepthView | None],
        min_confidence: float = 1.0,
        floor: float | None = None,
    ) -> FloorGrid | None:
        """Add the next keyframes; return the grid when it holds all of them.

        keyframes: numbers of all keyframes now, oldest first. view_of: returns a keyframe as
        corrected now, None if it is unknown. floor: as in `FloorGrid.add`.
        """
        grid = self._grid
        if grid is None:
            return None
        missing = [index for index in keyframes if index not in self._done]
        for index in missing[:VIEWS_PER_IMAGE]:
            self._done.add(index)
            view = view_of(index)
            if view is not None:
                grid.add(view, min_confidence, floor)
        if len(missing) > VIEWS_PER_IMAGE:
            return None
        again = self._is_outdated
        self.reset()
        if again:
            self.begin()
        return None if grid.is_empty else grid
