"""The stream's world (OpenCV axes: z forward, y down) in a ROS map (x forward, z up; REP-103)."""

import numpy as np
from geometry_msgs.msg import Pose, Transform
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

MAP_FROM_WORLD = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], dtype=float)
"""4 x 4: the first camera's optical axes to the map's: right is -y, down is -z, forward is x."""


def map_from_optical(camera_from_world: NDArray[np.float64]) -> NDArray[np.float64]:
    """4 x 4 pose of the optical frame in the map, from a 3 x 4 camera_from_world."""
    rotation, translation = camera_from_world[:, :3], camera_from_world[:, 3]
    world_from_camera = np.eye(4)
    world_from_camera[:3, :3] = rotation.T
    world_from_camera[:3, 3] = -rotation.T @ translation
    return MAP_FROM_WORLD @ world_from_camera


def points_in_map(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., 3) points of the stream's world in the map."""
    return points @ MAP_FROM_WORLD[:3, :3].T.astype(np.float32)


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
