# SPDX-License-Identifier: Apache-2.0
"""Clips of synthetic worlds, rendered as they are needed."""

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
from infinitevggt_core.worlds import WorldConfig, sample_clips
from infinitevggt_core.worlds.clips import START_FRAMES, cached_world
from infinitevggt_core.worlds.renderer import render

TAKE_FRAMES = 12
TAKE_STRIDES = 6
"""Greatest number of frames of the walk between two of a take."""
POOL = 40
"""Takes in use at a time, of each image size."""
USES = 3
"""How often a filmed frame is shown, on average, before its take gives way to a new one."""


class WorldSource:
    """Worlds to learn from: seeds 0 to 9,999 and from 100,000 on; the pool moves on for good."""

    def __init__(
        self,
        level: str = "standard",
        device: torch.device | str = "cpu",
        seed: int = 0,
        batch_frames: float = 48.0,
    ) -> None:
        """batch_frames: mean number of frames per batch of the run, of this source and one size."""
        self.level, self.device, self.seed = level, str(device), seed
        self.batch_frames = batch_frames
        self._filmed: dict[tuple[int, ...], Take] = {}

    def sample(self, shape: ClipShape, number: int, rng: np.random.Generator) -> Clip:
        oldest = int(number * self.batch_frames / (USES * TAKE_FRAMES))
        self._filmed = {key: take for key, take in self._filmed.items() if key[0] >= oldest}
        members = (oldest + rng.integers(0, POOL, shape.batch)).tolist()
        size = (max(TAKE_FRAMES, shape.frames), shape.height, shape.width)
        # together, which is what makes filming on a GPU fast
        missing = [m for m in dict.fromkeys(members) if (m, *size) not in self._filmed]
        if missing:
            takes = zip(missing, self._film(missing, *size), strict=True)
            self._filmed |= {(member, *size): take for member, take in takes}
        return join(
            [
                self._filmed[(member, *size)].cut(shape.frames, shape.stride, rng)
                for member in members
            ]
        )

    def _film(self, members: list[int], length: int, height: int, width: int) -> list[Take]:
        """What a take shows depends on the member alone."""
        rngs = [np.random.default_rng((self.seed, member)) for member in members]
        seeds = [draw_training_seeds(rng, 1)[0] for rng in rngs]
        check_training_seeds(seeds)
        strides = [int(rng.integers(1, TAKE_STRIDES + 1)) for rng in rngs]
        starts = [int(rng.integers(START_FRAMES)) for rng in rngs]
        times = torch.tensor(starts)[:, None] + torch.tensor(strides)[:, None] * torch.arange(
            length
        )
        worlds = [cached_world(seed, WorldConfig.of(self.level)) for seed in seeds]
        film = render(worlds, times.double(), height, width, self.device)
        return [Take.of(film, index, stride) for index, stride in enumerate(strides)]


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
