"""How many metres the stream's unit has, from what else the robot knows (`scale.source`)."""

import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterable

import cv2
import numpy as np
import torch
from cv_bridge import CvBridge
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from infinitevggt_core.floor import floor_distance
from infinitevggt_core.geometry import unproject
from infinitevggt_core.scale import ScaleEstimate
from infinitevggt_ros.depth_images import metres_from_image
from infinitevggt_ros.frame_result import FrameResult
from infinitevggt_ros.image_gate import BadInputError
from infinitevggt_ros.images import stamp_ns
from infinitevggt_ros.settings import ScaleSettings

KEPT_DEPTHS = 128
"""Latest, a few seconds of them: a frame asks for its own when the network is done with it."""
KEPT_SIDE_PX = 120
"""What is kept of a depth image is thinned to about so many rows or columns."""
DEPTH_TOLERANCE_NS = 50_000_000
"""Greatest time between an image and its depth."""
RIG_TOLERANCE_NS = 20_000_000
"""Greatest time between images of two cameras that stand where they stand on the robot."""
LEAST_SHARE = 0.05
"""Of the depth image must be usable."""
STEP = 0.01
"""A new estimate is used when it differs by this share, so that lengths do not tremble."""
Position = NDArray[np.float64]
Depth = NDArray[np.float32]
"""[H, W] metres."""


class StreamScale:
    """Measures with every frame; `factor` is what lengths are multiplied by."""

    def __init__(
        self,
        settings: ScaleSettings,
        position_in_odom: Callable[[Header], Position | None],
        distance: Callable[[str, str], float | None],
        warn: Callable[[str, str], None],
    ) -> None:
        """position_in_odom: of the camera at a header's stamp, metres. distance: of two frames on
        the robot, metres. Both None where not known. warn(kind, text)."""
        self.settings = settings
        self._depths = defaultdict[str, deque[tuple[int, Depth]]](lambda: deque(maxlen=KEPT_DEPTHS))
        # by camera; stamps in ns
        self._position_in_odom = position_in_odom
        self._distance = distance
        self._warn = warn
        self._bridge = CvBridge()
        self.reset()

    def reset(self) -> None:
        """A new map has another unit."""
        self.factor = 1.0
        self._estimate = ScaleEstimate(self.settings.samples)
        self._from: tuple[Position, Position] | None = None  # in the stream, in odom

    def state(self) -> tuple[float, list[float]]:
        """The factor and the measurements, for a snapshot."""
        return self.factor, self._estimate.state()

    def restore(self, factor: float, estimate: ScaleEstimate) -> None:
        """Go on with what was measured before."""
        self.reset()
        self.factor, self._estimate = factor, estimate

    def keep(self, image: Image, camera: str = "") -> None:
        """Take an image of the camera's depth, from the executor."""
        metres = self._metres(image)
        if metres is not None:
            self._depths[camera].append((stamp_ns(image), metres))

    @property
    def is_metric(self) -> bool:
        return self._estimate.is_known

    @property
    def estimate(self) -> tuple[float, float]:
        """Metres per unit and its standard deviation; NaN while not known."""
        return self._estimate.factor, self._estimate.sigma

    def observe(self, result: FrameResult, others: Iterable[FrameResult] = ()) -> None:
        """Measure with a frame, and see whether the estimate is another now.

        others: the latest frame of each camera in this world.
        """
        source = self.settings.source
        if source == "none" or (self._estimate.is_known and not self.settings.track):
            return
        if source == "odometry":
            self._compare_motion(result)
        elif source == "depth":
            self._compare_depth(result)
        elif source == "baseline":
            self._compare_baselines(result, others)
        else:
            self._compare_height(result)
        factor = self._estimate.factor
        if self._estimate.is_known and abs(math.log(factor / self.factor)) > STEP:
            self.factor = factor

    def _compare_motion(self, result: FrameResult) -> None:
        in_odom = self._position_in_odom(result.header)
        in_stream = result.pose[:3, 3] / result.scale
        if in_odom is None or not np.isfinite(in_stream).all():
            return
        if self._from is None:
            self._from = in_stream, in_odom
        before_stream, before_odom = self._from
        metres = float(np.linalg.norm(in_odom - before_odom))
        if metres >= self.settings.min_motion:
            self._estimate.add(metres, float(np.linalg.norm(in_stream - before_stream)))
            self._from = in_stream, in_odom

    def _compare_baselines(self, result: FrameResult, others: Iterable[FrameResult]) -> None:
        at_ns, here = stamp_ns(result.received.message), result.pose[:3, 3] / result.scale
        for other in others:
            late_ns = abs(stamp_ns(other.received.message) - at_ns)
            if other.received.camera is result.received.camera or late_ns > RIG_TOLERANCE_NS:
                continue
            frames = result.header.frame_id, other.header.frame_id
            metres = self._distance(*frames)
            if metres is None:
                self._warn(
                    "scale", f"no transform between {' and '.join(frames)}: no scale from it"
                )
                continue
            self._estimate.add(
                metres, float(np.linalg.norm(here - other.pose[:3, 3] / other.scale))
            )

    def _compare_depth(self, result: FrameResult) -> None:
        at_ns = stamp_ns(result.received.message)
        depths = list(self._depths[result.received.camera.name])
        near = min(depths, key=lambda kept: abs(kept[0] - at_ns), default=None)
        if near is None or abs(near[0] - at_ns) > DEPTH_TOLERANCE_NS:
            self._warn(
                "scale", "no image on `depth` beside the camera's: the scale is not measured"
            )
            return
        units = result.image.pixel_map.to_camera(result.depth / np.float32(result.scale))
        height, width = units.shape
        depth = result.received.camera.intake.rectified_depth(near[1], (height, width))
        metres = np.asarray(cv2.resize(depth, (width, height), interpolation=cv2.INTER_NEAREST))
        usable = np.isfinite(metres) & (metres > 0) & np.isfinite(units) & (units > 0)
        if usable.mean() >= LEAST_SHARE:
            self._estimate.add(float(np.median(metres[usable] / units[usable])), 1.0)

    def _compare_height(self, result: FrameResult) -> None:
        depth = torch.from_numpy(result.depth / np.float32(result.scale))
        points = unproject(depth, result.intrinsics).numpy()
        down = -result.pose[2, :3]  # the map's z axis in the camera's axes, turned round
        distance = floor_distance(points, down)
        if distance is not None:
            self._estimate.add(self.settings.camera_height, distance)
        elif not self._estimate.is_known:
            self._warn("scale", "no floor in sight: the scale is not measured")

    def _metres(self, image: Image) -> Depth | None:
        """Thinned; None if it cannot be used."""
        try:
            metres = metres_from_image(image, self._bridge)
        except BadInputError as problem:
            self._warn("scale", f"`depth` is not used: {problem}")
            return None
        step = max(1, min(metres.shape) // KEPT_SIDE_PX)
        return metres[step // 2 :: step, step // 2 :: step].copy()
