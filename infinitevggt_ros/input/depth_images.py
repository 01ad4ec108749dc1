# SPDX-License-Identifier: Apache-2.0
"""Depth images as metres (REP-118)."""

import numpy as np
from cv_bridge import CvBridge
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from infinitevggt_ros.input.image_conversion import plain_image
from infinitevggt_ros.input.image_gate import BadInputError

ENCODINGS = {"32FC1": (1.0, 4), "16UC1": (0.001, 2), "mono16": (0.001, 2)}
"""Metres per unit, and bytes per pixel."""
SAME_ASPECT = 0.02
"""Proportions may differ by this share."""


def metres_from_image(message: Image, bridge: CvBridge) -> NDArray[np.float32]:
    """(H, W) along the optical axis. Raises BadInputError naming what is wrong with the message."""
    if message.encoding not in ENCODINGS:
        reason = f"encoding {message.encoding!r} is not one of {[*ENCODINGS]}"
        raise BadInputError("encoding", reason)
    unit_m, pixel_bytes = ENCODINGS[message.encoding]
    message = plain_image(message, message.encoding, pixel_bytes, pixel_bytes)
    try:
        values = np.asarray(bridge.imgmsg_to_cv2(message, "passthrough"))
    except Exception as error:  # cv_bridge raises whatever numpy or a dict lookup raises
        raise BadInputError("damaged", f"it cannot be read: {error}") from error
    return values.astype(np.float32) * np.float32(unit_m)


def same_view(depth: NDArray[np.float32], image_size: tuple[int, ...]) -> bool:
    """Return True if a depth map has the aspect ratio of images (height, width). A depth map with
    another one was cropped."""
    height, width = image_size
    return bool(abs(depth.shape[0] / depth.shape[1] * width / height - 1) < SAME_ASPECT)
