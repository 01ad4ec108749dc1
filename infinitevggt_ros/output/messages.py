# SPDX-License-Identifier: Apache-2.0
"""Messages made of arrays. Stamps and frames are those of the given header.

maker: as in `MessageMaker`; by default the messages are those of the sourced ROS.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from infinitevggt_ros.input.header import Header
from infinitevggt_ros.message_maker import ROS, MessageMaker

FLOAT32, UINT32 = 7, 6
"""Data types of sensor_msgs/PointField."""
CLOUD_TYPE = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<f4"), ("confidence", "<f4")]
)
"""Fields of a point."""
VOXEL_TYPE = np.dtype([*CLOUD_TYPE.descr, ("voxel", "<u4")])
"""Fields of a point that names its voxel."""


def float_image(header: Header, values: NDArray[np.float32], maker: MessageMaker = ROS) -> Any:
    """Return a sensor_msgs/Image, 32FC1 (REP-118), of an (H, W) array; NaN where unknown."""
    height, width = values.shape
    return maker.make(
        "sensor_msgs/msg/Image",
        header=header,
        height=height,
        width=width,
        encoding="32FC1",
        step=4 * width,
        data=np.ascontiguousarray(values, "<f4").reshape(-1).view(np.uint8),
    )


def camera_info(
    header: Header,
    matrix: NDArray[np.float64],
    size: tuple[int, ...],
    maker: MessageMaker = ROS,
) -> Any:
    """Return a sensor_msgs/CameraInfo without distortion for an image of `size` (height, width).

    A matrix that is not finite is published as zeros: uncalibrated.
    """
    known = np.asarray(matrix, dtype=float).reshape(3, 3)
    if not np.isfinite(known).all():
        known = np.zeros((3, 3))
    return maker.make(
        "sensor_msgs/msg/CameraInfo",
        header=header,
        height=size[0],
        width=size[1],
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=known.ravel(),
        r=np.eye(3).ravel(),
        p=np.hstack([known, np.zeros((3, 1))]).ravel(),
    )


def cloud(
    header: Header,
    points: NDArray[np.float32],
    colors: NDArray[np.float32],
    confidences: NDArray[np.float32],
    voxels: NDArray[np.int64] | None = None,
    maker: MessageMaker = ROS,
) -> Any:
    """Return a sensor_msgs/PointCloud2 with x y z rgb confidence, and voxel if voxels are given.

    points: (N, 3), colors: (N, 3) RGB in [0, 1], confidences: (N,), voxels: (N,).
    """
    rows = np.empty(len(points), dtype=CLOUD_TYPE if voxels is None else VOXEL_TYPE)
    rows["x"], rows["y"], rows["z"] = points.T
    rows["rgb"] = packed_rgb(colors)
    rows["confidence"] = confidences
    if voxels is not None:
        rows["voxel"] = voxels
    return maker.make(
        "sensor_msgs/msg/PointCloud2",
        header=header,
        height=1,
        width=len(rows),
        fields=_fields(rows.dtype, maker),
        point_step=rows.itemsize,
        row_step=rows.nbytes,
        data=rows.view(np.uint8),
        is_dense=bool(np.isfinite(points).all()),
    )


def occupancy_grid(
    header: Header,
    cells: NDArray[np.int8],
    resolution: float,
    origin: tuple[float, float, float],
    maker: MessageMaker = ROS,
) -> Any:
    """Return a nav_msgs/OccupancyGrid of cells (rows along y, columns along x).

    origin: the corner, m.
    """
    grid = maker.make("nav_msgs/msg/OccupancyGrid", header=header, data=cells.reshape(-1))
    grid.info.map_load_time = header.stamp
    grid.info.resolution = resolution
    grid.info.height, grid.info.width = cells.shape
    corner = grid.info.origin.position
    corner.x, corner.y, corner.z = origin
    grid.info.origin.orientation.w = 1.0
    return grid


def unpacked_rgb(packed: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return RGB (N, 3) in [0, 1] of colours packed by `packed_rgb`."""
    bits = np.ascontiguousarray(packed).view(np.uint32)
    channels = [(bits >> shift & 255).astype(np.float32) / 255 for shift in (16, 8, 0)]
    return np.stack(channels, axis=-1)


def packed_rgb(colors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pack RGB (N, 3) in [0, 1] into float32 (N,) whose bits are 0x00RRGGBB, as RViz reads them."""
    r, g, b = (np.clip(colors, 0, 1) * 255 + 0.5).astype(np.uint32).T
    return (r << 16 | g << 8 | b).view(np.float32)


def _fields(kind: np.dtype[Any], maker: MessageMaker) -> list[Any]:
    """Return the sensor_msgs/PointField of each field of a point."""
    return [
        maker.make(
            "sensor_msgs/msg/PointField",
            name=name,
            offset=offset,
            datatype=UINT32 if name == "voxel" else FLOAT32,
            count=1,
        )
        for name, (_, offset, *_) in (kind.fields or {}).items()
    ]
