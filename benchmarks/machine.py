# SPDX-License-Identifier: Apache-2.0
"""Where a measurement was made, and by which commit."""

import os

import torch

from infinitevggt_core.io.machine import commit, processor


def machine(device: torch.device) -> dict[str, object]:
    return {
        "commit": commit(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "load": round(os.getloadavg()[0], 1),  # of all on the machine
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
    }
