# SPDX-License-Identifier: Apache-2.0
"""Waits for the device and calls of the null GPU (test/cuda/null_gpu)."""

import ctypes
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

COUNTERS = (
    "launches",
    "gemms",
    "memsets",
    "d2d",
    "h2d",
    "d2h",
    "stream_syncs",
    "device_syncs",
    "event_syncs",
    "graph_nodes",
    "replays",
    "capture_bad",
)
WORK = ("launches", "gemms", "memsets", "d2d")
SYNCHRONIZES = "called a synchronizing CUDA operation"
PACKAGES = ("/infinitevggt_core/", "/infinitevggt_ros/")


def is_null() -> bool:
    """True on the pretended GPU, False on a real one."""
    return "NULL_GPU" in os.environ


def counts() -> dict[str, int]:
    """Calls of the CUDA runtime since the process started."""
    runtime = ctypes.CDLL(os.environ["NULL_GPU"] + "/libnull.so")
    return {name: ctypes.c_long.in_dll(runtime, f"null_{name}").value for name in COUNTERS}


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Calls of the CUDA runtime while this lasts; read them after it."""
    found: Counter[str] = Counter()
    before = counts()
    yield found
    found.update({name: value - before[name] for name, value in counts().items()})


@contextmanager
def waits() -> Iterator[Counter[str]]:
    """Waits for the device while this lasts, by the function of ours that waits."""
    found: Counter[str] = Counter()

    def note(message: Warning | str, *_: Any, **__: Any) -> None:
        if SYNCHRONIZES in str(message):
            found[_function()] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode("default")


def _function() -> str:
    """Return "file:function" of the innermost frame of the package."""
    frame = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if any(package in path for package in PACKAGES):
            return f"{path.rsplit('/', 1)[-1]}:{frame.f_code.co_name}"
        frame = frame.f_back
    return "elsewhere"
