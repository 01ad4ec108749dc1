# SPDX-License-Identifier: Apache-2.0
"""Floors, ceilings, and walls with doorways."""

from collections.abc import Iterator

from infinitevggt_core.worlds import materials
from infinitevggt_core.worlds.everyday import office_floor, office_wall
from infinitevggt_core.worlds.floor_plan import WALL_M, Door, FloorPlan, Room
from infinitevggt_core.worlds.hashed_rng import HashedRng
from infinitevggt_core.worlds.materials import Material
from infinitevggt_core.worlds.solids import Light, Point, Solid

SEAL_M = 0.001
"""Overlap of neighbours, so that no ray passes between them."""
SLAB_M = 0.1
FRAME_M = 0.05


def build_shell(rng: HashedRng, plan: FloorPlan, *, everyday: bool = False) -> Iterator[Solid]:
    """Yield the solids around every room of the plan."""
    wall = office_wall if everyday else materials.wall
    floor = office_floor if everyday else materials.floor
    skirting = materials.paint(rng)
    door_frame = materials.wood(rng)
    for index, room in enumerate(plan.rooms):
        main = wall(rng)
        accent = wall(rng)
        yield from _slabs(room, index, floor(rng), materials.ceiling(rng))
        for side in range(4):
            doors = [d for d in plan.doors_of(index) if side_of(d, index) == side]
            yield from _wall(room, index, side, accent if side == index % 4 else main, doors)
            yield from _skirting(room, index, side, skirting, doors)
        for door in plan.doors_of(index):
            yield from _door_frame(index, door, door_frame)


def light_of(rng: HashedRng, room: Room, spread: float = 0.0) -> Light:
    """Return a warm or cool lamp below the ceiling or, with probability `spread`, at a random
    place."""
    if spread and rng.chance(spread):
        return _strong_light(rng, room)
    x, y = room.center
    warmth = rng.uniform(-0.12, 0.12)
    strength = rng.uniform(0.8, 1.1)
    color = (strength * (1 + warmth), strength, strength * (1 - warmth))
    share = rng.uniform(0.45, 0.6)
    return Light(
        (
            x + rng.uniform(-0.15, 0.15) * (room.x1 - room.x0),
            y + rng.uniform(-0.15, 0.15) * (room.y1 - room.y0),
            room.height - 0.25,
        ),
        color,
        (share * (1 - warmth / 2), share, share * (1 + warmth / 2)),
    )


def _strong_light(rng: HashedRng, room: Room) -> Light:
    """Return a lamp or a bright window at a random place, with little ambient light."""
    warmth, strength = rng.uniform(-0.3, 0.3), rng.uniform(0.8, 2.5)
    share = rng.uniform(0.15, 0.6)
    return Light(
        (
            rng.uniform(room.x0 + 0.1, room.x1 - 0.1),
            rng.uniform(room.y0 + 0.1, room.y1 - 0.1),
            rng.uniform(1.2, room.height - 0.1),
        ),
        (strength * (1 + warmth), strength, strength * (1 - warmth)),
        (share * (1 - warmth), share, share * (1 + warmth)),
    )


def side_of(door: Door, room: int) -> int:
    """Return the wall of the room that holds the door: 0 x0, 1 x1, 2 y0, 3 y1."""
    return 2 * door.axis + (1 if door.low == room else 0)


def box(low: Point, high: Point, material: Material, room: int) -> Solid:
    """Return the box between two corners, with patterns in world coordinates."""
    center = tuple((a + b) / 2 for a, b in zip(low, high, strict=True))
    half = tuple((b - a) / 2 for a, b in zip(low, high, strict=True))
    return Solid(center, half, material, room=room)  # type: ignore[arg-type]


def _slabs(room: Room, index: int, below: Material, above: Material) -> Iterator[Solid]:
    edge = WALL_M / 2 + SEAL_M
    x0, y0, x1, y1 = room.x0 - edge, room.y0 - edge, room.x1 + edge, room.y1 + edge
    yield box((x0, y0, -SLAB_M), (x1, y1, 0.0), below, index)
    yield box((x0, y0, room.height), (x1, y1, room.height + SLAB_M), above, index)


def _along(
    room: Room, side: int, span: tuple[float, float], depth: float, out: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the x and y intervals along a wall, from `depth` inside the room to `out` beyond
    its face."""
    low_side = side % 2 == 0
    face = (room.x0, room.x1, room.y0, room.y1)[side]
    across = (face - out, face + depth) if low_side else (face - depth, face + out)
    return (across, span) if side < 2 else (span, across)


def _wall(
    room: Room, index: int, side: int, material: Material, doors: list[Door]
) -> Iterator[Solid]:
    half = WALL_M / 2 + SEAL_M
    low, high = (room.y0, room.y1) if side < 2 else (room.x0, room.x1)
    pieces: list[tuple[float, float, float]] = []
    start = low - half
    for door in sorted(doors, key=lambda d: d.middle):
        left, right = door.middle - door.width / 2, door.middle + door.width / 2
        pieces += [(start, left, 0.0), (left, right, door.height)]
        start = right
    pieces.append((start, high + half, 0.0))
    for left, right, bottom in pieces:
        xs, ys = _along(room, side, (left, right), 0.0, half)
        top = room.height + SEAL_M
        yield box((xs[0], ys[0], bottom - SEAL_M), (xs[1], ys[1], top), material, index)


def _skirting(
    room: Room, index: int, side: int, material: Material, doors: list[Door]
) -> Iterator[Solid]:
    low, high = (room.y0, room.y1) if side < 2 else (room.x0, room.x1)
    start = low
    ends = [(d.middle - d.width / 2 - FRAME_M, d.middle + d.width / 2 + FRAME_M) for d in doors]
    for left, right in [*sorted(ends), (high, high)]:
        xs, ys = _along(room, side, (start, left), 0.015, 0.0)
        yield box((xs[0], ys[0], 0.0), (xs[1], ys[1], 0.09), material, index)
        start = right


def _door_frame(index: int, door: Door, material: Material) -> Iterator[Solid]:
    """Yield two posts and a lintel, flush with the opening, that protrude from this room's wall."""
    inside = -1 if door.low == index else 1
    near, far = door.wall, door.wall + inside * (WALL_M / 2 + 0.02)
    across = (min(near, far), max(near, far))
    left, right = door.middle - door.width / 2, door.middle + door.width / 2
    parts = (
        ((left - FRAME_M, left + SEAL_M), (0.0, door.height)),
        ((right - SEAL_M, right + FRAME_M), (0.0, door.height)),
        ((left - FRAME_M, right + FRAME_M), (door.height - SEAL_M, door.height + FRAME_M)),
    )
    for span, (bottom, top) in parts:
        xs, ys = (across, span) if door.axis == 0 else (span, across)
        yield box((xs[0], ys[0], bottom), (xs[1], ys[1], top), material, index)
