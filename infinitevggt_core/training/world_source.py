"""Clips of synthetic worlds, rendered as they are needed."""

import numpy as np
import torch

from infinitevggt_core.training.clip import Clip, ClipShape
from infinitevggt_core.training.seeds import (
    check_training_seeds,
    check_validation_seeds,
    draw_training_seeds,
    draw_validation_seeds,
)
from infinitevggt_core.worlds import sample_clips

POOL = 512
"""Worlds in use at a time: building one takes longer than filming a clip of it."""
BATCHES_PER_WORLD = 2
"""Batches after which one world of the pool gives way to a new one."""


class WorldSource:
    """Worlds to learn from: seeds 0 to 9,999 and from 100,000 on; the pool moves on for good."""

    def __init__(
        self, level: str = "standard", device: torch.device | str = "cpu", seed: int = 0
    ) -> None:
        self.level, self.device, self.seed = level, str(device), seed

    def sample(self, shape: ClipShape, number: int, rng: np.random.Generator) -> Clip:
        oldest = number // BATCHES_PER_WORLD
        members = oldest + rng.integers(0, POOL, shape.batch)
        seeds = [
            draw_training_seeds(np.random.default_rng((self.seed, member)), 1)[0]
            for member in members.tolist()
        ]
        check_training_seeds(seeds)
        return film(seeds, shape, self.level, self.device, rng)


class ValidationWorlds:
    """Worlds of the seeds 10,000 to 10,999."""

    def __init__(self, level: str = "standard", device: torch.device | str = "cpu") -> None:
        self.level, self.device = level, str(device)

    def sample(self, shape: ClipShape, number: int, rng: np.random.Generator) -> Clip:
        seeds = draw_validation_seeds(rng, shape.batch)
        check_validation_seeds(seeds)
        return film(seeds, shape, self.level, self.device, rng)


def film(
    seeds: list[int], shape: ClipShape, level: str, device: str, rng: np.random.Generator
) -> Clip:
    """A clip of each world, from a random place of its walk."""
    clips = sample_clips(
        seeds,
        shape.frames,
        shape.height,
        shape.width,
        level=level,
        stride=shape.stride,
        draw=int(rng.integers(0, 2**31)),
        device=device,
    )
    return Clip(
        clips.images.clamp(0, 1),
        clips.depth,
        clips.camera_from_world.float(),
        clips.intrinsics.float(),
    )
