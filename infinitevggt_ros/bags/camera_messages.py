# SPDX-License-Identifier: Apache-2.0
"""Messages of a camera for bags, made without ROS."""

from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_typestore

_TYPES = get_typestore(Stores.ROS2_KILTED).types


def header_at(frame_id: str, stamp_ns: int) -> Any:
    """Return a std_msgs/Header."""
    stamp = _TYPES["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9))
    return _TYPES["std_msgs/msg/Header"](stamp, frame_id)


def raw_image(header: Any, pixels: np.ndarray, encoding: str) -> Any:
    """Return a sensor_msgs/Image of pixels (H, W) or (H, W, channels) in `encoding`."""
    little_endian = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
    return _TYPES["sensor_msgs/msg/Image"](
        header=header,
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=little_endian.strides[0],
        data=little_endian.reshape(-1).view(np.uint8),
    )


def pinhole_info(header: Any, matrix: np.ndarray, height: int, width: int) -> Any:
    """Return the sensor_msgs/CameraInfo of a camera without distortion. matrix: K (3, 3), px."""
    return _TYPES["sensor_msgs/msg/CameraInfo"](
        header=header,
        height=height,
        width=width,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=matrix.ravel(),
        r=np.eye(3).ravel(),
        p=np.hstack([matrix, np.zeros((3, 1))]).ravel(),
        binning_x=0,
        binning_y=0,
        roi=_TYPES["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
    )
