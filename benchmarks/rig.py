# SPDX-License-Identifier: Apache-2.0
"""Scale from the baseline of a camera rig: `python -m benchmarks.rig`.

Two cameras, side by side, move through synthetic worlds. Their images alternate in one stream. The
scale estimated from their baseline (scale.source: baseline) is compared with the true one: by the
network's poses (pose.source: network) with that of its depth, and by the points that are tracked in
the left images (pose.source: tracking) with that of these points.
"""

import argparse
import copy
from dataclasses import dataclass
from statistics import median

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infinitevggt_core import VGGT, StreamSession, load_checkpoint
from infinitevggt_core.metric.baseline import predicted_baseline
from infinitevggt_core.metric.scale_estimate import ScaleEstimate
from infinitevggt_core.metric.stereo_scale import CalibratedView, stereo_scale
from infinitevggt_core.tracking import CameraView, TrackedFrame, TrackedStream
from infinitevggt_core.tracking.tracked_frame import LEAST_PARALLAX
from infinitevggt_core.worlds import World, WorldFrame

HEIGHT, WIDTH = 240, 320
LEVEL = "easy"
SAMPLES = 10


@dataclass(frozen=True, slots=True)
class RigScale:
    """Metres per unit of one stream."""

    by_baseline: float
    sigma: float
    by_depth: float
    """Median of true to predicted depth."""
    by_points: float
    points_sigma: float
    of_points: float
    """Median of true to tracked depth."""


def world_to_the_right(world: World, baseline_m: float) -> World:
    """World seen by a camera `baseline_m` to the right of the original one."""
    right = copy.copy(world)
    right.trajectory = copy.copy(world.trajectory)
    poses = world.trajectory.camera_from_world

    def moved(times: Tensor) -> Tensor:
        pose = poses(times).clone()
        pose[..., 0, 3] -= baseline_m
        return pose

    right.trajectory.camera_from_world = moved  # type: ignore[method-assign]
    return right


def measure(model: VGGT, seed: int, baseline_m: float, frames: int) -> RigScale:
    left = World(seed, LEVEL)
    worlds = left, world_to_the_right(left, baseline_m)
    session, estimate, depths = StreamSession(model), ScaleEstimate(SAMPLES), []
    tracked, by_points = TrackedStream(background=False), ScaleEstimate(SAMPLES)
    ratios: list[float] = []
    right_from_left = np.eye(3, 4)
    right_from_left[0, 3] = -baseline_m
    for index, pair in enumerate(
        zip(*(world.sequence(frames, HEIGHT, WIDTH) for world in worlds), strict=True)
    ):
        pictures = [(frame.image.permute(1, 2, 0) * 255).round().byte().numpy() for frame in pair]
        shown = [model.preprocess(picture) for picture in pictures]
        predictions = [session.push(pixels) for pixels, _ in shown]
        estimate.add(baseline_m, *predicted_baseline(*predictions, np.eye(3)))
        for (_, pixel_map), frame, found in zip(shown, pair, predictions, strict=True):
            true_depth = torch.from_numpy(pixel_map.to_model(frame.depth.numpy()))
            depths.append(float((true_depth / found.depth[0].cpu()).median()))
        grays = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures]
        views = [
            CalibratedView(gray, frame.intrinsics.numpy())
            for gray, frame in zip(grays, pair, strict=True)
        ]
        located = tracked.locate(
            CameraView(
                gray=views[0].gray,
                intrinsics=views[0].intrinsics,
                depth=predictions[0].depth[0].float().numpy(),
                depth_from_gray=shown[0][1].model_intrinsics(np.eye(3)),
                prior=predictions[0].camera_from_world[0].double().numpy(),
                stamp_s=index / 30,
            )
        )
        good = located.frame.parallax > LEAST_PARALLAX
        pixels, tracked_depths = located.frame.pixels[good], located.frame.depths[good]
        scale = stereo_scale(*views, right_from_left, pixels, tracked_depths * located.unit)
        if scale is not None:
            by_points.add(baseline_m, baseline_m / scale[0], scale[1])
        if good.any():
            ratios.append(true_ratio(pair[0], located.frame, good) / located.unit)
    tracked.close()
    return RigScale(
        estimate.factor,
        estimate.sigma,
        median(depths),
        by_points.factor,
        by_points.sigma,
        median(ratios[-20:]) if ratios else float("nan"),
    )


def true_ratio(truth: WorldFrame, frame: TrackedFrame, good: NDArray[np.bool_]) -> float:
    """Return the median of true to tracked depth of the points `good`."""
    column, row = frame.pixels[good].round().astype(int).T
    inside = (column >= 0) & (column < WIDTH) & (row >= 0) & (row < HEIGHT)
    true_depth = truth.depth.numpy()[row[inside], column[inside]]
    return float(np.median(true_depth / frame.depths[good][inside]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--seeds", type=int, nargs="+", default=[10_000, 10_001, 10_002])
    parser.add_argument(
        "--baselines",
        type=float,
        nargs="+",
        default=[0.12, 0.3, 0.6],
        help=("distances between the cameras, m"),
    )
    parser.add_argument("--frames", type=int, default=120, help="frames of each camera")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_checkpoint(options.checkpoint, device=device)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print(
        "baseline m  seed   metres per unit: by network   its depth  ratio"
        "    by points   true  ratio"
    )
    for baseline_m in options.baselines:
        for seed in options.seeds:
            found = measure(model, seed, baseline_m, options.frames)
            ratio, points_ratio = (
                found.by_baseline / found.by_depth,
                found.by_points / found.of_points,
            )
            print(
                f"{baseline_m:10.2f}  {seed}  {found.by_baseline:15.2f} +- {found.sigma:5.2f}"
                f"  {found.by_depth:8.2f}  {ratio:5.2f}"
                f"  {found.by_points:6.3f} +- {found.points_sigma:5.3f}"
                f"  {found.of_points:6.3f}  {points_ratio:5.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
