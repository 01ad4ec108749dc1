# SPDX-License-Identifier: Apache-2.0
"""Places in free space and the straight paths between them.

Distances are sums, products and square roots of float64, each rounded on its own, so that every
machine finds the same paths.
"""

import heapq
from dataclasses import dataclass, field
from math import sqrt

import torch
from torch import Tensor

from infinitevggt_core.worlds.floor_plan import WALL_M, Door, FloorPlan, Room
from infinitevggt_core.worlds.furnishing import Placed, Rectangle
from infinitevggt_core.worlds.hashed_rng import HashedRng

CLEARANCE_M = 0.5
"""Minimum distance of paths from walls and furniture. Rounded corners and camera shake stay
within it."""
LEAST_WALK_M = 3.2
"""Minimum width plus depth of the rectangle around a room's places."""
DOOR_STEP_M = WALL_M / 2 + 0.65
_PLACES = 14
_STEPS = 32


@dataclass(slots=True)
class Roadmap:
    """Graph of places (x, y) on the floor."""

    places: list[tuple[float, float]] = field(default_factory=list)
    rooms: list[int] = field(default_factory=list)
    """Room of each place; -1 in a doorway."""
    ways: list[dict[int, float]] = field(default_factory=list)
    """Neighbours of each place and their distances."""

    def add(self, place: tuple[float, float], room: int) -> int:
        self.places.append(place)
        self.rooms.append(room)
        self.ways.append({})
        return len(self.places) - 1

    def join(self, a: int, b: int) -> None:
        self.ways[a][b] = self.ways[b][a] = self.apart(a, b)

    def apart(self, a: int, b: int) -> float:
        """Return the distance of two places, metres."""
        (ax, ay), (bx, by) = self.places[a], self.places[b]
        return sqrt((ax - bx) * (ax - bx) + (ay - by) * (ay - by))

    def places_of(self, room: int) -> list[tuple[float, float]]:
        """Return the places of one room."""
        return [place for place, k in zip(self.places, self.rooms, strict=True) if k == room]

    def shortest(self, start: int, end: int) -> list[int]:
        """Return the places after `start` on the shortest path to `end`."""
        best, came, queue = {start: 0.0}, {start: start}, [(0.0, start)]
        while queue:
            length, here = heapq.heappop(queue)
            if here == end:
                break
            if length > best[here]:
                continue
            for there, way in self.ways[here].items():
                if length + way < best.get(there, float("inf")):
                    best[there], came[there] = length + way, here
                    heapq.heappush(queue, (length + way, there))
        path = []
        while end != start:
            path.append(end)
            end = came[end]
        return path[::-1]


def clearance(points: Tensor, room: Room, footprints: list[Rectangle]) -> Tensor:
    """Return the distance (N,) of points (N, 2) from walls and furniture of their room, metres."""
    x, y = points[:, 0], points[:, 1]
    free = torch.minimum(
        torch.minimum(x - room.x0, room.x1 - x), torch.minimum(y - room.y0, room.y1 - y)
    )
    if not footprints:
        return free
    rows = torch.tensor(
        [[f.x, f.y, f.half_x, f.half_y, *f.turn] for f in footprints], dtype=torch.float64
    )
    cx, cy, hx, hy, cos, sin = rows.T[..., None].unbind(0)
    dx, dy = x - cx, y - cy  # (furniture, N)
    outside_x = (dx * cos + dy * sin).abs_().sub_(hx)
    outside_y = (dy * cos - dx * sin).abs_().sub_(hy)
    inside = torch.maximum(outside_x, outside_y).clamp_(max=0)
    ox, oy = outside_x.clamp_(min=0), outside_y.clamp_(min=0)
    distance = (ox * ox + oy * oy).sqrt_() + inside
    return torch.minimum(free, distance.amin(0))


def _visible(points: Tensor, room: Room, footprints: list[Rectangle]) -> list[tuple[int, int]]:
    """Return pairs of points with a straight path between them that keeps the clearance."""
    first, second = torch.triu_indices(len(points), len(points), 1).unbind(0)
    steps = torch.arange(_STEPS + 1, dtype=torch.float64)[:, None, None] / _STEPS
    start, end = points[first], points[second]
    samples = start + (end - start) * steps
    free = clearance(samples.reshape(-1, 2), room, footprints).reshape(_STEPS + 1, -1).amin(0)
    good = free >= CLEARANCE_M
    return list(zip(first[good].tolist(), second[good].tolist(), strict=True))


def _entrance(door: Door, room: int) -> tuple[float, float]:
    """Return the place in front of a door, inside the room."""
    across = door.wall + (-DOOR_STEP_M if door.low == room else DOOR_STEP_M)
    return (across, door.middle) if door.axis == 0 else (door.middle, across)


@dataclass(frozen=True, slots=True)
class RoomMap:
    """Places of one room, those in front of its doors first, and the pairs that see each other."""

    places: list[tuple[float, float]]
    pairs: list[tuple[int, int]]
    reached: set[int]
    """Places that are connected."""

    def extent(self) -> float:
        """Return width plus depth of the rectangle around the reached places, metres."""
        if not self.reached:
            return 0.0
        xs, ys = zip(*(self.places[k] for k in self.reached), strict=True)
        return float(max(xs) - min(xs) + max(ys) - min(ys))


def map_room(rng: HashedRng, plan: FloorPlan, index: int, placed: list[Placed]) -> RoomMap:
    """Find places and paths, and remove furniture from `placed` until every door is reached."""
    room, key = plan.rooms[index], rng.key
    while True:
        found = _try_room(HashedRng(key, len(placed)), plan, index, [p.footprint for p in placed])
        doors = len(plan.doors_of(index))
        enough = room.corridor or found.extent() >= LEAST_WALK_M
        if not placed or (enough and all(d in found.reached for d in range(doors))):
            return found
        free = [p for p in placed if p.movable]
        placed.remove(free[-1] if free else placed[-1])


def _try_room(rng: HashedRng, plan: FloorPlan, index: int, footprints: list[Rectangle]) -> RoomMap:
    room = plan.rooms[index]
    doors = [_entrance(door, index) for door in plan.doors_of(index)]
    if room.corridor:
        middle, count = (room.y0 + room.y1) / 2, max(2, round((room.x1 - room.x0) / 1.5))
        step = (room.x1 - room.x0 - 2.0) / count
        free = [(room.x0 + 1.0 + step * k, middle) for k in range(count + 1)]
    else:
        free = [
            (rng.uniform(room.x0 + 0.6, room.x1 - 0.6), rng.uniform(room.y0 + 0.6, room.y1 - 0.6))
            for _ in range(4 * _PLACES)
        ]
    room_left = clearance(torch.tensor(free, dtype=torch.float64), room, footprints)
    wide = [p for p, c in zip(free, room_left.tolist(), strict=True) if c >= CLEARANCE_M + 0.05]
    places = doors + wide[:_PLACES]
    pairs = _visible(torch.tensor(places, dtype=torch.float64), room, footprints)
    return RoomMap(places, pairs, _together(len(places), pairs, len(doors)))


def _together(count: int, pairs: list[tuple[int, int]], doors: int) -> set[int]:
    """Return the places connected with the first door, or without doors the largest connected
    set."""
    group = list(range(count))
    for a, b in pairs:
        if group[a] != group[b]:
            group = [group[a] if g == group[b] else g for g in group]
    if not count:
        return set()
    chosen = group[0] if doors else max(group, key=lambda g: (group.count(g), -g))
    return {place for place in range(count) if group[place] == chosen}


def build_roadmap(rng: HashedRng, plan: FloorPlan, placed: list[list[Placed]]) -> Roadmap:
    """Return the roadmap of the whole plan. `placed` (per room) loses the pieces that block it."""
    roadmap = Roadmap()
    doorways = {
        door: roadmap.add(
            (door.wall, door.middle) if door.axis == 0 else (door.middle, door.wall), -1
        )
        for door in plan.doors
    }
    for index in range(len(plan.rooms)):
        found = map_room(HashedRng(rng.key, index), plan, index, placed[index])
        numbers = {k: roadmap.add(found.places[k], index) for k in sorted(found.reached)}
        for a, b in found.pairs:
            if a in numbers and b in numbers:
                roadmap.join(numbers[a], numbers[b])
        for k, door in enumerate(plan.doors_of(index)):
            roadmap.join(numbers[k], doorways[door])
    return roadmap
