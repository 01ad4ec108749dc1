# SPDX-License-Identifier: Apache-2.0
"""Point clouds as binary PLY files."""

import os

import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.io.point_file import color_bytes, point_rows, write_points

VERTEX = np.dtype(
    [(name, "<f4") for name in ("x", "y", "z")]
    + [(name, "u1") for name in ("red", "green", "blue")]
    + [("confidence", "<f4")]
)
PLY_TYPES = {"<f4": "float", "|u1": "uchar"}
PLY_NUMBERS = {
    **dict.fromkeys(("float", "float32"), "<f4"),
    **dict.fromkeys(("double", "float64"), "<f8"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("ushort", "uint16"), "<u2"),
    **dict.fromkeys(("short", "int16"), "<i2"),
    **dict.fromkeys(("uint", "uint32"), "<u4"),
    **dict.fromkeys(("int", "int32"), "<i4"),
}
"""NumPy types of the property types."""


def write_ply(
    path: str | os.PathLike[str],
    points: NDArray[np.float32],
    colors: NDArray[np.float32],
    confidences: NDArray[np.float32],
    note: str = "",
) -> None:
    """Write points (N, 3), RGB (N, 3) in [0, 1] and confidences (N,), completely or not at all.

    note: axes and units, for the header.
    """
    columns = dict(zip(("red", "green", "blue"), color_bytes(colors).T, strict=True))
    properties = [f"property {PLY_TYPES[VERTEX[name].str]} {name}" for name in VERTEX.names or ()]
    comments = [f"comment {note}"] if note else []
    header = ["ply", "format binary_little_endian 1.0", *comments, f"element vertex {len(points)}"]
    rows = point_rows(VERTEX, points, columns, confidences)
    write_points(path, [*header, *properties, "end_header"], rows)


def read_ply_points(path: str | os.PathLike[str]) -> NDArray[np.float64]:
    """Read the points (N, 3) of a PLY file, binary little-endian or text. Raises ValueError if the
    file is no such file, or truncated."""
    with open(path, "rb") as file:
        lines: list[str] = []
        while (line := file.readline()) and line.strip() != b"end_header":
            lines.append(line.decode("ascii", "replace").strip())
        rest = file.read()
    words = [line.split() for line in lines]
    count = next((int(w[2]) for w in words if w[:2] == ["element", "vertex"]), 0)
    fields = [(w[2], PLY_NUMBERS[w[1]]) for w in words if w[:1] == ["property"] and len(w) == 3]
    if not lines or lines[0] != "ply" or not count:
        raise ValueError(f"{path} is not a PLY file of points")
    if "format ascii 1.0" in lines:
        rows = np.loadtxt(rest.decode().splitlines()[:count], ndmin=2)
        return rows[:, [[name for name, _ in fields].index(axis) for axis in "xyz"]]
    if "format binary_little_endian 1.0" not in lines:
        raise ValueError(f"{path} is neither text nor binary little-endian")
    dtype = np.dtype(fields)
    if len(rest) < count * dtype.itemsize:
        raise ValueError(f"{path} is truncated: {len(rest)} bytes for {count} points")
    vertices = np.frombuffer(rest, dtype, count)
    return np.stack([vertices[axis].astype(np.float64) for axis in "xyz"], axis=1)
