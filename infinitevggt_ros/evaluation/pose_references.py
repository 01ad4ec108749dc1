# SPDX-License-Identifier: Apache-2.0
"""Keyframes that the poses of a run hang on, so that poses follow corrections made later."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from infinitevggt_core.tracking.similarity import Similarity3
from infinitevggt_ros.evaluation.frames import Array
from infinitevggt_ros.stream.pose_source import PoseReference

NO_KEYFRAME = -1


class PoseReferences:
    """One row per frame. Grows with the run: the node does not use it."""

    def __init__(self) -> None:
        self._keyframes: list[int] = []
        self._units: list[float] = []
        self._poses: list[Array] = []

    def add(self, camera_from_world: Array, reference: PoseReference | None) -> None:
        """Add the next frame. camera_from_world: (3, 4), kept where there is no keyframe."""
        self._keyframes.append(NO_KEYFRAME if reference is None else reference.keyframe)
        self._units.append(1.0 if reference is None else reference.unit)
        self._poses.append(
            camera_from_world if reference is None else reference.camera_from_keyframe
        )

    def corrected(self, live: Array, keyframes: Mapping[int, Similarity3]) -> Array:
        """Return poses camera_from_world (N, 3, 4) by the present poses of the keyframes.

        A frame without a keyframe, or whose keyframe was dropped, moves as the frame before it.

        live: camera_from_world (N, 3, 4) as known at the time of each image. keyframes:
        world_from_camera, whose scale is stream units per unit of the tracker.
        """
        moved = Similarity3.identity()
        poses = []
        for row, keyframe in enumerate(self._keyframes):
            then = Similarity3.from_rigid(live[row]).inverse()
            then = then @ Similarity3.from_rigid(np.eye(3, 4), self._units[row])
            now = moved @ then
            if keyframe in keyframes:
                now = keyframes[keyframe] @ Similarity3.from_rigid(self._poses[row]).inverse()
                moved = now @ then.inverse()
            turned = now.rotation.T
            poses.append(np.column_stack((turned, -turned @ now.translation)))
        return np.array(poses).reshape(-1, 3, 4)

    def state_dict(self) -> dict[str, Any]:
        """Return a snapshot of tensors."""
        return {
            "keyframes": torch.tensor(self._keyframes, dtype=torch.int64),
            "units": torch.tensor(self._units, dtype=torch.float64),
            "poses": torch.from_numpy(np.array(self._poses).reshape(-1, 3, 4)),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a snapshot."""
        self._keyframes, self._units = state["keyframes"].tolist(), state["units"].tolist()
        self._poses = list(state["poses"].numpy())
