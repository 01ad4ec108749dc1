# SPDX-License-Identifier: Apache-2.0
"""Detail textures: ten periodic grey patterns with mipmaps, made from hashed noise.

All patterns are stored in one flat float32 tensor, so that a texture is selected by an offset.
"""

from functools import lru_cache

import torch
from torch import Tensor

from infinitevggt_core.worlds.hashed_rng import key_of, uniform_tensor

SIDE = 256
MIPMAPS = 7
"""Offsets of the levels of 256, 128, .. 4 texels."""
STARTS = tuple(sum((SIDE >> j) ** 2 for j in range(level)) for level in range(MIPMAPS))
STRIDE = sum((SIDE >> level) ** 2 for level in range(MIPMAPS))
NOISE = 1 << 16
"""Length of the table of uniform numbers, a power of two."""


@lru_cache(maxsize=8)
def detail_textures(device: str) -> Tensor:
    """Return (10 * STRIDE,) float32: patterns of mean 0 in [-1, 1], in the order of
    materials.py."""
    noise = _noise
    plaster = noise(1, 4) + 0.7 * noise(2, 16) + 0.5 * noise(3, 64) + 0.4 * noise(4, 128)
    bent = noise(5, 4, 8) * 1.2 + noise(6, 2, 24) + 0.9 * noise(7, 4, 64)
    grain = bent + 0.6 * _wave(8 * noise(8, 2, 4)) + 0.4 * noise(9, 8, 128)
    veins = noise(10, 4) + 0.5 * noise(11, 8) + 0.25 * noise(12, 32)
    marble = 1 - (2.5 * veins).abs().clamp(max=1) + 0.4 * noise(13, 8) + 0.3 * noise(14, 64)
    speckle = (noise(15, 64) * 3).clamp(-1, 1) + 0.5 * noise(16, 8) + 0.5 * noise(17, 128)
    u, v = _grid()
    weave = _wave(24 * u) * 0.6 + _wave(24 * v) * 0.6 + 0.8 * noise(18, 16) + 0.6 * noise(19, 64)
    stones = _stones()
    scribble = _wave(4 * (noise(20, 6) + 0.4 * noise(21, 16))) ** 3 + 0.3 * noise(22, 64)
    blobs = (4 * noise(23, 10)).clamp(-1, 1) + 0.6 * (4 * noise(24, 24)).clamp(-1, 1)
    blobs = blobs + 0.3 * noise(25, 96)
    octaves = [noise(30 + k, 2 << k) / 2 ** (0.8 * k) for k in range(7)]
    pink = torch.stack(octaves).sum(0)
    layers = [plaster, grain, marble, speckle, weave, stones, scribble, blobs, _text(), pink]
    return torch.cat([_mipmaps(layer) for layer in layers]).float().to(device)


@lru_cache(maxsize=8)
def uniform_table(device: str) -> Tensor:
    """Return (NOISE,) float32 in [0, 1)."""
    table = uniform_tensor(key_of("uniform"), torch.arange(NOISE))
    return table.float().to(device)


@lru_cache(maxsize=8)
def gaussian_table(device: str) -> Tensor:
    """Return (16 * NOISE,) float32 of mean 0 and standard deviation 1."""
    counters = torch.arange(16 * NOISE)
    radius = (-2 * (1 - uniform_tensor(key_of("radius"), counters)).log()).sqrt()
    angle = 2 * torch.pi * uniform_tensor(key_of("angle"), counters)
    return (radius * angle.cos()).float().to(device)


def _grid() -> tuple[Tensor, Tensor]:
    """Return u (to the right) and v (down) in [0, 1)."""
    steps = torch.arange(SIDE, dtype=torch.float64) / SIDE
    return steps.expand(SIDE, SIDE), steps[:, None].expand(SIDE, SIDE)


def _wave(turns: Tensor) -> Tensor:
    return (2 * torch.pi * turns).sin()


def _noise(key: int, across: int, down: int | None = None) -> Tensor:
    """Return smooth periodic noise in [-1, 1] with this many knots along each side."""
    down = down or across
    knots = 2 * uniform_tensor(key_of("noise", key), torch.arange(across * down)) - 1
    return _stretched(_stretched(knots.reshape(down, across), 1).T, 1).T


def _stretched(knots: Tensor, axis: int) -> Tensor:
    """Interpolate (rows, knots) to (rows, SIDE)."""
    count = knots.shape[axis]
    at = torch.arange(SIDE, dtype=torch.float64) * count / SIDE
    low = at.floor().long()
    f = at - low
    f = f * f * (3 - 2 * f)
    return knots[:, low] * (1 - f) + knots[:, (low + 1) % count] * f


def _stones() -> Tensor:
    """Return cells around random points, each with its own grey, with dark gaps."""
    cells = 10
    u, v = _grid()
    column, row = (u * cells).floor().long(), (v * cells).floor().long()
    squares, cell_numbers = [], []
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            cell = (column + dx) % cells + (row + dy) % cells * cells
            x = (column + dx + uniform_tensor(key_of("stones x"), cell)) / cells - u
            y = (row + dy + uniform_tensor(key_of("stones y"), cell)) / cells - v
            squares.append(x * x + y * y)
            cell_numbers.append(cell)
    nearest, order = torch.stack(squares, -1).reshape(-1, 9).topk(2, dim=1, largest=False)
    nearest = nearest.sqrt()
    which = torch.stack(cell_numbers, -1).reshape(-1, 9).gather(1, order)
    gap = ((nearest[:, 1] - nearest[:, 0]) * cells * 6).clamp(max=1)
    grey = uniform_tensor(key_of("stones grey"), which[:, 0])
    return (gap * (0.35 + 0.65 * grey)).reshape(SIDE, SIDE) + 0.12 * _noise(26, 64)


def _text() -> Tensor:
    """Return lines of dark dashes in paragraphs of several widths."""
    u, v = _grid()
    line = (v * 32).floor().long()
    words = (u * 64).floor().long() + 64 * line
    letter = uniform_tensor(key_of("letter"), (u * SIDE).long() + SIDE * line)
    width = 0.4 + 0.55 * uniform_tensor(key_of("paragraph"), line // 5)
    written = (uniform_tensor(key_of("word"), words) < 0.85) & (u > 0.06) & (u < width)
    written &= (line % 5 < 4) & ((v * 32 - line - 0.5).abs() < 0.3)
    return -(written & (letter < 0.75)).double()


def _mipmaps(layer: Tensor) -> Tensor:
    layer = layer - layer.mean()
    layer = (layer / (2 * layer.std())).clamp(-1, 1)
    levels = [layer]
    for _ in range(MIPMAPS - 1):
        last = levels[-1]
        levels.append(last.reshape(last.shape[0] // 2, 2, -1, 2).mean(dim=(1, 3)))
    return torch.cat([level.reshape(-1) for level in levels])
