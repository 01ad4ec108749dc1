# SPDX-License-Identifier: Apache-2.0
"""A synthetic world: rooms, what is in them, and a camera's way through them, from one integer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from infinitevggt_core.worlds.config import WorldConfig
from infinitevggt_core.worlds.dice import Dice
from infinitevggt_core.worlds.floor_plan import draw_plan
from infinitevggt_core.worlds.furnishing import decorate, furnish
from infinitevggt_core.worlds.movers import Movers
from infinitevggt_core.worlds.roadmap import build_roadmap
from infinitevggt_core.worlds.shell import build_shell, light_of
from infinitevggt_core.worlds.solids import Solid, scene_of
from infinitevggt_core.worlds.trajectory import Trajectory


@dataclass(frozen=True, slots=True)
class WorldFrame:
    """One view with everything that is true about it."""

    image: Tensor
    """[3, H, W] RGB in [0, 1]."""
    depth: Tensor
    """[H, W], metres along the optical axis."""
    camera_from_world: Tensor
    """[3, 4], float64: world (z up, metres) to OpenCV camera axes."""
    intrinsics: Tensor
    """[3, 3], float64, pixels; pixel (0, 0) is the centre of the first, the principal point is
    (W / 2, H / 2) as the network has it."""


@dataclass(frozen=True, slots=True)
class WorldClips:
    """Views with any leading dimensions, such as [B worlds, S frames]; else as `WorldFrame`."""

    images: Tensor
    depth: Tensor
    camera_from_world: Tensor
    intrinsics: Tensor

    def frame(self, *index: int) -> WorldFrame:
        """The view at one index of the leading dimensions."""
        return WorldFrame(
            self.images[index],
            self.depth[index],
            self.camera_from_world[index],
            self.intrinsics[index],
        )


class World:
    """The world of a seed at a level.

    Plan, furniture, materials and route are the same bit for bit on every machine: they come from
    hashed integers and from float64 sums, products, quotients and square roots alone. Poses add
    sines, which may differ in the last bit; pixels are float32, so that besides rounding a few on
    the edge of an object may fall on its other side.
    """

    def __init__(
        self, seed: int, level: str = "standard", *, config: WorldConfig | None = None
    ) -> None:
        self.seed = seed
        self.config = config or WorldConfig.of(level)
        dice = Dice(seed, "plan")
        self.plan = draw_plan(dice, self._room_count())
        rooms = self.plan.rooms
        self.lights = [light_of(Dice(seed, "light", k), room) for k, room in enumerate(rooms)]
        placed = [
            furnish(Dice(seed, "furniture", k), self.plan, k, self.config.furniture)
            for k in range(len(rooms))
        ]
        self.roadmap = build_roadmap(Dice(seed, "roadmap"), self.plan, placed)
        solids = list(build_shell(Dice(seed, "shell"), self.plan))
        for k in range(len(rooms)):
            solids += [solid for piece in placed[k] for solid in piece.solids]
            solids += decorate(Dice(seed, "pictures", k), self.plan, k, self.lights[k])
        self.solids = [self._textured(solid) for solid in solids]
        self.scene = scene_of(self.solids, rooms, self.lights)
        self.movers = Movers(seed, rooms, self.lights, self.config.moving_objects)
        self.trajectory = Trajectory(seed, self.config, self.roadmap)

    def _room_count(self) -> int:
        most = self.config.most_rooms
        return most if most < 5 else Dice(self.seed, "rooms").integer(most - 4) + 5

    def _textured(self, solid: Solid) -> Solid:
        return replace(solid, material=solid.material.calmer(self.config.texture))

    def render(
        self, indices: Sequence[int] | Tensor, height: int, width: int, device: str = "cpu"
    ) -> WorldClips:
        """Any frames of the walk, in any order; leading dimension: that of `indices`."""
        from infinitevggt_core.worlds.renderer import render

        times = torch.as_tensor(indices, dtype=torch.float64).reshape(1, -1)
        clips = render([self], times, height, width, device)
        return WorldClips(
            clips.images[0], clips.depth[0], clips.camera_from_world[0], clips.intrinsics[0]
        )

    def sequence(
        self, frames: int, height: int, width: int, device: str = "cpu", *, start: int = 0
    ) -> Iterator[WorldFrame]:
        """Frames `start` .. `start + frames - 1`, rendered a few at a time."""
        from infinitevggt_core.worlds.renderer import shots_at_once

        step = shots_at_once(height, width, device)
        for first in range(start, start + frames, step):
            indices = range(first, min(first + step, start + frames))
            clips = self.render(list(indices), height, width, device)
            yield from (clips.frame(k) for k in range(len(indices)))

    def surface(self, points: int) -> tuple[Tensor, Tensor]:
        """`points` places on what stands still and can be seen from where one can walk.

        Positions and unit normals, float64 [points, 3] each, metres, uniform by area.
        """
        from infinitevggt_core.worlds.surface import sample_surface

        return sample_surface(self, points)
