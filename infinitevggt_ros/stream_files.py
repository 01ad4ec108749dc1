"""A stream's map and trajectory as files for other programs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from infinitevggt_core.pcd import write_pcd
from infinitevggt_core.ply import write_ply
from infinitevggt_core.tum import write_tum
from infinitevggt_ros.axes import points_in_map
from infinitevggt_ros.stream import Stream
from infinitevggt_ros.trajectory import trajectory_arrays


def save_map(stream: Stream, path: Path) -> str:
    """Write the fused cloud (.ply, .pcd) or the trajectory (.tum), by the name of the file; returns
    what was written. Raises OSError, and ValueError for another name."""
    write = WRITERS.get(path.suffix)
    if write is None:
        names = ", ".join(WRITERS)
        raise ValueError(f"{path}: the name must end in one of {names}, which says what is written")
    return f"{write(stream, path)} in {path}"


def _write_cloud(stream: Stream, path: Path) -> str:
    cloud = stream.map.cloud()
    write = write_ply if path.suffix == ".ply" else write_pcd
    positions = points_in_map(cloud.positions.numpy()) * np.float32(stream.scale)
    write(path, positions, cloud.colors.numpy(), cloud.confidences.numpy())
    return f"{len(positions)} points"


def _write_trajectory(stream: Stream, path: Path) -> str:
    poses = stream.trajectory.poses
    write_tum(path, *trajectory_arrays(poses))
    return f"{len(poses)} poses"


WRITERS: dict[str, Callable[[Stream, Path], str]] = {
    ".ply": _write_cloud,
    ".pcd": _write_cloud,
    ".tum": _write_trajectory,
}
"""By the end of the file's name."""
