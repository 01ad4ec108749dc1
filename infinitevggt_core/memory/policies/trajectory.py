# SPDX-License-Identifier: Apache-2.0
"""LingBot-Map: keep the start, a window, and the special tokens of evicted frames (arXiv
2604.14141)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from infinitevggt_core.config import UNLIMITED
from infinitevggt_core.memory.budget import CacheShape
from infinitevggt_core.memory.policies.base import LayerView, RetentionPolicy, register

KEPT = 2.0**23
"""Above any recency: separates tokens inside their span from those outside."""


@register("trajectory")
@dataclass(frozen=True)
class Trajectory(RetentionPolicy):
    """Keeps the frames of the joint start and the latest `window` frames whole, and the special
    tokens of the `trajectory_frames` frames before those (docs/lingbot_map.md).

    The current frame counts as one of the window, and eviction precedes attention. As published,
    special tokens are never evicted: `trajectory_frames=0`. Where a limit leaves less room, the
    window shrinks to the whole frames that fit, and special tokens take the rest. Tokens stored
    under another policy count as patches.
    """

    before_attention: ClassVar[bool] = True
    marks_specials: ClassVar[bool] = True
    is_steady: ClassVar[bool] = True

    window: int
    trajectory_frames: int

    def capacity(self, shape: CacheShape) -> int:
        if not self.trajectory_frames:
            return UNLIMITED
        specials = shape.layers * shape.special_tokens * self.trajectory_frames
        return (shape.anchors + self.window) * shape.frame + specials

    def allocate(self, total: int, similarities: list[float], shape: CacheShape) -> list[int]:
        window, trajectory = self._spans(total, shape)
        frames = max(0, shape.stored_frames - shape.anchors)
        tokens = (shape.anchors + min(window, frames)) * shape.tokens_per_frame
        tokens += min(trajectory, max(0, frames - window)) * shape.special_tokens
        return [max(tokens, shape.minimum // shape.layers)] * shape.layers

    def score(self, layer: LayerView) -> Tensor:
        window, trajectory = self._spans(layer.total, layer.shape)
        frames, is_special = layer.tokens.frames, layer.tokens.metadata > 0
        first_whole = layer.numbers.nth_latest(window, frames.device)
        first_special = layer.numbers.nth_latest(window + trajectory, frames.device).clamp_(min=0)
        is_kept = (frames >= first_whole) | (is_special & (frames >= first_special))
        return layer.recency + torch.where(is_kept, KEPT, 0.0)

    def _spans(self, total: int, shape: CacheShape) -> tuple[int, int]:
        """Return the number of whole frames, and of frames before them that keep their special
        tokens, for a budget of `total` tokens."""
        room = total // shape.layers - shape.anchors * shape.tokens_per_frame
        window = max(1, min(self.window, room // shape.tokens_per_frame))
        rest = room - window * shape.tokens_per_frame
        trajectory = max(0, rest) // max(1, shape.special_tokens)
        return window, min(trajectory, self.trajectory_frames or trajectory)

    def camera_frames(self, configured: int) -> int:
        return self.window + self.trajectory_frames if self.trajectory_frames else UNLIMITED

    def anchor_frames(self, configured: int, start_frames: int) -> int:
        return max(configured, start_frames)
