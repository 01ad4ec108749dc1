# SPDX-License-Identifier: Apache-2.0
"""Pieces of furniture, each made of a few solids around its own origin.

Local axes: x along the back, y from the back to the front, z up. The origin is the middle of the
back edge, on the floor.
"""

from collections.abc import Callable
from dataclasses import dataclass

from infinitevggt_core.worlds import materials
from infinitevggt_core.worlds.hashed_rng import HashedRng
from infinitevggt_core.worlds.materials import Material
from infinitevggt_core.worlds.solids import Point, Solid, turn_of


@dataclass(frozen=True, slots=True)
class Piece:
    """Solids in local coordinates and the size of their footprint."""

    solids: tuple[Solid, ...]
    width: float
    depth: float


Builder = Callable[[HashedRng], Piece]


def _box(x: tuple[float, float], y: tuple[float, float], z: tuple[float, float],
         material: Material) -> Solid:  # fmt: skip
    center = ((x[0] + x[1]) / 2, (y[0] + y[1]) / 2, (z[0] + z[1]) / 2)
    half = ((x[1] - x[0]) / 2, (y[1] - y[0]) / 2, (z[1] - z[0]) / 2)
    return Solid(center, half, material)


def _round(kind: str, center: Point, radius: float, half_height: float,
           material: Material) -> Solid:  # fmt: skip
    return Solid(center, (radius, radius, half_height), material, round=kind)


def bookcase(rng: HashedRng) -> Piece:
    width, depth, height = rng.uniform(0.7, 1.3), rng.uniform(0.26, 0.34), rng.uniform(1.3, 2.1)
    board, w = materials.wood(rng), width / 2
    parts = [
        _box((-w, -w + 0.03), (0, depth), (0, height), board),
        _box((w - 0.03, w), (0, depth), (0, height), board),
        _box((-w, w), (0, 0.02), (0, height), board),
    ]
    shelves = 3 + rng.integer(2)
    for k in range(shelves + 1):
        z = height * k / shelves
        parts.append(_box((-w, w), (0, depth), (max(0.0, z - 0.03), max(0.03, z)), board))
        if k < shelves:
            top = z + height / shelves * rng.uniform(0.55, 0.8)
            left = -w + 0.03 + rng.uniform(0.0, 0.15)
            right = w - 0.03 - rng.uniform(0.0, 0.35)
            parts.append(_box((left, right), (0.02, depth - 0.05), (z, top), materials.books(rng)))
    return Piece(tuple(parts), width, depth)


def cabinet(rng: HashedRng) -> Piece:
    width, depth, height = rng.uniform(0.6, 1.5), rng.uniform(0.38, 0.5), rng.uniform(0.6, 1.1)
    wood = materials.wood(rng)
    front = materials.paint(rng) if rng.chance(0.5) else wood
    parts = [
        _box((-width / 2, width / 2), (0, depth), (0.06, height - 0.03), wood),
        _box((-width / 2 - 0.02, width / 2 + 0.02), (0, depth + 0.02), (height - 0.03, height),
             materials.wood(rng)),
    ]  # fmt: skip
    doors = 2 + rng.integer(2)
    for k in range(doors):
        left = -width / 2 + width * k / doors
        parts.append(
            _box((left + 0.015, left + width / doors - 0.015), (depth, depth + 0.02),
                 (0.1, height - 0.06), front)
        )  # fmt: skip
    parts += _on_top(rng, width * 0.8, depth / 2, height)
    return Piece(tuple(parts), width + 0.04, depth + 0.02)


def _on_top(rng: HashedRng, width: float, y: float, z: float) -> list[Solid]:
    """Return one to three small objects side by side."""
    count = 1 + rng.integer(3)
    parts = []
    for k in range(count):
        x = width * ((k + 0.5) / count - 0.5) + rng.uniform(-0.05, 0.05)
        kind, size = rng.integer(4), rng.uniform(0.07, 0.15)
        if kind == 0:
            height = size * rng.uniform(0.7, 1.6)
            parts.append(_round("cylinder", (x, y, z + height), size * 0.7, height,
                                materials.paint(rng)))  # fmt: skip
        elif kind == 1:
            parts.append(_round("ball", (x, y, z + size), size, size, materials.paint(rng)))
        elif kind == 2:
            turn = turn_of(rng.uniform(-0.3, 0.3))
            parts.append(Solid((x, y, z + size / 2), (size, size * 0.7, size / 2),
                               materials.books(rng), turn))  # fmt: skip
        else:
            parts.append(_round("cylinder", (x, y, z + size * 0.4), size * 0.6, size * 0.4,
                                materials.paint(rng)))  # fmt: skip
            parts.append(_round("ball", (x, y, z + size * 1.8), size, size * 1.2,
                                materials.leaves(rng)))  # fmt: skip
    return parts


def sofa(rng: HashedRng) -> Piece:
    width, depth, seat = rng.uniform(1.4, 2.1), rng.uniform(0.75, 0.9), rng.uniform(0.38, 0.45)
    w, cover, cushion = width / 2, materials.fabric(rng), materials.fabric(rng)
    parts = [
        _box((-w + 0.15, w - 0.15), (0.18, depth), (0.05, seat), cover),
        _box((-w, w), (0, 0.2), (0.05, seat + 0.42), cover),
        _box((-w, -w + 0.16), (0.1, depth), (0.05, seat + 0.18), cover),
        _box((w - 0.16, w), (0.1, depth), (0.05, seat + 0.18), cover),
    ]
    for x in (-w / 2, w / 2):
        parts.append(Solid((x, 0.28, seat + 0.2), (0.2, 0.07, 0.18), cushion, turn_of(0.06)))
    return Piece(tuple(parts), width, depth)


def bed(rng: HashedRng) -> Piece:
    width, w = rng.uniform(1.0, 1.7), 0.0
    w = width / 2
    wood, sheet = materials.wood(rng), materials.fabric(rng)
    parts = [
        _box((-w, w), (0, 0.06), (0, rng.uniform(0.8, 1.1)), wood),
        _box((-w, w), (0.06, 2.0), (0.1, 0.3), wood),
        _box((-w + 0.03, w - 0.03), (0.08, 1.97), (0.3, 0.5), materials.fabric(rng)),
        _box((-w + 0.01, w - 0.01), (0.7, 1.99), (0.28, 0.54), sheet),
    ]
    for x in (-w / 2, w / 2):
        parts.append(_round("ball", (x, 0.32, 0.55), 0.22, 0.1, materials.fabric(rng)))
    return Piece(tuple(parts), width, 2.0)


def plant(rng: HashedRng) -> Piece:
    radius, height = rng.uniform(0.13, 0.2), rng.uniform(0.25, 0.4)
    green, y = materials.leaves(rng), 0.32
    parts = [_round("cylinder", (0, y, height / 2), radius, height / 2, materials.paint(rng))]
    top = height + rng.uniform(0.3, 0.8)
    parts.append(
        _round("cylinder", (0, y, (height + top) / 2), 0.025, (top - height) / 2,
               materials.wood(rng))
    )  # fmt: skip
    for x, dy, dz, r in ((0.0, 0.0, 0.15, 0.26), (0.12, 0.05, -0.1, 0.18), (-0.1, -0.04, 0, 0.2)):
        parts.append(_round("ball", (x, y + dy, top + dz), r, r * 1.1, green))
    return Piece(tuple(parts), 0.64, 0.64)


def floor_lamp(rng: HashedRng) -> Piece:
    height, metal = rng.uniform(1.4, 1.7), materials.paint(rng)
    return Piece(
        (
            _round("cylinder", (0, 0.2, 0.015), 0.16, 0.015, metal),
            _round("cylinder", (0, 0.2, height / 2), 0.018, height / 2, metal),
            _round("cylinder", (0, 0.2, height), 0.17, 0.13, materials.lamp(rng)),
        ),
        0.4,
        0.4,
    )


def pillar(rng: HashedRng) -> Piece:
    radius, half = rng.uniform(0.12, 0.22), rng.uniform(0.5, 1.15)
    column = materials.wall(rng)
    return Piece(
        (
            _round("cylinder", (0, radius + 0.05, half), radius, half, column),
            _round("cylinder", (0, radius + 0.05, 0.06), radius + 0.05, 0.06,
                   materials.paint(rng)),
        ),
        2 * radius + 0.1,
        2 * radius + 0.1,
    )  # fmt: skip


_COVERS: tuple[Callable[[HashedRng], Material], ...] = (
    materials.wood,
    materials.picture,
    materials.paint,
)


def crates(rng: HashedRng) -> Piece:
    """Return a stack of boxes."""
    parts, z = [], 0.0
    for _ in range(1 + rng.integer(3)):
        half, height = rng.uniform(0.15, 0.26), rng.uniform(0.2, 0.4)
        center = (rng.uniform(-0.04, 0.04), 0.36, z + height / 2)
        material = rng.choice(_COVERS)(rng)
        turn = turn_of(rng.uniform(-0.3, 0.3))
        parts.append(Solid(center, (half, half * 0.85, height / 2), material, turn))
        z += height
    return Piece(tuple(parts), 0.72, 0.72)


def table(rng: HashedRng) -> Piece:
    """Return a table with chairs at its long sides."""
    width, depth, height = rng.uniform(0.9, 1.6), rng.uniform(0.7, 0.9), rng.uniform(0.68, 0.76)
    wood, middle = materials.wood(rng), 0.3 + depth / 2
    w, d = width / 2, depth / 2
    parts = [_box((-w, w), (middle - d, middle + d), (height - 0.04, height), wood)]
    for x in (-w + 0.06, w - 0.06):
        for y in (middle - d + 0.06, middle + d - 0.06):
            parts.append(
                _round("cylinder", (x, y, height / 2 - 0.02), 0.03, height / 2 - 0.02, wood)
            )
    parts += _on_top(rng, width * 0.7, middle, height)
    seat = materials.fabric(rng)
    for y, back in ((middle - d - 0.05, -1.0), (middle + d + 0.05, 1.0)):
        x = rng.uniform(-0.2, 0.2)
        parts += _chair(x, y, back, seat, wood)
    return Piece(tuple(parts), width, depth + 0.6)


def _chair(x: float, y: float, back: float, seat: Material, wood: Material) -> list[Solid]:
    edge = y + 0.2 * back
    return [
        _box((x - 0.21, x + 0.21), (y - 0.2, y + 0.2), (0.42, 0.46), seat),
        _box((x - 0.2, x + 0.2), (min(edge, edge + 0.04 * back), max(edge, edge + 0.04 * back)),
             (0.1, 0.9), wood),
        _round("cylinder", (x, y, 0.22), 0.035, 0.2, wood),
        _round("cylinder", (x, y, 0.015), 0.19, 0.015, wood),
    ]  # fmt: skip


def low_table(rng: HashedRng) -> Piece:
    radius, height = rng.uniform(0.32, 0.5), rng.uniform(0.35, 0.5)
    wood = materials.wood(rng)
    parts = [
        _round("cylinder", (0, radius, height - 0.02), radius, 0.02, wood),
        _round("cylinder", (0, radius, height / 2 - 0.02), 0.07, height / 2 - 0.02, wood),
        _round("cylinder", (0, radius, 0.012), radius * 0.6, 0.012, wood),
        *_on_top(rng, radius, radius, height),
    ]
    return Piece(tuple(parts), 2 * radius, 2 * radius)


def ball(rng: HashedRng) -> Piece:
    radius = rng.uniform(0.15, 0.32)
    return Piece(
        (_round("ball", (0, radius, radius), radius, radius, materials.picture(rng)),),
        2 * radius,
        2 * radius,
    )


AT_WALLS: tuple[Builder, ...] = (
    bookcase, cabinet, sofa, bed, plant, floor_lamp, pillar, crates, cabinet,
)  # fmt: skip
STANDING_FREE: tuple[Builder, ...] = (table, low_table, crates, ball, plant, table)
IN_CORRIDORS: tuple[Builder, ...] = (bookcase, cabinet, floor_lamp)
