# SPDX-License-Identifier: Apache-2.0
"""Averaged weights."""

import torch
from torch import Tensor

from infinitevggt_core.model.vggt import VGGT


class Ema:
    """A second network whose weights follow those of the one in training."""

    def __init__(self, model: VGGT, decay: float) -> None:
        self.decay = decay
        with torch.device(model.device):
            self.model = VGGT(model.config).requires_grad_(False).eval()
        self.model.load_state_dict(model.state_dict())
        for head in (self.model.depth_head, self.model.point_head):
            head.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def update(self, model: VGGT, step: int) -> None:
        """After `step` steps; the first ones count more, as the average is not yet one."""
        decay = min(self.decay, (1 + step) / (10 + step))
        mine: list[Tensor] = list(self.model.parameters())
        theirs: list[Tensor] = list(model.parameters())
        torch._foreach_lerp_(mine, theirs, 1 - decay)
