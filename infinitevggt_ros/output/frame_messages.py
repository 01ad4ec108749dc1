# SPDX-License-Identifier: Apache-2.0
"""Messages of one frame's result.

maker: as in `MessageMaker`; by default the messages are those of the sourced ROS.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from infinitevggt_core import PointCloud
from infinitevggt_ros.input.header import Header
from infinitevggt_ros.map_axes import MapFromWorld
from infinitevggt_ros.message_maker import ROS, MessageMaker
from infinitevggt_ros.output import messages
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.params.settings import OutputSettings
from infinitevggt_ros.pose_messages import transform_from_matrix


@dataclass(frozen=True, slots=True)
class DepthMessages:
    """Depth of one frame, all with the stamp and the frame of its image."""

    image: Any
    """sensor_msgs/Image, 32FC1, NaN where confidence is too low."""
    info: Any
    """sensor_msgs/CameraInfo."""
    confidence: Any
    """sensor_msgs/Image, 32FC1."""


def depth_messages(
    result: FrameResult, settings: OutputSettings, maker: MessageMaker = ROS
) -> DepthMessages:
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
        messages.float_image(header, depth, maker),
        messages.camera_info(header, matrix, depth.shape, maker),
        messages.float_image(header, confidence, maker),
    )


def points_message(
    result: FrameResult, settings: OutputSettings, frame: str = "", maker: MessageMaker = ROS
) -> Any:
    """Return the frame's sensor_msgs/PointCloud2 in the optical frame.

    frame: name of the optical frame in the message; the image's own by default.
    """
    points = result.optical_points().astype(np.float32).reshape(-1, 3)
    confidence, colors = result.confidence.reshape(-1), result.colors.reshape(-1, 3)
    shown = (confidence >= settings.min_confidence) & np.isfinite(points).all(axis=-1)
    frame = frame or result.header.frame_id
    header = maker.make("std_msgs/msg/Header", stamp=result.header.stamp, frame_id=frame)
    arrays = points[shown], colors[shown], confidence[shown]
    return messages.cloud(header, *arrays, maker=maker)


def map_message(
    cloud: PointCloud,
    placement: MapFromWorld,
    header: Header,
    *,
    with_voxels: bool = False,
    maker: MessageMaker = ROS,
) -> Any:
    """Return a sensor_msgs/PointCloud2 of the fused map.

    header: names the map frame, in which `placement` places the cloud.
    """
    arrays = cloud.colors.numpy(), cloud.confidences.numpy()
    voxels = cloud.voxels.numpy() if with_voxels else None
    positions = placement.points(cloud.positions.numpy())
    return messages.cloud(header, positions, *arrays, voxels, maker)


def empty_map_message(frame: str, *, with_voxels: bool = False) -> Any:
    """Return an empty sensor_msgs/PointCloud2.

    Its stamp is zero, because that of the last image was sent already.
    """
    none = np.empty((0, 3), dtype=np.float32)
    voxels = np.empty(0, dtype=np.int64) if with_voxels else None
    header = ROS.make("std_msgs/msg/Header", frame_id=frame)
    return messages.cloud(header, none, none, none[:, 0], voxels)


def transform_message(
    parent: str,
    child: str,
    parent_from_child: np.ndarray,
    stamp: object,
    before: Any = None,
    maker: MessageMaker = ROS,
) -> Any:
    """Return a transform (4 x 4) as geometry_msgs/TransformStamped.

    before: previous rotation, for the sign.
    """
    return maker.make(
        "geometry_msgs/msg/TransformStamped",
        header=maker.make("std_msgs/msg/Header", stamp=stamp, frame_id=parent),
        child_frame_id=child,
        transform=transform_from_matrix(parent_from_child, before, maker),
    )
