# SPDX-License-Identifier: Apache-2.0
"""A curved surface, seen through a lens: its depth as the lens shows it and without the lens."""

from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo

HEIGHT, WIDTH, FOCAL = 80, 120, 100.0
LENSES = {
    "plumb_bob": (-0.3, 0.1, 0.001, -0.002, 0.02),
    "rational_polynomial": (0.5, 0.1, 0.0, 0.0, 0.01, 0.7, 0.2, 0.03),
    "equidistant": (-0.05, 0.01, 0.002, -0.001),
}
K = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
NEAREST = 0.06
"""Largest distance of the nearest pixel on the surface, metres."""


def lens_info(model: str) -> CameraInfo:
    info = CameraInfo(height=HEIGHT, width=WIDTH, distortion_model=model, d=LENSES[model])
    info.k = K.ravel().tolist()
    return info


def surface(rays: Any) -> Any:
    """Depth (..., metres) along rays (x, y, 1), given as (..., 2)."""
    return (2 + rays[..., 0] + 3 * (rays**2).sum(-1)).astype(np.float32)


def true_depth() -> Any:
    """(HEIGHT, WIDTH) without the lens."""
    return surface((_pixels() - K[:2, 2]) / FOCAL)


def seen_depth(model: str) -> Any:
    """(HEIGHT, WIDTH) as the lens shows it, by OpenCV's inverse of the lens for points."""
    points, d = _pixels().reshape(-1, 1, 2), np.array(LENSES[model])
    if model == "equidistant":
        rays = cv2.fisheye.undistortPoints(points, K, d)
    else:
        stop = (cv2.TERM_CRITERIA_MAX_ITER | cv2.TERM_CRITERIA_EPS, 100, 1e-9)
        rays = cv2.undistortPointsIter(points, K, d, np.eye(3), np.eye(3), stop)
    return surface(rays.reshape(HEIGHT, WIDTH, 2))


def _pixels() -> Any:
    """(HEIGHT, WIDTH, 2) their u and v."""
    return np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), axis=-1).astype(float)
