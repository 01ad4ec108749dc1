# SPDX-License-Identifier: Apache-2.0
"""Long3D: long walks, and a laser scan of the place.

    SCENE/images/*.png or .jpg, one SCENE/*.ply; poses.txt as in TUM files, if there is one

The data set says nothing about where a camera was. Without poses.txt the scan cannot be laid over
the map but by hand, as its authors do; then only the run's own figures are reported.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.evaluation.datasets.files import DatasetError, folders_with, images_in
from infinitevggt_core.evaluation.datasets.sequence import (
    FRAME_NS,
    DatasetFrame,
    Sequence,
    unknown_pose,
)
from infinitevggt_core.evaluation.datasets.tum import read_poses

LAYOUT = "SCENE/images/*.png and one SCENE/*.ply"


def long3d(path: Path) -> list[Sequence]:
    return [_sequence(folder) for folder in folders_with(path, "images/*", LAYOUT)]


def _sequence(folder: Path) -> Sequence:
    clouds = sorted(folder.glob("*.ply"))
    if len(clouds) != 1:
        raise DatasetError(f"{folder} has {len(clouds)} .ply files: one is expected, the scan")
    images = images_in(folder / "images")
    poses = [unknown_pose()] * len(images)
    if (folder / "poses.txt").exists():
        poses = list(read_poses(folder / "poses.txt").values())
        if len(poses) != len(images):
            raise DatasetError(
                f"{folder / 'poses.txt'} has {len(poses)} poses for {len(images)} images"
            )
    frames = [
        DatasetFrame(image, (index + 1) * FRAME_NS, None, pose)
        for index, (image, pose) in enumerate(zip(images, poses, strict=True))
    ]
    return Sequence(folder.name, frames, _no_depth, cloud=clouds[0])


def _no_depth(path: Path) -> NDArray[np.float32]:
    raise DatasetError(f"{path}: this data set has no depth images")
