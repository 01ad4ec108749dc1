# SPDX-License-Identifier: Apache-2.0
"""Memory and time of the tracking over thousands of images: nothing may grow with their number.

A walk through a synthetic world is shown forwards and backwards, again and again, with its true
depth and 5 % noise in place of a network's. Reported every 1,000 images: memory of the process,
numbers in the state, places, loops, processor time per image, and the error of the position.

Example: OPENBLAS_NUM_THREADS=1 python -m benchmarks.endless --frames 20000 --json endless.json
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from benchmarks.film import View, keyframe_views
from benchmarks.machine import machine
from infinitevggt_core.evaluation.trajectory import trajectory_errors
from infinitevggt_core.io.atomic_file import whole_file
from infinitevggt_core.tracking import CameraView, TrackedStream, TrackingConfig
from infinitevggt_core.worlds import LEVELS

BLOCK = 1000
"""Images of a row of the report."""
NOISE, STEP = 0.05, 3
"""Relative noise of the depth, and its coarseness, px."""
RATE_HZ = 30.0


@dataclass(frozen=True, slots=True)
class Row:
    """State of the stream after a block of images."""

    images: int
    resident_mb: float
    state_numbers: int
    places: int
    loops: int
    ms: float
    """Processor time per image of the block: tracking, adjustments and loops."""
    ate_percent: float
    """Error of the poses of the block as published, % of its path, after Sim(3)."""
    lost: int


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--frames", type=int, default=20_000, help="images shown (default: %(default)s)")
    add("--walk", type=int, default=1000, help="images of the walk (default: %(default)s)")
    add("--places", type=int, default=200, help="most places kept (default: %(default)s)")
    add("--level", choices=LEVELS, default="standard", help="(default: %(default)s)")
    add("--seed", type=int, default=10_000, help="of the world (default: %(default)s)")
    add("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    walk = list(tqdm(keyframe_views(options.seed, options.level, options.walk, 1), "render"))
    report: dict[str, Any] = {"machine": machine(torch.device("cpu")), "rows": []}
    stream = TrackedStream(TrackingConfig(places=options.places), background=False)
    for first in range(0, options.frames, BLOCK):
        row = stream_block(stream, walk, first, min(BLOCK, options.frames - first))
        report["rows"].append(asdict(row))
        print(row, flush=True)
        if options.json:
            with whole_file(options.json) as unfinished:
                unfinished.write_text(json.dumps(report, indent=1))
    stream.close()


def stream_block(stream: TrackedStream, walk: list[View], first: int, count: int) -> Row:
    """Stream images first .. first + count - 1 of the endless walk."""
    found, truth, lost = [], [], 0
    started = time.process_time()
    for index in range(first, first + count):
        view = walk[there_and_back(index, len(walk))]
        located = stream.locate(seen(view, index))
        found.append(located.camera_from_map)
        truth.append(view.camera_from_world)
        lost += located.state == "lost"
    seconds = time.process_time() - started
    return Row(
        images=first + count,
        resident_mb=resident_mb(),
        state_numbers=numbers(stream.state_dict()),
        places=len(stream.mapper.keyframe_poses()),
        loops=stream.mapper.loops,
        ms=1e3 * seconds / count,
        ate_percent=trajectory_errors(np.stack(found), np.stack(truth)).ate_percent,
        lost=lost,
    )


def there_and_back(index: int, length: int) -> int:
    """Return the image of a walk of `length` images that is shown as number `index`."""
    place = index % (2 * length - 2)
    return place if place < length else 2 * length - 2 - place


def seen(view: View, index: int) -> CameraView:
    """Return a view as a network gives it."""
    dice = np.random.default_rng(index)
    depth = view.depth[::STEP, ::STEP].astype(np.float32)
    depth *= np.exp(NOISE * dice.normal(size=depth.shape)).astype(np.float32)
    to_depth = np.diag([1 / STEP, 1 / STEP, 1.0])
    return CameraView(
        gray=view.gray,
        intrinsics=view.intrinsics,
        depth=depth,
        depth_from_gray=to_depth,
        prior=view.camera_from_world,
        stamp_s=index / RATE_HZ,
    )


def numbers(state: Any) -> int:
    """Return how many numbers a nested state holds."""
    if isinstance(state, dict):
        return sum(map(numbers, state.values()))
    if isinstance(state, list | tuple):
        return sum(map(numbers, state))
    return int(np.size(state))


def resident_mb() -> float:
    """Return the resident memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1e3
    return float("nan")


if __name__ == "__main__":
    main()
