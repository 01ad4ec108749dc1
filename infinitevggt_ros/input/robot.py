# SPDX-License-Identifier: Apache-2.0
"""Known poses of frames on the robot."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from infinitevggt_ros.input.header import Header

Position = NDArray[np.float64]
"""(3,), m."""
Pose = NDArray[np.float64]
"""4 x 4, m."""


class Robot(Protocol):
    """Answers questions about the robot's own frames. Lengths are in metres."""

    def position_in_odom(self, header: Header) -> Position | None:
        """Return the position of the header's frame in the odometry frame at its stamp; None if
        unknown."""
        ...

    def between(self, frame: str, other: str) -> Pose | None:
        """Return the latest pose of `other` in `frame`; None if unknown."""
        ...

    def pose_of(self, frame: str, header: Header) -> Pose | None:
        """Return the pose of `frame` in the header's frame at its stamp; None if unknown."""
        ...

    def forget_time(self) -> None:
        """Discard time-dependent poses, because time starts again."""
        ...


class UnknownRobot:
    """A robot whose frames are unknown, as in offline evaluation."""

    def position_in_odom(self, header: Header) -> Position | None:
        return None

    def between(self, frame: str, other: str) -> Pose | None:
        return None

    def pose_of(self, frame: str, header: Header) -> Pose | None:
        return None

    def forget_time(self) -> None:
        """Nothing is known."""
