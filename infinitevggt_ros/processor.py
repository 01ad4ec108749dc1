# SPDX-License-Identifier: Apache-2.0
"""Use of the processor beside other programs."""

import os


def use_passive_waits() -> None:
    """Let idle threads of PyTorch sleep instead of spin. Call this before torch is imported.

    Spinning threads take the cores from other nodes: with both of two cores busy, a frame of `tiny`
    took 98 to 425 ms with spinning threads and 31 ms with sleeping ones. An environment variable
    OMP_WAIT_POLICY that is set already stays as it is.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def thread_count(requested: int) -> int:
    """Return the number of processor threads; for 0, all cores of this process but one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return requested or max(1, (cores or 1) - 1)
