# SPDX-License-Identifier: Apache-2.0
"""Scale by the camera's motion, as wheels or an IMU measure it."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from infinitevggt_core.metric.scale_estimate import ScaleEstimate
from infinitevggt_ros.input.robot import Position
from infinitevggt_ros.map_axes import inverted
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.stream.scale.source import ScaleSource


class Odometry(ScaleSource):
    """Measures once for every `scale.min_motion` metres of motion."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._from: tuple[Position, Position] | None = None  # in the stream, in odom

    def reset(self) -> None:
        self._from = None

    def measure(
        self, result: FrameResult, others: Iterable[FrameResult], estimate: ScaleEstimate
    ) -> None:
        in_odom = self._robot.position_in_odom(result.header)
        in_stream = inverted(result.camera_from_world)[:3, 3]
        if in_odom is None or not np.isfinite(in_stream).all():
            return
        if self._from is None:
            self._from = in_stream, in_odom
        before_stream, before_odom = self._from
        metres = float(np.linalg.norm(in_odom - before_odom))
        if metres >= self._settings.scale.min_motion:
            estimate.add(metres, float(np.linalg.norm(in_stream - before_stream)))
            self._from = in_stream, in_odom
