# SPDX-License-Identifier: Apache-2.0
"""Poses of a moving camera from its images: corners, optical flow, bundle adjustment."""

import logging
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.tracking.camera_image import CameraImage
from infinitevggt_core.tracking.config import TrackingConfig
from infinitevggt_core.tracking.depth_noise import DepthNoise
from infinitevggt_core.tracking.focal_length import FocalLength
from infinitevggt_core.tracking.frontend import Frontend
from infinitevggt_core.tracking.initialisation import CURRENT, choose, completed, initialise
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
    LEAST_PARALLAX,
    LOST,
    NETWORK,
    TRACKING,
    TrackedFrame,
    TrackedPose,
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
LEAST_ALIVE = 0.7
"""Share of a keyframe's tracks below which the next one is made."""
YOUNG_KEYFRAMES = 10
"""Keyframes after which the first structure counts as decided, where there is parallax."""
MOST_YOUNG = 12
"""Keyframes after which the first structure counts as decided in any case."""
FREE_KEYFRAMES, WHOLE_EVERY = 12, 4
"""Keyframes that most adjustments move, and keyframes from one adjustment of the whole window to
the next."""
CHECK_EVERY = 10
"""Keyframes between two looks whether another structure explains the window better."""
SWITCH_YOUNG, SWITCH_MATURE = 0.98, 0.8
"""Share of the present structure's cost below which another takes its place."""
FEWEST_AGAIN = 4
"""Points of one keyframe that are worth looking for again."""
LOST_VARIANCE = 1e6
_SAVED = (
    "frame",
    "submap",
    "keyframe_count",
    "next_id",
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
class _Followed:
    """Part of an image's answer that needs no depth."""

    image: CameraImage | None
    """None for bad input."""
    stamp_s: float
    fit: PoseFit | None
    """None where the images do not determine a pose, and for the first image of a map."""
    reason: str = ""
    """Reason why there is no pose; empty otherwise."""


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
        self._background = background
        self._worker: Worker[_Adjusted] = Worker(background)
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next image starts a new world."""
        self._worker.discard()
        self._frame = self._submap = self._keyframe_count = 0
        self._next_id = 0
        self._focal = FocalLength(is_known=self.config.focal == "known")
        self._followed: _Followed | None = None
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

    def finish(self) -> None:
        """End the trajectory: its keyframes leave the window, the next image starts another."""
        self._take_adjustment(wait=True)
        self._break_off()

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
        """Return the pose of the next image: `follow`, then `complete`."""
        self.follow(gray, intrinsics, stamp_s=stamp_s)
        return self.complete(depth, prior, depth_kind=depth_kind)

    def follow(
        self, gray: NDArray[np.uint8], intrinsics: Floats, *, stamp_s: float = 0.0
    ) -> TrackedPose | None:
        """Return the pose of the next image before its depth is known.

        None where the images do not determine one; `complete` gives the reason. An image that is
        never completed costs nothing.

        Args:
            gray: (H, W) uint8 without distortion.
            intrinsics: (3, 3), pixels of `gray`.
            stamp_s: Stamp of the image.
        """
        self._frame += 1
        self._followed = None
        image: CameraImage | None = None
        try:
            image = CameraImage.of(gray, intrinsics, stamp_s, self.config.image_pixels)
            self._take_adjustment()
            fit, reason = self._locate(image), ""
        except ERRORS as error:
            logger.debug("image %d: %s", self._frame - 1, error, exc_info=True)
            fit, reason = None, f"{type(error).__name__}: {error}"
        self._followed = _Followed(image, stamp_s, fit, reason)
        return None if fit is None else self._pose_answer(self._followed, fit)

    def complete(
        self,
        depth: NDArray[Any] | None = None,
        prior: Floats | None = None,
        *,
        depth_kind: str = "network",
    ) -> TrackedFrame:
        """Return the answer to the image that was followed, with its depth. Never raises for input.

        Args:
            depth: (h, w), the same view at any resolution, 0 or NaN where unknown.
            prior: camera_from_world (3, 4) of the network, in a world of its own; its motion is
                used where the images do not determine the pose.
            depth_kind: "network", or "sensor" for metres from a depth camera.
        """
        followed, self._followed = self._followed, None
        if followed is None:
            raise RuntimeError("there is no image: call follow before complete")
        prior = _usable_prior(prior)
        if followed.image is None or followed.reason:
            return self._miss(followed, prior, followed.reason)
        if depth is None or depth.ndim != 2:
            depth = None
        try:
            sensor = depth is not None and depth_kind == "sensor"
            return self._completed(followed, followed.image, depth, sensor, prior)
        except ERRORS as error:
            logger.debug("image %d: %s", self._frame - 1, error, exc_info=True)
            return self._miss(followed, prior, f"{type(error).__name__}: {error}")

    def _locate(self, image: CameraImage) -> PoseFit | None:
        """Follow the tracks into an image and take over the pose that they give."""
        if self._last_gray is not None and self._last_gray.shape != image.gray.shape:
            self._break_off()
        if self._last_gray is None:
            return None
        pixels = self._track(image)
        alive = np.isfinite(pixels[:, 0])
        ids, pixels = self._ids[alive], pixels[alive]
        fit = self._fit(ids, pixels, self._focal.corrected(image.intrinsics))
        if fit is not None:
            self._accept(image, ids, pixels, fit)
        return fit

    def _completed(
        self,
        followed: _Followed,
        image: CameraImage,
        depth: NDArray[Any] | None,
        sensor: bool,
        prior: Floats | None,
    ) -> TrackedFrame:
        fit = followed.fit
        if self._last_gray is None:
            return self._begin(followed, image, depth, sensor, prior)
        if fit is None:
            return self._miss(followed, prior, "the images do not determine a pose")
        self._prior = prior
        keyframe = self._needs_keyframe(image)
        if keyframe:
            self._add_keyframe(image, depth, sensor)
            self._adjust()
        return self._answer(followed, image, fit, keyframe)

    def _begin(
        self,
        followed: _Followed,
        image: CameraImage,
        depth: NDArray[Any] | None,
        sensor: bool,
        prior: Floats | None,
    ) -> TrackedFrame:
        """Start a map with this image, if it has corners."""
        corners = self._frontend.detect(image.gray, np.empty((0, 2)))
        if len(corners) < FEWEST_CORNERS:
            return self._miss(followed, prior, f"{len(corners)} corners only")
        self._missed = 0
        self._step_prior(prior)
        self._last_gray = image.gray
        self._add_keyframe(image, depth, sensor, corners)
        fit = PoseFit(self._pose, np.zeros(len(corners)), np.zeros((6, 6)))
        return self._answer(followed, image, fit, True)

    def _track(self, image: CameraImage) -> Floats:
        """Return the pixels (N, 2) of the tracks in an image, NaN where lost."""
        assert self._last_gray is not None
        rows = self._map.rows(self._ids)
        matrix = self._focal.corrected(image.intrinsics)
        seen = transform(compose(self._velocity, self._pose), self._map.points[rows])
        depth = np.maximum(seen[:, 2:], 1e-9)
        guess = seen[:, :2] / depth * matrix.diagonal()[:2] + matrix[:2, 2]
        far = np.linalg.norm(guess - self._pixels, axis=1) > 0.2 * image.gray.shape[1]
        far |= seen[:, 2] < 1e-6
        guess[far] = self._pixels[far]
        pixels, _ = self._frontend.track(self._last_gray, image.gray, self._pixels, guess)
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

    def _accept(self, image: CameraImage, ids: Ids, pixels: Floats, fit: PoseFit) -> None:
        """Take over the pose and drop tracks that contradict it."""
        mature = self._map.mature[self._map.rows(ids)]
        keep = (fit.errors_px < CULL_PX * self._unit) | ~mature
        self._velocity = (
            compose(fit.camera_from_world, inverse(self._pose)) if not self._missed else IDENTITY
        )
        self._pose = fit.camera_from_world
        self._ids, self._pixels = ids[keep], pixels[keep]
        self._last_gray = image.gray
        self._missed = 0

    # ---- keyframes ----

    def _needs_keyframe(self, image: CameraImage) -> bool:
        newest = self._map.keyframes[-1]
        _, now, then = np.intersect1d(self._ids, newest.ids, return_indices=True)
        if len(now) < LEAST_ALIVE * len(newest.ids):
            return True
        flow = np.linalg.norm(self._pixels[now] - newest.pixels[then], axis=1)
        return bool(np.median(flow) > self.config.keyframe_flow * image.gray.shape[1])

    def _add_keyframe(
        self,
        image: CameraImage,
        depth: NDArray[Any] | None,
        sensor: bool,
        corners: Floats | None = None,
    ) -> None:
        """Put the image into the window, with new corners where tracks have ended."""
        gray, matrix = image.gray, self._focal.corrected(image.intrinsics)
        if corners is None:
            self._find_again(gray, matrix)
            corners = self._frontend.detect(gray, self._pixels)
        log_live = log_depth_at(depth, self._pixels, gray.shape)
        log_new = log_depth_at(depth, corners, gray.shape)
        rows = self._map.rows(self._ids)
        live_depth = transform(self._pose, self._map.points[rows])[:, 2]
        mature = self._map.mature[rows] & (live_depth > 0)
        scale = 1.0
        if not sensor:
            ratios = np.log(live_depth[mature]) - log_live[mature]
            scale = self._noise.frame_scale(ratios)
        guess = np.exp(log_new) * scale
        middle = float(np.median(live_depth[mature])) if mature.any() else np.nan
        if not np.isfinite(middle):
            middle = float(np.nanmedian(guess)) if np.isfinite(guess).any() else 1.0
        guess = np.where(np.isfinite(guess), guess, middle)
        ids = np.arange(self._next_id, self._next_id + len(corners))
        self._next_id += len(corners)
        rays = (corners - matrix[:2, 2]) / matrix.diagonal()[:2]
        seen = np.concatenate((rays, np.ones((len(rays), 1))), axis=1) * guess[:, None]
        self._map.add_points(ids, transform(inverse(self._pose), seen))
        self._ids = np.concatenate((self._ids, ids))
        self._pixels = np.concatenate((self._pixels, corners))
        self._map.keyframes.append(
            WindowKeyframe(
                self._keyframe_count,
                self._frame - 1,
                image.stamp_s,
                gray,
                image.intrinsics,
                self._pose.copy(),
                self._ids.copy(),
                self._pixels.copy(),
                self._frontend.whitening(gray, self._pixels),
                np.concatenate((log_live, log_new)),
                sensor,
                scale,
            )
        )
        self._keyframe_count += 1
        if len(self._map.keyframes) > self.config.window:
            self._let_go()
        self._map.prune(self._ids)
        if self.listener is not None:
            self.listener.on_new_keyframe(self._given(self._map.keyframes[-1]))

    def _find_again(self, gray: NDArray[np.uint8], matrix: Floats) -> None:
        """Take up points that were lost before and are in view again."""
        size = np.array([gray.shape[1], gray.shape[0]])
        for keyframe, ids, pixels in self._map.lost(self._ids):
            seen = transform(self._pose, self._map.points[self._map.rows(ids)])
            place = seen[:, :2] / np.maximum(seen[:, 2:], 1e-9) * matrix.diagonal()[:2]
            place += matrix[:2, 2]
            inside = ((place > 0) & (place < size - 1)).all(1) & (seen[:, 2] > 0)
            if inside.sum() < FEWEST_AGAIN:
                continue
            ids, pixels, place = ids[inside], pixels[inside], place[inside]
            now, _ = self._frontend.track(keyframe.gray, gray, pixels, place)
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
            self._focal.corrected(keyframe.intrinsics),
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
            fixed=self._fixed_keyframes(),
            log_focal=self._focal.log,
            focal_sigma=self._focal.sigma(self._keyframe_count, is_decided=not self._young),
        )
        indices = [keyframe.index for keyframe in self._map.keyframes]
        young, check = self._young, self._check_due()

        def job() -> _Adjusted:
            hypotheses = initialise(problem) if young or check else []
            chosen = choose(hypotheses, SWITCH_YOUNG if young else SWITCH_MATURE)
            if chosen is not None and (young or chosen.name != CURRENT):
                result = completed(problem, chosen)
            else:
                result = adjust(problem)
            name = chosen.name if chosen is not None else CURRENT
            return _Adjusted(indices, ids, problem, result, name)

        self._worker.submit(job)
        if not self._background:  # in a thread, the pose that `follow` gave stays the image's
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
        self._focal.update(done.result.log_focal, self._keyframe_count, is_decided=not self._young)
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

    def _fixed_keyframes(self) -> int:
        """Return how many of the oldest keyframes an adjustment does not move."""
        if self._young:
            return 1
        is_whole = self._keyframe_count % WHOLE_EVERY == 0 or self._check_due()
        return 2 if is_whole else max(2, len(self._map.keyframes) - FREE_KEYFRAMES)

    def _check_due(self) -> bool:
        """Return whether a mature window is to be compared with other structures."""
        return not self._young and self._keyframe_count % CHECK_EVERY == 0

    def _decided(self, done: _Adjusted) -> bool:
        """Return whether the first structure is settled."""
        count = len(done.indices)
        parallax = float(np.median(done.result.parallax)) if len(done.result.parallax) else 0.0
        enough = count >= YOUNG_KEYFRAMES and parallax > LEAST_PARALLAX
        return enough or count >= min(MOST_YOUNG, self.config.window)

    def window_poses(self) -> dict[int, Floats]:
        """Return the poses (3, 4) of the keyframes in the window by their numbers."""
        return {k.index: k.camera_from_world.copy() for k in self._map.keyframes}

    # ---- lost ----

    def _miss(self, followed: _Followed, prior: Floats | None, reason: str) -> TrackedFrame:
        """Answer where no pose was found; break off when that lasts."""
        self._missed += 1
        known = self._step_prior(prior)
        if self._missed >= self.config.patience and self._last_gray is not None:
            self._break_off()
        image = followed.image
        return TrackedFrame(
            frame=self._frame - 1,
            stamp_s=followed.stamp_s,
            camera_from_world=self._pose.copy(),
            covariance=LOST_VARIANCE * np.eye(6),
            state=NETWORK if known else LOST,
            reason=reason,
            reference=-1,
            camera_from_reference=self._pose.copy(),
            submap=self._submap,
            keyframe=False,
            pixels=np.empty((0, 2)),
            ids=np.empty(0, np.int64),
            points=np.empty((0, 3)),
            parallax=np.empty(0),
            relative_std=np.empty(0),
            intrinsics=np.eye(3) if image is None else image.camera_matrix(image.intrinsics),
            depth_scale=1.0,
            inliers=0,
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
            "focal": self._focal.state_dict(),
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
        self._focal.load_state_dict(state["focal"])
        for name in _SAVED:
            setattr(self, f"_{name}", _copy(state[name]))
        if not resume:
            self._break_off()

    # ---- small things ----

    @property
    def _unit(self) -> float:
        """Pixels per pixel of an image 320 px wide."""
        return self._last_gray.shape[1] / 320 if self._last_gray is not None else 1.0

    def _pose_answer(self, followed: _Followed, fit: PoseFit) -> TrackedPose:
        """Return the pose of an image as it is now."""
        newest = self._map.keyframes[-1]
        state, reason = TRACKING, ""
        if self._young:
            state, reason = DEGRADED, "the structure is not decided yet"
        elif np.median(self._map.parallax[self._map.rows(self._ids)]) < LEAST_PARALLAX:
            state, reason = DEGRADED, "little parallax"
        return TrackedPose(
            frame=self._frame - 1,
            stamp_s=followed.stamp_s,
            camera_from_world=self._pose.copy(),
            covariance=fit.covariance + self._window_covariance,
            state=state,
            reason=reason,
            reference=newest.index,
            camera_from_reference=compose(self._pose, inverse(newest.camera_from_world)),
            submap=self._submap,
        )

    def _answer(
        self, followed: _Followed, image: CameraImage, fit: PoseFit, keyframe: bool
    ) -> TrackedFrame:
        pose = self._pose_answer(followed, fit)
        rows = self._map.rows(self._ids)
        points = self._map.points[rows]
        distance = np.linalg.norm(transform(self._pose, points), axis=1)
        return TrackedFrame(
            **{name: getattr(pose, name) for name in TrackedPose.__slots__},
            keyframe=keyframe,
            pixels=image.camera_pixels(self._pixels),
            ids=self._ids.copy(),
            points=points,
            parallax=self._map.parallax[rows],
            relative_std=self._map.std[rows] / np.maximum(distance, 1e-12),
            intrinsics=image.camera_matrix(self._focal.corrected(image.intrinsics)),
            depth_scale=self._map.keyframes[-1].depth_scale,
            inliers=int((fit.errors_px < INLIER_PX * self._unit).sum()),
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
