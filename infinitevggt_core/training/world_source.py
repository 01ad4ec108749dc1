"""Clips of synthetic worlds, rendered as they are needed."""

from functools import lru_cache

import numpy as np
import torch

from infinitevggt_core.training.clip import Clip, ClipShape, join
from infinitevggt_core.training.seeds import (
    check_training_seeds,
    check_validation_seeds,
    draw_training_seeds,
    draw_validation_seeds,
)
from infinitevggt_core.training.take import Take
from infinitevggt_core.worlds import sample_clips

TAKE_FRAMES = 48
TAKE_STRIDES = 4
"""Greatest number of frames of the walk between two of a take."""
POOL = 256
"""Takes in use at a time."""
USES = 4
"""How often a filmed frame is shown, on average, before its take gives way to a new one."""


class WorldSource:
    """Worlds to learn from: seeds 0 to 9,999 and from 100,000 on; the pool moves on for good."""

    def __init__(
        self,
        level: str = "standard",
        device: torch.device | str = "cpu",
        seed: int = 0,
        batch_frames: int = 48,
    ) -> None:
        """batch_frames: of one `sample`, about."""
        self.level, self.device, self.seed = level, str(device), seed
        self.batch_frames = batch_frames
        self._take = lru_cache(maxsize=POOL)(self._film)

    def sample(self, shape: ClipShape, number: int, rng: np.random.Generator) -> Clip:
        oldest = number * self.batch_frames // (USES * TAKE_FRAMES)
        members = oldest + rng.integers(0, POOL, shape.batch)
        length = max(TAKE_FRAMES, shape.frames)
        takes = [
            self._take(member, length, shape.height, shape.width) for member in members.tolist()
        ]
        return join([take.cut(shape.frames, shape.stride, rng) for take in takes])

    def _film(self, member: int, length: int, height: int, width: int) -> Take:
        rng = np.random.default_rng((self.seed, member))
        seeds = draw_training_seeds(rng, 1)
        check_training_seeds(seeds)
        stride = int(rng.integers(1, TAKE_STRIDES + 1))
        film = sample_clips(
            seeds,
            length,
            height,
            width,
            level=self.level,
            stride=stride,
            draw=member,
            device=self.device,
        )
        return Take.of(film, stride)


class ValidationWorlds:
    """Worlds of the seeds 10,000 to 10,999."""

    def __init__(self, level: str = "standard", device: torch.device | str = "cpu") -> None:
        self.level, self.device = level, str(device)

    def sample(self, shape: ClipShape, number: int, rng: np.random.Generator) -> Clip:
        seeds = draw_validation_seeds(rng, shape.batch)
        check_validation_seeds(seeds)
        clips = sample_clips(
            seeds,
            shape.frames,
            shape.height,
            shape.width,
            level=self.level,
            stride=shape.stride,
            draw=int(rng.integers(0, 2**31)),
            device=self.device,
        )
        return Clip(
            clips.images.clamp(0, 1),
            clips.depth,
            clips.camera_from_world.float(),
            clips.intrinsics.float(),
        )
