# SPDX-License-Identifier: Apache-2.0
"""2-D rotary position embedding (model_spec.md section 3)."""

from functools import lru_cache

import torch
from torch import Tensor

SPECIAL_TOKENS = 5
"""Camera token and four registers at the head of every frame; they are not rotated."""
BASE = 100.0


class Rotation:
    """Rotates (..., tokens, head_dim) queries and keys: half of the head by y, half by x."""

    def __init__(self, cos: Tensor, signed_sin: Tensor) -> None:
        self.cos = cos  # (tokens, head_dim)
        self.signed_sin = signed_sin

    def __call__(self, x: Tensor) -> Tensor:
        y_first, y_second, x_first, x_second = x.chunk(4, dim=-1)
        swapped = torch.cat((y_second, y_first, x_second, x_first), dim=-1)
        return x * self.cos + swapped * self.signed_sin

    def repeat(self, frames: int) -> "Rotation":
        """The same positions for `frames` frames in a row; positions have no temporal part."""
        return Rotation(self.cos.repeat(frames, 1), self.signed_sin.repeat(frames, 1))


@lru_cache(maxsize=16)
def frame_rotation(
    rows: int, cols: int, head_dim: int, device: torch.device, dtype: torch.dtype
) -> Rotation:
    """Rotation of a frame's tokens: specials at (0, 0), patch (row, col) at (row + 1, col + 1)."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")
    patches = torch.stack((y, x), dim=-1).reshape(-1, 2) + 1
    positions = torch.cat((torch.zeros(SPECIAL_TOKENS, 2, dtype=torch.long), patches))
    with torch.inference_mode(False):  # remembered: training may use it after a stream has
        return rotation_at(positions, head_dim, device, dtype)


def rotation_at(
    positions: Tensor, head_dim: int, device: torch.device, dtype: torch.dtype
) -> Rotation:
    """Rotation for integer (y, x) positions of shape (tokens, 2). `head_dim` % 4 == 0.

    Angles stay fp32 until after cos and sin: in bf16 an angle of 30 rad is off by 0.1 rad.
    """
    axis_dim = head_dim // 2
    frequencies = 1.0 / BASE ** (torch.arange(0, axis_dim, 2).float() / axis_dim)
    angles = positions.float()[..., None] * frequencies  # (tokens, 2, head_dim / 4)
    cos, sin = angles.cos(), angles.sin()
    cos = torch.stack((cos, cos), dim=-2).flatten(-3)
    signed_sin = torch.stack((-sin, sin), dim=-2).flatten(-3)
    return Rotation(cos.to(device, dtype), signed_sin.to(device, dtype))
