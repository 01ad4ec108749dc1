# SPDX-License-Identifier: Apache-2.0
"""Furnished rooms of a world."""

from infinitevggt_core.worlds.config import WorldConfig
from infinitevggt_core.worlds.everyday import busy, everyday_look, toned
from infinitevggt_core.worlds.floor_plan import draw_plan
from infinitevggt_core.worlds.furnishing import HOME, OFFICE, decorate, furnish
from infinitevggt_core.worlds.hashed_rng import HashedRng
from infinitevggt_core.worlds.roadmap import build_roadmap
from infinitevggt_core.worlds.shell import build_shell, light_of
from infinitevggt_core.worlds.site import Site
from infinitevggt_core.worlds.solids import with_changed_materials


def build_rooms(seed: int, config: WorldConfig) -> Site:
    """Return the rooms of a seed."""
    plan = draw_plan(HashedRng(seed, "plan"), _room_count(seed, config.most_rooms))
    rooms = plan.rooms
    lights = [
        light_of(HashedRng(seed, "light", k), room, config.lamp_spread)
        for k, room in enumerate(rooms)
    ]
    catalog = OFFICE if config.everyday else HOME
    placed = [
        furnish(HashedRng(seed, "furniture", k), plan, k, config.furniture, catalog)
        for k in range(len(rooms))
    ]
    roadmap = build_roadmap(HashedRng(seed, "roadmap"), plan, placed)
    solids = list(build_shell(HashedRng(seed, "shell"), plan, everyday=config.everyday))
    for k in range(len(rooms)):
        solids += [solid for piece in placed[k] for solid in piece.solids]
        solids += decorate(HashedRng(seed, "pictures", k), plan, k, lights[k])
    if config.everyday:
        solids = with_changed_materials(HashedRng(seed, "everyday"), solids, 1.0, everyday_look)
    if config.busy:
        solids = with_changed_materials(HashedRng(seed, "busy"), solids, config.busy, busy)
    if config.tones:
        solids = with_changed_materials(HashedRng(seed, "tones"), solids, config.tones, toned)
    return Site(plan, lights, placed, roadmap, solids)


def _room_count(seed: int, most: int) -> int:
    return most if most < 5 else HashedRng(seed, "rooms").integer(most - 4) + 5
