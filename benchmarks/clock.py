# SPDX-License-Identifier: Apache-2.0
"""How long the parts of a frame take."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch

REST = "rest"
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


class Clock:
    """Seconds: of the wall, when the device has done all it was given; or of this process's
    processor time, to which others on the machine add little. That is for one thread, as it sums
    up the threads."""

    def __init__(self, kind: str, device: torch.device) -> None:
        self._read, self._device = CLOCKS[kind], device

    def now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return self._read()


class StageClock:
    """Seconds by stage. What a stage calls and is a stage itself counts there alone."""

    def __init__(self, clock: Clock) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock
        self._running = [REST]
        self._since = 0.0

    @contextmanager
    def watching(self, parts: list[tuple[Any, str, str]]) -> Iterator[None]:
        """While this lasts: owner, method and stage of what is timed. All else is the rest."""
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
