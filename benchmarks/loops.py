# SPDX-License-Identifier: Apache-2.0
"""Recall of places, share of wrong loops and duration of a search.

Keyframes are those of a good tracker: corners of rendered images with true depth and 5 % noise,
each in a unit of its own; what is measured is the search alone. Pairs of two worlds, which have
nothing to do with each other, are verified too.

Example: python -m benchmarks.loops --seeds 20004 20007 --frames 1500 --json loops.json
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.film import keyframe_of, keyframe_views
from benchmarks.machine import machine
from infinitevggt_core.tracking.loop_edge import LoopEdge
from infinitevggt_core.tracking.loop_verifier import LoopVerifier
from infinitevggt_core.tracking.place import Place
from infinitevggt_core.tracking.place_index import LEAST_AGE, PlaceIndex
from infinitevggt_core.tracking.similarity import Floats, Similarity3, rotation_log
from infinitevggt_core.worlds import LEVELS

NEAR_M, NEAR_DEG = 0.8, 30.0
"""Two views of one place."""
WRONG_M, WRONG_DEG = 0.4, 8.0
"""A loop that is off by more is wrong."""
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Shot:
    """A keyframe with its truth."""

    place: Place
    camera_from_world: Floats
    """(3, 4), metres."""
    scale: float
    """Units of the keyframe per metre."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--seeds", type=int, nargs="+", default=[20004, 20007])
    add("--level", choices=LEVELS, default="standard")
    add("--frames", type=int, default=1500)
    add("--step", type=int, default=3, help="frames from one keyframe to the next")
    add("--every", type=int, default=1, help="search from every n-th keyframe")
    add("--pairs", type=int, default=2000, help="pairs of keyframes of two worlds")
    add("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    walks = {
        seed: shots(seed, options.level, options.frames, options.step) for seed in options.seeds
    }
    worlds = {str(seed): search(walk, options.every) for seed, walk in walks.items()}
    report = {
        "settings": {name: str(value) for name, value in vars(options).items()},
        "machine": machine(torch.device("cpu")),
        "worlds": worlds,
        "across": across(list(walks.values()), options.pairs),
    }
    print(json.dumps(report, indent=1))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))


def shots(seed: int, level: str, frames: int, step: int) -> list[Shot]:
    """All keyframes of a walk."""
    dice, found = np.random.default_rng(seed), []
    for k, view in enumerate(keyframe_views(seed, level, frames, step)):
        scale = float(np.exp(0.2 * dice.normal()))
        made = keyframe_of(view, k, dice, scale=scale)
        found.append(Shot(Place.of(made), view.camera_from_world, scale))
    return found


def search(walk: list[Shot], every: int) -> Figures:
    """Search from each keyframe among all before it."""
    index, verifier = PlaceIndex(), LoopVerifier()
    known = seen_again = closed = top3 = 0
    loops: list[tuple[float, float, float]] = []
    asked, verified = [], []
    for shot in walk:
        if shot.place.index % every == 0:
            began = time.process_time()
            candidates = index.candidates(shot.place)
            middle = time.process_time()
            edges = verifier.search(candidates, shot.place)
            asked.append(1e3 * (middle - began))
            verified.append(1e3 * (time.process_time() - middle))
            near = near_places(walk, shot)
            errors = [error(edge, walk) for edge in edges]
            right = [turn < WRONG_DEG and way < WRONG_M for turn, way, _ in errors]
            loops += errors
            known += 1
            seen_again += bool(near)
            top3 += any(place.index in near for place in candidates[:3])
            closed += bool(near) and any(right)
        index.add(shot.place, verifier.same_view)
    turns, ways, scales = np.array(loops).reshape(-1, 3).T
    wrong = (turns >= WRONG_DEG) | (ways >= WRONG_M)
    return {
        "keyframes": len(walk),
        "searches": known,
        "seen_again": seen_again,
        "found_by_words_in_3": top3 / max(seen_again, 1),
        "closed": closed / max(seen_again, 1),
        "loops": len(loops),
        "wrong_loops": int(wrong.sum()),
        "turn_deg_median": median(turns),
        "turn_deg_99": float(np.percentile(turns, 99)) if len(turns) else float("nan"),
        "way_m_median": median(ways),
        "log_scale_median": median(scales),
        "candidates_ms_median": median(np.array(asked)),
        "verification_ms_median": median(np.array(verified)),
        "verification_ms_99": float(np.percentile(verified, 99)),
        "index_mb": index.nbytes / 1e6,
    }


def near_places(walk: list[Shot], shot: Shot) -> set[int]:
    """Keyframes of the same place, of those that are old enough."""
    before = walk[: max(shot.place.index - LEAST_AGE + 1, 0)]
    return {
        other.place.index
        for other in before
        if distance_m(other, shot) < NEAR_M
        and turn_deg(pose_of(other).rotation @ pose_of(shot).rotation.T) < NEAR_DEG
    }


def error(edge: LoopEdge, walk: list[Shot]) -> tuple[float, float, float]:
    """Return the errors of a loop: degrees, metres, log scale."""
    old, new = walk[edge.from_index], walk[edge.to_index]
    truth = pose_of(old) @ pose_of(new).inverse()
    turn = turn_deg(edge.relative.rotation.T @ truth.rotation)
    way = np.linalg.norm(edge.relative.translation / old.scale - truth.translation)
    scale = abs(float(np.log(edge.relative.scale * new.scale / old.scale)))
    return turn, float(way), scale


def across(walks: list[list[Shot]], pairs: int) -> Figures:
    """Loops between places that have nothing to do with each other."""
    verifier, dice, found = LoopVerifier(), np.random.default_rng(0), 0
    if len(walks) < 2:
        return {"pairs": 0, "loops": 0}
    for _ in range(pairs):
        one, other = dice.choice(len(walks), 2, replace=False)
        places = [walks[k][dice.integers(len(walks[k]))].place for k in (one, other)]
        found += verifier.verify(*places) is not None
    return {"pairs": pairs, "loops": found}


def pose_of(shot: Shot) -> Similarity3:
    return Similarity3.from_rigid(shot.camera_from_world)


def distance_m(one: Shot, other: Shot) -> float:
    centers = [pose_of(shot).inverse().translation for shot in (one, other)]
    return float(np.linalg.norm(centers[0] - centers[1]))


def turn_deg(rotation: Floats) -> float:
    return float(np.rad2deg(np.linalg.norm(rotation_log(rotation))))


def median(values: Floats) -> float:
    return float(np.median(values)) if len(values) else float("nan")


if __name__ == "__main__":
    main()
