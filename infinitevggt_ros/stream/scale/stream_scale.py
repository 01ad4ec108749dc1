# SPDX-License-Identifier: Apache-2.0
"""How many metres the stream's unit has, from what else the robot knows (`scale.source`)."""

import math
from collections.abc import Callable, Iterable

from sensor_msgs.msg import Image

from infinitevggt_core.metric.scale_estimate import ScaleEstimate
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.params.settings import Settings
from infinitevggt_ros.stream.scale.source import Robot
from infinitevggt_ros.stream.scale.sources import SOURCES

STEP = 0.01
"""A new estimate is used when it differs by this share, so that lengths do not tremble."""


class StreamScale:
    """Measures with every frame; `factor` is what lengths are multiplied by."""

    def __init__(self, settings: Settings, robot: Robot, warn: Callable[[str, str], None]) -> None:
        """warn(kind, text): the node's throttled warning."""
        self.settings = settings.scale
        kind = SOURCES.get(settings.scale.source)
        self.source = None if kind is None else kind(settings, robot, warn)
        self.reset()

    def reset(self) -> None:
        """A new map has another unit."""
        self.factor = 1.0
        self._estimate = ScaleEstimate(self.settings.samples)
        if self.source is not None:
            self.source.forget()

    def state(self) -> tuple[float, list[tuple[float, float]]]:
        """The factor and the measurements, for a snapshot."""
        return self.factor, self._estimate.state()

    def restore(self, factor: float, estimate: ScaleEstimate) -> None:
        """Go on with what was measured before."""
        self.reset()
        self.factor, self._estimate = factor, estimate

    def keep_depth(self, image: Image, camera: str = "") -> None:
        """Take an image on the camera's `depth`, from the executor."""
        if self.source is not None:
            self.source.keep_depth(image, camera)

    @property
    def is_metric(self) -> bool:
        return self._estimate.is_known

    @property
    def estimate(self) -> tuple[float, float]:
        """Metres per unit and its standard deviation; NaN while not known."""
        return self._estimate.factor, self._estimate.sigma

    @property
    def doubt(self) -> float:
        """Share by which lengths may be off, a standard deviation; NaN while not known."""
        factor, sigma = self.estimate
        return sigma / factor

    def observe(self, result: FrameResult, others: Iterable[FrameResult] = ()) -> None:
        """Measure with a frame, and see whether the estimate is another now.

        others: the latest frame of each camera in this world.
        """
        if self.source is None or (self._estimate.is_known and not self.settings.track):
            return
        self.source.measure(result, others, self._estimate)
        factor = self._estimate.factor
        if self._estimate.is_known and abs(math.log(factor / self.factor)) > STEP:
            self.factor = factor
