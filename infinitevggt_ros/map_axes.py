# SPDX-License-Identifier: Apache-2.0
"""The stream's world (OpenCV axes: z forward, y down) in a ROS map (x forward, z up; REP-103).

Nothing of ROS is imported.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

MAP_FROM_WORLD = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], dtype=float)
"""4 x 4: axes of a level first camera to the map's (right is -y, down is -z, forward is x)."""


def points_in_map(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return points (..., 3) of a level world in the axes of the map, in the same unit."""
    return points @ MAP_FROM_WORLD[:3, :3].T.astype(np.float32)


def levelled(up: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return map_from_world (4 x 4) for a world whose vector `up` (3,) points up.

    The map's z axis lies along `up`; the first camera is rolled and pitched about the origin and
    keeps its heading along x.
    """
    x, y, z = MAP_FROM_WORLD[:3, :3] @ up / np.linalg.norm(up)
    pitch, roll = -np.arcsin(np.clip(x, -1, 1)), np.arctan2(y, z)
    levelling = np.eye(4)
    levelling[:3, :3] = Rotation.from_euler("YX", (pitch, roll)).as_matrix()
    return levelling @ MAP_FROM_WORLD


def inverted(camera_from_world: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return world_from_camera (4 x 4) of a rigid camera_from_world (3 x 4 or 4 x 4)."""
    rotation, translation = camera_from_world[:3, :3], camera_from_world[:3, 3]
    world_from_camera = np.eye(4)
    world_from_camera[:3, :3] = rotation.T
    world_from_camera[:3, 3] = -rotation.T @ translation
    return world_from_camera


@dataclass(frozen=True, slots=True, eq=False)
class MapFromWorld:
    """Similarity from the stream's world to the map: p_map = scale * rotation @ p_world + origin.

    The stream's unit and OpenCV axes become the map's unit (metres once the scale is known) and the
    axes of REP-103.
    """

    rotation: NDArray[np.float64] = field(default_factory=MAP_FROM_WORLD[:3, :3].copy)
    """(3, 3)."""
    origin: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    """(3,), the world's origin in the map, in the map's unit."""
    scale: float = 1.0
    """Length in the map of one unit of the stream."""

    @property
    def tilt(self) -> float:
        """Angle between the first camera's horizon and level, rad."""
        level = self.rotation @ MAP_FROM_WORLD[:3, :3].T
        return float(np.arccos(np.clip(level[2, 2], -1, 1)))

    def pose(self, camera_from_world: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return map_from_optical (4 x 4) for a 3 x 4 camera_from_world in the stream's unit."""
        world_from_camera = inverted(camera_from_world)
        pose = np.eye(4)
        pose[:3, :3] = self.rotation @ world_from_camera[:3, :3]
        pose[:3, 3] = self.scale * self.rotation @ world_from_camera[:3, 3] + self.origin
        return pose

    def points(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return points (..., 3) of the stream's world in the map."""
        turned = points @ (self.scale * self.rotation).T.astype(np.float32)
        return np.asarray(turned + self.origin.astype(np.float32), dtype=np.float32)

    def levelled(self, up: NDArray[np.float64]) -> "MapFromWorld":
        """Return the same similarity with the vector `up` (3,) of the world along the map's z."""
        return replace(self, rotation=levelled(up)[:3, :3])

    def rescaled(self, scale: float, fixed: NDArray[np.float64]) -> "MapFromWorld":
        """Return the similarity with another scale that leaves the map point `fixed` (3,) there."""
        ratio = scale / self.scale
        return replace(self, scale=scale, origin=fixed + ratio * (self.origin - fixed))

    def moved(self, new_from_old: NDArray[np.float64]) -> "MapFromWorld":
        """Return the similarity after a rigid motion (4 x 4) of the map."""
        rotation, translation = new_from_old[:3, :3], new_from_old[:3, 3]
        origin = rotation @ self.origin + translation
        return replace(self, rotation=rotation @ self.rotation, origin=origin)

    def matrix(self) -> NDArray[np.float64]:
        """Return the rigid part (4 x 4): rotation and origin."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = self.rotation, self.origin
        return matrix


def planar(pose: NDArray[np.float64], present: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `present` (4 x 4) with x, y and the heading of `pose` (4 x 4).

    Height, roll and pitch stay. The heading is that of the body's x axis.
    """
    headings = [np.arctan2(matrix[1, 0], matrix[0, 0]) for matrix in (pose, present)]
    result = present.copy()
    turn = Rotation.from_euler("z", headings[0] - headings[1]).as_matrix()
    result[:3, :3] = turn @ present[:3, :3]
    result[:2, 3] = pose[:2, 3]
    return result
