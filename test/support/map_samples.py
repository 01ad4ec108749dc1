# SPDX-License-Identifier: Apache-2.0
"""Maps that take every point, and points and views for them."""

import torch

from infinitevggt_core import MapConfig, PointMap

ALL = MapConfig(voxel_size=0.1, max_points=1000, keep_fraction=1.0, pixel_stride=1)
"""Takes every point."""
NAN, INF = float("nan"), float("inf")
FRONT = torch.eye(3, 4)
"""A camera at the origin that looks along z."""
K = torch.tensor([[10.0, 0, 4], [0, 10, 4], [0, 0, 1]])


def insert(
    point_map: PointMap,
    points: list[list[float]],
    confidences: list[float] | None = None,
    colors: list[list[float]] | None = None,
) -> int:
    """Points [N, 3] as an image of one row."""
    positions = torch.tensor(points)[None]
    weights = (
        torch.full((1, len(points)), 2.0) if confidences is None else torch.tensor([confidences])
    )
    rgb = torch.zeros(len(points), 3) if colors is None else torch.tensor(colors)
    return point_map.insert(positions, rgb.T[:, None], weights)


def row(count: int, y: float = 0.05) -> list[list[float]]:
    """`count` points, each in a voxel of its own."""
    return [[0.05 + 0.1 * i, y, 0.05] for i in range(count)]
