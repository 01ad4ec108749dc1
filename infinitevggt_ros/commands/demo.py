# SPDX-License-Identifier: Apache-2.0
"""Replay a bag of camera images through stream_node, over real DDS, each in a process of its own,
and record what the node publishes.

Leaves in the output directory: the bag of images (made from a synthetic room, if none is given),
result.mcap, trajectory.tum, map.ply and overview.png.
"""

import argparse
import os
from pathlib import Path

from infinitevggt_ros.commands import synthetic_bag
from infinitevggt_ros.errors import CommandError

EXAMPLE = "infinitevggt demo --out demo --bag room.mcap"
SEED = 10_000
"""A world for validation: no shipped checkpoint is trained on it."""
FINE_MAP = ("map.voxel_size:=0.01", "map.pixel_stride:=1")
"""What --param may overrule: a map for a picture."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("demo"), help="directory for the results")
    parser.add_argument(
        "--bag", type=Path, help="bag of camera images; none: film a synthetic room"
    )
    parser.add_argument("--frames", type=int, default=200, help="images to film in the room")
    parser.add_argument("--checkpoint", default="", help="model.checkpoint of the node")
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME:=VALUE",
        help="any parameter of the node, such as memory.total_budget:=20000; may be repeated",
    )


def run(options: argparse.Namespace) -> int:
    if options.frames < 1:
        raise CommandError("--frames must be 1 or more")
    for parameter in options.param:
        if ":=" not in parameter:
            raise CommandError(f"--param {parameter} is not NAME:=VALUE")
    options.out.mkdir(parents=True, exist_ok=True)
    bag = options.bag or film_room(options.out / "room.mcap", options.frames)
    isolate()
    from infinitevggt_ros.demo.report import write_report
    from infinitevggt_ros.demo.run import DemoRun

    parameters = [f"model.checkpoint:={options.checkpoint}"] * bool(options.checkpoint)
    recording = options.out / "result.mcap"
    demo = DemoRun(bag, recording, [*FINE_MAP, *parameters, *options.param])
    demo.run()
    print(write_report(bag, demo.image_topic, recording, options.out), flush=True)
    return 0


def film_room(path: Path, frames: int) -> Path:
    """A bag of a synthetic room, with the truth beside each image."""
    parser = argparse.ArgumentParser()
    synthetic_bag.configure(parser)
    seed = ["--seed", str(SEED), "--level", "easy", "--motion", "handheld", "--overwrite"]
    synthetic_bag.film(parser.parse_args([str(path), *seed, "--frames", str(frames)]))
    return path


def isolate() -> None:
    """Keep the demo's topics apart from those of a robot nearby."""
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
