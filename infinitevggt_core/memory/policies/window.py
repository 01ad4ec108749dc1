# SPDX-License-Identifier: Apache-2.0
"""STream3R's window: keep the anchors and the latest frames."""

from dataclasses import dataclass

from torch import Tensor

from infinitevggt_core.memory.budget import CacheShape
from infinitevggt_core.memory.policies.base import (
    LayerView,
    RetentionPolicy,
    register,
    whole_frames,
)


@register("window")
@dataclass(frozen=True)
class Window(RetentionPolicy):
    """Keeps the anchors and the latest `window` frames. Eviction follows attention (docs/model.md,
    Window sessions)."""

    window: int

    def capacity(self, shape: CacheShape) -> int:
        return (shape.anchors + self.window) * shape.frame

    def allocate(self, total: int, similarities: list[float], shape: CacheShape) -> list[int]:
        return whole_frames(total, shape)

    def score(self, layer: LayerView) -> Tensor:
        return layer.recency

    def camera_frames(self, configured: int) -> int:
        return self.window
