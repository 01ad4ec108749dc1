# SPDX-License-Identifier: Apache-2.0
"""How clips grow in the course of a run."""

import numpy as np

from infinitevggt_core.training.clip import ClipShape
from infinitevggt_core.training.config import ClipConfig

SHAPES = 1
"""Distinguishes the draws of shapes from those of clips."""


def shape_at(step: int, config: ClipConfig, patch_size: int, seed: int) -> ClipShape:
    """The shape of a step's batches, the same in every process: they shall take equally long."""
    rng = np.random.default_rng((seed, step, SHAPES, SHAPES))
    grown = min(1.0, step / config.growth_steps) if config.growth_steps else 1.0
    frames = _between(config.frames_first, config.frames_last, grown)
    stride = _between(config.stride_first, config.stride_last, grown)
    patches = _between(config.width_first // patch_size, config.width_last // patch_size, grown)
    width = patches * patch_size
    aspect = rng.uniform(config.aspect_low, config.aspect_high)
    length = int(rng.integers(config.frames_first, frames + 1))
    return ClipShape(
        batch=max(1, config.batch_frames // length),
        frames=length,
        stride=int(rng.integers(1, stride + 1)),
        height=max(2, round(width * aspect / patch_size)) * patch_size,
        width=width,
    )


def count_sizes(config: ClipConfig, patch_size: int) -> int:
    """Number of image sizes at the end of a run."""
    heights = [
        round(config.width_last * aspect / patch_size)
        for aspect in (config.aspect_low, config.aspect_high)
    ]
    return heights[1] - heights[0] + 1


def full_shape(config: ClipConfig, patch_size: int) -> ClipShape:
    """The shape that clips grow to, for validation."""
    width = config.width_last // patch_size * patch_size
    aspect = (config.aspect_low + config.aspect_high) / 2
    return ClipShape(
        batch=max(1, config.batch_frames // config.frames_last),
        frames=config.frames_last,
        stride=max(1, config.stride_last // 2),
        height=max(2, round(width * aspect / patch_size)) * patch_size,
        width=width,
    )


def _between(first: int, last: int, grown: float) -> int:
    return round(first + (last - first) * grown)
