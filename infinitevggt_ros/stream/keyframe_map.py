# SPDX-License-Identifier: Apache-2.0
"""Keyframes of a stream with their depth, from which the map and the grid follow corrections."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from infinitevggt_core import PointMap
from infinitevggt_core.io.plain_state import with_arrays, with_tensors
from infinitevggt_core.mapping.keyframe_clouds import KeyframeClouds, KeyframePose
from infinitevggt_core.tracking.similarity import Similarity3
from infinitevggt_ros.map_axes import MapFromWorld, inverted
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.stream.grid_rebuild import KeyframeView
from infinitevggt_ros.stream.keyframe_history import Correction, KeyframeHistory
from infinitevggt_ros.stream.pose_source import PoseReference

MOST_CLOUDS = 500
"""Largest number of keyframes whose depth is kept, 34 kB each."""
REBUILD_FRAMES = 30
"""Least number of images between two times that the map is made anew."""


class KeyframeMap:
    """Poses and depth of the keyframes, bounded."""

    def __init__(self) -> None:
        self._history, self._clouds = KeyframeHistory(), KeyframeClouds(MOST_CLOUDS)
        self._rebuild_at: int | None = None  # frame index at which the map is made anew
        self._rebuilt_at = 0

    def clear(self) -> None:
        """Drop every keyframe."""
        self._history, self._rebuild_at, self._rebuilt_at = KeyframeHistory(), None, 0
        self._clouds.clear()

    @property
    def is_empty(self) -> bool:
        """True without keyframes."""
        return not self._history.poses

    @property
    def indices(self) -> list[int]:
        """Numbers of the keyframes whose depth is kept, oldest first."""
        return self._clouds.indices

    def add(
        self,
        reference: PoseReference,
        camera_from_world: NDArray[np.float64],
        depth: NDArray[np.float32],
        pixels: torch.Tensor,
        result: FrameResult,
    ) -> None:
        """Keep the latest keyframe.

        camera_from_world: (3, 4), in the stream's unit. depth: (H, W), in the tracker's unit.
        pixels: [3, H, W], the network's input.
        """
        pose = Similarity3.from_rigid(camera_from_world).inverse()
        pose = pose @ Similarity3.from_rigid(np.eye(3, 4), reference.unit)
        self._history.add(reference.keyframe, result.stamp_ns, pose)
        self._clouds.add(
            reference.keyframe,
            torch.from_numpy(depth),
            pixels,
            torch.from_numpy(result.confidence),
            torch.from_numpy(result.intrinsics),
        )

    def correct(
        self, poses: Mapping[int, Similarity3], placement: MapFromWorld, frame: int
    ) -> Correction | None:
        """Take over corrected poses; return the motion of what hangs on them, None if there is
        none. The map is made anew soon, but not too often.

        frame: number of the present image.
        """
        correction = self._history.correct(poses, placement) if poses else None
        if correction is not None and self._rebuild_at is None:
            self._rebuild_at = max(frame, self._rebuilt_at + REBUILD_FRAMES)
        return correction

    def rebuild(self, point_map: PointMap, frame: int, *, now: bool = False) -> bool:
        """Make a map anew if that is due; return True if that was done.

        frame: number of the present image. now: do not wait for the time of it.
        """
        if self._rebuild_at is None or (frame < self._rebuild_at and not now):
            return False
        poses = {
            index: KeyframePose(
                torch.from_numpy(inverted(pose.rigid())[:3]).float(), float(pose.scale)
            )
            for index, pose in self._history.poses.items()
        }
        self._clouds.rebuild(point_map, poses)
        self._rebuild_at, self._rebuilt_at = None, frame
        return True

    def view(self, index: int, placement: MapFromWorld) -> KeyframeView | None:
        """Return the depth of a keyframe at its corrected pose in the map; None if unknown."""
        pose = self._history.poses.get(index)
        if pose is None:
            return None
        depth, confidence, intrinsics = (part.numpy() for part in self._clouds.depth_of(index))
        return KeyframeView(
            pose=placement.pose(inverted(pose.rigid())[:3]),
            depth=depth * np.float32(float(pose.scale) * placement.scale),
            confidence=confidence,
            intrinsics=intrinsics.astype(np.float64),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return a snapshot of plain numbers and tensors."""
        return {
            "keyframes": with_tensors(self._history.state_dict()),
            "clouds": self._clouds.state_dict(),
            "rebuild": (self._rebuild_at, self._rebuilt_at),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a snapshot. Raises KeyError, TypeError or ValueError if it does not fit."""
        self._history.load_state_dict(with_arrays(state["keyframes"]))
        self._clouds.load_state_dict(state["clouds"])
        self._rebuild_at, self._rebuilt_at = state["rebuild"]
