# SPDX-License-Identifier: Apache-2.0
"""Clips of one room, for tests of training."""

from functools import lru_cache

import numpy as np
import torch

from infinitevggt_core.training import Clip, ClipShape
from infinitevggt_core.worlds import World, WorldClips, WorldConfig

FILM_FRAMES = 24


@lru_cache(maxsize=8)
def film(height: int, width: int) -> WorldClips:
    every_sixth = range(0, 6 * FILM_FRAMES, 6)  # enough motion to tell
    config = WorldConfig.of("easy", motion="drone")
    return World(10_000, config=config).render(every_sixth, height, width)


def room_clip(
    batch: int = 1, frames: int = 3, height: int = 28, width: int = 42, start: int = 0
) -> Clip:
    """Clips that start at consecutive frames of the sequence."""
    first = start + torch.arange(batch)[:, None]
    places = (first + torch.arange(frames)) % FILM_FRAMES  # (B, S)
    shots = film(height, width)
    return Clip(
        images=shots.images[places],
        depth=shots.depth[places],
        camera_from_world=shots.camera_from_world[places].float(),
        intrinsics=shots.intrinsics[places].float(),
    )


class RoomSource:
    """Clips from random positions of the sequence."""

    def __init__(self, labels: bool = True) -> None:
        self.labels = labels

    def sample(self, shape: ClipShape, number: int, rng: np.random.Generator) -> Clip:
        start = int(rng.integers(0, FILM_FRAMES))
        clip = room_clip(shape.batch, shape.frames, shape.height, shape.width, start)
        return clip if self.labels else Clip(clip.images)
