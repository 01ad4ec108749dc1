# SPDX-License-Identifier: Apache-2.0
"""InfiniteVGGT: evict the keys most similar to the mean key (arXiv 2601.02281, section 3.2)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from infinitevggt_core.config import option
from infinitevggt_core.memory.budget import CacheShape, allocate_budget
from infinitevggt_core.memory.policies.base import LayerView, RetentionPolicy, register


@register("diversity")
@dataclass(frozen=True)
class Diversity(RetentionPolicy):
    """Keeps the anchors and, per head, the keys least similar to the mean key. Layers of more
    similar keys get a smaller share of the budget (docs/model.md, Memory and eviction)."""

    before_attention: ClassVar[bool] = True
    uses_mean_key: ClassVar[bool] = True

    total_budget: int
    budget_step: int = option(
        1,
        "a layer's share is rounded down to a multiple of it: on a GPU, fewer lengths for which "
        "attention is planned; 1: as published",
        unit="tokens",
        low=1,
        high=1_000_000,
    )
    budget_frames: int = option(
        1,
        "frames for which the shares of the layers hold; with more than 1 a stream on cuda replays "
        "a graph between two divisions of the budget; 1: as published",
        unit="frames",
        low=1,
        high=1_000_000,
    )

    @property
    def fits_graph(self) -> bool:
        return self.budget_frames > 1

    @property
    def allocation_frames(self) -> int:
        return self.budget_frames

    def capacity(self, shape: CacheShape) -> int:
        return self.total_budget

    def allocate(self, total: int, similarities: list[float], shape: CacheShape) -> list[int]:
        floor = (shape.anchors + 1) * shape.tokens_per_frame
        shares = allocate_budget(total, similarities, floor)
        return [max(floor, share - share % self.budget_step) for share in shares]

    def score(self, layer: LayerView) -> Tensor:
        """Return minus the product of each normalised key with their mean, which is not
        normalised."""
        return layer.tokens.key_products(-layer.mean_key) * layer.tokens.metadata

    def similarity(self, layer: LayerView) -> Tensor:
        """Return the mean product of the candidates, which is the mean key's squared length."""
        return layer.mean_key.square().sum(dim=-1).mean()
