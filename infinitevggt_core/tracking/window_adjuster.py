# SPDX-License-Identifier: Apache-2.0
"""Sliding-window bundle adjustment: Levenberg-Marquardt with the points eliminated (Schur)."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import cast

import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.tracking.rigid import Floats, centers, hat, moved
from infinitevggt_core.tracking.window_problem import WindowProblem, WindowResult

HUBER = 1.5
BEHIND_PX = 100.0
"""Error that counts where a point lies behind the camera or far outside."""
NEAREST = 1e-6
FIRST_DAMPING, MOST_DAMPING = 1e-4, 1e6


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    """Variables of the adjustment."""

    poses: Floats
    points: Floats
    log_focal: float


@dataclass(frozen=True, slots=True, eq=False)
class _Residuals:
    """Residuals (3, M), u v and log depth, divided by their standard deviations."""

    values: Floats
    seen: Floats
    """(3, M), the points in their cameras; depth 1 where behind."""
    ahead: NDArray[np.bool_]
    errors: Floats
    """(M,), of the pixel."""
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
        bounds = np.searchsorted(problem.camera, np.arange(self.keyframes + 1))
        self.by_point = np.argsort(problem.point, kind="stable")
        ordered = problem.point[self.by_point]
        self.starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        self.seen_points = ordered[self.starts]
        self.rows = [slice(*pair) for pair in pairwise(bounds)]
        self.pixels, self.whitening = problem.pixels.T, problem.whitening.transpose(1, 2, 0).copy()
        self.focal = problem.focal[problem.camera].T
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
    found = _residuals(problem, layout, state)
    by_seen = _by_seen(problem, layout, state, found, np.ones((3, 1)))[:, :, 0]
    by_pose = np.concatenate((by_seen, -by_seen @ hat(found.seen[:, 0])), axis=1)
    return by_pose, by_seen @ pose[:, :3]


def _residuals(problem: WindowProblem, layout: _Layout, state: _State) -> _Residuals:
    seen = np.empty((3, len(problem.camera)))
    for k, rows in enumerate(layout.rows):
        pose = state.poses[k]
        seen[:, rows] = pose[:, :3] @ state.points[problem.point[rows]].T + pose[:, 3:]
    ahead = seen[2] > NEAREST
    seen[2, ~ahead] = 1.0
    left = np.exp(state.log_focal) * layout.focal * seen[:2] / seen[2] - layout.pixels
    white = layout.whitening
    values = np.zeros((3, len(ahead)))
    values[0] = white[0, 0] * left[0] + white[0, 1] * left[1]
    values[1] = white[1, 0] * left[0] + white[1, 1] * left[1]
    use = layout.has_depth & ahead
    values[2, use] = (np.log(seen[2, use]) - problem.log_depth[use]) / problem.depth_sigma[use]
    error = np.hypot(values[0], values[1])
    ahead &= error < BEHIND_PX
    error[~ahead] = BEHIND_PX
    pixel_costs = _huber(error)
    cost = float(pixel_costs.sum() + _huber(np.abs(values[2, ahead])).sum())
    if problem.focal_sigma > 0:
        cost += 0.5 * (state.log_focal / problem.focal_sigma) ** 2
    return _Residuals(values, seen, ahead, error, pixel_costs, cost)


def _huber(error: Floats) -> Floats:
    return cast(Floats, np.where(error <= HUBER, 0.5 * error**2, HUBER * (error - 0.5 * HUBER)))


def _root_weights(found: _Residuals) -> Floats:
    """Return the roots (3, M) of the robust weights; 0 behind the camera."""
    pixel = np.sqrt(HUBER / np.maximum(found.errors, HUBER)) * found.ahead
    depth = np.sqrt(HUBER / np.maximum(np.abs(found.values[2]), HUBER)) * found.ahead
    return np.stack((pixel, pixel, depth))


def _by_seen(
    problem: WindowProblem, layout: _Layout, state: _State, found: _Residuals, roots: Floats
) -> Floats:
    """Return the weighted derivatives (3, 3, M) of the residuals by the point in the camera."""
    x, y, z = found.seen
    focal = np.exp(state.log_focal) * layout.focal / z
    matrix = np.zeros((3, 3, len(z)))
    matrix[:2, 0] = roots[0] * layout.whitening[:, 0] * focal[0]
    matrix[:2, 1] = roots[0] * layout.whitening[:, 1] * focal[1]
    matrix[:2, 2] = -matrix[:2, 0] * (x / z) - matrix[:2, 1] * (y / z)
    matrix[2, 2] = np.where(layout.has_depth, roots[2] / (z * problem.depth_sigma), 0.0)
    return matrix


def _cross(left: Floats, right: Floats) -> Floats:
    """Return left x right along the axis before the last, (..., 3, M)."""
    a, b, c = left[..., 0, :], left[..., 1, :], left[..., 2, :]
    x, y, z = right[..., 0, :], right[..., 1, :], right[..., 2, :]
    return np.stack((b * z - c * y, c * x - a * z, a * y - b * x), axis=-2)


def _normal_equations(
    problem: WindowProblem, layout: _Layout, state: _State, found: _Residuals
) -> _Normal:
    """Multiply out J^T J with J = G [I | -hat(P)] for a camera and J = G R for a point."""
    roots = _root_weights(found)
    by_seen = _by_seen(problem, layout, state, found, roots)  # G
    square = np.einsum("rim,rjm->ijm", by_seen, by_seen)  # G^T G
    turned = _cross(found.seen, square)  # G^T G (-hat(P)), rows are P x row
    side = np.einsum("rim,rm->im", by_seen, roots * found.values)
    free, columns = layout.keyframes - problem.fixed, layout.columns
    camera, camera_side = np.zeros((columns, columns)), np.zeros(columns)
    mixed = np.zeros((layout.count, 3, columns))
    wide = np.concatenate((square, turned), axis=1)  # (3, 6, M)
    sums = np.empty((len(found.ahead), 12))
    for k, rows in enumerate(layout.rows):
        rotation = state.poses[k, :, :3]
        blocks = (rotation.T @ wide[:, :, rows].reshape(3, -1)).reshape(3, 6, -1).transpose(2, 0, 1)
        sums[rows, :9] = (blocks[:, :, :3].reshape(-1, 3) @ rotation).reshape(-1, 9)
        sums[rows, 9:] = side[:, rows].T @ rotation
        if k >= problem.fixed:
            place = slice(6 * (k - problem.fixed), 6 * (k - problem.fixed) + 6)
            mixed[problem.point[rows], :, place] = blocks
            camera[place, place], camera_side[place] = _camera_block(
                found.seen[:, rows], square[:, :, rows], turned[:, :, rows], side[:, rows]
            )
    if problem.focal_sigma > 0:
        focal = -by_seen[:2, 2] * found.seen[2]  # derivative of the pixels by the log focal length
        pull = np.einsum("rim,rm->im", by_seen[:2], focal)
        _add_focal(problem, layout, state, focal, pull, camera, mixed, found.seen)
        gradient = (focal * roots[:2] * found.values[:2]).sum()
        camera_side[-1] = gradient + state.log_focal / problem.focal_sigma**2
    added = layout.per_point(sums)
    point, point_side = added[:, :9].reshape(-1, 3, 3), added[:, 9:]
    assert columns == 6 * free + (problem.focal_sigma > 0)
    return _Normal(camera, camera_side, point, point_side, mixed)


def _camera_block(
    seen: Floats, square: Floats, turned: Floats, side: Floats
) -> tuple[Floats, Floats]:
    """Return J^T J (6, 6) and J^T r (6,) of one camera."""
    block = np.empty((6, 6))
    block[:3, :3], block[:3, 3:] = square.sum(-1), turned.sum(-1)
    block[3:, :3] = block[:3, 3:].T
    # hat(P) G^T G hat(P)^T, columns are P x column
    block[3:, 3:] = _cross(seen, turned.transpose(1, 0, 2)).sum(-1)
    return block, np.concatenate((side.sum(-1), _cross(seen, side).sum(-1)))


def _add_focal(
    problem: WindowProblem,
    layout: _Layout,
    state: _State,
    focal: Floats,
    pull: Floats,
    camera: Floats,
    mixed: Floats,
    seen: Floats,
) -> None:
    """Fill in the last row and column, those of the logarithm of the focal length."""
    camera[-1, -1] = np.square(focal).sum() + problem.focal_sigma**-2
    by_point = np.empty((focal.shape[1], 3))
    for k, rows in enumerate(layout.rows):
        by_point[rows] = pull[:, rows].T @ state.poses[k, :, :3]
        if k >= problem.fixed:
            place = slice(6 * (k - problem.fixed), 6 * (k - problem.fixed) + 6)
            both = pull[:, rows].sum(-1), _cross(seen[:, rows], pull[:, rows]).sum(-1)
            camera[place, -1] = camera[-1, place] = np.concatenate(both)
    mixed[:, :, -1] = layout.per_point(by_point)


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
    step: Floats = np.zeros(len(side))
    if len(side):
        step -= np.linalg.solve(reduced, side)
    points: Floats = -shift - solved @ step
    return step, points


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
    covariance: Floats = np.full((6, 6), np.nan)
    if size:
        ridge = 1e-12 * np.trace(reduced) * np.eye(len(reduced))
        covariance = np.linalg.inv(reduced + ridge)[size - 6 : size, size - 6 : size]
    parallax, ray = _rays(problem, layout, state)
    information = np.einsum("ni,nij,nj->n", ray, normal.point, ray)
    return WindowResult(
        state.poses,
        state.points,
        state.log_focal,
        found.cost,
        float(found.pixel_costs.mean()) if len(found.pixel_costs) else 0.0,
        np.where(found.ahead, found.errors, np.inf),
        covariance,
        1 / np.sqrt(np.maximum(information, 1e-30)),
        parallax,
        layout.per_point(np.ones(len(found.errors))).astype(np.int64),
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
