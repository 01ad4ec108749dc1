# SPDX-License-Identifier: Apache-2.0
"""Matrices as messages of geometry_msgs, and back."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from infinitevggt_ros.message_maker import ROS, MessageMaker


def matrix_from_transform(transform: Any) -> NDArray[np.float64]:
    """Return the 4 x 4 matrix of a geometry_msgs/Transform."""
    q, t = transform.rotation, transform.translation
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    matrix[:3, 3] = (t.x, t.y, t.z)
    return matrix


def matrix_from_pose(pose: Any) -> NDArray[np.float64]:
    """Return the 4 x 4 matrix of a geometry_msgs/Pose. Raises ValueError if it is not a pose."""
    q, p = pose.orientation, pose.position
    values = np.array((q.x, q.y, q.z, q.w, p.x, p.y, p.z))
    if not np.isfinite(values).all() or np.linalg.norm(values[:4]) < 0.1:
        raise ValueError(f"not a pose: orientation {values[:4]}, position {values[4:]}")
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat(values[:4]).as_matrix()
    matrix[:3, 3] = values[4:]
    return matrix


def transform_from_matrix(
    matrix: NDArray[np.float64], before: Any = None, maker: MessageMaker = ROS
) -> Any:
    """Return the geometry_msgs/Transform of a 4 x 4 matrix.

    before: previous rotation, a geometry_msgs/Quaternion, whose sign the new one keeps.
    """
    transform = maker.make("geometry_msgs/msg/Transform")
    _fill(transform.translation, transform.rotation, matrix, before)
    return transform


def pose_from_matrix(
    matrix: NDArray[np.float64], before: Any = None, maker: MessageMaker = ROS
) -> Any:
    """Return the geometry_msgs/Pose of a 4 x 4 matrix.

    before: previous orientation, a geometry_msgs/Quaternion, whose sign the new one keeps.
    """
    pose = maker.make("geometry_msgs/msg/Pose")
    _fill(pose.position, pose.orientation, matrix, before)
    return pose


def _fill(vector: Any, quaternion: Any, matrix: NDArray[np.float64], before: Any) -> None:
    for name, value in zip("xyz", matrix[:3, 3], strict=True):
        setattr(vector, name, float(value))
    quat = Rotation.from_matrix(matrix[:3, :3]).as_quat()
    if before is not None and quat @ (before.x, before.y, before.z, before.w) < 0:
        quat = -quat
    for name, value in zip("xyzw", quat, strict=True):
        setattr(quaternion, name, float(value))
