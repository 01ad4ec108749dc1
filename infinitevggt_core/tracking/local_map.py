# SPDX-License-Identifier: Apache-2.0
"""Keyframes of the window, their observations and the points seen from them; nothing else."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.tracking.rigid import Floats, compose, inverse
from infinitevggt_core.tracking.window_problem import WindowProblem, WindowResult

Ids = NDArray[np.int64]
OUTLIER_PX = 3.0
UNKNOWN = np.inf


@dataclass(slots=True, eq=False)
class WindowKeyframe:
    """One keyframe of the window and what it observed."""

    index: int
    frame: int
    stamp_s: float
    gray: NDArray[np.uint8]
    intrinsics: Floats
    """(3, 3), pixels of `gray`, without the correction of the focal length."""
    camera_from_world: Floats
    """(3, 4)."""
    ids: Ids
    """(M,), ascending."""
    pixels: Floats
    """(M, 2)."""
    whitening: Floats
    """(M, 2, 2), see `Frontend.whitening`."""
    log_depth: Floats
    """(M,), logarithm of the measured depth in the unit of the tracker; NaN where there is none."""
    sensor: bool
    """True where the depth comes from a depth camera."""
    depth_scale: float
    """Units of the tracker per unit of the depth image."""

    def keep(self, mask: NDArray[np.bool_]) -> None:
        """Forget the observations outside a mask (M,)."""
        self.ids, self.pixels = self.ids[mask], self.pixels[mask]
        self.whitening, self.log_depth = self.whitening[mask], self.log_depth[mask]


class LocalMap:
    """Window of keyframes and table of points, sorted by id."""

    def __init__(self) -> None:
        self.keyframes: list[WindowKeyframe] = []
        self.ids: Ids = np.empty(0, np.int64)
        self.points: Floats = np.empty((0, 3))
        """(N, 3)."""
        self.mature: NDArray[np.bool_] = np.empty(0, np.bool_)
        """(N,), adjusted with two views or more."""
        self.parallax: Floats = np.empty(0)
        self.std: Floats = np.empty(0)
        """(N,), standard deviation along the ray, unit of the tracker."""

    def rows(self, ids: Ids) -> Ids:
        """Return the rows of points in the table; -1 for those that are not there."""
        if not len(self.ids):
            return np.full(len(ids), -1)
        place = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[place] == ids, place, -1)

    def add_points(self, ids: Ids, points: Floats) -> None:
        """Append new points, whose ids are above all others."""
        count = len(ids)
        self.ids = np.concatenate((self.ids, ids))
        self.points = np.concatenate((self.points, points))
        self.mature = np.concatenate((self.mature, np.zeros(count, np.bool_)))
        self.parallax = np.concatenate((self.parallax, np.zeros(count)))
        self.std = np.concatenate((self.std, np.full(count, UNKNOWN)))

    def prune(self, live: Ids) -> None:
        """Forget points that neither a keyframe nor a live track sees."""
        seen = np.concatenate([live, *(keyframe.ids for keyframe in self.keyframes)])
        self._select(np.isin(self.ids, seen))

    def lost(self, live: Ids) -> list[tuple[WindowKeyframe, Ids, Floats]]:
        """Return mature points that no track follows, by the newest keyframe that saw them.

        Each entry: the keyframe, the points' ids (n,) and their pixels in it (n, 2).
        """
        wanted = self.ids[self.mature & ~np.isin(self.ids, live)]
        found = []
        for keyframe in reversed(self.keyframes):
            ids, _, rows = np.intersect1d(wanted, keyframe.ids, return_indices=True)
            if len(ids):
                found.append((keyframe, ids, keyframe.pixels[rows]))
                wanted = np.setdiff1d(wanted, ids, assume_unique=True)
        return found

    def problem(
        self,
        sigma: float,
        sensor_sigma: float,
        unit: float,
        *,
        fixed: int = 2,
        log_focal: float = 0.0,
        focal_sigma: float = 0.0,
    ) -> tuple[WindowProblem, Ids]:
        """Return the bundle adjustment of the window and the ids of its points.

        sigma, sensor_sigma: of log depth from the network and from a depth camera. unit: px per px
        of an image 320 px wide. Left out are points with one view, and points that none of the
        keyframes after the first `fixed` ones sees.
        """
        camera = np.repeat(np.arange(len(self.keyframes)), [len(k.ids) for k in self.keyframes])
        ids = np.concatenate([k.ids for k in self.keyframes])
        rows = self.rows(ids)
        views = np.bincount(rows[rows >= 0], minlength=len(self.ids))
        fixed = min(fixed, max(len(self.keyframes) - 1, 0))
        moving = np.zeros(len(self.ids), np.bool_)
        moving[rows[(rows >= 0) & (camera >= fixed)]] = True
        use = (rows >= 0) & (views[rows] >= 2) & moving[rows]
        used, point = np.unique(rows[use], return_inverse=True)
        offset = np.concatenate([k.pixels - k.intrinsics[:2, 2] for k in self.keyframes]) / unit
        sensor = np.array([k.sensor for k in self.keyframes], np.bool_)[camera]
        problem = WindowProblem(
            poses=np.stack([k.camera_from_world for k in self.keyframes]),
            points=self.points[used],
            camera=camera[use],
            point=point.astype(np.int64),
            pixels=offset[use],
            focal=np.stack([k.intrinsics.diagonal()[:2] for k in self.keyframes]) / unit,
            log_depth=np.concatenate([k.log_depth for k in self.keyframes])[use],
            whitening=np.concatenate([k.whitening for k in self.keyframes])[use],
            depth_sigma=np.where(sensor, sensor_sigma, sigma)[use],
            fixed=fixed,
            log_focal=log_focal,
            focal_sigma=focal_sigma,
        )
        return problem, self.ids[used]

    def apply(
        self, indices: list[int], ids: Ids, problem: WindowProblem, result: WindowResult
    ) -> Floats:
        """Take over an adjusted window, perhaps late, and drop its outliers.

        indices: of the keyframes in the problem. Returns the motion (3, 4), new world from old, of
        the newest keyframe in it; keyframes made since were moved by it.
        """
        poses = dict(zip(indices, result.poses, strict=True))
        newest = indices[-1]
        before = {keyframe.index: keyframe.camera_from_world for keyframe in self.keyframes}
        change = compose(inverse(poses[newest]), before[newest])
        for keyframe in self.keyframes:
            if keyframe.index in poses:
                keyframe.camera_from_world = poses[keyframe.index]
            elif keyframe.index > newest:
                keyframe.camera_from_world = compose(keyframe.camera_from_world, inverse(change))
        rows = self.rows(ids)
        there = rows >= 0
        known = rows[there]
        self.points[known] = result.points[there]
        self.mature[known] |= result.views[there] >= 2
        self.parallax[known], self.std[known] = result.parallax[there], result.point_std[there]
        self._drop_outliers(indices, ids, problem, result)
        return change

    def move(self, change: Floats, scale: float) -> None:
        """Move the whole window: points to change(scale * point), cameras with them."""
        self.points = scale * self.points @ change[:, :3].T + change[:, 3]
        self.std *= scale
        for keyframe in self.keyframes:
            pose = keyframe.camera_from_world.copy()
            pose[:, 3] *= scale
            keyframe.camera_from_world = compose(pose, inverse(change))
            keyframe.log_depth = keyframe.log_depth + np.log(scale)
            keyframe.depth_scale *= scale

    def drop_oldest(self) -> WindowKeyframe:
        """Take the oldest keyframe out of the window."""
        return self.keyframes.pop(0)

    def state_dict(self) -> dict[str, Any]:
        """Return all arrays."""
        names = WindowKeyframe.__slots__
        return {
            "keyframes": [{n: getattr(k, n) for n in names} for k in self.keyframes],
            **{n: getattr(self, n).copy() for n in ("ids", "points", "mature", "parallax", "std")},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from saved arrays."""
        self.keyframes = [WindowKeyframe(**saved) for saved in state["keyframes"]]
        for name in ("ids", "points", "mature", "parallax", "std"):
            setattr(self, name, np.array(state[name]))

    def _drop_outliers(
        self, indices: list[int], ids: Ids, problem: WindowProblem, result: WindowResult
    ) -> None:
        bad = result.errors_px > OUTLIER_PX
        if not bad.any():
            return
        for number, index in enumerate(indices):
            outliers = ids[problem.point[bad & (problem.camera == number)]]
            for keyframe in self.keyframes:
                if keyframe.index == index and len(outliers):
                    keyframe.keep(~np.isin(keyframe.ids, outliers))

    def _select(self, mask: NDArray[np.bool_]) -> None:
        self.ids, self.points = self.ids[mask], self.points[mask]
        self.mature, self.parallax = self.mature[mask], self.parallax[mask]
        self.std = self.std[mask]


def log_depth_at(depth: NDArray[Any] | None, pixels: Floats, shape: tuple[int, ...]) -> Floats:
    """Read the logarithm of a depth image at pixels (N, 2) of a gray image; NaN where unknown.

    depth: (h, w), the same view at any resolution, 0, negative or not finite where unknown.
    """
    if depth is None or depth.ndim != 2 or 0 in depth.shape:
        return np.full(len(pixels), np.nan)
    scale = np.array([depth.shape[1] / shape[1], depth.shape[0] / shape[0]])
    place = ((pixels + 0.5) * scale - 0.5).round().astype(np.int64)
    place = np.clip(place, 0, (depth.shape[1] - 1, depth.shape[0] - 1))
    values = depth[place[:, 1], place[:, 0]].astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        logarithm = np.log(np.where(values > 0, values, np.nan))
    return cast(Floats, np.where(np.isfinite(logarithm), logarithm, np.nan))
