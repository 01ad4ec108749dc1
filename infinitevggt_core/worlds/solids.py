# SPDX-License-Identifier: Apache-2.0
"""Solids of a world and their rows of numbers for the renderer."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from infinitevggt_core.worlds.floor_plan import Room
from infinitevggt_core.worlds.hashed_rng import HashedRng
from infinitevggt_core.worlds.materials import Material

Point = tuple[float, float, float]
UPRIGHT = (1.0, 0.0)


@dataclass(frozen=True, slots=True)
class Solid:
    """A box or, with `round`, a body of revolution about z; both may be rotated about z."""

    center: Point
    half: Point
    """Half size along the solid's axes; half[0] == half[1] for round solids."""
    material: Material
    turn: tuple[float, float] = UPRIGHT
    """Cosine and sine of the rotation about z."""
    round: str = ""
    """"": box; "cylinder": upright with flat ends; "ball": ellipsoid."""
    anchor: Point | None = None
    """Offset added to local points before patterns are applied; None: world coordinates."""
    room: int = 0

    @property
    def bulge(self) -> float:
        """Weight of z in x^2 + y^2 + bulge z^2 = r^2."""
        return (self.half[0] / self.half[2]) ** 2 if self.round == "ball" else 0.0


def turn_of(tangent: float) -> tuple[float, float]:
    """Return cosine and sine of the angle whose half has this tangent, exact on every machine."""
    square = tangent * tangent
    return (1 - square) / (1 + square), 2 * tangent / (1 + square)


def with_changed_materials(
    rng: HashedRng,
    solids: list[Solid],
    share: float,
    change: Callable[[HashedRng, Material], Material],
) -> list[Solid]:
    """Return the solids with a share of their materials changed. Equal materials stay equal."""
    found: dict[Material, Material] = {}
    for solid in solids:
        if solid.material not in found:
            chosen = rng.chance(share)
            found[solid.material] = change(rng, solid.material) if chosen else solid.material
    return [replace(solid, material=found[solid.material]) for solid in solids]


SHAPE_COLUMNS = 9
MATERIAL_COLUMNS = 29
ROOM_COLUMNS = 14
GLOSS_COLUMN = SHAPE_COLUMNS + MATERIAL_COLUMNS + ROOM_COLUMNS
COLUMNS = GLOSS_COLUMN + 1


@dataclass(frozen=True, slots=True)
class Light:
    """Lamp of a room and its ambient light."""

    position: Point
    color: Point
    ambient: Point


def row_of(solid: Solid, room: Room, light: Light) -> list[float]:
    """Return COLUMNS numbers: the solid's shape, its material, the room that lights it, gloss."""
    m = solid.material
    anchor = solid.center if solid.anchor is None else solid.anchor
    cell_u, cell_v = m.cell
    return [
        *solid.center, *solid.half, *solid.turn, solid.bulge,
        *m.first, *m.second, *m.third, *m.line,
        float(m.detail), *m.repeats, m.contrast, m.stains,
        cell_u or 1e4, cell_v or 1e4, m.shift, m.gap,
        m.spread, m.hue, m.checker, m.glow,
        float(bool(solid.round)), *anchor,
        *light.position, *light.color, *light.ambient,
        room.x0, room.y0, room.x1, room.y1, room.height, m.gloss,
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scene:
    """All solids of a world as float64 rows (N, COLUMNS): boxes first, then round ones."""

    boxes: Tensor
    rounds: Tensor
    box_rooms: Tensor
    """(boxes,) int64, room of each box."""
    round_rooms: Tensor


def scene_of(solids: list[Solid], rooms: tuple[Room, ...], lights: list[Light]) -> Scene:
    """Return the table of a world's solids."""

    def table(chosen: list[Solid]) -> tuple[Tensor, Tensor]:
        rows = [row_of(s, rooms[s.room], lights[s.room]) for s in chosen]
        values = torch.tensor(rows, dtype=torch.float64).reshape(-1, COLUMNS)
        return values, torch.tensor([s.room for s in chosen], dtype=torch.long)

    boxes, box_rooms = table([s for s in solids if not s.round])
    rounds, round_rooms = table([s for s in solids if s.round])
    return Scene(boxes, rounds, box_rooms, round_rooms)
