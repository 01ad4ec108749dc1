"""Clips of the small room, for tests of training."""

from functools import lru_cache

import numpy as np
import torch

from infinitevggt_core.room import RoomFrame, intrinsics, walk
from infinitevggt_core.training import Clip, ClipShape

FOV_DEG = 70.0
FILM_FRAMES = 24


@lru_cache(maxsize=8)
def film(height: int, width: int) -> list[RoomFrame]:
    return list(walk(FILM_FRAMES, height, width, FOV_DEG, laps=0.1))


def room_clip(
    batch: int = 1, frames: int = 3, height: int = 28, width: int = 42, start: int = 0
) -> Clip:
    """Clips that begin one frame of the film after the other."""
    places = [list(range(start + b, start + b + frames)) for b in range(batch)]
    shots = [[film(height, width)[i % FILM_FRAMES] for i in row] for row in places]
    matrix = torch.from_numpy(intrinsics(height, width, FOV_DEG)).float()

    def stacked(name: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([[getattr(s, name) for s in row] for row in shots]))

    return Clip(
        images=stacked("image").permute(0, 1, 4, 2, 3).float() / 255,
        depth=stacked("depth").float(),
        camera_from_world=stacked("camera_from_world").float(),
        intrinsics=matrix.expand(batch, frames, 3, 3).clone(),
    )


class RoomSource:
    """Random places of the film."""

    def __init__(self, labels: bool = True) -> None:
        self.labels = labels

    def sample(self, shape: ClipShape, number: int, rng: np.random.Generator) -> Clip:
        start = int(rng.integers(0, FILM_FRAMES))
        clip = room_clip(shape.batch, shape.frames, shape.height, shape.width, start)
        return clip if self.labels else Clip(clip.images)
