# SPDX-License-Identifier: Apache-2.0
"""Pose of one camera from points in the world and their pixels."""

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.tracking.rigid import Floats, moved, transform

HUBER_PX = 1.5
INLIER_PX = 3.0
ROUNDS = 12
NEAREST = 1e-6
"""Points less far in front of a camera count as behind it."""


@dataclass(frozen=True, slots=True, eq=False)
class PoseFit:
    """A pose and how well it explains the pixels."""

    camera_from_world: Floats
    """(3, 4)."""
    errors_px: Floats
    """(N,); infinite behind the camera."""
    covariance: Floats
    """(6, 6), of a step on the left: translation, then rotation."""

    def share_within(self, limit_px: float) -> float:
        """Return the share of points whose error is below a limit."""
        return float((self.errors_px < limit_px).mean()) if len(self.errors_px) else 0.0


def projection_errors(pose: Floats, points: Floats, pixels: Floats, matrix: Floats) -> Floats:
    """Return the distances (N,) of pixels from the projected points, px; infinite behind."""
    seen = transform(pose, points)
    ahead = seen[:, 2] > NEAREST
    depth = np.where(ahead, seen[:, 2], 1.0)
    place = seen[:, :2] / depth[:, None] * matrix.diagonal()[:2] + matrix[:2, 2]
    errors = np.linalg.norm(place - pixels, axis=1)
    return cast(Floats, np.where(ahead, errors, np.inf))


def fit_pose(
    start: Floats, points: Floats, pixels: Floats, matrix: Floats, unit: float = 1.0
) -> PoseFit:
    """Minimise the robust reprojection error from a first guess (Gauss-Newton, Huber).

    start: (3, 4); points: (N, 3) in the world; pixels: (N, 2); matrix: (3, 3); unit: px per px of
    an image 320 px wide.
    """
    pose, information = start, np.eye(6)
    damping = 1e-6
    cost = _cost(pose, points, pixels, matrix, unit)
    for _ in range(ROUNDS):
        information, gradient = _normal_equations(pose, points, pixels, matrix, unit)
        damped = information + damping * np.diag(information.diagonal() + 1e-9)
        step: Floats = -np.linalg.solve(damped, gradient).astype(np.float64)
        trial = moved(pose, step)
        trial_cost = _cost(trial, points, pixels, matrix, unit)
        if not trial_cost < cost:
            damping *= 100
            if damping > 1e3:
                break
            continue
        done = cost - trial_cost < 1e-5 * cost
        pose, cost, damping = trial, trial_cost, max(damping / 10, 1e-9)
        if done:
            break
    errors = projection_errors(pose, points, pixels, matrix)
    ridge = 1e-9 * np.trace(information) * np.eye(6)
    return PoseFit(pose, errors, np.linalg.inv(information + ridge) * unit**2)


def find_pose(
    points: Floats, pixels: Floats, matrix: Floats, unit: float = 1.0
) -> tuple[Floats, NDArray[np.int64]] | None:
    """Find a pose without a first guess (RANSAC) and the points that agree; None where none is."""
    if len(points) < 6:
        return None
    found, turn, shift, inliers = cv2.solvePnPRansac(
        points,
        pixels,
        matrix,
        np.zeros(4),
        reprojectionError=INLIER_PX * unit,
        iterationsCount=200,
        confidence=0.999,
        flags=cv2.SOLVEPNP_SQPNP,
    )
    if not found or inliers is None or len(inliers) < 6:
        return None
    pose: Floats = np.hstack((cv2.Rodrigues(turn)[0], shift.reshape(3, 1))).astype(np.float64)
    return (pose, inliers.ravel().astype(np.int64)) if np.isfinite(pose).all() else None


def _cost(pose: Floats, points: Floats, pixels: Floats, matrix: Floats, unit: float) -> float:
    errors = np.minimum(projection_errors(pose, points, pixels, matrix) / unit, 100.0)
    small = errors <= HUBER_PX
    return float(np.where(small, 0.5 * errors**2, HUBER_PX * (errors - 0.5 * HUBER_PX)).sum())


def _normal_equations(
    pose: Floats, points: Floats, pixels: Floats, matrix: Floats, unit: float
) -> tuple[Floats, Floats]:
    """Return the weighted J^T J (6, 6) and J^T r (6,)."""
    seen = transform(pose, points)
    ahead = seen[:, 2] > NEAREST
    seen, pixels = seen[ahead], pixels[ahead]
    x, y, z = seen.T
    fx, fy = matrix[0, 0], matrix[1, 1]
    u, v = x / z, y / z
    left = np.stack((fx * u + matrix[0, 2], fy * v + matrix[1, 2]), axis=1) - pixels
    size = np.linalg.norm(left, axis=1) / unit
    weight = np.minimum(1.0, HUBER_PX / np.maximum(size, 1e-12))
    zero = np.zeros_like(u)
    row_u = fx * np.stack((1 / z, zero, -u / z, -u * v, 1 + u * u, -v), axis=1)
    row_v = fy * np.stack((zero, 1 / z, -v / z, -1 - v * v, u * v, u), axis=1)
    jacobian = np.concatenate((row_u, row_v))
    weights = np.concatenate((weight, weight))[:, None]
    residual = np.concatenate((left[:, 0], left[:, 1]))
    information = jacobian.T @ (weights * jacobian)
    return information, (weights * jacobian).T @ residual
