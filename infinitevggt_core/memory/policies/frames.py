# SPDX-License-Identifier: Apache-2.0
"""FrameVGGT: keep whole frames that complement each other (arXiv 2603.07690)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from infinitevggt_core.memory.budget import CacheShape
from infinitevggt_core.memory.policies.base import LayerView, register
from infinitevggt_core.memory.policies.whole_frames import WholeFramePolicy

SAME = -2.0
"""Below any similarity: a frame is not compared with itself."""
TIE = 1e-4


@register("frames")
@dataclass(frozen=True)
class Frames(WholeFramePolicy):
    """Keeps the anchors, the latest `window` frames, and of the others those least similar to any
    other frame.

    The paper keeps a set of frames of fixed size that complement each other; a prototype in the
    space of keys represents each frame. Here, in each layer, the prototype of a frame is the mean
    of its keys, head by head. The similarity of two frames is the cosine of their prototypes,
    averaged over the heads. The frame most similar to another one is evicted, in all heads; of the
    two most similar frames, the one that is more similar to all others. Eviction follows attention.
    """

    uses_frame_means: ClassVar[bool] = True
    is_steady: ClassVar[bool] = True

    total_budget: int
    window: int

    def capacity(self, shape: CacheShape) -> int:
        return self.total_budget

    def frame_score(self, layer: LayerView, held: Tensor) -> Tensor:
        is_free = layer.candidates[:, 0, :: layer.tokens_per_frame]
        is_free = is_free & (layer.now - held >= self.window)
        leaving = -(-layer.surplus // layer.tokens_per_frame)
        rank = _ranks(_similarity(layer.frame_means, held), is_free, leaving)
        age = (layer.now - held).float()
        return -(rank + age / (1 + age))  # of the rest the oldest first


def _similarity(frame_means: Tensor, held: Tensor) -> Tensor:
    """Return the similarities (B, F, F) of the prototypes of the frames `held`."""
    prototypes = F.normalize(frame_means, dim=-1)
    similarity: Tensor = (prototypes @ prototypes.transpose(-1, -2)).mean(dim=1)
    return similarity.masked_fill(held[:, :, None] == held[:, None], SAME)


def _ranks(similarity: Tensor, free: Tensor, leaving: int) -> Tensor:
    """Return (B, F): `leaving` for the frame to evict first, then 1 less for each, else 0.

    similarity: (B, F, F). free: (B, F) bool, frames that may be evicted.
    """
    ranks = torch.zeros_like(similarity[:, 0])
    for rank in range(leaving, 0, -1):
        closest = similarity.amax(dim=-1) + TIE * similarity.mean(dim=-1)
        closest = closest.masked_fill(~free, -torch.inf)
        # no one_hot, which waits for the device to check its argument
        place = closest.argmax(dim=-1, keepdim=True)
        worst = torch.zeros_like(free).scatter_(1, place, True) & free
        ranks = ranks.masked_fill(worst, rank)
        free = free & ~worst
        similarity = similarity.masked_fill(worst[:, :, None] | worst[:, None], SAME)
    return ranks
