# SPDX-License-Identifier: Apache-2.0
"""Result of one image: plain arrays on the host, in ROS axes."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from infinitevggt_core import PixelMap
from infinitevggt_core.metric.scale_estimate import MeasuredLength
from infinitevggt_ros.input.calibration import Calibration
from infinitevggt_ros.input.header import Header
from infinitevggt_ros.map_axes import MapFromWorld, inverted
from infinitevggt_ros.output.covariance import UNKNOWN


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FramePose:
    """Pose of one image. Lengths are in the map's unit: metres once the scale is known, else the
    stream's own unit."""

    camera: str
    """Name of the camera; empty for a single camera."""
    header: Header
    """Stamp and optical frame of the image."""
    stamp_ns: int
    received_s: float
    """Time of arrival of the image, seconds of time.monotonic."""
    camera_from_world: NDArray[np.float64]
    """(3, 4), in the axes and the unit of the stream."""
    covariance: NDArray[np.float64] = field(default_factory=lambda: np.diag([UNKNOWN] * 6))
    """(6, 6) of the optical frame's pose in the map: position, then rotation about the map's
    axes."""
    placement: MapFromWorld = field(default_factory=MapFromWorld)
    is_metric: bool = False
    """True if lengths are metres."""
    awaits_scale: bool = False
    """True if a source of the scale is set whose scale is not known yet."""
    scale_std: float = math.nan
    """Relative standard deviation of lengths; NaN if they are not metres."""
    pose_state: str = "network"
    """Origin of the pose, see PoseEstimate."""
    pose_reason: str = ""
    """Reason of a state other than `tracking` or `network`."""
    odom_from_camera: NDArray[np.float64] | None = None
    """(4, 4) in the stream's unit, without the jumps of loop closures; None if unknown."""
    map_id: int = 0
    placement_id: int = 0
    """Number of times the map's pose in its own frame was set from outside."""
    pose: NDArray[np.float64] = field(init=False)
    """(4, 4), the optical frame in the map."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pose", self.placement.pose(self.camera_from_world))

    @property
    def odom_pose(self) -> NDArray[np.float64]:
        """(4, 4), the optical frame in the map as if no loop had ever been closed: continuous."""
        if self.odom_from_camera is None:
            return self.pose
        return self.placement.pose(inverted(self.odom_from_camera)[:3])

    @property
    def scale(self) -> float:
        """Length in the map of one unit of the stream."""
        return self.placement.scale

    @property
    def is_placed(self) -> bool:
        """True if the pose is finite."""
        return bool(np.isfinite(self.pose).all())


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FrameResult(FramePose):
    """Pose and images, which are at the network's resolution (H, W)."""

    colors: NDArray[np.float32]
    """(H, W, 3), RGB in [0, 1]."""
    depth: NDArray[np.float32]
    """(H, W), along the optical axis."""
    confidence: NDArray[np.float32]
    """(H, W), above 1."""
    intrinsics: NDArray[np.float64]
    """(3, 3), px: calibrated if known, else predicted; NaN if the prediction is not finite."""
    pixel_map: PixelMap
    """Relation between the pixels of the camera's image and those of the network's."""
    calibration: Calibration | None = None
    """Calibration of the camera's images; None if there is none."""
    is_calibrated: bool = False
    """True if the calibration gives the intrinsics."""
    is_rectified: bool = False
    """True if lens distortion was removed here."""
    inference_s: float = math.nan
    """Duration of the forward pass, s."""
    baseline: MeasuredLength | None = None
    """Distance to another camera of a rig, measured by the source of the poses."""

    @property
    def depth_in_units(self) -> NDArray[np.float32]:
        """(H, W), depth in the stream's unit."""
        return self.depth / np.float32(self.scale)

    def world_points(self) -> NDArray[np.float64]:
        """Return (H, W, 3), depth unprojected into the stream's world, in its unit."""
        points = self.optical_points() / self.scale
        rotation, translation = self.camera_from_world[:, :3], self.camera_from_world[:, 3]
        return np.asarray((points - translation) @ rotation)

    def optical_points(self) -> NDArray[np.float64]:
        """Return (H, W, 3), depth unprojected into the optical frame."""
        return unprojected(self.depth, self.intrinsics)


def unprojected(depth: NDArray[np.float32], intrinsics: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the points (H, W, 3) of a depth image (H, W) in the camera. intrinsics: (3, 3), px."""
    height, width = depth.shape
    (fx, _, cx), (_, fy, cy), _ = intrinsics
    x = (np.arange(width) - cx) / fx
    y = (np.arange(height) - cy)[:, None] / fy
    z = depth.astype(np.float64)
    return np.stack((x * z, y * z, z), axis=-1)
