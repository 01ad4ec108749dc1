# SPDX-License-Identifier: Apache-2.0
"""Keyframes of a synthetic world as a good tracker would hand them over, from the truth."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.tracking.keyframe import Keyframe
from infinitevggt_core.tracking.similarity import Floats
from infinitevggt_core.tracking.vocabulary import Bytes
from infinitevggt_core.worlds import World, WorldConfig

HEIGHT, WIDTH = 240, 320
ROWS, COLUMNS = 6, 8
CORNERS = 350
BORDER = 8
FLOOR = 2e-5


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One image with its truth."""

    frame: int
    gray: Bytes
    depth: Floats
    """(H, W), metres."""
    camera_from_world: Floats
    """(3, 4), metres."""
    intrinsics: Floats


def keyframe_views(seed: int, level: str, frames: int, step: int) -> Iterator[View]:
    """Every `step`-th view of a walk that comes back to where it was."""
    world = World(seed, config=WorldConfig.of(level, motion="loop"))
    for start in range(0, frames, 4 * step):
        indices = list(range(start, min(start + 4 * step, frames), step))
        clips = world.render(indices, HEIGHT, WIDTH)
        for k, frame in enumerate(indices):
            pixels = (clips.images[k] * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
            yield View(
                frame,
                np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8),
                clips.depth[k].double().numpy(),
                clips.camera_from_world[k].numpy(),
                clips.intrinsics[k].numpy(),
            )


def corners_of(gray: Bytes) -> Floats:
    """(N, 2): the best corners of each cell of a grid."""
    strength = cv2.cornerMinEigenVal(gray, 3)
    height, width = gray.shape
    found = []
    for row in range(ROWS):
        for column in range(COLUMNS):
            mask = np.zeros_like(gray)
            top, left = row * height // ROWS, column * width // COLUMNS
            bottom, right = (row + 1) * height // ROWS, (column + 1) * width // COLUMNS
            mask[
                max(top, BORDER) : min(bottom, height - BORDER),
                max(left, BORDER) : min(right, width - BORDER),
            ] = 1
            corners = cv2.goodFeaturesToTrack(
                gray, CORNERS // (ROWS * COLUMNS) + 1, 1e-4, 6, mask=mask
            )
            if corners is not None:
                u, v = corners[:, 0].round().astype(int).T
                found.append(corners[strength[v, u] > FLOOR, 0])
    return np.concatenate(found).astype(np.float64) if found else np.zeros((0, 2))


def keyframe_of(
    view: View, index: int, dice: np.random.Generator, *, noise: float = 0.05, scale: float = 1.0
) -> Keyframe:
    """A keyframe whose points are true but for noise of the depth, seven of ten with parallax.

    scale: units of the tracker per metre in this keyframe. Points are in a world of units, at the
    true pose.
    """
    pixels = corners_of(view.gray)
    u, v = pixels.round().astype(int).T
    depth = scale * view.depth[v, u] * np.exp(noise * dice.normal(size=len(pixels)))
    rays = np.column_stack((pixels, np.ones(len(pixels)))) @ np.linalg.inv(view.intrinsics).T
    rotation, shift = view.camera_from_world[:, :3], scale * view.camera_from_world[:, 3]
    known: NDArray[np.bool_] = dice.random(len(pixels)) < 0.7
    return Keyframe(
        index=index,
        frame=view.frame,
        stamp_s=view.frame / 30,
        submap=0,
        gray=view.gray,
        intrinsics=view.intrinsics,
        camera_from_world=np.column_stack((rotation, shift)),
        ids=np.arange(len(pixels)),
        pixels=pixels,
        points=(rays * depth[:, None] - shift) @ rotation,
        parallax=np.where(known, 0.2, 0.01),
        relative_std=np.full(len(pixels), noise),
        depth_scale=1.0,
    )
