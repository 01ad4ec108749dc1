# SPDX-License-Identifier: Apache-2.0
"""Stand-in for tf2_ros, only what infinitevggt_ros calls: the pose of one frame in another."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from geometry_msgs.msg import Transform
from scipy.spatial.transform import Rotation, Slerp


@dataclass(frozen=True, slots=True)
class Pose:
    """parent_from_child: a point p of the child is rotation * p + translation in the parent."""

    translation: npt.NDArray[np.float64]
    """(3,) metres"""
    rotation: Rotation

    @classmethod
    def identity(cls) -> "Pose":
        return cls(np.zeros(3), Rotation.identity())

    @classmethod
    def from_message(cls, message: Transform) -> "Pose":
        t, q = message.translation, message.rotation
        return cls(np.array([t.x, t.y, t.z]), Rotation.from_quat([q.x, q.y, q.z, q.w]))

    def to_message(self) -> Transform:
        message = Transform()
        t, q = message.translation, message.rotation
        t.x, t.y, t.z = self.translation.tolist()
        q.x, q.y, q.z, q.w = self.rotation.as_quat().tolist()
        return message

    def __matmul__(self, other: "Pose") -> "Pose":
        translation = self.translation + self.rotation.apply(other.translation)
        return Pose(translation, self.rotation * other.rotation)

    def inverse(self) -> "Pose":
        rotation = self.rotation.inv()
        return Pose(-rotation.apply(self.translation), rotation)

    def towards(self, other: "Pose", fraction: float) -> "Pose":
        """Part of the way to `other`: straight for the translation, slerp for the rotation."""
        translation = self.translation + fraction * (other.translation - self.translation)
        both = Rotation.concatenate([self.rotation, other.rotation])
        return Pose(translation, Slerp([0.0, 1.0], both)(fraction))
