# SPDX-License-Identifier: Apache-2.0
"""Batches of a run: usable clips from one source or several."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from infinitevggt_core.training.clip import BadClipError, Clip, ClipShape, ClipSource, faults, join

MOST_ATTEMPTS = 200


class NoClipsError(RuntimeError):
    """The source has hardly any usable clips. The message counts the reasons."""


class ClipFeed:
    """Usable clips from a source.

    A batch depends on the seed and its number alone: a resumed run continues with the same data,
    and each process of a run draws its own.
    """

    def __init__(self, source: ClipSource, seed: int, device: torch.device) -> None:
        self.source, self.seed, self.device = source, seed, device
        self.skipped: Counter[str] = Counter()
        """Number of rejected clips by reason."""

    def batch(self, number: int, shape: ClipShape) -> Clip:
        """Return batch `number`. Raises NoClipsError if the source has hardly any usable clips."""
        found: list[Clip] = []
        wanted = shape.batch
        for attempt in range(MOST_ATTEMPTS):
            missing = wanted - sum(len(clip.images) for clip in found)
            if not missing:
                return join(found) if len(found) > 1 else found[0]
            # whole batches again: sources are asked for few sizes
            rng = np.random.default_rng((self.seed, number, attempt))
            usable = self._usable(shape, number, rng)
            if usable is not None:
                found.append(usable[slice(0, missing)])
        reasons = ", ".join(f"{reason}: {count}" for reason, count in self.skipped.items())
        raise NoClipsError(
            f"no usable clips of {shape.frames} frames, {shape.stride} apart, {shape.width}x"
            f"{shape.height} px, in {MOST_ATTEMPTS} attempts; skipped: {reasons}"
        )

    def _usable(self, shape: ClipShape, number: int, rng: np.random.Generator) -> Clip | None:
        try:
            clip = self.source.sample(shape, number, rng).to(self.device)
        except BadClipError as error:
            self.skipped[error.reason] += 1
            return None
        reasons = faults(clip)
        self.skipped.update(reason for reason in reasons if reason)
        if not any(reasons):
            return clip
        good = torch.tensor([not reason for reason in reasons], device=self.device)
        return clip[good] if good.any() else None


class Mixture:
    """Mixture of sources: each batch comes from one of them, all with equal probability."""

    def __init__(self, sources: Sequence[ClipSource]) -> None:
        if not sources:
            raise ValueError("a mixture needs a source")
        self.sources = tuple(sources)

    def sample(self, shape: ClipShape, number: int, rng: np.random.Generator) -> Clip:
        chosen = self.sources[int(rng.integers(0, len(self.sources)))]
        return chosen.sample(shape, number, rng)
