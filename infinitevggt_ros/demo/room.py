# SPDX-License-Identifier: Apache-2.0
"""Render the synthetic room of the demo."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from infinitevggt_core.worlds import World, WorldConfig
from infinitevggt_ros.bags.image_bag import frame_stamp_ns
from infinitevggt_ros.bags.world_bag import WorldBag
from infinitevggt_ros.bags.writer import BagWriter

SEED = 10_000
"""A validation world: no shipped checkpoint is trained on it."""
START_NS = 10**9
RATE_HZ = Fraction(10)
SIZE = 240, 320
"""Height and width of the images, px."""


def render_room(path: Path, frames: int, progress: Callable[[int], None]) -> Path:
    """Write a bag of a synthetic room with the truth beside each image.

    progress: called with the number of images written.
    """
    world = World(SEED, config=WorldConfig.of("easy", motion="handheld"))
    with BagWriter(path, overwrite=True) as writer:
        bag = WorldBag(writer, world, float(RATE_HZ))
        bag.write_static(START_NS)
        for index, frame in enumerate(world.sequence(frames, *SIZE)):
            bag.write(index, frame, frame_stamp_ns(START_NS, index, RATE_HZ))
            progress(index + 1)
    return path
