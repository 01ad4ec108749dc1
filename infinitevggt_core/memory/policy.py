"""What a memory keeps: one small class per policy, chosen by name."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from infinitevggt_core.config import MemoryConfig


class RetentionPolicy(ABC):
    """A policy says how many tokens a layer may keep and which are the most redundant ones.

    This class picks them and protects the anchors; it never touches the keys it is shown.
    """

    before_attention: ClassVar[bool]
    """True: a frame attends what is left after forgetting, its own tokens among them (paper)."""
    scores_layers: ClassVar[bool] = False
    """True: the mean redundancy says how alike the keys of a layer are."""

    def __init__(self, config: MemoryConfig) -> None:
        self.config = config

    @abstractmethod
    def limits(self, scores: list[float], tokens_per_frame: int) -> list[int]:
        """Tokens each layer may keep, given each layer's last score."""

    @abstractmethod
    def capacity(self, layers: int, tokens_per_frame: int) -> int | None:
        """Most tokens all layers keep together after a frame; None: no bound."""

    @abstractmethod
    def redundancy(self, keys: Tensor, frames: Tensor, candidates: Tensor) -> Tensor:
        """(batch, heads, tokens): how little each token says; the highest are forgotten first.

        keys: (batch, heads, tokens, head_dim). frames: (batch, heads, tokens), where a token is
        from. candidates: bool, the same shape, False for anchors.
        """

    def choose(self, keys: Tensor, frames: Tensor, surplus: int) -> tuple[Tensor, Tensor]:
        """Indices (batch, heads, surplus) to forget, and the layer's score, a scalar tensor."""
        candidates = frames >= self.config.anchor_frames
        redundancy = self.redundancy(keys, frames, candidates)
        score = (redundancy * candidates).sum() / candidates.sum()
        redundancy = redundancy.masked_fill(~candidates, -torch.inf)
        return redundancy.topk(surplus, dim=-1, sorted=False).indices, score
