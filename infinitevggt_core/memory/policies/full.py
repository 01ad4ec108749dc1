# SPDX-License-Identifier: Apache-2.0
"""StreamVGGT: keep everything. Unbounded, for comparison and short clips."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from infinitevggt_core.config import UNLIMITED
from infinitevggt_core.memory.budget import CacheShape
from infinitevggt_core.memory.policies.base import LayerView, RetentionPolicy, register


@register("full")
@dataclass(frozen=True)
class Full(RetentionPolicy):
    """Keeps every token of every frame; if memory ends, the latest ones."""

    takes_all_layers: ClassVar[bool] = True

    def capacity(self, shape: CacheShape) -> int:
        return UNLIMITED

    def score(self, layer: LayerView) -> Tensor:
        return layer.recency

    def camera_frames(self, configured: int) -> int:
        return UNLIMITED
