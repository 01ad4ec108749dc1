# SPDX-License-Identifier: Apache-2.0
"""Pose source of a rig: one camera is tracked, and the transforms of the robot place the others.

The tracked camera makes the only graph of keyframes. Another camera's image gets a keyframe of its
own beside it, so that its part of the map follows loop closures too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infinitevggt_core import Prediction
from infinitevggt_core.io.plain_state import with_arrays, with_tensors
from infinitevggt_core.metric.baseline import predicted_baseline
from infinitevggt_core.metric.scale_estimate import MeasuredLength, ScaleEstimate
from infinitevggt_core.metric.stereo_scale import FEWEST, CalibratedView, stereo_scale
from infinitevggt_core.tracking.rigid import compose, inverse, rotation_angle, rotation_exp
from infinitevggt_core.tracking.similarity import Similarity3, rotation_log
from infinitevggt_core.tracking.tracked_frame import LEAST_PARALLAX, LOST
from infinitevggt_ros.input.mailbox import Received
from infinitevggt_ros.input.network_image import NetworkImage
from infinitevggt_ros.map_axes import inverted
from infinitevggt_ros.output.covariance import UNKNOWN
from infinitevggt_ros.stream.pose_source import (
    EarlyPose,
    PoseEstimate,
    PoseReference,
    predicted_depth,
)
from infinitevggt_ros.stream.tracking_pose import TrackedImage, TrackingPose

TOGETHER_S = 0.02
"""Largest time between images that two cameras took at one pose of the robot."""
STALE_S = 0.5
"""Age of the tracked camera's pose beyond which the others are lost."""
LATE_SHARE = 0.3
"""Standard deviation of a motion that is extrapolated, as a share of it."""
Array = NDArray[np.float64]
Between = Callable[[str, str], Array | None]
"""Returns the pose (4, 4) of the second frame in the first, metres; None if unknown."""


@dataclass(frozen=True, slots=True, eq=False)
class _Tracked:
    """Latest image of the tracked camera."""

    stamp_ns: int
    frame_id: str
    image: TrackedImage
    estimate: PoseEstimate
    prediction: Prediction
    """Output of the network for this image, [1, ...]."""
    step: Array
    """(3, 4), now from the image before, in the stream's unit."""
    step_s: float
    """Duration of `step`; 0 if there is none."""


class RigPose:
    """Poses of several cameras in one world."""

    def __init__(self, tracking: TrackingPose, cameras: Sequence[str], between: Between) -> None:
        """tracking: poses of the first camera. between: transforms of the robot."""
        self._tracking, self._between = tracking, between
        self._camera, *self._others = cameras
        self._clear()

    def _clear(self) -> None:
        self._last: _Tracked | None = None
        # metres per unit, by the tracked points and, where the views do not overlap, by the network
        self._by_points, self._by_network = ScaleEstimate(needed=1), ScaleEstimate(needed=1)
        self._beside: dict[int, tuple[int, Similarity3]] = {}  # keyframe_from_camera, by number
        self._wanted: set[str] = set()  # cameras without a keyframe beside the latest one

    def follow(self, received: Received, image: NetworkImage) -> EarlyPose | None:
        if received.camera.name != self._camera:
            return None
        return self._tracking.follow(received, image)

    def locate(
        self,
        received: Received,
        image: NetworkImage,
        prediction: Prediction,
        depth_m: NDArray[np.float32] | None = None,
    ) -> PoseEstimate:
        if received.camera.name == self._camera:
            return self._locate_tracked(received, image, prediction, depth_m)
        last, age_s = self._last, np.inf
        if last is not None and last.estimate.state != LOST:
            age_s = abs(received.stamp_ns - last.stamp_ns) / 1e9
        if last is None or age_s > STALE_S:
            return self._lost(prediction, f"no pose of the camera {self._camera} at this time")
        return self._locate_beside(last, received, image, prediction)

    def _locate_tracked(
        self,
        received: Received,
        image: NetworkImage,
        prediction: Prediction,
        depth_m: NDArray[np.float32] | None,
    ) -> PoseEstimate:
        estimate = self._tracking.locate(received, image, prediction, depth_m)
        step, step_s = np.eye(3, 4), 0.0
        if self._last is not None and not estimate.keyframes:
            step = compose(
                estimate.camera_from_world, inverse(self._last.estimate.camera_from_world)
            )
            step_s = (received.stamp_ns - self._last.stamp_ns) / 1e9
        assert self._tracking.latest is not None
        self._last = _Tracked(
            received.stamp_ns,
            received.header.frame_id,
            self._tracking.latest,
            estimate,
            prediction,
            step,
            step_s,
        )
        if estimate.is_keyframe:
            self._wanted = set(self._others)
        if not estimate.keyframes:
            return estimate
        return replace(estimate, keyframes=self._with_others(estimate.keyframes))

    def _locate_beside(
        self, last: _Tracked, received: Received, image: NetworkImage, prediction: Prediction
    ) -> PoseEstimate:
        late_s, base = (received.stamp_ns - last.stamp_ns) / 1e9, last.estimate
        is_together = abs(late_s) <= TOGETHER_S
        frames = received.header.frame_id, last.frame_id
        known = self._between(*frames)
        baseline, missing = None, ""
        if known is None:
            missing = f"no transform between {' and '.join(frames)}: the network places the camera"
        if known is not None and is_together:
            baseline = self._measure(last, image, prediction, known[:3])
        moved = np.eye(3, 4)
        if not is_together and last.step_s > 0:
            moved = _fraction(last.step, late_s / last.step_s)
        from_last = compose(self._from_tracked(last, prediction, known), moved)
        late = LATE_SHARE * np.repeat(
            (np.linalg.norm(moved[:, 3]), rotation_angle(moved[:, :3])), 3
        )
        reference, is_keyframe = self._reference(base.reference, received.camera.name, from_last)
        odom = base.odom_from_camera
        return PoseEstimate(
            camera_from_world=compose(from_last, base.camera_from_world),
            covariance=base.covariance + np.diag(late**2),
            state=base.state,
            reason="; ".join(filter(None, (missing, base.reason))),
            odom_from_camera=None if odom is None else odom @ inverted(from_last),
            depth=predicted_depth(prediction) * np.float32(last.image.depth_scale),
            reference=reference,
            points=base.points,
            is_keyframe=is_keyframe,
            baseline=baseline,
        )

    def _from_tracked(self, last: _Tracked, prediction: Prediction, known: Array | None) -> Array:
        """Return the pose (3, 4) of the tracked camera in this one, in the stream's unit.

        known: the same by the robot's transforms, metres; None: the network says it.
        """
        poses = (
            found.camera_from_world[0].double().cpu().numpy()
            for found in (prediction, last.prediction)
        )
        here, there = poses
        by_network = compose(here, inverse(there))
        by_network[:, 3] *= last.image.depth_scale
        if known is None:
            return by_network
        scale = self._by_points if self._by_points.is_known else self._by_network
        placed = known[:3].copy()
        if scale.is_known:
            placed[:, 3] /= scale.factor
        elif length := float(np.linalg.norm(placed[:, 3])):
            placed[:, 3] *= float(np.linalg.norm(by_network[:, 3])) / length
        return placed

    def _measure(
        self, last: _Tracked, image: NetworkImage, prediction: Prediction, known: Array
    ) -> MeasuredLength | None:
        """Measure the distance of the cameras in both units, by the tracked points or, where the
        views do not overlap, by the network; and keep it.

        known: (3, 4), pose of the tracked camera in this one, metres.
        """
        metres, tracked = float(np.linalg.norm(known[:, 3])), last.image
        if metres == 0:
            return None
        good, found = tracked.parallax > LEAST_PARALLAX, None
        if image.intrinsics is not None:
            if good.sum() < FEWEST:
                return None  # too early
            matrix = image.pixel_map.camera_intrinsics(image.intrinsics.double().numpy())
            found = stereo_scale(
                CalibratedView(tracked.gray, tracked.intrinsics),
                CalibratedView(image.gray, matrix),
                known,
                tracked.pixels[good],
                tracked.depths[good],
            )
        if found is not None:
            length = MeasuredLength(metres, metres / found[0], found[1])
            self._by_points.add(length.metres, length.units, length.relative_std)
            return length
        units, relative_std = predicted_baseline(last.prediction, prediction, known[:, :3].T)
        length = MeasuredLength(metres, units * tracked.depth_scale, relative_std)
        self._by_network.add(length.metres, length.units, length.relative_std)
        return None if self._by_points.is_known else length

    def _reference(
        self, tracked: PoseReference | None, camera: str, from_tracked: Array
    ) -> tuple[PoseReference | None, bool]:
        """Return what the image of another camera hangs on, and True if that is a new keyframe.

        from_tracked: (3, 4), the pose of the tracked camera in this one, in the stream's unit.
        """
        if tracked is None:
            return None, False
        shift = from_tracked.copy()
        shift[:, 3] /= tracked.unit
        from_keyframe = compose(shift, tracked.camera_from_keyframe)
        if camera not in self._wanted:
            return PoseReference(tracked.keyframe, from_keyframe, tracked.unit), False
        self._wanted.discard(camera)
        # negative: apart from those of the tracker
        slot = self._others.index(camera)
        number = -1 - (tracked.keyframe * len(self._others) + slot)
        self._beside[number] = (tracked.keyframe, Similarity3.from_rigid(inverse(from_keyframe)))
        return PoseReference(number, np.eye(3, 4), tracked.unit), True

    def _with_others(self, poses: dict[int, Similarity3]) -> dict[int, Similarity3]:
        """Return the poses with those of the keyframes beside them; forget what was pruned."""
        self._beside = {
            number: (keyframe, relative)
            for number, (keyframe, relative) in self._beside.items()
            if keyframe in poses
        }
        beside = {
            number: poses[keyframe] @ relative
            for number, (keyframe, relative) in self._beside.items()
        }
        return {**poses, **beside}

    def _lost(self, prediction: Prediction, reason: str) -> PoseEstimate:
        last = self._last
        return PoseEstimate(
            camera_from_world=np.eye(3, 4) if last is None else last.estimate.camera_from_world,
            covariance=np.eye(6) * UNKNOWN,
            state=LOST,
            reason=reason,
            depth=predicted_depth(prediction),
        )

    def reset(self) -> None:
        self._tracking.reset()
        self._clear()

    def set_localization_only(self, localization_only: bool) -> None:
        self._tracking.set_localization_only(localization_only)

    def relocalise(self) -> None:
        self._tracking.relocalise()
        self._last = None

    def close(self) -> None:
        self._tracking.close()

    def keyframes(self) -> dict[int, Similarity3]:
        return self._with_others(self._tracking.keyframes())

    def corrections(self) -> dict[int, Similarity3]:
        moved = self._tracking.corrections()
        return self._with_others(moved) if moved else {}

    def loops(self) -> list[tuple[int, int]]:
        return self._tracking.loops()

    def state_dict(self) -> dict[str, Any]:
        numbers = list(self._beside)
        relatives = [relative for _, relative in self._beside.values()]
        return {
            "tracking": self._tracking.state_dict(),
            "by_points": self._by_points.state(),
            "by_network": self._by_network.state(),
            "beside": {
                "numbers": numbers,
                "keyframes": [self._beside[number][0] for number in numbers],
                "relatives": with_tensors(Similarity3.stack(relatives).state_dict()),
            },
        }

    def load_state_dict(self, state: dict[str, Any], *, resume: bool) -> None:
        self._tracking.load_state_dict(state["tracking"], resume=resume)
        self._clear()
        self._by_points.restore(state["by_points"])
        self._by_network.restore(state["by_network"])
        beside = state["beside"]
        relatives = Similarity3.from_state(with_arrays(beside["relatives"]))
        self._beside = {
            int(number): (int(keyframe), relatives[row])
            for row, (number, keyframe) in enumerate(
                zip(beside["numbers"], beside["keyframes"], strict=True)
            )
        }


def _fraction(motion: Array, share: float) -> Array:
    """Return a share of a motion (3, 4), at most twice of it."""
    share = float(np.clip(share, -2, 2))
    turn = rotation_exp(share * rotation_log(motion[:, :3]))
    return np.column_stack((turn, share * motion[:, 3]))
