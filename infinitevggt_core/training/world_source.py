# SPDX-License-Identifier: Apache-2.0
"""Clips of synthetic worlds, rendered on demand, and the seeds for training and validation."""

from collections.abc import Iterable

import numpy as np
import torch

from infinitevggt_core.training.clip import Clip, ClipShape, join
from infinitevggt_core.training.rendered_sequence import RenderedSequence
from infinitevggt_core.worlds import WorldConfig, sample_clips
from infinitevggt_core.worlds.clips import START_FRAMES, cached_world
from infinitevggt_core.worlds.renderer import render

TRAINING = (range(10_000), range(100_000, 2**31))
VALIDATION = range(10_000, 11_000)


def check_training_seeds(seeds: Iterable[int]) -> None:
    """Raise ValueError for a seed that is reserved for validation or tests."""
    for seed in seeds:
        if not any(seed in part for part in TRAINING):
            use = "for validation" if seed in VALIDATION else "kept for tests"
            raise ValueError(
                f"world {seed} is {use}: training sequences seeds 0 to 9,999 and from 100,000 on"
            )


def check_validation_seeds(seeds: Iterable[int]) -> None:
    """Raise ValueError for a seed that is not reserved for validation."""
    for seed in seeds:
        if seed not in VALIDATION:
            raise ValueError(f"world {seed} is not for validation: that sequences 10,000 to 10,999")


def draw_training_seeds(rng: np.random.Generator, count: int) -> list[int]:
    """Draw training worlds with equal probability."""
    sizes = [len(part) for part in TRAINING]
    places = rng.integers(0, sum(sizes), count).tolist()
    return [TRAINING[0][p] if p < sizes[0] else TRAINING[1][p - sizes[0]] for p in places]


def draw_validation_seeds(rng: np.random.Generator, count: int) -> list[int]:
    return [VALIDATION[p] for p in rng.integers(0, len(VALIDATION), count).tolist()]


SEQUENCE_FRAMES = 12
SEQUENCE_STRIDES = 16
"""Maximum number of trajectory frames between two frames of a sequence."""
POOL = 40
"""Number of sequences of each image size in use at a time."""
USES = 3
"""Mean number of times that a frame is shown before its sequence is replaced."""


class WorldSource:
    """Training worlds: seeds 0 to 9,999 and from 100,000 on. The pool of sequences moves on."""

    def __init__(
        self,
        level: str = "standard",
        device: torch.device | str = "cpu",
        seed: int = 0,
        batch_frames: float = 48.0,
    ) -> None:
        """batch_frames: mean number of frames per batch of the run, of this source and one image
        size."""
        self.level, self.device, self.seed = level, str(device), seed
        self.batch_frames = batch_frames
        self._rendered: dict[tuple[int, ...], RenderedSequence] = {}

    def sample(self, shape: ClipShape, number: int, rng: np.random.Generator) -> Clip:
        oldest = int(number * self.batch_frames / (USES * SEQUENCE_FRAMES))
        self._rendered = {
            key: sequence for key, sequence in self._rendered.items() if key[0] >= oldest
        }
        members = (oldest + rng.integers(0, POOL, shape.batch)).tolist()
        size = (max(SEQUENCE_FRAMES, shape.frames), shape.height, shape.width)
        # together: on a GPU this is much faster
        missing = [m for m in dict.fromkeys(members) if (m, *size) not in self._rendered]
        if missing:
            sequences = zip(missing, self._render(missing, *size), strict=True)
            self._rendered |= {(member, *size): sequence for member, sequence in sequences}
        return join(
            [
                self._rendered[(member, *size)].cut(shape.frames, shape.stride, rng)
                for member in members
            ]
        )

    def _render(
        self, members: list[int], length: int, height: int, width: int
    ) -> list[RenderedSequence]:
        """Render sequences. Each depends on its member number alone."""
        rngs = [np.random.default_rng((self.seed, member)) for member in members]
        seeds = [draw_training_seeds(rng, 1)[0] for rng in rngs]
        check_training_seeds(seeds)
        strides = [int(rng.integers(1, SEQUENCE_STRIDES + 1)) for rng in rngs]
        starts = [int(rng.integers(START_FRAMES)) for rng in rngs]
        times = torch.tensor(starts)[:, None] + torch.tensor(strides)[:, None] * torch.arange(
            length
        )
        worlds = [cached_world(seed, WorldConfig.of(self.level)) for seed in seeds]
        clips = render(worlds, times.double(), height, width, self.device)
        return [RenderedSequence.of(clips, index, stride) for index, stride in enumerate(strides)]


class ValidationWorlds:
    """Validation worlds: seeds 10,000 to 10,999."""

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
