# SPDX-License-Identifier: Apache-2.0
"""Base of policies that evict whole frames."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from infinitevggt_core.memory.budget import CacheShape
from infinitevggt_core.memory.policies.base import LayerView, RetentionPolicy


@dataclass(frozen=True)
class WholeFramePolicy(RetentionPolicy):
    """Scores frames. Tokens that another policy left in any order go by their frame, and before
    all frames if nothing else is known of it."""

    keeps_whole_frames: ClassVar[bool] = True
    takes_all_layers: ClassVar[bool] = True

    @abstractmethod
    def frame_score(self, layer: LayerView, held: Tensor) -> Tensor:
        """Return scores (batch, frames) fp32 of the frames `held`, (batch, frames): those of every
        `tokens_per_frame`-th token. The lowest are evicted first."""

    def allocate(self, total: int, similarities: list[float], shape: CacheShape) -> list[int]:
        return [total // shape.frame * shape.tokens_per_frame] * shape.layers

    def score(self, layer: LayerView) -> Tensor:
        frames = layer.tokens.frames
        held = frames[:, 0, :: layer.tokens_per_frame]  # (B, F)
        return _score_of_tokens(frames, held, self.frame_score(layer, held))

    def choose(self, layer: LayerView, leaving: Tensor | None = None) -> Tensor:
        size = layer.tokens_per_frame
        if leaving is not None or not layer.has_whole_frames or layer.surplus % size:
            return super().choose(layer, leaving)
        held = layer.tokens.frames[:, 0, ::size]
        is_free = layer.candidates[:, 0, ::size]
        score = self.frame_score(layer, held).masked_fill(~is_free, torch.inf)
        chosen = score.topk(layer.surplus // size, dim=-1, largest=False, sorted=False).indices
        within = torch.arange(size, device=held.device)
        indices = (size * chosen[:, :, None] + within).flatten(1)  # (B, surplus)
        return indices[:, None].expand(-1, layer.candidates.shape[1], -1)


def _score_of_tokens(frames: Tensor, held: Tensor, score: Tensor) -> Tensor:
    """Return (batch, heads, tokens) scores of tokens of `frames`, given those (batch, frames) of
    the frames `held`: the lowest of the token's frame, or -inf if that is not held."""
    is_same = held[:, :, None] == held[:, None]
    lowest = torch.where(is_same, score[:, None], torch.inf).amin(dim=-1)
    ordered = held.sort(dim=-1)
    of_token = frames.flatten(1)  # (B, H N)
    place = torch.searchsorted(ordered.values, of_token).clamp_(max=held.shape[1] - 1)
    is_held = ordered.values.gather(1, place) == of_token
    scores = lowest.gather(1, ordered.indices).gather(1, place)
    return scores.masked_fill(~is_held, -torch.inf).view(frames.shape)
