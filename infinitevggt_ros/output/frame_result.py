# SPDX-License-Identifier: Apache-2.0
"""One image and what the stream made of it, on the host, in ROS axes."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Header
from torch import Tensor

from infinitevggt_core import Prediction
from infinitevggt_ros.axes import MAP_FROM_WORLD, map_from_optical
from infinitevggt_ros.input.intake import NetworkImage
from infinitevggt_ros.input.mailbox import Received


@dataclass(frozen=True, slots=True)
class FrameResult:
    """Arrays are at the network's resolution, for one camera."""

    received: Received
    image: NetworkImage
    prediction: Prediction
    """[1, ...]."""
    intrinsics: Tensor
    """[3, 3], px: calibrated where known, else predicted."""
    scale: float = 1.0
    """Lengths here per unit of the stream: metres once that is known."""
    map_from_world: NDArray[np.float64] = field(default_factory=MAP_FROM_WORLD.copy)
    """4 x 4, turns the stream's world into the map's axes."""
    metres_doubt: float = math.nan
    """Share by which lengths may be off, a standard deviation; NaN where they are no metres."""

    @property
    def header(self) -> Header:
        """The image's own: its stamp and optical frame."""
        return self.received.message.header

    @property
    def pose(self) -> NDArray[np.float64]:
        """4 x 4, the optical frame in the map."""
        camera_from_world = self.prediction.camera_from_world[0].double().cpu().numpy()
        pose = map_from_optical(camera_from_world, self.map_from_world)
        pose[:3, 3] *= self.scale
        return pose

    @property
    def is_placed(self) -> bool:
        """Whether the pose is finite."""
        return bool(np.isfinite(self.pose).all())

    @property
    def depth(self) -> NDArray[np.float32]:
        """[H, W], along the optical axis."""
        depth = np.asarray(self.prediction.depth[0].cpu().numpy(), dtype=np.float32)
        return depth * np.float32(self.scale)

    @property
    def confidence(self) -> NDArray[np.float32]:
        """[H, W], above 1."""
        return np.asarray(self.prediction.depth_confidence[0].cpu().numpy(), dtype=np.float32)
