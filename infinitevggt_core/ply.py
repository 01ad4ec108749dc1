"""Point clouds as binary PLY files."""

import os

import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.whole_file import whole_file

VERTEX = np.dtype(
    [(name, "<f4") for name in ("x", "y", "z")]
    + [(name, "u1") for name in ("red", "green", "blue")]
    + [("confidence", "<f4")]
)
PLY_TYPES = {"<f4": "float", "|u1": "uchar"}


def write_ply(
    path: str | os.PathLike[str],
    points: NDArray[np.float32],
    colors: NDArray[np.float32],
    confidences: NDArray[np.float32],
) -> None:
    """Write points (N, 3), RGB in [0, 1] (N, 3) and confidences (N,): whole or not at all."""
    vertices = np.empty(len(points), dtype=VERTEX)
    for i, name in enumerate(("x", "y", "z")):
        vertices[name] = points[:, i]
    for i, name in enumerate(("red", "green", "blue")):
        vertices[name] = np.clip(colors[:, i], 0, 1) * 255 + 0.5
    vertices["confidence"] = confidences
    properties = [f"property {PLY_TYPES[VERTEX[name].str]} {name}" for name in VERTEX.names or ()]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}"]
    text = "\n".join([*header, *properties, "end_header"]) + "\n"
    with whole_file(path) as partial:
        partial.write_bytes(text.encode("ascii") + vertices.tobytes())
