# SPDX-License-Identifier: Apache-2.0
"""KITTI odometry and KITTI depth.

odometry: sequences/00/image_2/000000.png, calib.txt (P2), times.txt; poses/00.txt (12 numbers a
          row, camera 0 in the world; sequences 11 to 21 have none)
depth:    DRIVE_sync/image_02/data/*.png and DRIVE_sync/proj_depth/groundtruth/image_02/*.png, of 16
          bits, 256 steps a metre; 0: not known
"""

from functools import partial
from pathlib import Path

import numpy as np

from infinitevggt_core.evaluation.datasets.files import (
    Array,
    DatasetError,
    camera_from_world,
    folders_with,
    images_in,
    numbers_in,
    read_depth_png,
    read_lines,
    read_numbers,
    stamp_ns,
)
from infinitevggt_core.evaluation.datasets.sequence import (
    FRAME_NS,
    DatasetFrame,
    Sequence,
    unknown_pose,
)

PER_METRE = 256
FARTHEST_M = 80.0
LAYOUT = "sequences/NN/image_2 (odometry) or DRIVE_sync/proj_depth/groundtruth/image_02 (depth)"
DEPTH_FOLDER = "proj_depth/groundtruth/image_02"
Read = partial(read_depth_png, per_metre=PER_METRE)


def kitti(path: Path) -> list[Sequence]:
    try:
        folders = folders_with(path, "image_2/*", LAYOUT)
    except DatasetError:
        return [_drive(folder) for folder in folders_with(path, f"{DEPTH_FOLDER}/*", LAYOUT)]
    return [_odometry(folder) for folder in folders]


def _odometry(folder: Path) -> Sequence:
    images = images_in(folder / "image_2")
    projection = _projection(folder / "calib.txt")
    intrinsics = projection[:, :3]
    stamps = [stamp_ns(line, folder / "times.txt") for line in read_lines(folder / "times.txt")]
    poses_file = folder.parents[1] / "poses" / f"{folder.name}.txt"
    poses = [unknown_pose()] * len(images)
    if poses_file.exists():
        offset = np.linalg.solve(intrinsics, projection[:, 3])  # camera 2 from camera 0
        poses = [
            camera_from_world(row.reshape(3, 4)) + np.pad(offset[:, None], ((0, 0), (3, 0)))
            for row in read_numbers(poses_file, 12)
        ]
    for name, count in (("times.txt", len(stamps)), (f"poses/{folder.name}.txt", len(poses))):
        if count != len(images):
            raise DatasetError(f"{folder}: {name} has {count} rows for {len(images)} images")
    frames = [
        DatasetFrame(image, ns + FRAME_NS, None, pose)  # no stamp may be 0
        for image, ns, pose in zip(images, stamps, poses, strict=True)
    ]
    return Sequence(f"kitti-{folder.name}", frames, Read, intrinsics, FARTHEST_M)


def _drive(folder: Path) -> Sequence:
    """The frames that have depth: the first and last few of a drive have none."""
    frames = [
        DatasetFrame(folder / "image_02/data" / depth.name, (index + 1) * 3 * FRAME_NS, depth)
        for index, depth in enumerate(images_in(folder / DEPTH_FOLDER))
    ]
    return Sequence(folder.name, frames, Read, None, FARTHEST_M)


def _projection(path: Path) -> Array:
    """P2 (3, 4) of calib.txt."""
    for line in read_lines(path):
        name, _, numbers = line.partition(":")
        if name == "P2" and len(numbers.split()) == 12:
            projection = np.array(numbers_in(numbers.split(), path)).reshape(3, 4)
            matrix = projection[:, :3]
            if not np.isfinite(projection).all() or np.linalg.matrix_rank(matrix) < 3:
                raise DatasetError(f"{path}: P2 is no projection, got {numbers.strip()!r}")
            return projection
    raise DatasetError(f"{path} has no row P2 with 12 numbers")
