# SPDX-License-Identifier: Apache-2.0
"""When a run ends before its last step: a signal, or its time is over."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """Asked after every step."""

    def __init__(self, minutes: float) -> None:
        """minutes: 0 for no limit."""
        self._signalled = False
        self._end_s = time.monotonic() + 60 * minutes if minutes else float("inf")

    @property
    def is_due(self) -> bool:
        return self._signalled or time.monotonic() >= self._end_s

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """The first SIGINT or SIGTERM ends the run after its step, the second at once."""
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
