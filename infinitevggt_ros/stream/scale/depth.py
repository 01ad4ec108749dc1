# SPDX-License-Identifier: Apache-2.0
"""Metres by a depth camera, or a lidar that is projected into the camera's image."""

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
from infinitevggt_ros.input.depth_images import metres_from_image
from infinitevggt_ros.input.image_conversion import stamp_ns
from infinitevggt_ros.input.image_gate import BadInputError
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.stream.scale.source import ScaleSource

KEPT = 128
"""Latest, a few seconds of them: a frame asks for its own when the network is done with it."""
KEPT_SIDE_PX = 120
"""What is kept of a depth image is thinned to about so many rows or columns."""
TOLERANCE_NS = 50_000_000
"""Greatest time between an image and its depth."""
LEAST_SHARE = 0.05
"""Of the depth image must be usable."""
Metres = NDArray[np.float32]
"""[H, W]."""


class Depth(ScaleSource):
    """The median ratio over the pixels of each image."""

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

    def measure(
        self, result: FrameResult, others: Iterable[FrameResult], estimate: ScaleEstimate
    ) -> None:
        camera = result.received.camera
        depth = self._kept[camera.name].nearest(stamp_ns(result.received.message), TOLERANCE_NS)
        if depth is None:
            self._warn(
                "scale", "no image on `depth` beside the camera's: the scale is not measured"
            )
            return
        units = result.image.pixel_map.to_camera(result.depth / np.float32(result.scale))
        height, width = units.shape
        depth = camera.intake.rectified_depth(depth, (height, width))
        metres = np.asarray(cv2.resize(depth, (width, height), interpolation=cv2.INTER_NEAREST))
        usable = np.isfinite(metres) & (metres > 0) & np.isfinite(units) & (units > 0)
        if usable.mean() >= LEAST_SHARE:
            estimate.add(float(np.median(metres[usable] / units[usable])), 1.0)
