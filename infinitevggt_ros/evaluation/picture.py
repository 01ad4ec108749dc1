# SPDX-License-Identifier: Apache-2.0
"""Pictures of the page: the map from above, and images as data URLs."""

import base64

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from infinitevggt_ros.viewer.pictures import BACKGROUND

WIDTH, HEIGHT = 1200, 800
SHOWN_SHARE = 98.0
"""Percentage of the points that sets the scale, so that outliers do not."""
HEADROOM = 0.1
"""Points above the camera by more than this share of the height of the map are ceiling, which is
not drawn."""
Pixels = NDArray[np.uint8]


def map_from_above(
    points: NDArray[np.float32],
    colors: NDArray[np.float32],
    path: NDArray[np.float64],
    keyframes: NDArray[np.float64] | None = None,
    loops: NDArray[np.float64] | None = None,
) -> Pixels:
    """Return (HEIGHT, WIDTH, 3) RGB: x (forward) upwards, y (left) to the left.

    points: (N, 3). colors: (N, 3) in [0, 1]. path: (M, 3), trajectory of the camera in the map;
    positions that are not finite are left out. keyframes: (K, 3). loops: (L, 2, 3), both ends of
    each loop closure.
    """
    path = path[np.isfinite(path).all(axis=1)]
    path = path if len(path) else np.zeros((1, 3))
    picture = np.full((HEIGHT, WIDTH, 3), BACKGROUND, np.uint8)
    if len(points) < 10:
        return picture
    tall = np.ptp(np.percentile(points[:, 2], (1, 99)))
    shown = points[:, 2] <= path[:, 2].max() + HEADROOM * tall
    if shown.sum() < 10:
        shown[:] = True
    order = np.argsort(points[shown][:, 2], kind="stable")  # higher points hide lower ones
    points, colors = points[shown][order], colors[shown][order]
    margin = (100 - SHOWN_SHARE) / 2
    low, high = np.percentile(points[:, :2], (margin, 100 - margin), axis=0)
    low, high = np.minimum(low, path[:, :2].min(0)), np.maximum(high, path[:, :2].max(0))
    scale = 0.92 * min(HEIGHT / max(high[0] - low[0], 1e-6), WIDTH / max(high[1] - low[1], 1e-6))
    middle = (low + high) / 2

    def pixels(places: NDArray[np.floating]) -> NDArray[np.int64]:
        row = HEIGHT / 2 - (places[:, 0] - middle[0]) * scale
        column = WIDTH / 2 - (places[:, 1] - middle[1]) * scale
        return np.stack((row, column), axis=1).round().astype(np.int64)

    size = int(np.clip(round(scale * _gap(points)), 2, 14))
    _splat(picture, pixels(points), (np.clip(colors, 0, 1) * 255).astype(np.uint8), size)
    line = pixels(path)[:, ::-1].astype(np.int32)
    cv2.polylines(picture, [line], False, (12, 14, 18), 7, cv2.LINE_AA)
    cv2.polylines(picture, [line], False, (255, 92, 57), 3, cv2.LINE_AA)
    for center in pixels(np.empty((0, 3)) if keyframes is None else keyframes)[:, ::-1].tolist():
        cv2.circle(picture, center, 4, (255, 214, 102), -1, cv2.LINE_AA)
    for one, other in [] if loops is None else loops:
        start, end = pixels(np.stack((one, other)))[:, ::-1].tolist()
        cv2.line(picture, start, end, (64, 192, 87), 2, cv2.LINE_AA)
    cv2.circle(picture, line[0].tolist(), 8, (255, 255, 255), -1, cv2.LINE_AA)
    return picture


def _splat(picture: Pixels, places: NDArray[np.int64], colors: Pixels, size: int) -> None:
    """Draw squares of `size` px, later ones over earlier ones."""
    for dr in range(size):
        for dc in range(size):
            row, column = places[:, 0] + dr - size // 2, places[:, 1] + dc - size // 2
            inside = (row >= 0) & (row < picture.shape[0])
            inside &= (column >= 0) & (column < picture.shape[1])
            picture[row[inside], column[inside]] = colors[inside]


def _gap(points: NDArray[np.float32]) -> float:
    """Return the median distance to the fourth nearest neighbour."""
    sample = points[:: max(1, len(points) // 2000)]
    return float(np.median(cKDTree(points).query(sample, k=5)[0][:, -1]))


def data_url(picture: Pixels, width: int = 0) -> str:
    """Return a picture as data URL of a JPEG. width: px after resizing; 0: unchanged."""
    if width:
        height = round(picture.shape[0] * width / picture.shape[1])
        resized = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LANCZOS4)
        picture = np.asarray(resized, dtype=np.uint8)
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 88])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"
