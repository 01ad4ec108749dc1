# SPDX-License-Identifier: Apache-2.0
"""Write a run as a mesh: TSDF fusion of the keyframes' depth, by Open3D."""

from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.live.run_folder import RunFolder
from infinitevggt_ros.map_axes import MAP_FROM_WORLD

FEWEST_KEYFRAMES = 2
VOXELS_PER_DEPTH = 150
"""Number of voxels in the median depth."""
TRUNCATION_VOXELS = 4.0
FARTHEST = 3.0
"""Depth beyond this multiple of the median is left out."""


def write_mesh(run: RunFolder, path: Path, voxel: float = 0.0) -> tuple[int, int]:
    """Write a coloured mesh, cut to what was seen; return its numbers of vertices and triangles.

    voxel: size in units of the map; 0 to choose it by the depth. Raises CommandError if Open3D is
    not installed or there are too few keyframes.
    """
    try:
        o3d: Any = import_module("open3d")
    except ImportError as error:  # also of a system library that Open3D needs
        hint = "pip install open3d"
        if not isinstance(error, ModuleNotFoundError):
            hint = f"it is installed and cannot be loaded ({error})"
        raise CommandError(f"meshes need Open3D: {hint}") from error
    run.require_keyframes(FEWEST_KEYFRAMES)
    median = float(np.median([np.nanmedian(k.depth) for k in run.keyframes()]))
    voxel = voxel or median / VOXELS_PER_DEPTH
    volume = o3d.pipelines.integration.ScalableTSDFVolume(
        voxel_length=voxel,
        sdf_trunc=TRUNCATION_VOXELS * voxel,
        color_type=o3d.pipelines.integration.TSDFVolumeColorType.RGB8,
    )
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
        rgbd = o3d.geometry.RGBDImage.create_from_color_and_depth(
            o3d.geometry.Image(np.ascontiguousarray(rgb, dtype=np.uint8)),
            o3d.geometry.Image(np.ascontiguousarray(depth, dtype=np.float32)),
            depth_scale=1.0,
            depth_trunc=FARTHEST * median,
            convert_rgb_to_intensity=False,
        )
        intrinsics = o3d.camera.PinholeCameraIntrinsic(
            width, height, matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]
        )
        pose = np.vstack([keyframe.camera_from_map, [0, 0, 0, 1]])
        volume.integrate(rgbd, intrinsics, pose)
    mesh = volume.extract_triangle_mesh()
    mesh.transform(MAP_FROM_WORLD)
    mesh.compute_vertex_normals()
    if not len(mesh.triangles):
        raise CommandError(f"{run.path} gives no surface: a voxel of {voxel:g} is too large")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not o3d.io.write_triangle_mesh(str(path), mesh):
        raise CommandError(f"{path} could not be written: give a name ending in .ply or .obj")
    return len(mesh.vertices), len(mesh.triangles)
