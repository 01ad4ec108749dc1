# SPDX-License-Identifier: Apache-2.0
"""Interface of a source of metres: one class per source, each in a file of its own.

A new source is named in `sources.py` and among the choices of `scale.source`.
"""

from abc import ABC, abstractmethod
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


class ScaleSource(ABC):
    """Compares lengths in metres with the same lengths in the stream's unit."""

    def __init__(self, settings: Settings, robot: Robot, warn: Warn) -> None:
        self._settings = settings
        self._robot = robot
        self._warn = warn

    @abstractmethod
    def measure(
        self, result: FrameResult, others: Iterable[FrameResult], estimate: ScaleEstimate
    ) -> None:
        """Add the measurements of a frame, if there are any, to the estimate.

        others: latest frame of each camera in this world.
        """

    def reset(self) -> None:  # noqa: B027, most sources have no state
        """Start with a new map, which has another unit."""

    def keep_depth(self, image: Image, camera: str) -> None:  # noqa: B027, one source needs it
        """Store an image on the camera's `depth`. Called in the executor."""

    def depth_at(
        self, camera: str, stamp_ns: int, calibration: Calibration | None
    ) -> NDArray[np.float32] | None:
        """Return the camera's depth (H, W), m, of any size, registered to its rectified image; None
        if there is none beside it."""
        return None
