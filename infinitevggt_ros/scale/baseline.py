"""Metres by the distances between the cameras of a rig."""

from collections.abc import Iterable

import numpy as np

from infinitevggt_core.scale import ScaleEstimate
from infinitevggt_ros.frame_result import FrameResult
from infinitevggt_ros.images import stamp_ns
from infinitevggt_ros.scale.source import ScaleSource

TOLERANCE_NS = 20_000_000
"""Greatest time between images of two cameras that stand where they stand on the robot."""


class Baseline(ScaleSource):
    """A measurement for every other camera that sent an image at the same time."""

    def measure(
        self, result: FrameResult, others: Iterable[FrameResult], estimate: ScaleEstimate
    ) -> None:
        at_ns, here = stamp_ns(result.received.message), result.pose[:3, 3] / result.scale
        for other in others:
            late_ns = abs(stamp_ns(other.received.message) - at_ns)
            if other.received.camera is result.received.camera or late_ns > TOLERANCE_NS:
                continue
            frames = result.header.frame_id, other.header.frame_id
            metres = self._robot.distance(*frames)
            if metres is None:
                self._warn(
                    "scale", f"no transform between {' and '.join(frames)}: no scale from it"
                )
                continue
            estimate.add(metres, float(np.linalg.norm(here - other.pose[:3, 3] / other.scale)))
