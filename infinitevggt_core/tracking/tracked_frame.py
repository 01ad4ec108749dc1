# SPDX-License-Identifier: Apache-2.0
"""Answers of the tracker to one image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.tracking.rigid import Floats

TRACKING, DEGRADED, NETWORK, LOST = "tracking", "degraded", "network", "lost"
LEAST_PARALLAX = 0.04
"""Angle between rays (rad) below which a point gives rotation and no depth."""
LEAST_SHARE = 0.25
"""Share of the points that must have parallax before dense depth follows them: a few are the
nearest ones, and the rest of the image has another error."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TrackedPose:
    """Pose of an image. World: odom, in the tracker's unit."""

    frame: int
    """Number of the image, counted over the whole stream."""
    stamp_s: float
    camera_from_world: Floats
    """(3, 4), OpenCV camera axes."""
    covariance: Floats
    """(6, 6) of a step on the left of the pose: translation (tracker's unit), rotation (rad)."""
    state: str
    """tracking: the images determine the pose; degraded: they do, but the structure is not decided
    or the parallax too small for a scale; network: the network's motion was taken; lost: nothing
    is known."""
    reason: str
    """Reason of a state other than `tracking`; empty otherwise."""
    reference: int
    """Number of the keyframe that `camera_from_reference` starts from; -1 where there is none."""
    camera_from_reference: Floats
    """(3, 4). Later adjustments move keyframes; this motion from the nearest one stays."""
    submap: int
    """Number of the piece of trajectory without a break."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TrackedFrame(TrackedPose):
    """Pose of an image and the points that gave it."""

    keyframe: bool
    """True where the image became a keyframe."""
    pixels: Floats
    """(N, 2) of the live points, in the image that was given."""
    ids: NDArray[np.int64]
    """(N,)."""
    points: Floats
    """(N, 3), in odom."""
    parallax: Floats
    """(N,), rad."""
    relative_std: Floats
    """(N,), standard deviation of the distance divided by the distance; infinite where unknown."""
    intrinsics: Floats
    """(3, 3) of the image that was given, with the focal length corrected where it is refined."""
    depth_scale: float
    """Units of the tracker per unit of the network's depth, from the points; 1 where unknown."""
    inliers: int
    """Points that agree with the pose."""

    @property
    def leads_depth(self) -> NDArray[np.bool_]:
        """(N,): True for points that the network's depth is corrected by, those with parallax; none
        where they are few."""
        known = self.parallax > LEAST_PARALLAX
        return known if known.sum() >= LEAST_SHARE * len(known) else np.zeros_like(known)

    def without_points(self) -> TrackedPose:
        """Return the pose alone."""
        return TrackedPose(**{name: getattr(self, name) for name in TrackedPose.__slots__})

    @property
    def depths(self) -> Floats:
        """(N,): depths of the live points along the optical axis, in the unit of the tracker."""
        pose = self.camera_from_world
        return np.asarray(self.points @ pose[2, :3] + pose[2, 3], np.float64)
