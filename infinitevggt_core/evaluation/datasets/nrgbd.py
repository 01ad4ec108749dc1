# SPDX-License-Identifier: Apache-2.0
"""Neural RGB-D (NRGBD).

SCENE/images/img0.png, depth/depth0.png (16 bit, mm), poses.txt (4 rows a frame, camera to world,
OpenGL axes; nan: lost), focal.txt (px; the principal point is the middle)
"""

import re
from functools import partial
from pathlib import Path

import numpy as np

from infinitevggt_core.evaluation.datasets.files import (
    DatasetError,
    camera_from_world,
    folders_with,
    images_in,
    pinhole,
    read_depth_png,
    read_image,
    read_numbers,
)
from infinitevggt_core.evaluation.datasets.sequence import FRAME_NS, DatasetFrame, Sequence

PER_METRE = 1000
FARTHEST_M = 10.0
"""Depth beyond it is of the sensor that the data set imitates, and not used."""
OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
LAYOUT = "SCENE/images/img0.png, depth/depth0.png, poses.txt and focal.txt"


def nrgbd(path: Path) -> list[Sequence]:
    return [_sequence(folder) for folder in folders_with(path, "poses.txt", LAYOUT)]


def _sequence(folder: Path) -> Sequence:
    images = sorted(images_in(folder / "images"), key=_number)
    poses = read_numbers(folder / "poses.txt", 4).reshape(-1, 4, 4)
    if len(poses) < len(images):
        raise DatasetError(
            f"{folder / 'poses.txt'} has {len(poses)} poses for {len(images)} images"
        )
    height, width = read_image(images[0]).shape[:2]
    focal = float(read_numbers(folder / "focal.txt", 1)[0, 0])
    frames = [
        DatasetFrame(
            image,
            (index + 1) * FRAME_NS,
            folder / "depth" / f"depth{_number(image)}.png",
            camera_from_world(poses[index] @ OPENCV_FROM_OPENGL),
        )
        for index, image in enumerate(images)
    ]
    read = partial(read_depth_png, per_metre=PER_METRE)
    matrix = pinhole(focal, focal, width / 2, height / 2)
    return Sequence(folder.name, frames, read, matrix, FARTHEST_M)


def _number(path: Path) -> int:
    found = re.search(r"\d+", path.stem)
    if not found:
        raise DatasetError(f"{path} has no number in its name")
    return int(found[0])
