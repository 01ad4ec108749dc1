# SPDX-License-Identifier: Apache-2.0
"""Processes of a run (one, or those started by torchrun) and the signals that end it."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those of the run."""

    device: torch.device
    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """True if this process writes the files."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return the module with gradients averaged over all processes."""
        if self.count == 1:
            return module
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=devices)

    def any(self, flag: bool) -> bool:
        """Return True if `value` is True in any process. All processes must call it."""
        if self.count == 1:
            return flag
        value = torch.tensor(float(flag), device=self.device)
        distributed.all_reduce(value, distributed.ReduceOp.MAX)
        return bool(value.item())

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """Return the mean of every number over all processes."""
        if self.count == 1:
            return values
        tensor = torch.tensor(list(values.values()), device=self.device, dtype=torch.float64)
        distributed.all_reduce(tensor)
        return dict(zip(values, (tensor / self.count).tolist(), strict=True))

    def wait(self) -> None:
        """Wait for all processes."""
        if self.count > 1:
            distributed.barrier()


@contextmanager
def processes(device: str = "auto") -> Iterator[Processes]:
    """Join the processes of a run.

    device: "auto" (cuda if available), "cpu", "cuda" or "cuda:N". Under torchrun each process on a
    machine takes its own GPU.
    """
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    chosen = torch.device(name)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if count == 1:
        yield Processes(chosen)
        return
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Processes(chosen, distributed.get_rank(), count)
    finally:
        distributed.destroy_process_group()


SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """Stop condition of a run: a signal or a time limit."""

    def __init__(self, minutes: float) -> None:
        """minutes: time limit; 0 for none."""
        self._signalled = False
        self._end_s = time.monotonic() + 60 * minutes if minutes else float("inf")

    @property
    def is_due(self) -> bool:
        return self._signalled or time.monotonic() >= self._end_s

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Stop after the current step on the first SIGINT or SIGTERM, and at once on the second."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may set handlers
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}

        def stop(*_: object) -> None:
            self._signalled = True
            for number, handler in before.items():
                signal.signal(number, handler)

        for number in SIGNALS:
            signal.signal(number, stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
