# SPDX-License-Identifier: Apache-2.0
"""Known worlds for the tests of the tracking: a textured box, and points seen exactly."""

import cv2
import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.tracking.rigid import IDENTITY, Floats, inverse, moved, transform
from infinitevggt_core.tracking.window_problem import WindowProblem

SIZE = (120, 160)
MATRIX = np.array([[130.0, 0, 79.5], [0, 130.0, 59.5], [0, 0, 1]])
TEXTURE = 512


class Box:
    """Inside of a box with random walls, rendered exactly."""

    def __init__(self, half: tuple[float, float, float] = (3.0, 2.0, 4.0), seed: int = 0) -> None:
        self.half = np.array(half)
        rng = np.random.default_rng(seed)
        walls = [_texture(rng) for _ in range(6)]
        self.walls = np.concatenate(walls, axis=0)

    def render(self, camera_from_world: Floats) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return the gray image (H, W) and the depth (H, W) of a camera inside."""
        height, width = SIZE
        u, v = np.meshgrid(np.arange(width), np.arange(height))
        rays = np.stack((u - MATRIX[0, 2], v - MATRIX[1, 2], np.full(u.shape, MATRIX[0, 0])), -1)
        rays = rays / MATRIX[0, 0]
        world = inverse(camera_from_world)
        direction = rays @ world[:, :3].T
        with np.errstate(divide="ignore"):
            reach = (np.sign(direction) * self.half - world[:, 3]) / direction
        axis = reach.argmin(-1)
        depth = np.take_along_axis(reach, axis[..., None], -1)[..., 0]
        points = world[:, 3] + depth[..., None] * direction
        side = (np.take_along_axis(direction, axis[..., None], -1)[..., 0] > 0).astype(int)
        others = np.array([[1, 2], [0, 2], [0, 1]])[axis]
        place = np.take_along_axis(points, others, -1)
        half = self.half[others]
        texel = (place / half * 0.5 + 0.5) * (TEXTURE - 3) + 1
        row = (texel[..., 1] + (2 * axis + side) * TEXTURE).astype(np.float32)
        image = cv2.remap(self.walls, texel[..., 0].astype(np.float32), row, cv2.INTER_LINEAR)
        return image.round().clip(0, 255).astype(np.uint8), depth.astype(np.float32)


def _texture(rng: np.random.Generator) -> NDArray[np.float32]:
    total = np.full((TEXTURE, TEXTURE), 128, np.float32)
    for size, strength in ((16, 60.0), (40, 60.0), (90, 45.0)):
        noise = rng.normal(0, 1, (size, size)).astype(np.float32)
        total += strength * cv2.resize(noise, (TEXTURE, TEXTURE), interpolation=cv2.INTER_CUBIC)
    return np.clip(total, 0, 255)


def walk(count: int, step: float = 0.03) -> list[Floats]:
    """Return poses (3, 4) of a camera that goes sideways and ahead, and looks about."""
    poses = []
    for k in range(count):
        place = np.array([1.2 * np.sin(0.7 * step * k), 0.2 * np.sin(step * k), -1.5])
        place[2] += 0.6 * (1 - np.cos(0.5 * step * k))
        turn = 0.15 * np.sin(0.9 * step * k)
        pose = moved(IDENTITY, np.array([0, 0, 0, 0.3 * turn, turn, 0]))
        poses.append(np.hstack((pose[:, :3], -pose[:, :3] @ place[:, None])))
    return poses


def exact_problem(
    seed: int = 0, keyframes: int = 8, count: int = 120, noise: float = 0.0
) -> tuple[WindowProblem, Floats, Floats]:
    """Return an exact bundle adjustment with the true poses (K, 3, 4) and points (N, 3)."""
    rng = np.random.default_rng(seed)
    steps = np.concatenate(
        (rng.normal(0, 0.3, (keyframes, 3)), rng.normal(0, 0.05, (keyframes, 3))), axis=1
    )
    steps[0] = 0
    poses = np.stack([moved(IDENTITY, step) for step in steps])
    points = np.concatenate((rng.uniform(-2, 2, (count, 2)), rng.uniform(3, 8, (count, 1))), axis=1)
    seen = np.concatenate([transform(pose, points) for pose in poses])
    pixels = 260 * seen[:, :2] / seen[:, 2:]
    problem = WindowProblem(
        poses,
        points,
        np.repeat(np.arange(keyframes), count),
        np.tile(np.arange(count), keyframes),
        pixels + noise * rng.normal(0, 1, pixels.shape),
        np.full((keyframes, 2), 260.0),
        np.log(seen[:, 2]),
        np.full(len(seen), 2.0),
        np.tile(np.eye(2), (len(seen), 1, 1)),
    )
    return problem, poses, points
