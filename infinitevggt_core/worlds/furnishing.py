# SPDX-License-Identifier: Apache-2.0
"""Placement of furniture and pictures in rooms, with room left to walk."""

from dataclasses import dataclass, replace

from infinitevggt_core.worlds import furniture, materials, office
from infinitevggt_core.worlds.floor_plan import FloorPlan, Room
from infinitevggt_core.worlds.furniture import Builder, Piece
from infinitevggt_core.worlds.hashed_rng import HashedRng
from infinitevggt_core.worlds.shell import box, side_of
from infinitevggt_core.worlds.solids import Light, Solid, turn_of

DOORWAY_M = 1.35
"""Depth of the free floor in front of a door."""
# cosine and sine of the rotation that faces the room, by wall (x0, x1, y0, y1)
_FACING = ((0.0, -1.0), (0.0, 1.0), (1.0, 0.0), (-1.0, 0.0))


@dataclass(frozen=True, slots=True)
class Catalog:
    """Builders of furniture by location."""

    at_walls: tuple[Builder, ...]
    standing_free: tuple[Builder, ...]
    in_corridors: tuple[Builder, ...]


HOME = Catalog(furniture.AT_WALLS, furniture.STANDING_FREE, furniture.IN_CORRIDORS)
OFFICE = Catalog(office.AT_WALLS, office.STANDING_FREE, furniture.IN_CORRIDORS)


@dataclass(frozen=True, slots=True)
class Rectangle:
    """Rotated rectangle on the floor: the footprint of a piece of furniture."""

    x: float
    y: float
    half_x: float
    half_y: float
    turn: tuple[float, float]

    def bounds(self) -> tuple[float, float, float, float]:
        """Return x0, y0, x1, y1 of the axis-aligned bounding rectangle."""
        cos, sin = abs(self.turn[0]), abs(self.turn[1])
        w, h = cos * self.half_x + sin * self.half_y, sin * self.half_x + cos * self.half_y
        return self.x - w, self.y - h, self.x + w, self.y + h


@dataclass(frozen=True, slots=True)
class Placed:
    """A piece of furniture at its location."""

    footprint: Rectangle
    solids: tuple[Solid, ...]
    movable: bool
    """True if the piece stands free. Such pieces are removed first where the path is blocked."""


def place(
    rng: HashedRng,
    piece: Piece,
    x: float,
    y: float,
    turn: tuple[float, float],
    room: int,
    free: bool,
) -> Placed:
    """Place the middle of the piece's back edge at (x, y)."""
    cos, sin = turn
    anchor = (rng.uniform(0.0, 9.0), rng.uniform(0.0, 9.0), rng.uniform(0.0, 9.0))
    solids = []
    for solid in piece.solids:
        lx, ly, lz = solid.center
        c, s = solid.turn
        solids.append(
            replace(
                solid,
                center=(x + cos * lx - sin * ly, y + sin * lx + cos * ly, lz),
                turn=(cos * c - sin * s, sin * c + cos * s),
                anchor=anchor,
                room=room,
            )
        )
    middle = piece.depth / 2
    rectangle = Rectangle(
        x - sin * middle, y + cos * middle, piece.width / 2, piece.depth / 2, turn
    )
    return Placed(rectangle, tuple(solids), free)


def furnish(
    rng: HashedRng, plan: FloorPlan, index: int, amount: float, catalog: Catalog = HOME
) -> list[Placed]:
    """Furnish one room: along its walls first, then in the middle."""
    room = plan.rooms[index]
    taken = _doorways(plan, index)
    placed: list[Placed] = []
    for side in rng.shuffled(range(4)):
        placed += _along_wall(rng, room, index, side, taken, amount, catalog)
    if room.corridor:
        return placed
    for _ in range(round((2 + room.area / 5) * amount)):
        piece = rng.choice(catalog.standing_free)(rng)
        turn = turn_of(rng.uniform(-0.4, 0.4))
        x = rng.uniform(room.x0 + 1.2, room.x1 - 1.2)
        y = rng.uniform(room.y0 + 1.2, room.y1 - 1.2) - piece.depth / 2
        candidate = place(rng, piece, x, y, turn, index, True)
        if _claim(candidate.footprint.bounds(), room, taken, gap=0.2):
            placed.append(candidate)
    return placed


def _doorways(plan: FloorPlan, index: int) -> list[tuple[float, float, float, float]]:
    spaces = []
    for door in plan.doors_of(index):
        low, high = door.middle - door.width / 2 - 0.15, door.middle + door.width / 2 + 0.15
        near, far = door.wall - DOORWAY_M, door.wall + DOORWAY_M
        spaces.append((near, low, far, high) if door.axis == 0 else (low, near, high, far))
    return spaces


def _along_wall(
    rng: HashedRng, room: Room, index: int, side: int,
    taken: list[tuple[float, float, float, float]], amount: float, catalog: Catalog,
) -> list[Placed]:  # fmt: skip
    low, high = (room.y0, room.y1) if side < 2 else (room.x0, room.x1)
    face = (room.x0, room.x1, room.y0, room.y1)[side]
    inward = 0.02 if side % 2 == 0 else -0.02
    placed, at = [], low + rng.uniform(0.05, 0.5)
    while at < high - 0.4:
        builder = rng.choice(catalog.in_corridors if room.corridor else catalog.at_walls)
        piece = builder(rng)
        middle = at + piece.width / 2
        x, y = (face + inward, middle) if side < 2 else (middle, face + inward)
        candidate = place(rng, piece, x, y, _FACING[side], index, False)
        wanted = rng.chance(0.85 * amount if not room.corridor else 0.3 * amount)
        if wanted and _claim(candidate.footprint.bounds(), room, taken, gap=0.03):
            placed.append(candidate)
            at += piece.width + rng.uniform(0.05, 0.6)
        else:
            at += 0.35
    return placed


def _claim(
    bounds: tuple[float, float, float, float], room: Room,
    taken: list[tuple[float, float, float, float]], gap: float,
) -> bool:  # fmt: skip
    """Reserve floor for a piece. Return False if it lies outside the room or overlaps another
    one."""
    x0, y0, x1, y1 = bounds
    if x0 < room.x0 or y0 < room.y0 or x1 > room.x1 or y1 > room.y1:
        return False
    for a0, b0, a1, b1 in taken:
        if x0 - gap < a1 and a0 < x1 + gap and y0 - gap < b1 and b0 < y1 + gap:
            return False
    taken.append(bounds)
    return True


def decorate(rng: HashedRng, plan: FloorPlan, index: int, light: Light) -> list[Solid]:
    """Return pictures, windows, a rug and lamps: flat things without a footprint."""
    room = plan.rooms[index]
    solids = []
    for side in range(4):
        doors = [d for d in plan.doors_of(index) if side_of(d, index) == side]
        blocked = [(d.middle - d.width / 2 - 0.1, d.middle + d.width / 2 + 0.1) for d in doors]
        solids += _pictures(rng, room, index, side, blocked)
    x, y, _ = light.position
    half = 0.35 if room.corridor else 0.5
    top = room.height
    solids.append(
        box((x - half, y - 0.2, top - 0.04), (x + half, y + 0.2, top), materials.lamp(rng), index)
    )
    if not room.corridor and rng.chance(0.7):
        w, d = rng.uniform(0.8, 1.4), rng.uniform(0.6, 1.0)
        x, y = room.center
        rug = Solid((x, y, 0.004), (w, d, 0.004), materials.fabric(rng), room=index)
        solids.append(replace(rug, turn=turn_of(rng.uniform(-0.2, 0.2)), anchor=(1.0, 2.0, 0.0)))
    return solids


def _pictures(
    rng: HashedRng, room: Room, index: int, side: int, blocked: list[tuple[float, float]]
) -> list[Solid]:
    low, high = (room.y0, room.y1) if side < 2 else (room.x0, room.x1)
    face = (room.x0, room.x1, room.y0, room.y1)[side]
    sign = 1 if side % 2 == 0 else -1
    solids, at = [], low + rng.uniform(0.2, 0.7)
    while at < high - 0.5:
        window = rng.chance(0.15)
        width = rng.uniform(0.9, 1.5) if window else rng.uniform(0.35, 1.0)
        height = 1.2 if window else rng.uniform(0.35, 0.9)
        z = 1.5 if window else rng.uniform(1.35, 1.75)
        material = materials.view(rng) if window else materials.picture(rng)
        if at + width > high - 0.15 or any(a < at + width and at < b for a, b in blocked):
            at += 0.3
            continue
        frame, thick = materials.wood(rng), 0.025
        for rim, depth, look in ((0.04, thick, frame), (0.0, thick + 0.004, material)):
            near, far = sorted((face, face + sign * depth))
            span = (at - rim, at + width + rim)
            xs, ys = ((near, far), span) if side < 2 else (span, (near, far))
            bottom, top = z - height / 2 - rim, z + height / 2 + rim
            panel = box((xs[0], ys[0], bottom), (xs[1], ys[1], top), look, index)
            anchor = (rng.uniform(0, 9), rng.uniform(0, 9), rng.uniform(0, 9))
            solids.append(replace(panel, anchor=anchor))
        at += width + rng.uniform(0.2, 1.2)
    return solids
