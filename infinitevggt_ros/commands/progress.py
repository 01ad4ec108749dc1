# SPDX-License-Identifier: Apache-2.0
"""Progress of a command with several parts: one bar in a terminal, a few lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

LINE_S = 10.0
"""Without a terminal, shortest time between two lines of a part."""


def duration(seconds: float) -> str:
    """Return a rounded duration, such as "40 s" or "3 min"."""
    return f"{max(1, round(seconds))} s" if seconds < 100 else f"{seconds / 60:.0f} min"


class Progress:
    """Says on stderr which part of a command runs, how far it is, and how long it took."""

    def __init__(self, parts: int) -> None:
        self._parts = parts
        self._number = 0

    def say(self, text: str) -> None:
        """Print a line without breaking the bar."""
        tqdm.write(text, file=sys.stderr)
        sys.stderr.flush()

    @contextmanager
    def part(
        self, title: str, total: int = 0, unit: str = "image"
    ) -> Iterator[Callable[[int], None]]:
        """Run the next part; yields a function to call with the number of units done.

        total: number of units; 0 if the part cannot be counted.
        """
        self._number += 1
        began_s = said_s = time.monotonic()
        self.say(f"[{self._number}/{self._parts}] {title}")
        is_terminal = sys.stderr.isatty()
        with tqdm(
            total=total,
            unit=unit,
            leave=False,
            file=sys.stderr,
            disable=not (total and is_terminal),
            bar_format="      {percentage:3.0f} % |{bar:30}| {n_fmt} of {total_fmt} {unit}s, "
            "{elapsed} passed, {remaining} left",
        ) as bar:

            def show(done: int) -> None:
                nonlocal said_s
                bar.update(done - bar.n)
                now_s = time.monotonic()
                if not is_terminal and now_s - said_s >= LINE_S:
                    said_s = now_s
                    self.say(f"      {done} of {total} {unit}s after {duration(now_s - began_s)}")

            yield show
        self.say(f"      done in {duration(time.monotonic() - began_s)}")
