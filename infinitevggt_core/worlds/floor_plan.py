# SPDX-License-Identifier: Apache-2.0
"""Rooms, corridors and doors of a world."""

from dataclasses import dataclass

from infinitevggt_core.worlds.hashed_rng import HashedRng

WALL_M = 0.16
"""Thickness of walls between rooms. Each room owns the half that faces it."""
DOOR_TO_CORNER_M = 0.35
LEAST_SIDE_M = 3.2


@dataclass(frozen=True, slots=True)
class Room:
    """Free rectangle between four walls, metres."""

    x0: float
    y0: float
    x1: float
    y1: float
    height: float
    corridor: bool = False

    @property
    def area(self) -> float:
        return (self.x1 - self.x0) * (self.y1 - self.y0)

    @property
    def center(self) -> tuple[float, float]:
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2


@dataclass(frozen=True, slots=True)
class Door:
    """Opening in the wall between two rooms. Room `low` lies below or to the left of `high`."""

    low: int
    high: int
    axis: int
    """0: the passage runs along x; 1: along y."""
    wall: float
    """Coordinate along `axis` of the middle of the wall."""
    middle: float
    """Coordinate of the door's middle along the wall."""
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class FloorPlan:
    rooms: tuple[Room, ...]
    doors: tuple[Door, ...]

    def doors_of(self, room: int) -> list[Door]:
        return [door for door in self.doors if room in (door.low, door.high)]


def draw_plan(rng: HashedRng, most_rooms: int) -> FloorPlan:
    """Return one room, a grid of rooms, or rooms on both sides of a corridor."""
    height = rng.uniform(2.5, 3.0)
    if most_rooms < 4:
        room = Room(0.0, 0.0, rng.uniform(4.6, 7.0), rng.uniform(4.2, 6.2), height)
        return FloorPlan((room,), ())
    if rng.chance(0.6):
        rooms = _along_corridor(rng, most_rooms, height)
    else:
        rooms = _grid(rng, most_rooms, height)
    return FloorPlan(tuple(rooms), tuple(_doors(rng, rooms)))


def _along_corridor(rng: HashedRng, most_rooms: int, height: float) -> list[Room]:
    width = rng.uniform(1.9, 2.6)
    per_side = max(1, min(4, (most_rooms - 1) // 2))
    length = per_side * rng.uniform(3.6, 4.8)
    rooms = [Room(0.0, 0.0, length, width, height - rng.uniform(0.0, 0.15), corridor=True)]
    for above in (False, True):
        depth = rng.uniform(3.6, 5.4)
        y0 = width + WALL_M if above else -WALL_M - depth
        count = per_side - (rng.integer(2) if per_side > 2 else 0)
        rooms.extend(Room(x0, y0, x1, y0 + depth, height) for x0, x1 in _spans(rng, length, count))
    return rooms


def _grid(rng: HashedRng, most_rooms: int, height: float) -> list[Room]:
    columns = min(2 + rng.integer(2), most_rooms // 2)
    rows, y0 = [], 0.0
    for _ in range(2):
        depth = rng.uniform(3.6, 5.4)
        rows.append((y0, y0 + depth))
        y0 += depth + WALL_M
    length = columns * rng.uniform(3.9, 5.2)
    return [
        Room(x0, y0, x1, y1, height) for y0, y1 in rows for x0, x1 in _spans(rng, length, columns)
    ]


def _spans(rng: HashedRng, length: float, count: int) -> list[tuple[float, float]]:
    """Return `count` intervals that fill [0, length] with walls between them."""
    free = length - (count - 1) * WALL_M - count * LEAST_SIDE_M
    shares = [0.4 + rng.uniform() for _ in range(count)]
    total, spans, x = sum(shares), [], 0.0
    for share in shares:
        side = LEAST_SIDE_M + free * share / total
        spans.append((x, x + side))
        x += side + WALL_M
    return spans


def _doors(rng: HashedRng, rooms: list[Room]) -> list[Door]:
    """Return doors between corridors and rooms, a spanning tree of the rest, and some more for
    loops."""
    possible = [
        (a, b, walls)
        for a in range(len(rooms))
        for b in range(len(rooms))
        if (walls := _shared_wall(rooms[a], rooms[b])) is not None
    ]
    group = list(range(len(rooms)))
    doors = []
    for a, b, (axis, wall, low, high) in rng.shuffled(possible):
        corridor = rooms[a].corridor or rooms[b].corridor
        joined = group[a] == group[b]
        if joined and not corridor and not rng.chance(0.4):
            continue
        group = [group[a] if g == group[b] else g for g in group]
        width = rng.uniform(1.05, 1.3)
        margin = DOOR_TO_CORNER_M + width / 2
        middle = rng.uniform(low + margin, high - margin)
        doors.append(Door(a, b, axis, wall, middle, width, rng.uniform(2.0, 2.15)))
    return doors


def _shared_wall(a: Room, b: Room) -> tuple[int, float, float, float] | None:
    """Return axis, wall coordinate and interval if `a` lies directly below or to the left of
    `b`."""
    least = 2 * DOOR_TO_CORNER_M + 1.4
    low, high = max(a.y0, b.y0), min(a.y1, b.y1)
    if abs(b.x0 - a.x1 - WALL_M) < 1e-6 and high - low > least:
        return 0, a.x1 + WALL_M / 2, low, high
    low, high = max(a.x0, b.x0), min(a.x1, b.x1)
    if abs(b.y0 - a.y1 - WALL_M) < 1e-6 and high - low > least:
        return 1, a.y1 + WALL_M / 2, low, high
    return None
