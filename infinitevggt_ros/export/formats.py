# SPDX-License-Identifier: Apache-2.0
"""Formats that are made of a run's keyframes."""

from collections.abc import Callable
from pathlib import Path

from infinitevggt_ros.export.colmap import write_colmap
from infinitevggt_ros.export.mesh import write_mesh
from infinitevggt_ros.export.nerfstudio import write_nerfstudio
from infinitevggt_ros.export.run_folder import RunFolder


def write_format(run: RunFolder, name: str, out: Path, voxel: float = 0.0) -> str:
    """Write a run in a format, a name in FORMATS; return a text on what was written.

    voxel: as in `write_mesh`. Raises CommandError if there are too few keyframes, and OSError.
    """
    return FORMATS[name](run, out, voxel)


def _colmap(run: RunFolder, out: Path, _: float) -> str:
    images, points, error_px = write_colmap(run, out)
    return f"{images} images, {points} points, median reprojection error {error_px:.2f} px"


def _nerfstudio(run: RunFolder, out: Path, _: float) -> str:
    return f"transforms.json with {write_nerfstudio(run, out)} images"


def _mesh(run: RunFolder, out: Path, voxel: float) -> str:
    vertices, triangles = write_mesh(run, out, voxel)
    return f"{vertices} vertices, {triangles} triangles"


FORMATS: dict[str, Callable[[RunFolder, Path, float], str]] = {
    "colmap": _colmap,
    "nerfstudio": _nerfstudio,
    "mesh": _mesh,
}
