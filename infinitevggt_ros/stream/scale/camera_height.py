# SPDX-License-Identifier: Apache-2.0
"""Scale by the height of the camera above the floor."""

from collections.abc import Iterable

import numpy as np
import torch

from infinitevggt_core.metric.floor import floor_distance
from infinitevggt_core.metric.scale_estimate import ScaleEstimate
from infinitevggt_core.model.geometry import unproject
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.stream.scale.source import ScaleSource


class CameraHeight(ScaleSource):
    """Takes the lowest level surface in the depth for the floor."""

    def measure(
        self, result: FrameResult, others: Iterable[FrameResult], estimate: ScaleEstimate
    ) -> None:
        intrinsics = torch.from_numpy(result.intrinsics.astype(np.float32))
        points = unproject(torch.from_numpy(result.depth_in_units), intrinsics).numpy()
        down = -result.pose[2, :3]  # the map's z axis in the camera's axes, reversed
        distance = floor_distance(points, down)
        if distance is not None:
            height = self._settings.camera_height(result.camera)
            estimate.add(height, distance)
        elif not estimate.is_known:
            self._warn("scale", "no floor in sight: the scale is not measured")
