# SPDX-License-Identifier: Apache-2.0
"""Keyframes of a run in its folder, for export."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.io.atomic_file import whole_file
from infinitevggt_core.tracking.similarity import Similarity3
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.export.keyframe import ExportKeyframe, jpeg_of

RUN_FILE = "run.json"
KEYFRAMES = "keyframes"
FORMAT = 1
"""Version of the folder's layout."""
FEWEST_KEYFRAMES = 2
"""Number of keyframes that an export needs."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class SavedKeyframe:
    """One keyframe of a run. Lengths are in the unit of the map."""

    index: int
    stamp_ns: int
    picture: Path
    """JPEG of the rectified image."""
    size: tuple[int, int]
    """Height and width of the picture, px."""
    camera_matrix: Floats
    """K (3, 3), px of the picture."""
    camera_from_map: Floats
    """Pose (3, 4), OpenCV axes."""
    depth: NDArray[np.float32]
    """Depth (h, w)."""
    depth_matrix: Floats
    """K (3, 3), px of the depth map."""
    ids: NDArray[np.int64]
    """Numbers (N,) of the tracked points."""
    pixels: Floats
    """Pixels (N, 2) of the points in the picture; centres have integer coordinates."""
    points: Floats
    """Points (N, 3) in the map."""


class RunWriter:
    """Writes keyframes as they come, and their poses at the end."""

    def __init__(self, out: Path) -> None:
        """Raises CommandError if the folder holds another run."""
        self.out = out
        if (out / RUN_FILE).exists() or (out / KEYFRAMES).exists():
            raise CommandError(f"{out} holds a run already: choose another --out")
        self._numbers: set[int] = set()

    def put(self, keyframe: ExportKeyframe, rgb: NDArray[np.uint8]) -> None:
        """Write one keyframe and its rectified image (H, W, 3), or its final points."""
        self.write(keyframe, b"" if keyframe.index in self._numbers else jpeg_of(rgb))

    def write(self, keyframe: ExportKeyframe, jpeg: bytes) -> None:
        """Write one keyframe. jpeg: its picture; empty if it is written already."""
        path = self.out / KEYFRAMES / f"{keyframe.index:06d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if jpeg:
            path.with_suffix(".jpg").write_bytes(jpeg)
            self._numbers.add(keyframe.index)
        parts = {name: getattr(keyframe, name) for name in ExportKeyframe.__slots__}
        with whole_file(path.with_suffix(".npz")) as partial, partial.open("wb") as file:
            np.savez_compressed(file, **parts)

    def finish(self, poses: Mapping[int, Similarity3], figures: dict[str, Any]) -> None:
        """Write run.json, the last file of a run.

        poses: map_from_camera of the keyframes, OpenCV axes, whose scale is the number of units of
        the map per unit of the keyframe. figures: of the run.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        keyframes = {
            str(index): {
                "scale": float(poses[index].scale),
                "rotation": poses[index].rotation.tolist(),
                "translation": poses[index].translation.tolist(),
            }
            for index in sorted(self._numbers)
            if index in poses
        }
        content = {"format": FORMAT, **figures, "keyframes": keyframes}
        with whole_file(self.out / RUN_FILE) as partial:
            partial.write_text(json.dumps(content, indent=1))


class RunFolder:
    """Results of a finished run."""

    def __init__(self, path: Path) -> None:
        """Raises CommandError if the folder holds no finished run."""
        self.path = path
        try:
            content = json.loads((path / RUN_FILE).read_text())
            self._poses = {int(k): v for k, v in content.pop("keyframes").items()}
        except FileNotFoundError as error:
            raise CommandError(
                f"{path} holds no finished run: make one with "
                f"`infinitevggt run SOURCE --out {path}`"
            ) from error
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise CommandError(f"{path / RUN_FILE} is damaged: {error}") from error
        self.figures: dict[str, Any] = content

    def __len__(self) -> int:
        """Number of keyframes."""
        return len(self._poses)

    def require_keyframes(self) -> None:
        """Raise CommandError if there are fewer keyframes than an export needs."""
        if len(self) < FEWEST_KEYFRAMES:
            raise CommandError(
                f"{self.path} has {len(self)} keyframes and this export needs "
                f"{FEWEST_KEYFRAMES}: the camera must move more"
            )

    def keyframes(self) -> Iterator[SavedKeyframe]:
        """Yield the keyframes in order, with their final poses."""
        for index, pose in self._poses.items():
            path = self.path / KEYFRAMES / f"{index:06d}"
            try:
                with np.load(path.with_suffix(".npz")) as parts:
                    yield _saved(index, path.with_suffix(".jpg"), pose, dict(parts))
            except (OSError, ValueError, KeyError) as error:
                raise CommandError(f"{path}.npz is damaged: {error}") from error


def _saved(index: int, picture: Path, pose: dict[str, Any], parts: dict[str, Any]) -> SavedKeyframe:
    scale = float(pose["scale"])
    rotation, translation = np.array(pose["rotation"]), np.array(pose["translation"])
    camera_from_map = np.concatenate((rotation.T, -rotation.T @ translation[:, None]), axis=1)
    height, width = parts["size"].tolist()
    return SavedKeyframe(
        index,
        int(parts["stamp_ns"]),
        picture,
        (height, width),
        parts["camera_matrix"],
        camera_from_map,
        parts["depth"].astype(np.float32) * np.float32(scale),
        parts["depth_matrix"],
        parts["ids"],
        parts["pixels"],
        scale * parts["points"] @ rotation.T + translation,
    )
