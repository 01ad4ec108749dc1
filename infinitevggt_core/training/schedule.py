# SPDX-License-Identifier: Apache-2.0
"""Clip shapes in the course of a run, and the frames of a clip that a step trains densely."""

from dataclasses import dataclass

import numpy as np

from infinitevggt_core.training.clip import ClipShape
from infinitevggt_core.training.config import ClipConfig

SHAPES = 1
"""Random stream of shapes, distinct from that of clips."""


def shape_at(step: int, config: ClipConfig, patch_size: int, seed: int) -> ClipShape:
    """Return the shape of a step's batches, the same in every process so that all take equally
    long."""
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
    """Return the number of image sizes at the end of a run."""
    heights = [
        round(config.width_last * aspect / patch_size)
        for aspect in (config.aspect_low, config.aspect_high)
    ]
    return heights[1] - heights[0] + 1


def full_shape(config: ClipConfig, patch_size: int) -> ClipShape:
    """Return the final shape of clips, for validation."""
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


SUBSETS = 2
"""Random stream of frame subsets, distinct from those of clips and shapes."""


@dataclass(frozen=True, slots=True)
class FrameSubset:
    """Frames that a training step supervises densely, the same for all clips of a batch."""

    dense: tuple[int, ...]
    """Frames with depth and point maps, ascending."""
    reference: int = 0
    """Frame to which the patches of later frames are matched."""

    @classmethod
    def whole(cls, frames: int) -> "FrameSubset":
        """Return the subset of all frames, matched with the first."""
        return cls(tuple(range(frames)))


def subset_at(step: int, frames: int, dense_share: float, seed: int) -> FrameSubset:
    """Return the subset of a step, the same in every process, with at least one dense frame.

    The reference is the first frame, which defines the world, in half of the steps.
    """
    if frames < 2:
        return FrameSubset.whole(frames)
    rng = np.random.default_rng((seed, step, SUBSETS, SUBSETS))
    count = max(1, round(dense_share * frames))
    dense = sorted(rng.choice(frames, count, replace=False).tolist())
    reference = int(rng.integers(frames - 1)) if rng.random() < 0.5 else 0
    return FrameSubset(tuple(dense), reference)
