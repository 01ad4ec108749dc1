"""Known intrinsics from CameraInfo."""

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo

from infinitevggt_ros.image_gate import BadInputError


def camera_matrix(info: CameraInfo, size: tuple[int, int]) -> NDArray[np.float64] | None:
    """K (3 x 3, px) of images of `size` (height, width); None where the camera says it has none.

    K[0] == 0 means uncalibrated (sensor_msgs/CameraInfo). Raises BadInputError for a calibration
    that is not of these images.
    """
    k = np.asarray(info.k, dtype=float).reshape(3, 3)
    if k[0, 0] == 0:
        return None
    if not np.isfinite(k).all() or k[0, 0] < 0 or k[1, 1] <= 0:
        raise BadInputError("calibration", f"its K is no camera matrix: {k.ravel().tolist()}")
    if (info.height, info.width) != size:
        raise BadInputError(
            "calibration",
            f"it is of {info.width}x{info.height} px, the images have {size[1]}x{size[0]} px",
        )
    return k


def is_distorted(info: CameraInfo) -> bool:
    """Whether the calibration has lens distortion, which the network knows nothing of."""
    return any(abs(coefficient) > 1e-9 for coefficient in info.d)
