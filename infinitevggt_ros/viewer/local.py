# SPDX-License-Identifier: Apache-2.0
"""Show a stream of this process on the page, without ROS."""

import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from infinitevggt_core.tracking.similarity import Similarity3
from infinitevggt_ros.map_axes import MAP_FROM_WORLD, points_in_map
from infinitevggt_ros.output.pyramids import SIZE_SHARE, pyramid_lines
from infinitevggt_ros.viewer.curves import Curves
from infinitevggt_ros.viewer.options import ViewerOptions
from infinitevggt_ros.viewer.pictures import depth_picture

DEPTH_WIDTH = 320
AXES = MAP_FROM_WORLD[:3, :3]


class Shown(Protocol):
    """Page that is filled, as viewer.page.Page."""

    def show_camera(self, position: NDArray[np.float64], wxyz: NDArray[np.float64]) -> None: ...
    def show_view_angle(self, fov: float, aspect: float) -> None: ...
    def show_path(self, segments: NDArray[np.float32]) -> None: ...
    def show_graph(self, keyframes: NDArray[np.float32], loops: NDArray[np.float32]) -> None: ...
    def show_map(self, points: NDArray[np.float32], colors: NDArray[np.uint8]) -> None: ...
    def show_depth(self, picture: NDArray[np.uint8]) -> None: ...
    def show_curves(self, columns: dict[str, NDArray[np.float64]]) -> None: ...
    def show_state(self, lines: list[str]) -> None: ...


class LocalViewer:
    """Shows results on the page, each kind at most once in its period."""

    def __init__(self, page: Shown, options: ViewerOptions) -> None:
        self._page, self._options = page, options
        self._curves = Curves(options.history)
        self._start_s = time.monotonic()
        self._due_s = self._map_due_s = 0.0

    def wants_map(self) -> bool:
        """Return True if the period of the map has passed."""
        return time.monotonic() >= self._map_due_s

    def show_map(self, points: NDArray[np.float32], colors: NDArray[np.float32]) -> None:
        """Show points (N, 3) of the map with colours (N, 3) in [0, 1]. World: OpenCV axes."""
        self._map_due_s = time.monotonic() + self._options.map_period_s
        self._page.show_map(points_in_map(points), (colors * 255).round().astype(np.uint8))

    def show_frame(
        self,
        camera_from_map: NDArray[np.float64],
        depth: NDArray[np.float32],
        matrix: NDArray[np.float64],
        *,
        memory_bytes: int,
        tokens: int,
        budget: int,
        latency_ms: float,
        inference_ms: float,
    ) -> bool:
        """Add a frame to the curves; show it if the period has passed, and return True then."""
        now_s = time.monotonic()
        self._curves.add(
            now_s - self._start_s,
            memory_bytes=memory_bytes,
            tokens=tokens,
            budget=budget,
            latency_ms=latency_ms,
            inference_ms=inference_ms,
        )
        if now_s < self._due_s:
            return False
        self._due_s = now_s + self._options.period_s
        rotation = AXES @ camera_from_map[:, :3].T
        quat = Rotation.from_matrix(rotation).as_quat()
        position = -rotation @ camera_from_map[:, 3]
        height, width = depth.shape
        fov = 2 * float(np.arctan(height / 2 / matrix[1, 1]))
        self._page.show_view_angle(fov, width / height)
        self._page.show_camera(position, quat[[3, 0, 1, 2]])
        self._page.show_depth(depth_picture(depth, DEPTH_WIDTH))
        self._page.show_curves(self._curves.columns())
        return True

    def show_trajectory(self, camera_from_map: NDArray[np.float64], lines: list[str]) -> None:
        """Show the trajectory (N, 3, 4) and lines of text."""
        rotation, translation = camera_from_map[..., :3], camera_from_map[..., 3]
        centers = -np.einsum("nij,ni->nj", rotation, translation) @ AXES.T
        points = centers.astype(np.float32)
        self._page.show_path(np.stack((points[:-1], points[1:]), axis=1))
        self._page.show_state(lines)

    def show_graph(
        self, keyframes: dict[int, Similarity3], loops: Sequence[tuple[int, int]]
    ) -> None:
        """Show keyframes, world_from_camera by their numbers, and the pairs that loops join."""
        centers = {k: pose.translation @ AXES.T for k, pose in keyframes.items()}
        way = np.array([centers[k] for k in sorted(centers)], np.float32).reshape(-1, 3)
        step = float(np.median(np.linalg.norm(np.diff(way, axis=0), axis=1))) if len(way) > 1 else 0
        poses = np.array([pose.rigid()[:3] for pose in keyframes.values()]).reshape(-1, 3, 4)
        lines = pyramid_lines(poses, SIZE_SHARE * step) @ AXES.T
        ends = [(centers[a], centers[b]) for a, b in loops if a in centers and b in centers]
        self._page.show_graph(
            lines.reshape(-1, 2, 3).astype(np.float32),
            np.array(ends, np.float32).reshape(-1, 2, 3),
        )
