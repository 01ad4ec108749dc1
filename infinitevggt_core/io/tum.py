# SPDX-License-Identifier: Apache-2.0
"""Trajectories as TUM files: stamp (s, 9 digits) x y z qx qy qz qw."""

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.io.atomic_file import whole_file

IN_THE_MAP = "map frame, x forward, z up; unit of the stream"


def write_tum(
    path: str | os.PathLike[str],
    stamps_ns: Sequence[int],
    positions: NDArray[np.float64],
    quats_xyzw: NDArray[np.float64],
    note: str = IN_THE_MAP,
) -> None:
    """Write positions (N, 3) and orientations (N, 4), completely or not at all.

    note: axes and units, for the comment at the top.
    """
    lines = [f"# stamp x y z qx qy qz qw ({note})"]
    for ns, position, quat in zip(stamps_ns, positions, quats_xyzw, strict=True):
        seconds, rest = divmod(ns, 10**9)
        numbers = " ".join(f"{value:.9g}" for value in (*position, *quat))
        lines.append(f"{seconds}.{rest:09d} {numbers}")
    with whole_file(path) as partial:
        partial.write_text("\n".join(lines) + "\n")
