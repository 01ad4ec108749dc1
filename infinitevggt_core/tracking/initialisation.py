# SPDX-License-Identifier: Apache-2.0
"""First structure of a map: several hypotheses on the same tracks, judged by their reprojection."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.tracking.pose_estimator import fit_pose
from infinitevggt_core.tracking.rigid import Floats, centers, compose, inverse, transform
from infinitevggt_core.tracking.window_adjuster import adjust
from infinitevggt_core.tracking.window_problem import Indices, WindowProblem, WindowResult

MOST_SPREAD = 2.5
"""Logarithm of the 95th over the 5th percentile of depth above which a structure is blown up."""
LEAST_INVERSE, MOST_INVERSE = 0.2, 5.0
"""Bounds of a mirrored inverse depth, relative to the median."""
STEPS = 15
MOST_POINTS = 200
"""Points that hypotheses are judged on."""
CURRENT = "current"
FEWEST_SHARED = 20


@dataclass(frozen=True, slots=True, eq=False)
class Hypothesis:
    """One adjusted first structure."""

    name: str
    result: WindowResult
    spread: float

    @property
    def usable(self) -> bool:
        """False for a structure that is blown up or not finite."""
        finite = np.isfinite(self.result.poses).all() and np.isfinite(self.result.points).all()
        return bool(finite and self.spread < MOST_SPREAD)


def initialise(problem: WindowProblem) -> list[Hypothesis]:
    """Adjust the window from several first structures; usable ones first, by rising cost.

    problem: with the structure as it is; its oldest pose stays. The unit of every answer is that
    of the measured depth, where there is any, else that of the structure in the problem. Where
    there are many points, part of them is judged; `completed` gives all.
    """
    free = thinned(replace(problem, fixed=1), MOST_POINTS)
    first = _first_views(free)
    hypotheses = []
    for name, start in _starts(free, first):
        try:
            result = _normalised(free, adjust(start(), most_steps=STEPS))
        except (np.linalg.LinAlgError, cv2.error, ValueError):
            continue
        hypotheses.append(Hypothesis(name, result, _spread(free, result, first)))
    return sorted(hypotheses, key=lambda h: (not h.usable, h.result.pixel_cost))


def choose(hypotheses: list[Hypothesis], switch: float) -> Hypothesis | None:
    """Return the structure to go on with: the present one unless another is clearly better.

    switch: share of the present structure's cost below which another takes its place.
    """
    present = next((h for h in hypotheses if h.name == CURRENT and h.usable), None)
    if not hypotheses or not hypotheses[0].usable:
        return next((h for h in hypotheses if h.name == CURRENT), None)
    best = hypotheses[0]
    if present is not None and best.result.pixel_cost > switch * present.result.pixel_cost:
        return present
    return best


def completed(problem: WindowProblem, chosen: Hypothesis) -> WindowResult:
    """Return the adjustment of all points of a problem that starts from a hypothesis."""
    free = replace(problem, fixed=1)
    if chosen.name != CURRENT:
        free = replace(free, poses=chosen.result.poses, log_focal=chosen.result.log_focal)
        free = replace(free, points=_triangulated(free))
    return _normalised(free, adjust(free, most_steps=STEPS))


def thinned(problem: WindowProblem, most: int) -> WindowProblem:
    """Keep the points that most keyframes see, at most so many."""
    if len(problem.points) <= most:
        return problem
    views = np.bincount(problem.point, minlength=len(problem.points))
    kept = np.sort(np.argsort(-views, kind="stable")[:most])
    number = np.full(len(problem.points), -1)
    number[kept] = np.arange(most)
    rows = number[problem.point] >= 0
    return replace(
        problem,
        points=problem.points[kept],
        camera=problem.camera[rows],
        point=number[problem.point[rows]],
        pixels=problem.pixels[rows],
        log_depth=problem.log_depth[rows],
        depth_sigma=problem.depth_sigma[rows],
        whitening=problem.whitening[rows],
    )


def _starts(
    problem: WindowProblem, first: Indices
) -> list[tuple[str, Callable[[], WindowProblem]]]:
    """Return the hypotheses by name, each made when it is called."""
    depth = _depths(problem, first)
    middle = float(np.median(depth)) if len(depth) else 1.0
    measured = np.exp(problem.log_depth[first])
    constant = np.full(len(depth), middle)
    known = np.isfinite(measured)
    mirrored = middle / np.clip(2 - middle / depth, LEAST_INVERSE, MOST_INVERSE)
    starts: list[tuple[str, Callable[[], WindowProblem]]] = [
        (CURRENT, lambda: problem),
        ("constant", lambda: _placed(problem, first, constant)),
        ("mirrored", lambda: _placed(problem, first, mirrored)),
    ]
    if known.any():
        filled = np.where(known, measured, np.median(measured[known]))
        starts.append(("network", lambda: _placed(problem, first, filled)))
    starts.append(("two views", lambda: _two_views(problem, first, middle)))
    return starts


def _first_views(problem: WindowProblem) -> Indices:
    """Return the number (N,) of the first observation of each point."""
    _, first = np.unique(problem.point, return_index=True)
    return first.astype(np.int64)


def _depths(problem: WindowProblem, first: Indices) -> Floats:
    """Return the depth (N,) of each point in the first camera that saw it, at least tiny."""
    poses = problem.poses[problem.camera[first]]
    depth: Floats = np.einsum("ni,ni->n", poses[:, 2, :3], problem.points) + poses[:, 2, 3]
    return np.maximum(depth, 1e-3 * max(float(np.median(np.abs(depth))), 1e-9))


def _rays(problem: WindowProblem, observations: Indices | slice) -> Floats:
    """Return the directions (m, 3) of observations in their cameras, depth 1."""
    focal = problem.focal[problem.camera[observations]] * np.exp(problem.log_focal)
    return np.concatenate((problem.pixels[observations] / focal, np.ones((len(focal), 1))), axis=1)


def _placed(problem: WindowProblem, first: Indices, depth: Floats) -> WindowProblem:
    """Place each point at a depth in its first camera, and each camera by the points before it."""
    poses, points = problem.poses.copy(), np.full_like(problem.points, np.nan)
    camera_points = _rays(problem, first) * depth[:, None]
    first_camera = problem.camera[first]
    for k in range(len(poses)):
        if k:
            poses[k] = _resected(problem, k, points, poses[k - 1])
        new = first_camera == k
        points[new] = transform(inverse(poses[k]), camera_points[new])
    return replace(problem, poses=poses, points=points)


def _resected(problem: WindowProblem, k: int, points: Floats, start: Floats) -> Floats:
    """Return the pose of keyframe k from the points that are placed already."""
    rows = problem.camera == k
    known = np.isfinite(points[problem.point[rows], 0])
    if known.sum() < 6:
        return start
    matrix = np.diag([*(problem.focal[k] * np.exp(problem.log_focal)), 1.0])
    placed = points[problem.point[rows][known]]
    return fit_pose(start, placed, problem.pixels[rows][known], matrix).camera_from_world


def _two_views(problem: WindowProblem, first: Indices, middle: float) -> WindowProblem:
    """Start from the essential matrix of the oldest keyframe and the one that moved most.

    Raises ValueError where no two keyframes determine one.
    """
    old, new, other = _widest_pair(problem)
    left, right = _rays(problem, old), _rays(problem, new)
    scale = float(problem.focal.mean())
    essential, mask = cv2.findEssentialMat(
        left[:, :2], right[:, :2], np.eye(3), cv2.RANSAC, 0.999, 1.0 / scale
    )
    if essential is None or essential.shape != (3, 3):
        raise ValueError("no essential matrix")
    agreed, turn, shift, before_both = cv2.recoverPose(
        essential, left[:, :2], right[:, :2], np.eye(3), mask=mask
    )
    if agreed < FEWEST_SHARED:
        raise ValueError("two views disagree")
    relative: Floats = np.hstack((turn, shift.reshape(3, 1))).astype(np.float64)
    depth = _triangulated_depth(left, right, relative)
    good = (np.ravel(before_both) > 0) & (depth > 0)
    if good.sum() < FEWEST_SHARED:
        raise ValueError("too few points before both cameras")
    unit = middle / float(np.median(depth[good]))
    return _grown(problem, first, old[good], depth[good] * unit, other, relative, unit)


def _grown(
    problem: WindowProblem,
    first: Indices,
    old: Indices,
    depth: Floats,
    other: int,
    relative: Floats,
    unit: float,
) -> WindowProblem:
    """Place the points of two views, then all other cameras and points by them."""
    poses, points = problem.poses.copy(), np.full_like(problem.points, np.nan)
    start = relative.copy()
    start[:, 3] *= unit
    points[problem.point[old]] = transform(inverse(poses[0]), _rays(problem, old) * depth[:, None])
    middle = float(np.median(depth))
    for k in range(1, len(poses)):
        guess = compose(start, poses[0]) if k == other else poses[k - 1]
        poses[k] = _resected(problem, k, points, guess)
    missing = np.isnan(points[:, 0])
    for k in range(len(poses)):
        new = missing & (problem.camera[first] == k)
        rows = (problem.camera == k) & ~missing[problem.point]
        if rows.any():
            seen = transform(poses[k], points[problem.point[rows]])[:, 2]
            middle = float(np.median(np.abs(seen)))
        rays = _rays(problem, first[new])
        points[new] = transform(inverse(poses[k]), rays * middle)
    return replace(problem, poses=poses, points=points)


def _widest_pair(problem: WindowProblem) -> tuple[Indices, Indices, int]:
    """Return shared observations in the oldest keyframe and in the one with the largest motion."""
    rows = np.arange(len(problem.camera))
    oldest = rows[problem.camera == 0]
    best: tuple[float, Indices, Indices, int] | None = None
    for k in range(1, len(problem.poses)):
        newer = rows[problem.camera == k]
        _, a, b = np.intersect1d(problem.point[oldest], problem.point[newer], return_indices=True)
        if len(a) < 2 * FEWEST_SHARED:
            continue
        flow = problem.pixels[oldest[a]] - problem.pixels[newer[b]]
        size = float(np.median(np.linalg.norm(flow, axis=1)))
        if best is None or size > best[0]:
            best = size, oldest[a], newer[b], k
    if best is None:
        raise ValueError("no two keyframes share enough points")
    return best[1:]


def _triangulated(problem: WindowProblem) -> Floats:
    """Return the points (N, 3) nearest to all their rays; at the median depth where behind."""
    cameras = problem.poses[problem.camera]
    rays = _rays(problem, slice(None))
    rays = np.einsum("mji,mj->mi", cameras[:, :, :3], rays)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    origin = centers(problem.poses)[problem.camera]
    across = np.eye(3) - rays[:, :, None] * rays[:, None, :]
    matrix, side = np.zeros((len(problem.points), 3, 3)), np.zeros((len(problem.points), 3))
    np.add.at(matrix, problem.point, across)
    np.add.at(side, problem.point, np.einsum("mij,mj->mi", across, origin))
    first = _first_views(problem)
    depth = _depths(problem, first)
    # a weak pull to where the point was expected, for rays that are parallel
    guess = origin[first] + rays[first] * np.median(depth)
    matrix += 1e-6 * np.eye(3)
    points = np.linalg.solve(matrix, (side + 1e-6 * guess)[:, :, None])[:, :, 0]
    cameras = cameras[first]
    ahead = np.einsum("ni,ni->n", cameras[:, 2, :3], points) + cameras[:, 2, 3] > 0
    return np.where(ahead[:, None], points, guess)


def _triangulated_depth(left: Floats, right: Floats, relative: Floats) -> Floats:
    """Return the depths (N,) along rays of depth 1 in the first camera, from two views."""
    turned = left @ relative[:, :3].T
    # depth * turned + shift is parallel to right
    normal = np.cross(right, turned)
    offset = np.cross(right, relative[:, 3])
    size = np.maximum((normal * normal).sum(1), 1e-12)
    depth: NDArray[np.float64] = -(normal * offset).sum(1) / size
    return depth


def _normalised(problem: WindowProblem, result: WindowResult) -> WindowResult:
    """Bring an answer to the unit of the measured depth, or of the structure before."""
    poses = result.poses[problem.camera]
    depth = np.einsum("mi,mi->m", poses[:, 2, :3], result.points[problem.point]) + poses[:, 2, 3]
    known = np.isfinite(problem.log_depth)
    reference = problem.log_depth
    if known.sum() < FEWEST_SHARED:
        old = problem.poses[problem.camera]
        before = np.einsum("mi,mi->m", old[:, 2, :3], problem.points[problem.point]) + old[:, 2, 3]
        known = before > 0
        reference = np.log(np.where(known, before, 1.0))
    known &= depth > 0
    if not known.any():
        return result
    scale = float(np.exp(np.median(reference[known] - np.log(depth[known]))))
    base = centers(result.poses[0])
    points = base + scale * (result.points - base)
    poses = result.poses.copy()
    poses[:, :, 3] = scale * (poses[:, :, 3] + poses[:, :, :3] @ base) - poses[:, :, :3] @ base
    return replace(result, points=points, poses=poses, point_std=scale * result.point_std)


def _spread(problem: WindowProblem, result: WindowResult, first: Indices) -> float:
    depth = _depths(replace(problem, poses=result.poses, points=result.points), first)
    low, high = np.percentile(depth, (5, 95))
    return float(np.log(high / low))
