# SPDX-License-Identifier: Apache-2.0
"""Write a run as a nerfstudio data set: transforms.json, the pictures and a sparse cloud.

Poses are world_from_camera in OpenGL axes (x right, y up, z backward) in a world whose z points
up. Format: https://docs.nerf.studio/quickstart/data_conventions.html.
"""

import json
import shutil
from pathlib import Path

import numpy as np

from infinitevggt_ros.export.run_folder import RunFolder, SavedKeyframe
from infinitevggt_ros.map_axes import MAP_FROM_WORLD

OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
CLOUD = "map.ply"


def write_nerfstudio(run: RunFolder, out: Path) -> int:
    """Write the data set and return the number of images. Raises CommandError if there are too few
    keyframes."""
    run.require_keyframes()
    pictures = out / "images"
    pictures.mkdir(parents=True, exist_ok=True)
    frames = []
    for keyframe in run.keyframes():
        shutil.copyfile(keyframe.picture, pictures / keyframe.picture.name)
        frames.append(_frame(keyframe))
    content: dict[str, object] = {"camera_model": "OPENCV", "frames": frames}
    if (run.path / CLOUD).exists():
        shutil.copyfile(run.path / CLOUD, out / CLOUD)
        content["ply_file_path"] = CLOUD
    (out / "transforms.json").write_text(json.dumps(content, indent=1))
    return len(frames)


def _frame(keyframe: SavedKeyframe) -> dict[str, object]:
    world_from_camera = np.linalg.inv(np.vstack([keyframe.camera_from_map, [0, 0, 0, 1]]))
    matrix, (height, width) = keyframe.camera_matrix, keyframe.size
    return {
        "file_path": f"images/{keyframe.picture.name}",
        "transform_matrix": (MAP_FROM_WORLD @ world_from_camera @ OPENCV_FROM_OPENGL).tolist(),
        "w": width,
        "h": height,
        "fl_x": float(matrix[0, 0]),
        "fl_y": float(matrix[1, 1]),
        "cx": float(matrix[0, 2] + 0.5),
        "cy": float(matrix[1, 2] + 0.5),
    }
