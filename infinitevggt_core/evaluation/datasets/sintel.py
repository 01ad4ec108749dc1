# SPDX-License-Identifier: Apache-2.0
"""MPI Sintel with depth.

    training/final/alley_1/frame_0001.png, training/depth/alley_1/frame_0001.dpt,
    training/camdata_left/alley_1/frame_0001.cam

.dpt: float32 202021.25, int32 width, int32 height, float32 metres row by row. .cam: the same first
number, nine float64 of K, twelve of camera_from_world. All little-endian.
"""

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.evaluation.datasets.files import (
    Array,
    DatasetError,
    folders_with,
    images_in,
)
from infinitevggt_core.evaluation.datasets.sequence import FRAME_NS, DatasetFrame, Sequence

TAG = struct.pack("<f", 202021.25)
FARTHEST_M = 70.0
LAYOUT = "training/final/SCENE/frame_0001.png beside training/depth and training/camdata_left"


def sintel(path: Path) -> list[Sequence]:
    (training,) = folders_with(path, "final", LAYOUT)[:1]
    return [_sequence(training, folder) for folder in sorted((training / "final").iterdir())]


def _sequence(training: Path, folder: Path) -> Sequence:
    frames, matrix = [], None
    for index, image in enumerate(images_in(folder)):
        camera = training / "camdata_left" / folder.name / f"{image.stem}.cam"
        depth = training / "depth" / folder.name / f"{image.stem}.dpt"
        intrinsics, pose = read_cam(camera)
        matrix = intrinsics if matrix is None else matrix
        frames.append(DatasetFrame(image, (index + 1) * FRAME_NS, depth, pose))
    return Sequence(folder.name, frames, read_dpt, matrix, FARTHEST_M)


def read_dpt(path: Path) -> NDArray[np.float32]:
    """(H, W) metres."""
    data = _tagged(path)
    width, height = struct.unpack_from("<ii", data, 4) if len(data) >= 12 else (0, 0)
    if width <= 0 or height <= 0 or len(data) != 12 + 4 * width * height:
        raise DatasetError(f"{path} is truncated: {len(data)} bytes for {width}x{height} px")
    return np.frombuffer(data, "<f4", offset=12).reshape(height, width).astype(np.float32)


def read_cam(path: Path) -> tuple[Array, Array]:
    """K (3, 3) and camera_from_world (3, 4)."""
    data = _tagged(path)
    if len(data) != 4 + 8 * 21:
        raise DatasetError(f"{path} is truncated: {len(data)} bytes of {4 + 8 * 21}")
    numbers = np.frombuffer(data, "<f8", offset=4).astype(np.float64)
    return numbers[:9].reshape(3, 3), numbers[9:].reshape(3, 4)


def _tagged(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path} is missing") from error
    if data[:4] != TAG:
        raise DatasetError(f"{path} does not begin as Sintel's files do: it is damaged")
    return data
