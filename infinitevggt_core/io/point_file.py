# SPDX-License-Identifier: Apache-2.0
"""Writer of binary point files, which PLY and PCD share."""

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.io.atomic_file import whole_file


def point_rows(
    dtype: np.dtype[np.void],
    points: NDArray[np.float32],
    colors: dict[str, NDArray[np.uint8] | NDArray[np.uint32]],
    confidences: NDArray[np.float32],
) -> NDArray[np.void]:
    """Return one row per point: x, y, z, the named colour columns, confidence."""
    rows = np.empty(len(points), dtype=dtype)
    rows["x"], rows["y"], rows["z"] = points.T
    for name, column in colors.items():
        rows[name] = column
    rows["confidence"] = confidences
    return rows


def color_bytes(colors: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Convert RGB (N, 3) in [0, 1] to bytes (N, 3)."""
    return (np.clip(colors, 0, 1) * 255 + 0.5).astype(np.uint8)


def write_points(
    path: str | os.PathLike[str], header: Sequence[str], rows: NDArray[np.void]
) -> None:
    """Write the lines of a header and the rows to one file, completely or not at all."""
    with whole_file(path) as partial:
        partial.write_bytes("\n".join([*header, ""]).encode("ascii") + rows.tobytes())
