# SPDX-License-Identifier: Apache-2.0
"""Facts of the machine and the commit of a measurement."""

import os

import torch

from infinitevggt_core.io.machine import commit, processor


def machine(device: torch.device) -> dict[str, object]:
    """Return facts for the report of a measurement."""
    return {
        "commit": commit(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "load": round(os.getloadavg()[0], 1),  # by all processes
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
    }
