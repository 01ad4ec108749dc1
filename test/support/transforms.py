# SPDX-License-Identifier: Apache-2.0
"""Transforms of a robot with a camera."""

from geometry_msgs.msg import TransformStamped
from scipy.spatial.transform import Rotation

OPTICAL = Rotation.from_quat((-0.5, 0.5, -0.5, 0.5))


def transform(parent: str, child: str, x: float, rotation: Rotation) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.transform.translation.x = x
    q = message.transform.rotation
    q.x, q.y, q.z, q.w = map(float, rotation.as_quat())
    return message
