# SPDX-License-Identifier: Apache-2.0
"""Errors of a trajectory against the truth (Sturm et al. 2012; Zhang and Scaramuzza 2018)."""

from dataclasses import dataclass

import numpy as np
import torch

from infinitevggt_core.evaluation.similarity import Array, Similarity
from infinitevggt_core.model import geometry


@dataclass(frozen=True, slots=True)
class TrajectoryErrors:
    """Lengths in units of the truth (metres), angles in degrees."""

    ate_rmse: float
    """Absolute trajectory error: root mean square distance of the aligned camera centres."""
    ate_percent: float
    """Absolute trajectory error in per cent of the length of the true path."""
    path_length: float
    scale: float
    """Scale of the alignment: units of the truth per unit of the stream."""
    rotation_deg_median: float
    """Median error of the orientations relative to the first camera."""
    rotation_deg_max: float
    rpe_translation: float
    """Relative pose error between consecutive frames at the alignment's scale: RMS."""
    rpe_rotation_deg: float


def trajectory_errors(found: Array, truth: Array, *, scaled: bool = True) -> TrajectoryErrors:
    """Return the errors of camera_from_world poses (N, 3, 4), N >= 2, in arbitrary worlds.

    scaled: align with Sim(3), which suits a camera without scale, or with SE(3).
    """
    if found.shape != truth.shape or len(found) < 2:
        raise ValueError(f"two or more pairs of poses are needed: {found.shape}, {truth.shape}")
    centers, true_centers = camera_centers(found), camera_centers(truth)
    alignment = Similarity.of(centers, true_centers, scaled=scaled)
    distance = position_errors(found, truth, scaled=scaled)
    ate = float(np.sqrt(np.square(distance).mean()))
    path = float(np.linalg.norm(np.diff(true_centers, axis=0), axis=1).sum())
    turned = rotation_errors_deg(found, truth)
    step, true_step = _steps(found, alignment.scale), _steps(truth, 1.0)
    # of inv(true step) @ step, whose translation a rotation does not change in length
    moved = np.linalg.norm(step[..., 3] - true_step[..., 3], axis=1)
    spun = _angle_deg(true_step[..., :3].transpose(0, 2, 1) @ step[..., :3])
    return TrajectoryErrors(
        ate_rmse=ate,
        ate_percent=100 * ate / max(path, 1e-12),
        path_length=path,
        scale=alignment.scale,
        rotation_deg_median=float(np.median(turned)),
        rotation_deg_max=float(turned.max()),
        rpe_translation=float(np.sqrt(np.square(moved).mean())),
        rpe_rotation_deg=float(np.sqrt(np.square(spun).mean())),
    )


def position_errors(found: Array, truth: Array, *, scaled: bool = True) -> Array:
    """Return the distance (N,) of each aligned camera centre from the true one."""
    centers, true_centers = camera_centers(found), camera_centers(truth)
    alignment = Similarity.of(centers, true_centers, scaled=scaled)
    return np.asarray(np.linalg.norm(alignment(centers) - true_centers, axis=1))


def rotation_errors_deg(found: Array, truth: Array) -> Array:
    """Return the angle (N,) between the orientations relative to the first camera, of (N, 3, 4)
    each."""
    return _angle_deg(_since_first(found) @ _since_first(truth).transpose(0, 2, 1))


def camera_centers(camera_from_world: Array) -> Array:
    """Return the camera centres (N, 3) of poses (N, 3, 4)."""
    rotation, translation = camera_from_world[..., :3], camera_from_world[..., 3]
    centers: Array = -np.einsum("nij,ni->nj", rotation, translation)
    return centers


def _angle_deg(rotation: Array) -> Array:
    return np.asarray(geometry.angle_deg(torch.from_numpy(rotation)).numpy())


def _since_first(camera_from_world: Array) -> Array:
    rotation = camera_from_world[..., :3]
    since: Array = rotation @ rotation[0].T
    return since


def _steps(camera_from_world: Array, scale: float) -> Array:
    """Return (N - 1, 3, 4), each next camera relative to the previous one, lengths times
    `scale`."""
    rotation, centers = camera_from_world[..., :3], camera_from_world[..., :3].transpose(0, 2, 1)
    turn = rotation[:-1] @ centers[1:]
    way = np.diff(camera_centers(camera_from_world), axis=0)
    shift = scale * np.einsum("nij,nj->ni", rotation[:-1], way)
    return np.concatenate((turn, shift[..., None]), axis=-1)
