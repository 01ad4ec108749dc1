# SPDX-License-Identifier: Apache-2.0
"""Options of the viewer."""

from dataclasses import dataclass

MEMORY_PARAMETERS = (
    "memory.policy",
    "memory.total_budget",
    "memory.window",
    "memory.anchor_frames",
)
"""Parameters with a control on the page."""


@dataclass(frozen=True)
class ViewerOptions:
    """Node to show, address of the page, and rates."""

    node: str = "/infinitevggt"
    camera: str = ""
    """Camera of a rig to show."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in, and there is no password."""
    port: int = 8080
    """Port, or the next free one."""
    map_points: int = 200_000
    """Most points shown, evenly thinned: 15 bytes each per transmission."""
    map_period_s: float = 2.0
    """Shortest time between two transmissions of the map."""
    period_s: float = 0.2
    """Shortest time between two transmissions of everything else."""
    history: int = 600
    """Frames in the curves."""
