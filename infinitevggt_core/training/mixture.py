# SPDX-License-Identifier: Apache-2.0
"""Several sources as one."""

from collections.abc import Sequence

import numpy as np

from infinitevggt_core.training.clip import Clip, ClipShape, ClipSource


class Mixture:
    """Each batch comes from one of `sources`, all equally often."""

    def __init__(self, sources: Sequence[ClipSource]) -> None:
        if not sources:
            raise ValueError("a mixture needs a source")
        self.sources = tuple(sources)

    def sample(self, shape: ClipShape, number: int, rng: np.random.Generator) -> Clip:
        chosen = self.sources[int(rng.integers(0, len(self.sources)))]
        return chosen.sample(shape, number, rng)
