# SPDX-License-Identifier: Apache-2.0
"""Record a synthetic world in a ROS 2 bag, with ground truth.

A seed and a level give the same world on every machine. Topics, as published by a robot's drivers:
/camera/image_raw (rgb8), /camera/camera_info, /camera/depth/image_raw (32FC1, metres), /tf (odom ->
base_link), /tf_static (base_link -> camera_link -> camera_optical_frame) and /odometry.
"""

import argparse
from pathlib import Path

from infinitevggt_core.worlds.config import LEVELS, MOTIONS
from infinitevggt_ros.commands.option_arguments import image_size, rate_hz
from infinitevggt_ros.errors import CommandError

EXAMPLE = "infinitevggt synthetic-bag --seed 7 --frames 200 --level easy --size 240x320 world.mcap"

START_NS = 10**9


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("out", type=Path, help="output: world.mcap, world.db3, or the name of a directory")
    add("--seed", type=int, default=0, help="seed of the world: 0 or any positive integer")
    add("--frames", type=int, default=200, help="number of images")
    add("--level", choices=LEVELS, default="standard", help="difficulty of the world")
    add(
        "--motion",
        choices=MOTIONS,
        default="any",
        help=("carrier of the camera; any: drawn from the seed"),
    )
    add(
        "--size",
        type=image_size,
        default="240x320",
        metavar="HxW",
        help="image size in pixels",
    )
    add("--rate", type=rate_hz, default="10", metavar="HZ", help="images per second")
    add("--device", default="cpu", help="device for rendering: cpu or cuda")
    add("--overwrite", action="store_true", help="replace an existing bag")


def run(options: argparse.Namespace) -> int:
    if options.frames < 1:
        raise CommandError("--frames must be 1 or more")
    if not 0 <= options.seed < 2**63:
        raise CommandError(f"--seed {options.seed}: give 0 or a positive integer")
    film(options)
    height, width = options.size
    print(
        f"{options.out}: {options.frames} images of {width}x{height} px at "
        f"{float(options.rate):g} Hz, world {options.seed} ({options.level})"
    )
    return 0


def film(options: argparse.Namespace) -> None:
    """Write the bag requested by the options."""
    import torch
    from tqdm import tqdm

    from infinitevggt_core.worlds import World, WorldConfig
    from infinitevggt_ros.bags.image_bag import frame_stamp_ns
    from infinitevggt_ros.bags.world_bag import WorldBag
    from infinitevggt_ros.bags.writer import BagWriter

    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise CommandError("--device cuda: PyTorch finds no GPU here")
    with BagWriter(options.out, overwrite=options.overwrite) as writer:
        config = WorldConfig.of(options.level, motion=options.motion)
        world = World(options.seed, config=config)
        bag = WorldBag(writer, world, float(options.rate))
        bag.write_static(START_NS)
        height, width = options.size
        frames = world.sequence(options.frames, height, width, options.device)
        progress = tqdm(frames, desc="filming", total=options.frames, unit="image", disable=None)
        for index, frame in enumerate(progress):
            bag.write(index, frame, frame_stamp_ns(START_NS, index, options.rate))
