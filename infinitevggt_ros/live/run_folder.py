# SPDX-License-Identifier: Apache-2.0
"""Folder of a run: files of its results, and its keyframes for export."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from infinitevggt_core.evaluation.trajectory import camera_centers
from infinitevggt_core.io.atomic_file import whole_file
from infinitevggt_core.io.pcd import write_pcd
from infinitevggt_core.io.ply import write_ply
from infinitevggt_core.io.tum import IN_THE_MAP, write_tum
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.live.stream import LiveKeyframe, LiveStream
from infinitevggt_ros.map_axes import MAP_FROM_WORLD, points_in_map

RUN_FILE = "run.json"
KEYFRAMES = "keyframes"
JPEG_QUALITY = 95
FORMAT = 1
"""Version of the folder's layout."""
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
    """Writes keyframes as they come, and everything else at the end."""

    def __init__(self, out: Path) -> None:
        """Raises CommandError if the folder holds another run."""
        self.out = out
        if (out / RUN_FILE).exists() or (out / KEYFRAMES).exists():
            raise CommandError(f"{out} holds a run already: choose another --out")
        self._numbers: set[int] = set()

    def put(self, keyframe: LiveKeyframe) -> None:
        """Write one keyframe, or its final points."""
        path = self.out / KEYFRAMES / f"{keyframe.index:06d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if keyframe.index not in self._numbers:
            bgr = cv2.cvtColor(keyframe.rgb, cv2.COLOR_RGB2BGR)
            quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
            encoded = cv2.imencode(".jpg", bgr, quality)[1]
            path.with_suffix(".jpg").write_bytes(encoded.tobytes())
            self._numbers.add(keyframe.index)
        parts = {name: value for name, value in _fields(keyframe).items() if name != "rgb"}
        with whole_file(path.with_suffix(".npz")) as partial, partial.open("wb") as file:
            np.savez_compressed(file, size=np.array(keyframe.rgb.shape[:2]), **parts)

    def finish(self, stream: LiveStream, figures: dict[str, Any]) -> None:
        """Write trajectory.tum, map.ply, map.pcd and run.json, which is last."""
        self.out.mkdir(parents=True, exist_ok=True)
        stream.finish()
        stamps_ns, poses = stream.trajectory()
        write_poses(self.out / "trajectory.tum", stamps_ns, poses)
        cloud = stream.map.cloud()
        positions = points_in_map(cloud.positions.numpy())
        arrays = (positions, cloud.colors.numpy(), cloud.confidences.numpy())
        write_ply(self.out / "map.ply", *arrays, IN_THE_MAP)
        write_pcd(self.out / "map.pcd", *arrays, IN_THE_MAP)
        placed = stream.mapper.keyframe_poses()
        keyframes = {
            str(index): {
                "scale": float(placed[index].scale),
                "rotation": placed[index].rotation.tolist(),
                "translation": placed[index].translation.tolist(),
            }
            for index in sorted(self._numbers)
            if index in placed
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

    def require_keyframes(self, least: int) -> None:
        """Raise CommandError if there are fewer keyframes than an export needs."""
        if len(self) < least:
            raise CommandError(
                f"{self.path} has {len(self)} keyframes and this export needs {least}: the camera "
                "must move more"
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


def write_poses(path: Path, stamps_ns: list[int], poses: Floats) -> None:
    """Write camera_from_map (N, 3, 4) as a TUM file in the axes of a ROS map."""
    axes = MAP_FROM_WORLD[:3, :3]
    turned = axes @ poses[..., :3].transpose(0, 2, 1)
    quats = Rotation.from_matrix(turned).as_quat() if len(poses) else np.empty((0, 4))
    write_tum(path, stamps_ns, camera_centers(poses) @ axes.T, quats)


def _fields(keyframe: LiveKeyframe) -> dict[str, Any]:
    return {name: getattr(keyframe, name) for name in LiveKeyframe.__slots__}


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
        parts["depth"] * np.float32(scale),
        parts["depth_matrix"],
        parts["ids"],
        parts["pixels"],
        scale * parts["points"] @ rotation.T + translation,
    )
