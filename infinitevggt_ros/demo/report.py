# SPDX-License-Identifier: Apache-2.0
"""Files and figures of a demo, from the bag of images and the recording of the node's results."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.evaluation import Similarity, trajectory_errors
from infinitevggt_core.evaluation.tally import (
    FrameMetrics,
    StreamTally,
    known_poses,
    measures,
    trajectory_measures,
)
from infinitevggt_core.evaluation.trajectory import camera_centers
from infinitevggt_core.io.ply import write_ply
from infinitevggt_core.io.tum import IN_THE_MAP, write_tum
from infinitevggt_core.model.model_card import model_note
from infinitevggt_ros.demo.overview import draw_overview
from infinitevggt_ros.demo.recording import Recording, read_depths, read_image, read_recording
from infinitevggt_ros.evaluation.bag_source import BagSource, BagSpec
from infinitevggt_ros.evaluation.frames import Truth
from infinitevggt_ros.input.depth_images import same_view
from infinitevggt_ros.input.image_conversion import stamp_ns
from infinitevggt_ros.input.network_image import ImageConverter
from infinitevggt_ros.params.settings import DEFAULT_CHECKPOINT, InputSettings

RANDOM_WEIGHTS = "RANDOM WEIGHTS: no trained checkpoint is loaded, this geometry is meaningless"
UNKNOWN_POSE = np.full((3, 4), np.nan)


def write_report(bag: Path, image_topic: str, recording: Path, out: Path) -> str:
    """Write trajectory.tum, map.ply and overview.png in `out`; return a summary in a few lines."""
    result = read_recording(recording)
    corrected = result.corrected
    write_tum(out / "trajectory.tum", result.stamps_ns, corrected[:, :3], corrected[:, 3:])
    write_ply(out / "map.ply", result.points, result.colors, result.confidences, IN_THE_MAP)
    image = read_image(bag, image_topic, result.depth_stamp_ns)
    last = result.statuses[-1]
    warning = RANDOM_WEIGHTS if last.random_weights else ""
    tally = compare(BagSource(BagSpec(bag, image_topic)), recording, result)
    figures = figures_lines(tally, poses_of(tally, result), len(result.loops))
    title = f"policy {last.policy}: {last.frames_processed} frames, {len(result.points)} points, "
    title += f"{sum(last.stored_tokens)} of at most {last.total_budget} tokens in memory"
    lines = [text for text in (warning, title, *figures) if text]
    draw_overview(
        out / "overview.png",
        image,
        result,
        "\n".join(lines),
        aligned_truth(tally, poses_of(tally, result)),
        bool(warning),
    )
    return "\n".join(
        [*([warning] if warning else []), *summary(result, recording, out), *truth_lines(figures)]
    )


def summary(result: Recording, recording: Path, out: Path) -> list[str]:
    """Return the lines about the run itself."""
    last = result.statuses[-1]
    times = [1e3 * status.inference for status in result.statuses if status.inference > 0]
    note = model_note(last.checkpoint or DEFAULT_CHECKPOINT)
    return [
        f"{last.frames_processed} images used, {last.frames_rejected} refused, "
        f"{last.frames_dropped} dropped; {np.median(times):.0f} ms a frame on {last.device}",
        f"memory: policy {last.policy}, {sum(last.stored_tokens)} tokens, "
        f"{last.memory_bytes / 1e6:.1f} MB; map: {len(result.points)} points",
        *([f"weights: {note}"] if note else []),
        f"files in {out}: {recording.name}, trajectory.tum, map.ply, overview.png",
    ]


def truth_lines(figures: list[str]) -> list[str]:
    """Return the lines about errors, if the bag holds the truth."""
    return ["errors against the truth in the bag:", *figures] if figures else []


def compare(source: BagSource, recording: Path, result: Recording) -> StreamTally:
    """Pair the results with the truth of the bag by stamp, as the evaluation of a bag does."""
    tally = StreamTally(max(1, source.frame_count))
    poses = dict(zip(result.stamps_ns, result.camera_from_map, strict=True))
    intake = ImageConverter(InputSettings(), source.topic, lambda *_: None)
    intake.calibration = source.calibration
    truths = ((stamp_ns(frame.message), frame) for frame in source.frames())
    depths = read_depths(recording)
    depth_ns, depth = next(depths, (-1, None))
    for ns, frame in truths:
        while depth is not None and depth_ns < ns:
            depth_ns, depth = next(depths, (-1, None))
        found = depth if depth_ns == ns else None
        size = _size(frame.message)
        tally.add(
            FrameMetrics(poses.get(ns, UNKNOWN_POSE), found),
            FrameMetrics(
                frame.truth.camera_from_world, _true_depth(frame.truth, found, size, intake)
            ),
        )
    return tally


def poses_of(tally: StreamTally, result: Recording) -> NDArray[np.float64]:
    """Return the corrected poses (N, 3, 4) of the tally's frames; NaN if unknown."""
    truth = tally.poses[1]
    poses = np.full((len(truth), 3, 4), np.nan)
    known = np.isfinite(tally.poses[0]).all(axis=(1, 2))
    poses[known] = result.corrected_camera_from_map[: known.sum()]
    return poses


def figures_lines(tally: StreamTally, corrected: NDArray[np.float64], loops: int) -> list[str]:
    """Return the errors, a line for each of the trajectories; empty if there is no truth.

    corrected: poses (N, 3, 4) after all corrections. loops: number of loop closures.
    """
    found = measures(tally)
    lines = []
    if found["trajectory"]:
        after = trajectory_measures(np.stack((corrected, tally.poses[1])))
        lines.append(f"live, before corrections: {_errors(found['trajectory']['sim3'])}")
        if after is not None:
            lines.append(
                f"corrected, {loops} loop closures: {_errors(after['sim3'])} of "
                f"{true_rotation_deg(tally):.1f} deg rotation"
            )
    if found["depth"]:
        errors = found["depth"]["scale"]
        lines.append(f"depth AbsRel {errors['absrel']:.3f}, delta < 1.25: {errors['delta125']:.3f}")
    return lines


def _errors(errors: dict[str, float]) -> str:
    return (
        f"ATE {errors['ate_rmse']:.3f} m, {errors['ate_percent']:.2f} % of "
        f"{errors['path_length']:.2f} m (Sim(3)-aligned), "
        f"rotation error {errors['rotation_deg_median']:.2f} deg"
    )


def true_rotation_deg(tally: StreamTally) -> float:
    """Return the median rotation of the true camera since the first image: the error of a camera
    that never rotates."""
    truth = tally.poses[1][known_poses(tally.poses)]
    fixed = np.broadcast_to(np.eye(3, 4), truth.shape)
    return trajectory_errors(fixed, truth).rotation_deg_median


def aligned_truth(tally: StreamTally, corrected: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the true positions (N, 3), Sim(3)-aligned to the corrected trajectory; None if there
    is no truth."""
    poses = np.stack((corrected, tally.poses[1]))
    if trajectory_measures(poses) is None:
        return None
    found, truth = poses[:, known_poses(poses)]
    centers = camera_centers(truth)
    return Similarity.of(centers, camera_centers(found))(centers)


def _size(message: Any) -> tuple[int, int]:
    return (message.height, message.width) if hasattr(message, "height") else (0, 0)


def _true_depth(
    truth: Truth, found: NDArray[np.float32] | None, size: tuple[int, int], intake: ImageConverter
) -> NDArray[np.float32] | None:
    """Return the true depth of the rectified image, in the size of the depth found."""
    if truth.depth is None or found is None or not same_view(truth.depth, found.shape):
        return None
    image_size = size if size != (0, 0) else (truth.depth.shape[0], truth.depth.shape[1])
    rectified = intake.rectified_depth(truth.depth, image_size)
    shape = found.shape[1], found.shape[0]
    return np.asarray(cv2.resize(rectified, shape, interpolation=cv2.INTER_NEAREST), np.float32)
