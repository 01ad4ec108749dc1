# SPDX-License-Identifier: Apache-2.0
"""Replay a bag of camera images through stream_node over DDS, each in a process of its own, and
record the results.

Writes result.mcap, trajectory.tum, map.ply and overview.png into the output directory, and
room.mcap, a walk through synthetic rooms and back, if no bag is given.
"""

import argparse
import os
from pathlib import Path

from infinitevggt_ros.commands.progress import Progress, duration
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.processor import use_passive_waits

EXAMPLE = "infinitevggt demo --out demo --bag room.mcap"
FRAMES = 290
FINE_MAP = ("map.voxel_size:=0.015", "map.pixel_stride:=1")
"""Dense map for the picture; --param overrides it."""
RENDER_S, STREAM_S, START_S, WRITE_S = 0.09, 0.18, 6.0, 4.0
"""Duration of the parts on two idle cores: per rendered image, per streamed image, start of the
node, report. Measured with the default checkpoint."""


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", type=Path, default=Path("demo"), help="directory of the results")
    add("--bag", type=Path, help="bag of camera images; default: synthetic rooms are rendered")
    add(
        "--frames",
        type=int,
        default=FRAMES,
        help="images of the synthetic rooms; the walk is back where it began after 252",
    )
    add(
        "--checkpoint",
        default="",
        help="weights: name, file, directory or hub id; default: those of the package",
    )
    add(
        "--param",
        action="append",
        default=[],
        metavar="NAME:=VALUE",
        help="parameter of the node, such as memory.total_budget:=20000; may be repeated",
    )


def run(options: argparse.Namespace) -> int:
    if options.frames < 1:
        raise CommandError("--frames must be 1 or more")
    for parameter in options.param:
        if ":=" not in parameter:
            raise CommandError(f"--param {parameter} is not NAME:=VALUE")
    options.out.mkdir(parents=True, exist_ok=True)
    isolate()
    progress = Progress(parts=2 if options.bag else 3)
    bag = options.bag or render(options, progress)
    from infinitevggt_ros.demo.report import write_report
    from infinitevggt_ros.demo.run import DemoRun

    parameters = [f"model.checkpoint:={options.checkpoint}"] * bool(options.checkpoint)
    recording = options.out / "result.mcap"
    demo = DemoRun(bag, recording, [*FINE_MAP, *parameters, *options.param], progress.say)
    if options.bag:
        announce(progress, 0, demo.image_count)
    title = f"start stream_node and stream {demo.image_count} images of {bag} through it"
    with progress.part(title, demo.image_count) as show:
        demo.run(show)
    with progress.part(f"compare with the truth in the bag and write the files to {options.out}"):
        report = write_report(bag, demo.image_topic, recording, options.out)
    print(report, flush=True)
    return 0


def render(options: argparse.Namespace, progress: Progress) -> Path:
    """Render the synthetic rooms into a bag."""
    announce(progress, options.frames, options.frames)
    with progress.part(
        f"render {options.frames} images of synthetic rooms", options.frames
    ) as show:
        from infinitevggt_ros.demo.room import render_room

        return render_room(options.out / "room.mcap", options.frames, show)


def announce(progress: Progress, rendered: int, streamed: int) -> None:
    """Say what the demo does and how long it will take."""
    idle_s = rendered * RENDER_S + START_S + streamed * STREAM_S + WRITE_S
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    load = os.getloadavg()[0] / cores
    parts = [f"render {rendered} images"] * bool(rendered)
    parts += [f"stream {streamed} images through the node", "write the report"]
    busy = f"; {duration(idle_s * (1 + load))} at the present load" if load > 0.5 else ""
    progress.say(
        f"The demo will {', '.join(parts)}: about {duration(idle_s)} on two idle cores with the "
        f"default weights{busy}."
    )


def isolate() -> None:
    """Separate the demo's topics from those of a robot nearby, and keep idle threads from
    spinning."""
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    use_passive_waits()
