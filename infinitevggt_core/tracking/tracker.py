# SPDX-License-Identifier: Apache-2.0
"""Poses of a moving camera from its images: corners, optical flow, bundle adjustment."""

import logging
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.tracking.config import TrackingConfig
from infinitevggt_core.tracking.depth_noise import DepthNoise
from infinitevggt_core.tracking.frontend import Frontend
from infinitevggt_core.tracking.initialisation import (
    CURRENT,
    Hypothesis,
    completed,
    initialise,
)
from infinitevggt_core.tracking.keyframe import Keyframe
from infinitevggt_core.tracking.local_map import Ids, LocalMap, WindowKeyframe, log_depth_at
from infinitevggt_core.tracking.pose_estimator import (
    PoseFit,
    find_pose,
    fit_pose,
    projection_errors,
)
from infinitevggt_core.tracking.rigid import IDENTITY, Floats, compose, inverse, transform
from infinitevggt_core.tracking.tracked_frame import (
    DEGRADED,
    LOST,
    NETWORK,
    TRACKING,
    TrackedFrame,
)
from infinitevggt_core.tracking.window_adjuster import adjust
from infinitevggt_core.tracking.window_problem import WindowProblem, WindowResult
from infinitevggt_core.tracking.worker import Worker

logger = logging.getLogger(__name__)
ERRORS = (
    cv2.error,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    TypeError,
    ValueError,
)
"""Exceptions that bad input may raise: they cost an image."""
INLIER_PX, CULL_PX = 3.0, 6.0
FEWEST_INLIERS, FEWEST_POINTS, FEWEST_MATURE, FEWEST_CORNERS = 12, 6, 25, 60
LEAST_PARALLAX = 0.04
"""Angle between rays (rad) below which points feed rotation only."""
LEAST_ALIVE = 0.7
"""Share of a keyframe's tracks below which the next one is made."""
YOUNG_KEYFRAMES = 10
"""Keyframes after which the first structure counts as decided, where there is parallax."""
CHECK_EVERY = 10
"""Keyframes between two looks whether another structure explains the window better."""
SWITCH_YOUNG, SWITCH_MATURE = 0.98, 0.8
"""Share of the present structure's cost below which another takes its place."""
FOCAL_SIGMA = 0.2
"""Standard deviation of the logarithm of a focal length that is a guess."""
FOCAL_BOUNDS = (float(np.log(0.7)), float(np.log(1.4)))
FOCAL_KEYFRAMES, FOCAL_WINDOWS, FOCAL_STEADY = 40, 8, 0.01
"""Keyframes after which it is fixed; windows in a row that agree so far fix it before."""
FEWEST_AGAIN = 4
"""Points of one keyframe that are worth looking for again."""
LOST_VARIANCE = 1e6
_SAVED = (
    "frame",
    "submap",
    "keyframe_count",
    "next_id",
    "log_focal",
    "focal_history",
    "pose",
    "velocity",
    "prior",
    "young",
    "missed",
    "last_gray",
    "ids",
    "pixels",
    "window_covariance",
)
"""Attributes of a snapshot besides the map and the noise of the depth."""


class KeyframeListener(Protocol):
    """Receiver of keyframes: the map."""

    def on_new_keyframe(self, keyframe: Keyframe) -> None:
        """Take the newest keyframe, with its points as known now."""

    def on_keyframe_left_window(self, keyframe: Keyframe) -> None:
        """Take a keyframe whose pose and points are final."""

    def on_window(self, poses: dict[int, Floats]) -> None:
        """Take the adjusted poses (3, 4) of the keyframes in the window, by their numbers."""


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """One image, made ready."""

    gray: NDArray[np.uint8]
    intrinsics: Floats
    """(3, 3), pixels of `gray`, as given."""
    shrink: Floats
    """(2,), pixels of `gray` per pixel of the given image, along u and v."""
    depth: NDArray[Any] | None
    sensor: bool
    prior: Floats | None
    stamp_s: float


@dataclass(frozen=True, slots=True, eq=False)
class _Adjusted:
    """A finished adjustment."""

    indices: list[int]
    ids: Ids
    problem: WindowProblem
    result: WindowResult
    hypothesis: str
    """Name of the first structure that was chosen."""


class Tracker:
    """Odometry of one camera: `track` one image after the other."""

    def __init__(
        self,
        config: TrackingConfig | None = None,
        *,
        background: bool = True,
        listener: KeyframeListener | None = None,
    ) -> None:
        """background: adjust in a thread; else at once, for answers that are repeatable."""
        self.config = config or TrackingConfig()
        self.listener = listener
        self._frontend = Frontend(self.config)
        self._worker: Worker[_Adjusted] = Worker(background)
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next image starts a new world."""
        self._worker.discard()
        self._frame = self._submap = self._keyframe_count = 0
        self._next_id = 0
        self._log_focal = 0.0
        self._focal_history: list[float] = []
        self._pose, self._velocity = IDENTITY.copy(), IDENTITY.copy()
        self._prior: Floats | None = None
        self._start_submap()

    def _start_submap(self) -> None:
        """Begin with an empty map at the present pose."""
        self._worker.discard()
        self._map = LocalMap()
        self._noise = DepthNoise(self.config.depth_trust)
        self._young = True
        self._missed = 0
        self._last_gray: NDArray[np.uint8] | None = None
        self._ids: Ids = np.empty(0, np.int64)
        self._pixels: Floats = np.empty((0, 2))
        self._velocity = IDENTITY.copy()
        self._window_covariance: Floats = np.zeros((6, 6))

    def close(self) -> None:
        """Stop the thread; a job that runs is waited for, its result dropped."""
        self._worker.close()

    # ---- one image ----

    def track(
        self,
        gray: NDArray[np.uint8],
        intrinsics: Floats,
        depth: NDArray[Any] | None = None,
        prior: Floats | None = None,
        *,
        stamp_s: float = 0.0,
        depth_kind: str = "network",
    ) -> TrackedFrame:
        """Return the pose of the next image.

        gray: (H, W) uint8 without distortion. intrinsics: (3, 3), its pixels. depth: (h, w), the
        same view at any resolution, 0 or NaN where unknown. prior: camera_from_world (3, 4) that
        the network says, in a world of its own; its motion is used where the images say nothing.
        depth_kind: "network", or "sensor" for metres from a depth camera. Bad input costs this
        image: the answer's state and reason tell.
        """
        self._frame += 1
        try:
            view = self._view(gray, intrinsics, depth, prior, stamp_s, depth_kind)
            self._take_adjustment()
            return self._step(view)
        except ERRORS as error:
            logger.debug("image %d: %s", self._frame - 1, error, exc_info=True)
            reason = f"{type(error).__name__}: {error}"
            return self._miss(None, _usable_prior(prior), stamp_s, reason)

    def _step(self, view: _View) -> TrackedFrame:
        if self._last_gray is not None and self._last_gray.shape != view.gray.shape:
            self._break_off()
        if self._last_gray is None:
            return self._begin(view)
        pixels = self._follow(view)
        alive = np.isfinite(pixels[:, 0])
        ids, pixels = self._ids[alive], pixels[alive]
        matrix = self._matrix(view.intrinsics)
        fit = self._fit(ids, pixels, matrix)
        if fit is None:
            return self._miss(view, view.prior, view.stamp_s, "the images do not determine a pose")
        self._accept(view, ids, pixels, fit)
        keyframe = self._needs_keyframe(view)
        if keyframe:
            self._add_keyframe(view)
            self._adjust()
        return self._answer(view, fit, keyframe)

    def _begin(self, view: _View) -> TrackedFrame:
        """Start a map with this image, if it has corners."""
        corners = self._frontend.detect(view.gray, np.empty((0, 2)))
        if len(corners) < FEWEST_CORNERS:
            return self._miss(view, view.prior, view.stamp_s, f"{len(corners)} corners only")
        self._missed = 0
        self._step_prior(view.prior)
        self._last_gray = view.gray
        self._add_keyframe(view, corners)
        fit = PoseFit(self._pose, np.zeros(len(corners)), np.zeros((6, 6)))
        return self._answer(view, fit, True)

    def _follow(self, view: _View) -> Floats:
        """Return where the tracks are now (N, 2), NaN where lost."""
        assert self._last_gray is not None
        rows = self._map.rows(self._ids)
        matrix = self._matrix(view.intrinsics)
        seen = transform(compose(self._velocity, self._pose), self._map.points[rows])
        depth = np.maximum(seen[:, 2:], 1e-9)
        guess = seen[:, :2] / depth * matrix.diagonal()[:2] + matrix[:2, 2]
        far = np.linalg.norm(guess - self._pixels, axis=1) > 0.2 * view.gray.shape[1]
        far |= seen[:, 2] < 1e-6
        guess[far] = self._pixels[far]
        pixels, _ = self._frontend.track(self._last_gray, view.gray, self._pixels, guess)
        return pixels

    def _fit(self, ids: Ids, pixels: Floats, matrix: Floats) -> PoseFit | None:
        """Return the pose by mature points (all, where those are few); None where none is good."""
        rows = self._map.rows(ids)
        mature = self._map.mature[rows]
        use = mature if mature.sum() >= FEWEST_MATURE else np.ones(len(ids), np.bool_)
        points, seen, unit = self._map.points[rows[use]], pixels[use], self._unit
        if len(points) < FEWEST_POINTS:
            return None
        limit = INLIER_PX * unit
        best = fit_pose(self._pose, points, seen, matrix, unit)
        if best.share_within(limit) < 0.7:
            predicted = compose(self._velocity, self._pose)
            other = fit_pose(predicted, points, seen, matrix, unit)
            best = max(best, other, key=lambda fit: fit.share_within(limit))
        if best.share_within(limit) < 0.5:
            found = find_pose(points, seen, matrix, unit)
            if found is not None:
                other = fit_pose(found[0], points[found[1]], seen[found[1]], matrix, unit)
                errors = projection_errors(other.camera_from_world, points, seen, matrix)
                other = PoseFit(other.camera_from_world, errors, other.covariance)
                best = max(best, other, key=lambda fit: fit.share_within(limit))
        inliers = int((best.errors_px < limit).sum())
        wanted = min(FEWEST_INLIERS, max(FEWEST_POINTS, len(points) // 2))
        good = inliers >= wanted and np.isfinite(best.camera_from_world).all()
        errors = projection_errors(best.camera_from_world, self._map.points[rows], pixels, matrix)
        return PoseFit(best.camera_from_world, errors, best.covariance) if good else None

    def _accept(self, view: _View, ids: Ids, pixels: Floats, fit: PoseFit) -> None:
        """Take over the pose and drop tracks that contradict it."""
        mature = self._map.mature[self._map.rows(ids)]
        keep = (fit.errors_px < CULL_PX * self._unit) | ~mature
        self._velocity = (
            compose(fit.camera_from_world, inverse(self._pose)) if not self._missed else IDENTITY
        )
        self._pose = fit.camera_from_world
        self._ids, self._pixels = ids[keep], pixels[keep]
        self._last_gray = view.gray
        self._missed = 0
        self._prior = view.prior

    # ---- keyframes ----

    def _needs_keyframe(self, view: _View) -> bool:
        newest = self._map.keyframes[-1]
        _, now, then = np.intersect1d(self._ids, newest.ids, return_indices=True)
        if len(now) < LEAST_ALIVE * len(newest.ids):
            return True
        flow = np.linalg.norm(self._pixels[now] - newest.pixels[then], axis=1)
        return bool(np.median(flow) > self.config.keyframe_flow * view.gray.shape[1])

    def _add_keyframe(self, view: _View, corners: Floats | None = None) -> None:
        """Put the image into the window, with new corners where tracks have ended."""
        if corners is None:
            self._find_again(view)
            corners = self._frontend.detect(view.gray, self._pixels)
        log_live = log_depth_at(view.depth, self._pixels, view.gray.shape)
        log_new = log_depth_at(view.depth, corners, view.gray.shape)
        rows = self._map.rows(self._ids)
        live_depth = transform(self._pose, self._map.points[rows])[:, 2]
        mature = self._map.mature[rows] & (live_depth > 0)
        scale = 1.0
        if not view.sensor:
            ratios = np.log(live_depth[mature]) - log_live[mature]
            scale = self._noise.frame_scale(ratios)
        guess = np.exp(log_new) * scale
        middle = float(np.median(live_depth[mature])) if mature.any() else np.nan
        if not np.isfinite(middle):
            middle = float(np.nanmedian(guess)) if np.isfinite(guess).any() else 1.0
        guess = np.where(np.isfinite(guess), guess, middle)
        ids = np.arange(self._next_id, self._next_id + len(corners))
        self._next_id += len(corners)
        matrix = self._matrix(view.intrinsics)
        rays = (corners - matrix[:2, 2]) / matrix.diagonal()[:2]
        seen = np.concatenate((rays, np.ones((len(rays), 1))), axis=1) * guess[:, None]
        self._map.add_points(ids, transform(inverse(self._pose), seen))
        self._ids = np.concatenate((self._ids, ids))
        self._pixels = np.concatenate((self._pixels, corners))
        self._map.keyframes.append(
            WindowKeyframe(
                self._keyframe_count,
                self._frame - 1,
                view.stamp_s,
                view.gray,
                view.intrinsics,
                self._pose.copy(),
                self._ids.copy(),
                self._pixels.copy(),
                self._frontend.whitening(view.gray, self._pixels),
                np.concatenate((log_live, log_new)),
                view.sensor,
                scale,
            )
        )
        self._keyframe_count += 1
        if len(self._map.keyframes) > self.config.window:
            self._let_go()
        self._map.prune(self._ids)
        if self.listener is not None:
            self.listener.on_new_keyframe(self._given(self._map.keyframes[-1]))

    def _find_again(self, view: _View) -> None:
        """Take up points that were lost on the way and are in view again."""
        matrix = self._matrix(view.intrinsics)
        size = np.array([view.gray.shape[1], view.gray.shape[0]])
        for keyframe, ids, pixels in self._map.lost(self._ids):
            seen = transform(self._pose, self._map.points[self._map.rows(ids)])
            place = seen[:, :2] / np.maximum(seen[:, 2:], 1e-9) * matrix.diagonal()[:2]
            place += matrix[:2, 2]
            inside = ((place > 0) & (place < size - 1)).all(1) & (seen[:, 2] > 0)
            if inside.sum() < FEWEST_AGAIN:
                continue
            ids, pixels, place = ids[inside], pixels[inside], place[inside]
            now, _ = self._frontend.track(keyframe.gray, view.gray, pixels, place)
            with np.errstate(invalid="ignore"):
                good = np.linalg.norm(now - place, axis=1) < INLIER_PX * self._unit
            order = np.argsort(np.concatenate((self._ids, ids[good])), kind="stable")
            self._ids = np.concatenate((self._ids, ids[good]))[order]
            self._pixels = np.concatenate((self._pixels, now[good]))[order]

    def _let_go(self) -> None:
        """Let the oldest keyframe leave the window."""
        oldest = self._map.drop_oldest()
        if self.listener is not None:
            self.listener.on_keyframe_left_window(self._given(oldest))

    def _given(self, keyframe: WindowKeyframe) -> Keyframe:
        """Return a keyframe with the points it saw, for the map."""
        rows = self._map.rows(keyframe.ids)
        there = rows >= 0
        points = self._map.points[rows[there]]
        depth = np.linalg.norm(transform(keyframe.camera_from_world, points), axis=1)
        return Keyframe(
            keyframe.index,
            keyframe.frame,
            keyframe.stamp_s,
            self._submap,
            keyframe.gray,
            self._matrix(keyframe.intrinsics),
            keyframe.camera_from_world.copy(),
            keyframe.ids[there],
            keyframe.pixels[there],
            points,
            self._map.parallax[rows[there]],
            self._map.std[rows[there]] / np.maximum(depth, 1e-12),
            keyframe.depth_scale,
        )

    # ---- bundle adjustment ----

    def _adjust(self) -> None:
        """Start an adjustment of the window, unless one is on its way."""
        if self._worker.busy or len(self._map.keyframes) < 2:
            return
        problem, ids = self._map.problem(
            self._noise.sigma,
            self.config.sensor_sigma,
            self._unit,
            fixed=1 if self._young else 2,
            log_focal=self._log_focal,
            focal_sigma=0.0 if self._focal_settled else FOCAL_SIGMA,
        )
        indices = [keyframe.index for keyframe in self._map.keyframes]
        young, check = self._young, self._check_due()

        def job() -> _Adjusted:
            hypotheses = initialise(problem) if young or check else []
            chosen = _choice(hypotheses, SWITCH_YOUNG if young else SWITCH_MATURE)
            if chosen is not None and (young or chosen.name != CURRENT):
                result = completed(problem, chosen)
            else:
                result = adjust(problem)
            name = chosen.name if chosen is not None else CURRENT
            return _Adjusted(indices, ids, problem, result, name)

        self._worker.submit(job)
        self._take_adjustment()

    def _take_adjustment(self, *, wait: bool = False) -> None:
        """Take over a finished adjustment; one that failed leaves everything as it was."""
        try:
            done = self._worker.take(wait=wait)
        except ERRORS as error:
            logger.debug("bundle adjustment: %s", error, exc_info=True)
            return
        if done is None or not np.isfinite(done.result.poses).all():
            return
        change = self._map.apply(done.indices, done.ids, done.problem, done.result)
        if done.hypothesis == CURRENT:
            self._pose = compose(self._pose, inverse(change))
        else:  # odom stays where it is; what lies behind moves
            logger.info("structure from the hypothesis %s", done.hypothesis)
            self._map.move(inverse(change), 1.0)
        self._note_focal(done.result.log_focal)
        self._window_covariance = np.nan_to_num(done.result.covariance)
        problem, result = done.problem, done.result
        poses = result.poses[problem.camera]
        depth = np.einsum("mi,mi->m", poses[:, 2, :3], result.points[problem.point])
        depth += poses[:, 2, 3]
        good = (depth > 0) & (result.errors_px < INLIER_PX)
        self._noise.update(np.log(depth[good]) - problem.log_depth[good])
        if self._young:
            self._young = not self._decided(done)
        if self.listener is not None:
            self.listener.on_window(self.window_poses())

    @property
    def _focal_settled(self) -> bool:
        """Return whether the focal length is known or has been found."""
        enough = len(self._focal_history) >= FOCAL_WINDOWS
        steady = enough and np.ptp(self._focal_history[-FOCAL_WINDOWS:]) < FOCAL_STEADY
        late = self._keyframe_count > FOCAL_KEYFRAMES
        return self.config.focal == "known" or bool(steady and not self._young) or late

    def _note_focal(self, log_focal: float) -> None:
        """Take over the correction of the focal length within its bounds."""
        if not self._focal_settled:
            self._log_focal = float(np.clip(log_focal, *FOCAL_BOUNDS))
            self._focal_history = [*self._focal_history[1 - FOCAL_WINDOWS :], self._log_focal]

    def _check_due(self) -> bool:
        """Return whether a mature window is to be compared with other structures."""
        return not self._young and self._keyframe_count % CHECK_EVERY == 0

    def _decided(self, done: _Adjusted) -> bool:
        """Return whether the first structure is settled."""
        count = len(done.indices)
        parallax = float(np.median(done.result.parallax)) if len(done.result.parallax) else 0.0
        enough = count >= YOUNG_KEYFRAMES and parallax > LEAST_PARALLAX
        return enough or count >= self.config.window

    def window_poses(self) -> dict[int, Floats]:
        """Return the poses (3, 4) of the keyframes in the window by their numbers."""
        return {k.index: k.camera_from_world.copy() for k in self._map.keyframes}

    # ---- lost ----

    def _miss(
        self, view: _View | None, prior: Floats | None, stamp_s: float, reason: str
    ) -> TrackedFrame:
        """Answer where no pose was found; break off when that lasts."""
        self._missed += 1
        known = self._step_prior(prior)
        if self._missed >= self.config.patience and self._last_gray is not None:
            self._break_off()
        state = NETWORK if known else LOST
        return TrackedFrame(
            self._frame - 1,
            stamp_s,
            self._pose.copy(),
            LOST_VARIANCE * np.eye(6),
            state,
            reason,
            False,
            -1,
            self._pose.copy(),
            self._submap,
            np.empty((0, 2)),
            np.empty(0, np.int64),
            np.empty((0, 3)),
            np.empty(0),
            np.empty(0),
            view.intrinsics if view is not None else np.eye(3),
            1.0,
            0,
        )

    def _step_prior(self, prior: Floats | None) -> bool:
        """Move the pose by the network's motion since the image before, if it knows both."""
        before, self._prior = self._prior, prior
        if before is None or prior is None:
            return False
        motion = compose(prior, inverse(before))
        motion[:, 3] *= np.exp(self._noise.log_scale)
        self._pose = compose(motion, self._pose)
        return True

    def _break_off(self) -> None:
        """End the piece of trajectory: its keyframes leave, the next image starts another."""
        while self._map.keyframes:
            self._let_go()
        self._submap += 1
        missed = self._missed
        self._start_submap()
        self._missed = missed

    # ---- snapshots ----

    def state_dict(self) -> dict[str, Any]:
        """Return all that the tracker knows, as numbers and numpy arrays, after pending work."""
        self._take_adjustment(wait=True)
        return {
            "map": self._map.state_dict(),
            "noise": self._noise.state_dict(),
            **{name: _copy(getattr(self, f"_{name}")) for name in _SAVED},
        }

    def load_state_dict(self, state: dict[str, Any], *, resume: bool = True) -> None:
        """Go on from a snapshot.

        resume: the next image follows the last one of the snapshot; else it may come from anywhere,
        and a new piece of trajectory begins.
        """
        self.reset()
        self._map.load_state_dict(state["map"])
        self._noise.load_state_dict(state["noise"])
        for name in _SAVED:
            setattr(self, f"_{name}", _copy(state[name]))
        if not resume:
            self._break_off()

    # ---- small things ----

    @property
    def _unit(self) -> float:
        """Pixels per pixel of an image 320 px wide."""
        return self._last_gray.shape[1] / 320 if self._last_gray is not None else 1.0

    def _matrix(self, intrinsics: Floats) -> Floats:
        """Return the intrinsics with the focal length corrected."""
        matrix = intrinsics.copy()
        matrix[0, 0] *= np.exp(self._log_focal)
        matrix[1, 1] *= np.exp(self._log_focal)
        return matrix

    def _view(
        self,
        gray: NDArray[np.uint8],
        intrinsics: Floats,
        depth: NDArray[Any] | None,
        prior: Floats | None,
        stamp_s: float,
        depth_kind: str,
    ) -> _View:
        """Check an image and make it small enough. Raises ValueError for what is none."""
        if gray.ndim != 2 or gray.dtype != np.uint8 or min(gray.shape) < 32:
            raise ValueError(f"expected uint8 (H, W), 32 px or more; got {gray.dtype} {gray.shape}")
        matrix = np.asarray(intrinsics, np.float64)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or matrix[0, 0] <= 0:
            raise ValueError(f"expected intrinsics (3, 3) with a focal length; got {intrinsics}")
        shrink = np.ones(2)
        if gray.size > self.config.image_pixels:
            factor = float(np.sqrt(self.config.image_pixels / gray.size))
            size = np.array([gray.shape[1], gray.shape[0]])
            small = np.maximum(np.round(factor * size), 1).astype(int)
            shape = (int(small[0]), int(small[1]))
            gray = np.asarray(cv2.resize(gray, shape, interpolation=cv2.INTER_AREA), np.uint8)
            shrink = small / size
            matrix = np.diag([*shrink, 1.0]) @ matrix
            matrix[:2, 2] += (shrink - 1) / 2
        usable = depth is not None and depth.ndim == 2
        sensor = usable and depth_kind == "sensor"
        return _View(
            np.ascontiguousarray(gray),
            matrix,
            shrink,
            depth if usable else None,
            sensor,
            _usable_prior(prior),
            stamp_s,
        )

    def _answer(self, view: _View, fit: PoseFit, keyframe: bool) -> TrackedFrame:
        rows = self._map.rows(self._ids)
        points = self._map.points[rows]
        distance = np.linalg.norm(transform(self._pose, points), axis=1)
        newest = self._map.keyframes[-1]
        parallax = self._map.parallax[rows]
        state, reason = TRACKING, ""
        if self._young:
            state, reason = DEGRADED, "the structure is not decided yet"
        elif np.median(parallax) < LEAST_PARALLAX:
            state, reason = DEGRADED, "little parallax"
        matrix = self._matrix(view.intrinsics)
        matrix[:2] /= view.shrink[:, None]
        matrix[:2, 2] += (1 / view.shrink - 1) / 2
        return TrackedFrame(
            self._frame - 1,
            view.stamp_s,
            self._pose.copy(),
            fit.covariance + self._window_covariance,
            state,
            reason,
            keyframe,
            newest.index,
            compose(self._pose, inverse(newest.camera_from_world)),
            self._submap,
            (self._pixels + 0.5) / view.shrink - 0.5,
            self._ids.copy(),
            points,
            parallax,
            self._map.std[rows] / np.maximum(distance, 1e-12),
            matrix,
            newest.depth_scale,
            int((fit.errors_px < INLIER_PX * self._unit).sum()),
        )


def _usable_prior(prior: Any) -> Floats | None:
    """Return a pose (3, 4) of the network, None where it is none."""
    try:
        pose = np.asarray(prior, np.float64)
    except (TypeError, ValueError):
        return None
    return pose if pose.shape == (3, 4) and np.isfinite(pose).all() else None


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray | list) else value


def _choice(hypotheses: list[Hypothesis], switch: float) -> Hypothesis | None:
    """Return the structure to go on with: the present one unless another is clearly better."""
    present = next((h for h in hypotheses if h.name == CURRENT and h.usable), None)
    if not hypotheses or not hypotheses[0].usable:
        return next((h for h in hypotheses if h.name == CURRENT), None)
    best = hypotheses[0]
    if present is not None and best.result.pixel_cost > switch * present.result.pixel_cost:
        return present
    return best
