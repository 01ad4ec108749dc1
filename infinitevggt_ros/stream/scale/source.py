# SPDX-License-Identifier: Apache-2.0
"""What a source of metres is: one small class per source, in a file of its own, named in
`sources.py` and, with a word on it, among the choices of `scale.source`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from infinitevggt_core.metric.scale_estimate import ScaleEstimate
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.params.settings import Settings

Position = NDArray[np.float64]
"""[3]."""
Pose = NDArray[np.float64]
"""4 x 4."""


@dataclass(frozen=True, slots=True)
class Robot:
    """What the robot knows of itself."""

    position_in_odom: Callable[[Header], Position | None]
    """Of the camera at a header's stamp, metres; None where not known."""
    between: Callable[[str, str], Pose | None]
    """The second of two frames on the robot in the first, metres; None where not known."""


class ScaleSource(ABC):
    """Knows lengths in metres that the stream has in its own unit."""

    def __init__(self, settings: Settings, robot: Robot, warn: Callable[[str, str], None]) -> None:
        """warn(kind, text): the node's throttled warning."""
        self._settings = settings
        self._robot = robot
        self._warn = warn

    @abstractmethod
    def measure(
        self, result: FrameResult, others: Iterable[FrameResult], estimate: ScaleEstimate
    ) -> None:
        """Add to the estimate what a frame tells, if it tells anything.

        others: the latest frame of each camera in this world.
        """

    def forget(self) -> None:  # noqa: B027, most have nothing to forget
        """A new map has another unit."""

    def keep_depth(self, image: Image, camera: str) -> None:  # noqa: B027, one source needs it
        """Take an image on the camera's `depth`, from the executor."""
