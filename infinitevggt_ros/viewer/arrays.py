# SPDX-License-Identifier: Apache-2.0
"""Convert messages to arrays for the page."""

import math

import numpy as np
from cv_bridge import CvBridge
from geometry_msgs.msg import Pose
from nav_msgs.msg import Path
from numpy.typing import NDArray
from rcl_interfaces.msg import ParameterDescriptor
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from sensor_msgs_py import point_cloud2

from infinitevggt_ros.output.messages import unpacked_rgb
from infinitevggt_ros.viewer import pictures
from infinitevggt_ros.viewer.controls import Control
from infinitevggt_ros.viewer.pictures import UNKNOWN_VIEW

BRIDGE = CvBridge()
CHOICES = "one of: "
"""Beginning of the constraints of a parameter with choices."""


def pose_arrays(pose: Pose) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the position (3,) and the quaternion wxyz (4,)."""
    p, q = pose.position, pose.orientation
    return np.array([p.x, p.y, p.z]), np.array([q.w, q.x, q.y, q.z])


def path_segments(path: Path) -> NDArray[np.float32]:
    """Return both ends of every segment of the path, (poses - 1, 2, 3)."""
    positions = [(p.pose.position.x, p.pose.position.y, p.pose.position.z) for p in path.poses]
    points = np.array(positions, dtype=np.float32).reshape(-1, 3)
    return np.stack((points[:-1], points[1:]), axis=1)


def cloud_arrays(cloud: PointCloud2, most: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return positions and RGB colours, (N, 3) each, evenly thinned to at most `most`."""
    rows = point_cloud2.read_points(cloud)
    if len(rows) > most:
        rows = rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]
    points = np.stack([rows[axis] for axis in "xyz"], axis=-1)
    return points, (unpacked_rgb(rows["rgb"]) * 255).round().astype(np.uint8)


def depth_picture(image: Image, width: int) -> NDArray[np.uint8]:
    """Return RGB (h, width, 3) of a depth image."""
    return pictures.depth_picture(BRIDGE.imgmsg_to_cv2(image), width)


def view_angle(info: CameraInfo) -> tuple[float, float]:
    """Return the vertical field of view (rad) and the aspect ratio, width over height."""
    if not (info.k[4] > 0 and info.height and info.width):
        return UNKNOWN_VIEW
    return 2 * math.atan(info.height / 2 / info.k[4]), info.width / info.height


def control_of(descriptor: ParameterDescriptor) -> Control:
    """Return the control of a parameter."""
    limits = [bounds.from_value for bounds in descriptor.integer_range]
    words = descriptor.additional_constraints
    choices = tuple(words.removeprefix(CHOICES).split(", ")) if words.startswith(CHOICES) else ()
    return Control(descriptor.description, choices, limits[0] if limits else 1)
