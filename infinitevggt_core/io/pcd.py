# SPDX-License-Identifier: Apache-2.0
"""Point clouds as binary PCD files, as PCL and Open3D read them."""

import os

import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.io.point_file import color_bytes, point_rows, write_points

POINT = np.dtype(
    [(name, "<f4") for name in ("x", "y", "z")] + [("rgb", "<u4"), ("confidence", "<f4")]
)


def write_pcd(
    path: str | os.PathLike[str],
    points: NDArray[np.float32],
    colors: NDArray[np.float32],
    confidences: NDArray[np.float32],
    note: str = "",
) -> None:
    """Write points (N, 3), RGB (N, 3) in [0, 1] and confidences (N,), completely or not at all.

    note: axes and units, for the header.
    """
    red, green, blue = color_bytes(colors).astype(np.uint32).T
    packed = red << 16 | green << 8 | blue  # the bits that PCL reads as a float
    header = [
        *([f"# {note}"] if note else []),
        "VERSION 0.7",
        f"FIELDS {' '.join(POINT.names or ())}",
        "SIZE 4 4 4 4 4",
        "TYPE F F F F F",
        "COUNT 1 1 1 1 1",
        f"WIDTH {len(points)}",
        "HEIGHT 1",
        "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {len(points)}",
        "DATA binary",
    ]
    write_points(path, header, point_rows(POINT, points, {"rgb": packed}, confidences))
