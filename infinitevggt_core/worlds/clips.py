# SPDX-License-Identifier: Apache-2.0
"""Short clips of many worlds at once, for training."""

from collections.abc import Sequence
from functools import lru_cache

import torch

from infinitevggt_core.worlds.config import WorldConfig
from infinitevggt_core.worlds.frames import WorldClips
from infinitevggt_core.worlds.hashed_rng import HashedRng
from infinitevggt_core.worlds.renderer import render
from infinitevggt_core.worlds.world import World

START_FRAMES = 600
"""Clips start within this many frames of a world's trajectory."""


@lru_cache(maxsize=1024)
def cached_world(seed: int, config: WorldConfig) -> World:
    """Return a world, cached among the latest thousand."""
    return World(seed, config=config)


def sample_clips(
    seeds: Sequence[int],
    frames: int,
    height: int,
    width: int,
    *,
    level: str = "standard",
    config: WorldConfig | None = None,
    stride: float = 1.0,
    draw: int = 0,
    device: str = "cpu",
) -> WorldClips:
    """Render one clip [B, S] of each seed's world, `stride` frames of its trajectory apart.

    A seed may occur more than once. The first frame of a clip depends on its seed, its position in
    `seeds` and `draw`: increase `draw` (the training step) to get new clips.
    """
    config = config or WorldConfig.of(level)
    worlds = [cached_world(seed, config) for seed in seeds]
    starts = [
        HashedRng(seed, "clip", place, draw).integer(START_FRAMES)
        for place, seed in enumerate(seeds)
    ]
    steps = torch.arange(frames, dtype=torch.float64) * stride
    times = torch.tensor(starts, dtype=torch.float64)[:, None] + steps
    return render(worlds, times, height, width, device)
