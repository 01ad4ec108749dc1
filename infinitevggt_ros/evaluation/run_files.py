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
from scipy.spatial.transform import Rotation

from infinitevggt_core.evaluation.trajectory import camera_centers
from infinitevggt_core.io.atomic_file import whole_file
from infinitevggt_core.io.machine import commit, device_name
from infinitevggt_core.io.tum import write_tum
from infinitevggt_core.tracking.similarity import Similarity3
from infinitevggt_ros.evaluation.picture import map_from_above
from infinitevggt_ros.evaluation.run_log import RunLog
from infinitevggt_ros.evaluation.strips import Strips
from infinitevggt_ros.map_axes import MAP_FROM_WORLD

METRICS = "metrics.json"
SERIES = "series.npz"
SHOWN_POINTS = 50_000
"""Number of points of the map in the page."""
MAP_TO_WORLD = MAP_FROM_WORLD[:3, :3]
Array = NDArray[np.float64]


def write_poses(path: Path, stamps_ns: list[int], poses: Array, axes: Array, *note: str) -> None:
    """Write camera_from_world (N, 3, 4) as a TUM file, in a world rotated by `axes` (3, 3).

    Poses that are not finite are left out, as the node leaves them out.
    """
    finite = np.asarray(np.isfinite(poses).all(axis=(1, 2)))
    stamps_ns = [stamp_ns for stamp_ns, kept in zip(stamps_ns, finite, strict=True) if kept]
    poses = poses[finite]
    turned = axes @ poses[..., :3].transpose(0, 2, 1)
    quats = Rotation.from_matrix(turned).as_quat()
    write_tum(path, stamps_ns, camera_centers(poses) @ axes.T, quats, *note)


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
