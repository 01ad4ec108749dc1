# SPDX-License-Identifier: Apache-2.0
"""Export of a node's saved state: its keyframes and its fused map, without ROS."""

from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from infinitevggt_core import MapConfig, PointMap
from infinitevggt_core.io.pcd import write_pcd
from infinitevggt_core.io.plain_state import with_arrays
from infinitevggt_core.io.tum import write_tum
from infinitevggt_core.tracking.similarity import Similarity3
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.stream.state_file import read_state


class SavedState:
    """State of a stream as `~/save_state` writes it. Lengths are in the unit of its map."""

    def __init__(self, path: Path) -> None:
        """Raises CommandError if the file is no state of a stream."""
        self.path = path
        try:
            self._state: dict[str, Any] = read_state(path)
            matrix = self._state["map_from_world"].numpy().reshape(4, 4)
            self._rotation, self._origin = matrix[:3, :3], matrix[:3, 3]
            self._scale = float(self._state["scale"])
        except (OSError, ValueError) as error:
            raise CommandError(f"{path} cannot be exported: {error}") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise CommandError(f"{path} is damaged: {error}") from error

    def write_trajectory(self, out: Path) -> int:
        """Write the poses of the keyframes after the last loop closure; return their number.

        Raises CommandError if there are none.
        """
        try:
            keyframes = with_arrays(self._state["keyframes"])
            stamps_ns = [int(stamp_ns) for stamp_ns in keyframes["stamps_ns"]]
            if not stamps_ns:
                raise CommandError(
                    f"{self.path} has no keyframes: the stream was not tracked, or the camera did "
                    "not move"
                )
            poses = Similarity3.from_state(keyframes["poses"])
        except (KeyError, TypeError, ValueError) as error:
            raise CommandError(f"{self.path} is damaged: {error}") from error
        quats = Rotation.from_matrix(self._rotation @ poses.rotation).as_quat()
        write_tum(out, stamps_ns, self._in_map(poses.translation), quats, self._note())
        return len(stamps_ns)

    def write_map(self, out: Path) -> int:
        """Write the fused cloud as a PCD file; return its number of points."""
        try:
            voxel_size, max_points = self._state["map"]["size"]
            points = PointMap(MapConfig(voxel_size=voxel_size, max_points=max_points))
            points.load_state_dict(self._state["map"])
        except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
            raise CommandError(f"{self.path} is damaged: {error}") from error
        cloud = points.cloud()
        positions = self._in_map(cloud.positions.numpy()).astype(np.float32)
        write_pcd(out, positions, cloud.colors.numpy(), cloud.confidences.numpy(), self._note())
        return len(positions)

    def _in_map(self, points: np.ndarray) -> np.ndarray:
        """Return points (N, 3) of the stream's world in the map."""
        return np.asarray(self._scale * points @ self._rotation.T + self._origin)

    def _note(self) -> str:
        unit = "metres" if self._state.get("is_metric") else "unit of the stream"
        return f"map frame, x forward, z up; {unit}"
