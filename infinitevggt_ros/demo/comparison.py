# SPDX-License-Identifier: Apache-2.0
"""What the node said about a bag against what the bag knows to be true."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from cv_bridge import CvBridge
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import Image

from infinitevggt_core.evaluation import (
    DepthErrors,
    DepthSample,
    Similarity,
    TrajectoryErrors,
    trajectory_errors,
)
from infinitevggt_core.evaluation.trajectory import camera_centers
from infinitevggt_ros.bags.reader import BagReader
from infinitevggt_ros.bags.truth import BagTruth, NoTruthError
from infinitevggt_ros.input.depth_images import same_view
from infinitevggt_ros.input.image_conversion import stamp_ns
from infinitevggt_ros.input.intake import Intake
from infinitevggt_ros.params.settings import InputSettings

if TYPE_CHECKING:
    from infinitevggt_ros.demo.report import Recording

PIXELS_PER_FRAME = 2000
Rectify = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Of one recording."""

    trajectory: TrajectoryErrors
    depth: DepthErrors | None
    """None where the bag has no depth images."""
    turned_deg: float
    """Median turn of the true camera since the first image: the error of one that never turns."""
    true_positions: NDArray[np.float64]
    """(N, 3) of the camera, in the map and the unit of the stream."""

    def __str__(self) -> str:
        path = self.trajectory
        parts = [
            f"ATE {path.ate_percent:.1f} % of {path.path_length:.2f} m (Sim(3))",
            f"rotation error {path.rotation_deg_median:.1f} deg of {self.turned_deg:.1f} turned",
        ]
        if self.depth:
            parts.append(f"depth AbsRel {self.depth.absrel:.3f}")
            parts.append(f"delta < 1.25: {self.depth.delta125:.3f}")
        return ", ".join(parts)


def compare(
    bag: Path, image_topic: str, recording: Path, depth_topic: str, result: "Recording"
) -> Comparison | None:
    """None where the bag does not say how its camera moved.

    recording: the bag that `result` was read from, whose depth images are on `depth_topic`.
    """
    with BagReader(bag) as reader:
        truth = BagTruth(reader, image_topic)
        if truth.info is None or not truth.has_poses:
            return None
        frame = str(truth.info.header.frame_id)
        true_poses = np.stack([truth.camera_from_world(frame, ns) for ns in result.stamps_ns])
        known = np.isfinite(true_poses).all(axis=(1, 2))
        if known.sum() < 2:
            return None
        intake = Intake(InputSettings(), image_topic, lambda *_: None)
        intake.calibration = truth.info
        image_size = truth.info.height, truth.info.width
        rectified = partial(intake.rectified_depth, size=image_size)
        depth = _depth_errors(reader, truth, rectified, recording, depth_topic)
    found, true_poses = camera_from_map(result)[known], true_poses[known]
    centers = camera_centers(true_poses)
    into_map = Similarity.of(centers, camera_centers(found))
    standing = np.broadcast_to(np.eye(3, 4), true_poses.shape)
    turned_deg = trajectory_errors(standing, true_poses).rotation_deg_median
    errors = trajectory_errors(found, true_poses)
    return Comparison(errors, depth, turned_deg, into_map(centers))


def camera_from_map(result: "Recording") -> NDArray[np.float64]:
    """(N, 3, 4) of the optical frame."""
    rotation = Rotation.from_quat(result.quats_xyzw).inv().as_matrix()
    return np.concatenate((rotation, -rotation @ result.positions[..., None]), axis=-1)


def _depth_errors(
    reader: BagReader, truth: BagTruth, rectified: Rectify, recording: Path, topic: str
) -> DepthErrors | None:
    sample = DepthSample(PIXELS_PER_FRAME)
    with BagReader(recording) as results:
        for _, _, serialized in results.messages([topic]):
            message = deserialize_message(serialized, Image)
            found = np.asarray(CvBridge().imgmsg_to_cv2(message), dtype=np.float32)
            try:
                true_depth = truth.depth(reader, stamp_ns(message))
            except NoTruthError:
                continue
            if same_view(true_depth, found.shape):
                size = found.shape[1], found.shape[0]
                resized = cv2.resize(rectified(true_depth), size, interpolation=cv2.INTER_NEAREST)
                sample.add(found, np.asarray(resized, dtype=np.float32))
    try:
        return sample.errors()
    except ValueError:  # nothing to compare with
        return None
