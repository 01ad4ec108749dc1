# SPDX-License-Identifier: Apache-2.0
"""Sources of the scale by name."""

from infinitevggt_ros.stream.scale.baseline import Baseline
from infinitevggt_ros.stream.scale.camera_height import CameraHeight
from infinitevggt_ros.stream.scale.depth import Depth
from infinitevggt_ros.stream.scale.odometry import Odometry
from infinitevggt_ros.stream.scale.source import ScaleSource

SOURCES: dict[str, type[ScaleSource]] = {
    "odometry": Odometry,
    "depth": Depth,
    "baseline": Baseline,
    "camera_height": CameraHeight,
}
