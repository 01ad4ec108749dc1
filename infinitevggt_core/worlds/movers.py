"""Objects that wander through the rooms and step aside for the camera."""

from dataclasses import replace

import torch
from torch import Tensor

from infinitevggt_core.worlds import materials
from infinitevggt_core.worlds.dice import Dice, key_of, smooth_noise
from infinitevggt_core.worlds.floor_plan import Room
from infinitevggt_core.worlds.solids import COLUMNS, Light, Solid, row_of

_ASIDE_M = 0.9
"""Least distance between the middle of a mover and the camera."""
_FRAMES_PER_TURN = 35.0
_WALL_GAP_M = 0.4


class Movers:
    """Rows of solids like `Scene`'s, but new ones for each time."""

    def __init__(
        self, seed: int, rooms: tuple[Room, ...], lights: list[Light], per_room: int
    ) -> None:
        boxes: list[tuple[Solid, int]] = []
        rounds: list[tuple[Solid, int]] = []
        homes: list[Room] = []
        for index, room in enumerate(rooms):
            for number in range(per_room):
                dice = Dice(seed, "mover", index, number)
                for solid in _body(dice, index):
                    (rounds if solid.round else boxes).append((solid, len(homes)))
                homes.append(room)
        solids = boxes + rounds
        self.boxes = len(boxes)
        self.rounds = len(rounds)
        key = key_of(seed, "movers")
        keys = [[key_of(key, number, axis) for axis in "xy"] for number in range(len(homes))]
        self._keys = torch.tensor(keys, dtype=torch.long).reshape(-1, 2)
        spans = [(*room.center, (room.x1 - room.x0) / 2, (room.y1 - room.y0) / 2) for room in homes]
        middle, half = (
            torch.tensor(spans, dtype=torch.float64).reshape(-1, 4).T.reshape(2, 2, -1).mT
        )
        self._middle, self._reach = middle, half - _WALL_GAP_M
        self._owner = torch.tensor([owner for _, owner in solids], dtype=torch.long)
        rows = [row_of(solid, rooms[solid.room], lights[solid.room]) for solid, _ in solids]
        self._rows = torch.tensor(rows, dtype=torch.float64).reshape(-1, COLUMNS)

    def rows(self, times: Tensor, eyes: Tensor) -> Tensor:
        """(N, boxes + rounds, COLUMNS) at float64 times (N,) with the camera at eyes (N, 3)."""
        rows = self._rows.expand(len(times), *self._rows.shape).clone()
        if len(self._owner):
            places = self._places(times, eyes)
            rows[..., :2] += places[:, self._owner]
        return rows

    def _places(self, times: Tensor, eyes: Tensor) -> Tensor:
        """(N, movers, 2) on the floor."""
        wander = 1.6 * smooth_noise(self._keys, times[:, None, None] / _FRAMES_PER_TURN)
        place = self._middle + self._reach * wander.clamp(-1, 1)
        eye = eyes[:, None, :2]
        away = place - eye
        distance = away.norm(dim=-1, keepdim=True).clamp(min=1e-3)
        aside: Tensor = eye + away * (distance.clamp(min=_ASIDE_M) / distance)
        return aside


def _body(dice: Dice, room: int) -> list[Solid]:
    """A ball, a robot of boxes, or a figure."""
    kind = dice.integer(3)
    anchor = (dice.uniform(0, 9), dice.uniform(0, 9), 0.0)
    coat, trim = materials.fabric(dice), materials.paint(dice)
    if kind == 0:
        radius = dice.uniform(0.15, 0.3)
        parts = [_round("ball", radius, radius, radius, trim)]
    elif kind == 1:
        base = Solid((0.0, 0.0, 0.15), (0.25, 0.2, 0.12), trim)
        parts = [base, Solid((0.0, 0.0, 0.5), (0.15, 0.15, 0.23), coat)]
    else:
        parts = [
            _round("cylinder", 0.4, 0.17, 0.4, trim),
            _round("cylinder", 1.1, 0.22, 0.3, coat),
            _round("ball", 1.55, 0.13, 0.16, materials.wood(dice)),
        ]
    return [replace(part, room=room, anchor=anchor) for part in parts]


def _round(kind: str, z: float, radius: float, half: float, material: materials.Material) -> Solid:
    return Solid((0.0, 0.0, z), (radius, radius, half), material, round=kind)
