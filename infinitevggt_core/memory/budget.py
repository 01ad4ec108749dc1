# SPDX-License-Identifier: Apache-2.0
"""Number of tokens that a stream and each of its global layers may keep (docs/model.md, Memory and
eviction)."""

from dataclasses import dataclass

import torch

from infinitevggt_core.config import UNLIMITED

TEMPERATURE = 0.5


@dataclass(frozen=True, slots=True)
class Budget:
    """Tokens that one stream may keep, summed over its layers."""

    requested: int = UNLIMITED
    """Tokens that the policy asks for."""
    memory_limit: int = UNLIMITED
    """Tokens for which there is memory: by `limit_mb`, and by what the device could allocate."""
    latency_limit: int = UNLIMITED
    """Tokens for which there is time, by `target_ms`."""
    minimum: int = 0
    """Tokens of the anchors and of one more frame. No limit goes below it."""

    @property
    def capacity(self) -> int:
        """Most tokens kept, whatever the time per frame. Storage is sized by it."""
        return max(self.minimum, min(self.requested, self.memory_limit))

    @property
    def tokens(self) -> int:
        """Most tokens kept now."""
        return max(self.minimum, min(self.capacity, self.latency_limit))


@dataclass(frozen=True, slots=True)
class CacheShape:
    """Sizes of a cache, from which a policy computes its capacity."""

    layers: int
    tokens_per_frame: int
    anchors: int = 1
    """Frames that are never evicted, pinned and temporary ones included."""
    stored_frames: int = 0
    """Frames stored since the stream began, the current one included."""
    special_tokens: int = 0
    """Camera, register and scale tokens at the head of each frame."""

    @property
    def frame(self) -> int:
        """Tokens of one frame in all layers."""
        return self.layers * self.tokens_per_frame

    @property
    def minimum(self) -> int:
        """Tokens of the anchors and of one more frame in all layers."""
        return (self.anchors + 1) * self.frame


def allocate_budget(total: int, similarities: list[float], floor: int) -> list[int]:
    """Divide `total` tokens over the layers by softmax((1 - similarity) / 0.5) (InfiniteVGGT,
    section 3.3).

    similarities: mean cosine similarity of each layer's keys with their mean key, in [0, 1]; a
    layer of similar keys needs fewer of them. floor: least tokens of a layer. Raises ValueError if
    total < layers * floor.
    """
    layers = len(similarities)
    if total < layers * floor:
        raise ValueError(f"{total} tokens cannot give {layers} layers {floor} tokens each")
    logits = (1 - torch.tensor(similarities, dtype=torch.float32)) / TEMPERATURE
    raised: set[int] = set()  # layers whose share of the rest is below the floor
    while True:
        free = [layer for layer in range(layers) if layer not in raised]
        left = total - floor * len(raised)
        shares = (torch.softmax(logits[free], dim=0) * left).long().tolist()
        excess = max(0, sum(shares) - left)  # fp32, as released: it sometimes rounds up
        shares[shares.index(max(shares))] -= excess
        short = {layer for layer, share in zip(free, shares, strict=True) if share < floor}
        if not short or len(short) == len(free):
            budgets = dict.fromkeys(range(layers), floor)
            if not short:
                budgets |= dict(zip(free, shares, strict=True))
            return [budgets[layer] for layer in range(layers)]
        raised |= short
