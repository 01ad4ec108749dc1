# SPDX-License-Identifier: Apache-2.0
"""Show what a checkpoint holds, what it would run on, and the versions in use."""

import argparse
import os
import platform
from dataclasses import asdict
from importlib import metadata

from infinitevggt_core.model.checkpoint import CheckpointError, load_checkpoint
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.params.settings import DEFAULT_CHECKPOINT

EXAMPLE = "infinitevggt info --checkpoint lch01/StreamVGGT"
PACKAGES = ("infinitevggt_ros", "torch", "numpy", "opencv-python-headless", "rosbags", "ros-rclpy")
MEGABYTE = 1e6


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", default=DEFAULT_CHECKPOINT, help="file, directory or hub id to look into"
    )


def run(options: argparse.Namespace) -> int:
    rows = [*versions(), *hardware(), *checkpoint(options.checkpoint)]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")
    return 0


def versions() -> list[tuple[str, str]]:
    """Name and version of what matters; a ROS installation is no Python distribution."""
    rows = [("python", platform.python_version())]
    for package in PACKAGES:
        try:
            rows.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            rows.append((package, os.environ.get("ROS_DISTRO", "not installed")))
    return rows


def hardware() -> list[tuple[str, str]]:
    """The device that model.device "auto" takes."""
    import torch

    from infinitevggt_core.io.machine import device_name

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return [("device", f"{device.type}: {device_name(device)}")]


def checkpoint(source: str) -> list[tuple[str, str]]:
    """Sizes of the network, part by part."""
    try:
        model = load_checkpoint(source)
    except CheckpointError as error:
        raise CommandError(str(error)) from error
    rows = [("checkpoint", source), *((k, str(v)) for k, v in asdict(model.config).items())]
    for name, part in model.named_children():
        count = sum(parameter.numel() for parameter in part.parameters())
        rows.append((name, f"{count / MEGABYTE:.2f} M parameters"))
    total = sum(parameter.numel() for parameter in model.parameters())
    return [*rows, ("total", f"{total / MEGABYTE:.2f} M parameters")]
