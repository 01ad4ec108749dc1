"""InfiniteVGGT: forget the keys most like the mean key (paper section 3.2)."""

from typing import ClassVar

from torch import Tensor

from infinitevggt_core.memory.budget import split_budget
from infinitevggt_core.memory.policy import RetentionPolicy


class Diversity(RetentionPolicy):
    """Anchors, and per head the keys least like the mean key. Layers whose keys are more alike get
    a smaller share of the budget (model_spec.md section 4)."""

    before_attention: ClassVar[bool] = True
    scores_layers: ClassVar[bool] = True

    def limits(self, scores: list[float], tokens_per_frame: int) -> list[int]:
        floor = (self.config.anchor_frames + 1) * tokens_per_frame
        return split_budget(self.config.total_budget, scores, floor)

    def capacity(self, layers: int, tokens_per_frame: int) -> int:
        return self.config.total_budget

    def redundancy(self, keys: Tensor, frames: Tensor, candidates: Tensor) -> Tensor:
        """Product of each normalised key with their mean over the candidates, not renormalised.

        The normalised keys are never written out: both products read the keys as they are.
        """
        inverse_norm: Tensor = 1 / keys.float().norm(dim=-1).clamp(min=1e-12)  # (B, H, N)
        weights = (inverse_norm * candidates) / candidates.sum(-1, keepdim=True).clamp(min=1)
        mean = weights[..., None, :].to(keys.dtype) @ keys  # (B, H, 1, d)
        similarity = (keys @ mean.transpose(-1, -2)).squeeze(-1).float()
        scores: Tensor = similarity * inverse_norm
        return scores
