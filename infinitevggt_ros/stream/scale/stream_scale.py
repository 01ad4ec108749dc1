# SPDX-License-Identifier: Apache-2.0
"""Metres per unit of a stream, by what else the robot knows (`scale.source`)."""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from infinitevggt_core.metric.scale_estimate import ScaleEstimate
from infinitevggt_ros.errors import Warn
from infinitevggt_ros.input.calibration import Calibration
from infinitevggt_ros.input.robot import Robot
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.params.settings import Settings
from infinitevggt_ros.stream.scale.sources import SOURCES

STEP = 0.01
"""Smallest relative change of the estimate that is used, so that lengths do not tremble."""


class StreamScale:
    """Measures with every frame. Lengths are multiplied by `factor`."""

    def __init__(self, settings: Settings, robot: Robot, warn: Warn) -> None:
        self.settings = settings.scale
        kind = SOURCES.get(settings.scale.source)
        self.source = None if kind is None else kind(settings, robot, warn)
        self.reset()

    def reset(self) -> None:
        """Start with a new map, which has another unit."""
        self.factor = 1.0
        self._estimate = ScaleEstimate(self.settings.samples)
        if self.source is not None:
            self.source.reset()

    def state(self) -> tuple[float, list[tuple[float, float]]]:
        """Return the factor and the measurements, for a snapshot."""
        return self.factor, self._estimate.state()

    def restore(self, factor: float, estimate: ScaleEstimate) -> None:
        """Continue from earlier measurements."""
        self.reset()
        self.factor, self._estimate = factor, estimate

    def keep_depth(self, image: Image, camera: str = "") -> None:
        """Store an image on the camera's `depth`. Called in the executor."""
        if self.source is not None:
            self.source.keep_depth(image, camera)

    def depth_at(
        self, camera: str, stamp_ns: int, calibration: Calibration | None
    ) -> NDArray[np.float32] | None:
        """Return the depth camera's image, see `ScaleSource.depth_at`; None without one."""
        if self.source is None:
            return None
        return self.source.depth_at(camera, stamp_ns, calibration)

    @property
    def is_metric(self) -> bool:
        """True if the scale is known."""
        return self._estimate.is_known

    @property
    def progress(self) -> str:
        """Text on what is missing until the scale is known."""
        count, needed, source = len(self._estimate), self.settings.samples, self.settings.source
        return f"the scale from {source}: {count} of {needed} measurements"

    @property
    def estimate(self) -> tuple[float, float]:
        """Metres per unit and its standard deviation; NaN while unknown."""
        return self._estimate.factor, self._estimate.sigma

    @property
    def relative_std(self) -> float:
        """Relative standard deviation of lengths; NaN while the scale is unknown."""
        factor, sigma = self.estimate
        return sigma / factor

    def observe(self, result: FrameResult, others: Iterable[FrameResult] = ()) -> None:
        """Measure with a frame, and use the estimate if it changed by more than STEP.

        others: latest frame of each camera in this world.
        """
        if self.source is None or (self._estimate.is_known and not self.settings.track):
            return
        self.source.measure(result, others, self._estimate)
        factor = self._estimate.factor
        if self._estimate.is_known and abs(math.log(factor / self.factor)) > STEP:
            self.factor = factor
