# SPDX-License-Identifier: Apache-2.0
"""Views of a real room of a synthetic world, and of walls of noise that no other wall is like."""

from dataclasses import replace
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.film import View, keyframe_of, keyframe_views
from infinitevggt_core.tracking.keyframe import Keyframe

Floats = NDArray[np.float64]


@cache
def room(seed: int = 20007, views: int = 10) -> tuple[View, ...]:
    """The first views of a walk, 4 frames apart."""
    return tuple(keyframe_views(seed, "standard", 4 * views, 4))


def wall(seed: int, camera_from_world: Floats) -> View:
    """A slanted plane of noise, 2 to 3 m away."""
    dice = np.random.default_rng(seed)
    coarse = dice.integers(0, 256, (48, 64), dtype=np.uint8)
    gray = cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)
    depth = np.broadcast_to(np.linspace(2, 3, 320), (240, 320)).copy()
    intrinsics = room()[0].intrinsics
    return View(0, np.asarray(gray, dtype=np.uint8), depth, camera_from_world, intrinsics)


def keyframe(view: View, index: int, *, submap: int = 0, scale: float = 1.0) -> Keyframe:
    dice = np.random.default_rng(index)
    made = keyframe_of(view, index, dice, noise=0.03, scale=scale)
    return replace(made, submap=submap)


def moved(pose: Floats, shift: Floats) -> Floats:
    """camera_from_world (3, 4) of a camera that stands elsewhere, turned alike."""
    return np.column_stack((pose[:, :3], pose[:, 3] - pose[:, :3] @ shift))


def blank(index: int) -> Keyframe:
    """Nothing was seen."""
    return replace(
        keyframe(wall(0, np.eye(3, 4)), index),
        gray=np.zeros((240, 320), dtype=np.uint8),
        ids=np.zeros(0, dtype=np.int64),
        pixels=np.zeros((0, 2)),
        points=np.zeros((0, 3)),
        parallax=np.zeros(0),
        relative_std=np.zeros(0),
    )
