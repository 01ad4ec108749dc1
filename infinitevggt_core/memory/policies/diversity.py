# SPDX-License-Identifier: Apache-2.0
"""InfiniteVGGT: forget the keys most like the mean key (arXiv 2601.02281, section 3.2)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from infinitevggt_core.memory.budget import split_budget
from infinitevggt_core.memory.policies.base import LayerView, RetentionPolicy, register


@register("diversity")
@dataclass(frozen=True)
class Diversity(RetentionPolicy):
    """Anchors, and per head the keys least like the mean key. Layers whose keys are more alike get
    a smaller share of the budget (model_spec.md section 4)."""

    before_attention: ClassVar[bool] = True
    uses_mean_key: ClassVar[bool] = True

    total_budget: int

    def wanted(self, layers: int, anchors: int, tokens_per_frame: int) -> int:
        return self.total_budget

    def split(
        self, total: int, scores: list[float], anchors: int, tokens_per_frame: int
    ) -> list[int]:
        return split_budget(total, scores, (anchors + 1) * tokens_per_frame)

    def redundancy(self, layer: LayerView) -> Tensor:
        """Product of each normalised key with their mean, which is not normalised."""
        return layer.tokens.key_products(layer.mean_key) * layer.tokens.notes

    def score(self, layer: LayerView) -> Tensor:
        """The mean redundancy of the candidates, which is the mean key's squared length."""
        return layer.mean_key.square().sum(dim=-1).mean()
