# SPDX-License-Identifier: Apache-2.0
"""StreamVGGT: keep everything. Unbounded, for comparison and short clips."""

from dataclasses import dataclass

from torch import Tensor

from infinitevggt_core.config import UNLIMITED
from infinitevggt_core.memory.policies.base import LayerView, RetentionPolicy, register


@register("full")
@dataclass(frozen=True)
class Full(RetentionPolicy):
    """Every token of every frame; where that cannot be held, the latest."""

    def wanted(self, layers: int, anchors: int, tokens_per_frame: int) -> int:
        return UNLIMITED

    def redundancy(self, layer: LayerView) -> Tensor:
        return layer.ages

    def camera_frames(self, configured: int) -> int:
        return UNLIMITED
