# SPDX-License-Identifier: Apache-2.0
"""Pose and depth of a stream: tracking beside the network (docs/tracking.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.tracking.config import TrackingConfig
from infinitevggt_core.tracking.depth_corrector import CorrectedDepth, DepthCorrector
from infinitevggt_core.tracking.listeners import KeyframeListeners
from infinitevggt_core.tracking.mapper import MappedFrame, Mapper
from infinitevggt_core.tracking.rigid import Floats, inverse
from infinitevggt_core.tracking.sensor_depth import SensorDepth
from infinitevggt_core.tracking.similarity import Similarity3
from infinitevggt_core.tracking.tracked_frame import (
    LOST,
    NETWORK,
    TrackedFrame,
    TrackedPose,
)
from infinitevggt_core.tracking.tracker import KeyframeListener, Tracker

Floats32 = NDArray[np.float32]
DRIFT = 0.01
"""Standard deviation of the position that a unit of trajectory adds until the next loop closure."""
ROTATION_DRIFT = 0.005
"""Standard deviation of the rotation (rad) that a unit of trajectory adds until then."""
UNKNOWN_VARIANCE = 1e6
SMALLEST_VARIANCE = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class CameraView:
    """One image of the camera, with the network's prediction for it."""

    gray: NDArray[np.uint8]
    """(H, W), at the camera's own resolution, without distortion."""
    intrinsics: Floats
    """(3, 3), px of `gray`."""
    depth: Floats32
    """(h, w), the network's depth in its own unit."""
    depth_from_gray: Floats
    """(3, 3), pixels of `gray` to pixels of `depth`."""
    prior: Floats | None = None
    """(3, 4), camera_from_world of the network, in its own world."""
    stamp_s: float = 0.0
    sensor_depth_m: Floats32 | None = None
    """Depth of a depth camera in metres, registered to `gray`, of any resolution; 0 or NaN where
    it is unknown."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LocatedPose:
    """Pose of one image. Lengths are in the unit of the map."""

    camera_from_map: Floats
    """(3, 4). Loop closures correct it, so that it may jump."""
    camera_from_odom: Floats
    """(3, 4). It does not jump at loop closures."""
    covariance: Floats
    """(6, 6) of the camera's pose in the map: position, then rotation about the map's axes."""
    state: str
    """tracking, degraded, network or lost, as in TrackedFrame."""
    reason: str
    """Reason why the state is not `tracking`; empty otherwise."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LocatedView(LocatedPose):
    """Pose and depth of one image. Lengths are in the unit of the map."""

    frame: TrackedFrame
    depth: Floats32
    """(h, w), corrected by the tracked points."""
    is_corrected: bool
    """True if a field corrected the depth, False if one scale did."""
    intrinsics: Floats
    """(3, 3), px of `gray`, with the focal length corrected if it is refined."""
    unit: float
    """Units of the map per unit of the tracker."""
    changes: int
    """Number of corrections of the map so far: when it grows, keyframes have moved."""


class TrackedStream:
    """Tracker, map of keyframes and depth correction of one camera."""

    def __init__(
        self,
        config: TrackingConfig | None = None,
        *,
        background: bool = True,
        localization_only: bool = False,
        listener: KeyframeListener | None = None,
    ) -> None:
        """Start an empty map.

        Args:
            config: Settings of the tracking.
            background: Run bundle adjustment and loop closure in threads; else at once, which makes
                the results repeatable.
            localization_only: Find the camera in a loaded map and leave that map as it is.
            listener: Told what the map is told, after it.
        """
        self.config = config or TrackingConfig()
        self.mapper = Mapper(self.config.places, background=background, read_only=localization_only)
        told = self.mapper if listener is None else KeyframeListeners(self.mapper, listener)
        self.tracker = Tracker(self.config, background=background, listener=told)
        self._clear()

    def _clear(self) -> None:
        self._corrector = DepthCorrector()
        self._position: Floats | None = None
        self._changes = 0
        self._since_loop = 0.0  # length of the trajectory, unit of the map
        self._early: MappedFrame | None = None  # of the image that is followed

    def reset(self) -> None:
        """Start an empty map with the next image."""
        self.tracker.reset()
        self.mapper.reset()
        self._clear()

    def set_localization_only(self, localization_only: bool) -> None:
        """Leave the map as it is from now on, or let it grow again."""
        self.mapper.set_read_only(localization_only)

    def relocalise(self) -> None:
        """Expect the next image anywhere in the map: a new piece of trajectory begins."""
        self.tracker.load_state_dict(self.tracker.state_dict(), resume=False)

    def close(self) -> None:
        """Stop the threads."""
        self.tracker.close()
        self.mapper.close()

    def follow(
        self, gray: NDArray[np.uint8], intrinsics: Floats, *, stamp_s: float = 0.0
    ) -> LocatedPose | None:
        """Return the pose of the next image before the network has seen it.

        None where the images do not determine it. `complete` gives the same pose with the depth.

        Args:
            gray: (H, W), at the camera's own resolution, without distortion.
            intrinsics: (3, 3), px of `gray`.
            stamp_s: Stamp of the image.
        """
        pose = self.tracker.follow(gray, intrinsics, stamp_s=stamp_s)
        if pose is None:
            self._early = None
            return None
        self._early = self._placed(pose)
        return self._located(pose, self._early)

    def complete(self, view: CameraView) -> LocatedView:
        """Return pose and depth of the image that was followed. Bad input costs this image alone.

        Raises RuntimeError where no image was followed.
        """
        sensor = view.sensor_depth_m
        frame = self.tracker.complete(
            view.depth if sensor is None else sensor,
            view.prior,
            depth_kind="network" if sensor is None else "sensor",
        )
        early, self._early = self._early, None
        mapped = self._placed(frame) if early is None else early
        pose = self._located(frame, mapped)
        corrected = self._correct(view, frame)
        depth = corrected.depth * np.float32(mapped.unit)
        if sensor is not None:
            depth = SensorDepth.of(sensor, depth.shape[0], depth.shape[1]).over(depth)
        return LocatedView(
            **{name: getattr(pose, name) for name in LocatedPose.__slots__},
            frame=frame,
            depth=depth,
            is_corrected=corrected.is_open,
            intrinsics=frame.intrinsics if frame.reference >= 0 else view.intrinsics,
            unit=mapped.unit,
            changes=mapped.version,
        )

    def locate(self, view: CameraView) -> LocatedView:
        """Return pose and depth of the next image. Bad input costs this image alone."""
        self.tracker.follow(view.gray, view.intrinsics, stamp_s=view.stamp_s)
        self._early = None  # a keyframe is placed after its adjustment
        return self.complete(view)

    def _placed(self, pose: TrackedPose) -> MappedFrame:
        mapped = self.mapper.place(pose)
        self._measure_path(mapped)
        return mapped

    def _located(self, pose: TrackedPose, mapped: MappedFrame) -> LocatedPose:
        state, reason = _state(pose, mapped)
        return LocatedPose(
            camera_from_map=mapped.camera_from_map,
            camera_from_odom=mapped.camera_from_odom,
            covariance=self._covariance(pose, mapped, state),
            state=state,
            reason=reason,
        )

    def map_from_keyframes(self) -> dict[int, Similarity3]:
        """Return the corrected poses of all keyframes by their numbers.

        The scale of a pose is the number of units of the map per unit of the tracker then.
        """
        return self.mapper.keyframe_poses()

    @property
    def changes(self) -> int:
        """Number of corrections of the map by all images so far; waits for the map's thread."""
        self.mapper.finish()
        return self.mapper.version

    def loops(self) -> list[tuple[int, int]]:
        """Return the numbers of the two keyframes of each loop that the map agrees with."""
        return [edge.key for edge in self.mapper.loop_edges() if edge.accepted]

    def state_dict(self) -> dict[str, Any]:
        """Return a snapshot of arrays and numbers."""
        return {
            "tracker": self.tracker.state_dict(),
            "mapper": self.mapper.state_dict(),
            "corrector": self._corrector.state_dict(),
            "position": None if self._position is None else self._position.copy(),
            "changes": self._changes,
            "since_loop": self._since_loop,
        }

    def load_state_dict(self, state: Mapping[str, Any], *, resume: bool = True) -> None:
        """Continue from a snapshot. Raises KeyError, TypeError or ValueError if it does not fit.

        resume: the next image follows the last one of the snapshot; else it may come from anywhere
        in the map, and the stream relocalises.
        """
        position, since_loop = state["position"], float(state["since_loop"])
        changes = int(state["changes"])
        localization_only = self.mapper.read_only
        self.mapper.load_state_dict(state["mapper"], resume=resume)
        # after the mapper: without resuming, the keyframes of the window become places of the map
        self.tracker.load_state_dict(state["tracker"], resume=resume)
        self.mapper.set_read_only(localization_only)
        self._corrector.load_state_dict(state["corrector"])
        self._position, self._since_loop = position, since_loop
        self._changes, self._early = changes, None

    def _measure_path(self, mapped: MappedFrame) -> None:
        """Add to the length of the trajectory since the last loop closure."""
        position = inverse(mapped.camera_from_odom)[:, 3]
        if self._position is not None:
            self._since_loop += float(np.linalg.norm(position - self._position))
        if mapped.version != self._changes:
            self._since_loop = 0.0
        self._position, self._changes = position, mapped.version

    def _correct(self, view: CameraView, frame: TrackedFrame) -> CorrectedDepth:
        """Return the network's depth in the unit of the tracker."""
        usable = frame.leads_depth
        matrix = view.depth_from_gray
        pixels = frame.pixels[usable] @ matrix[:2, :2].T + matrix[:2, 2]
        return self._corrector.correct(view.depth, pixels, frame.depths[usable])

    def _covariance(self, pose: TrackedPose, mapped: MappedFrame, state: str) -> Floats:
        """Return the marginal of the window plus the drift since the last loop, in the map."""
        if state in (NETWORK, LOST):
            return UNKNOWN_VARIANCE * np.eye(6)
        rotation = mapped.camera_from_map[:, :3].T
        jacobian = np.zeros((6, 6))
        jacobian[:3, :3], jacobian[3:, 3:] = mapped.unit * rotation, rotation
        covariance = jacobian @ pose.covariance @ jacobian.T
        deviations = np.repeat((DRIFT * self._since_loop, ROTATION_DRIFT * self._since_loop), 3)
        covariance += np.diag(np.square(deviations) + SMALLEST_VARIANCE)
        return np.asarray(covariance)


def _state(pose: TrackedPose, mapped: MappedFrame) -> tuple[str, str]:
    """Return the state of an image in the map and its reason."""
    if mapped.located:
        return pose.state, pose.reason
    return LOST, "the camera is not found again in the map yet"
