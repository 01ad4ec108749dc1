"""One image and what the stream made of it, on the host, in ROS axes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Header
from torch import Tensor

from infinitevggt_core import PixelMap, Prediction
from infinitevggt_ros.axes import map_from_optical


@dataclass(frozen=True, slots=True)
class FrameResult:
    """Arrays are at the network's resolution, for one camera."""

    header: Header
    """The image's own: its stamp and optical frame."""
    image: Tensor
    """[3, H, W], RGB in [0, 1]."""
    prediction: Prediction
    """[1, ...]."""
    pixel_map: PixelMap
    intrinsics: Tensor
    """[3, 3], px: calibrated where known, else predicted."""

    @property
    def pose(self) -> NDArray[np.float64]:
        """4 x 4, the optical frame in the map."""
        return map_from_optical(self.prediction.camera_from_world[0].double().cpu().numpy())

    @property
    def depth(self) -> NDArray[np.float32]:
        """[H, W], along the optical axis."""
        return np.asarray(self.prediction.depth[0].cpu().numpy(), dtype=np.float32)

    @property
    def confidence(self) -> NDArray[np.float32]:
        """[H, W], above 1."""
        return np.asarray(self.prediction.depth_confidence[0].cpu().numpy(), dtype=np.float32)
