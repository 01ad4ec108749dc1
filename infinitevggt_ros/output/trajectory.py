# SPDX-License-Identifier: Apache-2.0
"""The poses so far, bounded: a full path keeps every second one."""

from typing import Any

import numpy as np
import torch
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from std_msgs.msg import Header

from infinitevggt_ros.input.image_conversion import stamp_ns


class Trajectory:
    """From the first pose to the latest, evenly thinned."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Start again."""
        self._kept: list[PoseStamped] = []  # every stride-th
        self._latest: list[PoseStamped] = []
        self._stride, self._added = 1, 0

    @property
    def poses(self) -> list[PoseStamped]:
        """Oldest first."""
        return self._kept + self._latest

    def add(self, pose: PoseStamped, most: int) -> None:
        """Add the latest pose; never keep more than `most`, which is 2 or above."""
        is_kept = self._added % self._stride == 0
        if is_kept:
            self._kept.append(pose)
        self._latest = [] if is_kept else [pose]
        self._added += 1
        while len(self.poses) > most:
            self._kept = self._kept[::2]
            self._stride *= 2
            self._latest = [] if self._kept[-1] is pose else [pose]

    def rescale(self, ratio: float) -> None:
        """Lengths have another unit from now on."""
        for pose in self.poses:
            point = pose.pose.position
            point.x, point.y, point.z = ratio * point.x, ratio * point.y, ratio * point.z

    def state_dict(self) -> dict[str, Any]:
        """A snapshot: plain numbers and tensors."""
        stamps_ns, positions, quats = trajectory_arrays(self._kept + self._latest)
        return {
            "stamps_ns": torch.tensor(stamps_ns, dtype=torch.int64),
            "poses": torch.from_numpy(np.concatenate((positions, quats), axis=1)),
            "latest": len(self._latest),
            "stride": self._stride,
            "added": self._added,
        }

    def load_state_dict(self, state: dict[str, Any], header: Header) -> None:
        """Go on from a snapshot, with poses in the frame of the header."""
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
    """Stamps in ns, positions (N, 3) and orientations xyzw (N, 4)."""
    stamps_ns = [stamp_ns(pose) for pose in poses]
    points = [pose.pose.position for pose in poses]
    quats = [pose.pose.orientation for pose in poses]
    positions = np.array([(p.x, p.y, p.z) for p in points], dtype=float).reshape(-1, 3)
    return stamps_ns, positions, np.array([(q.x, q.y, q.z, q.w) for q in quats]).reshape(-1, 4)


def _pose_stamped(at_ns: int, values: list[float], header: Header) -> PoseStamped:
    result = PoseStamped(header=Header(frame_id=header.frame_id))
    result.header.stamp.sec, result.header.stamp.nanosec = divmod(at_ns, 10**9)
    point, quat = result.pose.position, result.pose.orientation
    point.x, point.y, point.z, quat.x, quat.y, quat.z, quat.w = values
    return result
