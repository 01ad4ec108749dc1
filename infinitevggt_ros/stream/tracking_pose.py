# SPDX-License-Identifier: Apache-2.0
"""Pose source that tracks the camera's images (docs/tracking.md)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infinitevggt_core import Prediction
from infinitevggt_core.io.plain_state import with_arrays, with_tensors
from infinitevggt_core.tracking import (
    CameraView,
    KeyframeListener,
    LocatedPose,
    LocatedView,
    TrackedStream,
    TrackingConfig,
)
from infinitevggt_core.tracking.similarity import Similarity3
from infinitevggt_ros.input.mailbox import Received
from infinitevggt_ros.input.network_image import NetworkImage
from infinitevggt_ros.map_axes import inverted
from infinitevggt_ros.stream.pose_source import (
    EarlyPose,
    PoseEstimate,
    PoseReference,
    predicted_depth,
)


@dataclass(frozen=True, slots=True, eq=False)
class TrackedImage:
    """Image and the points tracked in it. Lengths are in the stream's unit."""

    gray: NDArray[np.uint8]
    """(H, W), rectified."""
    intrinsics: NDArray[np.float64]
    """(3, 3), px of `gray`."""
    pixels: NDArray[np.float64]
    """(N, 2), points in `gray`, (0, 0) in the middle of the first pixel."""
    depths: NDArray[np.float64]
    """(N,), along the optical axis."""
    parallax: NDArray[np.float64]
    """(N,), rad."""
    depth_scale: float
    """Units per unit of the network's depth."""


class TrackingPose:
    """Poses by tracking and loop closure; the network gives dense depth and a prior."""

    def __init__(
        self,
        config: TrackingConfig,
        *,
        background: bool,
        localization_only: bool = False,
        listener: KeyframeListener | None = None,
    ) -> None:
        """background: adjust and close loops in threads; else at once, which is repeatable.
        listener: told of each keyframe."""
        self._tracked = TrackedStream(
            config,
            background=background,
            localization_only=localization_only,
            listener=listener,
        )
        self._background = background
        self._changes = 0
        self._is_metric: bool | None = None
        self._followed: Received | None = None
        self.latest: TrackedImage | None = None
        """Image of the latest `locate`."""

    def follow(self, received: Received, image: NetworkImage) -> EarlyPose | None:
        self._followed = None
        # adjustments at once change the pose of a keyframe after it is found
        if image.intrinsics is None or not self._background:
            return None
        intrinsics = image.pixel_map.camera_intrinsics(image.intrinsics.double().numpy())
        located = self._tracked.follow(image.gray, intrinsics, stamp_s=received.stamp_ns / 1e9)
        self._followed = received
        return None if located is None else EarlyPose(**_pose_values(located))

    def locate(
        self,
        received: Received,
        image: NetworkImage,
        prediction: Prediction,
        depth_m: NDArray[np.float32] | None = None,
    ) -> PoseEstimate:
        if self._is_metric is None:  # the first image of a map decides about its unit
            self._is_metric = depth_m is not None
        pixel_map = image.pixel_map
        view = CameraView(
            gray=image.gray,
            intrinsics=self._camera_intrinsics(image, prediction),
            depth=predicted_depth(prediction),
            depth_from_gray=pixel_map.model_intrinsics(np.eye(3)),
            prior=prediction.camera_from_world[0].double().cpu().numpy(),
            stamp_s=received.stamp_ns / 1e9,
            sensor_depth_m=depth_m if self._is_metric else None,
        )
        is_followed = self._followed is received
        self._followed = None
        located = self._tracked.complete(view) if is_followed else self._tracked.locate(view)
        frame = located.frame
        self.latest = TrackedImage(
            gray=image.gray,
            intrinsics=located.intrinsics,
            pixels=frame.pixels,
            depths=frame.depths * located.unit,
            parallax=frame.parallax,
            depth_scale=frame.depth_scale * located.unit,
        )
        reference = None
        if frame.reference >= 0:
            reference = PoseReference(frame.reference, frame.camera_from_reference, located.unit)
        return PoseEstimate(
            **_pose_values(located),
            depth=located.depth,
            intrinsics=pixel_map.model_intrinsics(located.intrinsics),
            reference=reference,
            points=_points_in_world(located),
            is_keyframe=frame.keyframe,
            keyframes=self._moved(located.changes),
        )

    def reset(self) -> None:
        self._tracked.reset()
        self._changes, self._followed, self._is_metric, self.latest = 0, None, None, None

    def set_localization_only(self, localization_only: bool) -> None:
        self._tracked.set_localization_only(localization_only)

    def relocalise(self) -> None:
        self._tracked.relocalise()

    def close(self) -> None:
        self._tracked.close()

    def keyframes(self) -> dict[int, Similarity3]:
        return self._tracked.map_from_keyframes()

    def corrections(self) -> dict[int, Similarity3]:
        return self._moved(self._tracked.changes)

    def loops(self) -> list[tuple[int, int]]:
        return self._tracked.loops()

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = with_tensors(self._tracked.state_dict())
        return {**state, "seen_changes": self._changes, "is_metric": self._is_metric}

    def load_state_dict(self, state: dict[str, Any], *, resume: bool) -> None:
        self._tracked.load_state_dict(with_arrays(state), resume=resume)
        self._changes, self._is_metric = int(state["seen_changes"]), state["is_metric"]

    def _moved(self, changes: int) -> dict[int, Similarity3]:
        """Return the keyframes if the map was corrected since the last answer."""
        if changes == self._changes:
            return {}
        self._changes = changes
        return self.keyframes()

    def _camera_intrinsics(
        self, image: NetworkImage, prediction: Prediction
    ) -> NDArray[np.float64]:
        """Return the calibration of the camera's image, or the network's guess."""
        matrix = image.intrinsics
        if matrix is None:
            matrix = prediction.intrinsics[0].cpu()
        return image.pixel_map.camera_intrinsics(matrix.double().numpy())


def _points_in_world(located: LocatedView) -> NDArray[np.float64]:
    """Return the tracked points (N, 3) in the corrected world."""
    odom, world = located.frame.camera_from_world, located.camera_from_map
    seen = located.unit * (located.frame.points @ odom[:, :3].T + odom[:, 3])
    return np.asarray((seen - world[:, 3]) @ world[:, :3])


def _pose_values(located: LocatedPose) -> dict[str, Any]:
    """Return the fields of an EarlyPose."""
    return {
        "camera_from_world": located.camera_from_map,
        "covariance": located.covariance,
        "state": located.state,
        "reason": located.reason,
        "odom_from_camera": inverted(located.camera_from_odom),
    }
