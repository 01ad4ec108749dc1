# SPDX-License-Identifier: Apache-2.0
"""Relocalisation on real sequences: a known part, dark images, and another place of the known part.

The camera sees the first images, then nothing for 50, and then the images from another one of the
known part on, as if it had been carried there. Counted are the images until its place in the map
is known again, with the error of the position there after Sim(3) of the known part.

Example: OPENBLAS_NUM_THREADS=1 python -m benchmarks.relocalise --data DIR --json relocalise.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.machine import machine
from benchmarks.real import track
from benchmarks.real_sequences import Array, NetworkRun, Sequence, load_real, run_network
from infinitevggt_core import load_checkpoint
from infinitevggt_core.evaluation import Similarity
from infinitevggt_core.evaluation.trajectory import camera_centers
from infinitevggt_core.io.atomic_file import whole_file

SEQUENCES = ("board_uzh", "desk_tum_rpy", "desk_tum_xyz", "kitchen_7scenes", "walls_tum_notexture")
KNOWN, DARK, AFTER = 150, 50, 60
"""Numbers of images."""
STARTS = (20, 60, 100)
"""Images at which the camera comes back."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, default=Path("real_gt"), help="directory of the sequences")
    add("--sequences", nargs="+", default=list(SEQUENCES), help="of them (default: those indoors)")
    add("--checkpoint", default="tiny", help="(default: %(default)s)")
    add("--cache", type=Path, help="directory that keeps the answers of the network")
    add("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    model = load_checkpoint(options.checkpoint)
    report: dict[str, Any] = {"machine": machine(torch.device("cpu"))}
    for name in options.sequences:
        sequence = load_real(options.data / name).piece(0, KNOWN)
        network = run_network(model, sequence, options.cache, lambda: None)
        report[name] = [kidnap(sequence, network, start) for start in STARTS]
        for row in report[name]:
            print(name, row, flush=True)
        if options.json:
            with whole_file(options.json) as unfinished:
                unfinished.write_text(json.dumps(report, indent=1))


def kidnap(sequence: Sequence, network: NetworkRun, start: int) -> dict[str, Any]:
    """Return the images until the camera is found, and the error of its position there."""
    again = range(start, min(start + AFTER, len(sequence.images)))
    order = np.array([*range(KNOWN), *[KNOWN - 1] * DARK, *again])
    film = Sequence(
        sequence.name,
        [sequence.images[k] for k in order],
        [sequence.stamps_s[0] + k / 30 for k in range(len(order))],
        sequence.intrinsics,
        sequence.truth[order],
        {},
    )
    answers = NetworkRun(
        network.depth[order],
        network.confidence[order],
        network.camera_from_world[order],
        network.intrinsics[order],
        network.ms[order],
    )
    run = track(film, answers, loops=True, dark=range(KNOWN, KNOWN + DARK))
    first = KNOWN + DARK
    found = [k for k in range(first, len(order)) if run.located[k] and run.states[k] != "lost"]
    row: dict[str, Any] = {"start": start, "images": None}
    if found:
        row["images"] = found[0] - first
        row["error_percent"] = error_percent(run.live, film.truth, found)
    return row


def error_percent(live: Array, truth: Array, found: list[int]) -> float:
    """Return the median error of the positions of images `found`, % of the path of the known part,
    after Sim(3) of that part."""
    centers, true_centers = camera_centers(live), camera_centers(truth)
    known = Similarity.of(centers[:KNOWN], true_centers[:KNOWN])
    errors = np.linalg.norm(known(centers[found]) - true_centers[found], axis=1)
    path = np.linalg.norm(np.diff(true_centers[:KNOWN], axis=0), axis=1).sum()
    return float(100 * np.median(errors) / path)


if __name__ == "__main__":
    main()
