# SPDX-License-Identifier: Apache-2.0
"""Scale from the baseline of a camera rig: `python -m benchmarks.rig`.

Two cameras, side by side, move through synthetic worlds. Their images alternate in one stream. The
scale estimated from their baseline (scale.source: baseline) is compared with the true one, which is
that of the depth.
"""

import argparse
import copy
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from torch import Tensor

from infinitevggt_core import VGGT, StreamSession, load_checkpoint
from infinitevggt_core.metric.baseline import predicted_baseline
from infinitevggt_core.metric.scale_estimate import ScaleEstimate
from infinitevggt_core.worlds import World

HEIGHT, WIDTH = 84, 112
LEVEL = "easy"
SAMPLES = 10


@dataclass(frozen=True, slots=True)
class RigScale:
    """Metres per unit of one stream."""

    by_baseline: float
    sigma: float
    by_depth: float
    """Median of true to predicted depth."""


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
    for pair in zip(*(world.sequence(frames, HEIGHT, WIDTH) for world in worlds), strict=True):
        predictions = [session.push(frame.image) for frame in pair]
        estimate.add(baseline_m, *predicted_baseline(*predictions, np.eye(3)))
        for frame, found in zip(pair, predictions, strict=True):
            depths.append(float((frame.depth / found.depth[0].cpu()).median()))
    return RigScale(estimate.factor, estimate.sigma, median(depths))


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
    parser.add_argument("--frames", type=int, default=40, help="frames of each camera")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_checkpoint(options.checkpoint, device=device)
    print("baseline m  seed   metres per unit: by baseline    by depth   ratio")
    for baseline_m in options.baselines:
        for seed in options.seeds:
            found = measure(model, seed, baseline_m, options.frames)
            print(
                f"{baseline_m:10.2f}  {seed}  {found.by_baseline:17.2f} +- {found.sigma:5.2f}"
                f"  {found.by_depth:10.2f}  {found.by_baseline / found.by_depth:6.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
