# SPDX-License-Identifier: Apache-2.0
"""TUM RGB-D and Bonn RGB-D Dynamic, which has the same layout.

rgb.txt, depth.txt     stamp and file
groundtruth.txt        stamp tx ty tz qx qy qz qw: the camera in the world
rgb/*.png, depth/*.png 16 bit, 5000 steps a metre
"""

from functools import partial
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from infinitevggt_core.evaluation.datasets.files import (
    SHORTEST_QUATERNION,
    Array,
    DatasetError,
    camera_from_world,
    folders_with,
    numbers_in,
    pinhole,
    read_depth_png,
    read_lines,
    stamp_ns,
    words_in,
)
from infinitevggt_core.evaluation.datasets.sequence import DatasetFrame, Sequence, unknown_pose
from infinitevggt_core.io.stamps import nearest

PER_METRE = 5000
TOLERANCE_NS = 20_000_000
"""Between an image, its depth and its pose: that of the data set's own tools."""
TUM_INTRINSICS = {
    "freiburg1": pinhole(517.3, 516.5, 318.6, 255.3),
    "freiburg2": pinhole(520.9, 521.0, 325.1, 249.7),
    "freiburg3": pinhole(535.4, 539.2, 320.1, 247.6),
}
BONN_INTRINSICS = pinhole(542.822841, 542.576870, 315.593520, 237.756098)
BONN_FARTHEST_M = 70.0
LAYOUT = "rgb.txt, depth.txt and groundtruth.txt beside rgb/ and depth/"


def tum(path: Path) -> list[Sequence]:
    return [
        Sequence(
            folder.name,
            _frames(folder),
            partial(read_depth_png, per_metre=PER_METRE),
            next((k for name, k in TUM_INTRINSICS.items() if name in folder.name), None),
        )
        for folder in folders_with(path, "rgb.txt", LAYOUT)
    ]


def bonn(path: Path) -> list[Sequence]:
    return [
        Sequence(
            folder.name,
            _frames(folder),
            partial(read_depth_png, per_metre=PER_METRE),
            BONN_INTRINSICS,
            BONN_FARTHEST_M,
        )
        for folder in folders_with(path, "rgb.txt", LAYOUT)
    ]


def _frames(folder: Path) -> list[DatasetFrame]:
    images, depths = _listed(folder / "rgb.txt"), _listed(folder / "depth.txt")
    truth = read_poses(folder / "groundtruth.txt")
    poses = {stamp: pose for stamp, pose in truth.items() if np.isfinite(pose).all()}
    depth_stamps, pose_stamps = sorted(depths), sorted(poses)
    frames = []
    for ns in sorted(images):
        depth = nearest(depth_stamps, ns, TOLERANCE_NS)
        pose = nearest(pose_stamps, ns, TOLERANCE_NS)
        frames.append(
            DatasetFrame(
                images[ns],
                ns,
                None if depth is None else depths[depth_stamps[depth]],
                unknown_pose() if pose is None else poses[pose_stamps[pose]],
            )
        )
    return frames


def _listed(path: Path) -> dict[int, Path]:
    """Files by their stamps (ns)."""
    found = {}
    for line in read_lines(path):
        words = line.split(maxsplit=1)  # a file may have spaces in its name
        if len(words) != 2:
            raise DatasetError(f"{path}: stamp and file expected, got {line!r}")
        found[stamp_ns(words[0], path)] = path.parent / words[1]
    return found


def read_poses(path: Path) -> dict[int, Array]:
    """Return camera_from_world (3, 4) by stamp (ns); NaN where a row has no pose: nan, inf or a
    quaternion too short to be a rotation. Raises DatasetError.
    """
    found = {}
    for line in read_lines(path):
        words = words_in(line)
        if len(words) != 8:
            raise DatasetError(f"{path}: stamp and seven numbers expected, got {line!r}")
        values = np.array(numbers_in(words[1:], path))
        found[stamp_ns(words[0], path)] = _pose(values[:3], values[3:])
    return found


def _pose(position: Array, quat_xyzw: Array) -> Array:
    length = np.linalg.norm(quat_xyzw)
    if not (np.isfinite(position).all() and SHORTEST_QUATERNION <= length < np.inf):
        return unknown_pose()
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_quat(quat_xyzw).as_matrix()
    pose[:3, 3] = position
    return camera_from_world(pose)
