# SPDX-License-Identifier: Apache-2.0
"""Messages to the arrays a page takes."""

import math

import cv2
import numpy as np
from geometry_msgs.msg import Pose
from nav_msgs.msg import Path
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from sensor_msgs_py import point_cloud2

from infinitevggt_ros.evaluation.picture import depth_colors
from infinitevggt_ros.output.messages import BRIDGE, unpacked_rgb

UNKNOWN_VIEW = math.radians(60.0), 4 / 3
NEAR_FAR = (2, 98)
"""Per cent of the depths that the colours leave out at either end."""


def pose_arrays(pose: Pose) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Position (3,) and quaternion wxyz (4,)."""
    p, q = pose.position, pose.orientation
    return np.array([p.x, p.y, p.z]), np.array([q.w, q.x, q.y, q.z])


def path_segments(path: Path) -> NDArray[np.float32]:
    """(poses - 1, 2, 3): both ends of every piece of the way."""
    positions = [(p.pose.position.x, p.pose.position.y, p.pose.position.z) for p in path.poses]
    points = np.array(positions, dtype=np.float32).reshape(-1, 3)
    return np.stack((points[:-1], points[1:]), axis=1)


def cloud_arrays(cloud: PointCloud2, most: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Positions and RGB colours, (N, 3) each; an even choice where there are more than `most`."""
    rows = point_cloud2.read_points(cloud)
    if len(rows) > most:
        rows = rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]
    points = np.stack([rows[axis] for axis in "xyz"], axis=-1)
    return points, (unpacked_rgb(rows["rgb"]) * 255).round().astype(np.uint8)


def depth_picture(image: Image, width: int) -> NDArray[np.uint8]:
    """(h, width, 3) RGB: near is red, far is blue, dark is unknown."""
    height = max(1, round(image.height * width / image.width))
    depth = BRIDGE.imgmsg_to_cv2(image)
    depth = cv2.resize(depth, (width, height), interpolation=cv2.INTER_NEAREST)
    known = depth[np.isfinite(depth)]
    near, far = np.percentile(known, NEAR_FAR) if known.size else (0.0, 1.0)
    return depth_colors(depth, float(near), float(far), "turbo_r")


def view_angle(info: CameraInfo) -> tuple[float, float]:
    """Vertical field of view in radians, and width over height."""
    if not (info.k[4] > 0 and info.height and info.width):
        return UNKNOWN_VIEW
    return 2 * math.atan(info.height / 2 / info.k[4]), info.width / info.height
