# SPDX-License-Identifier: Apache-2.0
"""Facts of the machine and the checkout, for reports of measurements."""

import os
import platform
import subprocess
from pathlib import Path

import torch


def device_name(device: torch.device) -> str:
    """Return the name of a GPU, or of the processor with its number of cores."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{processor()}, {os.cpu_count()} cores"


def processor() -> str:
    """Return the model name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str | None:
    """Return the commit of the checkout, with + if files changed; None for an installed package."""
    here = Path(__file__).resolve().parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
