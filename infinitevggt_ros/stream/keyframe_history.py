# SPDX-License-Identifier: Apache-2.0
"""Poses of the keyframes as published, so that what hangs on them can follow a correction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from infinitevggt_core.tracking.similarity import Similarity3
from infinitevggt_ros.map_axes import MapFromWorld

MOST_KEYFRAMES = 4000
"""Largest number of keyframes; above it every second one is dropped."""


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """Motion of each part of the trajectory in the stream's world."""

    stamps_ns: NDArray[np.int64]
    """(K,), ascending: part k begins at stamp k."""
    new_from_old: Similarity3
    """Leading dimension K."""
    placement: MapFromWorld

    def move(
        self, stamps_ns: list[int], positions: NDArray[np.float64], quats: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return corrected positions (N, 3) and orientations xyzw (N, 4) of poses in the map."""
        part = np.searchsorted(self.stamps_ns, np.asarray(stamps_ns), side="right") - 1
        move = self.new_from_old[np.maximum(part, 0)]
        axes, origin, unit = self.placement.rotation, self.placement.origin, self.placement.scale
        world = (positions - origin) @ axes / unit
        world = np.asarray(move.scale)[:, None] * np.einsum("nij,nj->ni", move.rotation, world)
        moved = (world + move.translation) @ axes.T * unit + origin
        turned = Rotation.from_matrix(axes @ move.rotation @ axes.T) * Rotation.from_quat(quats)
        return moved, turned.as_quat()


class KeyframeHistory:
    """Stamps and current poses of the keyframes, bounded."""

    def __init__(self) -> None:
        self._stamps_ns: dict[int, int] = {}
        self._poses: dict[int, Similarity3] = {}

    @property
    def poses(self) -> Mapping[int, Similarity3]:
        """World_from_camera of the keyframes, whose scale is stream units per unit of depth."""
        return self._poses

    def add(self, index: int, stamp_ns: int, pose: Similarity3) -> None:
        """Add the latest keyframe."""
        self._stamps_ns[index], self._poses[index] = stamp_ns, pose
        if len(self._poses) > MOST_KEYFRAMES:
            for old in list(self._poses)[1::2]:
                del self._poses[old], self._stamps_ns[old]

    def correct(
        self, poses: Mapping[int, Similarity3], placement: MapFromWorld
    ) -> Correction | None:
        """Take over corrected poses; return the motion, None if no keyframe is known."""
        known = sorted((k for k in poses if k in self._poses), key=self._stamps_ns.__getitem__)
        if not known:
            return None
        moves = [poses[index] @ self._poses[index].inverse() for index in known]
        stamps_ns = np.array([self._stamps_ns[index] for index in known], np.int64)
        for index in known:
            self._poses[index] = poses[index]
        return Correction(stamps_ns, Similarity3.stack(moves), placement)

    def state_dict(self) -> dict[str, Any]:
        """Return a snapshot of numbers and arrays."""
        return {
            "indices": list(self._poses),
            "stamps_ns": list(self._stamps_ns.values()),
            "poses": Similarity3.stack(list(self._poses.values())).state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a snapshot. Raises KeyError, TypeError or ValueError if it does not fit."""
        poses = Similarity3.from_state(state["poses"])
        indices = [int(index) for index in state["indices"]]
        self._stamps_ns = dict(zip(indices, map(int, state["stamps_ns"]), strict=True))
        self._poses = {index: poses[row] for row, index in enumerate(indices)}
