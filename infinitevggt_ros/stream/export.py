# SPDX-License-Identifier: Apache-2.0
"""A stream's map and trajectory as files for other programs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from infinitevggt_core.io.pcd import write_pcd
from infinitevggt_core.io.ply import write_ply
from infinitevggt_core.io.tum import write_tum
from infinitevggt_ros.axes import points_in_map
from infinitevggt_ros.output.trajectory import trajectory_arrays
from infinitevggt_ros.stream.stream import Stream


def save_map(stream: Stream, path: Path) -> str:
    """Write the fused cloud (.ply, .pcd) or the trajectory (.tum), by the name of the file; returns
    what was written. Raises OSError, and ValueError for another name."""
    write = WRITERS.get(path.suffix.lower())
    if write is None:
        names = ", ".join(WRITERS)
        raise ValueError(f"{path}: the name must end in one of {names}, which says what is written")
    return write(stream, path)


def _write_cloud(stream: Stream, path: Path) -> str:
    cloud = stream.map.cloud()
    path, write = stream.own(path), write_ply if path.suffix.lower() == ".ply" else write_pcd
    positions = points_in_map(cloud.positions.numpy(), stream.map_from_world)
    positions *= np.float32(stream.scale)
    write(path, positions, cloud.colors.numpy(), cloud.confidences.numpy(), _note(stream))
    return f"{len(positions)} points in {path}"


def _write_trajectories(stream: Stream, path: Path) -> str:
    """Of several cameras, a file for each."""
    written = []
    for camera, trajectory in stream.trajectories.items():
        poses = trajectory.poses
        file = path.with_stem(f"{path.stem}_{camera}") if camera else path
        write_tum(file, *trajectory_arrays(poses), _note(stream))
        written.append(f"{len(poses)} poses in {file}")
    return ", ".join(written)


def _note(stream: Stream) -> str:
    unit = "metres" if stream.measured.is_metric else "unit of the stream"
    return f"map frame, x forward, z up; {unit}"


WRITERS: dict[str, Callable[[Stream, Path], str]] = {
    ".ply": _write_cloud,
    ".pcd": _write_cloud,
    ".tum": _write_trajectories,
}
"""By the end of the file's name."""
