# SPDX-License-Identifier: Apache-2.0
"""The stream's world (OpenCV axes: z forward, y down) in a ROS map (x forward, z up; REP-103)."""

import numpy as np
from geometry_msgs.msg import Pose, Transform
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

MAP_FROM_WORLD = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], dtype=float)
"""4 x 4: the axes of a level first camera to the map's: right is -y, down is -z, forward is x."""


def levelled(up: NDArray[np.float64]) -> NDArray[np.float64]:
    """4 x 4 map from the stream's world, with `up` (3,) of that world along z: the first camera is
    rolled and pitched about the origin, and goes on looking along x."""
    x, y, z = MAP_FROM_WORLD[:3, :3] @ up / np.linalg.norm(up)
    pitch, roll = -np.arcsin(np.clip(x, -1, 1)), np.arctan2(y, z)
    levelling = np.eye(4)
    levelling[:3, :3] = Rotation.from_euler("YX", (pitch, roll)).as_matrix()
    return levelling @ MAP_FROM_WORLD


def tilt(map_from_world: NDArray[np.float64]) -> float:
    """rad from level, of the first camera in its map."""
    levelling = map_from_world @ np.linalg.inv(MAP_FROM_WORLD)
    return float(np.arccos(np.clip(levelling[2, 2], -1, 1)))


def map_from_optical(
    camera_from_world: NDArray[np.float64], map_from_world: NDArray[np.float64] = MAP_FROM_WORLD
) -> NDArray[np.float64]:
    """4 x 4 pose of the optical frame in the map, from a 3 x 4 camera_from_world."""
    rotation, translation = camera_from_world[:, :3], camera_from_world[:, 3]
    world_from_camera = np.eye(4)
    world_from_camera[:3, :3] = rotation.T
    world_from_camera[:3, 3] = -rotation.T @ translation
    return map_from_world @ world_from_camera


def points_in_map(
    points: NDArray[np.float32], map_from_world: NDArray[np.float64] = MAP_FROM_WORLD
) -> NDArray[np.float32]:
    """(..., 3) points of the stream's world in the map."""
    return points @ map_from_world[:3, :3].T.astype(np.float32)


def matrix_from_transform(transform: Transform) -> NDArray[np.float64]:
    """4 x 4 matrix of a geometry_msgs/Transform."""
    q, t = transform.rotation, transform.translation
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    matrix[:3, 3] = (t.x, t.y, t.z)
    return matrix


def transform_from_matrix(matrix: NDArray[np.float64]) -> Transform:
    """geometry_msgs/Transform of a 4 x 4 matrix."""
    transform = Transform()
    _fill(transform.translation, transform.rotation, matrix)
    return transform


def pose_from_matrix(matrix: NDArray[np.float64]) -> Pose:
    """geometry_msgs/Pose of a 4 x 4 matrix."""
    pose = Pose()
    _fill(pose.position, pose.orientation, matrix)
    return pose


def _fill(vector: object, quaternion: object, matrix: NDArray[np.float64]) -> None:
    for name, value in zip("xyz", matrix[:3, 3], strict=True):
        setattr(vector, name, float(value))
    for name, value in zip("xyzw", Rotation.from_matrix(matrix[:3, :3]).as_quat(), strict=True):
        setattr(quaternion, name, float(value))
