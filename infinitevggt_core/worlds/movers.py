# SPDX-License-Identifier: Apache-2.0
"""Objects that move through the rooms and avoid the camera."""

from dataclasses import replace

import torch
from torch import Tensor

from infinitevggt_core.worlds import materials
from infinitevggt_core.worlds.floor_plan import Room
from infinitevggt_core.worlds.hashed_rng import HashedRng, key_of, smooth_noise
from infinitevggt_core.worlds.solids import COLUMNS, Light, Solid, row_of

_ASIDE_M = 0.9
"""Minimum distance between the middle of a mover and the camera."""
_FRAMES_PER_TURN = 35.0


class Movers:
    """Rows of moving solids, as in `Scene`, at any time."""

    def __init__(
        self, seed: int, rooms: tuple[Room, ...], lights: list[Light], per_room: int
    ) -> None:
        boxes: list[tuple[Solid, int]] = []
        rounds: list[tuple[Solid, int]] = []
        self._homes: list[Room] = []
        for index, room in enumerate(rooms):
            for number in range(per_room):
                rng = HashedRng(seed, "mover", index, number)
                for solid in _body(rng, index):
                    (rounds if solid.round else boxes).append((solid, len(self._homes)))
                self._homes.append(room)
        solids = boxes + rounds
        self.boxes = len(boxes)
        self.rounds = len(rounds)
        self._key = key_of(seed, "movers")
        self._owner = torch.tensor([owner for _, owner in solids], dtype=torch.long)
        rows = [row_of(solid, rooms[solid.room], lights[solid.room]) for solid, _ in solids]
        self._rows = torch.tensor(rows, dtype=torch.float64).reshape(-1, COLUMNS)

    def rows(self, times: Tensor, eyes: Tensor) -> Tensor:
        """Return rows (N, boxes + rounds, COLUMNS) at float64 times (N,) with the camera at eyes
        (N, 3)."""
        rows = self._rows.expand(len(times), *self._rows.shape).clone()
        if len(self._owner):
            places = torch.stack(
                [self._place(k, room, times, eyes) for k, room in enumerate(self._homes)], dim=1
            )
            rows[..., :2] += places[:, self._owner]
        return rows

    def _place(self, number: int, room: Room, times: Tensor, eyes: Tensor) -> Tensor:
        """Return positions (N, 2) on the floor."""
        x, y = room.center
        wander = [
            1.6 * smooth_noise(key_of(self._key, number, axis), times / _FRAMES_PER_TURN)
            for axis in "xy"
        ]
        half = ((room.x1 - room.x0) / 2 - 0.4, (room.y1 - room.y0) / 2 - 0.4)
        place = torch.stack(
            [
                middle + room_left * offset.clamp(-1, 1)
                for middle, room_left, offset in zip((x, y), half, wander, strict=True)
            ],
            dim=-1,
        )
        away = place - eyes[:, :2]
        distance = away.norm(dim=-1, keepdim=True).clamp(min=1e-3)
        aside: Tensor = eyes[:, :2] + away * (distance.clamp(min=_ASIDE_M) / distance)
        return aside


def _body(rng: HashedRng, room: int) -> list[Solid]:
    """Return a ball, a robot made of boxes, or a figure."""
    kind = rng.integer(3)
    anchor = (rng.uniform(0, 9), rng.uniform(0, 9), 0.0)
    coat, trim = materials.fabric(rng), materials.paint(rng)
    if kind == 0:
        radius = rng.uniform(0.15, 0.3)
        parts = [_round("ball", radius, radius, radius, trim)]
    elif kind == 1:
        base = Solid((0.0, 0.0, 0.15), (0.25, 0.2, 0.12), trim)
        parts = [base, Solid((0.0, 0.0, 0.5), (0.15, 0.15, 0.23), coat)]
    else:
        parts = [
            _round("cylinder", 0.4, 0.17, 0.4, trim),
            _round("cylinder", 1.1, 0.22, 0.3, coat),
            _round("ball", 1.55, 0.13, 0.16, materials.wood(rng)),
        ]
    return [replace(part, room=room, anchor=anchor) for part in parts]


def _round(kind: str, z: float, radius: float, half: float, material: materials.Material) -> Solid:
    return Solid((0.0, 0.0, z), (radius, radius, half), material, round=kind)
