# SPDX-License-Identifier: Apache-2.0
"""How good the network is on clips it never learned from."""

import torch

from infinitevggt_core.model.vggt import VGGT
from infinitevggt_core.training.clip import ClipShape
from infinitevggt_core.training.feed import ClipFeed
from infinitevggt_core.training.metrics import Metrics, mean_of, measure
from infinitevggt_core.training.targets import targets_of, targets_of_teacher


class Validation:
    """The same clips every time; against a teacher where they have no labels."""

    def __init__(
        self, feed: ClipFeed, shape: ClipShape, clips: int, teacher: VGGT | None = None
    ) -> None:
        self.feed, self.shape, self.clips, self.teacher = feed, shape, clips, teacher

    @torch.no_grad()
    def run(self, model: VGGT) -> Metrics:
        """Of the network in fp32, with causal attention."""
        found: list[Metrics] = []
        number = 0
        while len(found) < self.clips:
            clip = self.feed.batch(number, self.shape)
            number += 1
            targets = targets_of(clip)
            if targets is None:
                if self.teacher is None:
                    raise ValueError("clips without labels need a teacher")
                targets = targets_of_teacher(self.teacher(clip.images, "full"))
            found.extend(measure(model(clip.images, "causal", points=False), targets))
        return mean_of(found[: self.clips])
