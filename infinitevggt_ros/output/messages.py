# SPDX-License-Identifier: Apache-2.0
"""Messages made of arrays. Stamps and frames are copied from the given header."""

import numpy as np
from cv_bridge import CvBridge
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from sensor_msgs_py import point_cloud2
from std_msgs.msg import Header

BRIDGE = CvBridge()
CLOUD_FIELDS = [
    PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
    for i, name in enumerate(("x", "y", "z", "rgb", "confidence"))
]

VOXEL_FIELD = PointField(name="voxel", offset=20, datatype=PointField.UINT32, count=1)


def float_image(header: Header, values: NDArray[np.float32]) -> Image:
    """Return a 32FC1 image (REP-118) of an (H, W) array; NaN where there is no value."""
    return BRIDGE.cv2_to_imgmsg(np.ascontiguousarray(values), encoding="32FC1", header=header)


def camera_info(header: Header, matrix: NDArray[np.float64], size: tuple[int, ...]) -> CameraInfo:
    """Return a pinhole CameraInfo without distortion for an image of `size` (height, width).

    A matrix that is not finite is published as zeros: uncalibrated.
    """
    known = bool(np.isfinite(matrix).all())
    k = [float(value) if known else 0.0 for value in np.asarray(matrix, dtype=float).reshape(9)]
    info = CameraInfo(header=header, height=size[0], width=size[1])
    info.distortion_model = "plumb_bob"
    info.d = [0.0] * 5
    info.k = k
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [*k[0:3], 0.0, *k[3:6], 0.0, *k[6:9], 0.0]
    return info


def cloud(
    header: Header,
    points: NDArray[np.float32],
    colors: NDArray[np.float32],
    confidences: NDArray[np.float32],
    voxels: NDArray[np.int64] | None = None,
) -> PointCloud2:
    """Return a PointCloud2 with x y z rgb confidence, and voxel if voxels are given.

    points: (N, 3), colors: (N, 3) RGB in [0, 1], confidences: (N,), voxels: (N,).
    """
    fields = CLOUD_FIELDS if voxels is None else [*CLOUD_FIELDS, VOXEL_FIELD]
    rows = np.empty(len(points), dtype=point_cloud2.dtype_from_fields(fields))
    rows["x"], rows["y"], rows["z"] = points.T
    rows["rgb"] = packed_rgb(colors)
    rows["confidence"] = confidences
    if voxels is not None:
        rows["voxel"] = voxels
    message = point_cloud2.create_cloud(header, fields, rows)
    message.is_dense = bool(np.isfinite(points).all())
    return message


def occupancy_grid(
    header: Header,
    cells: NDArray[np.int8],
    resolution: float,
    origin: tuple[float, float, float],
) -> OccupancyGrid:
    """Return a grid of cells (rows along y, columns along x), with the corner `origin`, m."""
    grid = OccupancyGrid(header=header)
    grid.info.map_load_time = header.stamp
    grid.info.resolution = resolution
    grid.info.height, grid.info.width = cells.shape
    corner = grid.info.origin.position
    corner.x, corner.y, corner.z = origin
    grid.info.origin.orientation.w = 1.0
    grid.data.frombytes(np.ascontiguousarray(cells).tobytes())
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
