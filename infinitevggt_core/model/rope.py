# SPDX-License-Identifier: Apache-2.0
"""Rotary position embedding: 2-D by row and column, 3-D by frame, row and column.

See docs/model.md, Aggregator, and docs/lingbot_map.md.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from infinitevggt_core.config import REGISTERS
from infinitevggt_core.model.constants import cached_constants

SPECIAL_TOKENS = 1 + REGISTERS
"""Special tokens of a frame of VGGT: camera token and registers."""
BASE = 100.0
TEMPORAL_BASE = 10000.0
AXIS_DIMS = (20, 22, 22)
"""Dimensions of a head of 64 that are rotated by frame, by row and by column."""
SHORTEST_TABLE = 1024


class Rotation:
    """2-D rotation of (..., tokens, head_dim) queries and keys: half of the head by row, half by
    column."""

    def __init__(self, cos: Tensor, signed_sin: Tensor) -> None:
        self.cos = cos  # (tokens, head_dim)
        self.signed_sin = signed_sin

    def __call__(self, x: Tensor) -> Tensor:
        y_first, y_second, x_first, x_second = x.chunk(4, dim=-1)
        swapped = torch.cat((y_second, y_first, x_second, x_first), dim=-1)
        return x * self.cos + swapped * self.signed_sin

    def repeat(self, frames: int) -> "Rotation":
        """Return the rotation of `frames` frames in a row; 2-D positions have no temporal part."""
        return Rotation(self.cos.repeat(frames, 1), self.signed_sin.repeat(frames, 1))


class TemporalRotation(Rotation):
    """3-D rotation: pairs of adjacent dimensions by frame, by row, by column.

    cos, signed_sin: (tokens, head_dim), or (batch, 1, tokens, head_dim).
    """

    def __call__(self, x: Tensor) -> Tensor:
        pairs = torch.unflatten(x, -1, (-1, 2))
        swapped = pairs.flip(-1).flatten(-2)
        return x * self.cos + swapped * self.signed_sin


@cached_constants(16)
def frame_rotation(
    rows: int,
    cols: int,
    head_dim: int,
    device: torch.device,
    dtype: torch.dtype,
    specials: int = SPECIAL_TOKENS,
) -> Rotation:
    """Return the 2-D rotation of a frame's tokens: specials at (0, 0), patch (row, col) at
    (row + 1, col + 1)."""
    positions = torch.cat((torch.zeros(specials, 2, dtype=torch.long), _grid(rows, cols) + 1))
    with torch.inference_mode(False):  # cached: training may use it after a stream has
        return rotation_at(positions, head_dim, device, dtype)


def rotation_at(
    positions: Tensor, head_dim: int, device: torch.device, dtype: torch.dtype
) -> Rotation:
    """Return the 2-D rotation for integer (row, col) positions (tokens, 2). `head_dim` % 4 == 0.

    Angles stay fp32 until after cos and sin: in bf16 an angle of 30 rad is off by 0.1 rad.
    """
    axis_dim = head_dim // 2
    frequencies = 1.0 / BASE ** (torch.arange(0, axis_dim, 2).float() / axis_dim)
    angles = positions.float()[..., None] * frequencies  # (tokens, 2, head_dim / 4)
    cos, sin = angles.cos(), angles.sin()
    cos = torch.stack((cos, cos), dim=-2).flatten(-3)
    signed_sin = torch.stack((-sin, sin), dim=-2).flatten(-3)
    return Rotation(cos.to(device, dtype), signed_sin.to(device, dtype))


def clip_rotation(
    indices: Sequence[int],
    frames: int,
    grid: tuple[int, int],
    specials: int,
    device: torch.device,
    dtype: torch.dtype,
    position: Tensor | None = None,
) -> TemporalRotation:
    """Return the 3-D rotation of `frames` frames of `grid` (rows, columns) patches.

    indices: temporal index of the first frame, for each element of the batch. Special token i is at
    (index, i, i), patch (row, col) at (index, specials + row, specials + col). position: (1,)
    integer on the device, the index of a single frame, if all elements share it; then another frame
    is the same program.
    """
    places = _frame_table(*grid, specials, device, dtype)  # 2 x (tokens, 44)
    times = _time_table(table_length(max(indices) + frames), device, dtype)  # 2 x (length, 20)
    if position is not None and frames == 1:
        rows = (time.index_select(0, position) for time in times)
        return TemporalRotation(*map(_clip_part, rows, places))
    parts = []
    for place, time in zip(places, times, strict=True):
        clips = [_clip_part(time[first : first + frames], place) for first in indices]
        parts.append(clips[0] if len(set(indices)) == 1 else torch.stack(clips)[:, None])
    return TemporalRotation(*parts)


def table_length(count: int) -> int:
    """Return the length of the table of temporal indices below `count`."""
    return max(SHORTEST_TABLE, 1 << (count - 1).bit_length())


def _clip_part(time: Tensor, place: Tensor) -> Tensor:
    """Combine (frames, 20) and (tokens, 44) into (frames tokens, 64)."""
    frames, tokens = len(time), len(place)
    both = (time[:, None].expand(-1, tokens, -1), place.expand(frames, -1, -1))
    return torch.cat(both, dim=-1).flatten(0, 1)


@cached_constants(16)
def _frame_table(
    rows: int, cols: int, specials: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return cos and signed sin, (tokens, 44), of the row and the column of each token."""
    diagonal = torch.arange(specials)[:, None].expand(-1, 2)
    positions = torch.cat((diagonal, _grid(rows, cols) + specials))
    cos, sin = zip(
        *(_axis_table(positions[:, axis], AXIS_DIMS[1 + axis]) for axis in range(2)), strict=True
    )
    with torch.inference_mode(False):  # cached, as above
        return torch.cat(cos, dim=-1).to(device, dtype), torch.cat(sin, dim=-1).to(device, dtype)


@cached_constants(4)
def _time_table(length: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return cos and signed sin, (length, 20), of temporal indices 0..length-1."""
    cos, sin = _axis_table(torch.arange(length), AXIS_DIMS[0])
    with torch.inference_mode(False):  # cached, as above
        return cos.to(device, dtype), sin.to(device, dtype)


def _axis_table(positions: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return fp64 cos and signed sin, (tokens, dim), each angle twice in a row."""
    exponents = torch.arange(0, dim, 2, dtype=torch.float64) / dim
    angles = positions.double()[:, None] * TEMPORAL_BASE**-exponents
    cos, sin = angles.cos(), angles.sin()
    return cos.repeat_interleave(2, dim=-1), torch.stack((-sin, sin), dim=-1).flatten(-2)


def _grid(rows: int, cols: int) -> Tensor:
    """Return the (row, col) of each patch, (rows * cols, 2), row by row."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")
    return torch.stack((y, x), dim=-1).reshape(-1, 2)
