# SPDX-License-Identifier: Apache-2.0
"""Show the contents and the licence of a checkpoint, the device that would run it, and versions."""

import argparse
import os
import platform
from dataclasses import asdict
from importlib import metadata

from infinitevggt_core.model.checkpoint import CheckpointError, load_checkpoint
from infinitevggt_core.model.model_card import model_card
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.params.settings import DEFAULT_CHECKPOINT

EXAMPLE = "infinitevggt info --checkpoint lch01/StreamVGGT"
PACKAGES = (
    "infinitevggt_ros",
    "torch",
    "onnxruntime",
    "numpy",
    "opencv-python-headless",
    "rosbags",
    "ros-rclpy",
)
MEGA = 1e6
Rows = list[tuple[str, str]]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", default=DEFAULT_CHECKPOINT, help="name, file, directory or hub id to show"
    )


def run(options: argparse.Namespace) -> int:
    tables = {
        "Software": versions(),
        "Machine": hardware(),
        "Checkpoint": checkpoint(options.checkpoint),
    }
    width = max(len(name) for rows in tables.values() for name, _ in rows)
    parts = [
        "\n".join([title, "-" * len(title), *(f"{n:<{width}}  {v}" for n, v in rows)])
        for title, rows in tables.items()
    ]
    print("\n\n".join(parts))
    return 0


def versions() -> Rows:
    """Return the versions in use. Packages of a ROS installation are no Python distributions."""
    rows = [("Python", platform.python_version())]
    for package in PACKAGES:
        try:
            rows.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            rows.append((package, os.environ.get("ROS_DISTRO", "not installed")))
    return rows


def hardware() -> Rows:
    """Return the device that model.device "auto" selects."""
    import torch

    from infinitevggt_core.io.machine import device_name

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return [("device", f"{device.type}: {device_name(device)}"), ("cores", str(os.cpu_count()))]


def checkpoint(source: str) -> Rows:
    """Return licence, sizes and number of parameters of a checkpoint."""
    try:
        model = load_checkpoint(source)
    except CheckpointError as error:
        raise CommandError(str(error)) from error
    card = model_card(source)
    rows = [
        ("name", source),
        ("licence of the weights", card.licence if card else "unknown: see where they come from"),
        ("trained on", card.trained_on if card else "unknown"),
        *((name, str(value)) for name, value in asdict(model.config).items()),
    ]
    for name, part in model.named_children():
        count = sum(parameter.numel() for parameter in part.parameters())
        rows.append((name, f"{count / MEGA:.2f} M parameters"))
    total = sum(parameter.numel() for parameter in model.parameters())
    return [*rows, ("all parts", f"{total / MEGA:.2f} M parameters")]
