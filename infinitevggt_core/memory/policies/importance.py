# SPDX-License-Identifier: Apache-2.0
"""OVGGT: keep the tokens with the largest feed-forward updates (arXiv 2603.05959)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from infinitevggt_core.config import option
from infinitevggt_core.memory.budget import CacheShape
from infinitevggt_core.memory.policies.base import LayerView, RetentionPolicy, register


@register("importance")
@dataclass(frozen=True)
class Importance(RetentionPolicy):
    """Keeps the anchors, a few temporary anchors, and the tokens with the largest updates.

    The paper measures a token by the size of its update by the feed-forward part of its block,
    which needs no attention weights, and protects tokens that define the coordinates. Here the
    importance of a token in a layer is the length of the vector that the feed-forward part of that
    global block adds to it (after LayerScale) in the token's own frame. It is the same in all heads
    and does not change later. The least important tokens are evicted, after attention. Every
    `anchor_every`-th frame is an anchor until `moving_anchors` later ones are; the paper selects
    these frames in another way. Tokens stored under another policy have importance 0.
    """

    watches_updates: ClassVar[bool] = True
    takes_all_layers: ClassVar[bool] = True
    is_steady: ClassVar[bool] = True

    total_budget: int
    moving_anchors: int = option(
        3, "number of temporary anchors, the latest ones", unit="frames", low=0, high=100
    )
    anchor_every: int = option(
        100, "frames from one temporary anchor to the next", unit="frames", low=1, high=1_000_000
    )

    def capacity(self, shape: CacheShape) -> int:
        return self.total_budget

    def update_metadata(self, updates: Tensor) -> Tensor:
        sizes: Tensor = updates.float().norm(dim=-1)
        return sizes

    def score(self, layer: LayerView) -> Tensor:
        return layer.tokens.metadata

    @property
    def most_temporary_anchors(self) -> int:
        return self.moving_anchors

    def temporary_anchors(self, frame: int) -> set[int]:
        latest = frame - frame % self.anchor_every
        return {latest - i * self.anchor_every for i in range(self.moving_anchors)}
