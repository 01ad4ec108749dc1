# SPDX-License-Identifier: Apache-2.0
"""Write a run as a mesh: TSDF fusion of the keyframes' depth, by Open3D."""

from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.export.run_folder import RunFolder
from infinitevggt_ros.map_axes import MAP_FROM_WORLD

VOXELS_PER_DEPTH = 150
"""Number of voxels in the median depth."""
TRUNCATION_VOXELS = 4.0
BLOCK_VOXELS, FIRST_BLOCKS = 8, 10_000
"""Voxels along an edge of a block, and number of blocks before the volume grows."""
LEAST_WEIGHT = 0.5
"""A voxel seen by one keyframe counts."""
FARTHEST = 3.0
"""Depth beyond this multiple of the median is left out."""


def write_mesh(run: RunFolder, path: Path, voxel: float = 0.0) -> tuple[int, int]:
    """Write a coloured mesh, cut to what was seen; return its numbers of vertices and triangles.

    voxel: size in units of the map; 0 to choose it by the depth. Raises CommandError if Open3D is
    not installed or there are too few keyframes.
    """
    run.require_keyframes()
    o3d = _open3d()
    median = float(np.median([np.nanmedian(k.depth) for k in run.keyframes()]))
    voxel = voxel or median / VOXELS_PER_DEPTH
    core = o3d.core
    volume = o3d.t.geometry.VoxelBlockGrid(
        ("tsdf", "weight", "color"),
        (core.float32, core.float32, core.float32),
        ((1,), (1,), (3,)),
        voxel,
        BLOCK_VOXELS,
        FIRST_BLOCKS,
    )
    limits = 1.0, FARTHEST * median, TRUNCATION_VOXELS  # depth's scale and limit, truncation
    for keyframe in run.keyframes():
        height, width = keyframe.depth.shape
        picture = cv2.imread(str(keyframe.picture), cv2.IMREAD_COLOR)
        if picture is None:
            raise CommandError(f"{keyframe.picture} cannot be read")
        matrix = keyframe.depth_matrix
        # the depth map may show a part of the picture, at another resolution
        to_depth = matrix @ np.linalg.inv(keyframe.camera_matrix)
        rgb = cv2.warpPerspective(
            cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), to_depth, (width, height)
        )
        depth = np.nan_to_num(keyframe.depth, nan=0.0, posinf=0.0, neginf=0.0)
        if not ((depth > 0) & (depth < FARTHEST * median)).any():
            continue  # Open3D refuses an image without depth
        view = core.Tensor(matrix), core.Tensor(np.vstack([keyframe.camera_from_map, [0, 0, 0, 1]]))
        image = o3d.t.geometry.Image(np.ascontiguousarray(depth, dtype=np.float32))
        colors = o3d.t.geometry.Image(np.ascontiguousarray(rgb, dtype=np.float32) / 255)
        blocks = volume.compute_unique_block_coordinates(image, *view, *limits)
        volume.integrate(blocks, image, colors, view[0], *view, *limits)
    mesh = volume.extract_triangle_mesh(weight_threshold=LEAST_WEIGHT).to_legacy()
    mesh.transform(MAP_FROM_WORLD)
    mesh.compute_vertex_normals()
    if not len(mesh.triangles):
        raise CommandError(f"{run.path} gives no surface: a voxel of {voxel:g} is too large")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not o3d.io.write_triangle_mesh(str(path), mesh):
        raise CommandError(f"{path} could not be written: give a name ending in .ply or .obj")
    return len(mesh.vertices), len(mesh.triangles)


def _open3d() -> Any:
    try:
        return import_module("open3d")
    except ImportError as error:  # also of a system library that Open3D needs
        hint = "pip install open3d, the extra [mesh] of this package"
        if not isinstance(error, ModuleNotFoundError):
            hint = f"it is installed and cannot be loaded ({error})"
        raise CommandError(f"meshes need Open3D: {hint}") from error
