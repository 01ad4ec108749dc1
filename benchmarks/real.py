# SPDX-License-Identifier: Apache-2.0
"""Poses and depth on real sequences and on worlds, from the network and from tracking side by side.

Each sequence runs whole and, to see what the start decides, in pieces of 150 frames from frames 0,
40, 80, ...; median and worst over the pieces are reported. Errors of poses are those of the whole
run as known at its end, after Sim(3); `live_*` are those of what was published at once.

Writes {sequence: {source: {ate_percent, rotation_deg_median, depth_absrel, ms}}}, with the figures
of tracking at the top level of each sequence too.

Set OPENBLAS_NUM_THREADS=1: with more threads numpy spins, and times mean nothing.

Examples: python -m benchmarks.real --data DIR --json real.json
          python -m benchmarks.real --data DIR --sequences desk_tum_xyz --loops
          python -m benchmarks.real --worlds --levels easy --seeds 10000 10001 --json worlds.json
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from benchmarks.machine import machine
from benchmarks.real_sequences import (
    Array,
    NetworkRun,
    Sequence,
    load_real,
    load_world,
    real_names,
    run_network,
)
from infinitevggt_core import VGGT, load_checkpoint
from infinitevggt_core.evaluation.depth import DepthSample
from infinitevggt_core.evaluation.trajectory import trajectory_errors
from infinitevggt_core.io.atomic_file import whole_file
from infinitevggt_core.tracking import (
    DepthCorrector,
    Keyframe,
    Mapper,
    TrackedFrame,
    Tracker,
    TrackingConfig,
)
from infinitevggt_core.tracking.rigid import compose
from infinitevggt_core.tracking.similarity import Similarity3, rotation_log
from infinitevggt_core.worlds import LEVELS
from infinitevggt_core.worlds.config import MOTIONS

PIECE, STRIDE = 150, 40
WRONG_M, WRONG_DEG = 0.4, 8.0
"""A loop that is off by more is at a wrong place, as in benchmarks.loops."""
PIXELS = 4000
"""Pixels of each true depth map that are compared."""
Figures = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class TrackedRun:
    """A sequence through the tracker."""

    frames: list[TrackedFrame]
    live: Array
    """(N, 3, 4), camera_from_world as published at once."""
    final: Array
    """(N, 3, 4), as known at the end."""
    states: list[str]
    keyframes: int
    submaps: int
    located: list[bool]
    """True where the place in the map is known; always, without `loops`."""
    loops: int
    loop_errors: Array
    """(loops in the graph, 2), rotation (deg) and position (m) of each beside the truth."""
    ms: Array
    """(N,), processor time of each image without the adjustments."""
    adjust_ms: Array
    """Processor time of each adjustment."""


def track(
    sequence: Sequence,
    network: NetworkRun | None,
    *,
    loops: bool,
    config: TrackingConfig | None = None,
    dark: range = range(0),
) -> TrackedRun:
    """Stream a sequence through the tracker, and the mapper where `loops`.

    dark: images that are shown black.
    """
    mapper = Mapper(background=False)
    tracker = _TimedTracker(config, background=False, listener=mapper if loops else _Poses())
    frames, live, ms, located = [], [], [], []
    for index, image in enumerate(sequence.images):
        gray = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        gray = np.zeros_like(gray) if index in dark else np.asarray(gray, np.uint8)
        depth, prior = None, None
        if network is not None and index not in dark:
            depth, prior = network.depth[index], network.camera_from_world[index]
        started, spent = time.process_time(), sum(tracker.adjust_ms)
        matrix = sequence.intrinsics
        stamp = sequence.stamps_s[index]
        frame = tracker.track(gray, matrix, depth, prior, stamp_s=stamp)
        ms.append(1e3 * (time.process_time() - started) - sum(tracker.adjust_ms) + spent)
        frames.append(frame)
        placed = mapper.place(frame) if loops else None
        live.append(frame.camera_from_world if placed is None else placed.camera_from_map)
        located.append(placed is None or placed.located)
    final = []
    for frame, shown in zip(frames, live, strict=True):
        pose = mapper.camera_from_map(frame) if loops else tracker.poses.of(frame)
        final.append(shown if pose is None else pose)
    states = [frame.state for frame in frames]
    errors = loop_errors(mapper, frames, np.stack(final), sequence.truth)
    return TrackedRun(
        frames,
        np.stack(live),
        np.stack(final),
        states,
        sum(frame.keyframe for frame in frames),
        frames[-1].submap + 1,
        located,
        mapper.loops,
        errors,
        np.array(ms),
        np.array(tracker.adjust_ms),
    )


def loop_errors(mapper: Mapper, frames: list[TrackedFrame], final: Array, truth: Array) -> Array:
    """Return rotation (deg) and position (m) of the loops in the graph beside the truth (N, 2)."""
    scale = trajectory_errors(final, truth).scale
    images = {frame.reference: k for k, frame in enumerate(frames) if frame.keyframe}
    poses, errors = mapper.keyframe_poses(), []
    for edge in mapper.loop_edges():
        if edge.from_index not in images or edge.to_index not in images:
            continue  # of a keyframe that was pruned into another
        old, new = (
            Similarity3.from_rigid(truth[images[k]]) for k in (edge.from_index, edge.to_index)
        )
        true = old @ new.inverse()
        turn = rotation_log(edge.relative.rotation.T @ true.rotation)
        metres = scale * float(poses[edge.from_index].scale)
        way = metres * edge.relative.translation - true.translation
        errors.append((np.rad2deg(np.linalg.norm(turn)), np.linalg.norm(way)))
    return np.array(errors, dtype=np.float64).reshape(-1, 2)


class _Poses:
    """Poses of all keyframes in odom, as known at the end."""

    def __init__(self) -> None:
        self.known: dict[int, Array] = {}

    def on_new_keyframe(self, keyframe: Keyframe) -> None:
        self.known[keyframe.index] = keyframe.camera_from_world

    def on_keyframe_left_window(self, keyframe: Keyframe) -> None:
        self.known[keyframe.index] = keyframe.camera_from_world

    def on_window(self, poses: dict[int, Array]) -> None:
        self.known.update(poses)

    def of(self, frame: TrackedFrame) -> Array | None:
        known = self.known.get(frame.reference)
        return None if known is None else compose(frame.camera_from_reference, known)


class _TimedTracker(Tracker):
    """Tracker that notes how long its adjustments, and its listener, take."""

    def __init__(self, config: TrackingConfig | None, **options: Any) -> None:
        self.adjust_ms: list[float] = []
        self.poses = options["listener"]
        super().__init__(config, **options)

    def _adjust(self) -> None:
        started = time.process_time()
        super()._adjust()
        self.adjust_ms.append(1e3 * (time.process_time() - started))


def measure(model: VGGT, sequence: Sequence, options: argparse.Namespace) -> Figures:
    """Return the figures of a sequence: network and tracking, whole and in pieces."""
    whole = compare(model, sequence, options, loops=options.loops)
    starts = range(0, len(sequence.images) - PIECE + 1, STRIDE) if options.pieces else ()
    rows = [compare(model, sequence.piece(start, PIECE), options) for start in starts]
    figures = {**whole["tracking"], **whole}
    if rows:
        figures["starts"] = {
            source: {
                name: {
                    "median": float(np.median([row[source][name] for row in rows])),
                    "worst": float(np.max([row[source][name] for row in rows])),
                    "all": [row[source][name] for row in rows],
                }
                for name in ("ate_percent", "rotation_deg_median")
            }
            for source in ("network", "tracking")
        }
    return figures


def compare(
    model: VGGT, sequence: Sequence, options: argparse.Namespace, *, loops: bool = False
) -> Figures:
    """Return the figures of network and tracking on the same images."""
    with tqdm(total=len(sequence.images), desc=sequence.name, disable=None, leave=False) as bar:
        network = run_network(model, sequence, options.cache, bar.update)
    run = track(sequence, network, loops=False, config=TrackingConfig(focal=options.focal))
    figures = {
        "network": {
            **_pose_figures(network.camera_from_world, sequence.truth),
            "depth_absrel": depth_error(sequence, network, None),
            "ms": float(np.median(network.ms)),
        },
        "tracking": {**_run_figures(run, sequence), "network_ms": float(np.median(network.ms))},
    }
    figures["tracking"]["depth_absrel"] = depth_error(sequence, network, run)
    if loops:
        closed = track(sequence, network, loops=True, config=TrackingConfig(focal=options.focal))
        turns, ways = closed.loop_errors.T
        figures["loops"] = {
            **_run_figures(closed, sequence),
            "loops": closed.loops,
            "wrong_loops": int(((turns > WRONG_DEG) | (ways > WRONG_M)).sum()),
            "worst_loop_deg": float(turns.max(initial=0)),
            "worst_loop_m": float(ways.max(initial=0)),
        }
    return figures


def _pose_figures(poses: Array, truth: Array) -> Figures:
    errors = trajectory_errors(poses, truth)
    return {
        "ate_percent": errors.ate_percent,
        "ate_m": errors.ate_rmse,
        "rotation_deg_median": errors.rotation_deg_median,
    }


def _run_figures(run: TrackedRun, sequence: Sequence) -> Figures:
    live = trajectory_errors(run.live, sequence.truth)
    lost = sum(state in ("lost", "network") for state in run.states)
    adjust = run.adjust_ms if len(run.adjust_ms) else np.zeros(1)
    return {
        **_pose_figures(run.final, sequence.truth),
        "live_ate_percent": live.ate_percent,
        "live_rotation_deg_median": live.rotation_deg_median,
        "keyframes": run.keyframes,
        "submaps": run.submaps,
        "lost_frames": lost,
        "degraded_frames": run.states.count("degraded"),
        "ms": float(np.median(run.ms)),
        "adjust_ms": float(np.median(adjust)),
        "adjust_ms_95": float(np.percentile(adjust, 95)),
    }


def depth_error(sequence: Sequence, network: NetworkRun, run: TrackedRun | None) -> float | None:
    """Return AbsRel of the depth, one scale for the sequence; corrected by the points of `run`."""
    if not sequence.depths:
        return None
    sample, corrector = DepthSample(PIXELS), DepthCorrector()
    for index, depth in enumerate(network.depth):
        if run is not None:
            frame = run.frames[index]
            good = frame.leads_depth
            height, width = sequence.images[index].shape[:2]
            scale = np.array([depth.shape[1] / width, depth.shape[0] / height])
            pixels = (frame.pixels[good] + 0.5) * scale - 0.5
            depth = corrector.correct(depth, pixels, frame.depths[good]).depth
        if index in sequence.depths:
            truth = sequence.depths[index]
            size = (truth.shape[1], truth.shape[0])
            sample.add(cv2.resize(depth, size, interpolation=cv2.INTER_LINEAR), truth)
    return sample.aligned("scale").absrel


def sources(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Sequence]]]:
    """Return the sequences by name, each read when it is called."""
    if options.worlds:
        for level in options.levels:
            for seed in options.seeds:
                name = f"{level}_{seed}"
                yield name, partial(load_world, level, seed, options.frames, options.motion)
        return
    for name in real_names(options.data):
        if not options.sequences or name in options.sequences:
            yield name, partial(load_real, options.data / name)


def line(name: str, figures: Figures) -> str:
    """Return one line of the table: ATE % / rotation deg."""
    parts = [f"{name:24s}"]
    for source in ("network", "tracking", "loops"):
        if source in figures:
            row = figures[source]
            pair = f"{row['ate_percent']:.2f}/{row['rotation_deg_median']:.1f}"
            parts.append(f"{source} {pair:>11s}")
            if "loops" in row:
                parts.append(f"({row['loops']} loops, {row['wrong_loops']} wrong)")
            if row.get("depth_absrel") is not None:
                parts.append(f"depth {row['depth_absrel']:.3f}")
    if "starts" in figures:
        row = figures["starts"]["tracking"]
        middle, worst = (
            f"{row['ate_percent'][k]:.2f}/{row['rotation_deg_median'][k]:.1f}"
            for k in ("median", "worst")
        )
        parts.append(f"starts: median {middle}, worst {worst}")
    row = figures["tracking"]
    parts.append(f"ms {row['ms']:.1f} + {row['adjust_ms']:.0f} a keyframe")
    return "  ".join(parts)


def main() -> int:
    """Measure what the arguments name; return the exit status."""
    options = arguments()
    if not options.worlds and not options.data.is_dir():
        print(f"skipped: no sequences at {options.data}")
        return 0
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    model = load_checkpoint(options.checkpoint)
    report: dict[str, Any] = {"machine": machine(torch.device("cpu"))}
    for name, load in tqdm(list(sources(options)), unit="sequence", disable=None):
        report[name] = measure(model, load(), options)
        tqdm.write(line(name, report[name]))
        if options.json:
            with whole_file(options.json) as unfinished:
                unfinished.write_text(json.dumps(report, indent=1))
    return 0


def arguments() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, default=Path("real_gt"), help="directory of the sequences")
    add("--sequences", nargs="+", default=[], help="of them (default: all)")
    add("--json", type=Path, help="file for the figures")
    add("--checkpoint", default="tiny", help="(default: %(default)s)")
    add("--cache", type=Path, help="directory that keeps the answers of the network")
    add("--no-pieces", dest="pieces", action="store_false", help="whole sequences only")
    add("--loops", action="store_true", help="close loops too")
    add("--focal", choices=("known", "refine"), default="known", help="(default: %(default)s)")
    add("--worlds", action="store_true", help="synthetic worlds in place of real images")
    add("--levels", nargs="+", choices=LEVELS, default=["easy", "standard", "hard"])
    add("--seeds", type=int, nargs="+", default=[10000], help="of worlds; 10000 and above")
    add("--frames", type=int, default=200, help="of each world (default: %(default)s)")
    add("--motion", choices=MOTIONS, default="any", help="in worlds (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
