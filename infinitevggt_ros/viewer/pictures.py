# SPDX-License-Identifier: Apache-2.0
"""Depth maps in colours."""

import math

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray

BACKGROUND = (16, 20, 27)
"""RGB of the page and of unknown depth."""
UNKNOWN_VIEW = math.radians(60.0), 4 / 3
"""Vertical field of view (rad) and aspect ratio of a camera without calibration."""
NEAR_FAR = (2, 98)
"""Percentiles of depth at both ends of the colour map."""


def depth_colors(
    depth: NDArray[np.float32], low: float, high: float, name: str
) -> NDArray[np.uint8]:
    """Return RGB (H, W, 3) of depth (H, W) by a colour map of matplotlib; dark if unknown."""
    shade = np.clip((depth - low) / max(high - low, 1e-9), 0, 1)
    colored = (matplotlib.colormaps[name](np.nan_to_num(shade))[..., :3] * 255).astype(np.uint8)
    colored[~np.isfinite(depth)] = BACKGROUND
    return colored


def depth_picture(depth: NDArray[np.float32], width: int) -> NDArray[np.uint8]:
    """Return RGB (h, width, 3) of depth (H, W): near is red, far is blue, unknown is dark."""
    height = max(1, round(depth.shape[0] * width / depth.shape[1]))
    resized = cv2.resize(depth, (width, height), interpolation=cv2.INTER_NEAREST)
    depth = np.asarray(resized, dtype=np.float32)
    known = depth[np.isfinite(depth)]
    near, far = np.percentile(known, NEAR_FAR) if known.size else (0.0, 1.0)
    return depth_colors(depth, float(near), float(far), "turbo_r")
