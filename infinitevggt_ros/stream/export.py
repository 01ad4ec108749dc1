# SPDX-License-Identifier: Apache-2.0
"""Files of a stream's map and trajectories for other programs."""

from collections.abc import Callable
from pathlib import Path

from infinitevggt_core.io.pcd import write_pcd
from infinitevggt_core.io.ply import write_ply
from infinitevggt_core.io.tum import write_tum
from infinitevggt_ros.output.trajectory import trajectory_arrays
from infinitevggt_ros.stream.stream import Stream


def save_map(stream: Stream, path: Path) -> str:
    """Write the fused cloud (.ply, .pcd) or the trajectories (.tum), by the suffix of the file.

    Returns a text on what was written. Raises OSError, and ValueError for another suffix.
    """
    write = WRITERS.get(path.suffix.lower())
    if write is None:
        names = ", ".join(WRITERS)
        raise ValueError(f"{path}: the name must end in one of {names}, which says what is written")
    return write(stream, path)


def write_map(stream: Stream, path: Path) -> str:
    """Write the fused cloud (.ply, .pcd) in the map; return a text. Raises OSError."""
    cloud = stream.map.cloud()
    write = write_ply if path.suffix.lower() == ".ply" else write_pcd
    positions = stream.placement.points(cloud.positions.numpy())
    write(path, positions, cloud.colors.numpy(), cloud.confidences.numpy(), _description(stream))
    return f"{len(positions)} points in {path}"


def write_trajectories(stream: Stream, path: Path) -> str:
    """Write a TUM file for each camera; return a text. Raises OSError."""
    written = []
    for camera, trajectory in stream.trajectories.items():
        poses = trajectory.poses
        file = path.with_stem(f"{path.stem}_{camera}") if camera else path
        write_trajectory(stream, camera, file)
        written.append(f"{len(poses)} poses in {file}")
    return ", ".join(written)


def write_trajectory(stream: Stream, camera: str, path: Path) -> None:
    """Write the poses of one camera as a TUM file. Raises OSError."""
    write_tum(path, *trajectory_arrays(stream.trajectories[camera].poses), _description(stream))


def _write_map(stream: Stream, path: Path) -> str:
    return write_map(stream, stream.path_for_stream(path))


def _description(stream: Stream) -> str:
    unit = "metres" if stream.is_metric else "unit of the stream"
    return f"map frame, x forward, z up; {unit}"


WRITERS: dict[str, Callable[[Stream, Path], str]] = {
    ".ply": _write_map,
    ".pcd": _write_map,
    ".tum": write_trajectories,
}
"""Writers by suffix of the file."""
