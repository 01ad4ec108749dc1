# SPDX-License-Identifier: Apache-2.0
"""Camera images and depth of any size, made to fit a clip."""

import cv2
import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.model.preprocess import PixelMap


def fit_to(camera_size: tuple[int, int], height: int, width: int) -> PixelMap:
    """Scale until the clip's shape is filled, and cut what stands over evenly."""
    rows, cols = camera_size
    scale = max(height / rows, width / cols)
    scaled = (max(height, round(rows * scale)), max(width, round(cols * scale)))
    return PixelMap(
        camera_size=camera_size,
        model_size=(height, width),
        scale=(scaled[1] / cols, scaled[0] / rows),
        shift=(-((scaled[1] - width) // 2), -((scaled[0] - height) // 2)),
    )


def fit_image(image: NDArray[np.uint8], place: PixelMap) -> NDArray[np.float32]:
    """(H, W, 3) RGB -> (3, height, width) in [0, 1]."""
    rows, cols = place.camera_size
    size = (round(cols * place.scale[0]), round(rows * place.scale[1]))
    method = cv2.INTER_AREA if size[0] < cols else cv2.INTER_LINEAR
    resized = _cut(np.asarray(cv2.resize(image, size, interpolation=method)), place)
    return np.ascontiguousarray(resized.transpose(2, 0, 1), dtype=np.float32) / np.float32(255)


def fit_depth(depth: NDArray[np.float32], place: PixelMap) -> NDArray[np.float32]:
    """(H, W) -> (height, width), each pixel the nearest one: depths must not be mixed."""
    rows, cols = place.camera_size
    height, width = place.model_size
    row = (np.arange(height) - place.shift[1] + 0.5) / place.scale[1] * depth.shape[0] / rows
    col = (np.arange(width) - place.shift[0] + 0.5) / place.scale[0] * depth.shape[1] / cols
    row = row.astype(int).clip(0, depth.shape[0] - 1)
    col = col.astype(int).clip(0, depth.shape[1] - 1)
    return np.ascontiguousarray(depth[row[:, None], col])


def _cut(image: NDArray[np.uint8], place: PixelMap) -> NDArray[np.uint8]:
    top, left = -place.shift[1], -place.shift[0]
    height, width = place.model_size
    return image[top : top + height, left : left + width]
