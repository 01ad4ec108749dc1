# SPDX-License-Identifier: Apache-2.0
"""Messages of one frame's result."""

from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import Quaternion, TransformStamped
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header

from infinitevggt_core import PointCloud
from infinitevggt_ros.axes import MapFromWorld, transform_from_matrix
from infinitevggt_ros.output import messages
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.params.settings import OutputSettings


@dataclass(frozen=True, slots=True)
class DepthMessages:
    """Depth of one frame, all with the stamp and the frame of its image."""

    image: Image
    """32FC1, NaN where confidence is too low."""
    info: CameraInfo
    confidence: Image
    """32FC1."""


def depth_messages(result: FrameResult, settings: OutputSettings) -> DepthMessages:
    """Return depth, its calibration and its confidence at the resolution of the settings."""
    depth, confidence, matrix = result.depth, result.confidence, result.intrinsics
    hidden = (confidence < settings.min_confidence) | ~np.isfinite(depth)
    depth = np.where(hidden, np.float32(np.nan), depth)
    if settings.depth_resolution == "camera":
        pixels = result.pixel_map
        depth, confidence = pixels.to_camera(depth), pixels.to_camera(confidence)
        matrix = pixels.camera_intrinsics(matrix)
    header = result.header
    return DepthMessages(
        messages.float_image(header, depth),
        messages.camera_info(header, matrix, depth.shape),
        messages.float_image(header, confidence),
    )


def points_message(result: FrameResult, settings: OutputSettings, frame: str = "") -> PointCloud2:
    """Return the frame's point cloud in the optical frame.

    frame: name of the optical frame in the message; the image's own by default.
    """
    points = result.optical_points().astype(np.float32).reshape(-1, 3)
    confidence, colors = result.confidence.reshape(-1), result.colors.reshape(-1, 3)
    shown = (confidence >= settings.min_confidence) & np.isfinite(points).all(axis=-1)
    header = Header(stamp=result.header.stamp, frame_id=frame or result.header.frame_id)
    return messages.cloud(header, points[shown], colors[shown], confidence[shown])


def map_message(
    cloud: PointCloud, placement: MapFromWorld, header: Header, *, with_voxels: bool = False
) -> PointCloud2:
    """Return a cloud of the fused map, placed in the map frame that the header names."""
    arrays = cloud.colors.numpy(), cloud.confidences.numpy()
    voxels = cloud.voxels.numpy() if with_voxels else None
    return messages.cloud(header, placement.points(cloud.positions.numpy()), *arrays, voxels)


def empty_map_message(frame: str, *, with_voxels: bool = False) -> PointCloud2:
    """Return an empty cloud. Its stamp is zero, because that of the last image was sent already."""
    none = np.empty((0, 3), dtype=np.float32)
    voxels = np.empty(0, dtype=np.int64) if with_voxels else None
    return messages.cloud(Header(frame_id=frame), none, none, none[:, 0], voxels)


def transform_message(
    parent: str,
    child: str,
    parent_from_child: np.ndarray,
    stamp: object,
    before: Quaternion | None = None,
) -> TransformStamped:
    """Return a transform (4 x 4) as a message. before: previous rotation, for the sign."""
    message = TransformStamped(
        child_frame_id=child, transform=transform_from_matrix(parent_from_child, before)
    )
    message.header.stamp = stamp
    message.header.frame_id = parent
    return message
