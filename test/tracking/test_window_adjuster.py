# SPDX-License-Identifier: Apache-2.0
"""The bundle adjustment on exact problems."""

from dataclasses import replace

import numpy as np
import pytest

from infinitevggt_core.tracking.rigid import Floats, centers, moved, rotation_angle, transform
from infinitevggt_core.tracking.window_adjuster import adjust, pixel_jacobian
from infinitevggt_core.tracking.window_problem import WindowProblem
from support.tracking_samples import exact_problem

EXACT = 1e-9


def disturbed(problem: WindowProblem, seed: int = 1) -> WindowProblem:
    rng = np.random.default_rng(seed)
    poses = problem.poses.copy()
    free = len(poses) - problem.fixed
    poses[problem.fixed :] = moved(poses[problem.fixed :], rng.normal(0, 0.02, (free, 6)))
    points = problem.points + rng.normal(0, 0.1, problem.points.shape)
    return replace(problem, poses=poses, points=points)


def test_exact_observations_give_the_truth_back() -> None:
    problem, poses, points = exact_problem()
    result = adjust(disturbed(problem), most_steps=40, tolerance=0)
    np.testing.assert_allclose(result.poses, poses, atol=EXACT)
    np.testing.assert_allclose(result.points, points, atol=EXACT)
    assert result.cost < EXACT


def test_two_keyframes_are_enough() -> None:
    problem, poses, points = exact_problem(keyframes=2)
    problem = replace(problem, fixed=1, depth_sigma=np.full(len(problem.camera), 0.1))
    result = adjust(disturbed(problem), most_steps=60, tolerance=0)
    np.testing.assert_allclose(result.poses, poses, atol=1e-6)
    np.testing.assert_allclose(result.points, points, atol=1e-6)


def test_jacobian_equals_differences() -> None:
    problem, poses, points = exact_problem()
    focal, step = problem.focal[0], 1e-6

    def seen(pose: Floats, point: Floats) -> Floats:
        x, y, z = transform(pose, point[None])[0]
        return np.array([focal[0] * x / z, focal[1] * y / z, np.log(z)])

    by_pose, by_point = pixel_jacobian(poses[3], points[5], focal)
    for k in range(6):
        change = step * np.eye(6)[k]
        ahead, back = moved(poses[3], change), moved(poses[3], -change)
        difference = (seen(ahead, points[5]) - seen(back, points[5])) / (2 * step)
        np.testing.assert_allclose(by_pose[:, k], difference, atol=1e-5)
    for k in range(3):
        change = step * np.eye(3)[k]
        difference = seen(poses[3], points[5] + change) - seen(poses[3], points[5] - change)
        np.testing.assert_allclose(by_point[:, k], difference / (2 * step), atol=1e-5)


def test_a_fifth_of_gross_outliers_moves_little() -> None:
    problem, poses, _ = exact_problem(keyframes=10)
    rng = np.random.default_rng(2)
    bad = rng.random(len(problem.pixels)) < 0.2
    pixels = problem.pixels + bad[:, None] * rng.uniform(-60, 60, problem.pixels.shape)
    result = adjust(disturbed(replace(problem, pixels=pixels)), most_steps=60, tolerance=1e-9)
    error = np.linalg.norm(centers(result.poses) - centers(poses), axis=1)
    assert error.max() < 0.04  # without robust weights: 0.4
    assert (result.errors_px[~bad] < 3).mean() > 0.95


def test_a_wrong_depth_far_from_trusted_hardly_moves_the_poses() -> None:
    problem, poses, _ = exact_problem()
    doubled = replace(
        problem,
        log_depth=problem.log_depth + np.log(2),
        depth_sigma=np.full(len(problem.camera), 8.0),
    )
    result = adjust(doubled, most_steps=40, tolerance=1e-12)
    assert np.abs(centers(result.poses) - centers(poses)).max() < 2e-3


def test_the_focal_length_is_found() -> None:
    problem, poses, _ = exact_problem(keyframes=10)
    wrong = replace(problem, focal=1.1 * problem.focal, focal_sigma=10.0)
    wrong = replace(wrong, log_depth=np.full(len(problem.camera), np.nan))
    result = adjust(disturbed(wrong), most_steps=80, tolerance=0)
    assert 1.1 * np.exp(result.log_focal) == pytest.approx(1.0, abs=1e-4)
    np.testing.assert_allclose(result.poses, poses, atol=1e-4)


def test_a_point_behind_a_camera_is_left_out() -> None:
    problem, poses, points = exact_problem()
    behind = points.copy()
    behind[7] = [0, 0, -5]
    result = adjust(replace(problem, points=behind), most_steps=20)
    assert np.isfinite(result.points).all()
    assert np.isinf(result.errors_px[problem.point == 7]).all()
    np.testing.assert_allclose(result.poses, poses, atol=1e-6)


def test_errors_count_less_along_an_edge() -> None:
    """Noise along one direction that the whitening knows of does little."""
    problem, poses, _ = exact_problem(keyframes=10)
    rng = np.random.default_rng(3)
    noisy = problem.pixels + np.array([4.0, 0.0]) * rng.normal(0, 1, (len(problem.pixels), 1))
    half = rng.random(len(noisy)) < 0.5
    pixels = np.where(half[:, None], noisy, problem.pixels)
    whitening = np.where(half[:, None, None], np.diag([0.05, 1.0]), np.eye(2))
    alike = adjust(replace(problem, pixels=pixels), most_steps=30)
    known = adjust(replace(problem, pixels=pixels, whitening=whitening), most_steps=30)
    errors = [np.linalg.norm(centers(r.poses) - centers(poses), axis=1) for r in (alike, known)]
    assert errors[1].mean() < 0.5 * errors[0].mean()


def test_the_covariance_is_that_of_many_draws() -> None:
    steps, predicted = [], []
    for seed in range(60):
        problem, poses, _ = exact_problem(seed=5, keyframes=5, count=60)
        noise = np.random.default_rng(seed).normal(0, 0.5, problem.pixels.shape)
        problem = replace(problem, pixels=problem.pixels + noise)
        result = adjust(problem, most_steps=20, tolerance=1e-10)
        steps.append(centers(result.poses)[-1] - centers(poses)[-1])
        predicted.append(np.trace(result.covariance[:3, :3]))
    measured = np.square(steps).sum(1).mean() / 0.5**2
    assert 0.4 < measured / np.mean(predicted) < 2.5


def test_scipy_finds_the_same_minimum() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    problem, poses, _ = exact_problem(keyframes=3, count=25, noise=0.2)
    free = replace(problem, depth_sigma=np.full(len(problem.camera), 0.5))
    ours = adjust(free, most_steps=60, tolerance=0)

    def residuals(values: Floats) -> Floats:
        last = moved(poses[2:], values[None, :6])
        points = values[6:].reshape(-1, 3)
        every = np.concatenate((poses[:2], last))
        seen = np.concatenate([transform(pose, points) for pose in every])
        pixels = 260 * seen[:, :2] / seen[:, 2:] - problem.pixels
        depth = (np.log(seen[:, 2]) - problem.log_depth) / 0.5
        return np.concatenate((pixels.ravel(), depth))

    start = np.concatenate((np.zeros(6), problem.points.ravel()))
    theirs = optimize.least_squares(residuals, start, xtol=1e-14, ftol=1e-14)
    expected = moved(poses[2:], theirs.x[None, :6])[0]
    assert rotation_angle(ours.poses[2, :, :3] @ expected[:, :3].T) < 1e-5
    np.testing.assert_allclose(ours.poses[2], expected, atol=1e-5)
