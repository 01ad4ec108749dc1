# SPDX-License-Identifier: Apache-2.0
"""Point clouds as binary PCD files, as PCL and Open3D read them."""

import os

import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.io.atomic_file import whole_file

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
    """Write points (N, 3), RGB in [0, 1] (N, 3) and confidences (N,): whole or not at all. note: of
    the axes and units, for the header."""
    rows = np.empty(len(points), dtype=POINT)
    rows["x"], rows["y"], rows["z"] = points.T
    red, green, blue = (np.clip(colors, 0, 1) * 255 + 0.5).astype(np.uint32).T
    rows["rgb"] = red << 16 | green << 8 | blue  # the bits that PCL reads as a float
    rows["confidence"] = confidences
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
    with whole_file(path) as partial:
        partial.write_bytes("\n".join([*header, ""]).encode("ascii") + rows.tobytes())
