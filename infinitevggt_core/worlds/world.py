# SPDX-License-Identifier: Apache-2.0
"""A synthetic world: rooms, their contents and a camera trajectory, generated from one integer."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from infinitevggt_core.worlds.close_up import CloseUp
from infinitevggt_core.worlds.config import WorldConfig
from infinitevggt_core.worlds.floor_plan import draw_plan
from infinitevggt_core.worlds.frames import WorldClips, WorldFrame
from infinitevggt_core.worlds.furnishing import HOME, OFFICE, decorate, furnish
from infinitevggt_core.worlds.hashed_rng import HashedRng
from infinitevggt_core.worlds.materials import Material, everyday_look
from infinitevggt_core.worlds.movers import Movers
from infinitevggt_core.worlds.renderer import frames_per_chunk, render
from infinitevggt_core.worlds.roadmap import build_roadmap
from infinitevggt_core.worlds.shell import build_shell, light_of
from infinitevggt_core.worlds.solids import Solid, scene_of
from infinitevggt_core.worlds.surface import sample_surface
from infinitevggt_core.worlds.trajectory import Trajectory


class World:
    """World of a seed at a level.

    Plan, furniture, materials and route are bit-identical on every machine: they are made of hashed
    integers and of float64 sums, products, quotients and square roots. Poses add sines, which may
    differ in the last bit. Pixels are float32: a few at the edge of an object may differ.
    """

    def __init__(
        self, seed: int, level: str = "standard", *, config: WorldConfig | None = None
    ) -> None:
        self.seed = seed
        self.config = config or WorldConfig.of(level)
        rng = HashedRng(seed, "plan")
        self.plan = draw_plan(rng, self._room_count())
        rooms = self.plan.rooms
        spread = self.config.lamp_spread
        self.lights = [
            light_of(HashedRng(seed, "light", k), room, spread) for k, room in enumerate(rooms)
        ]
        catalog = OFFICE if self.config.everyday else HOME
        placed = [
            furnish(HashedRng(seed, "furniture", k), self.plan, k, self.config.furniture, catalog)
            for k in range(len(rooms))
        ]
        self.roadmap = build_roadmap(HashedRng(seed, "roadmap"), self.plan, placed)
        everyday = self.config.everyday
        solids = list(build_shell(HashedRng(seed, "shell"), self.plan, everyday=everyday))
        for k in range(len(rooms)):
            solids += [solid for piece in placed[k] for solid in piece.solids]
            solids += decorate(HashedRng(seed, "pictures", k), self.plan, k, self.lights[k])
        if everyday:
            solids = _calmed(HashedRng(seed, "everyday"), solids)
        if self.config.gloss:
            solids = _glossy(HashedRng(seed, "gloss"), solids, self.config.gloss)
        self.solids = [self._textured(solid) for solid in solids]
        self.scene = scene_of(self.solids, rooms, self.lights)
        self.movers = Movers(seed, rooms, self.lights, self.config.moving_objects)
        close_up, rng = None, HashedRng(seed, "close-up")
        if self.config.motion == "any" and rng.chance(self.config.close_up):
            close_up = CloseUp.draw(rng, rooms, placed)
        self.trajectory = Trajectory(seed, self.config, self.roadmap, close_up)

    def _room_count(self) -> int:
        most = self.config.most_rooms
        return most if most < 5 else HashedRng(self.seed, "rooms").integer(most - 4) + 5

    def _textured(self, solid: Solid) -> Solid:
        return replace(solid, material=solid.material.calmer(self.config.texture))

    def render(
        self, indices: Sequence[int] | Tensor, height: int, width: int, device: str = "cpu"
    ) -> WorldClips:
        """Render any frames of the trajectory in any order; leading dimension: that of
        `indices`."""
        times = torch.as_tensor(indices, dtype=torch.float64).reshape(1, -1)
        clips = render([self], times, height, width, device)
        return WorldClips(
            clips.images[0], clips.depth[0], clips.camera_from_world[0], clips.intrinsics[0]
        )

    def sequence(
        self, frames: int, height: int, width: int, device: str = "cpu", *, start: int = 0
    ) -> Iterator[WorldFrame]:
        """Yield frames `start` to `start + frames - 1`, rendered a few at a time."""
        step = frames_per_chunk(height, width, device)
        for first in range(start, start + frames, step):
            indices = range(first, min(first + step, start + frames))
            clips = self.render(list(indices), height, width, device)
            yield from (clips.frame(k) for k in range(len(indices)))

    def surface(self, points: int) -> tuple[Tensor, Tensor]:
        """Sample `points` places on static surfaces that are visible from walkable places.

        Returns positions and unit normals, float64 [points, 3] each, metres, uniform by area.
        """
        return sample_surface(self, points)


def _calmed(rng: HashedRng, solids: list[Solid]) -> list[Solid]:
    """Return the solids in calmer materials. Equal materials stay equal."""
    calm: dict[Material, Material] = {}
    for solid in solids:
        if solid.material not in calm:
            calm[solid.material] = everyday_look(rng, solid.material)
    return [replace(solid, material=calm[solid.material]) for solid in solids]


def _glossy(rng: HashedRng, solids: list[Solid], share: float) -> list[Solid]:
    """Return the solids, with gloss on a share of the materials. Equal materials stay equal."""
    found: dict[Material, Material] = {}
    for solid in solids:
        if solid.material not in found:
            gloss = rng.uniform(0.2, 2.0) if rng.chance(share) else 0.0
            found[solid.material] = replace(solid.material, gloss=gloss)
    return [replace(solid, material=found[solid.material]) for solid in solids]
