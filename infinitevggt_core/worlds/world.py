# SPDX-License-Identifier: Apache-2.0
"""A synthetic world: rooms, their contents and a camera trajectory, generated from one integer."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from infinitevggt_core.worlds.close_up import CloseUp
from infinitevggt_core.worlds.config import WorldConfig
from infinitevggt_core.worlds.frames import WorldClips, WorldFrame
from infinitevggt_core.worlds.hashed_rng import HashedRng
from infinitevggt_core.worlds.materials import Material
from infinitevggt_core.worlds.movers import Movers
from infinitevggt_core.worlds.renderer import frames_per_chunk, render
from infinitevggt_core.worlds.rooms import build_rooms
from infinitevggt_core.worlds.solids import Solid, scene_of, with_changed_materials
from infinitevggt_core.worlds.street import build_street
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
        site = build_street(seed) if self.config.outdoor else build_rooms(seed, self.config)
        self.plan, self.lights, self.roadmap = site.plan, site.lights, site.roadmap
        solids = site.solids
        if self.config.gloss:
            rng = HashedRng(seed, "gloss")
            solids = with_changed_materials(rng, solids, self.config.gloss, _glossy)
        self.solids = [self._textured(solid) for solid in solids]
        self.scene = scene_of(self.solids, self.plan.rooms, self.lights)
        self.movers = Movers(seed, self.plan.rooms, self.lights, self.config.moving_objects)
        close_up, rng = None, HashedRng(seed, "close-up")
        if self.config.motion == "any" and rng.chance(self.config.close_up):
            close_up = CloseUp.draw(rng, self.plan.rooms, site.placed)
        self.trajectory = Trajectory(seed, self.config, self.roadmap, close_up)

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


def _glossy(rng: HashedRng, material: Material) -> Material:
    """Return the material with a highlight of random strength."""
    return replace(material, gloss=max(rng.uniform(0.2, 2.0), material.gloss))
