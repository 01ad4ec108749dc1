# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGTERM as a request to end."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Handler of Ctrl-C and SIGTERM: after the first, the current frame is finished.

    The second raises KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self._set = False

    def is_set(self) -> bool:
        return self._set

    def wait(self) -> None:
        """Wait for the first signal."""
        while not self._set:
            time.sleep(0.1)

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Handle the signals until the end of the block."""
        before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            signal.signal(number, self._handle)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._set:
            raise KeyboardInterrupt
        self._set = True
