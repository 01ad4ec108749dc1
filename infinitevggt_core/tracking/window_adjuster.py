# SPDX-License-Identifier: Apache-2.0
"""Sliding-window bundle adjustment: Levenberg-Marquardt with the points eliminated (Schur)."""

from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.tracking.rigid import Floats, centers, moved
from infinitevggt_core.tracking.window_problem import WindowProblem, WindowResult

HUBER = 1.5
BEHIND_PX = 100.0
"""Error that counts where a point lies behind the camera or far outside."""
NEAREST = 1e-6
FIRST_DAMPING, MOST_DAMPING = 1e-4, 1e6


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    """What the adjustment moves."""

    poses: Floats
    points: Floats
    log_focal: float


@dataclass(frozen=True, slots=True, eq=False)
class _Residuals:
    """Residuals (M, 3), u v and log depth, divided by their standard deviations."""

    values: Floats
    seen: Floats
    """(M, 3), the points in their cameras; depth 1 where behind."""
    ahead: NDArray[np.bool_]
    pixel_costs: Floats
    """(M,)."""
    cost: float


@dataclass(frozen=True, slots=True, eq=False)
class _Normal:
    """Normal equations: of cameras (C = 6 per free keyframe, and the focal length), and points."""

    camera: Floats
    """(C, C)."""
    camera_side: Floats
    """(C,)."""
    point: Floats
    """(N, 3, 3)."""
    point_side: Floats
    """(N, 3)."""
    mixed: Floats
    """(N, 3, C)."""


class _Layout:
    """Order of the observations, worked out once for all steps."""

    def __init__(self, problem: WindowProblem) -> None:
        self.keyframes, self.count = len(problem.poses), len(problem.points)
        self.bounds = np.searchsorted(problem.camera, np.arange(self.keyframes + 1))
        self.by_point = np.argsort(problem.point, kind="stable")
        ordered = problem.point[self.by_point]
        self.starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        self.seen_points = ordered[self.starts]
        self.has_depth = np.isfinite(problem.log_depth)
        self.columns = 6 * (self.keyframes - problem.fixed) + (problem.focal_sigma > 0)

    def per_point(self, values: Floats) -> Floats:
        """Add up rows (M, ...) by point: (N, ...)."""
        sums = np.zeros((self.count, *values.shape[1:]))
        if len(values):
            sums[self.seen_points] = np.add.reduceat(values[self.by_point], self.starts)
        return sums


def adjust(problem: WindowProblem, *, most_steps: int = 8, tolerance: float = 1e-4) -> WindowResult:
    """Minimise reprojection errors (Huber 1.5 px) and errors of log depth (Huber 1.5 sigma).

    most_steps: steps tried. tolerance: relative fall of the cost below which it stops. Raises
    numpy.linalg.LinAlgError where the equations have no solution at any damping.
    """
    layout = _Layout(problem)
    state = _State(problem.poses, problem.points, problem.log_focal)
    found = _residuals(problem, layout, state)
    normal = _normal_equations(problem, layout, state, found)
    damping, steps = FIRST_DAMPING, 0
    for _ in range(most_steps):
        trial = _stepped(problem, state, *_solve(normal, damping))
        tried = _residuals(problem, layout, trial)
        if not tried.cost < found.cost:
            damping *= 10
            if damping > MOST_DAMPING:
                break
            continue
        gain = found.cost - tried.cost
        state, found, damping, steps = trial, tried, max(damping / 10, 1e-9), steps + 1
        normal = _normal_equations(problem, layout, state, found)
        if gain < tolerance * found.cost:
            break
    return _result(problem, layout, state, found, normal, steps)


def pixel_jacobian(pose: Floats, point: Floats, focal: Floats) -> tuple[Floats, Floats]:
    """Return the derivatives of pixel (u, v) and log depth of one observation, for tests.

    (3, 6) by a step on the left of the pose, (3, 3) by the point.
    """
    problem = WindowProblem(
        pose[None],
        point[None],
        np.zeros(1, np.int64),
        np.zeros(1, np.int64),
        np.zeros((1, 2)),
        focal[None],
        np.zeros(1),
        np.ones(1),
        np.eye(2)[None],
        fixed=0,
    )
    layout = _Layout(problem)
    state = _State(problem.poses, problem.points, 0.0)
    by_camera, by_point, _ = _jacobians(
        problem, layout, state, _residuals(problem, layout, state), np.ones((1, 3))
    )
    return by_camera[0], by_point[0]


def _residuals(problem: WindowProblem, layout: _Layout, state: _State) -> _Residuals:
    seen = np.empty((len(problem.camera), 3))
    focal = np.empty((len(problem.camera), 2))
    for k in range(layout.keyframes):
        rows = slice(layout.bounds[k], layout.bounds[k + 1])
        pose = state.poses[k]
        seen[rows] = state.points[problem.point[rows]] @ pose[:, :3].T + pose[:, 3]
        focal[rows] = problem.focal[k]
    ahead = seen[:, 2] > NEAREST
    seen[~ahead, 2] = 1.0
    values = np.zeros((len(seen), 3))
    pixels = np.exp(state.log_focal) * focal * seen[:, :2] / seen[:, 2:]
    values[:, :2] = (problem.whitening @ (pixels - problem.pixels)[:, :, None])[:, :, 0]
    depth = layout.has_depth & ahead
    values[depth, 2] = (np.log(seen[depth, 2]) - problem.log_depth[depth]) / problem.depth_sigma[
        depth
    ]
    error = np.linalg.norm(values[:, :2], axis=1)
    ahead &= error < BEHIND_PX
    error[~ahead] = BEHIND_PX
    pixel_costs = _huber(error)
    cost = float(pixel_costs.sum() + _huber(np.abs(values[ahead, 2])).sum())
    if problem.focal_sigma > 0:
        cost += 0.5 * (state.log_focal / problem.focal_sigma) ** 2
    return _Residuals(values, seen, ahead, pixel_costs, cost)


def _huber(error: Floats) -> Floats:
    return cast(Floats, np.where(error <= HUBER, 0.5 * error**2, HUBER * (error - 0.5 * HUBER)))


def _root_weights(found: _Residuals) -> Floats:
    """Return the roots (M, 3) of the robust weights; 0 behind the camera."""
    pixel = np.maximum(np.linalg.norm(found.values[:, :2], axis=1), HUBER)
    depth = np.maximum(np.abs(found.values[:, 2]), HUBER)
    weights = np.sqrt(HUBER / np.stack((pixel, pixel, depth), axis=1))
    return cast(Floats, weights * found.ahead[:, None])


def _jacobians(
    problem: WindowProblem, layout: _Layout, state: _State, found: _Residuals, roots: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return the weighted derivatives by pose (M, 3, 6), point (M, 3, 3) and log focal (M, 3)."""
    x, y, z = found.seen.T
    count = len(x)
    by_seen = np.zeros((count, 3, 3))
    by_point = np.empty((count, 3, 3))
    focal = np.repeat(problem.focal, np.diff(layout.bounds), axis=0) * np.exp(state.log_focal)
    fx, fy = focal[:, 0] / z, focal[:, 1] / z
    u, v = x / z, y / z
    white = roots[:, 0, None, None] * problem.whitening
    by_seen[:, :2, 0], by_seen[:, :2, 1] = (
        white[:, :, 0] * fx[:, None],
        white[:, :, 1] * fy[:, None],
    )
    by_seen[:, :2, 2] = -by_seen[:, :2, 0] * u[:, None] - by_seen[:, :2, 1] * v[:, None]
    by_seen[:, 2, 2] = np.where(layout.has_depth, roots[:, 2] / (z * problem.depth_sigma), 0.0)
    for k in range(layout.keyframes):
        rows = slice(layout.bounds[k], layout.bounds[k + 1])
        by_point[rows] = (by_seen[rows].reshape(-1, 3) @ state.poses[k, :, :3]).reshape(-1, 3, 3)
    by_camera = np.empty((count, 3, 6))
    by_camera[:, :, :3] = by_seen
    a, b, c = by_seen[..., 0], by_seen[..., 1], by_seen[..., 2]
    x, y, z = x[:, None], y[:, None], z[:, None]
    by_camera[:, :, 3], by_camera[:, :, 4] = y * c - z * b, z * a - x * c
    by_camera[:, :, 5] = x * b - y * a
    by_focal = np.zeros((count, 3))
    by_focal[:, :2] = -by_seen[:, :2, 2] * found.seen[:, 2:]
    return by_camera, by_point, by_focal


def _normal_equations(
    problem: WindowProblem, layout: _Layout, state: _State, found: _Residuals
) -> _Normal:
    roots = _root_weights(found)
    by_camera, by_point, by_focal = _jacobians(problem, layout, state, found, roots)
    residuals = roots * found.values
    columns, free = layout.columns, layout.keyframes - problem.fixed
    camera, side = np.zeros((columns, columns)), np.zeros(columns)
    blocks = np.einsum("mri,mrj->mij", by_point, by_camera)
    mixed = np.zeros((layout.count, 3, columns))
    for k in range(problem.fixed, layout.keyframes):
        rows = slice(layout.bounds[k], layout.bounds[k + 1])
        place = slice(6 * (k - problem.fixed), 6 * (k - problem.fixed) + 6)
        jacobian = by_camera[rows].reshape(-1, 6)
        camera[place, place] = jacobian.T @ jacobian
        side[place] = jacobian.T @ residuals[rows].reshape(-1)
        mixed[problem.point[rows], :, place] = blocks[rows]
        if problem.focal_sigma > 0:
            camera[place, -1] = camera[-1, place] = jacobian.T @ by_focal[rows].reshape(-1)
    if problem.focal_sigma > 0:
        inverse_variance = problem.focal_sigma**-2
        camera[-1, -1] = np.square(by_focal).sum() + inverse_variance
        side[-1] = (by_focal * residuals).sum() + inverse_variance * state.log_focal
        mixed[:, :, 6 * free] = layout.per_point(np.einsum("mri,mr->mi", by_point, by_focal))
    point = layout.per_point(np.einsum("mri,mrj->mij", by_point, by_point))
    point_side = layout.per_point(np.einsum("mri,mr->mi", by_point, residuals))
    return _Normal(camera, side, point, point_side, mixed)


def _eliminate(normal: _Normal, damping: float) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the reduced camera system, its right side, and what gives the points back."""
    point = normal.point.copy()
    diagonal = np.einsum("nii->ni", point)
    diagonal += damping * diagonal + 1e-12 * diagonal.max(1, keepdims=True) + 1e-30
    inverse = np.linalg.inv(point)
    columns = normal.mixed.shape[2]
    solved = inverse @ normal.mixed  # (N, 3, C)
    shift = np.einsum("nij,nj->ni", inverse, normal.point_side)
    flat = normal.mixed.reshape(-1, columns)
    reduced = normal.camera - flat.T @ solved.reshape(-1, columns)
    reduced[np.diag_indices(columns)] += damping * normal.camera.diagonal() + 1e-12
    side = normal.camera_side - flat.T @ shift.reshape(-1)
    return reduced, side, solved, shift


def _solve(normal: _Normal, damping: float) -> tuple[Floats, Floats]:
    """Return the steps of the cameras (C,) and of the points (N, 3)."""
    reduced, side, solved, shift = _eliminate(normal, damping)
    step = -np.linalg.solve(reduced, side) if len(side) else np.zeros(0)
    return step, -shift - solved @ step


def _stepped(problem: WindowProblem, state: _State, step: Floats, points: Floats) -> _State:
    free = len(problem.poses) - problem.fixed
    poses = state.poses.copy()
    poses[problem.fixed :] = moved(poses[problem.fixed :], step[: 6 * free].reshape(free, 6))
    log_focal = state.log_focal + (float(step[-1]) if problem.focal_sigma > 0 else 0.0)
    return replace(state, poses=poses, points=state.points + points, log_focal=log_focal)


def _result(
    problem: WindowProblem,
    layout: _Layout,
    state: _State,
    found: _Residuals,
    normal: _Normal,
    steps: int,
) -> WindowResult:
    reduced, *_ = _eliminate(normal, 0.0)
    size = 6 * (layout.keyframes - problem.fixed)
    covariance = np.full((6, 6), np.nan)
    if size:
        ridge = 1e-12 * np.trace(reduced) * np.eye(len(reduced))
        covariance = np.linalg.inv(reduced + ridge)[size - 6 : size, size - 6 : size]
    errors = np.linalg.norm(found.values[:, :2], axis=1)
    parallax, ray = _rays(problem, layout, state)
    information = np.einsum("ni,nij,nj->n", ray, normal.point, ray)
    return WindowResult(
        state.poses,
        state.points,
        state.log_focal,
        found.cost,
        float(found.pixel_costs.mean()) if len(found.pixel_costs) else 0.0,
        np.where(found.ahead, errors, np.inf),
        covariance,
        1 / np.sqrt(np.maximum(information, 1e-30)),
        parallax,
        layout.per_point(np.ones(len(errors))).astype(np.int64),
        steps,
    )


def _rays(problem: WindowProblem, layout: _Layout, state: _State) -> tuple[Floats, Floats]:
    """Return the parallax (N,) and the unit rays (N, 3) from the latest camera of each point."""
    rays = state.points[problem.point] - centers(state.poses)[problem.camera]
    rays /= np.maximum(np.linalg.norm(rays, axis=1, keepdims=True), 1e-12)
    parallax, latest = np.zeros(layout.count), np.zeros((layout.count, 3))
    latest[:, 2] = 1.0
    if len(rays):
        ordered = rays[layout.by_point]
        counts = np.diff(layout.starts, append=len(ordered))
        first = np.repeat(ordered[layout.starts], counts, axis=0)
        chord = np.linalg.norm(ordered - first, axis=1)
        largest = np.maximum.reduceat(chord, layout.starts)
        parallax[layout.seen_points] = 2 * np.arcsin(np.clip(largest / 2, 0, 1))
        latest[layout.seen_points] = ordered[layout.starts + counts - 1]
    return parallax, latest
