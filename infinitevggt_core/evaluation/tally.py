# SPDX-License-Identifier: Apache-2.0
"""Predictions and truth of a stream, frame by frame, in bounded memory."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from infinitevggt_core.evaluation.cloud import align, cloud_errors, estimate_normals, refine
from infinitevggt_core.evaluation.depth import ALIGNMENTS, DepthSample, spread
from infinitevggt_core.evaluation.similarity import Array, Similarity
from infinitevggt_core.evaluation.trajectory import camera_centers, trajectory_errors

MOST_POINTS = 200_000
"""Maximum number of cloud points over the whole stream."""
MOST_PIXELS = 2_000_000
"""Maximum number of depth pixels over the whole stream."""
FEWEST_POSES = 3
FEWEST_POINTS = 1000
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class FrameMetrics:
    """One frame, predicted or true, in its own world and unit. Maps have the network's size."""

    camera_from_world: Array
    """(3, 4), camera_from_world; NaN if unknown."""
    depth: Floats | None = None
    """(H, W); 0 or not finite if unknown."""
    points: Array | None = None
    """(H, W, 3), these pixels in the world."""


class StreamTally:
    """Poses of every frame, and evenly spread pixels of every frame up to a total."""

    def __init__(self, frames: int, farthest: float = math.inf) -> None:
        """frames: approximate number of frames. farthest: maximum true depth, in the truth's
        unit."""
        self.depth = DepthSample(max(1, MOST_PIXELS // frames), farthest)
        self._points_per_frame = max(1, MOST_POINTS // frames)
        self._poses: list[Array] = []
        self._points: list[Array] = []

    def add(self, found: FrameMetrics, truth: FrameMetrics) -> None:
        self._poses.append(np.stack((found.camera_from_world, truth.camera_from_world)))
        if found.depth is not None and truth.depth is not None:
            self.depth.add(found.depth, truth.depth)
        if found.points is not None:
            unknown = np.full_like(found.points, np.nan)
            true_points = unknown if truth.points is None else truth.points
            pair = np.stack((found.points, true_points)).reshape(2, -1, 3)
            self._points.append(pair[:, spread(pair.shape[1], self._points_per_frame)])

    @property
    def poses(self) -> Array:
        """(2, N, 3, 4), predicted and true."""
        return np.stack(self._poses, axis=1) if self._poses else np.empty((2, 0, 3, 4))

    @property
    def points(self) -> Array:
        """(2, M, 3), finite predicted points and their true partners."""
        points = np.concatenate([np.empty((2, 0, 3)), *self._points], axis=1)
        return points[:, np.isfinite(points).all(axis=(0, 2))]

    @property
    def cloud(self) -> Array:
        """(M, 3), finite predicted points, with or without partners."""
        points = np.concatenate([np.empty((0, 3)), *(pair[0] for pair in self._points)])
        return np.asarray(points[np.isfinite(points).all(axis=1)])

    def state_dict(self) -> dict[str, Any]:
        """Return the tensors from which `load_state_dict` continues."""
        return {
            "poses": torch.from_numpy(self.poses),
            "points": [torch.from_numpy(points) for points in self._points],
            "depth": torch.from_numpy(self.depth.state()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._poses = list(state["poses"].numpy().swapaxes(0, 1))
        self._points = [points.numpy() for points in state["points"]]
        self.depth.load_state(state["depth"].numpy())


def measures(tally: StreamTally, surface: Array | None = None) -> dict[str, Any]:
    """Return errors of trajectory, depth and reconstruction; None without truth.

    surface: (M, 3) points of the true surface in the world of the true poses; by default, those of
    the true depth maps.
    """
    return {
        "trajectory": trajectory_measures(tally.poses),
        "depth": depth_measures(tally.depth),
        "reconstruction": reconstruction_measures(tally, surface),
    }


def trajectory_measures(poses: Array) -> dict[str, Any] | None:
    """Return (2, N, 3, 4), predicted and true; NaN if unknown."""
    found, truth = poses[:, known_poses(poses)]
    if len(found) < FEWEST_POSES:
        return None
    still = np.broadcast_to(np.eye(3, 4), truth.shape)
    return {
        "poses": len(found),
        "ate_rmse_standing": trajectory_errors(
            still, truth
        ).ate_rmse,  # of a camera that never moves
        "sim3": asdict(trajectory_errors(found, truth)),
        "se3": asdict(trajectory_errors(found, truth, scaled=False)),
    }


def known_poses(poses: Array) -> NDArray[np.bool_]:
    """Return (N,), True if the predicted and the true pose of (2, N, 3, 4) are known."""
    return np.asarray(np.isfinite(poses).all(axis=(0, 2, 3)))


def depth_measures(sample: DepthSample) -> dict[str, Any] | None:
    try:
        return {name: asdict(sample.aligned(name)) for name in ALIGNMENTS}
    except ValueError:  # nothing to compare with
        return None


def reconstruction_measures(tally: StreamTally, surface: Array | None) -> dict[str, Any] | None:
    """Align the cloud by its points' partners or, without such, by the camera centres."""
    cloud, partners = tally.points
    found, truth = tally.poses[:, known_poses(tally.poses)]
    if len(cloud) >= FEWEST_POINTS:
        surface = partners if surface is None else surface
        placed = align(cloud, partners, surface)
    elif surface is not None and len(found) >= FEWEST_POSES:
        into_truth = Similarity.of(camera_centers(found), camera_centers(truth))
        placed = refine(into_truth(tally.cloud), surface)
    else:
        return None
    return asdict(cloud_errors(placed, surface, estimate_normals(surface)))
