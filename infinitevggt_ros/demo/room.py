# SPDX-License-Identifier: Apache-2.0
"""Render the synthetic rooms of the demo."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from infinitevggt_core.worlds import World, WorldConfig
from infinitevggt_ros.bags.image_bag import frame_stamp_ns
from infinitevggt_ros.bags.world_bag import WorldBag
from infinitevggt_ros.bags.writer import BagWriter

SEED, MOST_ROOMS, STEP_M = 10_014, 4, 0.08
"""A validation world: no shipped checkpoint is trained on it. The walk leads through its rooms and
is back where it began after 252 images."""
START_NS = 10**9
RATE_HZ = Fraction(10)
SIZE = 240, 320
"""Height and width of the images, px."""


def render_room(path: Path, frames: int, progress: Callable[[int], None]) -> Path:
    """Write a bag of a walk through synthetic rooms and back, with the truth beside each image.

    progress: called with the number of images written.
    """
    config = WorldConfig.of("standard", motion="loop", most_rooms=MOST_ROOMS, step_m=STEP_M)
    world = World(SEED, config=config)
    with BagWriter(path, overwrite=True) as writer:
        bag = WorldBag(writer, world, float(RATE_HZ))
        bag.write_static(START_NS)
        for index, frame in enumerate(world.sequence(frames, *SIZE)):
            bag.write(index, frame, frame_stamp_ns(START_NS, index, RATE_HZ))
            progress(index + 1)
    return path
