# SPDX-License-Identifier: Apache-2.0
"""STream3R's window: keep the anchors and the latest frames."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from infinitevggt_core.memory.budget import CacheShape
from infinitevggt_core.memory.policies.base import LayerView, register
from infinitevggt_core.memory.policies.whole_frames import WholeFramePolicy


@register("window")
@dataclass(frozen=True)
class Window(WholeFramePolicy):
    """Keeps the anchors and the latest `window` frames. Eviction follows attention (docs/model.md,
    Window sessions)."""

    is_steady: ClassVar[bool] = True

    window: int

    def capacity(self, shape: CacheShape) -> int:
        return (shape.anchors + self.window) * shape.frame

    def frame_score(self, layer: LayerView, held: Tensor) -> Tensor:
        return (held - layer.now).float()

    def score(self, layer: LayerView) -> Tensor:
        return layer.recency

    def camera_frames(self, configured: int) -> int:
        return self.window
