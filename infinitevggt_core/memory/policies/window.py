# SPDX-License-Identifier: Apache-2.0
"""STream3R's window: the anchors and the latest frames."""

from dataclasses import dataclass

from torch import Tensor

from infinitevggt_core.memory.policies.base import (
    LayerView,
    RetentionPolicy,
    register,
    whole_frames,
)


@register("window")
@dataclass(frozen=True)
class Window(RetentionPolicy):
    """Anchors and the latest `window` frames. A frame still attends the one that leaves after it
    (the session form of model_spec.md section 9)."""

    window: int

    def wanted(self, layers: int, anchors: int, tokens_per_frame: int) -> int:
        return layers * (anchors + self.window) * tokens_per_frame

    def split(
        self, total: int, scores: list[float], anchors: int, tokens_per_frame: int
    ) -> list[int]:
        return whole_frames(total, len(scores), tokens_per_frame)

    def redundancy(self, layer: LayerView) -> Tensor:
        return layer.ages

    def camera_frames(self, configured: int) -> int:
        return self.window
