# SPDX-License-Identifier: Apache-2.0
"""Endless route over a roadmap, extended on demand."""

from collections.abc import Iterator
from functools import partial
from math import atan2, sqrt

import torch
from torch import Tensor

from infinitevggt_core.worlds.hashed_rng import HashedRng
from infinitevggt_core.worlds.roadmap import Roadmap

SPACING_M = 0.3
"""Distance of the knots of the spline that rounds the corners."""
_STAY = 0.4
_LOOP_LEGS = (4, 9)
_AHEAD = 64
_MARGIN = 4
"""Knots made in advance, and those that a spline needs beyond its last point."""


class Route:
    """Positions and headings along a route that is slower at turns.

    Knots lie `SPACING_M` apart on straight paths. A cubic B-spline rounds the corners, and headings
    are means over `turn_m` around each knot. A knot with a change of heading above `most_turn` (rad
    per metre) takes as long as that change needs.
    """

    def __init__(
        self, roadmap: Roadmap, rng: HashedRng, *, turn_m: float, most_turn: float, loop: bool
    ) -> None:
        self._spread = max(1, round(turn_m / SPACING_M / 2))
        self._most_turn = most_turn * SPACING_M
        self._walk = _knots(_loop(roadmap, rng) if loop else _wander(roadmap, rng))
        self._places: list[tuple[float, float]] = [next(self._walk), next(self._walk)]
        (x0, y0), (x1, y1) = self._places
        self._direction = atan2(y1 - y0, x1 - x0)
        # sums of the directions before each segment; the first one extends backwards
        self._sums = [self._direction * k for k in range(self._spread + 1)]
        self._headings: list[float] = []
        self._paces: list[float] = []
        self._starts = [0.0]
        self._tables: tuple[Tensor, ...] = ()
        self._extend(0.0)

    def at(self, way_m: Tensor) -> tuple[Tensor, Tensor]:
        """Return positions (N, 2) in metres and headings (N,) in rad at path lengths way_m (N,)
        >= 0."""
        self._extend(float(way_m.max()))
        starts, paces, knots = self._tables
        way = way_m + starts[1]
        index = torch.searchsorted(starts, way, right=True) - 1
        late, pace, change = way - starts[index], paces[index], paces[index + 1] - paces[index]
        # the pace changes linearly between two knots
        f = 2 * late / (pace + (pace * pace + 2 * change * late / SPACING_M).sqrt()) / SPACING_M
        f = f[:, None]
        curve = (
            knots[index - 1] * (1 - f) ** 3
            + knots[index] * (3 * f**3 - 6 * f**2 + 4)
            + knots[index + 1] * (-3 * f**3 + 3 * f**2 + 3 * f + 1)
            + knots[index + 2] * f**3
        ) / 6
        return curve[:, :2], curve[:, 2]

    def _extend(self, way_m: float) -> None:
        if len(self._starts) > _AHEAD and self._starts[-_MARGIN] > way_m + self._starts[1]:
            return
        while len(self._starts) <= _AHEAD or self._starts[-_AHEAD] <= way_m + self._starts[1]:
            self._places.append(next(self._walk))
            self._add_direction()
            knot = len(self._headings)
            if len(self._sums) <= knot + 2 * self._spread:
                continue
            turned = self._sums[knot + 2 * self._spread] - self._sums[knot]
            self._headings.append(turned / (2 * self._spread))
            before = self._headings[knot - 1] if knot else self._headings[0]
            turn = abs(self._headings[knot] - before)
            self._paces.append(max(1.0, turn / self._most_turn))
            if knot:
                mean = (self._paces[knot - 1] + self._paces[knot]) / 2
                self._starts.append(self._starts[-1] + SPACING_M * mean)
        knots = [(x, y, h) for (x, y), h in zip(self._places, self._headings, strict=False)]
        self._tables = tuple(
            torch.tensor(rows, dtype=torch.float64) for rows in (self._starts, self._paces, knots)
        )

    def _add_direction(self) -> None:
        (x0, y0), (x1, y1), (x2, y2) = self._places[-3:]
        ax, ay, bx, by = x1 - x0, y1 - y0, x2 - x1, y2 - y1
        self._sums.append(self._sums[-1] + self._direction)
        self._direction += atan2(ax * by - ay * bx, ax * bx + ay * by)


def _wander(roadmap: Roadmap, rng: HashedRng) -> Iterator[tuple[float, float]]:
    """Yield the corners of a walk that stays a while in a room and prefers rooms seen less
    often."""
    inside = [k for k, room in enumerate(roadmap.rooms) if room >= 0]
    visits = dict.fromkeys(roadmap.rooms, 0)
    here = rng.choice(inside)
    yield roadmap.places[here]
    while True:
        rooms = [roadmap.rooms[here]]
        if not rng.chance(_STAY):
            rooms = sorted({r for k in inside if (r := roadmap.rooms[k]) != rooms[0]}) or rooms
        room = min(rooms, key=lambda r: visits[r] + rng.uniform(0.0, 2.0))
        near = [k for k in inside if roadmap.rooms[k] == room]
        there = max((rng.choice(near) for _ in range(3)), key=partial(roadmap.apart, here))
        visits[room] += 1
        for place in roadmap.shortest(here, there):
            yield roadmap.places[place]
        here = there


def _loop(roadmap: Roadmap, rng: HashedRng) -> Iterator[tuple[float, float]]:
    """Yield the corners of one closed tour, repeated forever."""
    inside = [k for k, room in enumerate(roadmap.rooms) if room >= 0]
    legs = _LOOP_LEGS[0] + rng.integer(_LOOP_LEGS[1] - _LOOP_LEGS[0])
    tours = [rng.shuffled(inside)[:legs] for _ in range(4)]
    stops = max(tours, key=lambda t: sum(map(roadmap.apart, t, [*t[1:], t[0]])))
    tour: list[int] = []
    for start, end in zip(stops, [*stops[1:], stops[0]], strict=True):
        tour += roadmap.shortest(start, end)
    yield roadmap.places[stops[0]]
    while True:
        for place in tour:
            yield roadmap.places[place]


def _knots(corners: Iterator[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Yield points every `SPACING_M` along the straight lines between corners."""
    x, y = next(corners)
    yield x, y
    ahead = SPACING_M
    for cx, cy in corners:
        dx, dy = cx - x, cy - y
        length = sqrt(dx * dx + dy * dy)
        at = ahead
        while at <= length:
            yield x + dx * at / length, y + dy * at / length
            at += SPACING_M
        ahead = at - length
        x, y = cx, cy
