"""The sources by name."""

from infinitevggt_ros.scale.baseline import Baseline
from infinitevggt_ros.scale.camera_height import CameraHeight
from infinitevggt_ros.scale.depth import Depth
from infinitevggt_ros.scale.odometry import Odometry
from infinitevggt_ros.scale.source import ScaleSource

SOURCES: dict[str, type[ScaleSource]] = {
    "odometry": Odometry,
    "depth": Depth,
    "baseline": Baseline,
    "camera_height": CameraHeight,
}
