# SPDX-License-Identifier: Apache-2.0
"""Metres by the distances between the cameras of a rig."""

from collections.abc import Iterable

import numpy as np

from infinitevggt_core.metric.baseline import predicted_baseline
from infinitevggt_core.metric.scale_estimate import ScaleEstimate
from infinitevggt_ros.input.image_conversion import stamp_ns
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.stream.scale.source import ScaleSource

TOLERANCE_NS = 20_000_000
"""Greatest time between images of two cameras that stand where they stand on the robot."""


class Baseline(ScaleSource):
    """A measurement for every other camera that sent an image at the same time."""

    def measure(
        self, result: FrameResult, others: Iterable[FrameResult], estimate: ScaleEstimate
    ) -> None:
        at_ns = stamp_ns(result.received.message)
        for other in others:
            late_ns = abs(stamp_ns(other.received.message) - at_ns)
            if other.received.camera is result.received.camera or late_ns > TOLERANCE_NS:
                continue
            frames = result.header.frame_id, other.header.frame_id
            known = self._robot.between(*frames)
            if known is None:
                self._warn(
                    "scale", f"no transform between {' and '.join(frames)}: no scale from it"
                )
                continue
            units, doubt = predicted_baseline(result.prediction, other.prediction, known[:3, :3])
            estimate.add(float(np.linalg.norm(known[:3, 3])), units, doubt)
