# SPDX-License-Identifier: Apache-2.0
"""Which frames of a clip a training step looks at closely: dense maps and matches cost the most."""

from dataclasses import dataclass

import numpy as np

FOCI = 2
"""Distinguishes the draws of foci from those of clips and shapes."""


@dataclass(frozen=True, slots=True)
class Focus:
    """Of every clip of a batch alike."""

    dense: tuple[int, ...]
    """Frames that depth and point maps are made for, ascending."""
    reference: int = 0
    """Frame in which the patches of later frames are looked for."""

    @classmethod
    def whole(cls, frames: int) -> "Focus":
        """Every frame, and matches with the first."""
        return cls(tuple(range(frames)))


def focus_at(step: int, frames: int, dense_share: float, seed: int) -> Focus:
    """The focus of a step, the same in every process, with one dense frame at least. The reference
    is the first frame, that all poses are relative to, every other time."""
    if frames < 2:
        return Focus.whole(frames)
    rng = np.random.default_rng((seed, step, FOCI, FOCI))
    count = max(1, round(dense_share * frames))
    dense = sorted(rng.choice(frames, count, replace=False).tolist())
    reference = int(rng.integers(frames - 1)) if rng.random() < 0.5 else 0
    return Focus(tuple(dense), reference)
