# SPDX-License-Identifier: Apache-2.0
"""Source of the camera's pose: the seam between the network's prediction and the stream."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from infinitevggt_core import Prediction
from infinitevggt_core.metric.scale_estimate import MeasuredLength
from infinitevggt_core.tracking.similarity import Similarity3
from infinitevggt_ros.input.mailbox import Received
from infinitevggt_ros.input.network_image import NetworkImage
from infinitevggt_ros.map_axes import inverted
from infinitevggt_ros.output.covariance import Covariance
from infinitevggt_ros.params.settings import OdometrySettings


@dataclass(frozen=True, slots=True, eq=False)
class PoseReference:
    """Keyframe that an image hangs on."""

    keyframe: int
    camera_from_keyframe: NDArray[np.float64]
    """(3, 4), in the unit of the tracker at the time of the image."""
    unit: float
    """Units of the stream per unit of the tracker at the time of the image."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class EarlyPose:
    """Pose of one image in the stream's world: OpenCV axes, the stream's unit."""

    camera_from_world: NDArray[np.float64]
    """(3, 4)."""
    covariance: Covariance
    """(6, 6) of world_from_camera: position, then rotation about the world's axes."""
    state: str
    """Origin of the pose, for ~/status: network, tracking, degraded or lost."""
    reason: str = ""
    """Reason of a state other than `tracking` or `network`."""
    odom_from_camera: NDArray[np.float64] | None = None
    """(4, 4) without the jumps of loop closures; None if the pose has none."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PoseEstimate(EarlyPose):
    """Pose of one image and what the network's prediction adds to it."""

    depth: NDArray[np.float32]
    """(H, W) of the network's image, in the stream's unit."""
    intrinsics: NDArray[np.float64] | None = None
    """(3, 3), px of the network's image; None if the source does not measure them."""
    reference: PoseReference | None = None
    """Keyframe that the image hangs on; None if there is none."""
    points: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 3)))
    """(N, 3), points tracked in the image, in the world."""
    is_keyframe: bool = False
    baseline: MeasuredLength | None = None
    """Distance to another camera of a rig, in metres and in the stream's unit."""
    keyframes: dict[int, Similarity3] = field(default_factory=dict)
    """World_from_keyframe of all keyframes, given with the first image after a correction."""


class PoseSource(Protocol):
    """Gives the pose of each image of a stream's cameras."""

    def follow(self, received: Received, image: NetworkImage) -> EarlyPose | None:
        """Return the pose of an image before the network has seen it; None if it is unknown yet.

        Called before `locate` with the same image, or not at all; `locate` returns the same pose.
        """
        ...

    def locate(
        self,
        received: Received,
        image: NetworkImage,
        prediction: Prediction,
        depth_m: NDArray[np.float32] | None = None,
    ) -> PoseEstimate:
        """Return the pose of an image. Called once for each image, in order.

        received: the camera's message, at its own resolution. image, prediction: the network's
        input and output ([1, ...]) for it. depth_m: (H, W) of a depth camera, m, of any size,
        registered to the rectified image.
        """
        ...

    def reset(self) -> None:
        """Start another map."""
        ...

    def set_localization_only(self, localization_only: bool) -> None:
        """Leave the map as it is from now on, or let it grow again."""
        ...

    def relocalise(self) -> None:
        """Expect the next image anywhere in the map."""
        ...

    def close(self) -> None:
        """Stop the threads of the source."""
        ...

    def keyframes(self) -> dict[int, Similarity3]:
        """Return world_from_keyframe of all keyframes as known now, by their numbers."""
        ...

    def corrections(self) -> dict[int, Similarity3]:
        """Return world_from_keyframe of all keyframes if the map was corrected since an image or
        this method gave them; nothing otherwise."""
        ...

    def loops(self) -> list[tuple[int, int]]:
        """Return the numbers of the two keyframes of each loop closure."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return a snapshot of plain numbers and tensors."""
        ...

    def load_state_dict(self, state: dict[str, Any], *, resume: bool) -> None:
        """Continue from a snapshot. Raises KeyError, TypeError or ValueError if it does not fit.

        resume: the next image follows the last one of the snapshot; else it may come from anywhere.
        """
        ...


class NetworkPose:
    """The network's own pose. Its standard deviation grows with the length of the trajectory."""

    def __init__(self, settings: OdometrySettings) -> None:
        self._settings = settings
        self.reset()

    def reset(self) -> None:
        self._travelled = 0.0  # stream units
        self._position: NDArray[np.float64] | None = None

    def set_localization_only(self, localization_only: bool) -> None:
        """The network has no map of keyframes."""

    def relocalise(self) -> None:
        """The network starts at the origin again."""
        self.reset()

    def close(self) -> None:
        pass

    def follow(self, received: Received, image: NetworkImage) -> EarlyPose | None:
        return None

    def locate(
        self,
        received: Received,
        image: NetworkImage,
        prediction: Prediction,
        depth_m: NDArray[np.float32] | None = None,
    ) -> PoseEstimate:
        pose = prediction.camera_from_world[0].double().cpu().numpy()
        position = inverted(pose)[:3, 3]
        if np.isfinite(position).all():
            if self._position is not None:
                self._travelled += float(np.linalg.norm(position - self._position))
            self._position = position
        settings, travelled = self._settings, self._travelled
        stds = np.repeat(
            (
                settings.position_std + settings.position_drift * travelled,
                settings.rotation_std + settings.rotation_drift * travelled,
            ),
            3,
        )
        return PoseEstimate(
            camera_from_world=pose,
            covariance=np.diag(stds**2),
            state="network",
            depth=predicted_depth(prediction),
        )

    def keyframes(self) -> dict[int, Similarity3]:
        return {}

    def corrections(self) -> dict[int, Similarity3]:
        return {}

    def loops(self) -> list[tuple[int, int]]:
        return []

    def state_dict(self) -> dict[str, Any]:
        return {"travelled": self._travelled}

    def load_state_dict(self, state: dict[str, Any], *, resume: bool) -> None:
        self.reset()
        self._travelled = float(state["travelled"])


def predicted_depth(prediction: Prediction) -> NDArray[np.float32]:
    """Return the network's depth (H, W) on the host."""
    return np.asarray(prediction.depth[0].float().cpu().numpy())
