# SPDX-License-Identifier: Apache-2.0
"""Transforms that the tests of tf2_ros share."""

import numpy as np
import numpy.typing as npt
from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.time import Time
from scipy.spatial.transform import Rotation
from tf2_ros import Buffer

LATEST = Time()
UPRIGHT = (0.0, 0.0, 0.0, 1.0)
QUARTER_TURN = (0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5))  # about z, counterclockwise
OPTICAL = (-0.5, 0.5, -0.5, 0.5)  # x right, y down, z forward, in a body with x forward, z up
AUTHORITY = "test"


def at(seconds: float) -> Time:
    return Time(nanoseconds=round(seconds * 1e9))


def transform(
    parent: str,
    child: str,
    seconds: float = 0.0,
    xyz: tuple[float, ...] = (0.0, 0.0, 0.0),
    quaternion: tuple[float, ...] = UPRIGHT,
) -> TransformStamped:
    """The pose of `child` in `parent`, metres and xyzw."""
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.header.stamp = at(seconds).to_msg()
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = map(float, xyz)
    q.x, q.y, q.z, q.w = map(float, quaternion)
    return message


def filled(*transforms: TransformStamped, cache_time: Duration | None = None) -> Buffer:
    buffer = Buffer(cache_time)
    for one in transforms:
        buffer.set_transform(one, AUTHORITY)
    return buffer


def matrix(message: TransformStamped) -> npt.NDArray[np.float64]:
    """(4, 4) that takes points of the child to the parent."""
    t, q = message.transform.translation, message.transform.rotation
    result = np.eye(4)
    result[:3, :3] = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    result[:3, 3] = t.x, t.y, t.z
    return result


def camera_chain() -> Buffer:
    """map -> odom -> base -> optical; the samples of odom end at 5 s, those of base at 7 s."""
    buffer = filled(
        transform("map", "odom", 4.0, (1.0, 0.0, 0.0), QUARTER_TURN),
        transform("map", "odom", 5.0, (1.0, 0.0, 0.0), QUARTER_TURN),
        transform("odom", "base", 3.0, (0.0, 0.0, 0.0)),
        transform("odom", "base", 7.0, (4.0, 0.0, 0.0)),
    )
    static = transform("base", "optical", 0.0, (0.0, 0.0, 0.5), OPTICAL)
    buffer.set_transform_static(static, AUTHORITY)
    return buffer
