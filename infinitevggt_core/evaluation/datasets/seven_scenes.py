# SPDX-License-Identifier: Apache-2.0
"""7-Scenes.

SCENE/seq-01/frame-000000.color.png, .depth.png (16 bit, mm; 65535: not known), .pose.txt (4 x 4,
camera to world); SCENE/TestSplit.txt names the sequences that the tables are of: "sequence3"
"""

import re
from functools import partial
from pathlib import Path

from infinitevggt_core.evaluation.datasets.files import (
    DatasetError,
    camera_from_world,
    folders_with,
    pinhole,
    read_depth_png,
    read_lines,
    read_matrix,
)
from infinitevggt_core.evaluation.datasets.sequence import FRAME_NS, DatasetFrame, Sequence

PER_METRE = 1000
UNKNOWN = (0, 65535)
INTRINSICS = pinhole(585.0, 585.0, 320.0, 240.0)
LAYOUT = "seq-NN/frame-NNNNNN.color.png"


def seven_scenes(path: Path) -> list[Sequence]:
    """A scene's test sequences; a sequence that is named itself, whatever split it is of."""
    folders = folders_with(path, "frame-*.color.png", LAYOUT)
    tested = [folder for folder in folders if folder == path or _is_tested(folder)]
    if not tested:
        raise DatasetError(
            f"{path}: TestSplit.txt names none of {', '.join(f.name for f in folders)}"
        )
    return [_sequence(folder) for folder in tested]


def _is_tested(folder: Path) -> bool:
    split = folder.parent / "TestSplit.txt"
    if not split.exists():
        return True
    numbers = [int(n) for line in read_lines(split) for n in re.findall(r"\d+", line)]
    return int(folder.name.removeprefix("seq-")) in numbers


def _sequence(folder: Path) -> Sequence:
    frames = []
    for index, image in enumerate(sorted(folder.glob("frame-*.color.png"))):
        stem = image.name.removesuffix(".color.png")
        # the depth camera's image brought to the colour camera, where somebody has made it
        projected = folder / f"{stem}.depth.proj.png"
        depth = projected if projected.exists() else folder / f"{stem}.depth.png"
        pose = camera_from_world(read_matrix(folder / f"{stem}.pose.txt"))
        frames.append(DatasetFrame(image, (index + 1) * FRAME_NS, depth, pose))
    read = partial(read_depth_png, per_metre=PER_METRE, unknown=UNKNOWN)
    return Sequence(f"{folder.parent.name}-{folder.name}", frames, read, INTRINSICS)
