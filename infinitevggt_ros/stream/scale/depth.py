# SPDX-License-Identifier: Apache-2.0
"""Scale by a depth camera, or a lidar that is projected into the camera's image."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from cv_bridge import CvBridge
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from infinitevggt_core.io.stamps import Recent
from infinitevggt_core.metric.scale_estimate import ScaleEstimate
from infinitevggt_ros.input.calibration import Calibration
from infinitevggt_ros.input.depth_images import metres_from_image
from infinitevggt_ros.input.image_conversion import stamp_ns
from infinitevggt_ros.input.image_gate import BadInputError
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.stream.scale.source import ScaleSource

KEPT = 128
"""Number of depth images kept, a few seconds: a frame needs its own when the network is done."""
KEPT_SIDE_PX = 120
"""Approximate number of rows or columns that are kept of a depth image."""
TOLERANCE_NS = 50_000_000
"""Largest time between an image and its depth."""
MIN_SHARE = 0.05
"""Smallest usable share of the depth image."""
Metres = NDArray[np.float32]
"""[H, W]."""


class Depth(ScaleSource):
    """Measures the median ratio over the pixels of each image."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._kept = defaultdict[str, Recent[Metres]](lambda: Recent(KEPT))  # by camera
        self._bridge = CvBridge()

    def keep_depth(self, image: Image, camera: str) -> None:
        try:
            metres = metres_from_image(image, self._bridge)
        except BadInputError as problem:
            self._warn("scale", f"`depth` is not used: {problem}")
            return
        step = max(1, min(metres.shape) // KEPT_SIDE_PX)
        thinned = metres[step // 2 :: step, step // 2 :: step].copy()
        self._kept[camera].add(stamp_ns(image), thinned)

    def depth_at(
        self, camera: str, stamp_ns: int, calibration: Calibration | None
    ) -> Metres | None:
        kept = self._kept[camera].nearest(stamp_ns, TOLERANCE_NS)
        if kept is None or calibration is None:
            return kept
        return calibration.rectified_depth(kept)

    def measure(
        self, result: FrameResult, others: Iterable[FrameResult], estimate: ScaleEstimate
    ) -> None:
        depth = self.depth_at(result.camera, result.stamp_ns, result.calibration)
        if depth is None:
            self._warn(
                "scale", "no image on `depth` beside the camera's: the scale is not measured"
            )
            return
        units = result.pixel_map.to_camera(result.depth_in_units)
        height, width = units.shape
        metres = np.asarray(cv2.resize(depth, (width, height), interpolation=cv2.INTER_NEAREST))
        usable = np.isfinite(metres) & (metres > 0) & np.isfinite(units) & (units > 0)
        if usable.mean() >= MIN_SHARE:
            estimate.add(float(np.median(metres[usable] / units[usable])), 1.0)
