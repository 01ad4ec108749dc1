# SPDX-License-Identifier: Apache-2.0
"""Files of a run that need no ROS: poses, figures, and the data of the page."""

import json
import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from infinitevggt_core.evaluation.tally import known_poses
from infinitevggt_core.evaluation.trajectory import camera_centers
from infinitevggt_core.io.atomic_file import whole_file
from infinitevggt_core.io.machine import commit, device_name
from infinitevggt_core.io.pcd import write_pcd
from infinitevggt_core.io.ply import write_ply
from infinitevggt_core.io.tum import CORRECTED, IN_THE_MAP, write_poses
from infinitevggt_core.mapping.point_map import PointCloud
from infinitevggt_core.tracking.similarity import Similarity3
from infinitevggt_ros.evaluation.picture import map_from_above
from infinitevggt_ros.evaluation.run_log import RunLog
from infinitevggt_ros.evaluation.strips import Strips
from infinitevggt_ros.map_axes import MAP_FROM_WORLD, points_in_map

METRICS = "metrics.json"
SERIES = "series.npz"
SHOWN_POINTS = 50_000
"""Number of points of the map in the page."""
MAP_TO_WORLD = MAP_FROM_WORLD[:3, :3]
Array = NDArray[np.float64]


def write_trajectories(
    out: Path, stamps_ns: list[int], found: Array, truth: Array, corrected: Array | None
) -> None:
    """Write trajectory.tum, and corrected.tum and truth.tum where they are known.

    found, truth, corrected: camera_from_world (N, 3, 4), NaN where unknown.
    """
    write_poses(out / "trajectory.tum", stamps_ns, found, MAP_TO_WORLD)
    if corrected is not None:
        write_poses(out / CORRECTED, stamps_ns, corrected, MAP_TO_WORLD)
    known = known_poses(np.stack((found, truth)))
    if known.any():
        true_ns = [ns for ns, there in zip(stamps_ns, known, strict=True) if there]
        note = "the optical frame in the truth's world, metres"
        write_poses(out / "truth.tum", true_ns, truth[known], np.eye(3), note)


def write_map_files(
    out: Path, points: PointCloud
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Write map.ply and map.pcd; return positions (M, 3) in the map, colours (M, 3) and
    confidences (M,)."""
    positions = points_in_map(points.positions.numpy())
    arrays = positions, points.colors.numpy(), points.confidences.numpy()
    write_ply(out / "map.ply", *arrays, IN_THE_MAP)
    write_pcd(out / "map.pcd", *arrays, IN_THE_MAP)
    return arrays


def write_series(
    path: Path,
    stamps_ns: list[int],
    trajectories: tuple[Array, Array, Array],
    graph: tuple[Array, Array],
    cloud: tuple[NDArray[np.float32], ...],
    log: RunLog,
    strips: Strips,
) -> None:
    """Write what the page draws to one file.

    trajectories: predicted, true and corrected, (N, 3, 4) each, NaN where unknown. graph: as
    `keyframe_graph` returns it. cloud: points (M, 3) and colours (M, 3) of the map.
    """
    found, truth, corrected = trajectories
    positions, colors = cloud[:2]
    step = -(-len(positions) // SHOWN_POINTS) or 1
    frames = {
        f"strip_{number}_{name}": array
        for number, shown in enumerate(strips.shown)
        for name, array in shown.items()
    }
    columns = {n: log.column(n) for n in ("latency_ms", "memory_bytes", "process_bytes", "tokens")}
    way = camera_centers(corrected) @ MAP_TO_WORLD.T
    series: dict[str, Any] = {
        "stamps_ns": np.array(stamps_ns, dtype=np.int64),
        "poses": np.stack((found, truth)),
        "points": positions[::step],
        "colors": (np.clip(colors[::step], 0, 1) * 255).astype(np.uint8),
        "corrected": corrected,
        "keyframes": graph[0],
        "loops": graph[1],
        "picture": map_from_above(positions, colors, way, *graph),
        **columns,
        **frames,
    }
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **series)


def keyframe_graph(
    poses: Mapping[int, Similarity3], loops: Iterable[tuple[int, int]]
) -> tuple[Array, Array]:
    """Return the positions (K, 3) of the keyframes and the ends (L, 2, 3) of the loops in the
    map's axes.

    poses: world_from_camera by the numbers of the keyframes. loops: numbers of both ends.
    """
    placed = {number: MAP_TO_WORLD @ pose.translation for number, pose in poses.items()}
    ends = [
        (placed[one], placed[other]) for one, other in loops if one in placed and other in placed
    ]
    return np.array([*placed.values()]).reshape(-1, 3), np.array(ends).reshape(-1, 2, 3)


def write_metrics(out: Path, figures: dict[str, Any]) -> None:
    """Write the figures of a run."""
    with whole_file(out / METRICS) as partial:
        partial.write_text(json.dumps(figures, indent=1))


def machine(device: torch.device) -> dict[str, Any]:
    """Return the device and the versions that made the figures."""
    return {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "version": version(),
        "commit": commit(),
    }


def version() -> str:
    try:
        return metadata.version("infinitevggt_ros")
    except metadata.PackageNotFoundError:  # a colcon build
        return "unknown"
