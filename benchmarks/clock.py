# SPDX-License-Identifier: Apache-2.0
"""Timing of the parts of a frame."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch

REST = "rest"
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


class Clock:
    """Clock in seconds: wall time after the device has finished, or the processor time of this
    process, which other processes hardly affect. Processor time adds up all threads; use one."""

    def __init__(self, kind: str, device: torch.device) -> None:
        self._read, self._device = CLOCKS[kind], device

    def now(self) -> float:
        """Return the time after the device has finished."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return self._read()


class StageClock:
    """Seconds by stage. The time of a stage does not include the stages that it calls."""

    def __init__(self, clock: Clock) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock
        self._running = [REST]
        self._since = 0.0

    @contextmanager
    def watching(self, parts: list[tuple[Any, str, str]]) -> Iterator[None]:
        """Context manager that times methods; parts are (owner, method, stage)."""
        with ExitStack() as stack:
            for owner, method, stage in parts:
                timed = self._timed(getattr(owner, method), stage)
                stack.enter_context(mock.patch.object(owner, method, timed))
            self._since = self._clock.now()
            yield
            self._charge()

    def _timed(self, inner: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def timed(*args: Any, **options: Any) -> Any:
            self._charge()
            self._running.append(stage)
            try:
                return inner(*args, **options)
            finally:
                self._charge()
                self._running.pop()

        return timed

    def _charge(self) -> None:
        now = self._clock.now()
        stage = self._running[-1]
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now
