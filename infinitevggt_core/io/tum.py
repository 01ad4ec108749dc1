# SPDX-License-Identifier: Apache-2.0
"""Trajectories as TUM files: stamp (s, 9 digits) x y z qx qy qz qw."""

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from infinitevggt_core.io.atomic_file import whole_file

CORRECTED = "corrected.tum"
"""Name of the trajectory after the last loop closure."""
IN_THE_MAP = "map frame, x forward, z up; unit of the stream"


def write_tum(
    path: str | os.PathLike[str],
    stamps_ns: Sequence[int],
    positions: NDArray[np.float64],
    quats_xyzw: NDArray[np.float64],
    note: str = IN_THE_MAP,
) -> None:
    """Write positions (N, 3) and orientations (N, 4), completely or not at all.

    note: axes and units, for the comment at the top.
    """
    lines = [f"# stamp x y z qx qy qz qw ({note})"]
    for ns, position, quat in zip(stamps_ns, positions, quats_xyzw, strict=True):
        seconds, rest = divmod(ns, 10**9)
        numbers = " ".join(f"{value:.9g}" for value in (*position, *quat))
        lines.append(f"{seconds}.{rest:09d} {numbers}")
    with whole_file(path) as partial:
        partial.write_text("\n".join(lines) + "\n")


def write_poses(
    path: str | os.PathLike[str],
    stamps_ns: Sequence[int],
    poses: NDArray[np.float64],
    axes: NDArray[np.float64],
    note: str = IN_THE_MAP,
) -> None:
    """Write camera_from_world (N, 3, 4), in a world rotated by `axes` (3, 3).

    Poses that are not finite are left out. note: as in `write_tum`.
    """
    finite = np.asarray(np.isfinite(poses).all(axis=(1, 2)))
    stamps_ns = [stamp_ns for stamp_ns, kept in zip(stamps_ns, finite, strict=True) if kept]
    turned = axes @ poses[finite, :, :3].transpose(0, 2, 1)  # world_from_camera
    positions = -(turned @ poses[finite, :, 3:])[..., 0]
    quats = Rotation.from_matrix(turned).as_quat() if len(turned) else np.empty((0, 4))
    write_tum(path, stamps_ns, positions, quats, note)
