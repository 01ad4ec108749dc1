# SPDX-License-Identifier: Apache-2.0
"""Page index.html of a run or of a sweep; it needs no network."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.evaluation.similarity import Array, Similarity
from infinitevggt_core.evaluation.tally import FEWEST_POSES, known_poses
from infinitevggt_core.evaluation.trajectory import camera_centers, rotation_errors_deg
from infinitevggt_core.io.atomic_file import whole_file
from infinitevggt_ros.evaluation.picture import data_url
from infinitevggt_ros.evaluation.run_files import MAP_TO_WORLD, METRICS, SERIES
from infinitevggt_ros.evaluation.summary import (
    MEASURES,
    Run,
    advice,
    can_recommend,
    cell,
    mean_figures,
    recommended,
    weights_notes,
)
from infinitevggt_ros.viewer.pictures import depth_colors

FILES = Path(__file__).parent / "page_files"
MOST_SAMPLES = 1500
"""Largest number of samples of a curve, about the columns of a screen."""
STRIP_WIDTH = 280
METRICS_SHOWN = ("trajectory", "trajectory_corrected", "depth", "reconstruction", "run")
COORDINATES = 32_000
"""Number of steps to which coordinates of the 3-D view are rounded, over half of the cloud."""


class FinishedRun(Protocol):
    """A run whose files are written."""

    @property
    def label(self) -> str:
        """Short name of the setting."""
        ...

    @property
    def out(self) -> Path:
        """Folder of the files."""
        ...


def write_page(out: Path, jobs: Sequence[FinishedRun]) -> list[Run]:
    """Write the page of finished runs, and metrics.json of a sweep; return the runs."""
    runs = [{**json.loads((job.out / METRICS).read_text()), "label": job.label} for job in jobs]
    if len(runs) > 1:
        folders = [job.out.name for job in jobs]
        listed = [{"folder": f, **run} for f, run in zip(folders, runs, strict=True)]
        with whole_file(out / METRICS) as partial:
            partial.write_text(json.dumps({"runs": listed, "means": mean_figures(runs)}, indent=1))
    shown = [shown_run(run, job.out) for run, job in zip(runs, jobs, strict=True)]
    for name in {run["name"] for run in runs}:
        group = [i for i, run in enumerate(runs) if run["name"] == name]
        if len(group) > 1 and can_recommend([runs[i] for i in group]):
            best = recommended([runs[i] for i in group])
            shown[next(i for i in group if runs[i] is best)]["recommended"] = True
    means = {
        label: [m.shown(figures[m.title]) for m in MEASURES]
        for label, figures in mean_figures(runs).items()
    }
    data = {
        "runs": shown,
        "means": means,
        "advice": advice(runs),
        "notes": weights_notes(runs),
        "measures": measure_columns(),
    }
    with whole_file(out / "index.html") as partial:
        partial.write_text(filled_in(data), encoding="utf-8")
    return runs


def filled_in(data: dict[str, Any]) -> str:
    """Return the page as text, with style, script and data."""
    text = (FILES / "page.html").read_text(encoding="utf-8")
    as_json = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("</", "<\\/")
    for place, content in {
        "/* page.css */": (FILES / "page.css").read_text(encoding="utf-8"),
        "/* page.js */": "\n".join(
            (FILES / name).read_text(encoding="utf-8")
            for name in ("charts.js", "view3d.js", "page.js")
        ),
        "{{data}}": as_json,
    }.items():
        before, _, after = text.partition(place)
        text = before + content + after
    return text


def measure_columns() -> list[dict[str, Any]]:
    return [{"title": m.title, "lowerIsBetter": m.lower_is_better} for m in MEASURES]


def shown_run(run: Run, folder: Path) -> dict[str, Any]:
    """Return the data of one run for the script of the page."""
    with np.load(folder / SERIES) as series:
        poses, stamps_ns = series["poses"], series["stamps_ns"]
        seconds = (stamps_ns - stamps_ns[0]) / 1e9
        scale = run["trajectory"]["sim3"]["scale"] if run["trajectory"] else 1.0
        columns = {
            name: series[name] for name in ("latency_ms", "memory_bytes", "process_bytes", "tokens")
        }
        depth_scale = run["depth"]["scale"]["scale"] if run["depth"] else None
        return {
            "name": run["name"],
            "label": run["label"],
            "recommended": False,
            "unit": "m" if run["trajectory"] else "stream unit",
            "cells": [cell(m, run) for m in MEASURES],
            "values": [m.of(run) for m in MEASURES],
            "metrics": {key: run[key] for key in METRICS_SHOWN},
            "about": {key: run[key] for key in ("source", "parameters", "machine")},
            "path": {
                **path(poses, seconds, scale),
                **graph(series, scale),
            },
            "load": {"seconds": thinned(seconds), **{k: thinned(v) for k, v in columns.items()}},
            "cloud": cloud(series["points"] * np.float32(scale), series["colors"]),
            "picture": data_url(series["picture"]),
            "strips": strips(series, depth_scale),
        }


def path(poses: Array, seconds: Array, scale: float) -> dict[str, Any]:
    """Return the trajectory in the map and the aligned truth; lengths are multiplied by `scale`."""
    finite = np.isfinite(poses[0]).all(axis=(1, 2))
    poses, seconds = poses[:, finite], seconds[finite]
    known = known_poses(poses)
    found, truth = camera_centers(poses[0]), camera_centers(poses[1])
    shown = {"seconds": thinned(seconds), "found": thinned(scale * found @ MAP_TO_WORLD.T)}
    if known.sum() < FEWEST_POSES:
        return shown
    # the truth is aligned with the stream, so that the map keeps its orientation
    into_map = Similarity.of(truth[known], scale * found[known], scaled=False)
    distance = Similarity.of(scale * found[known], truth[known], scaled=False)
    errors = np.linalg.norm(distance(scale * found[known]) - truth[known], axis=1)
    rotation = rotation_errors_deg(poses[0][known], poses[1][known])
    return {
        **shown,
        "truth": thinned(into_map(truth[known]) @ MAP_TO_WORLD.T),
        "errorSeconds": thinned(seconds[known]),
        "error": thinned(errors),
        "rotation": thinned(rotation),
    }


def graph(series: Any, scale: float) -> dict[str, Any]:
    """Return the trajectory after all corrections, the keyframes and the loops; lengths are
    multiplied by `scale`."""
    corrected = series["corrected"]
    corrected = corrected[np.isfinite(corrected).all(axis=(1, 2))]
    return {
        "corrected": thinned(scale * camera_centers(corrected) @ MAP_TO_WORLD.T),
        "keyframes": thinned(scale * series["keyframes"]),
        "loops": thinned(scale * series["loops"]),
    }


def thinned(values: NDArray[Any]) -> list[Any]:
    """Return at most MOST_SAMPLES values, the last one included, rounded to a few digits."""
    count = min(len(values), MOST_SAMPLES)
    if not count:
        return []
    places = np.linspace(0, len(values) - 1, count).round().astype(int)
    kept = values[places].astype(np.float64)
    digits = 5 - int(np.floor(np.log10(max(float(np.abs(kept).max(initial=0)), 1e-3))))
    return list(np.round(kept, digits).tolist())


def cloud(points: NDArray[np.float32], colors: NDArray[np.uint8]) -> dict[str, Any]:
    """Return points (N, 3) in steps from their centre and colours (N, 3), both as base64."""
    middle = np.median(points, axis=0) if len(points) else np.zeros(3)
    reach = float(np.percentile(np.abs(points - middle), 99.5)) if len(points) else 1.0
    near = (np.abs(points - middle) <= reach).all(axis=1)
    steps = np.round((points[near] - middle) / max(reach, 1e-9) * COORDINATES).astype("<i2")
    return {
        "count": int(near.sum()),
        "middle": [float(x) for x in middle],
        "reach": reach,
        "steps": COORDINATES,
        "points": base64.b64encode(steps.tobytes()).decode(),
        "colors": base64.b64encode(np.ascontiguousarray(colors[near]).tobytes()).decode(),
    }


def strips(series: Any, scale: float | None) -> list[dict[str, Any]]:
    """Return a few frames as pictures: image, depth, true depth and their relative error."""
    shown = []
    numbers = sum(name.startswith("strip_") and name.endswith("_index") for name in series.files)
    for number in range(numbers):
        parts = {n: series[f"strip_{number}_{n}"] for n in ("index", "image", "depth", "truth")}
        depth, truth = parts["depth"] * np.float32(scale or 1), parts["truth"]
        has_truth = bool(np.isfinite(truth).any())
        low, high = np.nanpercentile(truth if has_truth else depth, (2, 98))
        pictures = {"image": parts["image"], "depth": depth_colors(depth, low, high, "turbo_r")}
        if has_truth:
            pictures["truth"] = depth_colors(truth, low, high, "turbo_r")
            pictures["error"] = depth_colors(np.abs(depth / truth - 1), 0, 0.5, "magma")
        shown.append(
            {
                "index": int(parts["index"]),
                "low": float(low),
                "high": float(high),
                **{name: data_url(picture, STRIP_WIDTH) for name, picture in pictures.items()},
            }
        )
    return shown
