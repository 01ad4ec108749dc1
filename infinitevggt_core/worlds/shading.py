# SPDX-License-Identifier: Apache-2.0
"""Colour of ray hits: pattern, material and light at the hit point.

Only the level of detail depends on the camera, so that a point keeps its colour while the camera
moves.
"""

import torch
from torch import Tensor

from infinitevggt_core.worlds.patterns import (
    MIPMAPS,
    NOISE,
    SIDE,
    STARTS,
    STRIDE,
    detail_textures,
    uniform_table,
)
from infinitevggt_core.worlds.ray_caster import Rays
from infinitevggt_core.worlds.solids import GLOSS_COLUMN

_CORNER_M = 0.22
"""Reach of the darkness in corners."""
_FALLOFF_M2 = 10.0
_SHINE = 60
"""Exponent of a highlight; larger is smaller and sharper."""


class Surface:
    """Parameters of the solids at ray hits, flat tensors (N,), read one after the other."""

    def __init__(self, columns: Tensor, solid: Tensor) -> None:
        """columns: (COLUMNS, solids), the transposed table of solids."""
        self._columns = columns
        self._solid = solid.long()
        self._next = 0

    def skip_to(self, column: int) -> None:
        self._next = column

    def take(self) -> Tensor:
        """Return the next parameter at every hit."""
        self._next += 1
        return self._columns[self._next - 1].index_select(0, self._solid)

    def take3(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.take(), self.take(), self.take()


Vector = tuple[Tensor, Tensor, Tensor]


def shade(
    rays: Rays, eyes: Vector, depth: Tensor, solid: Tensor, columns: Tensor, pixel_m: Tensor,
    light: Tensor, has_gloss: bool = False,
) -> Vector:  # fmt: skip
    """Return linear red, green, blue (N,) of hits. All arguments are (N,) or broadcast to it.

    pixel_m: size of a pixel at depth 1. light: brightness of the lamps. has_gloss: some material
    has highlights.
    """
    surface = Surface(columns, solid)
    point = tuple(e + depth * d for e, d in zip(eyes, (rays.x, rays.y, rays.z), strict=True))
    local, normal, along = _local(surface, point)  # type: ignore[arg-type]
    length = (rays.x * rays.x + rays.y * rays.y + rays.z * rays.z).sqrt()
    facing = (rays.x * normal[0] + rays.y * normal[1] + rays.z * normal[2]).abs() / length
    footprint = pixel_m * depth / facing.clamp(min=0.12)
    color, glow = _pattern(surface, local, along, footprint)
    lit = _lit(surface, point, normal, color, glow, light)  # type: ignore[arg-type]
    if not has_gloss:
        return lit
    away = (-rays.x / length, -rays.y / length, -rays.z / length)
    return _with_highlights(surface, lit, point, normal, away, light)  # type: ignore[arg-type]


def _local(surface: Surface, point: Vector) -> tuple[Vector, Vector, tuple[Tensor, Tensor]]:
    """Return the point in the solid's axes, the normal in the world, and two masks.

    The masks are True if the surface faces along the solid's x and z axis.
    """
    cx, cy, cz = surface.take3()
    hx, hy, hz = surface.take3()
    cos, sin, bulge = surface.take3()
    dx, dy, z = point[0] - cx, point[1] - cy, point[2] - cz
    x, y = dx * cos + dy * sin, dy * cos - dx * sin
    surface.skip_to(34)
    is_round = surface.take() > 0
    near_x, near_y, near_z = x.abs() / hx, y.abs() / hy, z.abs() / hz
    on_z = (near_z >= near_x) & (near_z >= near_y)
    on_x = ~on_z & (near_x >= near_y)
    end = near_z >= 1 - 1e-5
    flat_z = torch.where(is_round, end & (bulge == 0), on_z)
    flat_x = on_x & ~is_round
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    nx = torch.where(is_round, x, torch.where(flat_x, one.copysign(x), zero))
    flat_y = ~(flat_x | flat_z | is_round)
    ny = torch.where(is_round, y, torch.where(flat_y, one.copysign(y), zero))
    nz = torch.where(flat_z, one.copysign(z), torch.where(is_round, bulge * z, zero))
    nx, ny = nx.masked_fill(flat_z, 0), ny.masked_fill(flat_z, 0)
    inverse = (nx * nx + ny * ny + nz * nz).clamp(min=1e-12).rsqrt()
    nx, ny, nz = nx * inverse, ny * inverse, nz * inverse
    normal = (nx * cos - ny * sin, nx * sin + ny * cos, nz)
    side = is_round & ~flat_z
    # round sides are unrolled: the arc length replaces x
    x = torch.where(side, torch.atan2(y, x) * hx, x)
    return (x, y, z), normal, (flat_x, flat_z)


def _pattern(
    surface: Surface, local: Vector, along: tuple[Tensor, Tensor], footprint: Tensor
) -> tuple[Vector, Tensor]:
    flat_x, flat_z = along
    surface.skip_to(35)
    ax, ay, az = surface.take3()
    x, y, z = local[0] + ax, local[1] + ay, local[2] + az
    u = torch.where(flat_x, y, x)
    v = torch.where(flat_z, y, z)
    surface.skip_to(9)
    first, second, third, line = (surface.take3() for _ in range(4))
    layer, repeats_u, repeats_v = surface.take3()
    contrast, stains = surface.take(), surface.take()
    fine = _detail(layer, u * repeats_u, v * repeats_v, footprint * repeats_v)
    coarse = _detail(layer, 0.37 + v * repeats_v * 0.2, u * repeats_u * 0.2,
                     footprint * repeats_v * 0.2)  # fmt: skip
    shade_at = 0.5 + contrast * fine + stains * coarse
    hues, between = _cells(surface, u, v, footprint)
    shade_at = shade_at + hues[3]
    low, high = (2 * shade_at).clamp(0, 1), (2 * shade_at - 1).clamp(0, 1)
    color = []
    for k in range(3):
        body = torch.lerp(torch.lerp(first[k], second[k], low), third[k], high) + hues[k]
        color.append(torch.lerp(body.clamp(0.02, 0.95), line[k], between))
    return (color[0], color[1], color[2]), surface.take()


def _cells(
    surface: Surface, u: Tensor, v: Tensor, footprint: Tensor
) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Return the offsets of red, green, blue and shade of each cell, and the weight of lines."""
    wide, high, shift = surface.take3()
    gap, spread, hue = surface.take3()
    checker = surface.take()
    row_at = v / high
    row = row_at.floor()
    column_at = u / wide + shift * row
    column = column_at.floor()
    in_row, in_column = row_at - row, column_at - column
    to_edge = torch.minimum(
        torch.minimum(in_row, 1 - in_row) * high, torch.minimum(in_column, 1 - in_column) * wide
    )
    between = ((gap / 2 - to_edge) / footprint + 0.5).clamp(0, 1)
    between = between * (gap / footprint).clamp(max=1)
    fade = (1.5 - footprint / torch.minimum(wide, high)).clamp(0, 1)
    number = column.int() * 7919 + row.int() * 10007 + (wide * 1e6).int()
    table = uniform_table(str(u.device))
    draws = [table.index_select(0, (number + k * 21001) & (NOISE - 1)) - 0.5 for k in range(3)]
    parity = ((column.int() + row.int()) & 1) - 0.5
    mixed = torch.lerp(draws[0] + 0.5 * draws[1], parity, checker)
    hue = hue * fade
    return (hue * draws[0], hue * draws[1], hue * draws[2], spread * fade * mixed), between


def _detail(layer: Tensor, u: Tensor, v: Tensor, footprint: Tensor) -> Tensor:
    """Sample a detail texture trilinearly at (u, v) repeats; footprint in repeats per pixel."""
    level = (footprint * SIDE).clamp(min=1).log2().clamp(max=MIPMAPS - 1.001)
    low = level.floor()
    table = detail_textures(str(u.device))
    base = layer.int() * STRIDE
    low_index = low.int()
    near = _bilinear(table, base, low_index, u, v)
    far = _bilinear(table, base, low_index + 1, u, v)
    return torch.lerp(near, far, level - low)


def _bilinear(table: Tensor, base: Tensor, level: Tensor, u: Tensor, v: Tensor) -> Tensor:
    side = SIDE >> level
    mask = side - 1
    start = base + torch.tensor(STARTS, dtype=torch.int32, device=u.device).index_select(0, level)
    x, y = u * side - 0.5, v * side - 0.5
    x0, y0 = x.floor(), y.floor()
    fx, fy = x - x0, y - y0
    left, top = x0.int(), y0.int()
    right = (left + 1) & mask
    left = left & mask
    upper = start + (top & mask) * side
    lower = start + ((top + 1) & mask) * side
    corners = (upper + left, upper + right, lower + left, lower + right)
    # four times as fast on a CPU as table[corner]
    a, b, c, d = (table.index_select(0, corner) for corner in corners)
    return torch.lerp(torch.lerp(a, b, fx), torch.lerp(c, d, fx), fy)


def _lit(
    surface: Surface, point: Vector, normal: Vector, color: Vector, glow: Tensor, light: Tensor
) -> Vector:
    """Apply a lamp that fades with distance, ambient light and darker corners."""
    surface.skip_to(38)
    lamp, lamp_color, ambient = (surface.take3() for _ in range(3))
    x0, y0, x1 = surface.take3()
    y1, top = surface.take(), surface.take()
    to_lamp = tuple(a - b for a, b in zip(lamp, point, strict=True))
    square = to_lamp[0] * to_lamp[0] + to_lamp[1] * to_lamp[1] + to_lamp[2] * to_lamp[2]
    cosine = (
        to_lamp[0] * normal[0] + to_lamp[1] * normal[1] + to_lamp[2] * normal[2]
    ) * square.rsqrt()
    direct = light * (0.25 + 0.75 * cosine).clamp(min=0) / (1 + square / _FALLOFF_M2)
    open_sky = 1 + 0.12 * normal[2] + 0.1 * normal[0] - 0.06 * normal[1]
    for low, high, axis in ((x0, x1, 0), (y0, y1, 1), (torch.zeros_like(top), top, 2)):
        distance = torch.minimum(point[axis] - low, high - point[axis]).clamp(min=0)
        share = 0.35 * (1 - normal[axis].abs())
        open_sky = open_sky * (1 - share * _CORNER_M / (_CORNER_M + distance))
    red, green, blue = (
        color[k] * torch.maximum(direct * lamp_color[k] + open_sky * ambient[k] * 0.8, 1.1 * glow)
        for k in range(3)
    )
    return red, green, blue


def _with_highlights(
    surface: Surface, lit: Vector, point: Vector, normal: Vector, to_eye: Vector, light: Tensor
) -> Vector:
    """Add the reflection of the lamp (Blinn and Phong). to_eye: unit vectors."""
    surface.skip_to(38)
    lamp, lamp_color = surface.take3(), surface.take3()
    surface.skip_to(GLOSS_COLUMN)
    gloss = surface.take()
    to_lamp = [a - b for a, b in zip(lamp, point, strict=True)]
    square = to_lamp[0] ** 2 + to_lamp[1] ** 2 + to_lamp[2] ** 2
    inverse = square.rsqrt()
    half = [way * inverse + eye for way, eye in zip(to_lamp, to_eye, strict=True)]
    shorten = (half[0] ** 2 + half[1] ** 2 + half[2] ** 2).clamp(min=1e-6).rsqrt()
    aligned = sum(h * n for h, n in zip(half, normal, strict=True)) * shorten
    facing = sum(way * n for way, n in zip(to_lamp, normal, strict=True)) > 0
    shine = gloss * light * facing * aligned.clamp(min=0) ** _SHINE / (1 + square / _FALLOFF_M2)
    red, green, blue = (color + shine * lamp_color[k] for k, color in enumerate(lit))
    return red, green, blue
