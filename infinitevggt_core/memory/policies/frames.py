# SPDX-License-Identifier: Apache-2.0
"""FrameVGGT: keep whole frames, those that add most (arXiv 2603.07690)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from infinitevggt_core.memory.policies.base import (
    LayerView,
    RetentionPolicy,
    register,
    whole_frames,
)

SAME = -2.0
"""Below any similarity: a frame is not compared with itself."""
TIE = 1e-4


@register("frames")
@dataclass(frozen=True)
class Frames(RetentionPolicy):
    """Anchors, the latest `window` frames, and of the others those least like any other.

    The paper keeps a set of frames of fixed size that complement each other, each summed up by a
    prototype in the space of keys. Here, in each layer: a frame's prototype is the mean of its
    keys, head by head; how alike two frames are is the cosine of their prototypes, averaged over
    the heads. The frame most like another one is forgotten, all of it in all heads; of the two that
    are most alike, the one that is more like all the others. A frame attends the one that leaves
    after it.
    """

    total_budget: int
    window: int

    def wanted(self, layers: int, anchors: int, tokens_per_frame: int) -> int:
        return self.total_budget

    def split(
        self, total: int, scores: list[float], anchors: int, tokens_per_frame: int
    ) -> list[int]:
        return whole_frames(total, len(scores), tokens_per_frame)

    def redundancy(self, layer: LayerView) -> Tensor:
        frames, tokens = layer.tokens.frames, layer.tokens_per_frame
        # whole frames lie one behind the other; what another policy left lies anyhow and goes first
        held = frames[:, 0, ::tokens]  # (B, F)
        member = frames[:, :, None] == held[:, None, :, None]  # (B, H, F, N)
        free = layer.candidates[:, 0, ::tokens] & (layer.frame - held >= self.window)
        leaving = -(-layer.surplus // tokens)
        rank = _ranks(self._similarity(layer, held), free, leaving)
        age = (layer.frame - held).float()
        rank = rank + age / (1 + age)  # of the rest the oldest first
        ranks = torch.where(member, rank[:, None, :, None], -torch.inf).amax(dim=2)
        return ranks.masked_fill(~member.any(dim=2), torch.inf)

    def _similarity(self, layer: LayerView, held: Tensor) -> Tensor:
        """(B, F, F): of the prototypes of the frames `held`."""
        keys, tokens = layer.tokens.keys, layer.tokens_per_frame
        missing = -keys.shape[2] % tokens  # of the last frame, where another policy ruled before
        whole = F.pad(keys, (0, 0, 0, missing)) if missing else keys
        means = torch.unflatten(whole, 2, (-1, tokens)).mean(dim=3, dtype=torch.float32)
        prototypes = F.normalize(means, dim=-1)
        alike: Tensor = (prototypes @ prototypes.transpose(-1, -2)).mean(dim=1)
        return alike.masked_fill(held[:, :, None] == held[:, None], SAME)


def _ranks(alike: Tensor, free: Tensor, leaving: int) -> Tensor:
    """(B, F): `leaving` for the frame that goes first, then 1 less for each, and 0 for all others.

    alike (B, F, F): similarities. free (B, F): which may go.
    """
    ranks = torch.zeros_like(alike[:, 0])
    for rank in range(leaving, 0, -1):
        closest = (alike.amax(dim=-1) + TIE * alike.mean(dim=-1)).masked_fill(~free, -torch.inf)
        worst = F.one_hot(closest.argmax(dim=-1), free.shape[-1]).bool() & free
        ranks = ranks.masked_fill(worst, rank)
        free = free & ~worst
        alike = alike.masked_fill(worst[:, :, None] | worst[:, None], SAME)
    return ranks
