# SPDX-License-Identifier: Apache-2.0
"""Metres by the height of the camera above the floor."""

from collections.abc import Iterable

import numpy as np
import torch

from infinitevggt_core.metric.floor import floor_distance
from infinitevggt_core.metric.scale_estimate import ScaleEstimate
from infinitevggt_core.model.geometry import unproject
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.stream.scale.source import ScaleSource


class CameraHeight(ScaleSource):
    """The lowest level surface in the depth is the floor."""

    def measure(
        self, result: FrameResult, others: Iterable[FrameResult], estimate: ScaleEstimate
    ) -> None:
        depth = torch.from_numpy(result.depth / np.float32(result.scale))
        points = unproject(depth, result.intrinsics).numpy()
        down = -result.pose[2, :3]  # the map's z axis in the camera's axes, turned round
        distance = floor_distance(points, down)
        if distance is not None:
            height = self._settings.camera_height(result.received.camera.name)
            estimate.add(height, distance)
        elif not estimate.is_known:
            self._warn("scale", "no floor in sight: the scale is not measured")
