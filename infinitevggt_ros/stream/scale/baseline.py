# SPDX-License-Identifier: Apache-2.0
"""Scale by the distances between the cameras of a rig."""

from collections.abc import Iterable

import numpy as np
import torch

from infinitevggt_core import Prediction
from infinitevggt_core.metric.baseline import predicted_baseline
from infinitevggt_core.metric.scale_estimate import ScaleEstimate
from infinitevggt_core.model import geometry
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.stream.scale.source import ScaleSource

TOLERANCE_NS = 20_000_000
"""Largest time between images that two cameras took at one pose of the robot."""


class Baseline(ScaleSource):
    """Measures once for every other camera that sent an image at the same time."""

    def measure(
        self, result: FrameResult, others: Iterable[FrameResult], estimate: ScaleEstimate
    ) -> None:
        if self._settings.pose.source == "tracking":  # which measures by the points it tracks
            found = result.baseline
            if found is not None:
                estimate.add(found.metres, found.units, found.relative_std)
            return
        for other in others:
            late_ns = abs(other.stamp_ns - result.stamp_ns)
            if other.camera == result.camera or late_ns > TOLERANCE_NS:
                continue
            frames = result.header.frame_id, other.header.frame_id
            known = self._robot.between(*frames)
            if known is None:
                self._warn(
                    "scale", f"no transform between {' and '.join(frames)}: no scale from it"
                )
                continue
            pair = prediction_of(result), prediction_of(other)
            units, relative_std = predicted_baseline(*pair, known[:3, :3])
            estimate.add(float(np.linalg.norm(known[:3, 3])), units, relative_std)


def prediction_of(result: FrameResult) -> Prediction:
    """Return pose and depth of a frame, [1, ...], in the stream's unit."""
    height, width = result.depth.shape
    pose = torch.from_numpy(result.camera_from_world).float()[None]
    intrinsics = torch.from_numpy(result.intrinsics).float()[None]
    return Prediction(
        geometry.encode_pose(pose, intrinsics, height, width),
        torch.from_numpy(result.depth_in_units)[None],
        torch.from_numpy(result.confidence)[None],
    )
