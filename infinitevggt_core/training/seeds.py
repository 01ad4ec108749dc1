# SPDX-License-Identifier: Apache-2.0
"""Which worlds are for what: nothing is ever validated on a world it learned from."""

from collections.abc import Iterable

import numpy as np

TRAINING = (range(10_000), range(100_000, 2**31))
VALIDATION = range(10_000, 11_000)


def check_training_seeds(seeds: Iterable[int]) -> None:
    """Raise ValueError for a seed that is not to be learned from."""
    for seed in seeds:
        if not any(seed in part for part in TRAINING):
            use = "for validation" if seed in VALIDATION else "kept for tests"
            raise ValueError(
                f"world {seed} is {use}: training takes seeds 0 to 9,999 and from 100,000 on"
            )


def check_validation_seeds(seeds: Iterable[int]) -> None:
    """Raise ValueError for a seed that is not for validation."""
    for seed in seeds:
        if seed not in VALIDATION:
            raise ValueError(f"world {seed} is not for validation: that takes 10,000 to 10,999")


def draw_training_seeds(rng: np.random.Generator, count: int) -> list[int]:
    """Any of the training worlds, each as likely as the others."""
    sizes = [len(part) for part in TRAINING]
    places = rng.integers(0, sum(sizes), count).tolist()
    return [TRAINING[0][p] if p < sizes[0] else TRAINING[1][p - sizes[0]] for p in places]


def draw_validation_seeds(rng: np.random.Generator, count: int) -> list[int]:
    return [VALIDATION[p] for p in rng.integers(0, len(VALIDATION), count).tolist()]
