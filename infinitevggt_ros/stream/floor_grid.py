# SPDX-License-Identifier: Apache-2.0
"""Occupancy of the floor around the robot, from depth images: a bounded grid of log odds."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from infinitevggt_core.metric.floor import floor_distance
from infinitevggt_ros.params.settings import GridSettings

MAX_POINTS = 4000
"""Approximate number of rays of one keyframe."""
KEYFRAME_M, KEYFRAME_RAD = 0.1, 0.17
"""Motion of the camera after which a frame is a keyframe."""
HIT, MISS = 0.85, -0.55
"""Change of a cell's log odds by one keyframe."""
LIMIT = 3.5
"""Largest log odds, so that a cell can change again."""
CERTAIN = 0.5
"""Log odds from which a cell is published as occupied or free."""
FREE, OCCUPIED, UNKNOWN = 0, 100, -1
"""Values of nav_msgs/OccupancyGrid."""
NEAR_FLOOR_M = 0.05
"""A ray that ends this near to the floor sees the floor."""
TOP_MARGIN_M = 0.1
"""A ray must pass this far below the top of an obstacle to contradict it."""
KEPT_FLOORS = 50
"""Number of measurements of the floor's height whose median is used."""
MIN_HITS = 2
"""Number of points that make a cell occupied in one keyframe."""

Cells = NDArray[np.float32]
"""(N, N): rows along y, columns along x."""


class DepthView(Protocol):
    """Depth image with its pose, as FrameResult. Lengths in metres."""

    @property
    def pose(self) -> NDArray[np.float64]:
        """(4, 4), the optical frame in the map."""
        ...

    @property
    def depth(self) -> NDArray[np.float32]:
        """(H, W)."""
        ...

    @property
    def confidence(self) -> NDArray[np.float32]:
        """(H, W)."""
        ...

    @property
    def is_placed(self) -> bool:
        """True if the pose is finite."""
        ...

    def optical_points(self) -> NDArray[np.float64]:
        """Return (H, W, 3), depth unprojected into the optical frame."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class GridImage:
    """Published cells."""

    cells: NDArray[np.int8]
    """(N, N): rows along y, columns along x; FREE, OCCUPIED or UNKNOWN."""
    origin: tuple[float, float]
    """Corner of the first cell in the map, m."""
    floor: float
    """Height of the floor in the map, m."""
    resolution: float


class FloorGrid:
    """Grid of the cells around the camera, in the map, metres.

    Each keyframe adds its depth. A cell that contains points at obstacle height becomes occupied. A
    cell becomes free if a ray passes it at the floor, or below the top of the obstacle that was in
    it: a ray above a table does not make the table free. The grid has a fixed size and moves along
    when the camera comes near its edge.
    """

    def __init__(self, settings: GridSettings) -> None:
        self._settings = settings
        self._side = max(8, round(settings.size / settings.resolution))
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._odds: Cells = np.zeros((self._side, self._side), np.float32)
        self._tops: Cells = np.zeros(
            (self._side, self._side), np.float32
        )  # of obstacles, above the floor
        self._corner: NDArray[np.int64] | None = None  # of the first cell, in cells
        self._before: NDArray[np.float64] | None = None  # pose of the latest keyframe
        self._floors: list[float] = []

    @property
    def is_empty(self) -> bool:
        """True before the first keyframe."""
        return self._corner is None

    def image(self) -> GridImage:
        """Return the cells. Raises ValueError if the grid is empty."""
        if self._corner is None:
            raise ValueError("the grid is empty")
        cells = np.full(self._odds.shape, UNKNOWN, np.int8)
        cells[self._odds >= CERTAIN] = OCCUPIED
        cells[self._odds <= -CERTAIN] = FREE
        x, y = (self._corner * self._settings.resolution).tolist()
        return GridImage(cells, (x, y), float(np.median(self._floors)), self._settings.resolution)

    def add(
        self, result: DepthView, min_confidence: float = 1.0, floor: float | None = None
    ) -> bool:
        """Add a frame if it is a keyframe; return True if it was added.

        floor: height of the floor in the map if it is known, else it is found in the depth.
        """
        if not result.is_placed or not self._is_keyframe(result.pose):
            return False
        points = self._points(result, min_confidence)
        height = self._floor_below(result) if floor is None else floor
        if height is not None:
            self._floors = [*self._floors, height][-KEPT_FLOORS:]
        if not self._floors or not len(points):
            return False
        self._before = result.pose
        self._follow(result.pose[:2, 3])
        self._update(result.pose[:3, 3], points, float(np.median(self._floors)))
        return True

    def _is_keyframe(self, pose: NDArray[np.float64]) -> bool:
        if self._before is None:
            return True
        moved = np.linalg.norm(pose[:3, 3] - self._before[:3, 3])
        turned = Rotation.from_matrix(self._before[:3, :3].T @ pose[:3, :3]).magnitude()
        return bool(moved >= KEYFRAME_M or turned >= KEYFRAME_RAD)

    def _points(self, result: DepthView, min_confidence: float) -> NDArray[np.float64]:
        """Return (N, 3), points within the range, in the map."""
        step = max(1, int(np.sqrt(result.depth.size / MAX_POINTS)))
        depth, confidence = (a[::step, ::step] for a in (result.depth, result.confidence))
        points = result.optical_points()[::step, ::step]
        used = np.isfinite(points).all(axis=-1) & (depth > 0) & (confidence >= min_confidence)
        used &= np.linalg.norm(points, axis=-1) <= self._settings.max_range
        return np.asarray(points[used] @ result.pose[:3, :3].T + result.pose[:3, 3])

    def _floor_below(self, result: DepthView) -> float | None:
        """Return the height of the lowest level surface in the depth; None if there is none."""
        down = -result.pose[2, :3]
        distance = floor_distance(result.optical_points(), down)
        return None if distance is None else float(result.pose[2, 3] - distance)

    def _follow(self, position: NDArray[np.float64]) -> None:
        """Move the grid so that the camera is in its middle half."""
        cell = np.floor(position / self._settings.resolution).astype(np.int64)
        if self._corner is None:
            self._corner = cell - self._side // 2
        offset = cell - self._corner - self._side // 2
        shift = np.where(np.abs(offset) > self._side // 4, offset, 0)
        if not shift.any():
            return
        self._odds, self._tops = (self._shifted(a, shift) for a in (self._odds, self._tops))
        self._corner = self._corner + shift

    def _shifted(self, cells: NDArray[np.float32], shift: NDArray[np.int64]) -> NDArray[np.float32]:
        moved = np.zeros_like(cells)
        (dx, dy), side = shift.tolist(), self._side
        if abs(dx) < side and abs(dy) < side:
            kept = [slice(max(d, 0), side + min(d, 0)) for d in (dy, dx)]
            new = [slice(max(-d, 0), side - max(d, 0)) for d in (dy, dx)]
            moved[new[0], new[1]] = cells[kept[0], kept[1]]
        return moved

    def _update(self, eye: NDArray[np.float64], points: NDArray[np.float64], floor: float) -> None:
        settings = self._settings
        height = points[:, 2] - floor
        is_obstacle = (height > settings.min_height) & (height < settings.max_height)
        ends = self._indices(points[is_obstacle, :2])
        hits, counts = np.unique(ends[ends >= 0], return_counts=True)
        hits = hits[counts >= MIN_HITS]
        odds, tops = self._odds.reshape(-1), self._tops.reshape(-1)
        np.maximum.at(tops, ends[ends >= 0], height[is_obstacle][ends >= 0])
        passed = np.setdiff1d(self._passed(eye, points, floor), hits)
        odds[hits] += HIT
        odds[passed] += MISS
        np.clip(self._odds, -LIMIT, LIMIT, out=self._odds)
        tops[odds <= -CERTAIN] = 0.0

    def _passed(
        self, eye: NDArray[np.float64], points: NDArray[np.float64], floor: float
    ) -> NDArray[np.int64]:
        """Return the cells that rays show to be free, see FloorGrid."""
        settings = self._settings
        lengths = np.linalg.norm(points[:, :2] - eye[:2], axis=1)
        longest = float(lengths.max(initial=0.0))
        steps = max(2, int(np.ceil(longest / settings.resolution)))
        along = (np.arange(steps) + 0.5) / steps * longest  # m along each ray
        is_floor = np.abs(points[:, 2] - floor) < max(NEAR_FLOOR_M, settings.min_height)
        reach = np.where(is_floor, lengths, lengths - settings.resolution)
        part = along[None] / np.maximum(lengths, 1e-9)[:, None]
        z = eye[2] + part * (points[:, 2] - eye[2])[:, None] - floor
        inside = (along[None] < reach[:, None]) & (z < settings.max_height)
        xy = eye[:2] + part[..., None] * (points[:, :2] - eye[:2])[:, None]
        cells, z = self._indices(xy[inside]), z[inside]
        cells, z = cells[cells >= 0], z[cells >= 0]
        is_free = z < np.maximum(settings.min_height, self._tops.reshape(-1)[cells] - TOP_MARGIN_M)
        return np.unique(cells[is_free])

    def _indices(self, xy: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return flat indices of cells; -1 outside of the grid."""
        assert self._corner is not None
        cells = np.floor(xy / self._settings.resolution).astype(np.int64) - self._corner
        inside = ((cells >= 0) & (cells < self._side)).all(axis=-1)
        return np.where(inside, cells[..., 1] * self._side + cells[..., 0], -1)
