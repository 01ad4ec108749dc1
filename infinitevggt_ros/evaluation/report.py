# SPDX-License-Identifier: Apache-2.0
"""Files of a finished run."""

import json
import platform
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rclpy.serialization import serialize_message
from scipy.spatial.transform import Rotation

from infinitevggt_core.evaluation.tally import known_poses, measures, trajectory_measures
from infinitevggt_core.evaluation.trajectory import camera_centers
from infinitevggt_core.io.atomic_file import whole_file
from infinitevggt_core.io.machine import commit, device_name
from infinitevggt_core.io.pcd import write_pcd
from infinitevggt_core.io.ply import write_ply
from infinitevggt_core.io.tum import write_tum
from infinitevggt_ros.axes import MAP_FROM_WORLD, points_in_map
from infinitevggt_ros.bags.writer import BagWriter
from infinitevggt_ros.evaluation.frame_record import BAG_TOPICS, LATCHED, map_header
from infinitevggt_ros.evaluation.frames import Source
from infinitevggt_ros.evaluation.picture import map_from_above
from infinitevggt_ros.evaluation.stream_run import RunResult
from infinitevggt_ros.output.messages import cloud
from infinitevggt_ros.params.settings import Settings
from infinitevggt_ros.stream.stream import Stream
from infinitevggt_ros.topics import NODE_MAP

METRICS = "metrics.json"
SERIES = "series.npz"
SHOWN_POINTS = 50_000
"""Number of points of the map in the page."""
MAP_TO_WORLD = MAP_FROM_WORLD[:3, :3]
Array = NDArray[np.float64]


def write_files(result: RunResult, source: Source, settings: Settings, out: Path) -> dict[str, Any]:
    """Write all files of a run but the page; return the contents of metrics.json, written last."""
    stamps_ns = result.log.used_stamps_ns()[-len(result.tally.poses[0]) :]
    found, truth = result.tally.poses
    write_poses(out / "trajectory.tum", stamps_ns, found, MAP_TO_WORLD)
    if result.corrected is not None:
        write_poses(out / "corrected.tum", stamps_ns, result.corrected, MAP_TO_WORLD)
    known = known_poses(result.tally.poses)
    if known.any():
        true_stamps_ns = [ns for ns, there in zip(stamps_ns, known, strict=True) if there]
        note = "the optical frame in the truth's world, metres"
        write_poses(out / "truth.tum", true_stamps_ns, truth[known], np.eye(3), note)
    points = result.stream.map.cloud()
    positions = points_in_map(points.positions.numpy())
    arrays = (positions, points.colors.numpy(), points.confidences.numpy())
    write_ply(out / "map.ply", *arrays)
    write_pcd(out / "map.pcd", *arrays)
    if result.journal:
        write_bag(result, out / "result.mcap", stamps_ns[-1], arrays, settings)
    write_series(out / SERIES, result, stamps_ns, arrays)
    figures = {
        "name": source.name,
        "source": source.chosen,
        **measures(result.tally, source.surface()),
        "trajectory_corrected": corrected_measures(result, truth),
        "run": result.log.figures(),
        "parameters": asdict(settings),
        "machine": machine(result.stream.session.model.device),
    }
    with whole_file(out / METRICS) as partial:
        partial.write_text(json.dumps(figures, indent=1))
    return figures


def corrected_measures(result: RunResult, truth: Array) -> dict[str, Any] | None:
    """Return the errors of the trajectory after all corrections; None without it or the truth."""
    if result.corrected is None:
        return None
    return trajectory_measures(np.stack((result.corrected, truth)))


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


def write_bag(
    result: RunResult, path: Path, stamp_ns: int, arrays: tuple[Any, ...], settings: Settings
) -> None:
    """Write what the node would have published, and the map as it is at the end."""
    assert result.journal
    with BagWriter(path, overwrite=True) as bag:
        for topic, kind in BAG_TOPICS.items():
            bag.add_topic(topic, kind, latched=topic in LATCHED)
        result.journal.copy_to(bag, [*BAG_TOPICS])
        bag.write(
            NODE_MAP, stamp_ns, serialize_message(cloud(map_header(settings, stamp_ns), *arrays))
        )


def write_series(
    path: Path, result: RunResult, stamps_ns: list[int], arrays: tuple[Any, ...]
) -> None:
    """Write what the page draws to one file."""
    positions, colors, _ = arrays
    step = -(-len(positions) // SHOWN_POINTS) or 1
    final = result.tally.poses[0] if result.corrected is None else result.corrected
    trajectory = camera_centers(final) @ MAP_TO_WORLD.T
    keyframes, loops = keyframe_graph(result.stream)
    frames = {
        f"strip_{number}_{name}": array
        for number, shown in enumerate(result.strips.shown)
        for name, array in shown.items()
    }
    columns = {
        n: result.log.column(n) for n in ("latency_ms", "memory_bytes", "process_bytes", "tokens")
    }
    series: dict[str, Any] = {
        "stamps_ns": np.array(stamps_ns, dtype=np.int64),
        "poses": result.tally.poses,
        "points": positions[::step],
        "colors": (np.clip(colors[::step], 0, 1) * 255).astype(np.uint8),
        "corrected": final,
        "keyframes": keyframes,
        "loops": loops,
        "picture": map_from_above(positions, colors, trajectory, keyframes, loops),
        **columns,
        **frames,
    }
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **series)


def keyframe_graph(stream: Stream) -> tuple[Array, Array]:
    """Return the positions (K, 3) of the keyframes and the ends (L, 2, 3) of the loops in the
    map's axes."""
    placed = {k: MAP_TO_WORLD @ p.translation for k, p in stream.pose_source.keyframes().items()}
    ends = [
        (placed[one], placed[other])
        for one, other in stream.pose_source.loops()
        if one in placed and other in placed
    ]
    return np.array([*placed.values()]).reshape(-1, 3), np.array(ends).reshape(-1, 2, 3)


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
