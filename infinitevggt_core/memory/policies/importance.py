# SPDX-License-Identifier: Apache-2.0
"""OVGGT: keep the tokens that the network works on most (arXiv 2603.05959)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from infinitevggt_core.config import option
from infinitevggt_core.memory.policies.base import LayerView, RetentionPolicy, register


@register("importance")
@dataclass(frozen=True)
class Importance(RetentionPolicy):
    """Anchors, a few frames that are anchors for a time, and the tokens with the largest updates.

    The paper measures a token by the size of what the feed-forward part of its block adds to it,
    which needs no attention weights, and protects tokens that the coordinates hang on. Here a
    token's importance in a layer is the length of the vector that the feed-forward part of that
    global block adds to it (after LayerScale) in the frame it comes with; it is the same in all
    heads and does not change later. The least important tokens are forgotten. Every
    `anchor_every`-th frame is an anchor until `moving_anchors` later ones are; the paper chooses
    these frames otherwise. A frame attends the tokens that leave after it. Tokens stored while
    another policy ruled count as unimportant.
    """

    watches_updates: ClassVar[bool] = True

    total_budget: int
    moving_anchors: int = option(
        3, "latest frames that are anchors for a time", unit="frames", low=0, high=100
    )
    anchor_every: int = option(
        100, "frames from one of them to the next", unit="frames", low=1, high=1_000_000
    )

    def wanted(self, layers: int, anchors: int, tokens_per_frame: int) -> int:
        return self.total_budget

    def note_updates(self, updates: Tensor) -> Tensor:
        sizes: Tensor = updates.float().norm(dim=-1)
        return sizes

    def redundancy(self, layer: LayerView) -> Tensor:
        return -layer.tokens.notes

    @property
    def most_own_anchors(self) -> int:
        return self.moving_anchors

    def own_anchors(self, frame: int) -> set[int]:
        latest = frame - frame % self.anchor_every
        return {latest - i * self.anchor_every for i in range(self.moving_anchors)}
