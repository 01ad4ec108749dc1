# SPDX-License-Identifier: Apache-2.0
"""Trajectory of a camera near a piece of furniture, looking at it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import atan2, pi

import torch
from torch import Tensor

from infinitevggt_core.worlds.floor_plan import Room
from infinitevggt_core.worlds.furnishing import Placed
from infinitevggt_core.worlds.hashed_rng import HashedRng, key_of, smooth_noise
from infinitevggt_core.worlds.solids import Solid, turn_of

_OVER_TABLES = 0.45
"""Share of cameras that look at the top of a table, if there is one."""
_WALL_M = 0.25
_OBSTACLE_M = 0.2
_ATTEMPTS = 16
_TREMOR_FRAMES = 4.0
_DEG = pi / 180


@dataclass(frozen=True, slots=True)
class CloseUp:
    """Positions and viewing directions around a target; lengths in metres, angles in rad."""

    key: int
    room: Room
    target: tuple[float, float, float]
    distance: float
    direction: tuple[float, float]
    """Cosine and sine of the mean azimuth."""
    height: float
    swing: float
    """Amplitude of the azimuth."""
    shift: float
    """Amplitude of distance and height."""
    gaze: float
    """Amplitude of the fixation point."""
    roll: float
    tilt: float
    """Constant roll."""
    period: float
    """Number of frames between two knots of the slow motion."""
    tremor: float

    @classmethod
    def draw(
        cls, rng: HashedRng, rooms: Sequence[Room], placed: Sequence[Sequence[Placed]]
    ) -> "CloseUp":
        """Draw a target among the furniture and a free camera position near it."""
        index = rng.integer(len(rooms))
        room, pieces = rooms[index], placed[index]
        tops = [(piece, solid) for piece in pieces for solid in piece.solids if _is_top(solid)]
        subject: Placed | None
        if tops and rng.chance(_OVER_TABLES):
            subject, top = rng.choice(tops)
            target = _point_on(rng, top)
            distance = rng.uniform(0.3, 1.2)
        else:
            subject = _subject(rng, pieces) if pieces else None
            target = _target(rng, room, subject)
            distance = 0.6 + 2.2 * rng.uniform() * rng.uniform()
        free = [_place(rng, room, pieces, target, distance, subject) for _ in range(_ATTEMPTS)]
        direction, distance, _ = max(free, key=lambda place: place[2])
        low = max(0.2, target[2] - 0.5)
        height = low + (min(2.0, target[2] + 1.1) - low) * max(rng.uniform(), rng.uniform())
        wild = rng.uniform()
        return cls(
            key=rng.key, room=room, target=target, distance=distance, direction=direction,
            height=height, swing=rng.uniform(0.1, 0.9), shift=rng.uniform(0.05, 0.4),
            gaze=rng.uniform(0.1, 0.7), roll=rng.uniform(2, 12) * _DEG,
            tilt=rng.uniform(-20, 20) * _DEG * rng.uniform(), period=25 + 70 * rng.uniform(),
            tremor=0.8 * wild * _DEG,
        )  # fmt: skip

    def at(self, times: Tensor, sway: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return positions (N, 3), and yaw, pitch (positive is down) and roll (N,) at float64
        times."""

        def slow(name: str, rate: float = 1.0) -> Tensor:
            return smooth_noise(key_of(self.key, name), times * rate / self.period)

        def tremor(name: str) -> Tensor:
            noise = smooth_noise(key_of(self.key, name), times / _TREMOR_FRAMES)
            return sway * self.tremor * noise

        azimuth = atan2(*self.direction[::-1]) + self.swing * slow("azimuth")
        away = (self.distance + self.shift * slow("distance")).clamp(min=0.3)
        room, (tx, ty, tz) = self.room, self.target
        x = (tx + away * azimuth.cos()).clamp(room.x0 + _WALL_M, room.x1 - _WALL_M)
        y = (ty + away * azimuth.sin()).clamp(room.y0 + _WALL_M, room.y1 - _WALL_M)
        z = (self.height + self.shift * slow("height")).clamp(0.15, room.height - 0.3)
        gx = tx + self.gaze * slow("gaze x", 1.3) - x
        gy = ty + self.gaze * slow("gaze y", 1.3) - y
        gz = tz + 0.6 * self.gaze * slow("gaze z", 1.3) - z
        yaw = torch.atan2(gy, gx) + tremor("yaw")
        pitch = torch.atan2(-gz, (gx * gx + gy * gy).sqrt()) + tremor("pitch")
        roll = self.tilt + self.roll * slow("roll") + tremor("roll")
        return torch.stack((x, y, z), dim=-1), yaw, pitch, roll


def _is_top(solid: Solid) -> bool:
    """Return True for the top of a table or a counter."""
    x, y, z = solid.half
    return not solid.round and x * y > 0.08 and z < 0.05 and 0.4 < solid.center[2] < 1.1


def _point_on(rng: HashedRng, top: Solid) -> tuple[float, float, float]:
    """Return a point on the top of a table, or slightly above."""
    x, y = (rng.uniform(-0.8, 0.8) * half for half in top.half[:2])
    (cx, cy, cz), (cos, sin) = top.center, top.turn
    return cx + cos * x - sin * y, cy + sin * x + cos * y, cz + rng.uniform(0.0, 0.2)


def _subject(rng: HashedRng, pieces: Sequence[Placed]) -> Placed:
    """Draw a piece of furniture: each alike, or those with many objects more often."""
    if rng.chance(0.5):
        return rng.choice(pieces)
    return rng.choice([piece for piece in pieces for _ in piece.solids])


def _target(rng: HashedRng, room: Room, piece: Placed | None) -> tuple[float, float, float]:
    """Return a point on a piece of furniture, or a random one in the room."""
    if piece is None or rng.chance(0.15):
        x, y = rng.uniform(room.x0, room.x1), rng.uniform(room.y0, room.y1)
        return x, y, rng.uniform(0.0, 1.8)
    solid = piece.solids[rng.integer(len(piece.solids))]
    return solid.center


def _place(
    rng: HashedRng, room: Room, pieces: Sequence[Placed], target: tuple[float, float, float],
    distance: float, subject: Placed | None,
) -> tuple[tuple[float, float], float, float]:  # fmt: skip
    """Return direction, distance and clearance (metres, at most `_OBSTACLE_M`) of a camera
    position."""
    cos, sin = turn_of(rng.uniform(-1, 1))  # -90 to 90 deg
    if rng.chance(0.5):
        cos, sin = -cos, -sin
    away = distance * rng.uniform(0.8, 1.6)
    x, y = target[0] + away * cos, target[1] + away * sin
    inside = min(x - room.x0, room.x1 - x, y - room.y0, room.y1 - y) - _WALL_M
    gaps = [_gap(piece, x, y) for piece in pieces if piece is not subject]
    return (cos, sin), away, min([_OBSTACLE_M, inside, *gaps])


def _gap(piece: Placed, x: float, y: float) -> float:
    """Return the distance of a point from a piece's footprint, negative inside."""
    f = piece.footprint
    cos, sin = f.turn
    dx, dy = x - f.x, y - f.y
    return max(abs(dx * cos + dy * sin) - f.half_x, abs(dy * cos - dx * sin) - f.half_y)
