# SPDX-License-Identifier: Apache-2.0
"""Poses of one camera from known points."""

import numpy as np

from infinitevggt_core.tracking.pose_estimator import find_pose, fit_pose
from infinitevggt_core.tracking.rigid import (
    IDENTITY,
    Floats,
    compose,
    moved,
    orthonormal,
    transform,
)
from support.tracking_samples import MATRIX

EXACT = 1e-7


def scene(pose: Floats, count: int, seed: int = 0) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    points = np.concatenate((rng.uniform(-2, 2, (count, 2)), rng.uniform(3, 8, (count, 1))), 1)
    seen = transform(pose, points)
    return points, seen[:, :2] / seen[:, 2:] * MATRIX.diagonal()[:2] + MATRIX[:2, 2]


def test_pure_rotation_is_exact() -> None:
    truth = moved(IDENTITY, np.array([0, 0, 0, 0.1, -0.2, 0.15]))
    points, pixels = scene(truth, 100)
    found = fit_pose(IDENTITY, points, pixels, MATRIX).camera_from_world
    np.testing.assert_allclose(found, truth, atol=EXACT)


def test_six_points_are_enough() -> None:
    truth = moved(IDENTITY, np.array([0.1, 0.05, -0.1, 0.02, 0.05, 0.01]))
    points, pixels = scene(truth, 6)
    found = fit_pose(IDENTITY, points, pixels, MATRIX).camera_from_world
    np.testing.assert_allclose(found, truth, atol=1e-6)


def test_two_fifths_of_outliers() -> None:
    truth = moved(IDENTITY, np.array([0.2, 0.1, -0.3, 0.05, 0.1, 0.0]))
    points, pixels = scene(truth, 100)
    rng = np.random.default_rng(1)
    pixels[:40] = rng.uniform((0, 0), (160, 120), (40, 2))
    found = find_pose(points, pixels, MATRIX)
    assert found is not None
    pose, inliers = found
    fit = fit_pose(pose, points[inliers], pixels[inliers], MATRIX)
    assert set(range(40, 100)) <= set(inliers.tolist())
    np.testing.assert_allclose(fit.camera_from_world, truth, atol=1e-2)


def test_too_few_points_give_no_pose() -> None:
    points, pixels = scene(IDENTITY, 5)
    assert find_pose(points, pixels, MATRIX) is None


def test_rotations_stay_orthonormal_after_ten_thousand_steps() -> None:
    rng = np.random.default_rng(0)
    pose = IDENTITY
    for step in rng.normal(0, 0.1, (10_000, 6)):
        pose = compose(moved(IDENTITY, step), pose)
    np.testing.assert_allclose(pose[:, :3] @ pose[:, :3].T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(orthonormal(pose[:, :3]), pose[:, :3], atol=1e-12)
