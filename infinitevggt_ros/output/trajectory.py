# SPDX-License-Identifier: Apache-2.0
"""Bounded list of poses: a full one keeps every second pose."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from geometry_msgs.msg import Pose, PoseStamped
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header

from infinitevggt_ros.input.image_conversion import stamp_ns

Floats: TypeAlias = NDArray[np.float64]
Move: TypeAlias = Callable[[list[int], Floats, Floats], tuple[Floats, Floats]]
"""Correction of stamps (ns), positions (N, 3) and orientations xyzw (N, 4) to new positions and
orientations."""


class Trajectory:
    """Poses from the first to the latest, evenly thinned."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Remove all poses."""
        self._kept: list[PoseStamped] = []  # every stride-th
        self._latest: list[PoseStamped] = []
        self._stride, self._added = 1, 0

    @property
    def poses(self) -> list[PoseStamped]:
        """Poses, oldest first."""
        return self._kept + self._latest

    def add(self, pose: PoseStamped, most: int) -> None:
        """Add the latest pose and keep at most `most` poses (2 or more)."""
        is_kept = self._added % self._stride == 0
        if is_kept:
            self._kept.append(pose)
        self._latest = [] if is_kept else [pose]
        self._added += 1
        while len(self.poses) > most:
            self._kept = self._kept[::2]
            self._stride *= 2
            self._latest = [] if self._kept[-1] is pose else [pose]

    def transform(self, new_from_old: NDArray[np.float64], ratio: float = 1.0) -> None:
        """Move all poses: rotate and translate by a rigid motion (4 x 4) after scaling positions by
        `ratio`."""
        poses = self.poses
        if not poses:
            return
        _, positions, quats = trajectory_arrays(poses)
        rotation = Rotation.from_matrix(new_from_old[:3, :3])
        positions = rotation.apply(ratio * positions) + new_from_old[:3, 3]
        turned = (rotation * Rotation.from_quat(quats)).as_quat()
        for pose, values in zip(poses, np.hstack((positions, turned)).tolist(), strict=True):
            _fill(pose.pose, values)

    def correct(self, move: Move) -> None:
        """Move each pose by its own correction."""
        poses = self.poses
        if not poses:
            return
        positions, quats = move(*trajectory_arrays(poses))
        for pose, values in zip(poses, np.hstack((positions, quats)).tolist(), strict=True):
            _fill(pose.pose, values)

    def state_dict(self) -> dict[str, Any]:
        """Return a snapshot of plain numbers and tensors."""
        stamps_ns, positions, quats = trajectory_arrays(self._kept + self._latest)
        return {
            "stamps_ns": torch.tensor(stamps_ns, dtype=torch.int64),
            "poses": torch.from_numpy(np.concatenate((positions, quats), axis=1)),
            "latest": len(self._latest),
            "stride": self._stride,
            "added": self._added,
        }

    def load_state_dict(self, state: dict[str, Any], header: Header) -> None:
        """Continue from a snapshot, with poses in the frame of the header."""
        poses = [
            _pose_stamped(stamp_ns, values, header)
            for stamp_ns, values in zip(
                state["stamps_ns"].tolist(), state["poses"].tolist(), strict=True
            )
        ]
        kept = len(poses) - state["latest"]
        self._kept, self._latest = poses[:kept], poses[kept:]
        self._stride, self._added = state["stride"], state["added"]


def trajectory_arrays(
    poses: list[PoseStamped],
) -> tuple[list[int], NDArray[np.float64], NDArray[np.float64]]:
    """Return stamps in ns, positions (N, 3) and orientations xyzw (N, 4)."""
    stamps_ns = [stamp_ns(pose) for pose in poses]
    points = [pose.pose.position for pose in poses]
    quats = [pose.pose.orientation for pose in poses]
    positions = np.array([(p.x, p.y, p.z) for p in points], dtype=float).reshape(-1, 3)
    return stamps_ns, positions, np.array([(q.x, q.y, q.z, q.w) for q in quats]).reshape(-1, 4)


def _pose_stamped(at_ns: int, values: list[float], header: Header) -> PoseStamped:
    result = PoseStamped(header=Header(frame_id=header.frame_id))
    result.header.stamp.sec, result.header.stamp.nanosec = divmod(at_ns, 10**9)
    _fill(result.pose, values)
    return result


def _fill(pose: Pose, values: list[float]) -> None:
    point, quat = pose.position, pose.orientation
    point.x, point.y, point.z, quat.x, quat.y, quat.z, quat.w = values
