# SPDX-License-Identifier: Apache-2.0
"""Contents of a world before a camera moves through it: rooms or a street."""

from dataclasses import dataclass

from infinitevggt_core.worlds.floor_plan import FloorPlan
from infinitevggt_core.worlds.furnishing import Placed
from infinitevggt_core.worlds.roadmap import Roadmap
from infinitevggt_core.worlds.solids import Light, Solid


@dataclass(frozen=True, slots=True)
class Site:
    """Solids, their light, and the free space between them."""

    plan: FloorPlan
    lights: list[Light]
    """One for each room."""
    placed: list[list[Placed]]
    """Furniture of each room."""
    roadmap: Roadmap
    solids: list[Solid]
