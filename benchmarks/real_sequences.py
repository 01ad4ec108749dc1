# SPDX-License-Identifier: Apache-2.0
"""Sequences for `benchmarks.real`: images, truth and the answers of the network, from files."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from infinitevggt_core import VGGT, StreamSession
from infinitevggt_core.model.preprocess import preprocess
from infinitevggt_core.worlds import World
from infinitevggt_core.worlds.config import WorldConfig

Array = NDArray[np.float64]
WORLD_SIZE = (240, 320)
"""Height and width of the images of a synthetic world, px."""


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """Undistorted images of one camera with what is true about them."""

    name: str
    images: list[NDArray[np.uint8]]
    """(H, W) grey or (H, W, 3) RGB each."""
    stamps_s: list[float]
    intrinsics: Array
    """(3, 3), pixels of the images."""
    truth: Array
    """(N, 3, 4), camera_from_world."""
    depths: dict[int, NDArray[np.float32]]
    """True depth (H, W) by the number of the image, m; 0 where unknown."""

    def piece(self, start: int, frames: int) -> "Sequence":
        """Return the images start .. start + frames - 1 as a sequence of their own."""
        stop = min(start + frames, len(self.images))
        depths = {k - start: depth for k, depth in self.depths.items() if start <= k < stop}
        return Sequence(
            f"{self.name}@{start}",
            self.images[start:stop],
            self.stamps_s[start:stop],
            self.intrinsics,
            self.truth[start:stop],
            depths,
        )


@dataclass(frozen=True, slots=True, eq=False)
class NetworkRun:
    """Answers of the network to every image of a sequence."""

    depth: NDArray[np.float32]
    """(N, h, w), at the network's size."""
    confidence: NDArray[np.float32]
    """(N, h, w)."""
    camera_from_world: Array
    """(N, 3, 4)."""
    intrinsics: Array
    """(N, 3, 3), pixels of the camera's image."""
    ms: NDArray[np.float64]
    """(N,), processor time."""


def real_names(data: Path) -> list[str]:
    """Return the names of the sequences in a directory, sorted."""
    return sorted(path.parent.name for path in data.glob("*/camera.json"))


def load_real(folder: Path) -> Sequence:
    """Read a sequence of real images (camera.json, truth.tum, images/, depth/)."""
    camera = json.loads((folder / "camera.json").read_text())
    matrix = np.array(
        [[camera["fx"], 0, camera["cx"]], [0, camera["fy"], camera["cy"]], [0, 0, 1]], np.float64
    )
    images = [_undistorted(path, matrix, camera) for path in sorted(folder.glob("images/*.jpg"))]
    rows = np.loadtxt(folder / "truth.tum", ndmin=2)
    depths = {
        int(path.stem): cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.float32)
        * np.float32(camera["depth_scale"])
        for path in sorted(folder.glob("depth/*.png"))
    }
    truth = np.stack([_camera_from_world(row) for row in rows])
    return Sequence(folder.name, images, rows[:, 0].tolist(), matrix, truth, depths)


def load_world(
    level: str,
    seed: int,
    frames: int,
    motion: str = "any",
    *,
    size: tuple[int, int] = WORLD_SIZE,
    stride: int = 1,
) -> Sequence:
    """Film frames of a synthetic world, one of `stride`, from the first on.

    size: height and width of the images, px.
    """
    world = World(seed, config=WorldConfig.of(level, motion=motion))
    images, poses, depths, matrix = [], [], {}, np.eye(3)
    shots = (world.render([stride * k], *size).frame(0) for k in range(frames))
    filmed = world.sequence(frames, *size) if stride == 1 else shots
    for index, frame in enumerate(filmed):
        image = (frame.image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        images.append(image)
        poses.append(frame.camera_from_world.numpy())
        if index % 5 == 0:
            depths[index] = frame.depth.numpy()
        if index == 0:
            matrix = frame.intrinsics.numpy().copy()
            matrix[:2, 2] -= 0.5  # pixel centres have integer coordinates here
    name = f"{level}_{motion}_{seed}" if motion != "any" else f"{level}_{seed}"
    return Sequence(
        name, images, [stride * k / 30 for k in range(frames)], matrix, np.stack(poses), depths
    )


def run_network(
    model: VGGT, sequence: Sequence, cache: Path | None, progress: Callable[[], object]
) -> NetworkRun:
    """Stream a sequence through the network, or read what an earlier run has answered.

    cache: a directory for answers; a file there is trusted where its number of frames fits.
    """
    path = cache / f"{sequence.name}_{len(sequence.images)}.npz" if cache else None
    if path is not None and path.exists():
        with np.load(path) as saved:
            return NetworkRun(**{name: saved[name] for name in saved.files})
    session = StreamSession(model)
    rows: list[tuple[Any, ...]] = []
    for image in sequence.images:
        pixels, pixel_map = preprocess(image, model.config.img_size, model.config.patch_size)
        started = time.process_time()
        answer = session.push(pixels)
        took = time.process_time() - started
        rows.append(
            (
                answer.depth[0].float().numpy(),
                answer.depth_confidence[0].float().numpy(),
                answer.camera_from_world[0].double().numpy(),
                pixel_map.camera_intrinsics(answer.intrinsics[0].double().numpy()),
                1e3 * took,
            )
        )
        progress()
    run = NetworkRun(*(np.stack(column) for column in zip(*rows, strict=True)))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        names = ("depth", "confidence", "camera_from_world", "intrinsics", "ms")
        np.savez(path, **{name: getattr(run, name) for name in names})
    return run


def _undistorted(path: Path, matrix: Array, camera: dict[str, Any]) -> NDArray[np.uint8]:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    if camera["distortion"]:
        lens = np.array([camera["distortion"][name] for name in ("k1", "k2", "p1", "p2", "k3")])
        image = cv2.undistort(image, matrix, lens)
    return np.asarray(image, np.uint8)


def _camera_from_world(row: Array) -> Array:
    """Turn a row of a TUM file (stamp, position, quaternion xyzw of the camera) round."""
    x, y, z, w = row[4:8] / np.linalg.norm(row[4:8])
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    return np.hstack((rotation.T, -rotation.T @ row[1:4, None]))
