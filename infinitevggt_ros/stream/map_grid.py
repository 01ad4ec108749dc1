# SPDX-License-Identifier: Apache-2.0
"""Occupancy of the floor, which follows the map when loop closures move its keyframes."""

from infinitevggt_ros.map_axes import MapFromWorld
from infinitevggt_ros.params.settings import GridSettings
from infinitevggt_ros.stream.floor_grid import DepthView, FloorGrid, GridImage
from infinitevggt_ros.stream.grid_rebuild import GridRebuild
from infinitevggt_ros.stream.keyframe_map import KeyframeMap


class MapGrid:
    """The present grid, and the one that replaces it after a correction."""

    def __init__(self, settings: GridSettings) -> None:
        self._grid, self._rebuild = FloorGrid(settings), GridRebuild(settings)

    @property
    def is_empty(self) -> bool:
        """True if nothing was added yet."""
        return self._grid.is_empty

    def image(self) -> GridImage:
        """Return the cells as published."""
        return self._grid.image()

    def reset(self) -> None:
        """Start an empty grid."""
        self._grid.reset()
        self._rebuild.reset()

    def add(self, view: DepthView, min_confidence: float, floor: float | None) -> None:
        """Add a frame, see `FloorGrid.add`."""
        self._grid.add(view, min_confidence, floor)

    def begin_again(self) -> None:
        """Make a new grid from the keyframes, a few with each `renew`: they have moved."""
        self._rebuild.begin()

    def renew(
        self,
        keyframes: KeyframeMap,
        placement: MapFromWorld,
        min_confidence: float,
        floor: float | None,
    ) -> None:
        """Continue to make the new grid, if one was begun; use it when it holds all keyframes."""
        made = self._rebuild.step(
            keyframes.indices,
            lambda index: keyframes.view(index, placement),
            min_confidence,
            floor,
        )
        self._grid = made or self._grid
