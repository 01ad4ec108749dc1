# SPDX-License-Identifier: Apache-2.0
"""What the viewer shows, and where."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ViewerOptions:
    """Which node to look at, and how much of it."""

    node: str = "/infinitevggt"
    camera: str = ""  # of a rig
    host: str = "0.0.0.0"  # a robot has no screen: the browser is on another machine
    port: int = 8080  # the next free one is taken
    map_points: int = 200_000  # most points shown, an even choice: 15 bytes each per sending
    map_period_s: float = 2.0  # shortest time between two sendings of the map
    period_s: float = 0.2  # and of everything else
    history: int = 600  # frames in the curves
